/* SPDX-License-Identifier: Apache-2.0 */
/* Connecting to a VMM's unix socket, with a deadline. */
#ifndef VM_CONNECT_H
#define VM_CONNECT_H

#include <stdint.h>

#include "err.h"

/*
 * Connects to the stream socket `name` below dir_fd (or AT_FDCWD); no length limit on either. It
 * must not be a symbolic link, and /proc must be mounted. Waits while its backlog is full, until
 * the vm_monotonic_ms() deadline. Returns a blocking descriptor, or -1: hypervisor (nobody listens,
 * no socket), timeout, system (also "interrupted"). errno is ENOENT or ECONNREFUSED exactly when
 * nobody listened, so that whoever waits for a VMM to come up can tell.
 */
int vm_connect(int dir_fd, const char *name, int64_t deadline_ms, struct vm_err *err);

/*
 * How long the next sleep of a wait may be; -1 when the deadline has passed (timeout, "timed out
 * while STEP") or a signal asks to stop. Sleeps are short because a signal that arrives between
 * this look and the sleep does not end that.
 */
int vm_connect_slice(int64_t deadline_ms, const char *step, int *ret_ms, struct vm_err *err);

#endif
