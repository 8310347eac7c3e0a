/* SPDX-License-Identifier: Apache-2.0 */
/* The memory lock: one makes a saved memory usable for all who want it, and a kill leaves it so. */
#include "site.h"

enum { FORKERS = 8 };

static const struct vm_fork_request one = {.source = "src", .count = 1};

static void pack(struct site *site)
{
	VM_AUTO_CLOSE int dir_fd = site_dir(site, "src");
	VM_AUTO_CLOSE int fd = openat(dir_fd, FAKE_PACKED, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
}

static void of_many_forks_one_makes_the_memory_usable(void **state)
{
	struct site *site = *state;
	pid_t pids[FORKERS];

	site_make(site, "src", VM_STATE_STANDBY);
	pack(site);
	fake_expect(FAKE_PREPARE, FAKE_NONE, 0, NULL);
	for (int i = 0; i < FORKERS; i++)
		pids[i] = site_spawn(site, site_run_fork, &one);
	for (int i = 0; i < FORKERS; i++)
		assert_exits(pids[i], 0);
	site_reopen(site);
	assert_int_equal(fake_calls(FAKE_PREPARE), 1);
	assert_false(site_has(site, "src", FAKE_PACKED));
	site_assert_only(site, 1 + FORKERS);
}

static void who_is_killed_while_preparing_is_followed_by_another(void **state)
{
	static const enum fake_fault hangs[] = {FAKE_HANG, FAKE_HANG_AFTER};
	static const char *const restore[] = {"restore", "src"};
	struct site *site = *state;

	site_make(site, "src", VM_STATE_STANDBY);
	for (size_t i = 0; i < VM_ARRAY_LEN(hangs); i++) {
		pack(site);
		site_kill_in(site, FAKE_PREPARE, hangs[i], site_run_fork, &one);
		assert_int_equal(site_fork(site, &one), 0);
		assert_false(site_has(site, "src", FAKE_PACKED));
	}
	pack(site);
	site_kill_in(site, FAKE_PREPARE, FAKE_HANG, site_run_verb, restore);
	assert_int_equal(site_verb(site, "restore", "src"), 0);
	site_assert(site, "src", VM_STATE_RUNNING);
	site_assert_only(site, 3);
}

static void a_memory_that_cannot_be_made_usable_fails_the_fork_and_nothing_else(void **state)
{
	struct site *site = *state;

	site_make(site, "src", VM_STATE_STANDBY);
	pack(site);
	fake_expect(FAKE_PREPARE, FAKE_FAIL, 0, NULL);
	assert_int_equal(site_fork(site, &one), -1);
	assert_int_equal(site->err.code, VM_ERR_HYPERVISOR);
	fake_forgive();
	site_assert(site, "src", VM_STATE_STANDBY);
	site_assert_only(site, 1);
	vm_err_clear(&site->err);
	assert_int_equal(site_fork(site, &one), 0);
	site_assert_only(site, 2);
}

/* 0 when it says at once that the memory is busy, and who works on it. */
static int fork_at_once(struct site *site, const void *arg)
{
	struct vm_op *op = site_op(site, "fork");
	struct vm_fork_result *results = NULL;
	size_t count = 0;

	op->wait_ms = 0;
	if (vm_fork(op, arg, &results, &count, &site->err) != -1 || site->err.code != VM_ERR_BUSY)
		return 1;
	return strstr(site->err.message, "the memory of instance 'src' is locked by pid") ? 0 : 2;
}

static void who_may_not_wait_is_told_that_the_memory_is_being_made_usable(void **state)
{
	struct site *site = *state;
	pid_t slow;

	site_make(site, "src", VM_STATE_STANDBY);
	pack(site);
	fake_expect(FAKE_PREPARE, FAKE_HANG, 1, NULL);
	slow = site_spawn(site, site_run_fork, &one);
	await_hanging(slow);
	assert_exits(site_spawn(site, fork_at_once, &one), 0);
	kill_and_reap(slow);
	fake_forgive();
	site_reopen(site);
	assert_int_equal(site_fork(site, &one), 0);
	site_assert_only(site, 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, site_setup, site_teardown)
	const struct CMUnitTest tests[] = {
	        TEST(of_many_forks_one_makes_the_memory_usable),
	        TEST(who_is_killed_while_preparing_is_followed_by_another),
	        TEST(a_memory_that_cannot_be_made_usable_fails_the_fork_and_nothing_else),
	        TEST(who_may_not_wait_is_told_that_the_memory_is_being_made_usable),
	};
#undef TEST

	return cmocka_run_group_tests(tests, NULL, NULL);
}
