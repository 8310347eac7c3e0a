/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/fork_args.h"

static const struct cli_option fork_options[] = {
        CLI_FORK_OPTIONS("default running; stopped if the source is"),
        {"from-running", CLI_FORK_FROM_RUNNING, NULL,
         "fork a running instance too: it is paused for a moment", 0, false},
        {NULL, 0, NULL, NULL, 0, false},
};

static int option(void *ctx, int key, const char *value, struct vm_err *err)
{
	return cli_fork_option(ctx, key, value, err);
}

static int run(struct cli *cli, struct vm_err *err)
{
	return cli_fork_run(cli, cli->options, err);
}

static const struct cli_verb verb = {
        .name = "fork",
        .synopsis = "[-n N] [--name PATTERN] [--target-state STATE] [--from-running]"
                    " [--network NET] [--label KEY=VALUE] [--atomic]",
        .operands = "SOURCE [NAME]",
        .min_operands = 1,
        .max_operands = 2,
        .flags = CLI_WAITS | CLI_PRINTS,
        .states = 1U << VM_STATE_STOPPED | 1U << VM_STATE_STANDBY | 1U << VM_STATE_RUNNING,
        .options = fork_options,
        .option = option,
        .run = run,
};

int main(int argc, char **argv)
{
	struct cli_fork fork = {.request = {.count = 1}};
	int status = cli_main(&verb, &fork, argc, argv);

	vm_labels_free(&fork.labels);
	return status;
}
