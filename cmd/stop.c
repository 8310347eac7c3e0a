/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "config.h"

enum { KEY_DISCARD = CLI_KEY_VERB, KEY_FORCE };

static const struct cli_option stop_options[] = {
        {"time", 't', "DURATION",
         "how long the guest may take to shut down before it is killed (default 10s)", 0, false},
        {"force", KEY_FORCE, NULL, "kill at once, the same as --time 0", 0, false},
        {"discard", KEY_DISCARD, NULL, "stop a standby too: its saved memory is lost", 0, false},
        {NULL, 0, NULL, NULL, 0, false},
};

static int option(void *ctx, int key, const char *value, struct vm_err *err)
{
	struct vm_stop_options *options = ctx;

	switch (key) {
	case 't':
		return vm_duration_parse(value, "--time", &options->grace_ms, err);
	case KEY_FORCE:
		options->grace_ms = 0;
		return 0;
	default:
		options->discard = true;
		return 0;
	}
}

static int act(struct cli *cli, const char *selector, struct vm_instance *ret, struct vm_err *err)
{
	return vm_stop(&cli->op, selector, cli->options, ret, err);
}

static int run(struct cli *cli, struct vm_err *err)
{
	return cli_each(cli, act, err);
}

static const struct cli_verb verb = {
        .name = "stop",
        .synopsis = "[-t DURATION] [--force] [--discard]",
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
	struct vm_stop_options options = {.grace_ms = 10000};

	return cli_main(&verb, &options, argc, argv);
}
