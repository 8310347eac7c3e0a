/* SPDX-License-Identifier: Apache-2.0 */
/* start: boots a stopped or failed instance. */
#include "files.h"
#include "hooks.h"
#include "manifest.h"

/*
 * A kill after the intent leaves at most a VMM that no committed row knows: the next comer ends it
 * and the instance is what it was before.
 */
static int boot(struct vm_op *op, struct vm_held *held, struct vm_err *err)
{
	struct vm_driver_info binary;
	struct vm_machine machine;
	bool aliased = held->row.alias_path != NULL;
	int rc;

	if (held->driver->probe(op->root, &held->spec, NULL, &binary, err) < 0)
		return -1;
	if (vm_manifest_check_files(held->dir_fd, &held->spec, true, err) < 0)
		return vm_err_wrap(err, "%s", held->row.name);
	if (vm_held_intend(op, held, vm_state_name(held->row.state), VM_RUN_BOOT, err) < 0)
		return -1;
	/* Not before: the intent may have given it another guest CID. */
	machine = vm_held_machine(op, held);
	machine.binary = &binary;
	rc = vm_held_drop_saved(op, held, err);
	/* What it saves from now on names its files by their own names. */
	if (rc == 0 && aliased)
		rc = vm_files_drop_links(held->dir_fd, err);
	if (rc == 0)
		rc = vm_driver_boot(&machine, err);
	if (rc == 0) {
		const struct vm_outcome outcome = {.state = VM_STATE_RUNNING,
		                                   .pid = machine.vmm.pid,
		                                   .version = binary.version,
		                                   .relocation = aliased ? "" : NULL,
		                                   .alias_path = aliased ? "" : NULL};

		rc = vm_held_commit(op, held, &outcome, err);
	}
	vm_vmm_close(&machine.vmm);
	if (rc < 0)
		vm_held_abandon_vmm(op, held);
	return rc;
}

static int start_steps(struct vm_op *op, struct vm_held *held, const void *arg, struct vm_err *err)
{
	(void)arg;
	if (held->row.state == VM_STATE_RUNNING)
		return 1;
	if (held->row.state != VM_STATE_STOPPED && held->row.state != VM_STATE_FAILED) {
		vm_held_wrong_state(op, held, "stopped, failed", err);
		if (held->row.state == VM_STATE_STANDBY)
			vm_err_hint(err, "wake it with 'vmctl restore %s'", held->row.name);
		else
			vm_err_hint(err, "let it go on with 'vmctl resume %s'", held->row.name);
		return -1;
	}
	return boot(op, held, err);
}

int vm_start(struct vm_op *op, const char *selector, struct vm_instance *ret, struct vm_err *err)
{
	const struct vm_hooked hooked = {.event = VM_HOOK_START,
	                                 .from = 1U << VM_STATE_STOPPED | 1U << VM_STATE_FAILED,
	                                 .steps = start_steps,
	                                 .request = json_object()};

	return vm_hooks_held_run(op, &hooked, selector, ret, err);
}
