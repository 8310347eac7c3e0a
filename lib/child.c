/* SPDX-License-Identifier: Apache-2.0 */
#include "child.h"

#include <stdlib.h>
#include <string.h>

#include "alias.h"
#include "fs.h"
#include "interrupt.h"
#include "remove.h"
#include "sweep.h"
#include "util.h"

/* A name or a guest CID may be fought over by makers that die one after the other; each round one
 * of them got on.
 */
enum { TAKEOVER_TRIES = 64, FRESH_WAIT_MS = 5000 };

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
	vm_err_drop(child->err);
	child->err = NULL;
}

static void unlink_locks(struct vm_op *op, const char *id)
{
	char gate[VM_LOCK_NAME_SIZE];
	struct vm_err ignored = {0}; /* what stays keeps its note */

	if (vm_fs_unlink(op->root->locks_fd, vm_root_gate_name(id, gate), &ignored) == 0)
		vm_fs_unlink(op->root->locks_fd, id, &ignored);
}

static void unlock_children(struct vm_op *op, struct vm_child *children, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct vm_err ignored = {0}; /* what stays noted is swept once we are gone */

		/* Not had, but perhaps made: nobody else can want the lock of an id without a row.
		 */
		if (vm_id_valid(children[i].row.id) && children[i].lock.fd < 0)
			unlink_locks(op, children[i].row.id);
		if (vm_id_valid(children[i].row.id))
			vm_held_unlink_locks(op, children[i].row.id, &children[i].lock, &ignored);
	}
}

/* Ids are random: nobody else can want these locks before the rows are there. */
static int lock_children(struct vm_op *op, struct vm_child *children, struct vm_instance *rows,
                         size_t count, struct vm_err *err)
{
	/* Nobody wants these locks, but doctor may probe them for an instant. */
	const struct vm_lock_how fresh = {.rank = VM_RANK_CHILD,
	                                  .mode = VM_LOCK_EXCLUSIVE,
	                                  .deadline_ms = vm_monotonic_ms() + FRESH_WAIT_MS,
	                                  .create = true};

	for (size_t i = 0; i < count; i++) {
		if (vm_id_new(rows[i].id, err) < 0)
			return -1;
		memcpy(children[i].row.id, rows[i].id, sizeof(rows[i].id));
	}
	if (vm_store_note_locks(op->root->store, rows, count, err) < 0)
		return -1;
	for (size_t i = 0; i < count; i++) {
		if (vm_held_lock(op, &children[i].row, &fresh, &children[i].lock, err) < 0)
			return -1;
	}
	return 0;
}

int vm_child_reserve(struct vm_op *op, struct vm_child *children, size_t count, bool needs_cid,
                     struct vm_err *err)
{
	struct vm_limits limits = vm_op_limits(op);
	struct vm_instance *rows = vm_calloc(count, sizeof(*rows), err);
	int rc;

	if (!rows)
		return -1;
	rc = lock_children(op, children, rows, count, err);
	for (int i = 0; rc == 0 && i < TAKEOVER_TRIES; i++) {
		struct vm_conflict conflict = {0};

		for (size_t k = 0; k < count; k++)
			rows[k] = children[k].row;
		rc = vm_store_reserve(op->root->store, rows, count, needs_cid, op->verb, &limits,
		                      &conflict, err);
		if (rc == 0 || i == TAKEOVER_TRIES - 1 ||
		    !vm_sweep_refusal(op, err->code, rows[conflict.row].name, conflict.cid_holder))
			break;
		vm_err_clear(err);
		rc = 0;
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
	child->dir_fd =
	        vm_fs_make_dir(vm_root_kind_fd(op->root, child->row.kind), child->row.id, err);
	return child->dir_fd < 0 ? -1 : 0;
}

static struct vm_event event_of(const struct vm_op *op, const struct vm_child *child,
                                enum vm_code code)
{
	struct vm_event event = vm_op_event(op, &child->row, code);

	event.slot_waited_us = child->slot_waited_us;
	event.lock_waited_us += child->lock_waited_us;
	event.message = child->message;
	event.disks = child->disks;
	return event;
}

void vm_child_note_copy(struct vm_child *child, enum vm_copy how)
{
	/* One that was copied counts: it is what takes time. */
	if (how == VM_COPY_SPARSE)
		child->disks = "copy";
	else if (!child->disks)
		child->disks = how == VM_COPY_LAYER ? "layer" : "reflink";
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

		if (child->err)
			continue;
		changes[n] = (struct vm_change){
		        .id = child->row.id,
		        .generation = child->row.generation,
		        .state = state,
		        .pid = state == VM_STATE_RUNNING ? child->machine.vmm.pid : 0,
		        .hypervisor_version = version,
		        .relocation = relocation};
		events[n] = event_of(op, child, VM_OK);
		events[n].relocation = relocation;
		n++;
	}
	return vm_store_commit(op->root->store, changes, n, events, state != VM_STATE_RUNNING, err);
}

void vm_child_drop(struct vm_op *op, struct vm_child *child, const struct vm_err *why)
{
	struct vm_event event = event_of(op, child, why->code);
	struct vm_err err = {0}, ignored = {0};

	vm_vmm_close(&child->machine.vmm);
	vm_cleanup_close(&child->dir_fd);
	if (!child->reserved) {
		unlock_children(op, child, 1);
		return;
	}
	event.message = why->message;
	vm_interrupt_suspend();
	if (vm_alias_settle(op->root, child->row.alias_path, child->row.id, &err) < 0 ||
	    vm_remove(op, child->row.id, &child->lock, &event, &err) < 0) {
		vm_op_warn(op, "undoing %s: %s (the next verb that wants its name finishes this)",
		           child->row.name, err.message);
		vm_store_record(op->root->store, &event, &ignored);
	}
	vm_interrupt_resume();
	child->reserved = false;
}
