/* SPDX-License-Identifier: Apache-2.0 */
#include "guest.h"
#include "serial.h"

enum {
	CMDLINE_SHOWN = 80, /* characters; the line shall stay short */
};

static void answer_count(const struct guest *g)
{
	serial_text("count ");
	serial_u64(g->count);
	serial_put('\n');
}

static void answer_sector(struct guest *g)
{
	serial_text("sector 8 ");
	if (!g->disk.base) {
		serial_text("no disk\n");
		return;
	}
	if (!disk_read(&g->disk, GUEST_SECTOR_COUNT)) {
		serial_text("error\n");
		return;
	}
	for (int i = 0; i < 8; i++)
		serial_put_visible(g->disk.buffer.magic[i]);
	serial_put(' ');
	serial_u64(g->disk.buffer.value);
	serial_put('\n');
}

static void set_marker(struct guest *g, char mark)
{
	if (mark <= ' ' || mark > '~') {
		serial_text("? m\n");
		return;
	}
	g->marker = mark;
	if (g->disk.base &&
	    !disk_write(&g->disk, GUEST_SECTOR_MARK, GUEST_MAGIC_MARK, (unsigned char)mark)) {
		serial_text("disk error write sector 9\n");
		return;
	}
	serial_text("marked ");
	serial_put(mark);
	serial_put('\n');
}

/* The marker on the disk, '-' for none, '!' for a disk that cannot be read. */
static char disk_marker(struct guest *g)
{
	if (!g->disk.base)
		return '-';
	if (!disk_read(&g->disk, GUEST_SECTOR_MARK))
		return '!';
	if (!disk_has_magic(&g->disk, GUEST_MAGIC_MARK))
		return '-';
	return *(const char *)&g->disk.buffer.value; /* its lowest byte */
}

static void answer_marker(struct guest *g)
{
	char on_disk = disk_marker(g);

	serial_text("marker mem=");
	serial_put(g->marker);
	serial_text(" disk=");
	serial_put_visible(on_disk);
	serial_put('\n');
}

static void answer_identity(const struct guest *g)
{
	const char *cmdline = g->boot.cmdline;

	serial_text("id mem=");
	/* The map leaves out what lies below 1 MiB in part: round up. */
	serial_u64((g->boot.memory_bytes + 0xfffff) >> 20);
	serial_text("M disk=");
	serial_u64(g->disk.sectors);
	serial_text(g->boot.kind == BOOT_PVH ? " entry=pvh cmdline=" : " entry=64 cmdline=");
	for (int i = 0; i < CMDLINE_SHOWN && cmdline[i]; i++) {
		if (cmdline[i] == ' ')
			serial_put(' ');
		else
			serial_put_visible(cmdline[i]);
	}
	serial_put('\n');
}

static void run_command(struct guest *g, char c)
{
	switch (c) {
	case '\n':
	case '\r':
		break;
	case 'c':
		answer_count(g);
		break;
	case 'r':
		answer_sector(g);
		break;
	case 'm':
		g->awaits_marker = true;
		break;
	case 'g':
		answer_marker(g);
		break;
	case 'i':
		answer_identity(g);
		break;
	case 'q':
		serial_text("power off\n");
		power_off();
	case 'h':
		serial_text("crash\n");
		power_crash();
	default:
		serial_text("? ");
		serial_put_visible(c);
		serial_put('\n');
	}
}

void guest_take_commands(struct guest *g)
{
	char c;

	while (serial_get(&c)) {
		if (g->awaits_marker) {
			g->awaits_marker = false;
			set_marker(g, c);
		} else {
			run_command(g, c);
		}
	}
}
