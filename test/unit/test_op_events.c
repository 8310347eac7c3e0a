/* SPDX-License-Identifier: Apache-2.0 */
/* Which events operations leave: failures at every stage, nothing to do, repairs. */
#include "site.h"

#include "schema_1.h"

static int64_t events(struct site *site, const char *where)
{
	char sql[512];

	snprintf(sql, sizeof(sql), "SELECT count(*) FROM event WHERE %s", where);
	return site_sql(site, sql);
}

static int64_t counted(struct site *site, const char *name, const char *label)
{
	char sql[256];

	snprintf(sql, sizeof(sql),
	         "SELECT ifnull((SELECT value FROM counter WHERE name = '%s' AND label = '%s'), 0)",
	         name, label);
	return site_sql(site, sql);
}

/* The number of events is what it was, but for `more`. */
static void assert_more(struct site *site, int64_t *before, int more)
{
	int64_t now = events(site, "1");

	assert_int_equal(now - *before, more);
	*before = now;
}

/* --- failures ------------------------------------------------------------------------------------
 */

static void who_never_got_the_lock_is_told_of(void **state)
{
	static const char *const words[] = {"pause", "web"};
	static const struct vm_stop_options now = {.grace_ms = 0};
	static const struct vm_fork_request request = {
	        .source = "web", .count = 2, .name = "f-{}", .from_running = true};
	struct site *site = *state;
	struct vm_fork_result *results = NULL;
	size_t count;
	pid_t pid;

	site_make(site, "web", VM_STATE_RUNNING);
	fake_expect(FAKE_PAUSE, FAKE_HANG, 1, NULL);
	pid = site_spawn(site, site_run_verb, words);
	await_hanging(pid);
	site_reopen(site);
	site_op(site, "stop")->wait_ms = 0;
	assert_int_equal(vm_stop(&site->op, "web", &now, NULL, &site->err), -1);
	assert_int_equal(site->err.code, VM_ERR_BUSY);
	site_op(site, "fork")->wait_ms = 0;
	assert_int_equal(vm_fork(&site->op, &request, &results, &count, &site->err), -1);
	assert_int_equal(site->err.code, VM_ERR_BUSY);
	assert_int_equal(events(site, "verb = 'stop' AND outcome = 'busy' AND name = 'web' AND"
	                              " length(instance_id) = 24 AND message LIKE '%locked by%'"),
	                 1);
	assert_int_equal(events(site, "verb = 'fork' AND outcome = 'busy' AND name = 'web'"), 1);
	assert_int_equal(counted(site, "lock_waits", ""), 0); /* they would not */
	site_op(site, "stop")->wait_ms = 50;
	assert_int_equal(vm_stop(&site->op, "web", &now, NULL, &site->err), -1);
	assert_int_equal(counted(site, "lock_waits", ""), 1);
	assert_true(counted(site, "lock_wait_us", "") > 0);
	assert_int_equal(counted(site, "operations", "stop,busy"), 2);
	assert_int_equal(counted(site, "operations", "fork,busy"), 1);
	kill_and_reap(pid);
	fake_forgive();
}

static void a_mistake_and_nothing_to_do_leave_no_event(void **state)
{
	static const struct vm_fork_request many = {.source = "web", .count = 2, .name = "same"};
	struct site *site = *state;
	int64_t before;

	site_make(site, "web", VM_STATE_RUNNING);
	before = events(site, "1");
	site_do(site, "start", "web");
	assert_int_equal(site_verb(site, "start", "nobody"), -1);
	assert_int_equal(site_fork(site, &many), -1);
	assert_int_equal(site->err.code, VM_ERR_USAGE);
	assert_more(site, &before, 0);
	site_do(site, "stop", "web");
	assert_more(site, &before, 1);
	site_do(site, "stop", "web");
	assert_more(site, &before, 0);
	/* One that cannot be done is one, though. */
	assert_int_equal(site_verb(site, "pause", "web"), -1);
	assert_more(site, &before, 1);
	assert_int_equal(events(site, "verb = 'pause' AND outcome = 'invalid_state'"), 1);
}

static void a_fork_that_was_refused_is_an_event_of_its_source(void **state)
{
	static const struct vm_fork_request request = {.source = "web", .count = 3, .name = "f-{}"};
	struct site *site = *state;
	int64_t before;

	site_make(site, "web", VM_STATE_STANDBY);
	before = events(site, "1");
	site->root.config.max_running = 1;
	assert_int_equal(site_fork(site, &request), -1);
	assert_int_equal(site->err.code, VM_ERR_INSUFFICIENT_RESOURCES);
	assert_more(site, &before, 1);
	assert_int_equal(events(site, "verb = 'fork' AND name = 'web'"
	                              " AND outcome = 'insufficient_resources'"),
	                 1);
	assert_int_equal(counted(site, "insufficient_resources", ""), 1);
}

static void forks_that_were_begun_have_an_event_each(void **state)
{
	static const struct vm_fork_request request = {.source = "web", .count = 3, .name = "f-{}"};
	static const struct vm_fork_request again = {.source = "web", .count = 2, .name = "g-{}"};
	struct site *site = *state;
	int64_t before;

	site_make(site, "web", VM_STATE_STANDBY);
	before = events(site, "1");
	fake_expect(FAKE_LOAD, FAKE_FAIL, 0, "f-2");
	assert_int_equal(site_fork(site, &request), 1);
	assert_more(site, &before, 3);
	assert_int_equal(events(site, "verb = 'fork' AND outcome = 'ok' AND relocation = 'relative'"
	                              " AND disks IN ('reflink', 'copy')"),
	                 2);
	assert_int_equal(events(site, "name = 'f-2' AND outcome = 'hypervisor'"
	                              " AND disks IN ('reflink', 'copy')"),
	                 1);
	assert_int_equal(counted(site, "forks", "relative"), 2);
	assert_int_equal(counted(site, "disk_copies", "copy") +
	                         counted(site, "disk_copies", "reflink"),
	                 3 + 1); /* and the source's own */
	fake_expect(FAKE_MOVE, FAKE_FAIL, 2, NULL);
	assert_int_equal(site_fork(site, &again), -1);
	assert_more(site, &before, 2);
	assert_int_equal(events(site, "name IN ('g-1', 'g-2') AND outcome <> 'ok'"), 2);
}

static void a_fork_without_memory_was_not_relocated(void **state)
{
	static const struct vm_fork_request request = {.source = "web", .count = 1, .name = "f"};
	struct site *site = *state;

	site_make(site, "web", VM_STATE_STOPPED);
	assert_int_equal(site_fork(site, &request), 0);
	assert_int_equal(events(site, "verb = 'fork' AND outcome = 'ok' AND relocation IS NULL"),
	                 1);
	assert_int_equal(counted(site, "forks", "none"), 1);
}

static void a_create_that_was_refused_is_an_event_of_its_name(void **state)
{
	struct site *site = *state;
	int64_t before;

	site_make(site, "web", VM_STATE_STOPPED);
	before = events(site, "1");
	assert_int_equal(site_create(site, "web"), -1);
	assert_more(site, &before, 1);
	assert_int_equal(events(site, "verb = 'create' AND outcome = 'already_exists'"
	                              " AND instance_id = '' AND name = 'web'"),
	                 1);
	site->root.config.min_free_disk_bytes = UINT64_MAX / 4;
	assert_int_equal(site_create(site, "big"), -1);
	assert_more(site, &before, 1);
	assert_int_equal(events(site, "name = 'big' AND outcome = 'insufficient_resources'"), 1);
	assert_int_equal(counted(site, "insufficient_resources", ""), 1);
}

static void a_restore_that_fails_after_its_commit_is_one_failure(void **state)
{
	struct site *site = *state;
	int64_t before;

	site_make(site, "web", VM_STATE_STANDBY);
	before = events(site, "1");
	fake_expect(FAKE_RESUME, FAKE_FAIL, 1, NULL);
	assert_int_equal(site_verb(site, "restore", "web"), -1);
	assert_more(site, &before, 1);
	assert_int_equal(events(site, "verb = 'restore' AND outcome = 'hypervisor'"), 1);
	assert_int_equal(counted(site, "operations", "restore,ok"), 0);
	site_do(site, "start", "web");
	site_do(site, "standby", "web");
	site_do(site, "restore", "web");
	assert_int_equal(counted(site, "operations", "restore,ok"), 1);
}

/* --- repairs -------------------------------------------------------------------------------------
 */

static void what_a_killed_verb_left_is_counted_by_that_verb(void **state)
{
	static const struct {
		const char *verb;
		enum vm_state from;
		enum fake_call call;
	} cases[] = {{"start", VM_STATE_STOPPED, FAKE_BOOT},
	             {"pause", VM_STATE_RUNNING, FAKE_PAUSE},
	             {"standby", VM_STATE_RUNNING, FAKE_SAVE},
	             {"restore", VM_STATE_STANDBY, FAKE_LOAD}};
	struct site *site = *state;

	for (size_t i = 0; i < VM_ARRAY_LEN(cases); i++) {
		const char *const words[] = {cases[i].verb, cases[i].verb};

		site_make(site, cases[i].verb, cases[i].from);
		site_kill_in(site, cases[i].call, FAKE_HANG_AFTER, site_run_verb, words);
		site_do(site, "rm", cases[i].verb);
		assert_int_equal(counted(site, "repairs", cases[i].verb), 1);
		assert_int_equal(counted(site, "operations", "repair,ok"), (int64_t)i + 1);
	}
	assert_int_equal(counted(site, "vmm_deaths", ""), 0);
	assert_int_equal(events(site, "verb = 'repair' AND repaired IS NULL"), 0);
	assert_int_equal(events(site, "verb <> 'repair' AND repaired IS NOT NULL"), 0);
}

static void a_half_made_fork_is_repaired_under_its_own_verb(void **state)
{
	static const struct vm_fork_request request = {.source = "web", .count = 2, .name = "f-{}"};
	struct site *site = *state;

	site_make(site, "web", VM_STATE_STANDBY);
	site_kill_in(site, FAKE_LOAD, FAKE_HANG, site_run_fork, &request);
	assert_int_equal(site_fork(site, &request), 0);
	assert_int_equal(counted(site, "repairs", "fork"), 2);
	assert_int_equal(counted(site, "forks", "relative"), 2);
}

static void a_vmm_that_died_is_told_from_a_guest_that_shut_down(void **state)
{
	struct site *site = *state;
	VM_AUTO_CLOSE int dir = -1;
	char id[VM_ID_LEN + 1];

	site_make(site, "web", VM_STATE_RUNNING);
	site_kill_vmm(site, "web");
	site_do(site, "start", "web");
	assert_int_equal(counted(site, "vmm_deaths", ""), 1);
	assert_int_equal(counted(site, "repairs", "vmm_death"), 1);
	assert_int_equal(events(site, "repaired = 'vmm_death' AND message LIKE '%died%'"), 1);
	dir = site_dir(site, "web");
	assert_int_equal(fake_shut_down(&site->root, site_id(site, "web", id), dir), 0);
	site_do(site, "start", "web");
	assert_int_equal(counted(site, "vmm_deaths", ""), 1);
	assert_int_equal(counted(site, "repairs", "guest_shutdown"), 1);
}

static void a_vmm_that_died_within_a_killed_verb_has_died(void **state)
{
	static const char *const words[] = {"pause", "web"};
	struct site *site = *state;

	site_make(site, "web", VM_STATE_RUNNING);
	site_kill_in(site, FAKE_PAUSE, FAKE_HANG, site_run_verb, words);
	site_kill_vmm(site, "web");
	site_do(site, "start", "web");
	assert_int_equal(counted(site, "vmm_deaths", ""), 1);
	assert_int_equal(counted(site, "repairs", "pause"), 0);
}

/* --- a root of an older vmctl
 * ---------------------------------------------------------------------
 */

static void who_only_reads_an_older_root_sees_what_is_in_it(void **state)
{
	static const enum vm_root_mode modes[] = {VM_ROOT_READ, VM_ROOT_CHANGE};
	const int64_t wait = PATIENCE_MS;
	struct site *site = *state;
	char path[128];

	snprintf(path, sizeof(path), "%s/vmctl.db", site->root_path);
	for (size_t i = 0; i < VM_ARRAY_LEN(modes); i++) {
		vm_root_close(&site->root);
		assert_int_equal(unlink(path), 0);
		unlinkat(site->dir.fd, "root/vmctl.db-wal", 0);
		unlinkat(site->dir.fd, "root/vmctl.db-shm", 0);
		make_schema_1(path);
		assert_int_equal(vm_root_open(site->root_path, modes[i], &wait, &site->root, NULL,
		                              &site->err),
		                 0);
		assert_false(site->root.missing);
		assert_true(site_has_row(site, "n7"));
		assert_int_equal(vm_lock_held_mask(),
		                 modes[i] == VM_ROOT_READ ? 0 : 1U << VM_RANK_STORE);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, site_setup, site_teardown)
	const struct CMUnitTest tests[] = {
	        TEST(who_never_got_the_lock_is_told_of),
	        TEST(a_mistake_and_nothing_to_do_leave_no_event),
	        TEST(a_fork_that_was_refused_is_an_event_of_its_source),
	        TEST(forks_that_were_begun_have_an_event_each),
	        TEST(a_fork_without_memory_was_not_relocated),
	        TEST(a_create_that_was_refused_is_an_event_of_its_name),
	        TEST(a_restore_that_fails_after_its_commit_is_one_failure),
	        TEST(what_a_killed_verb_left_is_counted_by_that_verb),
	        TEST(a_half_made_fork_is_repaired_under_its_own_verb),
	        TEST(a_vmm_that_died_is_told_from_a_guest_that_shut_down),
	        TEST(a_vmm_that_died_within_a_killed_verb_has_died),
	        TEST(who_only_reads_an_older_root_sees_what_is_in_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
