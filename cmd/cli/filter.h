/* SPDX-License-Identifier: Apache-2.0 */
/* Another program as a filter: it gets a text and gives one back. No shell has a part in it. */
#ifndef CLI_FILTER_H
#define CLI_FILTER_H

#include <stddef.h>

#include "err.h"

/*
 * Runs argv[0], which is looked up in PATH, with `input` as its standard input. *ret_output is what
 * it wrote, with a NUL behind it; free() it. Errors (system): it is not installed (`hint` is what
 * to do then), it failed (the message has what it said), interrupted: then it is ended.
 */
int cli_filter(const char *const *argv, const char *hint, const char *input, size_t len,
               char **ret_output, size_t *ret_len, struct vm_err *err);

#endif
