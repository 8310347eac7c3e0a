/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saving a guest and loading it: migration into a file and out of one.
 *
 * Memory that the VMM maps shared is in a file already. With the capability x-ignore-shared only
 * the rest is saved, some 40 to 100 KiB: the memory file is linked if the guest ends, else it is
 * copied inside the pause, sharing extents where the filesystem can. Memory that is mapped
 * privately exists in the VMM alone, and goes into the state; qemu_flatten.c makes of that what can
 * be shared.
 */
#include <fcntl.h>

#include "../fs.h"
#include "../util.h"
#include "binary.h"
#include "qemu.h"

/* Of a migration, set before each, for they stay as the last one has set them. */
static int set_capabilities(struct vm_qmp *qmp, bool ram, struct vm_err *err)
{
	return vm_qmp_call(qmp, "migrate-set-capabilities",
	                   json_pack("{s:[{s:s,s:b},{s:s,s:b}]}", "capabilities", "capability",
	                             "x-ignore-shared", "state", (int)!ram, "capability", "events",
	                             "state", 1),
	                   -1, NULL, err);
}

/*
 * "file:" since 8.2; before, the descriptor of a file does, which is deprecated since 9.1
 * (docs/about/deprecated.rst). `file_fd` is -1 with the former.
 */
static int run_migration(struct vm_qmp *qmp, const char *command, const char *path, int file_fd,
                         struct vm_err *err)
{
	VM_AUTO_FREE char *uri =
	        file_fd < 0 ? vm_strf(err, "file:%s", path) : vm_strdup("fd:state", err);

	if (!uri)
		return -1;
	if (file_fd >= 0 && vm_qmp_call(qmp, "getfd", json_pack("{s:s}", "fdname", "state"),
	                                file_fd, NULL, err) < 0)
		return -1;
	if (vm_qmp_call(qmp, command, json_pack("{s:s}", "uri", uri), -1, NULL, err) < 0)
		return -1;
	return vm_qmp_await_migration(qmp, err);
}

static bool by_name(const char *version)
{
	return vm_version_is_since(version, 8, 2);
}

int vm_qemu_migrate_out(struct vm_qmp *qmp, const char *version, int dir_fd, const char *path,
                        bool ram, struct vm_err *err)
{
	/* It is made here in any case: QEMU would take what is there. */
	VM_AUTO_CLOSE int fd = vm_fs_create(dir_fd, path, 0600, err);

	/* Else it writes at most 128 MiB a second (MAX_THROTTLE in migration/migration.c). */
	if (fd < 0 || set_capabilities(qmp, ram, err) < 0 ||
	    vm_qmp_call(qmp, "migrate-set-parameters",
	                json_pack("{s:I}", "max-bandwidth", (json_int_t)1 << 40), -1, NULL,
	                err) < 0)
		return -1;
	return run_migration(qmp, "migrate", path, by_name(version) ? -1 : fd, err);
}

int vm_qemu_migrate_in(struct vm_qmp *qmp, const char *version, int dir_fd, const char *path,
                       bool ram, struct vm_err *err)
{
	VM_AUTO_CLOSE int fd = openat(dir_fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return vm_fs_fail(dir_fd, path, "opening", err);
	if (set_capabilities(qmp, ram, err) < 0)
		return -1;
	return run_migration(qmp, "migrate-incoming", path, by_name(version) ? -1 : fd, err);
}

static int copy_live(const struct vm_machine *machine, const char *memory, struct vm_err *err)
{
	VM_AUTO_CLOSE int live =
	        openat(machine->dir_fd, VM_QEMU_LIVE, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct vm_work work;
	enum vm_copy how;

	vm_work_init(&work, machine->tell, "copying the memory of %s", machine->name);
	if (live < 0)
		return vm_fs_fail(machine->dir_fd, VM_QEMU_LIVE, "opening", err);
	return vm_fs_copy(live, machine->dir_fd, memory, 0600, &work, &how, err);
}

/*
 * A link is enough when nothing is written any more. If all is undone and the guest goes on, what
 * is linked is no saved memory, for there is no manifest: the next save puts another in its place,
 * and whoever comes after a kill takes away what has the name of a temporary file.
 */
static int save_live(const struct vm_machine *machine, const char *memory, struct vm_err *err)
{
	if (machine->ends)
		return vm_fs_link_as(machine->dir_fd, VM_QEMU_LIVE, machine->dir_fd, memory, err);
	return copy_live(machine, memory, err);
}

int vm_qemu_check_save(struct vm_machine *machine, struct vm_err *err)
{
	struct vm_driver_info binary;
	uint64_t free_bytes, need = 2 * machine->spec->memory_bytes;
	char want[16], have[16];

	/* What comes after is by the VMM itself, and for that all room is there. */
	if (vm_fs_exists(machine->dir_fd, VM_QEMU_LIVE))
		return 0;
	/* A helper: it has to be the same QEMU. */
	if (vm_qemu_probe(machine->root, NULL, machine->version, &binary, err) < 0 ||
	    vm_fs_free_bytes(machine->dir_fd, &free_bytes, err) < 0)
		return -1;
	if (vm_qemu_check_version(machine->version, binary.version, err) < 0)
		return vm_err_wrap(err,
		                   "its memory is made fit to be shared by the QEMU it runs with");
	/* Once in the state, once in its own file. */
	if (free_bytes >= need)
		return 0;
	return vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES,
	                  "to save this guest takes up to %s on the disk, of which %s are free",
	                  vm_size_format(need, want, sizeof(want)),
	                  vm_size_format(free_bytes, have, sizeof(have)));
}

int vm_qemu_save(struct vm_machine *machine, enum vm_save_what what, const char *memory,
                 const char *state, struct vm_err *err)
{
	VM_AUTO(vm_qmp_close) struct vm_qmp qmp = VM_QMP_INIT;
	bool live = vm_fs_exists(machine->dir_fd, VM_QEMU_LIVE);

	(void)what;
	if (vm_qemu_attach(machine, &qmp, err) < 0)
		return -1;
	if (vm_qemu_migrate_out(&qmp, machine->version, machine->dir_fd, state, !live, err) < 0)
		return vm_qemu_explain(machine, err);
	machine->saved_by = !live ? "through the VMM" : machine->ends ? "link" : "copy";
	return live ? save_live(machine, memory, err) : 0;
}
