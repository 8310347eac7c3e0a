/* SPDX-License-Identifier: Apache-2.0 */
/* Ways out of what nobody had expected: whatever has happened, an operator gets rid of it. */
#include "site.h"

static void stop_at_once_ends_a_vmm_that_hangs_after_a_killed_pause(void **state)
{
	static const char *const words[] = {"pause", "web"};
	struct site *site = *state;

	site_make(site, "web", VM_STATE_RUNNING);
	site_kill_in(site, FAKE_PAUSE, FAKE_HANG, site_run_verb, words);
	fake_expect(FAKE_QUERY, FAKE_FAIL, 0, NULL);
	site_do(site, "stop", "web");
	site_assert(site, "web", VM_STATE_STOPPED);
}

static void a_place_of_a_half_removed_instance_is_free(void **state)
{
	struct site *site = *state;
	char id[VM_ID_LEN + 1];
	struct vm_err err = {0};

	site_make(site, "web", VM_STATE_RUNNING);
	site_make(site, "next", VM_STATE_STOPPED);
	assert_int_equal(vm_store_intend(site->root.store, site_id(site, "web", id), "rm",
	                                 "running", NULL, &err),
	                 0);
	site_kill_vmm(site, "web");
	site->root.config.max_running = 1;
	site_do(site, "start", "next");
}

static void the_event_of_an_undone_fork_says_why(void **state)
{
	static const struct vm_fork_request request = {.source = "web", .name = "f", .count = 1};
	struct site *site = *state;

	site_make(site, "web", VM_STATE_STANDBY);
	fake_expect(FAKE_MOVE, FAKE_FAIL, 1, NULL);
	assert_int_equal(site_fork(site, &request), -1);
	assert_int_equal(site_sql(site, "SELECT count(*) FROM event WHERE verb = 'fork'"
	                                " AND message LIKE '%told to fail%'"),
	                 1);
}

static void an_instance_without_its_lock_file_can_be_removed(void **state)
{
	struct site *site = *state;
	char id[VM_ID_LEN + 1];

	site_make(site, "web", VM_STATE_STOPPED);
	assert_int_equal(unlinkat(site->root.locks_fd, site_id(site, "web", id), 0), 0);
	site_do(site, "rm", "web");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, site_setup, site_teardown)
	const struct CMUnitTest tests[] = {
	        TEST(stop_at_once_ends_a_vmm_that_hangs_after_a_killed_pause),
	        TEST(a_place_of_a_half_removed_instance_is_free),
	        TEST(the_event_of_an_undone_fork_says_why),
	        TEST(an_instance_without_its_lock_file_can_be_removed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
