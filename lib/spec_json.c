/* SPDX-License-Identifier: Apache-2.0 */
/* The stored form of a spec; the keys are documented in docs/spec.md and never renamed. */
#include <inttypes.h>
#include <string.h>

#include "spec.h"
#include "spec_impl.h"
#include "util.h"

static json_t *disk_to_json(const struct vm_disk *disk)
{
	return json_pack("{s:s, s:s?, s:I, s:s, s:b, s:b}", "id", disk->id, "path", disk->path,
	                 "size_bytes", (json_int_t)disk->size_bytes, "format",
	                 vm_disk_format_name(disk->format), "read_only", (int)disk->read_only,
	                 "root", (int)disk->root);
}

json_t *vm_spec_to_json(const struct vm_spec *spec)
{
	struct vm_err ignored = {0};
	VM_AUTO_FREE char *network = vm_spec_network_text(spec, &ignored);
	json_t *disks = json_array();

	for (size_t i = 0; i < spec->disk_count; i++) {
		if (json_array_append_new(disks, disk_to_json(&spec->disks[i]))) {
			json_decref(disks);
			return NULL;
		}
	}
	/* json_pack takes over `disks`, also when it fails. */
	return json_pack("{s:s?, s:s?, s:s?, s:s?, s:s?, s:s?, s:s?, s:I, s:I, s:b, s:s?, s:o}",
	                 "name", spec->name, "hypervisor", spec->hypervisor, "machine",
	                 spec->machine, "accelerator", spec->accelerator, "kernel", spec->kernel,
	                 "initrd", spec->initrd, "boot_args", spec->boot_args, "vcpus",
	                 (json_int_t)spec->vcpus, "memory_bytes", (json_int_t)spec->memory_bytes,
	                 "vsock", (int)spec->vsock, "network", network, "disks", disks);
}

char *vm_spec_for_row(const struct vm_spec *spec, struct vm_err *err)
{
	json_t *json = vm_spec_to_json(spec);
	char *text;

	json_object_set_new(json, "name", json_null());
	text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	json_decref(json);
	if (!text)
		vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES, "out of memory for the spec");
	return text;
}

static int corrupt(const char *key, const char *what, struct vm_err *err)
{
	return vm_err_set(err, VM_ERR_CORRUPT, "%s: %s", key, what);
}

/* A key that must be there: its value is borrowed. */
static const json_t *need(const json_t *object, const char *key, struct vm_err *err)
{
	const json_t *value = json_object_get(object, key);

	if (!value)
		corrupt(key, "missing", err);
	return value;
}

static int need_text(const json_t *object, const char *key, char **ret, struct vm_err *err)
{
	const json_t *value = need(object, key, err);

	if (!value)
		return -1;
	if (json_is_null(value))
		return 0;
	if (!json_is_string(value) || strlen(json_string_value(value)) != json_string_length(value))
		return corrupt(key, "must be text or null", err);
	*ret = vm_strdup(json_string_value(value), err);
	return *ret ? 0 : -1;
}

/* One that came later: specs that were stored before do not have it. */
static int take_text(const json_t *object, const char *key, char **ret, struct vm_err *err)
{
	return json_object_get(object, key) ? need_text(object, key, ret, err) : 0;
}

static int need_bool(const json_t *object, const char *key, bool *ret, struct vm_err *err)
{
	const json_t *value = need(object, key, err);

	if (!value)
		return -1;
	if (!json_is_boolean(value))
		return corrupt(key, "must be true or false", err);
	*ret = json_is_true(value);
	return 0;
}

static int need_number(const json_t *object, const char *key, uint64_t max, uint64_t *ret,
                       struct vm_err *err)
{
	const json_t *value = need(object, key, err);
	json_int_t n;

	if (!value)
		return -1;
	n = json_integer_value(value);
	if (!json_is_integer(value) || n < 0 || (uint64_t)n > max)
		return vm_err_set(err, VM_ERR_CORRUPT, "%s: must be an integer from 0 to %" PRIu64,
		                  key, max);
	*ret = (uint64_t)n;
	return 0;
}

static int disk_from_json(const json_t *json, struct vm_disk *disk, struct vm_err *err)
{
	VM_AUTO_FREE char *id = NULL;
	VM_AUTO_FREE char *format = NULL;

	if (!json_is_object(json))
		return vm_err_set(err, VM_ERR_CORRUPT, "must be an object");
	if (need_text(json, "id", &id, err) || need_text(json, "path", &disk->path, err) ||
	    need_number(json, "size_bytes", VM_DISK_MAX_BYTES, &disk->size_bytes, err) ||
	    take_text(json, "format", &format, err) ||
	    need_bool(json, "read_only", &disk->read_only, err) ||
	    need_bool(json, "root", &disk->root, err))
		return -1;
	disk->root_given = true;
	if (!id)
		return corrupt("id", "must be text", err);
	if (format && vm_spec_disk_set_format(disk, format, err))
		return vm_err_wrap(err, "format");
	return vm_spec_disk_set_id(disk, id, err) ? vm_err_wrap(err, "id") : 0;
}

static int disks_from_json(const json_t *json, struct vm_spec *spec, struct vm_err *err)
{
	const json_t *disks = need(json, "disks", err);

	if (!disks)
		return -1;
	if (!json_is_array(disks) || json_array_size(disks) > VM_DISKS_MAX)
		return vm_err_set(err, VM_ERR_CORRUPT, "disks: must be an array of at most %d",
		                  VM_DISKS_MAX);
	for (size_t i = 0; i < json_array_size(disks); i++) {
		spec->disk_count++; /* before it is filled, so that what it got is freed */
		if (disk_from_json(json_array_get(disks, i), &spec->disks[i], err))
			return vm_err_wrap(err, "disks[%zu]", i);
	}
	return 0;
}

static int spec_from_json(const json_t *json, struct vm_spec *spec, struct vm_err *err)
{
	VM_AUTO_FREE char *network = NULL;
	struct vm_spec_fault fault;
	uint64_t vcpus = 0;

	if (!json_is_object(json))
		return vm_err_set(err, VM_ERR_CORRUPT, "must be an object");
	if (need_text(json, "name", &spec->name, err) ||
	    need_text(json, "hypervisor", &spec->hypervisor, err) ||
	    take_text(json, "machine", &spec->machine, err) ||
	    take_text(json, "accelerator", &spec->accelerator, err) ||
	    take_text(json, "network", &network, err) ||
	    need_text(json, "kernel", &spec->kernel, err) ||
	    need_text(json, "initrd", &spec->initrd, err) ||
	    need_text(json, "boot_args", &spec->boot_args, err) ||
	    need_number(json, "vcpus", VM_VCPUS_MAX, &vcpus, err) ||
	    need_number(json, "memory_bytes", VM_MEMORY_MAX_BYTES, &spec->memory_bytes, err) ||
	    need_bool(json, "vsock", &spec->vsock, err) || disks_from_json(json, spec, err))
		return -1;
	spec->vcpus = (unsigned)vcpus;
	spec->vsock_given = true;
	if (network && vm_spec_set_network(spec, network, err))
		return vm_err_wrap(err, "network");
	if (vm_spec_validate(spec, &fault, err))
		return vm_spec_wrap_fault(&fault, err);
	return 0;
}

int vm_spec_from_json(const json_t *json, struct vm_spec *ret_spec, struct vm_err *err)
{
	VM_AUTO(vm_spec_free) struct vm_spec spec;

	vm_spec_init(&spec);
	if (spec_from_json(json, &spec, err)) {
		/* The rules speak of mistakes of a user, but this is no user's text. */
		if (err->code == VM_ERR_USAGE) {
			err->code = VM_ERR_CORRUPT;
			err->hint[0] = '\0';
		}
		return vm_err_wrap(err, "stored spec");
	}
	*ret_spec = spec;
	vm_spec_init(&spec);
	return 0;
}
