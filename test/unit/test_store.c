/* SPDX-License-Identifier: Apache-2.0 */
/* The store as one process sees it: schema, finding, admission, intents, commits, events. */
#include "store_fixture.h"

/* --- opening -------------------------------------------------------------------------------------
 */

static void reopen(struct fixture *f, bool create)
{
	vm_store_close(f->store);
	f->store = NULL;
	assert_works(f, vm_store_open(f->path, create, &f->store, &f->err));
}

static void a_store_keeps_its_id_and_what_is_in_it(void **state)
{
	struct fixture *f = *state;
	char id[VM_ID_LEN + 1];

	memcpy(id, vm_store_root_id(f->store), sizeof(id));
	assert_true(vm_id_valid(id));
	add(f, 'a', "web");
	reopen(f, false);
	assert_string_equal(vm_store_root_id(f->store), id);
	reopen(f, true);
	assert_string_equal(vm_store_root_id(f->store), id);
	assert_int_equal(sql(f, "SELECT count(*) FROM instance"), 1);
	assert_int_equal(sql(f, "SELECT count(*) FROM meta"), 1);
}

static void another_schema_is_refused_and_left_alone(void **state)
{
	struct fixture *f = *state;
	int64_t mine = sql(f, "PRAGMA user_version");

	vm_store_close(f->store);
	f->store = NULL;
	sql(f, "PRAGMA user_version = 99");
	assert_fails(f, vm_store_open(f->path, false, &f->store, &f->err), VM_ERR_INCOMPATIBLE);
	assert_non_null(strstr(f->err.message, "schema 99"));
	assert_fails(f, vm_store_open(f->path, true, &f->store, &f->err), VM_ERR_INCOMPATIBLE);
	assert_int_equal(sql(f, "PRAGMA user_version"), 99);
	sql(f, "PRAGMA user_version = 0");
	assert_fails(f, vm_store_open(f->path, false, &f->store, &f->err), VM_ERR_NOT_FOUND);
	sql(f, "PRAGMA user_version = 1");
	assert_fails(f, vm_store_open(f->path, false, &f->store, &f->err), VM_ERR_NEEDS_REPAIR);
	assert_null(f->store);
	assert_true(mine > 0);
}

static void a_missing_store_is_made_only_when_told(void **state)
{
	struct fixture *f = *state;
	char path[128];

	vm_store_close(f->store);
	f->store = NULL;
	snprintf(path, sizeof(path), "%s/other.db", f->dir.path);
	assert_fails(f, vm_store_open(path, false, &f->store, &f->err), VM_ERR_SYSTEM);
	assert_int_equal(access(path, F_OK), -1);
	assert_works(f, vm_store_open(path, true, &f->store, &f->err));
}

static void what_is_no_database_is_corrupt(void **state)
{
	struct fixture *f = *state;
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/other.db", f->dir.path);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(dprintf(fd, "%4096s", "this is no database") > 0);
	close(fd);
	for (int create = 0; create < 2; create++) {
		struct vm_store *store = NULL;

		assert_fails(f, vm_store_open(path, create, &store, &f->err), VM_ERR_CORRUPT);
		assert_null(store);
	}
}

/* --- finding -------------------------------------------------------------------------------------
 */

static void assert_finds(struct fixture *f, const char *selector, const char *name)
{
	struct vm_instance row = {0};

	assert_works(f, vm_store_find(f->store, selector, &row, &f->err));
	assert_string_equal(row.name, name);
	vm_instance_free(&row);
}

static void assert_does_not_find(struct fixture *f, const char *selector, enum vm_code code)
{
	struct vm_instance row = {0};

	assert_fails(f, vm_store_find(f->store, selector, &row, &f->err), code);
	assert_null(row.spec);
}

static void an_instance_is_found_by_id_name_and_unique_prefix_of_its_id(void **state)
{
	struct fixture *f = *state;
	struct vm_instance making = row_of('m', "making");

	add(f, 'a', "web");
	add(f, 'b', "db");
	add(f, 'z', "last");
	assert_works(f, reserve(f, &making, 1, NULL));
	assert_finds(f, "aaaaaaaaaaaaaaaaaaaaaaaa", "web");
	assert_finds(f, "db", "db");
	assert_finds(f, "a", "web");
	assert_finds(f, "zzz", "last");
	assert_does_not_find(f, "making", VM_ERR_NOT_FOUND);
	assert_does_not_find(f, "m", VM_ERR_NOT_FOUND);
	assert_does_not_find(f, making.id, VM_ERR_NOT_FOUND);
	for (const char *const *odd = (const char *const[]){"", "%", "A", "{", "a{", "web'", "a*",
	                                                    "aaaaaaaaaaaaaaaaaaaaaaaaa", NULL};
	     *odd; odd++)
		assert_does_not_find(f, *odd, VM_ERR_NOT_FOUND);
	assert_does_not_find(f, "wbe", VM_ERR_NOT_FOUND);
	assert_string_equal(f->err.hint, "did you mean 'web'?");
}

static void an_id_goes_before_a_name_and_a_name_before_a_prefix(void **state)
{
	struct fixture *f = *state;

	add(f, 'a', "web");
	add(f, 'c', "aaaaaaaaaaaaaaaaaaaaaaaa"); /* the id of web */
	add(f, 'd', "a");
	assert_finds(f, "aaaaaaaaaaaaaaaaaaaaaaaa", "web");
	assert_finds(f, "a", "a");
	assert_finds(f, "aa", "web");
}

static void an_ambiguous_prefix_lists_the_candidates(void **state)
{
	struct fixture *f = *state;
	struct vm_instance one = row_of('a', "one"), two = row_of('a', "two");
	struct vm_change changes[] = {{.id = one.id, .state = VM_STATE_STOPPED},
	                              {.id = two.id, .state = VM_STATE_STOPPED}};

	two.id[VM_ID_LEN - 1] = 'b';
	assert_works(f, reserve(f, &one, 1, NULL));
	assert_works(f, reserve(f, &two, 1, NULL));
	assert_does_not_find(f, "aaa", VM_ERR_NOT_FOUND); /* still being made */
	assert_works(f, vm_store_commit(f->store, changes, 2, NULL, false, &f->err));
	assert_does_not_find(f, "aaa", VM_ERR_AMBIGUOUS);
	assert_non_null(strstr(f->err.message, one.id));
	assert_non_null(strstr(f->err.message, two.id));
	assert_non_null(strstr(f->err.message, "(one)"));
	assert_finds(f, two.id, "two");
}

static void lists_are_in_order_of_name_and_hold_what_is_asked_for(void **state)
{
	static const size_t expected[] = {[VM_LIST_VISIBLE] = 40,
	                                  [VM_LIST_ALL] = 41,
	                                  [VM_LIST_CREATING] = 1,
	                                  [VM_LIST_OCCUPYING] = 2};
	struct fixture *f = *state;
	struct vm_instance making = row_of('9', "making");

	for (int i = 0; i < 40; i++) {
		struct vm_instance row = row_of('a', "");
		const struct vm_change change = {
		        .id = row.id, .state = i == 7 ? VM_STATE_PAUSED : VM_STATE_STOPPED};

		snprintf(row.name, sizeof(row.name), "n%02d", (i * 7) % 40);
		row.id[0] = (char)('a' + i / 26);
		row.id[1] = (char)('a' + i % 26);
		assert_works(f, reserve(f, &row, 1, NULL));
		assert_works(f, vm_store_commit(f->store, &change, 1, NULL, false, &f->err));
	}
	making.occupies = true;
	assert_works(f, reserve(f, &making, 1, NULL));
	for (int which = VM_LIST_VISIBLE; which <= VM_LIST_OCCUPYING; which++) {
		struct vm_instance *rows = NULL;
		size_t count = 0;

		assert_works(f,
		             vm_store_list(f->store, (enum vm_list)which, &rows, &count, &f->err));
		assert_int_equal(count, expected[which]);
		for (size_t i = 1; i < count; i++)
			assert_true(strcmp(rows[i - 1].name, rows[i].name) < 0);
		vm_instances_free(rows, count);
	}
}

static void a_brief_list_has_the_same_rows_without_their_specs(void **state)
{
	struct fixture *f = *state;
	struct vm_instance making = row_of('9', "making"), *brief = NULL, *full = NULL;
	size_t brief_count = 0, full_count = 0;

	add(f, 'b', "two");
	add(f, 'a', "web");
	add(f, 'c', "one");
	assert_works(f, reserve(f, &making, 1, NULL));
	assert_works(f, vm_store_list(f->store, VM_LIST_VISIBLE, &full, &full_count, &f->err));
	assert_works(f, vm_store_list(f->store, VM_LIST_BRIEF, &brief, &brief_count, &f->err));
	assert_int_equal(full_count, 3);
	assert_int_equal(brief_count, 3);
	for (size_t i = 0; i < full_count; i++) {
		size_t k = 0;

		assert_non_null(full[i].spec);
		while (k < brief_count && strcmp(brief[k].id, full[i].id) != 0)
			k++;
		assert_true(k < brief_count);
		assert_null(brief[k].spec);
		assert_string_equal(brief[k].name, full[i].name);
		assert_int_equal(brief[k].state, full[i].state);
		assert_int_equal(brief[k].memory_bytes, full[i].memory_bytes);
	}
	vm_instances_free(full, full_count);
	vm_instances_free(brief, brief_count);
}

/* --- admission -----------------------------------------------------------------------------------
 */

static void all_are_reserved_or_none(void **state)
{
	struct fixture *f = *state;
	struct vm_instance rows[] = {row_of('b', "one"), row_of('c', "web"), row_of('d', "two")};
	struct vm_conflict conflict = {.row = 99};

	add(f, 'a', "web");
	assert_fails(f, note_and_reserve(f->store, rows, 3, NULL, &conflict, &f->err),
	             VM_ERR_ALREADY_EXISTS);
	assert_int_equal(conflict.row, 1);
	assert_non_null(strstr(f->err.message, "'web'"));
	assert_int_equal(sql(f, "SELECT count(*) FROM instance"), 1);
	assert_int_equal(sql(f, "SELECT count(*) FROM intent"), 0);
	rows[1] = row_of('c', "two"); /* one name twice in one request */
	assert_fails(f, note_and_reserve(f->store, rows, 3, NULL, &conflict, &f->err),
	             VM_ERR_ALREADY_EXISTS);
	assert_int_equal(conflict.row, 2);
	assert_int_equal(sql(f, "SELECT count(*) FROM instance"), 1);
	rows[1] = row_of('c', "three");
	assert_works(f, note_and_reserve(f->store, rows, 3, NULL, &conflict, &f->err));
	assert_int_equal(sql(f, "SELECT count(*) FROM instance WHERE state = 'creating'"), 3);
	assert_int_equal(sql(f, "SELECT count(*) FROM intent WHERE verb = 'create'"), 3);
}

static void each_guest_has_a_cid_of_its_own_or_none(void **state)
{
	struct fixture *f = *state;
	struct vm_instance rows[2];
	struct vm_conflict conflict;

	for (int i = 0; i < 16; i += 2) {
		char name[16];

		for (int k = 0; k < 2; k++) {
			snprintf(name, sizeof(name), "n%d", i + k);
			rows[k] = row_of((char)('a' + i + k), name);
		}
		assert_works(f, vm_store_note_locks(f->store, rows, 2, &f->err));
		assert_works(f, vm_store_reserve(f->store, rows, 2, i < 8, "create", NULL,
		                                 &conflict, &f->err));
		assert_int_equal(rows[0].guest_cid != 0, i < 8);
		assert_int_equal(rows[1].guest_cid != 0, i < 8);
	}
	assert_int_equal(sql(f, "SELECT count(DISTINCT guest_cid) FROM instance"
	                        " WHERE guest_cid BETWEEN 3 AND 0xfffffffe"),
	                 8);
	assert_int_equal(sql(f, "SELECT count(*) FROM instance WHERE guest_cid IS NULL"), 8);
}

static void no_more_run_than_the_limit(void **state)
{
	static const struct vm_limits two = {.max_running = 2};
	struct fixture *f = *state;
	struct vm_instance rows[] = {row_of('a', "a"), row_of('b', "b"), row_of('c', "c")};
	const struct vm_change stopped = {.id = rows[0].id, .state = VM_STATE_STOPPED};

	for (size_t i = 0; i < 3; i++)
		rows[i].occupies = true;
	assert_fails(f, reserve(f, rows, 3, &two), VM_ERR_INSUFFICIENT_RESOURCES);
	assert_int_equal(sql(f, "SELECT count(*) FROM instance"), 0);
	assert_works(f, reserve(f, rows, 2, &two));
	rows[2].occupies = false;
	assert_works(f, reserve(f, &rows[2], 1, &two)); /* it is not going to run */
	assert_fails(f, intend_to_run(f->store, rows[2].id, "start", &two, &f->err),
	             VM_ERR_INSUFFICIENT_RESOURCES);
	assert_non_null(strstr(f->err.message, "2 of at most 2"));
	assert_int_equal(sql(f, "SELECT count(*) FROM intent WHERE verb = 'start'"), 0);
	/* One that has its place already does not need another. */
	assert_works(f, intend_to_run(f->store, rows[0].id, "restore", &two, &f->err));
	/* What is not about to run is not limited. */
	assert_works(f, vm_store_intend(f->store, rows[2].id, "rm", "", NULL, &f->err));
	assert_works(f, vm_store_commit(f->store, &stopped, 1, NULL, false, &f->err));
	assert_works(f, intend_to_run(f->store, rows[2].id, "start", &two, &f->err));
	assert_fails(f, intend_to_run(f->store, rows[0].id, "start", &two, &f->err),
	             VM_ERR_INSUFFICIENT_RESOURCES);
	assert_works(f, vm_store_forget_intent(f->store, rows[2].id, false, NULL, &f->err));
	assert_works(f, intend_to_run(f->store, rows[0].id, "start", &two, &f->err));
	assert_works(f, vm_store_delete(f->store, rows[1].id, NULL, &f->err));
	assert_works(f, intend_to_run(f->store, rows[2].id, "start", &two, &f->err));
}

static void no_more_memory_is_promised_than_the_limit(void **state)
{
	static const struct vm_limits limits = {.max_memory_bytes = 5 << 20};
	struct fixture *f = *state;
	struct vm_instance rows[] = {row_of('a', "a"), row_of('b', "b"), row_of('c', "c")};

	for (size_t i = 0; i < 3; i++) {
		rows[i].occupies = true;
		rows[i].memory_bytes = 2 << 20;
	}
	assert_fails(f, reserve(f, rows, 3, &limits), VM_ERR_INSUFFICIENT_RESOURCES);
	assert_non_null(strstr(f->err.message, "6.0M"));
	assert_works(f, reserve(f, rows, 2, &limits));
	assert_fails(f, reserve(f, &rows[2], 1, &limits), VM_ERR_INSUFFICIENT_RESOURCES);
	rows[2].memory_bytes = 1 << 20;
	assert_works(f, reserve(f, &rows[2], 1, &limits)); /* exactly */
}

/* --- intents and commits -------------------------------------------------------------------------
 */

static void an_intent_stays_until_it_is_committed_forgotten_or_deleted(void **state)
{
	struct fixture *f = *state;
	struct vm_instance row = row_of('a', "web"), now;
	struct vm_change change = {.id = row.id, .state = VM_STATE_STOPPED};

	assert_works(f, reserve(f, &row, 1, NULL));
	now = get(f, "web");
	assert_string_equal(now.intent.verb, "create");
	vm_instance_free(&now);
	assert_works(f, vm_store_intend(f->store, row.id, "standby", "running", NULL, &f->err));
	now = get(f, "web"); /* it replaces the other */
	assert_string_equal(now.intent.verb, "standby");
	assert_string_equal(now.intent.detail, "running");
	assert_int_equal(now.generation, 0);
	vm_instance_free(&now);
	change.next_detail = "goes on";
	assert_works(f, vm_store_commit(f->store, &change, 1, NULL, false, &f->err));
	now = get(f, "web");
	assert_string_equal(now.intent.verb, "standby");
	assert_string_equal(now.intent.detail, "goes on");
	assert_int_equal(now.generation, 1);
	vm_instance_free(&now);
	assert_works(f, vm_store_forget_intent(f->store, row.id, false, NULL, &f->err));
	now = get(f, "web");
	assert_string_equal(now.intent.verb, "");
	assert_int_equal(now.generation, 1);
	vm_instance_free(&now);
	assert_works(f, vm_store_intend(f->store, row.id, "rm", "", NULL, &f->err));
	assert_works(f, vm_store_delete(f->store, row.id, NULL, &f->err));
	assert_int_equal(sql(f, "SELECT count(*) FROM intent"), 0);
	assert_int_equal(vm_store_intend(f->store, row.id, "start", "", NULL, &f->err), -1);
}

static void a_stale_generation_changes_nothing_at_all(void **state)
{
	struct fixture *f = *state;
	struct vm_instance now;
	char a[] = "aaaaaaaaaaaaaaaaaaaaaaaa", b[] = "bbbbbbbbbbbbbbbbbbbbbbbb";
	struct vm_change changes[] = {{.id = a, .generation = 1, .state = VM_STATE_FAILED},
	                              {.id = b, .generation = 0, .state = VM_STATE_FAILED}};
	const struct vm_event events[2] = {{.verb = "stop", .instance_id = a, .name = "a"},
	                                   {.verb = "stop", .instance_id = b, .name = "b"}};

	add(f, 'a', "web");
	add(f, 'b', "db");
	assert_fails(f, vm_store_commit(f->store, changes, 2, events, true, &f->err),
	             VM_ERR_INVALID_STATE);
	assert_non_null(strstr(f->err.message, b));
	now = get(f, "web");
	assert_int_equal(now.state, VM_STATE_STOPPED);
	assert_int_equal(now.generation, 1);
	vm_instance_free(&now);
	assert_int_equal(sql(f, "SELECT count(*) FROM event"), 0);
	changes[1].generation = 1;
	assert_works(f, vm_store_commit(f->store, changes, 2, events, true, &f->err));
	assert_int_equal(sql(f, "SELECT count(*) FROM event"), 2);
	changes[0].id = "cccccccccccccccccccccccc";
	assert_fails(f, vm_store_commit(f->store, changes, 1, NULL, false, &f->err),
	             VM_ERR_INVALID_STATE);
}

static void a_commit_keeps_what_it_does_not_mention(void **state)
{
	struct fixture *f = *state;
	struct vm_instance row = row_of('a', "web"), now;
	struct vm_change change = {.id = row.id,
	                           .state = VM_STATE_RUNNING,
	                           .pid = 4711,
	                           .hypervisor_version = "1.2.3",
	                           .relocation = "relative"};

	assert_works(f, reserve(f, &row, 1, NULL));
	assert_works(f, vm_store_commit(f->store, &change, 1, NULL, false, &f->err));
	now = get(f, "web");
	assert_int_equal(now.pid, 4711);
	assert_true(now.occupies);
	vm_instance_free(&now);
	change = (struct vm_change){.id = row.id,
	                            .generation = 1,
	                            .state = VM_STATE_FAILED,
	                            .failure = "it's \"dead\"; DROP TABLE instance"};
	assert_works(f, vm_store_commit(f->store, &change, 1, NULL, true, &f->err));
	now = get(f, "web");
	assert_string_equal(now.hypervisor_version, "1.2.3");
	assert_string_equal(now.relocation, "relative");
	assert_string_equal(now.failure, change.failure);
	assert_int_equal(now.pid, 0);
	assert_false(now.occupies);
	vm_instance_free(&now);
	change = (struct vm_change){.id = row.id, .generation = 2, .state = VM_STATE_STOPPED};
	assert_works(f, vm_store_commit(f->store, &change, 1, NULL, false, &f->err));
	now = get(f, "web");
	assert_null(now.failure);
	vm_instance_free(&now);
}

static void a_row_owns_its_alias_path_until_it_is_handed_on(void **state)
{
	struct fixture *f = *state;
	struct vm_instance row = row_of('a', "web"), plain = row_of('b', "plain"), now, taken;
	char path[] = "/srv/where/it/was";

	row.alias_path = path;
	assert_works(f, reserve(f, &row, 1, NULL));
	assert_works(f, reserve(f, &plain, 1, NULL));
	now = get(f, "plain");
	assert_null(now.alias_path);
	assert_null(now.failure);
	vm_instance_free(&now);
	now = get(f, "web");
	assert_string_equal(now.alias_path, path);
	taken = vm_instance_take(&now);
	assert_null(now.alias_path);
	assert_null(now.spec);
	assert_string_equal(now.id, row.id);
	vm_instance_free(&now);
	assert_string_equal(taken.alias_path, path);
	assert_non_null(taken.spec);
	vm_instance_free(&taken);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	        TEST(a_store_keeps_its_id_and_what_is_in_it),
	        TEST(another_schema_is_refused_and_left_alone),
	        TEST(a_missing_store_is_made_only_when_told),
	        TEST(what_is_no_database_is_corrupt),
	        TEST(an_instance_is_found_by_id_name_and_unique_prefix_of_its_id),
	        TEST(an_id_goes_before_a_name_and_a_name_before_a_prefix),
	        TEST(an_ambiguous_prefix_lists_the_candidates),
	        TEST(lists_are_in_order_of_name_and_hold_what_is_asked_for),
	        TEST(a_brief_list_has_the_same_rows_without_their_specs),
	        TEST(a_row_owns_its_alias_path_until_it_is_handed_on),
	        TEST(all_are_reserved_or_none),
	        TEST(each_guest_has_a_cid_of_its_own_or_none),
	        TEST(no_more_run_than_the_limit),
	        TEST(no_more_memory_is_promised_than_the_limit),
	        TEST(an_intent_stays_until_it_is_committed_forgotten_or_deleted),
	        TEST(a_stale_generation_changes_nothing_at_all),
	        TEST(a_commit_keeps_what_it_does_not_mention),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
