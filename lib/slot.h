/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore slots: the right to be loading a memory image now; N per data root and hypervisor.
 *
 * A POSIX named semaphore in /dev/shm is what waiters sleep on (sem_clockwait); N flock'd files
 * run/slot.<hypervisor>.<k> are the truth. A holder needs a token of the semaphore AND a slot file.
 * A killed holder's file is free at once, its token is lost; a waiter whose slice of 100 ms passes
 * reconciles the semaphore with the files. So never more than N hold and no kill loses a slot. A
 * changed N takes effect with the next call that comes with it; who holds a file beyond a smaller N
 * counts until gone, so a call gets a slot only while fewer than its own N are held in all.
 *
 * The files are looked through under run/slot.<hypervisor>.lock, whose text is the N of the last
 * reconciliation, the limit of held file numbers and the time. docs/locking.md tells the whole
 * story.
 */
#ifndef VM_SLOT_H
#define VM_SLOT_H

#include <stdint.h>

#include "err.h"
#include "lock.h"

struct vm_slot_pool {
	int run_fd;                 /* the data root's run/ directory; not owned */
	const char *root_id;        /* random id of the data root: names the semaphore; not owned */
	const char *hypervisor;     /* a driver's name; not owned */
	unsigned count;             /* N, 1..1024 */
	const struct vm_tell *tell; /* who is told of a wait; or NULL */
};

struct vm_slot {
	struct vm_lock file; /* rank SLOT */
	void *semaphore;     /* sem_t, open while the slot is held */
	unsigned index;
};
#define VM_SLOT_INIT                                                                               \
	{                                                                                          \
		.file = VM_LOCK_INIT                                                               \
	}

/*
 * Waits for a slot until deadline_ms (vm_monotonic_ms(), VM_WAIT_NONE or VM_WAIT_FOREVER).
 * Errors: insufficient_resources (none free in time; names the number of slots and some holders,
 * the hint says --wait and max_concurrent_restores), busy (a stopped process sits on the list of
 * slots for more than 2 s), system. `waited_us`, if not NULL, is incremented by the time spent
 * waiting. Interruptible (interrupt.h). Thread-safe: threads of one process each get slots of their
 * own, one per thread (asserted, as all ranks are). VM_WAIT_NONE finds the slots of killed holders
 * too.
 */
int vm_slot_acquire(const struct vm_slot_pool *pool, int64_t deadline_ms, struct vm_slot *ret_slot,
                    int64_t *waited_us, struct vm_err *err);
/* Unlocks the file, then posts the token. Does nothing when no slot is held. Cleanup handler. */
void vm_slot_release(struct vm_slot *slot);

struct vm_slot_status {
	unsigned total;
	unsigned held; /* slot files locked now; may exceed total after N was made smaller */
	int tokens; /* value of the semaphore; -1 when it does not exist. total - held when settled
	             */
};
/* For doctor and status. Creates nothing; holds up takers for an instant. Error: busy, system. */
int vm_slot_status(const struct vm_slot_pool *pool, struct vm_slot_status *ret, struct vm_err *err);

struct vm_slot_holder {
	unsigned index;
	int64_t since_us; /* CLOCK_REALTIME; when the slot was taken */
	struct vm_lock_process process;
};
/*
 * The same, and who holds the slots, by index. They are looked for after they were counted: one who
 * lets go meanwhile is missing from the list. Free *ret with free().
 */
int vm_slot_holders(const struct vm_slot_pool *pool, struct vm_slot_status *ret_status,
                    struct vm_slot_holder **ret, size_t *ret_count, struct vm_err *err);

#endif
