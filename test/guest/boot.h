/* SPDX-License-Identifier: Apache-2.0 */
/* What the hypervisor says at boot: the command line and the size of memory. */
#ifndef GUEST_BOOT_H
#define GUEST_BOOT_H

#include <stdbool.h>
#include <stdint.h>

/* How the guest was entered; entry.S has the same numbers. */
enum boot_kind {
	BOOT_ZERO_PAGE = 0, /* Linux boot protocol, 64-bit entry */
	BOOT_PVH = 1,
};

struct boot_info {
	enum boot_kind kind;
	const char *cmdline; /* never NULL */
	uint64_t memory_bytes;
	uint64_t memory_low_end; /* end of the usable memory that begins at or below 2 MiB, or 0 */
};

/* Read the zero page or the struct hvm_start_info at physical address @table. */
void boot_read(uint64_t table, enum boot_kind kind, struct boot_info *ret_info);
/* Whether the command line has exactly this word. */
bool boot_has_word(const char *cmdline, const char *word);
/*
 * The text after @key (which includes its '=') in the first word that begins with it, or NULL.
 * Start again with the returned text for the next such word.
 */
const char *boot_find_value(const char *cmdline, const char *key);
/* Read a number, hexadecimal after 0x; @text is left behind it. Digits that do not fit are lost. */
uint64_t boot_take_number(const char **text);

#endif
