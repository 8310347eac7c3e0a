/* SPDX-License-Identifier: Apache-2.0 */
#include "interrupt.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

#include "util.h"

enum { SLICE_MS = 250 };

static const int stop_signals[] = {SIGINT, SIGTERM, SIGHUP};

/*
 * The first stop signal that arrived. A signal handler has no other way to tell anybody: it gets no
 * argument of ours, so this one global has to be mutable. Written by the handler only, once.
 */
static volatile sig_atomic_t arrived;

/* How often vm_interrupt_suspend() was called by this thread without a resume. */
static _Thread_local unsigned suspended;

static void note(int signo)
{
	if (arrived == 0)
		arrived = signo;
}

void vm_interrupt_install(void)
{
	struct sigaction action = {.sa_handler = note};

	/* No SA_RESTART: a sleeping system call must return, so that its caller can look here. */
	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < sizeof(stop_signals) / sizeof(stop_signals[0]); i++) {
		struct sigaction old;

		/* nohup and `&` in a script ignore a signal on purpose. */
		if (sigaction(stop_signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
			sigaction(stop_signals[i], &action, NULL);
	}
}

int vm_interrupt_signal(void)
{
	return arrived;
}

bool vm_interrupt_pending(void)
{
	return arrived != 0 && suspended == 0;
}

static const char *signal_name(int signo)
{
	switch (signo) {
	case SIGINT:
		return "SIGINT";
	case SIGTERM:
		return "SIGTERM";
	case SIGHUP:
		return "SIGHUP";
	default:
		return "a signal";
	}
}

int vm_interrupt_check(struct vm_err *err)
{
	if (!vm_interrupt_pending())
		return 0;
	return vm_err_set(err, VM_ERR_SYSTEM, "interrupted by %s", signal_name(arrived));
}

void vm_interrupt_reraise(void)
{
	struct sigaction action = {.sa_handler = SIG_DFL};
	int signo = arrived;
	sigset_t set;

	if (signo == 0)
		return;
	sigemptyset(&action.sa_mask);
	sigaction(signo, &action, NULL);
	sigemptyset(&set);
	sigaddset(&set, signo);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	raise(signo);
	/* Only the init process of a pid namespace is spared by its own signal. */
	_exit(128 + signo);
}

void vm_interrupt_suspend(void)
{
	suspended++;
}

void vm_interrupt_resume(void)
{
	assert(suspended > 0);
	suspended--;
}

int vm_poll_until(struct pollfd *fds, nfds_t count, int64_t deadline_ms, struct vm_err *err)
{
	for (;;) {
		int64_t left = deadline_ms < 0 ? SLICE_MS : deadline_ms - vm_monotonic_ms();
		int n;

		if (vm_interrupt_check(err) < 0)
			return -1;
		n = poll(fds, count, left > SLICE_MS ? SLICE_MS : left > 0 ? (int)left : 0);
		if (n > 0 || (n == 0 && left <= 0))
			return n;
		if (n < 0 && errno != EINTR)
			return vm_err_sys(err, "poll");
	}
}
