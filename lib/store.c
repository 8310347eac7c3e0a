/* SPDX-License-Identifier: Apache-2.0 */
/* Opening, schema and migration, remembered binaries. */
#include "store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "store_sql.h"

enum {
	SCHEMA_VERSION = 5,
	ALONE_TRY_MS = 50,
};

/* One step per schema version; step i leads from version i to i + 1. Never edited once released. */
static const char *const migrations[SCHEMA_VERSION] = {
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
        "CREATE TABLE instance ("
        "  id TEXT PRIMARY KEY CHECK (length(id) = 24),"
        "  name TEXT NOT NULL UNIQUE,"
        "  state TEXT NOT NULL CHECK (state IN"
        "    ('creating','stopped','standby','running','paused','failed')),"
        "  generation INTEGER NOT NULL DEFAULT 0,"
        "  hypervisor TEXT NOT NULL,"
        "  hypervisor_version TEXT NOT NULL DEFAULT '',"
        "  guest_cid INTEGER UNIQUE,"
        "  parent_id TEXT, parent_name TEXT,"
        "  vcpus INTEGER NOT NULL, memory_bytes INTEGER NOT NULL,"
        "  occupies INTEGER NOT NULL DEFAULT 0 CHECK (occupies IN (0, 1)),"
        "  pid INTEGER NOT NULL DEFAULT 0,"
        "  created_us INTEGER NOT NULL, changed_us INTEGER NOT NULL,"
        "  relocation TEXT NOT NULL DEFAULT '',"
        "  failure TEXT NOT NULL DEFAULT '',"
        "  spec TEXT NOT NULL"
        ") WITHOUT ROWID;"
        "CREATE INDEX instance_occupies ON instance (memory_bytes) WHERE occupies = 1;"
        "CREATE INDEX instance_creating ON instance (name) WHERE state = 'creating';"
        "CREATE INDEX instance_parent ON instance (parent_id) WHERE parent_id IS NOT NULL;"
        "CREATE TABLE intent ("
        "  instance_id TEXT PRIMARY KEY REFERENCES instance (id) ON DELETE CASCADE,"
        "  verb TEXT NOT NULL, detail TEXT NOT NULL, pid INTEGER NOT NULL, since_us INTEGER NOT "
        "NULL"
        ") WITHOUT ROWID;"
        "CREATE TABLE lock_file ("
        "  id TEXT PRIMARY KEY, pid INTEGER NOT NULL, start INTEGER NOT NULL"
        ") WITHOUT ROWID;"
        "CREATE TABLE event ("
        "  seq INTEGER PRIMARY KEY AUTOINCREMENT,"
        "  time_us INTEGER NOT NULL, verb TEXT NOT NULL, instance_id TEXT NOT NULL, name TEXT NOT "
        "NULL,"
        "  outcome TEXT NOT NULL, duration_us INTEGER NOT NULL, waited_us INTEGER NOT NULL,"
        "  relocation TEXT, message TEXT);"
        "CREATE TABLE binary ("
        "  path TEXT PRIMARY KEY, device INTEGER NOT NULL, inode INTEGER NOT NULL,"
        "  size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, version TEXT NOT NULL"
        ") WITHOUT ROWID;",
        /*
         * Guest CIDs are unique among those that occupy, no longer among all rows. A column's
         * UNIQUE cannot be dropped, so the table is made anew; intents refer to it by name.
         */
        "CREATE TABLE instance_2 ("
        "  id TEXT PRIMARY KEY CHECK (length(id) = 24),"
        "  name TEXT NOT NULL UNIQUE,"
        "  state TEXT NOT NULL CHECK (state IN"
        "    ('creating','stopped','standby','running','paused','failed')),"
        "  generation INTEGER NOT NULL DEFAULT 0,"
        "  hypervisor TEXT NOT NULL,"
        "  hypervisor_version TEXT NOT NULL DEFAULT '',"
        "  guest_cid INTEGER,"
        "  parent_id TEXT, parent_name TEXT,"
        "  vcpus INTEGER NOT NULL, memory_bytes INTEGER NOT NULL,"
        "  occupies INTEGER NOT NULL DEFAULT 0 CHECK (occupies IN (0, 1)),"
        "  pid INTEGER NOT NULL DEFAULT 0,"
        "  created_us INTEGER NOT NULL, changed_us INTEGER NOT NULL,"
        "  relocation TEXT NOT NULL DEFAULT '',"
        "  failure TEXT NOT NULL DEFAULT '',"
        "  spec TEXT NOT NULL"
        ") WITHOUT ROWID;"
        "INSERT INTO instance_2 (id, name, state, generation, hypervisor, hypervisor_version,"
        "  guest_cid, parent_id, parent_name, vcpus, memory_bytes, occupies, pid, created_us,"
        "  changed_us, relocation, failure, spec)"
        "  SELECT id, name, state, generation, hypervisor, hypervisor_version, guest_cid,"
        "  parent_id, parent_name, vcpus, memory_bytes, occupies, pid, created_us, changed_us,"
        "  relocation, failure, spec FROM instance;"
        "DROP TABLE instance;"
        "ALTER TABLE instance_2 RENAME TO instance;"
        "CREATE INDEX instance_occupies ON instance (memory_bytes) WHERE occupies = 1;"
        "CREATE INDEX instance_creating ON instance (name) WHERE state = 'creating';"
        "CREATE INDEX instance_parent ON instance (parent_id) WHERE parent_id IS NOT NULL;"
        "CREATE INDEX instance_cid ON instance (guest_cid) WHERE guest_cid IS NOT NULL;"
        "CREATE UNIQUE INDEX instance_cid_in_use ON instance (guest_cid) WHERE occupies = 1;",
        /* Events tell waits apart, and are counted. Older ones keep both waits in one column. */
        "ALTER TABLE event RENAME COLUMN waited_us TO lock_waited_us;"
        "ALTER TABLE event ADD COLUMN slot_waited_us INTEGER NOT NULL DEFAULT 0;"
        "ALTER TABLE event ADD COLUMN disks TEXT;"
        "ALTER TABLE event ADD COLUMN repaired TEXT;"
        "CREATE TABLE counter ("
        "  name TEXT NOT NULL, label TEXT NOT NULL, value INTEGER NOT NULL,"
        "  PRIMARY KEY (name, label)"
        ") WITHOUT ROWID;"
        /* A note of lock files is of one process; before, the last to note an id had it. */
        "CREATE TABLE lock_file_3 ("
        "  id TEXT NOT NULL, pid INTEGER NOT NULL, start INTEGER NOT NULL,"
        "  PRIMARY KEY (id, pid, start)"
        ") WITHOUT ROWID;"
        "INSERT INTO lock_file_3 SELECT id, pid, start FROM lock_file;"
        "DROP TABLE lock_file;"
        "ALTER TABLE lock_file_3 RENAME TO lock_file;",
        /* Images are rows like instances: names, locks and repair are the same. */
        "ALTER TABLE instance ADD COLUMN kind TEXT NOT NULL DEFAULT 'instance'"
        "  CHECK (kind IN ('instance','image'));"
        "ALTER TABLE instance ADD COLUMN alias_path TEXT NOT NULL DEFAULT '';"
        "CREATE TABLE image ("
        "  instance_id TEXT PRIMARY KEY REFERENCES instance (id) ON DELETE CASCADE,"
        "  comment TEXT, labels TEXT, expires_us INTEGER NOT NULL DEFAULT 0"
        ") WITHOUT ROWID;",
        /*
         * Instances have labels like images, and are chosen by them. Text that is no JSON object of
         * strings, which only somebody else can have put there, is left behind: a step that fails
         * would fail for ever.
         */
        "CREATE TABLE label ("
        "  instance_id TEXT NOT NULL REFERENCES instance (id) ON DELETE CASCADE,"
        "  key TEXT NOT NULL, value TEXT NOT NULL,"
        "  PRIMARY KEY (instance_id, key)"
        ") WITHOUT ROWID;"
        "CREATE INDEX label_key ON label (key, value);"
        "INSERT OR REPLACE INTO label"
        "  SELECT i.instance_id, l.key, l.value FROM image i,"
        "  json_each(CASE WHEN json_valid(i.labels) THEN i.labels ELSE '{}' END) l"
        "  WHERE l.type = 'text' AND typeof(l.key) = 'text' AND l.key <> '';"
        "ALTER TABLE image DROP COLUMN labels;",
};

static int query_int(struct vm_store *store, const char *sql, int64_t *ret, struct vm_err *err)
{
	VM_AUTO_STMT sqlite3_stmt *stmt = vm_sql_prepare(store, err, sql, "");
	int rc = stmt ? vm_sql_step(store, stmt, err) : -1;

	if (rc < 0)
		return -1;
	*ret = rc ? sqlite3_column_int64(stmt, 0) : 0;
	return 0;
}

static int apply(struct vm_store *store, int64_t version, struct vm_err *err)
{
	char id[VM_ID_LEN + 1];
	char pragma[64];

	for (; version < SCHEMA_VERSION; version++) {
		if (sqlite3_exec(store->db, migrations[version], NULL, NULL, NULL) != SQLITE_OK)
			return vm_sql_fail(store, "making the schema", err);
	}
	if (vm_id_new(id, err) < 0 ||
	    vm_sql_run(store, err, "INSERT OR IGNORE INTO meta VALUES ('root_id', ?)", "t", id) < 0)
		return -1;
	snprintf(pragma, sizeof(pragma), "PRAGMA user_version = %d", SCHEMA_VERSION);
	return vm_sql_run(store, err, pragma, "");
}

int vm_store_migrate(struct vm_store *store, struct vm_err *err)
{
	int64_t version;

	/*
	 * Foreign keys are off meanwhile, which they cannot be made inside a transaction: a step
	 * that drops a table to make it anew must not take with it what refers to its rows.
	 */
	if (vm_sql_run(store, err, "PRAGMA foreign_keys = OFF", "") < 0)
		return -1;
	/*
	 * Small pages: the log holds whole pages, and whoever opens the store alone reads all of
	 * it. A fork writes about a dozen pages, so this is what keeps the log, and every start,
	 * short.
	 */
	if (vm_sql_run(store, err, "PRAGMA page_size = 1024", "") < 0 ||
	    vm_sql_run(store, err, "PRAGMA journal_mode = WAL", "") < 0 ||
	    vm_sql_begin(store, err) < 0)
		return -1;
	if (query_int(store, "PRAGMA user_version", &version, err) < 0)
		return vm_sql_end(store, -1, err);
	return vm_sql_end(store, version < SCHEMA_VERSION ? apply(store, version, err) : 0, err);
}

int vm_store_check_version(struct vm_store *store, struct vm_err *err)
{
	int64_t version;

	if (query_int(store, "PRAGMA user_version", &version, err) < 0)
		return -1;
	if (version == 0)
		return vm_err_set(err, VM_ERR_NOT_FOUND, "the store has no schema yet");
	if (version < SCHEMA_VERSION)
		return vm_err_set(err, VM_ERR_NEEDS_REPAIR,
		                  "the store has schema %d, this vmctl needs %d", (int)version,
		                  SCHEMA_VERSION);
	if (version > SCHEMA_VERSION) {
		vm_err_set(err, VM_ERR_INCOMPATIBLE,
		           "the store has schema %d, this vmctl knows only up to %d", (int)version,
		           SCHEMA_VERSION);
		return vm_err_hint(err, "a newer vmctl has used this data root: install that one");
	}
	return 0;
}

static int read_root_id(struct vm_store *store, struct vm_err *err)
{
	VM_AUTO_STMT sqlite3_stmt *stmt =
	        vm_sql_prepare(store, err, "SELECT value FROM meta WHERE key = 'root_id'", "");
	int rc = stmt ? vm_sql_step(store, stmt, err) : -1;

	if (rc < 0)
		return -1;
	if (rc == 0 || !vm_id_valid((const char *)sqlite3_column_text(stmt, 0)))
		return vm_err_set(err, VM_ERR_CORRUPT, "store: the data root's id is missing");
	memcpy(store->root_id, sqlite3_column_text(stmt, 0), sizeof(store->root_id));
	return 0;
}

/*
 * `alone`: the index of the log is kept in memory instead of in vmctl.db-shm, which excludes
 * everybody else for as long as the store is open.
 */
static int set_up(struct vm_store *store, bool create, bool alone, struct vm_err *err)
{
	sqlite3_busy_timeout(store->db, alone ? ALONE_TRY_MS : VM_STORE_BUSY_MS);
	if (alone && vm_sql_run(store, err, "PRAGMA locking_mode = EXCLUSIVE", "") < 0)
		return -1;
	/*
	 * Without this the last one to close copies the whole log back and syncs it: every verb
	 * that runs alone would pay for it.
	 */
	sqlite3_db_config(store->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	if (vm_sql_run(store, err, "PRAGMA synchronous = NORMAL", "") < 0 ||
	    (create && vm_store_migrate(store, err) < 0) ||
	    vm_sql_run(store, err, "PRAGMA foreign_keys = ON", "") < 0)
		return -1;
	if (vm_store_check_version(store, err) < 0 || read_root_id(store, err) < 0)
		return -1;
	sqlite3_busy_timeout(store->db, VM_STORE_BUSY_MS);
	return 0;
}

/* 0, -1, or 1 when it failed (err is set) because the disk is full. */
static int open_at(const char *path, int flags, bool create, bool alone,
                   struct vm_store **ret_store, struct vm_err *err)
{
	int e;
	struct vm_store *store = vm_calloc(1, sizeof(*store), err);

	if (!store)
		return -1;
	store->events_kept = VM_EVENTS_KEPT;
	store->turn_fd = -1;
	if (vm_sql_open(store, path, flags) != SQLITE_OK) {
		if (store->db)
			vm_sql_fail(store, path, err);
		else
			vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES, "%s: out of memory", path);
	} else if (set_up(store, create, alone, err) == 0) {
		*ret_store = store;
		return 0;
	}
	e = store->db ? sqlite3_system_errno(store->db) : 0;
	vm_store_close(store);
	return e == ENOSPC || e == EDQUOT ? 1 : -1;
}

/*
 * Two who open it so at once both get SQLite's shared lock, and each waits for the other to let go
 * of it. So each gives up soon, lets go of all, and tries again at a moment of its own.
 */
static int open_alone(const char *path, int flags, bool create, struct vm_store **ret_store,
                      struct vm_err *err)
{
	int64_t deadline = vm_monotonic_ms() + VM_STORE_BUSY_MS;

	for (;;) {
		const struct timespec nap = {.tv_nsec = (vm_monotonic_us() ^ getpid()) % 64 *
		                                        1000000L};
		int rc = open_at(path, flags, create, true, ret_store, err);

		if (rc == 0 || err->code != VM_ERR_BUSY || vm_monotonic_ms() >= deadline)
			return rc ? -1 : 0;
		vm_err_clear(err);
		nanosleep(&nap, NULL);
	}
}

int vm_store_open(const char *path, bool create, struct vm_store **ret_store, struct vm_err *err)
{
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (create ? SQLITE_OPEN_CREATE : 0);

	int rc;

	vm_store_make_log(path);
	rc = open_at(path, flags, create, false, ret_store, err);
	if (rc <= 0)
		return rc;
	/*
	 * A full disk: whoever opens the store while nobody else has it empties vmctl.db-shm and
	 * fills it anew, and what is free for an instant may be gone. Without a store not even
	 * `rm` could make space.
	 */
	vm_err_clear(err);
	return open_alone(path, flags, create, ret_store, err);
}

int vm_store_open_empty(struct vm_store **ret_store, struct vm_err *err)
{
	return open_at(":memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
	               true, false, ret_store, err);
}

static void finalize_kept(struct vm_store *store)
{
	sqlite3_stmt *const kept[] = {
	        store->add_event,   store->drop_events, store->add_count,  store->note_lock,
	        store->forget_lock, store->insert_row,  store->put_intent, store->change_row,
	        store->drop_intent, store->one,
	};

	for (size_t i = 0; i < VM_ARRAY_LEN(kept); i++)
		sqlite3_finalize(kept[i]);
}

void vm_store_close(struct vm_store *store)
{
	if (!store)
		return;
	finalize_kept(store);
	sqlite3_close(store->db);
	free(store);
}

const char *vm_store_root_id(const struct vm_store *store)
{
	return store->root_id;
}

int vm_store_binary_version(struct vm_store *store, const struct vm_binary_key *key,
                            char *ret_version, size_t size, struct vm_err *err)
{
	VM_AUTO_STMT sqlite3_stmt *stmt = vm_sql_prepare(
	        store, err,
	        "SELECT version FROM binary WHERE path = ? AND device = ? AND inode = ?"
	        " AND size = ? AND mtime_ns = ?",
	        "tiiii", key->path, (int64_t)key->device, (int64_t)key->inode, (int64_t)key->size,
	        key->mtime_ns);
	int rc = stmt ? vm_sql_step(store, stmt, err) : -1;

	if (rc > 0)
		snprintf(ret_version, size, "%s", (const char *)sqlite3_column_text(stmt, 0));
	return rc;
}

int vm_store_remember_binary(struct vm_store *store, const struct vm_binary_key *key,
                             const char *version, struct vm_err *err)
{
	int rc;

	if (vm_sql_begin(store, err) < 0)
		return -1;
	rc = vm_sql_run(store, err, "INSERT OR REPLACE INTO binary VALUES (?, ?, ?, ?, ?, ?)",
	                "tiiiit", key->path, (int64_t)key->device, (int64_t)key->inode,
	                (int64_t)key->size, key->mtime_ns, version);
	return vm_sql_end(store, rc, err);
}
