/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting for the store to change, without asking it again and again: SQLite appends every commit
 * to its log, and inotify tells of that. Open the watch, look, sleep, look, ...: what is committed
 * between a look and the sleep ends the sleep.
 */
#ifndef VM_WATCH_H
#define VM_WATCH_H

#include <poll.h>
#include <stdint.h>

#include "root.h"

struct vm_watch {
	int inotify_fd;
	int64_t again_ms; /* after a change: how soon to look once more; 0: no need to */
};
#define VM_WATCH_INIT                                                                              \
	{                                                                                          \
		.inotify_fd = -1                                                                   \
	}

/* Errors: not_found (no data root yet), system. */
int vm_watch_open(const struct vm_root *root, struct vm_watch *ret, struct vm_err *err);
void vm_watch_close(struct vm_watch *watch);
/*
 * Sleeps until the store may have changed, one of `others` (at most 4) is ready (its revents say
 * which), or the deadline (vm_monotonic_ms(); -1: never) has passed. May return sooner: look and
 * call again. -1 when interrupted.
 */
int vm_watch_sleep(struct vm_watch *watch, struct pollfd *others, nfds_t count, int64_t deadline_ms,
                   struct vm_err *err);

#endif
