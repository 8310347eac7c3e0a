/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>

#include "cli/cli.h"
#include "util.h"

static json_t *look(struct cli *cli, const char *selector, struct vm_err *err)
{
	VM_AUTO(vm_instance_free) struct vm_instance instance = {0};
	json_t *json;

	if (vm_store_find(cli->root.store, selector, &instance, err) < 0 ||
	    vm_observe(&cli->root, &instance, err) < 0)
		return NULL;
	json = cli_instance_json(&cli->root, &instance);
	if (json == NULL)
		vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES, "out of memory");
	return json;
}

/* One selector gives one object, several an array of those that were found. */
static int run(struct cli *cli, struct vm_err *err)
{
	json_t *list;

	if (cli_open(cli, VM_ROOT_READ, err) < 0)
		return -1;
	if (cli->operand_count == 1) {
		json_t *one = look(cli, cli->operands[0], err);

		return one != NULL ? cli_print_json(one, err) : -1;
	}
	list = json_array();
	for (int i = 0; i < cli->operand_count; i++) {
		struct vm_err failure = {0};
		json_t *one = look(cli, cli->operands[i], &failure);

		if (one == NULL)
			cli_fail(cli, &failure);
		else
			(void)json_array_append_new(list, one);
	}
	return cli_print_json(list, err);
}

static const struct cli_verb verb = {
        .name = "inspect",
        .synopsis = "",
        .operands = "INSTANCE ...",
        .min_operands = 1,
        .max_operands = CLI_ANY,
        .run = run,
};

int main(int argc, char **argv)
{
	return cli_main(&verb, NULL, argc, argv);
}
