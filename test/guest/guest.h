/* SPDX-License-Identifier: Apache-2.0 */
/* The state of the guest, and the commands that look at it. See README.md for what it does. */
#ifndef GUEST_GUEST_H
#define GUEST_GUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "boot.h"
#include "disk.h"
#include "power.h"

enum {
	GUEST_SECTOR_COUNT = 8,
	GUEST_SECTOR_MARK = 9,
};

#define GUEST_MAGIC_COUNT "VMCTLCNT"
#define GUEST_MAGIC_MARK "VMCTLMRK"

struct guest {
	struct boot_info boot;
	struct disk disk;
	struct power_keys keys;
	uint64_t count; /* ticks since boot; goes on after a restore */
	char marker;    /* set by the command m; '-': none */
	bool awaits_marker;
	bool stubborn; /* Ctrl-Alt-Del and the power button are not for me */
	bool microvm;  /* of QEMU: it has a power button */
	bool quiet;    /* no tick lines */
};

/* Answer all commands that the serial port holds, one line each. */
void guest_take_commands(struct guest *g);

#endif
