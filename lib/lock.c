/* SPDX-License-Identifier: Apache-2.0 */
#include "lock.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fault.h"
#include "fs.h"
#include "interrupt.h"
#include "lock_impl.h"
#include "util.h"

enum {
	GATE_GRACE_MS =
	        200, /* passing through a gate takes microseconds; this is for a busy machine */
	/*
	 * Whoever is in front may be stopped (Ctrl-Z), and must not keep everybody behind him: a
	 * gate that nobody takes after so long, at so many looks so far apart, is taken out of
	 * turn.
	 */
	TURN_MS = 5000,
	OPEN_LOOKS = 3,
	OPEN_LOOK_MS = 100,
};

/* What came of one try for one lock file. */
enum outcome {
	FAILED = -1, /* the error is set */
	GOT,
	LATE,     /* somebody had it until the deadline */
	GONE,     /* no such file, and it may not be made */
	UNLINKED, /* got, but deleted by its owner meanwhile, so worth nothing: begin again */
};

/* What this thread holds: the mutable state that the style allows for ranks. */
static _Thread_local unsigned held_mask;
static _Thread_local unsigned held_children; /* locks of rank CHILD */

/* --- ranks --------------------------------------------------------------------------------------
 */

unsigned vm_lock_held_mask(void)
{
	return held_mask;
}

static void assert_rank(enum vm_lock_rank rank)
{
	unsigned from_here = held_mask >> rank; /* this rank and all inner ones */

	assert(rank < VM_RANK_COUNT);
	assert(from_here == 0 || (rank == VM_RANK_CHILD && from_here == 1));
	(void)from_here;
}

static void count_in(struct vm_lock *lock)
{
	held_mask |= 1U << lock->rank;
	if (lock->rank == VM_RANK_CHILD)
		held_children++;
	lock->counted = true;
	lock->owner = gettid();
}

static void count_out(struct vm_lock *lock)
{
	assert(lock->owner == gettid());
	assert(held_mask & (1U << lock->rank));
	if (lock->rank != VM_RANK_CHILD || --held_children == 0)
		held_mask &= ~(1U << lock->rank);
	lock->counted = false;
}

/* --- lock files ---------------------------------------------------------------------------------
 */

/*
 * Explicitly unlocked before it is closed: a child that another thread has just forked and that has
 * not come to its exec() yet still has the descriptor, and would keep the lock for that long.
 */
static void unlock_and_close(int *fd)
{
	int saved = errno;

	if (*fd >= 0) {
		flock(*fd, LOCK_UN);
		vm_queue_leave(*fd);
	}
	errno = saved;
	vm_cleanup_close(fd);
}

static bool still_linked(int fd, int dir_fd, const char *name)
{
	struct stat mine;
	struct stat named;

	return fstat(fd, &mine) == 0 && mine.st_nlink > 0 &&
	       fstatat(dir_fd, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
	       mine.st_ino == named.st_ino && mine.st_dev == named.st_dev;
}

static bool missing(int dir_fd, const char *name)
{
	struct stat st;

	return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT;
}

static int open_lock_file(int dir_fd, const char *name, bool create)
{
	return openat(dir_fd, name,
	              O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | (create ? O_CREAT : 0), 0600);
}

static unsigned holders_of(int dir_fd, const char *name, char *buf, size_t size)
{
	VM_AUTO_CLOSE int fd = name ? open_lock_file(dir_fd, name, false) : -1;

	return fd < 0 ? 0 : vm_lock_list_holders(fd, buf, size);
}

/* The gate's holder is the one to blame only when nobody is inside: it is just passing. */
static void describe_way(const struct vm_lock_request *request, char *buf, size_t size)
{
	if (!holders_of(request->dir_fd, request->name, buf, size) &&
	    !holders_of(request->dir_fd, request->gate, buf, size))
		snprintf(buf, size, "an unknown process");
}

/* --- waiting ------------------------------------------------------------------------------------
 */

/* One wait for a lock file, and what is told of it. */
struct wait {
	const struct vm_lock_request *request;
	int fd;
	int operation;
	off_t ticket; /* in the queue of a gate, else -1 */
	struct vm_waiting told;
};

static void tell(struct wait *wait)
{
	char holders[VM_WAITING_NOTE - 16];

	describe_way(wait->request, holders, sizeof(holders));
	snprintf(wait->told.note, sizeof(wait->told.note), "held by %s", holders);
	vm_waiting_tell(&wait->told);
}

/*
 * Sleeps for the turn in the queue, or for the lock, in pieces between which it is told. 0, 1 late
 * or asked to stop, -1.
 */
static int sleep_for(struct wait *wait, bool turn, int64_t deadline_ms, struct vm_err *err)
{
	for (;;) {
		int64_t until = vm_waiting_piece(&wait->told, deadline_ms);
		int rc = turn ? !vm_queue_wait(wait->fd, wait->ticket, until)
		              : vm_flock_until(wait->fd, wait->operation, until, err);

		if (rc != 1 || until == deadline_ms || vm_interrupt_pending())
			return rc;
		tell(wait);
	}
}

/* Whether the gate is open and stays so, though it is not our turn; or it is by now. */
static bool nobody_comes(int fd, off_t ticket)
{
	for (int i = 0; i < OPEN_LOOKS; i++) {
		if (flock(fd, LOCK_EX | LOCK_NB) != 0)
			return false;
		flock(fd, LOCK_UN);
		if (vm_queue_wait(fd, ticket, vm_monotonic_ms() + OPEN_LOOK_MS))
			return true;
	}
	return true;
}

/* In the order of arrival. 0 locked, 1 late or asked to stop, -1. */
static int wait_for_gate(struct wait *wait, int64_t deadline_ms, struct vm_err *err)
{
	int fd = wait->fd;

	for (;;) {
		int64_t turn = vm_monotonic_ms() + TURN_MS;
		bool last = deadline_ms != VM_WAIT_FOREVER && deadline_ms <= turn;

		if (sleep_for(wait, true, last ? deadline_ms : turn, err) == 0)
			break;
		if (last || vm_interrupt_pending())
			return flock(fd, LOCK_EX | LOCK_NB) == 0 ? 0 : 1;
		if (nobody_comes(fd, wait->ticket))
			break;
	}
	return sleep_for(wait, false, deadline_ms, err);
}

static int wait_for_lock(const struct vm_lock_request *request, int fd, bool is_gate, int operation,
                         int64_t deadline_ms, struct vm_err *err)
{
	struct wait wait = {.request = request,
	                    .fd = fd,
	                    .operation = operation,
	                    .ticket = is_gate ? vm_queue_enter(fd) : -1};
	int64_t begin;
	int result;

	if (vm_queue_wait(fd, wait.ticket, VM_WAIT_NONE) && flock(fd, operation | LOCK_NB) == 0)
		return 0;
	begin = vm_monotonic_us();
	vm_waiting_begin(&wait.told, request->tell, request->what, deadline_ms);
	result = is_gate ? wait_for_gate(&wait, deadline_ms, err)
	                 : sleep_for(&wait, false, deadline_ms, err);
	vm_waiting_end(&wait.told);
	/* Who does not want to wait has not, however long the look took. */
	if (request->waited_us && deadline_ms != VM_WAIT_NONE)
		*request->waited_us += vm_monotonic_us() - begin;
	return result;
}

/*
 * A try for a restore slot passes the points of the slots instead: how many files are tried depends
 * on which of them others hold, so that here no two runs of a verb would pass the same points.
 */
static bool fault_at(const struct vm_lock_request *request, enum vm_fault_point point)
{
	return request->rank != VM_RANK_SLOT && vm_fault(point);
}

/* Opens and locks one file of the request: the gate or the lock itself. */
static enum outcome lock_file(const struct vm_lock_request *request, const char *name, bool create,
                              enum vm_lock_mode mode, int64_t deadline_ms, int *ret_fd,
                              struct vm_err *err)
{
	int operation = mode == VM_LOCK_SHARED ? LOCK_SH : LOCK_EX;
	VM_AUTO(unlock_and_close) int fd = -1;
	char path[VM_PATH_SHOWN];
	int result;

	if (!fault_at(request, VM_FAULT_LOCK_CREATE))
		fd = open_lock_file(request->dir_fd, name, create);
	if (fd < 0 && errno == ENOENT && !create)
		return GONE;
	if (fd < 0 || fault_at(request, VM_FAULT_LOCK_CREATE_DONE) ||
	    fault_at(request, VM_FAULT_LOCK_TAKE))
		return vm_err_sys(err, "%s: opening lock file %s", request->what,
		                  vm_fs_path(request->dir_fd, name, path, sizeof(path)));
	result = wait_for_lock(request, fd, name == request->gate, operation, deadline_ms, err);
	if (result > 0 && vm_interrupt_check(err) == 0)
		return LATE;
	if (result != 0)
		return vm_err_wrap(err, "waiting for %s", request->what);
	/*
	 * While we waited its owner may have deleted the file, and another may have made a new one
	 * of that name: our lock would then exclude nobody. From here on it stays linked: only the
	 * holder of the exclusive lock unlinks it.
	 */
	if (!still_linked(fd, request->dir_fd, name))
		return UNLINKED;
	fault_at(request, VM_FAULT_LOCK_TAKE_DONE);
	*ret_fd = vm_take_fd(&fd);
	return GOT;
}

/*
 * Under the lock: the gate was lost. Nobody can unlink the lock file now, so whoever will do it
 * later finds this gate and unlinks it, too. Without a gate only the turn-taking has a gap.
 */
static void make_gate(const struct vm_lock_request *request)
{
	int fd = open_lock_file(request->dir_fd, request->gate, true);

	vm_cleanup_close(&fd);
}

static int64_t gate_deadline(int64_t deadline_ms)
{
	int64_t grace = vm_monotonic_ms() + GATE_GRACE_MS;

	return deadline_ms == VM_WAIT_FOREVER || deadline_ms > grace ? deadline_ms : grace;
}

static enum outcome take_once(const struct vm_lock_request *request, int *ret_fd,
                              struct vm_err *err)
{
	VM_AUTO(unlock_and_close) int gate = -1;
	enum outcome outcome;

	/* Looked for first, so that asking for an instance that is gone leaves no gate behind. */
	if (!request->create && missing(request->dir_fd, request->name))
		return GONE;
	if (request->gate) {
		/*
		 * Nor is one made by those who may not make the lock file: its owner may have
		 * unlinked both since we looked, and nobody would ever unlink this one.
		 */
		outcome = lock_file(request, request->gate, request->create, VM_LOCK_EXCLUSIVE,
		                    gate_deadline(request->deadline_ms), &gate, err);
		if (outcome != GOT && outcome != GONE)
			return outcome;
	}
	outcome = lock_file(request, request->name, request->create, request->mode,
	                    request->deadline_ms, ret_fd, err);
	if (outcome == GOT && request->gate && gate < 0)
		make_gate(request);
	return outcome; /* and the gate opens */
}

static int report_busy(const struct vm_lock_request *request, struct vm_err *err)
{
	char holders[640];

	describe_way(request, holders, sizeof(holders));
	vm_err_set(err, VM_ERR_BUSY, "%s is locked by %s", request->what, holders);
	return vm_err_hint(err, "wait longer with --wait=SEC");
}

static void hand_over(const struct vm_lock_request *request, int fd, struct vm_lock *ret_lock)
{
	struct vm_lock lock = {.fd = fd, .rank = (int)request->rank, .mode = request->mode};

	count_in(&lock);
	*ret_lock = lock;
}

int vm_lock_take(const struct vm_lock_request *request, struct vm_lock *ret_lock,
                 struct vm_err *err)
{
	enum outcome outcome;
	int fd = -1;

	assert_rank(request->rank);
	/* Once more for each deletion that we waited through, so not forever. */
	do
		outcome = take_once(request, &fd, err);
	while (outcome == UNLINKED);

	switch (outcome) {
	case GOT:
		hand_over(request, fd, ret_lock);
		return 0;
	case LATE:
		return report_busy(request, err);
	case GONE:
		return vm_err_set(err, VM_ERR_NOT_FOUND, "%s does not exist (no lock file '%s')",
		                  request->what, request->name);
	default:
		return -1;
	}
}

int vm_lock_try(const struct vm_lock_request *request, struct vm_lock *ret_lock, struct vm_err *err)
{
	enum outcome outcome;
	int fd = -1;

	assert(!request->gate);
	assert_rank(request->rank);
	do
		outcome = lock_file(request, request->name, request->create, request->mode,
		                    VM_WAIT_NONE, &fd, err);
	while (outcome == UNLINKED);
	if (outcome == GOT)
		hand_over(request, fd, ret_lock);
	return outcome == FAILED ? -1 : outcome == GOT;
}

void vm_lock_release(struct vm_lock *lock)
{
	if (lock->fd < 0)
		return;
	if (lock->counted)
		count_out(lock);
	unlock_and_close(&lock->fd);
}

void vm_lock_unlink_release(struct vm_lock *lock, int dir_fd, const char *name, const char *gate)
{
	int saved = errno;

	assert(lock->fd >= 0 && lock->mode == VM_LOCK_EXCLUSIVE);
	/*
	 * The gate first: killed in between, we leave a lock file without a gate, which the next
	 * taker mends by itself, and a lock file says that the instance's end is not complete.
	 */
	if (gate && !vm_fault(VM_FAULT_LOCK_GATE) && unlinkat(dir_fd, gate, 0) == 0)
		vm_fault(VM_FAULT_LOCK_GATE_DONE);
	if (!vm_fault(VM_FAULT_LOCK_UNLINK) && unlinkat(dir_fd, name, 0) == 0)
		vm_fault(VM_FAULT_LOCK_UNLINK_DONE);
	errno = saved;
	vm_lock_release(lock);
}

int vm_lock_probe(int dir_fd, const char *name, struct vm_err *err)
{
	VM_AUTO(unlock_and_close) int fd = open_lock_file(dir_fd, name, false);

	if (fd < 0)
		return errno == ENOENT ? 0 : vm_err_sys(err, "opening lock file '%s'", name);
	if (flock(fd, LOCK_SH | LOCK_NB) == 0)
		return 0;
	return errno == EWOULDBLOCK ? 1 : vm_err_sys(err, "probing lock file '%s'", name);
}
