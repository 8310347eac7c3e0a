/* SPDX-License-Identifier: Apache-2.0 */
/* A store of an older vmctl is brought up to date with all that is in it. */
#include "store_fixture.h"

#include "schema_1.h"

/* The tables of schema 1; what is in a later one alone is not compared. */
static const char *const tables[] = {"meta", "instance", "intent", "lock_file", "event", "binary"};

/* One text from another connection; to be freed. */
static char *text_of(const struct fixture *f, const char *query)
{
	sqlite3_stmt *stmt = NULL;
	sqlite3 *db = NULL;
	char *text = NULL;

	assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
	sqlite3_busy_timeout(db, PATIENCE_MS);
	if (sqlite3_prepare_v2(db, query, -1, &stmt, NULL) != SQLITE_OK)
		fail_msg("%s: %s", query, sqlite3_errmsg(db));
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	if (sqlite3_column_text(stmt, 0))
		text = strdup((const char *)sqlite3_column_text(stmt, 0));
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	return text;
}

/* All rows of a table, each with the columns that schema 1 has, in order of their first. */
static char *rows_of(const struct fixture *f, const char *table, const char *columns)
{
	char query[2048];

	snprintf(query, sizeof(query),
	         "SELECT group_concat(row, char(10)) FROM (SELECT %s AS row FROM %s ORDER BY 1)",
	         columns, table);
	return text_of(f, query);
}

/*
 * "quote(a) || ',' || quote(b)": of the columns a table has now. Without the one that schema 3
 * gives another name; test_events.c looks at that.
 */
static char *columns_of(const struct fixture *f, const char *table)
{
	char query[256];

	snprintf(query, sizeof(query),
	         "SELECT group_concat('quote(' || name || ')', ' || '','' || ')"
	         " FROM pragma_table_info('%s') WHERE name <> 'waited_us'",
	         table);
	return text_of(f, query);
}

static void replace_by_schema_1(struct fixture *f)
{
	vm_store_close(f->store);
	f->store = NULL;
	unlinkat(f->dir.fd, "vmctl.db", 0);
	unlinkat(f->dir.fd, "vmctl.db-wal", 0);
	unlinkat(f->dir.fd, "vmctl.db-shm", 0);
	make_schema_1(f->path);
}

static void migrate(struct fixture *f)
{
	assert_works(f, vm_store_open(f->path, true, &f->store, &f->err));
}

static void a_migration_keeps_every_row_of_every_table(void **state)
{
	struct fixture *f = *state;
	char *columns[VM_ARRAY_LEN(tables)], *before[VM_ARRAY_LEN(tables)];

	replace_by_schema_1(f);
	for (size_t i = 0; i < VM_ARRAY_LEN(tables); i++) {
		columns[i] = columns_of(f, tables[i]);
		before[i] = rows_of(f, tables[i], columns[i]);
		assert_non_null(before[i]);
	}
	migrate(f);
	for (size_t i = 0; i < VM_ARRAY_LEN(tables); i++) {
		VM_AUTO_FREE char *after = rows_of(f, tables[i], columns[i]);

		assert_non_null(after);
		assert_string_equal(after, before[i]);
		free(columns[i]);
		free(before[i]);
	}
	assert_string_equal(vm_store_root_id(f->store), "rrrrrrrrrrrrrrrrrrrrrrrr");
	assert_int_equal(sql(f, "SELECT count(*) FROM instance"), 60);
	assert_int_equal(sql(f, "SELECT count(*) FROM intent"), 20);
	assert_int_equal(sql(f, "SELECT count(*) FROM pragma_integrity_check"
	                        " WHERE integrity_check = 'ok'"),
	                 1);
}

static void a_migration_keeps_indexes_and_what_binds_intents_to_rows(void **state)
{
	static const char *const indexes[] = {"instance_occupies", "instance_creating",
	                                      "instance_parent", "instance_cid",
	                                      "instance_cid_in_use"};
	struct fixture *f = *state;
	char query[128];

	replace_by_schema_1(f);
	migrate(f);
	for (size_t i = 0; i < VM_ARRAY_LEN(indexes); i++) {
		snprintf(query, sizeof(query),
		         "SELECT count(*) FROM pragma_index_list('instance') WHERE name = '%s'",
		         indexes[i]);
		assert_int_equal(sql(f, query), 1);
	}
	assert_int_equal(sql(f, "SELECT count(*) FROM pragma_foreign_key_check"), 0);
	assert_int_equal(sql(f, "SELECT count(*) FROM pragma_foreign_key_list('intent')"
	                        " WHERE \"table\" = 'instance' AND on_delete = 'CASCADE'"),
	                 1);
	/* In force too, and not only written down. */
	assert_works(f, vm_store_delete(f->store, "000000000000000000000000", NULL, &f->err));
	assert_int_equal(sql(f, "SELECT count(*) FROM intent"), 19);
	assert_fails(
	        f,
	        vm_store_intend(f->store, "000000000000000000000000", "start", "", NULL, &f->err),
	        VM_ERR_SYSTEM);
}

static void a_migrated_store_is_like_a_new_one(void **state)
{
	static const char query[] =
	        "SELECT group_concat(type || name || tbl_name || ifnull(sql, ''))"
	        " FROM (SELECT * FROM sqlite_master ORDER BY name)";
	struct fixture *f = *state;
	char *fresh = text_of(f, query), *migrated;
	bool alike;
	int64_t version = sql(f, "PRAGMA user_version");

	replace_by_schema_1(f);
	migrate(f);
	migrated = text_of(f, query);
	alike = fresh && migrated && strcmp(migrated, fresh) == 0;
	free(fresh);
	free(migrated);
	assert_true(alike);
	assert_int_equal(sql(f, "PRAGMA user_version"), version);
}

static void run_sql(const struct fixture *f, const char *text)
{
	sqlite3 *db = NULL;

	assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
	sqlite3_busy_timeout(db, PATIENCE_MS);
	if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK)
		fail_msg("%s: %s", text, sqlite3_errmsg(db));
	sqlite3_close(db);
}

/* Back to schema 4, where an image had its labels as JSON in a column, and instances had none. */
static void replace_by_schema_4(struct fixture *f, const char *then)
{
	replace_by_schema_1(f);
	migrate(f);
	vm_store_close(f->store);
	f->store = NULL;
	run_sql(f, "DROP TABLE label; ALTER TABLE image ADD COLUMN labels TEXT;"
	           "PRAGMA user_version = 4");
	run_sql(f, then);
}

/* A step that fails would fail for ever, and with it every verb. */
static void labels_that_are_no_object_of_strings_do_not_stop_a_migration(void **state)
{
	static const char *const texts[] = {
	        "NULL",
	        "''",
	        "'\"text\"'",
	        "'[\"a\",\"b\"]'",
	        "'7'",
	        "'null'",
	        "'{\"a\":'",
	        "x'ff00'",
	        "7",
	        "'{\"\":\"x\"}'",
	        "'{\"a\":[1],\"b\":{\"c\":\"d\"}}'",
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < VM_ARRAY_LEN(texts); i++) {
		char query[512];

		snprintf(query, sizeof(query),
		         "UPDATE instance SET kind = 'image' WHERE name IN ('n1', 'n2');"
		         "INSERT INTO image (instance_id, labels) SELECT id,"
		         " CASE name WHEN 'n1' THEN %s ELSE '{\"a\":\"1\",\"a\":\"2\"}' END"
		         " FROM instance WHERE kind = 'image'",
		         texts[i]);
		replace_by_schema_4(f, query);
		migrate(f);
		assert_int_equal(sql(f, "SELECT count(*) FROM image"), 2);
		assert_int_equal(sql(f, "SELECT count(*) FROM label"), 1);
		assert_int_equal(sql(f, "SELECT count(*) FROM label WHERE value = '2'"), 1);
	}
}

static void labels_of_images_move_to_the_table_of_all_labels(void **state)
{
	struct fixture *f = *state;
	char *labels;

	replace_by_schema_4(
	        f,
	        "UPDATE instance SET kind = 'image' WHERE name IN ('n1', 'n2', 'n7', 'n8', 'n13');"
	        "INSERT INTO image (instance_id, comment, labels, expires_us)"
	        " SELECT id, 'of ' || name, CASE name"
	        "  WHEN 'n1' THEN '{\"app\":\"web\",\"q\":\"it''s \\\"so\\\"\"}'"
	        "  WHEN 'n2' THEN '{\"empty\":\"\"}' WHEN 'n7' THEN '{}'"
	        "  WHEN 'n8' THEN NULL ELSE 'no JSON' END, 7 FROM instance WHERE kind = 'image'");
	migrate(f);
	labels = text_of(f, "SELECT group_concat(name || ':' || key || '=' || value, ' ') FROM"
	                    " (SELECT name, key, value FROM label"
	                    "  JOIN instance ON id = instance_id ORDER BY name, key)");
	assert_non_null(labels);
	assert_string_equal(labels, "n1:app=web n1:q=it's \"so\" n2:empty=");
	free(labels);
	assert_int_equal(sql(f, "SELECT count(*) FROM image WHERE comment LIKE 'of n%'"
	                        " AND expires_us = 7"),
	                 5);
	assert_int_equal(sql(f, "SELECT count(*) FROM pragma_table_info('image')"
	                        " WHERE name = 'labels'"),
	                 0);
	assert_int_equal(sql(f, "SELECT count(*) FROM pragma_foreign_key_check"), 0);
	/* In force: labels go with what has them. */
	assert_works(f, vm_store_delete(f->store, "000000000000000000000001", NULL, &f->err));
	assert_int_equal(sql(f, "SELECT count(*) FROM label"), 1);
}

/* For spawn. */
static int migrate_here(void *arg)
{
	struct fixture *f = arg;

	return vm_store_open(f->path, true, &f->store, &f->err) < 0;
}

static void a_migration_that_is_killed_has_happened_or_not(void **state)
{
	struct fixture *f = *state;

	for (long us = 0; us < 20000; us += 1000) {
		pid_t pid;

		replace_by_schema_1(f);
		pid = spawn(migrate_here, f);
		nap_us(us);
		kill_and_reap(pid);
		assert_int_equal(sql(f, "SELECT count(*) FROM instance"), 60);
		assert_int_equal(sql(f, "SELECT count(*) FROM intent"), 20);
		migrate(f);
		assert_int_equal(sql(f, "SELECT count(*) FROM instance"), 60);
		assert_int_equal(sql(f, "SELECT count(*) FROM intent"), 20);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	        TEST(a_migration_keeps_every_row_of_every_table),
	        TEST(a_migration_keeps_indexes_and_what_binds_intents_to_rows),
	        TEST(a_migrated_store_is_like_a_new_one),
	        TEST(labels_of_images_move_to_the_table_of_all_labels),
	        TEST(labels_that_are_no_object_of_strings_do_not_stop_a_migration),
	        TEST(a_migration_that_is_killed_has_happened_or_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
