/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer target for the state file code. An input is a whole state file; seeds are the fixtures:
 *
 *   fuzz_firecracker_state -max_len=20000 WORKDIR test/fixtures/vmstate
 *
 * No mutated file has a right checksum, so every input is tried as it is and once more with a
 * trailer that fits. Paths to ask for are those that the fixtures hold and one that the input
 * itself names: what stands in front of its first "sock"; and what the structure has.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "driver/driver.h"
#include "driver/firecracker_state.h"
#include "driver/state.h"
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

/* --- by the structure ------------------------------------------------------------------------ */

/* What was relative and got longer in between comes back padded. */
static bool same_text(const char *was, const char *is)
{
	char *padded = malloc(strlen(is) + 1);
	bool same = strcmp(was, is) == 0 ||
	            (strlen(was) < strlen(is) && vm_state_pad(was, strlen(is), padded) &&
	             strcmp(padded, is) == 0);

	free(padded);
	return same;
}

static void demand_same_info(const struct vm_state_info *a, const struct vm_state_info *b)
{
	demand(a->count == b->count && a->memory_bytes == b->memory_bytes);
	demand(a->vcpus == b->vcpus && a->guest_cid == b->guest_cid);
	for (size_t i = 0; i < a->count; i++) {
		const struct vm_state_path *x = &a->paths[i], *y = &b->paths[i];

		demand(x->kind == y->kind && x->root == y->root && x->read_only == y->read_only);
		demand(strcmp(x->id, y->id) == 0 && same_text(x->text, y->text));
	}
}

/* Makes every byte of every path that can be changed another one; nothing else may differ. */
static void demand_equal_length(const uint8_t *data, size_t size, const struct vm_state_info *info)
{
	const char **texts = calloc(info->count + 1, sizeof(*texts));
	char *expected = malloc(size);
	struct vm_err err = {0};
	void *copy = NULL;
	size_t len = 0;

	demand(texts && expected);
	memcpy(expected, data, size);
	for (size_t i = 0; i < info->count; i++) {
		const struct vm_state_path *path = &info->paths[i];
		char *text = strdup(path->text);

		demand(text != NULL);
		demand(path->at + strlen(text) <= size - 8);
		demand(memcmp(data + path->at, text, strlen(text)) == 0);
		if (path->kind == VM_STATE_BOOT_ARGS ||
		    (path->kind == VM_STATE_VSOCK && strlen(text) > 107)) {
			free(text);
			continue;
		}
		memset(text, 'z', strlen(text));
		memcpy(expected + path->at, text, strlen(text));
		texts[i] = text;
	}
	if (vm_fc_state_rewrite(data, size, info, texts, 0, &copy, &len, &err)) {
		/* a new checksum that looks like padding, or one more way to read it */
		demand_reason(&err);
		demand(!copy);
	} else {
		demand(len == size && memcmp(copy, expected, size - 8) == 0);
	}
	for (size_t i = 0; i < info->count; i++)
		free((char *)(uintptr_t)texts[i]);
	free(texts);
	free(expected);
	free(copy);
}

/* Other lengths and another CID, and back: all that is recorded is what it was. */
static void demand_other_lengths(const uint8_t *data, size_t size, const struct vm_state_info *info,
                                 const char *text)
{
	const char **there = calloc(info->count + 1, sizeof(*there));
	const char **back = calloc(info->count + 1, sizeof(*back));
	uint64_t cid = info->guest_cid && info->guest_cid < 0xffffffff ? 4000 : 0;
	struct vm_state_info now = {0}, then = {0};
	void *copy = NULL, *again = NULL;
	struct vm_err err = {0};
	size_t len, again_len;

	demand(there && back);
	for (size_t i = 0; i < info->count; i++) {
		if (info->paths[i].kind == VM_STATE_BOOT_ARGS)
			continue;
		there[i] = text;
		back[i] = info->paths[i].text;
	}
	if (vm_fc_state_rewrite(data, size, info, there, cid, &copy, &len, &err) == 0) {
		demand(vm_fc_state_crc(copy, len) == 0);
		demand(vm_fc_state_describe(copy, len, &now, &err) == 0);
		demand(now.guest_cid == (cid ? cid : info->guest_cid));
		if (vm_fc_state_rewrite(copy, len, &now, back, cid ? info->guest_cid : 0, &again,
		                        &again_len, &err) == 0) {
			demand(vm_fc_state_describe(again, again_len, &then, &err) == 0);
			demand_same_info(info, &then);
		}
	}
	free(again);
	free(copy);
	vm_state_info_free(&now);
	vm_state_info_free(&then);
	free(there);
	free(back);
}

static void try_structure(const uint8_t *data, size_t size)
{
	static char longer[] = "/a/path/that/is/longer/than/most/recorded/ones/are/but/not/too/long"
	                       "/for/a/socket";
	struct vm_state_info info = {0};
	struct vm_err err = {0};
	uint64_t cid = 0;

	if (vm_fc_state_describe(data, size, &info, &err)) {
		demand_reason(&err);
		demand(info.paths == NULL);
		return;
	}
	demand(info.count > 0 && info.memory_bytes > 0);
	if (info.guest_cid) {
		demand(vm_fc_state_get_cid(data, size, NULL, &cid, &err) == 0);
		demand(cid == info.guest_cid);
	}
	demand_equal_length(data, size, &info);
	demand_other_lengths(data, size, &info, longer);
	demand_other_lengths(data, size, &info, "/");
	vm_state_info_free(&info);
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
	try_structure(data, size);
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
