/* SPDX-License-Identifier: Apache-2.0 */
#include "tree.h"

#include <stdlib.h>
#include <string.h>

#include "util.h"

struct strokes {
	const char *branch, *corner, *pass, *blank;
};

static const struct strokes utf8_strokes = {"├─ ", "└─ ", "│  ", "   "};
static const struct strokes ascii_strokes = {"|- ", "`- ", "|  ", "   "};

struct by_id {
	const char *id;
	size_t index;
};

static int compare_ids(const void *left, const void *right)
{
	const struct by_id *a = left, *b = right;

	return strcmp(a->id, b->id);
}

static struct by_id *sort_ids(const struct vm_instance *rows, size_t count, struct vm_err *err)
{
	struct by_id *by_id = vm_calloc(count + 1, sizeof(*by_id), err);

	for (size_t i = 0; by_id != NULL && i < count; i++)
		by_id[i] = (struct by_id){rows[i].id, i};
	if (by_id != NULL)
		qsort(by_id, count, sizeof(*by_id), compare_ids);
	return by_id;
}

static const struct by_id *find_id(const struct by_id *by_id, size_t count, const char *id)
{
	const struct by_id wanted = {id, 0};

	return bsearch(&wanted, by_id, count, sizeof(*by_id), compare_ids);
}

/* Finds every parent by its id: a sorted index keeps that quick for thousands of forks. */
static int link_parents(const struct vm_instance *rows, size_t count, struct cli_tree_node *nodes,
                        struct vm_err *err)
{
	VM_AUTO_FREE struct by_id *by_id = sort_ids(rows, count, err);

	if (by_id == NULL)
		return -1;
	for (size_t i = 0; i < count; i++) {
		const struct by_id *found = find_id(by_id, count, rows[i].parent_id);

		nodes[i] = (struct cli_tree_node){count, count, count, count};
		if (found != NULL)
			nodes[i].parent = found->index;
	}
	return 0;
}

/*
 * Whoever is his own ancestor becomes a root. Each walk goes up until it meets where a walk was
 * before: if that was this one, it is a circle.
 */
static int cut_circles(struct cli_tree_node *nodes, size_t count, struct vm_err *err)
{
	VM_AUTO_FREE size_t *walks = vm_calloc(count + 1, sizeof(*walks), err);

	if (walks == NULL)
		return -1;
	for (size_t i = 0; i < count; i++) {
		size_t at = i, before = i;

		for (; at != count && walks[at] == 0; at = nodes[at].parent) {
			walks[at] = i + 1;
			before = at;
		}
		if (at != count && walks[at] == i + 1)
			nodes[before].parent = count;
	}
	return 0;
}

static void link_children(struct cli_tree_node *nodes, size_t count)
{
	nodes[count] = (struct cli_tree_node){count, count, count, count};
	for (size_t i = 0; i < count; i++) {
		struct cli_tree_node *parent = &nodes[nodes[i].parent];

		if (parent->last_child == count)
			parent->first_child = i;
		else
			nodes[parent->last_child].next = i;
		parent->last_child = i;
	}
}

int cli_tree_link(const struct vm_instance *rows, size_t count, struct cli_tree *ret,
                  struct vm_err *err)
{
	struct cli_tree tree = {count, vm_calloc(count + 1, sizeof(*tree.nodes), err)};

	if (tree.nodes == NULL || link_parents(rows, count, tree.nodes, err) < 0 ||
	    cut_circles(tree.nodes, count, err) < 0) {
		cli_tree_close(&tree);
		return -1;
	}
	link_children(tree.nodes, count);
	*ret = tree;
	return 0;
}

void cli_tree_close(struct cli_tree *tree)
{
	free(tree->nodes);
	tree->nodes = NULL;
}

size_t cli_tree_next(const struct cli_tree *tree, size_t index)
{
	const struct cli_tree_node *nodes = tree->nodes;

	if (nodes[index].first_child != tree->count)
		return nodes[index].first_child;
	while (index != tree->count && nodes[index].next == tree->count)
		index = nodes[index].parent;
	return index != tree->count ? nodes[index].next : tree->count;
}

char *cli_tree_prefix(const struct cli_tree *tree, size_t index, bool utf8, struct vm_err *err)
{
	const struct strokes *strokes = utf8 ? &utf8_strokes : &ascii_strokes;
	const struct cli_tree_node *nodes = tree->nodes;
	size_t depth = 0, len = 0;
	const char **parts;
	char *text;

	for (size_t i = index; nodes[i].parent != tree->count; i = nodes[i].parent)
		depth++;
	parts = vm_calloc(depth + 1, sizeof(*parts), err);
	if (parts == NULL)
		return NULL;
	for (size_t i = index, at = depth; at > 0; i = nodes[i].parent) {
		bool last = nodes[i].next == tree->count;

		if (i == index)
			parts[--at] = last ? strokes->corner : strokes->branch;
		else
			parts[--at] = last ? strokes->blank : strokes->pass;
		len += strlen(parts[at]);
	}
	text = vm_calloc(len + 1, 1, err);
	for (size_t at = 0, end = 0; text != NULL && at < depth; at++) {
		memcpy(text + end, parts[at], strlen(parts[at]));
		end += strlen(parts[at]);
	}
	free(parts);
	return text;
}

/* --- rows ----------------------------------------------------------------------------------------
 */

/* As a fork remembers its source. */
static struct vm_instance make_ghost(const struct vm_instance *fork)
{
	struct vm_instance ghost = {.state = (enum vm_state)CLI_TREE_REMOVED};

	memcpy(ghost.id, fork->parent_id, sizeof(ghost.id));
	memcpy(ghost.name, fork->parent_name, sizeof(ghost.name));
	if (ghost.name[0] == '\0')
		(void)snprintf(ghost.name, sizeof(ghost.name), "%.12s", ghost.id);
	/* The name of an image has its instance's in front. */
	ghost.kind = strchr(ghost.name, '/') != NULL ? VM_KIND_IMAGE : VM_KIND_INSTANCE;
	return ghost;
}

static int compare_rows_by_id(const void *left, const void *right)
{
	const struct vm_instance *a = left, *b = right;

	return strcmp(a->id, b->id);
}

int cli_tree_add_ghosts(struct vm_instance **rows, size_t *count, struct vm_err *err)
{
	VM_AUTO_FREE struct by_id *by_id = sort_ids(*rows, *count, err);
	VM_AUTO_FREE struct vm_instance *ghosts =
	        by_id != NULL ? vm_calloc(*count + 1, sizeof(*ghosts), err) : NULL;
	struct vm_instance *more;
	size_t found = 0, kept = 0;

	if (ghosts == NULL)
		return -1;
	for (size_t i = 0; i < *count; i++)
		if ((*rows)[i].parent_id[0] != '\0' &&
		    find_id(by_id, *count, (*rows)[i].parent_id) == NULL)
			ghosts[found++] = make_ghost(&(*rows)[i]);
	if (found == 0)
		return 0;
	qsort(ghosts, found, sizeof(*ghosts), compare_rows_by_id);
	for (size_t i = 0; i < found; i++)
		if (i == 0 || strcmp(ghosts[i].id, ghosts[kept - 1].id) != 0)
			ghosts[kept++] = ghosts[i];
	more = realloc(*rows, (*count + kept) * sizeof(**rows));
	if (more == NULL)
		return vm_err_sys(err, "drawing the tree");
	memcpy(more + *count, ghosts, kept * sizeof(*ghosts));
	*rows = more;
	*count += kept;
	return 0;
}

int cli_tree_keep(struct vm_instance *rows, size_t *count, const bool *marked, struct vm_err *err)
{
	VM_AUTO_FREE bool *keep = vm_calloc(*count + 1, sizeof(*keep), err);
	VM_AUTO(cli_tree_close) struct cli_tree tree = {0};
	size_t kept = 0;

	if (keep == NULL || cli_tree_link(rows, *count, &tree, err) < 0)
		return -1;
	/* Sources come before what was made of them; keep[*count], above the roots, is false. */
	for (size_t i = cli_tree_next(&tree, *count); i != *count; i = cli_tree_next(&tree, i))
		keep[i] = marked[i] || keep[tree.nodes[i].parent];
	for (size_t i = 0; i < *count; i++) {
		if (keep[i])
			rows[kept++] = rows[i];
		else
			vm_instance_free(&rows[i]);
	}
	*count = kept;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	const struct vm_instance *left = a, *right = b;

	return strverscmp(left->name, right->name);
}

void cli_tree_sort(struct vm_instance *rows, size_t count)
{
	if (count > 1)
		qsort(rows, count, sizeof(*rows), by_name);
}

/* --- lines ---------------------------------------------------------------------------------------
 */

int cli_tree_make(const struct vm_instance *instances, size_t count, bool utf8,
                  struct cli_tree_line **ret_lines, struct vm_err *err)
{
	VM_AUTO(cli_tree_close) struct cli_tree tree = {0};
	struct cli_tree_line *lines;
	size_t line = 0;

	if (cli_tree_link(instances, count, &tree, err) < 0)
		return -1;
	lines = vm_calloc(count + 1, sizeof(*lines), err);
	if (lines == NULL)
		return -1;
	for (size_t i = cli_tree_next(&tree, count); i != count; i = cli_tree_next(&tree, i)) {
		lines[line].instance = &instances[i];
		lines[line].prefix = cli_tree_prefix(&tree, i, utf8, err);
		if (lines[line++].prefix == NULL) {
			cli_tree_free(lines, line);
			return -1;
		}
	}
	*ret_lines = lines;
	return 0;
}

void cli_tree_free(struct cli_tree_line *lines, size_t count)
{
	for (size_t i = 0; lines != NULL && i < count; i++)
		free(lines[i].prefix);
	free(lines);
}
