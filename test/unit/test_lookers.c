/* SPDX-License-Identifier: Apache-2.0 */
/* Those who only look: who holds what, who waits for whom, what a host is slow by, what changes. */
#include "site.h"

#include <sys/file.h>

#include "lock_table.h"
#include "slot.h"
#include "stats.h"
#include "watch.h"

/* --- locks ---------------------------------------------------------------------------------------
 */

struct stay {
	const char *name;
	enum vm_lock_mode mode;
	atomic_int *ready;
};

/* For site_spawn: takes the instance's lock and keeps it until killed. */
static int take_and_stay(struct site *site, const void *arg)
{
	const struct stay *stay = arg;
	const struct vm_lock_how how = {
	        .rank = VM_RANK_SOURCE, .mode = stay->mode, .deadline_ms = VM_WAIT_FOREVER};
	struct vm_instance row = site_row(site, stay->name);
	struct vm_lock lock = VM_LOCK_INIT;

	if (vm_held_lock(site_op(site, "stop"), &row, &how, &lock, &site->err) < 0)
		return 1;
	atomic_fetch_add(stay->ready, 1);
	for (;;)
		pause();
}

static pid_t spawn_stay(struct site *site, enum vm_lock_mode mode, atomic_int *ready)
{
	const struct stay stay = {"web", mode, ready};
	pid_t pid = site_spawn(site, take_and_stay, &stay);

	site_reopen(site);
	return pid;
}

static uintmax_t inode_of_lock(struct site *site, const char *suffix)
{
	char id[VM_ID_LEN + 1], name[VM_ID_LEN + 16];
	struct stat st = {0};

	snprintf(name, sizeof(name), "%s%s", site_id(site, "web", id), suffix);
	assert_int_equal(fstatat(site->root.locks_fd, name, &st, 0), 0);
	return st.st_ino;
}

static const struct vm_lock_claim *claim_of(const struct vm_lock_claim *claims, size_t count,
                                            pid_t pid)
{
	for (size_t i = 0; i < count; i++) {
		if (claims[i].process.pid == pid)
			return &claims[i];
	}
	fail_msg("nothing is told of process %d", (int)pid);
	return NULL;
}

static void assert_claim(const struct vm_lock_claim *claim, bool waits, bool at_gate,
                         enum vm_lock_mode mode)
{
	assert_string_equal(claim->instance_name, "web");
	assert_int_equal(claim->waits, waits);
	assert_int_equal(claim->at_gate, at_gate);
	if (!at_gate)
		assert_int_equal(claim->process.mode, mode);
	assert_non_null(strstr(claim->process.verb, "test_lookers"));
	assert_true(claim->process.age_s >= 0);
}

static void who_holds_a_lock_and_who_waits_for_it_is_told(void **state)
{
	struct site *site = *state;
	atomic_int *ready = shared_memory(sizeof(*ready));
	struct vm_lock_claim *claims = NULL;
	size_t count = 0;
	pid_t holders[2], waiter, queuer;

	site_make(site, "web", VM_STATE_STOPPED);
	site_make(site, "idle", VM_STATE_STOPPED);
	for (int i = 0; i < 2; i++)
		holders[i] = spawn_stay(site, VM_LOCK_SHARED, ready);
	assert_true(wait_for(atomic_load(ready) == 2));
	waiter = spawn_stay(site, VM_LOCK_EXCLUSIVE, ready);
	assert_true(wait_for(count_waiters(inode_of_lock(site, "")) == 1));
	queuer = spawn_stay(site, VM_LOCK_SHARED, ready);
	assert_true(wait_for(count_waiters(inode_of_lock(site, ".gate")) == 1));
	assert_int_equal(vm_lock_table(&site->root, &claims, &count, &site->err), 0);
	assert_int_equal(count, 4);
	for (int i = 0; i < 2; i++)
		assert_claim(claim_of(claims, count, holders[i]), false, false, VM_LOCK_SHARED);
	assert_claim(claim_of(claims, count, waiter), true, false, VM_LOCK_EXCLUSIVE);
	assert_claim(claim_of(claims, count, queuer), true, true, VM_LOCK_SHARED);
	/* Holders come before those who wait for them. */
	assert_false(claims[0].waits || claims[1].waits);
	free(claims);
	kill_and_reap(queuer);
	kill_and_reap(waiter);
	for (int i = 0; i < 2; i++)
		kill_and_reap(holders[i]);
	assert_int_equal(vm_lock_table(&site->root, &claims, &count, &site->err), 0);
	assert_int_equal(count, 0);
	free(claims);
	munmap(ready, sizeof(*ready));
}

static int await_store(void *arg)
{
	const struct site *site = arg;
	char path[160];
	int fd;

	snprintf(path, sizeof(path), "%s/locks/store", site->root_path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	return fd < 0 || flock(fd, LOCK_EX) < 0;
}

static void the_stores_lock_is_told_only_when_it_keeps_somebody_waiting(void **state)
{
	struct site *site = *state;
	struct vm_lock_claim *claims = NULL;
	struct stat st;
	size_t count = 9;
	pid_t pid;

	assert_int_equal(vm_lock_table(&site->root, &claims, &count, &site->err), 0);
	assert_int_equal(count, 0); /* though we share it */
	free(claims);
	assert_int_equal(fstatat(site->root.locks_fd, "store", &st, 0), 0);
	vm_root_close(&site->root);
	pid = spawn(await_store, site);
	assert_exits(pid, 0); /* nobody else had it */
	site_reopen(site);
	/* SQLite's connection must not cross fork(): this child leaves by _exit() and uses none. */
	pid = spawn(await_store, site);
	assert_true(wait_for(count_waiters(st.st_ino) == 1));
	assert_int_equal(vm_lock_table(&site->root, &claims, &count, &site->err), 0);
	assert_int_equal(count, 2);
	assert_string_equal(claims[0].instance_id, "");
	assert_int_equal(claims[0].process.pid, getpid());
	assert_int_equal(claims[0].process.mode, VM_LOCK_SHARED);
	assert_true(claims[1].waits);
	assert_int_equal(claims[1].process.pid, pid);
	free(claims);
	kill_and_reap(pid);
}

/* --- slots ---------------------------------------------------------------------------------------
 */

static struct vm_slot_pool pool_of(struct site *site)
{
	struct vm_slot_pool pool = vm_op_slots(site_op(site, "restore"), vm_drivers[0]);

	pool.count = 3;
	return pool;
}

/* For site_spawn: takes a slot and keeps it until killed. */
static int hold_slot(struct site *site, const void *arg)
{
	const struct stay *stay = arg;
	struct vm_slot_pool pool = pool_of(site);
	struct vm_slot slot = VM_SLOT_INIT;

	if (vm_slot_acquire(&pool, patience(), &slot, NULL, &site->err) < 0)
		return 1;
	atomic_fetch_add(stay->ready, 1);
	for (;;)
		pause();
}

static void who_holds_a_slot_and_since_when_is_told(void **state)
{
	struct site *site = *state;
	atomic_int *ready = shared_memory(sizeof(*ready));
	const struct stay stay = {.ready = ready};
	/* The clock of a filesystem is up to a tick behind. */
	int64_t before = vm_realtime_us() - 1000000;
	struct vm_slot_holder *holders = NULL;
	struct vm_slot_status status;
	struct vm_slot_pool pool;
	size_t count = 9;
	pid_t pids[2];

	pool = pool_of(site);
	assert_int_equal(vm_slot_holders(&pool, &status, &holders, &count, &site->err), 0);
	assert_int_equal(count, 0);
	assert_int_equal(status.tokens, -1);
	free(holders);
	for (int i = 0; i < 2; i++) {
		pids[i] = site_spawn(site, hold_slot, &stay);
		site_reopen(site);
	}
	assert_true(wait_for(atomic_load(ready) == 2));
	pool = pool_of(site);
	assert_int_equal(vm_slot_holders(&pool, &status, &holders, &count, &site->err), 0);
	assert_int_equal(status.held, 2);
	assert_in_range(status.tokens, 1, 2); /* one too many, if they came at the same time */
	assert_int_equal(count, 2);
	assert_true(holders[0].index < holders[1].index);
	for (int i = 0; i < 2; i++) {
		assert_true(holders[i].process.pid == pids[0] || holders[i].process.pid == pids[1]);
		assert_in_range(holders[i].since_us, before, vm_realtime_us());
	}
	assert_int_not_equal(holders[0].process.pid, holders[1].process.pid);
	free(holders);
	for (int i = 0; i < 2; i++)
		kill_and_reap(pids[i]);
	assert_int_equal(vm_slot_holders(&pool, &status, &holders, &count, &site->err), 0);
	assert_int_equal(status.held, 0);
	assert_int_equal(count, 0);
	free(holders);
	munmap(ready, sizeof(*ready));
}

/* --- the slow path -------------------------------------------------------------------------------
 */

static void each_reason_is_one_by_itself(void **state)
{
	static const struct {
		struct vm_window window;
		unsigned found_dead;
		unsigned reasons;
	} cases[] = {
	        {{.duration_us = 1000, .lock_waited_us = 100, .lock_waits = 9}, 0, 0},
	        {{.duration_us = 1000, .lock_waited_us = 101}, 0, 1U << VM_SLOW_LOCK_WAITS},
	        {{.duration_us = 9, .lock_waited_us = 1}, 0, 1U << VM_SLOW_LOCK_WAITS},
	        {{.duration_us = INT64_MAX, .lock_waited_us = INT64_MAX / 11}, 0, 0},
	        {{.alias_relocations = 1}, 0, 1U << VM_SLOW_ALIAS},
	        {{.disks_copied = 1}, 0, 1U << VM_SLOW_DISKS_COPIED},
	        {{.slot_waits = 1}, 0, 1U << VM_SLOW_SLOT_WAITS},
	        {{.insufficient_resources = 1}, 0, 1U << VM_SLOW_INSUFFICIENT},
	        {{.vmm_deaths = 1}, 0, 1U << VM_SLOW_VMM_DEATHS},
	        {{.operations = 5}, 1, 1U << VM_SLOW_VMM_DEATHS},
	        {{.slot_waits = 1, .disks_copied = 2},
	         0,
	         1U << VM_SLOW_SLOT_WAITS | 1U << VM_SLOW_DISKS_COPIED},
	};

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(cases); i++)
		assert_int_equal(vm_slow_reasons(&cases[i].window, cases[i].found_dead),
		                 cases[i].reasons);
}

static void stats_see_what_is_and_not_what_was_committed(void **state)
{
	struct site *site = *state;
	struct vm_stats stats;

	site_make(site, "dead", VM_STATE_RUNNING);
	site_make(site, "web", VM_STATE_RUNNING);
	site_kill_vmm(site, "dead");
	assert_int_equal(vm_stats(site_op(site, "stats"), 0, &stats, &site->err), 0);
	assert_int_equal(stats.instances[VM_STATE_RUNNING], 1);
	assert_int_equal(stats.instances[VM_STATE_FAILED], 1);
	assert_int_equal(stats.found_dead, 1);
	assert_int_equal(stats.slow & 1U << VM_SLOW_VMM_DEATHS, 1U << VM_SLOW_VMM_DEATHS);
	assert_int_equal(stats.window.vmm_deaths, 0);
	for (size_t i = 1; i < stats.counter_count; i++)
		assert_true(strcmp(stats.counters[i - 1].name, stats.counters[i].name) < 0 ||
		            strcmp(stats.counters[i - 1].label, stats.counters[i].label) < 0);
	vm_stats_free(&stats);
	site_do(site, "start", "dead");
	assert_int_equal(vm_stats(site_op(site, "stats"), 0, &stats, &site->err), 0);
	assert_int_equal(stats.found_dead, 0);
	assert_int_equal(stats.window.vmm_deaths, 1);
	vm_stats_free(&stats);
}

/* --- the watch -----------------------------------------------------------------------------------
 */

enum { COMMITS = 200 };

/* For site_spawn: records event after event, each only when the last was seen. */
static int record_in_turns(struct site *site, const void *arg)
{
	const struct stay *stay = arg;

	for (int i = 0; i < COMMITS; i++) {
		const struct vm_event event = {.verb = "stop", .instance_id = "", .name = ""};

		if (!wait_for(atomic_load(stay->ready) == i))
			return 1;
		if (vm_store_record(site->root.store, &event, &site->err) < 0)
			return 2;
	}
	return 0;
}

static void each_commit_ends_a_sleep(void **state)
{
	struct site *site = *state;
	atomic_int *seen = shared_memory(sizeof(*seen));
	const struct stay stay = {.ready = seen};
	struct vm_watch watch = VM_WATCH_INIT;
	const struct vm_event_filter all = {.last = -1};
	pid_t pid = site_spawn(site, record_in_turns, &stay);
	int sleeps = 0;

	site_reopen(site);
	assert_int_equal(vm_watch_open(&site->root, &watch, &site->err), 0);
	while (atomic_load(seen) < COMMITS && sleeps < 100 * COMMITS) {
		struct vm_past_event *events = NULL;
		size_t count = 0;

		assert_int_equal(
		        vm_events_list(site->root.store, &all, &events, &count, NULL, &site->err),
		        0);
		vm_past_events_free(events, count);
		atomic_store(seen, (int)count);
		sleeps++;
		if (count < COMMITS)
			assert_int_equal(vm_watch_sleep(&watch, NULL, 0, -1, &site->err), 0);
	}
	assert_int_equal(atomic_load(seen), COMMITS);
	assert_exits(pid, 0);
	vm_watch_close(&watch);
	munmap(seen, sizeof(*seen));
}

static void a_watch_tells_what_else_is_ready_and_keeps_its_deadline(void **state)
{
	struct site *site = *state;
	struct vm_watch watch = VM_WATCH_INIT;
	struct pollfd end;
	int64_t deadline;
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(vm_watch_open(&site->root, &watch, &site->err), 0);
	end = (struct pollfd){.fd = ends[1]};
	deadline = vm_monotonic_ms() + 20;
	while (vm_monotonic_ms() < deadline) {
		assert_int_equal(vm_watch_sleep(&watch, &end, 1, deadline, &site->err), 0);
		assert_int_equal(end.revents, 0);
	}
	close(ends[0]); /* the reader goes */
	assert_int_equal(vm_watch_sleep(&watch, &end, 1, -1, &site->err), 0);
	assert_true(end.revents & POLLERR);
	close(ends[1]);
	vm_watch_close(&watch);
	site->root.missing = true;
	assert_int_equal(vm_watch_open(&site->root, &watch, &site->err), -1);
	assert_int_equal(site->err.code, VM_ERR_NOT_FOUND);
	site->root.missing = false;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, site_setup, site_teardown)
	const struct CMUnitTest tests[] = {
	        TEST(who_holds_a_lock_and_who_waits_for_it_is_told),
	        TEST(the_stores_lock_is_told_only_when_it_keeps_somebody_waiting),
	        TEST(who_holds_a_slot_and_since_when_is_told),
	        TEST(each_reason_is_one_by_itself),
	        TEST(stats_see_what_is_and_not_what_was_committed),
	        TEST(each_commit_ends_a_sleep),
	        TEST(a_watch_tells_what_else_is_ready_and_keeps_its_deadline),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
