/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "config.h"
#include "interrupt.h"
#include "util.h"

enum { KEY_STATE = CLI_KEY_VERB, KEY_GONE, KEY_TIMEOUT };

struct wait_options {
	unsigned states; /* bit mask of 1 << state */
	bool gone;
	int64_t timeout_ms; /* for all instances together; -1: none */
};

static const struct cli_option wait_options[] = {
        {"state", KEY_STATE, "STATE[,STATE]", "wait until it is in one of these states", 0, false},
        {"gone", KEY_GONE, NULL, "wait until there is no such instance any more", 0, false},
        {"timeout", KEY_TIMEOUT, "DURATION", "give up after this time (default: never)", 0, false},
        {NULL, 0, NULL, NULL, 0, false},
};

static int option(void *ctx, int key, const char *value, struct vm_err *err)
{
	struct wait_options *options = ctx;

	switch (key) {
	case KEY_STATE:
		return cli_parse_states(value, &options->states, err);
	case KEY_GONE:
		options->gone = true;
		return 0;
	default:
		return vm_duration_parse(value, "--timeout", &options->timeout_ms, err);
	}
}

static int wait_one(struct cli *cli, const char *selector, int64_t timeout_ms, struct vm_err *err)
{
	const struct wait_options *options = cli->options;
	VM_AUTO(vm_instance_free) struct vm_instance instance = {0};

	if (vm_wait(cli_begin(cli), selector, options->states, timeout_ms, &instance, err) < 0) {
		/* Gone is gone, also when it was so before we looked. */
		if (!options->gone || err->code != VM_ERR_NOT_FOUND)
			return -1;
		vm_err_clear(err);
		return 0;
	}
	return options->gone ? 0 : cli_print_instance(cli, &instance, err);
}

static int run(struct cli *cli, struct vm_err *err)
{
	const struct wait_options *options = cli->options;
	int64_t began_ms = vm_monotonic_ms();

	if (options->gone == (options->states != 0))
		return cli_usage(cli, err, "one of --state and --gone is needed");
	if (cli_open(cli, VM_ROOT_READ, err) < 0)
		return -1;
	for (int i = 0; i < cli->operand_count && vm_interrupt_signal() == 0; i++) {
		int64_t left_ms = options->timeout_ms;
		struct vm_err one = {0};

		if (left_ms > 0) {
			left_ms -= vm_monotonic_ms() - began_ms;
			left_ms = left_ms > 0 ? left_ms : 0;
		}
		if (wait_one(cli, cli->operands[i], left_ms, &one) < 0)
			cli_fail(cli, &one);
	}
	return 0;
}

static const struct cli_verb verb = {
        .name = "wait",
        .synopsis = "[--state STATE[,STATE] | --gone] [--timeout DURATION]",
        .operands = "INSTANCE ...",
        .min_operands = 1,
        .max_operands = CLI_ANY,
        .flags = CLI_PRINTS,
        .options = wait_options,
        .option = option,
        .run = run,
};

int main(int argc, char **argv)
{
	struct wait_options options = {.timeout_ms = -1};

	return cli_main(&verb, &options, argc, argv);
}
