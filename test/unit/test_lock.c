/* SPDX-License-Identifier: Apache-2.0 */
#include "procs.h"

#include <sys/stat.h>

/* Shared by the test and its children; mapped anew for each test. */
struct shared {
	atomic_int ready;    /* children that have got where the test wants them */
	atomic_int stop;     /* they shall end */
	atomic_int inside;   /* exclusive holders now */
	atomic_int sharers;  /* shared holders now */
	atomic_int overlaps; /* must stay 0 */
	atomic_int turns[8]; /* how often each child has had it */
};

struct fixture {
	struct test_dir dir;
	struct shared *shared;
	struct vm_lock_request request; /* exclusive, with gate, of rank SOURCE, without end */
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	test_dir_open(&f->dir);
	f->shared = shared_memory(sizeof(*f->shared));
	f->request = (struct vm_lock_request){
	        .dir_fd = f->dir.fd,
	        .name = "web",
	        .gate = "web.gate",
	        .rank = VM_RANK_SOURCE,
	        .mode = VM_LOCK_EXCLUSIVE,
	        .deadline_ms = VM_WAIT_FOREVER,
	        .create = true,
	        .what = "instance 'web'",
	};
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	test_dir_close(&f->dir);
	munmap(f->shared, sizeof(*f->shared));
	free(f);
	assert_int_equal(vm_lock_held_mask(), 0);
	return 0;
}

static uintmax_t inode_of(const struct fixture *f, const char *name)
{
	struct stat st = {0};

	assert_int_equal(fstatat(f->dir.fd, name, &st, 0), 0);
	return st.st_ino;
}

static bool exists(const struct fixture *f, const char *name)
{
	return faccessat(f->dir.fd, name, F_OK, 0) == 0;
}

/* Takes the fixture's lock; the exit status of a child that could not says why. */
static int take(struct fixture *f, struct vm_lock *lock)
{
	struct vm_err err = {0};

	return vm_lock_take(&f->request, lock, &err) == 0 ? 0 : (int)err.code;
}

/* --- exclusion ----------------------------------------------------------------------------------
 */

enum { ROUNDS = 300 };

static int exclusive_turns(struct fixture *f, bool delete)
{
	for (int i = 0; i < ROUNDS; i++) {
		struct vm_lock lock = VM_LOCK_INIT;
		int failed = take(f, &lock);

		if (failed)
			return failed;
		if (atomic_fetch_add(&f->shared->inside, 1) != 0 ||
		    atomic_load(&f->shared->sharers))
			atomic_fetch_add(&f->shared->overlaps, 1);
		sched_yield();
		atomic_fetch_sub(&f->shared->inside, 1);
		if (delete)
			vm_lock_unlink_release(&lock, f->dir.fd, "web", "web.gate");
		else
			vm_lock_release(&lock);
	}
	return 0;
}

static int exclusive_rounds(void *arg)
{
	return exclusive_turns(arg, false);
}

static int delete_and_make_rounds(void *arg)
{
	return exclusive_turns(arg, true);
}

static int shared_rounds(void *arg)
{
	struct fixture *f = arg;

	f->request.mode = VM_LOCK_SHARED;
	for (int i = 0; i < ROUNDS; i++) {
		struct vm_lock lock = VM_LOCK_INIT;
		int failed = take(f, &lock);

		if (failed)
			return failed;
		atomic_fetch_add(&f->shared->sharers, 1);
		if (atomic_load(&f->shared->inside) != 0)
			atomic_fetch_add(&f->shared->overlaps, 1);
		sched_yield();
		atomic_fetch_sub(&f->shared->sharers, 1);
		vm_lock_release(&lock);
	}
	return 0;
}

static void exclusive_excludes_everybody(void **state)
{
	struct fixture *f = *state;
	pid_t pids[6];

	for (int i = 0; i < 6; i++)
		pids[i] = spawn(i < 4 ? exclusive_rounds : shared_rounds, f);
	for (int i = 0; i < 6; i++)
		assert_exits(pids[i], 0);
	assert_int_equal(atomic_load(&f->shared->overlaps), 0);
}

/* Holds the lock until told to stop. */
static int hold(void *arg)
{
	struct fixture *f = arg;
	struct vm_lock lock = VM_LOCK_INIT;
	int failed = take(f, &lock);

	if (failed)
		return failed;
	atomic_fetch_add(&f->shared->ready, 1);
	if (!wait_for(atomic_load(&f->shared->stop)))
		return 98;
	vm_lock_release(&lock);
	return 0;
}

static pid_t spawn_holder(struct fixture *f, enum vm_lock_mode mode)
{
	int before = atomic_load(&f->shared->ready);
	enum vm_lock_mode saved = f->request.mode;
	pid_t pid;

	f->request.mode = mode;
	pid = spawn(hold, f);
	f->request.mode = saved;
	assert_true(wait_for(atomic_load(&f->shared->ready) > before));
	return pid;
}

static void sharers_hold_it_together(void **state)
{
	struct fixture *f = *state;
	pid_t pids[3];

	for (int i = 0; i < 3; i++)
		pids[i] = spawn_holder(f, VM_LOCK_SHARED);
	assert_int_equal(atomic_load(&f->shared->ready), 3);
	atomic_store(&f->shared->stop, 1);
	for (int i = 0; i < 3; i++)
		assert_exits(pids[i], 0);
}

struct sharer {
	struct fixture *fixture;
	int number;
};

static int share_without_pause(void *arg)
{
	const struct sharer *sharer = arg;
	struct fixture *f = sharer->fixture;
	int64_t deadline = patience();

	f->request.mode = VM_LOCK_SHARED;
	while (!atomic_load(&f->shared->stop)) {
		struct vm_lock lock = VM_LOCK_INIT;

		if (vm_monotonic_ms() > deadline || take(f, &lock))
			return 1;
		atomic_fetch_add(&f->shared->turns[sharer->number], 1);
		/* Held until another shares it too: without a gate it would never be free. */
		atomic_fetch_add(&f->shared->sharers, 1);
		for (int i = 0; i < 100 && atomic_load(&f->shared->sharers) < 2; i++)
			sched_yield();
		atomic_fetch_sub(&f->shared->sharers, 1);
		vm_lock_release(&lock);
	}
	return 0;
}

static void a_writer_is_not_starved_by_eight_sharers(void **state)
{
	struct fixture *f = *state;
	struct sharer sharers[8];
	pid_t pids[8];

	for (int i = 0; i < 8; i++) {
		sharers[i] = (struct sharer){.fixture = f, .number = i};
		pids[i] = spawn(share_without_pause, &sharers[i]);
	}
	assert_true(wait_for(all_positive(f->shared->turns, 8)));
	f->request.deadline_ms = patience();
	for (int i = 0; i < 20; i++) {
		struct vm_lock lock = VM_LOCK_INIT;

		assert_int_equal(take(f, &lock), 0);
		assert_int_equal(atomic_load(&f->shared->sharers), 0);
		vm_lock_release(&lock);
	}
	atomic_store(&f->shared->stop, 1);
	for (int i = 0; i < 8; i++)
		assert_exits(pids[i], 0);
}

/* --- deadlines and messages ---------------------------------------------------------------------
 */

static void assert_busy(struct fixture *f, int64_t deadline_ms, pid_t holder)
{
	struct vm_lock lock = VM_LOCK_INIT;
	struct vm_err err = {0};
	char pid[32];

	f->request.deadline_ms = deadline_ms;
	snprintf(pid, sizeof(pid), "locked by pid %d (", (int)holder);
	assert_int_equal(vm_lock_take(&f->request, &lock, &err), -1);
	assert_int_equal(err.code, VM_ERR_BUSY);
	assert_int_equal(lock.fd, -1);
	assert_non_null(strstr(err.message, "instance 'web' is "));
	assert_non_null(strstr(err.message, pid));
	assert_non_null(strstr(err.message, program_invocation_short_name));
	assert_non_null(strstr(err.message, ", for "));
	assert_string_equal(err.hint, "wait longer with --wait=SEC");
}

static void past_the_deadline_it_is_busy_and_names_the_holder(void **state)
{
	struct fixture *f = *state;
	pid_t holder = spawn_holder(f, VM_LOCK_EXCLUSIVE);
	int64_t waited_us = 0;
	int64_t begin;

	f->request.waited_us = &waited_us;
	assert_busy(f, VM_WAIT_NONE, holder);
	begin = vm_monotonic_ms();
	assert_busy(f, begin + 300, holder);
	assert_true(vm_monotonic_ms() >= begin + 300);
	assert_true(waited_us >= 250000);
	f->request.mode = VM_LOCK_SHARED;
	assert_busy(f, VM_WAIT_NONE, holder);
	kill_and_reap(holder);
}

static void every_sharer_is_named(void **state)
{
	struct fixture *f = *state;
	pid_t holders[2] = {spawn_holder(f, VM_LOCK_SHARED), spawn_holder(f, VM_LOCK_SHARED)};
	char buf[400];
	char want[32];
	VM_AUTO_CLOSE int fd = openat(f->dir.fd, "web", O_RDWR | O_CLOEXEC);

	vm_lock_describe_holders(fd, buf, sizeof(buf));
	assert_non_null(strstr(buf, "; pid "));
	for (int i = 0; i < 2; i++) {
		snprintf(want, sizeof(want), "pid %d (", (int)holders[i]);
		assert_non_null(strstr(buf, want));
	}
	vm_lock_describe_holders(fd, buf, 10); /* cut short, not overrun */
	assert_true(strlen(buf) < 10);
	kill_and_reap(holders[0]);
	kill_and_reap(holders[1]);
	vm_lock_describe_holders(fd, buf, sizeof(buf));
	assert_string_equal(buf, "an unknown process");
}

/* The child of a process that took the lock and is gone: /proc/locks still names the dead one. */
static int leave_lock_to_child(void *arg)
{
	struct fixture *f = arg;
	struct vm_lock lock = VM_LOCK_INIT;
	pid_t child;

	if (take(f, &lock))
		return 1;
	child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, 0);
		wait_for(atomic_load(&f->shared->stop));
		_exit(0);
	}
	atomic_store(&f->shared->ready, (int)child);
	return 0;
}

static void a_holder_by_inheritance_is_found(void **state)
{
	struct fixture *f = *state;
	pid_t maker = spawn(leave_lock_to_child, f);

	assert_exits(maker, 0);
	assert_busy(f, VM_WAIT_NONE, atomic_load(&f->shared->ready));
	atomic_store(&f->shared->stop, 1);
	f->request.deadline_ms = patience();
	assert_exits(spawn(exclusive_rounds, f), 0);
}

/* --- kill -9 ------------------------------------------------------------------------------------
 */

static void a_killed_holder_holds_nothing(void **state)
{
	struct fixture *f = *state;

	f->request.deadline_ms = VM_WAIT_NONE;
	for (int i = 0; i < 20; i++) {
		pid_t holder = spawn_holder(f, i % 2 ? VM_LOCK_SHARED : VM_LOCK_EXCLUSIVE);
		struct vm_lock lock = VM_LOCK_INIT;

		kill_and_reap(holder);
		assert_int_equal(take(f, &lock), 0);
		vm_lock_release(&lock);
	}
}

static void a_killed_waiter_leaves_the_gate_open(void **state)
{
	struct fixture *f = *state;
	pid_t holder = spawn_holder(f, VM_LOCK_SHARED);
	pid_t writer = spawn(hold, f); /* exclusive: keeps the gate and waits */

	assert_true(wait_for(count_waiters(inode_of(f, "web")) == 1));
	kill_and_reap(writer);
	kill_and_reap(spawn_holder(f, VM_LOCK_SHARED));
	kill_and_reap(holder);
}

/* --- deletion by the owner ----------------------------------------------------------------------
 */

/* Takes the lock, waits until somebody sleeps behind it, deletes it. */
static int delete_under_waiter(void *arg)
{
	struct fixture *f = arg;
	struct vm_lock lock = VM_LOCK_INIT;
	uintmax_t inode;
	struct stat st;

	f->request.mode = VM_LOCK_EXCLUSIVE;
	if (take(f, &lock) || fstat(lock.fd, &st) != 0)
		return 1;
	inode = st.st_ino;
	atomic_fetch_add(&f->shared->ready, 1);
	if (!wait_for(count_waiters(inode) > 0))
		return 2;
	vm_lock_unlink_release(&lock, f->dir.fd, f->request.name, f->request.gate);
	return vm_lock_held_mask() == 0 && lock.fd == -1 ? 0 : 3;
}

static int take_and_release(void *arg)
{
	struct fixture *f = arg;
	struct vm_lock lock = VM_LOCK_INIT;
	int failed = take(f, &lock);

	vm_lock_release(&lock);
	return failed;
}

static void delete_while_waited_for(struct fixture *f, bool create, int want)
{
	pid_t owner;

	f->request.create = true;
	owner = spawn(delete_under_waiter, f);
	assert_true(wait_for(atomic_load(&f->shared->ready) == 1));
	f->request.create = create;
	assert_exits(spawn(take_and_release, f), want);
	assert_exits(owner, 0);
	atomic_store(&f->shared->ready, 0);
}

static void a_waiter_for_a_deleted_lock_ends_with_not_found(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 4; i++) {
		f->request.mode = i % 2 ? VM_LOCK_SHARED : VM_LOCK_EXCLUSIVE;
		f->request.gate = i < 2 ? "web.gate" : NULL;
		delete_while_waited_for(f, false, VM_ERR_NOT_FOUND);
		assert_false(exists(f, "web"));
		assert_false(exists(f, "web.gate"));
	}
}

static void a_waiter_that_may_create_makes_a_new_one(void **state)
{
	struct fixture *f = *state;

	delete_while_waited_for(f, true, 0);
	assert_true(exists(f, "web"));
	assert_true(exists(f, "web.gate"));
}

/* Made after the owner had unlinked the old one, it would stay for ever. */
static void a_waiter_that_may_not_create_makes_no_gate(void **state)
{
	struct fixture *f = *state;
	pid_t owner = spawn_holder(f, VM_LOCK_EXCLUSIVE);
	uintmax_t inode = inode_of(f, "web");
	pid_t waiter;

	assert_int_equal(unlinkat(f->dir.fd, "web.gate", 0), 0);
	f->request.create = false;
	waiter = spawn(take_and_release, f);
	assert_true(wait_for(count_waiters(inode) == 1));
	assert_false(exists(f, "web.gate"));
	assert_busy(f, VM_WAIT_NONE, owner);
	assert_false(exists(f, "web.gate"));
	assert_int_equal(unlinkat(f->dir.fd, "web", 0), 0);
	kill_and_reap(owner);
	assert_exits(waiter, VM_ERR_NOT_FOUND);
	assert_false(exists(f, "web.gate"));
}

static void exclusion_survives_deletion_and_creation(void **state)
{
	struct fixture *f = *state;
	pid_t pids[5];

	for (int i = 0; i < 5; i++)
		pids[i] = spawn(i < 3 ? delete_and_make_rounds : exclusive_rounds, f);
	for (int i = 0; i < 5; i++)
		assert_exits(pids[i], 0);
	assert_int_equal(atomic_load(&f->shared->overlaps), 0);
}

static void a_missing_lock_is_not_found_and_leaves_no_gate(void **state)
{
	struct fixture *f = *state;
	struct vm_lock lock = VM_LOCK_INIT;
	struct vm_err err = {0};

	f->request.create = false;
	assert_int_equal(vm_lock_take(&f->request, &lock, &err), -1);
	assert_int_equal(err.code, VM_ERR_NOT_FOUND);
	assert_non_null(strstr(err.message, "instance 'web' does not exist"));
	assert_false(exists(f, "web.gate"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	        TEST(exclusive_excludes_everybody),
	        TEST(sharers_hold_it_together),
	        TEST(a_writer_is_not_starved_by_eight_sharers),
	        TEST(past_the_deadline_it_is_busy_and_names_the_holder),
	        TEST(every_sharer_is_named),
	        TEST(a_holder_by_inheritance_is_found),
	        TEST(a_killed_holder_holds_nothing),
	        TEST(a_killed_waiter_leaves_the_gate_open),
	        TEST(a_waiter_for_a_deleted_lock_ends_with_not_found),
	        TEST(a_waiter_that_may_create_makes_a_new_one),
	        TEST(exclusion_survives_deletion_and_creation),
	        TEST(a_missing_lock_is_not_found_and_leaves_no_gate),
	        TEST(a_waiter_that_may_not_create_makes_no_gate),
	};
#undef TEST

	return cmocka_run_group_tests(tests, NULL, NULL);
}
