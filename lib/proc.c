/* SPDX-License-Identifier: Apache-2.0 */
#include "proc.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "util.h"

enum { START_TIME_FIELD = 22, FIRST_AFTER_COMM = 3 };

/* Writes "/proc/PID/stat" without stdio: this also runs between fork and exec. */
static void stat_path(pid_t pid, char *buf)
{
	char digits[VM_DECIMAL_SIZE];

	buf = stpcpy(buf, "/proc/");
	buf = stpcpy(buf, vm_decimal((uint64_t)pid, digits));
	stpcpy(buf, "/stat");
}

int vm_proc_start_time(pid_t pid, uint64_t *ret_ticks)
{
	char text[1024], path[40];
	uint64_t ticks = 0;
	const char *at;
	ssize_t n;
	int fd;

	stat_path(pid, path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n == 0)
		errno = ESRCH;
	if (n <= 0)
		return -1;
	text[n] = '\0';
	/* The command's name may hold spaces and ')': the fields begin behind the last ')'. */
	at = strrchr(text, ')');
	for (int field = FIRST_AFTER_COMM - 1; at && field < START_TIME_FIELD; field++)
		at = strchr(at + 1, ' ');
	if (!at || at[1] < '0' || at[1] > '9') {
		errno = EPROTO;
		return -1;
	}
	for (at++; *at >= '0' && *at <= '9'; at++)
		ticks = ticks * 10 + (uint64_t)(*at - '0');
	*ret_ticks = ticks;
	return 0;
}
