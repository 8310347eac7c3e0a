/* SPDX-License-Identifier: Apache-2.0 */
#include "firecracker_state_impl.h"

#include <endian.h>
#include <inttypes.h>
#include <isa-l/crc64.h>
#include <stdlib.h>
#include <string.h>

#include "util.h"

enum {
	MAGIC_LEN = 8,
	VERSION_MIN = 5, /* "4.0.0" */
};

#define CID_MAX UINT64_C(0xffffffff)

/* Little-endian 0x0710198486640000: the architecture is the two bytes at offset 2. */
static const uint8_t magic_x86_64[MAGIC_LEN] = {0x00, 0x00, 0x64, 0x86, 0x84, 0x19, 0x10, 0x07};

/* The device id in front of the socket path; Firecracker knows only one vsock and this one id. */
static const uint8_t bitcode_id[] = {5, 'v', 's', 'o', 'c', 'k'};
/* What stands between the socket path and the packed CID in every bitcode state seen. */
static const uint8_t bitcode_gap[] = {0x00, 0xff, 0xff, 0xff, 0x3f};

uint64_t vm_fc_state_crc(const void *data, size_t len)
{
	/* ISA-L inverts the register before and after; undoing both leaves init 0 and no final xor.
	 */
	return len ? ~crc64_jones_refl(~UINT64_C(0), data, len) : 0;
}

static uint64_t read_le64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static void write_le64(uint8_t *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

static int check_trailer(const uint8_t *bytes, size_t len, struct vm_err *err)
{
	size_t end;
	uint64_t stored;
	uint64_t computed;

	if (len < MAGIC_LEN + 1 + VERSION_MIN + VM_FC_TRAILER)
		return vm_err_set(err, VM_ERR_CORRUPT,
		                  "state file is too short: %zu bytes do not hold a header and a "
		                  "checksum",
		                  len);
	end = len - VM_FC_TRAILER;
	stored = read_le64(bytes + end);
	computed = vm_fc_state_crc(bytes, end);
	if (stored != computed)
		return vm_err_set(err, VM_ERR_CORRUPT,
		                  "state file is damaged: the checksum at offset %zu is %016" PRIx64
		                  ", the bytes before it give %016" PRIx64,
		                  end, stored, computed);
	/*
	 * The CRC register of an intact file is 0 and zero bytes keep it there: padding is
	 * invisible to the comparison above. A genuine CRC with a zero upper half is a matter of 1
	 * in 2^32.
	 */
	if (stored >> 32 == 0)
		return vm_err_set(
		        err, VM_ERR_CORRUPT,
		        "state file is padded with zero bytes up to its end at offset %zu", len);
	return 0;
}

static bool is_version(const uint8_t *s, size_t len)
{
	unsigned dots = 0;
	bool digit_before = false;

	for (size_t i = 0; i < len; i++) {
		if (s[i] >= '0' && s[i] <= '9') {
			digit_before = true;
		} else if (s[i] == '.' && digit_before) {
			dots++;
			digit_before = false;
		} else {
			return false;
		}
	}
	return dots == 2 && digit_before;
}

static int unknown_magic(const uint8_t *bytes, struct vm_err *err)
{
	/* bitcode puts one zero byte in front of the magic */
	for (size_t shift = 0; shift < 2; shift++) {
		if (memcmp(bytes + shift + 4, magic_x86_64 + 4, 4) != 0)
			continue;
		vm_err_set(err, VM_ERR_UNSUPPORTED,
		           "state file is for another architecture (%02x%02x at offset %zu; x86_64 "
		           "is 8664)",
		           bytes[shift + 3], bytes[shift + 2], shift + 2);
		return vm_err_hint(err, "restore it on a host of the architecture it was made on");
	}
	vm_err_set(err, VM_ERR_UNSUPPORTED,
	           "state file has no known magic: it begins with %02x %02x %02x %02x %02x %02x "
	           "%02x %02x",
	           bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]);
	return vm_err_hint(err, "make the snapshot with Firecracker 1.10 to 1.16 on x86_64");
}

static int parse_header(struct vm_fc_state *st, struct vm_err *err)
{
	const uint8_t *bytes = st->bytes;
	uint64_t version_len;
	size_t at;

	if (memcmp(bytes, magic_x86_64, MAGIC_LEN) == 0) {
		st->info.encoding = VM_FC_BINCODE;
		version_len =
		        read_le64(bytes + MAGIC_LEN); /* at worst the trailer: see check_trailer */
		at = MAGIC_LEN + sizeof(uint64_t);
	} else if (bytes[0] == 0 && memcmp(bytes + 1, magic_x86_64, MAGIC_LEN) == 0) {
		st->info.encoding = VM_FC_BITCODE;
		version_len = bytes[1 + MAGIC_LEN];
		at = 1 + MAGIC_LEN + 1;
	} else {
		return unknown_magic(bytes, err);
	}
	if (version_len < VERSION_MIN || version_len >= sizeof(st->info.format) || at > st->end ||
	    version_len > st->end - at || !is_version(bytes + at, (size_t)version_len))
		return vm_err_set(
		        err, VM_ERR_CORRUPT,
		        "state file has no version string (of the form 6.0.0) at offset %zu", at);
	memcpy(st->info.format, bytes + at, (size_t)version_len);
	st->body = at + (size_t)version_len;
	return 0;
}

int vm_fc_state_open(const void *data, size_t len, struct vm_fc_state *ret_state,
                     struct vm_err *err)
{
	struct vm_fc_state st = {.bytes = data};

	/* The checksum first: what a damaged header says is not worth interpreting. */
	if (check_trailer(st.bytes, len, err))
		return -1;
	st.end = len - VM_FC_TRAILER;
	if (parse_header(&st, err))
		return -1;
	*ret_state = st;
	return 0;
}

int vm_fc_state_check(const void *data, size_t len, struct vm_fc_state_info *ret_info,
                      struct vm_err *err)
{
	struct vm_fc_state st = {0};

	if (vm_fc_state_open(data, len, &st, err))
		return -1;
	*ret_info = st.info;
	return 0;
}

int vm_fc_state_known(const struct vm_fc_state *st, struct vm_err *err)
{
	unsigned long major = strtoul(st->info.format, NULL, 10);
	bool bincode = st->info.encoding == VM_FC_BINCODE;

	if (bincode ? major >= 4 && major <= 8 : major == 9 || major == 10)
		return 0;
	vm_err_set(err, VM_ERR_UNSUPPORTED,
	           "state format %s (%s) is not known: what it holds cannot be found",
	           st->info.format, bincode ? "bincode" : "bitcode");
	return vm_err_hint(err, "known are formats 4 to 8 (bincode) and 9 to 10 (bitcode), from "
	                        "Firecracker 1.10 to 1.16");
}

/*
 * Writes the bytes that must stand before the CID: a string is only where its length says that one
 * starts, so a path that is merely part of another string does not match. Returns their number.
 */
static size_t make_needle(enum vm_fc_encoding encoding, const char *path, size_t path_len,
                          uint8_t needle[static VM_FC_UDS_MAX + 16])
{
	uint8_t *p = needle;

	if (encoding == VM_FC_BINCODE) {
		write_le64(p, path_len);
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
int vm_fc_state_read_packed(const struct vm_fc_state *st, size_t at,
                            struct vm_fc_cid_place *ret_place, struct vm_err *err)
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
	*ret_place = (struct vm_fc_cid_place){.offset = at, .size = 1 + width, .cid = value};
	return 0;
}

static int read_place(const struct vm_fc_state *st, size_t at, struct vm_fc_cid_place *ret_place,
                      struct vm_err *err)
{
	struct vm_fc_cid_place place = {0};

	if (st->info.encoding == VM_FC_BITCODE) {
		if (vm_fc_state_read_packed(st, at, &place, err))
			return -1;
	} else if (st->end - at < sizeof(uint64_t)) {
		return vm_err_set(err, VM_ERR_INCOMPATIBLE,
		                  "state file ends behind the vsock path, at offset %zu", at);
	} else {
		place = (struct vm_fc_cid_place){
		        .offset = at, .size = sizeof(uint64_t), .cid = read_le64(st->bytes + at)};
	}
	if (place.cid < VM_FC_CID_MIN || place.cid > CID_MAX)
		return vm_err_set(err, VM_ERR_INCOMPATIBLE,
		                  "state file holds %" PRIu64 " behind the vsock path, at offset "
		                  "%zu, which is no guest CID",
		                  place.cid, place.offset);
	*ret_place = place;
	return 0;
}

static int find_cid(const struct vm_fc_state *st, const char *uds_path,
                    struct vm_fc_cid_place *ret_place, struct vm_err *err)
{
	uint8_t needle[VM_FC_UDS_MAX + 16];
	size_t path_len = strnlen(uds_path, VM_FC_UDS_MAX + 1);
	const uint8_t *end = st->bytes + st->end;
	const uint8_t *start = st->bytes + st->body;
	const uint8_t *first;
	const uint8_t *second;
	size_t needle_len;

	if (path_len == 0 || path_len > VM_FC_UDS_MAX)
		return vm_err_set(err, VM_ERR_INCOMPATIBLE,
		                  "no state file holds a vsock path of this length: it has 1 to %d "
		                  "bytes, not %zu%s",
		                  VM_FC_UDS_MAX, path_len, path_len ? " or more" : "");
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

static int open_and_find(const void *data, size_t len, const char *uds_path,
                         struct vm_fc_state *ret_state, struct vm_fc_cid_place *ret_place,
                         struct vm_err *err)
{
	if (vm_fc_state_open(data, len, ret_state, err) || vm_fc_state_known(ret_state, err))
		return -1;
	return find_cid(ret_state, uds_path, ret_place, err);
}

int vm_fc_state_get_cid(const void *data, size_t len, const char *uds_path, uint64_t *ret_cid,
                        struct vm_err *err)
{
	struct vm_fc_cid_place place = {0};
	struct vm_fc_state st = {0};

	if (open_and_find(data, len, uds_path, &st, &place, err))
		return -1;
	*ret_cid = place.cid;
	return 0;
}

/* Encodes as Firecracker does, in bitcode with the narrowest width. Returns the number of bytes. */
size_t vm_fc_state_encode_cid(enum vm_fc_encoding encoding, uint64_t cid,
                              uint8_t buf[static VM_FC_CID_SIZE])
{
	if (encoding == VM_FC_BINCODE) {
		write_le64(buf, cid);
		return sizeof(uint64_t);
	}
	write_le64(buf + 1, cid);
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

int vm_fc_state_set_cid(const void *data, size_t len, const char *uds_path, uint64_t old_cid,
                        uint64_t new_cid, void **ret_data, size_t *ret_len, struct vm_err *err)
{
	VM_AUTO_FREE uint8_t *copy = NULL;
	struct vm_fc_cid_place place = {0};
	struct vm_fc_state st = {0};
	uint8_t cid[9];
	size_t cid_size, tail, copy_len;

	if (new_cid < VM_FC_CID_MIN || new_cid >= CID_MAX)
		return vm_err_set(err, VM_ERR_USAGE,
		                  "%" PRIu64 " is no guest CID: it must be from %d to %" PRIu64,
		                  new_cid, VM_FC_CID_MIN, CID_MAX - 1);
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
	write_le64(copy + copy_len - VM_FC_TRAILER,
	           vm_fc_state_crc(copy, copy_len - VM_FC_TRAILER));
	if (verify_copy(copy, copy_len, uds_path, new_cid, err))
		return -1;
	*ret_data = vm_take_ptr(&copy);
	*ret_len = copy_len;
	return 0;
}
