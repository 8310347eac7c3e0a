/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the tests of the state file code: the state files of real Firecrackers
 * (test/fixtures/vmstate, described by its MANIFEST.tsv), and what is demanded of every refusal.
 * The tests run from the project's root, or with VM_FIXTURES set to the fixtures' directory.
 */
#ifndef VM_TEST_FIRECRACKER_STATE_H
#define VM_TEST_FIRECRACKER_STATE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "driver/firecracker_state.h"
#include "util.h"

enum { FIXTURES_MAX = 64, FIXTURE_BYTES_MAX = 65536 };

struct blob {
	uint8_t bytes[FIXTURE_BYTES_MAX];
	size_t len;
};

struct fixture {
	char name[64];
	char format[24];
	char encoding[16];
	char uds_path[112];
	uint64_t cid;
	uint64_t memory_bytes; /* 0: the manifest does not tell */
	size_t cid_offset;     /* of the value; bitcode's width byte is one before */
	struct blob blob;
};

struct fixtures {
	size_t n;
	struct fixture all[FIXTURES_MAX];
};

/* --- the fixtures ---------------------------------------------------------------------------- */

static const char *fixture_dir(void)
{
	const char *dir = getenv("VM_FIXTURES");

	return dir ? dir : "test/fixtures/vmstate";
}

static inline FILE *open_fixture(const char *name)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", fixture_dir(), name);
	f = fopen(path, "rb");
	if (!f)
		fail_msg("cannot open %s: run from the project's root or set VM_FIXTURES", path);
	return f;
}

/* The vsock's path as recorded: the manifest names the directory, or describes it in parentheses.
 */
static inline void derive_uds_path(const char *data_dir, char *buf, size_t size)
{
	if (data_dir[0] == '/')
		snprintf(buf, size, "%s/vsock.sock", data_dir);
	else if (strncmp(data_dir, "(jailer", 7) == 0)
		snprintf(buf, size, "/vsock.sock");
	else
		snprintf(buf, size, "vsock.sock");
}

static inline void load_row(char *row, struct fixture *fx)
{
	char *columns[16] = {0};
	FILE *f;

	for (size_t i = 0; i < VM_ARRAY_LEN(columns) && row; i++)
		columns[i] = strsep(&row, "\t\n");
	assert_non_null(columns[10]);
	snprintf(fx->name, sizeof(fx->name), "%s", columns[0]);
	snprintf(fx->format, sizeof(fx->format), "%s", columns[2]);
	snprintf(fx->encoding, sizeof(fx->encoding), "%s", columns[3]);
	derive_uds_path(columns[5] ? columns[5] : "", fx->uds_path, sizeof(fx->uds_path));
	fx->cid = strtoull(columns[9], NULL, 10);
	fx->cid_offset = strtoull(columns[10], NULL, 10);
	fx->memory_bytes = columns[13] ? strtoull(columns[13], NULL, 10) : 0;
	f = open_fixture(fx->name);
	fx->blob.len = fread(fx->blob.bytes, 1, sizeof(fx->blob.bytes), f);
	fclose(f);
	assert_int_equal(fx->blob.len, strtoull(columns[6], NULL, 10));
}

static inline int load_fixtures(void **state)
{
	struct fixtures *fixtures = calloc(1, sizeof(*fixtures));
	char row[2048];
	FILE *f;

	assert_non_null(fixtures);
	f = open_fixture("MANIFEST.tsv");
	assert_non_null(fgets(row, sizeof(row), f)); /* the column names */
	while (fgets(row, sizeof(row), f)) {
		assert_true(fixtures->n < FIXTURES_MAX);
		load_row(row, &fixtures->all[fixtures->n++]);
	}
	fclose(f);
	assert_true(fixtures->n > 0);
	*state = fixtures;
	return 0;
}

static inline int free_fixtures(void **state)
{
	free(*state);
	return 0;
}

static const struct fixture *fixture_named(void **state, const char *name)
{
	const struct fixtures *fixtures = *state;

	for (size_t i = 0; i < fixtures->n; i++)
		if (strcmp(fixtures->all[i].name, name) == 0)
			return &fixtures->all[i];
	fail_msg("no fixture %s", name);
	abort();
}

/* --- what is demanded ------------------------------------------------------------------------ */

static inline uint64_t reference_crc(const uint8_t *p, size_t len)
{
	uint64_t crc = 0;

	while (len--) {
		crc ^= *p++;
		for (int i = 0; i < 8; i++)
			crc = crc & 1 ? crc >> 1 ^ 0x95ac9329ac4bc9b5 : crc >> 1;
	}
	return crc;
}

/* Gives a changed state a right trailer again. */
static inline void seal(struct blob *b)
{
	uint64_t crc = reference_crc(b->bytes, b->len - 8);

	for (size_t i = 0; i < 8; i++)
		b->bytes[b->len - 8 + i] = (uint8_t)(crc >> 8 * i);
}

static inline void put(struct blob *b, const void *bytes, size_t n)
{
	assert_true(b->len + n <= sizeof(b->bytes));
	memcpy(b->bytes + b->len, bytes, n);
	b->len += n;
}

#define PUT(blob, literal) put((blob), (literal), sizeof(literal) - 1)

/* Every entry point must refuse with this code, with a message, and touch no out-parameter. */
static inline void assert_refused(const struct blob *b, const char *path, uint64_t old_cid,
                                  enum vm_code code)
{
	struct vm_err err = {0};
	uint64_t cid = 77;
	void *copy = &err;
	size_t len = 88;
	/* malloc'ed to size, so that AddressSanitizer sees a read past the end */
	uint8_t *exact = malloc(b->len ? b->len : 1);

	assert_non_null(exact);
	memcpy(exact, b->bytes, b->len);
	assert_int_equal(vm_fc_state_set_cid(exact, b->len, path, old_cid, 99, &copy, &len, &err),
	                 -1);
	assert_int_equal(err.code, code);
	assert_true(err.message[0] != '\0');
	assert_ptr_equal(copy, &err);
	assert_int_equal(len, 88);
	vm_err_clear(&err);
	if (vm_fc_state_get_cid(exact, b->len, path, &cid, &err)) {
		assert_int_equal(err.code, code);
		assert_int_equal(cid, 77);
	}
	free(exact);
}

static inline void assert_corrupt(const uint8_t *bytes, size_t len)
{
	struct vm_fc_state_info info;
	struct vm_err err = {0};

	assert_int_equal(vm_fc_state_check(bytes, len, &info, &err), -1);
	assert_int_equal(err.code, VM_ERR_CORRUPT);
}

static inline void assert_cid(const void *data, size_t len, const char *path, uint64_t cid)
{
	struct vm_err err = {0};
	uint64_t found = 0;

	if (vm_fc_state_get_cid(data, len, path, &found, &err))
		fail_msg("%s", err.message);
	assert_int_equal(found, cid);
}

#endif
