/* SPDX-License-Identifier: Apache-2.0 */
#include <endian.h>
#include <inttypes.h>
#include <isa-l/crc64.h>
#include <stdlib.h>
#include <string.h>

#include "firecracker_state_impl.h"
#include "util.h"

enum {
	MAGIC_LEN = 8,
	VERSION_MIN = 5, /* "4.0.0" */
};

/* Little-endian 0x0710198486640000: the architecture is the two bytes at offset 2. */
static const uint8_t magic_x86_64[MAGIC_LEN] = {0x00, 0x00, 0x64, 0x86, 0x84, 0x19, 0x10, 0x07};

uint64_t vm_fc_state_crc(const void *data, size_t len)
{
	/* ISA-L inverts the register before and after; undoing both leaves init 0 and no final xor.
	 */
	return len ? ~crc64_jones_refl(~UINT64_C(0), data, len) : 0;
}

uint64_t vm_fc_read_le64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

void vm_fc_write_le64(uint8_t *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

static int check_trailer(const uint8_t *bytes, size_t len, struct vm_err *err)
{
	size_t end;
	uint64_t stored;
	uint64_t computed;

	if (len < MAGIC_LEN + 1 + VERSION_MIN + VM_FC_TRAILER_LEN)
		return vm_err_set(err, VM_ERR_CORRUPT,
		                  "state file is too short: %zu bytes do not hold a header and a "
		                  "checksum",
		                  len);
	end = len - VM_FC_TRAILER_LEN;
	stored = vm_fc_read_le64(bytes + end);
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
		version_len = vm_fc_read_le64(
		        bytes + MAGIC_LEN); /* at worst the trailer: see check_trailer */
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
	st.end = len - VM_FC_TRAILER_LEN;
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

unsigned long vm_fc_state_major(const struct vm_fc_state *st)
{
	return strtoul(st->info.format, NULL, 10);
}

int vm_fc_state_require_known(const struct vm_fc_state *st, struct vm_err *err)
{
	unsigned long major = vm_fc_state_major(st);
	bool bincode = st->info.encoding == VM_FC_BINCODE;

	if (bincode ? major >= 4 && major <= 8 : major == 9 || major == 10)
		return 0;
	vm_err_set(err, VM_ERR_UNSUPPORTED,
	           "state format %s (%s) is not known: vmctl cannot look into it", st->info.format,
	           bincode ? "bincode" : "bitcode");
	return vm_err_hint(err, "known are formats 4 to 8 (bincode) and 9 to 10 (bitcode), from "
	                        "Firecracker 1.10 to 1.16");
}
