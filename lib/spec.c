/* SPDX-License-Identifier: Apache-2.0 */
#include "spec.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spec_impl.h"
#include "util.h"

void vm_spec_init(struct vm_spec *spec)
{
	*spec = (struct vm_spec){
	        .vcpus = 1,
	        .memory_bytes = UINT64_C(128) << 20,
	        .vsock = true,
	};
}

void vm_spec_free(struct vm_spec *spec)
{
	free(spec->name);
	free(spec->hypervisor);
	free(spec->machine);
	free(spec->accelerator);
	free(spec->kernel);
	free(spec->initrd);
	free(spec->boot_args);
	for (size_t i = 0; i < spec->disk_count; i++)
		free(spec->disks[i].path);
	vm_labels_free(&spec->labels);
	vm_spec_init(spec);
}

static int copy_text(const char *from, char **ret, struct vm_err *err)
{
	if (!from)
		return 0;
	*ret = vm_strdup(from, err);
	return *ret ? 0 : -1;
}

int vm_spec_copy(const struct vm_spec *from, struct vm_spec *ret_spec, struct vm_err *err)
{
	VM_AUTO(vm_spec_free) struct vm_spec copy = {0};

	if (copy_text(from->name, &copy.name, err) ||
	    copy_text(from->hypervisor, &copy.hypervisor, err) ||
	    copy_text(from->machine, &copy.machine, err) ||
	    copy_text(from->accelerator, &copy.accelerator, err) ||
	    copy_text(from->kernel, &copy.kernel, err) ||
	    copy_text(from->initrd, &copy.initrd, err) ||
	    copy_text(from->boot_args, &copy.boot_args, err) ||
	    vm_labels_put_all(&copy.labels, &from->labels, err))
		return -1;
	copy.vcpus = from->vcpus;
	copy.memory_bytes = from->memory_bytes;
	copy.vsock = from->vsock;
	copy.vsock_given = from->vsock_given;
	copy.network = from->network;
	memcpy(copy.tap, from->tap, sizeof(copy.tap));
	for (size_t i = 0; i < from->disk_count; i++) {
		struct vm_disk *disk = &copy.disks[copy.disk_count++];

		*disk = from->disks[i];
		disk->path = NULL;
		if (copy_text(from->disks[i].path, &disk->path, err))
			return -1;
	}
	*ret_spec = copy;
	vm_spec_init(&copy);
	return 0;
}

/* --- rules
 * ---------------------------------------------------------------------------------------*/

/* The store holds JSON, and JSON holds UTF-8; jansson is the judge of what that is. */
static int check_utf8(const char *text, struct vm_err *err)
{
	json_t *probe = json_string(text);

	if (!probe)
		return vm_err_set(err, VM_ERR_USAGE, "is not UTF-8 text");
	json_decref(probe);
	return 0;
}

int vm_spec_path_check(const char *path, struct vm_err *err)
{
	if (!*path)
		return vm_err_set(err, VM_ERR_USAGE, "is empty");
	if (strlen(path) >= PATH_MAX)
		return vm_err_set(err, VM_ERR_USAGE, "is longer than %d bytes", PATH_MAX - 1);
	if (path[0] == '~' && (!path[1] || path[1] == '/')) {
		vm_err_set(err, VM_ERR_USAGE, "'%.200s': ~ is not expanded here", path);
		return vm_err_hint(err, "write the path out, or ./~ if that is its name");
	}
	return check_utf8(path, err);
}

static int check_word(const char *what, const char *name, struct vm_err *err)
{
	size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.");

	if (len == 0 || name[len] || len > VM_MACHINE_MAX)
		return vm_err_set(err, VM_ERR_USAGE, "'%.64s' is not the name of %s", name, what);
	return 0;
}

static int check_hypervisor(const char *name, struct vm_err *err)
{
	size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_");

	if (len == 0 || name[len] || len > VM_HYPERVISOR_MAX)
		return vm_err_set(err, VM_ERR_USAGE, "'%.64s' is not the name of a hypervisor",
		                  name);
	return 0;
}

/* The command line of Linux is ASCII, and a VMM appends its devices to it. */
static int check_boot_args(const char *args, struct vm_err *err)
{
	size_t len = strlen(args);

	if (len >= VM_BOOT_ARGS_MAX)
		return vm_err_set(err, VM_ERR_USAGE, "has %zu characters, the limit is %d", len,
		                  VM_BOOT_ARGS_MAX - 1);
	for (size_t i = 0; i < len; i++) {
		if (args[i] < ' ' || args[i] > '~')
			return vm_err_set(err, VM_ERR_USAGE, "character %zu is not printable ASCII",
			                  i + 1);
	}
	return 0;
}

static int check_vcpus(unsigned vcpus, struct vm_err *err)
{
	if (vcpus < 1 || vcpus > VM_VCPUS_MAX)
		return vm_err_set(err, VM_ERR_USAGE, "%u is out of range (1 to %d)", vcpus,
		                  VM_VCPUS_MAX);
	return 0;
}

static int too_large(uint64_t bytes, const char *limit, struct vm_err *err)
{
	char text[32];

	return vm_err_set(err, VM_ERR_USAGE, "%s is too large (at most %s)",
	                  vm_size_format(bytes, text, sizeof(text)), limit);
}

static int check_memory(uint64_t bytes, struct vm_err *err)
{
	if (bytes < VM_MEMORY_MIN_BYTES) {
		vm_err_set(err, VM_ERR_USAGE, "%" PRIu64 " bytes are less than the least, 1 MiB",
		           bytes);
		return vm_err_hint(err, "a unit is probably missing; e.g. 512M");
	}
	if (bytes > VM_MEMORY_MAX_BYTES)
		return too_large(bytes, "16T", err);
	if (bytes % VM_MEMORY_MIN_BYTES)
		return vm_err_set(err, VM_ERR_USAGE,
		                  "%" PRIu64 " bytes are not a whole number of MiB", bytes);
	return 0;
}

static int check_blank_size(uint64_t bytes, struct vm_err *err)
{
	if (bytes % VM_SECTOR_BYTES == 0)
		return 0;
	vm_err_set(err, VM_ERR_USAGE, "%" PRIu64 " bytes are not a multiple of %d", bytes,
	           VM_SECTOR_BYTES);
	if (bytes < VM_MEMORY_MIN_BYTES)
		vm_err_hint(err, "a unit is probably missing; e.g. 64M");
	return -1;
}

const char *vm_disk_format_name(enum vm_disk_format format)
{
	return format == VM_DISK_QCOW2 ? "qcow2" : "raw";
}

int vm_spec_disk_set_format(struct vm_disk *disk, const char *text, struct vm_err *err)
{
	for (int format = VM_DISK_RAW; format <= VM_DISK_QCOW2; format++) {
		if (strcmp(text, vm_disk_format_name((enum vm_disk_format)format)) == 0) {
			disk->format = (enum vm_disk_format)format;
			disk->format_given = true;
			return 0;
		}
	}
	return vm_err_set(err, VM_ERR_USAGE, "'%.64s' is neither raw nor qcow2", text);
}

/* What the kernel takes for an interface (dev_valid_name() in net/core/dev.c), less what would
 * need quoting somewhere. */
static bool tap_is_valid(const char *name)
{
	size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	                          "-_.");

	return len > 0 && !name[len] && len <= VM_TAP_MAX && strcmp(name, ".") != 0 &&
	       strcmp(name, "..") != 0;
}

int vm_spec_set_network(struct vm_spec *spec, const char *text, struct vm_err *err)
{
	bool tap = strncmp(text, "tap=", 4) == 0;

	if (tap && !tap_is_valid(text + 4))
		return vm_err_set(err, VM_ERR_USAGE, "'%.64s' is not the name of an interface",
		                  text + 4);
	if (!tap && strcmp(text, "none") != 0 && strcmp(text, "user") != 0)
		return vm_err_set(err, VM_ERR_USAGE, "'%.64s' is none of none, user, tap=NAME",
		                  text);
	spec->network = tap                         ? VM_NETWORK_TAP
	                : strcmp(text, "user") == 0 ? VM_NETWORK_USER
	                                            : VM_NETWORK_NONE;
	snprintf(spec->tap, sizeof(spec->tap), "%s", tap ? text + 4 : "");
	return 0;
}

char *vm_spec_network_text(const struct vm_spec *spec, struct vm_err *err)
{
	if (spec->network == VM_NETWORK_TAP)
		return vm_strf(err, "tap=%s", spec->tap);
	return vm_strdup(spec->network == VM_NETWORK_USER ? "user" : "none", err);
}

static int check_disk_source(const struct vm_disk *disk, struct vm_spec_fault *fault,
                             struct vm_err *err)
{
	if (disk->path) {
		fault->field = "path";
		if (vm_spec_path_check(disk->path, err))
			return -1;
	}
	fault->field = "size";
	if (disk->size_bytes > VM_DISK_MAX_BYTES)
		return too_large(disk->size_bytes, "64T", err);
	if (!disk->path && disk->size_bytes && check_blank_size(disk->size_bytes, err))
		return -1;
	fault->field = NULL;
	if (!disk->path && !disk->size_bytes)
		return vm_err_set(err, VM_ERR_USAGE, "needs a path, or the size of a blank disk");
	fault->field = "readonly";
	if (!disk->path && disk->read_only)
		return vm_err_set(err, VM_ERR_USAGE,
		                  "a blank disk that is read-only would stay empty for ever");
	return 0;
}

int vm_spec_disk_set_id(struct vm_disk *disk, const char *id, struct vm_err *err)
{
	size_t len = strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789_");

	if (!*id)
		return vm_err_set(err, VM_ERR_USAGE, "is empty");
	if (id[len])
		return vm_err_set(err, VM_ERR_USAGE, "'%.64s': only a-z, 0-9 and '_' are allowed",
		                  id);
	if (len > VM_DISK_ID_MAX)
		return vm_err_set(err, VM_ERR_USAGE, "'%.64s' has %zu characters, the limit is %d",
		                  id, len, VM_DISK_ID_MAX);
	memcpy(disk->id, id, len + 1);
	return 0;
}

void vm_spec_disk_default_id(struct vm_disk *disk, size_t index)
{
	if (index == 0)
		snprintf(disk->id, sizeof(disk->id), "root");
	else
		snprintf(disk->id, sizeof(disk->id), "disk%zu", index);
}

void vm_spec_default_root(struct vm_spec *spec)
{
	bool given = false;

	for (size_t i = 0; i < spec->disk_count; i++) {
		struct vm_disk *disk = &spec->disks[i];

		disk->root = disk->root && disk->root_given;
		given = given || disk->root;
	}
	if (!given && spec->disk_count && !spec->disks[0].root_given)
		spec->disks[0].root = true;
}

int vm_spec_validate_disk(const struct vm_spec *spec, size_t i, struct vm_spec_fault *ret_fault,
                          struct vm_err *err)
{
	const struct vm_disk *disk = &spec->disks[i];
	struct vm_disk scratch;

	*ret_fault = (struct vm_spec_fault){.field = "id", .disk = (int)i};
	if (vm_spec_disk_set_id(&scratch, disk->id, err))
		return -1;
	for (size_t k = 0; k < i; k++) {
		if (strcmp(disk->id, spec->disks[k].id) == 0) {
			vm_err_set(err, VM_ERR_USAGE, "'%s' is the id of disks[%zu] already",
			           disk->id, k);
			return vm_err_hint(err, "give this disk another id");
		}
		ret_fault->field = "root";
		if (disk->root && spec->disks[k].root)
			return vm_err_set(err, VM_ERR_USAGE,
			                  "disks[%zu], '%s', is the root disk already", k,
			                  spec->disks[k].id);
		ret_fault->field = "id";
	}
	return check_disk_source(disk, ret_fault, err);
}

static int validate_texts(const struct vm_spec *spec, struct vm_spec_fault *fault,
                          struct vm_err *err)
{
	fault->field = "name";
	if (spec->name && vm_name_check(spec->name, err))
		return -1;
	fault->field = "hypervisor";
	if (spec->hypervisor && check_hypervisor(spec->hypervisor, err))
		return -1;
	fault->field = "machine";
	if (spec->machine && check_word("a machine type", spec->machine, err))
		return -1;
	fault->field = "accelerator";
	if (spec->accelerator && check_word("an accelerator", spec->accelerator, err))
		return -1;
	fault->field = "kernel";
	if (spec->kernel && vm_spec_path_check(spec->kernel, err))
		return -1;
	fault->field = "initrd";
	if (spec->initrd && vm_spec_path_check(spec->initrd, err))
		return -1;
	fault->field = "boot_args";
	return spec->boot_args ? check_boot_args(spec->boot_args, err) : 0;
}

int vm_spec_validate(const struct vm_spec *spec, struct vm_spec_fault *ret_fault,
                     struct vm_err *err)
{
	struct vm_spec_fault fault = {.disk = VM_SPEC_NO_DISK};
	int rc = validate_texts(spec, &fault, err);

	if (!rc) {
		fault.field = "vcpus";
		rc = check_vcpus(spec->vcpus, err);
	}
	if (!rc) {
		fault.field = "memory";
		rc = check_memory(spec->memory_bytes, err);
	}
	for (size_t i = 0; !rc && i < spec->disk_count; i++)
		rc = vm_spec_validate_disk(spec, i, &fault, err);
	if (rc)
		*ret_fault = fault;
	return rc;
}

int vm_spec_wrap_fault(const struct vm_spec_fault *fault, struct vm_err *err)
{
	if (fault->disk == VM_SPEC_NO_DISK)
		return vm_err_wrap(err, "%s", fault->field);
	return vm_err_wrap(err, "disks[%d]%s%s", fault->disk, fault->field ? "." : "",
	                   fault->field ? fault->field : "");
}

int vm_spec_check(const struct vm_spec *spec, struct vm_err *err)
{
	struct vm_spec_fault fault;

	if (!spec->kernel) {
		vm_err_set(err, VM_ERR_USAGE, "kernel: missing");
		return vm_err_hint(err, "give --kernel, or kernel: in the spec file");
	}
	if (vm_spec_validate(spec, &fault, err))
		return vm_spec_wrap_fault(&fault, err);
	return 0;
}
