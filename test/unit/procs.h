/* SPDX-License-Identifier: Apache-2.0 */
/* Real processes for the tests of locks, slots and interrupts: fork, wait, kill, wait for. */
#ifndef VM_TEST_PROCS_H
#define VM_TEST_PROCS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "err.h"
#include "lock.h"
#include "util.h"

enum {
	/* Deadlines that only a broken program reaches, however slow the machine. */
	PATIENCE_MS = 120000,
};

static inline int64_t patience(void)
{
	return vm_monotonic_ms() + PATIENCE_MS;
}

static inline void nap_us(long us)
{
	struct timespec ts = {.tv_sec = us / 1000000, .tv_nsec = (us % 1000000) * 1000};

	nanosleep(&ts, NULL);
}

/* Waits for a condition; false when it has not come true in the longest time we are willing to
 * wait. */
#define wait_for(condition)                                                                        \
	__extension__({                                                                            \
		int64_t wait_for_deadline = patience();                                            \
		bool wait_for_result;                                                              \
		while (!(wait_for_result = (condition)) && vm_monotonic_ms() < wait_for_deadline)  \
			nap_us(1000);                                                              \
		wait_for_result;                                                                   \
	})

/* Zeroed memory that forked children share with us. */
static inline void *shared_memory(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

/*
 * Runs fn(arg) in a child; what it returns is the exit status. A child whose checks fail returns
 * non-zero: cmocka's assertions are for the parent. It dies with the parent, whatever happens.
 */
static inline pid_t spawn(int (*fn)(void *), void *arg)
{
	pid_t parent = getpid();
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* A test run by nohup or in the background was started with some of these ignored. */
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	if (getppid() != parent)
		_exit(99);
	_exit(fn(arg));
}

/* The wait status of the child; -1 when it did not end in time (it is killed then). */
static inline int reap(pid_t pid)
{
	int status = -1;

	if (wait_for(waitpid(pid, &status, WNOHANG) == pid))
		return status;
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return -1;
}

static inline void assert_exits(pid_t pid, int code)
{
	int status = reap(pid);

	assert_true(status != -1);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), code);
}

static inline void kill_and_reap(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_not_equal(reap(pid), -1);
}

/* A child that is expected to fail an assertion: no core file, no noise. */
static inline void expect_abort_here(void)
{
	struct rlimit none = {0};
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	setrlimit(RLIMIT_CORE, &none);
	if (null >= 0)
		dup2(null, STDERR_FILENO);
}

static inline void assert_aborts(int (*fn)(void *), void *arg)
{
	int status = reap(spawn(fn, arg));

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
}

static inline bool all_positive(atomic_int *counters, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (atomic_load(&counters[i]) <= 0)
			return false;
	}
	return true;
}

/* Open descriptors of this process. */
static inline unsigned count_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 4096; fd++)
		n += fcntl(fd, F_GETFD) != -1;
	return n;
}

/* How many processes sleep for a lock of the file of this inode, by /proc/locks. */
static inline unsigned count_waiters(uintmax_t inode)
{
	FILE *locks = fopen("/proc/locks", "re");
	char line[256];
	uintmax_t number;
	unsigned n = 0;

	while (locks && fgets(line, sizeof(line), locks))
		n += sscanf(line, "%*d: -> %*s %*s %*s %*d %*x:%*x:%ju", &number) == 1 &&
		     number == inode;
	if (locks)
		fclose(locks);
	return n;
}

/* A directory of its own for each test; removed with the plain files in it. */
struct test_dir {
	char path[64];
	int fd;
};

static inline void test_dir_open(struct test_dir *dir)
{
	snprintf(dir->path, sizeof(dir->path), "/tmp/vmctl-unit-XXXXXX");
	assert_non_null(mkdtemp(dir->path));
	dir->fd = open(dir->path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	assert_true(dir->fd >= 0);
}

static inline void test_dir_close(struct test_dir *dir)
{
	DIR *list = fdopendir(dup(dir->fd));
	const struct dirent *entry;

	rewinddir(list);
	while ((entry = readdir(list)))
		unlinkat(dir->fd, entry->d_name, 0);
	closedir(list);
	rmdir(dir->path);
	close(dir->fd);
}

#endif
