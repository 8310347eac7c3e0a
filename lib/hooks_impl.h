/* SPDX-License-Identifier: Apache-2.0 */
/* Private to lib/hooks*.c. */
#ifndef VM_HOOKS_IMPL_H
#define VM_HOOKS_IMPL_H

#include "hooks.h"

/* --- hooks_tell.c: what a hook is told */

struct vm_hook_words {
	char **environment; /* NULL-terminated; the first `own` are ours, the rest is borrowed */
	size_t own;
	char *input; /* JSON, for its standard input */
};
int vm_hook_words_make(const struct vm_op *op, const char *hook, const struct vm_hook_call *call,
                       struct vm_hook_words *ret, struct vm_err *err);
void vm_hook_words_free(struct vm_hook_words *words);
/* The labels that one has now, an object; null if it has gone. A new reference, or NULL. */
json_t *vm_hook_labels(const struct vm_root *root, const struct vm_instance *row);

/* --- hooks_run.c */

/*
 * Runs one and waits for it: in a process group of its own, in "/", with no descriptor but the
 * standard ones, its output on our standard error. When timeout_ms have passed, or we are
 * interrupted, the group gets SIGTERM, and a little later SIGKILL. Errors: as vm_hooks_pre().
 */
int vm_hook_run(const char *file, const struct vm_hook_words *words, int64_t timeout_ms,
                struct vm_err *err);

#endif
