/* SPDX-License-Identifier: Apache-2.0 */
/* The state of a data root in numbers, and whether this host is on the slow path. */
#ifndef VM_STATS_H
#define VM_STATS_H

#include "events.h"
#include "lock_table.h"
#include "ops.h"
#include "slot.h"

/* Why a host is on the slow path. docs/observability.md and vmctl-stats(1) define each of them. */
enum vm_slow {
	VM_SLOW_ALIAS,
	VM_SLOW_DISKS_COPIED,
	VM_SLOW_SLOT_WAITS,
	VM_SLOW_LOCK_WAITS,
	VM_SLOW_INSUFFICIENT,
	VM_SLOW_VMM_DEATHS,
	VM_SLOW_COUNT
};
/* Lock waits count when they took more than this part of the operations' time. */
enum { VM_SLOW_LOCK_PERCENT = 10 };
const char *vm_slow_name(enum vm_slow reason);

struct vm_stats_pool {
	const char *hypervisor;
	struct vm_slot_status status;
	struct vm_slot_holder *holders;
	size_t holder_count;
};

struct vm_stats {
	int64_t time_us;                    /* CLOCK_REALTIME */
	unsigned instances[VM_STATE_COUNT]; /* as they are, not as they were last committed */
	unsigned found_dead; /* of the failed ones: not settled, so no event tells yet */
	/* In order of name and label; those with labels that are known beforehand are there at 0.
	 */
	struct vm_counter *counters;
	size_t counter_count;
	struct vm_stats_pool *pools; /* one a driver */
	size_t pool_count;
	struct vm_lock_claim *claims;
	size_t claim_count;
	struct vm_window window;
	unsigned slow; /* bit mask of 1 << enum vm_slow; 0: not on the slow path */
};

/*
 * Reads all of it; the window begins at since_us. Takes no lock but, for an instant each, those
 * that guard the lists of restore slots. Free with vm_stats_free().
 */
int vm_stats(struct vm_op *op, int64_t since_us, struct vm_stats *ret, struct vm_err *err);
void vm_stats_free(struct vm_stats *stats);
/* The reasons that a window gives, as a bit mask; found_dead as above. */
unsigned vm_slow_reasons(const struct vm_window *window, unsigned found_dead);

#endif
