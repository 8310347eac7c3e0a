/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --format: a template for each object, of the kind that docker has.
 *
 *   {{.Name}} {{.Parent.Name}}      a value; keys are compared without case and underscores
 *   {{json .}} {{json .Disks}}      as JSON on one line
 *   {{index .Labels "app"}}         an item of an object or of a list; several go deeper
 *   {{"text"}} \t \n \\             text, a tab, a newline, a backslash
 *   table {{.Name}}\t{{.State}}     in front: a table whose columns the tabs separate
 *
 * A template is compiled before anything is done, against the keys that the objects have, so that
 * what is wrong with it is found when nothing has been changed yet.
 */
#ifndef CLI_FORMAT_H
#define CLI_FORMAT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "err.h"

struct cli_format_part;

struct cli_format {
	struct cli_format_part *parts; /* owned */
	size_t count;
	bool table;
	size_t columns; /* of a table */
};

/*
 * `shape` tells the keys that an object may have: "id name parent{id name} disks[id root] labels{=}
 * spec{*}". {} is an object, [] a list of objects; "*" stands for any keys, "=" for any keys that
 * are to be spelled exactly. Returns 0, or -1 (usage) that names the column of the template; `ret`
 * is to be freed in any case.
 */
int cli_format_compile(const char *text, const char *shape, struct cli_format *ret,
                       struct vm_err *err);
/*
 * Writes what the template makes of an object, without an end of line. What is null or not there is
 * empty. `clean`: values are cleaned as for a table (text.h). Returns 0 or -1
 * (insufficient_resources).
 */
int cli_format_write(const struct cli_format *format, const json_t *object, bool clean, FILE *out,
                     struct vm_err *err);
/* Writes the header of a table, with tabs between the columns. */
void cli_format_write_header(const struct cli_format *format, FILE *out);
void cli_format_free(struct cli_format *format);

#endif
