/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What verbs that destroy something would do: the checks of the real ones, made without a lock and
 * without changing anything. No event is left, not of a failure either.
 *
 * A call fails where the real one would, with the same code, as far as that can be told beforehand.
 * Whoever holds the instance now is named, and with a wait of 0 that is busy. What dead verbs have
 * left would be settled first: a warning says so, for the instance may then be in another state.
 */
#ifndef VM_DRY_RUN_H
#define VM_DRY_RUN_H

#include "ops.h"

enum vm_dry_action {
	VM_DRY_NOTHING,  /* it is stopped already */
	VM_DRY_REMOVE,   /* with everything in its directory; what runs is killed */
	VM_DRY_SHUTDOWN, /* the guest is asked, and killed after grace_ms */
	VM_DRY_KILL,
	VM_DRY_DISCARD, /* its saved memory is thrown away */
	VM_DRY_REVERT,  /* it becomes what `image` is */
};
/* "none", "remove", "shutdown", "kill", "discard", "restore": as in JSON. */
const char *vm_dry_action_name(enum vm_dry_action action);

enum { VM_DRY_LOST_SIZE = VM_DISK_ID_MAX + 8, VM_DRY_LOCKED_SIZE = 320 };

struct vm_dry_run {
	struct vm_instance instance; /* in the state that is true now; owned */
	enum vm_dry_action action;
	int64_t grace_ms;         /* of VM_DRY_SHUTDOWN; -1: for ever */
	struct vm_instance image; /* of VM_DRY_REVERT; owned */
	char lost[VM_DISKS_MAX + 1]
	         [VM_DRY_LOST_SIZE]; /* what nobody else has: "disk root", "memory" */
	size_t lost_count;
	char locked_by[VM_DRY_LOCKED_SIZE]; /* who would be waited for; "": nobody */
	uint64_t freed_bytes;               /* by vm_dry_run_weigh() */
};
void vm_dry_run_free(struct vm_dry_run *dry);

/* Each as the verb of that name in ops.h, with its errors. */
int vm_rm_dry_run(struct vm_op *op, const char *selector, bool force, struct vm_dry_run *ret,
                  struct vm_err *err);
int vm_stop_dry_run(struct vm_op *op, const char *selector, const struct vm_stop_options *options,
                    struct vm_dry_run *ret, struct vm_err *err);
int vm_snapshot_rm_dry_run(struct vm_op *op, const char *selector, struct vm_dry_run *ret,
                           struct vm_err *err);
int vm_snapshot_restore_dry_run(struct vm_op *op, const char *instance, const char *image,
                                struct vm_dry_run *ret, struct vm_err *err);

/*
 * What the removal of each would free by itself, and of all together, which is more where they
 * share among each other (usage.h).
 */
int vm_dry_run_weigh(const struct vm_op *op, struct vm_dry_run *list, size_t count,
                     uint64_t *ret_total, struct vm_err *err);

/* --- the checks that the verbs and their dry runs share ------------------------------------------
 */

struct vm_held;
int vm_rm_check(const struct vm_op *op, const struct vm_held *held, bool force, struct vm_err *err);
/* How it is stopped: VM_DRY_NOTHING, _SHUTDOWN, _KILL or _DISCARD. */
int vm_stop_choose(const struct vm_op *op, const struct vm_held *held,
                   const struct vm_stop_options *options, enum vm_dry_action *ret,
                   struct vm_err *err);
int vm_revert_check_instance(const struct vm_held *held, struct vm_err *err);
int vm_revert_check_image(const struct vm_op *op, const struct vm_held *held,
                          const struct vm_held *image, struct vm_err *err);

#endif
