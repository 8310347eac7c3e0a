/* SPDX-License-Identifier: Apache-2.0 */
#include "bar.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "util.h"

enum {
	/* Until there is something to go by, a guess at the time left would only frighten. */
	GUESS_AFTER_MS = 1000,
	SECOND_MS = 1000,
	MINUTE_S = 60,
	HOUR_S = 3600,
	FIELD_SIZE = 64,
	SHORTEST = 12, /* of what is cut: less says nothing */
};

#define DOTS "..."

/* --- pieces -------------------------------------------------------------------------------------
 */

/* Appends a piece of at most `columns` characters, with dots where it was cut. */
static void put(char buf[CLI_LINE_SIZE], const char *text, size_t columns)
{
	size_t used = strlen(buf), len = strlen(text), kept = len < columns ? len : columns;

	if (kept > CLI_LINE_SIZE - 1 - used)
		kept = CLI_LINE_SIZE - 1 - used;
	for (size_t i = 0; i < kept; i++) {
		unsigned char c = (unsigned char)text[i];

		if (len > kept && kept >= sizeof(DOTS) - 1 && i >= kept - (sizeof(DOTS) - 1))
			c = '.';
		buf[used + i] = (char)(c < 0x20 || c >= 0x7f ? '?' : c);
	}
	buf[used + kept] = '\0';
}

static size_t as_columns(int columns)
{
	if (columns < 1)
		return 1;
	return columns < CLI_LINE_COLUMNS ? (size_t)columns : CLI_LINE_COLUMNS;
}

/* "1.2G", but "350M": a fraction of so much is of no interest. */
static const char *short_size(uint64_t bytes, char buf[FIELD_SIZE])
{
	char *point;

	vm_size_format(bytes, buf, FIELD_SIZE);
	point = strchr(buf, '.');
	if (point != NULL && point - buf >= 3)
		memmove(point, point + 2, strlen(point + 2) + 1);
	return buf;
}

static const char *time_text(int64_t ms, char buf[FIELD_SIZE])
{
	double seconds = (double)ms / SECOND_MS;

	if (seconds < 2.0 * MINUTE_S)
		(void)snprintf(buf, FIELD_SIZE, "%.0f s", seconds);
	else if (seconds < 2.0 * HOUR_S)
		(void)snprintf(buf, FIELD_SIZE, "%.0f min", seconds / MINUTE_S);
	else
		(void)snprintf(buf, FIELD_SIZE, "%.0f h", seconds / HOUR_S);
	return buf;
}

/* --- a bar --------------------------------------------------------------------------------------
 */

char *cli_bar_amount(const struct cli_bar *bar, char *buf, size_t size)
{
	char done[FIELD_SIZE], total[FIELD_SIZE];

	if (bar->unit != NULL)
		(void)snprintf(buf, size, "%" PRIu64 " of %" PRIu64 " %s", bar->done, bar->total,
		               bar->unit);
	else
		(void)snprintf(buf, size, "%s / %s", short_size(bar->done, done),
		               short_size(bar->total, total));
	return buf;
}

/* What is behind the bar. */
struct fields {
	char amount[FIELD_SIZE + 16], rate[FIELD_SIZE + 8], left[FIELD_SIZE + 8];
};

static void fill_fields(const struct cli_bar *bar, struct fields *fields)
{
	double per_ms;
	char text[FIELD_SIZE];

	(void)cli_bar_amount(bar, fields->amount, sizeof(fields->amount));
	fields->rate[0] = fields->left[0] = '\0';
	if (bar->blind) {
		(void)snprintf(fields->amount, sizeof(fields->amount), "%s",
		               short_size(bar->total, text));
		(void)snprintf(fields->left, sizeof(fields->left), "%s so far",
		               time_text(bar->elapsed_ms, text));
		return;
	}
	if (bar->elapsed_ms < GUESS_AFTER_MS || bar->done == 0 || bar->done >= bar->total)
		return;
	per_ms = (double)bar->done / (double)bar->elapsed_ms;
	if (bar->unit == NULL)
		(void)snprintf(fields->rate, sizeof(fields->rate), "%s/s",
		               short_size((uint64_t)(per_ms * SECOND_MS), text));
	(void)snprintf(fields->left, sizeof(fields->left), "%s left",
	               time_text((int64_t)((double)(bar->total - bar->done) / per_ms), text));
}

/* Of a field that is there, with what separates it from the one before. */
static size_t width_of(const char *field)
{
	return field[0] != '\0' ? 2 + strlen(field) : 0;
}

static void put_field(char buf[CLI_LINE_SIZE], const char *field)
{
	if (field[0] == '\0')
		return;
	put(buf, "  ", 2);
	put(buf, field, CLI_LINE_SIZE);
}

/* Only widths that are far from each other: else it would jump as the numbers get longer. */
static size_t choose_cells(size_t room)
{
	static const size_t widths[] = {30, 20, 10};

	for (size_t i = 0; i < VM_ARRAY_LEN(widths); i++)
		if (widths[i] + 4 <= room)
			return widths[i];
	return 0;
}

static void put_bar(char buf[CLI_LINE_SIZE], const struct cli_bar *bar, size_t cells, bool utf8)
{
	size_t full = cells;

	if (bar->done < bar->total)
		full = (size_t)((double)bar->done / (double)bar->total * (double)cells);
	put(buf, "  [", 3);
	for (size_t i = 0; i < cells; i++) {
		const char *cell = utf8 ? (i < full ? "\u2588" : "\u2591") : i < full ? "#" : "-";

		(void)strncat(buf, cell, CLI_LINE_SIZE - 1 - strlen(buf));
	}
	put(buf, "]", 1);
}

char *cli_bar_line(const struct cli_bar *bar, int columns, bool utf8, char buf[CLI_LINE_SIZE])
{
	size_t room = as_columns(columns), behind, cells = 0, what = strlen(bar->what);
	struct fields fields;

	fill_fields(bar, &fields);
	behind = width_of(fields.amount) + width_of(fields.rate) + width_of(fields.left);
	if (what + behind <= room)
		cells = bar->total > 0 && !bar->blind ? choose_cells(room - what - behind) : 0;
	if (what + behind > room) {
		behind -= width_of(fields.rate);
		fields.rate[0] = '\0';
	}
	buf[0] = '\0';
	if (behind + SHORTEST > room) { /* a terminal for ants */
		put(buf, bar->what, room);
		return buf;
	}
	put(buf, bar->what, room - behind);
	if (cells > 0)
		put_bar(buf, bar, cells, utf8);
	put_field(buf, fields.amount);
	put_field(buf, fields.rate);
	put_field(buf, fields.left);
	return buf;
}

/* --- a wait, and other texts --------------------------------------------------------------------
 */

char *cli_wait_line(const struct cli_wait *wait, int columns, char buf[CLI_LINE_SIZE])
{
	char what[CLI_LINE_SIZE], times[2 * FIELD_SIZE + 32], text[FIELD_SIZE];
	size_t room = as_columns(columns), behind;
	int len;

	(void)snprintf(what, sizeof(what), "%s%swaiting for %s",
	               wait->before != NULL ? wait->before : "", wait->before != NULL ? ", " : "",
	               wait->what);
	len = snprintf(times, sizeof(times), "; %s so far", time_text(wait->elapsed_ms, text));
	if (wait->left_ms >= 0)
		(void)snprintf(times + len, sizeof(times) - (size_t)len, ", %s left",
		               time_text(wait->left_ms, text));
	behind = strlen(times);
	if (behind + SHORTEST > room)
		behind = 0;
	buf[0] = '\0';
	put(buf, what, room - behind);
	if (wait->note[0] != '\0' && strlen(buf) + SHORTEST <= room - behind) {
		put(buf, ": ", 2);
		put(buf, wait->note, room - behind - strlen(buf));
	}
	put(buf, times, behind);
	return buf;
}

char *cli_text_line(const char *text, int columns, char buf[CLI_LINE_SIZE])
{
	buf[0] = '\0';
	put(buf, text, as_columns(columns));
	return buf;
}
