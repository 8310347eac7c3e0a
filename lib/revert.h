/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `snapshot restore`, which takes an instance back to one of its images in place; in intents and
 * events its verb is "revert", for "restore" is what wakes a standby.
 *
 * The new files are staged in trash/<id>.staged, complete and synced, with the file
 * VM_FILE_REVERTED among them. Then the two directories change places. That is the point of no
 * return: whoever finds the intent and that file in guests/<id> carries the revert through, else
 * the staged files go.
 */
#ifndef VM_REVERT_H
#define VM_REVERT_H

#include "held.h"

#define VM_FILE_REVERTED "reverted"

/* Whether the instance, whose intent says "revert", has its new files already. */
bool vm_revert_is_done(const struct vm_held *held);
/*
 * What comes after that: the row says what the new files are, the old ones go, the intent ends with
 * `event`. Each step may find its work done. held->dir_fd is the new directory's.
 */
int vm_revert_finish(struct vm_op *op, struct vm_held *held, const struct vm_event *event,
                     struct vm_err *err);
/* Removes what is staged, or the old files, of the instance. */
int vm_revert_drop_staged(const struct vm_root *root, const char *id, struct vm_err *err);

#endif
