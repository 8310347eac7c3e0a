/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/table.h"
#include "cli/text.h"
#include "cli/tree.h"
#include "util.h"

enum { KEY_LABEL = 'l', KEY_STATE = CLI_KEY_VERB, KEY_PARENT, KEY_TREE, KEY_NAMES };

enum { SHORT_ID = 12 };

struct ls_options {
	unsigned states; /* bit mask of 1 << state; 0: all */
	const char *parent;
	struct vm_label_selector labels; /* owned */
	bool tree, names;
};

/* Instances that are to be shown. */
struct selection {
	struct vm_instance *instances;
	size_t count;
	struct vm_label_index *labels; /* of all there are; NULL where nobody needs them */
};

static const struct cli_option ls_options[] = {
        {"state", KEY_STATE, "STATE[,STATE]",
         "only instances in one of these states; may be repeated", 0, false},
        {"label", KEY_LABEL, "LABEL[,LABEL]",
         "only those that KEY, KEY=VALUE, KEY!=VALUE, !KEY is true of; may be repeated", 0, false},
        {"parent", KEY_PARENT, "SOURCE", "only forks of this instance", 0, false},
        {"tree", KEY_TREE, NULL, "draw the family tree: each source followed by its forks", 0,
         false},
        {"names", KEY_NAMES, NULL, NULL, 0,
         false}, /* for shell completion: names only, unverified */
        {NULL, 0, NULL, NULL, 0, false},
};

static int option(void *ctx, int key, const char *value, struct vm_err *err)
{
	struct ls_options *options = ctx;

	switch (key) {
	case KEY_STATE:
		return cli_parse_states(value, &options->states, err);
	case KEY_LABEL:
		return vm_label_selector_add(&options->labels, value, err) < 0
		               ? vm_err_wrap(err, "--label")
		               : 0;
	case KEY_PARENT:
		options->parent = value;
		return 0;
	case KEY_TREE:
		options->tree = true;
		return 0;
	default:
		options->names = true;
		return 0;
	}
}

static void free_selection(struct selection *selection)
{
	vm_instances_free(selection->instances, selection->count);
	vm_label_index_free(selection->labels);
}

/* All instances, or those the operands name; an operand that names none is reported. */
static int list_instances(struct cli *cli, struct selection *selection, struct vm_err *err)
{
	size_t wanted = (size_t)cli->operand_count;

	if (wanted == 0)
		return vm_store_list(cli->root.store,
		                     cli->output == CLI_JSON ? VM_LIST_VISIBLE : VM_LIST_BRIEF,
		                     &selection->instances, &selection->count, err);
	selection->instances = vm_calloc(wanted, sizeof(*selection->instances), err);
	if (selection->instances == NULL)
		return -1;
	for (size_t i = 0; i < wanted; i++) {
		struct vm_err one = {0};

		if (vm_store_find(cli->root.store, cli->operands[i],
		                  &selection->instances[selection->count], &one) < 0)
			cli_fail(cli, &one);
		else
			selection->count++;
	}
	return 0;
}

static int select_instances(struct cli *cli, struct selection *selection, struct vm_err *err)
{
	if (list_instances(cli, selection, err) < 0)
		return -1;
	cli_tree_sort(selection->instances, selection->count);
	return 0;
}

/* --parent also finds the forks of a source that was removed: by the name or id they remember. */
static int resolve_parent(struct cli *cli, const struct selection *selection, const char *parent,
                          char ret_id[VM_ID_LEN + 1], struct vm_err *err)
{
	VM_AUTO(vm_instance_free) struct vm_instance found = {0};

	if (vm_store_find(cli->root.store, parent, &found, err) == 0) {
		memcpy(ret_id, found.id, sizeof(found.id));
		return 0;
	}
	for (size_t i = 0; err->code == VM_ERR_NOT_FOUND && i < selection->count; i++) {
		const struct vm_instance *fork = &selection->instances[i];

		if (strcmp(fork->parent_name, parent) == 0 ||
		    strcmp(fork->parent_id, parent) == 0) {
			memcpy(ret_id, fork->parent_id, sizeof(fork->parent_id));
			vm_err_clear(err);
			return 0;
		}
	}
	return -1;
}

/* One query for all: there may be thousands. After the rows, so that none lacks its own. */
static int read_labels(struct cli *cli, struct selection *selection, struct vm_err *err)
{
	const struct ls_options *options = cli->options;

	return options->labels.count > 0 || cli->output == CLI_JSON
	               ? vm_store_list_labels(cli->root.store, &selection->labels, err)
	               : 0;
}

static bool has_labels(const struct ls_options *options, const struct selection *selection,
                       const struct vm_instance *instance)
{
	return vm_label_selector_matches(&options->labels,
	                                 vm_label_index_of(selection->labels, instance->id));
}

/* Drops what the filters do not let through; states are those that are true now. */
static int filter(struct cli *cli, struct selection *selection, struct vm_err *err)
{
	const struct ls_options *options = cli->options;
	char parent_id[VM_ID_LEN + 1] = "";
	size_t kept = 0, seen = selection->count;

	if (options->parent != NULL &&
	    resolve_parent(cli, selection, options->parent, parent_id, err) < 0)
		return -1;
	for (size_t i = 0; i < seen; i++) {
		struct vm_instance *instance = &selection->instances[i], moved;

		if (options->labels.count > 0 && !has_labels(options, selection, instance))
			continue;
		if (!options->names && vm_observe(&cli->root, instance, err) < 0)
			return -1;
		if ((options->states != 0 && (options->states & 1U << instance->state) == 0) ||
		    (options->parent != NULL && strcmp(instance->parent_id, parent_id) != 0))
			continue;
		moved = *instance;
		*instance = selection->instances[kept];
		selection->instances[kept++] = moved;
	}
	for (size_t i = kept; i < seen; i++)
		vm_instance_free(&selection->instances[i]);
	selection->count = kept;
	return 0;
}

/* Most instances have as much memory as the one above. */
struct memory_text {
	uint64_t bytes;
	char text[32];
};

static const char *format_memory(struct memory_text *last, uint64_t bytes)
{
	if (last->text[0] == '\0' || last->bytes != bytes)
		vm_size_format(bytes, last->text, sizeof(last->text));
	last->bytes = bytes;
	return last->text;
}

static void put_row(struct cli_grid *grid, size_t row, const char *prefix,
                    const struct vm_instance *instance, struct memory_text *memory)
{
	struct vm_err err = {0};
	char text[VM_ID_LEN + 1];

	if (prefix[0] != '\0')
		cli_grid_put(grid, row, 0, vm_strf(&err, "%s%s", prefix, instance->name));
	else
		cli_grid_copy(grid, row, 0, instance->name);
	memcpy(text, instance->id, sizeof(text));
	text[SHORT_ID] = '\0';
	cli_grid_copy(grid, row, 1, text);
	cli_grid_copy(grid, row, 2, vm_state_name(instance->state));
	cli_grid_colour(grid, row, 2, cli_state_colour(instance->state));
	cli_grid_copy(grid, row, 3, instance->hypervisor);
	cli_grid_copy(grid, row, 4, vm_decimal(instance->vcpus, text));
	cli_grid_copy(grid, row, 5, format_memory(memory, instance->memory_bytes));
	if (instance->guest_cid != 0)
		cli_grid_copy(grid, row, 6, vm_decimal(instance->guest_cid, text));
	cli_grid_copy(grid, row, 7, instance->parent_name);
	cli_grid_put(grid, row, 8, cli_when(instance->created_us, &err));
}

static int print_table(const struct selection *selection, const struct cli_tree_line *lines,
                       struct vm_err *err)
{
	static const char *const header[] = {"NAME",   "ID",  "STATE",  "HYPERVISOR", "VCPUS",
	                                     "MEMORY", "CID", "PARENT", "CREATED"};
	static const struct cli_column gives[] = {
	        {0},                         /* NAME */
	        {.rank = 2},                 /* ID */
	        {0},                         /* STATE */
	        {.rank = 6},                 /* HYPERVISOR */
	        {.rank = 7},                 /* VCPUS */
	        {.rank = 4},                 /* MEMORY */
	        {.rank = 8},                 /* CID */
	        {.least = 8, .rank = 3},     /* PARENT */
	        {.rank = 1, .moment = true}, /* CREATED */
	};
	VM_AUTO(cli_grid_free) struct cli_grid grid = {0};
	struct memory_text memory = {0};

	if (cli_grid_init(&grid, header, VM_ARRAY_LEN(header), selection->count, err) < 0)
		return -1;
	grid.gives = gives;
	for (size_t i = 0; i < selection->count; i++)
		put_row(&grid, i, lines != NULL ? lines[i].prefix : "",
		        lines != NULL ? lines[i].instance : &selection->instances[i], &memory);
	cli_grid_print(&grid);
	return 0;
}

static int print_tree(const struct selection *selection, struct vm_err *err)
{
	struct cli_tree_line *lines = NULL;
	int rc;

	if (cli_tree_make(selection->instances, selection->count, cli_utf8(), &lines, err) < 0)
		return -1;
	rc = print_table(selection, lines, err);
	cli_tree_free(lines, selection->count);
	return rc;
}

static json_t *instance_json(const struct cli *cli, const struct selection *selection, size_t i)
{
	const struct vm_instance *instance = &selection->instances[i];

	return cli_instance_json_with(
	        &cli->root, instance,
	        vm_labels_to_json(vm_label_index_of(selection->labels, instance->id)));
}

static int print_objects(struct cli *cli, const struct selection *selection, struct vm_err *err)
{
	VM_AUTO(cli_list_free) struct cli_list list = {0};

	for (size_t i = 0; i < selection->count; i++)
		if (cli_list_add(cli, &list, instance_json(cli, selection, i), err) < 0)
			return -1;
	return cli_list_end(cli, &list, err);
}

static int print_selection(struct cli *cli, const struct selection *selection, struct vm_err *err)
{
	const struct ls_options *options = cli->options;

	if (options->names || cli->quiet) {
		for (size_t i = 0; i < selection->count; i++)
			cli_print_word(cli, options->names ? selection->instances[i].name
			                                   : selection->instances[i].id);
		return 0;
	}
	if (cli->output == CLI_JSON)
		return print_objects(cli, selection, err);
	return options->tree ? print_tree(selection, err) : print_table(selection, NULL, err);
}

static int run(struct cli *cli, struct vm_err *err)
{
	const struct ls_options *options = cli->options;
	VM_AUTO(free_selection) struct selection selection = {0};

	if (options->tree && (cli->quiet || cli->output == CLI_JSON))
		return cli_usage(
		        cli, err,
		        "--tree is a table: it goes neither with -q nor with -o json, -o yaml "
		        "or --format");
	if (cli_open(cli, VM_ROOT_READ, err) < 0 || select_instances(cli, &selection, err) < 0 ||
	    read_labels(cli, &selection, err) < 0 || filter(cli, &selection, err) < 0)
		return -1;
	return print_selection(cli, &selection, err);
}

static const struct cli_verb verb = {
        .name = "ls",
        .synopsis = "[--state STATE[,STATE]] [-l LABEL[,LABEL]] [--parent SOURCE] [--tree]",
        .operands = "[INSTANCE ...]",
        .max_operands = CLI_ANY,
        .flags = CLI_PRINTS | CLI_LISTS,
        .options = ls_options,
        .option = option,
        .run = run,
};

int main(int argc, char **argv)
{
	struct ls_options options = {0};
	int status = cli_main(&verb, &options, argc, argv);

	vm_label_selector_free(&options.labels);
	return status;
}
