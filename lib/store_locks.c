/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lock files that may stand in locks/ without a row that leads to them: noted before they are made
 * and until the row is there, and again from the row's end until they are unlinked. So a kill at
 * any instruction leaves none that nobody would find.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proc.h"
#include "store_sql.h"

int vm_sql_note_lock(struct vm_store *store, const char *id, struct vm_err *err)
{
	uint64_t start = 0;

	/* Without /proc the start is 0, and the sweeper takes us for dead: we then notice, and
	 * fail. */
	vm_proc_start_time(getpid(), &start);
	return vm_sql_run(store, err, "INSERT OR REPLACE INTO lock_file VALUES (?, ?, ?)", "tii",
	                  id, (int64_t)getpid(), (int64_t)start);
}

int vm_store_note_locks(struct vm_store *store, const struct vm_instance *rows, size_t count,
                        struct vm_err *err)
{
	int rc = 0;

	if (vm_sql_begin(store, err) < 0)
		return -1;
	for (size_t i = 0; rc == 0 && i < count; i++)
		rc = vm_sql_note_lock(store, rows[i].id, err);
	return vm_sql_end(store, rc, err);
}

int vm_sql_forget_lock(struct vm_store *store, const char *id, struct vm_err *err)
{
	return vm_sql_run(store, err, "DELETE FROM lock_file WHERE id = ?", "t", id);
}

int vm_store_forget_lock(struct vm_store *store, const char *id, struct vm_err *err)
{
	if (vm_sql_begin(store, err) < 0)
		return -1;
	return vm_sql_end(store, vm_sql_forget_lock(store, id, err), err);
}

static bool is_alive(pid_t pid, uint64_t start)
{
	uint64_t now;

	return vm_proc_start_time(pid, &now) == 0 && now == start;
}

int vm_store_stray_lock(struct vm_store *store, const char *after, char ret_id[VM_ID_LEN + 1],
                        struct vm_err *err)
{
	VM_AUTO_STMT sqlite3_stmt *stmt = vm_sql_prepare(
	        store, err, "SELECT id, pid, start FROM lock_file WHERE id > ? ORDER BY id", "t",
	        after);
	int rc = stmt ? 0 : -1;

	while (rc == 0) {
		const char *id;
		int more = vm_sql_step(store, stmt, err);

		if (more <= 0)
			return more;
		id = (const char *)sqlite3_column_text(stmt, 0);
		if (vm_id_valid(id) && !is_alive((pid_t)sqlite3_column_int(stmt, 1),
		                                 (uint64_t)sqlite3_column_int64(stmt, 2))) {
			memcpy(ret_id, id, VM_ID_LEN + 1);
			return 1;
		}
	}
	return rc;
}
