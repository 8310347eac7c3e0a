/* SPDX-License-Identifier: Apache-2.0 */
/* Private to lib/fork*.c and lib/create.c: one fork operation and its steps. */
#ifndef VM_FORK_IMPL_H
#define VM_FORK_IMPL_H

#include "child.h"
#include "hooks.h"
#include "overlay.h"

struct vm_fork {
	struct vm_op *op;
	const struct vm_fork_request *request;
	const char *selector; /* of the source; by its id once hooks were told of it */
	struct vm_held source;
	struct vm_hooks hooks;
	json_t *hook_request; /* as the hooks are told; NULL where there are none */
	char source_id[VM_ID_LEN + 1];
	enum vm_state target;
	struct vm_driver_info binary;
	enum vm_alias_method
	        alias; /* how its state is loaded, where that names another directory */
	struct vm_child *children;
	size_t count;
	struct vm_spec *specs;   /* of each fork, where they are not the source's; else NULL */
	struct vm_frozen frozen; /* layers of the source that the forks' disks lie on */
	int64_t paused_us;       /* how long a running source was paused */
	int64_t disks_us;        /* of that, to copy its disks */
	bool copied;             /* disks were copied, the filesystem shares no extents */
};

/* Whether memory and state go into the forks (else they boot, or stay stopped). */
bool vm_fork_with_memory(const struct vm_fork *fork);

/* Whether a source in this state can be forked as asked. Decided again under the lock. */
int vm_fork_check_source(const struct vm_fork_request *request, const struct vm_driver *driver,
                         const struct vm_instance *row, enum vm_state *ret_target,
                         struct vm_err *err);
/* Step 2: the source, locked, and checked again. */
int vm_fork_hold_source(struct vm_fork *fork, struct vm_err *err);

/* --- fork_hooks.c */

int vm_fork_find_hooks(struct vm_fork *fork, struct vm_err *err);
/* The pre-hooks, if there are any, and then step 2. */
int vm_fork_hold_after_hooks(struct vm_fork *fork, struct vm_err *err);
/* For each fork that was made, with no lock held but the store's. */
void vm_fork_run_post_hooks(struct vm_fork *fork, const struct vm_instance *source,
                            const struct vm_fork_result *results);
void vm_fork_free_hooks(struct vm_fork *fork);

/* --- fork_network.c */

/*
 * Whether the forks can have the network that is asked for, or, if none is, their source's; before
 * anything is changed. Errors: usage, unsupported, incompatible, busy (the source has its tap
 * device).
 */
int vm_fork_check_network(struct vm_fork *fork, struct vm_err *err);
/* The spec of a fork; borrowed. */
const struct vm_spec *vm_fork_spec(const struct vm_fork *fork, size_t index);
void vm_fork_free_specs(struct vm_fork *fork);

/* Directories and files of all children, from a source that is stopped or in standby. */
int vm_fork_prepare_frozen(struct vm_fork *fork, struct vm_err *err);
/*
 * The same from a running source: paused, saved into the first child, resumed in place; the other
 * children are made from the first. The source goes on before this returns, also on failure, unless
 * the message says otherwise.
 */
int vm_fork_prepare_running(struct vm_fork *fork, struct vm_err *err);
/* Brings every child that has no err to running; a failure is the child's own err. */
void vm_fork_launch(struct vm_fork *fork);

#endif
