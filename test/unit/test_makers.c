/* SPDX-License-Identifier: Apache-2.0 */
/* Names, places and files that makers hold: of dead ones they are taken over, of living ones not.
 */
#include "site.h"

static const struct vm_fork_request three = {.source = "base", .name = "web-{}", .count = 3};

/* A fork that is killed while it makes its children's files. */
static void kill_in_preparation(struct site *site)
{
	site_make(site, "base", VM_STATE_STANDBY);
	site_kill_in(site, FAKE_MOVE, FAKE_HANG, site_run_fork, &three);
	assert_int_equal(site_sql(site, "SELECT count(*) FROM instance WHERE state = 'creating'"),
	                 3);
}

/* A fork that is killed while all of its children run, and none is published. */
static void kill_in_launch(struct site *site)
{
	pid_t pid;

	site_make(site, "base", VM_STATE_STANDBY);
	fake_expect(FAKE_LOAD, FAKE_HANG_AFTER, 0, NULL);
	pid = site_spawn(site, site_run_fork, &three);
	assert_true(wait_for(atomic_load(&fake_get()->hanging) == 3 || ended(pid)));
	kill_and_reap(pid);
	fake_forgive();
	site_reopen(site);
	assert_true(site_alive(site, "web-1"));
	assert_true(site_alive(site, "web-2"));
	assert_true(site_alive(site, "web-3"));
}

static void a_name_of_a_dead_maker_is_free(void **state)
{
	struct site *site = *state;
	char before[VM_ID_LEN + 1], after[VM_ID_LEN + 1];

	kill_in_preparation(site);
	site_id(site, "web-2", before);
	assert_int_equal(site_create(site, "web-2"), 0);
	site_id(site, "web-2", after);
	assert_string_not_equal(before, after);
	site_assert(site, "web-2", VM_STATE_STOPPED);
	/* The others went as well, though nobody wanted their names. */
	site_assert_only(site, 2);
	assert_int_equal(site_repairs(site), 3);
}

static void vmms_of_a_dead_maker_are_ended_before_something_new_comes(void **state)
{
	struct site *site = *state;
	char id[VM_ID_LEN + 1];
	struct vm_vmm vmm = VM_VMM_INIT;
	struct vm_err err = {0};

	kill_in_launch(site);
	assert_int_equal(vm_vmm_open(&site->root, site_id(site, "web-3", id), &vmm, &err), 1);
	assert_int_equal(site_create(site, "new"), 0);
	assert_int_equal(vm_vmm_wait(&vmm, VM_WAIT_NONE, &err), 0);
	vm_vmm_close(&vmm);
	site_assert_only(site, 2);
}

static void the_same_fork_again_is_not_hindered_by_its_dead_self(void **state)
{
	struct site *site = *state;

	kill_in_launch(site);
	assert_int_equal(site_fork(site, &three), 0);
	site_assert_only(site, 4);
	site_assert(site, "web-1", VM_STATE_RUNNING);
	site_assert(site, "web-3", VM_STATE_RUNNING);
}

static void places_of_a_dead_maker_are_free_for_a_start(void **state)
{
	struct site *site = *state;

	site_make(site, "other", VM_STATE_STOPPED);
	kill_in_launch(site);
	site->root.config.max_running = 3;
	site_do(site, "start", "other");
	site_assert(site, "other", VM_STATE_RUNNING);
	site_assert_only(site, 2);
}

static void places_of_dead_vmms_are_free(void **state)
{
	struct site *site = *state;

	site_make(site, "old", VM_STATE_RUNNING);
	site_make(site, "older", VM_STATE_PAUSED);
	site_make(site, "next", VM_STATE_STOPPED);
	site->root.config.max_running = 2;
	assert_int_equal(site_verb(site, "start", "next"), -1);
	assert_int_equal(site->err.code, VM_ERR_INSUFFICIENT_RESOURCES);
	site_assert(site, "next", VM_STATE_STOPPED);
	site_kill_vmm(site, "older");
	site_do(site, "start", "next");
	site_assert(site, "next", VM_STATE_RUNNING);
	site_assert(site, "old", VM_STATE_RUNNING);
	site_assert(site, "older", VM_STATE_FAILED);
}

static void a_restore_is_admitted_by_the_same_limits(void **state)
{
	struct site *site = *state;

	site_make(site, "asleep", VM_STATE_STANDBY);
	site_make(site, "old", VM_STATE_RUNNING);
	site->root.config.max_running = 1;
	assert_int_equal(site_verb(site, "restore", "asleep"), -1);
	assert_int_equal(site->err.code, VM_ERR_INSUFFICIENT_RESOURCES);
	site_assert(site, "asleep", VM_STATE_STANDBY);
	site_kill_vmm(site, "old");
	site_do(site, "restore", "asleep");
	site_assert(site, "asleep", VM_STATE_RUNNING);
}

/* A fork that lives, with all of its children reserved and running. */
static pid_t living_maker(struct site *site)
{
	pid_t pid;

	site_make(site, "base", VM_STATE_STANDBY);
	fake_expect(FAKE_LOAD, FAKE_HANG_AFTER, 0, NULL);
	pid = site_spawn(site, site_run_fork, &three);
	assert_true(wait_for(atomic_load(&fake_get()->hanging) == 3 || ended(pid)));
	site_reopen(site);
	return pid;
}

static void what_a_living_maker_holds_is_not_touched(void **state)
{
	static const struct vm_fork_request one = {.source = "base",
	                                           .name = "web-3",
	                                           .count = 1,
	                                           .has_target = true,
	                                           .target = VM_STATE_STOPPED};
	struct site *site = *state;
	pid_t pid = living_maker(site);

	assert_int_equal(site_create(site, "web-2"), -1);
	assert_int_equal(site->err.code, VM_ERR_ALREADY_EXISTS);
	assert_int_equal(site_fork(site, &one), -1);
	assert_int_equal(site->err.code, VM_ERR_ALREADY_EXISTS);
	assert_int_equal(site_create(site, "new"), 0);
	assert_true(site_alive(site, "web-1"));
	assert_true(site_alive(site, "web-2"));
	assert_true(site_alive(site, "web-3"));
	assert_int_equal(site_repairs(site), 0);

	kill_and_reap(pid);
	fake_forgive();
	assert_int_equal(site_create(site, "web-2"), 0);
	site_assert_only(site, 3);
}

static void places_of_a_living_maker_are_taken(void **state)
{
	struct site *site = *state;
	pid_t pid;

	site_make(site, "other", VM_STATE_STOPPED);
	pid = living_maker(site);
	site->root.config.max_running = 3;
	assert_int_equal(site_verb(site, "start", "other"), -1);
	assert_int_equal(site->err.code, VM_ERR_INSUFFICIENT_RESOURCES);
	site_assert(site, "other", VM_STATE_STOPPED);
	assert_true(site_alive(site, "web-1"));
	kill_and_reap(pid);
	fake_forgive();
	site_do(site, "start", "other");
}

static void instances_that_are_being_made_are_not_found(void **state)
{
	struct site *site = *state;
	pid_t pid = living_maker(site);
	char id[VM_ID_LEN + 1];

	assert_int_equal(site_verb(site, "stop", "web-1"), -1);
	assert_int_equal(site->err.code, VM_ERR_NOT_FOUND);
	assert_int_equal(site_verb(site, "rm", site_id(site, "web-1", id)), -1);
	assert_int_equal(site->err.code, VM_ERR_NOT_FOUND);
	assert_true(site_alive(site, "web-1"));
	kill_and_reap(pid);
	fake_forgive();
}

/* For site_spawn: 0 made, else the code. */
static int create_web(struct site *site, const void *arg)
{
	(void)arg;
	return site_create(site, "web") < 0 ? (int)site->err.code : 0;
}

static void of_many_who_want_a_dead_maker_s_name_one_gets_it(void **state)
{
	enum { RIVALS = 6 };
	static const struct vm_fork_request one = {.source = "base", .name = "web", .count = 1};
	struct site *site = *state;
	pid_t pids[RIVALS];
	int winners = 0;

	site_make(site, "base", VM_STATE_STANDBY);
	site_kill_in(site, FAKE_LOAD, FAKE_HANG_AFTER, site_run_fork, &one);
	for (size_t i = 0; i < RIVALS; i++)
		pids[i] = site_spawn(site, create_web, NULL);
	for (size_t i = 0; i < RIVALS; i++) {
		int status = reap(pids[i]);

		assert_true(WIFEXITED(status));
		if (WEXITSTATUS(status) == 0)
			winners++;
		else
			assert_int_equal(WEXITSTATUS(status), VM_ERR_ALREADY_EXISTS);
	}
	site_reopen(site);
	assert_int_equal(winners, 1);
	site_assert(site, "web", VM_STATE_STOPPED);
	site_assert_only(site, 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, site_setup, site_teardown)
	const struct CMUnitTest tests[] = {
	        TEST(a_name_of_a_dead_maker_is_free),
	        TEST(vmms_of_a_dead_maker_are_ended_before_something_new_comes),
	        TEST(the_same_fork_again_is_not_hindered_by_its_dead_self),
	        TEST(places_of_a_dead_maker_are_free_for_a_start),
	        TEST(places_of_dead_vmms_are_free),
	        TEST(a_restore_is_admitted_by_the_same_limits),
	        TEST(what_a_living_maker_holds_is_not_touched),
	        TEST(places_of_a_living_maker_are_taken),
	        TEST(instances_that_are_being_made_are_not_found),
	        TEST(of_many_who_want_a_dead_maker_s_name_one_gets_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
