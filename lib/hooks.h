/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hooks: executables in hooks.d/{pre,post}-EVENT/ beside the settings: the system's, the user's,
 * the data root's, in this order, in each directory in order of name. docs/hooks.md and
 * vmctl-hooks(7) tell what they are promised.
 *
 * Pre-hooks run while no lock of an instance is held, so they may call vmctl on it; what they, or
 * anybody, change meanwhile is seen by the look under the lock. One that fails ends the verb before
 * anything was changed. Post-hooks run after the commit, when all locks of instances are released;
 * one that fails is a warning and an event. Which hooks there are is found once, before the first
 * of them runs: so a hook that must not run (trust.h) is told before anything is done. A verb that
 * a hook runs has none: $VMCTL_HOOK is set.
 */
#ifndef VM_HOOKS_H
#define VM_HOOKS_H

#include <jansson.h>

#include "held.h"

enum vm_hook_event {
	VM_HOOK_FORK,
	VM_HOOK_START,
	VM_HOOK_RESTORE,
	VM_HOOK_STANDBY,
	VM_HOOK_RM,
	VM_HOOK_EVENTS,
};
enum vm_hook_when { VM_HOOK_PRE, VM_HOOK_POST, VM_HOOK_WHENS };

enum { VM_HOOK_NAME_SIZE = 16 };
/* "pre-start". Returns buf. */
const char *vm_hook_name(enum vm_hook_when when, enum vm_hook_event event,
                         char buf[VM_HOOK_NAME_SIZE]);

/* Whether it is what vm_hook_name() says of one. */
bool vm_hook_is_name(const char *text);

/* --- finding them -------------------------------------------------------------------------------
 */

/* What becomes of a file in a directory of hooks. */
enum vm_hook_use {
	VM_HOOK_RUNS,
	VM_HOOK_NOT_EXECUTABLE, /* by the one who runs vmctl */
	VM_HOOK_BAD_NAME,       /* it has other characters than A-Z a-z 0-9 _ - */
};
typedef int vm_hook_entry(void *ctx, enum vm_hook_when when, const char *path, enum vm_hook_use use,
                          struct vm_err *err);
/*
 * All files of the directories of an event, in the order in which they would run. What is no file
 * is left out. Errors: usage (a file or directory that somebody else could change), system; those
 * of `each`.
 */
int vm_hooks_each(const struct vm_root *root, enum vm_hook_event event, vm_hook_entry *each,
                  void *ctx, struct vm_err *err);

/* The hooks of one event. */
struct vm_hooks {
	enum vm_hook_event event;
	struct vm_hook_list {
		char **files; /* absolute */
		size_t count;
	} lists[VM_HOOK_WHENS];
};
/* None where a hook has called us. Errors: as vm_hooks_each(). Free with vm_hooks_free(). */
int vm_hooks_find(const struct vm_root *root, enum vm_hook_event event, struct vm_hooks *ret,
                  struct vm_err *err);
bool vm_hooks_any(const struct vm_hooks *hooks);
void vm_hooks_free(struct vm_hooks *hooks);

/* --- running them -------------------------------------------------------------------------------
 */

/* What they are told. */
struct vm_hook_call {
	const struct vm_instance *instance, *source; /* or NULL */
	const json_t *request;                       /* borrowed */
	json_t *labels; /* of an instance that has gone, borrowed; NULL: those it has */
};
/*
 * One after the other until one fails. Errors: hook (it failed or took too long), system (also
 * "interrupted"), insufficient_resources.
 */
int vm_hooks_pre(struct vm_op *op, const struct vm_hooks *hooks, const struct vm_hook_call *call,
                 struct vm_err *err);
/* All of them; an interruption ends the one that runs, and the rest is left out. */
void vm_hooks_post(struct vm_op *op, const struct vm_hooks *hooks, const struct vm_hook_call *call);

/* An operation on one instance that has hooks. */
struct vm_hooked {
	enum vm_hook_event event;
	unsigned from; /* states from which the steps act, as a bit mask of 1 << enum vm_state */
	vm_held_steps *steps;
	const void *arg;
	json_t *request; /* given away; NULL is out of memory */
};
/*
 * vm_held_run() with pre-hooks before and post-hooks behind it; the latter only if the steps have
 * changed something. The pre-hooks run if the instance is, as far as can be seen without its lock,
 * in a state from which the steps act; and the steps never act without them.
 */
int vm_hooks_held_run(struct vm_op *op, const struct vm_hooked *hooked, const char *selector,
                      struct vm_instance *ret, struct vm_err *err);

#endif
