/* SPDX-License-Identifier: Apache-2.0 */
/* What `vmctl stats` prints, in each of its formats. vmctl-stats(1) describes them. */
#ifndef CLI_STATS_PRINT_H
#define CLI_STATS_PRINT_H

#include <jansson.h>

#include "stats.h"

int cli_stats_tables(const struct vm_stats *stats, struct vm_err *err);
/* A new reference, or NULL when out of memory. */
json_t *cli_stats_json(const struct vm_stats *stats, const char *root);
void cli_stats_prometheus(const struct vm_stats *stats, const char *root);

#endif
