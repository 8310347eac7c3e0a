/* SPDX-License-Identifier: Apache-2.0 */
/* Private to lib/fork*.c and lib/create.c: one fork operation and its steps. */
#ifndef VM_FORK_IMPL_H
#define VM_FORK_IMPL_H

#include "child.h"

struct vm_fork {
	struct vm_op *op;
	const struct vm_fork_request *request;
	struct vm_held source;
	enum vm_state target;
	struct vm_driver_info binary;
	struct vm_child *children;
	size_t count;
	int64_t paused_us; /* how long a running source was paused */
	int64_t disks_us;  /* of that, to copy its disks */
	bool copied;       /* disks were copied, the filesystem shares no extents */
};

/* Whether memory and state go into the forks (else they boot, or stay stopped). */
bool vm_fork_with_memory(const struct vm_fork *fork);

/* Directories and files of all children, from a source that is stopped or in standby. */
int vm_fork_prepare_frozen(struct vm_fork *fork, struct vm_err *err);
/*
 * The same from a running source: paused, saved into the first child, resumed in place; the other
 * children are made from the first. The source goes on before this returns, also on failure, unless
 * the message says otherwise.
 */
int vm_fork_prepare_running(struct vm_fork *fork, struct vm_err *err);
/* Makes the saved state of `from_fd` (under `from_name`) the child's own: its guest CID goes in. */
int vm_fork_move_state(struct vm_fork *fork, struct vm_child *child, int from_fd,
                       const char *from_name, struct vm_err *err);
/* Copies private disks (read-only ones are linked), kernel and initrd from one directory to a
 * child. */
int vm_fork_copy_disks(struct vm_fork *fork, struct vm_child *child, int from_fd,
                       struct vm_err *err);
int vm_fork_link_kernel(struct vm_fork *fork, struct vm_child *child, int from_fd,
                        struct vm_err *err);
int vm_fork_link(int from_fd, int to_fd, const char *name, struct vm_err *err);
/* Syncs what a child that is not going to run must keep over a power loss, manifest last. */
int vm_fork_make_durable(struct vm_fork *fork, struct vm_child *child, struct vm_err *err);

/* Brings every child that has no err to running; a failure is the child's own err. */
void vm_fork_launch(struct vm_fork *fork);

#endif
