/* SPDX-License-Identifier: Apache-2.0 */
#include "files.h"

#include <fcntl.h>

#include "driver/driver.h"
#include "util.h"

int vm_files_link_kernel(const struct vm_spec *spec, int from_fd, int to_fd, struct vm_err *err)
{
	/* An adopted instance may have none: it only goes on, and never boots. */
	if (spec->kernel && vm_fs_link(from_fd, to_fd, VM_FILE_KERNEL, err) < 0)
		return -1;
	return spec->initrd ? vm_fs_link(from_fd, to_fd, VM_FILE_INITRD, err) : 0;
}

static int copy_private(int from_fd, int to_fd, const char *file, enum vm_copy *ret_how,
                        struct vm_err *err)
{
	VM_AUTO_CLOSE int fd = openat(from_fd, file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return vm_fs_fail(from_fd, file, "opening", err);
	return vm_fs_copy(fd, to_fd, file, 0600, ret_how, err);
}

int vm_files_copy_disks(const struct vm_spec *spec, int from_fd, int to_fd, enum vm_copy *ret_how,
                        struct vm_err *err)
{
	bool copied = false;
	int private = 0;

	for (size_t i = 0; i < spec->disk_count; i++) {
		enum vm_copy how = VM_COPY_REFLINK;
		char file[VM_DISK_FILE_SIZE];

		vm_disk_file(&spec->disks[i], file);
		/* Read-only disks are never written by anybody, so the file itself is shared. */
		if (spec->disks[i].read_only) {
			if (vm_fs_link(from_fd, to_fd, file, err) < 0)
				return -1;
			continue;
		}
		if (copy_private(from_fd, to_fd, file, &how, err) < 0)
			return -1;
		copied |= how == VM_COPY_SPARSE;
		private++;
	}
	if (private > 0)
		*ret_how = copied ? VM_COPY_SPARSE : VM_COPY_REFLINK;
	return private;
}
