/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The family tree of instances and images: each source followed by what was made of it. Nothing
 * here recurses, so that a thousand generations are no deeper than one.
 */
#ifndef CLI_TREE_H
#define CLI_TREE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "store.h"
#include "usage.h"

/* The state of a ghost: a source that was removed, made up so that its forks stay together. */
enum { CLI_TREE_REMOVED = VM_STATE_COUNT };

struct cli_tree_node {
	size_t parent, first_child, last_child, next; /* indices; the tree's `count`: none */
};

struct cli_tree {
	size_t count;
	struct cli_tree_node *nodes; /* one a row, and nodes[count] stands above the roots */
};

/*
 * Links rows to their sources; free with cli_tree_close(). One whose source is not among them is a
 * root, and so is one of a circle, which only a damaged store has. Brothers stay in the order of
 * the rows.
 */
int cli_tree_link(const struct vm_instance *rows, size_t count, struct cli_tree *ret,
                  struct vm_err *err);
void cli_tree_close(struct cli_tree *tree);
/* From top to bottom: the first for tree->count, then each one's next; tree->count at the end. */
size_t cli_tree_next(const struct cli_tree *tree, size_t index);
/* What is drawn before a name; malloc'ed, or NULL. */
char *cli_tree_prefix(const struct cli_tree *tree, size_t index, bool utf8, struct vm_err *err);

/*
 * Appends a ghost for each source that is remembered and not there; the array may move. A ghost has
 * an id, a kind, the name that was remembered (its short id if none was), and the state
 * CLI_TREE_REMOVED.
 */
int cli_tree_add_ghosts(struct vm_instance **rows, size_t *count, struct vm_err *err);
/* Moves those below the marked rows, and these, to the front in the order they had, frees the
 * others. */
int cli_tree_keep(struct vm_instance *rows, size_t *count, const bool *marked, struct vm_err *err);
/* In order of name as people count: web-2 before web-10. */
void cli_tree_sort(struct vm_instance *rows, size_t count);

struct cli_tree_line {
	const struct vm_instance *instance;
	char *prefix; /* what is drawn before the name, owned */
};

/* Makes one line per row from top to bottom, free with cli_tree_free(). */
int cli_tree_make(const struct vm_instance *instances, size_t count, bool utf8,
                  struct cli_tree_line **ret_lines, struct vm_err *err);
void cli_tree_free(struct cli_tree_line *lines, size_t count);

/* --- tree_print.c: what `vmctl tree` prints, in each of its formats; vmctl-tree(1) ---------------
 */

/* Bytes are 0 where `usage` is NULL, here and below. */
int cli_tree_table(const struct vm_instance *rows, size_t count, const struct vm_usage *usage,
                   struct vm_err *err);
/*
 * An array of the roots, each with its children; or, `flat`, of all one after the other, each
 * without. A new reference, or NULL when out of memory.
 */
json_t *cli_tree_json(const struct vm_instance *rows, size_t count, const struct vm_usage *usage,
                      bool flat, struct vm_err *err);
/* A directed graph in graphviz's language, of the rows as they are linked. */
void cli_tree_dot(const struct vm_instance *rows, const struct cli_tree *tree,
                  const struct vm_usage *usage, FILE *out);

#endif
