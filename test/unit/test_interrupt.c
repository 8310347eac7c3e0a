/* SPDX-License-Identifier: Apache-2.0 */
/* Each test acts in a child: the arrival of a stop signal cannot be undone in a process. */
#include "procs.h"

#include "interrupt.h"

static int nothing_arrived(void *arg)
{
	struct vm_err err = {0};

	(void)arg;
	vm_interrupt_install();
	vm_interrupt_reraise(); /* does nothing */
	return vm_interrupt_signal() != 0 || vm_interrupt_pending() ||
	       vm_interrupt_check(&err) != 0 || err.code != VM_OK;
}

static void without_a_signal_nothing_is_pending(void **state)
{
	(void)state;
	assert_exits(spawn(nothing_arrived, NULL), 0);
}

static int signal_is_named(void *arg)
{
	const int *signo = arg;
	const char *name = *signo == SIGINT ? "SIGINT" : *signo == SIGTERM ? "SIGTERM" : "SIGHUP";
	struct vm_err err = {0};

	vm_interrupt_install();
	kill(getpid(), *signo);
	kill(getpid(), *signo == SIGTERM ? SIGINT : SIGTERM); /* the first one counts */
	if (vm_interrupt_signal() != *signo || !vm_interrupt_pending())
		return 1;
	if (vm_interrupt_check(&err) != -1 || err.code != VM_ERR_SYSTEM)
		return 2;
	if (!strstr(err.message, "interrupted by ") || !strstr(err.message, name))
		return 3;
	vm_interrupt_reraise();
	return 4;
}

static void each_signal_is_reported_and_then_died_of(void **state)
{
	int signals[] = {SIGINT, SIGTERM, SIGHUP};

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(signals); i++) {
		int status = reap(spawn(signal_is_named, &signals[i]));

		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), signals[i]);
	}
}

static int dies_although_blocked(void *arg)
{
	sigset_t set;

	(void)arg;
	vm_interrupt_install();
	kill(getpid(), SIGTERM);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	vm_interrupt_reraise();
	return 1;
}

static void a_blocked_signal_is_died_of_too(void **state)
{
	int status;

	(void)state;
	status = reap(spawn(dies_although_blocked, NULL));
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGTERM);
}

static int ignored_stays_ignored(void *arg)
{
	(void)arg;
	signal(SIGHUP, SIG_IGN);
	vm_interrupt_install();
	kill(getpid(), SIGHUP);
	return vm_interrupt_signal() != 0;
}

static void a_signal_ignored_at_start_stays_ignored(void **state)
{
	(void)state;
	assert_exits(spawn(ignored_stays_ignored, NULL), 0);
}

static int suspension_nests(void *arg)
{
	struct vm_err err = {0};

	(void)arg;
	vm_interrupt_install();
	vm_interrupt_suspend();
	vm_interrupt_suspend();
	kill(getpid(), SIGINT);
	if (vm_interrupt_pending() || vm_interrupt_check(&err) != 0 ||
	    vm_interrupt_signal() != SIGINT)
		return 1;
	vm_interrupt_resume();
	if (vm_interrupt_check(&err) != 0)
		return 2;
	vm_interrupt_resume();
	return vm_interrupt_check(&err) == -1 ? 0 : 3;
}

static void suspension_hides_the_signal_and_nests(void **state)
{
	(void)state;
	assert_exits(spawn(suspension_nests, NULL), 0);
}

static void *check_in_thread(void *arg)
{
	*(bool *)arg = vm_interrupt_pending();
	return NULL;
}

static int suspension_is_of_the_thread(void *arg)
{
	pthread_t thread;
	bool other_sees = false;

	(void)arg;
	vm_interrupt_install();
	vm_interrupt_suspend();
	kill(getpid(), SIGINT);
	if (pthread_create(&thread, NULL, check_in_thread, &other_sees) != 0)
		return 1;
	pthread_join(thread, NULL);
	return vm_interrupt_pending() || !other_sees ? 2 : 0;
}

static void suspension_counts_for_its_thread_only(void **state)
{
	(void)state;
	assert_exits(spawn(suspension_is_of_the_thread, NULL), 0);
}

static int resume_alone(void *arg)
{
	(void)arg;
	expect_abort_here();
	vm_interrupt_resume();
	return 0;
}

static void resume_without_suspend_is_an_assertion(void **state)
{
	(void)state;
	assert_aborts(resume_alone, NULL);
}

static int system_call_returns(void *arg)
{
	atomic_int *ready = arg;
	int fds[2];
	char c;

	vm_interrupt_install();
	if (pipe(fds) != 0)
		return 1;
	atomic_store(ready, 1);
	/* SIGINT comes again and again, so one of them comes while we sleep in read(). */
	return read(fds[0], &c, 1) == -1 && errno == EINTR ? 0 : 2;
}

static bool signalled_until_it_ended(pid_t pid, int *ret_status)
{
	kill(pid, SIGINT);
	return waitpid(pid, ret_status, WNOHANG) == pid;
}

static void a_sleeping_system_call_returns(void **state)
{
	atomic_int *ready = shared_memory(sizeof(*ready));
	int status = -1;
	pid_t pid;

	(void)state;
	pid = spawn(system_call_returns, ready);
	assert_true(wait_for(atomic_load(ready) == 1));
	assert_true(wait_for(signalled_until_it_ended(pid, &status)));
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	munmap(ready, sizeof(*ready));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(without_a_signal_nothing_is_pending),
	        cmocka_unit_test(each_signal_is_reported_and_then_died_of),
	        cmocka_unit_test(a_blocked_signal_is_died_of_too),
	        cmocka_unit_test(a_signal_ignored_at_start_stays_ignored),
	        cmocka_unit_test(suspension_hides_the_signal_and_nests),
	        cmocka_unit_test(suspension_counts_for_its_thread_only),
	        cmocka_unit_test(resume_without_suspend_is_an_assertion),
	        cmocka_unit_test(a_sleeping_system_call_returns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
