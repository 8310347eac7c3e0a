/* SPDX-License-Identifier: Apache-2.0 */
/* State files with a right checksum that no known Firecracker writes: hostile, or yet to come. */
#include "firecracker_state_fixtures.h"

/* A bitcode state of a given version whose body is only what stands around the CID. */
static struct blob crafted_bitcode(const char *version, const char *path, const char *packed,
                                   size_t packed_len)
{
	struct blob b = {.len = 0};
	uint8_t n = (uint8_t)strlen(version);

	PUT(&b, "\0\0\0\x64\x86\x84\x19\x10\x07");
	put(&b, &n, 1);
	put(&b, version, n);
	PUT(&b, "somewhere\x05vsock");
	n = (uint8_t)strlen(path);
	put(&b, &n, 1);
	put(&b, path, n);
	PUT(&b, "\0\xff\xff\xff\x3f");
	put(&b, packed, packed_len);
	PUT(&b, "trailer:"); /* its place: seal() overwrites it, so the packed bytes end the body */
	seal(&b);
	return b;
}

static void bitcode_cids_of_every_width_are_read(void **state)
{
	struct blob b = crafted_bitcode("9.0.0", "v.sock", "\x06\x03", 2);

	(void)state;
	assert_cid(b.bytes, b.len, "v.sock", 3);
	b = crafted_bitcode("9.0.0", "v.sock", "\x04\xa0\x0f", 3);
	assert_cid(b.bytes, b.len, "v.sock", 4000);
	b = crafted_bitcode("10.0.0", "v.sock", "\x02\x01\xff\xff\x7f", 5);
	assert_cid(b.bytes, b.len, "v.sock", 0x7fffff01);
	b = crafted_bitcode("10.0.0", "v.sock", "\0\x63\0\0\0\0\0\0\0", 9);
	assert_cid(b.bytes, b.len, "v.sock", 99);
}

static void what_is_not_a_packed_guest_cid_is_incompatible(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} bad[] = {{"", 0},           {"\x06\x02", 2},           {"\x06", 1},   {"\x04\x03", 2},
	           {"\x01\x03", 2},   {"\x05\x03\0", 3},         {"\x07\3", 2}, {"\xff\x03", 2},
	           {"\x02\3\0\0", 4}, {"\0\1\0\0\0\1\0\0\0", 9}, {"\0\3\0", 3}};

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(bad); i++) {
		struct blob b = crafted_bitcode("10.0.0", "v.sock", bad[i].bytes, bad[i].len);

		assert_refused(&b, "v.sock", 3, VM_ERR_INCOMPATIBLE);
	}
}

static void a_path_behind_a_character_equal_to_its_length_is_not_taken_for_a_string(void **state)
{
	/* 47 characters behind '/', which is 47 */
	static const char whole[] = "/srv/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/vsock.s";
	struct blob b = crafted_bitcode("10.0.0", whole, "\x06\x03", 2);

	(void)state;
	assert_cid(b.bytes, b.len, whole, 3);
	for (size_t i = 1; whole[i]; i++)
		assert_refused(&b, whole + i, 3, VM_ERR_INCOMPATIBLE);
}

static void a_path_recorded_twice_is_incompatible(void **state)
{
	const struct fixture *fx = fixture_named(state, "1.12.1/relative.vmstate");
	struct blob b = fx->blob;

	memcpy(b.bytes + 1000, b.bytes + fx->cid_offset - 18, 18);
	seal(&b);
	assert_refused(&b, fx->uds_path, fx->cid, VM_ERR_INCOMPATIBLE);
}

static void a_bincode_state_that_ends_behind_the_path_is_incompatible(void **state)
{
	const struct fixture *fx = fixture_named(state, "1.12.1/relative.vmstate");

	for (size_t left = 0; left < 8; left++) {
		struct blob b = fx->blob;

		b.len = fx->cid_offset + left + 8;
		seal(&b);
		assert_refused(&b, fx->uds_path, fx->cid, VM_ERR_INCOMPATIBLE);
	}
}

static void an_unknown_format_is_reported_by_check_and_unsupported_for_the_rest(void **state)
{
	static const char *const versions[] = {"11.0.0", "8.0.0", "0.0.0", "99999999999.0.12345"};
	struct blob b;

	for (size_t i = 0; i < VM_ARRAY_LEN(versions); i++) {
		struct vm_fc_state_info info = {0};
		struct vm_err err = {0};

		b = crafted_bitcode(versions[i], "v.sock", "\x06\x03", 2);
		assert_int_equal(vm_fc_state_check(b.bytes, b.len, &info, &err), 0);
		assert_string_equal(info.format, versions[i]);
		assert_refused(&b, "v.sock", 3, VM_ERR_UNSUPPORTED);
	}
	b = fixture_named(state, "1.12.1/relative.vmstate")->blob;
	b.bytes[16] = '3';
	seal(&b);
	assert_refused(&b, "vsock.sock", 3, VM_ERR_UNSUPPORTED);
}

static void a_bad_version_string_is_corrupt_and_another_magic_unsupported(void **state)
{
	static const char *const versions[] = {
	        "6..00",   ".6.0.0", "6.0.0.",    "6.0.0x",
	        "6.0.0.0", "60000",  "6.0.0\x01", "123456.890.123456.8901.3"};
	struct blob b;

	for (size_t i = 0; i < VM_ARRAY_LEN(versions); i++) {
		b = crafted_bitcode(versions[i], "v.sock", "\x06\x03", 2);
		assert_corrupt(b.bytes, b.len);
	}
	for (size_t i = 8; i < 16; i++) { /* the version's length */
		b = fixture_named(state, "1.12.1/relative.vmstate")->blob;
		b.bytes[i] = 0xff;
		seal(&b);
		assert_corrupt(b.bytes, b.len);
	}
	for (size_t i = 2; i < 8; i += 3) { /* the architecture, and the rest of the magic */
		b = fixture_named(state, "1.12.1/relative.vmstate")->blob;
		b.bytes[i] ^= 0xce;
		seal(&b);
		assert_refused(&b, "vsock.sock", 3, VM_ERR_UNSUPPORTED);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	        cmocka_unit_test(bitcode_cids_of_every_width_are_read),
	        cmocka_unit_test(what_is_not_a_packed_guest_cid_is_incompatible),
	        cmocka_unit_test(
	                a_path_behind_a_character_equal_to_its_length_is_not_taken_for_a_string),
	        cmocka_unit_test(a_path_recorded_twice_is_incompatible),
	        cmocka_unit_test(a_bincode_state_that_ends_behind_the_path_is_incompatible),
	        cmocka_unit_test(
	                an_unknown_format_is_reported_by_check_and_unsupported_for_the_rest),
	        cmocka_unit_test(a_bad_version_string_is_corrupt_and_another_magic_unsupported),
	};

	return cmocka_run_group_tests(tests, load_fixtures, free_fixtures);
}
