/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs on one instance: from which states they work, and what is left when they fail. */
#include "site.h"

/* --- states --------------------------------------------------------------------------------------
 */

enum { REFUSED = VM_STATE_COUNT };

static const enum vm_state states[] = {VM_STATE_STOPPED, VM_STATE_STANDBY, VM_STATE_RUNNING,
                                       VM_STATE_PAUSED, VM_STATE_FAILED};
/* What each verb makes of an instance in each of the states; the same state: nothing to do. */
static const struct {
	const char *verb;
	int then[VM_ARRAY_LEN(states)];
} table[] = {
        {"start", {VM_STATE_RUNNING, REFUSED, VM_STATE_RUNNING, REFUSED, VM_STATE_RUNNING}},
        {"stop", {VM_STATE_STOPPED, REFUSED, VM_STATE_STOPPED, VM_STATE_STOPPED, REFUSED}},
        {"discard",
         {VM_STATE_STOPPED, VM_STATE_STOPPED, VM_STATE_STOPPED, VM_STATE_STOPPED, REFUSED}},
        {"pause", {REFUSED, REFUSED, VM_STATE_PAUSED, VM_STATE_PAUSED, REFUSED}},
        {"resume", {REFUSED, REFUSED, VM_STATE_RUNNING, VM_STATE_RUNNING, REFUSED}},
        {"standby", {REFUSED, VM_STATE_STANDBY, VM_STATE_STANDBY, VM_STATE_STANDBY, REFUSED}},
        {"restore", {REFUSED, VM_STATE_RUNNING, VM_STATE_RUNNING, REFUSED, REFUSED}},
};

static void make_in(struct site *site, const char *name, enum vm_state state)
{
	struct vm_held held = VM_HELD_INIT;

	site_make(site, name, state == VM_STATE_FAILED ? VM_STATE_RUNNING : state);
	if (state != VM_STATE_FAILED)
		return;
	site_kill_vmm(site, name);
	assert_int_equal(
	        vm_held_take(site_op(site, "look"), name, VM_LOCK_EXCLUSIVE, &held, &site->err), 0);
	vm_held_release(&held);
}

static int64_t generation_of(struct site *site, const char *name)
{
	struct vm_instance row = site_row(site, name);
	int64_t generation = row.generation;

	vm_instance_free(&row);
	return generation;
}

static void assert_verb(struct site *site, const char *verb, enum vm_state from, int then)
{
	const char *name = "web";
	int64_t before;

	make_in(site, name, from);
	before = generation_of(site, name);
	if (then == REFUSED) {
		assert_int_equal(site_verb(site, verb, name), -1);
		assert_int_equal(site->err.code, VM_ERR_INVALID_STATE);
		assert_non_null(strstr(site->err.message, vm_state_name(from)));
		then = (int)from;
	} else {
		site_do(site, verb, name);
	}
	site_assert(site, name, (enum vm_state)then);
	if (then == (int)from)
		assert_int_equal(generation_of(site, name), before);
	else
		assert_true(generation_of(site, name) > before);
	site_do(site, "rm", name);
	site_assert_only(site, 0);
}

static void each_verb_works_from_its_states_and_refuses_the_others(void **state)
{
	for (size_t i = 0; i < VM_ARRAY_LEN(table); i++) {
		for (size_t k = 0; k < VM_ARRAY_LEN(states); k++)
			assert_verb(*state, table[i].verb, states[k], table[i].then[k]);
	}
}

static void rm_without_force_spares_what_runs_or_is_saved(void **state)
{
	static const bool removed[] = {true, false, false, false, true};
	struct site *site = *state;

	for (size_t i = 0; i < VM_ARRAY_LEN(states); i++) {
		make_in(site, "web", states[i]);
		assert_int_equal(vm_rm(site_op(site, "rm"), "web", false, NULL, &site->err) == 0,
		                 removed[i]);
		assert_int_equal(site_has_row(site, "web"), !removed[i]);
		if (!removed[i]) {
			assert_int_equal(site->err.code, VM_ERR_INVALID_STATE);
			site_assert(site, "web", states[i]);
			site_do(site, "rm", "web");
		}
		site_assert_only(site, 0);
	}
}

/* --- failures ------------------------------------------------------------------------------------
 */

static void assert_fails_to(struct site *site, const char *verb, const char *name,
                            enum vm_state then)
{
	assert_int_equal(site_verb(site, verb, name), -1);
	assert_int_equal(site->err.code, VM_ERR_HYPERVISOR);
	assert_non_null(strstr(site->err.message, "web: fake: "));
	fake_forgive();
	site_assert(site, name, then);
	assert_false(site_has(site, name, VM_FILE_MEMORY ".new"));
	assert_false(site_has(site, name, VM_FILE_STATE ".new"));
}

static void what_fails_is_undone(void **state)
{
	static const struct {
		const char *verb;
		enum vm_state from;
		enum fake_call call;
	} cases[] = {{"start", VM_STATE_STOPPED, FAKE_BOOT},
	             {"restore", VM_STATE_STANDBY, FAKE_LOAD},
	             {"standby", VM_STATE_RUNNING, FAKE_PAUSE},
	             {"standby", VM_STATE_RUNNING, FAKE_SAVE},
	             {"standby", VM_STATE_PAUSED, FAKE_SAVE}};
	struct site *site = *state;

	for (size_t i = 0; i < 2 * VM_ARRAY_LEN(cases); i++) {
		site_make(site, "web", cases[i / 2].from);
		fake_expect(cases[i / 2].call, i % 2 ? FAKE_LIE : FAKE_FAIL, 1, NULL);
		assert_fails_to(site, cases[i / 2].verb, "web", cases[i / 2].from);
		site_do(site, cases[i / 2].verb, "web"); /* it is as good as new */
		site_do(site, "rm", "web");
	}
	assert_int_equal(site_sql(site, "SELECT count(*) FROM event WHERE outcome = 'hypervisor'"
	                                " AND message LIKE '%told to%'"),
	                 2 * VM_ARRAY_LEN(cases));
}

static void a_pause_that_was_not_answered_is_found_out_by_the_next_verb(void **state)
{
	struct site *site = *state;

	site_make(site, "web", VM_STATE_RUNNING);
	fake_expect(FAKE_PAUSE, FAKE_LIE, 1, NULL);
	assert_int_equal(site_verb(site, "pause", "web"), -1);
	fake_forgive();
	site_do(site, "pause", "web");
	assert_int_equal(fake_calls(FAKE_PAUSE), 1);
	site_assert(site, "web", VM_STATE_PAUSED);
	fake_expect(FAKE_RESUME, FAKE_FAIL, 1, NULL);
	assert_int_equal(site_verb(site, "resume", "web"), -1);
	fake_forgive();
	site_do(site, "pause", "web");
	site_assert(site, "web", VM_STATE_PAUSED);
}

static void a_restore_that_fails_after_its_commit_is_failed_and_cannot_be_repeated(void **state)
{
	struct site *site = *state;
	struct vm_instance row;

	site_make(site, "web", VM_STATE_STANDBY);
	fake_expect(FAKE_RESUME, FAKE_FAIL, 1, NULL);
	assert_int_equal(site_verb(site, "restore", "web"), -1);
	fake_forgive();
	row = site_row(site, "web");
	assert_int_equal(row.state, VM_STATE_FAILED);
	assert_string_equal(row.intent.verb, "");
	assert_non_null(strstr(row.failure, "resume: told to fail"));
	vm_instance_free(&row);
	assert_false(site_alive(site, "web"));
	assert_false(site_has(site, "web", VM_FILE_MANIFEST));
	assert_int_equal(site_verb(site, "restore", "web"), -1);
	assert_int_equal(site->err.code, VM_ERR_INVALID_STATE);
	site_do(site, "start", "web");
	site_assert(site, "web", VM_STATE_RUNNING);
}

static void a_guest_that_cannot_go_on_after_a_failed_standby_is_told_of(void **state)
{
	struct site *site = *state;

	site_make(site, "web", VM_STATE_RUNNING);
	fake_expect(FAKE_SAVE, FAKE_FAIL, 1, NULL);
	fake_expect(FAKE_RESUME, FAKE_FAIL, 1, NULL);
	assert_int_equal(site_verb(site, "standby", "web"), -1);
	assert_non_null(strstr(site->err.message, "save: told to fail"));
	assert_non_null(strstr(site->err.hint, "still paused"));
	fake_forgive();
	assert_int_equal(site_guest(site, "web"), VM_GUEST_PAUSED);
	site_do(site, "resume", "web");
	site_assert(site, "web", VM_STATE_RUNNING);
}

static void saved_state_of_another_machine_is_refused_before_anything_changes(void **state)
{
	static const char *const files[] = {VM_FILE_MANIFEST, VM_FILE_MEMORY, VM_FILE_STATE,
	                                    "disk-root.img", "disk-fixed.img"};
	struct site *site = *state;
	VM_AUTO_CLOSE int dir = -1;

	site_make(site, "web", VM_STATE_STANDBY);
	dir = site_dir(site, "web");
	for (size_t i = 0; i < VM_ARRAY_LEN(files); i++) {
		assert_int_equal(renameat(dir, files[i], dir, "away"), 0);
		assert_int_equal(site_verb(site, "restore", "web"), -1);
		assert_int_equal(site->err.code, VM_ERR_CORRUPT);
		assert_non_null(strstr(site->err.message, files[i]));
		assert_int_equal(renameat(dir, "away", dir, files[i]), 0);
		site_assert(site, "web", VM_STATE_STANDBY);
	}
	site_write(dir, VM_FILE_MEMORY, SITE_MEMORY_BYTES / 2);
	assert_int_equal(site_verb(site, "restore", "web"), -1);
	assert_int_equal(site->err.code, VM_ERR_CORRUPT);
	assert_int_equal(fake_calls(FAKE_LOAD), 0);
}

/* --- signals -------------------------------------------------------------------------------------
 */

/* For site_spawn: 0 when the verb says that it was interrupted. */
static int verb_interrupted(struct site *site, const void *arg)
{
	const char *const *words = arg;

	vm_interrupt_install();
	if (site_verb(site, words[0], words[1]) != -1)
		return 1;
	return strstr(site->err.message, "interrupted by SIGTERM") ? 0 : 2;
}

static void a_signal_ends_the_wait_for_a_vmm_and_the_verb_is_undone(void **state)
{
	static const struct {
		const char *words[2];
		enum vm_state from;
		enum fake_call call;
		enum fake_fault hang;
	} cases[] = {{{"start", "web"}, VM_STATE_STOPPED, FAKE_BOOT, FAKE_HANG_AFTER},
	             {{"restore", "web"}, VM_STATE_STANDBY, FAKE_LOAD, FAKE_HANG_AFTER},
	             {{"standby", "web"}, VM_STATE_RUNNING, FAKE_PAUSE, FAKE_HANG_AFTER},
	             {{"standby", "web"}, VM_STATE_RUNNING, FAKE_SAVE, FAKE_HANG},
	             {{"standby", "web"}, VM_STATE_RUNNING, FAKE_SAVE, FAKE_HANG_AFTER}};
	struct site *site = *state;

	for (size_t i = 0; i < VM_ARRAY_LEN(cases); i++) {
		pid_t pid;

		site_make(site, "web", cases[i].from);
		fake_expect(cases[i].call, cases[i].hang, 1, NULL);
		pid = site_spawn(site, verb_interrupted, cases[i].words);
		await_hanging(pid);
		kill(pid, SIGTERM);
		assert_exits(pid, 0);
		fake_forgive();
		site_reopen(site);
		site_assert(site, "web", cases[i].from);
		assert_int_equal(site_repairs(site), 0);
		site_do(site, "rm", "web");
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, site_setup, site_teardown)
	const struct CMUnitTest tests[] = {
	        TEST(each_verb_works_from_its_states_and_refuses_the_others),
	        TEST(rm_without_force_spares_what_runs_or_is_saved),
	        TEST(what_fails_is_undone),
	        TEST(a_pause_that_was_not_answered_is_found_out_by_the_next_verb),
	        TEST(a_restore_that_fails_after_its_commit_is_failed_and_cannot_be_repeated),
	        TEST(a_guest_that_cannot_go_on_after_a_failed_standby_is_told_of),
	        TEST(saved_state_of_another_machine_is_refused_before_anything_changes),
	        TEST(a_signal_ends_the_wait_for_a_vmm_and_the_verb_is_undone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
