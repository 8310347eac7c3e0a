/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory of a program at its end: stopped by ptrace(2) when it exits, while all that it has
 * mapped is still there, for afterwards the kernel only tells its resident set, in which shared
 * pages of libraries count as much as its own.
 *
 *	at-exit WORD...
 *
 * Prints {"peak_rss_kib":N,"private_kib":N}: VmHWM, and the private pages that it had at its end,
 * which is their peak but for what it has unmapped before. The exit status is the program's.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "at-exit: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* The sum of the lines of /proc/PID/NAME that begin with `key`, in KiB. */
static long sum_of(pid_t pid, const char *name, const char *key)
{
	char path[64], line[256];
	long sum = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	file = fopen(path, "re");
	if (!file)
		die(path);
	while (fgets(line, sizeof(line), file)) {
		const char *colon = strchr(line, ':');

		if (colon && strncmp(line, key, strlen(key)) == 0)
			sum += strtol(colon + 1, NULL, 10);
	}
	fclose(file);
	return sum;
}

int main(int argc, char **argv)
{
	pid_t pid = argc > 1 ? fork() : -1;
	int status;

	if (argc < 2) {
		fputs("usage: at-exit WORD...\n", stderr);
		return 2;
	}
	if (pid == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0 || raise(SIGSTOP) != 0)
			_exit(126);
		execvp(argv[1], argv + 1);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || !WIFSTOPPED(status) ||
	    ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACEEXIT | PTRACE_O_EXITKILL) < 0 ||
	    ptrace(PTRACE_CONT, pid, NULL, NULL) < 0)
		die(argv[1]);
	while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
		int number = WSTOPSIG(status);

		if (status >> 16 == PTRACE_EVENT_EXIT)
			printf("{\"peak_rss_kib\":%ld,\"private_kib\":%ld}\n",
			       sum_of(pid, "status", "VmHWM"),
			       sum_of(pid, "smaps_rollup", "Private_"));
		if (number == SIGTRAP)
			number = 0; /* its exec, or its exit */
		if (ptrace(PTRACE_CONT, pid, NULL, number) < 0)
			die("PTRACE_CONT");
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
