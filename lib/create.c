/* SPDX-License-Identifier: Apache-2.0 */
/* create: a new instance from a spec. Its kernel, initrd and disks become private copies. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "child.h"
#include "fault.h"
#include "fs.h"
#include "sweep.h"
#include "util.h"

/* The files a spec names, opened before anything is changed: what is checked is what gets copied.
 */
struct sources {
	int kernel_fd, initrd_fd;
	int disk_fds[VM_DISKS_MAX];
	uint64_t bytes; /* of data, at most, that the copies will take */
};

static void close_sources(struct sources *sources)
{
	vm_cleanup_close(&sources->kernel_fd);
	vm_cleanup_close(&sources->initrd_fd);
	for (size_t i = 0; i < VM_DISKS_MAX; i++)
		vm_cleanup_close(&sources->disk_fds[i]);
}

/* Opens *path and makes it absolute: what is stored must not depend on today's directory. */
static int open_source(char **path, const char *field, int *ret_fd, struct stat *ret_st,
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

static int open_sources(struct vm_spec *spec, struct sources *sources, struct vm_err *err)
{
	struct stat st;

	if (open_source(&spec->kernel, "kernel", &sources->kernel_fd, &st, err) < 0)
		return -1;
	sources->bytes += (uint64_t)st.st_blocks * 512;
	if (spec->initrd) {
		if (open_source(&spec->initrd, "initrd", &sources->initrd_fd, &st, err) < 0)
			return -1;
		sources->bytes += (uint64_t)st.st_blocks * 512;
	}
	for (size_t i = 0; i < spec->disk_count; i++) {
		char field[VM_DISK_ID_MAX + 16];

		if (!spec->disks[i].path)
			continue;
		snprintf(field, sizeof(field), "disk %s", spec->disks[i].id);
		if (open_source(&spec->disks[i].path, field, &sources->disk_fds[i], &st, err) < 0)
			return -1;
		if (st.st_size % 512 != 0)
			return vm_err_set(
			        err, VM_ERR_USAGE,
			        "%s: %s has %jd bytes, not a multiple of 512 (a raw image does)",
			        field, spec->disks[i].path, (intmax_t)st.st_size);
		spec->disks[i].size_bytes = (uint64_t)st.st_size;
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
                     struct vm_err *err)
{
	char file[VM_DISK_FILE_SIZE];
	enum vm_copy how;

	vm_disk_file(disk, file);
	if (from_fd < 0)
		return make_blank(child->dir_fd, file, disk->size_bytes, err);
	if (vm_fs_copy(from_fd, child->dir_fd, file, disk->read_only ? 0400 : 0600, &how, err) < 0)
		return -1;
	vm_child_note_copy(child, how);
	return vm_fs_sync(child->dir_fd, file, err);
}

static int fill(struct vm_child *child, const struct vm_spec *spec, const struct sources *sources,
                struct vm_err *err)
{
	int dir_fd = child->dir_fd;
	enum vm_copy how;

	if (vm_fs_copy(sources->kernel_fd, dir_fd, VM_FILE_KERNEL, 0400, &how, err) < 0 ||
	    vm_fs_sync(dir_fd, VM_FILE_KERNEL, err) < 0)
		return -1;
	if (spec->initrd &&
	    (vm_fs_copy(sources->initrd_fd, dir_fd, VM_FILE_INITRD, 0400, &how, err) < 0 ||
	     vm_fs_sync(dir_fd, VM_FILE_INITRD, err) < 0))
		return -1;
	for (size_t i = 0; i < spec->disk_count; i++) {
		if (make_disk(child, &spec->disks[i], sources->disk_fds[i], err) < 0)
			return -1;
	}
	return vm_fs_sync(dir_fd, NULL, err);
}

static int fill_row(const struct vm_spec *spec, const struct vm_driver *driver,
                    struct vm_instance *row, struct vm_err *err)
{
	char id[VM_ID_LEN + 1];
	json_t *json = vm_spec_to_json(spec);
	char *text;

	/* The name is the row's: a fork has another, but the same spec. */
	json_object_set_new(json, "name", json_null());
	text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	json_decref(json);
	row->spec = text;
	if (!text)
		return vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES, "out of memory for the spec");
	if (!spec->name && vm_id_new(id, err) < 0)
		return -1;
	if (spec->name)
		snprintf(row->name, sizeof(row->name), "%s", spec->name);
	else
		snprintf(row->name, sizeof(row->name), "vm-%.6s", id);
	snprintf(row->hypervisor, sizeof(row->hypervisor), "%s", driver->name);
	row->vcpus = spec->vcpus;
	row->memory_bytes = spec->memory_bytes;
	return 0;
}

/*
 * Reserve, fill, publish. A kill in between leaves a `creating` row whose lock is free: whoever
 * wants the name next, or doctor, removes it.
 */
static int make(struct vm_op *op, const struct vm_spec *spec, const struct vm_driver *driver,
                const struct sources *sources, struct vm_child *child, struct vm_err *err)
{
	vm_sweep_makers(op); /* before something new comes, what the dead have left goes */
	if (fill_row(spec, driver, &child->row, err) < 0 ||
	    vm_op_check_disk(op, sources->bytes, err) < 0 ||
	    vm_child_reserve(op, child, 1, spec->vsock, err) < 0 ||
	    vm_child_make_dir(op, child, err) < 0 || fill(child, spec, sources, err) < 0 ||
	    vm_fs_sync(op->root->guests_fd, NULL, err) < 0)
		return -1;
	return vm_child_publish(op, child, 1, VM_STATE_STOPPED, NULL, NULL, err);
}

static int create(struct vm_op *op, struct vm_spec *spec, char ret_id[VM_ID_LEN + 1],
                  struct vm_err *err)
{
	struct sources sources = {.kernel_fd = -1, .initrd_fd = -1};
	const struct vm_driver *driver;
	struct vm_child child;
	int rc;

	for (size_t i = 0; i < VM_DISKS_MAX; i++)
		sources.disk_fds[i] = -1;
	vm_child_init(&child);
	vm_op_about(op, "", spec->name ? spec->name : "");
	rc = vm_driver_find(spec->hypervisor, &driver, err);
	if (rc == 0)
		rc = driver->check_spec(spec, err);
	if (rc == 0)
		rc = open_sources(spec, &sources, err);
	if (rc == 0)
		rc = make(op, spec, driver, &sources, &child, err);
	if (rc == 0)
		memcpy(ret_id, child.row.id, VM_ID_LEN + 1);
	else if (!child.reserved)
		vm_op_record_failure(op, err);
	if (rc < 0)
		vm_child_drop(op, &child, err);
	vm_child_release(&child);
	close_sources(&sources);
	return rc;
}

/* An operation of its own, as if it had been asked for by itself; its waits are ours too. */
static int start_created(struct vm_op *op, const char *id, struct vm_instance *ret,
                         struct vm_err *err)
{
	struct vm_op starting = *op;
	int rc;

	vm_op_begin(&starting);
	starting.verb = "start";
	rc = vm_start(&starting, id, ret, err);
	op->lock_waited_us += starting.lock_waited_us;
	op->slot_waited_us += starting.slot_waited_us;
	return rc;
}

int vm_create(struct vm_op *op, const struct vm_spec *spec, bool start, struct vm_instance *ret,
              struct vm_err *err)
{
	struct vm_spec copy;
	char id[VM_ID_LEN + 1];
	int rc;

	if (vm_spec_check(spec, err) < 0 || vm_spec_copy(spec, &copy, err) < 0)
		return -1;
	rc = create(op, &copy, id, err);
	vm_spec_free(&copy);
	if (rc < 0)
		return -1;
	if (!start)
		return ret ? vm_store_get(op->root->store, id, ret, err) : 0;
	rc = start_created(op, id, ret, err);
	return rc < 0 ? vm_err_wrap(err, "created, but not started") : 0;
}
