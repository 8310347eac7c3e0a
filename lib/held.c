/* SPDX-License-Identifier: Apache-2.0 */
#include "held.h"

#include <jansson.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "alias.h"
#include "fault.h"
#include "fs.h"
#include "manifest.h"
#include "pool.h"
#include "settle.h"
#include "sweep.h"
#include "util.h"

/* How often an instance may change under our feet before we give up; each time somebody got on. */
enum { TRIES = 16 };

void vm_held_release(struct vm_held *held)
{
	vm_cleanup_close(&held->dir_fd);
	vm_spec_free(&held->spec);
	vm_instance_free(&held->row);
	vm_lock_release(&held->lock);
}

int vm_held_lock(struct vm_op *op, const struct vm_instance *row, const struct vm_lock_how *how,
                 struct vm_lock *ret_lock, struct vm_err *err)
{
	char gate[VM_LOCK_NAME_SIZE], what[VM_FULL_NAME_MAX + 16];
	const struct vm_lock_request request = {
	        .dir_fd = op->root->locks_fd,
	        .name = row->id,
	        .gate = vm_root_gate_name(row->id, gate),
	        .rank = how->rank,
	        .mode = how->mode,
	        .deadline_ms = how->deadline_ms,
	        .create = how->create,
	        .what = what,
	        .waited_us = &op->lock_waited_us,
	        .tell = op->tell,
	};

	snprintf(what, sizeof(what), "instance '%s'", row->name);
	return vm_lock_take(&request, ret_lock, err);
}

int vm_held_unlink_locks(struct vm_op *op, const char *id, struct vm_lock *lock, struct vm_err *err)
{
	int locks_fd = op->root->locks_fd;
	char memory[VM_LOCK_NAME_SIZE], gate[VM_LOCK_NAME_SIZE];

	vm_root_memory_lock_name(id, memory);
	vm_root_gate_name(id, gate);
	if (lock->fd >= 0) {
		if (!vm_fault(VM_FAULT_LOCK_MEMORY) && unlinkat(locks_fd, memory, 0) == 0)
			vm_fault(VM_FAULT_LOCK_MEMORY_DONE);
		vm_lock_unlink_release(lock, locks_fd, id, gate);
	}
	/* What could not be unlinked is swept by its note, once we are gone. */
	if (vm_fs_exists(locks_fd, id) || vm_fs_exists(locks_fd, gate) ||
	    vm_fs_exists(locks_fd, memory))
		return 0;
	return vm_store_forget_lock(op->root->store, id, err);
}

/*
 * No lock file. Mostly the instance has just been removed; but a power loss or a copied data root
 * may have lost the file of one that is still there: it is made again, noted first, so that a
 * removal or a kill meanwhile leaves none without a row.
 */
int vm_held_remake_lock(struct vm_op *op, const struct vm_instance *found,
                        const struct vm_lock_how *how, struct vm_err *err)
{
	struct vm_lock_how anew = {.rank = how->rank,
	                           .mode = VM_LOCK_EXCLUSIVE,
	                           .deadline_ms = how->deadline_ms,
	                           .create = true};
	struct vm_lock lock = VM_LOCK_INIT;
	struct vm_instance row = {0};
	struct vm_err gone = {0};

	if (vm_store_get(op->root->store, found->id, &row, &gone) < 0)
		return 0;
	vm_instance_free(&row);
	if (vm_store_note_locks(op->root->store, found, 1, err) < 0 ||
	    vm_held_lock(op, found, &anew, &lock, err) < 0)
		return -1;
	vm_sweep_lock_file(op, found->id, &lock);
	return 0;
}

static int load_spec(struct vm_held *held, struct vm_err *err)
{
	json_t *json = json_loads(held->row.spec, 0, NULL);
	int rc = json ? vm_spec_from_json(json, &held->spec, err)
	              : vm_err_set(err, VM_ERR_CORRUPT, "the stored spec is not JSON");

	json_decref(json);
	return rc < 0 ? vm_err_wrap(err, "%s", held->row.name) : 0;
}

int vm_held_open(const struct vm_op *op, struct vm_held *held, struct vm_err *err)
{
	if (vm_driver_find(held->row.hypervisor, &held->driver, err) < 0 ||
	    load_spec(held, err) < 0)
		return -1;
	held->dir_fd = vm_fs_open_dir(vm_root_kind_fd(op->root, held->row.kind), held->row.id, err);
	if (held->dir_fd >= 0)
		return 0;
	err->code = VM_ERR_CORRUPT;
	vm_err_wrap(err, "%s: its directory is not usable", held->row.name);
	return vm_err_hint(err,
	                   held->row.kind == VM_KIND_IMAGE
	                           ? "remove the snapshot with 'vmctl snapshot rm %s'"
	                           : "remove the instance with 'vmctl rm --force %s'",
	                   held->row.name);
}

/*
 * Its directory may not be where it belongs because somebody was killed who loaded a state that
 * names it. He had this lock then: now it is ours, and what he left is put back first.
 */
static int open_or_put_back(struct vm_op *op, struct vm_held *held, struct vm_err *err)
{
	int parent_fd = vm_root_kind_fd(op->root, held->row.kind);
	char path[PATH_MAX];
	struct vm_err second = {0};

	if (vm_held_open(op, held, err) == 0)
		return 0;
	vm_fs_path(parent_fd, held->row.id, path, sizeof(path));
	if (vm_alias_settle(op->root, path, NULL, &second) < 0 ||
	    !vm_fs_exists(parent_fd, held->row.id))
		return -1;
	vm_spec_free(&held->spec);
	vm_err_clear(err);
	return vm_held_open(op, held, err);
}

/*
 * Locks and reloads what was found: 0, 1 it is gone or to be found anew, -1. Until the lock was
 * had, anybody may have changed or removed the instance, or removed it and given its name to
 * another: the row read before is only advice, everything is decided on the row read under the
 * lock.
 */
static int lock_and_load(struct vm_op *op, const struct vm_instance *found,
                         const struct vm_lock_how *how, struct vm_held *held, struct vm_err *err)
{
	if (vm_held_lock(op, found, how, &held->lock, err) < 0) {
		if (err->code != VM_ERR_NOT_FOUND)
			return -1;
		vm_err_clear(err);
		return vm_held_remake_lock(op, found, how, err) < 0 ? -1 : 1;
	}
	if (vm_store_get(op->root->store, found->id, &held->row, err) < 0) {
		if (err->code != VM_ERR_NOT_FOUND)
			return -1;
		vm_err_clear(err); /* removed while we waited for its lock */
		return 1;
	}
	if (open_or_put_back(op, held, err) < 0) {
		/* Also of a removal that was killed after it had taken the directory away. */
		if (!op->tolerate_damage && strcmp(held->row.intent.verb, "rm") != 0)
			return -1;
		vm_err_clear(err);
	}
	return 0;
}

/* 0 settled, 1 it is gone, -1. Held exclusively. */
static int settle(struct vm_op *op, struct vm_held *held, struct vm_err *err)
{
	bool gone = false;

	if (vm_settle(op, held, &gone, err) < 0)
		return -1;
	return gone ? 1 : 0;
}

/* Whether anybody has been at an instance between two looks at its row. */
static bool has_moved(const struct vm_instance *before, const struct vm_instance *now)
{
	return before->generation != now->generation || before->state != now->state ||
	       strcmp(before->intent.verb, now->intent.verb) != 0;
}

/*
 * Repair changes the instance, so a sharer that sees a need for it lets go, comes back alone, and
 * then begins from the start with a shared lock: 1, or -1. In the gap the instance is anybody's.
 * Who got in between has repaired it, for whoever takes the exclusive lock does that first, and may
 * have gone on to run it, put it to rest or remove it. So generation, state and intent are compared
 * with what we let go of. Where they are others the repair that we came for has been made, and what
 * is there now is looked at from the start; nothing is done to it on the word of the older look.
 * Where they are the same, the VMM may still have ended or come up, which no row tells: the need is
 * looked for again.
 */
static int come_back_alone(struct vm_op *op, const struct vm_lock_how *how, struct vm_held *held,
                           struct vm_err *err)
{
	VM_AUTO(vm_instance_free) struct vm_instance seen = vm_instance_take(&held->row);
	struct vm_lock_how alone = *how;
	int rc;

	alone.mode = VM_LOCK_EXCLUSIVE;
	vm_held_release(held);
	rc = lock_and_load(op, &seen, &alone, held, err);
	if (rc != 0 || has_moved(&seen, &held->row))
		return rc < 0 ? -1 : 1;
	rc = vm_settle_needed(op, held, err);
	if (rc > 0)
		rc = settle(op, held, err);
	return rc < 0 ? -1 : 1;
}

/*
 * A load that failed, and could not put back what it had renamed away, has left a journal and no
 * intent. If we cannot either, doctor tells; the instance is in order without.
 */
static void put_back_alias(struct vm_op *op, const struct vm_held *held)
{
	struct vm_err ignored = {0};

	if (!held->row.intent.verb[0])
		vm_alias_settle(op->root, held->row.alias_path, held->row.id, &ignored);
}

int vm_held_settle(struct vm_op *op, const struct vm_instance *found, const struct vm_lock_how *how,
                   struct vm_held *held, struct vm_err *err)
{
	int rc = lock_and_load(op, found, how, held, err);

	if (rc != 0)
		return rc;
	put_back_alias(op, held);
	rc = vm_settle_needed(op, held, err);
	if (rc <= 0)
		return rc;
	return how->mode == VM_LOCK_SHARED ? come_back_alone(op, how, held, err)
	                                   : settle(op, held, err);
}

/* A row never changes its kind, so this needs no lock. */
int vm_held_check_kind(const struct vm_op *op, const struct vm_instance *row, struct vm_err *err)
{
	if (op->on & 1U << row->kind || (op->on == 0 && row->kind == VM_KIND_INSTANCE))
		return 0;
	if (row->kind == VM_KIND_IMAGE) {
		vm_err_set(err, VM_ERR_INVALID_STATE, "%s is a snapshot; %s works on instances",
		           row->name, op->verb);
		return vm_err_hint(err, "'vmctl snapshot fork %s' makes an instance of it",
		                   row->name);
	}
	return vm_snapshot_require(row, err);
}

int vm_held_take(struct vm_op *op, const char *selector, enum vm_lock_mode mode,
                 struct vm_held *ret_held, struct vm_err *err)
{
	/* What dead makers have left is in nobody's way, but it may run, and it is nobody else's.
	 */
	vm_sweep_makers(op);
	for (int i = 0; i < TRIES; i++) {
		const struct vm_lock_how how = {
		        .rank = VM_RANK_SOURCE, .mode = mode, .deadline_ms = vm_op_deadline(op)};
		struct vm_held held = VM_HELD_INIT;
		struct vm_instance found;
		int rc;

		if (vm_store_find(op->root->store, selector, &found, err) < 0)
			return -1;
		vm_op_about(op, found.id, found.name);
		rc = vm_held_check_kind(op, &found, err);
		if (rc == 0)
			rc = vm_held_settle(op, &found, &how, &held, err);
		vm_instance_free(&found);
		if (rc == 0) {
			*ret_held = held;
			return 0;
		}
		vm_held_release(&held);
		if (rc < 0)
			return -1;
	}
	return vm_err_set(err, VM_ERR_BUSY, "instance '%s' changes all the time", selector);
}

struct vm_machine vm_held_machine(const struct vm_op *op, const struct vm_held *held)
{
	return (struct vm_machine){
	        .root = op->root,
	        .driver = held->driver,
	        .id = held->row.id,
	        .name = held->row.name,
	        .version = held->row.hypervisor_version,
	        .spec = &held->spec,
	        .guest_cid = held->row.guest_cid,
	        .dir_fd = held->dir_fd,
	        .tell = op->tell,
	        .vmm = VM_VMM_INIT,
	};
}

int vm_held_attach(const struct vm_op *op, const struct vm_held *held, struct vm_machine *ret,
                   struct vm_err *err)
{
	struct vm_machine machine = vm_held_machine(op, held);
	int alive = vm_vmm_open(op->root, held->row.id, &machine.vmm, err);

	if (alive == 0)
		return vm_err_set(err, VM_ERR_HYPERVISOR, "%s: the VMM has just ended",
		                  held->row.name);
	if (alive < 0)
		return -1;
	*ret = machine;
	return 0;
}

int vm_held_intend(struct vm_op *op, struct vm_held *held, const char *detail, enum vm_run run,
                   struct vm_err *err)
{
	struct vm_admission admission = {.limits = vm_op_limits(op), .boots = run == VM_RUN_BOOT};
	int rc;

	for (int i = 0;; i++) {
		rc = vm_store_intend(op->root->store, held->row.id, op->verb, detail,
		                     run == VM_RUN_NONE ? NULL : &admission, err);
		/* The dead do not run: whoever still counts as running and is not makes room. */
		if (rc == 0 || run == VM_RUN_NONE || i == TRIES ||
		    !vm_sweep_refusal(op, err->code, NULL, admission.conflict.cid_holder))
			break;
		vm_err_clear(err);
	}
	if (rc < 0)
		return vm_err_wrap(err, "%s", held->row.name);
	if (run != VM_RUN_NONE)
		held->row.guest_cid = admission.guest_cid;
	return 0;
}

const char *const vm_held_temporaries[] = {
        VM_FILE_MANIFEST ".tmp",
        VM_FILE_STATE ".tmp",
        VM_FILE_MEMORY ".new",
        VM_FILE_STATE ".new",
        VM_FILE_SOURCE_STATE,
        VM_FILE_BELOW,
        NULL,
};

int vm_held_drop_temporaries(int dir_fd, struct vm_err *err)
{
	for (size_t i = 0; vm_held_temporaries[i]; i++) {
		if (vm_fs_unlink(dir_fd, vm_held_temporaries[i], err) < 0)
			return -1;
	}
	return 0;
}

int vm_held_drop_saved(struct vm_op *op, struct vm_held *held, struct vm_err *err)
{
	if (vm_fs_unlink(held->dir_fd, VM_FILE_MANIFEST, err) < 0 ||
	    vm_fs_unlink(held->dir_fd, VM_FILE_STATE, err) < 0)
		return -1;
	return vm_pool_put(op->root, held->dir_fd, VM_FILE_MEMORY, err);
}

int vm_held_commit(struct vm_op *op, struct vm_held *held, const struct vm_outcome *outcome,
                   struct vm_err *err)
{
	const struct vm_change change = {
	        .id = held->row.id,
	        .generation = held->row.generation,
	        .state = outcome->state,
	        .pid = outcome->pid,
	        .hypervisor_version = outcome->version,
	        .relocation = outcome->relocation,
	        .alias_path = outcome->alias_path,
	        .failure = outcome->failure,
	        .next_detail = outcome->next_detail,
	};
	struct vm_event event = vm_op_event(op, &held->row, VM_OK);

	event.message = outcome->failure;
	event.repaired = outcome->repaired;
	/* An operation that goes on has its event at its end. */
	if (vm_store_commit(op->root->store, &change, 1,
	                    outcome->next_detail || outcome->failed ? NULL : &event,
	                    outcome->durable, err) < 0)
		return vm_err_wrap(err, "%s", held->row.name);
	held->row.generation++;
	held->row.state = outcome->state;
	held->row.pid = outcome->pid;
	held->row.occupies =
	        outcome->state == VM_STATE_RUNNING || outcome->state == VM_STATE_PAUSED;
	return 0;
}

void vm_held_abandon(struct vm_op *op, struct vm_held *held)
{
	bool occupies = held->row.state == VM_STATE_RUNNING || held->row.state == VM_STATE_PAUSED;
	struct vm_err ignored = {0};

	/* If even this fails the intent stays, and the next comer settles it. */
	vm_store_forget_intent(op->root->store, held->row.id, occupies, NULL, &ignored);
}

void vm_held_abandon_vmm(struct vm_op *op, struct vm_held *held)
{
	struct vm_err ignored = {0};

	if (vm_vmm_reap(op->root, held->row.id, &ignored) == 0 &&
	    vm_driver_clean(held->driver, held->dir_fd, &ignored) == 0)
		vm_held_abandon(op, held);
}

static int run(struct vm_op *op, const char *selector, enum vm_lock_mode mode, vm_held_steps *steps,
               const void *arg, struct vm_instance *ret, struct vm_err *err)
{
	struct vm_held held = VM_HELD_INIT;
	int rc;

	rc = vm_held_take(op, selector, mode, &held, err);
	if (rc == 0)
		rc = steps(op, &held, arg, err);
	if (rc < 0) {
		vm_op_record_failure(op, err);
	} else if (ret) {
		/* The caller gets the row as committed; one that was removed, as it was. */
		struct vm_err gone = {0};

		if (vm_store_get(op->root->store, held.row.id, ret, &gone) < 0)
			*ret = vm_instance_take(&held.row);
	}
	vm_held_release(&held);
	return rc < 0 ? -1 : 0;
}

int vm_held_run(struct vm_op *op, const char *selector, vm_held_steps *steps, const void *arg,
                struct vm_instance *ret, struct vm_err *err)
{
	return run(op, selector, VM_LOCK_EXCLUSIVE, steps, arg, ret, err);
}

int vm_held_run_shared(struct vm_op *op, const char *selector, vm_held_steps *steps,
                       const void *arg, struct vm_instance *ret, struct vm_err *err)
{
	return run(op, selector, VM_LOCK_SHARED, steps, arg, ret, err);
}

int vm_held_wrong_state(const struct vm_op *op, const struct vm_held *held, const char *from,
                        struct vm_err *err)
{
	return vm_err_set(err, VM_ERR_INVALID_STATE, "%s is %s; %s works from: %s", held->row.name,
	                  vm_state_name(held->row.state), op->verb, from);
}
