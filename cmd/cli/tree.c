/* SPDX-License-Identifier: Apache-2.0 */
#include "tree.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "util.h"

#define NOBODY SIZE_MAX

struct node {
	size_t parent, first_child, last_child, next; /* indices or NOBODY */
};

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

/* Finds every parent by its id: a sorted index keeps that quick for thousands of forks. */
static int link_parents(const struct vm_instance *instances, size_t count, struct node *nodes,
                        struct vm_err *err)
{
	VM_AUTO_FREE struct by_id *by_id = vm_calloc(count + 1, sizeof(*by_id), err);

	if (by_id == NULL)
		return -1;
	for (size_t i = 0; i < count; i++)
		by_id[i] = (struct by_id){instances[i].id, i};
	qsort(by_id, count, sizeof(*by_id), compare_ids);
	for (size_t i = 0; i < count; i++) {
		struct by_id wanted = {instances[i].parent_id, 0};
		const struct by_id *found =
		        bsearch(&wanted, by_id, count, sizeof(*by_id), compare_ids);

		nodes[i] = (struct node){NOBODY, NOBODY, NOBODY, NOBODY};
		if (found != NULL)
			nodes[i].parent = found->index;
	}
	return 0;
}

/* nodes[count] stands above the roots. */
static void link_children(struct node *nodes, size_t count)
{
	nodes[count] = (struct node){NOBODY, NOBODY, NOBODY, NOBODY};
	for (size_t i = 0; i < count; i++) {
		struct node *parent;

		if (nodes[i].parent == NOBODY)
			nodes[i].parent = count;
		parent = &nodes[nodes[i].parent];
		if (parent->last_child == NOBODY)
			parent->first_child = i;
		else
			nodes[parent->last_child].next = i;
		parent->last_child = i;
	}
}

static char *make_prefix(const struct node *nodes, size_t count, size_t index,
                         const struct strokes *strokes, struct vm_err *err)
{
	size_t depth = 0, len = 0;
	const char **parts;
	char *text;

	for (size_t i = index; nodes[i].parent != count; i = nodes[i].parent)
		depth++;
	parts = vm_calloc(depth + 1, sizeof(*parts), err);
	if (parts == NULL)
		return NULL;
	for (size_t i = index, at = depth; at > 0; i = nodes[i].parent) {
		bool last = nodes[i].next == NOBODY;

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

/* The node after `index` when the tree is read from top to bottom; NOBODY at the end. */
static size_t next_in_tree(const struct node *nodes, size_t count, size_t index)
{
	if (nodes[index].first_child != NOBODY)
		return nodes[index].first_child;
	while (index != count && nodes[index].next == NOBODY)
		index = nodes[index].parent;
	return index != count ? nodes[index].next : NOBODY;
}

int cli_tree_make(const struct vm_instance *instances, size_t count, bool utf8,
                  struct cli_tree_line **ret_lines, struct vm_err *err)
{
	VM_AUTO_FREE struct node *nodes = vm_calloc(count + 1, sizeof(*nodes), err);
	struct cli_tree_line *lines;
	size_t line = 0;

	if (nodes == NULL || link_parents(instances, count, nodes, err) < 0)
		return -1;
	link_children(nodes, count);
	lines = vm_calloc(count + 1, sizeof(*lines), err);
	if (lines == NULL)
		return -1;
	for (size_t i = next_in_tree(nodes, count, count); i != NOBODY;
	     i = next_in_tree(nodes, count, i)) {
		lines[line].instance = &instances[i];
		lines[line].prefix =
		        make_prefix(nodes, count, i, utf8 ? &utf8_strokes : &ascii_strokes, err);
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
