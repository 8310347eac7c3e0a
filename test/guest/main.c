/* SPDX-License-Identifier: Apache-2.0 */
#include "guest.h"
#include "io.h"
#include "irq.h"
#include "mem.h"
#include "serial.h"

enum {
	TICK_MS = 100,
	PAGE_SIZE = 4096,
	PAGE_WORDS_FILLED = 4, /* enough to make a page dirty; whole pages take 0.1 s per MiB */
};

/* Called by entry.S. */
_Noreturn void guest_main(uint64_t boot_table, enum boot_kind kind);

/* Dirty the memory from 2 MiB on, each page with its own address; what does not exist is left out.
 */
static void fill_memory(const struct boot_info *boot, uint64_t mib)
{
	uint64_t page = 0x200000;
	uint64_t pages = mib * (0x100000 / PAGE_SIZE);

	for (; pages > 0 && page + PAGE_SIZE <= boot->memory_low_end; pages--) {
		mem_fill64(io_phys(page), page, PAGE_WORDS_FILLED);
		page += PAGE_SIZE;
	}
}

static void start(struct guest *g)
{
	const char *mib = boot_find_value(g->boot.cmdline, "memfill=");

	g->marker = '-';
	serial_init();
	irq_init(TICK_MS);
	irq_enable(IRQ_SERIAL);
	irq_enable(IRQ_KEYBOARD);
	g->stubborn = boot_has_word(g->boot.cmdline, "stubborn");
	g->quiet = boot_has_word(g->boot.cmdline, "quiet");
	if (mib)
		fill_memory(&g->boot, boot_take_number(&mib));
	serial_text("vmctl-guest ready\n");
	g->microvm = disk_is_microvm(g->boot.cmdline);
	if (!disk_find(&g->disk, g->boot.cmdline, g->microvm))
		serial_text("no disk\n");
}

/* What is wrong with the disk, or NULL; the counter is on it afterwards. */
static const char *save_count(struct guest *g)
{
	if (!disk_write(&g->disk, GUEST_SECTOR_COUNT, GUEST_MAGIC_COUNT, g->count))
		return "write";
	if (!disk_read(&g->disk, GUEST_SECTOR_COUNT))
		return "read";
	if (!disk_holds(&g->disk, GUEST_MAGIC_COUNT, g->count))
		return "mismatch";
	return 0;
}

/* The line comes last: who has seen "tick N" finds at least N on the disk. */
static void tick(struct guest *g)
{
	const char *trouble = 0;

	g->count++;
	if (g->disk.base)
		trouble = save_count(g);
	if (trouble) {
		serial_text("disk error ");
		serial_text(trouble);
		serial_text(" sector 8\n");
	}
	if (g->quiet)
		return;
	serial_text("tick ");
	serial_u64(g->count);
	serial_put('\n');
}

static void check_keys(struct guest *g)
{
	if (!power_key_pressed(&g->keys) && !(g->microvm && power_button_pressed()))
		return;
	if (g->stubborn) {
		serial_text("ctrl-alt-del ignored\n");
		return;
	}
	serial_text("ctrl-alt-del\n");
	power_off();
}

void guest_main(uint64_t boot_table, enum boot_kind kind)
{
	static struct guest guest;
	uint32_t seen;

	boot_read(boot_table, kind, &guest.boot);
	start(&guest);
	for (seen = irq_timer_count;;) {
		if (seen != irq_timer_count) {
			seen = irq_timer_count;
			tick(&guest);
			serial_listen();
		}
		check_keys(&guest);
		guest_take_commands(&guest);
		if (seen == irq_timer_count)
			irq_sleep();
	}
}
