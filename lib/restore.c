/* SPDX-License-Identifier: Apache-2.0 */
/* restore: a standby runs again. */
#include "alias.h"
#include "fs.h"
#include "hooks.h"
#include "interrupt.h"
#include "manifest.h"
#include "memory.h"
#include "slot.h"

/*
 * The guest has not run, and its manifest is still there: it is in standby again. The row first: as
 * long as it says running, a VMM that has ended is one whose guest may have run, and its saved
 * memory is thrown away. If the row cannot be changed, the VMM stays, and the next comer carries
 * the restore through.
 */
static void go_back(struct vm_op *op, struct vm_held *held)
{
	const struct vm_outcome standby = {
	        .state = VM_STATE_STANDBY, .next_detail = "load", .durable = true};
	struct vm_err ignored = {0};

	if (vm_held_commit(op, held, &standby, &ignored) == 0)
		vm_held_abandon_vmm(op, held);
}

/*
 * The guest is loaded but has not run. From the commit on the standby is spent: once the guest runs
 * its disks move on, and the old memory must never be loaded over them again. So first the row says
 * running (durably), then the manifest goes, then the guest runs. A kill in between is carried
 * through: the next comer removes the manifest and resumes.
 */
static int retire_and_run(struct vm_op *op, struct vm_held *held, struct vm_machine *machine,
                          struct vm_err *err)
{
	const struct vm_outcome spent = {
	        .state = VM_STATE_RUNNING,
	        .pid = machine->vmm.pid,
	        .version = machine->binary->version,
	        .next_detail = "resume",
	        .durable = true,
	};
	struct vm_err second = {0};

	if (vm_held_commit(op, held, &spent, err) < 0) {
		vm_held_abandon_vmm(op, held);
		return -1;
	}
	if (vm_fs_unlink(held->dir_fd, VM_FILE_MANIFEST, err) < 0) {
		go_back(op, held);
		return -1;
	}
	if (vm_driver_resume(machine, err) == 0) {
		struct vm_event event = vm_op_event(op, &held->row, VM_OK);

		event.relocation = held->row.relocation;
		event.message = machine->alias ? vm_alias_message(machine->alias) : NULL;
		return vm_store_forget_intent(op->root->store, held->row.id, true, &event, err);
	}
	/* The guest may have run before it was called a failure: what is left is failed, and why.
	 */
	if (vm_vmm_kill(&machine->vmm, &second) < 0 ||
	    vm_driver_clean(held->driver, held->dir_fd, &second) < 0)
		return -1; /* then the next comer finds out what it does */
	const struct vm_outcome failed = {
	        .state = VM_STATE_FAILED, .failure = err->message, .failed = true};

	vm_held_commit(op, held, &failed, &second);
	return -1;
}

/* Alone with its directory, if its state names another. What is locked is in order of rank. */
static int prepare_alias(struct vm_op *op, struct vm_held *held, struct vm_machine *machine,
                         struct vm_alias *alias, struct vm_err *err)
{
	enum vm_alias_method method;

	if (vm_alias_choose(op, &held->row, &method, err) < 0 ||
	    vm_alias_prepare(op, &held->row, held->dir_fd, method, machine->binary->path, alias,
	                     err) < 0)
		return -1;
	machine->alias = alias->path ? alias : NULL;
	return 0;
}

static int load_and_run(struct vm_op *op, struct vm_held *held, struct vm_machine *machine,
                        struct vm_alias *alias, struct vm_err *err)
{
	VM_AUTO(vm_lock_release) struct vm_lock memory = VM_LOCK_INIT;
	VM_AUTO(vm_slot_release) struct vm_slot slot = VM_SLOT_INIT;
	struct vm_slot_pool pool = vm_op_slots(op, held->driver);
	int rc;

	if (prepare_alias(op, held, machine, alias, err) < 0 ||
	    vm_memory_use(op, held, &memory, err) < 0 || vm_alias_lock(op, alias, err) < 0 ||
	    vm_slot_acquire(&pool, vm_op_deadline(op), &slot, &op->slot_waited_us, err) < 0 ||
	    vm_driver_load(machine, false, err) < 0) {
		vm_held_abandon_vmm(op, held);
		return -1;
	}
	vm_slot_release(&slot); /* loaded: others need not wait for what follows */
	vm_alias_let_go(alias);
	vm_lock_release(&memory);
	/* The last moment at which the user may still say no. */
	if (vm_interrupt_check(err) < 0) {
		vm_held_abandon_vmm(op, held);
		return -1;
	}
	vm_interrupt_suspend();
	rc = retire_and_run(op, held, machine, err);
	vm_interrupt_resume();
	return rc;
}

static int restore_steps(struct vm_op *op, struct vm_held *held, const void *arg,
                         struct vm_err *err)
{
	VM_AUTO(vm_alias_release) struct vm_alias alias = VM_ALIAS_INIT;
	struct vm_machine machine = vm_held_machine(op, held);
	struct vm_driver_info binary;
	int rc;

	(void)arg;
	if (held->row.state == VM_STATE_RUNNING)
		return 1;
	if (held->row.state != VM_STATE_STANDBY) {
		vm_held_wrong_state(op, held, "standby", err);
		if (held->row.state == VM_STATE_PAUSED)
			return vm_err_hint(err, "let it go on with 'vmctl resume %s'",
			                   held->row.name);
		return vm_err_hint(err, "boot it with 'vmctl start %s'", held->row.name);
	}
	if (held->driver->probe(op->root, NULL, held->row.hypervisor_version, &binary, err) < 0 ||
	    vm_manifest_check(held->dir_fd, &held->row, &held->spec, held->driver, &binary, err) <
	            0 ||
	    vm_held_intend(op, held, "load", VM_RUN_LOAD, err) < 0)
		return -1;
	machine.binary = &binary;
	rc = load_and_run(op, held, &machine, &alias, err);
	vm_vmm_close(&machine.vmm);
	return rc;
}

int vm_restore(struct vm_op *op, const char *selector, struct vm_instance *ret, struct vm_err *err)
{
	const struct vm_hooked hooked = {.event = VM_HOOK_RESTORE,
	                                 .from = 1U << VM_STATE_STANDBY,
	                                 .steps = restore_steps,
	                                 .request = json_object()};

	return vm_hooks_held_run(op, &hooked, selector, ret, err);
}
