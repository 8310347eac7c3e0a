/* SPDX-License-Identifier: Apache-2.0 */
#include "table.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "util.h"

int cli_grid_init(struct cli_grid *grid, const char *const *header, size_t columns, size_t rows,
                  struct vm_err *err)
{
	*grid = (struct cli_grid){.columns = columns, .rows = rows + 1};
	grid->cells = vm_calloc(grid->rows * columns, sizeof(*grid->cells), err);
	if (grid->cells == NULL)
		return -1;
	for (size_t i = 0; i < columns; i++) {
		grid->cells[i] = vm_strdup(header[i], err);
		if (grid->cells[i] == NULL)
			return -1;
	}
	return 0;
}

void cli_grid_put(struct cli_grid *grid, size_t row, size_t column, char *text)
{
	char **cell = &grid->cells[(row + 1) * grid->columns + column];

	assert(row + 1 < grid->rows && column < grid->columns && *cell == NULL);
	*cell = text;
}

/* Characters of UTF-8 text; all that we print takes one column each. */
static size_t text_width(const char *text)
{
	size_t width = 0;

	for (; *text != '\0'; text++)
		if (((unsigned char)*text & 0xc0) != 0x80)
			width++;
	return width;
}

static const char *cell_text(const struct cli_grid *grid, size_t row, size_t column)
{
	const char *text = grid->cells[row * grid->columns + column];

	return text != NULL && text[0] != '\0' ? text : "-";
}

static size_t column_width(const struct cli_grid *grid, size_t column)
{
	size_t widest = 0;

	for (size_t row = 0; row < grid->rows; row++) {
		size_t width = text_width(cell_text(grid, row, column));

		if (width > widest)
			widest = width;
	}
	return widest;
}

static void print_row(const struct cli_grid *grid, size_t row, const size_t *widths)
{
	for (size_t i = 0; i < grid->columns; i++) {
		const char *text = cell_text(grid, row, i);
		size_t width = text_width(text);
		size_t pad = widths != NULL && widths[i] > width ? widths[i] - width : 0;

		(void)printf("%s%*s%s", text, (int)pad, "", i + 1 < grid->columns ? "  " : "\n");
	}
}

void cli_grid_print_piece(const struct cli_grid *grid, bool header, size_t *widths)
{
	for (size_t i = 0; widths != NULL && i + 1 < grid->columns; i++) {
		size_t width = column_width(grid, i);

		if (width > widths[i])
			widths[i] = width;
	}
	for (size_t row = header ? 0 : 1; row < grid->rows; row++)
		print_row(grid, row, widths);
}

void cli_grid_print(const struct cli_grid *grid)
{
	struct vm_err err = {0};
	VM_AUTO_FREE size_t *widths = vm_calloc(grid->columns, sizeof(*widths), &err);

	cli_grid_print_piece(grid, true, widths);
}

void cli_grid_free(struct cli_grid *grid)
{
	for (size_t i = 0; grid->cells != NULL && i < grid->rows * grid->columns; i++)
		free(grid->cells[i]);
	free(grid->cells);
	*grid = (struct cli_grid){0};
}
