/* SPDX-License-Identifier: Apache-2.0 */
#include "slot_impl.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <semaphore.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fault.h"
#include "fs.h"
#include "interrupt.h"
#include "shm.h"
#include "util.h"

enum {
	COUNT_MAX = VM_SLOT_COUNT_MAX,
	SLICE_MS = 100, /* a waiter looks at the files this often; so does nobody more often */
	/* The scan lock is held for microseconds by the living; this is for a busy machine. */
	SCAN_GRACE_MS = 2000,
};

/*
 * What the scan lock's file says, as text. Written under the exclusive scan lock only.
 *
 * While count and limit are both the caller's N, whoever has a token may take any free file below N
 * under the shared scan lock: N files, so never more than N holders. When N has changed, that is
 * not enough (files beyond a smaller N may be held still), and files are taken by settle() alone.
 */
struct record {
	unsigned count;     /* N at the last settlement */
	unsigned limit;     /* no file of this index or above is held */
	int64_t settled_ms; /* vm_monotonic_ms() of the last settlement */
};

/* One call's view of the pool. */
struct scan {
	const struct vm_slot_pool *pool;
	int lock_fd; /* run/slot.<hypervisor>.lock, not locked */
	sem_t *semaphore;
	int64_t deadline_ms;
};

static void close_semaphore(sem_t **semaphore)
{
	int saved = errno;

	if (*semaphore)
		sem_close(*semaphore);
	*semaphore = NULL;
	errno = saved;
}

static int open_scan_lock(const struct vm_slot_pool *pool, bool create)
{
	char name[NAME_SIZE];

	snprintf(name, sizeof(name), "slot.%s.lock", pool->hypervisor);
	return openat(pool->run_fd, name,
	              O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | (create ? O_CREAT : 0), 0600);
}

/* --- the scan lock and its record
 * ----------------------------------------------------------------- */

/*
 * Internal and unranked: nothing else is waited for under it. Waited for even by those who do not
 * want to wait for a slot, for its holders are only passing.
 */
static int lock_scan(const struct scan *scan, int operation, struct vm_err *err)
{
	int64_t grace = vm_monotonic_ms() + SCAN_GRACE_MS;
	int64_t deadline = scan->deadline_ms;
	int result;

	if (deadline != VM_WAIT_FOREVER && deadline < grace)
		deadline = grace;
	result = vm_flock_until(scan->lock_fd, operation, deadline, err);
	if (result > 0 && vm_interrupt_check(err) == 0) {
		char holders[512];

		vm_lock_describe_holders(scan->lock_fd, holders, sizeof(holders));
		vm_err_set(err, VM_ERR_BUSY, "the list of restore slots is locked by %s", holders);
		vm_err_hint(err, "nobody keeps it for long: see whether that process is stopped");
	}
	return result == 0 ? 0 : -1;
}

/* Explicit, though close() does it too: a child just forked by another thread may have the fd. */
static void unlock_scan(const struct scan *scan)
{
	int saved = errno;

	flock(scan->lock_fd, LOCK_UN);
	errno = saved;
}

static struct record read_record(int fd)
{
	struct record record = {0};
	char text[64];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	if (sscanf(text, "%u %u %" SCNd64, &record.count, &record.limit, &record.settled_ms) != 3 ||
	    record.limit > COUNT_MAX)
		return (struct record){.limit =
		                               COUNT_MAX}; /* a new pool, or damaged: look at all */
	return record;
}

/* Fixed width, so that a shorter text never leaves the end of a longer one behind. */
static int write_record(int fd, unsigned count, unsigned limit, struct vm_err *err)
{
	char text[64];
	int n = snprintf(text, sizeof(text), "%4u %4u %20" PRId64 "\n", count, limit,
	                 vm_monotonic_ms());
	ssize_t written = vm_fault(VM_FAULT_SLOT_RECORD) ? -1 : pwrite(fd, text, (size_t)n, 0);

	if (written == n)
		return vm_fault(VM_FAULT_SLOT_RECORD_DONE) ? -1 : 0;
	if (written >= 0)
		errno = ENOSPC;
	return vm_fs_fail(fd, NULL, "writing", err);
}

/* --- taking a file
 * -------------------------------------------------------------------------------- */

/* 1 taken, 0 somebody holds it, -1. */
static int try_file(const struct scan *scan, unsigned index, struct vm_slot *ret_slot,
                    struct vm_err *err)
{
	char name[NAME_SIZE];
	struct vm_lock_request request = {
	        .dir_fd = scan->pool->run_fd,
	        .name = name,
	        .rank = VM_RANK_SLOT,
	        .mode = VM_LOCK_EXCLUSIVE,
	        .create = true,
	        .what = "a restore slot",
	};
	struct vm_lock lock = VM_LOCK_INIT;
	int result;

	slot_name(scan->pool, index, name);
	if (vm_fault(VM_FAULT_SLOT_TAKE))
		return vm_fs_fail(scan->pool->run_fd, name, "opening", err);
	result = vm_lock_try(&request, &lock, err);
	if (result == 1) {
		futimens(lock.fd, NULL); /* since when it is held; only for those who look */
		vm_fault(VM_FAULT_SLOT_TAKE_DONE);
		*ret_slot = (struct vm_slot){.file = lock, .index = index};
	}
	return result;
}

struct census {
	unsigned held;
	unsigned limit;      /* highest held index + 1, at least N */
	unsigned first_free; /* below N; N when all are held */
};

/*
 * Counts the held files below `limit`, and notes which they are unless ret_held is NULL. Under the
 * exclusive scan lock.
 */
static int take_census(const struct vm_slot_pool *pool, unsigned limit, struct census *ret,
                       bool *ret_held, struct vm_err *err)
{
	struct census census = {.limit = pool->count, .first_free = pool->count};
	char name[NAME_SIZE];

	if (limit < pool->count)
		limit = pool->count;
	for (unsigned i = 0; i < limit; i++) {
		int is_held;

		slot_name(pool, i, name);
		is_held = vm_lock_probe(pool->run_fd, name, err);
		if (is_held < 0)
			return -1;
		census.held += (unsigned)is_held;
		if (ret_held)
			ret_held[i] = is_held;
		if (is_held && i >= census.limit)
			census.limit = i + 1;
		if (!is_held && i < census.first_free)
			census.first_free = i;
	}
	*ret = census;
	return 0;
}

static void set_tokens(sem_t *semaphore, unsigned want)
{
	int value = 0;

	/* Bounded, in case others post and take meanwhile, or the value is absurd. */
	for (int i = 0; i < 4 * COUNT_MAX && sem_getvalue(semaphore, &value) == 0; i++) {
		if (value == (int)want)
			return;
		if (value < (int)want)
			sem_post(semaphore);
		else
			sem_trywait(semaphore);
	}
}

/*
 * Makes the record and the number of tokens agree with the files, and takes a free file for the
 * caller, who must not have a token (or forgets it). Under the exclusive scan lock nobody takes a
 * file meanwhile: held ones may become free, free ones stay free, so "all held" is true of the
 * moment when the census began, and a token that somebody brought along was one too many. 1 taken,
 * 0 none free, -1.
 */
static int settle_locked(const struct scan *scan, struct vm_slot *ret_slot, struct vm_err *err)
{
	unsigned count = scan->pool->count;
	struct record record = read_record(scan->lock_fd);
	struct census census = {0};
	int taken = 0;

	if (take_census(scan->pool, record.limit, &census, NULL, err) != 0)
		return -1;
	/* Before a file is taken: killed after that, we would hold one that nobody looks for. */
	if (write_record(scan->lock_fd, count, census.limit, err) != 0)
		return -1;
	if (census.held < count && census.first_free < count) {
		taken = try_file(scan, census.first_free, ret_slot, err);
		if (taken < 0)
			return -1;
		census.held += (unsigned)taken;
	}
	set_tokens(scan->semaphore, census.held < count ? count - census.held : 0);
	return taken;
}

static int settle(const struct scan *scan, struct vm_slot *ret_slot, struct vm_err *err)
{
	int taken;

	if (lock_scan(scan, LOCK_EX, err) != 0)
		return -1;
	taken = settle_locked(scan, ret_slot, err);
	unlock_scan(scan);
	return taken;
}

/*
 * After a slice without a token. Many may wait: one settlement per slice is enough for all, as it
 * posts what is missing.
 */
static int settle_if_due(const struct scan *scan, struct vm_slot *ret_slot, struct vm_err *err)
{
	/* Read without the lock: only advice, and a torn text at worst settles once too often. */
	struct record record = read_record(scan->lock_fd);
	int64_t now = vm_monotonic_ms();

	if (record.count == scan->pool->count && record.settled_ms <= now &&
	    now - record.settled_ms < SLICE_MS)
		return 0;
	return settle(scan, ret_slot, err);
}

static unsigned random_start(unsigned count)
{
	unsigned number = 0;

	if (getrandom(&number, sizeof(number), GRND_NONBLOCK) != (ssize_t)sizeof(number))
		number = (unsigned)vm_monotonic_us();
	return number % count;
}

/* 1 taken, 0 nothing found or the record forbids to take without a settlement, -1. */
static int scan_files(const struct scan *scan, struct vm_slot *ret_slot, struct vm_err *err)
{
	unsigned count = scan->pool->count;
	unsigned start = random_start(count);
	struct record record;
	int taken = 0;

	if (lock_scan(scan, LOCK_SH, err) != 0)
		return -1;
	record = read_record(scan->lock_fd);
	if (record.count == count && record.limit == count) {
		for (unsigned i = 0; i < count && taken == 0; i++)
			taken = try_file(scan, (start + i) % count, ret_slot, err);
	}
	unlock_scan(scan);
	return taken;
}

/*
 * The caller has a token. 1 slot taken; 0 no free file, the token was a surplus one and is dropped
 * (settle() has set the right number); -1.
 *
 * A scan that found nothing proves nothing, as other scanners move between the files meanwhile; the
 * token may be good. So the second look is the one under the exclusive lock.
 */
static int take_with_token(const struct scan *scan, struct vm_slot *ret_slot, struct vm_err *err)
{
	int taken = scan_files(scan, ret_slot, err);

	if (taken == 0)
		taken = settle(scan, ret_slot, err);
	if (taken < 0)
		sem_post(scan->semaphore); /* not ours to lose */
	return taken;
}

/* --- waiting
 * -------------------------------------------------------------------------------------- */

static bool expired(int64_t deadline_ms)
{
	return deadline_ms != VM_WAIT_FOREVER && vm_monotonic_ms() >= deadline_ms;
}

/* Sleeps for a slice at most. Returns whether we have a token now. */
static bool sleep_for_token(const struct scan *scan)
{
	int64_t until = vm_monotonic_ms() + SLICE_MS;
	struct timespec at;

	if (scan->deadline_ms != VM_WAIT_FOREVER && scan->deadline_ms < until)
		until = scan->deadline_ms;
	at = (struct timespec){.tv_sec = until / 1000, .tv_nsec = (until % 1000) * 1000000};
	return sem_clockwait(scan->semaphore, CLOCK_MONOTONIC, &at) == 0;
}

/* Who waits for slots of his own waits for nobody: then it is not told. */
static void tell_if_due(const struct vm_slot_pool *pool, struct vm_waiting *waiting)
{
	if (!vm_waiting_is_due(waiting))
		return;
	if (vm_slot_describe(pool, waiting->note, sizeof(waiting->note)))
		vm_waiting_tell(waiting);
	else
		vm_waiting_put_off(waiting);
}

/* 1 taken, 0 deadline passed, -1. */
static int wait_for_slot(const struct scan *scan, struct vm_slot *ret_slot, struct vm_err *err)
{
	struct vm_waiting waiting;
	int taken = 0;

	vm_waiting_begin(&waiting, scan->pool->tell, "a restore slot", scan->deadline_ms);
	while (taken == 0 && !expired(scan->deadline_ms)) {
		if (vm_interrupt_check(err) != 0) {
			taken = vm_err_wrap(err, "waiting for a restore slot");
			break;
		}
		if (sleep_for_token(scan))
			taken = take_with_token(scan, ret_slot, err);
		else
			taken = settle_if_due(scan, ret_slot, err);
		if (taken == 0)
			tell_if_due(scan->pool, &waiting);
	}
	vm_waiting_end(&waiting);
	/* Never say "none" without having looked at the files: tokens get lost with killed holders.
	 */
	return taken == 0 ? settle(scan, ret_slot, err) : taken;
}

static int report_none(const struct scan *scan, struct vm_err *err)
{
	char holders[600];

	vm_slot_describe(scan->pool, holders, sizeof(holders));
	vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES, "no restore slot of %s became free: %s",
	           scan->pool->hypervisor, holders);
	return vm_err_hint(err, "wait longer with --wait=SEC, or raise max_concurrent_restores");
}

static int open_scan(const struct vm_slot_pool *pool, struct scan *scan, struct vm_err *err)
{
	char name[NAME_SIZE];
	sem_t *semaphore;

	scan->lock_fd = open_scan_lock(pool, true);
	if (scan->lock_fd < 0) {
		vm_err_sys(err, "opening the list of restore slots of %s", pool->hypervisor);
		return -1;
	}
	semaphore_name(pool, name);
	semaphore = vm_fault(VM_FAULT_SLOT_SEMAPHORE) ? SEM_FAILED : sem_open(name, 0);
	if (semaphore == SEM_FAILED && errno == ENOENT) {
		/* Before it exists: a semaphore without a note is taken for a dead data root's. */
		if (vm_shm_note(pool->root_id, pool->run_fd, err) < 0)
			return -1;
		semaphore = sem_open(name, O_CREAT, 0600, pool->count);
		vm_fault(VM_FAULT_SLOT_SEMAPHORE_DONE);
	}
	if (semaphore == SEM_FAILED) {
		vm_err_sys(err, "opening semaphore /dev/shm/sem.%s", name + 1);
		vm_err_hint(err, "it may be deleted: the next restore makes a new one");
		return -1;
	}
	scan->semaphore = semaphore;
	return 0;
}

static void close_scan(struct scan *scan)
{
	close_semaphore(&scan->semaphore);
	vm_cleanup_close(&scan->lock_fd);
}

int vm_slot_acquire(const struct vm_slot_pool *pool, int64_t deadline_ms, struct vm_slot *ret_slot,
                    int64_t *waited_us, struct vm_err *err)
{
	VM_AUTO(close_scan)
	struct scan scan = {.pool = pool, .lock_fd = -1, .deadline_ms = deadline_ms};
	int taken = 0;

	assert(pool->count >= 1 && pool->count <= COUNT_MAX);
	/* Asserted before the wait, so that it fails in every run and not only when slots are
	 * short. */
	assert(!(vm_lock_held_mask() & (1U << VM_RANK_SLOT)));
	if (open_scan(pool, &scan, err) != 0)
		return -1;
	if (sem_trywait(scan.semaphore) == 0)
		taken = take_with_token(&scan, ret_slot, err);
	if (taken == 0) {
		int64_t begin = vm_monotonic_us();

		taken = wait_for_slot(&scan, ret_slot, err);
		if (waited_us && deadline_ms != VM_WAIT_NONE)
			*waited_us += vm_monotonic_us() - begin;
	}
	if (taken <= 0)
		return taken < 0 ? -1 : report_none(&scan, err);
	ret_slot->semaphore = vm_take_ptr(&scan.semaphore);
	return 0;
}

void vm_slot_release(struct vm_slot *slot)
{
	sem_t *semaphore = slot->semaphore;
	int saved = errno;

	if (slot->file.fd < 0)
		return;
	/* The file first: whoever is woken by the token must find it free. */
	vm_fault(VM_FAULT_SLOT_RELEASE);
	vm_lock_release(&slot->file);
	vm_fault(VM_FAULT_SLOT_RELEASE_DONE);
	sem_post(semaphore);
	sem_close(semaphore);
	slot->semaphore = NULL;
	errno = saved;
}

int vm_slot_census(const struct vm_slot_pool *pool, bool ret_held[VM_SLOT_COUNT_MAX],
                   unsigned *ret_count, struct vm_err *err)
{
	VM_AUTO_CLOSE int lock_fd = open_scan_lock(pool, false);
	struct scan scan = {.pool = pool, .lock_fd = lock_fd};
	struct census census = {0};
	int failed;

	memset(ret_held, 0, VM_SLOT_COUNT_MAX * sizeof(*ret_held));
	*ret_count = 0;
	if (lock_fd < 0 && errno == ENOENT) /* nobody has ever asked for a slot here */
		return 0;
	if (lock_fd < 0)
		return vm_err_sys(err, "opening the list of restore slots of %s", pool->hypervisor);
	/* Exclusive: our probe of a file must not be in the way of somebody who tries for it. */
	if (lock_scan(&scan, LOCK_EX, err) != 0)
		return -1;
	failed = take_census(pool, read_record(lock_fd).limit, &census, ret_held, err);
	unlock_scan(&scan);
	*ret_count = census.held;
	return failed ? -1 : 0;
}
