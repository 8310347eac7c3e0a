/* SPDX-License-Identifier: Apache-2.0 */
/* standby: saves memory and state, ends the VMM. */
#include <stdio.h>

#include "fs.h"
#include "hooks.h"
#include "interrupt.h"
#include "manifest.h"
#include "pool.h"
#include "save.h"
#include "util.h"

#define NEW_MEMORY VM_FILE_MEMORY ".new"
#define NEW_STATE VM_FILE_STATE ".new"

/* Saved memory belongs to the disks as they are now: all of it reaches the disk together. */
static int sync_files(const struct vm_root *root, struct vm_held *held, struct vm_err *err)
{
	if (vm_disks_sync(held->dir_fd, &held->spec, err) < 0 ||
	    vm_fs_sync(held->dir_fd, NEW_MEMORY, err) < 0 ||
	    vm_fs_sync(held->dir_fd, NEW_STATE, err) < 0)
		return -1;
	return vm_fs_sync(root->guests_fd, NULL, err); /* a fork that runs was not synced before */
}

/* What does not need the pause comes before it. */
static int prepare(struct vm_op *op, struct vm_held *held, struct vm_save *ret_save,
                   struct vm_err *err)
{
	/* No manifest of another time may be taken for this one's, whatever happens to us. */
	if (vm_fs_unlink(held->dir_fd, VM_FILE_MANIFEST, err) < 0 ||
	    vm_fs_unlink(held->dir_fd, NEW_MEMORY, err) < 0 ||
	    vm_fs_unlink(held->dir_fd, NEW_STATE, err) < 0)
		return -1;
	return vm_save_prepare(op, held, held->dir_fd, NEW_MEMORY, NEW_STATE, ret_save, err);
}

/*
 * Saves the paused guest under new names, then publishes: memory and state by rename, the manifest
 * last.
 */
static int save_and_publish(struct vm_op *op, struct vm_held *held, struct vm_machine *machine,
                            struct vm_save *save, const char *version, struct vm_err *err)
{
	machine->ends = true;
	if (vm_save_write(save, machine, NEW_MEMORY, NEW_STATE, err) < 0)
		return -1;
	if (vm_save_finish(op, save, machine, err) < 0 ||
	    sync_files(machine->root, held, err) < 0 || vm_interrupt_check(err) < 0 ||
	    vm_save_put_aside(held->dir_fd, err) < 0 ||
	    vm_fs_rename(held->dir_fd, NEW_MEMORY, held->dir_fd, VM_FILE_MEMORY, err) < 0 ||
	    vm_fs_rename(held->dir_fd, NEW_STATE, held->dir_fd, VM_FILE_STATE, err) < 0)
		return -1;
	return vm_manifest_write(held->dir_fd, &held->row, &held->spec, version, true, err);
}

/*
 * Undo: the guest goes on as it was. The caller's error is what counts, ours only adds to it. A
 * manifest that was published after all must not survive the guest's next step; if it cannot be
 * removed the guest stays where it is, and the next comer carries the standby through.
 */
static void go_on(struct vm_op *op, struct vm_held *held, struct vm_machine *machine,
                  struct vm_err *err)
{
	struct vm_err second = {0}, ignored = {0};
	int rc;

	vm_interrupt_suspend();
	rc = vm_fs_unlink(held->dir_fd, VM_FILE_MANIFEST, &second);
	if (rc == 0 && held->row.state == VM_STATE_RUNNING)
		rc = vm_driver_resume(machine, &second);
	if (rc < 0 && vm_vmm_wait(&machine->vmm, vm_monotonic_ms(), &ignored) == 0) {
		vm_err_hint(err, "the VMM of '%s' has died", held->row.name);
	} else if (rc < 0) {
		vm_err_hint(err, "the guest is still paused, the next verb tries again: %.250s",
		            second.message);
	} else {
		/* Only now has the VMM surely stopped writing them. */
		vm_fs_unlink(held->dir_fd, NEW_MEMORY, &ignored);
		vm_err_clear(&ignored);
		vm_fs_unlink(held->dir_fd, NEW_STATE, &ignored);
		vm_err_clear(&ignored);
		vm_fs_unlink(held->dir_fd, VM_FILE_BELOW, &ignored);
		vm_err_clear(&ignored);
		vm_save_put_back(held->dir_fd, &ignored);
		vm_held_abandon(op, held);
	}
	vm_interrupt_resume();
}

static int save_and_end(struct vm_op *op, struct vm_held *held, struct vm_machine *machine,
                        const char *version, struct vm_err *err)
{
	const struct vm_outcome outcome = {
	        .state = VM_STATE_STANDBY, .version = version, .durable = true};
	struct vm_save save;

	if (prepare(op, held, &save, err) < 0 ||
	    (held->row.state == VM_STATE_RUNNING && vm_driver_pause(machine, err) < 0) ||
	    save_and_publish(op, held, machine, &save, version, err) < 0) {
		go_on(op, held, machine, err);
		return -1;
	}
	vm_op_progress(op, "'%s' is saved (memory: %s)", held->row.name,
	               vm_save_how_name(&save, machine));
	/* With the manifest in place there is no way back: a kill from here on ends in standby too.
	 */
	if (vm_vmm_kill(&machine->vmm, err) < 0 ||
	    vm_pool_put(op->root, held->dir_fd, VM_FILE_MAPPED, err) < 0 ||
	    vm_driver_clean(held->driver, held->dir_fd, err) < 0)
		return -1;
	return vm_held_commit(op, held, &outcome, err);
}

static int standby_steps(struct vm_op *op, struct vm_held *held, const void *arg,
                         struct vm_err *err)
{
	struct vm_machine machine;
	char version[sizeof(held->row.hypervisor_version)];
	int rc;

	(void)arg;
	if (held->row.state == VM_STATE_STANDBY)
		return 1;
	if (held->row.state != VM_STATE_RUNNING && held->row.state != VM_STATE_PAUSED)
		return vm_held_wrong_state(op, held, "running, paused", err);
	machine = vm_held_machine(op, held);
	if (vm_op_check_disk(op, held->row.memory_bytes, err) < 0 ||
	    vm_driver_check_save(&machine, err) < 0 || vm_held_attach(op, held, &machine, err) < 0)
		return -1;
	/* The state's version is that of the VMM that runs, not of the binary installed by now. */
	snprintf(version, sizeof(version), "%s", held->row.hypervisor_version);
	rc = vm_held_intend(op, held, vm_state_name(held->row.state), VM_RUN_NONE, err);
	if (rc == 0)
		rc = save_and_end(op, held, &machine, version, err);
	vm_vmm_close(&machine.vmm);
	return rc;
}

int vm_standby(struct vm_op *op, const char *selector, struct vm_instance *ret, struct vm_err *err)
{
	const struct vm_hooked hooked = {.event = VM_HOOK_STANDBY,
	                                 .from = 1U << VM_STATE_RUNNING | 1U << VM_STATE_PAUSED,
	                                 .steps = standby_steps,
	                                 .request = json_object()};

	return vm_hooks_held_run(op, &hooked, selector, ret, err);
}
