/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Repair: what a verb that was killed, or a VMM that died, has left is put right by whoever holds
 * the instance's lock next. docs/architecture.md has the table of what each intent means after a
 * kill.
 */
#ifndef VM_SETTLE_H
#define VM_SETTLE_H

#include "held.h"

/* Whether the row, its intent and the VMM's liveness disagree: 1, 0, -1. Any lock mode. */
int vm_settle_needed(const struct vm_op *op, const struct vm_held *held, struct vm_err *err);
/*
 * What an instance whose VMM is dead has become: stopped (its guest shut down, or it was being
 * stopped), standby (it was being put there, and all is saved) or failed, and then why.
 */
enum vm_state vm_settle_verdict(const struct vm_instance *row, const struct vm_driver *driver,
                                int dir_fd, char *why, size_t size);
/*
 * Settles an instance held exclusively and reloads its row. `*ret_gone`: a half-done removal was
 * finished, the instance does not exist any more.
 */
int vm_settle(struct vm_op *op, struct vm_held *held, bool *ret_gone, struct vm_err *err);

/* The same after a failure of our own, whose intent is still there. */
int vm_settle_again(struct vm_op *op, struct vm_held *held, struct vm_err *err);

#endif
