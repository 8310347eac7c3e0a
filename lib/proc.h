/* SPDX-License-Identifier: Apache-2.0 */
/* What /proc says of a process. */
#ifndef VM_PROC_H
#define VM_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Start time of a process in clock ticks since boot (field 22 of /proc/PID/stat, see proc(5)); with
 * the pid it names a process for ever. Async-signal-safe. Returns 0, or -1 with errno: ENOENT
 * or ESRCH when there is no such process, else it is not known.
 */
int vm_proc_start_time(pid_t pid, uint64_t *ret_ticks);

/* What a process has used, all its threads together. */
struct vm_proc_usage {
	uint64_t start_ticks; /* its start time: whether it is still the one that was meant */
	int64_t cpu_us;       /* CPU time, in user mode and in the kernel; guests count as user */
	uint64_t rss_bytes;   /* resident, what is shared with others in full */
};
/* Of a /proc/PID/stat. False when it is none. */
bool vm_proc_parse_usage(const char *stat_text, struct vm_proc_usage *ret);
/* Cheap. Returns 0, or -1 with errno as vm_proc_start_time(). */
int vm_proc_usage(pid_t pid, struct vm_proc_usage *ret);
/*
 * Proportional set size: resident, each page divided by how many processes have it. The kernel
 * walks over all of the process's memory for that: milliseconds for each GiB. Of the process with
 * that start time only. Returns 0, or -1 with errno; also EACCES, for it takes the right to trace
 * the process, and ESRCH when the pid is another's by now.
 */
int vm_proc_pss(pid_t pid, uint64_t start_ticks, uint64_t *ret_bytes);

/* How long the system has run, in the clock of start times, microseconds. */
int64_t vm_proc_since_boot_us(void);
int64_t vm_proc_ticks_us(uint64_t ticks);

struct vm_host_memory {
	uint64_t total_bytes, available_bytes; /* available: without swapping, see proc(5) */
};
/* Returns 0, or -1 with errno. */
int vm_host_memory(struct vm_host_memory *ret);

#endif
