/* SPDX-License-Identifier: Apache-2.0 */
#include "sweep.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "alias.h"
#include "remove.h"
#include "util.h"

enum { ORPHAN_WAIT_MS = 2000 };

/*
 * Taken while the caller may hold its own instance and children: rank CHILD allows several, and a
 * try that does not wait cannot deadlock.
 */
static const struct vm_lock_how at_once = {
        .rank = VM_RANK_CHILD, .mode = VM_LOCK_EXCLUSIVE, .deadline_ms = VM_WAIT_NONE};

/* Under the dead maker's lock: 1 it is gone now, 0 it has published after all, -1. */
static int drop_dead(struct vm_op *op, const char *id, struct vm_lock *lock, struct vm_err *err)
{
	struct vm_op repair = vm_op_repair(op);
	struct vm_instance row = {0};
	struct vm_event event;
	int rc;

	if (vm_store_get(op->root->store, id, &row, err) < 0)
		return -1;
	event = vm_op_event(&repair, &row, VM_OK);
	event.repaired = row.intent.verb;
	event.message = "half made by a vmctl that was killed";
	/* Between our look and our lock the maker may have published and let go: look again. */
	rc = row.state == VM_STATE_CREATING;
	if (rc && (vm_vmm_reap(op->root, id, err) < 0 ||
	           vm_alias_settle(op->root, row.alias_path, id, err) < 0 ||
	           vm_remove(op, id, lock, &event, err) < 0))
		rc = -1;
	vm_instance_free(&row);
	return rc;
}

/* Its lock file was there before the row; if it got lost, it is made again. */
static int lock_maker(struct vm_op *op, const struct vm_instance *row,
                      const struct vm_lock_how *how, struct vm_lock *ret_lock, struct vm_err *err)
{
	if (vm_held_lock(op, row, how, ret_lock, err) == 0)
		return 0;
	if (err->code != VM_ERR_NOT_FOUND)
		return -1;
	vm_err_clear(err);
	if (vm_held_remake_lock(op, row, how, err) < 0)
		return -1;
	return vm_held_lock(op, row, how, ret_lock, err);
}

/*
 * A verb that was killed while it spawned a VMM has left a child that holds the lock until it
 * executes the hypervisor: an instant. The living hold it as long as they need.
 */
static struct vm_lock_how at_once_or_after_orphans(const struct vm_instance *row)
{
	struct vm_lock_how how = at_once;

	if (row->intent.pid > 0 && kill(row->intent.pid, 0) < 0 && errno == ESRCH)
		how.deadline_ms = vm_monotonic_ms() + ORPHAN_WAIT_MS;
	return how;
}

int vm_sweep_maker(struct vm_op *op, const struct vm_instance *row, struct vm_err *err)
{
	struct vm_lock_how how = at_once_or_after_orphans(row);
	struct vm_lock lock = VM_LOCK_INIT;
	int rc;

	rc = lock_maker(op, row, &how, &lock, err);
	if (rc == 0)
		rc = drop_dead(op, row->id, &lock, err);
	if (lock.fd >= 0)
		vm_sweep_lock_file(op, row->id, &lock);
	if (rc >= 0 || err->code != VM_ERR_NOT_FOUND)
		return rc;
	vm_err_clear(err); /* somebody else has swept it */
	return 1;
}

static int sweep_maker(struct vm_op *op, const struct vm_instance *row)
{
	struct vm_err ignored = {0}; /* it is tried again by the next who comes */

	return vm_sweep_maker(op, row, &ignored);
}

/* Whether the name is free now. */
static bool sweep_name(struct vm_op *op, const char *name)
{
	struct vm_instance row = {0};
	struct vm_err err = {0};
	bool swept;

	if (vm_store_get_named(op->root->store, name, &row, &err) < 0)
		return err.code == VM_ERR_NOT_FOUND;
	swept = row.state == VM_STATE_CREATING && sweep_maker(op, &row) > 0;
	vm_instance_free(&row);
	return swept;
}

/* An instance that counts against the limits though its VMM is dead, or was never committed. */
static int sweep_dead(struct vm_op *op, const struct vm_instance *row)
{
	struct vm_lock_how how = at_once_or_after_orphans(row);
	struct vm_held held = VM_HELD_INIT;
	struct vm_err err = {0};
	int changed = 0;

	if (row->state == VM_STATE_CREATING)
		return 0;
	/*
	 * A start or restore that was killed before its commit has left a VMM that nobody wants.
	 * All this is only advice: vm_held_settle() reads row and liveness again under the lock,
	 * and what has been restored or stopped meanwhile is left alone.
	 */
	if ((row->intent.verb[0] && row->state != VM_STATE_RUNNING &&
	     row->state != VM_STATE_PAUSED) ||
	    vm_vmm_alive(op->root, row->id, &err) == 0) {
		int rc = vm_held_settle(op, row, &how, &held, &err);

		changed = rc == 1 || (rc == 0 && !held.row.occupies);
	}
	vm_held_release(&held);
	return changed;
}

static size_t sweep(struct vm_op *op, enum vm_list which,
                    int (*one)(struct vm_op *op, const struct vm_instance *row))
{
	struct vm_instance *rows = NULL;
	struct vm_err ignored = {0};
	size_t count = 0, swept = 0;

	if (vm_store_list(op->root->store, which, &rows, &count, &ignored) < 0)
		return 0;
	for (size_t i = 0; i < count; i++) {
		/* Somebody is at it: not worth a try, whose failure would look for who that is. */
		if (vm_lock_probe(op->root->locks_fd, rows[i].id, &ignored) == 0)
			swept += one(op, &rows[i]) > 0;
		vm_err_clear(&ignored);
	}
	vm_instances_free(rows, count);
	return swept;
}

void vm_sweep_lock_file(struct vm_op *op, const char *id, struct vm_lock *lock)
{
	struct vm_instance row = {0};
	struct vm_err err = {0}, ignored = {0};

	/*
	 * Looked at under the lock: since the note was read its process may have made the row after
	 * all, before it died, and the lock file is that row's now.
	 */
	if (vm_store_get(op->root->store, id, &row, &err) < 0 && err.code == VM_ERR_NOT_FOUND) {
		vm_held_unlink_locks(op, id, lock, &ignored);
		return;
	}
	vm_instance_free(&row);
	vm_lock_release(lock); /* it belongs to somebody, and stays */
	if (err.code == VM_OK)
		vm_store_forget_lock(op->root->store, id, &ignored);
}

void vm_sweep_lock_files(struct vm_op *op)
{
	struct vm_lock_how anew = at_once;
	struct vm_instance stray = {0};
	struct vm_err err = {0};

	anew.create = true; /* also when only the gate was made, or nothing */
	while (vm_store_take_stray_lock(op->root->store, stray.id, &err) > 0) {
		struct vm_lock lock = VM_LOCK_INIT;

		/* If somebody has it, the note stays ours, and is swept once we are gone. */
		if (vm_held_lock(op, &stray, &anew, &lock, &err) == 0)
			vm_sweep_lock_file(op, stray.id, &lock);
		vm_err_clear(&err);
	}
}

size_t vm_sweep_makers(struct vm_op *op)
{
	vm_sweep_lock_files(op);
	return sweep(op, VM_LIST_CREATING, sweep_maker);
}

size_t vm_sweep_all(struct vm_op *op)
{
	return vm_sweep_makers(op) + sweep(op, VM_LIST_OCCUPYING, sweep_dead);
}

/* Whether the instance has its guest CID no longer: its verb or its VMM was dead, or it has gone.
 */
static bool sweep_cid_holder(struct vm_op *op, const char *id)
{
	struct vm_instance row = {0};
	struct vm_err err = {0};
	bool freed;

	if (vm_store_get(op->root->store, id, &row, &err) < 0)
		return err.code == VM_ERR_NOT_FOUND;
	/* Between the refusal and this look it may have been stopped: then nothing is to be done.
	 */
	if (!row.occupies)
		freed = true;
	else if (row.state == VM_STATE_CREATING)
		freed = sweep_maker(op, &row) > 0;
	else
		freed = sweep_dead(op, &row) > 0;
	vm_instance_free(&row);
	return freed;
}

bool vm_sweep_refusal(struct vm_op *op, enum vm_code refused, const char *name,
                      const char *cid_holder)
{
	if (refused == VM_ERR_INSUFFICIENT_RESOURCES)
		return vm_sweep_all(op) > 0;
	if (refused != VM_ERR_ALREADY_EXISTS)
		return false;
	return cid_holder[0] ? sweep_cid_holder(op, cid_holder) : name && sweep_name(op, name);
}
