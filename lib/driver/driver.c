/* SPDX-License-Identifier: Apache-2.0 */
#include "driver.h"

#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../alias.h"
#include "../fault.h"
#include "../fs.h"
#include "../util.h"

/* A save writes all of guest memory: allow for a disk as slow as this. */
enum { SLOWEST_DISK_BYTES_PER_MS = 8 * 1024 };

char *vm_disk_file(const struct vm_disk *disk, char *buf)
{
	snprintf(buf, VM_DISK_FILE_SIZE, VM_DISK_FILE_FORMAT, disk->id);
	return buf;
}

const char *vm_version_accelerator(const char *version)
{
	const char *plus = strchr(version, '+');

	return plus ? plus + 1 : "";
}

bool vm_memory_is_packed(int dir_fd)
{
	return !vm_fs_exists(dir_fd, VM_FILE_MEMORY) && vm_fs_exists(dir_fd, VM_FILE_COMPRESSED);
}

int vm_disks_sync(int dir_fd, const struct vm_spec *spec, struct vm_err *err)
{
	for (size_t i = 0; i < spec->disk_count; i++) {
		char file[VM_DISK_FILE_SIZE];

		if (!spec->disks[i].read_only &&
		    vm_fs_sync(dir_fd, vm_disk_file(&spec->disks[i], file), err) < 0)
			return -1;
	}
	return 0;
}

int vm_driver_find(const char *name, const struct vm_driver **ret, struct vm_err *err)
{
	char list[128] = "";

	for (size_t i = 0; vm_drivers[i]; i++) {
		if (!name || strcmp(name, vm_drivers[i]->name) == 0) {
			*ret = vm_drivers[i];
			return 0;
		}
		snprintf(list + strlen(list), sizeof(list) - strlen(list), " %s",
		         vm_drivers[i]->name);
	}
	return vm_err_set(err, VM_ERR_UNSUPPORTED,
	                  "there is no driver for hypervisor '%s'; there are:%s", name ? name : "",
	                  list);
}

const char *vm_state_path_kind_name(enum vm_state_path_kind kind)
{
	static const char *const names[] = {
	        [VM_STATE_KERNEL] = "kernel", [VM_STATE_INITRD] = "initrd",
	        [VM_STATE_DISK] = "disk",     [VM_STATE_PMEM] = "pmem",
	        [VM_STATE_VSOCK] = "vsock",   [VM_STATE_BOOT_ARGS] = "boot_args",
	};

	return names[kind];
}

void vm_state_info_free(struct vm_state_info *info)
{
	for (size_t i = 0; info->paths && i < info->count; i++)
		free(info->paths[i].text);
	free(info->paths);
	*info = (struct vm_state_info){0};
}

int vm_driver_recognise(const void *data, size_t len, const struct vm_driver **ret_driver,
                        struct vm_state_info *ret_info, struct vm_err *err)
{
	for (size_t i = 0; vm_drivers[i]; i++) {
		if (!vm_drivers[i]->describe_state)
			continue;
		vm_err_clear(err);
		if (vm_drivers[i]->describe_state(data, len, ret_info, err) == 0) {
			*ret_driver = vm_drivers[i];
			return 0;
		}
		/* One that says more than "not mine" has seen what it is. */
		if (err->code != VM_ERR_UNSUPPORTED)
			return -1;
	}
	return err->code == VM_OK ? vm_err_set(err, VM_ERR_UNSUPPORTED,
	                                       "no driver here can look into a saved state")
	                          : -1;
}

static int begin_call(struct vm_machine *machine, enum vm_fault_point point, struct vm_err *err)
{
	machine->deadline_ms = vm_monotonic_ms() + machine->root->config.api_timeout_ms;
	if (machine->saving)
		machine->deadline_ms +=
		        (int64_t)(machine->spec->memory_bytes / SLOWEST_DISK_BYTES_PER_MS);
	return vm_fault(point) ? vm_err_sys(err, "fault before the call") : 0;
}

/* Puts the driver's name in front of a failure. */
static int end_call(const struct vm_machine *machine, enum vm_fault_point done, int rc,
                    struct vm_err *err)
{
	if (rc == 0 && vm_fault(done))
		rc = vm_err_sys(err, "fault after the call");
	return rc < 0 ? vm_err_wrap(err, "%s: %s", machine->name, machine->driver->name) : rc;
}

bool vm_driver_wants_tracking(const struct vm_machine *machine, const char *version)
{
	enum vm_memory_diff diff = machine->root->config.memory_diff;
	const struct vm_driver *driver = machine->driver;

	if (diff == VM_MEMORY_DIFF_OFF || !driver->caps.diff_snapshot ||
	    (driver->can_track && !driver->can_track(version)))
		return false;
	return vm_fs_shares_extents(machine->dir_fd) ||
	       (diff == VM_MEMORY_DIFF_AUTO &&
	        vm_fs_keeps_holes(machine->dir_fd, machine->spec->memory_bytes));
}

int vm_driver_boot(struct vm_machine *machine, struct vm_err *err)
{
	int rc;

	assert(machine->vmm.pid_fd < 0);
	machine->track = vm_driver_wants_tracking(machine, machine->binary->version);
	rc = begin_call(machine, VM_FAULT_DRIVER_BOOT, err);
	if (rc == 0)
		rc = machine->driver->boot(machine, err);
	return end_call(machine, VM_FAULT_DRIVER_BOOT_DONE, rc, err);
}

int vm_driver_load(struct vm_machine *machine, bool resume, struct vm_err *err)
{
	struct vm_err ignored = {0};
	int rc;

	assert(machine->vmm.pid_fd < 0);
	machine->track = vm_driver_wants_tracking(machine, machine->binary->version);
	rc = begin_call(machine, VM_FAULT_DRIVER_LOAD, err);
	if (rc == 0)
		rc = machine->alias ? vm_alias_load(machine, resume, err)
		                    : machine->driver->load(machine, resume, err);
	/* Without a base its next save writes everything, and makes one. */
	if (rc == 0 && machine->track)
		vm_fs_link_as(machine->dir_fd, VM_FILE_MEMORY, machine->dir_fd, VM_FILE_BASE,
		              &ignored);
	return end_call(machine, VM_FAULT_DRIVER_LOAD_DONE, rc, err);
}

int vm_driver_pause(struct vm_machine *machine, struct vm_err *err)
{
	int rc = begin_call(machine, VM_FAULT_DRIVER_PAUSE, err);

	if (rc == 0)
		rc = machine->driver->pause(machine, err);
	return end_call(machine, VM_FAULT_DRIVER_PAUSE_DONE, rc, err);
}

int vm_driver_resume(struct vm_machine *machine, struct vm_err *err)
{
	int rc = begin_call(machine, VM_FAULT_DRIVER_RESUME, err);

	if (rc == 0)
		rc = machine->driver->resume(machine, err);
	return end_call(machine, VM_FAULT_DRIVER_RESUME_DONE, rc, err);
}

int vm_driver_save(struct vm_machine *machine, enum vm_save_what what, const char *memory,
                   const char *state, struct vm_err *err)
{
	int rc;

	assert(what == VM_SAVE_ALL || machine->driver->caps.diff_snapshot);
	/* If we are cut short it goes on saving: what comes after has to wait for that. */
	machine->saving = true;
	rc = begin_call(machine, VM_FAULT_DRIVER_SAVE, err);
	if (rc == 0)
		rc = machine->driver->save(machine, what, memory, state, err);
	rc = end_call(machine, VM_FAULT_DRIVER_SAVE_DONE, rc, err);
	machine->saving = rc < 0;
	return rc;
}

int vm_driver_check_save(struct vm_machine *machine, struct vm_err *err)
{
	if (!machine->driver->check_save || machine->driver->check_save(machine, err) == 0)
		return 0;
	return vm_err_wrap(err, "%s: %s", machine->name, machine->driver->name);
}

int vm_driver_finish_save(struct vm_machine *machine, int to_fd, const char *memory,
                          const char *state, struct vm_err *err)
{
	int rc;

	if (!machine->driver->finish_save)
		return 0;
	rc = begin_call(machine, VM_FAULT_DRIVER_FINISH, err);
	/* It may read and write all of memory. */
	machine->deadline_ms += (int64_t)(machine->spec->memory_bytes / SLOWEST_DISK_BYTES_PER_MS);
	if (rc == 0)
		rc = machine->driver->finish_save(machine, to_fd, memory, state, err);
	return end_call(machine, VM_FAULT_DRIVER_FINISH_DONE, rc, err);
}

int vm_driver_freeze_disks(struct vm_machine *machine, struct vm_frozen *ret, struct vm_err *err)
{
	int rc = begin_call(machine, VM_FAULT_DRIVER_FREEZE, err);

	assert(machine->driver->caps.disk_qcow2);
	if (rc == 0)
		rc = machine->driver->freeze_disks(machine, ret, err);
	return end_call(machine, VM_FAULT_DRIVER_FREEZE_DONE, rc, err);
}

int vm_driver_query(struct vm_machine *machine, enum vm_guest_state *ret, struct vm_err *err)
{
	int rc = begin_call(machine, VM_FAULT_DRIVER_QUERY, err);

	if (rc == 0)
		rc = machine->driver->query(machine, ret, err);
	return end_call(machine, VM_FAULT_DRIVER_QUERY_DONE, rc, err);
}

int vm_driver_tracks(struct vm_machine *machine, bool *ret_tracks, struct vm_err *err)
{
	int rc = begin_call(machine, VM_FAULT_DRIVER_QUERY, err);

	if (rc == 0)
		rc = machine->driver->tracks(machine, ret_tracks, err);
	return end_call(machine, VM_FAULT_DRIVER_QUERY_DONE, rc, err);
}

int vm_driver_ask_shutdown(struct vm_machine *machine, struct vm_err *err)
{
	int rc;

	assert(machine->driver->caps.graceful_shutdown);
	rc = begin_call(machine, VM_FAULT_DRIVER_SHUTDOWN, err);
	if (rc == 0)
		rc = machine->driver->ask_shutdown(machine, err);
	return end_call(machine, VM_FAULT_DRIVER_SHUTDOWN_DONE, rc, err);
}

int vm_driver_prepare_memory(struct vm_machine *machine, struct vm_err *err)
{
	int rc = begin_call(machine, VM_FAULT_DRIVER_MEMORY, err);

	if (rc == 0)
		rc = machine->driver->prepare_memory(machine, err);
	return end_call(machine, VM_FAULT_DRIVER_MEMORY_DONE, rc, err);
}

const char *const vm_driver_leftovers[] = {VM_FILE_BASE, VM_FILE_MAPPED, NULL};

int vm_driver_clean(const struct vm_driver *driver, int dir_fd, struct vm_err *err)
{
	for (size_t i = 0; vm_driver_leftovers[i]; i++) {
		if (vm_fs_unlink(dir_fd, vm_driver_leftovers[i], err) < 0)
			return -1;
	}
	for (size_t i = 0; driver->leftovers[i]; i++) {
		VM_AUTO_FREE char *target = NULL;
		int is_link = vm_fs_read_link(dir_fd, driver->leftovers[i], &target, err);
		/* Only a name beside it: links out of the directory are none of ours. */
		bool aliased = is_link > 0 && !strchr(target, '/');

		if (is_link < 0 ||
		    vm_fs_unlink(dir_fd, aliased ? target : driver->leftovers[i], err) < 0)
			return -1;
	}
	return 0;
}

bool vm_driver_is_clean(const struct vm_driver *driver, int dir_fd)
{
	struct stat st;

	for (size_t i = 0; driver->leftovers[i]; i++) {
		/* Follows a link: one that leads nowhere yet is no leftover. */
		if (fstatat(dir_fd, driver->leftovers[i], &st, 0) == 0)
			return false;
	}
	return true;
}
