/* SPDX-License-Identifier: Apache-2.0 */
#include "files.h"

#include <fcntl.h>
#include <string.h>

#include "driver/driver.h"
#include "util.h"

int vm_files_link_kernel(const struct vm_spec *spec, int from_fd, int to_fd, struct vm_err *err)
{
	/* An adopted instance may have none: it only goes on, and never boots. */
	if (spec->kernel && vm_fs_link(from_fd, to_fd, VM_FILE_KERNEL, err) < 0)
		return -1;
	return spec->initrd ? vm_fs_link(from_fd, to_fd, VM_FILE_INITRD, err) : 0;
}

static int copy_private(int from_fd, int to_fd, const char *file, struct vm_work *work,
                        enum vm_copy *ret_how, struct vm_err *err)
{
	VM_AUTO_CLOSE int fd = openat(from_fd, file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return vm_fs_fail(from_fd, file, "opening", err);
	return vm_fs_copy(fd, to_fd, file, 0600, work, ret_how, err);
}

/* How all of them came to be, by the one that took longest. */
static enum vm_copy slower(enum vm_copy a, enum vm_copy b)
{
	if (a == VM_COPY_SPARSE || b == VM_COPY_SPARSE)
		return VM_COPY_SPARSE;
	return a == VM_COPY_LAYER ? a : b;
}

int vm_files_copy_disks(const struct vm_spec *spec, int from_fd, const struct vm_frozen *frozen,
                        int to_fd, const struct vm_tell *tell, const char *name,
                        enum vm_copy *ret_how, struct vm_err *err)
{
	enum vm_copy all = VM_COPY_REFLINK;
	int private = 0;

	for (size_t i = 0; i < spec->disk_count; i++) {
		enum vm_copy how = VM_COPY_REFLINK;
		char file[VM_DISK_FILE_SIZE];
		struct vm_work work;

		vm_disk_file(&spec->disks[i], file);
		/* Read-only disks are never written by anybody, so the file itself is shared. */
		if (spec->disks[i].read_only) {
			if (vm_fs_link(from_fd, to_fd, file, err) < 0)
				return -1;
			continue;
		}
		if (vm_overlay_is(&spec->disks[i])) {
			how = VM_COPY_LAYER;
			if (vm_overlay_share(from_fd, frozen->layer[i], to_fd, &spec->disks[i],
			                     err) < 0)
				return -1;
		} else {
			vm_work_init(&work, tell, "copying disk %s of %s", spec->disks[i].id, name);
			if (copy_private(from_fd, to_fd, file, &work, &how, err) < 0)
				return -1;
		}
		all = slower(all, how);
		private++;
	}
	if (private > 0)
		*ret_how = all;
	return private;
}

/* Links that lead out of the directory are none that vmctl has made, and no fork shall have them.
 */
static int copy_link(void *ctx, int dir_fd, const char *name, struct vm_err *err)
{
	VM_AUTO_FREE char *target = NULL;
	const int *to_fd = ctx;
	int is_link = vm_fs_read_link(dir_fd, name, &target, err);

	if (is_link <= 0 || strchr(target, '/'))
		return is_link < 0 ? -1 : 0;
	return vm_fs_symlink(target, *to_fd, name, err);
}

int vm_files_copy_links(int from_fd, int to_fd, struct vm_err *err)
{
	return vm_fs_each(from_fd, ".", copy_link, &to_fd, err);
}

static int drop_link(void *ctx, int dir_fd, const char *name, struct vm_err *err)
{
	VM_AUTO_FREE char *target = NULL;
	int is_link = vm_fs_read_link(dir_fd, name, &target, err);

	(void)ctx;
	if (is_link <= 0 || strchr(target, '/'))
		return is_link < 0 ? -1 : 0;
	return vm_fs_unlink(dir_fd, name, err);
}

int vm_files_drop_links(int dir_fd, struct vm_err *err)
{
	return vm_fs_each(dir_fd, ".", drop_link, NULL, err);
}
