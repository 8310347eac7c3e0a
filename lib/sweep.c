/* SPDX-License-Identifier: Apache-2.0 */
#include "sweep.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

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
	struct vm_instance row = {0};
	struct vm_event event;
	int rc;

	if (vm_store_get(op->root->store, id, &row, err) < 0)
		return -1;
	event = vm_op_event(op, &row, VM_OK);
	event.verb = "repair";
	event.message = "half made by a vmctl that was killed";
	/* Between our look and our lock the maker may have published and let go: look again. */
	rc = row.state == VM_STATE_CREATING;
	if (rc && vm_remove(op, id, lock, &event, err) < 0)
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

/* 1 when the row is gone, by us or by itself; 0 when its maker is alive or it has been published.
 */
static int sweep_maker(struct vm_op *op, const struct vm_instance *row)
{
	struct vm_lock lock = VM_LOCK_INIT;
	struct vm_lock_how how = at_once;
	struct vm_err err = {0};
	int rc;

	/*
	 * A maker that was killed while it spawned a VMM has left a child that holds the lock until
	 * it executes the hypervisor: an instant. The living hold it as long as they need.
	 */
	if (row->intent.pid > 0 && kill(row->intent.pid, 0) < 0 && errno == ESRCH)
		how.deadline_ms = vm_monotonic_ms() + ORPHAN_WAIT_MS;
	rc = lock_maker(op, row, &how, &lock, &err);
	if (rc == 0)
		rc = drop_dead(op, row->id, &lock, &err);
	if (lock.fd >= 0)
		vm_sweep_lock_file(op, row->id, &lock);
	return rc > 0 || (rc < 0 && err.code == VM_ERR_NOT_FOUND);
}

bool vm_sweep_name(struct vm_op *op, const char *name)
{
	struct vm_instance row = {0};
	struct vm_err err = {0};
	bool swept;

	if (vm_store_get_named(op->root->store, name, &row, &err) < 0)
		return err.code == VM_ERR_NOT_FOUND;
	swept = row.state == VM_STATE_CREATING && sweep_maker(op, &row);
	vm_instance_free(&row);
	return swept;
}

/* An instance that counts against the limits though its VMM is dead, or was never committed. */
static int sweep_dead(struct vm_op *op, const struct vm_instance *row)
{
	struct vm_held held = VM_HELD_INIT;
	struct vm_err err = {0};
	int changed = 0;

	if (row->state == VM_STATE_CREATING)
		return 0;
	/* A start or restore that was killed before its commit has left a VMM that nobody wants. */
	if ((row->intent.verb[0] && row->state != VM_STATE_RUNNING &&
	     row->state != VM_STATE_PAUSED) ||
	    vm_vmm_alive(op->root, row->id, &err) == 0) {
		int rc = vm_held_settle(op, row, &at_once, &held, &err);

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
	char gate[VM_LOCK_NAME_SIZE];
	struct vm_err err = {0};
	bool known = vm_store_get(op->root->store, id, &row, &err) == 0;

	if (!known && err.code == VM_ERR_NOT_FOUND) {
		vm_lock_unlink_release(lock, op->root->locks_fd, id, vm_root_gate_name(id, gate));
		known = true;
	}
	vm_lock_release(lock); /* else it belongs to somebody, and stays */
	vm_instance_free(&row);
	vm_err_clear(&err);
	if (known)
		vm_store_forget_lock(op->root->store, id, &err);
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
