/* SPDX-License-Identifier: Apache-2.0 */
/* A machine for the QEMU driver, and its command line. */
#ifndef VM_TEST_QEMU_GUEST_H
#define VM_TEST_QEMU_GUEST_H

#include "fs_fixture.h"

#include "driver/qemu.h"
#include "overlay.h"
#include "qcow2.h"

static const enum vm_qemu_role roles[] = {VM_QEMU_BOOT, VM_QEMU_LOAD, VM_QEMU_FLATTEN};
enum { DISK_BYTES = 1 << 20 };

/* A machine in the directory "from"; what it consists of is changed by tests. */
struct guest {
	struct vm_driver_info binary;
	struct vm_spec spec;
	struct vm_machine machine;
};

static inline void guest_init(struct guest *guest, const struct fixture *f)
{
	*guest = (struct guest){.binary = {.path = "/usr/bin/qemu", .version = "7.2.22+tcg"}};
	vm_spec_init(&guest->spec);
	guest->machine = (struct vm_machine){.binary = &guest->binary,
	                                     .id = "abcdefghijklmnopqrstuvwx",
	                                     .name = "test",
	                                     .version = guest->binary.version,
	                                     .spec = &guest->spec,
	                                     .dir_fd = f->from,
	                                     .vmm = VM_VMM_INIT};
}

static inline void add_disk(struct guest *guest, const char *id, enum vm_disk_format format,
                            bool read_only)
{
	struct vm_disk *disk = &guest->spec.disks[guest->spec.disk_count++];
	char file[VM_DISK_FILE_SIZE];
	struct vm_err err = {0};

	*disk = (struct vm_disk){
	        .format = format, .read_only = read_only, .size_bytes = DISK_BYTES};
	snprintf(disk->id, sizeof(disk->id), "%s", id);
	if (vm_overlay_is(disk))
		assert_int_equal(vm_qcow2_create(guest->machine.dir_fd, vm_disk_file(disk, file),
		                                 DISK_BYTES, NULL, &err),
		                 0);
}

static inline void add_disks(struct guest *guest, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char id[16];

		snprintf(id, sizeof(id), "d%zu", i);
		add_disk(guest, id, VM_DISK_RAW, false);
	}
}

static inline struct vm_qemu_args args_of(const struct guest *guest, enum vm_qemu_role role)
{
	struct vm_qemu_args args = {0};
	struct vm_err err = {0};

	if (vm_qemu_args_make(&guest->machine, role, "memory", role != VM_QEMU_LOAD, &args, &err) <
	    0)
		fail_msg("%s", err.message);
	assert_null(args.list[args.count]);
	return args;
}

/* All that follows one of these options, a line each; "" for the end of the text. */
static inline void values(const struct vm_qemu_args *args, const char *option, char *buf,
                          size_t size)
{
	size_t used = 0;

	buf[0] = '\0';
	for (size_t i = 0; i + 1 < args->count; i++) {
		if (strcmp(args->list[i], option) != 0)
			continue;
		used += (size_t)snprintf(buf + used, size - used, "%s\n", args->list[i + 1]);
		assert_true(used < size);
	}
}

static inline void assert_values(const struct guest *guest, enum vm_qemu_role role,
                                 const char *option, const char *want)
{
	VM_AUTO(vm_qemu_args_free) struct vm_qemu_args args = args_of(guest, role);
	char text[8192];

	values(&args, option, text, sizeof(text));
	assert_string_equal(text, want);
}

/* Whether any argument has that in it. */
static inline bool mentions(const struct guest *guest, enum vm_qemu_role role, const char *text)
{
	VM_AUTO(vm_qemu_args_free) struct vm_qemu_args args = args_of(guest, role);

	for (size_t i = 0; i < args.count; i++) {
		if (strstr(args.list[i], text))
			return true;
	}
	return false;
}

/* Fails with that code; what was there for the answer is as before. */
static inline void assert_no_args(const struct guest *guest, enum vm_code code, const char *why)
{
	struct vm_qemu_args args, before;
	struct vm_err err = {0};

	memset(&args, 0x5a, sizeof(args));
	memset(&before, 0x5a, sizeof(before));
	assert_int_equal(
	        vm_qemu_args_make(&guest->machine, VM_QEMU_BOOT, "memory", true, &args, &err), -1);
	if (err.code != code || !strstr(err.message, why))
		fail_msg("%s (%s), and not: %s", err.message, vm_code_name(err.code), why);
	assert_memory_equal(&args, &before, sizeof(args));
}

#endif
