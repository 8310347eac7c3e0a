/* SPDX-License-Identifier: Apache-2.0 */
#include "refuse.h"

#include <string.h>

#include "../fs.h"
#include "../util.h"

int vm_refuse(const struct vm_machine *machine, const struct vm_refusal *rows, size_t count,
              const char *what, const char *message, struct vm_err *err)
{
	char directory[VM_PATH_SHOWN];

	for (size_t i = 0; i < count; i++) {
		if (!strstr(message, rows[i].text) ||
		    (rows[i].also && !strstr(message, rows[i].also)))
			continue;
		vm_err_set(err, rows[i].code, "%s: %s", what, message);
		if (err->code == VM_ERR_INSUFFICIENT_RESOURCES)
			vm_err_wrap(
			        err, "%s",
			        vm_fs_path(machine->dir_fd, NULL, directory, sizeof(directory)));
		return vm_err_hint(err, "%s", rows[i].hint);
	}
	return vm_err_set(err, VM_ERR_HYPERVISOR, "%s: %s", what, message);
}

int vm_confirm_state(struct vm_machine *machine, enum vm_guest_state want, struct vm_err *err)
{
	enum vm_guest_state now = VM_GUEST_NOT_STARTED;
	struct vm_err second = {0};

	machine->deadline_ms = vm_monotonic_ms() + machine->root->config.api_timeout_ms;
	if (machine->driver->query(machine, &now, &second) < 0 || now != want)
		return -1;
	vm_err_clear(err);
	return 0;
}

int vm_abandon(struct vm_machine *machine)
{
	struct vm_err ignored = {0};

	if (machine->vmm.pid_fd >= 0)
		vm_vmm_kill(&machine->vmm, &ignored);
	vm_vmm_close(&machine->vmm);
	vm_err_clear(&ignored);
	vm_driver_clean(machine->driver, machine->dir_fd, &ignored);
	return -1;
}
