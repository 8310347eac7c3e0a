/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parser of answers (RFC 9112). It starts over with every piece that arrives: the answers of a
 * hypervisor come in one or two pieces, so a resumable parser would only be more code to get wrong.
 *
 * The static functions share one convention: 1 done, 0 more bytes are needed, -1 error. They decide
 * by bytes that are there and never by how many have come, so a verdict is final.
 */
#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http.h"
#include "util.h"

/* A chunk's size line with its extensions. The RFC sets no limit; nobody sends even half of it. */
enum { CHUNK_LINE_MAX = 1024 };

/* The bytes that have come; `at` only moves forward, never past `len`. */
struct input {
	const char *data;
	size_t len;
	size_t at;
};

struct span {
	const char *text;
	size_t len;
};

struct head {
	int status;
	bool minor_zero; /* HTTP/1.0 */
	bool has_length;
	bool chunked;
	uint64_t length; /* content-length, if has_length */
};

void vm_http_response_free(struct vm_http_response *response)
{
	if (!response)
		return;
	free(response->body);
	*response = (struct vm_http_response){0};
}

static int malformed(const struct input *in, const char *where, const char *what,
                     struct vm_err *err)
{
	return vm_err_set(err, VM_ERR_HYPERVISOR, "malformed answer at byte %zu: %s",
	                  (size_t)(where - in->data), what);
}

/*
 * Takes the line at in->at, without its CRLF. `end` is the offset that the line, CRLF included,
 * must not pass. A lone CR or LF and control characters (NUL) are refused: agents disagree about
 * what they mean, and no hypervisor sends them.
 */
static int next_line(struct input *in, size_t end, struct span *ret_line, struct vm_err *err)
{
	const char *from = in->data + in->at;
	size_t room = (in->len < end ? in->len : end) - in->at;
	const char *lf = memchr(from, '\n', room);
	size_t n = lf ? (size_t)(lf - from) : room;

	for (size_t i = 0; i < n; i++) {
		bool last = i + 1 == n;

		if (iscntrl((unsigned char)from[i]) && from[i] != '\t' &&
		    !(from[i] == '\r' && last))
			return malformed(in, from + i, "a control character in a line", err);
	}
	if (!lf && in->len < end)
		return 0;
	if (!lf)
		return malformed(in, from, "the status line and headers, or a line, are too long",
		                 err);
	if (n == 0 || from[n - 1] != '\r')
		return malformed(in, lf, "a line that does not end in CR LF", err);
	in->at += n + 1;
	*ret_line = (struct span){from, n - 1};
	return 1;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* HTTP/1.x SP 3DIGIT [SP reason]; some servers leave out the last space when they have no reason.
 */
static int parse_status_line(struct input *in, size_t end, struct head *head, struct vm_err *err)
{
	static const char begin[] = "HTTP/1.";
	size_t known = sizeof(begin) - 1;
	size_t have = in->len - in->at;
	struct span line = {0};
	const char *p;
	int r;

	/* Ahead of the line's end: whatever else speaks here may never send one. */
	if (memcmp(in->data + in->at, begin, have < known ? have : known) != 0)
		return malformed(in, in->data + in->at, "it does not begin with HTTP/1.", err);
	r = next_line(in, end, &line, err);
	if (r <= 0)
		return r;
	p = line.text;
	if (line.len < 12 || !is_digit(p[7]) || p[8] != ' ' || (line.len > 12 && p[12] != ' '))
		return malformed(in, p, "the status line is not 'HTTP/1.x NNN reason'", err);
	if (p[9] < '1' || p[9] > '5' || !is_digit(p[10]) || !is_digit(p[11]))
		return malformed(in, p + 9, "the status is not in 100..599", err);
	head->status = (p[9] - '0') * 100 + (p[10] - '0') * 10 + (p[11] - '0');
	head->minor_zero = p[7] == '0';
	return 1;
}

static bool is_token(char c)
{
	return c && (isalnum((unsigned char)c) || strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* Splits "Name: value" and checks the name. Returns 1 or -1. */
static int parse_field(const struct input *in, struct span line, struct span *ret_name,
                       struct span *ret_value, struct vm_err *err)
{
	const char *end = line.text + line.len;
	const char *p = line.text;

	if (is_blank(*p))
		return malformed(in, p, "a folded header line", err);
	while (p < end && is_token(*p))
		p++;
	if (p == line.text || p == end || *p != ':')
		return malformed(in, p, "a header line without a proper name and ':'", err);
	*ret_name = (struct span){line.text, (size_t)(p - line.text)};
	for (p++; p < end && is_blank(*p); p++)
		;
	while (end > p && is_blank(end[-1]))
		end--;
	*ret_value = (struct span){p, (size_t)(end - p)};
	return 1;
}

static bool span_is(struct span span, const char *word)
{
	return span.len == strlen(word) && strncasecmp(span.text, word, span.len) == 0;
}

/* Digits alone: no sign, no list, no overflow. */
static bool parse_length(struct span value, uint64_t *ret_length)
{
	uint64_t n = 0;

	for (size_t i = 0; i < value.len; i++) {
		if (!is_digit(value.text[i]) || n > (UINT64_MAX - 9) / 10)
			return false;
		n = n * 10 + (uint64_t)(value.text[i] - '0');
	}
	*ret_length = n;
	return value.len > 0;
}

/* Remembers the headers that say where the body ends. Returns 1 or -1. */
static int apply_field(const struct input *in, struct head *head, struct span name,
                       struct span value, struct vm_err *err)
{
	uint64_t length;

	if (span_is(name, "transfer-encoding")) {
		if (head->chunked || !span_is(value, "chunked"))
			return malformed(in, name.text, "a transfer-encoding other than chunked",
			                 err);
		head->chunked = true;
	} else if (span_is(name, "content-length")) {
		if (!parse_length(value, &length))
			return malformed(in, name.text, "the content-length is not a number", err);
		if (head->has_length && head->length != length)
			return malformed(in, name.text, "two different content-lengths", err);
		head->has_length = true;
		head->length = length;
	}
	return 1;
}

/* One status line with its headers and the empty line. */
static int parse_head(struct input *in, size_t end, struct head *ret_head, struct vm_err *err)
{
	struct head head = {0};
	struct span line = {0}, name = {0}, value = {0};
	int r = parse_status_line(in, end, &head, err);

	while (r > 0) {
		r = next_line(in, end, &line, err);
		if (r > 0 && line.len == 0)
			break;
		if (r > 0)
			r = parse_field(in, line, &name, &value, err);
		if (r > 0)
			r = apply_field(in, &head, name, value, err);
	}
	if (r <= 0)
		return r;
	if (head.chunked && (head.has_length || head.minor_zero))
		return malformed(in, line.text,
		                 "chunked together with a content-length or HTTP/1.0", err);
	*ret_head = head;
	return 1;
}

/* The head of the final answer. The cap is over all heads, so interim answers cannot go on forever.
 */
static int parse_heads(struct input *in, struct head *ret_head, struct vm_err *err)
{
	int r;

	do {
		r = parse_head(in, VM_HTTP_HEADER_MAX, ret_head, err);
	} while (r > 0 && ret_head->status < 200 && ret_head->status != 101);
	if (r > 0 && ret_head->status == 101)
		return malformed(in, in->data, "it switches protocols, which was not asked for",
		                 err);
	return r;
}

static int too_large(struct vm_err *err)
{
	return vm_err_set(err, VM_ERR_HYPERVISOR, "the answer's body is larger than %d bytes",
	                  VM_HTTP_BODY_MAX);
}

/* 1*HEXDIG and, after optional blanks, nothing or an extension, which is ignored. */
static int parse_chunk_size(struct input *in, size_t *ret_size, struct vm_err *err)
{
	static const char digits[] = "0123456789abcdef";
	struct span line = {0};
	size_t size = 0, i;
	int r = next_line(in, in->at + CHUNK_LINE_MAX, &line, err);

	if (r <= 0)
		return r;
	for (i = 0; i < line.len && isxdigit((unsigned char)line.text[i]); i++) {
		const char *digit = strchr(digits, tolower((unsigned char)line.text[i]));

		size = size * 16 + (size_t)(digit - digits);
		if (size > VM_HTTP_BODY_MAX)
			return too_large(err);
	}
	if (i == 0)
		return malformed(in, line.text, "a chunk without a size", err);
	while (i < line.len && is_blank(line.text[i]))
		i++;
	if (i < line.len && line.text[i] != ';')
		return malformed(in, line.text + i, "a chunk size that is not a number", err);
	*ret_size = size;
	return 1;
}

/* The CR LF after a chunk's bytes; wrong bytes are refused as soon as the first is there. */
static int skip_crlf(struct input *in, struct vm_err *err)
{
	size_t have = in->len - in->at;

	if (memcmp(in->data + in->at, "\r\n", have < 2 ? have : 2) != 0)
		return malformed(in, in->data + in->at, "a chunk longer than its size", err);
	if (have < 2)
		return 0;
	in->at += 2;
	return 1;
}

/* Trailers are checked like headers and ignored: nothing here may change what the headers said. */
static int skip_trailers(struct input *in, struct vm_err *err)
{
	size_t end = in->at + VM_HTTP_HEADER_MAX;
	struct span line = {0}, name = {0}, value = {0};
	int r;

	do {
		r = next_line(in, end, &line, err);
		if (r > 0 && line.len == 0)
			return 1;
		if (r > 0)
			r = parse_field(in, line, &name, &value, err);
	} while (r > 0);
	return r;
}

/*
 * Walks over a chunked body. Called twice: without `into` to see whether all is there and how long
 * the body is, then to copy it.
 */
static int walk_chunks(struct input in, char *into, size_t *ret_len, struct vm_err *err)
{
	size_t start = in.at, total = 0, size = 0;
	int r;

	while ((r = parse_chunk_size(&in, &size, err)) > 0 && size > 0) {
		if (size > VM_HTTP_BODY_MAX - total)
			return too_large(err);
		if (size > in.len - in.at)
			return 0;
		if (into)
			memcpy(into + total, in.data + in.at, size);
		total += size;
		in.at += size;
		r = skip_crlf(&in, err);
		if (r <= 0)
			return r;
		/* Tiny chunks with long extensions must not make us keep a hundred times the body.
		 */
		if (in.at - start - total > VM_HTTP_BODY_MAX)
			return malformed(&in, in.data + in.at, "too many tiny chunks", err);
	}
	if (r > 0)
		r = skip_trailers(&in, err);
	if (r > 0)
		*ret_len = total;
	return r;
}

/* Finds where the body ends (RFC 9112, 6.3): `ret_len` is its decoded length. */
static int measure_body(const struct input *in, const struct head *head, int eof, size_t *ret_len,
                        struct vm_err *err)
{
	size_t have = in->len - in->at;

	if (head->status == 204 || head->status == 304) {
		*ret_len = 0; /* whatever the headers say */
		return 1;
	}
	if (head->chunked)
		return walk_chunks(*in, NULL, ret_len, err);
	if ((head->has_length ? head->length : have) > VM_HTTP_BODY_MAX)
		return too_large(err);
	if (head->has_length ? have < head->length : !eof)
		return 0;
	*ret_len = head->has_length ? (size_t)head->length : have;
	return 1;
}

static int copy_body(const struct input *in, const struct head *head, size_t len,
                     struct vm_http_response *ret, struct vm_err *err)
{
	VM_AUTO_FREE char *body = vm_calloc(len + 1, 1, err);

	if (!body)
		return -1;
	if (head->chunked && len > 0 && walk_chunks(*in, body, &len, err) < 0)
		return -1;
	if (!head->chunked)
		memcpy(body, in->data + in->at, len);
	*ret = (struct vm_http_response){head->status, vm_take_ptr(&body), len};
	return 1;
}

int vm_http_parse(const char *data, size_t len, int eof, struct vm_http_response *ret,
                  struct vm_err *err)
{
	struct input in = {data ? data : "", len, 0};
	struct head head = {0};
	size_t body_len = 0;
	int r = parse_heads(&in, &head, err);

	if (r > 0)
		r = measure_body(&in, &head, eof, &body_len, err);
	if (r == 0 && eof && len == 0)
		return vm_err_set(err, VM_ERR_HYPERVISOR,
		                  "the connection was closed without an answer");
	if (r == 0 && eof)
		return vm_err_set(
		        err, VM_ERR_HYPERVISOR,
		        "the connection was closed in the middle of the answer, after %zu bytes",
		        len);
	return r > 0 ? copy_body(&in, &head, body_len, ret, err) : r;
}
