/* SPDX-License-Identifier: Apache-2.0 */
#include "yamldoc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

#include "util.h"

/* --- reading
 * -------------------------------------------------------------------------------------*/

int vm_yaml_read_fd(int fd, const char *path, char **ret_text, size_t *ret_len, struct vm_err *err)
{
	size_t room = VM_YAML_FILE_MAX + 1; /* one more than allowed, to see that there is more */
	VM_AUTO_FREE char *text = vm_calloc(room + 1, 1, err);
	size_t used = 0;

	if (!text)
		return -1;
	while (used < room) {
		ssize_t n = read(fd, text + used, room - used);

		if (n < 0 && errno == EISDIR)
			return vm_err_set(err, VM_ERR_USAGE, "%s is a directory, not a file", path);
		if (n < 0) /* EINTR too: only a signal that asks us to stop has a handler */
			return vm_err_sys(err, "reading %s", path);
		if (n == 0)
			break;
		used += (size_t)n;
	}
	if (used > VM_YAML_FILE_MAX)
		return vm_err_set(err, VM_ERR_USAGE, "%s is larger than 1 MiB", path);
	text[used] = '\0';
	*ret_text = vm_take_ptr(&text);
	*ret_len = used;
	return 0;
}

int vm_yaml_open(const char *path, struct vm_err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return vm_err_set(err, VM_ERR_NOT_FOUND, "%s: no such file", path);
	return fd < 0 ? vm_err_sys(err, "opening %s", path) : fd;
}

int vm_yaml_read(const char *path, char **ret_text, size_t *ret_len, struct vm_err *err)
{
	VM_AUTO_CLOSE int fd = -1;

	if (!path)
		return vm_yaml_read_fd(STDIN_FILENO, "standard input", ret_text, ret_len, err);
	fd = vm_yaml_open(path, err);
	return fd < 0 ? -1 : vm_yaml_read_fd(fd, path, ret_text, ret_len, err);
}

/* --- messages
 * ------------------------------------------------------------------------------------*/

/* Enough of a long file name to leave room for the field. */
static int origin_prefix(const char *origin, size_t line, char *buf, size_t size)
{
	const size_t keep = 300;
	size_t len = strlen(origin);

	if (len > keep)
		return snprintf(buf, size, "...%s:%zu", origin + len - keep, line);
	return snprintf(buf, size, "%s:%zu", origin, line);
}

static void where_at(const char *origin, size_t line, const struct vm_yaml_node *node,
                     char buf[VM_YAML_WHERE_MAX])
{
	const struct vm_yaml_node *way[VM_YAML_DEPTH_MAX + 1] = {NULL};
	size_t used = (size_t)origin_prefix(origin, line, buf, VM_YAML_WHERE_MAX);
	const char *separator = ": ";
	size_t depth = 0;

	for (; node && node->parent && depth < VM_ARRAY_LEN(way); node = node->parent)
		way[depth++] = node;
	while (depth-- > 0 && used < VM_YAML_WHERE_MAX) {
		size_t left = VM_YAML_WHERE_MAX - used;
		int n = way[depth]->key
		                ? snprintf(buf + used, left, "%s%.64s", separator, way[depth]->key)
		                : snprintf(buf + used, left, "%s[%zu]",
		                           *separator == ':' ? ": " : "", way[depth]->index);

		used += (size_t)n;
		separator = ".";
	}
}

char *vm_yaml_where(const struct vm_yaml *doc, const struct vm_yaml_node *node,
                    char buf[VM_YAML_WHERE_MAX])
{
	where_at(doc->origin, node->line, node, buf);
	return buf;
}

__attribute__((format(printf, 5, 0))) static int fail_at(const char *origin, size_t line,
                                                         const struct vm_yaml_node *node,
                                                         struct vm_err *err, const char *fmt,
                                                         va_list ap)
{
	char where[VM_YAML_WHERE_MAX];
	char what[sizeof(err->message)];

	where_at(origin, line, node, where);
	vsnprintf(what, sizeof(what), fmt, ap);
	return vm_err_set(err, VM_ERR_USAGE, "%s: %s", where, what);
}

int vm_yaml_fail(const struct vm_yaml *doc, const struct vm_yaml_node *node, struct vm_err *err,
                 const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fail_at(doc->origin, node->line, node, err, fmt, ap);
	va_end(ap);
	return -1;
}

/* --- building the tree
 * ---------------------------------------------------------------------------*/

struct builder {
	yaml_parser_t parser;
	const char *text; /* what is parsed, to look at a line again when it cannot be */
	size_t len;
	struct vm_yaml doc;
	struct vm_yaml_node *at; /* the open list or map; NULL outside of the document's root */
	char *key;               /* read in `at`, its value is next */
	size_t key_line;
	size_t depth, nodes, documents;
	bool done;
	struct vm_err *err;
};

static void builder_free(struct builder *b)
{
	yaml_parser_delete(&b->parser);
	vm_yaml_free(&b->doc);
	free(b->key);
}

static size_t line_of(const yaml_event_t *event)
{
	return event->start_mark.line + 1;
}

/* `node` gives the field; the line is the event's. */
__attribute__((format(printf, 4, 5))) static int build_fail(const struct builder *b,
                                                            const struct vm_yaml_node *node,
                                                            const yaml_event_t *event,
                                                            const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fail_at(b->doc.origin, line_of(event), node, b->err, fmt, ap);
	va_end(ap);
	return -1;
}

/* Whether the line that libyaml stopped in is indented with a tab, the likeliest cause by far. */
static bool has_tab_indent(const struct builder *b, size_t line)
{
	const char *p = b->text;
	const char *end = b->text + b->len;

	for (; line > 0 && p < end; line--) {
		const char *newline = memchr(p, '\n', (size_t)(end - p));

		p = newline ? newline + 1 : end;
	}
	while (p < end && *p == ' ')
		p++;
	return p < end && *p == '\t';
}

/* Bytes that cannot be text at all: libyaml gives their offset only. */
static int reader_failed(const struct builder *b)
{
	const yaml_parser_t *p = &b->parser;
	size_t line = 1;

	for (size_t i = 0; i < p->problem_offset && i < b->len; i++)
		line += b->text[i] == '\n';
	if (strstr(p->problem, "control characters"))
		return vm_err_set(b->err, VM_ERR_USAGE,
		                  "%s:%zu: holds the control character 0x%02x", b->doc.origin, line,
		                  (unsigned)p->problem_value);
	vm_err_set(b->err, VM_ERR_USAGE, "%s:%zu: is not UTF-8 text (%s)", b->doc.origin, line,
	           p->problem);
	return vm_err_hint(b->err, "save the file as UTF-8");
}

static int syntax_failed(const struct builder *b)
{
	const yaml_parser_t *p = &b->parser;
	const yaml_mark_t *mark = &p->problem_mark;

	if (p->error == YAML_MEMORY_ERROR) {
		errno = ENOMEM;
		return vm_err_sys(b->err, "reading %s", b->doc.origin);
	}
	if (p->error == YAML_READER_ERROR)
		return reader_failed(b);
	if (p->context)
		vm_err_set(b->err, VM_ERR_USAGE,
		           "%s:%zu:%zu: YAML syntax: %s %s that began on line %zu", b->doc.origin,
		           mark->line + 1, mark->column + 1, p->problem, p->context,
		           p->context_mark.line + 1);
	else
		vm_err_set(b->err, VM_ERR_USAGE, "%s:%zu:%zu: YAML syntax: %s", b->doc.origin,
		           mark->line + 1, mark->column + 1, p->problem);
	if (has_tab_indent(b, mark->line))
		return vm_err_hint(b->err, "line %zu is indented with a tab; YAML wants spaces",
		                   mark->line + 1);
	return vm_err_hint(b->err, "a line is 'key: value'; quote a value that holds ': ' or ' #'");
}

static bool is_control(const unsigned char *p, size_t left)
{
	return *p < 0x20 || *p == 0x7f || (*p == 0xc2 && left > 1 && p[1] >= 0x80 && p[1] < 0xa0);
}

/* The text of a scalar; a block scalar loses the final line break that YAML gives it. */
static char *scalar_text(const struct builder *b, const yaml_event_t *event,
                         const struct vm_yaml_node *node)
{
	const unsigned char *text = event->data.scalar.value;
	yaml_scalar_style_t style = event->data.scalar.style;
	size_t len = event->data.scalar.length;
	char *copy;

	if (style == YAML_LITERAL_SCALAR_STYLE || style == YAML_FOLDED_SCALAR_STYLE) {
		while (len > 0 && text[len - 1] == '\n')
			len--;
	}
	for (size_t i = 0; i < len; i++) {
		if (is_control(text + i, len - i)) {
			build_fail(b, node, event, "%s",
			           text[i] == '\n' ? "must be one line"
			                           : "holds a control character");
			return NULL;
		}
	}
	copy = vm_calloc(len + 1, 1, b->err);
	if (copy)
		memcpy(copy, text, len);
	return copy;
}

static int refuse_markup(const struct builder *b, const struct vm_yaml_node *node,
                         const yaml_event_t *event, const yaml_char_t *anchor,
                         const yaml_char_t *tag)
{
	if (anchor || event->type == YAML_ALIAS_EVENT)
		return build_fail(b, node, event,
		                  "anchors (&) and aliases (*) are not supported; quote the value "
		                  "if it really begins so");
	if (tag)
		return build_fail(b, node, event, "tags (!) are not supported");
	return 0;
}

static int take_key(struct builder *b, const yaml_event_t *event)
{
	const struct vm_yaml_node *first;

	if (event->type != YAML_SCALAR_EVENT)
		return build_fail(b, b->at, event, "a key must be text, not %s",
		                  event->type == YAML_ALIAS_EVENT ? "an alias" : "a list or map");
	if (refuse_markup(b, b->at, event, event->data.scalar.anchor, event->data.scalar.tag))
		return -1;
	b->key_line = line_of(event);
	b->key = scalar_text(b, event, b->at);
	if (!b->key)
		return -1;
	first = vm_yaml_get(b->at, b->key);
	if (first)
		return build_fail(b, first, event, "given twice (first on line %zu)", first->line);
	return 0;
}

/* Hangs an empty node where the next value belongs. */
static struct vm_yaml_node *attach(struct builder *b, const yaml_event_t *event)
{
	struct vm_yaml_node *node = vm_calloc(1, sizeof(*node), b->err);

	if (!node)
		return NULL;
	node->line = b->key ? b->key_line : line_of(event);
	node->key = vm_take_ptr(&b->key);
	node->parent = b->at;
	if (!b->at) {
		b->doc.root = node;
		return node;
	}
	node->index = b->at->count++;
	if (b->at->last)
		b->at->last->next = node;
	else
		b->at->child = node;
	b->at->last = node;
	return node;
}

static int open_container(struct builder *b, struct vm_yaml_node *node, const yaml_event_t *event,
                          enum vm_yaml_kind kind)
{
	node->kind = kind;
	if (++b->depth > VM_YAML_DEPTH_MAX)
		return build_fail(b, NULL, event, "is nested too deeply");
	b->at = node;
	return 0;
}

static int take_value(struct builder *b, const yaml_event_t *event)
{
	struct vm_yaml_node *node = attach(b, event);

	if (!node)
		return -1;
	if (++b->nodes > VM_YAML_NODES_MAX)
		return build_fail(b, NULL, event, "has more than %d entries", VM_YAML_NODES_MAX);
	switch (event->type) {
	case YAML_SEQUENCE_START_EVENT:
		if (refuse_markup(b, node, event, event->data.sequence_start.anchor,
		                  event->data.sequence_start.tag))
			return -1;
		return open_container(b, node, event, VM_YAML_LIST);
	case YAML_MAPPING_START_EVENT:
		if (refuse_markup(b, node, event, event->data.mapping_start.anchor,
		                  event->data.mapping_start.tag))
			return -1;
		return open_container(b, node, event, VM_YAML_MAP);
	case YAML_SCALAR_EVENT:
		if (refuse_markup(b, node, event, event->data.scalar.anchor,
		                  event->data.scalar.tag))
			return -1;
		node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
		node->text = scalar_text(b, event, node);
		return node->text ? 0 : -1;
	default:
		return refuse_markup(b, node, event, NULL, NULL);
	}
}

static int take_event(struct builder *b, const yaml_event_t *event)
{
	switch (event->type) {
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		b->at = b->at->parent;
		b->depth--;
		return 0;
	case YAML_DOCUMENT_START_EVENT:
		if (++b->documents > 1)
			return build_fail(
			        b, NULL, event,
			        "a second document begins here; one file is one document");
		return 0;
	case YAML_SCALAR_EVENT:
	case YAML_ALIAS_EVENT:
	case YAML_SEQUENCE_START_EVENT:
	case YAML_MAPPING_START_EVENT:
		if (b->at && b->at->kind == VM_YAML_MAP && !b->key)
			return take_key(b, event);
		return take_value(b, event);
	case YAML_STREAM_END_EVENT:
		b->done = true;
		return 0;
	default:
		return 0;
	}
}

int vm_yaml_parse(const char *text, size_t len, const char *origin, struct vm_yaml *ret_doc,
                  struct vm_err *err)
{
	VM_AUTO(builder_free)
	struct builder b = {.text = text, .len = len, .doc.origin = origin, .err = err};

	if (len > VM_YAML_FILE_MAX)
		return vm_err_set(err, VM_ERR_USAGE, "%s is larger than 1 MiB", origin);
	if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) { /* a byte order mark */
		b.text += 3;
		b.len -= 3;
	}
	if (!yaml_parser_initialize(&b.parser)) {
		errno = ENOMEM;
		return vm_err_sys(err, "reading %s", origin);
	}
	yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&b.parser, (const unsigned char *)b.text, b.len);
	while (!b.done) {
		yaml_event_t event;
		int rc;

		if (!yaml_parser_parse(&b.parser, &event))
			return syntax_failed(&b);
		rc = take_event(&b, &event);
		yaml_event_delete(&event);
		if (rc)
			return -1;
	}
	*ret_doc = b.doc;
	b.doc.root = NULL;
	return 0;
}

static void node_free(struct vm_yaml_node *node)
{
	while (node) {
		struct vm_yaml_node *next = node->next;

		node_free(node->child); /* at most VM_YAML_DEPTH_MAX deep */
		free(node->key);
		free(node->text);
		free(node);
		node = next;
	}
}

void vm_yaml_free(struct vm_yaml *doc)
{
	node_free(doc->root);
	doc->root = NULL;
}
