/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parser of a VMM's answers, fed with anything. Besides "no crash": the verdict on a whole
 * input agrees with the verdicts on its beginnings, because those are what a client sees as bytes
 * arrive.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) require((condition) != 0, #condition, __LINE__)

static void require(int holds, const char *what, int line)
{
	if (holds)
		return;
	fprintf(stderr, "%s:%d: violated: %s\n", __FILE__, line, what);
	abort();
}

/* In a copy of exactly that size, so that AddressSanitizer sees each byte read too far. */
static int parse(const uint8_t *data, size_t size, int eof, struct vm_http_response *ret)
{
	char untouched[] = "";
	struct vm_err err = {0};
	char *copy = malloc(size ? size : 1);
	int r;

	REQUIRE(copy);
	memcpy(copy, data, size);
	*ret = (struct vm_http_response){-1, untouched, 12345};
	r = vm_http_parse(copy, size, eof, ret, &err);
	free(copy);
	REQUIRE(r >= -1 && r <= 1);
	REQUIRE((r < 0) == (err.code != VM_OK));
	REQUIRE((r < 0) == (err.message[0] != '\0'));
	if (r < 0)
		REQUIRE(err.code == VM_ERR_HYPERVISOR);
	if (r == 1) {
		REQUIRE(ret->status >= 200 && ret->status <= 599);
		REQUIRE(ret->body_len <= size && ret->body[ret->body_len] == '\0');
		REQUIRE((ret->status != 204 && ret->status != 304) || ret->body_len == 0);
	} else {
		REQUIRE(ret->status == -1 && ret->body == untouched && ret->body_len == 12345);
		*ret = (struct vm_http_response){0};
	}
	return r;
}

static void require_same(const struct vm_http_response *a, const struct vm_http_response *b)
{
	REQUIRE(a->status == b->status && a->body_len == b->body_len);
	REQUIRE(memcmp(a->body, b->body, a->body_len) == 0);
}

/* What the first `size` bytes mean, compared with what `more` bytes mean. */
static void check_prefix(const uint8_t *data, size_t size, int whole_verdict,
                         const struct vm_http_response *whole)
{
	struct vm_http_response open, closed;
	int verdict = parse(data, size, 0, &open);
	int at_eof = parse(data, size, 1, &closed);

	/* A verdict is final: neither more bytes nor the end of the connection change it. */
	if (verdict != 0) {
		REQUIRE(whole_verdict == verdict && at_eof == verdict);
		if (verdict == 1) {
			require_same(&open, whole);
			require_same(&open, &closed);
		}
	}
	REQUIRE(at_eof != 0);
	/* Undecided and then valid by the end of the connection: only a body of unknown length. */
	if (verdict == 0 && at_eof == 1)
		REQUIRE(whole_verdict != 1);
	vm_http_response_free(&open);
	vm_http_response_free(&closed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vm_http_response whole;
	int verdict = parse(data, size, 0, &whole);
	size_t step = size / 256 + 1;

	for (size_t n = 0; n < size; n += step)
		check_prefix(data, n, verdict, &whole);
	check_prefix(data, size, verdict, &whole);
	vm_http_response_free(&whole);
	return 0;
}
