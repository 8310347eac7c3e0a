/* SPDX-License-Identifier: Apache-2.0 */
#include "slot_fixture.h"

static void never_more_than_n_hold_a_slot(void **state)
{
	struct fixture *f = *state;
	struct worker workers[WORKERS];
	pid_t pids[WORKERS];

	spawn_workers(f, workers, pids, 200, 3, 3);
	assert_workers_succeed(f, pids, 3);
	assert_all_acquirable(f);
}

static void an_error_names_the_slots_and_holders(void **state)
{
	struct fixture *f = *state;
	struct vm_slot slot = VM_SLOT_INIT;
	struct vm_err err = {0};
	int64_t waited_us = 0;
	int64_t deadline;
	pid_t pids[3];

	spawn_holders(f, pids, 3);
	deadline = vm_monotonic_ms() + 250;
	assert_int_equal(vm_slot_acquire(&f->pool, deadline, &slot, &waited_us, &err), -1);
	assert_true(vm_monotonic_ms() >= deadline);
	assert_true(waited_us >= 200000);
	assert_int_equal(err.code, VM_ERR_INSUFFICIENT_RESOURCES);
	assert_non_null(strstr(err.message, "all 3 are held"));
	assert_non_null(strstr(err.message, program_invocation_short_name));
	assert_non_null(strstr(err.hint, "--wait"));
	assert_non_null(strstr(err.hint, "max_concurrent_restores"));
	for (int i = 0; i < 3; i++)
		kill_and_reap(pids[i]);
}

static void a_killed_holder_loses_no_slot(void **state)
{
	struct fixture *f = *state;
	sem_t *semaphore;
	pid_t pids[3];

	spawn_holders(f, pids, 3);
	semaphore = open_semaphore(f);
	for (int i = 0; i < 3; i++)
		kill_and_reap(pids[i]);
	/* With every token lost, even one who does not wait gets a slot. */
	drain(semaphore);
	assert_int_equal(status_of(f).tokens, 0);
	assert_int_equal(status_of(f).held, 0);
	for (int i = 0; i < 3; i++) {
		struct vm_slot slot = VM_SLOT_INIT;
		struct vm_err err = {0};

		assert_int_equal(vm_slot_acquire(&f->pool, VM_WAIT_NONE, &slot, NULL, &err), 0);
		vm_slot_release(&slot);
	}
	assert_int_equal(status_of(f).tokens, 3);
	sem_close(semaphore);
	assert_all_acquirable(f);
}

static int acquire_once(void *arg)
{
	struct fixture *f = arg;
	struct vm_slot slot = VM_SLOT_INIT;
	struct vm_err err = {0};

	atomic_fetch_add(&f->shared->ready, 1);
	if (vm_slot_acquire(&f->pool, VM_WAIT_FOREVER, &slot, NULL, &err) != 0)
		return (int)err.code;
	vm_slot_release(&slot);
	return 0;
}

static void a_waiter_gets_the_slot_of_a_killed_holder(void **state)
{
	struct fixture *f = *state;
	pid_t holder;
	pid_t waiter;

	f->pool.count = 1;
	for (int i = 0; i < 5; i++) {
		spawn_holders(f, &holder, 1);
		waiter = spawn(acquire_once, f);
		assert_true(wait_for(atomic_load(&f->shared->ready) == 2));
		kill_and_reap(holder);
		assert_exits(waiter, 0);
		atomic_store(&f->shared->ready, 0);
		atomic_store(&f->shared->owner[0], 0);
	}
}

static void a_changed_number_takes_effect(void **state)
{
	struct fixture *f = *state;
	unsigned counts[] = {3, 8, 2, 5, 1, 16, 3};

	for (size_t i = 0; i < VM_ARRAY_LEN(counts); i++) {
		f->pool.count = counts[i];
		assert_all_acquirable(f);
	}
}

/* Six are held with N = 6; with N = 2 none may be taken until all but one have gone. */
static void a_smaller_number_counts_the_old_holders(void **state)
{
	struct fixture *f = *state;
	struct vm_slot slot = VM_SLOT_INIT;
	struct vm_err err = {0};
	pid_t pids[6];

	f->pool.count = 6;
	spawn_holders(f, pids, 6);
	f->pool.count = 2;
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(status_of(f).held, 6 - i);
		assert_none_left(f);
		kill_and_reap(pids[i]);
	}
	assert_int_equal(status_of(f).held, 1);
	assert_int_equal(vm_slot_acquire(&f->pool, VM_WAIT_NONE, &slot, NULL, &err), 0);
	vm_slot_release(&slot);
	kill_and_reap(pids[5]);
	assert_all_acquirable(f);
}

/* Files below the new N are free and tokens are left, but as many as the new N are held beyond it.
 */
static void a_token_from_before_the_change_is_no_way_in(void **state)
{
	struct fixture *f = *state;
	sem_t *semaphore;
	pid_t pids[6];

	f->pool.count = 6;
	spawn_holders(f, pids, 6);
	semaphore = open_semaphore(f);
	for (int i = 0; i < 2; i++) {
		kill_and_reap(atomic_load(&f->shared->owner[i]));
		sem_post(semaphore);
	}
	f->pool.count = 2;
	assert_none_left(f);
	sem_post(semaphore);
	assert_none_left(f);
	sem_close(semaphore);
	for (int i = 2; i < 6; i++)
		kill_and_reap(atomic_load(&f->shared->owner[i]));
	assert_all_acquirable(f);
}

/* Programs that read an older and a newer config run at the same time. */
static void two_numbers_at_once_agree_in_the_end(void **state)
{
	struct fixture *f = *state;
	struct worker workers[WORKERS];
	pid_t pids[WORKERS];

	spawn_workers(f, workers, pids, 100, 4, 2);
	assert_workers_succeed(f, pids, 4);
	assert_all_acquirable(f);
}

static void one_slot_comes_round_to_all(void **state)
{
	struct fixture *f = *state;
	struct worker workers[WORKERS];
	pid_t pids[WORKERS];

	f->pool.count = 1;
	spawn_workers(f, workers, pids, 0, 1, 1);
	assert_true(wait_for(all_positive(f->shared->turns, WORKERS)));
	atomic_store(&f->shared->stop, 1);
	assert_workers_succeed(f, pids, 1);
}

static void *work_in_thread(void *arg)
{
	return work(arg) == 0 ? NULL : arg;
}

static void threads_of_a_process_have_slots_of_their_own(void **state)
{
	struct fixture *f = *state;
	struct worker workers[WORKERS];
	pthread_t threads[WORKERS];
	unsigned fds = count_fds();

	for (int i = 0; i < WORKERS; i++) {
		workers[i] = (struct worker){.fixture = f, .number = i, .rounds = 50, .count = 3};
		assert_int_equal(pthread_create(&threads[i], NULL, work_in_thread, &workers[i]), 0);
	}
	for (int i = 0; i < WORKERS; i++) {
		void *failed = NULL;

		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
	assert_int_equal(atomic_load(&f->shared->overlaps), 0);
	assert_in_range(atomic_load(&f->shared->most), 1, 3);
	assert_int_equal(count_fds(), fds);
	assert_all_acquirable(f);
}

static int wait_to_be_stopped(void *arg)
{
	struct fixture *f = arg;
	struct vm_slot slot = VM_SLOT_INIT;
	struct vm_err err = {0};

	vm_interrupt_install();
	atomic_fetch_add(&f->shared->ready, 1);
	if (vm_slot_acquire(&f->pool, VM_WAIT_FOREVER, &slot, NULL, &err) == 0)
		return 1;
	if (err.code != VM_ERR_SYSTEM || !strstr(err.message, "interrupted by SIGTERM"))
		return 2;
	return slot.file.fd == -1 && vm_lock_held_mask() == 0 ? 0 : 3;
}

static void a_stop_signal_ends_the_wait(void **state)
{
	struct fixture *f = *state;
	pid_t holder;

	f->pool.count = 1;
	spawn_holders(f, &holder, 1);
	for (int i = 0; i < 30; i++) {
		int before = atomic_load(&f->shared->ready);
		pid_t pid = spawn(wait_to_be_stopped, f);

		assert_true(wait_for(atomic_load(&f->shared->ready) == before + 1));
		nap_us(20L * i);
		kill(pid, SIGTERM);
		assert_exits(pid, 0);
	}
	kill_and_reap(holder);
	assert_all_acquirable(f);
}

static void the_semaphore_is_made_good_whatever_it_says(void **state)
{
	struct fixture *f = *state;
	char name[64];
	sem_t *semaphore;

	assert_int_equal(status_of(f).tokens, -1); /* nobody has ever asked */
	assert_int_equal(status_of(f).held, 0);
	assert_all_acquirable(f);
	semaphore = open_semaphore(f);
	for (int i = 0; i < 50; i++)
		sem_post(semaphore); /* far too many tokens */
	assert_all_acquirable(f);
	drain(semaphore); /* none at all */
	assert_all_acquirable(f);
	sem_close(semaphore);
	snprintf(name, sizeof(name), "/vmctl-%s-test", f->root_id);
	sem_unlink(name); /* as a reboot does */
	assert_all_acquirable(f);
}

static int slot_twice(void *arg)
{
	struct fixture *f = arg;
	struct vm_slot first = VM_SLOT_INIT;
	struct vm_slot second = VM_SLOT_INIT;
	struct vm_err err = {0};

	expect_abort_here();
	if (vm_slot_acquire(&f->pool, VM_WAIT_NONE, &first, NULL, &err) != 0)
		return 1;
	vm_slot_acquire(&f->pool, VM_WAIT_NONE, &second, NULL, &err);
	return 0;
}

static void a_second_slot_for_one_thread_is_an_assertion(void **state)
{
	assert_aborts(slot_twice, *state);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	        TEST(never_more_than_n_hold_a_slot),
	        TEST(an_error_names_the_slots_and_holders),
	        TEST(a_killed_holder_loses_no_slot),
	        TEST(a_waiter_gets_the_slot_of_a_killed_holder),
	        TEST(a_changed_number_takes_effect),
	        TEST(a_smaller_number_counts_the_old_holders),
	        TEST(a_token_from_before_the_change_is_no_way_in),
	        TEST(two_numbers_at_once_agree_in_the_end),
	        TEST(one_slot_comes_round_to_all),
	        TEST(threads_of_a_process_have_slots_of_their_own),
	        TEST(a_stop_signal_ends_the_wait),
	        TEST(the_semaphore_is_made_good_whatever_it_says),
	        TEST(a_second_slot_for_one_thread_is_an_assertion),
	};
#undef TEST

	return cmocka_run_group_tests(tests, NULL, NULL);
}
