/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupts by local APIC and I/O APIC, which Firecracker and QEMU's microvm both have; the old
 * interrupt controllers are masked.
 *
 * Interrupts are off except inside irq_sleep(). So whoever looks at a device and then sleeps cannot
 * miss what happens in between: the interrupt stays pending and ends the sleep.
 */
#ifndef GUEST_IRQ_H
#define GUEST_IRQ_H

#include <stdint.h>

enum {
	IRQ_KEYBOARD = 1,
	IRQ_SERIAL = 4,
};

/* Interrupts of the periodic timer since boot; wraps. */
extern volatile uint32_t irq_timer_count;

/* Set up the controllers and start the timer with the given period. */
void irq_init(uint32_t period_ms);
/* Let an I/O APIC pin end irq_sleep(); a pin that does not exist is ignored. */
void irq_enable(uint32_t pin);
/* Sleep until an interrupt, at most until the next one of the timer. */
void irq_sleep(void);
/* Take the interrupt table away: the next exception shuts the CPU down (triple fault). */
void irq_break(void);

#endif
