/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bitcode: what a list of structs holds is stored by columns. Where there is one machine the fields
 * still come one after another; the drives are a list, so first come all their ids, then all of the
 * next field, and so on. docs/state-file.md has the layout of each column.
 */
#include <string.h>

#include "../util.h"
#include "firecracker_paths_impl.h"

enum {
	LENGTH_LONG = 255, /* a length that did not fit: it follows as an integer */
	UNPACKED_MAX = 2,  /* columns of so few bytes are never packed */
};

/* An integer: a byte that says the width, then the value. */
static bool take_packed(struct vm_fc_cursor *cursor, uint64_t *ret)
{
	struct vm_fc_cid_place place;
	struct vm_err ignored = {0};

	if (vm_fc_state_read_packed(cursor->st, cursor->at, &place, &ignored) < 0)
		return false;
	cursor->at += place.size;
	*ret = place.cid;
	return true;
}

/*
 * A column of n bytes. From three on a byte in front says how they are packed: as they are, or
 * several in a byte, as digits of a number of the base 16, 6, 4, 3 or 2. *ret_raw_at: where the
 * first stands if they are as they are, else 0.
 */
static bool take_bytes(struct vm_fc_cursor *cursor, size_t n, uint8_t *ret, size_t *ret_raw_at)
{
	static const struct {
		uint8_t mode, base, in_a_byte;
	} packings[] = {{0, 0, 1}, {2, 16, 2}, {4, 6, 3}, {6, 4, 4}, {8, 3, 5}, {10, 2, 8}};
	const uint8_t *p;
	uint8_t mode = 0;
	size_t which = 0;

	if (n > UNPACKED_MAX && !vm_fc_take_byte(cursor, UINT8_MAX, &mode))
		return false;
	while (which < VM_ARRAY_LEN(packings) && packings[which].mode != mode)
		which++;
	if (which == VM_ARRAY_LEN(packings))
		return false;
	*ret_raw_at = mode == 0 ? cursor->at : 0;
	if (!vm_fc_take(cursor, (n + packings[which].in_a_byte - 1) / packings[which].in_a_byte,
	                &p))
		return false;
	for (size_t i = 0; i < n; i++) {
		unsigned digits = p[i / packings[which].in_a_byte];

		if (mode == 0) {
			ret[i] = (uint8_t)digits;
			continue;
		}
		for (size_t skip = i % packings[which].in_a_byte; skip > 0; skip--)
			digits /= packings[which].base;
		ret[i] = (uint8_t)(digits % packings[which].base);
	}
	return true;
}

/* A column of n bytes, all at most `max`. */
static bool take_small(struct vm_fc_cursor *cursor, size_t n, unsigned max)
{
	uint8_t bytes[VM_FC_DRIVES_MAX];
	size_t raw_at;

	if (!take_bytes(cursor, n, bytes, &raw_at))
		return false;
	for (size_t i = 0; i < n; i++) {
		if (bytes[i] > max)
			return false;
	}
	return true;
}

/* n flags, eight in a byte. */
static bool take_flags(struct vm_fc_cursor *cursor, size_t n, const uint8_t **ret)
{
	return vm_fc_take(cursor, (n + 7) / 8, ret);
}

/* A column of n strings: their lengths, the long ones once more, then all texts. */
static bool take_strings(struct vm_fc_cursor *cursor, size_t n, struct vm_fc_text *ret)
{
	uint8_t lengths[VM_FC_DRIVES_MAX];
	uint64_t length = 0;
	size_t raw_at;

	if (!take_bytes(cursor, n, lengths, &raw_at))
		return false;
	for (size_t i = 0; i < n; i++) {
		ret[i] = (struct vm_fc_text){.len = lengths[i],
		                             .length_at = raw_at ? raw_at + i : 0};
		if (lengths[i] != LENGTH_LONG)
			continue;
		/* Of several the long lengths would be a column of integers: not measured. */
		if (n != 1 || !take_packed(cursor, &length) || length < LENGTH_LONG ||
		    length > VM_FC_PATH_MAX)
			return false;
		ret[i].len = (size_t)length;
		ret[i].length_at = 0;
	}
	for (size_t i = 0; i < n; i++) {
		ret[i].at = cursor->at;
		if (!vm_fc_take(cursor, ret[i].len, &ret[i].bytes))
			return false;
	}
	return true;
}

static bool take_optional(struct vm_fc_cursor *cursor, struct vm_fc_text *ret)
{
	uint8_t some;

	*ret = (struct vm_fc_text){0};
	return vm_fc_take_byte(cursor, 1, &some) && (!some || take_strings(cursor, 1, ret));
}

static int machine(const struct vm_fc_state *st, struct vm_state_info *info, struct vm_err *err)
{
	struct vm_fc_cursor cursor = {.st = st, .at = st->body};
	struct vm_fc_text kernel, initrd, boot_args;
	uint8_t smt, template;
	uint64_t mib;

	if (!take_packed(&cursor, &mib) || !vm_fc_take_byte(&cursor, 1, &smt) ||
	    !vm_fc_take_byte(&cursor, UINT8_MAX, &template) || !take_strings(&cursor, 1, &kernel) ||
	    !vm_fc_is_path(&kernel) || !take_optional(&cursor, &initrd) ||
	    !take_optional(&cursor, &boot_args))
		return vm_err_set(err, VM_ERR_INCOMPATIBLE,
		                  "the state holds no memory size and kernel where they must be");
	return vm_fc_set_machine(info, mib, &kernel, &initrd, err);
}

struct drives {
	struct vm_fc_text ids[VM_FC_DRIVES_MAX], again[VM_FC_DRIVES_MAX], paths[VM_FC_DRIVES_MAX];
	uint64_t features[VM_FC_DRIVES_MAX];
	const uint8_t *roots;
	uint8_t count;
};

static bool ids_agree(const struct drives *drives)
{
	for (size_t i = 0; i < drives->count; i++) {
		const struct vm_fc_text *id = &drives->ids[i], *again = &drives->again[i];

		if (!vm_fc_is_id(id) || id->len != again->len ||
		    memcmp(id->bytes, again->bytes, id->len) != 0)
			return false;
	}
	return true;
}

/* The features of virtio have more than 32 bits, so each takes eight bytes behind the width. */
static bool take_features(struct vm_fc_cursor *cursor, struct drives *drives)
{
	uint8_t width;

	if (!vm_fc_take_byte(cursor, 0, &width))
		return false;
	for (size_t i = 0; i < drives->count; i++) {
		if (!vm_fc_take_u64(cursor, &drives->features[i]))
			return false;
	}
	return true;
}

/*
 * How many; ids; kinds of block device (all files); ids once more; partition UUIDs (none); cache
 * types; root flags; paths; types of virtio devices (all 1, the second kind there is); features.
 */
static bool take_drives(struct vm_fc_cursor *cursor, struct drives *ret)
{
	size_t n;

	if (!vm_fc_take_byte(cursor, VM_FC_DRIVES_MAX, &ret->count) || ret->count == 0)
		return false;
	n = ret->count;
	if (!take_strings(cursor, n, ret->ids) || !take_small(cursor, n, 0) ||
	    !take_strings(cursor, n, ret->again) || !ids_agree(ret) || !take_small(cursor, n, 0) ||
	    !take_small(cursor, n, 1) || !take_flags(cursor, n, &ret->roots) ||
	    !take_strings(cursor, n, ret->paths) || !take_small(cursor, n, 1) ||
	    !take_features(cursor, ret))
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!vm_fc_is_path(&ret->paths[i]))
			return false;
	}
	return true;
}

static int add_drives(const struct drives *drives, struct vm_state_info *info, struct vm_err *err)
{
	for (size_t i = 0; i < drives->count; i++) {
		const struct vm_fc_drive drive = {
		        .id = drives->ids[i],
		        .path = drives->paths[i],
		        .root = drives->roots[i / 8] >> i % 8 & 1,
		        .features = drives->features[i],
		};

		if (vm_fc_add_disk(info, &drive, err) < 0)
			return -1;
	}
	return 0;
}

/* The list of drives is the one place where all these columns fit. */
static int find_drives(const struct vm_fc_state *st, struct vm_state_info *info, struct vm_err *err)
{
	struct drives drives = {0};
	size_t found = 0;

	for (size_t at = st->body; at < st->end; at++) {
		struct vm_fc_cursor cursor = {.st = st, .at = at};
		struct drives one;

		if (!take_drives(&cursor, &one))
			continue;
		drives = one;
		found++;
	}
	if (found > 1)
		return vm_err_set(err, VM_ERR_INCOMPATIBLE,
		                  "the state holds %zu places that look like the list of drives: "
		                  "which one is it cannot be told",
		                  found);
	return found == 1 ? add_drives(&drives, info, err) : 0;
}

/* Id, path, five bytes that are the same in every state seen, and the CID. */
static bool take_vsock(struct vm_fc_cursor *cursor, struct vm_fc_vsock *ret)
{
	static const uint8_t between[] = {0x00, 0xff, 0xff, 0xff, 0x3f};
	struct vm_fc_text id;
	const uint8_t *gap;

	if (!take_strings(cursor, 1, &id) || !vm_fc_is_vsock_id(&id) ||
	    !take_strings(cursor, 1, &ret->path) || !vm_fc_is_path(&ret->path) ||
	    ret->path.len > VM_FC_UDS_MAX || !vm_fc_take(cursor, sizeof(between), &gap) ||
	    memcmp(gap, between, sizeof(between)) != 0)
		return false;
	ret->cid_at = cursor->at;
	return take_packed(cursor, &ret->cid);
}

int vm_fc_describe_bitcode(const struct vm_fc_state *st, struct vm_state_info *info,
                           struct vm_err *err)
{
	if (machine(st, info, err) < 0 || find_drives(st, info, err) < 0)
		return -1;
	return vm_fc_find_vsock(st, take_vsock, info, err);
}
