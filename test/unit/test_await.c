/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for the socket of a VMM that was just spawned, and what is left of the signal that tells
 * of it.
 */
#include "site.h"

#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "driver/await.h"

enum { LATE_US = 100 * 1000 };

struct awaiting {
	struct site *site;
	struct vm_machine machine;
	sigset_t mask_before;
};

static int await_setup(void **state)
{
	struct awaiting *a = calloc(1, sizeof(*a));

	assert_non_null(a);
	a->site = site_new();
	a->machine = (struct vm_machine){.root = &a->site->root,
	                                 .dir_fd = a->site->root.guests_fd,
	                                 .vmm = VM_VMM_INIT,
	                                 .deadline_ms = vm_monotonic_ms() + PATIENCE_MS};
	pthread_sigmask(SIG_BLOCK, NULL, &a->mask_before);
	assert_int_equal(sigismember(&a->mask_before, SIGIO), 0);
	*state = a;
	return 0;
}

/* Whatever was told: nothing of it is left, and this process has not died of it. */
static int await_teardown(void **state)
{
	struct awaiting *a = *state;
	sigset_t mask;

	pthread_sigmask(SIG_BLOCK, NULL, &mask);
	for (int signo = 1; signo <= SIGRTMAX; signo++)
		assert_int_equal(sigismember(&mask, signo), sigismember(&a->mask_before, signo));
	sigpending(&mask);
	assert_int_equal(sigismember(&mask, SIGIO), 0);
	if (a->machine.vmm.pid > 0) {
		kill(a->machine.vmm.pid, SIGKILL);
		waitpid(a->machine.vmm.pid, NULL, 0);
	}
	vm_vmm_close(&a->machine.vmm);
	unlinkat(a->machine.dir_fd, VM_FILE_API_SOCKET, 0);
	site_free(a->site);
	free(a);
	return 0;
}

/* In the directory, which is the only one with no path of its own here. */
static void answer(int dir_fd)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = VM_FILE_API_SOCKET};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || fchdir(dir_fd) < 0 ||
	    bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 8) < 0)
		_exit(1);
}

/* A VMM that answers late, or ends instead. */
static void be_spawned(struct awaiting *a, bool answers)
{
	pid_t pid;

	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		nap_us(LATE_US);
		if (!answers)
			_exit(0);
		answer(a->machine.dir_fd);
		for (;;)
			pause();
	}
	a->machine.vmm.pid = pid;
	a->machine.vmm.pid_fd = pidfd_open(pid, 0);
	assert_true(a->machine.vmm.pid_fd >= 0);
}

/* As vm_await_socket(), which gives a connection or none. */
static int wait_for_socket(struct awaiting *a)
{
	VM_AUTO_CLOSE int fd = -1;
	int rc = vm_await_socket(&a->machine, &fd, &a->site->err);

	assert_int_equal(fd >= 0, rc == 0);
	return rc;
}

static void a_socket_that_comes_late_is_connected_to(void **state)
{
	struct awaiting *a = *state;

	be_spawned(a, true);
	assert_int_equal(wait_for_socket(a), 0);
	assert_true(vm_monotonic_ms() < a->machine.deadline_ms - PATIENCE_MS / 2);
}

static void the_end_of_the_vmm_ends_the_wait(void **state)
{
	struct awaiting *a = *state;

	be_spawned(a, false);
	assert_int_equal(wait_for_socket(a), 1);
}

static void the_deadline_ends_the_wait(void **state)
{
	struct awaiting *a = *state;

	be_spawned(a, true);
	a->machine.deadline_ms = vm_monotonic_ms() + LATE_US / 10000;
	a->machine.dir_fd = a->site->root.locks_fd; /* where it never answers */
	assert_int_equal(wait_for_socket(a), -1);
	assert_int_equal(a->site->err.code, VM_ERR_TIMEOUT);
	a->machine.dir_fd = a->site->root.guests_fd;
}

static void *make_files(void *arg)
{
	struct awaiting *a = arg;

	for (int i = 0; i < 1000; i++) {
		site_write(a->machine.dir_fd, "other", 1);
		unlinkat(a->machine.dir_fd, "other", 0);
	}
	return NULL;
}

static void other_files_that_come_and_go_do_not_matter(void **state)
{
	struct awaiting *a = *state;
	pthread_t thread;

	be_spawned(a, true);
	assert_int_equal(pthread_create(&thread, NULL, make_files, a), 0);
	assert_int_equal(wait_for_socket(a), 0);
	pthread_join(thread, NULL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, await_setup, await_teardown)
	const struct CMUnitTest tests[] = {
	        TEST(a_socket_that_comes_late_is_connected_to),
	        TEST(the_end_of_the_vmm_ends_the_wait),
	        TEST(the_deadline_ends_the_wait),
	        TEST(other_files_that_come_and_go_do_not_matter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
