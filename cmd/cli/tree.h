/* SPDX-License-Identifier: Apache-2.0 */
/* Puts instances in the order of a family tree: each source followed by its forks. */
#ifndef CLI_TREE_H
#define CLI_TREE_H

#include <stdbool.h>
#include <stddef.h>

#include "store.h"

struct cli_tree_line {
	const struct vm_instance *instance;
	char *prefix; /* what is drawn before the name, owned */
};

/*
 * Makes one line per instance, free with cli_tree_free(). An instance whose source is not among
 * them is a root; among brothers the order stays as it was.
 */
int cli_tree_make(const struct vm_instance *instances, size_t count, bool utf8,
                  struct cli_tree_line **ret_lines, struct vm_err *err);
void cli_tree_free(struct cli_tree_line *lines, size_t count);

#endif
