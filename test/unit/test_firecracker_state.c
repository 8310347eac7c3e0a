/* SPDX-License-Identifier: Apache-2.0 */
/* State files of real Firecrackers: read, rewritten, and damaged in every place. */
#include "firecracker_state_fixtures.h"

static const uint64_t new_cids[] = {99, 4000, 0x7fffff01, 3, 4, 255, 256, 65535, 65536, 0xfffffffe};

/* What the file must look like afterwards, made from the manifest's offset and the encoding's
 * rules. */
static void make_expected(const struct fixture *fx, uint64_t cid, struct blob *ret)
{
	static const uint8_t tag_of[] = {[1] = 6, [2] = 4, [4] = 2};
	bool bitcode = strcmp(fx->encoding, "bitcode") == 0;
	size_t old_size = bitcode ? (fx->cid == 3 ? 1 : 4) : 8;
	size_t size = bitcode ? (cid < 0x100 ? 1 : cid < 0x10000 ? 2 : 4) : 8;

	memcpy(ret->bytes, fx->blob.bytes, fx->cid_offset);
	if (bitcode)
		ret->bytes[fx->cid_offset - 1] = tag_of[size];
	for (size_t i = 0; i < size; i++)
		ret->bytes[fx->cid_offset + i] = (uint8_t)(cid >> 8 * i);
	ret->len = fx->cid_offset + size;
	put(ret, fx->blob.bytes + fx->cid_offset + old_size,
	    fx->blob.len - fx->cid_offset - old_size);
	seal(ret);
}

static void crc_has_the_published_check_value_and_is_zero_for_nothing(void **state)
{
	(void)state;
	assert_int_equal(vm_fc_state_crc("123456789", 9), 0xe9c6d914c4b8d9ca);
	assert_int_equal(vm_fc_state_crc("", 0), 0);
	assert_int_equal(vm_fc_state_crc(NULL, 0), 0);
}

static void crc_equals_the_bitwise_definition_at_every_length_and_reads_nothing_beyond(void **state)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint8_t *map =
	        mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	assert_true(map != MAP_FAILED);
	assert_int_equal(mprotect(map + page, page, PROT_NONE), 0);
	for (size_t i = 0; i < page; i++)
		map[i] = (uint8_t)(i * 167 + (i >> 8));
	for (size_t len = 0; len <= 700; len++) {
		const uint8_t *p = map + page - len;

		assert_int_equal(vm_fc_state_crc(p, len), reference_crc(p, len));
	}
	munmap(map, 2 * page);
}

static void every_fixture_is_intact_and_identified(void **state)
{
	const struct fixtures *fixtures = *state;

	for (size_t i = 0; i < fixtures->n; i++) {
		const struct fixture *fx = &fixtures->all[i];
		struct vm_fc_state_info info = {0};
		struct vm_err err = {0};

		if (vm_fc_state_check(fx->blob.bytes, fx->blob.len, &info, &err))
			fail_msg("%s: %s", fx->name, err.message);
		assert_string_equal(info.format, fx->format);
		assert_string_equal(info.encoding == VM_FC_BITCODE ? "bitcode" : "bincode",
		                    fx->encoding);
		assert_int_equal(vm_fc_state_crc(fx->blob.bytes, fx->blob.len), 0);
		if (fx->cid == 0)
			continue;
		assert_cid(fx->blob.bytes, fx->blob.len, fx->uds_path, fx->cid);
	}
}

/* With the path of the socket, or NULL: by the structure. */
static void check_rewrite(const struct fixture *fx, const char *path, uint64_t cid)
{
	struct blob expected = {.len = 0};
	struct vm_err err = {0};
	void *copy, *back;
	size_t len, back_len;

	if (vm_fc_state_set_cid(fx->blob.bytes, fx->blob.len, path, fx->cid, cid, &copy, &len,
	                        &err))
		fail_msg("%s: %s", fx->name, err.message);
	make_expected(fx, cid, &expected);
	assert_int_equal(len, expected.len);
	assert_memory_equal(copy, expected.bytes, len);
	assert_int_equal(vm_fc_state_crc(copy, len), 0);
	assert_cid(copy, len, path, cid);
	if (vm_fc_state_set_cid(copy, len, path, cid, fx->cid, &back, &back_len, &err))
		fail_msg("%s: %s", fx->name, err.message);
	assert_int_equal(back_len, fx->blob.len);
	assert_memory_equal(back, fx->blob.bytes, back_len);
	free(copy);
	free(back);
}

static void a_new_cid_changes_only_its_bytes_and_the_trailer_and_back_is_identical(void **state)
{
	const struct fixtures *fixtures = *state;

	for (size_t i = 0; i < fixtures->n; i++) {
		const struct fixture *fx = &fixtures->all[i];

		for (size_t k = 0; k < VM_ARRAY_LEN(new_cids) && fx->cid; k++) {
			check_rewrite(fx, fx->uds_path, new_cids[k]);
			check_rewrite(fx, NULL, new_cids[k]);
		}
	}
}

static void another_cid_or_path_than_the_recorded_one_is_incompatible(void **state)
{
	static const char *const paths[] = {"sock",  "vsock", "vsock.soc", "vsock.sock2",
	                                    ".sock", "/",     "",          "rootfs.ext4x"};
	const struct fixtures *fixtures = *state;
	char longest[109];

	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	for (size_t i = 0; i < fixtures->n; i++) {
		const struct fixture *fx = &fixtures->all[i];

		if (fx->cid == 0)
			continue;
		assert_refused(&fx->blob, fx->uds_path, fx->cid + 1, VM_ERR_INCOMPATIBLE);
		for (size_t k = 0; k < VM_ARRAY_LEN(paths); k++)
			assert_refused(&fx->blob, paths[k], fx->cid, VM_ERR_INCOMPATIBLE);
		assert_refused(&fx->blob, longest, fx->cid, VM_ERR_INCOMPATIBLE);
		assert_refused(&fx->blob, longest + 1, fx->cid, VM_ERR_INCOMPATIBLE);
		for (const char *suffix = fx->uds_path + 1; *suffix; suffix++)
			assert_refused(&fx->blob, suffix, fx->cid, VM_ERR_INCOMPATIBLE);
	}
}

static void a_reserved_or_too_large_new_cid_is_a_usage_error(void **state)
{
	static const uint64_t bad[] = {0, 1, 2, 0xffffffff, 0x100000003, UINT64_MAX};
	const struct fixture *fx = fixture_named(state, "1.12.1/relative.vmstate");
	void *copy;
	size_t len;

	for (size_t i = 0; i < VM_ARRAY_LEN(bad); i++) {
		struct vm_err err = {0};

		assert_int_equal(vm_fc_state_set_cid(fx->blob.bytes, fx->blob.len, fx->uds_path, 3,
		                                     bad[i], &copy, &len, &err),
		                 -1);
		assert_int_equal(err.code, VM_ERR_USAGE);
	}
}

static void one_flipped_bit_anywhere_is_corrupt(void **state)
{
	const struct fixtures *fixtures = *state;
	struct blob *b = malloc(sizeof(*b));

	assert_non_null(b);
	for (size_t i = 0; i < fixtures->n; i++) {
		*b = fixtures->all[i].blob;
		for (size_t at = 0; at < b->len; at++) {
			uint8_t bit = (uint8_t)(1 << (at + i) % 8);

			b->bytes[at] ^= bit;
			assert_corrupt(b->bytes, b->len);
			b->bytes[at] ^= bit;
		}
	}
	free(b);
}

static void every_truncation_is_corrupt(void **state)
{
	const struct fixtures *fixtures = *state;

	for (size_t i = 0; i < fixtures->n; i++)
		for (size_t len = 0; len < fixtures->all[i].blob.len; len++)
			assert_corrupt(fixtures->all[i].blob.bytes, len);
	for (size_t len = 0; len < 64; len++) { /* at exact allocations, for AddressSanitizer */
		uint8_t *exact = malloc(len ? len : 1);

		assert_non_null(exact);
		memcpy(exact, fixtures->all[0].blob.bytes, len);
		assert_corrupt(exact, len);
		free(exact);
	}
}

static void appended_bytes_are_corrupt_but_the_crc_cannot_see_a_few_zeros(void **state)
{
	const struct fixtures *fixtures = *state;
	struct vm_fc_state_info info;
	struct vm_err err = {0};

	for (size_t i = 0; i < fixtures->n; i++) {
		struct blob b = fixtures->all[i].blob;
		size_t len = b.len;

		for (unsigned byte = 1; byte < 256; byte++) {
			b.bytes[len] = (uint8_t)byte;
			assert_corrupt(b.bytes, len + 1);
		}
		memset(b.bytes + len, 0, sizeof(b.bytes) - len);
		/* a limit of the format, here so that nobody believes otherwise */
		assert_int_equal(vm_fc_state_check(b.bytes, len + 1, &info, &err), 0);
		for (size_t n = 4; n < 512; n++)
			assert_corrupt(b.bytes, len + n);
	}
}

static void formats_between_the_measured_ones_are_rewritten(void **state)
{
	static const char majors[] = "57";

	for (size_t i = 0; majors[i]; i++) {
		struct fixture fx = *fixture_named(state, "1.12.1/relative.vmstate");

		fx.blob.bytes[16] = (uint8_t)majors[i];
		seal(&fx.blob);
		check_rewrite(&fx, fx.uds_path, 4000);
		check_rewrite(&fx, NULL, 4000);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	        cmocka_unit_test(crc_has_the_published_check_value_and_is_zero_for_nothing),
	        cmocka_unit_test(
	                crc_equals_the_bitwise_definition_at_every_length_and_reads_nothing_beyond),
	        cmocka_unit_test(every_fixture_is_intact_and_identified),
	        cmocka_unit_test(
	                a_new_cid_changes_only_its_bytes_and_the_trailer_and_back_is_identical),
	        cmocka_unit_test(another_cid_or_path_than_the_recorded_one_is_incompatible),
	        cmocka_unit_test(a_reserved_or_too_large_new_cid_is_a_usage_error),
	        cmocka_unit_test(one_flipped_bit_anywhere_is_corrupt),
	        cmocka_unit_test(every_truncation_is_corrupt),
	        cmocka_unit_test(appended_bytes_are_corrupt_but_the_crc_cannot_see_a_few_zeros),
	        cmocka_unit_test(formats_between_the_measured_ones_are_rewritten),
	};

	return cmocka_run_group_tests(tests, load_fixtures, free_fixtures);
}
