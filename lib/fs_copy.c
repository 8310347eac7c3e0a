/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of disks: shared extents where the filesystem can, else data extents only. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "fault.h"
#include "fs.h"
#include "interrupt.h"
#include "util.h"

enum { CHUNK_BYTES = 16 * 1024 * 1024, BUFFER_BYTES = 256 * 1024 };

/* copy_file_range() is refused between some filesystems; these errors mean "copy by hand". */
static bool copy_range_unavailable(int e)
{
	return e == EXDEV || e == EINVAL || e == ENOSYS || e == EOPNOTSUPP || e == EPERM;
}

static ssize_t copy_by_buffer(int from, int to, off_t offset, size_t len)
{
	VM_AUTO_FREE char *buffer = malloc(BUFFER_BYTES);
	ssize_t got, put;

	if (!buffer)
		return -1;
	got = pread(from, buffer, len < BUFFER_BYTES ? len : BUFFER_BYTES, offset);
	if (got <= 0)
		return got;
	put = pwrite(to, buffer, (size_t)got, offset);
	return put;
}

/* One file's data on its way to another. */
struct copy {
	int from, to;
	struct vm_work *work; /* told of it; or NULL */
	bool measures;        /* nothing is copied yet: how much will be, for `work` */
	uint64_t measured;
};

static int copy_extent(struct copy *copy, off_t offset, off_t end, struct vm_err *err)
{
	bool by_hand = false;

	while (offset < end) {
		size_t len = (size_t)(end - offset < CHUNK_BYTES ? end - offset : CHUNK_BYTES);
		loff_t in = offset, out = offset;
		ssize_t n;

		if (vm_interrupt_check(err) < 0)
			return -1;
		n = by_hand ? copy_by_buffer(copy->from, copy->to, offset, len)
		            : copy_file_range(copy->from, &in, copy->to, &out, len, 0);
		if (n < 0 && !by_hand && copy_range_unavailable(errno)) {
			by_hand = true;
			continue;
		}
		if (n < 0 && errno != EINTR)
			return vm_err_sys(err, "copying");
		if (n == 0)
			return vm_err_set(err, VM_ERR_SYSTEM,
			                  "the file became shorter while it was copied");
		if (n > 0) {
			offset += n;
			vm_work_add(copy->work, (uint64_t)n);
		}
	}
	return 0;
}

/* The data extents between two offsets. */
static int copy_data(struct copy *copy, off_t data, off_t end, struct vm_err *err)
{
	off_t hole, stop;

	while (data < end) {
		data = lseek(copy->from, data, SEEK_DATA);
		if (data >= end || (data < 0 && errno == ENXIO))
			return 0; /* nothing but a hole up to the end */
		hole = data < 0 ? -1 : lseek(copy->from, data, SEEK_HOLE);
		if (hole < 0)
			return vm_err_sys(err, "looking for data extents");
		stop = hole < end ? hole : end;
		if (copy->measures)
			copy->measured += (uint64_t)(stop - data);
		else if (copy_extent(copy, data, stop, err) < 0)
			return -1;
		data = hole;
	}
	return 0;
}

static int copy_whole(struct copy *copy, off_t size, struct vm_err *err)
{
	return copy_data(copy, 0, size, err);
}

/* What is written lies behind us when the next hole is looked for. */
static int fill_holes(struct copy *copy, off_t size, struct vm_err *err)
{
	off_t hole = 0, data;

	while ((hole = lseek(copy->to, hole, SEEK_HOLE)) >= 0 && hole < size) {
		data = lseek(copy->to, hole, SEEK_DATA);
		if (data < 0 && errno != ENXIO)
			return vm_err_sys(err, "looking for data extents");
		if (data < 0 || data > size)
			data = size;
		if (copy_data(copy, hole, data, err) < 0)
			return -1;
		hole = data;
	}
	/* ENXIO: it ends with data. */
	return hole < 0 && errno != ENXIO ? vm_err_sys(err, "looking for holes") : 0;
}

/* Walks through the files twice if somebody wants to know how far it is: first to see how far. */
static int walk(struct copy *copy, int (*steps)(struct copy *copy, off_t size, struct vm_err *err),
                off_t size, struct vm_err *err)
{
	copy->measures = vm_work_is_told(copy->work, (uint64_t)size);
	if (copy->measures) {
		if (steps(copy, size, err) < 0)
			return -1;
		vm_work_begin(copy->work, copy->measured);
		copy->measures = false;
	} else {
		copy->work = NULL;
	}
	return steps(copy, size, err);
}

static int copy_sparse(int from, int to, off_t size, struct vm_work *work, struct vm_err *err)
{
	struct copy copy = {.from = from, .to = to, .work = work};

	if (ftruncate(to, size) < 0)
		return vm_err_sys(err, "setting the size of the copy");
	return walk(&copy, copy_whole, size, err);
}

int vm_fs_fill_holes(int from_fd, const char *from, int to_fd, const char *to, struct vm_work *work,
                     struct vm_err *err)
{
	VM_AUTO_CLOSE int in = openat(from_fd, from, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	VM_AUTO_CLOSE int out = openat(to_fd, to, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	struct copy copy = {.from = in, .to = out, .work = work};
	struct stat base, layer;

	if (in < 0 || fstat(in, &base) < 0)
		return vm_fs_fail(from_fd, from, "opening", err);
	if (out < 0 || fstat(out, &layer) < 0)
		return vm_fs_fail(to_fd, to, "opening", err);
	if (base.st_size != layer.st_size) {
		vm_err_set(err, VM_ERR_SYSTEM, "its base has %lld bytes and not %lld",
		           (long long)base.st_size, (long long)layer.st_size);
		return vm_fs_wrap(to_fd, to, err);
	}
	if (vm_fault(VM_FAULT_FS_FILL))
		return vm_fs_fail(to_fd, to, "filling", err);
	if (walk(&copy, fill_holes, layer.st_size, err) < 0)
		return vm_fs_wrap(to_fd, to, err);
	return vm_fault(VM_FAULT_FS_FILL_DONE) ? -1 : 0;
}

/* Whether FICLONE has failed for what the files are, and not for want of something. */
static bool cannot_share(int e)
{
	return e == EOPNOTSUPP || e == EXDEV || e == EINVAL || e == ENOTTY || e == ENOSYS;
}

static int fill_copy(int from, int to, struct vm_work *work, enum vm_copy *ret_how,
                     struct vm_err *err)
{
	struct stat st;

	if (vm_fault(VM_FAULT_FS_COPY))
		return vm_err_sys(err, "copying");
	if (ioctl(to, FICLONE, from) == 0) {
		*ret_how = VM_COPY_REFLINK;
		return vm_fault(VM_FAULT_FS_COPY_DONE) ? -1 : 0;
	}
	if (!cannot_share(errno))
		return vm_err_sys(err, "sharing extents");
	if (fstat(from, &st) < 0)
		return vm_err_sys(err, "asking for the size");
	if (copy_sparse(from, to, st.st_size, work, err) < 0)
		return -1;
	*ret_how = VM_COPY_SPARSE;
	return vm_fault(VM_FAULT_FS_COPY_DONE) ? -1 : 0;
}

int vm_fs_copy(int from_fd, int dir_fd, const char *name, mode_t mode, struct vm_work *work,
               enum vm_copy *ret_how, struct vm_err *err)
{
	VM_AUTO_CLOSE int to = vm_fs_create(dir_fd, name, mode, err);
	char path[VM_PATH_SHOWN];

	if (to < 0)
		return -1;
	if (fill_copy(from_fd, to, work, ret_how, err) == 0)
		return 0;
	unlinkat(dir_fd, name, 0);
	return vm_err_wrap(err, "%s", vm_fs_path(dir_fd, name, path, sizeof(path)));
}

int vm_fs_clone(int from_fd, const char *from, int to_fd, const char *to, bool *ret_cloned,
                struct vm_err *err)
{
	VM_AUTO_CLOSE int in = openat(from_fd, from, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	VM_AUTO_CLOSE int out = in < 0 ? -1 : vm_fs_create(to_fd, to, 0600, err);

	if (in < 0)
		return vm_fs_fail(from_fd, from, "opening", err);
	if (out < 0)
		return -1;
	*ret_cloned = !vm_fault(VM_FAULT_FS_COPY) && ioctl(out, FICLONE, in) == 0;
	if (*ret_cloned)
		return vm_fault(VM_FAULT_FS_COPY_DONE) ? -1 : 0;
	if (!cannot_share(errno))
		vm_fs_fail(from_fd, from, "sharing the extents of", err);
	unlinkat(to_fd, to, 0);
	return err->code == VM_OK ? 0 : -1;
}
