/* SPDX-License-Identifier: Apache-2.0 */
/* Who holds the locks of a data root now, and who waits for whom: asked of the kernel. */
#ifndef VM_LOCK_TABLE_H
#define VM_LOCK_TABLE_H

#include "lock.h"
#include "root.h"

struct vm_lock_claim {
	/* Whose lock it is; both "": the store's. */
	char instance_id[VM_ID_LEN + 1], instance_name[VM_FULL_NAME_MAX + 1];
	bool waits; /* for those who hold the same lock */
	/* Of one who waits: behind another who waits to have it alone; the mode is the gate's. */
	bool at_gate;
	struct vm_lock_process process;
};

/*
 * The store's lock first, then by name of instance (`creating` ones too); of each lock those who
 * hold it before those who wait. Everybody who changes anything shares the store's lock: that one
 * is told only when somebody has it alone, or waits. Takes no lock. Each claim was true when it was
 * looked at; all of them together need not have been so at one moment. Free *ret with free().
 */
int vm_lock_table(const struct vm_root *root, struct vm_lock_claim **ret, size_t *ret_count,
                  struct vm_err *err);

#endif
