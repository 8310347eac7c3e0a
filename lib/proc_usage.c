/* SPDX-License-Identifier: Apache-2.0 */
/* What a process uses. Fields and files are described in proc(5). */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proc.h"
#include "util.h"

enum { KIB = 1024 };

/* A whole file of /proc; a longer one is cut. */
static int read_text(const char *path, char *text, size_t size)
{
	VM_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = 1;
	size_t used = 0;

	if (fd < 0)
		return -1;
	while (used < size - 1 && n > 0) {
		n = read(fd, text + used, size - 1 - used);
		if (n < 0)
			return -1;
		used += (size_t)n;
	}
	text[used] = '\0';
	if (used == 0)
		errno = ESRCH;
	return used > 0 ? 0 : -1;
}

/* "NAME:   123 kB" in bytes. */
static bool find_kib(const char *text, const char *name, uint64_t *ret_bytes)
{
	size_t len = strlen(name);

	for (; text; text = strchr(text, '\n'), text += text != NULL) {
		if (strncmp(text, name, len) == 0 && text[len] == ':') {
			*ret_bytes = strtoull(text + len + 1, NULL, 10) * KIB;
			return true;
		}
	}
	return false;
}

int64_t vm_proc_ticks_us(uint64_t ticks)
{
	return (int64_t)(ticks * 1000000 / (uint64_t)sysconf(_SC_CLK_TCK));
}

bool vm_proc_parse_usage(const char *stat_text, struct vm_proc_usage *ret)
{
	/* The command's name may hold spaces and ')': the fields begin behind the last ')'. */
	const char *at = strrchr(stat_text, ')');
	uint64_t user, system, start;
	int64_t pages;

	if (!at || sscanf(at + 1,
	                  " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64
	                  " %*d %*d %*d %*d %*d %*d %" SCNu64 " %*u %" SCNd64,
	                  &user, &system, &start, &pages) != 4)
		return false;
	*ret = (struct vm_proc_usage){
	        .start_ticks = start,
	        .cpu_us = vm_proc_ticks_us(user + system),
	        .rss_bytes = pages > 0 ? (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0,
	};
	return true;
}

int vm_proc_usage(pid_t pid, struct vm_proc_usage *ret)
{
	char path[40], text[1024];

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (read_text(path, text, sizeof(text)) < 0)
		return -1;
	errno = EPROTO;
	return vm_proc_parse_usage(text, ret) ? 0 : -1;
}

int vm_proc_pss(pid_t pid, uint64_t start_ticks, uint64_t *ret_bytes)
{
	char path[48], text[4096];
	uint64_t bytes, now;

	(void)snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	if (read_text(path, text, sizeof(text)) < 0 || vm_proc_start_time(pid, &now) < 0)
		return -1;
	errno = now == start_ticks ? EPROTO : ESRCH;
	if (now != start_ticks || !find_kib(text, "Pss", &bytes))
		return -1;
	*ret_bytes = bytes;
	return 0;
}

int64_t vm_proc_since_boot_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int vm_host_memory(struct vm_host_memory *ret)
{
	struct vm_host_memory memory;
	char text[4096];

	if (read_text("/proc/meminfo", text, sizeof(text)) < 0)
		return -1;
	errno = EPROTO;
	if (!find_kib(text, "MemTotal", &memory.total_bytes) ||
	    !find_kib(text, "MemAvailable", &memory.available_bytes))
		return -1;
	*ret = memory;
	return 0;
}
