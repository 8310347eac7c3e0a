/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "util.h"

/* What the operands behind the first say; the keys that go are owned. */
struct changes {
	struct vm_labels set, drop; /* of `drop` only the keys count */
	const char **keys;          /* those of `drop` */
};

static void free_changes(struct changes *changes)
{
	vm_labels_free(&changes->set);
	vm_labels_free(&changes->drop);
	vm_cleanup_free(&changes->keys);
}

static int twice(const struct cli *cli, const char *key, struct vm_err *err)
{
	return cli_usage(cli, err, "the label '%s' is given twice", key);
}

/* "KEY-" */
static int take_drop(const struct cli *cli, const char *operand, struct changes *changes,
                     struct vm_err *err)
{
	VM_AUTO_FREE char *key = vm_strf(err, "%.*s", (int)strlen(operand) - 1, operand);

	if (key == NULL || vm_label_check_key(key, err) < 0)
		return -1;
	if (vm_labels_get(&changes->set, key) != NULL || vm_labels_get(&changes->drop, key) != NULL)
		return twice(cli, key, err);
	return vm_labels_put(&changes->drop, key, "", err);
}

/* "KEY=VALUE" */
static int take_set(const struct cli *cli, const char *operand, struct changes *changes,
                    struct vm_err *err)
{
	size_t before = changes->set.count;
	VM_AUTO_FREE char *key = vm_strf(err, "%.*s", (int)strcspn(operand, "="), operand);

	if (key == NULL || vm_labels_set_text(&changes->set, operand, err) < 0)
		return -1;
	return changes->set.count == before || vm_labels_get(&changes->drop, key) != NULL
	               ? twice(cli, key, err)
	               : 0;
}

static int take_changes(const struct cli *cli, struct changes *changes, struct vm_err *err)
{
	for (int i = 1; i < cli->operand_count; i++) {
		const char *operand = cli->operands[i];
		size_t len = strlen(operand);
		int rc;

		if (strchr(operand, '=') != NULL)
			rc = take_set(cli, operand, changes, err);
		else if (len > 0 && operand[len - 1] == '-')
			rc = take_drop(cli, operand, changes, err);
		else
			rc = cli_usage(cli, err, "'%.200s' is neither KEY=VALUE nor KEY-", operand);
		if (rc < 0)
			return -1;
	}
	changes->keys = vm_calloc(changes->drop.count + 1, sizeof(*changes->keys), err);
	if (changes->keys == NULL)
		return -1;
	for (size_t i = 0; i < changes->drop.count; i++)
		changes->keys[i] = changes->drop.list[i].key;
	return 0;
}

static int change(struct cli *cli, struct vm_err *err)
{
	VM_AUTO(vm_instance_free) struct vm_instance instance = {0};
	VM_AUTO(free_changes) struct changes changes = {0};
	struct vm_label_change request;

	if (take_changes(cli, &changes, err) < 0 || cli_open(cli, VM_ROOT_CHANGE, err) < 0)
		return -1;
	request = (struct vm_label_change){
	        .set = changes.set, .drop = changes.keys, .drop_count = changes.drop.count};
	if (vm_label(&cli->op, cli->operands[0], &request, &instance, err) < 0)
		return -1;
	cli_say_took(cli, instance.name);
	return cli_print_instance(cli, &instance, err);
}

static int print_labels(const struct cli *cli, const struct vm_labels *labels, struct vm_err *err)
{
	for (size_t i = 0; i < labels->count; i++) {
		VM_AUTO_FREE char *word =
		        vm_strf(err, "%s=%s", labels->list[i].key, labels->list[i].value);

		if (word == NULL)
			return -1;
		cli_print_word(cli, word);
	}
	return 0;
}

static int show(struct cli *cli, struct vm_err *err)
{
	VM_AUTO(vm_instance_free) struct vm_instance instance = {0};
	VM_AUTO(vm_labels_free) struct vm_labels labels = {0};

	if (cli->quiet)
		return cli_usage(cli, err, "-q prints ids, and there is nothing to change");
	if (cli_open(cli, VM_ROOT_READ, err) < 0 ||
	    vm_store_find(cli->root.store, cli->operands[0], &instance, err) < 0 ||
	    vm_store_get_labels(cli->root.store, instance.id, &labels, err) < 0)
		return -1;
	/* A template is about the instance, whether it was changed or not. */
	if (cli->format_text != NULL)
		return cli_print_instance(cli, &instance, err);
	if (cli->output == CLI_JSON)
		return cli_print_json(cli, vm_labels_to_json(&labels), err);
	return print_labels(cli, &labels, err);
}

static int run(struct cli *cli, struct vm_err *err)
{
	return cli->operand_count > 1 ? change(cli, err) : show(cli, err);
}

static const struct cli_verb verb = {
        .name = "label",
        .synopsis = "",
        .operands = "INSTANCE|SNAPSHOT [KEY=VALUE ...] [KEY- ...]",
        .min_operands = 1,
        .max_operands = CLI_ANY,
        .flags = CLI_WAITS | CLI_PRINTS,
        .run = run,
};

int main(int argc, char **argv)
{
	return cli_main(&verb, NULL, argc, argv);
}
