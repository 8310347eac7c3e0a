/* SPDX-License-Identifier: Apache-2.0 */
#include "settle.h"

#include <stdlib.h>
#include <string.h>

#include "alias.h"
#include "events.h"
#include "fs.h"
#include "interrupt.h"
#include "manifest.h"
#include "remove.h"
#include "revert.h"
#include "save.h"

enum { ENDING_WAIT_MS = 2000 };

static bool has_vmm(enum vm_state state)
{
	return state == VM_STATE_RUNNING || state == VM_STATE_PAUSED;
}

int vm_settle_needed(const struct vm_op *op, const struct vm_held *held, struct vm_err *err)
{
	int alive;

	/* An intent under our lock is a dead verb's: the living hold the lock while they have one.
	 */
	if (held->row.intent.verb[0])
		return 1;
	alive = vm_vmm_alive(op->root, held->row.id, err);
	if (alive < 0)
		return -1;
	return (alive != 0) != has_vmm(held->row.state);
}

/* What a repair that ends in `state` has put right, for its event and the counters. */
static const char *what_was_wrong(const struct vm_held *held, enum vm_state state)
{
	if (state == VM_STATE_FAILED)
		return VM_REPAIRED_VMM_DEATH;
	if (held->row.intent.verb[0])
		return held->row.intent.verb;
	return has_vmm(state) ? VM_REPAIRED_GUEST_STATE : VM_REPAIRED_GUEST_SHUTDOWN;
}

static int settled(struct vm_op *op, struct vm_held *held, enum vm_state state, pid_t pid,
                   const char *failure, struct vm_err *err)
{
	const struct vm_outcome outcome = {.state = state,
	                                   .pid = pid,
	                                   .failure = failure,
	                                   .repaired = what_was_wrong(held, state),
	                                   .durable = true};

	/* While the intent is there: killed after its end, nobody would look for them. */
	if (vm_held_drop_temporaries(held->dir_fd, err) < 0)
		return -1;
	return vm_held_commit(op, held, &outcome, err);
}

/*
 * The state is what it was: only the intent goes. As with settled(), the VMM has answered or is
 * dead: one that does neither may still be about to make temporary files.
 */
static int keep(struct vm_op *op, struct vm_held *held, struct vm_err *err)
{
	struct vm_event event = vm_op_event(op, &held->row, VM_OK);

	event.repaired = held->row.intent.verb[0] ? held->row.intent.verb : VM_REPAIRED_ORPHAN_VMM;
	if (vm_held_drop_temporaries(held->dir_fd, err) < 0)
		return -1;
	return vm_store_forget_intent(op->root->store, held->row.id, has_vmm(held->row.state),
	                              &event, err);
}

enum vm_state vm_settle_verdict(const struct vm_instance *row, const struct vm_driver *driver,
                                int dir_fd, char *why, size_t size)
{
	const char *known = NULL;
	char tail[400];

	why[0] = '\0';
	/* Its standby was complete, and the VMM ended for that. */
	if (strcmp(row->intent.verb, "standby") == 0 && vm_fs_exists(dir_fd, VM_FILE_MANIFEST))
		return VM_STATE_STANDBY;
	if (driver->ended_by_guest(dir_fd, &known) || strcmp(row->intent.verb, "stop") == 0)
		return VM_STATE_STOPPED;
	if (known) {
		snprintf(why, size, "%s", known);
		return VM_STATE_FAILED;
	}
	vm_vmm_log_tail(dir_fd, VM_VMM_LOG, tail, sizeof(tail));
	snprintf(why, size, "the VMM (pid %d) died; its log ends with: %s", row->pid,
	         tail[0] ? tail : "(nothing)");
	return VM_STATE_FAILED;
}

/* No VMM, though the row says there is one. */
static int bury(struct vm_op *op, struct vm_held *held, struct vm_err *err)
{
	char why[VM_FAILURE_MAX + 1];
	enum vm_state state;

	if (vm_driver_clean(held->driver, held->dir_fd, err) < 0)
		return -1;
	/* Its saved state, if one is still there, is older than its disks: never to be loaded
	 * again. */
	if (vm_held_drop_saved(op, held, err) < 0)
		return -1;
	state = vm_settle_verdict(&held->row, held->driver, held->dir_fd, why, sizeof(why));
	if (state == VM_STATE_FAILED)
		vm_op_warn(op, "%s: %s", held->row.name, why);
	return settled(op, held, state, 0, why[0] ? why : NULL, err);
}

/*
 * A VMM that does not answer. One that is on its way out only needs a moment; one that hangs is
 * ended if that is what is wanted, by the verb that was killed or by this one.
 */
static bool is_ending(struct vm_op *op, struct vm_held *held, struct vm_machine *machine)
{
	bool wanted = op->ends_vmm || strcmp(held->row.intent.verb, "stop") == 0;
	struct vm_err ignored = {0};

	if (vm_vmm_wait(&machine->vmm, vm_monotonic_ms() + ENDING_WAIT_MS, &ignored) == 0)
		return true;
	vm_err_clear(&ignored);
	return wanted && vm_vmm_kill(&machine->vmm, &ignored) == 0;
}

/*
 * stop --force and rm --force: whatever the guest was about to do. An intent of ours replaces the
 * killed verb's: if we are killed in turn, a VMM that we have ended must not pass for one that
 * died.
 */
static int end_by_force(struct vm_op *op, struct vm_held *held, struct vm_err *err)
{
	struct vm_op stop = *op;

	stop.verb = "stop"; /* also of an rm: its own intent comes when it is in order */
	if (vm_held_intend(&stop, held, vm_state_name(held->row.state), VM_RUN_NONE, err) < 0 ||
	    vm_vmm_reap(op->root, held->row.id, err) < 0 ||
	    vm_driver_clean(held->driver, held->dir_fd, err) < 0 ||
	    vm_held_drop_saved(op, held, err) < 0)
		return -1;
	return settled(op, held, VM_STATE_STOPPED, 0, NULL, err);
}

/* The VMM lives: the row shall say what the guest is doing, after `resume` if that is wanted. */
static int follow_guest(struct vm_op *op, struct vm_held *held, bool resume, struct vm_err *err)
{
	enum vm_guest_state guest = VM_GUEST_NOT_STARTED;
	struct vm_machine machine;
	int rc;

	if (op->force)
		return end_by_force(op, held, err);
	if (vm_held_attach(op, held, &machine, err) < 0) {
		if (err->code != VM_ERR_HYPERVISOR)
			return -1;
		vm_err_clear(err); /* it has ended since we looked */
		return bury(op, held, err);
	}
	machine.saving = true; /* a killed standby or fork may have left it at that */
	rc = vm_driver_query(&machine, &guest, err);
	if (rc < 0 && is_ending(op, held, &machine)) {
		vm_err_clear(err);
		vm_vmm_close(&machine.vmm);
		return bury(op, held, err);
	}
	if (rc < 0)
		vm_err_hint(err, "the VMM does not answer; 'vmctl stop --force %s' ends it",
		            held->row.name);
	if (rc == 0 && resume && guest == VM_GUEST_PAUSED) {
		rc = vm_driver_resume(&machine, err);
		guest = VM_GUEST_RUNNING;
	}
	/* A standby that was killed before its point of no return. */
	if (rc == 0)
		rc = vm_save_put_back(held->dir_fd, err);
	if (rc == 0 && (guest == VM_GUEST_PAUSED) == (held->row.state == VM_STATE_PAUSED))
		rc = keep(op, held, err);
	else if (rc == 0)
		rc = settled(op, held,
		             guest == VM_GUEST_PAUSED ? VM_STATE_PAUSED : VM_STATE_RUNNING,
		             machine.vmm.pid, NULL, err);
	vm_vmm_close(&machine.vmm);
	return rc;
}

/* A VMM that never got as far as a committed state: it goes, the row stays as it is. */
static int undo_spawn(struct vm_op *op, struct vm_held *held, struct vm_err *err)
{
	if (vm_vmm_reap(op->root, held->row.id, err) < 0 ||
	    vm_driver_clean(held->driver, held->dir_fd, err) < 0)
		return -1;
	return keep(op, held, err);
}

/*
 * standby: the manifest is its point of no return. With it memory and disks are saved and the VMM
 * is only to be ended; without it the guest goes on from where it was paused.
 */
static int settle_standby(struct vm_op *op, struct vm_held *held, int alive, struct vm_err *err)
{
	if (vm_fs_exists(held->dir_fd, VM_FILE_MANIFEST)) {
		/* Its maker may have been killed between the rename and the sync. */
		if (vm_vmm_reap(op->root, held->row.id, err) < 0 ||
		    vm_driver_clean(held->driver, held->dir_fd, err) < 0 ||
		    vm_fs_sync(held->dir_fd, NULL, err) < 0)
			return -1;
		return settled(op, held, VM_STATE_STANDBY, 0, NULL, err);
	}
	return alive ? follow_guest(op, held, strcmp(held->row.intent.detail, "running") == 0, err)
	             : bury(op, held, err);
}

/*
 * restore: the row is its point of no return. Still standby: the guest never ran. Running: it may
 * have, so the manifest must go, and the guest goes on.
 */
static int settle_restore(struct vm_op *op, struct vm_held *held, int alive, struct vm_err *err)
{
	if (!has_vmm(held->row.state))
		return undo_spawn(op, held, err);
	if (!alive)
		return bury(op, held, err);
	if (vm_fs_unlink(held->dir_fd, VM_FILE_MANIFEST, err) < 0)
		return -1;
	return follow_guest(op, held, true, err);
}

/* stop --discard of a standby: once begun it is finished. */
static int settle_discard(struct vm_op *op, struct vm_held *held, struct vm_err *err)
{
	if (vm_held_drop_saved(op, held, err) < 0)
		return -1;
	return settled(op, held, VM_STATE_STOPPED, 0, NULL, err);
}

/* revert: before its point of no return the files go that were staged, after it, it is finished. */
static int settle_revert(struct vm_op *op, struct vm_held *held, struct vm_err *err)
{
	struct vm_event event = vm_op_event(op, &held->row, VM_OK);

	event.repaired = held->row.intent.verb;
	if (vm_revert_is_done(held))
		return vm_revert_finish(op, held, &event, err);
	if (vm_revert_drop_staged(op->root, held->row.id, err) < 0)
		return -1;
	return keep(op, held, err);
}

static int settle_intent(struct vm_op *op, struct vm_held *held, int alive, struct vm_err *err)
{
	const char *verb = held->row.intent.verb;

	if (strcmp(verb, "standby") == 0)
		return settle_standby(op, held, alive, err);
	if (strcmp(verb, "restore") == 0)
		return settle_restore(op, held, alive, err);
	if (strcmp(verb, "stop") == 0 && held->row.state == VM_STATE_STANDBY)
		return settle_discard(op, held, err);
	if (strcmp(verb, "revert") == 0)
		return settle_revert(op, held, err);
	if (!has_vmm(held->row.state)) /* start, and whatever else had not committed yet */
		return undo_spawn(op, held, err);
	if (!alive)
		return bury(op, held, err);
	/*
	 * fork and snapshot pause their source only for an instant. stop pauses nothing: a guest
	 * that should run was left paused by the verb that a stop by force has found. pause,
	 * resume: as it is now.
	 */
	return follow_guest(
	        op, held,
	        strcmp(verb, "fork") == 0 || strcmp(verb, "snapshot") == 0 ||
	                (strcmp(verb, "stop") == 0 && held->row.state == VM_STATE_RUNNING),
	        err);
}

static int finish_removal(struct vm_op *op, struct vm_held *held, struct vm_err *err)
{
	struct vm_event event = vm_op_event(op, &held->row, VM_OK);

	event.repaired = held->row.intent.verb;
	return vm_remove(op, held->row.id, &held->lock, &event, err);
}

static int reload(struct vm_op *op, struct vm_held *held, struct vm_err *err)
{
	struct vm_instance row;

	if (vm_store_get(op->root->store, held->row.id, &row, err) < 0)
		return -1;
	vm_instance_free(&held->row);
	held->row = row;
	return 0;
}

int vm_settle_again(struct vm_op *op, struct vm_held *held, struct vm_err *err)
{
	bool gone = false;

	/* Nobody else has been here, but the row in hand is from before our own intent. */
	return reload(op, held, err) < 0 ? -1 : vm_settle(op, held, &gone, err);
}

/*
 * A load that was killed may have left the directory renamed away that its state names. Its VMM
 * may be loading still, and goes first.
 */
static int settle_alias(struct vm_op *op, struct vm_held *held, struct vm_err *err)
{
	if (!held->row.alias_path)
		return 0;
	if (!has_vmm(held->row.state) && vm_vmm_reap(op->root, held->row.id, err) < 0)
		return -1;
	return vm_alias_settle(op->root, held->row.alias_path, held->row.id, err);
}

static int settle(struct vm_op *op, struct vm_held *held, struct vm_err *err)
{
	int alive = vm_vmm_alive(op->root, held->row.id, err);

	if (alive < 0 || settle_alias(op, held, err) < 0)
		return -1;
	if (strcmp(held->row.intent.verb, "rm") == 0)
		return finish_removal(op, held, err);
	if (held->dir_fd < 0 || !held->driver) /* damaged, and about to be removed by force */
		return 0;
	if (held->row.intent.verb[0])
		return settle_intent(op, held, alive, err);
	if (!has_vmm(held->row.state))
		return undo_spawn(op, held, err);
	/* Alive: doctor has seen that its guest does otherwise than the row says. */
	return alive ? follow_guest(op, held, false, err) : bury(op, held, err);
}

int vm_settle(struct vm_op *op, struct vm_held *held, bool *ret_gone, struct vm_err *err)
{
	struct vm_op repair = vm_op_repair(op);
	int rc;

	/* Settling is not cut short by the user's Ctrl-C: it is what makes the next verb safe. */
	vm_interrupt_suspend();
	rc = settle(&repair, held, err);
	vm_interrupt_resume();
	*ret_gone = strcmp(held->row.intent.verb, "rm") == 0;
	if (rc < 0 && op->tolerate_damage && !*ret_gone) {
		vm_err_clear(err); /* it is about to be removed, VMM and all */
		return 0;
	}
	if (rc < 0)
		return vm_err_wrap(err, "%s: repairing what a killed vmctl left", held->row.name);
	return *ret_gone ? 0 : reload(op, held, err);
}
