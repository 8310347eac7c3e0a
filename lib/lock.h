/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranked, kernel-held locks (flock). Nothing is stale after kill -9: the kernel drops a lock with
 * the last descriptor of its open file description. docs/locking.md tells the whole story.
 *
 * A thread takes locks in rank order only; taking one out of order is a failed assertion. What a
 * thread holds is kept in a thread-local mask. Each lock file lives in the data root and is opened
 * with O_CLOEXEC, so no child keeps it.
 *
 * Instance locks and the store's have a gate in front (locks/<name>.gate). Everybody passes through
 * the gate, and whoever wants the lock exclusively keeps the gate closed while waiting for the
 * holders to leave: later sharers queue behind. So a stream of forks (shared) cannot starve a stop
 * (exclusive). Those who want the gate get it in the order in which they came, unless somebody in
 * front is stopped.
 *
 * After flock() succeeded the file is checked to be still linked under its name: its owner may have
 * deleted it while we waited (unlinking is the owner's last act, under the exclusive lock). Then
 * the lock is opened again, or not_found is returned where the lock file must exist.
 *
 * A process that calls fork() without exec() while it holds a lock shares that lock with the child;
 * the child must leave by exec() or _exit() and never release it.
 */
#ifndef VM_LOCK_H
#define VM_LOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "err.h"
#include "tell.h"

enum vm_lock_rank {
	VM_RANK_STORE,  /* shared by every changing verb, exclusive for migration and repair */
	VM_RANK_SOURCE, /* an existing instance's own lock */
	VM_RANK_CHILD,  /* the own lock of an instance that is being made, held by its maker */
	VM_RANK_MEMORY,
	VM_RANK_ALIAS,
	VM_RANK_SLOT,
	VM_RANK_COUNT
};

enum vm_lock_mode { VM_LOCK_SHARED, VM_LOCK_EXCLUSIVE };

/* How long to wait: a monotonic deadline, or one of these. */
#define VM_WAIT_NONE ((int64_t)0) /* do not wait at all */
#define VM_WAIT_FOREVER ((int64_t)-1)

/* Rules: released by the thread that took it (asserted), for the mask is that thread's. */
struct vm_lock {
	int fd; /* -1 when not held */
	int rank;
	bool counted; /* stands in this thread's held mask */
	enum vm_lock_mode mode;
	pid_t owner; /* thread id of the taker */
};
#define VM_LOCK_INIT                                                                               \
	{                                                                                          \
		.fd = -1                                                                           \
	}

struct vm_lock_request {
	int dir_fd;       /* directory of the lock file */
	const char *name; /* file name, e.g. an instance id */
	const char *gate; /* gate's file name, or NULL for a lock without a gate */
	enum vm_lock_rank rank;
	enum vm_lock_mode mode;
	int64_t deadline_ms; /* vm_monotonic_ms() value, VM_WAIT_NONE or VM_WAIT_FOREVER */
	bool create;         /* create the lock file when missing (mode 0600); else not_found */
	const char *what;    /* for messages, e.g. "instance 'web'" */
	int64_t *waited_us;  /* NULL, or incremented by the time spent waiting */
	const struct vm_tell *tell; /* who is told of a wait and of who is in the way; or NULL */
};

/*
 * Takes the lock. Errors: busy (not had in time; the message names each holder's pid, verb and
 * age), not_found (no lock file and !create), system (also "interrupted by SIG...", see
 * interrupt.h). Several locks of rank CHILD may be held at once (a verb that makes many forks); of
 * every other rank one at a time.
 *
 * A missing gate is made: before the lock file by those who may create it, else once the lock is
 * had. A gate that is closed is waited for at least 200 ms whatever the deadline says, VM_WAIT_NONE
 * included: most often somebody is just passing through it, which is no reason to call the lock
 * busy.
 */
int vm_lock_take(const struct vm_lock_request *request, struct vm_lock *ret_lock,
                 struct vm_err *err);

/*
 * Takes the lock if it is free now: 1 taken, 0 somebody holds it (or no such file and !create), -1.
 * For locks without a gate. Unlike vm_lock_take() with VM_WAIT_NONE it does not look for holders.
 */
int vm_lock_try(const struct vm_lock_request *request, struct vm_lock *ret_lock,
                struct vm_err *err);

/* Releases the lock; does nothing when it is not held. Safe as a cleanup handler. */
void vm_lock_release(struct vm_lock *lock);

/*
 * Unlinks the lock file (last) and the gate (first; may be NULL), then releases: the owner's last
 * act of an instance's life. The lock must be held exclusively (asserted). Missing files are no
 * error.
 */
void vm_lock_unlink_release(struct vm_lock *lock, int dir_fd, const char *name, const char *gate);

/*
 * Whether somebody holds an EXCLUSIVE flock on the file, by trying for a shared one: 1 held, 0 not
 * held so or no such file, -1. A shared try, for two processes that probe a free file at once must
 * not take each other for a holder. Only for files whose takers wait (a try of ours may be in their
 * way for an instant).
 */
int vm_lock_probe(int dir_fd, const char *name, struct vm_err *err);

/*
 * Describes the holders of the lock on an open file for people, e.g.
 * "pid 4711 (vmctl-stop web, for 2.4 s)", several joined by "; ", from /proc/locks and /proc/PID,
 * so it cannot be stale. The time is the age of the process. Writes "an unknown process" when the
 * kernel does not tell. Never fails.
 */
void vm_lock_describe_holders(int fd, char *buf, size_t size);
/* The same, but returns how many were found, and writes "" when that is none. */
unsigned vm_lock_list_holders(int fd, char *buf, size_t size);

enum { VM_LOCK_VERB_MAX = 60 };
struct vm_lock_process {
	pid_t pid;
	enum vm_lock_mode mode;          /* that it has, or waits for */
	char verb[VM_LOCK_VERB_MAX + 1]; /* "vmctl-stop web", printable ASCII; "?" unknown */
	double age_s;                    /* of the process; -1: unknown */
};
/* The processes that hold the lock, at most `room` of them. Returns how many it has written. */
unsigned vm_lock_holders(int fd, struct vm_lock_process *ret, unsigned room);
/* Those that wait for it in flock(). */
unsigned vm_lock_waiters(int fd, struct vm_lock_process *ret, unsigned room);

/* Ranks this thread holds, as a bit mask of (1 << rank). For assertions elsewhere and for tests. */
unsigned vm_lock_held_mask(void);

/*
 * flock(fd, operation) with a deadline and without polling: a POSIX timer interrupts the call (with
 * SIGRTMIN+3, aimed at the calling thread). Returns 0, 1 when the deadline passed or the process
 * was asked to stop (vm_interrupt_pending() tells), -1 (system; insufficient_resources without a
 * timer).
 */
int vm_flock_until(int fd, int operation, int64_t deadline_ms, struct vm_err *err);

#endif
