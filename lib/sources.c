/* SPDX-License-Identifier: Apache-2.0 */
#include "sources.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fault.h"
#include "fs.h"
#include "qcow2.h"
#include "util.h"

void vm_sources_init(struct vm_sources *sources)
{
	*sources = (struct vm_sources){.kernel_fd = -1, .initrd_fd = -1};
	for (size_t i = 0; i < VM_DISKS_MAX; i++)
		sources->disk_fds[i] = -1;
}

void vm_sources_close(struct vm_sources *sources)
{
	vm_cleanup_close(&sources->kernel_fd);
	vm_cleanup_close(&sources->initrd_fd);
	for (size_t i = 0; i < VM_DISKS_MAX; i++)
		vm_cleanup_close(&sources->disk_fds[i]);
}

int vm_source_open(char **path, const char *field, int *ret_fd, struct stat *ret_st,
                   struct vm_err *err)
{
	/* O_NONBLOCK: a FIFO given by mistake must not hang us. */
	VM_AUTO_CLOSE int fd = open(*path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char *real = fd >= 0 ? realpath(*path, NULL) : NULL;

	if (!real || fstat(fd, ret_st) < 0) {
		vm_err_sys(err, "%s: %s", field, *path);
		if (err->code == VM_ERR_SYSTEM)
			err->code = VM_ERR_USAGE;
		free(real);
		return -1;
	}
	free(*path);
	*path = real;
	if (!S_ISREG(ret_st->st_mode))
		return vm_err_set(err, VM_ERR_USAGE, "%s: %s is not a regular file", field, real);
	if (ret_st->st_size == 0)
		return vm_err_set(err, VM_ERR_USAGE, "%s: %s is empty", field, real);
	*ret_fd = vm_take_fd(&fd);
	return 0;
}

/*
 * An image of layers must be complete in itself: what it lies on elsewhere could change, or go.
 * Named a mistake of the user's, who can do something about it.
 */
static int measure_qcow2(struct vm_disk *disk, int fd, struct vm_err *err)
{
	struct vm_qcow2_info info;

	if (vm_qcow2_read(fd, disk->path, &info, err) < 0) {
		if (err->code == VM_ERR_CORRUPT)
			err->code = VM_ERR_USAGE;
		return -1;
	}
	if (info.backed) {
		vm_err_set(err, VM_ERR_USAGE, "%s lies on another image, '%.200s'", disk->path,
		           info.backing);
		return vm_err_hint(err, "'" VM_IMAGE_TOOL
		                        " convert -O qcow2' makes a complete one of the two");
	}
	disk->size_bytes = info.size_bytes;
	return 0;
}

/* What is not said of the format is seen here, once, and is stored. */
static int measure_disk(struct vm_disk *disk, int fd, const struct stat *st, struct vm_err *err)
{
	if (!disk->format_given && vm_qcow2_is(fd))
		disk->format = VM_DISK_QCOW2;
	if (disk->format == VM_DISK_QCOW2)
		return measure_qcow2(disk, fd, err);
	if (st->st_size % 512 != 0)
		return vm_err_set(err, VM_ERR_USAGE,
		                  "%s has %jd bytes, not a multiple of 512 (a raw image does)",
		                  disk->path, (intmax_t)st->st_size);
	disk->size_bytes = (uint64_t)st->st_size;
	return 0;
}

int vm_sources_open(struct vm_spec *spec, struct vm_sources *sources, struct vm_err *err)
{
	struct stat st;

	if (spec->kernel) {
		if (vm_source_open(&spec->kernel, "kernel", &sources->kernel_fd, &st, err) < 0)
			return -1;
		sources->bytes += (uint64_t)st.st_blocks * 512;
	}
	if (spec->initrd) {
		if (vm_source_open(&spec->initrd, "initrd", &sources->initrd_fd, &st, err) < 0)
			return -1;
		sources->bytes += (uint64_t)st.st_blocks * 512;
	}
	for (size_t i = 0; i < spec->disk_count; i++) {
		char field[VM_DISK_ID_MAX + 16];

		if (!spec->disks[i].path)
			continue;
		snprintf(field, sizeof(field), "disk %s", spec->disks[i].id);
		if (vm_source_open(&spec->disks[i].path, field, &sources->disk_fds[i], &st, err) <
		    0)
			return -1;
		if (measure_disk(&spec->disks[i], sources->disk_fds[i], &st, err) < 0)
			return vm_err_wrap(err, "%s", field);
		sources->bytes += (uint64_t)st.st_blocks * 512;
	}
	return 0;
}

static int make_blank(int dir_fd, const char *file, uint64_t size_bytes, struct vm_err *err)
{
	VM_AUTO_CLOSE int fd = vm_fs_create(dir_fd, file, 0600, err);

	if (fd < 0)
		return -1;
	if (vm_fault(VM_FAULT_FS_COPY) || ftruncate(fd, (off_t)size_bytes) < 0 ||
	    vm_fault(VM_FAULT_FS_COPY_DONE))
		return vm_fs_fail(dir_fd, file, "making", err);
	return vm_fs_sync(dir_fd, file, err);
}

static int make_disk(struct vm_child *child, const struct vm_disk *disk, int from_fd,
                     const struct vm_tell *tell, struct vm_err *err)
{
	char file[VM_DISK_FILE_SIZE];
	struct vm_work work;
	enum vm_copy how;

	vm_disk_file(disk, file);
	if (from_fd < 0 && disk->format == VM_DISK_QCOW2)
		return vm_qcow2_create(child->dir_fd, file, disk->size_bytes, NULL, err) < 0
		               ? -1
		               : vm_fs_sync(child->dir_fd, file, err);
	if (from_fd < 0)
		return make_blank(child->dir_fd, file, disk->size_bytes, err);
	vm_work_init(&work, tell, "copying disk %s of %s", disk->id, child->row.name);
	if (vm_fs_copy(from_fd, child->dir_fd, file, disk->read_only ? 0400 : 0600, &work, &how,
	               err) < 0)
		return -1;
	vm_child_note_copy(child, how);
	return vm_fs_sync(child->dir_fd, file, err);
}

int vm_sources_copy(struct vm_child *child, const struct vm_spec *spec,
                    const struct vm_sources *sources, const struct vm_tell *tell,
                    struct vm_err *err)
{
	int dir_fd = child->dir_fd;
	struct vm_work work;
	enum vm_copy how;

	vm_work_init(&work, tell, "copying kernel and initrd of %s", child->row.name);

	if (spec->kernel &&
	    (vm_fs_copy(sources->kernel_fd, dir_fd, VM_FILE_KERNEL, 0400, &work, &how, err) < 0 ||
	     vm_fs_sync(dir_fd, VM_FILE_KERNEL, err) < 0))
		return -1;
	if (spec->initrd &&
	    (vm_fs_copy(sources->initrd_fd, dir_fd, VM_FILE_INITRD, 0400, &work, &how, err) < 0 ||
	     vm_fs_sync(dir_fd, VM_FILE_INITRD, err) < 0))
		return -1;
	for (size_t i = 0; i < spec->disk_count; i++) {
		if (make_disk(child, &spec->disks[i], sources->disk_fds[i], tell, err) < 0)
			return -1;
	}
	return vm_fs_sync(dir_fd, NULL, err);
}
