/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for a lock with a deadline, and one after the other. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "interrupt.h"
#include "lock.h"
#include "lock_impl.h"
#include "util.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum {
	LOOK_MS = 200,  /* a sleeper looks for a request to stop this often */
	REPEAT_MS = 10, /* a wake-up that came just before the sleep is repeated after this */
	DRAWS_MAX = 1000,
};

/* An flock, or (operation 0) bytes of the file by fcntl; both of the open file description. */
struct wanted {
	int fd;
	int operation;
	struct flock range;
};

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

/* Once: -1 with errno if it could not be had, or not without sleeping. */
static int lock_once(const struct wanted *wanted, bool sleep)
{
	struct flock range = wanted->range;

	if (wanted->operation)
		return flock(wanted->fd, wanted->operation | (sleep ? 0 : LOCK_NB));
	return fcntl(wanted->fd, sleep ? F_OFD_SETLKW : F_OFD_SETLK, &range);
}

/* 0 locked, 1 late or asked to stop, -1 with errno. */
static int lock_with_waker(struct waker *waker, const struct wanted *wanted, int64_t deadline_ms)
{
	for (;;) {
		int64_t left = remaining_ms(deadline_ms);

		/*
		 * Looked at before each sleep. A signal in the gap between this and the sleep is
		 * lost to it, but the timer, armed first and repeating, ends that sleep soon
		 * after.
		 */
		waker_arm(waker, left < LOOK_MS ? (left > 0 ? left : 1) : LOOK_MS);
		if (left <= 0 || vm_interrupt_pending())
			return 1;
		if (lock_once(wanted, true) == 0)
			return 0;
		if (errno != EINTR)
			return -1;
	}
}

static int lock_until(const struct wanted *wanted, int64_t deadline_ms, struct vm_err *err)
{
	struct waker waker;
	int result;

	if (lock_once(wanted, false) == 0)
		return 0;
	if (errno != EWOULDBLOCK && errno != EACCES && errno != EINTR)
		return vm_err_sys(err, "locking a file");
	if (remaining_ms(deadline_ms) <= 0)
		return 1;
	if (waker_begin(&waker, err) != 0)
		return -1;
	result = lock_with_waker(&waker, wanted, deadline_ms);
	waker_end(&waker);
	return result < 0 ? vm_err_sys(err, "locking a file") : result;
}

int vm_flock_until(int fd, int operation, int64_t deadline_ms, struct vm_err *err)
{
	const struct wanted wanted = {.fd = fd, .operation = operation};

	return lock_until(&wanted, deadline_ms, err);
}

/* --- the queue at a gate ------------------------------------------------------------------------
 */

off_t vm_queue_enter(int gate_fd)
{
	struct flock ticket = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};

	/* Two who come at the same moment, or one who comes late to his place: again. */
	for (int i = 0; i < DRAWS_MAX; i++) {
		off_t now = vm_monotonic_us();

		ticket.l_start = now > ticket.l_start ? now : ticket.l_start + 1;
		if (fcntl(gate_fd, F_OFD_SETLK, &ticket) == 0)
			return ticket.l_start;
		if (errno != EAGAIN && errno != EACCES)
			break;
	}
	return -1;
}

bool vm_queue_wait(int gate_fd, off_t ticket, int64_t deadline_ms)
{
	const struct wanted before_us = {
	        .fd = gate_fd, .range = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_len = ticket}};
	struct vm_err ignored = {0};

	return ticket <= 0 || lock_until(&before_us, deadline_ms, &ignored) <= 0;
}

void vm_queue_leave(int gate_fd)
{
	struct flock all = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

	fcntl(gate_fd, F_OFD_SETLK, &all);
}
