/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table for people: columns as wide as their widest cell, two spaces between them.
 *
 * On a terminal it is never wider than that. What does not fit gives way in this order: moments are
 * told shortly ("3h ago"), columns that may shrink are cut, columns that may go are left out, and
 * at last every column is cut, and goes if need be, from the right. Anywhere else everything is
 * printed. Nothing in a cell commands the terminal.
 */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "colour.h"
#include "err.h"

enum { CLI_COLUMNS_MAX = 32 };

/* How a column gives way when the table is too wide. */
struct cli_column {
	size_t least;  /* may be cut to this width; 0: it is not cut */
	unsigned rank; /* may be left out, that with the highest rank first; 0: it stays */
	bool moment;   /* its cells are cli_when()'s */
};

struct cli_grid {
	size_t columns, rows;
	char **cells;                   /* rows * columns, in `texts`; NULL is shown as "-" */
	struct cli_grid_texts *texts;   /* owned */
	unsigned char *colours;         /* rows * columns, enum cli_colour; owned */
	const struct cli_column *gives; /* how each column gives way; NULL: none before all do */
	bool narrow;                    /* printed on a terminal: only what the locale can show */
};

/* The first row is the header. Returns 0 or -1 (insufficient_resources). */
int cli_grid_init(struct cli_grid *grid, const char *const *header, size_t columns, size_t rows,
                  struct vm_err *err);
/* Puts a cell in place and takes over `text`, which may be NULL. */
void cli_grid_put(struct cli_grid *grid, size_t row, size_t column, char *text);
/* The same with a copy of `text`: quicker, where there are thousands. */
void cli_grid_copy(struct cli_grid *grid, size_t row, size_t column, const char *text);
void cli_grid_colour(struct cli_grid *grid, size_t row, size_t column, enum cli_colour colour);
void cli_grid_print(const struct cli_grid *grid);
/*
 * For a table that comes in pieces: `widths` (one a column, 0 in the beginning) is kept from piece
 * to piece and only grows, so that the pieces stand below each other. The first has the header.
 */
void cli_grid_print_piece(const struct cli_grid *grid, bool header, size_t *widths);
/* The same to any file, as on a terminal of `width` columns (0: none) with colours or without. */
void cli_grid_write(const struct cli_grid *grid, bool header, size_t *widths, size_t width,
                    bool coloured, FILE *out);
void cli_grid_free(struct cli_grid *grid);

#endif
