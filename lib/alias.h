/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Aliases: the last resort for a saved state that names its files by absolute paths which nobody
 * can rewrite. While it is loaded, the directory that it names must be the instance's own. A row
 * with alias_path is of such a state; its directory holds, under the recorded names, relative links
 * to its files. docs/relocation.md tells the whole story.
 *
 * - namespace: the VMM has a mount namespace of its own (view.h). Any number at once.
 * - symlink: the recorded directory is renamed away, a symbolic link to the instance's put in its
 *   place, the state loaded, and all put back. One at a time for each recorded directory, under the
 *   alias lock, and never while a process has a file of it open. What a kill leaves is told by a
 *   journal, run/<name>.alias, and put back by whoever takes that alias lock next.
 *
 * The guest does not run before its VMM was seen to have this instance's disks open.
 *
 * Calling sequence for a load: choose (once for each operation), prepare, lock, vm_driver_load()
 * with machine->alias, release.
 */
#ifndef VM_ALIAS_H
#define VM_ALIAS_H

#include "held.h"
#include "view.h"

struct vm_alias {
	const struct vm_root *root;
	enum vm_alias_method method; /* AUTO: there is no need for an alias */
	char id[VM_ID_LEN + 1];
	char *path;      /* that the state names, of which the part that exists has no links */
	char *directory; /* the instance's own */
	struct vm_view view;
	struct vm_lock source; /* of the instance whose directory is at the path, if there is one */
	struct vm_lock lock;
	int ground_fd; /* locked too: other data roots may want the same directory */
	int64_t deadline_ms;
};
#define VM_ALIAS_INIT                                                                              \
	{                                                                                          \
		.source = VM_LOCK_INIT, .lock = VM_LOCK_INIT, .ground_fd = -1                      \
	}

/*
 * How rows with this alias_path are to be loaded, by the settings and by what is permitted here; a
 * warning says so. Errors: unsupported (a namespace is asked for, and not permitted).
 */
int vm_alias_choose(const struct vm_op *op, const struct vm_instance *row,
                    enum vm_alias_method *ret_method, struct vm_err *err);
/* Nothing is to be done where the row has no alias_path. `ret` is to be released in any case. */
int vm_alias_prepare(struct vm_op *op, const struct vm_instance *row, int dir_fd,
                     enum vm_alias_method method, const char *binary, struct vm_alias *ret,
                     struct vm_err *err);
/*
 * The alias lock: alone for a symlink; a namespace shares it, for it sees the directory that others
 * rename. Taken before a restore slot, by rank. Errors: busy (also: a process has files of the
 * recorded directory open), needs_repair (what a kill has left cannot be put back).
 */
int vm_alias_lock(struct vm_op *op, struct vm_alias *alias, struct vm_err *err);
/* What it has locked is free again: the VMM needs nothing of it once it has loaded. */
void vm_alias_let_go(struct vm_alias *alias);
/* The same, and frees it. */
void vm_alias_release(struct vm_alias *alias);
/* For the event's message: "alias: namespace", or NULL. */
const char *vm_alias_message(const struct vm_alias *alias);

/* The part of vm_driver_load() that is about the alias. */
int vm_alias_load(struct vm_machine *machine, bool resume, struct vm_err *err);

/*
 * Puts back what a killed verb has left at that directory. Nothing is done if it is NULL, of a row
 * without an alias, if there is no journal of it, or if somebody has the alias lock: then it is his
 * to do, or he has done it. `id`: of the instance that the caller holds, whose state names the
 * directory; NULL: he holds the one whose directory it is.
 */
int vm_alias_settle(const struct vm_root *root, const char *path, const char *id,
                    struct vm_err *err);

/* Whether the directory of an instance or image is renamed away, or was by one who was killed. */
bool vm_alias_has_journal(const struct vm_root *root, const char *id);

/*
 * Opens an instance's directory for who reads it without its lock: it may be renamed away for the
 * instant of somebody's load, which is waited for.
 */
int vm_alias_open_dir(const struct vm_root *root, enum vm_kind kind, const char *id,
                      struct vm_err *err);

/* --- private to lib/alias*.c and lib/doctor_alias.c ----------------------------------------------
 */

/*
 * The same directory by a path in which no part but the last is a link: all who mean it call it so,
 * and it is that which is locked. What is missing stays as it is. malloc'ed. Errors: unsupported
 * (not absolute, or not plain).
 */
char *vm_alias_plain_path(const char *path, struct vm_err *err);
/* Waits until nobody has a file of the directory open. Errors: busy. */
int vm_alias_await_unused(const struct vm_alias *alias, int64_t deadline_ms, struct vm_err *err);
/* "<hash of the path>.alias", below locks/ and run/. */
enum { VM_ALIAS_NAME_SIZE = 24 };
#define VM_ALIAS_SUFFIX ".alias"
char *vm_alias_name(const char *path, char *buf);
/* The lock of that name: 1, 0 somebody has it (`wait_ms` as in lock.h is NONE), -1. */
int vm_alias_try_lock(const struct vm_root *root, const char *name, struct vm_lock *ret_lock,
                      struct vm_err *err);
/* Releases it; the file goes if nobody wants it. */
void vm_alias_unlock(const struct vm_root *root, const char *name, struct vm_lock *lock);

/* Whether there is a journal, or one that was not finished: nothing had happened yet. */
bool vm_alias_is_left(const struct vm_root *root, const char *name);
/* Writes the journal and lets the path lead to the instance's directory. */
int vm_alias_swap(const struct vm_alias *alias, struct vm_err *err);
/* Puts all back that the journal tells of, if there is one. The caller has the lock alone. */
int vm_alias_put_back(const struct vm_root *root, const char *name, struct vm_err *err);
/* The same of a dead verb's: its VMM, which may be loading still, is ended first. */
int vm_alias_repair(const struct vm_root *root, const char *name, struct vm_err *err);
/* Whether the journal is of a load of that instance. */
bool vm_alias_journal_is_of(const struct vm_root *root, const char *name, const char *id);
/* The directory that a journal is about, malloc'ed; not_found. */
int vm_alias_journal_path(const struct vm_root *root, const char *name, char **ret_path,
                          struct vm_err *err);

/* A process that has a file below that directory open: 1 and its pid, 0, -1. */
int vm_alias_user(const char *path, pid_t *ret_pid, struct vm_err *err);
/* Whether the VMM has all disks of the instance open, and its vsock in the right directory. */
int vm_alias_verify(const struct vm_machine *machine, struct vm_err *err);

#endif
