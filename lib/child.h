/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An instance that is being made, by create or fork: reserved in the store under its own lock, then
 * published or dropped. A `creating` row whose lock is free belongs to a dead maker; whoever wants
 * its name takes it over.
 */
#ifndef VM_CHILD_H
#define VM_CHILD_H

#include "fs.h"
#include "held.h"

struct vm_child {
	struct vm_instance row;
	struct vm_lock
	        lock; /* rank CHILD, exclusive, from before the row exists until it is published */
	int dir_fd;
	struct vm_machine machine;
	int64_t slot_waited_us; /* by this one alone */
	int64_t lock_waited_us; /* for the alias of this one alone */
	const char *message;    /* for its event, or NULL */
	const char *disks;      /* how they came to be, for its event: "reflink", "copy", or NULL */
	bool reserved;          /* the row exists */
	const struct vm_err *err; /* why this one failed (vm_err_keep()), or NULL */
};

/* Fills a row's id and names its lock; the other fields of the row are the caller's. */
void vm_child_init(struct vm_child *child);

/*
 * Locks and reserves all, or none. `rows` need name, hypervisor, vcpus, memory_bytes, spec,
 * occupies and the parent's id and name set, and guest_cid where it is not free to choose: what the
 * dead have of names, places and guest CIDs is taken over. Errors: already_exists, busy,
 * insufficient_resources, system.
 */
int vm_child_reserve(struct vm_op *op, struct vm_child *children, size_t count, bool needs_cid,
                     struct vm_err *err);
/* Makes guests/<id>/ and opens it. */
int vm_child_make_dir(struct vm_op *op, struct vm_child *child, struct vm_err *err);
/* Notes how a disk of its own came to be. */
void vm_child_note_copy(struct vm_child *child, enum vm_copy how);
/* Commits the states of all children that have no err, in one transaction. */
int vm_child_publish(struct vm_op *op, struct vm_child *children, size_t count, enum vm_state state,
                     const char *version, const char *relocation, struct vm_err *err);
/* Undoes all of a child: VMM, directory, row, locks. For undo paths: reports by a warning. */
void vm_child_drop(struct vm_op *op, struct vm_child *child, const struct vm_err *why);
/* Lets go of a child: closes what is open, releases its lock. Row and files stay. */
void vm_child_release(struct vm_child *child);

#endif
