/* SPDX-License-Identifier: Apache-2.0 */
/* The order in which a thread may take locks, and what it may do with those it has. */
#include "procs.h"

struct fixture {
	struct test_dir dir;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	test_dir_open(&f->dir);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	test_dir_close(&f->dir);
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

struct pair {
	const struct fixture *fixture;
	enum vm_lock_rank first, second;
	bool try;
};

/* For spawn: 0 when both were had, or it aborts. */
static int take_pair(void *arg)
{
	const struct pair *pair = arg;
	struct vm_lock_request request = request_for(pair->fixture, "b", pair->second);
	struct vm_lock lock = VM_LOCK_INIT;
	struct vm_err err = {0};

	expect_abort_here();
	take(pair->fixture, "a", pair->first);
	if (pair->try)
		return vm_lock_try(&request, &lock, &err) == 1 ? 0 : 1;
	return vm_lock_take(&request, &lock, &err) == 0 ? 0 : 1;
}

static void every_pair_out_of_rank_order_is_an_assertion_and_no_other(void **state)
{
	for (int first = 0; first < VM_RANK_COUNT; first++) {
		for (int second = 0; second < VM_RANK_COUNT; second++) {
			struct pair pair = {.fixture = *state,
			                    .first = (enum vm_lock_rank)first,
			                    .second = (enum vm_lock_rank)second};
			bool in_order =
			        second > first || (first == VM_RANK_CHILD && second == first);

			for (int try = 0; try < 2; try++) {
				pair.try = try;
				if (in_order)
					assert_exits(spawn(take_pair, &pair), 0);
				else
					assert_aborts(take_pair, &pair);
			}
		}
	}
}

static int child_after_memory(void *arg)
{
	expect_abort_here();
	take(arg, "a", VM_RANK_CHILD);
	take(arg, "b", VM_RANK_MEMORY);
	take(arg, "c", VM_RANK_CHILD);
	return 0;
}

static int source_between_store_and_slot(void *arg)
{
	expect_abort_here();
	take(arg, "a", VM_RANK_STORE);
	take(arg, "b", VM_RANK_SLOT);
	take(arg, "c", VM_RANK_SOURCE);
	return 0;
}

static int rank_that_there_is_not(void *arg)
{
	expect_abort_here();
	take(arg, "a", VM_RANK_COUNT);
	return 0;
}

static void the_innermost_of_many_counts(void **state)
{
	assert_aborts(child_after_memory, *state);
	assert_aborts(source_between_store_and_slot, *state);
	assert_aborts(rank_that_there_is_not, *state);
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

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	        TEST(the_mask_follows_what_is_held),
	        TEST(every_pair_out_of_rank_order_is_an_assertion_and_no_other),
	        TEST(the_innermost_of_many_counts),
	        TEST(misuse_of_a_held_lock_is_an_assertion),
	        TEST(each_thread_has_a_mask_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
