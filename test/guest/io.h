/* SPDX-License-Identifier: Apache-2.0 */
/* Ports, memory-mapped registers and physical addresses. */
#ifndef GUEST_IO_H
#define GUEST_IO_H

#include <stdint.h>

static inline void io_out8(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t io_in8(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

/* Memory is identity mapped: the physical address is the pointer. */
static inline void *io_phys(uint64_t address)
{
	return (void *)(uintptr_t)address; // NOLINT(performance-no-int-to-ptr)
}

static inline void io_write32(uint64_t address, uint32_t value)
{
	*(volatile uint32_t *)io_phys(address) = value;
}

static inline uint32_t io_read32(uint64_t address)
{
	return *(volatile uint32_t *)io_phys(address);
}

static inline uint64_t io_read64(uint64_t address)
{
	return *(volatile uint64_t *)io_phys(address);
}

/* Keeps the compiler from moving memory accesses; x86 keeps the order that a virtqueue needs. */
static inline void io_barrier(void)
{
	__asm__ volatile("" : : : "memory");
}

#endif
