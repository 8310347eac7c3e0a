/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer target for the state file code. An input is a whole state file; seeds are the fixtures:
 *
 *   fuzz_firecracker_state -max_len=20000 WORKDIR test/fixtures/vmstate
 *
 * No mutated file has a right checksum, so every input is tried as it is and once more with a
 * trailer that fits. Paths to ask for are those that the fixtures hold and one that the input
 * itself names: what stands in front of its first "sock".
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "driver/firecracker_state.h"
#include "util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool holds)
{
	if (!holds)
		abort(); /* libFuzzer keeps the input and prints the stack */
}

static const uint64_t cids[] = {3, 99, 255, 256, 4000, 65535, 65536, 0x7fffff01, 0xfffffffe};

/* A failure says why and sets a published code; anything else is a bug. */
static void demand_reason(const struct vm_err *err)
{
	demand(err->message[0] != '\0');
	demand(err->code == VM_ERR_CORRUPT || err->code == VM_ERR_UNSUPPORTED ||
	       err->code == VM_ERR_INCOMPATIBLE);
}

static size_t common_prefix(const uint8_t *a, const uint8_t *b, size_t n)
{
	size_t i = 0;

	while (i < n && a[i] == b[i])
		i++;
	return i;
}

static size_t common_suffix(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
	size_t i = 0;

	while (i < a_len && i < b_len && a[a_len - 1 - i] == b[b_len - 1 - i])
		i++;
	return i;
}

/* All that changed between two bodies lies in one span of at most nine bytes. */
static void demand_one_small_change(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
	size_t shorter = a_len < b_len ? a_len : b_len;
	size_t front = common_prefix(a, b, shorter);
	size_t back = common_suffix(a, a_len, b, b_len);

	demand(front + back >= a_len || a_len - front - back <= 9);
	demand(front + back >= b_len || b_len - front - back <= 9);
}

/* Back to the old CID is back to the file, unless its packed CID was wider than need be. */
static void demand_way_back(const uint8_t *data, size_t size, const void *copy, size_t len,
                            const char *path, uint64_t cid, uint64_t new_cid)
{
	struct vm_err err = {0};
	void *back = NULL;
	size_t back_len = 0;

	if (cid > 0xfffffffe) /* may be found, but is not given */
		return;
	demand(vm_fc_state_set_cid(copy, len, path, new_cid, cid, &back, &back_len, &err) == 0);
	demand(back_len <= size);
	demand(back_len < size || memcmp(back, data, size) == 0);
	free(back);
}

static void demand_rewrite(const uint8_t *data, size_t size, const char *path, uint64_t cid,
                           uint64_t new_cid)
{
	struct vm_err err = {0};
	void *copy = NULL;
	size_t len = 0;
	uint64_t found = 0;

	if (vm_fc_state_set_cid(data, size, path, cid, new_cid, &copy, &len, &err)) {
		/* only a copy that does not read back (twice the path, a CRC like padding) */
		demand(strstr(err.message, "rewritten") && !copy);
		demand_reason(&err);
		return;
	}
	demand(vm_fc_state_crc(copy, len) == 0);
	demand(len <= size + 3 && size <= len + 8);
	demand_one_small_change(data, size - 8, copy, len - 8);
	demand(vm_fc_state_get_cid(copy, len, path, &found, &err) == 0);
	demand(found == new_cid);
	demand_way_back(data, size, copy, len, path, cid, new_cid);
	free(copy);
}

static void try_path(const uint8_t *data, size_t size, const char *path)
{
	struct vm_err err = {0};
	uint64_t cid = 0;
	void *copy = NULL;
	size_t len = 0;

	if (vm_fc_state_get_cid(data, size, path, &cid, &err)) {
		demand_reason(&err);
		vm_err_clear(&err);
		demand(vm_fc_state_set_cid(data, size, path, 3, 99, &copy, &len, &err) == -1);
		demand(!copy);
		return;
	}
	demand(cid >= 3 && cid <= 0xffffffff);
	demand(vm_fc_state_set_cid(data, size, path, cid + 1, 99, &copy, &len, &err) == -1);
	demand(err.code == VM_ERR_INCOMPATIBLE && !copy);
	for (size_t i = 0; i < VM_ARRAY_LEN(cids); i++)
		demand_rewrite(data, size, path, cid, cids[i]);
}

/* A path as the input holds it, so that mutated lengths and paths find each other. */
static void try_own_path(const uint8_t *data, size_t size)
{
	const uint8_t *last = memmem(data, size, ".sock", 5);
	char path[120];
	size_t start, len;

	if (!last)
		return;
	start = (size_t)(last - data);
	while (start > 0 && data[start - 1] > ' ' && data[start - 1] < 0x7f)
		start--;
	len = (size_t)(last - data) + 5 - start;
	if (len >= sizeof(path))
		return;
	memcpy(path, data + start, len);
	path[len] = '\0';
	for (size_t i = 0; i < 3 && path[i]; i++) /* the first may be a length byte that prints */
		try_path(data, size, path + i);
}

static void try_all(const uint8_t *data, size_t size)
{
	struct vm_fc_state_info info;
	struct vm_err err = {0};

	if (vm_fc_state_check(data, size, &info, &err)) {
		demand_reason(&err);
	} else {
		demand(vm_fc_state_crc(data, size) == 0);
		demand(memchr(info.format, '\0', sizeof(info.format)));
		demand(strlen(info.format) >= 5);
	}
	try_path(data, size, "vsock.sock");
	try_path(data, size, "/vsock.sock");
	try_own_path(data, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *sealed;
	uint64_t crc;

	try_all(data, size);
	if (size < 8)
		return 0;
	sealed = malloc(size);
	demand(sealed != NULL);
	memcpy(sealed, data, size);
	crc = vm_fc_state_crc(sealed, size - 8);
	for (size_t i = 0; i < 8; i++)
		sealed[size - 8 + i] = (uint8_t)(crc >> 8 * i);
	try_all(sealed, size);
	free(sealed);
	return 0;
}
