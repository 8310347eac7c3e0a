/* SPDX-License-Identifier: Apache-2.0 */
/* Private to lib/store*.c: statements and transactions over one SQLite connection. */
#ifndef VM_STORE_SQL_H
#define VM_STORE_SQL_H

#include <sqlite3.h>

#include "store.h"

struct vm_store {
	sqlite3 *db;
	char root_id[VM_ID_LEN + 1];
	int64_t events_kept;
	/* Kept prepared: a fork of many writes many. */
	sqlite3_stmt *add_event, *drop_events, *add_count;
	sqlite3_stmt *note_lock, *forget_lock, *insert_row, *put_intent, *change_row, *drop_intent;
	/* And each verb looks for its instance without the lock, with it, and at its end. */
	sqlite3_stmt *one;
	bool has_room;      /* vm_store_make_room() has been called */
	uint64_t own_start; /* 0: not asked yet */
	/* store_turn.c */
	bool late;   /* goes without a turn */
	int turn_fd; /* -1 without */
};

/* How long SQLite's lock is waited for; transactions here last about a millisecond. */
enum { VM_STORE_BUSY_MS = 20000 };

/* sqlite3_open_v2() into store->db, whose result it returns. */
int vm_sql_open(struct vm_store *store, const char *path, int flags);
/*
 * Prepares and binds: one letter of `types` a parameter: i int64_t, t const char * (NULL is null).
 * Returns NULL with err set.
 */
sqlite3_stmt *vm_sql_prepare(struct vm_store *store, struct vm_err *err, const char *sql,
                             const char *types, ...);
/* Steps: 1 a row, 0 done, -1 failed. */
int vm_sql_step(struct vm_store *store, sqlite3_stmt *stmt, struct vm_err *err);
/* Prepares, binds, steps to the end. Returns 0 or -1. */
int vm_sql_run(struct vm_store *store, struct vm_err *err, const char *sql, const char *types, ...);
/* Whether the query has a row: 1, 0, -1. */
int vm_sql_exists(struct vm_store *store, struct vm_err *err, const char *sql, const char *types,
                  ...);
/*
 * Prepares a statement once and binds it each time: `*stmt`, NULL before, is kept there for the
 * store to finalize. Who has stepped resets it: left as it is, it would keep its locks. 0 or -1.
 */
int vm_sql_prepare_once(struct vm_store *store, sqlite3_stmt **stmt, struct vm_err *err,
                        const char *sql, const char *types, ...);
/* As vm_sql_run() with a statement that is kept so. */
int vm_sql_rerun(struct vm_store *store, sqlite3_stmt **stmt, struct vm_err *err, const char *sql,
                 const char *types, ...);
void vm_sql_cleanup(sqlite3_stmt **stmt);
#define VM_AUTO_STMT VM_AUTO(vm_sql_cleanup)

/* Gives a file that root makes for a store to whom the store belongs. -1: it is not his. */
int vm_store_give_to_owner(int fd, const char *store_file);

/* The turn of who writes, around a transaction: see store_turn.c. Cannot fail. */
void vm_store_take_turn(struct vm_store *store);
void vm_store_end_turn(struct vm_store *store);

int vm_sql_begin(struct vm_store *store, struct vm_err *err);
/* Ends a transaction: commits when rc is 0, else rolls back and returns -1 (err is set already). */
int vm_sql_end(struct vm_store *store, int rc, struct vm_err *err);
/* Turns SQLite's last error into ours. Returns -1. */
int vm_sql_fail(struct vm_store *store, const char *doing, struct vm_err *err);
/*
 * Creates or migrates the schema; the caller holds the store lock exclusively. Leaves foreign keys
 * off.
 */
int vm_store_migrate(struct vm_store *store, struct vm_err *err);
/* 0 if the schema is this vmctl's; else as vm_store_open() without `create`. */
int vm_store_check_version(struct vm_store *store, struct vm_err *err);
/* Notes a lock file inside the caller's transaction: see store_locks.c. */
int vm_sql_note_lock(struct vm_store *store, const char *id, struct vm_err *err);
int vm_sql_forget_lock(struct vm_store *store, const char *id, struct vm_err *err);
/* Whether the instance has labels: 1, 0 (also for ""), -1. */
int vm_sql_has_labels(struct vm_store *store, const char *id, struct vm_err *err);
/*
 * The labels of a new row, inside the caller's transaction: with `inherits` those of its parent,
 * and its own.
 */
int vm_sql_admit_labels(struct vm_store *store, const struct vm_instance *row, bool inherits,
                        struct vm_err *err);
/*
 * Makes the files of SQLite's log where they need an attribute. Before the store is opened: to
 * close one of them would give back SQLite's locks on it.
 */
void vm_store_make_log(const char *path);
/* Sees to room for what a verb will write. See store_room.c. */
int vm_store_make_room(struct vm_store *store, struct vm_err *err);
/* Inserts an event, and counts it, inside the caller's transaction. */
int vm_store_add_event(struct vm_store *store, const struct vm_event *event, struct vm_err *err);

#endif
