/* SPDX-License-Identifier: Apache-2.0 */
/*
 * adopt, top to bottom: a foreign snapshot becomes an image.
 *
 * Its state names files by paths that were right where it was made. They are replaced by the names
 * that vmctl gives its own files, relative to the directory: from then on the image is like any
 * other, and forks of it need no relocation. A kill leaves a `creating` row and its directory,
 * which the next comer removes, as of a create.
 */
#include "adopt_impl.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "driver/state.h"
#include "manifest.h"
#include "sources.h"
#include "sweep.h"
#include "util.h"

#define DEFAULT_NAME "base"

struct adoption {
	struct vm_op *op;
	const struct vm_adopt_request *request;
	const struct vm_driver *driver;
	char *state;
	size_t state_len;
	void *rewritten; /* the state with our names in it; NULL: it stays as it is */
	size_t rewritten_len;
	char alias[VM_ALIAS_PATH_MAX + 1]; /* the directory that the state names, if it keeps it */
	struct vm_state_info info;
	struct vm_spec spec;
	struct vm_sources sources;
	int memory_fd;
	uint64_t memory_blocks; /* bytes of it on disk */
};

/* --- what is wanted, and whether it fits --------------------------------------------------------
 */

static int read_state(struct adoption *adoption, struct vm_err *err)
{
	VM_AUTO_FREE char *path = vm_strdup(adoption->request->state, err);
	VM_AUTO_CLOSE int fd = -1;
	struct stat st;

	if (!path || vm_source_open(&path, "--state", &fd, &st, err) < 0)
		return -1;
	if (vm_fs_read(AT_FDCWD, path, VM_STATE_MAX_BYTES, &adoption->state, &adoption->state_len,
	               err) < 0)
		return vm_err_wrap(err, "--state");
	if (vm_driver_recognise(adoption->state, adoption->state_len, &adoption->driver,
	                        &adoption->info, err) < 0)
		return vm_err_wrap(err, "%s", path);
	if (adoption->info.net_count == 0)
		return 0;
	/* Each fork would open the same interface of this host. */
	vm_err_set(err, VM_ERR_UNSUPPORTED,
	           "%s has a network device on the interface '%s', and forks cannot be given "
	           "others",
	           path, adoption->info.tap);
	return vm_err_hint(err, "make the snapshot of a microVM without network devices");
}

static int open_memory(struct adoption *adoption, struct vm_err *err)
{
	VM_AUTO_FREE char *path = vm_strdup(adoption->request->memory, err);
	uint64_t want = adoption->info.memory_bytes;
	struct stat st;

	if (!path || vm_source_open(&path, "--memory", &adoption->memory_fd, &st, err) < 0)
		return -1;
	adoption->memory_blocks = (uint64_t)st.st_blocks * 512;
	if ((uint64_t)st.st_size == want)
		return 0;
	vm_err_set(err, VM_ERR_INCOMPATIBLE, "--memory: %s has %jd bytes, the state says %ju", path,
	           (intmax_t)st.st_size, (uintmax_t)want);
	return vm_err_hint(err, "the memory and the state of one snapshot belong together");
}

/* The file that was given for a drive, by its path as recorded or its id; NULL. */
static const char *file_for(const struct vm_adopt_request *request,
                            const struct vm_state_path *path, bool *used)
{
	for (size_t i = 0; i < request->disk_count; i++) {
		const struct vm_adopt_disk *disk = &request->disks[i];

		if (strcmp(disk->recorded, path->text) == 0 ||
		    strcmp(disk->recorded, path->id) == 0) {
			used[i] = true;
			return disk->file;
		}
	}
	return NULL;
}

/* Our ids name files, so they have fewer characters than the hypervisor's. */
static void disk_id(const struct vm_state_path *path, size_t index, char *ret, size_t size)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789_";

	if (strlen(path->id) <= VM_DISK_ID_MAX && path->id[strspn(path->id, allowed)] == '\0')
		snprintf(ret, size, "%.*s", VM_DISK_ID_MAX, path->id);
	else
		snprintf(ret, size, "disk%zu", index);
}

static int add_disk(struct adoption *adoption, const struct vm_state_path *path, const char *file,
                    struct vm_err *err)
{
	struct vm_spec *spec = &adoption->spec;
	struct vm_disk *disk = &spec->disks[spec->disk_count];

	if (spec->disk_count == VM_DISKS_MAX)
		return vm_err_set(err, VM_ERR_UNSUPPORTED, "the state has more than %d drives",
		                  VM_DISKS_MAX);
	disk_id(path, spec->disk_count, disk->id, sizeof(disk->id));
	disk->path = vm_strdup(file, err);
	disk->root = path->root;
	disk->read_only = path->read_only;
	if (!disk->path)
		return -1;
	spec->disk_count++;
	return 0;
}

/* A list of what lacks, in one message: whoever adopts must not find out one by one. */
static int missing_disks(const char *list, struct vm_err *err)
{
	vm_err_set(err, VM_ERR_USAGE, "the state has drives for which no file is given:%s", list);
	return vm_err_hint(err,
	                   "give --disk RECORDED=FILE for each, by its recorded path or its id");
}

static int check_used(const struct vm_adopt_request *request, const bool *used, struct vm_err *err)
{
	for (size_t i = 0; i < request->disk_count; i++) {
		if (used[i])
			continue;
		vm_err_set(err, VM_ERR_USAGE, "--disk: the state has no drive '%.400s'",
		           request->disks[i].recorded);
		return vm_err_hint(err, "'vmctl state show' lists its drives");
	}
	return 0;
}

static int take_disks(struct adoption *adoption, struct vm_err *err)
{
	VM_AUTO_FREE bool *used = vm_calloc(adoption->request->disk_count + 1, sizeof(*used), err);
	char missing[300] = "";

	if (!used)
		return -1;
	for (size_t i = 0; i < adoption->info.count; i++) {
		const struct vm_state_path *path = &adoption->info.paths[i];
		const char *file;

		if (path->kind == VM_STATE_PMEM)
			return vm_err_set(err, VM_ERR_UNSUPPORTED,
			                  "the state has a pmem device (%s), which vmctl does not "
			                  "manage",
			                  path->id);
		if (path->kind != VM_STATE_DISK)
			continue;
		file = file_for(adoption->request, path, used);
		if (!file)
			snprintf(missing + strlen(missing), sizeof(missing) - strlen(missing),
			         " %s (%s)", path->text, path->id);
		else if (add_disk(adoption, path, file, err) < 0)
			return -1;
	}
	if (missing[0])
		return missing_disks(missing, err);
	return check_used(adoption->request, used, err);
}

static int make_spec(struct adoption *adoption, struct vm_err *err)
{
	const struct vm_adopt_request *request = adoption->request;
	struct vm_spec *spec = &adoption->spec;

	spec->memory_bytes = adoption->info.memory_bytes;
	spec->vcpus = request->vcpus ? request->vcpus : adoption->info.vcpus;
	if (spec->vcpus == 0)
		spec->vcpus = 1;
	spec->vsock = adoption->info.guest_cid != 0;
	if (request->kernel && !(spec->kernel = vm_strdup(request->kernel, err)))
		return -1;
	if (request->initrd && !(spec->initrd = vm_strdup(request->initrd, err)))
		return -1;
	return take_disks(adoption, err);
}

/* Names of ours for the recorded paths; once it is done it is kept for the image. */
static int rewrite(struct adoption *adoption, struct vm_err *err)
{
	size_t count = adoption->info.count, disk = 0;
	VM_AUTO_FREE const char **texts = vm_calloc(count + 1, sizeof(*texts), err);
	VM_AUTO_FREE char *names = vm_calloc(count + 1, VM_DISK_FILE_SIZE, err);

	if (!adoption->driver->caps.state_rewrite)
		return vm_err_set(err, VM_ERR_UNSUPPORTED, "%s cannot rewrite a saved state",
		                  adoption->driver->name);
	if (!texts || !names)
		return -1;
	for (size_t i = 0; i < count; i++) {
		const struct vm_state_path *path = &adoption->info.paths[i];

		/* None for a path in the boot arguments: it is the guest's. */
		texts[i] = path->kind == VM_STATE_DISK ? vm_disk_file(&adoption->spec.disks[disk++],
		                                                      names + i * VM_DISK_FILE_SIZE)
		                                       : vm_state_fixed_name(path->kind);
	}
	if (adoption->driver->rewrite_state(adoption->state, adoption->state_len, &adoption->info,
	                                    texts, 0, &adoption->rewritten,
	                                    &adoption->rewritten_len, err) < 0)
		return vm_err_wrap(err, "%s", adoption->request->state);
	return 0;
}

static int choose_relocation(struct adoption *adoption, struct vm_err *err)
{
	enum vm_relocate wanted = adoption->request->relocate;

	if (wanted != VM_RELOCATE_ALIAS) {
		if (rewrite(adoption, err) == 0)
			return 0;
		if (wanted == VM_RELOCATE_REWRITE || err->code != VM_ERR_UNSUPPORTED)
			return -1;
		vm_op_warn(adoption->op, "%s: its files will be shown where the state names them",
		           err->message);
		vm_err_clear(err);
	}
	return vm_adopt_recorded_directory(&adoption->info, adoption->alias, err);
}

/* Nothing has been changed yet, and nothing below fails for want of something said here. */
static int check(struct adoption *adoption, struct vm_err *err)
{
	struct vm_driver_info binary;

	if (read_state(adoption, err) < 0 || open_memory(adoption, err) < 0 ||
	    make_spec(adoption, err) < 0 || choose_relocation(adoption, err) < 0 ||
	    vm_sources_open(&adoption->spec, &adoption->sources, err) < 0 ||
	    adoption->driver->probe(adoption->op->root, NULL, adoption->info.version, &binary,
	                            err) < 0)
		return -1;
	if (adoption->driver->check_version(adoption->info.version, binary.version, err) < 0) {
		vm_op_warn(adoption->op, "%s: it can be forked once that is there", err->message);
		vm_err_clear(err);
	}
	return vm_op_check_disk(adoption->op, adoption->sources.bytes + adoption->memory_blocks,
	                        err);
}

/* --- files --------------------------------------------------------------------------------------
 */

/* As it is recorded, or with names of ours. */
static int publish_state(const struct adoption *adoption, int dir_fd, struct vm_err *err)
{
	if (adoption->rewritten)
		return vm_fs_publish(dir_fd, VM_FILE_STATE, adoption->rewritten,
		                     adoption->rewritten_len, true, err);
	if (vm_adopt_link_recorded(&adoption->info, &adoption->spec, dir_fd, err) < 0)
		return -1;
	return vm_fs_publish(dir_fd, VM_FILE_STATE, adoption->state, adoption->state_len, true,
	                     err);
}

static int copy_memory(struct vm_child *child, int from_fd, const struct vm_tell *tell,
                       struct vm_err *err)
{
	enum vm_copy how = VM_COPY_REFLINK;
	struct vm_work work;

	vm_work_init(&work, tell, "copying the memory of %s", child->row.name);
	if (vm_fs_copy(from_fd, child->dir_fd, VM_FILE_MEMORY, 0600, &work, &how, err) < 0)
		return -1;
	return vm_fs_sync(child->dir_fd, VM_FILE_MEMORY, err);
}

/* --- the row ------------------------------------------------------------------------------------
 */

/* A name without a part behind the '/' gets one. */
static int make_name(const char *name, char *ret, struct vm_err *err)
{
	VM_AUTO_FREE char *full = vm_strf(err, strchr(name, '/') ? "%s" : "%s/" DEFAULT_NAME, name);

	if (!full || vm_image_name_check(full, err) < 0)
		return -1;
	memcpy(ret, full, strlen(full) + 1);
	return 0;
}

static int fill_row(const struct adoption *adoption, struct vm_instance *row, struct vm_err *err)
{
	row->kind = VM_KIND_IMAGE;
	row->labels = &adoption->request->info->labels;
	row->spec = vm_spec_for_row(&adoption->spec, err);
	if (!row->spec)
		return -1;
	snprintf(row->hypervisor, sizeof(row->hypervisor), "%s", adoption->driver->name);
	snprintf(row->hypervisor_version, sizeof(row->hypervisor_version), "%s",
	         adoption->info.version);
	if (adoption->alias[0]) {
		row->alias_path = vm_strdup(adoption->alias, err);
		if (!row->alias_path)
			return -1;
	}
	row->guest_cid = adoption->info.guest_cid;
	row->vcpus = adoption->spec.vcpus;
	row->memory_bytes = adoption->spec.memory_bytes;
	return 0;
}

static int make(struct adoption *adoption, struct vm_child *child, struct vm_err *err)
{
	struct vm_op *op = adoption->op;

	vm_sweep_makers(op);
	if (fill_row(adoption, &child->row, err) < 0 ||
	    vm_child_reserve(op, child, 1, false, err) < 0 ||
	    vm_store_put_image(op->root->store, child->row.id, adoption->request->info, err) < 0 ||
	    vm_child_make_dir(op, child, err) < 0 ||
	    vm_sources_copy(child, &adoption->spec, &adoption->sources, op->tell, err) < 0 ||
	    copy_memory(child, adoption->memory_fd, op->tell, err) < 0 ||
	    publish_state(adoption, child->dir_fd, err) < 0 ||
	    vm_manifest_write(child->dir_fd, &child->row, &adoption->spec, adoption->info.version,
	                      true, err) < 0 ||
	    vm_fs_sync(op->root->images_fd, NULL, err) < 0)
		return -1;
	return vm_child_publish(op, child, 1, VM_STATE_STANDBY, NULL,
	                        adoption->rewritten ? "rewrite" : "alias", err);
}

int vm_adopt(struct vm_op *op, const struct vm_adopt_request *request, struct vm_instance *ret,
             struct vm_err *err)
{
	struct adoption adoption = {.op = op, .request = request, .memory_fd = -1};
	struct vm_child child;
	int rc;

	op->verb = "adopt";
	vm_sources_init(&adoption.sources);
	vm_spec_init(&adoption.spec);
	vm_child_init(&child);
	rc = make_name(request->name, child.row.name, err);
	vm_op_about(op, "", child.row.name);
	if (rc == 0)
		rc = check(&adoption, err);
	if (rc == 0)
		rc = make(&adoption, &child, err);
	if (rc < 0 && !child.reserved)
		vm_op_record_failure(op, err);
	if (rc < 0)
		vm_child_drop(op, &child, err);
	else
		rc = vm_store_get(op->root->store, child.row.id, ret, err);
	vm_child_release(&child);
	vm_sources_close(&adoption.sources);
	vm_cleanup_close(&adoption.memory_fd);
	vm_spec_free(&adoption.spec);
	vm_state_info_free(&adoption.info);
	free(adoption.state);
	free(adoption.rewritten);
	return rc;
}
