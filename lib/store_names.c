/* SPDX-License-Identifier: Apache-2.0 */
/* What completion asks of the store while somebody types: names and labels, and no wait. */
#include <stdlib.h>
#include <sys/stat.h>

#include "store_sql.h"

/* SQLite's own locks are had for about a millisecond; who types does not wait for more. */
enum { PEEK_BUSY_MS = 30 };

int vm_store_peek(const char *path, struct vm_store **ret_store, struct vm_err *err)
{
	struct vm_store *store;
	struct stat st;

	/* SQLite would wait for the writer of a pipe. */
	if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
		return vm_err_set(err, VM_ERR_NOT_FOUND, "%s: there is no store", path);
	store = vm_calloc(1, sizeof(*store), err);
	if (!store)
		return -1;
	vm_store_make_log(path);
	if (vm_sql_open(store, path, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX) != SQLITE_OK) {
		vm_err_set(err, VM_ERR_SYSTEM, "%s: cannot be opened", path);
		vm_store_close(store);
		return -1;
	}
	sqlite3_busy_timeout(store->db, PEEK_BUSY_MS);
	sqlite3_db_config(store->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	if (vm_store_check_version(store, err) < 0) {
		vm_store_close(store);
		return -1;
	}
	*ret_store = store;
	return 0;
}

int vm_store_names(struct vm_store *store, const char *parent,
                   void (*see)(void *ctx, const struct vm_name *name), void *ctx,
                   struct vm_err *err)
{
	VM_AUTO_STMT sqlite3_stmt *stmt = vm_sql_prepare(
	        store, err,
	        "SELECT name, state, kind = 'image' FROM instance WHERE state <> 'creating'"
	        " AND (?1 IS NULL OR parent_id = (SELECT id FROM instance"
	        "   WHERE id = ?1 OR name = ?1)) ORDER BY name",
	        "t", parent);
	int rc = stmt ? 0 : -1;

	while (rc == 0 && (rc = vm_sql_step(store, stmt, err)) > 0) {
		struct vm_name name = {
		        .name = (const char *)sqlite3_column_text(stmt, 0),
		        .kind = sqlite3_column_int(stmt, 2) != 0 ? VM_KIND_IMAGE : VM_KIND_INSTANCE,
		};

		rc = vm_state_parse((const char *)sqlite3_column_text(stmt, 1), &name.state, err);
		if (rc == 0)
			see(ctx, &name);
	}
	return rc;
}

int vm_store_labels(struct vm_store *store, const char *key, void (*see)(void *ctx, const char *),
                    void *ctx, struct vm_err *err)
{
	/* Without a key the keys, with one its values. */
	VM_AUTO_STMT sqlite3_stmt *stmt =
	        vm_sql_prepare(store, err,
	                       "SELECT DISTINCT iif(?1 IS NULL, key, value) FROM label"
	                       " WHERE ?1 IS NULL OR key = ?1 ORDER BY 1",
	                       "t", key);
	int rc = stmt ? 0 : -1;

	while (rc == 0 && (rc = vm_sql_step(store, stmt, err)) > 0) {
		see(ctx, (const char *)sqlite3_column_text(stmt, 0));
		rc = 0;
	}
	return rc;
}
