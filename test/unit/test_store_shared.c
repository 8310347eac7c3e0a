/* SPDX-License-Identifier: Apache-2.0 */
/* The store under several processes, after kills, after damage; its bounded memory. */
#include "store_fixture.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "lock.h"
#include "store_sql.h"

enum { PROCESSES = 8 };

/* Shared by the test and its children. */
struct shared {
	atomic_int ready, begin, done;
};

struct worker {
	struct fixture *f;
	struct shared *shared;
	int number;
	int (*work)(struct worker *worker, struct vm_store *store);
	const struct vm_limits *limits;
};

/* SQLite's connections must not cross fork(): every worker has its own. */
static int run_worker(void *arg)
{
	struct worker *worker = arg;
	struct vm_store *store;
	struct vm_err err = {0};
	int rc;

	if (vm_store_open(worker->f->path, false, &store, &err) < 0)
		return 90;
	atomic_fetch_add(&worker->shared->ready, 1);
	if (!wait_for(atomic_load(&worker->shared->begin)))
		return 91;
	rc = worker->work(worker, store);
	vm_store_close(store);
	return rc;
}

/* Runs the workers at once; returns how many ended with 0, the others with `else_code`. */
static int run_together(struct fixture *f, int (*work)(struct worker *, struct vm_store *),
                        const struct vm_limits *limits, int else_code)
{
	struct shared *shared = shared_memory(sizeof(*shared));
	pid_t pids[PROCESSES];
	int won = 0;

	vm_store_close(f->store);
	f->store = NULL;
	for (int i = 0; i < PROCESSES; i++) {
		struct worker worker = {f, shared, i, work, limits};

		pids[i] = spawn(run_worker, &worker);
	}
	assert_true(wait_for(atomic_load(&shared->ready) == PROCESSES));
	atomic_store(&shared->begin, 1);
	for (int i = 0; i < PROCESSES; i++) {
		int status = reap(pids[i]);

		assert_true(WIFEXITED(status));
		if (WEXITSTATUS(status) == 0)
			won++;
		else
			assert_int_equal(WEXITSTATUS(status), else_code);
	}
	munmap(shared, sizeof(*shared));
	assert_works(f, vm_store_open(f->path, false, &f->store, &f->err));
	return won;
}

/* --- the turn of who writes ---------------------------------------------------------------------
 */

/* Closes the store, which has looked for its turn before there was a place for one. */
static void make_turn_path(struct fixture *f, char *ret, size_t size)
{
	vm_store_close(f->store);
	f->store = NULL;
	snprintf(ret, size, "%s/locks", f->dir.path);
	assert_int_equal(mkdir(ret, 0700), 0);
	snprintf(ret, size, "%s/locks/store.turn", f->dir.path);
}

/* Has the turn until somebody waits for it, and dies with it. */
static int hold_turn(void *arg)
{
	struct worker *worker = arg;
	struct vm_lock_process waiter;
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/locks/store.turn", worker->f->dir.path);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
		return 92;
	atomic_store(&worker->shared->ready, 1);
	return wait_for(vm_lock_waiters(fd, &waiter, 1) == 1) ? 0 : 93;
}

static void who_writes_sleeps_for_the_turn_and_has_it_when_a_holder_dies(void **state)
{
	struct fixture *f = *state;
	struct shared *shared = shared_memory(sizeof(*shared));
	struct worker worker = {.f = f, .shared = shared};
	int64_t began = vm_monotonic_ms();
	char path[128];
	pid_t pid;

	make_turn_path(f, path, sizeof(path));
	pid = spawn(hold_turn, &worker);
	assert_true(wait_for(atomic_load(&shared->ready) == 1));
	assert_works(f, vm_store_open(f->path, false, &f->store, &f->err));
	assert_works(f, vm_store_put_meta(f->store, "turn", "mine", &f->err));
	assert_true(vm_monotonic_ms() - began < VM_STORE_BUSY_MS);
	assert_int_equal(reap(pid), 0);
	munmap(shared, sizeof(*shared));
}

static void the_turn_is_given_back_with_each_transaction(void **state)
{
	struct fixture *f = *state;
	struct vm_instance missing = row_of('f', "missing");
	const struct vm_change change = {.id = missing.id, .state = VM_STATE_STOPPED};
	char path[128];
	int fd;

	make_turn_path(f, path, sizeof(path));
	assert_works(f, vm_store_open(f->path, false, &f->store, &f->err));
	assert_works(f, vm_store_put_meta(f->store, "turn", "mine", &f->err));
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	flock(fd, LOCK_UN);
	/* One that is rolled back, too. */
	assert_fails(f, vm_store_commit(f->store, &change, 1, NULL, false, &f->err),
	             VM_ERR_INVALID_STATE);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	close(fd);
}

static void without_a_turn_all_is_written_as_well(void **state)
{
	struct fixture *f = *state;
	char path[128];

	make_turn_path(f, path, sizeof(path));
	assert_int_equal(mkdir(path, 0700), 0);
	assert_works(f, vm_store_open(f->path, false, &f->store, &f->err));
	assert_works(f, vm_store_put_meta(f->store, "turn", "none", &f->err));
	assert_int_equal(sql(f, "SELECT count(*) FROM meta WHERE value = 'none'"), 1);
}

static void a_holder_that_is_stopped_is_waited_for_once_and_for_a_part_of_the_time(void **state)
{
	struct fixture *f = *state;
	int64_t times[3];
	char path[128];
	int fd;

	make_turn_path(f, path, sizeof(path));
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	assert_works(f, vm_store_open(f->path, false, &f->store, &f->err));
	for (int i = 0; i < 3; i++) {
		times[i] = vm_monotonic_ms();
		assert_works(f, vm_store_put_meta(f->store, "turn", "none", &f->err));
	}
	assert_in_range(times[1] - times[0], 1, VM_STORE_BUSY_MS / 2);
	assert_in_range(times[2] - times[1], 0, (times[1] - times[0]) / 2);
	close(fd);
}

/* --- several processes ---------------------------------------------------------------------------
 */

static int take_web(struct worker *worker, struct vm_store *store)
{
	struct vm_instance row = row_of((char)('a' + worker->number), "web");
	struct vm_err err = {0};
	struct vm_conflict conflict;

	if (note_and_reserve(store, &row, 1, NULL, &conflict, &err) < 0)
		return (int)err.code;
	return 0;
}

static void of_those_who_want_one_name_one_gets_it(void **state)
{
	struct fixture *f = *state;

	for (int round = 0; round < 10; round++) {
		struct vm_instance row;

		assert_int_equal(run_together(f, take_web, NULL, VM_ERR_ALREADY_EXISTS), 1);
		row = get(f, "web");
		assert_works(f, vm_store_delete(f->store, row.id, NULL, &f->err));
		vm_instance_free(&row);
	}
}

static int take_place(struct worker *worker, struct vm_store *store)
{
	struct vm_instance row = row_of((char)('a' + worker->number), "");
	struct vm_err err = {0};
	struct vm_conflict conflict;

	snprintf(row.name, sizeof(row.name), "n%d", worker->number);
	row.occupies = true;
	if (note_and_reserve(store, &row, 1, worker->limits, &conflict, &err) < 0)
		return (int)err.code;
	return 0;
}

static void of_those_who_want_a_place_as_many_get_one_as_there_are(void **state)
{
	static const struct vm_limits by_count = {.max_running = 3};
	static const struct vm_limits by_memory = {.max_memory_bytes = 5 << 20};
	struct fixture *f = *state;

	assert_int_equal(run_together(f, take_place, &by_count, VM_ERR_INSUFFICIENT_RESOURCES), 3);
	sql(f, "DELETE FROM instance");
	assert_int_equal(run_together(f, take_place, &by_memory, VM_ERR_INSUFFICIENT_RESOURCES), 5);
	assert_int_equal(sql(f, "SELECT count(*) FROM instance WHERE occupies"), 5);
}

static int want_to_run(struct worker *worker, struct vm_store *store)
{
	char id[VM_ID_LEN + 1] = "";
	struct vm_err err = {0};

	memset(id, 'a' + worker->number, VM_ID_LEN);
	if (intend_to_run(store, id, "start", worker->limits, &err) < 0)
		return (int)err.code;
	return 0;
}

static void of_those_who_want_to_start_as_many_may_as_there_are_places(void **state)
{
	static const struct vm_limits limits = {.max_running = 2};
	struct fixture *f = *state;

	for (int i = 0; i < PROCESSES; i++) {
		char name[16];

		snprintf(name, sizeof(name), "n%d", i);
		add(f, (char)('a' + i), name);
	}
	assert_int_equal(run_together(f, want_to_run, &limits, VM_ERR_INSUFFICIENT_RESOURCES), 2);
	assert_int_equal(sql(f, "SELECT count(*) FROM intent"), 2);
}

enum { TURNS = 25 };

/* Makes, publishes and half the time removes instances. */
static int make_many(struct worker *worker, struct vm_store *store)
{
	for (int i = 0; i < TURNS; i++) {
		struct vm_instance row = row_of('x', "");
		struct vm_err err = {0};
		const struct vm_change change = {.id = row.id, .state = VM_STATE_STOPPED};
		const struct vm_event event = {
		        .verb = "create", .instance_id = row.id, .name = row.name};
		struct vm_conflict conflict;

		snprintf(row.name, sizeof(row.name), "n%d-%d", worker->number, i);
		if (vm_id_new(row.id, &err) < 0 ||
		    note_and_reserve(store, &row, 1, NULL, &conflict, &err) < 0 ||
		    vm_store_commit(store, &change, 1, &event, false, &err) < 0 ||
		    (i % 2 && vm_store_delete(store, row.id, &event, &err) < 0)) {
			fprintf(stderr, "%s\n", err.message);
			return (int)err.code;
		}
	}
	return 0;
}

static void many_writers_lose_nothing(void **state)
{
	enum { KEPT = PROCESSES * (TURNS / 2 + 1), DELETED = PROCESSES * (TURNS / 2) };
	struct fixture *f = *state;

	assert_int_equal(run_together(f, make_many, NULL, 0), PROCESSES);
	assert_int_equal(sql(f, "SELECT count(*) FROM instance WHERE state = 'stopped'"), KEPT);
	assert_int_equal(sql(f, "SELECT count(DISTINCT guest_cid) FROM instance"), KEPT);
	assert_int_equal(sql(f, "SELECT count(*) FROM event"), KEPT + 2 * DELETED);
	assert_int_equal(sql(f, "SELECT count(*) FROM intent"), 0);
}

/* --- kills ---------------------------------------------------------------------------------------
 */

/* In the middle of a transaction that is too big for memory: some of it is in the log. */
static int stop_in_the_middle(struct worker *worker, struct vm_store *store)
{
	struct vm_err err = {0};

	if (vm_sql_run(store, &err, "PRAGMA cache_size = 10", "") < 0 ||
	    vm_sql_begin(store, &err) < 0)
		return 1;
	for (int i = 0; i < 500; i++) {
		const struct vm_event event = {
		        .verb = "create", .instance_id = "nobody", .name = "half"};

		if (vm_store_add_event(store, &event, &err) < 0)
			return 2;
	}
	if (vm_sql_run(store, &err, "UPDATE instance SET name = 'half', generation = 99", "") < 0)
		return 3;
	atomic_store(&worker->shared->done, 1);
	for (;;)
		pause();
}

static void a_transaction_that_was_killed_has_not_happened(void **state)
{
	struct fixture *f = *state;
	struct shared *shared = shared_memory(sizeof(*shared));
	struct worker worker = {f, shared, 0, stop_in_the_middle, NULL};
	struct vm_instance row;
	pid_t pid;

	add(f, 'a', "web");
	atomic_store(&shared->begin, 1);
	vm_store_close(f->store);
	f->store = NULL;
	pid = spawn(run_worker, &worker);
	assert_true(wait_for(atomic_load(&shared->done)));
	assert_works(f, vm_store_open(f->path, false, &f->store, &f->err));
	row = get(f, "web"); /* readers go on */
	vm_instance_free(&row);
	kill_and_reap(pid);
	assert_int_equal(sql(f, "SELECT count(*) FROM event"), 0);
	assert_int_equal(sql(f, "SELECT generation FROM instance WHERE name = 'web'"), 1);
	add(f, 'b', "db"); /* nobody holds the store */
	assert_int_equal(sql(f, "SELECT count(*) FROM pragma_integrity_check"
	                        " WHERE integrity_check = 'ok'"),
	                 1);
	munmap(shared, sizeof(*shared));
}

/* Changes generation and event together, for ever. */
static int churn(struct worker *worker, struct vm_store *store)
{
	static const char id[] = "aaaaaaaaaaaaaaaaaaaaaaaa";

	for (;;) {
		struct vm_instance row = {0};
		struct vm_err err = {0};
		struct vm_change change = {.id = id, .state = VM_STATE_STOPPED};
		const struct vm_event event = {.verb = "stop", .instance_id = id, .name = "web"};

		if (vm_store_get(store, id, &row, &err) < 0)
			return 1;
		change.generation = row.generation;
		vm_instance_free(&row);
		if (vm_store_commit(store, &change, 1, &event, change.generation % 2, &err) < 0) {
			fprintf(stderr, "%s\n", err.message);
			return 2;
		}
		atomic_fetch_add(&worker->shared->done, 1);
	}
}

static void what_was_committed_survives_kills_at_any_moment(void **state)
{
	struct fixture *f = *state;
	int64_t before = 1;

	add(f, 'a', "web");
	vm_store_close(f->store);
	f->store = NULL;
	for (int round = 0; round < 20; round++) {
		struct shared *shared = shared_memory(sizeof(*shared));
		struct worker worker = {f, shared, 0, churn, NULL};
		int64_t now;
		int done;
		pid_t pid;

		atomic_store(&shared->begin, 1);
		pid = spawn(run_worker, &worker);
		assert_true(wait_for(atomic_load(&shared->done) > round));
		kill_and_reap(pid);
		done = atomic_load(&shared->done);
		now = sql(f, "SELECT generation FROM instance");
		/* One more may have been committed and not yet counted. */
		assert_in_range(now, before + done, before + done + 1);
		assert_int_equal(sql(f, "SELECT count(*) FROM event"), now - 1);
		before = now;
		munmap(shared, sizeof(*shared));
	}
	assert_works(f, vm_store_open(f->path, false, &f->store, &f->err));
	assert_int_equal(sql(f, "SELECT count(*) FROM pragma_integrity_check"
	                        " WHERE integrity_check = 'ok'"),
	                 1);
}

/* --- what is kept, what is damaged ---------------------------------------------------------------
 */

static int version_of(struct fixture *f, struct vm_binary_key key, char ret[24])
{
	ret[0] = '\0';
	return vm_store_binary_version(f->store, &key, ret, 24, &f->err);
}

static void a_binary_is_known_as_long_as_it_is_the_same_file(void **state)
{
	const struct vm_binary_key key = {.path = "/vmm",
	                                  .device = UINT64_MAX,
	                                  .inode = UINT64_MAX - 1,
	                                  .size = 3,
	                                  .mtime_ns = INT64_MIN};
	struct vm_binary_key others[] = {key, key, key, key, key};
	struct fixture *f = *state;
	char version[24];

	assert_int_equal(version_of(f, key, version), 0);
	assert_works(f, vm_store_remember_binary(f->store, &key, "1.12.1", &f->err));
	assert_int_equal(version_of(f, key, version), 1);
	assert_string_equal(version, "1.12.1");
	others[0].path = "/other";
	others[1].device--;
	others[2].inode--;
	others[3].size--;
	others[4].mtime_ns++;
	for (size_t i = 0; i < VM_ARRAY_LEN(others); i++)
		assert_int_equal(version_of(f, others[i], version), 0);
	assert_works(f, vm_store_remember_binary(f->store, &others[4], "1.13.0", &f->err));
	assert_int_equal(version_of(f, key, version), 0);
	assert_int_equal(version_of(f, others[4], version), 1);
	assert_string_equal(version, "1.13.0");
	assert_int_equal(sql(f, "SELECT count(*) FROM binary"), 1);
}

static void a_row_that_makes_no_sense_is_corrupt(void **state)
{
	struct fixture *f = *state;
	struct vm_instance row = {0}, *rows = NULL;
	size_t count = 0;

	add(f, 'a', "web");
	add(f, 'b', "db");
	sql(f, "UPDATE instance SET id = 'BBBBBBBBBBBBBBBBBBBBBBBB' WHERE name = 'db'");
	assert_fails(f, vm_store_find(f->store, "db", &row, &f->err), VM_ERR_CORRUPT);
	assert_non_null(strstr(f->err.message, "'db'"));
	assert_fails(f, vm_store_list(f->store, VM_LIST_ALL, &rows, &count, &f->err),
	             VM_ERR_CORRUPT);
	assert_null(rows);
	assert_works(f, vm_store_find(f->store, "web", &row, &f->err));
	vm_instance_free(&row);
}

static void a_state_is_known_by_its_published_name(void **state)
{
	struct fixture *f = *state;
	enum vm_state parsed = VM_STATE_COUNT;

	for (int i = VM_STATE_STOPPED; i < VM_STATE_COUNT; i++) {
		assert_works(f, vm_state_parse(vm_state_name((enum vm_state)i), &parsed, &f->err));
		assert_int_equal(parsed, i);
	}
	assert_fails(f, vm_state_parse("creating", &parsed, &f->err), VM_ERR_USAGE);
	assert_fails(f, vm_state_parse("runing", &parsed, &f->err), VM_ERR_USAGE);
	assert_string_equal(f->err.hint, "did you mean 'running'?");
	assert_fails(f, vm_state_parse("", &parsed, &f->err), VM_ERR_USAGE);
	assert_int_equal(parsed, VM_STATE_FAILED);
	assert_string_equal(vm_state_name(VM_STATE_COUNT), "unknown");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	        TEST(who_writes_sleeps_for_the_turn_and_has_it_when_a_holder_dies),
	        TEST(the_turn_is_given_back_with_each_transaction),
	        TEST(a_holder_that_is_stopped_is_waited_for_once_and_for_a_part_of_the_time),
	        TEST(without_a_turn_all_is_written_as_well),
	        TEST(of_those_who_want_one_name_one_gets_it),
	        TEST(of_those_who_want_a_place_as_many_get_one_as_there_are),
	        TEST(of_those_who_want_to_start_as_many_may_as_there_are_places),
	        TEST(many_writers_lose_nothing),
	        TEST(a_transaction_that_was_killed_has_not_happened),
	        TEST(what_was_committed_survives_kills_at_any_moment),
	        TEST(a_binary_is_known_as_long_as_it_is_the_same_file),
	        TEST(a_row_that_makes_no_sense_is_corrupt),
	        TEST(a_state_is_known_by_its_published_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
