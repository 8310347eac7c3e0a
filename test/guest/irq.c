/* SPDX-License-Identifier: Apache-2.0 */
#include "irq.h"

#include "io.h"

/* Intel SDM volume 3, "Advanced Programmable Interrupt Controller"; 82093AA data sheet. */
enum {
	LAPIC_SPURIOUS = 0x0f0,
	LAPIC_LVT_TIMER = 0x320,
	LAPIC_TIMER_COUNT = 0x380,
	LAPIC_TIMER_DIVIDE = 0x3e0,
	SPURIOUS_APIC_ENABLED = 0x100,
	LVT_PERIODIC = 0x20000,
	DIVIDE_BY_128 = 0xa,

	IOAPIC_SELECT = 0x00,
	IOAPIC_DATA = 0x10,
	IOAPIC_VERSION = 1,
	IOAPIC_REDIRECTION = 0x10,

	PIC_MASTER_DATA = 0x21,
	PIC_SLAVE_DATA = 0xa1,

	VECTOR_TIMER = 0x20,
	VECTOR_WAKE = 0x30,
	VECTOR_SPURIOUS = 0x3f, /* the last: it sizes the table */
	VECTORS,

	GATE_INTERRUPT = 0x8e00, /* present, 64-bit interrupt gate */
	SELECTOR_CODE = 8,       /* entry.S */

	/* KVM's local APIC runs at 1 GHz (KVM_CAP_X86_APIC_BUS_CYCLES_NS), QEMU's own as well. */
	TIMER_COUNTS_PER_MS = 1000000 / 128,
};

#define LAPIC 0xfee00000ULL
#define IOAPIC 0xfec00000ULL

struct irq_gate {
	uint16_t offset_low;
	uint16_t selector;
	uint16_t flags;
	uint16_t offset_middle;
	uint32_t offset_high;
	uint32_t reserved;
};

struct irq_table_pointer {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

void irq_stub_timer(void);
void irq_stub_wake(void);
void irq_stub_spurious(void);

volatile uint32_t irq_timer_count;

/* What the CPU looks up; exceptions have no gate, so a bug in the guest ends in a triple fault. */
static struct irq_gate gates[VECTORS] __attribute__((aligned(16)));

static void set_gate(uint32_t vector, void (*stub)(void))
{
	uint64_t address = (uintptr_t)stub;

	gates[vector] = (struct irq_gate){
	        .offset_low = (uint16_t)address,
	        .selector = SELECTOR_CODE,
	        .flags = GATE_INTERRUPT,
	        .offset_middle = (uint16_t)(address >> 16),
	        .offset_high = (uint32_t)(address >> 32),
	};
}

static void load_table(uint64_t base, uint16_t limit)
{
	struct irq_table_pointer pointer = {.limit = limit, .base = base};

	__asm__ volatile("lidt %0" : : "m"(pointer));
}

static uint32_t ioapic_read(uint32_t index)
{
	io_write32(IOAPIC + IOAPIC_SELECT, index);
	return io_read32(IOAPIC + IOAPIC_DATA);
}

static void ioapic_write(uint32_t index, uint32_t value)
{
	io_write32(IOAPIC + IOAPIC_SELECT, index);
	io_write32(IOAPIC + IOAPIC_DATA, value);
}

void irq_init(uint32_t period_ms)
{
	io_out8(PIC_MASTER_DATA, 0xff);
	io_out8(PIC_SLAVE_DATA, 0xff);

	set_gate(VECTOR_TIMER, irq_stub_timer);
	set_gate(VECTOR_WAKE, irq_stub_wake);
	set_gate(VECTOR_SPURIOUS, irq_stub_spurious);
	load_table((uintptr_t)gates, sizeof(gates) - 1);

	io_write32(LAPIC + LAPIC_SPURIOUS, SPURIOUS_APIC_ENABLED | VECTOR_SPURIOUS);
	/* Periodic, not one-shot: a lost interrupt costs one tick and not all that follow. */
	io_write32(LAPIC + LAPIC_TIMER_DIVIDE, DIVIDE_BY_128);
	io_write32(LAPIC + LAPIC_LVT_TIMER, LVT_PERIODIC | VECTOR_TIMER);
	io_write32(LAPIC + LAPIC_TIMER_COUNT, period_ms * TIMER_COUNTS_PER_MS);
}

void irq_enable(uint32_t pin)
{
	uint32_t last = (ioapic_read(IOAPIC_VERSION) >> 16) & 0xff;

	if (pin > last)
		return;
	/* Edge triggered, active high, to the CPU with APIC id 0. */
	ioapic_write(IOAPIC_REDIRECTION + 2 * pin + 1, 0);
	ioapic_write(IOAPIC_REDIRECTION + 2 * pin, VECTOR_WAKE);
}

void irq_sleep(void)
{
	/* sti takes effect after the next instruction: no interrupt can slip in before hlt. */
	__asm__ volatile("sti\n\thlt\n\tcli" : : : "memory");
}

void irq_break(void)
{
	load_table(0, 0);
	__asm__ volatile("ud2");
}
