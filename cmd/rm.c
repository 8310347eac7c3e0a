/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

struct rm_options {
	bool force;
};

static const struct cli_option rm_options[] = {
        {"force", 'f', NULL, "remove whatever the state is; a running hypervisor is killed at once",
         0, false},
        {NULL, 0, NULL, NULL, 0, false},
};

static int option(void *ctx, int key, const char *value, struct vm_err *err)
{
	struct rm_options *options = ctx;

	(void)key, (void)value, (void)err;
	options->force = true;
	return 0;
}

static int act(struct cli *cli, const char *selector, struct vm_instance *ret, struct vm_err *err)
{
	const struct rm_options *options = cli->options;

	return vm_rm(&cli->op, selector, options->force, ret, err);
}

static int run(struct cli *cli, struct vm_err *err)
{
	return cli_each(cli, act, err);
}

static const struct cli_verb verb = {
        .name = "rm",
        .synopsis = "[-f]",
        .operands = "INSTANCE ...",
        .min_operands = 1,
        .max_operands = CLI_ANY,
        .flags = CLI_WAITS | CLI_PRINTS,
        .states = 1U << VM_STATE_STOPPED | 1U << VM_STATE_FAILED,
        .wider_states = ~0U,
        .wider = 'f',
        .options = rm_options,
        .option = option,
        .run = run,
};

int main(int argc, char **argv)
{
	struct rm_options options = {0};

	return cli_main(&verb, &options, argc, argv);
}
