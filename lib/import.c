/* SPDX-License-Identifier: Apache-2.0 */
/*
 * import, top to bottom: an image out of a stream that may come from anybody.
 *
 * The description comes first, and everything that it can be refused for is refused then: what it
 * is for, its name, whether there is room. Then the row is reserved, and the files are written into
 * its directory. They are believed once the stream has come to its end and all checksums were
 * right, and the state has been looked into: it is the hypervisor that will open the files it
 * names, with all its rights, so it may name none but those of the image itself. A kill leaves a
 * `creating` row and its directory, which the next comer removes.
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "driver/state.h"
#include "sweep.h"
#include "transfer_impl.h"
#include "util.h"

struct import {
	struct vm_op *op;
	const struct vm_import_request *request;
	const struct vm_driver *driver;
	struct vm_image_description description;
	struct vm_child child;
	struct vm_work work;
	int dir_fd; /* the child's, once there is one */
};

/* --- what is announced --------------------------------------------------------------------------
 */

static const struct vm_archive_file *announced(const struct vm_archive_contents *contents,
                                               const char *name)
{
	for (size_t i = 0; i < contents->count; i++) {
		if (strcmp(contents->files[i].name, name) == 0)
			return &contents->files[i];
	}
	return NULL;
}

static int check_size(const struct vm_archive_contents *contents, const char *name, uint64_t want,
                      struct vm_err *err)
{
	const struct vm_archive_file *file = announced(contents, name);

	if (!file)
		return vm_err_set(err, VM_ERR_CORRUPT, "the archive has no file '%s'", name);
	if (want != 0 && file->size_bytes != want)
		return vm_err_set(err, VM_ERR_CORRUPT,
		                  "the archive's '%s' has %ju bytes, its description says %ju",
		                  name, (uintmax_t)file->size_bytes, (uintmax_t)want);
	return 0;
}

/* The files are those of the spec, no more and no less, and of its sizes. */
static int check_files(const struct vm_image_description *d,
                       const struct vm_archive_contents *contents, struct vm_err *err)
{
	struct vm_image_files files;

	vm_image_files(&d->spec, d->with_memory, &files);
	for (size_t i = 0; i < files.count; i++) {
		if (check_size(contents, files.list[i], 0, err) < 0)
			return -1;
	}
	if (contents->count != files.count)
		return vm_err_set(err, VM_ERR_CORRUPT,
		                  "the archive has %zu files, an image like this has %zu",
		                  contents->count, files.count);
	for (size_t i = 0; i < d->spec.disk_count; i++) {
		char file[VM_DISK_FILE_SIZE];

		if (check_size(contents, vm_disk_file(&d->spec.disks[i], file),
		               d->spec.disks[i].size_bytes, err) < 0)
			return -1;
	}
	return d->with_memory ? check_size(contents, VM_FILE_MEMORY, d->spec.memory_bytes, err) : 0;
}

static int fill_row(struct import *import, struct vm_err *err)
{
	const struct vm_image_description *d = &import->description;
	struct vm_instance *row = &import->child.row;
	const char *name = import->request->name ? import->request->name : d->name;

	if (vm_image_name_check(name, err) < 0)
		return vm_err_wrap(err, "the image's name");
	row->spec = vm_spec_for_row(&d->spec, err);
	if (!row->spec)
		return -1;
	row->kind = VM_KIND_IMAGE;
	/* As in put_info(), and all of them: who wants some of the old ones says so. */
	row->labels = import->request->info->labels.count > 0 ? &import->request->info->labels
	                                                      : &d->info.labels;
	snprintf(row->name, sizeof(row->name), "%s", name);
	snprintf(row->parent_name, sizeof(row->parent_name), "%s", d->parent_name);
	snprintf(row->hypervisor, sizeof(row->hypervisor), "%s", d->hypervisor);
	snprintf(row->hypervisor_version, sizeof(row->hypervisor_version), "%s", d->version);
	row->guest_cid = d->guest_cid;
	row->vcpus = d->spec.vcpus;
	row->memory_bytes = d->spec.memory_bytes;
	return 0;
}

/* What is said at the import goes before what the archive says. */
static int put_info(struct import *import, struct vm_err *err)
{
	const struct vm_image_info *said = import->request->info, *was = &import->description.info;
	const struct vm_image_info info = {
	        .comment = said->comment ? said->comment : was->comment,
	        .expires_us = said->expires_us,
	};

	return vm_store_put_image(import->op->root->store, import->child.row.id, &info, err);
}

/* It can be kept here in any case, and forked where it fits: so this is only said. */
static void warn_of_misfits(const struct import *import)
{
	const struct vm_image_description *d = &import->description;
	struct vm_driver_info binary;
	struct vm_err err = {0};

	if (!d->with_memory)
		return;
	if (!vm_cpu_is_here(d->cpu))
		vm_op_warn(
		        import->op,
		        "the memory was saved on another kind of CPU (%s): on this host only its "
		        "disks are of use",
		        d->cpu);
	else if (import->driver->probe(import->op->root, NULL, d->version, &binary, &err) == 0 &&
	         import->driver->check_version(d->version, binary.version, &err) < 0)
		vm_op_warn(import->op, "%s", err.message);
}

/* Once it is known what comes, and before anything is written. */
static int prepare(void *ctx, const struct vm_archive_contents *contents, struct vm_err *err)
{
	struct import *import = ctx;
	struct vm_image_description *d = &import->description;
	struct vm_child *child = &import->child;

	if (vm_image_read_description(contents->image, d, err) < 0 ||
	    vm_driver_find(d->hypervisor, &import->driver, err) < 0 ||
	    import->driver->check_spec(&d->spec, err) < 0 || check_files(d, contents, err) < 0 ||
	    vm_op_check_disk(import->op, contents->data_bytes, err) < 0 ||
	    fill_row(import, err) < 0)
		return -1;
	vm_op_about(import->op, "", child->row.name);
	vm_work_init(&import->work, import->op->tell, "importing %s", child->row.name);
	warn_of_misfits(import);
	vm_sweep_makers(import->op);
	if (vm_child_reserve(import->op, child, 1, false, err) < 0 || put_info(import, err) < 0 ||
	    vm_child_make_dir(import->op, child, err) < 0)
		return -1;
	import->dir_fd = child->dir_fd;
	return 0;
}

/* --- what has come ------------------------------------------------------------------------------
 */

/* "./././/disk-a.img" is disk-a.img: how a path is padded in a state. */
static const char *without_padding(const char *path)
{
	if (path[0] == '/')
		return path;
	for (;;) {
		size_t slashes = strspn(path, "/");

		if (slashes > 0)
			path += slashes;
		else if (path[0] == '.' && path[1] == '/')
			path++;
		else
			return path;
	}
}

/* Whether the path is the file that an image like this has for it; each disk once. */
static bool names_own_file(const struct vm_spec *spec, const struct vm_state_path *path, bool *seen)
{
	const char *name = without_padding(path->text);
	const char *fixed = vm_state_fixed_name(path->kind);

	if (path->kind == VM_STATE_BOOT_ARGS) /* the guest's: nobody here opens it */
		return true;
	if (path->kind != VM_STATE_DISK)
		return fixed && strcmp(name, fixed) == 0; /* a pmem: no image of ours has any */
	for (size_t i = 0; i < spec->disk_count; i++) {
		char file[VM_DISK_FILE_SIZE];

		if (seen[i] || strcmp(name, vm_disk_file(&spec->disks[i], file)) != 0)
			continue;
		seen[i] = true;
		return spec->disks[i].read_only == path->read_only;
	}
	return false;
}

static int check_paths(const struct vm_spec *spec, const struct vm_state_info *info,
                       struct vm_err *err)
{
	bool seen[VM_DISKS_MAX] = {false};

	for (size_t i = 0; i < info->count; i++) {
		if (!names_own_file(spec, &info->paths[i], seen))
			return vm_err_set(err, VM_ERR_CORRUPT,
			                  "the saved state names a %s that is none of the image: "
			                  "'%.300s'",
			                  vm_state_path_kind_name(info->paths[i].kind),
			                  info->paths[i].text);
	}
	for (size_t i = 0; i < spec->disk_count; i++) {
		if (!seen[i])
			return vm_err_set(err, VM_ERR_CORRUPT,
			                  "the saved state does not have the image's disk '%s'",
			                  spec->disks[i].id);
	}
	return 0;
}

static int check_state(const struct import *import, struct vm_err *err)
{
	VM_AUTO(vm_state_info_free) struct vm_state_info info = {0};
	const struct vm_image_description *d = &import->description;
	VM_AUTO_FREE char *data = NULL;
	size_t len;

	if (!import->driver->describe_state)
		return vm_err_set(err, VM_ERR_UNSUPPORTED,
		                  "%s cannot look into a saved state, so none is imported",
		                  import->driver->name);
	if (vm_fs_read(import->dir_fd, VM_FILE_STATE, VM_STATE_MAX_BYTES, &data, &len, err) < 0 ||
	    import->driver->describe_state(data, len, &info, err) < 0)
		return vm_err_wrap(err, "the image's saved state");
	if (info.memory_bytes != d->spec.memory_bytes || info.guest_cid != d->guest_cid)
		return vm_err_set(err, VM_ERR_CORRUPT,
		                  "the saved state is of another machine than the description");
	if (info.net_count > 0)
		return vm_err_set(err, VM_ERR_UNSUPPORTED,
		                  "the saved state has a network device on the interface '%s'",
		                  info.tap);
	return check_paths(&d->spec, &info, err);
}

/* Shared by links, so nobody is to write to them by mistake. */
static int protect(const struct import *import, struct vm_err *err)
{
	const struct vm_spec *spec = &import->description.spec;
	char file[VM_DISK_FILE_SIZE];

	for (size_t i = 0; i < spec->disk_count; i++) {
		if (spec->disks[i].read_only &&
		    fchmodat(import->dir_fd, vm_disk_file(&spec->disks[i], file), 0400, 0) < 0)
			return vm_fs_fail(import->dir_fd, file, "protecting", err);
	}
	if ((spec->kernel && fchmodat(import->dir_fd, VM_FILE_KERNEL, 0400, 0) < 0) ||
	    (spec->initrd && fchmodat(import->dir_fd, VM_FILE_INITRD, 0400, 0) < 0))
		return vm_fs_fail(import->dir_fd, NULL, "protecting the kernel in", err);
	return 0;
}

static int publish(struct import *import, struct vm_err *err)
{
	const struct vm_image_description *d = &import->description;
	bool rewritten = strcmp(d->relocation, "rewrite") == 0;

	if (protect(import, err) < 0 ||
	    (d->with_memory && (check_state(import, err) < 0 ||
	                        vm_manifest_write_of(import->dir_fd, &import->child.row, &d->spec,
	                                             d->version, d->cpu, err) < 0)) ||
	    vm_fs_sync(import->op->root->images_fd, NULL, err) < 0)
		return -1;
	return vm_child_publish(import->op, &import->child, 1,
	                        d->with_memory ? VM_STATE_STANDBY : VM_STATE_STOPPED, NULL,
	                        !d->with_memory ? NULL
	                        : rewritten     ? "rewrite"
	                                        : "relative",
	                        err);
}

static void tell(void *ctx, uint64_t done_bytes, uint64_t total_bytes)
{
	struct import *import = ctx;

	vm_work_at(&import->work, done_bytes, total_bytes);
}

int vm_import(struct vm_op *op, const struct vm_import_request *request, struct vm_instance *ret,
              struct vm_err *err)
{
	struct import import = {.op = op, .request = request, .dir_fd = -1};
	const struct vm_archive_read_options options = {
	        .durable = true,
	        .check = prepare,
	        .progress = tell,
	        .ctx = &import,
	        .late_dir_fd = &import.dir_fd,
	};
	json_t *description = NULL;
	int rc;

	op->verb = "import";
	vm_spec_init(&import.description.spec);
	vm_child_init(&import.child);
	rc = request->name ? vm_image_name_check(request->name, err) : 0;
	if (rc == 0)
		rc = vm_archive_read(request->in_fd, -1, &options, &description, err);
	json_decref(description);
	if (rc == 0)
		rc = publish(&import, err);
	if (rc < 0 && !import.child.reserved)
		vm_op_record_failure(op, err);
	if (rc < 0)
		vm_child_drop(op, &import.child, err);
	else
		rc = vm_store_get(op->root->store, import.child.row.id, ret, err);
	vm_child_release(&import.child);
	vm_image_description_free(&import.description);
	return rc;
}
