/* SPDX-License-Identifier: Apache-2.0 */
#include "disk.h"

#include <stddef.h>

#include "boot.h"
#include "io.h"
#include "irq.h"
#include "mem.h"

/* Offsets of the virtio-mmio registers; bits of the status, of features, of a descriptor. */
enum {
	REG_MAGIC = 0x00,
	REG_VERSION = 0x04,
	REG_DEVICE_ID = 0x08,
	REG_DEVICE_FEATURES = 0x10,
	REG_DEVICE_FEATURES_SELECT = 0x14,
	REG_DRIVER_FEATURES = 0x20,
	REG_DRIVER_FEATURES_SELECT = 0x24,
	REG_QUEUE_SELECT = 0x30,
	REG_QUEUE_SIZE_MAX = 0x34,
	REG_QUEUE_SIZE = 0x38,
	REG_QUEUE_READY = 0x44,
	REG_QUEUE_NOTIFY = 0x50,
	REG_INTERRUPT_ACK = 0x64,
	REG_STATUS = 0x70,
	REG_QUEUE_DESCRIPTORS = 0x80,
	REG_QUEUE_AVAILABLE = 0x90,
	REG_QUEUE_USED = 0xa0,
	REG_CAPACITY = 0x100,

	MAGIC = 0x74726976, /* "virt" */
	VERSION_MODERN = 2,
	DEVICE_ID_BLOCK = 2,

	STATUS_ACKNOWLEDGE = 1,
	STATUS_DRIVER = 2,
	STATUS_DRIVER_OK = 4,
	STATUS_FEATURES_OK = 8,
	STATUS_FAILED = 128,

	FEATURE_BLOCK_READ_ONLY = 1 << 5,
	FEATURE_HIGH_VERSION_1 = 1 << (32 - 32),

	DESCRIPTOR_NEXT = 1,
	DESCRIPTOR_WRITE = 2, /* by the device */

	REQUEST_READ = 0,
	REQUEST_WRITE = 1,
	REQUEST_OK = 0,
	REQUEST_UNANSWERED = 0xff,

	MICROVM_TRANSPORTS = 8,
	MICROVM_TRANSPORT_SIZE = 512,
	MICROVM_TRANSPORT_PIN = 16,

	MIN_SECTORS = 10, /* the guest uses sectors 8 and 9 */
	/* Of the timer, so some 20 s: a host that runs many guests is not a broken disk. */
	PATIENCE_TICKS = 200,
};

#define MICROVM_TRANSPORT 0xfeb00000ULL

bool disk_is_microvm(const char *cmdline)
{
	return !boot_find_value(cmdline, "virtio_mmio.device=") &&
	       io_read32(MICROVM_TRANSPORT + REG_MAGIC) == MAGIC;
}

static uint32_t features(uint64_t base, uint32_t half)
{
	io_write32(base + REG_DEVICE_FEATURES_SELECT, half);
	return io_read32(base + REG_DEVICE_FEATURES);
}

static void accept_features(uint64_t base, uint32_t half, uint32_t bits)
{
	io_write32(base + REG_DRIVER_FEATURES_SELECT, half);
	io_write32(base + REG_DRIVER_FEATURES, bits);
}

static void set_address(uint64_t reg, const volatile void *memory)
{
	uint64_t address = (uintptr_t)memory;

	io_write32(reg, (uint32_t)address);
	io_write32(reg + 4, (uint32_t)(address >> 32));
}

static bool is_block_device(uint64_t base)
{
	return io_read32(base + REG_MAGIC) == MAGIC &&
	       io_read32(base + REG_VERSION) == VERSION_MODERN &&
	       io_read32(base + REG_DEVICE_ID) == DEVICE_ID_BLOCK;
}

/* The chain never changes: header, data, status. Only the direction of the data does. */
static void prepare_queue(struct disk *disk)
{
	struct disk_descriptor *d = disk->descriptors;

	d[0] = (struct disk_descriptor){.address = (uintptr_t)&disk->request,
	                                .size = sizeof(disk->request),
	                                .flags = DESCRIPTOR_NEXT,
	                                .next = 1};
	d[1] = (struct disk_descriptor){
	        .address = (uintptr_t)&disk->buffer, .size = DISK_SECTOR_SIZE, .next = 2};
	d[2] = (struct disk_descriptor){
	        .address = (uintptr_t)&disk->status, .size = 1, .flags = DESCRIPTOR_WRITE};

	io_write32(disk->base + REG_QUEUE_SELECT, 0);
	io_write32(disk->base + REG_QUEUE_SIZE, DISK_QUEUE_SIZE);
	set_address(disk->base + REG_QUEUE_DESCRIPTORS, disk->descriptors);
	set_address(disk->base + REG_QUEUE_AVAILABLE, &disk->available);
	set_address(disk->base + REG_QUEUE_USED, &disk->used);
	io_write32(disk->base + REG_QUEUE_READY, 1);
}

/* The initialization of virtio 1.x, section 3.1.1. Read-only devices are put back untouched. */
static bool bring_up(struct disk *disk, uint64_t base)
{
	uint32_t status = STATUS_ACKNOWLEDGE | STATUS_DRIVER;

	io_write32(base + REG_STATUS, 0);
	io_write32(base + REG_STATUS, STATUS_ACKNOWLEDGE);
	io_write32(base + REG_STATUS, status);
	if ((features(base, 0) & FEATURE_BLOCK_READ_ONLY) ||
	    !(features(base, 1) & FEATURE_HIGH_VERSION_1)) {
		io_write32(base + REG_STATUS, 0);
		return false;
	}
	accept_features(base, 0, 0);
	accept_features(base, 1, FEATURE_HIGH_VERSION_1);
	status |= STATUS_FEATURES_OK;
	io_write32(base + REG_STATUS, status);

	disk->sectors =
	        io_read32(base + REG_CAPACITY) | (uint64_t)io_read32(base + REG_CAPACITY + 4) << 32;
	io_write32(base + REG_QUEUE_SELECT, 0);
	if (!(io_read32(base + REG_STATUS) & STATUS_FEATURES_OK) || disk->sectors < MIN_SECTORS ||
	    io_read32(base + REG_QUEUE_SIZE_MAX) < DISK_QUEUE_SIZE) {
		io_write32(base + REG_STATUS, status | STATUS_FAILED);
		return false;
	}
	disk->base = base;
	prepare_queue(disk);
	io_write32(base + REG_STATUS, status | STATUS_DRIVER_OK);
	return true;
}

/*
 * QEMU's microvm has its transports at fixed places, and tells of them by ACPI, which is too much
 * for this guest (hw/i386/microvm.c; the pins are those with ACPI and one I/O APIC).
 */
static bool find_on_microvm(struct disk *disk)
{
	for (uint32_t i = 0; i < MICROVM_TRANSPORTS; i++) {
		uint64_t base = MICROVM_TRANSPORT + (uint64_t)i * MICROVM_TRANSPORT_SIZE;

		if (is_block_device(base) && bring_up(disk, base)) {
			irq_enable(MICROVM_TRANSPORT_PIN + i);
			return true;
		}
	}
	return false;
}

bool disk_find(struct disk *disk, const char *cmdline, bool microvm)
{
	memset(disk, 0, sizeof(*disk));
	if (microvm && find_on_microvm(disk))
		return true;
	/* The value is SIZE@BASE:PIN, as in Linux's drivers/virtio/virtio_mmio.c. */
	while ((cmdline = boot_find_value(cmdline, "virtio_mmio.device="))) {
		uint64_t base, pin = UINT32_MAX;

		while (*cmdline && *cmdline != ' ' && *cmdline != '@')
			cmdline++;
		if (*cmdline != '@')
			continue;
		cmdline++;
		base = boot_take_number(&cmdline);
		if (*cmdline == ':') {
			cmdline++;
			pin = boot_take_number(&cmdline);
		}
		if (base && is_block_device(base) && bring_up(disk, base)) {
			irq_enable((uint32_t)pin);
			return true;
		}
	}
	memset(disk, 0, sizeof(*disk));
	return false;
}

/* Sleep until the device has answered everything it was asked; bounded by the timer. */
static bool wait_idle(const struct disk *disk)
{
	uint32_t start = irq_timer_count;

	while (disk->used.index != disk->available.index) {
		if (irq_timer_count - start > PATIENCE_TICKS)
			return false;
		irq_sleep();
	}
	return true;
}

/* Hand over what the descriptors say and wait for the answer. */
static bool transfer(struct disk *disk, uint32_t type, uint64_t sector, uint16_t data_flags)
{
	disk->request = (struct disk_request){.type = type, .sector = sector};
	disk->descriptors[1].flags = data_flags;
	disk->status = REQUEST_UNANSWERED;
	/* The ring is all zeros for good: every request begins with descriptor 0. */
	io_barrier();
	disk->available.index++;
	io_barrier();
	io_write32(disk->base + REG_QUEUE_NOTIFY, 0);
	if (!wait_idle(disk))
		return false;
	io_write32(disk->base + REG_INTERRUPT_ACK, 3);
	return disk->status == REQUEST_OK;
}

bool disk_write(struct disk *disk, uint64_t sector, const char magic[8], uint64_t value)
{
	/* Not before an earlier request that timed out has let go of the buffer. */
	if (!wait_idle(disk))
		return false;
	mem_fill64(&disk->buffer, 0, DISK_SECTOR_SIZE / 8);
	memcpy(disk->buffer.magic, magic, 8);
	disk->buffer.value = value;
	return transfer(disk, REQUEST_WRITE, sector, DESCRIPTOR_NEXT);
}

bool disk_read(struct disk *disk, uint64_t sector)
{
	if (!wait_idle(disk))
		return false;
	/* A device that answers without reading must not pass off what was there before. */
	mem_fill64(&disk->buffer, UINT64_MAX, DISK_SECTOR_SIZE / 8);
	return transfer(disk, REQUEST_READ, sector, DESCRIPTOR_NEXT | DESCRIPTOR_WRITE);
}

bool disk_holds(const struct disk *disk, const char magic[8], uint64_t value)
{
	const struct disk_sector *s = &disk->buffer;
	uint64_t rest = 0;

	for (unsigned int i = 0; i < sizeof(s->rest) / sizeof(s->rest[0]); i++)
		rest |= s->rest[i];
	return disk_has_magic(disk, magic) && s->value == value && rest == 0;
}

bool disk_has_magic(const struct disk *disk, const char magic[8])
{
	for (int i = 0; i < 8; i++) {
		if (disk->buffer.magic[i] != magic[i])
			return false;
	}
	return true;
}
