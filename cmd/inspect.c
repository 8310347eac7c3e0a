/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>

#include "choose.h"
#include "cli/cli.h"
#include "util.h"

static json_t *look(struct cli *cli, const char *selector, const void *ctx, struct vm_err *err)
{
	VM_AUTO(vm_instance_free) struct vm_instance instance = {0};
	char reason[256];
	json_t *json;

	(void)ctx;
	if (vm_store_find(cli->root.store, selector, &instance, err) < 0 ||
	    vm_observe(&cli->root, &instance, err) < 0)
		return NULL;
	if (vm_choose_reason(&cli->root, &instance, reason, sizeof(reason), err) < 0)
		return NULL;
	json = cli_instance_json(&cli->root, &instance);
	if (json != NULL)
		(void)json_object_set_new(json, "accelerator_reason", cli_json_text(reason));
	else
		vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES, "out of memory");
	return json;
}

static int run(struct cli *cli, struct vm_err *err)
{
	return cli_open(cli, VM_ROOT_READ, err) < 0 ? -1 : cli_print_looks(cli, look, NULL, err);
}

static const struct cli_verb verb = {
        .name = "inspect",
        .synopsis = "",
        .operands = "INSTANCE ...",
        .min_operands = 1,
        .max_operands = CLI_ANY,
        .flags = CLI_SHOWS,
        .shape = CLI_INSTANCE_SHAPE " accelerator_reason",
        .run = run,
};

int main(int argc, char **argv)
{
	return cli_main(&verb, NULL, argc, argv);
}
