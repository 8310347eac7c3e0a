/* SPDX-License-Identifier: Apache-2.0 */
/* What /proc says of a process. */
#ifndef VM_PROC_H
#define VM_PROC_H

#include <stdint.h>
#include <sys/types.h>

/*
 * Start time of a process in clock ticks since boot (field 22 of /proc/PID/stat, see proc(5)); with
 * the pid it names a process for ever. Async-signal-safe. Returns 0, or -1 with errno: ENOENT
 * or ESRCH when there is no such process, else it is not known.
 */
int vm_proc_start_time(pid_t pid, uint64_t *ret_ticks);

#endif
