/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One virtio block device behind virtio-mmio (virtio 1.x, sections 4.2 and 5.2), one request at a
 * time, one sector per request.
 */
#ifndef GUEST_DISK_H
#define GUEST_DISK_H

#include <stdbool.h>
#include <stdint.h>

enum {
	DISK_SECTOR_SIZE = 512,
	DISK_QUEUE_SIZE = 4, /* a request takes 3 descriptors; a power of two */
};

/* One sector as the guest uses it: magic, number, zeros. */
struct disk_sector {
	char magic[8];
	uint64_t value; /* little endian, as is the CPU */
	uint64_t rest[(DISK_SECTOR_SIZE - 16) / 8];
};

struct disk_descriptor {
	uint64_t address;
	uint32_t size;
	uint16_t flags;
	uint16_t next;
};

struct disk_available {
	uint16_t flags;
	uint16_t index;
	uint16_t ring[DISK_QUEUE_SIZE];
	uint16_t event;
};

struct disk_used {
	uint16_t flags;
	uint16_t index;
	struct {
		uint32_t id;
		uint32_t size;
	} ring[DISK_QUEUE_SIZE];
	uint16_t event;
};

struct disk_request {
	uint32_t type;
	uint32_t reserved;
	uint64_t sector;
};

/* The device reads and writes this memory: a struct disk must not move after disk_find(). */
struct disk {
	_Alignas(16) struct disk_descriptor descriptors[DISK_QUEUE_SIZE];
	_Alignas(16) struct disk_available available;
	_Alignas(16) volatile struct disk_used used;
	_Alignas(16) struct disk_request request;
	_Alignas(16) struct disk_sector buffer;
	volatile uint8_t status;
	uint64_t base; /* of the registers; 0: no disk */
	uint64_t sectors;
};

/* Whether this is QEMU's microvm, and its kernel was told of no devices on the command line. */
bool disk_is_microvm(const char *cmdline);
/*
 * Bring up the first writable block device among the virtio_mmio.device= words of the command line,
 * or, on QEMU's microvm, at its fixed places.
 * False, and @disk zeroed, when there is none; disks of less than 10 sectors do not count.
 */
bool disk_find(struct disk *disk, const char *cmdline, bool microvm);
/*
 * Write a sector of magic, value and zeros, or read one into disk->buffer. False when the device
 * reports an error or does not answer within some 20 seconds. After that the next request waits for
 * the late answer first.
 */
bool disk_write(struct disk *disk, uint64_t sector, const char magic[8], uint64_t value);
bool disk_read(struct disk *disk, uint64_t sector);
/* Whether disk->buffer is what disk_write() would write, or at least begins with the magic. */
bool disk_holds(const struct disk *disk, const char magic[8], uint64_t value);
bool disk_has_magic(const struct disk *disk, const char magic[8]);

#endif
