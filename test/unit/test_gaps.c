/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What changes between a look and a lock: a verb is held up in the gap, the instance is changed
 * under it, and what the verb then does must fit what is there when it has the lock.
 */
#include "site.h"

static const struct vm_fork_request one = {.source = "src", .name = "web", .count = 1};

/* Shared by the test and its children. */
struct gap {
	atomic_int held, go;      /* the holder has the lock; it shall let go */
	atomic_int alone, shared; /* pauses of the source with an exclusive lock, and without */
};

struct holder {
	struct gap *gap;
	char id[VM_ID_LEN + 1];
	enum vm_lock_mode mode;
};

/* For site_spawn: has the lock of an instance, and does nothing with it. */
static int hold(struct site *site, const void *arg)
{
	const struct holder *holder = arg;
	struct vm_instance row = {0};
	const struct vm_lock_how how = {
	        .rank = VM_RANK_SOURCE, .mode = holder->mode, .deadline_ms = VM_WAIT_NONE};
	struct vm_lock lock = VM_LOCK_INIT;

	memcpy(row.id, holder->id, sizeof(row.id));
	if (vm_held_lock(site_op(site, "hold"), &row, &how, &lock, &site->err) < 0)
		return 1;
	atomic_store(&holder->gap->held, 1);
	if (!wait_for(atomic_load(&holder->gap->go)))
		return 2;
	vm_lock_release(&lock);
	return 0;
}

/* Whether somebody sleeps for the lock of the instance. */
static bool is_awaited(struct site *site, const char *id)
{
	struct stat st;

	assert_int_equal(fstatat(site->root.locks_fd, id, &st, 0), 0);
	return count_waiters(st.st_ino) > 0;
}

struct stopped {
	struct gap *gap;
	char id[VM_ID_LEN + 1];
	pid_t holder, verb;
};

/* A verb that sleeps for the lock of `name`, which a holder has. */
static struct stopped stop_in_gap(struct site *site, const char *name, enum vm_lock_mode mode,
                                  int (*run)(struct site *site, const void *arg), const void *arg)
{
	struct stopped stopped = {.gap = shared_memory(sizeof(struct gap))};
	struct holder holder = {.gap = stopped.gap, .mode = mode};

	site_id(site, name, holder.id);
	memcpy(stopped.id, holder.id, sizeof(stopped.id));
	stopped.holder = site_spawn(site, hold, &holder);
	assert_true(wait_for(atomic_load(&stopped.gap->held) || ended(stopped.holder)));
	stopped.verb = site_spawn(site, run, arg);
	site_reopen(site);
	assert_true(wait_for(is_awaited(site, stopped.id) || ended(stopped.verb)));
	assert_false(ended(stopped.verb));
	return stopped;
}

static void let_go_on(struct stopped *stopped, int status)
{
	atomic_store(&stopped->gap->go, 1);
	assert_exits(stopped->holder, 0);
	assert_exits(stopped->verb, status);
	munmap(stopped->gap, sizeof(*stopped->gap));
}

/* --- a sharer that sees a need for repair --------------------------------------------------------
 */

static void leave_intent(struct site *site, const char *verb)
{
	VM_AUTO_FREE char *text =
	        vm_strf(&site->err,
	                "INSERT OR REPLACE INTO intent SELECT id, '%s', 'discard', 2147483647, 0"
	                " FROM instance WHERE name = 'src'",
	                verb);

	assert_non_null(text);
	site_sql(site, text);
}

/* A fork that has shared the lock, has seen what a killed restore left, and wants to come back
 * alone.
 */
static struct stopped stop_before_repair(struct site *site)
{
	site_make(site, "src", VM_STATE_STANDBY);
	leave_intent(site, "restore");
	return stop_in_gap(site, "src", VM_LOCK_SHARED, site_run_fork, &one);
}

static void what_nobody_has_touched_is_repaired(void **state)
{
	struct site *site = *state;
	struct stopped stopped = stop_before_repair(site);

	let_go_on(&stopped, 0);
	assert_int_equal(site_repairs(site), 1);
	site_assert(site, "src", VM_STATE_STANDBY);
	site_assert(site, "web", VM_STATE_RUNNING);
}

static void what_another_has_repaired_is_not_repaired_again(void **state)
{
	struct site *site = *state;
	struct stopped stopped = stop_before_repair(site);

	site_sql(site, "DELETE FROM intent");
	let_go_on(&stopped, 0);
	assert_int_equal(site_repairs(site), 0);
	site_assert(site, "web", VM_STATE_RUNNING);
}

static void what_was_repaired_changed_and_left_again_is_looked_at_from_the_start(void **state)
{
	struct site *site = *state;
	struct stopped stopped = stop_before_repair(site);

	site_sql(site, "UPDATE instance SET generation = generation + 2");
	leave_intent(site, "stop");
	let_go_on(&stopped, 0);
	/* The discard is finished, so the fork is one of disks. */
	assert_int_equal(site_repairs(site), 1);
	site_assert(site, "src", VM_STATE_STOPPED);
	site_assert(site, "web", VM_STATE_STOPPED);
}

static void what_was_removed_is_not_found(void **state)
{
	struct site *site = *state;
	struct stopped stopped = stop_before_repair(site);

	site_sql(site, "DELETE FROM intent");
	site_sql(site, "DELETE FROM instance");
	let_go_on(&stopped, VM_ERR_NOT_FOUND);
	assert_false(site_has_row(site, "web"));
}

/* --- a name that another has by now --------------------------------------------------------------
 */

static void a_name_is_that_of_the_instance_that_has_it_when_the_lock_is_had(void **state)
{
	static const char *const start[] = {"start", "src"};
	struct site *site = *state;
	struct stopped stopped;

	site_make(site, "src", VM_STATE_STOPPED);
	site_make(site, "other", VM_STATE_STOPPED);
	stopped = stop_in_gap(site, "src", VM_LOCK_EXCLUSIVE, site_run_verb, start);
	site_sql(site, "DELETE FROM instance WHERE name = 'src'");
	site_sql(site, "UPDATE instance SET name = 'src' WHERE name = 'other'");
	let_go_on(&stopped, 0);
	site_assert(site, "src", VM_STATE_RUNNING);
	assert_int_equal(site_sql(site, "SELECT count(*) FROM instance"), 1);
}

/* --- a source that begins to run -----------------------------------------------------------------
 */

static struct gap *hooked;

/* The restore of the source waits before it loads; who pauses the source is asked how he has it. */
static void watch_source(enum fake_call call, const struct vm_machine *machine)
{
	struct vm_err ignored = {0};

	if (!machine || strcmp(machine->name, "src") != 0)
		return;
	if (call == FAKE_LOAD) {
		atomic_store(&hooked->held, 1);
		wait_for(atomic_load(&hooked->go));
	}
	if (call == FAKE_PAUSE &&
	    vm_lock_probe(machine->root->locks_fd, machine->id, &ignored) == 1)
		atomic_fetch_add(&hooked->alone, 1);
	else if (call == FAKE_PAUSE)
		atomic_fetch_add(&hooked->shared, 1);
}

static void a_source_that_runs_by_now_is_held_alone(void **state)
{
	static const char *const restore[] = {"restore", "src"};
	static const struct vm_fork_request requests[] = {
	        {.source = "src", .name = "a", .count = 1, .from_running = true},
	        {.source = "src", .name = "b", .count = 1, .from_running = true}};
	struct site *site = *state;
	char id[VM_ID_LEN + 1];
	pid_t restorer, forkers[2];

	hooked = shared_memory(sizeof(*hooked));
	site_make(site, "src", VM_STATE_STANDBY);
	site_id(site, "src", id);
	fake_get()->on_call = watch_source;
	restorer = site_spawn(site, site_run_verb, restore);
	assert_true(wait_for(atomic_load(&hooked->held) || ended(restorer)));
	for (size_t i = 0; i < 2; i++)
		forkers[i] = site_spawn(site, site_run_fork, &requests[i]);
	site_reopen(site);
	/* One waits at the lock, for a shared one, and the other behind it at the gate. */
	assert_true(wait_for(is_awaited(site, id)));
	atomic_store(&hooked->go, 1);
	assert_exits(restorer, 0);
	for (size_t i = 0; i < 2; i++)
		assert_exits(forkers[i], 0);
	fake_forgive();
	assert_int_equal(atomic_load(&hooked->alone), 2);
	assert_int_equal(atomic_load(&hooked->shared), 0);
	site_assert(site, "src", VM_STATE_RUNNING);
	site_assert(site, "a", VM_STATE_RUNNING);
	site_assert(site, "b", VM_STATE_RUNNING);
	munmap(hooked, sizeof(*hooked));
}

/* --- who only looks ------------------------------------------------------------------------------
 */

/* What a reader calls it who has read the row before the verbs, and asks for the VMM after them. */
static void assert_observed(struct site *site, const char *const *verbs, enum vm_state expected)
{
	struct vm_instance row;

	site_make(site, "src", VM_STATE_RUNNING);
	row = site_row(site, "src");
	for (; *verbs; verbs++)
		site_do(site, *verbs, "src");
	assert_int_equal(vm_observe(&site->root, &row, &site->err), 0);
	assert_string_equal(vm_state_name(row.state), vm_state_name(expected));
	assert_null(row.failure);
	vm_instance_free(&row);
	site_do(site, "rm", "src");
}

static void a_vmm_that_was_ended_since_the_row_was_read_is_not_called_dead(void **state)
{
	struct site *site = *state;

	assert_observed(site, (const char *const[]){"standby", NULL}, VM_STATE_STANDBY);
	assert_observed(site, (const char *const[]){"stop", NULL}, VM_STATE_STOPPED);
	assert_observed(site, (const char *const[]){"stop", "start", NULL}, VM_STATE_RUNNING);
	assert_observed(site, (const char *const[]){"pause", "standby", "restore", NULL},
	                VM_STATE_RUNNING);
}

/* Everything of a standby but its commit: what a reader says is what the next verb then finds. */
static void a_standby_is_one_before_it_is_committed(void **state)
{
	struct site *site = *state;
	struct vm_instance row;

	site_make(site, "src", VM_STATE_STANDBY);
	site_sql(site, "UPDATE instance SET state = 'running', occupies = 1, pid = 4711");
	leave_intent(site, "standby");
	row = site_row(site, "src");
	assert_int_equal(vm_observe(&site->root, &row, &site->err), 0);
	assert_string_equal(vm_state_name(row.state), "standby");
	vm_instance_free(&row);
	site_do(site, "standby", "src");
	site_assert(site, "src", VM_STATE_STANDBY);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, site_setup, site_teardown)
	const struct CMUnitTest tests[] = {
	        TEST(what_nobody_has_touched_is_repaired),
	        TEST(what_another_has_repaired_is_not_repaired_again),
	        TEST(what_was_repaired_changed_and_left_again_is_looked_at_from_the_start),
	        TEST(what_was_removed_is_not_found),
	        TEST(a_name_is_that_of_the_instance_that_has_it_when_the_lock_is_had),
	        TEST(a_source_that_runs_by_now_is_held_alone),
	        TEST(a_vmm_that_was_ended_since_the_row_was_read_is_not_called_dead),
	        TEST(a_standby_is_one_before_it_is_committed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
