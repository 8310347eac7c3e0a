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
#include "util.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum {
	LOOK_MS = 200,  /* a sleeper looks for a request to stop this often */
	REPEAT_MS = 10, /* a wake-up that came just before the sleep is repeated after this */
	GATE_GRACE_MS =
	        200, /* passing through a gate takes microseconds; this is for a busy machine */
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

/* --- flock with a deadline ----------------------------------------------------------------------
 */

static int wake_signal(void)
{
	return SIGRTMIN + 3;
}

static void do_nothing(int signo)
{
	(void)signo;
}

static void install_wake_handler(void)
{
	struct sigaction action = {.sa_handler = do_nothing};

	sigemptyset(&action.sa_mask);
	sigaction(wake_signal(), &action, NULL);
}

struct waker {
	timer_t timer;
	sigset_t saved_mask;
};

static int waker_begin(struct waker *waker, struct vm_err *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = wake_signal()};
	sigset_t wake;

	pthread_once(&once, install_wake_handler);
	event.sigev_notify_thread_id = gettid();
	if (timer_create(CLOCK_MONOTONIC, &event, &waker->timer) != 0)
		return vm_err_sys(err, "creating a timer for a bounded wait");
	sigemptyset(&wake);
	sigaddset(&wake, wake_signal());
	pthread_sigmask(SIG_UNBLOCK, &wake, &waker->saved_mask);
	return 0;
}

/* The timer goes before the mask comes back: no wake-up can stay pending behind a blocked signal.
 */
static void waker_end(struct waker *waker)
{
	int saved = errno;

	timer_delete(waker->timer);
	pthread_sigmask(SIG_SETMASK, &waker->saved_mask, NULL);
	errno = saved;
}

static void waker_arm(struct waker *waker, int64_t in_ms)
{
	struct itimerspec when = {
	        .it_value = {.tv_sec = in_ms / 1000, .tv_nsec = (in_ms % 1000) * 1000000},
	        .it_interval = {.tv_nsec = REPEAT_MS * 1000000L},
	};

	timer_settime(waker->timer, 0, &when, NULL);
}

static int64_t remaining_ms(int64_t deadline_ms)
{
	return deadline_ms == VM_WAIT_FOREVER ? INT64_MAX : deadline_ms - vm_monotonic_ms();
}

/* 0 locked, 1 late or asked to stop, -1 with errno. */
static int flock_with_waker(struct waker *waker, int fd, int operation, int64_t deadline_ms)
{
	for (;;) {
		int64_t left = remaining_ms(deadline_ms);

		/*
		 * Looked at before each sleep. A signal in the gap between this and the sleep is
		 * lost to flock(), but the timer, armed first and repeating, ends that sleep soon
		 * after.
		 */
		waker_arm(waker, left < LOOK_MS ? (left > 0 ? left : 1) : LOOK_MS);
		if (left <= 0 || vm_interrupt_pending())
			return 1;
		if (flock(fd, operation) == 0)
			return 0;
		if (errno != EINTR)
			return -1;
	}
}

int vm_flock_until(int fd, int operation, int64_t deadline_ms, struct vm_err *err)
{
	struct waker waker;
	int result;

	if (flock(fd, operation | LOCK_NB) == 0)
		return 0;
	if (errno != EWOULDBLOCK && errno != EINTR)
		return vm_err_sys(err, "flock");
	if (remaining_ms(deadline_ms) <= 0)
		return 1;
	if (waker_begin(&waker, err) != 0)
		return -1;
	result = flock_with_waker(&waker, fd, operation, deadline_ms);
	waker_end(&waker);
	return result < 0 ? vm_err_sys(err, "flock") : result;
}

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

	if (*fd >= 0)
		flock(*fd, LOCK_UN);
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

static int wait_for_lock(const struct vm_lock_request *request, int fd, int operation,
                         int64_t deadline_ms, struct vm_err *err)
{
	int64_t begin;
	int result;

	if (flock(fd, operation | LOCK_NB) == 0)
		return 0;
	begin = vm_monotonic_us();
	result = vm_flock_until(fd, operation, deadline_ms, err);
	/* Who does not want to wait has not, however long the look took. */
	if (request->waited_us && deadline_ms != VM_WAIT_NONE)
		*request->waited_us += vm_monotonic_us() - begin;
	return result;
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

	if (!vm_fault(VM_FAULT_LOCK_CREATE))
		fd = open_lock_file(request->dir_fd, name, create);
	if (fd < 0 && errno == ENOENT && !create)
		return GONE;
	if (fd < 0 || vm_fault(VM_FAULT_LOCK_CREATE_DONE) || vm_fault(VM_FAULT_LOCK_TAKE))
		return vm_err_sys(err, "%s: opening lock file %s", request->what,
		                  vm_fs_path(request->dir_fd, name, path, sizeof(path)));
	result = wait_for_lock(request, fd, operation, deadline_ms, err);
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
	vm_fault(VM_FAULT_LOCK_TAKE_DONE);
	*ret_fd = vm_take_fd(&fd);
	return GOT;
}

/*
 * Called with the gate locked, after the lock was not had: if the lock file is gone for good,
 * nobody will ever delete the gate that we may have made after its owner unlinked the old one.
 * Others who wait for this gate notice that it is unlinked, as with any lock file.
 */
static void drop_orphan_gate(const struct vm_lock_request *request, int gate)
{
	if (missing(request->dir_fd, request->name) &&
	    still_linked(gate, request->dir_fd, request->gate))
		unlinkat(request->dir_fd, request->gate, 0);
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
		outcome = lock_file(request, request->gate, true, VM_LOCK_EXCLUSIVE,
		                    gate_deadline(request->deadline_ms), &gate, err);
		if (outcome != GOT)
			return outcome;
	}
	outcome = lock_file(request, request->name, request->create, request->mode,
	                    request->deadline_ms, ret_fd, err);
	if (outcome != GOT && gate >= 0)
		drop_orphan_gate(request, gate);
	return outcome; /* and the gate opens */
}

static unsigned holders_of(int dir_fd, const char *name, char *buf, size_t size)
{
	VM_AUTO_CLOSE int fd = name ? open_lock_file(dir_fd, name, false) : -1;

	return fd < 0 ? 0 : vm_lock_list_holders(fd, buf, size);
}

static int report_busy(const struct vm_lock_request *request, struct vm_err *err)
{
	char holders[640];

	/* The gate's holder is the one to blame only when nobody is inside: it is just passing. */
	if (!holders_of(request->dir_fd, request->name, holders, sizeof(holders)) &&
	    !holders_of(request->dir_fd, request->gate, holders, sizeof(holders)))
		snprintf(holders, sizeof(holders), "an unknown process");
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
