/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory lock of a standby, locks/<id>.memory (rank MEMORY): shared by those who link or load
 * its memory file, exclusive while the file is being made usable. Many forks of one source hold the
 * source's lock together, and each may find the memory not usable yet: here they take turns, and
 * one does the work for all.
 */
#ifndef VM_MEMORY_H
#define VM_MEMORY_H

#include "held.h"

/*
 * Takes the lock shared, over a memory file that can be linked and loaded; makes it usable before,
 * if need be. The source's lock is held, in any mode. Errors: busy (somebody makes it usable for
 * longer than we may wait), those of the driver.
 */
int vm_memory_use(struct vm_op *op, const struct vm_held *held, struct vm_lock *ret_lock,
                  struct vm_err *err);

/*
 * Compresses the memory of an image that is held shared or alone, and drops the raw file; the next
 * who needs it unpacks it again. Done already: nothing to do.
 */
int vm_memory_pack(struct vm_op *op, const struct vm_held *held, struct vm_err *err);

#endif
