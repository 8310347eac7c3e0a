/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/stats_print.h"
#include "stats.h"
#include "util.h"
#include "when.h"

enum { KEY_SINCE = CLI_KEY_VERB };

static const int64_t default_window_us = INT64_C(3600) * 1000000;

struct stats_options {
	int64_t since_us; /* 0: not given */
};

static const struct cli_option stats_options[] = {
        {"since", KEY_SINCE, "WHEN",
         "judge by what happened from then on: 10m ago, or 2026-11-23T10:00:00Z (default 1h)", 0,
         false},
        {NULL, 0, NULL, NULL, 0, false},
};

static int option(void *ctx, int key, const char *value, struct vm_err *err)
{
	struct stats_options *options = ctx;

	(void)key;
	return vm_when_parse(value, "--since", &options->since_us, err);
}

static int run(struct cli *cli, struct vm_err *err)
{
	const struct stats_options *options = cli->options;
	int64_t since_us = options->since_us;
	VM_AUTO(vm_stats_free) struct vm_stats stats = {0};

	if (since_us == 0)
		since_us = vm_realtime_us() - default_window_us;
	if (cli_open(cli, VM_ROOT_READ, err) < 0 || vm_stats(&cli->op, since_us, &stats, err) < 0)
		return -1;
	cli_progress_hide(&cli->progress);
	switch (cli->output) {
	case CLI_JSON:
		return cli_print_json(cli, cli_stats_json(&stats, cli->root.path), err);
	case CLI_PROMETHEUS:
		cli_stats_prometheus(&stats, cli->root.path);
		return 0;
	default:
		return cli_stats_tables(&stats, err);
	}
}

static void more_help(void)
{
	(void)fputs(
	        "\nWith -o prometheus it prints metrics for node_exporter's textfile collector.\n",
	        stdout);
}

static const struct cli_verb verb = {
        .name = "stats",
        .synopsis = "[--since WHEN]",
        .operands = "",
        .flags = CLI_MEASURES,
        .options = stats_options,
        .option = option,
        .run = run,
        .more_help = more_help,
};

int main(int argc, char **argv)
{
	struct stats_options options = {0};

	return cli_main(&verb, &options, argc, argv);
}
