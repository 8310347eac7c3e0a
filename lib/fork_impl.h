/* SPDX-License-Identifier: Apache-2.0 */
/* Private to lib/fork*.c and lib/create.c: one fork operation and its steps. */
#ifndef VM_FORK_IMPL_H
#define VM_FORK_IMPL_H

#include "child.h"
#include "overlay.h"

struct vm_fork {
	struct vm_op *op;
	const struct vm_fork_request *request;
	struct vm_held source;
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
