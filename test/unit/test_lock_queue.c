/* SPDX-License-Identifier: Apache-2.0 */
/* Those who wait at a gate get their turns in the order in which they came. */
#include "procs.h"

#include <sys/stat.h>

enum { WAITERS = 8, HOLDER = WAITERS, ALL };

struct shared {
	atomic_int next;       /* how many have had the lock */
	atomic_int place[ALL]; /* as which of them, from 1; 0: not yet */
	atomic_int stop;       /* the holder shall let go */
};

struct fixture {
	struct test_dir dir;
	struct shared *shared;
	pid_t pids[ALL];
};

struct waiter {
	struct fixture *fixture;
	int number;
	enum vm_lock_mode mode;
	int64_t wait_ms; /* -1: for ever */
};

static int take_turn(void *arg)
{
	const struct waiter *waiter = arg;
	struct fixture *f = waiter->fixture;
	struct vm_lock_request request = {
	        .dir_fd = f->dir.fd,
	        .name = "web",
	        .gate = "web.gate",
	        .rank = VM_RANK_SOURCE,
	        .mode = waiter->mode,
	        .deadline_ms =
	                waiter->wait_ms < 0 ? VM_WAIT_FOREVER : vm_monotonic_ms() + waiter->wait_ms,
	        .create = true,
	        .what = "instance 'web'"};
	struct vm_lock lock = VM_LOCK_INIT;
	struct vm_err err = {0};

	if (vm_lock_take(&request, &lock, &err) != 0)
		return (int)err.code;
	atomic_store(&f->shared->place[waiter->number], atomic_fetch_add(&f->shared->next, 1) + 1);
	if (waiter->number == HOLDER && !wait_for(atomic_load(&f->shared->stop)))
		return 98;
	vm_lock_release(&lock);
	return 0;
}

static pid_t spawn_waiter(struct fixture *f, int number, enum vm_lock_mode mode, int64_t wait_ms)
{
	struct waiter waiter = {f, number, mode, wait_ms};

	f->pids[number] = spawn(take_turn, &waiter);
	return f->pids[number];
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	test_dir_open(&f->dir);
	f->shared = shared_memory(sizeof(*f->shared));
	spawn_waiter(f, HOLDER, VM_LOCK_EXCLUSIVE, -1);
	assert_true(wait_for(atomic_load(&f->shared->place[HOLDER]) == 1));
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	test_dir_close(&f->dir);
	munmap(f->shared, sizeof(*f->shared));
	free(f);
	return 0;
}

/*
 * Whether the process has a ticket: a lock of its own kind on one of its descriptors (proc(5)).
 * Those who sleep cannot be counted: each wakes now and then to look for a signal.
 */
static bool has_ticket(pid_t pid)
{
	for (int fd = 0; fd < 64; fd++) {
		char path[48], info[1024] = "";
		FILE *file;
		size_t n;

		snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", (int)pid, fd);
		file = fopen(path, "re");
		if (!file)
			continue;
		n = fread(info, 1, sizeof(info) - 1, file);
		fclose(file);
		info[n] = '\0';
		if (strstr(info, "OFDLCK"))
			return true;
	}
	return false;
}

/* One more comes, and is in line when this returns, or has the gate. */
static void come(struct fixture *f, int number, enum vm_lock_mode mode)
{
	pid_t pid = spawn_waiter(f, number, mode, -1);

	assert_true(wait_for(has_ticket(pid)));
}

static void all_come(struct fixture *f)
{
	for (int i = 0; i < WAITERS; i++)
		come(f, i, VM_LOCK_EXCLUSIVE);
}

static void let_go(struct fixture *f)
{
	atomic_store(&f->shared->stop, 1);
	assert_exits(f->pids[HOLDER], 0);
}

static int place_of(const struct fixture *f, int number)
{
	return atomic_load(&f->shared->place[number]);
}

static void turns_come_in_the_order_of_arrival(void **state)
{
	struct fixture *f = *state;

	all_come(f);
	let_go(f);
	for (int i = 0; i < WAITERS; i++) {
		assert_exits(f->pids[i], 0);
		assert_int_equal(place_of(f, i), i + 2);
	}
}

/* Whoever shares may be inside with those next to him, but not with who came before them. */
static void one_who_wants_it_alone_is_not_overtaken_by_sharers(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < WAITERS; i++)
		come(f, i, i == 3 ? VM_LOCK_EXCLUSIVE : VM_LOCK_SHARED);
	let_go(f);
	for (int i = 0; i < WAITERS; i++)
		assert_exits(f->pids[i], 0);
	assert_int_equal(place_of(f, 3), 5);
}

static void the_killed_leave_the_line(void **state)
{
	struct fixture *f = *state;
	int place = 2;

	all_come(f);
	kill_and_reap(f->pids[0]); /* it had the gate */
	kill_and_reap(f->pids[3]);
	kill_and_reap(f->pids[4]);
	let_go(f);
	for (int i = 0; i < WAITERS; i++) {
		if (i == 0 || i == 3 || i == 4)
			continue;
		assert_exits(f->pids[i], 0);
		assert_int_equal(place_of(f, i), place++);
	}
}

static void one_whose_time_is_over_leaves_the_line(void **state)
{
	struct fixture *f = *state;

	come(f, 0, VM_LOCK_EXCLUSIVE);
	assert_exits(spawn_waiter(f, 1, VM_LOCK_EXCLUSIVE, 20), VM_ERR_BUSY);
	assert_exits(spawn_waiter(f, 2, VM_LOCK_SHARED, 300), VM_ERR_BUSY);
	come(f, 3, VM_LOCK_EXCLUSIVE);
	let_go(f);
	assert_exits(f->pids[0], 0);
	assert_exits(f->pids[3], 0);
	assert_int_equal(place_of(f, 3), 3);
}

/* As by Ctrl-Z. The first one has the gate when it is stopped, and is waited for. */
static void a_stopped_one_does_not_keep_those_behind_him(void **state)
{
	struct fixture *f = *state;

	come(f, 0, VM_LOCK_EXCLUSIVE);
	come(f, 1, VM_LOCK_EXCLUSIVE);
	kill(f->pids[1], SIGSTOP);
	for (int i = 2; i < WAITERS; i++)
		come(f, i, VM_LOCK_EXCLUSIVE);
	let_go(f);
	for (int i = 0; i < WAITERS; i++) {
		if (i != 1)
			assert_exits(f->pids[i], 0);
	}
	assert_int_equal(place_of(f, 1), 0);
	kill(f->pids[1], SIGCONT);
	assert_exits(f->pids[1], 0);
	assert_int_equal(place_of(f, 1), WAITERS + 1);
}

static void those_in_line_are_known_by_their_pids(void **state)
{
	struct fixture *f = *state;
	struct vm_lock_process waiters[WAITERS];
	int gate;

	for (int i = 0; i < 3; i++)
		come(f, i, VM_LOCK_EXCLUSIVE);
	gate = openat(f->dir.fd, "web.gate", O_RDONLY | O_CLOEXEC);
	assert_int_equal(vm_lock_waiters(gate, waiters, WAITERS), 2); /* the first has the gate */
	for (int i = 0; i < 2; i++)
		assert_true(waiters[i].pid == f->pids[1] || waiters[i].pid == f->pids[2]);
	assert_int_equal(vm_lock_holders(gate, waiters, WAITERS), 1);
	assert_int_equal(waiters[0].pid, f->pids[0]);
	close(gate);
	let_go(f);
	for (int i = 0; i < 3; i++)
		assert_exits(f->pids[i], 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	        TEST(turns_come_in_the_order_of_arrival),
	        TEST(one_who_wants_it_alone_is_not_overtaken_by_sharers),
	        TEST(the_killed_leave_the_line),
	        TEST(one_whose_time_is_over_leaves_the_line),
	        TEST(a_stopped_one_does_not_keep_those_behind_him),
	        TEST(those_in_line_are_known_by_their_pids),
	};
#undef TEST

	return cmocka_run_group_tests(tests, NULL, NULL);
}
