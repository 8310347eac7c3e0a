/* SPDX-License-Identifier: Apache-2.0 */
#include "store_sql.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>

#include "fault.h"

static const char *file_of(const struct vm_store *store)
{
	const char *file = store->db ? sqlite3_db_filename(store->db, "main") : NULL;

	return file && file[0] ? file : "vmctl.db";
}

int vm_sql_fail(struct vm_store *store, const char *doing, struct vm_err *err)
{
	int code = sqlite3_errcode(store->db);

	switch (code & 0xff) {
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		vm_err_set(err, VM_ERR_BUSY, "store %s: %s: it is locked by another process",
		           file_of(store), doing);
		return vm_err_hint(err,
		                   "try again; 'fuser vmctl.db' in the data root tells who has it");
	case SQLITE_FULL:
	case SQLITE_NOMEM:
		vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES, "store %s: %s: %s", file_of(store),
		           doing, sqlite3_errmsg(store->db));
		return vm_err_hint(err, "free some space there");
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		vm_err_set(err, VM_ERR_CORRUPT, "store %s: %s: %s", file_of(store), doing,
		           sqlite3_errmsg(store->db));
		return vm_err_hint(err, "check it with: sqlite3 vmctl.db 'PRAGMA integrity_check'");
	default:
		/* What the system call said is more than "disk I/O error", and has a code of its
		 * own.
		 */
		errno = sqlite3_system_errno(store->db);
		if (errno != 0 && code != SQLITE_ERROR)
			return vm_err_sys(err, "store %s: %s: %s", file_of(store), doing,
			                  sqlite3_errmsg(store->db));
		return vm_err_set(err, VM_ERR_SYSTEM, "store %s: %s: %s (SQLite code %d)",
		                  file_of(store), doing, sqlite3_errmsg(store->db),
		                  sqlite3_extended_errcode(store->db));
	}
}

/* What SQLite has allocated is asked by nobody: to count it takes a fifth of its allocations' time.
 */
static void count_no_memory(void)
{
	sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

int vm_sql_open(struct vm_store *store, const char *path, int flags)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, count_no_memory);
	return sqlite3_open_v2(path, &store->db, flags, NULL);
}

static int bind_all(sqlite3_stmt *stmt, const char *types, va_list ap)
{
	for (int i = 0; types[i]; i++) {
		int rc;

		if (types[i] == 'i')
			rc = sqlite3_bind_int64(stmt, i + 1, va_arg(ap, int64_t));
		else
			rc = sqlite3_bind_text(stmt, i + 1, va_arg(ap, const char *), -1,
			                       SQLITE_TRANSIENT);
		if (rc != SQLITE_OK)
			return -1;
	}
	return 0;
}

static sqlite3_stmt *prepare_list(struct vm_store *store, struct vm_err *err, const char *sql,
                                  const char *types, va_list ap)
{
	sqlite3_stmt *stmt = NULL;

	if (sqlite3_prepare_v2(store->db, sql, -1, &stmt, NULL) != SQLITE_OK ||
	    bind_all(stmt, types, ap) < 0) {
		vm_sql_fail(store, "preparing a statement", err);
		sqlite3_finalize(stmt);
		return NULL;
	}
	return stmt;
}

sqlite3_stmt *vm_sql_prepare(struct vm_store *store, struct vm_err *err, const char *sql,
                             const char *types, ...)
{
	sqlite3_stmt *stmt;
	va_list ap;

	va_start(ap, types);
	stmt = prepare_list(store, err, sql, types, ap);
	va_end(ap);
	return stmt;
}

int vm_sql_step(struct vm_store *store, sqlite3_stmt *stmt, struct vm_err *err)
{
	switch (sqlite3_step(stmt)) {
	case SQLITE_ROW:
		return 1;
	case SQLITE_DONE:
		return 0;
	default:
		return vm_sql_fail(store, "running a statement", err);
	}
}

int vm_sql_run(struct vm_store *store, struct vm_err *err, const char *sql, const char *types, ...)
{
	VM_AUTO_STMT sqlite3_stmt *stmt = NULL;
	va_list ap;
	int rc;

	va_start(ap, types);
	stmt = prepare_list(store, err, sql, types, ap);
	va_end(ap);
	if (!stmt)
		return -1;
	while ((rc = vm_sql_step(store, stmt, err)) > 0)
		;
	return rc;
}

int vm_sql_exists(struct vm_store *store, struct vm_err *err, const char *sql, const char *types,
                  ...)
{
	VM_AUTO_STMT sqlite3_stmt *stmt = NULL;
	va_list ap;

	va_start(ap, types);
	stmt = prepare_list(store, err, sql, types, ap);
	va_end(ap);
	return stmt ? vm_sql_step(store, stmt, err) : -1;
}

static int prepare_once(struct vm_store *store, sqlite3_stmt **stmt, struct vm_err *err,
                        const char *sql, const char *types, va_list ap)
{
	if (!*stmt && sqlite3_prepare_v2(store->db, sql, -1, stmt, NULL) != SQLITE_OK)
		return vm_sql_fail(store, "preparing a statement", err);
	return bind_all(*stmt, types, ap) < 0 ? vm_sql_fail(store, "binding a statement", err) : 0;
}

int vm_sql_prepare_once(struct vm_store *store, sqlite3_stmt **stmt, struct vm_err *err,
                        const char *sql, const char *types, ...)
{
	va_list ap;
	int rc;

	va_start(ap, types);
	rc = prepare_once(store, stmt, err, sql, types, ap);
	va_end(ap);
	return rc;
}

int vm_sql_rerun(struct vm_store *store, sqlite3_stmt **stmt, struct vm_err *err, const char *sql,
                 const char *types, ...)
{
	va_list ap;
	int rc;

	va_start(ap, types);
	rc = prepare_once(store, stmt, err, sql, types, ap);
	va_end(ap);
	while (rc == 0 && (rc = vm_sql_step(store, *stmt, err)) > 0)
		rc = 0;
	/* Left as it is, it would keep its locks. */
	sqlite3_reset(*stmt);
	return rc;
}

void vm_sql_cleanup(sqlite3_stmt **stmt)
{
	sqlite3_finalize(*stmt);
	*stmt = NULL;
}

int vm_sql_begin(struct vm_store *store, struct vm_err *err)
{
	/* Before the first change, so that no verb runs out of it in the middle. */
	if (!store->has_room && vm_store_make_room(store, err) < 0)
		return -1;
	store->has_room = true;
	vm_store_take_turn(store);
	if (vm_sql_run(store, err, "BEGIN IMMEDIATE", "") == 0)
		return 0;
	vm_store_end_turn(store);
	return -1;
}

int vm_sql_end(struct vm_store *store, int rc, struct vm_err *err)
{
	if (rc == 0 && vm_fault(VM_FAULT_STORE_COMMIT))
		rc = vm_err_sys(err, "store: committing to %s", file_of(store));
	if (rc == 0)
		rc = vm_sql_run(store, err, "COMMIT", "");
	if (rc == 0)
		vm_fault(VM_FAULT_STORE_COMMIT_DONE);
	/* Some errors roll back by themselves; a second ROLLBACK would only complain. */
	if (rc < 0 && !sqlite3_get_autocommit(store->db))
		sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
	vm_store_end_turn(store);
	return rc;
}
