/* SPDX-License-Identifier: Apache-2.0 */
/* Single values that are of the data root or its host, not of an instance. */
#include "store_sql.h"

int vm_store_get_meta(struct vm_store *store, const char *key, char *ret_value, size_t size,
                      struct vm_err *err)
{
	VM_AUTO_STMT sqlite3_stmt *stmt =
	        vm_sql_prepare(store, err, "SELECT value FROM meta WHERE key = ?", "t", key);
	int rc = stmt ? vm_sql_step(store, stmt, err) : -1;

	if (rc > 0)
		snprintf(ret_value, size, "%s", (const char *)sqlite3_column_text(stmt, 0));
	return rc;
}

int vm_store_put_meta(struct vm_store *store, const char *key, const char *value,
                      struct vm_err *err)
{
	int rc;

	if (vm_sql_begin(store, err) < 0)
		return -1;
	rc = vm_sql_run(store, err, "INSERT OR REPLACE INTO meta VALUES (?, ?)", "tt", key, value);
	return vm_sql_end(store, rc, err);
}
