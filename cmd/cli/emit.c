/* SPDX-License-Identifier: Apache-2.0 */
/* Results that are objects or words, in the form that -o, --format and -0 ask for. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "table.h"
#include "util.h"
#include "yaml_text.h"

/* Digits of a number that is no integer: 12.3 is printed as that. */
#define DIGITS JSON_REAL_PRECISION(15)

static int out_of_memory(struct vm_err *err)
{
	return vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES, "out of memory");
}

static bool note_output(struct cli *cli, bool written)
{
	if (!written && cli->output_errno == 0)
		cli->output_errno = errno;
	return written;
}

bool cli_write(struct cli *cli, const void *data, size_t len)
{
	return note_output(cli, fwrite(data, 1, len, stdout) == len);
}

bool cli_flush(struct cli *cli)
{
	return note_output(cli, fflush(stdout) == 0);
}

void cli_print_word(const struct cli *cli, const char *word)
{
	(void)fputs(word, stdout);
	(void)putchar(cli->null ? '\0' : '\n');
}

/* --- by a template ------------------------------------------------------------------------------
 */

/* One row, from text with a tab between the cells; `object` NULL: the header. malloc'ed. */
static char *row_text(const struct cli *cli, const json_t *object, struct vm_err *err)
{
	char *text = NULL;
	size_t size = 0;
	int rc = 0;
	FILE *out = open_memstream(&text, &size);

	if (out != NULL && object == NULL)
		cli_format_write_header(&cli->format, out);
	else if (out != NULL)
		rc = cli_format_write(&cli->format, object, true, out, err);
	if (out != NULL && fclose(out) == 0 && rc == 0)
		return text;
	free(text);
	if (rc == 0)
		(void)out_of_memory(err);
	return NULL;
}

/* Takes the cells of a row apart; as many as the table has columns. */
static void split(char *row, size_t columns, const char **ret_cells)
{
	for (size_t i = 0; i < columns; i++) {
		char *tab = i + 1 < columns ? strchr(row, '\t') : NULL;

		ret_cells[i] = row;
		if (tab == NULL) {
			row = row + strlen(row);
			continue;
		}
		*tab = '\0';
		row = tab + 1;
	}
}

static int put_row(const struct cli *cli, struct cli_grid *grid, size_t row, const json_t *object,
                   struct vm_err *err)
{
	const char *cells[CLI_COLUMNS_MAX] = {NULL};
	VM_AUTO_FREE char *text = row_text(cli, object, err);

	if (text == NULL)
		return -1;
	split(text, grid->columns, cells);
	for (size_t i = 0; i < grid->columns; i++) {
		char *cell = vm_strdup(cells[i], err);

		if (cell == NULL)
			return -1;
		cli_grid_put(grid, row, i, cell);
	}
	return 0;
}

static int print_rows(struct cli *cli, const json_t *list, struct vm_err *err)
{
	const char *header[CLI_COLUMNS_MAX] = {NULL};
	VM_AUTO_FREE char *text = row_text(cli, NULL, err);
	VM_AUTO(cli_grid_free) struct cli_grid grid = {0};

	if (text == NULL)
		return -1;
	split(text, cli->format.columns, header);
	if (cli_grid_init(&grid, header, cli->format.columns, json_array_size(list), err) < 0)
		return -1;
	for (size_t i = 0; i < json_array_size(list); i++)
		if (put_row(cli, &grid, i, json_array_get(list, i), err) < 0)
			return -1;
	cli_grid_print_piece(&grid, !cli->header_printed, cli->widths);
	cli->header_printed = true;
	return 0;
}

static int print_lines(const struct cli *cli, const json_t *list, struct vm_err *err)
{
	/* What a guest or a user gave is cleaned where it could command a terminal. */
	bool clean = isatty(STDOUT_FILENO);

	for (size_t i = 0; i < json_array_size(list); i++) {
		if (cli_format_write(&cli->format, json_array_get(list, i), clean, stdout, err) < 0)
			return -1;
		(void)putchar(cli->null ? '\0' : '\n');
	}
	return 0;
}

/* Each object of an array, or the one. */
static int print_formatted(struct cli *cli, json_t *json, struct vm_err *err)
{
	json_t *list = json_is_array(json) ? json_incref(json) : json_pack("[O]", json);
	int rc;

	if (list == NULL)
		return out_of_memory(err);
	rc = cli->format.table ? print_rows(cli, list, err) : print_lines(cli, list, err);
	json_decref(list);
	return rc;
}

/* --- as YAML or JSON ----------------------------------------------------------------------------
 */

static int print_yaml(const json_t *json, bool marked, struct vm_err *err)
{
	VM_AUTO_FREE char *text = cli_yaml_text(json, marked, err);

	if (text == NULL)
		return -1;
	(void)fputs(text, stdout);
	return 0;
}

/* A failed write stays in stdout's error flag and is reported at the end. */
static int print(struct cli *cli, json_t *json, bool one_of_many, struct vm_err *err)
{
	int rc = 0;

	if (json == NULL)
		return out_of_memory(err);
	if (cli->format_text != NULL) {
		rc = print_formatted(cli, json, err);
	} else if (cli->yaml) {
		rc = print_yaml(json, one_of_many, err);
	} else {
		(void)json_dumpf(json, stdout,
		                 (one_of_many ? JSON_COMPACT : JSON_INDENT(2)) | DIGITS);
		(void)putchar('\n');
	}
	json_decref(json);
	return rc;
}

int cli_print_json(struct cli *cli, json_t *json, struct vm_err *err)
{
	return print(cli, json, false, err);
}

int cli_print_object(struct cli *cli, json_t *json, struct vm_err *err)
{
	return print(cli, json, true, err);
}

/* --- a list whose elements are made one after the other -----------------------------------------
 */

static bool is_streamed(const struct cli *cli)
{
	return cli->format_text == NULL && !cli->yaml;
}

/* The same bytes as those of the whole list: what stands between its brackets is an array of one.
 */
static int stream(struct cli *cli, struct cli_list *list, json_t *json, struct vm_err *err)
{
	json_t *one = json_pack("[O]", json);
	VM_AUTO_FREE char *text = json_dumps(one, JSON_EMBED | JSON_INDENT(2) | DIGITS);

	json_decref(one);
	if (text == NULL)
		return out_of_memory(err);
	/* Its last newline is before the end of the list, or not there. */
	(void)cli_write(cli, list->count == 0 ? "[" : ",", 1);
	(void)cli_write(cli, text, strlen(text) - 1);
	return 0;
}

int cli_list_add(struct cli *cli, struct cli_list *list, json_t *json, struct vm_err *err)
{
	int rc;

	if (json == NULL)
		return out_of_memory(err);
	if (is_streamed(cli)) {
		rc = stream(cli, list, json, err);
		json_decref(json);
	} else {
		if (list->kept == NULL)
			list->kept = json_array();
		rc = json_array_append_new(list->kept, json) < 0 ? out_of_memory(err) : 0;
	}
	list->count++;
	return rc;
}

int cli_list_end(struct cli *cli, struct cli_list *list, struct vm_err *err)
{
	json_t *kept = list->kept;

	list->kept = NULL;
	if (list->count == 0)
		kept = json_array();
	if (list->count == 0 || !is_streamed(cli))
		return print(cli, kept, false, err);
	(void)cli_write(cli, "\n]\n", 3);
	return 0;
}

void cli_list_free(struct cli_list *list)
{
	json_decref(list->kept);
	list->kept = NULL;
}
