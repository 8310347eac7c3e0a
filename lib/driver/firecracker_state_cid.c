/* SPDX-License-Identifier: Apache-2.0 */
/* The guest CID of a state: behind a known socket path, or where the structure has it. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "firecracker_state_impl.h"
#include "util.h"

/* The device id in front of the socket path; Firecracker knows only one vsock and this one id. */
static const uint8_t bitcode_id[] = {5, 'v', 's', 'o', 'c', 'k'};
/* What stands between the socket path and the packed CID in every bitcode state seen. */
static const uint8_t bitcode_gap[] = {0x00, 0xff, 0xff, 0xff, 0x3f};

/* Where a state holds its guest CID. */
struct cid_place {
	size_t offset;
	size_t size; /* bytes it takes, with bitcode's width byte */
	uint64_t cid;
};

/*
 * Writes the bytes that must stand before the CID: a string is only where its length says that one
 * starts, so a path that is merely part of another string does not match. Returns their number.
 */
static size_t make_needle(enum vm_fc_encoding encoding, const char *path, size_t path_len,
                          uint8_t needle[static VM_FC_UDS_PATH_MAX + 16])
{
	uint8_t *p = needle;

	if (encoding == VM_FC_BINCODE) {
		vm_fc_write_le64(p, path_len);
		p += sizeof(uint64_t);
		memcpy(p, path, path_len);
		return (size_t)(p - needle) + path_len;
	}
	/* One length byte alone could be the last character before a suffix of another path ('/' is
	 * 47), so the device id before it belongs to the pattern. */
	memcpy(p, bitcode_id, sizeof(bitcode_id));
	p += sizeof(bitcode_id);
	*p++ = (uint8_t)path_len;
	memcpy(p, path, path_len);
	p += path_len;
	memcpy(p, bitcode_gap, sizeof(bitcode_gap));
	return (size_t)(p - needle) + sizeof(bitcode_gap);
}

/* bitcode's integer: one byte that says the width (of up to 8), then the value. */
static int read_packed(const struct vm_fc_state *st, size_t at, struct cid_place *ret_place,
                       struct vm_err *err)
{
	static const uint8_t width_of[] = {[0] = 8, [2] = 4, [4] = 2, [6] = 1};
	uint8_t tag = at < st->end ? st->bytes[at] : UINT8_MAX;
	size_t width = tag < VM_ARRAY_LEN(width_of) ? width_of[tag] : 0;
	uint64_t value = 0;

	if (width == 0 || width > st->end - at - 1)
		return vm_err_set(err, VM_ERR_INCOMPATIBLE,
		                  "state file holds no packed integer behind the vsock path, at "
		                  "offset %zu",
		                  at);
	for (size_t i = 0; i < width; i++)
		value |= (uint64_t)st->bytes[at + 1 + i] << (8 * i);
	*ret_place = (struct cid_place){.offset = at, .size = 1 + width, .cid = value};
	return 0;
}

static int check_place(const struct cid_place *place, struct vm_err *err)
{
	if (place->cid >= VM_FC_CID_MIN && place->cid <= VM_FC_CID_MAX)
		return 0;
	return vm_err_set(err, VM_ERR_INCOMPATIBLE,
	                  "state file holds %" PRIu64 " behind the vsock path, at offset %zu, "
	                  "which is no guest CID",
	                  place->cid, place->offset);
}

static int read_place(const struct vm_fc_state *st, size_t at, struct cid_place *ret_place,
                      struct vm_err *err)
{
	struct cid_place place = {0};

	if (st->info.encoding == VM_FC_BITCODE) {
		if (read_packed(st, at, &place, err))
			return -1;
	} else if (st->end - at < sizeof(uint64_t)) {
		return vm_err_set(err, VM_ERR_INCOMPATIBLE,
		                  "state file ends behind the vsock path, at offset %zu", at);
	} else {
		place = (struct cid_place){.offset = at,
		                           .size = sizeof(uint64_t),
		                           .cid = vm_fc_read_le64(st->bytes + at)};
	}
	*ret_place = place;
	return check_place(&place, err);
}

static int find_cid(const struct vm_fc_state *st, const char *uds_path, struct cid_place *ret_place,
                    struct vm_err *err)
{
	uint8_t needle[VM_FC_UDS_PATH_MAX + 16];
	size_t path_len = strnlen(uds_path, VM_FC_UDS_PATH_MAX + 1);
	const uint8_t *end = st->bytes + st->end;
	const uint8_t *start = st->bytes + st->body;
	const uint8_t *first;
	const uint8_t *second;
	size_t needle_len;

	if (path_len == 0 || path_len > VM_FC_UDS_PATH_MAX)
		return vm_err_set(err, VM_ERR_INCOMPATIBLE,
		                  "no state file holds a vsock path of this length: it has 1 to %d "
		                  "bytes, not %zu%s",
		                  VM_FC_UDS_PATH_MAX, path_len, path_len ? " or more" : "");
	needle_len = make_needle(st->info.encoding, uds_path, path_len, needle);
	first = memmem(start, (size_t)(end - start), needle, needle_len);
	if (!first) {
		vm_err_set(err, VM_ERR_INCOMPATIBLE,
		           "state file (format %s) holds no vsock with the socket path '%s'",
		           st->info.format, uds_path);
		return vm_err_hint(err, "give the path exactly as it was configured when the "
		                        "snapshot was made");
	}
	second = memmem(first + 1, (size_t)(end - first - 1), needle, needle_len);
	if (second)
		return vm_err_set(err, VM_ERR_INCOMPATIBLE,
		                  "state file holds the path '%s' twice, at offsets %zu and %zu: "
		                  "which one is the vsock's cannot be told",
		                  uds_path, (size_t)(first - st->bytes),
		                  (size_t)(second - st->bytes));
	return read_place(st, (size_t)(first - st->bytes) + needle_len, ret_place, err);
}

static int find_by_structure(const struct vm_fc_state *st, struct cid_place *ret_place,
                             struct vm_err *err)
{
	struct vm_fc_walk walk = {0};
	size_t i = 0;
	int rc;

	if (vm_fc_state_walk(st, &walk, err))
		return -1;
	while (i < walk.field_count && walk.fields[i].mark != VM_FC_GUEST_CID)
		i++;
	if (i == walk.field_count) {
		rc = vm_err_set(err, VM_ERR_INCOMPATIBLE,
		                "state file (format %s) is of a microVM without vsock",
		                st->info.format);
	} else {
		*ret_place = (struct cid_place){.offset = walk.fields[i].offset,
		                                .size = walk.fields[i].size,
		                                .cid = walk.fields[i].value};
		rc = check_place(ret_place, err);
	}
	vm_fc_walk_free(&walk);
	return rc;
}

static int open_and_find(const void *data, size_t len, const char *uds_path,
                         struct vm_fc_state *ret_state, struct cid_place *ret_place,
                         struct vm_err *err)
{
	if (vm_fc_state_open(data, len, ret_state, err) ||
	    vm_fc_state_require_known(ret_state, err))
		return -1;
	return uds_path ? find_cid(ret_state, uds_path, ret_place, err)
	                : find_by_structure(ret_state, ret_place, err);
}

int vm_fc_state_get_cid(const void *data, size_t len, const char *uds_path, uint64_t *ret_cid,
                        struct vm_err *err)
{
	struct cid_place place = {0};
	struct vm_fc_state st = {0};

	if (open_and_find(data, len, uds_path, &st, &place, err))
		return -1;
	*ret_cid = place.cid;
	return 0;
}

/* Encodes as Firecracker does, in bitcode with the narrowest width. Returns the number of bytes. */
size_t vm_fc_state_encode_cid(enum vm_fc_encoding encoding, uint64_t cid, uint8_t buf[static 9])
{
	if (encoding == VM_FC_BINCODE) {
		vm_fc_write_le64(buf, cid);
		return sizeof(uint64_t);
	}
	vm_fc_write_le64(buf + 1, cid);
	if (cid <= UINT8_MAX) {
		buf[0] = 6;
		return 1 + 1;
	}
	if (cid <= UINT16_MAX) {
		buf[0] = 4;
		return 1 + 2;
	}
	buf[0] = 2;
	return 1 + 4;
}

/* What was written must be found by the same road that every later reader takes. */
static int verify_copy(const uint8_t *copy, size_t len, const char *uds_path, uint64_t cid,
                       struct vm_err *err)
{
	uint64_t found;

	if (vm_fc_state_get_cid(copy, len, uds_path, &found, err))
		return vm_err_wrap(err, "checking the rewritten state file");
	if (found != cid)
		return vm_err_set(err, VM_ERR_INCOMPATIBLE,
		                  "the rewritten state file reads back guest CID %" PRIu64
		                  " instead of %" PRIu64,
		                  found, cid);
	return 0;
}

int vm_fc_state_check_cid(uint64_t cid, struct vm_err *err)
{
	if (cid >= VM_FC_CID_MIN && cid < VM_FC_CID_MAX)
		return 0;
	return vm_err_set(err, VM_ERR_USAGE,
	                  "%" PRIu64 " is no guest CID: it must be from %d to %" PRIu64, cid,
	                  VM_FC_CID_MIN, VM_FC_CID_MAX - 1);
}

int vm_fc_state_set_cid(const void *data, size_t len, const char *uds_path, uint64_t old_cid,
                        uint64_t new_cid, void **ret_data, size_t *ret_len, struct vm_err *err)
{
	VM_AUTO_FREE uint8_t *copy = NULL;
	struct cid_place place = {0};
	struct vm_fc_state st = {0};
	uint8_t cid[9];
	size_t cid_size, tail, copy_len;

	if (vm_fc_state_check_cid(new_cid, err))
		return -1;
	if (open_and_find(data, len, uds_path, &st, &place, err))
		return -1;
	if (place.cid != old_cid)
		return vm_err_set(err, VM_ERR_INCOMPATIBLE,
		                  "state file holds guest CID %" PRIu64
		                  " at offset %zu, not %" PRIu64,
		                  place.cid, place.offset, old_cid);
	cid_size = vm_fc_state_encode_cid(st.info.encoding, new_cid, cid);
	tail = st.end - place.offset - place.size;
	copy_len = len - place.size + cid_size;
	copy = vm_calloc(1, copy_len, err);
	if (!copy)
		return -1;
	memcpy(copy, st.bytes, place.offset);
	memcpy(copy + place.offset, cid, cid_size);
	memcpy(copy + place.offset + cid_size, st.bytes + place.offset + place.size, tail);
	vm_fc_write_le64(copy + copy_len - VM_FC_TRAILER_LEN,
	                 vm_fc_state_crc(copy, copy_len - VM_FC_TRAILER_LEN));
	if (verify_copy(copy, copy_len, uds_path, new_cid, err))
		return -1;
	*ret_data = vm_take_ptr(&copy);
	*ret_len = copy_len;
	return 0;
}
