/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory in files.
 *
 * A file that is mapped shared has all its blocks before the guest runs: a page that found no room
 * on the disk would end the VMM (SIGBUS). Where writes go to new blocks all the same, because
 * extents are shared with the copy that a fork has got, or always (btrfs, unless told otherwise),
 * that cannot be promised: docs/qemu.md.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "../fs.h"
#include "../util.h"
#include "qemu.h"

/* As vm_op_check_disk(), for what a VMM will take while it runs. */
static int check_room(const struct vm_machine *machine, uint64_t need, struct vm_err *err)
{
	uint64_t kept = machine->root->config.min_free_disk_bytes, free_bytes;
	char directory[VM_PATH_SHOWN], want[16], have[16];

	if (vm_fs_free_bytes(machine->dir_fd, &free_bytes, err) < 0)
		return -1;
	if (free_bytes >= kept && free_bytes - kept >= need)
		return 0;
	vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES,
	           "%s: guest memory takes %s on the disk, of which %s are free",
	           vm_fs_path(machine->dir_fd, NULL, directory, sizeof(directory)),
	           vm_size_format(need, want, sizeof(want)),
	           vm_size_format(free_bytes, have, sizeof(have)));
	return vm_err_hint(err, "free some space, or lower limits.min_free_disk in vmctl.yaml");
}

static bool copies_on_write(int fd)
{
	struct statfs fs;
	int flags = 0;

	return fstatfs(fd, &fs) == 0 && fs.f_type == BTRFS_SUPER_MAGIC &&
	       (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0 || !(flags & FS_NOCOW_FL));
}

/* A filesystem that cannot reserve makes no promise; all else is as on one that can. */
static bool reserve(int fd, uint64_t bytes)
{
	return fallocate(fd, 0, 0, (off_t)bytes) == 0 || errno == EOPNOTSUPP;
}

static int make_live(const struct vm_machine *machine, struct vm_err *err)
{
	uint64_t bytes = machine->spec->memory_bytes;
	VM_AUTO_CLOSE int fd = -1;
	int flags = 0;

	if (check_room(machine, bytes, err) < 0)
		return -1;
	fd = vm_fs_create(machine->dir_fd, VM_QEMU_LIVE, 0600, err);
	if (fd < 0)
		return -1;
	/* Only while it is empty, and where that means anything. */
	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0) {
		flags |= FS_NOCOW_FL;
		(void)ioctl(fd, FS_IOC_SETFLAGS, &flags);
	}
	if (ftruncate(fd, (off_t)bytes) < 0 || !reserve(fd, bytes))
		return vm_fs_fail(machine->dir_fd, VM_QEMU_LIVE, "reserving", err);
	return 0;
}

/* Whether a saved memory that nobody else has can be made the live one. */
static bool can_live(const struct vm_machine *machine, const struct stat *st)
{
	VM_AUTO_CLOSE int fd =
	        openat(machine->dir_fd, VM_FILE_MEMORY, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	uint64_t has = (uint64_t)st->st_blocks * 512, bytes = machine->spec->memory_bytes;
	struct vm_err ignored = {0};

	return fd >= 0 && st->st_nlink == 1 && !copies_on_write(fd) &&
	       check_room(machine, bytes > has ? bytes - has : 0, &ignored) == 0 &&
	       reserve(fd, bytes);
}

/*
 * A saved memory that anybody else has a link to is never written: what is mapped shared changes as
 * the guest runs, and with it every fork and image that was made from it. So
 *
 * - a guest that boots has a new file, VM_QEMU_LIVE, mapped shared: to save it costs a link or a
 *   copy of the file, and its state is small.
 * - one that goes on from a memory that nobody else has gets that file under the same name, mapped
 *   shared. The caller holds the instance alone, and who makes a link needs the instance at rest
 *   and its lock: so nobody else comes to have it while the guest runs. The saved state is spent
 *   before the guest runs (restore.c); while a VMM loads, it writes no memory but, of a q35, the 16
 *   bytes of the VM generation ID, which it writes anew at every load.
 * - all others map the file privately. To save them, memory has to go through QEMU (qemu_save.c).
 */
int vm_qemu_choose_memory(const struct vm_machine *machine, enum vm_qemu_role role,
                          const char **ret_file, bool *ret_share, struct vm_err *err)
{
	struct stat st;

	*ret_file = VM_QEMU_LIVE;
	*ret_share = true;
	if (role == VM_QEMU_BOOT)
		return make_live(machine, err);
	if (fstatat(machine->dir_fd, VM_FILE_MEMORY, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return vm_fs_fail(machine->dir_fd, VM_FILE_MEMORY, "looking at", err);
	if (can_live(machine, &st))
		return vm_fs_link_as(machine->dir_fd, VM_FILE_MEMORY, machine->dir_fd, VM_QEMU_LIVE,
		                     err);
	*ret_file = VM_FILE_MEMORY;
	*ret_share = false;
	return 0;
}

void vm_qemu_release_memory(int dir_fd, const char *name)
{
	VM_AUTO_CLOSE int fd = openat(dir_fd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	off_t size = fd >= 0 ? lseek(fd, 0, SEEK_END) : -1, hole, data;

	/* It reads the same at any moment: whatever fails only ends it. */
	for (hole = 0; hole >= 0 && hole < size; hole = data) {
		hole = lseek(fd, hole, SEEK_HOLE);
		if (hole < 0 || hole >= size)
			return;
		data = lseek(fd, hole, SEEK_DATA);
		if (data < 0)
			data = size;
		if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, hole, data - hole) <
		    0)
			return;
	}
}
