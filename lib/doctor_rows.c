/* SPDX-License-Identifier: Apache-2.0 */
/* doctor: what may be wrong with one instance. Nothing is changed here. */
#include <string.h>
#include <unistd.h>

#include "alias.h"
#include "doctor_impl.h"
#include "fs.h"
#include "held.h"
#include "manifest.h"
#include "util.h"

/*
 * A VMM that does not answer for so long is called silent; verbs have more patience. One that is on
 * its way out only needs a moment.
 */
enum { PATIENCE_MS = 10000, ENDING_WAIT_MS = 2000 };

static bool wants_vmm(const struct vm_instance *row)
{
	return row->state == VM_STATE_RUNNING || row->state == VM_STATE_PAUSED;
}

/* The row and its directory as a held instance, but for the lock. */
static int look_into(struct vm_op *op, const struct vm_instance *row, struct vm_held *held,
                     struct vm_err *err)
{
	if (vm_store_get(op->root->store, row->id, &held->row, err) < 0)
		return -1;
	return vm_held_open(op, held, err);
}

/* What the guest does, as its VMM says: the store may be wrong about that when others pause it. */
static enum vm_ailment ask_guest(struct vm_op *op, struct vm_held *held)
{
	int64_t usual = op->root->config.api_timeout_ms;
	enum vm_guest_state guest = VM_GUEST_NOT_STARTED;
	enum vm_ailment ailment = VM_AILMENT_NONE;
	struct vm_machine machine;
	struct vm_err err = {0}, ignored = {0};

	if (vm_held_attach(op, held, &machine, &err) < 0)
		return VM_AILMENT_NONE; /* it has ended since we looked: found the next time */
	op->root->config.api_timeout_ms = usual < PATIENCE_MS ? usual : PATIENCE_MS;
	if (vm_driver_query(&machine, &guest, &err) < 0)
		ailment = vm_vmm_wait(&machine.vmm, vm_monotonic_ms() + ENDING_WAIT_MS, &ignored)
		                  ? VM_AILMENT_SILENT
		                  : VM_AILMENT_VMM_DIED;
	else if (guest == VM_GUEST_PAUSED && held->row.state == VM_STATE_RUNNING)
		ailment = VM_AILMENT_PAUSED;
	else if (guest == VM_GUEST_RUNNING && held->row.state == VM_STATE_PAUSED)
		ailment = VM_AILMENT_RUNS;
	op->root->config.api_timeout_ms = usual;
	vm_vmm_close(&machine.vmm);
	return ailment;
}

static bool has_leftovers(const struct vm_held *held, bool alive)
{
	for (size_t i = 0; vm_held_temporaries[i]; i++) {
		if (vm_fs_exists(held->dir_fd, vm_held_temporaries[i]))
			return true;
	}
	for (size_t i = 0; !alive && vm_driver_leftovers[i]; i++) {
		if (vm_fs_exists(held->dir_fd, vm_driver_leftovers[i]))
			return true;
	}
	return !alive && !vm_driver_is_clean(held->driver, held->dir_fd);
}

static enum vm_ailment examine_files(struct vm_op *op, const struct vm_instance *row, bool alive)
{
	struct vm_held held = VM_HELD_INIT;
	enum vm_ailment ailment = VM_AILMENT_NONE;
	struct vm_err err = {0};

	if (look_into(op, row, &held, &err) < 0)
		ailment = VM_AILMENT_NONE; /* removed meanwhile, or the verbs say what is damaged */
	else if (has_leftovers(&held, alive))
		ailment = VM_AILMENT_FILES;
	else if (row->state == VM_STATE_STANDBY && !vm_fs_exists(held.dir_fd, VM_FILE_MANIFEST))
		ailment = VM_AILMENT_NO_STATE;
	else if (wants_vmm(row))
		ailment = ask_guest(op, &held);
	vm_held_release(&held);
	return ailment;
}

static int first_ailment(struct vm_op *op, const struct vm_instance *row, struct vm_err *err)
{
	bool has_directory = vm_fs_exists(vm_root_kind_fd(op->root, row->kind), row->id);
	int alive;

	if (row->state == VM_STATE_CREATING)
		return VM_AILMENT_HALF_MADE;
	if (row->intent.verb[0] && (has_directory || strcmp(row->intent.verb, "rm") == 0))
		return VM_AILMENT_INTENT;
	alive = vm_vmm_alive(op->root, row->id, err);
	if (alive < 0)
		return -1;
	if (!has_directory && vm_alias_has_journal(op->root, row->id))
		return VM_AILMENT_NONE; /* a killed load has renamed it away, which is told */
	if (!has_directory)
		return row->state == VM_STATE_FAILED && !alive ? VM_AILMENT_LOST
		                                               : VM_AILMENT_NO_DIRECTORY;
	if (wants_vmm(row) && !alive)
		return VM_AILMENT_VMM_DIED;
	if (!wants_vmm(row) && alive)
		return VM_AILMENT_VMM_UNWANTED;
	return (int)examine_files(op, row, alive);
}

/* Whether the instance is now as it was when we looked, and nobody works on it. */
static bool unchanged(struct vm_op *op, const struct vm_instance *row)
{
	struct vm_instance now = {0};
	struct vm_err ignored = {0};
	bool same = vm_lock_probe(op->root->locks_fd, row->id, &ignored) == 0;

	vm_err_clear(&ignored);
	same = same && vm_store_get(op->root->store, row->id, &now, &ignored) == 0 &&
	       now.generation == row->generation && now.state == row->state &&
	       strcmp(now.intent.verb, row->intent.verb) == 0;
	vm_instance_free(&now);
	return same;
}

/*
 * Whether the guest still does otherwise than the row says. A fork that pauses its source and lets
 * it go on again leaves the row as it was: so what such a guest does is judged under the lock,
 * shared, under which nobody pauses it. Its VMM has just answered, so that is short.
 */
static enum vm_ailment ask_again(struct vm_op *op, const struct vm_instance *row,
                                 enum vm_ailment ailment)
{
	const struct vm_lock_how how = {
	        .rank = VM_RANK_SOURCE, .mode = VM_LOCK_SHARED, .deadline_ms = VM_WAIT_NONE};
	struct vm_held held = VM_HELD_INIT;
	struct vm_err err = {0};

	if (vm_held_lock(op, row, &how, &held.lock, &err) < 0) /* it has lost its lock file? */
		return err.code == VM_ERR_NOT_FOUND ? ailment : VM_AILMENT_NONE;
	if (unchanged(op, row) && look_into(op, row, &held, &err) == 0)
		ailment = ask_guest(op, &held);
	else
		ailment = VM_AILMENT_NONE;
	vm_held_release(&held);
	return ailment;
}

int vm_doctor_examine(struct vm_op *op, const struct vm_instance *row, struct vm_err *err)
{
	int ailment = first_ailment(op, row, err);

	/*
	 * Nothing was locked before: while we looked a verb may have begun, or come and gone. What
	 * it did on purpose is no ailment, so only what stands still is judged.
	 */
	if (ailment > 0 && !unchanged(op, row))
		return VM_AILMENT_NONE;
	return ailment == VM_AILMENT_PAUSED || ailment == VM_AILMENT_RUNS
	               ? (int)ask_again(op, row, (enum vm_ailment)ailment)
	               : ailment;
}
