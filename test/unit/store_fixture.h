/* SPDX-License-Identifier: Apache-2.0 */
/* A store of its own for each test, rows for it, and SQL to look at it from outside. */
#ifndef VM_TEST_STORE_FIXTURE_H
#define VM_TEST_STORE_FIXTURE_H

#include "procs.h"

#include <inttypes.h>
#include <sqlite3.h>

#include "store.h"

struct fixture {
	struct test_dir dir;
	char path[96];
	struct vm_store *store;
	struct vm_err err;
};

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	test_dir_open(&f->dir);
	snprintf(f->path, sizeof(f->path), "%s/vmctl.db", f->dir.path);
	if (vm_store_open(f->path, true, &f->store, &f->err) < 0)
		fail_msg("%s", f->err.message);
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	vm_store_close(f->store);
	test_dir_close(&f->dir);
	free(f);
	return 0;
}

/* A failure that is expected: its code is checked, then it is forgotten. Its text stays to be read.
 */
static inline void assert_fails(struct fixture *f, int rc, enum vm_code code)
{
	assert_int_equal(rc, -1);
	if (f->err.code != code)
		fail_msg("%s, not %s: %s", vm_code_name(f->err.code), vm_code_name(code),
		         f->err.message);
	f->err.code = VM_OK;
}

static inline void assert_works(struct fixture *f, int rc)
{
	if (rc != 0)
		fail_msg("%s", f->err.message);
}

/* One number from another connection. */
static inline int64_t sql(const struct fixture *f, const char *text)
{
	sqlite3_stmt *stmt = NULL;
	sqlite3 *db = NULL;
	int64_t result = -1;
	int rc;

	assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
	sqlite3_busy_timeout(db, PATIENCE_MS);
	if (sqlite3_prepare_v2(db, text, -1, &stmt, NULL) != SQLITE_OK)
		fail_msg("%s: %s", text, sqlite3_errmsg(db));
	rc = sqlite3_step(stmt);
	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		fail_msg("%s: %s", text, sqlite3_errmsg(db));
	if (rc == SQLITE_ROW)
		result = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	return result;
}

/* A row to be reserved: id is the letter 24 times. The spec is not to be freed. */
static inline struct vm_instance row_of(char letter, const char *name)
{
	static char spec[] = "{}";
	struct vm_instance row = {.hypervisor = "fake", .vcpus = 1, .memory_bytes = 1 << 20};

	memset(row.id, letter, VM_ID_LEN);
	snprintf(row.name, sizeof(row.name), "%s", name);
	row.spec = spec;
	return row;
}

/* As makers do: the lock files are noted, then the rows reserved. */
static inline int note_and_reserve(struct vm_store *store, struct vm_instance *rows, size_t count,
                                   const struct vm_limits *limits, struct vm_conflict *ret_conflict,
                                   struct vm_err *err)
{
	if (vm_store_note_locks(store, rows, count, err) < 0)
		return -1;
	return vm_store_reserve(store, rows, count, true, "create", limits, ret_conflict, err);
}

static inline int reserve(struct fixture *f, struct vm_instance *rows, size_t count,
                          const struct vm_limits *limits)
{
	struct vm_conflict conflict;

	return note_and_reserve(f->store, rows, count, limits, &conflict, &f->err);
}

/* About to run, on from saved state. */
static inline int intend_to_run(struct vm_store *store, const char *id, const char *verb,
                                const struct vm_limits *limits, struct vm_err *err)
{
	struct vm_admission admission = {.limits = *limits};

	return vm_store_intend(store, id, verb, "", &admission, err);
}

/* An instance that is there, stopped. */
static inline void add(struct fixture *f, char letter, const char *name)
{
	struct vm_instance row = row_of(letter, name);
	const struct vm_change change = {.id = row.id, .state = VM_STATE_STOPPED};

	assert_works(f, reserve(f, &row, 1, NULL));
	assert_works(f, vm_store_commit(f->store, &change, 1, NULL, false, &f->err));
}

static inline struct vm_instance get(struct fixture *f, const char *name)
{
	struct vm_instance row = {0};

	assert_works(f, vm_store_get_named(f->store, name, &row, &f->err));
	return row;
}

#endif
