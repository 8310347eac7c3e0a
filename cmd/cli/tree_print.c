/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "table.h"
#include "text.h"
#include "tree.h"
#include "util.h"

static bool is_ghost(const struct vm_instance *row)
{
	return row->state == (enum vm_state)CLI_TREE_REMOVED;
}

static const char *state_name(const struct vm_instance *row)
{
	return is_ghost(row) ? "removed" : vm_state_name(row->state);
}

/* Nothing where nobody has looked. */
static struct vm_usage_bytes bytes_of(const struct vm_instance *row, const struct vm_usage *usage)
{
	return usage != NULL ? vm_usage_of(usage, row->id) : (struct vm_usage_bytes){0};
}

/* --- table ---------------------------------------------------------------------------------------
 */

static void put_line(struct cli_grid *grid, size_t line, const struct cli_tree_line *drawn,
                     const struct vm_usage *usage)
{
	const struct vm_instance *row = drawn->instance;
	struct vm_usage_bytes bytes;
	struct vm_err err = {0};
	char size[32];

	cli_grid_put(grid, line, 0,
	             vm_strf(&err, "%s%s%s", drawn->prefix, row->name,
	                     is_ghost(row) ? " (removed)" : ""));
	cli_grid_put(grid, line, 1, vm_strdup(vm_kind_name(row->kind), &err));
	if (is_ghost(row))
		return;
	bytes = bytes_of(row, usage);
	cli_grid_put(grid, line, 2, vm_strdup(vm_state_name(row->state), &err));
	cli_grid_colour(grid, line, 2, cli_state_colour(row->state));
	cli_grid_put(grid, line, 3, vm_strdup(row->hypervisor, &err));
	cli_grid_put(grid, line, 4,
	             vm_strdup(vm_size_format(bytes.exclusive, size, sizeof(size)), &err));
	cli_grid_put(grid, line, 5,
	             vm_strdup(vm_size_format(bytes.shared, size, sizeof(size)), &err));
}

int cli_tree_table(const struct vm_instance *rows, size_t count, const struct vm_usage *usage,
                   struct vm_err *err)
{
	static const char *const header[] = {"NAME",       "KIND",      "STATE",
	                                     "HYPERVISOR", "EXCLUSIVE", "SHARED"};
	static const struct cli_column gives[] = {
	        {0},         /* NAME */
	        {.rank = 2}, /* KIND */
	        {0},         /* STATE */
	        {.rank = 3}, /* HYPERVISOR */
	        {0},         /* EXCLUSIVE */
	        {.rank = 1}, /* SHARED */
	};
	VM_AUTO(cli_grid_free) struct cli_grid grid = {0};
	struct cli_tree_line *lines = NULL;

	if (cli_tree_make(rows, count, cli_utf8(), &lines, err) < 0)
		return -1;
	if (cli_grid_init(&grid, header, VM_ARRAY_LEN(header), count, err) < 0) {
		cli_tree_free(lines, count);
		return -1;
	}
	grid.gives = gives;
	for (size_t i = 0; i < count; i++)
		put_line(&grid, i, &lines[i], usage);
	cli_tree_free(lines, count);
	cli_grid_print(&grid);
	return 0;
}

/* --- JSON ----------------------------------------------------------------------------------------
 */

static json_t *node_json(const struct vm_instance *row, const struct vm_usage *usage)
{
	struct vm_usage_bytes bytes = {0};

	if (is_ghost(row))
		return json_pack("{s:s, s:s, s:s, s:s, s:n, s:n, s:n, s:[]}", "id", row->id, "name",
		                 row->name, "kind", vm_kind_name(row->kind), "state",
		                 state_name(row), "hypervisor", "exclusive_bytes", "shared_bytes",
		                 "children");
	bytes = bytes_of(row, usage);
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:[]}", "id", row->id, "name",
	                 row->name, "kind", vm_kind_name(row->kind), "state", state_name(row),
	                 "hypervisor", row->hypervisor, "exclusive_bytes",
	                 (json_int_t)bytes.exclusive, "shared_bytes", (json_int_t)bytes.shared,
	                 "children");
}

/* lists[i]: the children of row i; of the last the roots. Each belongs to its row's object. */
static int add_nodes(const struct vm_instance *rows, const struct cli_tree *tree,
                     const struct vm_usage *usage, bool flat, json_t **lists)
{
	for (size_t i = cli_tree_next(tree, tree->count); i != tree->count;
	     i = cli_tree_next(tree, i)) {
		json_t *node = node_json(&rows[i], usage);

		size_t parent = flat ? tree->count : tree->nodes[i].parent;

		lists[i] = json_object_get(node, "children");
		if (node == NULL || json_array_append_new(lists[parent], node) < 0)
			return -1;
	}
	return 0;
}

json_t *cli_tree_json(const struct vm_instance *rows, size_t count, const struct vm_usage *usage,
                      bool flat, struct vm_err *err)
{
	VM_AUTO_FREE json_t **lists = vm_calloc(count + 1, sizeof(json_t *), err);
	VM_AUTO(cli_tree_close) struct cli_tree tree = {0};
	json_t *roots;

	if (lists == NULL || cli_tree_link(rows, count, &tree, err) < 0)
		return NULL;
	roots = json_array();
	lists[count] = roots;
	if (roots != NULL && add_nodes(rows, &tree, usage, flat, lists) == 0)
		return roots;
	json_decref(roots);
	vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES, "out of memory");
	return NULL;
}

/* --- graphviz ------------------------------------------------------------------------------------
 */

/* Inside of quotes; names have nothing to escape, but who knows what a store has. */
static void put_quoted(FILE *out, const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '"' || *text == '\\')
			(void)fputc('\\', out);
		(void)fputc((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text, out);
	}
}

static const char *colour_of(const struct vm_instance *row)
{
	switch (row->state) {
	case VM_STATE_RUNNING:
		return "palegreen";
	case VM_STATE_PAUSED:
		return "khaki";
	case VM_STATE_STANDBY:
		return "lightblue";
	case VM_STATE_FAILED:
		return "lightcoral";
	case VM_STATE_STOPPED:
		return "lightgrey";
	default:
		return "white";
	}
}

static void put_node(FILE *out, const struct vm_instance *row, const struct vm_usage *usage)
{
	struct vm_usage_bytes bytes;
	char own[32], shared[32];

	(void)fputs("\t\"", out);
	put_quoted(out, row->id);
	(void)fputs("\" [label=\"", out);
	put_quoted(out, row->name);
	(void)fprintf(out, "\\n%s%s", row->kind == VM_KIND_IMAGE ? "snapshot, " : "",
	              state_name(row));
	if (!is_ghost(row)) {
		bytes = bytes_of(row, usage);
		(void)fputs(", ", out);
		put_quoted(out, row->hypervisor);
		(void)fprintf(out, "\\n%s own, %s shared",
		              vm_size_format(bytes.exclusive, own, sizeof(own)),
		              vm_size_format(bytes.shared, shared, sizeof(shared)));
	}
	(void)fprintf(out, "\" shape=%s style=\"%s\" fillcolor=%s]\n",
	              row->kind == VM_KIND_IMAGE ? "folder" : "box",
	              is_ghost(row)                ? "filled,dashed"
	              : row->kind == VM_KIND_IMAGE ? "filled"
	                                           : "filled,rounded",
	              colour_of(row));
}

void cli_tree_dot(const struct vm_instance *rows, const struct cli_tree *tree,
                  const struct vm_usage *usage, FILE *out)
{
	(void)fputs("digraph vmctl {\n\trankdir=LR\n\tnode [fontname=\"sans-serif\"]\n", out);
	for (size_t i = cli_tree_next(tree, tree->count); i != tree->count;
	     i = cli_tree_next(tree, i))
		put_node(out, &rows[i], usage);
	for (size_t i = cli_tree_next(tree, tree->count); i != tree->count;
	     i = cli_tree_next(tree, i)) {
		if (tree->nodes[i].parent == tree->count)
			continue;
		(void)fputs("\t\"", out);
		put_quoted(out, rows[tree->nodes[i].parent].id);
		(void)fputs("\" -> \"", out);
		put_quoted(out, rows[i].id);
		(void)fprintf(out, "\"%s\n",
		              rows[i].kind == VM_KIND_IMAGE ? " [style=dashed]" : "");
	}
	(void)fputs("}\n", out);
}
