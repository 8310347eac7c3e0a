/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SIGINT, SIGTERM and SIGHUP ask a verb to stop: every wait ends at once with an error, the verb
 * undoes what it had begun (a paused source is resumed), then dies of the signal as the shell
 * expects.
 *
 * A wait ends at once in the thread that the kernel picked for the signal. The waits of other
 * threads, and one that the signal just preceded, look here at least every 200 ms.
 */
#ifndef VM_INTERRUPT_H
#define VM_INTERRUPT_H

#include <stdbool.h>

#include <poll.h>
#include <stdint.h>

#include "err.h"

/*
 * Installs the handlers (without SA_RESTART); for main() of a verb, before it starts threads.
 * Signals that are ignored stay so (nohup).
 */
void vm_interrupt_install(void);
/* The first signal that arrived, or 0. Suspension makes no difference. */
int vm_interrupt_signal(void);
/* Whether vm_interrupt_check() would fail now: for waits that report in another way. */
bool vm_interrupt_pending(void);
/* -1 with a system error "interrupted by SIG..." when a signal has arrived, else 0. For waits. */
int vm_interrupt_check(struct vm_err *err);
/*
 * Dies of the signal that arrived, if any; for the end of main(). stdio is not flushed, nor do
 * atexit handlers run: print first.
 */
void vm_interrupt_reraise(void);
/*
 * Undo and repair must not be cut short by the signal that caused them: between suspend and resume
 * vm_interrupt_check() stays 0. Nests; thread-local. A resume without a suspend asserts.
 */
void vm_interrupt_suspend(void);
void vm_interrupt_resume(void);

/*
 * poll() until something is ready (its result, > 0), the vm_monotonic_ms() deadline has passed (0;
 * -1 is never), or the process was asked to stop (-1). In slices: a signal that comes between the
 * look and the sleep would not end the sleep.
 */
int vm_poll_until(struct pollfd *fds, nfds_t count, int64_t deadline_ms, struct vm_err *err);

#endif
