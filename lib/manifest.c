/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest.h"

#define XXH_INLINE_ALL /* no library to load for some lines of it */
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "fs.h"
#include "overlay.h"
#include "util.h"

enum { HASH_SIZE = 32, MANIFEST_FORMAT = 1, MANIFEST_MAX_BYTES = 1024 * 1024 };

/* Written once, and the same for all: what no verb changes. */
static char this_cpu[VM_CPU_SIZE];

/* In a virtual machine each CPUID is an exit to its host, 20 us if that is one, too: no more than
 * needed. */
static void ask_cpu(void)
{
	unsigned a, b, c, d, highest, signature = 0, features[2] = {0}, extended[3] = {0};
	char vendor[13] = "";

	__cpuid(0, highest, b, c, d);
	memcpy(vendor, &b, 4);
	memcpy(vendor + 4, &d, 4);
	memcpy(vendor + 8, &c, 4);
	/* EBX of leaf 1 holds the number of the CPU that asks: not part of the kind of CPU. */
	if (highest >= 1)
		__cpuid(1, signature, b, features[0], features[1]);
	if (highest >= 7)
		__cpuid_count(7, 0, a, extended[0], extended[1], extended[2]);
	snprintf(this_cpu, sizeof(this_cpu), "%s-%08x-%08x%08x-%08x%08x%08x", vendor, signature,
	         features[0], features[1], extended[0], extended[1], extended[2]);
}

void vm_cpu_fingerprint(char *buf, size_t size)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, ask_cpu);
	snprintf(buf, size, "%s", this_cpu);
}

/* What of the CPU a state depends on that a VMM of this version saves. */
static void state_cpu(const struct vm_instance *row, const char *version, char buf[VM_CPU_SIZE])
{
	const struct vm_driver *driver;
	struct vm_err ignored = {0};

	if (vm_driver_find(row->hypervisor, &driver, &ignored) == 0 && driver->emulates &&
	    driver->emulates(version))
		snprintf(buf, VM_CPU_SIZE, VM_CPU_ANY);
	else
		vm_cpu_fingerprint(buf, VM_CPU_SIZE);
}

bool vm_cpu_is_here(const char *cpu)
{
	char here[VM_CPU_SIZE];

	vm_cpu_fingerprint(here, sizeof(here));
	return strcmp(cpu, VM_CPU_ANY) == 0 || strcmp(cpu, here) == 0;
}

/* Of the saved state, where the VMM would not find damage itself; "" for none. */
static int hash_state(int dir_fd, const char *hypervisor, char ret_hash[HASH_SIZE],
                      struct vm_err *err)
{
	const struct vm_driver *driver;
	VM_AUTO_FREE char *data = NULL;
	size_t len;

	ret_hash[0] = '\0';
	if (vm_driver_find(hypervisor, &driver, err) < 0)
		return -1;
	if (driver->state_is_checked)
		return 0;
	if (vm_fs_read(dir_fd, VM_FILE_STATE, VM_STATE_MAX_BYTES, &data, &len, err) < 0)
		return -1;
	snprintf(ret_hash, HASH_SIZE, "xxh3:%016" PRIx64, (uint64_t)XXH3_64bits(data, len));
	return 0;
}

static int check_state(int dir_fd, const json_t *json, const char *hypervisor, struct vm_err *err)
{
	const char *recorded = json_string_value(json_object_get(json, "state"));
	char hash[HASH_SIZE];

	if (!recorded || !recorded[0])
		return 0;
	if (hash_state(dir_fd, hypervisor, hash, err) < 0)
		return -1;
	return strcmp(hash, recorded) == 0
	               ? 0
	               : vm_err_set(err, VM_ERR_CORRUPT,
	                            VM_FILE_STATE " is damaged: it is not what was saved");
}

static json_t *disk_list(int dir_fd, const struct vm_spec *spec, struct vm_err *err)
{
	json_t *list = json_array();

	for (size_t i = 0; i < spec->disk_count; i++) {
		char file[VM_DISK_FILE_SIZE];
		struct stat st;

		vm_disk_file(&spec->disks[i], file);
		if (fstatat(dir_fd, file, &st, AT_SYMLINK_NOFOLLOW) < 0) {
			vm_err_sys(err, "%s", file);
			json_decref(list);
			return NULL;
		}
		json_array_append_new(list, json_pack("{s:s,s:I}", "file", file, "size_bytes",
		                                      (json_int_t)st.st_size));
	}
	return list;
}

static int write_manifest(int dir_fd, const struct vm_instance *row, const struct vm_spec *spec,
                          const char *version, const char *cpu, bool durable, struct vm_err *err)
{
	VM_AUTO_FREE char *text = NULL;
	json_t *disks = disk_list(dir_fd, spec, err);
	char hash[HASH_SIZE];
	json_t *json;

	if (!disks)
		return -1;
	if (hash_state(dir_fd, row->hypervisor, hash, err) < 0) {
		json_decref(disks);
		return -1;
	}
	json = json_pack("{s:i,s:s,s:s,s:s,s:s,s:s,s:I,s:I,s:o}", "format", MANIFEST_FORMAT, "id",
	                 row->id, "hypervisor", row->hypervisor, "hypervisor_version", version,
	                 "cpu", cpu, "state", hash, "memory_bytes", (json_int_t)spec->memory_bytes,
	                 "guest_cid", (json_int_t)row->guest_cid, "disks", disks);
	text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
	json_decref(json);
	if (!text)
		return vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES,
		                  "out of memory for the manifest");
	return vm_fs_publish(dir_fd, VM_FILE_MANIFEST, text, strlen(text), durable, err);
}

int vm_manifest_write(int dir_fd, const struct vm_instance *row, const struct vm_spec *spec,
                      const char *version, bool durable, struct vm_err *err)
{
	char cpu[VM_CPU_SIZE];

	state_cpu(row, version, cpu);
	return write_manifest(dir_fd, row, spec, version, cpu, durable, err);
}

int vm_manifest_write_of(int dir_fd, const struct vm_instance *row, const struct vm_spec *spec,
                         const char *version, const char *cpu, struct vm_err *err)
{
	return write_manifest(dir_fd, row, spec, version, cpu, true, err);
}

static json_t *read_manifest(int dir_fd, struct vm_err *err)
{
	VM_AUTO_FREE char *text = NULL;
	json_t *json;
	size_t len;

	if (vm_fs_read(dir_fd, VM_FILE_MANIFEST, MANIFEST_MAX_BYTES, &text, &len, err) < 0) {
		if (err->code == VM_ERR_NOT_FOUND)
			err->code = VM_ERR_CORRUPT;
		vm_err_wrap(err, "the saved state is not complete");
		return NULL;
	}
	json = json_loads(text, 0, NULL);
	if (!json)
		vm_err_set(err, VM_ERR_CORRUPT, VM_FILE_MANIFEST " is not JSON");
	return json;
}

int vm_manifest_cpu(int dir_fd, char ret_cpu[VM_CPU_SIZE], struct vm_err *err)
{
	json_t *json = read_manifest(dir_fd, err);
	const char *cpu = json_string_value(json_object_get(json, "cpu"));

	if (!json)
		return -1;
	snprintf(ret_cpu, VM_CPU_SIZE, "%s", cpu ? cpu : "");
	json_decref(json);
	return cpu ? 0 : vm_err_set(err, VM_ERR_CORRUPT, VM_FILE_MANIFEST " lacks a key");
}

static int check_size(int dir_fd, const char *file, uint64_t want, struct vm_err *err)
{
	struct stat st;

	if (fstatat(dir_fd, file, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno != ENOENT)
			return vm_err_sys(err, "%s", file);
		vm_err_set(err, VM_ERR_CORRUPT, "%s is missing from the instance's directory",
		           file);
		return vm_err_hint(err,
		                   "put it back, or remove the instance with 'vmctl rm --force'");
	}
	if (!S_ISREG(st.st_mode))
		return vm_err_set(err, VM_ERR_CORRUPT, "%s is not a regular file", file);
	if (want != 0 && (uint64_t)st.st_size != want) {
		vm_err_set(err, VM_ERR_CORRUPT, "%s has %jd bytes, it had %ju when it was recorded",
		           file, (intmax_t)st.st_size, (uintmax_t)want);
		return vm_err_hint(err, "a file of an instance must not change outside of it");
	}
	return 0;
}

int vm_manifest_check_files(int dir_fd, const struct vm_spec *spec, bool kernel, struct vm_err *err)
{
	if (kernel && !spec->kernel) {
		vm_err_set(err, VM_ERR_INVALID_STATE,
		           "it was adopted without a kernel: it can go on, but not boot");
		return vm_err_hint(err, "adopt the snapshot again with --kernel FILE");
	}
	if (kernel && (check_size(dir_fd, VM_FILE_KERNEL, 0, err) < 0 ||
	               (spec->initrd && check_size(dir_fd, VM_FILE_INITRD, 0, err) < 0)))
		return -1;
	for (size_t i = 0; i < spec->disk_count; i++) {
		char file[VM_DISK_FILE_SIZE];

		const struct vm_disk *disk = &spec->disks[i];
		bool raw = disk->format == VM_DISK_RAW;

		if (check_size(dir_fd, vm_disk_file(disk, file), raw ? disk->size_bytes : 0, err) <
		            0 ||
		    (!raw && vm_overlay_check(dir_fd, disk, err) < 0))
			return -1;
	}
	return 0;
}

static int check_stamp(const json_t *json, const struct vm_instance *row,
                       const struct vm_driver *driver, const struct vm_driver_info *binary,
                       struct vm_err *err)
{
	const char *hypervisor, *version, *cpu, *id;
	char here[VM_CPU_SIZE];
	json_int_t memory;
	int format;

	if (json_unpack((json_t *)json, "{s:i,s:s,s:s,s:s,s:s,s:I}", "format", &format, "id", &id,
	                "hypervisor", &hypervisor, "hypervisor_version", &version, "cpu", &cpu,
	                "memory_bytes", &memory) < 0)
		return vm_err_set(err, VM_ERR_CORRUPT, VM_FILE_MANIFEST " lacks a key");
	if (format != MANIFEST_FORMAT)
		return vm_err_set(err, VM_ERR_INCOMPATIBLE,
		                  VM_FILE_MANIFEST " has format %d, not %d", format,
		                  MANIFEST_FORMAT);
	if (strcmp(id, row->id) != 0 || memory != (json_int_t)row->memory_bytes)
		return vm_err_set(err, VM_ERR_CORRUPT, VM_FILE_MANIFEST " is another instance's");
	if (strcmp(hypervisor, driver->name) != 0)
		return vm_err_set(err, VM_ERR_INCOMPATIBLE, "the state was saved by %s, not %s",
		                  hypervisor, driver->name);
	if (!vm_cpu_is_here(cpu)) {
		vm_cpu_fingerprint(here, sizeof(here));
		vm_err_set(err, VM_ERR_INCOMPATIBLE,
		           "the state was saved on another kind of CPU (%s), "
		           "this host has %s",
		           cpu, here);
		return vm_err_hint(err,
		                   "restore it on a host with the same CPU, or start it afresh: "
		                   "vmctl stop --discard, vmctl start");
	}
	return driver->check_version(version, binary->version, err);
}

/* A compressed one is checked when it is unpacked. */
static int check_memory(int dir_fd, const struct vm_spec *spec, struct vm_err *err)
{
	bool packed = vm_memory_is_packed(dir_fd);

	return check_size(dir_fd, packed ? VM_FILE_COMPRESSED : VM_FILE_MEMORY,
	                  packed ? 0 : spec->memory_bytes, err);
}

int vm_manifest_check(int dir_fd, const struct vm_instance *row, const struct vm_spec *spec,
                      const struct vm_driver *driver, const struct vm_driver_info *binary,
                      struct vm_err *err)
{
	json_t *json = read_manifest(dir_fd, err);
	int rc;

	if (!json)
		return vm_err_wrap(err, "%s", row->name);
	rc = check_stamp(json, row, driver, binary, err);
	if (rc == 0 &&
	    (check_memory(dir_fd, spec, err) < 0 || check_size(dir_fd, VM_FILE_STATE, 0, err) < 0 ||
	     check_state(dir_fd, json, driver->name, err) < 0 ||
	     vm_manifest_check_files(dir_fd, spec, false, err) < 0))
		rc = -1;
	json_decref(json);
	return rc < 0 ? vm_err_wrap(err, "%s", row->name) : 0;
}
