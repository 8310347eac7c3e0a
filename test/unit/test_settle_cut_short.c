/* SPDX-License-Identifier: Apache-2.0 */
/* A repair that does not come to its end, as if killed on its way: the next one still gets it
 * right.
 */
#include "site.h"

/* A standby, killed when the guest is saved. */
static void kill_standby(struct site *site, const char *name)
{
	const char *words[] = {"standby", name};

	site_make(site, name, VM_STATE_RUNNING);
	site_kill_in(site, FAKE_SAVE, FAKE_HANG_AFTER, site_run_verb, words);
}

/* A directory in place of a file that is to be unlinked: there the repair ends. */
static void obstruct(struct site *site, const char *name, const char *file)
{
	VM_AUTO_CLOSE int dir = site_dir(site, name);

	unlinkat(dir, file, 0);
	assert_int_equal(mkdirat(dir, file, 0700), 0);
}

static void clear_way(struct site *site, const char *name, const char *file)
{
	VM_AUTO_CLOSE int dir = site_dir(site, name);

	assert_int_equal(unlinkat(dir, file, AT_REMOVEDIR), 0);
}

static int settle(struct site *site, const char *name)
{
	struct vm_held held = VM_HELD_INIT;
	int rc = vm_held_take(site_op(site, "next"), name, VM_LOCK_EXCLUSIVE, &held, &site->err);

	vm_held_release(&held);
	return rc;
}

static void a_stop_by_force_over_a_killed_verb_stops(void **state)
{
	struct site *site = *state;

	kill_standby(site, "web");
	obstruct(site, "web", FAKE_SOCKET);
	assert_int_equal(site_verb(site, "stop", "web"), -1);
	assert_false(site_alive(site, "web"));
	clear_way(site, "web", FAKE_SOCKET);
	assert_int_equal(settle(site, "web"), 0);
	site_assert(site, "web", VM_STATE_STOPPED);
	assert_string_equal(site->warning, "");
}

static void an_rm_by_force_over_a_killed_verb_is_finished(void **state)
{
	struct site *site = *state;

	kill_standby(site, "web");
	obstruct(site, "web", FAKE_SOCKET);
	assert_int_equal(site_verb(site, "rm", "web"), 0);
	site_assert_only(site, 0);
}

/* Killed before it has ended the VMM, whose guest the standby had paused. */
static void a_guest_found_by_a_killed_stop_by_force_goes_on(void **state)
{
	struct site *site = *state;
	char id[VM_ID_LEN + 1];

	kill_standby(site, "web");
	assert_int_equal(site_guest(site, "web"), VM_GUEST_PAUSED);
	assert_int_equal(vm_store_intend(site->root.store, site_id(site, "web", id), "stop",
	                                 "running", NULL, &site->err),
	                 0);
	assert_int_equal(settle(site, "web"), 0);
	site_assert(site, "web", VM_STATE_RUNNING);
	assert_false(site_has(site, "web", VM_FILE_MEMORY ".new"));
}

static void temporary_files_go_before_the_intent(void **state)
{
	struct site *site = *state;
	struct vm_instance row;

	kill_standby(site, "web");
	assert_true(site_has(site, "web", VM_FILE_STATE ".new"));
	obstruct(site, "web", VM_FILE_MEMORY ".new");
	assert_int_equal(settle(site, "web"), -1);
	row = site_row(site, "web");
	assert_string_equal(row.intent.verb, "standby");
	vm_instance_free(&row);
	clear_way(site, "web", VM_FILE_MEMORY ".new");
	assert_int_equal(settle(site, "web"), 0);
	site_assert(site, "web", VM_STATE_RUNNING);
	assert_false(site_has(site, "web", VM_FILE_STATE ".new"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, site_setup, site_teardown)
	const struct CMUnitTest tests[] = {
	        TEST(a_stop_by_force_over_a_killed_verb_stops),
	        TEST(an_rm_by_force_over_a_killed_verb_is_finished),
	        TEST(a_guest_found_by_a_killed_stop_by_force_goes_on),
	        TEST(temporary_files_go_before_the_intent),
	};
#undef TEST

	return cmocka_run_group_tests(tests, NULL, NULL);
}
