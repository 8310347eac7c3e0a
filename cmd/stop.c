/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "cli/dry.h"
#include "config.h"

enum { KEY_DISCARD = CLI_KEY_VERB, KEY_FORCE, KEY_DRY_RUN };

struct stop_options {
	struct vm_stop_options stop;
	bool dry_run;
};

static const struct cli_option stop_options[] = {
        {"time", 't', "DURATION",
         "how long the guest may take to shut down before it is killed (default 10s)", 0, false},
        {"force", KEY_FORCE, NULL, "kill at once, the same as --time 0", 0, false},
        {"discard", KEY_DISCARD, NULL, "stop a standby too: its saved memory is lost", 0, false},
        CLI_DRY_RUN_OPTION(KEY_DRY_RUN, "say how each would be stopped, and stop"),
        {NULL, 0, NULL, NULL, 0, false},
};

static int option(void *ctx, int key, const char *value, struct vm_err *err)
{
	struct stop_options *options = ctx;

	switch (key) {
	case 't':
		return vm_duration_parse(value, "--time", &options->stop.grace_ms, err);
	case KEY_FORCE:
		options->stop.grace_ms = 0;
		return 0;
	case KEY_DRY_RUN:
		options->dry_run = true;
		return 0;
	default:
		options->stop.discard = true;
		return 0;
	}
}

static int act(struct cli *cli, const char *selector, struct vm_instance *ret, struct vm_err *err)
{
	const struct stop_options *options = cli->options;

	return vm_stop(&cli->op, selector, &options->stop, ret, err);
}

static int look(struct cli *cli, const char *selector, struct vm_dry_run *ret, struct vm_err *err)
{
	const struct stop_options *options = cli->options;

	return vm_stop_dry_run(&cli->op, selector, &options->stop, ret, err);
}

static int run(struct cli *cli, struct vm_err *err)
{
	static const struct cli_dry_run dry_run = {.things = "instances", .look = look};
	const struct stop_options *options = cli->options;

	if (options->dry_run)
		return cli_dry_run(cli, &dry_run, cli->operand_count, err);
	return cli_each(cli, act, err);
}

static const struct cli_verb verb = {
        .name = "stop",
        .synopsis = "[-t DURATION] [--force] [--discard] [--dry-run]",
        .operands = "INSTANCE ...",
        .min_operands = 1,
        .max_operands = CLI_ANY,
        .flags = CLI_WAITS | CLI_PRINTS,
        .states = 1U << VM_STATE_RUNNING | 1U << VM_STATE_PAUSED,
        .wider_states = 1U << VM_STATE_STANDBY,
        .wider = KEY_DISCARD,
        .options = stop_options,
        .option = option,
        .run = run,
};

int main(int argc, char **argv)
{
	struct stop_options options = {.stop = {.grace_ms = 10000}};

	return cli_main(&verb, &options, argc, argv);
}
