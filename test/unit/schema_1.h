/* SPDX-License-Identifier: Apache-2.0 */
/* A store as the first vmctl made it, with rows in it, for the tests of migrations. Never edited.
 */
#ifndef VM_TEST_SCHEMA_1_H
#define VM_TEST_SCHEMA_1_H

#include "procs.h"

#include <sqlite3.h>

#define SCHEMA_1_ROOT_ID "rrrrrrrrrrrrrrrrrrrrrrrr"

static const char schema_1[] =
        "PRAGMA page_size = 1024;"
        "PRAGMA journal_mode = WAL;"
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
        ") WITHOUT ROWID;"
        "PRAGMA user_version = 1;";

/* Two instances, one of them with an intent, and three events. */
static const char schema_1_rows[] =
        "INSERT INTO meta VALUES ('root_id', '" SCHEMA_1_ROOT_ID "');"
        "INSERT INTO instance (id, name, state, generation, hypervisor, guest_cid, vcpus,"
        "  memory_bytes, created_us, changed_us, spec)"
        "  VALUES ('aaaaaaaaaaaaaaaaaaaaaaaa', 'web', 'standby', 7, 'fake', 65540, 1, 1048576,"
        "  1, 2, '{}'),"
        "  ('bbbbbbbbbbbbbbbbbbbbbbbb', 'db', 'stopped', 1, 'fake', NULL, 2, 2097152, 3, 4, '{}');"
        "INSERT INTO intent VALUES ('aaaaaaaaaaaaaaaaaaaaaaaa', 'rm', 'standby', 1, 5);"
        "INSERT INTO event (time_us, verb, instance_id, name, outcome, duration_us, waited_us,"
        "  relocation, message)"
        "  VALUES (10, 'create', 'aaaaaaaaaaaaaaaaaaaaaaaa', 'web', 'ok', 100, 0, NULL, NULL),"
        "  (20, 'fork', 'cccccccccccccccccccccccc', 'gone', 'ok', 200, 30, 'relative', NULL),"
        "  (30, 'stop', 'aaaaaaaaaaaaaaaaaaaaaaaa', 'web', 'hypervisor', 300, 0, NULL, 'why');";

static inline void make_schema_1(const char *path)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	if (sqlite3_exec(db, schema_1, NULL, NULL, NULL) != SQLITE_OK ||
	    sqlite3_exec(db, schema_1_rows, NULL, NULL, NULL) != SQLITE_OK)
		fail_msg("%s", sqlite3_errmsg(db));
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

#endif
