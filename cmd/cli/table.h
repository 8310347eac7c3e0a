/* SPDX-License-Identifier: Apache-2.0 */
/* A table for people: columns as wide as their widest cell, two spaces between them. */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "err.h"

struct cli_grid {
	size_t columns, rows;
	char **cells; /* rows * columns, owned; NULL is shown as "-" */
};

/* The first row is the header. Returns 0 or -1 (insufficient_resources). */
int cli_grid_init(struct cli_grid *grid, const char *const *header, size_t columns, size_t rows,
                  struct vm_err *err);
/* Puts a cell in place and takes over `text`, which may be NULL. */
void cli_grid_put(struct cli_grid *grid, size_t row, size_t column, char *text);
void cli_grid_print(const struct cli_grid *grid);
/*
 * For a table that comes in pieces: `widths` (one a column, 0 in the beginning) is kept from piece
 * to piece and only grows, so that the pieces stand below each other. The first has the header.
 */
void cli_grid_print_piece(const struct cli_grid *grid, bool header, size_t *widths);
void cli_grid_free(struct cli_grid *grid);

#endif
