/* SPDX-License-Identifier: Apache-2.0 */
/* fork from end to end with the fake driver: what is shared, and what goes wrong on the way. */
#include "site.h"

/* Everything that a fork may have changed of its source is as before. */
static void assert_untouched(struct site *site, enum vm_state source, size_t instances)
{
	site_assert(site, "src", source);
	site_assert_only(site, instances);
	assert_int_equal(vm_lock_held_mask(), 1U << VM_RANK_STORE);
}

static struct stat stat_of(struct site *site, const char *name, const char *file)
{
	VM_AUTO_CLOSE int dir = site_dir(site, name);
	struct stat st = {0};

	assert_int_equal(fstatat(dir, file, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st;
}

static void assert_same_file(struct site *site, const char *a, const char *b, const char *file,
                             bool same)
{
	assert_int_equal(stat_of(site, a, file).st_ino == stat_of(site, b, file).st_ino, same);
}

static void assert_shares_with(struct site *site, const char *source, const char *name, bool memory)
{
	assert_same_file(site, source, name, VM_FILE_KERNEL, true);
	assert_same_file(site, source, name, "disk-fixed.img", true);
	assert_same_file(site, source, name, "disk-root.img", false);
	if (!memory)
		return;
	assert_same_file(site, source, name, VM_FILE_MEMORY, true);
	assert_same_file(site, source, name, VM_FILE_STATE, false);
}

static void a_standby_is_forked_to_running_standby_and_stopped(void **state)
{
	static const struct vm_fork_request request = {
	        .source = "src", .name = "run-{}", .count = 2};
	struct vm_fork_request other = {
	        .source = "src", .name = "rest", .count = 1, .has_target = true};
	struct site *site = *state;
	struct vm_instance one, two;

	site_make(site, "src", VM_STATE_STANDBY);
	assert_int_equal(site_fork(site, &request), 0);
	other.target = VM_STATE_STANDBY;
	assert_int_equal(site_fork(site, &other), 0);
	other.name = "off";
	other.target = VM_STATE_STOPPED;
	assert_int_equal(site_fork(site, &other), 0);
	site_assert(site, "run-1", VM_STATE_RUNNING);
	site_assert(site, "run-2", VM_STATE_RUNNING);
	site_assert(site, "rest", VM_STATE_STANDBY);
	site_assert(site, "off", VM_STATE_STOPPED);
	assert_shares_with(site, "src", "run-1", true);
	assert_shares_with(site, "src", "rest", true);
	assert_shares_with(site, "src", "off", false);
	assert_false(site_has(site, "off", VM_FILE_MEMORY));
	one = site_row(site, "run-1");
	two = site_row(site, "run-2");
	assert_int_not_equal(one.guest_cid, two.guest_cid);
	assert_string_equal(one.parent_name, "src");
	assert_string_equal(one.relocation, "relative");
	vm_instance_free(&one);
	vm_instance_free(&two);
	/* The fake driver loads only a state with this guest's own CID. */
	site_do(site, "restore", "rest");
	site_do(site, "start", "off");
	assert_untouched(site, VM_STATE_STANDBY, 5);
}

static void a_running_source_is_saved_once_and_goes_on(void **state)
{
	static const struct vm_fork_request request = {
	        .source = "src", .name = "f-{}", .count = 3, .from_running = true};
	struct site *site = *state;

	site_make(site, "src", VM_STATE_RUNNING);
	assert_int_equal(site_fork(site, &request), 0);
	assert_int_equal(fake_calls(FAKE_PAUSE), 1);
	assert_int_equal(fake_calls(FAKE_SAVE), 1);
	assert_int_equal(fake_calls(FAKE_RESUME), 1);
	for (int i = 1; i <= 3; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f-%d", i);
		site_assert(site, name, VM_STATE_RUNNING);
		assert_shares_with(site, "src", name, false);
		assert_same_file(site, "f-1", name, VM_FILE_MEMORY, true);
		assert_false(site_has(site, name, "vmstate.source"));
	}
	assert_same_file(site, "f-1", "f-2", "disk-root.img", false);
	assert_false(site_has(site, "src", VM_FILE_MEMORY));
	assert_untouched(site, VM_STATE_RUNNING, 4);
}

static void read_memory(struct site *site, const char *name, char *buf, size_t size)
{
	VM_AUTO_CLOSE int dir = site_dir(site, name);
	VM_AUTO_CLOSE int fd = openat(dir, VM_FILE_MEMORY, O_RDONLY | O_CLOEXEC);

	memset(buf, 0, size);
	assert_true(pread(fd, buf, size - 1, 0) > 0);
}

static void memory_of_a_fork_outlives_what_becomes_of_its_source(void **state)
{
	static const struct vm_fork_request request = {.source = "src",
	                                               .name = "rest",
	                                               .count = 1,
	                                               .has_target = true,
	                                               .target = VM_STATE_STANDBY};
	struct site *site = *state;
	char before[64], after[64], source[64];

	site_make(site, "src", VM_STATE_STANDBY);
	assert_int_equal(site_fork(site, &request), 0);
	read_memory(site, "rest", before, sizeof(before));
	site_do(site, "restore", "src");
	site_do(site, "standby", "src");
	read_memory(site, "rest", after, sizeof(after));
	read_memory(site, "src", source, sizeof(source));
	assert_string_equal(before, after);
	assert_string_not_equal(source, after);
	site_do(site, "rm", "src");
	site_do(site, "restore", "rest");
	site_assert(site, "rest", VM_STATE_RUNNING);
	site_assert_only(site, 1);
}

/* --- what fails ----------------------------------------------------------------------------------
 */

static void of_five_forks_of_which_one_fails_four_are_kept(void **state)
{
	static const struct vm_fork_request request = {.source = "src", .name = "f-{}", .count = 5};
	struct site *site = *state;
	struct vm_fork_result *results = NULL;
	size_t count = 0;

	site_make(site, "src", VM_STATE_STANDBY);
	fake_expect(FAKE_LOAD, FAKE_LIE, 1, "f-3");
	assert_int_equal(vm_fork(site_op(site, "fork"), &request, &results, &count, &site->err), 1);
	assert_int_equal(site->err.code, VM_OK);
	assert_int_equal(count, 5);
	for (size_t i = 0; i < count; i++) {
		if (i == 2)
			assert_non_null(results[i].err);
		else
			assert_null(results[i].err);
		if (i != 2)
			site_assert(site, results[i].name, VM_STATE_RUNNING);
	}
	assert_string_equal(results[2].name, "f-3");
	assert_int_equal(results[2].err->code, VM_ERR_HYPERVISOR);
	assert_non_null(strstr(results[2].err->message, "f-3: fake: load: told to lie"));
	vm_fork_results_free(results, count);
	assert_false(site_has_row(site, "f-3"));
	assert_int_equal(site_sql(site, "SELECT count(*) FROM event WHERE verb = 'fork'"
	                                " AND outcome = 'ok'"),
	                 4);
	assert_int_equal(site_sql(site, "SELECT count(*) FROM event WHERE verb = 'fork'"
	                                " AND outcome = 'hypervisor' AND name = 'f-3'"
	                                " AND message LIKE '%told to lie'"),
	                 1);
	assert_untouched(site, VM_STATE_STANDBY, 5);
}

static void of_atomic_forks_of_which_one_fails_none_is_kept(void **state)
{
	static const struct vm_fork_request request = {
	        .source = "src", .name = "f-{}", .count = 5, .atomic = true};
	struct site *site = *state;

	site_make(site, "src", VM_STATE_STANDBY);
	fake_expect(FAKE_LOAD, FAKE_FAIL, 1, "f-3");
	assert_int_equal(site_fork(site, &request), -1);
	assert_int_equal(site->err.code, VM_ERR_HYPERVISOR);
	assert_non_null(strstr(site->err.message, "1 of 5 forks failed, none was kept"));
	assert_untouched(site, VM_STATE_STANDBY, 1);
}

static void forks_that_all_fail_leave_nothing(void **state)
{
	static const struct vm_fork_request request = {.source = "src", .name = "f-{}", .count = 3};
	struct site *site = *state;

	site_make(site, "src", VM_STATE_STANDBY);
	fake_expect(FAKE_LOAD, FAKE_FAIL, 0, NULL);
	assert_int_equal(site_fork(site, &request), -1);
	assert_non_null(strstr(site->err.message, "3 of 3 forks failed, none was kept"));
	assert_untouched(site, VM_STATE_STANDBY, 1);
	fake_forgive();
	assert_int_equal(site_fork(site, &request), 0);
}

/* A running source that is in everything but memory as it was, and a fork that left nothing. */
static void a_source_goes_on_whatever_failed(void **state)
{
	static const struct vm_fork_request request = {
	        .source = "src", .name = "f-{}", .count = 2, .from_running = true};
	static const struct {
		enum fake_call call;
		enum fake_fault fault;
		int nth;
	} faults[] = {{FAKE_PAUSE, FAKE_FAIL, 1}, {FAKE_PAUSE, FAKE_LIE, 1},
	              {FAKE_SAVE, FAKE_FAIL, 1},  {FAKE_SAVE, FAKE_LIE, 1},
	              {FAKE_MOVE, FAKE_FAIL, 1},  {FAKE_MOVE, FAKE_FAIL, 2},
	              {FAKE_LOAD, FAKE_FAIL, 0},  {FAKE_LOAD, FAKE_LIE, 0}};
	struct site *site = *state;

	site_make(site, "src", VM_STATE_RUNNING);
	for (size_t i = 0; i < VM_ARRAY_LEN(faults); i++) {
		fake_expect(faults[i].call, faults[i].fault, faults[i].nth, NULL);
		assert_int_equal(site_fork(site, &request), -1);
		assert_int_equal(site->err.code, VM_ERR_HYPERVISOR);
		assert_non_null(strstr(site->err.message, "told to"));
		assert_untouched(site, VM_STATE_RUNNING, 1);
		fake_forgive();
	}
}

static void a_source_that_cannot_go_on_is_named_and_resumed_by_the_next_verb(void **state)
{
	static const struct vm_fork_request request = {
	        .source = "src", .name = "f-{}", .count = 2, .from_running = true};
	struct site *site = *state;
	struct vm_instance row;

	site_make(site, "src", VM_STATE_RUNNING);
	for (int i = 0; i < 2; i++) {
		fake_expect(FAKE_RESUME, FAKE_FAIL, 0, NULL);
		if (i == 1)
			fake_expect(FAKE_SAVE, FAKE_FAIL, 0, NULL);
		assert_int_equal(site_fork(site, &request), -1);
		/* The first thing that went wrong is the error; the source is in the hint. */
		assert_non_null(strstr(site->err.message, i == 1 ? "save: told" : "resume: told"));
		assert_non_null(strstr(site->err.hint, "the source 'src' is still paused"));
		row = site_row(site, "src");
		assert_string_equal(row.intent.verb, "fork");
		vm_instance_free(&row);
		assert_int_equal(site_guest(site, "src"), VM_GUEST_PAUSED);
		assert_false(site_has_row(site, "f-1"));
		fake_forgive();
		site_do(site, "resume", "src");
		assert_untouched(site, VM_STATE_RUNNING, 1);
	}
}

/* --- refused before anything is touched
 * -----------------------------------------------------------
 */

static void assert_refused(struct site *site, const struct vm_fork_request *request,
                           enum vm_code code)
{
	size_t guests = site_count(site->root.guests_fd, "");
	int pauses = fake_calls(FAKE_PAUSE);

	assert_int_equal(site_fork(site, request), -1);
	if (site->err.code != code)
		fail_msg("%s, not %s: %s", vm_code_name(site->err.code), vm_code_name(code),
		         site->err.message);
	assert_int_equal(fake_calls(FAKE_PAUSE), pauses);
	site_assert_only(site, guests);
}

static void what_cannot_work_is_refused_before_the_source_is_paused(void **state)
{
	static const struct vm_fork_request good = {
	        .source = "src", .name = "f-{}", .count = 2, .from_running = true};
	struct vm_fork_request bad = good;
	struct site *site = *state;

	site_make(site, "src", VM_STATE_RUNNING);
	site_make(site, "f-2", VM_STATE_STOPPED);
	assert_refused(site, &bad, VM_ERR_ALREADY_EXISTS);
	assert_false(site_has_row(site, "f-1"));
	bad.from_running = false;
	assert_refused(site, &bad, VM_ERR_INVALID_STATE);
	bad = good;
	bad.name = "x-{}-{}";
	assert_refused(site, &bad, VM_ERR_USAGE);
	bad.name = "x";
	assert_refused(site, &bad, VM_ERR_USAGE);
	bad.name = "Bad_{}";
	assert_refused(site, &bad, VM_ERR_USAGE);
	bad.name = "x-{}";
	bad.count = 0;
	assert_refused(site, &bad, VM_ERR_USAGE);
	bad.count = VM_FORKS_MAX + 1;
	assert_refused(site, &bad, VM_ERR_USAGE);
	bad.count = 2;
	bad.has_target = true;
	bad.target = VM_STATE_PAUSED;
	assert_refused(site, &bad, VM_ERR_USAGE);
	bad.has_target = false;
	bad.source = "sr";
	assert_refused(site, &bad, VM_ERR_NOT_FOUND);
	bad.source = "src";
	site->root.config.max_running = 2;
	assert_refused(site, &bad, VM_ERR_INSUFFICIENT_RESOURCES);
	site->root.config.max_running = 3;
	assert_int_equal(site_fork(site, &bad), 0);
}

static void a_source_in_the_wrong_state_is_refused(void **state)
{
	struct vm_fork_request request = {.source = "src", .name = "f", .count = 1};
	struct site *site = *state;

	site_make(site, "src", VM_STATE_PAUSED);
	site_make(site, "other", VM_STATE_STOPPED);
	assert_refused(site, &request, VM_ERR_INVALID_STATE);
	site_kill_vmm(site, "src");
	assert_refused(site, &request, VM_ERR_INVALID_STATE); /* failed, by now */
	site_assert(site, "src", VM_STATE_FAILED);
	request.source = "other";
	request.has_target = true;
	request.target = VM_STATE_STANDBY;
	assert_refused(site, &request, VM_ERR_INVALID_STATE);
}

static void a_damaged_source_is_refused(void **state)
{
	static const struct vm_fork_request request = {.source = "src", .name = "f", .count = 1};
	static const char *const files[] = {VM_FILE_MANIFEST, VM_FILE_KERNEL, "disk-root.img",
	                                    VM_FILE_MEMORY, VM_FILE_STATE};
	struct site *site = *state;
	VM_AUTO_CLOSE int dir = -1;

	site_make(site, "src", VM_STATE_STANDBY);
	site_make(site, "other", VM_STATE_STOPPED);
	dir = site_dir(site, "src");
	for (size_t i = 0; i < VM_ARRAY_LEN(files); i++) {
		assert_int_equal(renameat(dir, files[i], dir, "away"), 0);
		assert_refused(site, &request, VM_ERR_CORRUPT);
		assert_int_equal(renameat(dir, "away", dir, files[i]), 0);
	}
	assert_int_equal(site_fork(site, &request), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, site_setup, site_teardown)
	const struct CMUnitTest tests[] = {
	        TEST(a_standby_is_forked_to_running_standby_and_stopped),
	        TEST(a_running_source_is_saved_once_and_goes_on),
	        TEST(memory_of_a_fork_outlives_what_becomes_of_its_source),
	        TEST(of_five_forks_of_which_one_fails_four_are_kept),
	        TEST(of_atomic_forks_of_which_one_fails_none_is_kept),
	        TEST(forks_that_all_fail_leave_nothing),
	        TEST(a_source_goes_on_whatever_failed),
	        TEST(a_source_that_cannot_go_on_is_named_and_resumed_by_the_next_verb),
	        TEST(what_cannot_work_is_refused_before_the_source_is_paused),
	        TEST(a_source_in_the_wrong_state_is_refused),
	        TEST(a_damaged_source_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
