/* SPDX-License-Identifier: Apache-2.0 */
/* rm: an instance and all its files go. Forks of it live on: they share extents, not files. */
#include "held.h"
#include "interrupt.h"
#include "pool.h"
#include "remove.h"

static int rm_steps(struct vm_op *op, struct vm_held *held, const void *arg, struct vm_err *err)
{
	const bool *force = arg;
	struct vm_event event = vm_op_event(op, &held->row, VM_OK);
	int rc;

	if (!*force && held->row.state != VM_STATE_STOPPED && held->row.state != VM_STATE_FAILED) {
		vm_held_wrong_state(op, held, "stopped, failed", err);
		return vm_err_hint(err, "stop it first, or use --force to %s",
		                   held->row.state == VM_STATE_STANDBY ? "lose its saved memory"
		                                                       : "kill it at once");
	}
	if (vm_held_intend(op, held, vm_state_name(held->row.state), VM_RUN_NONE, err) < 0)
		return -1;
	/* From here on a removal is only ever finished, by us or by the next comer. */
	vm_interrupt_suspend();
	rc = vm_vmm_reap(op->root, held->row.id, err);
	if (rc == 0 && held->dir_fd >= 0)
		vm_pool_offer(op->root, held->dir_fd, VM_FILE_MEMORY);
	if (rc == 0)
		rc = vm_remove(op, held->row.id, &held->lock, &event, err);
	vm_interrupt_resume();
	return rc;
}

int vm_rm(struct vm_op *op, const char *selector, bool force, struct vm_instance *ret,
          struct vm_err *err)
{
	vm_store_makes_space(op->root->store);
	op->force = force;
	op->tolerate_damage = force;
	return vm_held_run(op, selector, rm_steps, &force, ret, err);
}
