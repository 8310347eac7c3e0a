/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "cli/dry.h"

enum { KEY_DRY_RUN = CLI_KEY_VERB };

struct rm_options {
	bool force, dry_run;
};

static const struct cli_option rm_options[] = {
        {"force", 'f', NULL, "remove whatever the state is; a running hypervisor is killed at once",
         0, false},
        CLI_DRY_RUN_OPTION(KEY_DRY_RUN, "say what would go and what that would free, and stop"),
        {NULL, 0, NULL, NULL, 0, false},
};

static int option(void *ctx, int key, const char *value, struct vm_err *err)
{
	struct rm_options *options = ctx;

	(void)value, (void)err;
	if (key == KEY_DRY_RUN)
		options->dry_run = true;
	else
		options->force = true;
	return 0;
}

static int act(struct cli *cli, const char *selector, struct vm_instance *ret, struct vm_err *err)
{
	const struct rm_options *options = cli->options;

	return vm_rm(&cli->op, selector, options->force, ret, err);
}

static int look(struct cli *cli, const char *selector, struct vm_dry_run *ret, struct vm_err *err)
{
	const struct rm_options *options = cli->options;

	return vm_rm_dry_run(&cli->op, selector, options->force, ret, err);
}

static int run(struct cli *cli, struct vm_err *err)
{
	static const struct cli_dry_run dry_run = {
	        .things = "instances", .weighs = true, .look = look};
	const struct rm_options *options = cli->options;

	if (options->dry_run)
		return cli_dry_run(cli, &dry_run, cli->operand_count, err);
	return cli_each(cli, act, err);
}

static const struct cli_verb verb = {
        .name = "rm",
        .synopsis = "[-f] [--dry-run]",
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
