/* SPDX-License-Identifier: Apache-2.0 */
/* fork beside others: signals, locks, a store that others change; and what 50 forks leave behind.
 */
#include "site.h"
#include "store_sql.h"

static const struct vm_fork_request three = {.source = "src", .name = "f-{}", .count = 3};
static const struct vm_fork_request three_running = {
        .source = "src", .name = "f-{}", .count = 3, .from_running = true};

/* --- signals -------------------------------------------------------------------------------------
 */

/* For site_spawn: 0 when the fork says that it was interrupted, holds no lock and no descriptor. */
static int fork_interrupted(struct site *site, const void *arg)
{
	struct vm_store *store = site->root.store;
	unsigned fds;

	/* Who has written once has the turn's file open. */
	if (vm_sql_begin(store, &site->err) < 0 || vm_sql_end(store, 0, &site->err) < 0)
		return 5;
	fds = count_fds();
	vm_interrupt_install();
	if (site_fork(site, arg) != -1)
		return 1;
	if (!strstr(site->err.message, "interrupted by SIGTERM")) {
		fprintf(stderr, "%s\n", site->err.message);
		return 2;
	}
	if (vm_lock_held_mask() != 1U << VM_RANK_STORE)
		return 3;
	return count_fds() == fds ? 0 : 4;
}

static void assert_interrupt_undoes(struct site *site, const struct vm_fork_request *request,
                                    enum fake_call call, int nth, enum vm_state source)
{
	pid_t pid;

	fake_expect(call, FAKE_SIGTERM, nth, NULL);
	pid = site_spawn(site, fork_interrupted, request);
	assert_exits(pid, 0);
	fake_forgive();
	site_reopen(site);
	site_assert(site, "src", source);
	site_assert_only(site, 1);
	assert_int_equal(site_repairs(site), 0);
}

static void a_signal_undoes_a_fork_of_a_standby(void **state)
{
	struct site *site = *state;

	site_make(site, "src", VM_STATE_STANDBY);
	assert_interrupt_undoes(site, &three, FAKE_MOVE, 1, VM_STATE_STANDBY);
	assert_interrupt_undoes(site, &three, FAKE_MOVE, 3, VM_STATE_STANDBY);
	assert_interrupt_undoes(site, &three, FAKE_LOAD, 1, VM_STATE_STANDBY);
	assert_interrupt_undoes(site, &three, FAKE_LOAD, 3, VM_STATE_STANDBY);
}

static void a_signal_undoes_a_fork_of_a_running_source_which_goes_on(void **state)
{
	struct site *site = *state;

	site_make(site, "src", VM_STATE_RUNNING);
	assert_interrupt_undoes(site, &three_running, FAKE_PAUSE, 1, VM_STATE_RUNNING);
	assert_interrupt_undoes(site, &three_running, FAKE_SAVE, 1, VM_STATE_RUNNING);
	assert_interrupt_undoes(site, &three_running, FAKE_RESUME, 1, VM_STATE_RUNNING);
	assert_interrupt_undoes(site, &three_running, FAKE_MOVE, 2, VM_STATE_RUNNING);
	assert_interrupt_undoes(site, &three_running, FAKE_LOAD, 2, VM_STATE_RUNNING);
}

static void a_signal_ends_a_wait_for_a_vmm_that_does_not_answer(void **state)
{
	struct site *site = *state;
	pid_t pid;

	site_make(site, "src", VM_STATE_RUNNING);
	fake_expect(FAKE_SAVE, FAKE_HANG, 1, NULL);
	pid = site_spawn(site, fork_interrupted, &three_running);
	await_hanging(pid);
	kill(pid, SIGTERM);
	assert_exits(pid, 0);
	fake_forgive();
	site_reopen(site);
	site_assert(site, "src", VM_STATE_RUNNING);
	site_assert_only(site, 1);
}

/* --- a store that others change
 * -------------------------------------------------------------------
 */

/* The call of the driver gets at the site only so. */
static struct site *hooked;

static void forge_generation(enum fake_call call, const struct vm_machine *machine)
{
	if (call == FAKE_LOAD && strcmp(machine->name, "f-2") == 0)
		site_sql(hooked, "UPDATE instance SET generation = 7 WHERE name = 'f-2'");
}

static void a_publication_that_is_refused_leaves_nothing(void **state)
{
	struct site *site = *state;

	site_make(site, "src", VM_STATE_STANDBY);
	hooked = site;
	fake_get()->on_call = forge_generation;
	assert_int_equal(site_fork(site, &three), -1);
	assert_int_equal(site->err.code, VM_ERR_INVALID_STATE);
	fake_forgive();
	site_assert(site, "src", VM_STATE_STANDBY);
	site_assert_only(site, 1);
	assert_int_equal(
	        site_sql(site, "SELECT count(*) FROM event WHERE verb = 'fork' AND outcome = 'ok'"),
	        0);
	assert_int_equal(site_fork(site, &three), 0);
}

/* --- locks ---------------------------------------------------------------------------------------
 */

/* A fork of "src" that hangs in a call of the driver. */
static pid_t hanging_fork(struct site *site, enum fake_call call)
{
	pid_t pid;

	fake_expect(call, FAKE_HANG, 1, NULL);
	pid = site_spawn(site, site_run_fork, &three);
	await_hanging(pid);
	fake_forgive();
	site_reopen(site);
	return pid;
}

/* The same at once, or the error's code; nothing is waited for. */
static enum vm_code fork_now(struct site *site, const char *name)
{
	const struct vm_fork_request request = {.source = "src", .name = name, .count = 1};
	struct vm_fork_result *results = NULL;
	struct vm_op *op = site_op(site, "fork");
	size_t count = 0;

	op->wait_ms = 0;
	if (vm_fork(op, &request, &results, &count, &site->err) < 0)
		return site->err.code;
	vm_fork_results_free(results, count);
	return VM_OK;
}

static enum vm_code restore_now(struct site *site)
{
	struct vm_op *op = site_op(site, "restore");

	op->wait_ms = 0;
	return vm_restore(op, "src", NULL, &site->err) < 0 ? site->err.code : VM_OK;
}

static void forks_prepare_from_one_standby_at_once(void **state)
{
	struct site *site = *state;
	pid_t pid;

	site_make(site, "src", VM_STATE_STANDBY);
	pid = hanging_fork(site, FAKE_MOVE);
	assert_int_equal(fork_now(site, "beside"), VM_OK);
	/* Who changes the source has to wait for them. */
	assert_int_equal(restore_now(site), VM_ERR_BUSY);
	kill_and_reap(pid);
	assert_int_equal(restore_now(site), VM_OK);
}

static void a_driver_that_cannot_share_its_source_gets_it_alone(void **state)
{
	struct site *site = *state;
	pid_t pid;

	site_make(site, "src", VM_STATE_STANDBY);
	fake_caps()->concurrent_fork_prepare = false;
	pid = hanging_fork(site, FAKE_MOVE);
	assert_int_equal(fork_now(site, "beside"), VM_ERR_BUSY);
	assert_non_null(strstr(site->err.message, "instance 'src'"));
	kill_and_reap(pid);
	assert_int_equal(fork_now(site, "beside"), VM_OK);
}

static void the_source_is_free_while_the_forks_are_loaded(void **state)
{
	struct site *site = *state;
	pid_t pid;

	site_make(site, "src", VM_STATE_STANDBY);
	fake_caps()->concurrent_fork_prepare = false;
	pid = hanging_fork(site, FAKE_LOAD);
	assert_int_equal(fork_now(site, "beside"), VM_OK);
	assert_int_equal(restore_now(site), VM_OK);
	kill_and_reap(pid);
	site_assert(site, "beside", VM_STATE_RUNNING);
	site_assert(site, "src", VM_STATE_RUNNING);
}

/* --- many ----------------------------------------------------------------------------------------
 */

static atomic_int loading, most;

static void count_loading(enum fake_call call, const struct vm_machine *machine)
{
	(void)machine;
	if (call != FAKE_LOAD)
		return;
	if (atomic_fetch_add(&loading, 1) + 1 > atomic_load(&most))
		atomic_store(&most, atomic_load(&loading));
	nap_us(1000);
	atomic_fetch_sub(&loading, 1);
}

static void no_more_than_the_restore_slots_load_at_once(void **state)
{
	static const struct vm_fork_request many = {.source = "src", .count = 24};
	struct site *site = *state;

	site_make(site, "src", VM_STATE_STANDBY);
	site->root.config.max_concurrent_restores = 1;
	fake_get()->on_call = count_loading;
	assert_int_equal(site_fork(site, &many), 0);
	fake_forgive();
	assert_int_equal(atomic_load(&most), 1);
	site_assert_only(site, 25);
}

/* One fork that works, one that fails late, one that is refused. */
static void fork_three_ways(struct site *site)
{
	static const struct vm_fork_request stopped = {.source = "src",
	                                               .name = "f-1",
	                                               .count = 1,
	                                               .has_target = true,
	                                               .target = VM_STATE_STOPPED};
	static const struct vm_fork_request unknown = {.source = "nobody", .count = 1};

	fake_expect(FAKE_LOAD, FAKE_LIE, 1, "f-2");
	assert_int_equal(site_fork(site, &three_running), 1);
	fake_forgive();
	assert_int_equal(site_fork(site, &stopped), -1);
	assert_int_equal(site_fork(site, &unknown), -1);
	site_do(site, "rm", "f-1");
	site_do(site, "rm", "f-3");
}

static void fifty_forks_leave_no_descriptor_lock_or_file(void **state)
{
	struct site *site = *state;
	unsigned before;

	site_make(site, "src", VM_STATE_RUNNING);
	fork_three_ways(site); /* what is opened once and kept, is open now */
	before = count_fds();
	for (int i = 0; i < 17; i++) {
		fork_three_ways(site);
		assert_int_equal(count_fds(), before);
	}
	site_assert(site, "src", VM_STATE_RUNNING);
	site_assert_only(site, 1);
	assert_int_equal(vm_lock_held_mask(), 1U << VM_RANK_STORE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, site_setup, site_teardown)
	const struct CMUnitTest tests[] = {
	        TEST(a_signal_undoes_a_fork_of_a_standby),
	        TEST(a_signal_undoes_a_fork_of_a_running_source_which_goes_on),
	        TEST(a_signal_ends_a_wait_for_a_vmm_that_does_not_answer),
	        TEST(a_publication_that_is_refused_leaves_nothing),
	        TEST(forks_prepare_from_one_standby_at_once),
	        TEST(a_driver_that_cannot_share_its_source_gets_it_alone),
	        TEST(the_source_is_free_while_the_forks_are_loaded),
	        TEST(no_more_than_the_restore_slots_load_at_once),
	        TEST(fifty_forks_leave_no_descriptor_lock_or_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
