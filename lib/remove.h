/* SPDX-License-Identifier: Apache-2.0 */
/* Taking an instance away for good: shared by rm, by undo and by repair. */
#ifndef VM_REMOVE_H
#define VM_REMOVE_H

#include "held.h"

/*
 * Ends the VMM, if any, moves the directory to trash/ and empties it, deletes the row (with
 * `event`, may be NULL), and unlinks the lock files, the held lock last. Each step may find its
 * work done already: a removal that was killed is finished by doing it again.
 */
int vm_remove(struct vm_op *op, const char *id, struct vm_lock *lock, const struct vm_event *event,
              struct vm_err *err);

/* The end of an instance or image that is held exclusively: its intent, then all of the above. */
int vm_remove_held(struct vm_op *op, struct vm_held *held, struct vm_err *err);

#endif
