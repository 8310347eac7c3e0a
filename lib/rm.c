/* SPDX-License-Identifier: Apache-2.0 */
/* rm: an instance and all its files go. Forks of it live on: they share extents, not files. */
#include "dry_run.h"
#include "held.h"
#include "hooks.h"
#include "remove.h"

int vm_rm_check(const struct vm_op *op, const struct vm_held *held, bool force, struct vm_err *err)
{
	if (force || held->row.state == VM_STATE_STOPPED || held->row.state == VM_STATE_FAILED)
		return 0;
	vm_held_wrong_state(op, held, "stopped, failed", err);
	return vm_err_hint(err, "stop it first, or use --force to %s",
	                   held->row.state == VM_STATE_STANDBY ? "lose its saved memory"
	                                                       : "kill it at once");
}

static int rm_steps(struct vm_op *op, struct vm_held *held, const void *arg, struct vm_err *err)
{
	const bool *force = arg;

	if (vm_rm_check(op, held, *force, err) < 0)
		return -1;
	return vm_remove_held(op, held, err);
}

int vm_rm(struct vm_op *op, const char *selector, bool force, struct vm_instance *ret,
          struct vm_err *err)
{
	const struct vm_hooked hooked = {
	        .event = VM_HOOK_RM,
	        .from = force ? ~0U : 1U << VM_STATE_STOPPED | 1U << VM_STATE_FAILED,
	        .steps = rm_steps,
	        .arg = &force,
	        .request = json_pack("{s:b}", "force", (int)force)};

	vm_store_makes_space(op->root->store);
	op->force = force;
	op->tolerate_damage = force;
	return vm_hooks_held_run(op, &hooked, selector, ret, err);
}
