/* SPDX-License-Identifier: Apache-2.0 */
/* The keyboard controller (i8042): in a microVM, the way to be told to end, and to end. */
#ifndef GUEST_POWER_H
#define GUEST_POWER_H

#include <stdbool.h>
#include <stdint.h>

/* The keys held down, of those that matter. */
struct power_keys {
	bool control, alt, extended;
};

/* Read what was typed; true when it completed Ctrl-Alt-Del. */
bool power_key_pressed(struct power_keys *keys);
/* Whether the power button of QEMU's microvm was pressed since the last look. */
bool power_button_pressed(void);
/* Reset by the keyboard controller, which Firecracker takes as an orderly end (exit status 0). */
_Noreturn void power_off(void);
/* Shut the CPU down by a triple fault; Firecracker's exit status is 0 then as well. */
_Noreturn void power_crash(void);

#endif
