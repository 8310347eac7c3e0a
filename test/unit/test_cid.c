/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest CIDs of instances that are forked, restored and started. The fake driver counts two VMMs
 * with one CID at a time as a violation, whatever the store believes.
 */
#include "site.h"

static const struct vm_fork_request to_running = {
        .source = "src", .name = "run", .count = 1, .has_target = true, .target = VM_STATE_RUNNING};

static int fork_to(struct site *site, const char *name, enum vm_state target)
{
	const struct vm_fork_request request = {.source = "src",
	                                        .name = name,
	                                        .count = 1,
	                                        .has_target = true,
	                                        .target = target,
	                                        .from_running = true};

	return site_fork(site, &request);
}

static uint64_t row_cid(struct site *site, const char *name)
{
	struct vm_instance row = site_row(site, name);

	vm_instance_free(&row);
	return row.guest_cid;
}

/* What the VMM was given is what the row says. */
static uint64_t vmm_cid(struct site *site, const char *name)
{
	VM_AUTO_CLOSE int dir = site_dir(site, name);

	assert_int_equal(fake_cid(dir), row_cid(site, name));
	return fake_cid(dir);
}

/* A standby source whose saved state keeps its CID for ever. */
static uint64_t make_source(struct site *site, enum vm_state state)
{
	fake_caps()->cid_rewrite = false;
	site_make(site, "src", state);
	return row_cid(site, "src");
}

static void assert_in_use(struct site *site, int rc, uint64_t cid, const char *holder)
{
	char text[96];

	assert_int_equal(rc, -1);
	if (site->err.code != VM_ERR_ALREADY_EXISTS)
		fail_msg("%s", site->err.message);
	snprintf(text, sizeof(text), "guest CID %ju is in use by '%s'", (uintmax_t)cid, holder);
	assert_non_null(strstr(site->err.message, text));
	snprintf(text, sizeof(text), "stop '%s' or put it in standby", holder);
	assert_non_null(strstr(site->err.hint, text));
}

/* --- where a CID can be changed ------------------------------------------------------------------
 */

static void forks_get_cids_that_no_row_has(void **state)
{
	static const struct vm_fork_request ten = {
	        .source = "src", .count = 10, .has_target = true, .target = VM_STATE_STANDBY};
	struct site *site = *state;

	site_make(site, "src", VM_STATE_STANDBY);
	site_make(site, "other", VM_STATE_STOPPED);
	assert_int_equal(site_fork(site, &ten), 0);
	assert_int_equal(fork_to(site, "run", VM_STATE_RUNNING), 0);
	assert_int_equal(fork_to(site, "stop", VM_STATE_STOPPED), 0);
	assert_int_equal(site_sql(site, "SELECT count(DISTINCT guest_cid) FROM instance"), 14);
	vmm_cid(site, "run");
}

/* --- where it cannot -----------------------------------------------------------------------------
 */

static void a_fork_with_memory_keeps_the_cid_that_is_in_it(void **state)
{
	static const struct vm_fork_request three = {.source = "src",
	                                             .name = "rest-{}",
	                                             .count = 3,
	                                             .has_target = true,
	                                             .target = VM_STATE_STANDBY};
	struct site *site = *state;
	uint64_t cid = make_source(site, VM_STATE_STANDBY);

	assert_int_equal(site_fork(site, &three), 0);
	for (int i = 1; i <= 3; i++) {
		char name[32];

		snprintf(name, sizeof(name), "rest-%d", i);
		assert_int_equal(row_cid(site, name), cid);
		site_assert(site, name, VM_STATE_STANDBY);
	}
	site_do(site, "restore", "rest-2");
	assert_int_equal(vmm_cid(site, "rest-2"), cid);
}

static void a_fork_without_memory_gets_a_fresh_one(void **state)
{
	struct site *site = *state;
	uint64_t cid = make_source(site, VM_STATE_STANDBY);

	assert_int_equal(fork_to(site, "disks", VM_STATE_STOPPED), 0);
	assert_int_not_equal(row_cid(site, "disks"), cid);
	site_do(site, "discard", "src");
	assert_int_equal(fork_to(site, "booted", VM_STATE_RUNNING), 0);
	assert_int_not_equal(vmm_cid(site, "booted"), cid);
}

static void only_one_of_those_that_have_a_cid_runs(void **state)
{
	struct site *site = *state;
	uint64_t cid = make_source(site, VM_STATE_STANDBY);

	assert_int_equal(fork_to(site, "rest", VM_STATE_STANDBY), 0);
	assert_int_equal(fork_to(site, "run", VM_STATE_RUNNING), 0);
	assert_int_equal(vmm_cid(site, "run"), cid);
	assert_in_use(site, fork_to(site, "more", VM_STATE_RUNNING), cid, "run");
	assert_false(site_has_row(site, "more"));
	assert_in_use(site, site_verb(site, "restore", "src"), cid, "run");
	site_do(site, "pause", "run");
	assert_in_use(site, site_verb(site, "restore", "rest"), cid, "run");
	site_assert(site, "src", VM_STATE_STANDBY);
	site_assert(site, "rest", VM_STATE_STANDBY);
	site_assert_only(site, 3);

	site_do(site, "standby", "run");
	site_do(site, "restore", "src");
	assert_in_use(site, site_verb(site, "restore", "run"), cid, "src");
	site_do(site, "stop", "src");
	site_do(site, "restore", "rest");
	assert_int_equal(vmm_cid(site, "rest"), cid);
}

static void what_cannot_run_is_refused_before_the_source_is_touched(void **state)
{
	static const struct vm_fork_request two = {
	        .source = "src", .name = "f-{}", .count = 2, .from_running = true};
	struct site *site = *state;
	uint64_t cid = make_source(site, VM_STATE_RUNNING);
	int pauses = fake_calls(FAKE_PAUSE);

	assert_in_use(site, fork_to(site, "run", VM_STATE_RUNNING), cid, "src");
	assert_int_equal(site_fork(site, &two), -1);
	assert_int_equal(site->err.code, VM_ERR_UNSUPPORTED);
	assert_non_null(strstr(site->err.message, "fake cannot change the guest CID"));
	assert_int_equal(fake_calls(FAKE_PAUSE), pauses);
	site_assert(site, "src", VM_STATE_RUNNING);

	assert_int_equal(fork_to(site, "rest", VM_STATE_STANDBY), 0);
	assert_int_equal(row_cid(site, "rest"), cid);
	assert_int_equal(fork_to(site, "disks", VM_STATE_STOPPED), 0);
	site_do(site, "standby", "src");
	assert_int_equal(site_fork(site, &two), -1);
	assert_int_equal(site->err.code, VM_ERR_UNSUPPORTED);
	site_assert_only(site, 3);
}

static void guests_without_a_vsock_have_nothing_in_common(void **state)
{
	static const struct vm_fork_request two = {.source = "src", .name = "f-{}", .count = 2};
	struct site *site = *state;

	make_source(site, VM_STATE_STOPPED);
	site_sql(site, "UPDATE instance SET guest_cid = NULL,"
	               " spec = json_set(spec, '$.vsock', json('false'))");
	site_do(site, "start", "src");
	site_do(site, "standby", "src");
	assert_int_equal(site_fork(site, &two), 0);
	site_do(site, "restore", "src");
	assert_int_equal(vmm_cid(site, "f-2"), 0);
}

/* --- starts --------------------------------------------------------------------------------------
 */

static void a_start_takes_a_fresh_cid_when_its_own_is_needed_by_others(void **state)
{
	struct site *site = *state;
	uint64_t cid = make_source(site, VM_STATE_STANDBY);
	uint64_t fresh;

	assert_int_equal(fork_to(site, "web", VM_STATE_STANDBY), 0);
	site_do(site, "discard", "web");
	assert_int_equal(row_cid(site, "web"), cid);
	site_do(site, "start", "web");
	fresh = vmm_cid(site, "web");
	assert_int_not_equal(fresh, cid);
	site_do(site, "restore", "src");
	assert_int_equal(vmm_cid(site, "src"), cid);
	/* And keeps it, once it has one for itself: also in what it saves. */
	site_do(site, "stop", "web");
	site_do(site, "start", "web");
	site_do(site, "standby", "web");
	site_do(site, "restore", "web");
	assert_int_equal(vmm_cid(site, "web"), fresh);
}

static void a_fresh_cid_is_committed_before_the_vmm_is_there(void **state)
{
	static const char *const start[] = {"start", "web"};
	struct site *site = *state;
	uint64_t cid = make_source(site, VM_STATE_STANDBY);
	uint64_t fresh;

	assert_int_equal(fork_to(site, "web", VM_STATE_STANDBY), 0);
	site_do(site, "discard", "web");
	site_kill_in(site, FAKE_BOOT, FAKE_HANG_AFTER, site_run_verb, start);
	fresh = vmm_cid(site, "web");
	assert_int_not_equal(fresh, cid);
	site_do(site, "start", "web");
	assert_int_equal(vmm_cid(site, "web"), fresh);
}

/* --- what the dead have --------------------------------------------------------------------------
 */

static void a_cid_of_a_dead_vmm_is_free(void **state)
{
	struct site *site = *state;

	make_source(site, VM_STATE_STANDBY);
	assert_int_equal(site_fork(site, &to_running), 0);
	site_kill_vmm(site, "run");
	assert_int_equal(fork_to(site, "next", VM_STATE_RUNNING), 0);
	site_assert(site, "run", VM_STATE_FAILED);
	site_kill_vmm(site, "next");
	site_do(site, "restore", "src");
	site_assert(site, "next", VM_STATE_FAILED);
	site_assert(site, "src", VM_STATE_RUNNING);
}

static void a_cid_of_a_dead_maker_is_free(void **state)
{
	struct site *site = *state;

	make_source(site, VM_STATE_STANDBY);
	site_kill_in(site, FAKE_LOAD, FAKE_HANG_AFTER, site_run_fork, &to_running);
	assert_true(site_alive(site, "run"));
	site_do(site, "restore", "src");
	assert_false(site_has_row(site, "run"));
	site_do(site, "standby", "src");

	site_kill_in(site, FAKE_MOVE, FAKE_HANG, site_run_fork, &to_running);
	assert_int_equal(fork_to(site, "other", VM_STATE_RUNNING), 0);
	site_assert_only(site, 2);
}

static void a_cid_of_a_dead_restore_is_free(void **state)
{
	static const char *const restore[] = {"restore", "src"};
	static const enum fake_call calls[] = {FAKE_LOAD, FAKE_RESUME};
	struct site *site = *state;

	make_source(site, VM_STATE_STANDBY);
	assert_int_equal(fork_to(site, "rest", VM_STATE_STANDBY), 0);
	site_kill_in(site, calls[0], FAKE_HANG_AFTER, site_run_verb, restore);
	assert_true(site_alive(site, "src"));
	site_do(site, "restore", "rest");
	site_assert(site, "src", VM_STATE_STANDBY);
	site_do(site, "standby", "rest");

	/* Past its point of no return it has its CID, and is carried through by its next verb. */
	site_kill_in(site, calls[1], FAKE_HANG, site_run_verb, restore);
	assert_in_use(site, site_verb(site, "restore", "rest"), row_cid(site, "src"), "src");
	site_do(site, "standby", "src");
	site_do(site, "restore", "rest");
}

static void a_cid_of_a_living_maker_is_not_taken_away(void **state)
{
	struct site *site = *state;
	uint64_t cid = make_source(site, VM_STATE_STANDBY);
	pid_t pid;

	fake_expect(FAKE_LOAD, FAKE_HANG_AFTER, 1, NULL);
	pid = site_spawn(site, site_run_fork, &to_running);
	await_hanging(pid);
	fake_forgive();
	site_reopen(site);
	assert_in_use(site, fork_to(site, "more", VM_STATE_RUNNING), cid, "run");
	assert_in_use(site, site_verb(site, "restore", "src"), cid, "run");
	assert_true(site_alive(site, "run"));
	assert_int_equal(site_repairs(site), 0);
	kill_and_reap(pid);
	site_do(site, "restore", "src");
}

/* --- many at once --------------------------------------------------------------------------------
 */

enum { RIVALS = 8, TURNS = 12 };

struct rival {
	int number;
	atomic_int *begin;
};

static int restore_once(struct site *site, const void *arg)
{
	const struct rival *rival = arg;
	char name[32];

	snprintf(name, sizeof(name), "rest-%d", rival->number);
	if (!wait_for(atomic_load(rival->begin)))
		return 99;
	return site_verb(site, "restore", name) < 0 ? (int)site->err.code : 0;
}

/* Runs and rests, and makes others that run, again and again; whoever is refused tries again. */
static int take_turns(struct site *site, const void *arg)
{
	const struct rival *rival = arg;
	char name[32], fork[32];

	snprintf(name, sizeof(name), "rest-%d", rival->number);
	snprintf(fork, sizeof(fork), "fork-%d", rival->number);
	if (!wait_for(atomic_load(rival->begin)))
		return 99;
	for (int i = 0; i < TURNS; i++) {
		int rc = i % 2 ? site_verb(site, "restore", name)
		               : fork_to(site, fork, VM_STATE_RUNNING);

		if (rc < 0 && site->err.code != VM_ERR_ALREADY_EXISTS) {
			fprintf(stderr, "%s\n", site->err.message);
			return (int)site->err.code;
		}
		if (rc == 0 && site_verb(site, i % 2 ? "standby" : "rm", i % 2 ? name : fork) < 0) {
			fprintf(stderr, "%s\n", site->err.message);
			return 98;
		}
	}
	return 0;
}

static int run_rivals(struct site *site, int (*run)(struct site *, const void *), int else_code)
{
	static const struct vm_fork_request all = {.source = "src",
	                                           .name = "rest-{}",
	                                           .count = RIVALS,
	                                           .has_target = true,
	                                           .target = VM_STATE_STANDBY};
	struct rival rivals[RIVALS];
	atomic_int *begin = shared_memory(sizeof(*begin));
	pid_t pids[RIVALS];
	int won = 0;

	make_source(site, VM_STATE_STANDBY);
	assert_int_equal(site_fork(site, &all), 0);
	for (int i = 0; i < RIVALS; i++) {
		rivals[i] = (struct rival){i + 1, begin};
		pids[i] = site_spawn(site, run, &rivals[i]);
	}
	atomic_store(begin, 1);
	for (int i = 0; i < RIVALS; i++) {
		int status = reap(pids[i]);

		assert_true(WIFEXITED(status));
		won += WEXITSTATUS(status) == 0;
		if (WEXITSTATUS(status) != 0)
			assert_int_equal(WEXITSTATUS(status), else_code);
	}
	munmap(begin, sizeof(*begin));
	site_reopen(site);
	return won;
}

static void of_many_that_are_restored_at_once_one_runs(void **state)
{
	struct site *site = *state;

	assert_int_equal(run_rivals(site, restore_once, VM_ERR_ALREADY_EXISTS), 1);
	assert_int_equal(site_sql(site, "SELECT count(*) FROM instance WHERE state = 'running'"),
	                 1);
	site_assert_only(site, 1 + RIVALS);
}

/* The violations are looked at when the site is closed. */
static void however_many_run_and_rest_no_two_run_at_a_time(void **state)
{
	struct site *site = *state;

	assert_int_equal(run_rivals(site, take_turns, 0), RIVALS);
	assert_int_equal(site_sql(site, "SELECT count(*) FROM instance WHERE occupies"), 0);
	site_assert_only(site, 1 + RIVALS);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, site_setup, site_teardown)
	const struct CMUnitTest tests[] = {
	        TEST(forks_get_cids_that_no_row_has),
	        TEST(a_fork_with_memory_keeps_the_cid_that_is_in_it),
	        TEST(a_fork_without_memory_gets_a_fresh_one),
	        TEST(only_one_of_those_that_have_a_cid_runs),
	        TEST(what_cannot_run_is_refused_before_the_source_is_touched),
	        TEST(guests_without_a_vsock_have_nothing_in_common),
	        TEST(a_start_takes_a_fresh_cid_when_its_own_is_needed_by_others),
	        TEST(a_fresh_cid_is_committed_before_the_vmm_is_there),
	        TEST(a_cid_of_a_dead_vmm_is_free),
	        TEST(a_cid_of_a_dead_maker_is_free),
	        TEST(a_cid_of_a_dead_restore_is_free),
	        TEST(a_cid_of_a_living_maker_is_not_taken_away),
	        TEST(of_many_that_are_restored_at_once_one_runs),
	        TEST(however_many_run_and_rest_no_two_run_at_a_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
