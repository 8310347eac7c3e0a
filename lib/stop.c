/* SPDX-License-Identifier: Apache-2.0 */
/* stop: asks the guest to shut down, then ends the VMM. */
#include "dry_run.h"
#include "fs.h"
#include "held.h"
#include "interrupt.h"
#include "manifest.h"
#include "util.h"

/* Gives the guest its time: 0 it has ended, 1 it has not, -1 (interrupted). */
static int ask_and_wait(struct vm_op *op, struct vm_held *held, struct vm_machine *machine,
                        int64_t grace_ms, struct vm_err *err)
{
	struct vm_err refused = {0};
	struct vm_waiting waiting;
	char what[VM_NAME_MAX + 16];
	int64_t deadline_ms;
	int rc;

	if (vm_driver_ask_shutdown(machine, &refused) < 0) {
		/* Cancelled while asking: then it is not killed either. */
		if (vm_interrupt_check(err) < 0)
			return -1;
		vm_op_warn(op, "%s; it is killed", refused.message);
		return 1;
	}
	vm_op_progress(op, "waiting for %s to shut down", held->row.name);
	deadline_ms = grace_ms < 0 ? -1 : vm_monotonic_ms() + grace_ms;
	snprintf(what, sizeof(what), "%.*s to shut down", VM_NAME_MAX, held->row.name);
	vm_waiting_begin(&waiting, op->tell, what, deadline_ms);
	vm_waiting_tell(&waiting);
	rc = vm_vmm_wait(&machine->vmm, deadline_ms, err);
	vm_waiting_end(&waiting);
	if (rc > 0)
		vm_op_warn(op, "%s did not shut down in %.1f s; it is killed", held->row.name,
		           (double)grace_ms / 1000);
	return rc;
}

/*
 * A fork that runs was never synced. One that is stopped is at rest: a power loss must not leave
 * its row without the blocks that it never wrote itself. Its VMM is dead; a disk that cannot be
 * synced is no reason to call it running.
 */
static void sync_files(const struct vm_op *op, const struct vm_held *held)
{
	struct vm_err err = {0};

	if (vm_disks_sync(held->dir_fd, &held->spec, &err) < 0 ||
	    vm_fs_sync(held->dir_fd, NULL, &err) < 0 ||
	    vm_fs_sync(op->root->guests_fd, NULL, &err) < 0)
		vm_op_warn(op, "%s is stopped, but a power loss may harm its disks: %s",
		           held->row.name, err.message);
}

static int stop_vmm(struct vm_op *op, struct vm_held *held, const struct vm_stop_options *options,
                    bool ask, struct vm_err *err)
{
	const struct vm_outcome outcome = {.state = VM_STATE_STOPPED};
	struct vm_machine machine;
	int rc;

	if (vm_held_attach(op, held, &machine, err) < 0)
		return -1;
	rc = vm_held_intend(op, held, vm_state_name(held->row.state), VM_RUN_NONE, err);
	if (rc == 0)
		rc = ask ? ask_and_wait(op, held, &machine, options->grace_ms, err) : 1;
	if (rc > 0)
		rc = vm_vmm_kill(&machine.vmm, err);
	vm_vmm_close(&machine.vmm);
	/* Interrupted while waiting: the intent stays, and says that an end from now on is a stop.
	 */
	if (rc < 0 || vm_driver_clean(held->driver, held->dir_fd, err) < 0 ||
	    vm_held_drop_saved(op, held, err) < 0)
		return -1;
	sync_files(op, held);
	return vm_held_commit(op, held, &outcome, err);
}

/*
 * The manifest goes first: from then on nothing can be loaded. A kill anywhere is carried through
 * by the next comer.
 */
static int discard_standby(struct vm_op *op, struct vm_held *held, struct vm_err *err)
{
	const struct vm_outcome outcome = {.state = VM_STATE_STOPPED};

	if (vm_held_intend(op, held, "discard", VM_RUN_NONE, err) < 0 ||
	    vm_held_drop_saved(op, held, err) < 0)
		return -1;
	return vm_held_commit(op, held, &outcome, err);
}

/* How to end a VMM. A paused guest cannot hear us. */
static enum vm_dry_action way_to_end(const struct vm_held *held, int64_t grace_ms)
{
	return grace_ms == 0 || held->row.state == VM_STATE_PAUSED ||
	                       !held->driver->caps.graceful_shutdown
	               ? VM_DRY_KILL
	               : VM_DRY_SHUTDOWN;
}

int vm_stop_choose(const struct vm_op *op, const struct vm_held *held,
                   const struct vm_stop_options *options, enum vm_dry_action *ret,
                   struct vm_err *err)
{
	switch (held->row.state) {
	case VM_STATE_STOPPED:
		*ret = VM_DRY_NOTHING;
		return 0;
	case VM_STATE_RUNNING:
	case VM_STATE_PAUSED:
		*ret = way_to_end(held, options->grace_ms);
		return 0;
	case VM_STATE_STANDBY:
		*ret = VM_DRY_DISCARD;
		if (options->discard)
			return 0;
		vm_held_wrong_state(op, held, "running, paused", err);
		return vm_err_hint(err, "add --discard to throw its saved memory away");
	default:
		vm_held_wrong_state(op, held, "running, paused", err);
		return vm_err_hint(err, "'vmctl start %s' boots it again, 'vmctl rm %s' removes it",
		                   held->row.name, held->row.name);
	}
}

static int stop_steps(struct vm_op *op, struct vm_held *held, const void *arg, struct vm_err *err)
{
	const struct vm_stop_options *options = arg;
	enum vm_dry_action how = VM_DRY_NOTHING;

	if (vm_stop_choose(op, held, options, &how, err) < 0)
		return -1;
	if (how == VM_DRY_NOTHING)
		return 1;
	return how == VM_DRY_DISCARD ? discard_standby(op, held, err)
	                             : stop_vmm(op, held, options, how == VM_DRY_SHUTDOWN, err);
}

int vm_stop(struct vm_op *op, const char *selector, const struct vm_stop_options *options,
            struct vm_instance *ret, struct vm_err *err)
{
	vm_store_makes_space(op->root->store);
	op->ends_vmm = true;
	op->force = options->grace_ms == 0;
	return vm_held_run(op, selector, stop_steps, options, ret, err);
}
