/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hypervisor's process (VMM): how it is spawned, recognised and ended.
 *
 * Liveness: run/<id>.alive is flock'd by the parent and inherited by the VMM across exec, so the
 * lock is held exactly as long as the VMM lives, whatever kills it and whoever its parent was. The
 * child writes its own pid and start time into the file before it executes the hypervisor: whoever
 * finds the lock held can find the process, also when the spawning verb was killed at any
 * instruction.
 */
#ifndef VM_VMM_H
#define VM_VMM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "err.h"
#include "root.h"
#include "view.h"

struct vm_vmm {
	pid_t pid;
	int pid_fd; /* -1: none; polls readable when the VMM has ended */
};
#define VM_VMM_INIT                                                                                \
	{                                                                                          \
		.pid_fd = -1                                                                       \
	}

/* Files of an instance that the VMM has as its standard streams. */
#define VM_CONSOLE_LOG "console.log" /* stdout: the guest's serial output */
#define VM_CONSOLE_IN "console.in"   /* stdin: a FIFO, the guest's serial input */
#define VM_VMM_LOG "vmm.log"         /* stderr, and the hypervisor's own log */

/*
 * Spawns argv[0] (an absolute path) with cwd = the instance's directory, in a session of its own,
 * with the streams above and no other descriptor but the liveness lock. The caller holds the
 * instance's lock. Errors: hypervisor (cannot be executed), busy (another VMM of this instance is
 * alive), system.
 */
int vm_vmm_spawn(const struct vm_root *root, const char *id, int dir_fd, const char *const *argv,
                 struct vm_vmm *ret_vmm, struct vm_err *err);

/*
 * The same, in a mount namespace of its own if `view` is not NULL. Errors: those of the namespace
 * too (system).
 */
int vm_vmm_spawn_in(const struct vm_root *root, const char *id, int dir_fd,
                    const struct vm_view *view, const char *const *argv, struct vm_vmm *ret_vmm,
                    struct vm_err *err);

/* Finds the instance's VMM: 1 alive (`*ret_vmm` is open), 0 there is none, -1. */
int vm_vmm_open(const struct vm_root *root, const char *id, struct vm_vmm *ret_vmm,
                struct vm_err *err);
/* Whether it is alive, without opening it: 1, 0, -1. Cheap. */
int vm_vmm_alive(const struct vm_root *root, const char *id, struct vm_err *err);

/* Waits for its end: 0 it has ended, 1 the deadline passed, -1 (interrupted). */
int vm_vmm_wait(const struct vm_vmm *vmm, int64_t deadline_ms, struct vm_err *err);
/* SIGKILL by pidfd, then waits for the end. Errors: timeout (it does not die), system. */
int vm_vmm_kill(struct vm_vmm *vmm, struct vm_err *err);
/* Kills the instance's VMM if there is one, and waits. */
int vm_vmm_reap(const struct vm_root *root, const char *id, struct vm_err *err);
void vm_vmm_close(struct vm_vmm *vmm);

/* The last lines of a log, as one line joined by " | ", for messages. Never fails. */
void vm_vmm_log_tail(int dir_fd, const char *log, char *buf, size_t size);
/* The same of what comes after the first `begin` bytes: of one VMM, by the size before its spawn.
 */
void vm_vmm_log_since(int dir_fd, const char *log, int64_t begin, char *buf, size_t size);
/* In bytes; 0 if there is none. */
int64_t vm_vmm_log_size(int dir_fd, const char *log);

#endif
