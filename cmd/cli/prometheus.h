/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metrics in the Prometheus text exposition format 0.0.4, as node_exporter's textfile collector
 * reads it: for each metric HELP, TYPE, then its samples, all of them together.
 */
#ifndef CLI_PROMETHEUS_H
#define CLI_PROMETHEUS_H

#include <stdint.h>

struct cli_label {
	const char *name; /* NULL: none */
	const char *value;
};

/* Begins a metric; `type` is "counter" (then its name ends in _total) or "gauge". */
void cli_metric(const char *name, const char *type, const char *help);
/* One sample: labels root, a and b, of which a and b may have no name. */
void cli_sample(const char *name, const char *root, struct cli_label a, struct cli_label b,
                int64_t value);
/* The same of microseconds, as seconds. */
void cli_sample_seconds(const char *name, const char *root, struct cli_label a, struct cli_label b,
                        int64_t value_us);

#endif
