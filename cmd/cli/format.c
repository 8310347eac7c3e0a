/* SPDX-License-Identifier: Apache-2.0 */
#include "format.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "shape.h"
#include "table.h"
#include "text.h"
#include "util.h"

enum { ITEMS_MAX = 1000000 };

/* One step down from a value to one within. */
struct step {
	char *key; /* owned; NULL: an item of a list */
	bool exact;
	size_t item;
};

struct cli_format_part {
	char *text; /* owned; NULL: a value */
	struct step *steps;
	size_t step_count;
	bool json;
};

/* What is being compiled. */
struct source {
	const char *begin, *at;
	struct cli_format *format;
	struct cli_shape root;
	struct vm_err *err;
};

/* --- compile ------------------------------------------------------------------------------------
 */

/* Puts in front of a pending error which column of the template it is about. */
static int wrap(const struct source *source, const char *at)
{
	size_t column = 1;

	for (const char *c = source->begin; c < at; c++)
		if (((unsigned char)*c & 0xc0) != 0x80)
			column++;
	return vm_err_wrap(source->err, "--format, column %zu", column);
}

static int fail(const struct source *source, const char *at, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));

static int fail(const struct source *source, const char *at, const char *fmt, ...)
{
	char text[256];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	vm_err_set(source->err, VM_ERR_USAGE, "%s", text);
	return wrap(source, at);
}

static struct cli_format_part *add_part(struct source *source)
{
	struct cli_format *format = source->format;
	struct cli_format_part *more =
	        reallocarray(format->parts, format->count + 1, sizeof(*format->parts));

	if (more == NULL) {
		vm_err_set(source->err, VM_ERR_INSUFFICIENT_RESOURCES, "out of memory");
		return NULL;
	}
	format->parts = more;
	more[format->count] = (struct cli_format_part){0};
	return &more[format->count++];
}

static struct step *add_step(struct source *source, struct cli_format_part *part)
{
	struct step *more = reallocarray(part->steps, part->step_count + 1, sizeof(*part->steps));

	if (more == NULL) {
		vm_err_set(source->err, VM_ERR_INSUFFICIENT_RESOURCES, "out of memory");
		return NULL;
	}
	part->steps = more;
	more[part->step_count] = (struct step){0};
	return &more[part->step_count++];
}

static int add_key(struct source *source, struct cli_format_part *part, struct cli_shape *where,
                   const char *name, size_t len)
{
	struct cli_key key = {.name = name, .len = len};
	struct step *step;

	if (cli_shape_key(where, &key, source->err) < 0)
		return wrap(source, name);
	step = add_step(source, part);
	if (step == NULL)
		return -1;
	step->exact = key.exact;
	step->key = vm_strf(source->err, "%.*s", (int)key.len, key.name);
	return step->key != NULL ? 0 : -1;
}

static void skip_spaces(struct source *source)
{
	source->at += strspn(source->at, " \t");
}

static bool is_name(char c)
{
	return isalnum((unsigned char)c) || c == '_';
}

/* "." or ".A.B" */
static int take_path(struct source *source, struct cli_format_part *part, struct cli_shape *where)
{
	if (*source->at != '.')
		return fail(source, source->at, "a value begins with a dot: {{.Name}}");
	if (!is_name(source->at[1])) {
		source->at++;
		return 0;
	}
	while (*source->at == '.') {
		const char *name = ++source->at;

		while (is_name(*source->at))
			source->at++;
		if (source->at == name)
			return fail(source, name, "a name is missing after the dot");
		if (add_key(source, part, where, name, (size_t)(source->at - name)) < 0)
			return -1;
	}
	return 0;
}

/* Goes behind "text" and returns where it began; NULL: it has no end. */
static const char *take_quoted(struct source *source, size_t *ret_len)
{
	const char *begin = source->at + 1, *end = strchr(begin, '"');

	if (end == NULL) {
		(void)fail(source, source->at, "the text has no closing '\"'");
		return NULL;
	}
	*ret_len = (size_t)(end - begin);
	source->at = end + 1;
	return begin;
}

static int take_item(struct source *source, struct cli_format_part *part, struct cli_shape *where)
{
	const char *begin = source->at;
	size_t item = 0;
	struct step *step;

	for (; isdigit((unsigned char)*source->at); source->at++) {
		item = item * 10 + (size_t)(*source->at - '0');
		if (item > ITEMS_MAX)
			return fail(source, begin, "the number is too large");
	}
	if (cli_shape_item(where, source->err) < 0)
		return wrap(source, begin);
	step = add_step(source, part);
	if (step == NULL)
		return -1;
	step->item = item;
	return 0;
}

/* index .Labels "app", index .Disks 0 "id" */
static int take_index(struct source *source, struct cli_format_part *part)
{
	struct cli_shape where = source->root;
	bool any = false;

	skip_spaces(source);
	if (take_path(source, part, &where) < 0)
		return -1;
	for (;; any = true) {
		skip_spaces(source);
		if (*source->at == '"') {
			size_t len;
			const char *name = take_quoted(source, &len);

			if (name == NULL || add_key(source, part, &where, name, len) < 0)
				return -1;
		} else if (isdigit((unsigned char)*source->at)) {
			if (take_item(source, part, &where) < 0)
				return -1;
		} else if (any) {
			return 0;
		} else {
			return fail(source, source->at, "index needs a \"key\" or a number");
		}
	}
}

static int take_function(struct source *source, struct cli_format_part *part)
{
	static const char *const functions[] = {"json", "index", NULL};
	const char *name = source->at, *meant;
	struct cli_shape where = source->root;
	char word[32];
	int len;

	while (is_name(*source->at))
		source->at++;
	len = (int)(source->at - name);
	if (len == 0)
		return fail(source, name, "{{ is followed by .Name, json, index or \"text\"");
	(void)snprintf(word, sizeof(word), "%.*s", len, name);
	if (strcmp(word, "index") == 0)
		return take_index(source, part);
	if (strcmp(word, "json") == 0) {
		part->json = true;
		skip_spaces(source);
		return take_path(source, part, &where);
	}
	(void)fail(source, name, "there is no function '%s'", word);
	meant = vm_suggest(word, functions);
	return meant != NULL ? vm_err_hint(source->err, "did you mean '%s'?", meant)
	                     : vm_err_hint(source->err, "there are json and index; a key has a dot "
	                                                "in front");
}

/* Behind "{{". */
static int take_action(struct source *source, const char *open)
{
	struct cli_format_part *part = add_part(source);
	struct cli_shape where = source->root;
	int rc = 0;

	if (part == NULL)
		return -1;
	skip_spaces(source);
	if (*source->at == '.') {
		rc = take_path(source, part, &where);
	} else if (*source->at == '"') {
		size_t len;
		const char *text = take_quoted(source, &len);

		part->text = text != NULL ? vm_strf(source->err, "%.*s", (int)len, text) : NULL;
		rc = part->text != NULL ? 0 : -1;
	} else if (*source->at != '\0') {
		rc = take_function(source, part);
	}
	if (rc < 0)
		return -1;
	skip_spaces(source);
	if (*source->at == '\0')
		return fail(source, open, "{{ has no closing }}");
	if (strncmp(source->at, "}}", 2) != 0)
		return fail(source, source->at, "'%.1s' where }} is expected", source->at);
	source->at += 2;
	return 0;
}

/* Up to "{{" or the end. */
static int take_text(struct source *source)
{
	static const char escapes[] = "tn\\", values[] = "\t\n\\";
	const char *end = strstr(source->at, "{{");
	size_t len = end != NULL ? (size_t)(end - source->at) : strlen(source->at), used = 0;
	struct cli_format_part *part = add_part(source);
	char *text = part != NULL ? vm_calloc(len + 1, 1, source->err) : NULL;

	if (text == NULL)
		return -1;
	part->text = text;
	for (size_t i = 0; i < len; i++) {
		const char *escape = NULL;

		text[used] = source->at[i];
		if (text[used] == '\\' && i + 1 < len)
			escape = strchr(escapes, source->at[i + 1]);
		if (escape != NULL) {
			text[used] = values[escape - escapes];
			i++;
		}
		if (text[used++] == '\t')
			source->format->columns++;
	}
	source->at += len;
	return 0;
}

static int take_prefix(struct source *source)
{
	struct cli_format *format = source->format;

	format->columns = 1;
	if (strcmp(source->at, "json") == 0)
		source->at = "{{json .}}"; /* as docker has it */
	else if (strncmp(source->at, "table", 5) == 0 && strchr(" \t\\", source->at[5]) != NULL) {
		format->table = true;
		source->at += 5;
		skip_spaces(source);
		if (strncmp(source->at, "\\t", 2) == 0)
			source->at += 2;
	}
	return *source->at != '\0' ? 0 : fail(source, source->at, "there is nothing to print");
}

int cli_format_compile(const char *text, const char *shape, struct cli_format *ret,
                       struct vm_err *err)
{
	struct source source = {
	        .begin = text,
	        .at = text,
	        .format = ret,
	        .root = {.kind = CLI_OBJECT, .body = shape, .len = strlen(shape)},
	        .err = err,
	};

	*ret = (struct cli_format){0};
	if (take_prefix(&source) < 0)
		return -1;
	while (*source.at != '\0') {
		const char *open = source.at;
		int rc;

		if (strncmp(open, "{{", 2) == 0) {
			source.at += 2;
			rc = take_action(&source, open);
		} else {
			rc = take_text(&source);
		}
		if (rc < 0)
			return -1;
	}
	if (ret->table && ret->columns > CLI_COLUMNS_MAX)
		return vm_err_set(err, VM_ERR_USAGE, "--format: a table has at most %d columns",
		                  CLI_COLUMNS_MAX);
	return 0;
}

void cli_format_free(struct cli_format *format)
{
	for (size_t i = 0; i < format->count; i++) {
		struct cli_format_part *part = &format->parts[i];

		for (size_t k = 0; k < part->step_count; k++)
			free(part->steps[k].key);
		free(part->steps);
		free(part->text);
	}
	free(format->parts);
	*format = (struct cli_format){0};
}

/* --- write --------------------------------------------------------------------------------------
 */

static json_t *find_key(const json_t *object, const struct step *step)
{
	json_t *found = json_object_get(object, step->key), *each = (json_t *)object, *value;
	const char *key;

	if (found != NULL || step->exact)
		return found;
	json_object_foreach(each, key, value) if (cli_key_same(key, strlen(key), step->key,
	                                                       strlen(step->key))) return value;
	return NULL;
}

/* NULL: it is not there. */
static const json_t *walk(const json_t *json, const struct cli_format_part *part)
{
	for (size_t i = 0; i < part->step_count && json != NULL; i++) {
		const struct step *step = &part->steps[i];

		json = step->key != NULL ? find_key(json, step) : json_array_get(json, step->item);
	}
	return json;
}

/* malloc'ed. */
static char *value_text(const json_t *json, bool as_json, struct vm_err *err)
{
	char *text;

	if (!as_json && (json == NULL || json_is_null(json)))
		return vm_strdup("", err);
	if (!as_json && json_is_string(json))
		return vm_strdup(json_string_value(json), err);
	text = json != NULL ? json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY) : strdup("null");
	if (text == NULL)
		vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES, "out of memory");
	return text;
}

int cli_format_write(const struct cli_format *format, const json_t *object, bool clean, FILE *out,
                     struct vm_err *err)
{
	for (size_t i = 0; i < format->count; i++) {
		const struct cli_format_part *part = &format->parts[i];
		char *text;

		if (part->text != NULL) {
			(void)fputs(part->text, out);
			continue;
		}
		text = value_text(walk(object, part), part->json, err);
		if (text == NULL)
			return -1;
		if (clean)
			cli_text_clean(text, false);
		(void)fputs(text, out);
		free(text);
	}
	return 0;
}

/* PARENT NAME, but APP of {{.Labels.app}}. */
static void write_heading(const struct cli_format_part *part, FILE *out)
{
	bool first = true;

	if (part->step_count == 0)
		(void)fputs("JSON", out);
	for (size_t i = 0; i < part->step_count; i++) {
		const struct step *step = &part->steps[i];
		bool skipped = i + 1 < part->step_count && part->steps[i + 1].exact;

		if (skipped)
			continue;
		if (!first)
			(void)fputc(' ', out);
		first = false;
		if (step->key == NULL)
			(void)fprintf(out, "%zu", step->item);
		for (const char *c = step->key; c != NULL && *c != '\0'; c++)
			(void)fputc(*c == '_' || *c == '\t' ? ' ' : toupper((unsigned char)*c),
			            out);
	}
}

void cli_format_write_header(const struct cli_format *format, FILE *out)
{
	for (size_t i = 0; i < format->count; i++) {
		if (format->parts[i].text != NULL)
			(void)fputs(format->parts[i].text, out);
		else
			write_heading(&format->parts[i], out);
	}
}
