/* SPDX-License-Identifier: Apache-2.0 */
/* Finding one's way in the shape of an object, a text that cli_format_compile() describes. */
#ifndef CLI_SHAPE_H
#define CLI_SHAPE_H

#include <stdbool.h>
#include <stddef.h>

#include "err.h"

enum cli_kind { CLI_SCALAR, CLI_OBJECT, CLI_LIST, CLI_ANYTHING };

/* A place in a shape. */
struct cli_shape {
	enum cli_kind kind;
	const char *body; /* its entries, as long as the shape lives */
	size_t len;
};

/* The name of a key: as the template has it, or as the shape does. */
struct cli_key {
	const char *name;
	size_t len;
	bool exact; /* compared as it is */
};

/* Goes to what is below a key, and puts its real name into `key`. Returns 0, or -1 (usage). */
int cli_shape_key(struct cli_shape *at, struct cli_key *key, struct vm_err *err);
/* Goes to an item of a list. Returns 0, or -1 (usage). */
int cli_shape_item(struct cli_shape *at, struct vm_err *err);
/* Whether names are the same key but for case and underscores. */
bool cli_key_same(const char *left, size_t left_len, const char *right, size_t right_len);

#endif
