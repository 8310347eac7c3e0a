/* SPDX-License-Identifier: Apache-2.0 */
/* A pool of restore slots of its own for each test, and processes that use it. */
#ifndef VM_TEST_SLOT_FIXTURE_H
#define VM_TEST_SLOT_FIXTURE_H

#include "procs.h"

#include <semaphore.h>

#include "interrupt.h"
#include "shm.h"
#include "slot.h"

enum { SLOTS_MAX = 16, WORKERS = 8 };

/* Shared by the test and its children; mapped anew for each test. */
struct shared {
	atomic_int stop;
	atomic_int ready;
	atomic_int inside;           /* holders now; of no use where holders are killed */
	atomic_int most;             /* the most of them at once */
	atomic_int overlaps;         /* must stay 0 */
	atomic_int failures;         /* errors of workers */
	atomic_int owner[SLOTS_MAX]; /* who holds each file (worker number + 1, or pid), or 0 */
	atomic_int turns[WORKERS];
};

struct fixture {
	struct test_dir dir;
	char root_id[VM_ID_LEN + 1];
	struct shared *shared;
	struct vm_slot_pool pool;
};

struct worker {
	struct fixture *fixture;
	int number;
	int rounds; /* 0: until told to stop */
	unsigned count;
};

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct vm_err err = {0};

	assert_non_null(f);
	test_dir_open(&f->dir);
	assert_int_equal(vm_id_new(f->root_id, &err), 0);
	f->shared = shared_memory(sizeof(*f->shared));
	f->pool = (struct vm_slot_pool){
	        .run_fd = f->dir.fd, .root_id = f->root_id, .hypervisor = "test", .count = 3};
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;
	struct vm_err err = {0};

	assert_int_equal(vm_shm_remove(f->root_id, &err), 0);
	test_dir_close(&f->dir);
	munmap(f->shared, sizeof(*f->shared));
	free(f);
	assert_int_equal(vm_lock_held_mask(), 0);
	return 0;
}

static inline struct vm_slot_status status_of(const struct fixture *f)
{
	struct vm_slot_status status = {0};
	struct vm_err err = {0};

	assert_int_equal(vm_slot_status(&f->pool, &status, &err), 0);
	return status;
}

static inline void note_most(struct shared *shared, int now)
{
	int most = atomic_load(&shared->most);

	while (now > most && !atomic_compare_exchange_weak(&shared->most, &most, now))
		;
}

/* One turn of a worker: takes a slot, says so, looks who had it before, lets go. 0 or 1. */
static inline int one_turn(const struct worker *worker)
{
	struct shared *shared = worker->fixture->shared;
	struct vm_slot_pool pool = worker->fixture->pool;
	struct vm_slot slot = VM_SLOT_INIT;
	struct vm_err err = {0};
	int me = worker->number + 1;
	int before;

	pool.count = worker->count;
	if (vm_slot_acquire(&pool, patience(), &slot, NULL, &err) != 0) {
		fprintf(stderr, "worker %d: %s\n", worker->number, err.message);
		atomic_fetch_add(&shared->failures, 1);
		return 1;
	}
	note_most(shared, atomic_fetch_add(&shared->inside, 1) + 1);
	before = atomic_exchange(&shared->owner[slot.index], me);
	if (slot.index >= worker->count || before != 0)
		atomic_fetch_add(&shared->overlaps, 1);
	for (int i = 0; i < 3; i++)
		sched_yield();
	before = me;
	if (!atomic_compare_exchange_strong(&shared->owner[slot.index], &before, 0))
		atomic_fetch_add(&shared->overlaps, 1);
	atomic_fetch_sub(&shared->inside, 1);
	vm_slot_release(&slot);
	if (worker->number < WORKERS)
		atomic_fetch_add(&shared->turns[worker->number], 1);
	return 0;
}

static inline int work(void *arg)
{
	const struct worker *worker = arg;
	const struct shared *shared = worker->fixture->shared;

	for (int i = 0; worker->rounds == 0 || i < worker->rounds; i++) {
		if (worker->rounds == 0 && atomic_load(&shared->stop))
			break;
		if (one_turn(worker) != 0)
			return 1;
	}
	return 0;
}

/* Holds a slot until told to stop; the exit status says why it could not. */
static inline int hold(void *arg)
{
	struct fixture *f = arg;
	struct vm_slot slot = VM_SLOT_INIT;
	struct vm_err err = {0};

	if (vm_slot_acquire(&f->pool, patience(), &slot, NULL, &err) != 0)
		return (int)err.code;
	if (atomic_exchange(&f->shared->owner[slot.index], (int)getpid()) != 0)
		atomic_fetch_add(&f->shared->overlaps, 1);
	atomic_fetch_add(&f->shared->ready, 1);
	if (!wait_for(atomic_load(&f->shared->stop)))
		return 98;
	atomic_store(&f->shared->owner[slot.index], 0);
	vm_slot_release(&slot);
	return 0;
}

static inline void spawn_holders(struct fixture *f, pid_t *pids, unsigned n)
{
	int before = atomic_load(&f->shared->ready);

	for (unsigned i = 0; i < n; i++)
		pids[i] = spawn(hold, f);
	assert_true(wait_for(atomic_load(&f->shared->ready) == before + (int)n));
}

static inline void assert_none_left(const struct fixture *f)
{
	struct vm_slot slot = VM_SLOT_INIT;
	struct vm_err err = {0};

	assert_int_equal(vm_slot_acquire(&f->pool, VM_WAIT_NONE, &slot, NULL, &err), -1);
	assert_int_equal(err.code, VM_ERR_INSUFFICIENT_RESOURCES);
	assert_int_equal(slot.file.fd, -1);
}

/* Every one of the pool's slots can be had at once, and none more. */
static inline void assert_all_acquirable(struct fixture *f)
{
	pid_t pids[SLOTS_MAX];
	unsigned n = f->pool.count;

	atomic_store(&f->shared->stop, 0);
	for (unsigned i = 0; i < SLOTS_MAX; i++)
		atomic_store(&f->shared->owner[i], 0);
	spawn_holders(f, pids, n);
	assert_int_equal(status_of(f).held, n);
	assert_none_left(f);
	assert_int_equal(atomic_load(&f->shared->overlaps), 0);
	atomic_store(&f->shared->stop, 1);
	for (unsigned i = 0; i < n; i++)
		assert_exits(pids[i], 0);
	assert_int_equal(status_of(f).held, 0);
	atomic_store(&f->shared->stop, 0);
}

/* Odd workers go by another N where two are given. */
static inline void spawn_workers(struct fixture *f, struct worker *workers, pid_t *pids, int rounds,
                                 unsigned count, unsigned odd_count)
{
	for (int i = 0; i < WORKERS; i++) {
		workers[i] = (struct worker){.fixture = f,
		                             .number = i,
		                             .rounds = rounds,
		                             .count = i % 2 ? odd_count : count};
		pids[i] = spawn(work, &workers[i]);
	}
}

static inline void assert_workers_succeed(const struct fixture *f, const pid_t *pids, int limit)
{
	for (int i = 0; i < WORKERS; i++)
		assert_exits(pids[i], 0);
	assert_int_equal(atomic_load(&f->shared->overlaps), 0);
	assert_in_range(atomic_load(&f->shared->most), 1, limit);
}

static inline sem_t *open_semaphore(const struct fixture *f)
{
	char name[64];
	sem_t *semaphore;

	snprintf(name, sizeof(name), "/vmctl-%s-test", f->root_id);
	semaphore = sem_open(name, 0);
	assert_ptr_not_equal(semaphore, SEM_FAILED);
	return semaphore;
}

static inline void drain(sem_t *semaphore)
{
	while (sem_trywait(semaphore) == 0)
		;
}

#endif
