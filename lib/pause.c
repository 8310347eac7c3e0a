/* SPDX-License-Identifier: Apache-2.0 */
/* pause and resume: the guest's CPUs stop and go on; memory stays where it is. */
#include "held.h"
#include "interrupt.h"
#include "settle.h"

static int switch_to(struct vm_op *op, struct vm_held *held, enum vm_state target,
                     struct vm_err *err)
{
	struct vm_machine machine;
	int rc;

	if (vm_held_attach(op, held, &machine, err) < 0)
		return -1;
	/* After a kill the next comer asks the guest which of the two it is. */
	rc = vm_held_intend(op, held, vm_state_name(held->row.state), VM_RUN_NONE, err);
	if (rc == 0)
		rc = target == VM_STATE_PAUSED ? vm_driver_pause(&machine, err)
		                               : vm_driver_resume(&machine, err);
	if (rc == 0) {
		const struct vm_outcome outcome = {.state = target, .pid = machine.vmm.pid};

		rc = vm_held_commit(op, held, &outcome, err);
	}
	/*
	 * On failure the intent stays on purpose: what the guest does now is not known. After a
	 * Ctrl-C it can be asked at once; a VMM that did not answer is the next comer's.
	 */
	if (rc < 0 && vm_interrupt_pending()) {
		struct vm_err ignored = {0};

		vm_settle_again(op, held, &ignored);
	}
	vm_vmm_close(&machine.vmm);
	return rc;
}

static int pause_steps(struct vm_op *op, struct vm_held *held, const void *arg, struct vm_err *err)
{
	(void)arg;
	if (held->row.state == VM_STATE_PAUSED)
		return 1;
	if (held->row.state != VM_STATE_RUNNING)
		return vm_held_wrong_state(op, held, "running", err);
	return switch_to(op, held, VM_STATE_PAUSED, err);
}

static int resume_steps(struct vm_op *op, struct vm_held *held, const void *arg, struct vm_err *err)
{
	(void)arg;
	if (held->row.state == VM_STATE_RUNNING)
		return 1;
	if (held->row.state != VM_STATE_PAUSED) {
		vm_held_wrong_state(op, held, "paused", err);
		if (held->row.state == VM_STATE_STANDBY)
			vm_err_hint(err, "wake it with 'vmctl restore %s'", held->row.name);
		return -1;
	}
	return switch_to(op, held, VM_STATE_RUNNING, err);
}

int vm_pause(struct vm_op *op, const char *selector, struct vm_instance *ret, struct vm_err *err)
{
	return vm_held_run(op, selector, pause_steps, NULL, ret, err);
}

int vm_resume(struct vm_op *op, const char *selector, struct vm_instance *ret, struct vm_err *err)
{
	return vm_held_run(op, selector, resume_steps, NULL, ret, err);
}
