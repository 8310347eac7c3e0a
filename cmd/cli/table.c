/* SPDX-License-Identifier: Apache-2.0 */
#include "table.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"
#include "util.h"

enum { GAP = 2 }; /* spaces between columns */

static const size_t left_out = SIZE_MAX; /* as a column's width */

/* --- what is in it ------------------------------------------------------------------------------
 */

/* The texts of the cells, one behind the other: a table of thousands has ten times as many. */
struct cli_grid_texts {
	struct cli_grid_texts *next;
	size_t used, size;
	char text[];
};

enum { TEXTS_SIZE = 16 * 1024 };

/* NULL: out of memory. */
static char *keep_text(struct cli_grid *grid, const char *text)
{
	struct cli_grid_texts *texts = grid->texts;
	size_t len = strlen(text) + 1;
	char *kept;

	if (texts == NULL || texts->size - texts->used < len) {
		size_t size = len > TEXTS_SIZE ? len : TEXTS_SIZE;

		texts = malloc(sizeof(*texts) + size);
		if (texts == NULL)
			return NULL;
		*texts = (struct cli_grid_texts){.next = grid->texts, .size = size};
		grid->texts = texts;
	}
	kept = memcpy(texts->text + texts->used, text, len);
	texts->used += len;
	return kept;
}

int cli_grid_init(struct cli_grid *grid, const char *const *header, size_t columns, size_t rows,
                  struct vm_err *err)
{
	assert(columns <= CLI_COLUMNS_MAX);
	*grid = (struct cli_grid){
	        .columns = columns, .rows = rows + 1, .narrow = cli_table_width() > 0};
	grid->cells = vm_calloc(grid->rows * columns, sizeof(*grid->cells), err);
	if (grid->cells == NULL)
		return -1;
	grid->colours = vm_calloc(grid->rows * columns, sizeof(*grid->colours), err);
	if (grid->colours == NULL)
		return -1;
	for (size_t i = 0; i < columns; i++) {
		grid->cells[i] = keep_text(grid, header[i]);
		if (grid->cells[i] == NULL)
			return vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES, "out of memory");
		grid->colours[i] = CLI_BOLD;
	}
	return 0;
}

void cli_grid_copy(struct cli_grid *grid, size_t row, size_t column, const char *text)
{
	char **cell = &grid->cells[(row + 1) * grid->columns + column];

	assert(row + 1 < grid->rows && column < grid->columns && *cell == NULL);
	*cell = keep_text(grid, text);
	if (*cell != NULL)
		cli_text_clean(*cell, grid->narrow);
}

void cli_grid_put(struct cli_grid *grid, size_t row, size_t column, char *text)
{
	if (text != NULL)
		cli_grid_copy(grid, row, column, text);
	free(text);
}

void cli_grid_colour(struct cli_grid *grid, size_t row, size_t column, enum cli_colour colour)
{
	assert(row + 1 < grid->rows && column < grid->columns);
	grid->colours[(row + 1) * grid->columns + column] = (unsigned char)colour;
}

void cli_grid_free(struct cli_grid *grid)
{
	while (grid->texts != NULL) {
		struct cli_grid_texts *next = grid->texts->next;

		free(grid->texts);
		grid->texts = next;
	}
	free(grid->cells);
	free(grid->colours);
	*grid = (struct cli_grid){0};
}

/* --- how wide it is -----------------------------------------------------------------------------
 */

static const char *cell_text(const struct cli_grid *grid, size_t row, size_t column)
{
	const char *text = grid->cells[row * grid->columns + column];

	return text != NULL && text[0] != '\0' ? text : "-";
}

static size_t column_width(const struct cli_grid *grid, size_t column)
{
	size_t widest = 0;

	for (size_t row = 0; row < grid->rows; row++) {
		size_t width = cli_text_width(cell_text(grid, row, column));

		if (width > widest)
			widest = width;
	}
	return widest;
}

static size_t total(const struct cli_grid *grid, const size_t *widths)
{
	size_t sum = 0;

	for (size_t i = 0; i < grid->columns; i++)
		if (widths[i] != left_out)
			sum += widths[i] + GAP;
	return sum > GAP ? sum - GAP : 0;
}

/* "3 hours ago" to "3h ago", "in 2 months" to "in 2mo", "just now" to "now", where it stands. */
static void shorten_moment(char *text)
{
	char *unit = strpbrk(text, "0123456789"), *rest;
	size_t keep;

	if (strcmp(text, "just now") == 0)
		memcpy(text, "now", sizeof("now"));
	if (unit == NULL)
		return;
	unit += strspn(unit, "0123456789");
	if (*unit != ' ')
		return;
	rest = unit + 1 + strcspn(unit + 1, " ");
	keep = strncmp(unit + 1, "mo", 2) == 0 ? 2 : 1; /* a month is no minute */
	memmove(unit, unit + 1, keep);
	memmove(unit + keep, rest, strlen(rest) + 1);
}

static void shorten_moments(const struct cli_grid *grid, size_t *widths)
{
	for (size_t i = 0; grid->gives != NULL && i < grid->columns; i++) {
		if (!grid->gives[i].moment || widths[i] == left_out)
			continue;
		for (size_t row = 1; row < grid->rows; row++)
			if (grid->cells[row * grid->columns + i] != NULL)
				shorten_moment(grid->cells[row * grid->columns + i]);
		widths[i] = column_width(grid, i);
	}
}

/* Takes width from the widest of those that can give some, until the table fits or none can. */
static void cut(const struct cli_grid *grid, size_t *widths, size_t width, bool all)
{
	while (total(grid, widths) > width) {
		size_t widest = left_out;

		for (size_t i = 0; i < grid->columns; i++) {
			size_t least = all ? 1 : grid->gives != NULL ? grid->gives[i].least : 0;

			if (widths[i] != left_out && least > 0 && widths[i] > least &&
			    (widest == left_out || widths[i] > widths[widest]))
				widest = i;
		}
		if (widest == left_out)
			return;
		widths[widest]--;
	}
}

/* The column that is missed least, or `left_out`. */
static size_t next_to_go(const struct cli_grid *grid, const size_t *widths)
{
	size_t found = left_out;

	for (size_t i = 0; grid->gives != NULL && i < grid->columns; i++)
		if (widths[i] != left_out && grid->gives[i].rank > 0 &&
		    (found == left_out || grid->gives[i].rank > grid->gives[found].rank))
			found = i;
	return found;
}

/* What was left out stays so in the next piece, whose columns could else not stand below these. */
static void fit(const struct cli_grid *grid, size_t *natural, size_t width, size_t *shown)
{
	size_t gone;

	memcpy(shown, natural, grid->columns * sizeof(*shown));
	if (width == 0 || total(grid, shown) <= width)
		return;
	shorten_moments(grid, natural);
	for (;;) {
		memcpy(shown, natural, grid->columns * sizeof(*shown));
		cut(grid, shown, width, false);
		gone = next_to_go(grid, natural);
		if (total(grid, shown) <= width || gone == left_out)
			break;
		natural[gone] = left_out;
	}
	cut(grid, shown, width, true);
	for (size_t i = grid->columns; i-- > 1 && total(grid, shown) > width;)
		natural[i] = shown[i] = left_out;
}

/* --- how it is printed --------------------------------------------------------------------------
 */

/* Not by printf(), which with thousands of cells takes longer than all else. */
static void write_blanks(size_t count, FILE *out)
{
	static const char blanks[] = "                                ";
	const size_t most = sizeof(blanks) - 1;

	for (; count > most; count -= most)
		(void)fwrite(blanks, 1, most, out);
	(void)fwrite(blanks, 1, count, out);
}

static void write_cell(const struct cli_grid *grid, size_t row, size_t column, size_t width,
                       bool last, bool coloured, FILE *out)
{
	enum cli_colour colour = grid->colours[row * grid->columns + column];
	const char *text = cell_text(grid, row, column), *mark = "";
	size_t len = strlen(text), used = cli_text_width(text);

	if (used > width) {
		mark = cli_utf8() ? "…" : "~";
		len = cli_text_fit(text, width - 1);
		used = cli_text_width(mark) + cli_text_width(text) - cli_text_width(text + len);
	}
	if (coloured)
		(void)fputs(cli_colour_on(colour, true), out);
	(void)fwrite(text, 1, len, out);
	if (mark[0] != '\0')
		(void)fputs(mark, out);
	if (coloured)
		(void)fputs(cli_colour_off(colour, true), out);
	if (!last)
		write_blanks(width - used + GAP, out);
}

static void write_row(const struct cli_grid *grid, size_t row, const size_t *widths, bool coloured,
                      FILE *out)
{
	size_t last = 0;

	for (size_t i = 0; i < grid->columns; i++)
		if (widths[i] != left_out)
			last = i;
	for (size_t i = 0; i <= last; i++)
		if (widths[i] != left_out)
			write_cell(grid, row, i, widths[i], i == last, coloured, out);
	(void)fputc('\n', out);
}

void cli_grid_write(const struct cli_grid *grid, bool header, size_t *widths, size_t width,
                    bool coloured, FILE *out)
{
	size_t shown[CLI_COLUMNS_MAX] = {0};

	for (size_t i = 0; i < grid->columns; i++) {
		size_t own = column_width(grid, i);

		if (own > widths[i])
			widths[i] = own;
	}
	fit(grid, widths, width, shown);
	for (size_t row = header ? 0 : 1; row < grid->rows; row++)
		write_row(grid, row, shown, coloured, out);
}

void cli_grid_print_piece(const struct cli_grid *grid, bool header, size_t *widths)
{
	cli_grid_write(grid, header, widths, cli_table_width(), cli_colours(), stdout);
}

void cli_grid_print(const struct cli_grid *grid)
{
	size_t widths[CLI_COLUMNS_MAX] = {0};

	cli_grid_print_piece(grid, true, widths);
}
