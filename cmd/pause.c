/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

static int act(struct cli *cli, const char *selector, struct vm_instance *ret, struct vm_err *err)
{
	return vm_pause(&cli->op, selector, ret, err);
}

static int run(struct cli *cli, struct vm_err *err)
{
	return cli_each(cli, act, err);
}

static const struct cli_verb verb = {
        .name = "pause",
        .synopsis = "",
        .operands = "INSTANCE ...",
        .min_operands = 1,
        .max_operands = CLI_ANY,
        .flags = CLI_WAITS | CLI_PRINTS,
        .states = 1U << VM_STATE_RUNNING,
        .run = run,
};

int main(int argc, char **argv)
{
	return cli_main(&verb, NULL, argc, argv);
}
