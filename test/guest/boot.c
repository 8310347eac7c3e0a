/* SPDX-License-Identifier: Apache-2.0 */
#include "boot.h"

#include <stddef.h>

#include "io.h"

enum {
	/* Linux Documentation/arch/x86/zero-page.rst */
	ZERO_PAGE_E820_COUNT = 0x1e8,
	ZERO_PAGE_CMDLINE = 0x228,
	ZERO_PAGE_E820 = 0x2d0,
	E820_ENTRY_SIZE = 20,

	/* Xen public/arch-x86/hvm/start_info.h; the memory map is there from version 1 on */
	START_INFO_VERSION = 4,
	START_INFO_CMDLINE = 24,
	START_INFO_MEMORY_MAP = 40,
	START_INFO_MEMORY_MAP_COUNT = 48,
	MEMORY_MAP_ENTRY_SIZE = 24,

	MEMORY_USABLE = 1, /* in both formats */
};

#define MEMFILL_START 0x200000ULL /* guest.lds */

/* One entry of either memory map; only the distance between entries differs. */
struct boot_memory {
	uint64_t address;
	uint64_t size;
	uint32_t type;
} __attribute__((packed));

static void read_memory_map(uint64_t map, uint32_t count, uint32_t entry_size,
                            struct boot_info *info)
{
	for (uint32_t i = 0; i < count; i++) {
		const struct boot_memory *m = io_phys(map + (uint64_t)i * entry_size);

		if (m->type != MEMORY_USABLE)
			continue;
		info->memory_bytes += m->size;
		if (m->address <= MEMFILL_START && m->address + m->size > MEMFILL_START)
			info->memory_low_end = m->address + m->size;
	}
}

void boot_read(uint64_t table, enum boot_kind kind, struct boot_info *ret_info)
{
	uint64_t cmdline;

	*ret_info = (struct boot_info){.kind = kind};
	if (kind == BOOT_PVH) {
		cmdline = io_read64(table + START_INFO_CMDLINE);
		if (io_read32(table + START_INFO_VERSION) >= 1)
			read_memory_map(io_read64(table + START_INFO_MEMORY_MAP),
			                io_read32(table + START_INFO_MEMORY_MAP_COUNT),
			                MEMORY_MAP_ENTRY_SIZE, ret_info);
	} else {
		const uint8_t *count = io_phys(table + ZERO_PAGE_E820_COUNT);

		cmdline = io_read32(table + ZERO_PAGE_CMDLINE);
		read_memory_map(table + ZERO_PAGE_E820, *count, E820_ENTRY_SIZE, ret_info);
	}
	ret_info->cmdline = cmdline ? io_phys(cmdline) : "";
}

/* The text behind @prefix, or NULL when @text does not begin with it. */
static const char *after_prefix(const char *text, const char *prefix)
{
	while (*prefix) {
		if (*text++ != *prefix++)
			return NULL;
	}
	return text;
}

static const char *next_word(const char *text)
{
	while (*text && *text != ' ')
		text++;
	while (*text == ' ')
		text++;
	return text;
}

bool boot_has_word(const char *cmdline, const char *word)
{
	for (; *cmdline; cmdline = next_word(cmdline)) {
		const char *end = after_prefix(cmdline, word);

		if (end && (*end == ' ' || *end == '\0'))
			return true;
	}
	return false;
}

const char *boot_find_value(const char *cmdline, const char *key)
{
	for (; *cmdline; cmdline = next_word(cmdline)) {
		const char *value = after_prefix(cmdline, key);

		if (value)
			return value;
	}
	return NULL;
}

static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return 16;
}

uint64_t boot_take_number(const char **text)
{
	const char *hex = after_prefix(*text, "0x");
	unsigned int base = hex ? 16 : 10;
	uint64_t value = 0;

	if (hex)
		*text = hex;
	for (;;) {
		unsigned int digit = (unsigned int)digit_value(**text);

		if (digit >= base)
			return value;
		value = value * base + digit;
		(*text)++;
	}
}
