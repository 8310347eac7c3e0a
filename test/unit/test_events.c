/* SPDX-License-Identifier: Apache-2.0 */
/* Events and counters in the store: what is counted, what is kept, what is found again. */
#include "store_fixture.h"

#include "events.h"
#include "schema_1.h"

enum { PROCESSES = 8, COMMITS = 40 };

static int64_t counter(const struct fixture *f, const char *name, const char *label)
{
	char text[256];

	snprintf(text, sizeof(text),
	         "SELECT ifnull((SELECT value FROM counter WHERE name = '%s' AND label = '%s'), 0)",
	         name, label);
	return sql(f, text);
}

/* Each counter, computed from the events; where none were dropped the two are the same. */
static void assert_counters_are_sums_of_events(const struct fixture *f)
{
	static const char from_events[] =
	        "SELECT 'operations' name, verb || ',' || outcome label, count(*) value FROM event"
	        " GROUP BY 2 UNION ALL "
	        "SELECT 'operation_us', verb, sum(duration_us) FROM event GROUP BY 2 UNION ALL "
	        "SELECT 'forks', ifnull(relocation, 'none'), count(*) FROM event"
	        " WHERE verb = 'fork' AND outcome = 'ok' GROUP BY 2 UNION ALL "
	        "SELECT 'alias_fallbacks', '', count(*) FROM event"
	        " WHERE relocation = 'alias' AND outcome = 'ok' HAVING count(*) > 0 UNION ALL "
	        "SELECT 'disk_copies', disks, count(*) FROM event WHERE disks IS NOT NULL"
	        " GROUP BY 2 UNION ALL "
	        "SELECT 'lock_waits', '', count(*) FROM event WHERE lock_waited_us > 0"
	        " HAVING count(*) > 0 UNION ALL "
	        "SELECT 'lock_wait_us', '', sum(lock_waited_us) FROM event"
	        " WHERE lock_waited_us > 0 HAVING count(*) > 0 UNION ALL "
	        "SELECT 'slot_waits', '', count(*) FROM event WHERE slot_waited_us > 0"
	        " HAVING count(*) > 0 UNION ALL "
	        "SELECT 'slot_wait_us', '', sum(slot_waited_us) FROM event"
	        " WHERE slot_waited_us > 0 HAVING count(*) > 0 UNION ALL "
	        "SELECT 'insufficient_resources', '', count(*) FROM event"
	        " WHERE outcome = 'insufficient_resources' HAVING count(*) > 0 UNION ALL "
	        "SELECT 'repairs', repaired, count(*) FROM event WHERE repaired IS NOT NULL"
	        " GROUP BY 2 UNION ALL "
	        "SELECT 'vmm_deaths', '', count(*) FROM event WHERE repaired = 'vmm_death'"
	        " HAVING count(*) > 0";
	char text[4096];

	snprintf(text, sizeof(text),
	         "WITH e AS (%s) SELECT (SELECT count(*) FROM (SELECT * FROM e EXCEPT"
	         " SELECT name, label, value FROM counter)) + (SELECT count(*) FROM"
	         " (SELECT name, label, value FROM counter EXCEPT SELECT * FROM e))",
	         from_events);
	assert_int_equal(sql(f, text), 0);
	assert_true(sql(f, "SELECT count(*) FROM event") == 0 ||
	            sql(f, "SELECT count(*) FROM counter") > 0);
}

static struct vm_event event_of(const char *verb, enum vm_code code)
{
	return (struct vm_event){.verb = verb,
	                         .instance_id = "aaaaaaaaaaaaaaaaaaaaaaaa",
	                         .name = "web",
	                         .code = code,
	                         .duration_us = 1000};
}

static void record(struct fixture *f, struct vm_event event)
{
	assert_works(f, vm_store_record(f->store, &event, &f->err));
}

/* --- counting ------------------------------------------------------------------------------------
 */

static void record_all_sorts(struct fixture *f)
{
	struct vm_event event = event_of("fork", VM_OK);

	event.relocation = "relative";
	event.disks = "reflink";
	record(f, event);
	event.disks = "copy";
	event.lock_waited_us = 5;
	record(f, event);
	event.relocation = "alias";
	event.slot_waited_us = 7;
	record(f, event);
	event.relocation = ""; /* as rows have it */
	event.disks = NULL;
	record(f, event);
	record(f, event_of("fork", VM_ERR_INSUFFICIENT_RESOURCES));
	record(f, event_of("stop", VM_ERR_BUSY));
	event = event_of("repair", VM_OK);
	event.repaired = "standby";
	record(f, event);
	event.repaired = VM_REPAIRED_VMM_DEATH;
	record(f, event);
	event = event_of("restore", VM_OK);
	event.relocation = "alias";
	record(f, event);
}

static void each_event_counts_where_it_should(void **state)
{
	struct fixture *f = *state;

	record_all_sorts(f);
	assert_int_equal(counter(f, "operations", "fork,ok"), 4);
	assert_int_equal(counter(f, "operations", "fork,insufficient_resources"), 1);
	assert_int_equal(counter(f, "operations", "stop,busy"), 1);
	assert_int_equal(counter(f, "operation_us", "fork"), 5000);
	assert_int_equal(counter(f, "forks", "relative"), 2);
	assert_int_equal(counter(f, "forks", "alias"), 1);
	assert_int_equal(counter(f, "forks", "none"), 1);
	assert_int_equal(counter(f, "alias_fallbacks", ""), 2);
	assert_int_equal(counter(f, "disk_copies", "reflink"), 1);
	assert_int_equal(counter(f, "disk_copies", "copy"), 2);
	assert_int_equal(counter(f, "lock_waits", ""), 3);
	assert_int_equal(counter(f, "lock_wait_us", ""), 15);
	assert_int_equal(counter(f, "slot_waits", ""), 2);
	assert_int_equal(counter(f, "slot_wait_us", ""), 14);
	assert_int_equal(counter(f, "insufficient_resources", ""), 1);
	assert_int_equal(counter(f, "repairs", "standby"), 1);
	assert_int_equal(counter(f, "vmm_deaths", ""), 1);
	assert_counters_are_sums_of_events(f);
}

static void counters_are_listed_as_they_are(void **state)
{
	struct fixture *f = *state;
	struct vm_counter *counters = NULL;
	size_t count = 0;

	assert_works(f, vm_counters_list(f->store, &counters, &count, &f->err));
	assert_int_equal(count, 0);
	free(counters);
	record_all_sorts(f);
	assert_works(f, vm_counters_list(f->store, &counters, &count, &f->err));
	assert_int_equal(count, sql(f, "SELECT count(*) FROM counter"));
	assert_string_equal(counters[0].name, "alias_fallbacks");
	for (size_t i = 0; i < count; i++)
		assert_int_equal(counters[i].value,
		                 counter(f, counters[i].name, counters[i].label));
	free(counters);
}

static void what_is_rolled_back_is_not_counted(void **state)
{
	struct fixture *f = *state;
	const struct vm_change stale = {
	        .id = "aaaaaaaaaaaaaaaaaaaaaaaa", .generation = 99, .state = VM_STATE_STOPPED};
	const struct vm_event event = event_of("stop", VM_OK);

	add(f, 'a', "web");
	assert_fails(f, vm_store_commit(f->store, &stale, 1, &event, false, &f->err),
	             VM_ERR_INVALID_STATE);
	assert_int_equal(sql(f, "SELECT count(*) FROM counter"), 0);
	assert_int_equal(sql(f, "SELECT count(*) FROM event"), 0);
	/* And the statements that are kept prepared still work. */
	record(f, event);
	assert_counters_are_sums_of_events(f);
}

/* --- several writers -----------------------------------------------------------------------------
 */

struct writer {
	const char *path;
	int number;
	atomic_int *begin;
};

static int write_many(void *arg)
{
	const struct writer *writer = arg;
	char id[VM_ID_LEN + 1] = "";
	struct vm_store *store;
	struct vm_err err = {0};

	memset(id, 'a' + writer->number, VM_ID_LEN);
	if (vm_store_open(writer->path, false, &store, &err) < 0)
		return 90;
	if (!wait_for(atomic_load(writer->begin)))
		return 91;
	for (int i = 0; i < COMMITS; i++) {
		const struct vm_change change = {
		        .id = id, .generation = i + 1, .state = VM_STATE_STOPPED};
		const struct vm_event event = {.verb = "fork",
		                               .instance_id = id,
		                               .name = "n",
		                               .duration_us = 3,
		                               .lock_waited_us = 2,
		                               .relocation = "relative",
		                               .disks = "copy"};

		if (vm_store_commit(store, &change, 1, &event, false, &err) < 0) {
			fprintf(stderr, "%s\n", err.message);
			return (int)err.code;
		}
	}
	vm_store_close(store);
	return 0;
}

static void many_writers_lose_no_count(void **state)
{
	enum { ALL = PROCESSES * COMMITS };
	struct fixture *f = *state;
	atomic_int *begin = shared_memory(sizeof(*begin));
	pid_t pids[PROCESSES];

	for (int i = 0; i < PROCESSES; i++) {
		char name[16];

		snprintf(name, sizeof(name), "n%d", i);
		add(f, (char)('a' + i), name);
	}
	vm_store_close(f->store);
	f->store = NULL;
	for (int i = 0; i < PROCESSES; i++) {
		struct writer writer = {f->path, i, begin};

		pids[i] = spawn(write_many, &writer);
	}
	atomic_store(begin, 1);
	for (int i = 0; i < PROCESSES; i++)
		assert_exits(pids[i], 0);
	munmap(begin, sizeof(*begin));
	assert_int_equal(counter(f, "operations", "fork,ok"), ALL);
	assert_int_equal(counter(f, "operation_us", "fork"), 3 * ALL);
	assert_int_equal(counter(f, "forks", "relative"), ALL);
	assert_int_equal(counter(f, "disk_copies", "copy"), ALL);
	assert_int_equal(counter(f, "lock_waits", ""), ALL);
	assert_int_equal(counter(f, "lock_wait_us", ""), 2 * ALL);
	assert_int_equal(sql(f, "SELECT count(*) FROM event"), ALL);
	assert_counters_are_sums_of_events(f);
}

static int write_for_ever(void *arg)
{
	const struct writer *writer = arg;
	struct vm_event event = event_of("fork", VM_OK);
	struct vm_store *store;
	struct vm_err err = {0};

	event.relocation = "relative";
	event.slot_waited_us = 9;
	if (vm_store_open(writer->path, false, &store, &err) < 0)
		return 90;
	while (vm_store_record(store, &event, &err) == 0)
		atomic_fetch_add(writer->begin, 1);
	return 1;
}

static void a_kill_at_any_moment_leaves_event_and_counters_in_agreement(void **state)
{
	struct fixture *f = *state;
	atomic_int *done = shared_memory(sizeof(*done));

	vm_store_close(f->store);
	f->store = NULL;
	for (int round = 0; round < 20; round++) {
		struct writer writer = {f->path, 0, done};
		int before = atomic_load(done);
		pid_t pid = spawn(write_for_ever, &writer);

		assert_true(wait_for(atomic_load(done) > before + round));
		kill_and_reap(pid);
		assert_counters_are_sums_of_events(f);
	}
	munmap(done, sizeof(*done));
}

/* --- what is kept --------------------------------------------------------------------------------
 */

static void old_events_go_counters_stay(void **state)
{
	struct fixture *f = *state;

	vm_store_keep_events(f->store, 10);
	for (int i = 1; i <= 25; i++) {
		record(f, event_of("stop", VM_OK));
		assert_int_equal(sql(f, "SELECT count(*) FROM event"), i < 10 ? i : 10);
	}
	assert_int_equal(sql(f, "SELECT min(seq) FROM event"), 16);
	assert_int_equal(counter(f, "operations", "stop,ok"), 25);
	assert_int_equal(counter(f, "operation_us", "stop"), 25000);
}

static void a_smaller_number_is_reached_little_by_little(void **state)
{
	struct fixture *f = *state;

	sql(f, "INSERT INTO event (time_us, verb, instance_id, name, outcome, duration_us,"
	       " lock_waited_us) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
	       " WHERE i < 600) SELECT i, 'stop', 'id', 'web', 'ok', 1, 0 FROM n");
	vm_store_keep_events(f->store, 5);
	record(f, event_of("stop", VM_OK));
	assert_int_equal(sql(f, "SELECT count(*) FROM event"), 601 - 256);
	record(f, event_of("stop", VM_OK));
	record(f, event_of("stop", VM_OK));
	assert_int_equal(sql(f, "SELECT count(*) FROM event"), 5);
	assert_int_equal(sql(f, "SELECT max(seq) FROM event"), 603);
}

/* --- an older store ------------------------------------------------------------------------------
 */

static void events_of_the_first_schema_are_kept_and_counted_from_now_on(void **state)
{
	struct fixture *f = *state;
	char path[128];

	vm_store_close(f->store);
	f->store = NULL;
	snprintf(path, sizeof(path), "%s/old.db", f->dir.path);
	make_schema_1(path);
	memcpy(f->path, path, strlen(path) + 1);
	assert_fails(f, vm_store_open(f->path, false, &f->store, &f->err), VM_ERR_NEEDS_REPAIR);
	assert_works(f, vm_store_open(f->path, true, &f->store, &f->err));
	assert_int_equal(sql(f, "SELECT count(*) FROM event WHERE lock_waited_us = 6"
	                        " AND slot_waited_us = 0 AND disks IS NULL AND repaired IS NULL"),
	                 60);
	assert_int_equal(sql(f, "SELECT count(*) FROM counter"), 0);
	record(f, event_of("start", VM_OK));
	assert_int_equal(sql(f, "SELECT max(seq) FROM event"), 61);
	assert_int_equal(counter(f, "operations", "start,ok"), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	        TEST(each_event_counts_where_it_should),
	        TEST(counters_are_listed_as_they_are),
	        TEST(what_is_rolled_back_is_not_counted),
	        TEST(many_writers_lose_no_count),
	        TEST(a_kill_at_any_moment_leaves_event_and_counters_in_agreement),
	        TEST(old_events_go_counters_stay),
	        TEST(a_smaller_number_is_reached_little_by_little),
	        TEST(events_of_the_first_schema_are_kept_and_counted_from_now_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
