/* SPDX-License-Identifier: Apache-2.0 */
/* Spawning the VMM, its memory, and what its log says when that fails. */
#include <string.h>

#include "../connect.h"
#include "../network.h"
#include "../overlay.h"
#include "../util.h"
#include "await.h"
#include "qemu.h"
#include "refuse.h"

/*
 * What QEMU's refusals mean, by the part that is the same from 7.2 to 10.0. The first row whose
 * text occurs decides.
 */
static const struct vm_refusal refusals[] = {
        {"No space left on device", NULL, VM_ERR_INSUFFICIENT_RESOURCES,
         "the disk is full: free some space"},
        {"Disk quota exceeded", NULL, VM_ERR_INSUFFICIENT_RESOURCES, "the disk quota is used up"},
        {"Cannot allocate memory", NULL, VM_ERR_INSUFFICIENT_RESOURCES,
         "the host is out of memory"},
        {"Too many open files", NULL, VM_ERR_INSUFFICIENT_RESOURCES,
         "raise the limit of open files"},
        {"Failed to get \"", NULL, VM_ERR_BUSY, "another process has a disk of the instance open"},
        {"could not configure /dev/net/tun", NULL, VM_ERR_BUSY,
         "the tap device is missing, another user's, or in use by another guest"},
        {"unable to set guest cid", NULL, VM_ERR_ALREADY_EXISTS,
         "another guest of this host runs with the same guest CID"},
        {"Could not open 'disk-", NULL, VM_ERR_CORRUPT,
         "a disk of the instance is missing or damaged"},
        {"Could not open backing file", NULL, VM_ERR_CORRUPT,
         "a file that a disk of the instance lies on is missing or damaged"},
        {"mage is not in qcow2 format", NULL, VM_ERR_CORRUPT, "a disk of the instance is damaged"},
        {"Not a migration stream", NULL, VM_ERR_CORRUPT, "the saved state is damaged"},
        {"Unsupported migration stream version", NULL, VM_ERR_INCOMPATIBLE, ""},
        {"Unknown savevm section", NULL, VM_ERR_INCOMPATIBLE,
         "the state was saved with other devices, or by another version"},
        {"load of migration failed", NULL, VM_ERR_CORRUPT,
         "the saved state is cut short or damaged, or of another version"},
        {"Error -22 while loading", NULL, VM_ERR_CORRUPT, "the saved state is damaged"},
        {"Could not access KVM", NULL, VM_ERR_HYPERVISOR, "'vmctl doctor' checks /dev/kvm"},
        {"unsupported machine type", NULL, VM_ERR_UNSUPPORTED, ""},
        {"Error loading uncompressed kernel without PVH ELF Note", NULL, VM_ERR_UNSUPPORTED,
         "give a bzImage (vmlinuz), or a kernel with a PVH note"},
};

int vm_qemu_refuse(const struct vm_machine *machine, const char *what, const char *message,
                   struct vm_err *err)
{
	return vm_refuse(machine, refusals, VM_ARRAY_LEN(refusals), what, message, err);
}

/* What the VMM had to say: the lines after the last trace of a state. "" if nothing. */
static void last_words(const struct vm_machine *machine, char *buf, size_t size)
{
	char *at = buf, *trace;

	vm_vmm_log_since(machine->dir_fd, VM_VMM_LOG, machine->log_begin, buf, size);
	while ((trace = strstr(at, "runstate_set "))) {
		at = strstr(trace, " | ");
		at = at ? at + 3 : trace + strlen(trace);
	}
	memmove(buf, at, strlen(at) + 1);
}

int vm_qemu_explain(struct vm_machine *machine, struct vm_err *err)
{
	struct vm_err ignored = {0};
	char words[600], what[sizeof(err->message)];

	if (err->code != VM_ERR_HYPERVISOR || machine->vmm.pid_fd < 0 ||
	    vm_vmm_wait(&machine->vmm, vm_monotonic_ms() + 1000, &ignored) != 0)
		return -1;
	last_words(machine, words, sizeof(words));
	snprintf(what, sizeof(what), "%.*s", (int)sizeof(what) - 1, err->message);
	vm_err_clear(err);
	vm_qemu_refuse(machine, "the VMM has ended", words[0] ? words : "it was killed", err);
	return err->code == VM_ERR_HYPERVISOR && err->hint[0] == '\0'
	               ? vm_err_hint(err, "it happened at: %.200s", what)
	               : -1;
}

int vm_qemu_attach(const struct vm_machine *machine, struct vm_qmp *ret_qmp, struct vm_err *err)
{
	int fd = vm_connect(machine->dir_fd, VM_FILE_API_SOCKET, machine->deadline_ms, err);

	return fd < 0 ? -1 : vm_qmp_begin(fd, machine->deadline_ms, ret_qmp, err);
}

/* No VMM has them open now: what a killed fork has left of layers can go. */
static int tidy_disks(const struct vm_machine *machine, struct vm_err *err)
{
	for (size_t i = 0; i < machine->spec->disk_count; i++) {
		if (vm_overlay_is(&machine->spec->disks[i]) &&
		    vm_overlay_tidy(machine->dir_fd, &machine->spec->disks[i], err) < 0)
			return -1;
	}
	return 0;
}

static int await_qmp(struct vm_machine *machine, struct vm_qmp *ret_qmp, struct vm_err *err)
{
	int fd = -1;
	int rc = vm_await_socket(machine, &fd, err);

	if (rc > 0)
		vm_err_set(err, VM_ERR_HYPERVISOR, "the VMM ended at once");
	return rc == 0 ? vm_qmp_begin(fd, machine->deadline_ms, ret_qmp, err) : -1;
}

int vm_qemu_spawn(struct vm_machine *machine, enum vm_qemu_role role, struct vm_qmp *ret_qmp,
                  struct vm_err *err)
{
	VM_AUTO(vm_qemu_args_free) struct vm_qemu_args args = {0};
	const char *memory;
	bool share;

	machine->version = machine->binary->version;
	/* Files of a dead VMM would be refused, or be taken for its memory. */
	if (vm_network_check(machine->spec, err) < 0 ||
	    vm_driver_clean(machine->driver, machine->dir_fd, err) < 0 ||
	    tidy_disks(machine, err) < 0 ||
	    vm_qemu_choose_memory(machine, role, &memory, &share, err) < 0 ||
	    vm_qemu_args_make(machine, role, memory, share, &args, err) < 0)
		return -1;
	machine->log_begin = vm_vmm_log_size(machine->dir_fd, VM_VMM_LOG);
	if (vm_vmm_spawn_in(machine->root, machine->id, machine->dir_fd, machine->view,
	                    (const char *const *)args.list, &machine->vmm, err) < 0)
		return -1;
	return await_qmp(machine, ret_qmp, err) < 0 ? vm_qemu_explain(machine, err) : 0;
}
