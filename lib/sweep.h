/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking away what the dead still hold: names, guest CIDs and places under the limits. Called where
 * one of those is wanted and not to be had, so that nobody is refused because of a process that is
 * no more. Never waits: what somebody holds the lock of is alive.
 */
#ifndef VM_SWEEP_H
#define VM_SWEEP_H

#include "held.h"

/*
 * Whether an admission that was refused so may be tried again: what stood in its way was a dead
 * process's and is gone now, or has gone by itself. `name` is the one that was asked for, NULL
 * where it was no name; `cid_holder` is vm_conflict's.
 */
bool vm_sweep_refusal(struct vm_op *op, enum vm_code refused, const char *name,
                      const char *cid_holder);
/*
 * A `creating` row, if its maker is dead: 1 when it is gone, by us or by itself; 0 when it has been
 * published; -1 (busy: its maker is alive).
 */
int vm_sweep_maker(struct vm_op *op, const struct vm_instance *row, struct vm_err *err);
/* Unlinks lock files of makers that died before, and of removers that died after, the row was
 * there. */
void vm_sweep_lock_files(struct vm_op *op);
/*
 * One lock file, held exclusively: unlinked if no row leads to it; then it is not noted any more,
 * and released.
 */
void vm_sweep_lock_file(struct vm_op *op, const char *id, struct vm_lock *lock);
/* Lock files as above, and removes what dead makers have left half made. Returns how many of these.
 */
size_t vm_sweep_makers(struct vm_op *op);
/* The same, and settles instances whose VMM has died. Returns how many of both. */
size_t vm_sweep_all(struct vm_op *op);

#endif
