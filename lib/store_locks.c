/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lock files that may stand in locks/ without a row that leads to them: noted before they are made
 * and until the row is there, and again from the row's end until they are unlinked. So a kill at
 * any instruction leaves none that nobody would find.
 *
 * A note is of one process: several may be about to make or unlink the same file, and what one of
 * them has finished another may just begin. docs/protocol.md has a model of that.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proc.h"
#include "store_sql.h"

/*
 * Our own start time, asked once: a store is used by the process alone that has opened it. Without
 * /proc it is 0, and the sweeper takes us for dead: we then notice.
 */
static int64_t own_start(struct vm_store *store)
{
	if (store->own_start == 0)
		vm_proc_start_time(getpid(), &store->own_start);
	return (int64_t)store->own_start;
}

int vm_sql_note_lock(struct vm_store *store, const char *id, struct vm_err *err)
{
	return vm_sql_rerun(store, &store->note_lock, err,
	                    "INSERT OR REPLACE INTO lock_file VALUES (?, ?, ?)", "tii", id,
	                    (int64_t)getpid(), own_start(store));
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
	return vm_sql_rerun(store, &store->forget_lock, err,
	                    "DELETE FROM lock_file WHERE id = ? AND pid = ? AND start = ?", "tii",
	                    id, (int64_t)getpid(), own_start(store));
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

	if (vm_proc_start_time(pid, &now) == 0)
		return now == start;
	/* Not known, as without a descriptor to ask with: better called alive than swept. */
	return errno != ENOENT && errno != ESRCH;
}

int vm_store_lock_noted(struct vm_store *store, const char *id, struct vm_err *err)
{
	VM_AUTO_STMT sqlite3_stmt *stmt =
	        vm_sql_prepare(store, err,
	                       "SELECT pid, start FROM lock_file WHERE id = ?"
	                       " AND (pid <> ? OR start <> ?)",
	                       "tii", id, (int64_t)getpid(), own_start(store));
	int more = stmt ? 1 : -1;

	while (more > 0 && (more = vm_sql_step(store, stmt, err)) > 0) {
		if (is_alive((pid_t)sqlite3_column_int64(stmt, 0),
		             (uint64_t)sqlite3_column_int64(stmt, 1)))
			return 1;
	}
	return more;
}

struct note {
	char id[VM_ID_LEN + 1];
	int64_t pid, start;
};

/*
 * The first note of a dead process whose id is `after` another: 1, 0 none, -1. Never one of ours,
 * dead though we seem without /proc.
 */
static int find_stray(struct vm_store *store, const char *after, struct note *ret,
                      struct vm_err *err)
{
	VM_AUTO_STMT sqlite3_stmt *stmt =
	        vm_sql_prepare(store, err,
	                       "SELECT id, pid, start FROM lock_file WHERE id > ?"
	                       " AND (pid <> ? OR start <> ?) ORDER BY id",
	                       "tii", after, (int64_t)getpid(), own_start(store));
	int more;

	if (!stmt)
		return -1;
	while ((more = vm_sql_step(store, stmt, err)) > 0) {
		const char *id = (const char *)sqlite3_column_text(stmt, 0);

		ret->pid = sqlite3_column_int64(stmt, 1);
		ret->start = sqlite3_column_int64(stmt, 2);
		if (!vm_id_valid(id) || is_alive((pid_t)ret->pid, (uint64_t)ret->start))
			continue;
		memcpy(ret->id, id, sizeof(ret->id));
		return 1;
	}
	return more;
}

int vm_store_stray_lock(struct vm_store *store, const char *after, char ret_id[VM_ID_LEN + 1],
                        struct vm_err *err)
{
	struct note note;
	int found = find_stray(store, after, &note, err);

	if (found > 0)
		memcpy(ret_id, note.id, sizeof(note.id));
	return found;
}

/* 1 it is ours now, 0 another has taken it over since we saw it, and sweeps; -1. */
static int inherit(struct vm_store *store, const struct note *note, struct vm_err *err)
{
	int rc, changed;

	if (vm_sql_begin(store, err) < 0)
		return -1;
	rc = vm_sql_run(store, err,
	                "UPDATE OR REPLACE lock_file SET pid = ?, start = ?"
	                " WHERE id = ? AND pid = ? AND start = ?",
	                "iitii", (int64_t)getpid(), own_start(store), note->id, note->pid,
	                note->start);
	changed = sqlite3_changes(store->db);
	return vm_sql_end(store, rc, err) < 0 ? -1 : changed == 1;
}

int vm_store_take_stray_lock(struct vm_store *store, char ret_id[VM_ID_LEN + 1], struct vm_err *err)
{
	for (;;) {
		struct note note = {.id = ""};
		int found = find_stray(store, "", &note, err);

		if (found > 0)
			found = inherit(store, &note, err);
		if (found < 0)
			return -1;
		if (note.id[0] == '\0')
			return 0;
		if (found > 0) {
			memcpy(ret_id, note.id, sizeof(note.id));
			return 1;
		}
	}
}
