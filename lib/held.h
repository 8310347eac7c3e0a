/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An instance under its own lock: found, locked, reloaded, and settled if a dead predecessor left
 * something. What every changing operation begins with.
 */
#ifndef VM_HELD_H
#define VM_HELD_H

#include "driver/driver.h"
#include "ops.h"
#include "slot.h"

struct vm_held {
	struct vm_lock lock;
	struct vm_instance row; /* as read under the lock, kept up to date by vm_held_commit */
	struct vm_spec spec;
	const struct vm_driver *driver;
	int dir_fd;
};
#define VM_HELD_INIT                                                                               \
	{                                                                                          \
		.lock = VM_LOCK_INIT, .dir_fd = -1                                                 \
	}

/* How an instance's lock is taken. */
struct vm_lock_how {
	enum vm_lock_rank rank; /* SOURCE or CHILD */
	enum vm_lock_mode mode;
	int64_t deadline_ms;
	bool create; /* the lock files may not exist yet */
};
/* Takes an instance's lock, of which only id and name are looked at. Errors: see vm_lock_take. */
int vm_held_lock(struct vm_op *op, const struct vm_instance *row, const struct vm_lock_how *how,
                 struct vm_lock *ret_lock, struct vm_err *err);
/*
 * Makes the lock file of an instance anew if it has lost it: what a vm_lock_take() without `create`
 * that ended with not_found is followed by. Returns 0 also when the instance is gone, -1.
 */
int vm_held_remake_lock(struct vm_op *op, const struct vm_instance *found,
                        const struct vm_lock_how *how, struct vm_err *err);
/*
 * Locks, reloads and settles an instance found before: 0 when `held` is ready, 1 when it is gone or
 * must be found anew, -1. `held` is to be released in any case.
 */
int vm_held_settle(struct vm_op *op, const struct vm_instance *found, const struct vm_lock_how *how,
                   struct vm_held *held, struct vm_err *err);
/*
 * Finds and locks (rank SOURCE). Errors: those of vm_store_find and vm_lock_take, corrupt (the
 * directory or spec is damaged), unsupported (no such driver).
 */
int vm_held_take(struct vm_op *op, const char *selector, enum vm_lock_mode mode,
                 struct vm_held *ret_held, struct vm_err *err);
void vm_held_release(struct vm_held *held);

/* The machine of a held instance; its VMM is not opened. Valid as long as `held` is. */
struct vm_machine vm_held_machine(const struct vm_op *op, const struct vm_held *held);
/* The same with its VMM opened; it must be alive (settled instances in running or paused are). */
int vm_held_attach(const struct vm_op *op, const struct vm_held *held, struct vm_machine *ret,
                   struct vm_err *err);

/* Writes the operation's intent; `runs`: it is about to run and must be admitted. */
int vm_held_intend(struct vm_op *op, struct vm_held *held, const char *detail, bool runs,
                   struct vm_err *err);

/*
 * Removes saved memory and state, the manifest first: from then on nothing can be loaded. For
 * instances without a VMM whose disks have moved on, or are about to.
 */
int vm_held_drop_saved(struct vm_held *held, struct vm_err *err);

struct vm_outcome {
	enum vm_state state;
	pid_t pid;
	const char *version;     /* of the VMM, NULL: as it was */
	const char *failure;     /* or NULL */
	const char *next_detail; /* not NULL: the operation goes on */
	const char *verb;        /* of the event; NULL: the op's */
	bool durable;
};
/* Commits a state change with its event, and updates held->row. */
int vm_held_commit(struct vm_op *op, struct vm_held *held, const struct vm_outcome *outcome,
                   struct vm_err *err);
/* Gives the operation up: drops the intent, the state is as it was. For undo paths: errors are
 * lost. */
void vm_held_abandon(struct vm_op *op, struct vm_held *held);

/* `steps` does the work on a held instance: 0 changed, 1 nothing was to do, -1. */
typedef int vm_held_steps(struct vm_op *op, struct vm_held *held, const void *arg,
                          struct vm_err *err);
/*
 * The frame of an operation on one instance: take, run the steps, record a failure as an event,
 * give the row to the caller, release.
 */
int vm_held_run(struct vm_op *op, const char *selector, vm_held_steps *steps, const void *arg,
                struct vm_instance *ret, struct vm_err *err);

/* An error that says which states the verb works from. Returns -1. */
int vm_held_wrong_state(const struct vm_op *op, const struct vm_held *held, const char *from,
                        struct vm_err *err);

/* --- vm_op -------------------------------------------------------------------------------------
 */

/* A deadline for one wait that begins now. */
int64_t vm_op_deadline(const struct vm_op *op);
void vm_op_progress(const struct vm_op *op, const char *fmt, ...)
        __attribute__((format(printf, 2, 3)));
void vm_op_warn(const struct vm_op *op, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
struct vm_event vm_op_event(const struct vm_op *op, const struct vm_instance *row,
                            enum vm_code code);
/* Limits of the configuration, for admission. */
struct vm_limits vm_op_limits(const struct vm_op *op);
/* The restore slots of a driver in this data root. */
struct vm_slot_pool vm_op_slots(const struct vm_op *op, const struct vm_driver *driver);
/* insufficient_resources unless `need` bytes can be written and min_free_disk stays free. */
int vm_op_check_disk(const struct vm_op *op, uint64_t need_bytes, struct vm_err *err);

#endif
