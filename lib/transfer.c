/* SPDX-License-Identifier: Apache-2.0 */
/* export, and what export and import agree on. */
#include "transfer.h"

#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "transfer_impl.h"
#include "util.h"

static void add_file(struct vm_image_files *files, const char *name)
{
	snprintf(files->names[files->count], VM_DISK_FILE_SIZE, "%s", name);
	files->list[files->count] = files->names[files->count];
	files->count++;
}

void vm_image_files(const struct vm_spec *spec, bool with_memory, struct vm_image_files *ret)
{
	ret->count = 0;
	/* What is small and says most comes first. */
	if (with_memory)
		add_file(ret, VM_FILE_STATE);
	if (spec->kernel)
		add_file(ret, VM_FILE_KERNEL);
	if (spec->initrd)
		add_file(ret, VM_FILE_INITRD);
	for (size_t i = 0; i < spec->disk_count; i++) {
		char file[VM_DISK_FILE_SIZE];

		add_file(ret, vm_disk_file(&spec->disks[i], file));
	}
	if (with_memory)
		add_file(ret, VM_FILE_MEMORY);
}

/* --- the description ----------------------------------------------------------------------------
 */

void vm_image_description_free(struct vm_image_description *description)
{
	vm_spec_free(&description->spec);
	vm_image_info_free(&description->info);
}

json_t *vm_image_describe(const struct vm_instance *row, const struct vm_image_info *info,
                          const char *cpu, struct vm_err *err)
{
	json_t *spec = json_loads(row->spec, 0, NULL);
	json_t *labels = vm_labels_to_json(&info->labels);
	json_t *json = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:I, s:o, s:s?, s:o}",
	                         "arch", VM_ARCH, "name", row->name, "instance", row->parent_name,
	                         "hypervisor", row->hypervisor, "hypervisor_version",
	                         row->hypervisor_version, "cpu", cpu, "relocation", row->relocation,
	                         "memory", (int)(row->state == VM_STATE_STANDBY), "guest_cid",
	                         (json_int_t)row->guest_cid, "spec", spec, "comment", info->comment,
	                         "labels", labels);

	if (!json)
		vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES, "out of memory");
	return json;
}

/* A text of the description, whole or not at all. */
static int take_text(const json_t *json, const char *key, char *buf, size_t size,
                     struct vm_err *err)
{
	const char *text = json_string_value(json_object_get(json, key));

	if (!text || strlen(text) >= size ||
	    strlen(text) != json_string_length(json_object_get(json, key)))
		return vm_err_set(err, VM_ERR_CORRUPT, "the description of the image has no '%s'",
		                  key);
	memcpy(buf, text, strlen(text) + 1);
	return 0;
}

static int take_info(const json_t *json, struct vm_image_info *info, struct vm_err *err)
{
	const char *comment = json_string_value(json_object_get(json, "comment"));

	if (vm_labels_from_json(json_object_get(json, "labels"), &info->labels, err) < 0)
		return vm_err_wrap(err, "the description of the image");
	info->comment = comment ? vm_strdup(comment, err) : NULL;
	return info->comment || !comment ? 0 : -1;
}

static int take_all(const json_t *json, struct vm_image_description *d, struct vm_err *err)
{
	json_int_t cid = 0;
	char arch[24];
	int memory;

	if (take_text(json, "arch", arch, sizeof(arch), err) < 0)
		return -1;
	if (strcmp(arch, VM_ARCH) != 0)
		return vm_err_set(err, VM_ERR_INCOMPATIBLE, "the image is for %s, this host is %s",
		                  arch, VM_ARCH);
	if (take_text(json, "name", d->name, sizeof(d->name), err) < 0 ||
	    take_text(json, "instance", d->parent_name, sizeof(d->parent_name), err) < 0 ||
	    take_text(json, "hypervisor", d->hypervisor, sizeof(d->hypervisor), err) < 0 ||
	    take_text(json, "hypervisor_version", d->version, sizeof(d->version), err) < 0 ||
	    take_text(json, "cpu", d->cpu, sizeof(d->cpu), err) < 0 ||
	    take_text(json, "relocation", d->relocation, sizeof(d->relocation), err) < 0)
		return -1;
	if (json_unpack((json_t *)json, "{s:b, s:I}", "memory", &memory, "guest_cid", &cid) < 0 ||
	    cid < 0 || cid > UINT32_MAX)
		return vm_err_set(err, VM_ERR_CORRUPT, "the description of the image lacks a key");
	d->with_memory = memory;
	d->guest_cid = (uint64_t)cid;
	if (vm_spec_from_json(json_object_get(json, "spec"), &d->spec, err) < 0)
		return vm_err_wrap(err, "the description of the image");
	return take_info(json, &d->info, err);
}

int vm_image_read_description(const json_t *json, struct vm_image_description *ret,
                              struct vm_err *err)
{
	struct vm_image_description description = {0};

	vm_spec_init(&description.spec);
	if (take_all(json, &description, err) < 0) {
		vm_image_description_free(&description);
		return -1;
	}
	*ret = description;
	return 0;
}

/* --- export -------------------------------------------------------------------------------------
 */

static void tell(void *ctx, uint64_t done_bytes, uint64_t total_bytes)
{
	vm_work_at(ctx, done_bytes, total_bytes);
}

static int send(struct vm_op *op, const struct vm_held *held, int out_fd,
                const struct vm_archive_write_options *options, struct vm_err *err)
{
	struct vm_archive_write_options told = *options;
	VM_AUTO(vm_image_info_free) struct vm_image_info info = {0};
	bool with_memory = held->row.state == VM_STATE_STANDBY;
	char cpu[VM_CPU_SIZE] = "";
	struct vm_image_files files;
	struct vm_work work;
	json_t *description;
	int rc;

	if (vm_store_get_image(op->root->store, held->row.id, &info, err) < 0 ||
	    (with_memory && vm_manifest_cpu(held->dir_fd, cpu, err) < 0))
		return -1;
	description = vm_image_describe(&held->row, &info, cpu, err);
	if (!description)
		return -1;
	vm_image_files(&held->spec, with_memory, &files);
	vm_work_init(&work, op->tell, "exporting %s", held->row.name);
	told.progress = tell;
	told.ctx = &work;
	rc = vm_archive_write(out_fd, description, held->dir_fd, files.list, files.count, &told,
	                      err);
	json_decref(description);
	return rc;
}

struct export
{
	int out_fd;
	const struct vm_archive_write_options *options;
};

static bool has_qcow2(const struct vm_spec *spec)
{
	for (size_t i = 0; i < spec->disk_count; i++) {
		if (spec->disks[i].format == VM_DISK_QCOW2)
			return true;
	}
	return false;
}

static int export_steps(struct vm_op *op, struct vm_held *held, const void *arg, struct vm_err *err)
{
	const struct export *export = arg;
	VM_AUTO(vm_lock_release) struct vm_lock memory = VM_LOCK_INIT;
	struct vm_event event;

	if (strcmp(held->row.relocation, "alias") == 0) {
		vm_err_set(err, VM_ERR_UNSUPPORTED,
		           "%s names files of this host by their place, and would find none on "
		           "another",
		           held->row.name);
		return vm_err_hint(err, "send the snapshot as it was before it was adopted");
	}
	if (has_qcow2(&held->spec)) {
		vm_err_set(err, VM_ERR_UNSUPPORTED, "%s has qcow2 disks, which are not exported",
		           held->row.name);
		return vm_err_hint(err, "'" VM_IMAGE_TOOL " convert' makes one file of a disk");
	}
	if ((held->row.state == VM_STATE_STANDBY && vm_memory_use(op, held, &memory, err) < 0) ||
	    send(op, held, export->out_fd, export->options, err) < 0)
		return vm_err_wrap(err, "%s", held->row.name);
	event = vm_op_event(op, &held->row, VM_OK);
	return vm_store_record(op->root->store, &event, err);
}

int vm_export(struct vm_op *op, const char *selector, int out_fd,
              const struct vm_archive_write_options *options, struct vm_instance *ret,
              struct vm_err *err)
{
	const struct export export = {.out_fd = out_fd, .options = options};

	op->on = 1U << VM_KIND_IMAGE;
	op->verb = "export";
	return vm_held_run_shared(op, selector, export_steps, &export, ret, err);
}
