/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line. A saved state fits only the devices it was saved with, at the same places, so
 * everything here follows from the spec alone, and every device has its place given.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "../fs.h"
#include "../overlay.h"
#include "../util.h"
#include "qemu.h"

#define DEFAULT_BOOT_ARGS "console=ttyS0 reboot=t panic=1"

enum {
	/* hw/i386/microvm.c: so many virtio-mmio transports with one I/O APIC, 24 with two */
	TRANSPORTS_OF_ONE_IOAPIC = 8,
	SERIAL_MAX = 20, /* VIRTIO_BLK_ID_BYTES of linux/virtio_blk.h */
};

struct builder {
	struct vm_qemu_args *args;
	const struct vm_machine *machine;
	enum vm_qemu_role role;
	bool pci;
	unsigned devices; /* so far */
	struct vm_err *err;
	bool failed;
};

__attribute__((format(printf, 2, 3))) static void add(struct builder *b, const char *fmt, ...)
{
	char text[4352];
	va_list ap;
	int n;

	if (b->failed)
		return;
	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(text) || b->args->count == VM_QEMU_ARGS_MAX) {
		vm_err_set(b->err, VM_ERR_USAGE, "the command line of the VMM becomes too long");
		b->failed = true;
		return;
	}
	b->args->list[b->args->count] = vm_strdup(text, b->err);
	b->failed = !b->args->list[b->args->count];
	b->args->count += !b->failed;
}

static void add_two(struct builder *b, const char *option, const char *value)
{
	add(b, "%s", option);
	add(b, "%s", value);
}

void vm_qemu_args_free(struct vm_qemu_args *args)
{
	for (size_t i = 0; i < args->count; i++)
		free(args->list[i]);
	*args = (struct vm_qemu_args){0};
}

const char *vm_qemu_machine_type(const struct vm_spec *spec)
{
	return spec->machine ? spec->machine : "microvm";
}

static bool has_word(const char *text, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = text; at && (at = strstr(at, word)); at += len) {
		if ((at == text || at[-1] == ' ') && (at[len] == '\0' || at[len] == ' '))
			return true;
	}
	return false;
}

static unsigned device_count(const struct vm_machine *machine)
{
	return (unsigned)machine->spec->disk_count + (machine->guest_cid != 0) +
	       (machine->spec->network != VM_NETWORK_NONE);
}

/*
 * A microvm tells a kernel where its devices are by ACPI, or, if the kernel is to do without ACPI,
 * by words that QEMU appends to its command line.
 */
static void add_machine(struct builder *b, const char *memory, bool share)
{
	const struct vm_machine *machine = b->machine;
	const struct vm_spec *spec = machine->spec;
	const char *accel = vm_version_accelerator(machine->version);
	bool no_acpi = !b->pci && has_word(spec->boot_args, "acpi=off");
	bool second = !b->pci && device_count(machine) > TRANSPORTS_OF_ONE_IOAPIC;

	add(b, "-machine");
	add(b, "%s,accel=%s,memory-backend=ram%s%s", vm_qemu_machine_type(spec), accel,
	    b->pci   ? ""
	    : second ? ",ioapic2=on"
	             : ",ioapic2=off",
	    no_acpi ? ",acpi=off" : "");
	/*
	 * The best that each can do. With KVM, a host that shows MSR_IA32_ARCH_CAPABILITIES (0x10a)
	 * to its own guests may refuse to have it written, which ends the VMM.
	 */
	add_two(b, "-cpu",
	        vm_qemu_emulates(machine->version) ? "max" : "host,arch-capabilities=off");
	add(b, "-smp");
	add(b, "%u", spec->vcpus);
	add(b, "-m");
	add(b, "%" PRIu64 "M", spec->memory_bytes >> 20);
	add(b, "-object");
	add(b, "memory-backend-file,id=ram,mem-path=%s,size=%" PRIu64 ",share=%s", memory,
	    spec->memory_bytes, share ? "on" : "off");
	if (!b->pci)
		add_two(b, "-global", "virtio-mmio.force-legacy=false");
}

/*
 * A microvm has no clock but the PIT to measure the TSC by, and on a busy host a Linux that is
 * emulated fails to, and then hangs: so it is told. Emulated, the TSC is the host's.
 */
static bool needs_tsc(const struct builder *b, const char *boot_args)
{
	return b->role == VM_QEMU_BOOT && !b->pci && vm_qemu_emulates(b->machine->version) &&
	       !strstr(boot_args, "tsc_early_khz=");
}

static void add_kernel(struct builder *b)
{
	const struct vm_spec *spec = b->machine->spec;
	const char *boot_args = spec->boot_args ? spec->boot_args : DEFAULT_BOOT_ARGS;

	if (!spec->kernel)
		return;
	add_two(b, "-kernel", VM_FILE_KERNEL);
	if (spec->initrd)
		add_two(b, "-initrd", VM_FILE_INITRD);
	add(b, "-append");
	if (needs_tsc(b, boot_args))
		add(b, "tsc_early_khz=%u %s", vm_qemu_tsc_khz(), boot_args);
	else
		add(b, "%s", boot_args);
}

static void add_streams(struct builder *b)
{
	add(b, "-chardev");
	if (b->role == VM_QEMU_FLATTEN)
		add(b, "null,id=console");
	else
		add(b, "stdio,id=console,signal=off");
	add_two(b, "-serial", "chardev:console");
	add(b, "-chardev");
	if (b->role == VM_QEMU_FLATTEN)
		add(b, "socket,id=qmp,fd=%d", VM_QEMU_QMP_FD);
	else
		add(b, "socket,id=qmp,path=" VM_FILE_API_SOCKET ",server=on,wait=off");
	add_two(b, "-mon", "chardev=qmp,mode=control");
}

/* A device at the next place: a virtio-mmio transport of its own, or a slot of the PCI bus. */
__attribute__((format(printf, 3, 4))) static void add_device(struct builder *b, const char *type,
                                                             const char *fmt, ...)
{
	unsigned place = b->devices++;
	char rest[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(rest, sizeof(rest), fmt, ap);
	va_end(ap);
	add(b, "-device");
	if (b->pci)
		add(b, "%s-pci,addr=0x%x,%s", type, 2 + place, rest);
	else
		add(b, "%s-device,bus=virtio-mmio-bus.%u,%s", type, place, rest);
}

/* By the name that the layer keeps when it is frozen: see vm_overlay_name(). */
static int name_file(const struct vm_machine *machine, const struct vm_disk *disk,
                     char file[VM_LAYER_NAME_SIZE], struct vm_err *err)
{
	if (vm_overlay_is(disk))
		return vm_overlay_name(machine->dir_fd, disk, file, err);
	vm_disk_file(disk, file);
	return 0;
}

static void add_disks(struct builder *b)
{
	const struct vm_spec *spec = b->machine->spec;

	for (size_t i = 0; !b->failed && i < spec->disk_count; i++) {
		const struct vm_disk *disk = &spec->disks[i];
		const char *read_only = disk->read_only ? "on" : "off";
		char file[VM_LAYER_NAME_SIZE];

		if (b->role != VM_QEMU_FLATTEN)
			b->failed |= name_file(b->machine, disk, file, b->err) < 0;
		add(b, "-blockdev");
		/* A helper must not open what others have, and reads and writes none of it. */
		if (b->role == VM_QEMU_FLATTEN)
			add(b,
			    "driver=null-co,node-name=disk-%s,size=%" PRIu64
			    ",read-zeroes=on,read-only=%s",
			    disk->id, disk->size_bytes, read_only);
		else
			add(b,
			    "driver=%s,node-name=disk-%s,read-only=%s,discard=unmap,"
			    "file.driver=file,file.filename=%s",
			    vm_disk_format_name(disk->format), disk->id, read_only, file);
		/* As on real hardware the guest is told of errors, instead of being stopped. */
		add_device(b, "virtio-blk",
		           "id=" VM_QEMU_DISK_FORMAT ",drive=disk-%s,serial=%s,"
		           "werror=report,rerror=report",
		           disk->id, disk->id, strlen(disk->id) <= SERIAL_MAX ? disk->id : "");
	}
}

/* Locally administered, the same for the same instance: FNV-1a of its id. */
static uint32_t mac_of(const char *id)
{
	uint32_t hash = 2166136261U;

	for (; *id; id++)
		hash = (hash ^ (unsigned char)*id) * 16777619U;
	return hash;
}

static void add_network(struct builder *b)
{
	const struct vm_spec *spec = b->machine->spec;
	uint32_t mac = mac_of(b->machine->id);

	if (spec->network == VM_NETWORK_NONE)
		return;
	add(b, "-netdev");
	if (spec->network == VM_NETWORK_USER)
		add(b, "user,id=net");
	else if (b->role == VM_QEMU_FLATTEN)
		add(b, "hubport,id=net,hubid=0");
	else
		/* Without offloads: what the device offers must not depend on what it is attached
		 * to. */
		add(b, "tap,id=net,ifname=%s,script=no,downscript=no,vnet_hdr=off", spec->tap);
	add_device(b, "virtio-net", "netdev=net%s,mac=52:54:%02x:%02x:%02x:%02x",
	           b->pci ? ",romfile=" : "", mac >> 24, mac >> 16 & 0xff, mac >> 8 & 0xff,
	           mac & 0xff);
}

static void add_vsock(struct builder *b)
{
	if (b->machine->guest_cid != 0)
		add_device(b, "vhost-vsock", "guest-cid=%" PRIu64, b->machine->guest_cid);
}

/* Tells a guest that goes on as a fork that it is another one now: its random numbers part. */
static void add_generation(struct builder *b)
{
	if (b->pci)
		add_two(b, "-device", "vmgenid,guid=auto");
}

static void add_settings(struct builder *b)
{
	add(b, "-nodefaults");
	add(b, "-no-user-config");
	add_two(b, "-display", "none");
	/* A guest that reboots ends, as it does elsewhere; what runs is what vmctl has started. */
	add(b, "-no-reboot");
	add(b, "-S");
	add_two(b, "-sandbox",
	        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
	/* The log then tells an end that the guest wanted from all others: ended_by_guest(). */
	add_two(b, "-trace", "enable=runstate_set");
	if (b->role != VM_QEMU_BOOT)
		add_two(b, "-incoming", "defer");
}

int vm_qemu_args_make(const struct vm_machine *machine, enum vm_qemu_role role, const char *memory,
                      bool share, struct vm_qemu_args *ret, struct vm_err *err)
{
	struct vm_qemu_args args = {0};
	struct builder b = {
	        .args = &args,
	        .machine = machine,
	        .role = role,
	        .pci = strcmp(vm_qemu_machine_type(machine->spec), "microvm") != 0,
	        .err = err,
	};

	add(&b, "%s", machine->binary->path);
	add_two(&b, "-name", machine->id);
	add_settings(&b);
	add_machine(&b, memory, share);
	add_kernel(&b);
	add_streams(&b);
	add_disks(&b);
	add_network(&b);
	add_vsock(&b);
	add_generation(&b);
	if (b.failed) {
		vm_qemu_args_free(&args);
		return -1;
	}
	*ret = args;
	return 0;
}
