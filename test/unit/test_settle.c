/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a killed verb leaves, and how the next one puts it right. Verbs are killed for real where
 * the driver is called; what lies between two of its calls is put as the kill would have left it.
 */
#include "site.h"

/* Whoever comes next: takes the instance's lock, and with it repairs. The error's code. */
static enum vm_code come_next(struct site *site, const char *name, enum vm_lock_mode mode)
{
	struct vm_held held = VM_HELD_INIT;

	if (vm_held_take(site_op(site, "next"), name, mode, &held, &site->err) < 0)
		return site->err.code;
	assert_int_equal(held.lock.mode, mode);
	vm_held_release(&held);
	return VM_OK;
}

/* Repairs once, to this state; a second look finds nothing to repair. */
static void assert_settles(struct site *site, const char *name, enum vm_state state)
{
	int64_t before = site_settled(site);

	if (come_next(site, name, VM_LOCK_EXCLUSIVE) != VM_OK)
		fail_msg("%s: %s", name, site->err.message);
	site_assert(site, name, state);
	assert_int_equal(site_settled(site), before + 1);
	assert_false(site_has(site, name, VM_FILE_MEMORY ".new"));
	assert_false(site_has(site, name, VM_FILE_STATE ".new"));
	assert_int_equal(come_next(site, name, VM_LOCK_SHARED), VM_OK);
	assert_int_equal(site_settled(site), before + 1);
	site_assert(site, name, state);
}

static void plant_intent(struct site *site, const char *name, const char *verb, const char *detail)
{
	char id[VM_ID_LEN + 1];
	struct vm_err err = {0};

	assert_int_equal(vm_store_intend(site->root.store, site_id(site, name, id), verb, detail,
	                                 NULL, &err),
	                 0);
}

struct killed {
	const char *verb;
	enum vm_state from;
	enum fake_call call;
	enum fake_fault hang;
	enum vm_state then;
};

static void kill_verb(struct site *site, const struct killed *killed, const char *name)
{
	const char *const words[] = {killed->verb, name};
	struct vm_instance row;

	site_make(site, name, killed->from);
	site_kill_in(site, killed->call, killed->hang, site_run_verb, words);
	row = site_row(site, name);
	assert_string_equal(row.intent.verb, killed->verb);
	vm_instance_free(&row);
}

static void assert_killed_verbs_settle(struct site *site, const struct killed *cases, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char name[32];

		snprintf(name, sizeof(name), "vm%zu", i);
		kill_verb(site, &cases[i], name);
		assert_settles(site, name, cases[i].then);
	}
}

static void start_is_undone(void **state)
{
	static const struct killed cases[] = {
	        {"start", VM_STATE_STOPPED, FAKE_BOOT, FAKE_HANG, VM_STATE_STOPPED},
	        {"start", VM_STATE_STOPPED, FAKE_BOOT, FAKE_HANG_AFTER, VM_STATE_STOPPED},
	};

	assert_killed_verbs_settle(*state, cases, VM_ARRAY_LEN(cases));
	site_do(*state, "start", "vm1");
	site_assert(*state, "vm1", VM_STATE_RUNNING);
}

static void start_of_a_failed_instance_leaves_it_failed(void **state)
{
	static const char *const words[] = {"start", "web"};
	struct site *site = *state;
	struct vm_instance row;

	site_make(site, "web", VM_STATE_RUNNING);
	site_kill_vmm(site, "web");
	assert_settles(site, "web", VM_STATE_FAILED);
	site_kill_in(site, FAKE_BOOT, FAKE_HANG_AFTER, site_run_verb, words);
	assert_true(site_alive(site, "web"));
	assert_settles(site, "web", VM_STATE_FAILED);
	row = site_row(site, "web");
	assert_non_null(strstr(row.failure, "died"));
	vm_instance_free(&row);
}

static void pause_and_resume_become_what_the_guest_does(void **state)
{
	static const struct killed cases[] = {
	        {"pause", VM_STATE_RUNNING, FAKE_PAUSE, FAKE_HANG, VM_STATE_RUNNING},
	        {"pause", VM_STATE_RUNNING, FAKE_PAUSE, FAKE_HANG_AFTER, VM_STATE_PAUSED},
	        {"resume", VM_STATE_PAUSED, FAKE_RESUME, FAKE_HANG, VM_STATE_PAUSED},
	        {"resume", VM_STATE_PAUSED, FAKE_RESUME, FAKE_HANG_AFTER, VM_STATE_RUNNING},
	};

	assert_killed_verbs_settle(*state, cases, VM_ARRAY_LEN(cases));
}

static void standby_without_a_manifest_goes_on(void **state)
{
	static const struct killed cases[] = {
	        {"standby", VM_STATE_RUNNING, FAKE_PAUSE, FAKE_HANG, VM_STATE_RUNNING},
	        {"standby", VM_STATE_RUNNING, FAKE_PAUSE, FAKE_HANG_AFTER, VM_STATE_RUNNING},
	        {"standby", VM_STATE_RUNNING, FAKE_SAVE, FAKE_HANG, VM_STATE_RUNNING},
	        {"standby", VM_STATE_RUNNING, FAKE_SAVE, FAKE_HANG_AFTER, VM_STATE_RUNNING},
	        {"standby", VM_STATE_PAUSED, FAKE_SAVE, FAKE_HANG, VM_STATE_PAUSED},
	        {"standby", VM_STATE_PAUSED, FAKE_SAVE, FAKE_HANG_AFTER, VM_STATE_PAUSED},
	};

	assert_killed_verbs_settle(*state, cases, VM_ARRAY_LEN(cases));
	site_do(*state, "standby", "vm3");
	site_assert(*state, "vm3", VM_STATE_STANDBY);
}

static void write_manifest(struct site *site, const char *name)
{
	VM_AUTO_CLOSE int dir = site_dir(site, name);
	struct vm_held held = VM_HELD_INIT;
	struct vm_err err = {0};
	json_t *json;

	held.row = site_row(site, name);
	json = json_loads(held.row.spec, 0, NULL);
	assert_int_equal(vm_spec_from_json(json, &held.spec, &err), 0);
	json_decref(json);
	assert_int_equal(vm_manifest_write(dir, &held.row, &held.spec, FAKE_VERSION, false, &err),
	                 0);
	vm_spec_free(&held.spec);
	vm_instance_free(&held.row);
}

/* A standby killed after it has renamed what it saved. */
static void kill_standby_after_renames(struct site *site, const char *name)
{
	static const struct killed standby = {.verb = "standby",
	                                      .from = VM_STATE_RUNNING,
	                                      .call = FAKE_SAVE,
	                                      .hang = FAKE_HANG_AFTER};
	VM_AUTO_CLOSE int dir = -1;

	kill_verb(site, &standby, name);
	dir = site_dir(site, name);
	assert_int_equal(renameat(dir, VM_FILE_MEMORY ".new", dir, VM_FILE_MEMORY), 0);
	assert_int_equal(renameat(dir, VM_FILE_STATE ".new", dir, VM_FILE_STATE), 0);
}

static void standby_with_a_manifest_is_finished(void **state)
{
	struct site *site = *state;

	kill_standby_after_renames(site, "early");
	assert_settles(site, "early", VM_STATE_RUNNING);

	kill_standby_after_renames(site, "late");
	write_manifest(site, "late");
	assert_settles(site, "late", VM_STATE_STANDBY);

	kill_standby_after_renames(site, "dead");
	write_manifest(site, "dead");
	site_kill_vmm(site, "dead");
	assert_settles(site, "dead", VM_STATE_STANDBY);
	site_do(site, "restore", "dead");
	site_assert(site, "dead", VM_STATE_RUNNING);
}

static void restore_is_undone_before_its_commit_and_finished_after(void **state)
{
	static const struct killed cases[] = {
	        {"restore", VM_STATE_STANDBY, FAKE_LOAD, FAKE_HANG, VM_STATE_STANDBY},
	        {"restore", VM_STATE_STANDBY, FAKE_LOAD, FAKE_HANG_AFTER, VM_STATE_STANDBY},
	        {"restore", VM_STATE_STANDBY, FAKE_RESUME, FAKE_HANG, VM_STATE_RUNNING},
	        {"restore", VM_STATE_STANDBY, FAKE_RESUME, FAKE_HANG_AFTER, VM_STATE_RUNNING},
	};

	assert_killed_verbs_settle(*state, cases, VM_ARRAY_LEN(cases));
	site_do(*state, "restore", "vm1");
	site_assert(*state, "vm1", VM_STATE_RUNNING);
}

/* The fake driver counts it as a violation if the guest runs while the manifest is there. */
static void restore_withdraws_the_manifest_before_the_guest_runs(void **state)
{
	static const struct killed restore = {.verb = "restore",
	                                      .from = VM_STATE_STANDBY,
	                                      .call = FAKE_RESUME,
	                                      .hang = FAKE_HANG};
	struct site *site = *state;

	kill_verb(site, &restore, "alive");
	write_manifest(site, "alive");
	assert_int_equal(site_guest(site, "alive"), VM_GUEST_PAUSED);
	assert_settles(site, "alive", VM_STATE_RUNNING);

	kill_verb(site, &restore, "dead");
	write_manifest(site, "dead");
	site_kill_vmm(site, "dead");
	assert_settles(site, "dead", VM_STATE_FAILED);
	assert_int_equal(site_verb(site, "restore", "dead"), -1);
	assert_int_equal(site->err.code, VM_ERR_INVALID_STATE);
}

static void stop_of_a_guest_that_lives_is_forgotten(void **state)
{
	struct site *site = *state;

	site_make(site, "run", VM_STATE_RUNNING);
	plant_intent(site, "run", "stop", "running");
	assert_settles(site, "run", VM_STATE_RUNNING);
	site_make(site, "halt", VM_STATE_PAUSED);
	plant_intent(site, "halt", "stop", "paused");
	assert_settles(site, "halt", VM_STATE_PAUSED);
}

static void stop_of_a_guest_that_died_has_stopped_it(void **state)
{
	struct site *site = *state;

	site_make(site, "web", VM_STATE_RUNNING);
	plant_intent(site, "web", "stop", "running");
	site_kill_vmm(site, "web");
	assert_settles(site, "web", VM_STATE_STOPPED);
}

static void a_discard_is_finished_from_wherever_it_was(void **state)
{
	static const char *const files[] = {VM_FILE_MANIFEST, VM_FILE_STATE, VM_FILE_MEMORY};
	struct site *site = *state;

	for (size_t gone = 0; gone <= VM_ARRAY_LEN(files); gone++) {
		VM_AUTO_CLOSE int dir = -1;
		char name[32];

		snprintf(name, sizeof(name), "vm%zu", gone);
		site_make(site, name, VM_STATE_STANDBY);
		plant_intent(site, name, "stop", "discard");
		dir = site_dir(site, name);
		for (size_t i = 0; i < gone; i++)
			assert_int_equal(unlinkat(dir, files[i], 0), 0);
		assert_settles(site, name, VM_STATE_STOPPED);
		for (size_t i = 0; i < VM_ARRAY_LEN(files); i++)
			assert_false(site_has(site, name, files[i]));
		site_do(site, "start", name);
	}
}

static void a_running_source_of_a_killed_fork_goes_on(void **state)
{
	static const struct vm_fork_request request = {
	        .source = "web", .name = "web-{}", .count = 2, .from_running = true};
	static const struct {
		enum fake_call call;
		enum fake_fault hang;
	} points[] = {{FAKE_PAUSE, FAKE_HANG},  {FAKE_PAUSE, FAKE_HANG_AFTER},
	              {FAKE_SAVE, FAKE_HANG},   {FAKE_SAVE, FAKE_HANG_AFTER},
	              {FAKE_RESUME, FAKE_HANG}, {FAKE_RESUME, FAKE_HANG_AFTER}};
	struct site *site = *state;

	site_make(site, "web", VM_STATE_RUNNING);
	for (size_t i = 0; i < VM_ARRAY_LEN(points); i++) {
		site_kill_in(site, points[i].call, points[i].hang, site_run_fork, &request);
		assert_settles(site, "web", VM_STATE_RUNNING);
	}
	/* What was reserved has not been in anybody's way, and goes with the next fork. */
	assert_int_equal(site_fork(site, &request), 0);
	site_assert_only(site, 3);
}

static void a_source_that_died_in_a_killed_fork_has_failed(void **state)
{
	static const struct vm_fork_request request = {
	        .source = "web", .count = 1, .from_running = true};
	struct site *site = *state;

	site_make(site, "web", VM_STATE_RUNNING);
	site_kill_in(site, FAKE_SAVE, FAKE_HANG, site_run_fork, &request);
	site_kill_vmm(site, "web");
	assert_settles(site, "web", VM_STATE_FAILED);
}

/* How far a killed rm has come. */
static void remove_up_to(struct site *site, const char *name, int stage)
{
	char id[VM_ID_LEN + 1], alive[VM_LOCK_NAME_SIZE];
	struct vm_err err = {0};

	plant_intent(site, name, "rm", "running");
	site_id(site, name, id);
	if (stage >= 1)
		assert_int_equal(vm_vmm_reap(&site->root, id, &err), 0);
	if (stage >= 2)
		assert_int_equal(renameat(site->root.guests_fd, id, site->root.trash_fd, id), 0);
	if (stage == 3) {
		VM_AUTO_CLOSE int dir = vm_fs_open_dir(site->root.trash_fd, id, &err);

		assert_int_equal(unlinkat(dir, VM_FILE_KERNEL, 0), 0);
	}
	if (stage >= 4)
		assert_int_equal(vm_fs_remove_tree(site->root.trash_fd, id, &err), 0);
	if (stage >= 5)
		assert_int_equal(unlinkat(site->root.run_fd, vm_root_alive_name(id, alive), 0), 0);
}

static void rm_is_finished_from_wherever_it_was(void **state)
{
	struct site *site = *state;

	for (int stage = 0; stage <= 5; stage++) {
		site_make(site, "web", VM_STATE_RUNNING);
		remove_up_to(site, "web", stage);
		assert_int_equal(come_next(site, "web", VM_LOCK_EXCLUSIVE), VM_ERR_NOT_FOUND);
		assert_int_equal(site_repairs(site), stage + 1);
		site_assert_only(site, 0);
	}
}

static void rm_again_is_content_with_a_removal_it_finished(void **state)
{
	struct site *site = *state;

	site_make(site, "web", VM_STATE_RUNNING);
	remove_up_to(site, "web", 2);
	/* Gone is what was asked for; that it is called not_found tells who removed it. */
	assert_int_equal(site_verb(site, "rm", "web"), -1);
	assert_int_equal(site->err.code, VM_ERR_NOT_FOUND);
	site_assert_only(site, 0);
}

static void a_vmm_that_died_makes_its_instance_failed_and_says_why(void **state)
{
	struct site *site = *state;
	struct vm_instance row;
	int dir, log;

	site_make(site, "web", VM_STATE_RUNNING);
	dir = site_dir(site, "web");
	log = openat(dir, VM_VMM_LOG, O_WRONLY | O_APPEND | O_CLOEXEC);
	assert_true(dprintf(log, "all was well\nhere is what went wrong\n") > 0);
	close(log);
	close(dir);
	site_kill_vmm(site, "web");
	assert_settles(site, "web", VM_STATE_FAILED);
	row = site_row(site, "web");
	assert_non_null(strstr(row.failure, "all was well | here is what went wrong"));
	assert_non_null(strstr(site->warning, "here is what went wrong"));
	vm_instance_free(&row);
	site_do(site, "start", "web");
	row = site_row(site, "web");
	assert_null(row.failure);
	vm_instance_free(&row);

	site_make(site, "halt", VM_STATE_PAUSED);
	site_kill_vmm(site, "halt");
	assert_settles(site, "halt", VM_STATE_FAILED);
}

static void a_guest_that_shut_itself_down_is_stopped(void **state)
{
	struct site *site = *state;
	char id[VM_ID_LEN + 1];
	int dir;

	site_make(site, "web", VM_STATE_RUNNING);
	dir = site_dir(site, "web");
	assert_int_equal(fake_shut_down(&site->root, site_id(site, "web", id), dir), 0);
	close(dir);
	assert_settles(site, "web", VM_STATE_STOPPED);
}

static void a_vmm_that_no_committed_state_knows_is_ended(void **state)
{
	static const struct killed restore = {.verb = "restore",
	                                      .from = VM_STATE_STANDBY,
	                                      .call = FAKE_LOAD,
	                                      .hang = FAKE_HANG_AFTER};
	struct site *site = *state;

	site_make(site, "web", VM_STATE_RUNNING);
	site_sql(site, "UPDATE instance SET state = 'stopped', pid = 0, occupies = 0");
	assert_settles(site, "web", VM_STATE_STOPPED);

	kill_verb(site, &restore, "asleep");
	site_sql(site, "DELETE FROM intent");
	site_sql(site, "UPDATE instance SET occupies = 0");
	assert_settles(site, "asleep", VM_STATE_STANDBY);
	site_do(site, "restore", "asleep");
}

static void one_who_wants_to_share_repairs_alone_first(void **state)
{
	static const struct killed pause = {.verb = "pause",
	                                    .from = VM_STATE_RUNNING,
	                                    .call = FAKE_PAUSE,
	                                    .hang = FAKE_HANG_AFTER};
	struct site *site = *state;

	kill_verb(site, &pause, "web");
	assert_int_equal(come_next(site, "web", VM_LOCK_SHARED), VM_OK);
	site_assert(site, "web", VM_STATE_PAUSED);
	assert_int_equal(site_repairs(site), 1);
}

static void a_repair_that_fails_says_so_and_is_tried_again(void **state)
{
	static const struct vm_fork_request request = {
	        .source = "web", .count = 1, .from_running = true};
	struct site *site = *state;
	struct vm_instance row;

	site_make(site, "web", VM_STATE_RUNNING);
	site_kill_in(site, FAKE_SAVE, FAKE_HANG, site_run_fork, &request);
	fake_expect(FAKE_RESUME, FAKE_FAIL, 0, NULL);
	assert_int_equal(come_next(site, "web", VM_LOCK_EXCLUSIVE), VM_ERR_HYPERVISOR);
	assert_non_null(strstr(site->err.message, "web: repairing what a killed vmctl left"));
	row = site_row(site, "web");
	assert_string_equal(row.intent.verb, "fork");
	vm_instance_free(&row);
	fake_forgive();
	assert_settles(site, "web", VM_STATE_RUNNING);
}

static int repair_though_asked_to_stop(struct site *site, const void *arg)
{
	struct vm_instance row;
	struct vm_err err = {0};
	bool settled;

	(void)arg;
	vm_interrupt_install();
	kill(getpid(), SIGTERM);
	site_verb(site, "resume", "web"); /* may be cut short itself */
	if (vm_store_find(site->root.store, "web", &row, &err) < 0)
		return 96;
	settled = row.intent.verb[0] == '\0';
	vm_instance_free(&row);
	return settled ? 0 : 1;
}

static void a_signal_does_not_cut_a_repair_short(void **state)
{
	static const struct killed standby = {
	        .verb = "standby", .from = VM_STATE_RUNNING, .call = FAKE_SAVE, .hang = FAKE_HANG};
	struct site *site = *state;
	pid_t pid;

	kill_verb(site, &standby, "web");
	pid = site_spawn(site, repair_though_asked_to_stop, NULL);
	assert_exits(pid, 0);
	site_reopen(site);
	site_assert(site, "web", VM_STATE_RUNNING);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, site_setup, site_teardown)
	const struct CMUnitTest tests[] = {
	        TEST(start_is_undone),
	        TEST(start_of_a_failed_instance_leaves_it_failed),
	        TEST(pause_and_resume_become_what_the_guest_does),
	        TEST(standby_without_a_manifest_goes_on),
	        TEST(standby_with_a_manifest_is_finished),
	        TEST(restore_is_undone_before_its_commit_and_finished_after),
	        TEST(restore_withdraws_the_manifest_before_the_guest_runs),
	        TEST(stop_of_a_guest_that_lives_is_forgotten),
	        TEST(stop_of_a_guest_that_died_has_stopped_it),
	        TEST(a_discard_is_finished_from_wherever_it_was),
	        TEST(a_running_source_of_a_killed_fork_goes_on),
	        TEST(a_source_that_died_in_a_killed_fork_has_failed),
	        TEST(rm_is_finished_from_wherever_it_was),
	        TEST(rm_again_is_content_with_a_removal_it_finished),
	        TEST(a_vmm_that_died_makes_its_instance_failed_and_says_why),
	        TEST(a_guest_that_shut_itself_down_is_stopped),
	        TEST(a_vmm_that_no_committed_state_knows_is_ended),
	        TEST(one_who_wants_to_share_repairs_alone_first),
	        TEST(a_repair_that_fails_says_so_and_is_tried_again),
	        TEST(a_signal_does_not_cut_a_repair_short),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
