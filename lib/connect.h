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
 * Waits until poll() says one of `events` of the socket: 0. -1: timeout ("timed out while STEP"),
 * also where it is ready but the deadline has passed, so that a peer that never stops talking is
 * not listened to for ever; system (also "interrupted").
 */
int vm_connect_wait(int fd, short events, int64_t deadline_ms, const char *step,
                    struct vm_err *err);

#endif
