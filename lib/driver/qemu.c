/* SPDX-License-Identifier: Apache-2.0 */
#include "qemu.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../fs.h"
#include "../util.h"
#include "refuse.h"

enum {
	MIB = 1024 * 1024,
};

static int check_spec(const struct vm_spec *spec, struct vm_err *err)
{
	const char *accelerator = spec->accelerator ? spec->accelerator : "auto";
	const char *type = vm_qemu_machine_type(spec);

	if (strcmp(type, "microvm") != 0 && strcmp(type, "q35") != 0)
		return vm_err_set(err, VM_ERR_UNSUPPORTED,
		                  "machine: the QEMU driver has microvm and q35, not '%s'", type);
	if (strcmp(accelerator, "auto") != 0 && strcmp(accelerator, "kvm") != 0 &&
	    strcmp(accelerator, "tcg") != 0)
		return vm_err_set(err, VM_ERR_UNSUPPORTED,
		                  "accelerator: the QEMU driver has auto, kvm and tcg, not '%s'",
		                  accelerator);
	if (spec->memory_bytes % MIB != 0)
		return vm_err_set(err, VM_ERR_USAGE, "memory: QEMU wants whole MiB");
	return 0;
}

/* The guest's end of a vsock is in the kernel of the host, which not every host has. */
static int complete_spec(struct vm_spec *spec, const char **ret_note, struct vm_err *err)
{
	if (!spec->vsock || access("/dev/vhost-vsock", F_OK) == 0)
		return 0;
	if (spec->vsock_given) {
		vm_err_set(err, VM_ERR_UNSUPPORTED, "vsock: there is no /dev/vhost-vsock here");
		return vm_err_hint(err, "load the module vhost_vsock, or leave vsock away");
	}
	spec->vsock = false;
	*ret_note = "it gets no vsock device: there is no /dev/vhost-vsock here";
	return 0;
}

static int boot(struct vm_machine *machine, struct vm_err *err)
{
	VM_AUTO(vm_qmp_close) struct vm_qmp qmp = VM_QMP_INIT;

	if (vm_qemu_spawn(machine, VM_QEMU_BOOT, &qmp, err) < 0)
		return vm_abandon(machine);
	if (vm_qmp_call(&qmp, "cont", NULL, -1, NULL, err) < 0) {
		vm_qemu_explain(machine, err);
		return vm_abandon(machine);
	}
	return 0;
}

static int load(struct vm_machine *machine, bool resume, struct vm_err *err)
{
	VM_AUTO(vm_qmp_close) struct vm_qmp qmp = VM_QMP_INIT;

	if (vm_qemu_spawn(machine, VM_QEMU_LOAD, &qmp, err) < 0)
		return vm_abandon(machine);
	if (vm_qemu_migrate_in(&qmp, machine->version, machine->dir_fd, VM_FILE_STATE, false, err) <
	            0 ||
	    (resume && vm_qmp_call(&qmp, "cont", NULL, -1, NULL, err) < 0)) {
		vm_qemu_explain(machine, err);
		return vm_abandon(machine);
	}
	return 0;
}

static int query(struct vm_machine *machine, enum vm_guest_state *ret, struct vm_err *err)
{
	VM_AUTO(vm_qmp_close) struct vm_qmp qmp = VM_QMP_INIT;

	if (vm_qemu_attach(machine, &qmp, err) < 0)
		return -1;
	/* Who asks after a killed save must not be told before the VMM has stopped writing. */
	if (machine->saving && vm_qemu_end_migration(&qmp, err) < 0)
		return -1;
	return vm_qemu_ask_status(&qmp, ret, err);
}

static int set_state(struct vm_machine *machine, const char *command, enum vm_guest_state want,
                     struct vm_err *err)
{
	VM_AUTO(vm_qmp_close) struct vm_qmp qmp = VM_QMP_INIT;

	if (vm_qemu_attach(machine, &qmp, err) == 0 && vm_qemu_end_migration(&qmp, err) == 0 &&
	    vm_qmp_call(&qmp, command, NULL, -1, NULL, err) == 0)
		return 0;
	if (err->code != VM_ERR_TIMEOUT)
		return vm_qemu_explain(machine, err);
	vm_qmp_close(&qmp);
	return vm_confirm_state(machine, want, err);
}

static int pause_guest(struct vm_machine *machine, struct vm_err *err)
{
	return set_state(machine, "stop", VM_GUEST_PAUSED, err);
}

static int resume_guest(struct vm_machine *machine, struct vm_err *err)
{
	return set_state(machine, "cont", VM_GUEST_RUNNING, err);
}

static int ask_shutdown(struct vm_machine *machine, struct vm_err *err)
{
	VM_AUTO(vm_qmp_close) struct vm_qmp qmp = VM_QMP_INIT;

	if (vm_qemu_attach(machine, &qmp, err) < 0)
		return -1;
	return vm_qmp_call(&qmp, "system_powerdown", NULL, -1, NULL, err);
}

/* The guest CID is not in the state, but on the command line: all forks share one file. */
static int move_state(const struct vm_state_move *move, struct vm_err *err)
{
	struct stat st;

	if (fstatat(move->from_fd, move->from_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return vm_fs_fail(move->from_fd, move->from_name, "looking at", err);
	if (!S_ISREG(st.st_mode) || st.st_size == 0) {
		vm_err_set(err, VM_ERR_CORRUPT, "the saved state is empty, or no file");
		return vm_fs_wrap(move->from_fd, move->from_name, err);
	}
	if (vm_fs_unlink(move->to_fd, VM_FILE_STATE, err) < 0 ||
	    vm_fs_link_as(move->from_fd, move->from_name, move->to_fd, VM_FILE_STATE, err) < 0)
		return -1;
	return move->durable ? vm_fs_sync(move->to_fd, VM_FILE_STATE, err) : 0;
}

/*
 * An end in good order is the last thing that the log tells: "runstate_set current_run_state 9
 * (running) new_state 11 (shutdown)". It comes when the guest powers off or reboots (-no-reboot),
 * and with it a triple fault, which for a kernel is a way to reboot; vmctl itself only kills. A
 * signal ends QEMU in good order too, and is told before.
 */
static bool ended_by_guest(int dir_fd, const char **ret_why)
{
	char tail[600];
	const char *last;

	(void)ret_why;
	vm_vmm_log_tail(dir_fd, VM_VMM_LOG, tail, sizeof(tail));
	last = strrchr(tail, '|');
	last = last ? last : tail;
	if (!strstr(last, "runstate_set") || !strstr(last, "(shutdown)"))
		return false;
	while (last > tail && *--last != '|')
		;
	return !strstr(last, "terminating on signal");
}

static const char *const leftovers[] = {VM_FILE_API_SOCKET, VM_QEMU_LIVE, NULL};

const struct vm_driver vm_driver_qemu = {
        .name = "qemu",
        .binary_variable = VM_QEMU_BINARY_VARIABLE,
        .caps =
                {
                        .concurrent_fork_prepare = true,
                        .snapshot_keeps_running = true,
                        .relative_paths = true,
                        .cid_rewrite = true,
                        .network_override = true,
                        .memory_shared_base = true,
                        .kernel_bzimage = true,
                        .disk_qcow2 = true,
                        .network = true,
                        .graceful_shutdown = true,
                        .max_concurrent_restores = 16,
                },
        .check_spec = check_spec,
        .complete_spec = complete_spec,
        .probe = vm_qemu_probe,
        .boot = boot,
        .load = load,
        .pause = pause_guest,
        .resume = resume_guest,
        .check_save = vm_qemu_check_save,
        .save = vm_qemu_save,
        .freeze_disks = vm_qemu_freeze_disks,
        .finish_save = vm_qemu_finish_save,
        .query = query,
        .ask_shutdown = ask_shutdown,
        .emulates = vm_qemu_emulates,
        .check_version = vm_qemu_check_version,
        .move_state = move_state,
        .ended_by_guest = ended_by_guest,
        .leftovers = leftovers,
};
