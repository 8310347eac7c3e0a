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
 * The end of an instance, or of one that never was: its lock files are unlinked, the held lock
 * last, and their note forgotten if nothing is left. The lock is held exclusively, or was not had:
 * then nothing is unlinked.
 */
int vm_held_unlink_locks(struct vm_op *op, const char *id, struct vm_lock *lock,
                         struct vm_err *err);
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
 * The driver, spec and directory of held->row. Errors: corrupt (one of them is damaged or missing),
 * unsupported (no such driver).
 */
int vm_held_open(const struct vm_op *op, struct vm_held *held, struct vm_err *err);
/* Whether the operation works on what the row is of, by op->on. Errors: invalid_state. */
int vm_held_check_kind(const struct vm_op *op, const struct vm_instance *row, struct vm_err *err);
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

/* Whether the instance is about to run, and so must be admitted. */
enum vm_run {
	VM_RUN_NONE, /* it is not */
	VM_RUN_BOOT, /* afresh: it may get another guest CID, so make its machine after this */
	VM_RUN_LOAD, /* on from its saved state, which has its guest CID in it */
};
/*
 * Writes the operation's intent. Errors: insufficient_resources (limits), already_exists (another
 * runs with its guest CID), system.
 */
int vm_held_intend(struct vm_op *op, struct vm_held *held, const char *detail, enum vm_run run,
                   struct vm_err *err);

/*
 * Removes saved memory and state, the manifest first: from then on nothing can be loaded. For
 * instances without a VMM whose disks have moved on, or are about to.
 */
int vm_held_drop_saved(struct vm_op *op, struct vm_held *held, struct vm_err *err);

/*
 * Removes what a killed writer may have left beside the files of an instance: files under the names
 * that they have before they are published. For whoever holds it exclusively.
 */
int vm_held_drop_temporaries(int dir_fd, struct vm_err *err);
/* The names of those, NULL-terminated. */
extern const char *const vm_held_temporaries[];

struct vm_outcome {
	enum vm_state state;
	pid_t pid;
	const char *version;                 /* of the VMM, NULL: as it was */
	const char *failure;                 /* or NULL */
	const char *relocation, *alias_path; /* NULL: as they were; "": none */
	const char *next_detail;             /* not NULL: the operation goes on */
	const char *repaired;                /* of a repair: what was put right */
	bool failed; /* the operation is a failure, which the caller records */
	bool durable;
};
/* Commits a state change, with its event unless it goes on or has failed, and updates held->row. */
int vm_held_commit(struct vm_op *op, struct vm_held *held, const struct vm_outcome *outcome,
                   struct vm_err *err);
/* Gives the operation up: drops the intent, the state is as it was. For undo paths: errors are
 * lost. */
void vm_held_abandon(struct vm_op *op, struct vm_held *held);
/*
 * The same of an operation that may have spawned a VMM: it is ended first, and its sockets go. One
 * that does not end still has its place and its guest CID, so then the intent stays, for the next
 * comer.
 */
void vm_held_abandon_vmm(struct vm_op *op, struct vm_held *held);

/* `steps` does the work on a held instance: 0 changed, 1 nothing was to do, -1. */
typedef int vm_held_steps(struct vm_op *op, struct vm_held *held, const void *arg,
                          struct vm_err *err);
/*
 * The frame of an operation on one instance: take, run the steps, record a failure as an event,
 * give the row to the caller, release. Steps with nothing to do leave no event.
 */
int vm_held_run(struct vm_op *op, const char *selector, vm_held_steps *steps, const void *arg,
                struct vm_instance *ret, struct vm_err *err);
/* The same, sharing the instance with others, for steps that change nothing of its row. */
int vm_held_run_shared(struct vm_op *op, const char *selector, vm_held_steps *steps,
                       const void *arg, struct vm_instance *ret, struct vm_err *err);

/* An error that says which states the verb works from. Returns -1. */
int vm_held_wrong_state(const struct vm_op *op, const struct vm_held *held, const char *from,
                        struct vm_err *err);

/* --- vm_op -------------------------------------------------------------------------------------
 */

/* A repair in the course of an operation: an operation of its own, with clocks of its own. */
struct vm_op vm_op_repair(const struct vm_op *op);
/* Says which instance it is about; `id` is "" while there is none. */
void vm_op_about(struct vm_op *op, const char *id, const char *name);
/* A deadline for one wait that begins now. */
int64_t vm_op_deadline(const struct vm_op *op);
void vm_op_progress(const struct vm_op *op, const char *fmt, ...)
        __attribute__((format(printf, 2, 3)));
void vm_op_warn(const struct vm_op *op, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
struct vm_event vm_op_event(const struct vm_op *op, const struct vm_instance *row,
                            enum vm_code code);
/*
 * Records that the operation has failed, as an event about its instance, also when it never got
 * that instance's lock. A mistake of the caller's (usage, not_found, ambiguous) is no operation and
 * leaves none. For undo paths: errors are lost.
 */
void vm_op_record_failure(const struct vm_op *op, const struct vm_err *why);
/* Limits of the configuration, for admission. */
struct vm_limits vm_op_limits(const struct vm_op *op);
/* The restore slots of a driver in this data root. */
struct vm_slot_pool vm_op_slots(const struct vm_op *op, const struct vm_driver *driver);
/* insufficient_resources unless `need` bytes can be written and min_free_disk stays free. */
int vm_op_check_disk(const struct vm_op *op, uint64_t need_bytes, struct vm_err *err);

#endif
