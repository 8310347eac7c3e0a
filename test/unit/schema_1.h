/* SPDX-License-Identifier: Apache-2.0 */
/* A store as the first vmctl made it, with something in every table. */
#ifndef VM_TEST_SCHEMA_1_H
#define VM_TEST_SCHEMA_1_H

#include "procs.h"

#include <sqlite3.h>

/* As it was; never to be edited. */
static const char schema_1[] =
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
        ") WITHOUT ROWID;";

static const char schema_1_rows[] =
        "INSERT INTO meta VALUES ('root_id', 'rrrrrrrrrrrrrrrrrrrrrrrr');"
        "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 59)"
        " INSERT INTO instance SELECT printf('%024d', i), 'n' || i,"
        " CASE i % 6 WHEN 0 THEN 'creating' WHEN 1 THEN 'stopped' WHEN 2 THEN 'standby'"
        "  WHEN 3 THEN 'running' WHEN 4 THEN 'paused' ELSE 'failed' END,"
        " i * 7, 'fake', '1.' || i, CASE i % 5 WHEN 0 THEN NULL ELSE 1000 + i END,"
        " CASE i % 3 WHEN 0 THEN NULL ELSE printf('%024d', i - 1) END,"
        " CASE i % 3 WHEN 0 THEN NULL ELSE 'n' || (i - 1) END,"
        " 1 + i % 4, 1048576 * (1 + i), i % 6 IN (3, 4), CASE WHEN i % 6 IN (3, 4) THEN 4000 + i"
        "  ELSE 0 END, 1700000000000000 + i, 1700000000000100 + i,"
        " CASE i % 2 WHEN 0 THEN '' ELSE 'relative' END,"
        " CASE i % 6 WHEN 5 THEN 'it''s \"dead\"' ELSE '' END, '{\"vcpus\":' || i || '}' FROM n;"
        "INSERT INTO intent SELECT id, 'standby', 'running', 99, created_us FROM instance"
        " WHERE state IN ('creating', 'paused');"
        "INSERT INTO lock_file VALUES ('llllllllllllllllllllllll', 98, 12345);"
        "INSERT INTO event (time_us, verb, instance_id, name, outcome, duration_us, waited_us,"
        " relocation, message) SELECT changed_us, 'create', id, name, 'ok', 5, 6, NULL, 'm'"
        " FROM instance;"
        "INSERT INTO binary VALUES ('/usr/bin/vmm', 1, 2, 3, 4, '1.0');"
        "PRAGMA user_version = 1;";

static inline void make_schema_1(const char *path)
{
	sqlite3 *db = NULL;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	if (sqlite3_exec(db, "PRAGMA page_size = 1024; PRAGMA journal_mode = WAL", NULL, NULL,
	                 NULL) != SQLITE_OK ||
	    sqlite3_exec(db, schema_1, NULL, NULL, NULL) != SQLITE_OK ||
	    sqlite3_exec(db, schema_1_rows, NULL, NULL, NULL) != SQLITE_OK)
		fail_msg("%s", sqlite3_errmsg(db));
	sqlite3_close(db);
}

#endif
