/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor --repair: leftovers are settled under the lock of the instance they belong to, exactly as
 * the next verb on it would do. No lock on the whole store is taken: a repair holds nobody up but
 * who wants the same instance, and waits for nobody else.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "alias.h"
#include "doctor_impl.h"
#include "events.h"
#include "fs.h"
#include "held.h"
#include "interrupt.h"
#include "manifest.h"
#include "remove.h"
#include "settle.h"
#include "sweep.h"

#define LOST_DIR "lost"

enum { TRIES = 16 };

static struct vm_lock_how alone(const struct vm_op *op)
{
	return (struct vm_lock_how){.rank = VM_RANK_SOURCE,
	                            .mode = VM_LOCK_EXCLUSIVE,
	                            .deadline_ms = vm_op_deadline(op)};
}

/* What settling by itself would not see: it looks at the row and the VMM's liveness only. */
static int settle_rest(struct vm_op *op, const struct vm_instance *row, enum vm_ailment ailment,
                       struct vm_held *held, struct vm_err *err)
{
	bool as_seen = held->row.generation == row->generation && held->row.state == row->state;
	bool gone = false;

	if (ailment == VM_AILMENT_PAUSED || ailment == VM_AILMENT_RUNS)
		return as_seen ? vm_settle(op, held, &gone, err) : 0;
	if (ailment != VM_AILMENT_FILES)
		return 0;
	if (held->row.pid == 0 && vm_driver_clean(held->driver, held->dir_fd, err) < 0)
		return -1;
	return vm_held_drop_temporaries(held->dir_fd, err);
}

static bool is_gone(struct vm_op *op, const struct vm_instance *row)
{
	struct vm_instance now = {0};
	struct vm_err err = {0};

	if (vm_store_get(op->root->store, row->id, &now, &err) < 0)
		return err.code == VM_ERR_NOT_FOUND;
	vm_instance_free(&now);
	return false;
}

/* Under the lock the instance may be in order, or gone: then there is nothing left to do. */
static int settle_row(struct vm_op *op, const struct vm_instance *row, enum vm_ailment ailment,
                      struct vm_err *err)
{
	for (int i = 0; i < TRIES; i++) {
		struct vm_held held = VM_HELD_INIT;
		struct vm_lock_how how = alone(op);
		int rc = vm_held_settle(op, row, &how, &held, err);

		if (rc == 0)
			rc = settle_rest(op, row, ailment, &held, err);
		vm_held_release(&held);
		/* Else it had lost its lock file, which is there again now. */
		if (rc <= 0 || is_gone(op, row))
			return rc < 0 ? -1 : 0;
	}
	return vm_err_set(err, VM_ERR_BUSY, "instance '%s' changes all the time", row->name);
}

/*
 * An instance without a directory has lost its disks. The row stays, so that the user learns of it,
 * and says so; a VMM that still has the deleted files open is ended, since nobody can reach it.
 */
static int fail_lost(struct vm_op *op, const struct vm_instance *found, struct vm_err *err)
{
	struct vm_held held = VM_HELD_INIT;
	struct vm_lock_how how = alone(op);
	struct vm_op repair = vm_op_repair(op);
	const struct vm_outcome outcome = {.state = VM_STATE_FAILED,
	                                   .failure = "its directory is gone",
	                                   .repaired = VM_REPAIRED_LOST,
	                                   .durable = true};
	int rc;

	/*
	 * Its lock files may be gone as well. Noted first: if it is removed while we wait, what we
	 * make has no row.
	 */
	how.create = true;
	if (vm_store_note_locks(op->root->store, found, 1, err) < 0)
		return -1;
	rc = vm_held_lock(op, found, &how, &held.lock, err);
	if (rc == 0)
		rc = vm_store_get(op->root->store, found->id, &held.row, err);
	if (rc < 0 && err->code == VM_ERR_NOT_FOUND) {
		vm_err_clear(err); /* removed while we waited */
		rc = 0;
	} else if (rc == 0 && !vm_fs_exists(vm_root_kind_fd(op->root, found->kind), found->id) &&
	           !vm_alias_has_journal(op->root, found->id)) {
		rc = vm_vmm_reap(op->root, found->id, err);
		if (rc == 0)
			rc = vm_held_commit(&repair, &held, &outcome, err);
	}
	if (held.lock.fd >= 0)
		vm_sweep_lock_file(op, found->id, &held.lock);
	vm_held_release(&held);
	return rc;
}

int vm_repair_row(struct vm_op *op, const struct vm_instance *row, enum vm_ailment ailment,
                  struct vm_err *err)
{
	if (ailment == VM_AILMENT_NO_DIRECTORY)
		return fail_lost(op, row, err);
	if (ailment == VM_AILMENT_HALF_MADE)
		return vm_sweep_maker(op, row, err) < 0 ? -1 : 0;
	return settle_row(op, row, ailment, err);
}

/* To lost/, under the same name; never over something that is there already. */
static int set_aside(struct vm_op *op, const char *id, struct vm_err *err)
{
	int from_fd =
	        vm_fs_exists(op->root->images_fd, id) ? op->root->images_fd : op->root->guests_fd;
	VM_AUTO_CLOSE int lost_fd = -1;

	if (!vm_fs_exists(from_fd, id))
		return 0;
	lost_fd = vm_fs_make_dir(op->root->fd, LOST_DIR, err);
	if (lost_fd < 0)
		return -1;
	return vm_fs_rename(from_fd, id, lost_fd, id, err);
}

static int clear_stray(struct vm_op *op, const struct vm_instance *stray, struct vm_lock *lock,
                       struct vm_err *err)
{
	struct vm_op repair = vm_op_repair(op);
	struct vm_event event = vm_op_event(&repair, stray, VM_OK);
	struct vm_instance row = {0};
	struct vm_err none = {0};

	event.repaired = VM_REPAIRED_STRAY;
	event.message = "files that belonged to no instance";
	/* Since we looked its maker may have made the row: ids are random, so only a maker can. */
	if (vm_store_get(op->root->store, stray->id, &row, &none) == 0) {
		vm_instance_free(&row);
		return 0;
	}
	if (none.code != VM_ERR_NOT_FOUND) {
		*err = none;
		return -1;
	}
	if (vm_vmm_reap(op->root, stray->id, err) < 0 || set_aside(op, stray->id, err) < 0)
		return -1;
	return vm_remove(op, stray->id, lock, &event, err);
}

int vm_repair_stray(struct vm_op *op, const char *id, struct vm_err *err)
{
	struct vm_lock lock = VM_LOCK_INIT;
	struct vm_lock_how how = alone(op);
	struct vm_instance stray = {0};
	int rc;

	how.create = true;
	snprintf(stray.id, sizeof(stray.id), "%s", id);
	snprintf(stray.name, sizeof(stray.name), "%s", id);
	/* Noted first: a kill leaves no lock files that nobody would find. */
	if (vm_store_note_locks(op->root->store, &stray, 1, err) < 0)
		return -1;
	rc = vm_held_lock(op, &stray, &how, &lock, err);
	vm_interrupt_suspend();
	if (rc == 0)
		rc = clear_stray(op, &stray, &lock, err);
	if (lock.fd >= 0)
		vm_sweep_lock_file(op, id, &lock);
	vm_interrupt_resume();
	return rc;
}
