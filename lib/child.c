/* SPDX-License-Identifier: Apache-2.0 */
#include "child.h"

#include <stdlib.h>
#include <string.h>

#include "fs.h"
#include "interrupt.h"
#include "remove.h"
#include "util.h"

/* A name may be fought over by makers that die one after the other; each round one of them got on.
 */
enum { TAKEOVER_TRIES = 64 };

void vm_child_init(struct vm_child *child)
{
	memset(child, 0, sizeof(*child));
	child->lock.fd = -1;
	child->dir_fd = -1;
	child->machine.vmm.pid_fd = -1;
}

void vm_child_release(struct vm_child *child)
{
	vm_vmm_close(&child->machine.vmm);
	vm_cleanup_close(&child->dir_fd);
	vm_lock_release(&child->lock);
	vm_instance_free(&child->row);
}

static int lock_child(struct vm_op *op, const char *id, const char *name, bool create,
                      int64_t deadline_ms, struct vm_lock *ret_lock, struct vm_err *err)
{
	char gate[VM_LOCK_NAME_SIZE], what[VM_NAME_MAX + 16];
	const struct vm_lock_request request = {
	        .dir_fd = op->root->locks_fd,
	        .name = id,
	        .gate = vm_root_gate_name(id, gate),
	        .rank = VM_RANK_CHILD,
	        .mode = VM_LOCK_EXCLUSIVE,
	        .deadline_ms = deadline_ms,
	        .create = create,
	        .what = what,
	        .waited_us = &op->waited_us,
	};

	snprintf(what, sizeof(what), "instance '%s'", name);
	return vm_lock_take(&request, ret_lock, err);
}

static void unlock_children(struct vm_op *op, struct vm_child *children, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char gate[VM_LOCK_NAME_SIZE];

		if (children[i].lock.fd >= 0)
			vm_lock_unlink_release(&children[i].lock, op->root->locks_fd,
			                       children[i].row.id,
			                       vm_root_gate_name(children[i].row.id, gate));
	}
}

/* Ids are random: nobody else can want these locks before the rows are there. */
static int lock_children(struct vm_op *op, struct vm_child *children, size_t count,
                         struct vm_err *err)
{
	for (size_t i = 0; i < count; i++) {
		struct vm_instance *row = &children[i].row;

		if (vm_id_new(row->id, err) < 0 ||
		    lock_child(op, row->id, row->name, true, VM_WAIT_NONE, &children[i].lock, err) <
		            0)
			return -1;
	}
	return 0;
}

/* Under the dead maker's lock: 1 it is gone now, 0 it has published after all, -1. */
static int drop_dead(struct vm_op *op, const char *id, struct vm_lock *lock, struct vm_err *err)
{
	struct vm_instance row = {0};
	struct vm_event event;
	bool creating;

	if (vm_store_get(op->root->store, id, &row, err) < 0)
		return -1;
	/* Between our look and our lock the maker may have published and let go: look again. */
	creating = row.state == VM_STATE_CREATING;
	event = vm_op_event(op, &row, VM_OK);
	event.verb = "repair";
	event.message = "half made by a vmctl that was killed";
	if (creating && vm_remove(op, id, lock, &event, err) < 0) {
		vm_instance_free(&row);
		return -1;
	}
	vm_instance_free(&row);
	return creating;
}

/*
 * Who has the name? A maker that is dead: what it left is removed, 1. A living maker or a finished
 * instance: 0. Whatever disappears while we look is gone just as well.
 */
static int take_over(struct vm_op *op, const char *name)
{
	struct vm_lock lock = VM_LOCK_INIT;
	struct vm_instance row = {0};
	struct vm_err err = {0};
	int rc;

	rc = vm_store_get_named(op->root->store, name, &row, &err);
	if (rc == 0 && row.state == VM_STATE_CREATING) {
		rc = lock_child(op, row.id, name, false, VM_WAIT_NONE, &lock, &err);
		if (rc == 0)
			rc = drop_dead(op, row.id, &lock, &err);
		vm_lock_release(&lock);
	}
	vm_instance_free(&row);
	return rc > 0 || (rc < 0 && err.code == VM_ERR_NOT_FOUND);
}

int vm_child_reserve(struct vm_op *op, struct vm_child *children, size_t count, bool needs_cid,
                     struct vm_err *err)
{
	struct vm_limits limits = vm_op_limits(op);
	struct vm_instance *rows = vm_calloc(count, sizeof(*rows), err);
	int rc = rows ? lock_children(op, children, count, err) : -1;

	for (int i = 0; rc == 0 && i < TAKEOVER_TRIES; i++) {
		size_t conflict = 0;

		for (size_t k = 0; k < count; k++)
			rows[k] = children[k].row;
		rc = vm_store_reserve(op->root->store, rows, count, needs_cid, op->verb, &limits,
		                      &conflict, err);
		if (rc == 0 || err->code != VM_ERR_ALREADY_EXISTS)
			break;
		if (!take_over(op, rows[conflict].name))
			break;
		vm_err_clear(err);
		rc = i < TAKEOVER_TRIES - 1 ? 0
		                            : vm_err_set(err, VM_ERR_BUSY,
		                                         "the name '%s' changes hands all the time",
		                                         rows[conflict].name);
	}
	for (size_t k = 0; rc == 0 && k < count; k++) {
		children[k].row = rows[k];
		children[k].row.state = VM_STATE_CREATING;
		children[k].reserved = true;
	}
	if (rc < 0)
		unlock_children(op, children, count);
	free(rows);
	return rc;
}

int vm_child_make_dir(struct vm_op *op, struct vm_child *child, struct vm_err *err)
{
	child->dir_fd = vm_fs_make_dir(op->root->guests_fd, child->row.id, err);
	return child->dir_fd < 0 ? -1 : 0;
}

int vm_child_publish(struct vm_op *op, struct vm_child *children, size_t count, enum vm_state state,
                     const char *version, const char *relocation, struct vm_err *err)
{
	VM_AUTO_FREE struct vm_change *changes = vm_calloc(count, sizeof(*changes), err);
	VM_AUTO_FREE struct vm_event *events =
	        changes ? vm_calloc(count, sizeof(*events), err) : NULL;
	size_t n = 0;

	if (!events)
		return -1;
	for (size_t i = 0; i < count; i++) {
		struct vm_child *child = &children[i];

		if (child->err.code != VM_OK)
			continue;
		changes[n] = (struct vm_change){
		        .id = child->row.id,
		        .generation = child->row.generation,
		        .state = state,
		        .pid = state == VM_STATE_RUNNING ? child->machine.vmm.pid : 0,
		        .hypervisor_version = version,
		        .relocation = relocation};
		events[n] = vm_op_event(op, &child->row, VM_OK);
		events[n].relocation = relocation;
		n++;
	}
	return vm_store_commit(op->root->store, changes, n, events, state != VM_STATE_RUNNING, err);
}

void vm_child_drop(struct vm_op *op, struct vm_child *child, enum vm_code code)
{
	struct vm_event event = vm_op_event(op, &child->row, code);
	struct vm_err err = {0};

	vm_vmm_close(&child->machine.vmm);
	vm_cleanup_close(&child->dir_fd);
	if (!child->reserved) {
		unlock_children(op, child, 1);
		return;
	}
	event.message = child->err.message;
	vm_interrupt_suspend();
	if (vm_remove(op, child->row.id, &child->lock, &event, &err) < 0)
		vm_op_warn(op, "undoing %s: %s (the next verb that wants its name finishes this)",
		           child->row.name, err.message);
	vm_interrupt_resume();
	child->reserved = false;
}
