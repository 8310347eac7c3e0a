/* SPDX-License-Identifier: Apache-2.0 */
/* Locks within one process: ranks, descriptors, timers, signals. test_lock.c has the protocol. */
#include "procs.h"

#include <sys/file.h>
#include <sys/stat.h>
#include <sys/time.h>

#include "interrupt.h"

struct fixture {
	struct test_dir dir;
	atomic_int *ready;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	test_dir_open(&f->dir);
	f->ready = shared_memory(sizeof(*f->ready));
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	test_dir_close(&f->dir);
	munmap(f->ready, sizeof(*f->ready));
	free(f);
	assert_int_equal(vm_lock_held_mask(), 0);
	return 0;
}

static struct vm_lock_request request_for(const struct fixture *f, const char *name,
                                          enum vm_lock_rank rank)
{
	return (struct vm_lock_request){
	        .dir_fd = f->dir.fd,
	        .name = name,
	        .rank = rank,
	        .mode = VM_LOCK_EXCLUSIVE,
	        .deadline_ms = VM_WAIT_NONE,
	        .create = true,
	        .what = "the thing",
	};
}

static struct vm_lock take(const struct fixture *f, const char *name, enum vm_lock_rank rank)
{
	struct vm_lock_request request = request_for(f, name, rank);
	struct vm_lock lock = VM_LOCK_INIT;
	struct vm_err err = {0};

	if (vm_lock_take(&request, &lock, &err) != 0)
		fprintf(stderr, "%s\n", err.message);
	return lock;
}

/* --- ranks --------------------------------------------------------------------------------------
 */

static void the_mask_follows_what_is_held(void **state)
{
	const struct fixture *f = *state;
	struct vm_lock store = take(f, "a", VM_RANK_STORE);
	struct vm_lock source = take(f, "b", VM_RANK_SOURCE);
	struct vm_lock child = take(f, "c", VM_RANK_CHILD);
	struct vm_lock other_child = take(f, "d", VM_RANK_CHILD);
	struct vm_lock slot = take(f, "e", VM_RANK_SLOT);

	assert_int_equal(vm_lock_held_mask(), 1U << VM_RANK_STORE | 1U << VM_RANK_SOURCE |
	                                              1U << VM_RANK_CHILD | 1U << VM_RANK_SLOT);
	vm_lock_release(&slot);
	vm_lock_release(&source); /* any order */
	vm_lock_release(&child);
	assert_int_equal(vm_lock_held_mask(), 1U << VM_RANK_STORE | 1U << VM_RANK_CHILD);
	vm_lock_release(&child); /* a second time does nothing */
	assert_int_equal(vm_lock_held_mask(), 1U << VM_RANK_STORE | 1U << VM_RANK_CHILD);
	vm_lock_release(&other_child);
	vm_lock_release(&store);
	assert_int_equal(vm_lock_held_mask(), 0);
}

static int store_after_source(void *arg)
{
	expect_abort_here();
	take(arg, "a", VM_RANK_SOURCE);
	take(arg, "b", VM_RANK_STORE);
	return 0;
}

static int source_twice(void *arg)
{
	expect_abort_here();
	take(arg, "a", VM_RANK_SOURCE);
	take(arg, "b", VM_RANK_SOURCE);
	return 0;
}

static int child_after_memory(void *arg)
{
	expect_abort_here();
	take(arg, "a", VM_RANK_CHILD);
	take(arg, "b", VM_RANK_MEMORY);
	take(arg, "c", VM_RANK_CHILD);
	return 0;
}

static void taking_out_of_rank_order_is_an_assertion(void **state)
{
	assert_aborts(store_after_source, *state);
	assert_aborts(source_twice, *state);
	assert_aborts(child_after_memory, *state);
}

static void *release_in_thread(void *arg)
{
	vm_lock_release(arg);
	return NULL;
}

static int release_elsewhere(void *arg)
{
	struct vm_lock lock = take(arg, "a", VM_RANK_SOURCE);
	pthread_t thread;

	expect_abort_here();
	if (pthread_create(&thread, NULL, release_in_thread, &lock) == 0)
		pthread_join(thread, NULL);
	return 0;
}

static int unlink_shared(void *arg)
{
	const struct fixture *f = arg;
	struct vm_lock_request request = request_for(f, "a", VM_RANK_SOURCE);
	struct vm_lock lock = VM_LOCK_INIT;
	struct vm_err err = {0};

	expect_abort_here();
	request.mode = VM_LOCK_SHARED;
	if (vm_lock_take(&request, &lock, &err) == 0)
		vm_lock_unlink_release(&lock, f->dir.fd, "a", NULL);
	return 0;
}

static void misuse_of_a_held_lock_is_an_assertion(void **state)
{
	assert_aborts(release_elsewhere, *state);
	assert_aborts(unlink_shared, *state);
}

static void *mask_in_thread(void *arg)
{
	*(unsigned *)arg = vm_lock_held_mask();
	return NULL;
}

static void each_thread_has_a_mask_of_its_own(void **state)
{
	struct vm_lock lock = take(*state, "a", VM_RANK_SOURCE);
	unsigned mask = 1;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, mask_in_thread, &mask), 0);
	pthread_join(thread, NULL);
	assert_int_equal(mask, 0);
	vm_lock_release(&lock);
}

/* --- try, probe, leaks --------------------------------------------------------------------------
 */

static void try_and_probe_tell_held_from_free(void **state)
{
	const struct fixture *f = *state;
	struct vm_lock_request request = request_for(f, "a", VM_RANK_SLOT);
	VM_AUTO_CLOSE int other = openat(f->dir.fd, "a", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct vm_lock lock = VM_LOCK_INIT;
	struct vm_err err = {0};

	assert_int_equal(vm_lock_probe(f->dir.fd, "missing", &err), 0);
	assert_int_equal(vm_lock_probe(f->dir.fd, "a", &err), 0);
	assert_int_equal(flock(other, LOCK_SH), 0); /* as another probe would */
	assert_int_equal(vm_lock_probe(f->dir.fd, "a", &err), 0);
	assert_int_equal(vm_lock_try(&request, &lock, &err), 0);
	assert_int_equal(flock(other, LOCK_EX), 0);
	assert_int_equal(vm_lock_probe(f->dir.fd, "a", &err), 1);
	assert_int_equal(vm_lock_try(&request, &lock, &err), 0);
	assert_int_equal(vm_lock_held_mask(), 0);
	assert_int_equal(flock(other, LOCK_UN), 0);
	assert_int_equal(vm_lock_try(&request, &lock, &err), 1);
	assert_int_equal(vm_lock_probe(f->dir.fd, "a", &err), 1);
	vm_lock_release(&lock);
	request.name = "missing";
	request.create = false;
	assert_int_equal(vm_lock_try(&request, &lock, &err), 0);
	assert_int_equal(err.code, VM_OK);
}

/* POSIX timers of this process; 0 where the kernel does not list them. */
static unsigned count_timers(void)
{
	FILE *timers = fopen("/proc/self/timers", "re");
	char line[256];
	unsigned n = 0;

	while (timers && fgets(line, sizeof(line), timers))
		n += strncmp(line, "ID:", 3) == 0;
	if (timers)
		fclose(timers);
	return n;
}

static void nothing_leaks_from_success_or_failure(void **state)
{
	const struct fixture *f = *state;
	struct vm_lock held = take(f, "held", VM_RANK_STORE);
	unsigned fds = count_fds();

	for (int i = 0; i < 50; i++) {
		struct vm_lock_request request = request_for(f, "held", VM_RANK_MEMORY);
		struct vm_lock lock = take(f, "free", VM_RANK_SOURCE);
		struct vm_err err = {0};

		request.gate = "held.gate";
		request.deadline_ms = vm_monotonic_ms() + i % 3;
		assert_int_equal(vm_lock_take(&request, &lock, &err), -1);
		assert_int_equal(err.code, VM_ERR_BUSY);
		vm_err_clear(&err);
		request.name = "missing";
		request.create = false;
		assert_int_equal(vm_lock_take(&request, &lock, &err), -1);
		assert_int_equal(err.code, VM_ERR_NOT_FOUND);
		vm_lock_release(&lock);
	}
	assert_int_equal(count_fds(), fds);
	assert_int_equal(count_timers(), 0);
	vm_lock_release(&held);
	assert_int_equal(count_fds(), fds - 1);
}

static void a_lost_gate_is_made_by_who_has_the_lock(void **state)
{
	struct fixture *f = *state;
	struct vm_lock_request request = request_for(f, "web", VM_RANK_SOURCE);
	struct vm_lock lock = take(f, "web", VM_RANK_SOURCE);
	struct vm_err err = {0};

	vm_lock_release(&lock);
	request.gate = "web.gate";
	request.create = false;
	assert_int_equal(vm_lock_take(&request, &lock, &err), 0);
	assert_int_equal(unlinkat(f->dir.fd, "web.gate", 0), 0);
	vm_lock_release(&lock);
}

static void a_symbolic_link_is_not_followed(void **state)
{
	const struct fixture *f = *state;
	struct vm_lock_request request = request_for(f, "link", VM_RANK_SOURCE);
	struct vm_lock lock = VM_LOCK_INIT;
	struct vm_err err = {0};

	assert_int_equal(symlinkat("elsewhere", f->dir.fd, "link"), 0);
	assert_int_equal(vm_lock_take(&request, &lock, &err), -1);
	assert_int_equal(err.code, VM_ERR_SYSTEM);
	assert_int_equal(faccessat(f->dir.fd, "elsewhere", F_OK, 0), -1);
}

/* --- waiting among signals ----------------------------------------------------------------------
 */

static int open_file(const struct fixture *f)
{
	int fd = openat(f->dir.fd, "file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	return fd;
}

static void on_alarm(int signo)
{
	(void)signo;
}

static void storm(long interval_us, int flags)
{
	struct sigaction action = {.sa_handler = on_alarm, .sa_flags = flags};
	struct itimerval timer = {.it_interval = {.tv_usec = interval_us},
	                          .it_value = {.tv_usec = interval_us}};

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
}

static int deadline_in_a_storm(void *arg)
{
	const struct fixture *f = arg;
	VM_AUTO_CLOSE int holder = open_file(f);
	VM_AUTO_CLOSE int fd = open_file(f);
	struct vm_err err = {0};

	if (flock(holder, LOCK_EX) != 0)
		return 1;
	for (int restart = 0; restart < 2; restart++) {
		int64_t deadline = vm_monotonic_ms() + 250;

		storm(500, restart ? SA_RESTART : 0);
		if (vm_flock_until(fd, LOCK_SH, deadline, &err) != 1)
			return 2;
		if (vm_monotonic_ms() < deadline)
			return 3;
	}
	return 0;
}

static int success_in_a_storm(void *arg)
{
	const struct fixture *f = arg;
	VM_AUTO_CLOSE int fd = open_file(f);
	struct vm_err err = {0};

	storm(500, 0);
	atomic_store(f->ready, 1);
	return vm_flock_until(fd, LOCK_EX, patience(), &err);
}

static void a_storm_of_signals_changes_nothing(void **state)
{
	struct fixture *f = *state;
	VM_AUTO_CLOSE int fd = open_file(f);
	struct stat st;
	pid_t pid;

	assert_exits(spawn(deadline_in_a_storm, f), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	pid = spawn(success_in_a_storm, f);
	assert_true(wait_for(atomic_load(f->ready) == 1 && count_waiters(st.st_ino) > 0));
	assert_int_equal(flock(fd, LOCK_UN), 0);
	assert_exits(pid, 0);
}

static int wait_with_all_blocked(void *arg)
{
	VM_AUTO_CLOSE int fd = open_file(arg);
	struct vm_err err = {0};
	sigset_t all;
	sigset_t after;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	if (vm_flock_until(fd, LOCK_EX, vm_monotonic_ms() + 50, &err) != 1)
		return 1;
	sigprocmask(SIG_SETMASK, NULL, &after);
	return sigismember(&after, SIGRTMIN + 3) == 1 ? 0 : 2;
}

static void a_deadline_works_with_all_signals_blocked(void **state)
{
	VM_AUTO_CLOSE int fd = open_file(*state);

	assert_int_equal(flock(fd, LOCK_EX), 0);
	assert_exits(spawn(wait_with_all_blocked, *state), 0);
}

struct waiter {
	const struct fixture *fixture;
	int64_t wait_ms;
	int result;
};

static void *wait_in_thread(void *arg)
{
	struct waiter *waiter = arg;
	VM_AUTO_CLOSE int fd = open_file(waiter->fixture);
	struct vm_err err = {0};
	int64_t deadline = vm_monotonic_ms() + waiter->wait_ms;

	waiter->result = vm_flock_until(fd, LOCK_EX, deadline, &err);
	if (waiter->result == 1 && vm_monotonic_ms() < deadline)
		waiter->result = -2;
	return NULL;
}

static void threads_have_deadlines_of_their_own(void **state)
{
	VM_AUTO_CLOSE int fd = open_file(*state);
	struct waiter waiters[6];
	pthread_t threads[6];

	assert_int_equal(flock(fd, LOCK_EX), 0);
	for (int i = 0; i < 6; i++) {
		waiters[i] = (struct waiter){.fixture = *state, .wait_ms = 20 + 50 * i};
		assert_int_equal(pthread_create(&threads[i], NULL, wait_in_thread, &waiters[i]), 0);
	}
	for (int i = 0; i < 6; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(waiters[i].result, 1);
	}
}

struct stopped_wait {
	struct fixture *fixture;
	int64_t deadline_ms;
};

static int wait_to_be_stopped(void *arg)
{
	const struct stopped_wait *wait = arg;
	struct vm_lock_request request = request_for(wait->fixture, "file", VM_RANK_SOURCE);
	struct vm_lock lock = VM_LOCK_INIT;
	struct vm_err err = {0};

	vm_interrupt_install();
	atomic_store(wait->fixture->ready, 1);
	request.deadline_ms = wait->deadline_ms;
	if (vm_lock_take(&request, &lock, &err) == 0)
		return 1;
	if (err.code != VM_ERR_SYSTEM ||
	    !strstr(err.message, "waiting for the thing: interrupted by"))
		return 2;
	return vm_lock_held_mask() == 0 && lock.fd == -1 ? 0 : 3;
}

/* The signal comes at a random moment, so now and then just before the sleep: never lost. */
static void a_stop_signal_ends_any_wait(void **state)
{
	struct fixture *f = *state;
	VM_AUTO_CLOSE int fd = open_file(f);

	assert_int_equal(flock(fd, LOCK_EX), 0);
	for (int i = 0; i < 60; i++) {
		struct stopped_wait wait = {.fixture = f, .deadline_ms = VM_WAIT_FOREVER};
		pid_t pid;

		if (i % 2)
			wait.deadline_ms = patience();
		atomic_store(f->ready, 0);
		pid = spawn(wait_to_be_stopped, &wait);
		assert_true(wait_for(atomic_load(f->ready) == 1));
		nap_us(5L * i);
		kill(pid, i % 3 ? SIGTERM : SIGINT);
		assert_exits(pid, 0);
	}
}

static int wait_while_suspended(void *arg)
{
	VM_AUTO_CLOSE int fd = open_file(arg);
	struct vm_err err = {0};
	int64_t deadline;

	vm_interrupt_install();
	vm_interrupt_suspend();
	kill(getpid(), SIGTERM);
	deadline = vm_monotonic_ms() + 300;
	if (vm_flock_until(fd, LOCK_EX, deadline, &err) != 1 || vm_monotonic_ms() < deadline)
		return 1;
	vm_interrupt_resume();
	return vm_flock_until(fd, LOCK_EX, VM_WAIT_FOREVER, &err) == 1 ? 0 : 2;
}

static void a_suspended_stop_signal_does_not_end_a_wait(void **state)
{
	VM_AUTO_CLOSE int fd = open_file(*state);

	assert_int_equal(flock(fd, LOCK_EX), 0);
	assert_exits(spawn(wait_while_suspended, *state), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	        TEST(the_mask_follows_what_is_held),
	        TEST(taking_out_of_rank_order_is_an_assertion),
	        TEST(misuse_of_a_held_lock_is_an_assertion),
	        TEST(each_thread_has_a_mask_of_its_own),
	        TEST(try_and_probe_tell_held_from_free),
	        TEST(nothing_leaks_from_success_or_failure),
	        TEST(a_lost_gate_is_made_by_who_has_the_lock),
	        TEST(a_symbolic_link_is_not_followed),
	        TEST(a_storm_of_signals_changes_nothing),
	        TEST(a_deadline_works_with_all_signals_blocked),
	        TEST(threads_have_deadlines_of_their_own),
	        TEST(a_stop_signal_ends_any_wait),
	        TEST(a_suspended_stop_signal_does_not_end_a_wait),
	};
#undef TEST

	return cmocka_run_group_tests(tests, NULL, NULL);
}
