/* SPDX-License-Identifier: Apache-2.0 */
#include "power.h"

#include "io.h"
#include "irq.h"

enum {
	PORT_DATA = 0x60,
	PORT_STATUS = 0x64,
	PORT_COMMAND = 0x64,
	STATUS_DATA_READY = 0x01,
	STATUS_NO_CONTROLLER = 0xff, /* what an empty port reads as */
	COMMAND_RESET = 0xfe,

	/* Scan code set 2, as Firecracker's SendCtrlAltDel types; it never releases a key. */
	KEY_CONTROL = 0x14,
	KEY_ALT = 0x11,
	KEY_EXTENDED = 0xe0,
	KEY_EXTENDED_DELETE = 0x71,

	BUFFER_SIZE = 16, /* Firecracker's; bounds the loop */
	RESET_TICKS = 10,

	MICROVM_POWER_DOWN = 0x2, /* reading the events takes them */
};

/* The generic event device of ACPI on QEMU's microvm: include/hw/acpi/generic_event_device.h. */
#define MICROVM_EVENTS 0xfea00000ULL

bool power_button_pressed(void)
{
	return (io_read32(MICROVM_EVENTS) & MICROVM_POWER_DOWN) != 0;
}

bool power_key_pressed(struct power_keys *keys)
{
	for (int i = 0; i < BUFFER_SIZE; i++) {
		uint8_t status = io_in8(PORT_STATUS);
		uint8_t key;
		bool extended = keys->extended;

		if (status == STATUS_NO_CONTROLLER || !(status & STATUS_DATA_READY))
			return false;
		key = io_in8(PORT_DATA);
		keys->extended = key == KEY_EXTENDED;
		keys->control |= key == KEY_CONTROL;
		keys->alt |= key == KEY_ALT;
		if (extended && key == KEY_EXTENDED_DELETE && keys->control && keys->alt) {
			*keys = (struct power_keys){0};
			return true;
		}
	}
	return false;
}

void power_off(void)
{
	uint32_t start = irq_timer_count;

	io_out8(PORT_COMMAND, COMMAND_RESET);
	while (irq_timer_count - start < RESET_TICKS)
		irq_sleep();
	/* No such controller: QEMU with -no-reboot ends on a triple fault as well. */
	power_crash();
}

void power_crash(void)
{
	for (;;)
		irq_break();
}
