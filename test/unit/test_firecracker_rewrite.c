/* SPDX-License-Identifier: Apache-2.0 */
/* What state files record, found by their structure, and the same with other paths. */
#include "firecracker_state_fixtures.h"

#include "driver/state.h"

static struct vm_state_info described(const struct blob *b)
{
	struct vm_state_info info = {0};
	struct vm_err err = {0};

	if (vm_fc_state_describe(b->bytes, b->len, &info, &err))
		fail_msg("%s", err.message);
	return info;
}

static const struct vm_state_path *path_of(const struct vm_state_info *info,
                                           enum vm_state_path_kind kind, const char *id)
{
	for (size_t i = 0; i < info->count; i++) {
		if (info->paths[i].kind == kind && strcmp(info->paths[i].id, id) == 0)
			return &info->paths[i];
	}
	fail_msg("no %s '%s'", vm_state_path_kind_name(kind), id);
	abort();
}

static size_t count_of(const struct vm_state_info *info, enum vm_state_path_kind kind)
{
	size_t n = 0;

	for (size_t i = 0; i < info->count; i++)
		n += info->paths[i].kind == kind;
	return n;
}

/* --- what is recorded ------------------------------------------------------------------------ */

static void every_fixture_says_what_its_manifest_does(void **state)
{
	const struct fixtures *fixtures = *state;

	for (size_t i = 0; i < fixtures->n; i++) {
		const struct fixture *fx = &fixtures->all[i];
		struct vm_state_info info = described(&fx->blob);

		assert_string_equal(info.format, fx->format);
		assert_string_equal(info.encoding, fx->encoding);
		assert_int_equal(info.guest_cid, fx->cid);
		assert_int_equal(count_of(&info, VM_STATE_KERNEL), 1);
		assert_int_equal(count_of(&info, VM_STATE_VSOCK), fx->cid != 0);
		if (fx->cid)
			assert_string_equal(path_of(&info, VM_STATE_VSOCK, "")->text, fx->uds_path);
		if (fx->memory_bytes)
			assert_int_equal(info.memory_bytes, fx->memory_bytes);
		for (size_t k = 0; k < info.count; k++)
			assert_memory_equal(fx->blob.bytes + info.paths[k].at, info.paths[k].text,
			                    strlen(info.paths[k].text));
		vm_state_info_free(&info);
	}
}

static void drives_are_told_with_id_path_and_flags_in_both_encodings(void **state)
{
	static const char *const names[] = {"1.12.1/drives16.vmstate", "made/drives16.vmstate"};

	for (size_t i = 0; i < VM_ARRAY_LEN(names); i++) {
		struct vm_state_info info = described(&fixture_named(state, names[i])->blob);

		assert_int_equal(count_of(&info, VM_STATE_DISK), 16);
		for (int k = 0; k < 16; k++) {
			const struct vm_state_path *path;
			char id[16], text[32];

			snprintf(id, sizeof(id), i == 0 ? "disk_%d" : "d%d", k);
			snprintf(text, sizeof(text), "disks/disk-%d.img", k);
			path = path_of(&info, VM_STATE_DISK, id);
			assert_string_equal(path->text, text);
			assert_int_equal(path->read_only, k % 2);
			assert_int_equal(path->root, k == (i == 0 ? 3 : 2));
		}
		vm_state_info_free(&info);
	}
}

static void network_devices_are_told(void **state)
{
	static const char *const files[] = {"1.10.1/net2.vmstate", "1.12.1/net2.vmstate",
	                                    "1.14.4/net2.vmstate", "1.16.1/net2.vmstate"};

	for (size_t i = 0; i < VM_ARRAY_LEN(files); i++) {
		struct vm_state_info info = described(&fixture_named(state, files[i])->blob);

		assert_int_equal(info.net_count, 1);
		assert_string_equal(info.tap, "fctap0");
		vm_state_info_free(&info);
	}
}

static void initrd_boot_arguments_and_vcpus_are_told(void **state)
{
	static const char *const in_args[] = {"/dev/vda", "/sbin/init", "/etc/x", "/g/src"};
	struct vm_state_info info = described(&fixture_named(state, "1.12.1/initrd.vmstate")->blob);

	assert_string_equal(path_of(&info, VM_STATE_INITRD, "")->text, "initrd.img");
	assert_string_equal(path_of(&info, VM_STATE_DISK, "d_0")->text, "root fs.img");
	assert_true(path_of(&info, VM_STATE_DISK, "d_0")->read_only);
	assert_int_equal(count_of(&info, VM_STATE_BOOT_ARGS), VM_ARRAY_LEN(in_args));
	for (size_t i = 0; i < VM_ARRAY_LEN(in_args); i++)
		assert_string_equal(info.paths[2 + i].text, in_args[i]);
	assert_int_equal(info.vcpus, 1);
	vm_state_info_free(&info);
	info = described(&fixture_named(state, "1.12.1/devices.vmstate")->blob);
	assert_int_equal(info.vcpus, 2);
	vm_state_info_free(&info);
	info = described(&fixture_named(state, "made/drives16.vmstate")->blob);
	assert_int_equal(info.vcpus, 2);
	assert_string_equal(path_of(&info, VM_STATE_INITRD, "")->text, "initrd.img");
	vm_state_info_free(&info);
}

static void a_pmem_device_is_told_and_a_state_may_have_no_device(void **state)
{
	static const char *const bare[] = {"1.12.1/bare.vmstate", "made/bare.vmstate"};
	struct vm_state_info info = described(&fixture_named(state, "made/pmem.vmstate")->blob);

	assert_string_equal(path_of(&info, VM_STATE_PMEM, "p0")->text, "pmem.img");
	assert_true(path_of(&info, VM_STATE_PMEM, "p0")->read_only);
	assert_false(path_of(&info, VM_STATE_DISK, "d0")->read_only);
	vm_state_info_free(&info);
	for (size_t i = 0; i < VM_ARRAY_LEN(bare); i++) {
		info = described(&fixture_named(state, bare[i])->blob);
		assert_int_equal(info.count, 1);
		vm_state_info_free(&info);
	}
}

/* --- rewriting ------------------------------------------------------------------------------- */

static const char **no_texts(const struct vm_state_info *info)
{
	const char **texts = calloc(info->count + 1, sizeof(*texts));

	assert_non_null(texts);
	return texts;
}

static struct blob rewritten(const struct blob *b, const struct vm_state_info *info,
                             const char *const *texts, uint64_t cid)
{
	struct blob copy = {.len = 0};
	struct vm_err err = {0};
	void *data = NULL;
	size_t len = 0;

	if (vm_fc_state_rewrite(b->bytes, b->len, info, texts, cid, &data, &len, &err))
		fail_msg("%s", err.message);
	put(&copy, data, len);
	free(data);
	assert_int_equal(vm_fc_state_crc(copy.bytes, copy.len), 0);
	return copy;
}

/* All of one length: what changes is put together here, by the offsets that were told. */
static void texts_of_equal_length_change_only_their_bytes_and_the_trailer(void **state)
{
	const struct fixtures *fixtures = *state;

	for (size_t i = 0; i < fixtures->n; i++) {
		const struct fixture *fx = &fixtures->all[i];
		struct vm_state_info info = described(&fx->blob);
		const char **texts = no_texts(&info);
		char **owned = calloc(info.count + 1, sizeof(*owned));
		struct blob expected = fx->blob, copy;

		assert_non_null(owned);

		for (size_t k = 0; k < info.count; k++) {
			char *text;

			if (info.paths[k].kind == VM_STATE_BOOT_ARGS)
				continue;
			text = strdup(info.paths[k].text);
			assert_non_null(text);
			for (size_t c = 0; text[c]; c++)
				text[c] = (char)('a' + (c + k) % 26);
			memcpy(expected.bytes + info.paths[k].at, text, strlen(text));
			texts[k] = owned[k] = text;
		}
		seal(&expected);
		copy = rewritten(&fx->blob, &info, texts, 0);
		assert_int_equal(copy.len, expected.len);
		assert_memory_equal(copy.bytes, expected.bytes, copy.len);
		for (size_t k = 0; k < info.count; k++)
			free(owned[k]);
		free(owned);
		free(texts);
		vm_state_info_free(&info);
	}
}

/* Whether a copy is told as the texts want it; what they do not name is as it was. */
static void assert_told(const struct blob *copy, const struct vm_state_info *was,
                        const char *const *texts, uint64_t cid)
{
	struct vm_state_info is = described(copy);

	assert_int_equal(is.count, was->count);
	assert_int_equal(is.memory_bytes, was->memory_bytes);
	assert_int_equal(is.vcpus, was->vcpus);
	assert_int_equal(is.guest_cid, cid);
	for (size_t i = 0; i < is.count; i++) {
		assert_int_equal(is.paths[i].kind, was->paths[i].kind);
		assert_string_equal(is.paths[i].id, was->paths[i].id);
		assert_int_equal(is.paths[i].root, was->paths[i].root);
		assert_int_equal(is.paths[i].read_only, was->paths[i].read_only);
		assert_string_equal(is.paths[i].text, texts[i] ? texts[i] : was->paths[i].text);
	}
	vm_state_info_free(&is);
}

/* To other lengths, of all paths or of one, and back again to the very file. */
static void check_other_length(const struct fixture *fx, const char *text, size_t only)
{
	struct vm_state_info was = described(&fx->blob), is;
	const char **there = no_texts(&was), **back = no_texts(&was);
	struct blob copy, again;
	bool identical = true;

	for (size_t i = 0; i < was.count; i++) {
		if (was.paths[i].kind == VM_STATE_BOOT_ARGS || (only && i != only - 1))
			continue;
		there[i] = text;
		back[i] = was.paths[i].text;
		/* a relative path comes back padded from a longer one */
		if (back[i][0] != '/' && strlen(back[i]) < strlen(text))
			identical = false;
	}
	copy = rewritten(&fx->blob, &was, there, fx->cid ? 70000 : 0);
	assert_told(&copy, &was, there, fx->cid ? 70000 : 0);
	is = described(&copy);
	again = rewritten(&copy, &is, back, fx->cid);
	if (identical) {
		assert_int_equal(again.len, fx->blob.len);
		assert_memory_equal(again.bytes, fx->blob.bytes, again.len);
	}
	vm_state_info_free(&is);
	vm_state_info_free(&was);
	free(there);
	free(back);
}

static void texts_of_other_lengths_are_recorded_and_back_is_identical(void **state)
{
	static const char longer[] =
	        "/srv/images/of/a/machine/with/a/long/name/in/a/directory/with/an"
	        "/even/longer/one/and/then/vsock";
	const struct fixtures *fixtures = *state;

	for (size_t i = 0; i < fixtures->n; i++) {
		check_other_length(&fixtures->all[i], "/s", 0);
		check_other_length(&fixtures->all[i], longer, 0);
		check_other_length(&fixtures->all[i], longer, 1);
		check_other_length(&fixtures->all[i], "/s", 1);
	}
}

static void lengths_of_every_size_are_packed_so_that_they_read_back(void **state)
{
	static const char *const names[] = {"1.12.1/drv3.vmstate", "1.16.1/basic.vmstate",
	                                    "1.16.1/net2.vmstate", "1.16.1/drv3.vmstate",
	                                    "made/drives16.vmstate"};
	static const size_t lengths[] = {1,   2,   3,   5,   6,   15,  16,  17,
	                                 253, 254, 255, 256, 300, 511, 1000};
	char *text = calloc(1, 1002);

	assert_non_null(text);
	for (size_t n = 0; n < VM_ARRAY_LEN(names) * VM_ARRAY_LEN(lengths); n++) {
		const struct fixture *fx = fixture_named(state, names[n / VM_ARRAY_LEN(lengths)]);
		size_t len = lengths[n % VM_ARRAY_LEN(lengths)];
		struct vm_state_info info = described(&fx->blob);
		const char **texts = no_texts(&info);
		struct blob copy;

		memset(text, 'p', len);
		text[0] = '/';
		text[len] = '\0';
		for (size_t i = 0; i < info.count; i++)
			if (info.paths[i].kind == VM_STATE_DISK && (i % 2 || len < 400))
				texts[i] = text;
		copy = rewritten(&fx->blob, &info, texts, 0);
		assert_told(&copy, &info, texts, info.guest_cid);
		free(texts);
		vm_state_info_free(&info);
	}
	free(text);
}

static void a_shorter_relative_text_is_padded_to_the_recorded_length(void **state)
{
	const struct fixture *fx = fixture_named(state, "1.16.1/basic.vmstate");
	struct vm_state_info info = described(&fx->blob);
	const char **texts = no_texts(&info);
	struct vm_state_info is;
	struct blob copy;

	for (size_t i = 0; i < info.count; i++)
		texts[i] = "disk-d0.img";
	copy = rewritten(&fx->blob, &info, texts, 0);
	assert_int_equal(copy.len, fx->blob.len);
	is = described(&copy);
	for (size_t i = 0; i < is.count; i++) {
		assert_int_equal(strlen(is.paths[i].text), strlen(info.paths[i].text));
		assert_memory_equal(is.paths[i].text, "./", 2);
		assert_string_equal(strrchr(is.paths[i].text, '/'), "/disk-d0.img");
	}
	vm_state_info_free(&is);
	vm_state_info_free(&info);
	free(texts);
}

/* --- refusals -------------------------------------------------------------------------------- */

static void assert_not_described(const struct blob *b, enum vm_code code, const char *message)
{
	struct vm_state_info info = {.count = 77};
	struct vm_err err = {0};
	uint8_t *exact = malloc(b->len);

	assert_non_null(exact);
	memcpy(exact, b->bytes, b->len);
	assert_int_equal(vm_fc_state_describe(exact, b->len, &info, &err), -1);
	if (err.code != code || !strstr(err.message, message))
		fail_msg("%d: %s", err.code, err.message);
	assert_int_equal(info.count, 77);
	free(exact);
}

static void what_is_not_understood_to_its_end_is_refused(void **state)
{
	const struct fixture *fx = fixture_named(state, "1.12.1/basic.vmstate");
	struct vm_state_info info = described(&fx->blob);
	const struct vm_state_path *disk = path_of(&info, VM_STATE_DISK, "d0");
	struct blob b = fx->blob;

	b.bytes[disk->at] = 0xff;
	seal(&b);
	assert_not_described(&b, VM_ERR_INCOMPATIBLE, "not UTF-8");
	b.bytes[disk->at] = 0;
	seal(&b);
	assert_not_described(&b, VM_ERR_INCOMPATIBLE, "NUL");
	b = fx->blob;
	b.bytes[disk->at - 8]++; /* its length */
	seal(&b);
	assert_not_described(&b, VM_ERR_INCOMPATIBLE, "structure");
	b = fx->blob;
	PUT(&b, "what goes on behind the last field");
	seal(&b);
	assert_not_described(&b, VM_ERR_INCOMPATIBLE, "goes on behind its last field");
	b = fx->blob;
	memcpy(b.bytes + 16, "3.0.0", 5);
	seal(&b);
	assert_not_described(&b, VM_ERR_UNSUPPORTED, "3.0.0");
	memcpy(b.bytes + 16, "9.0.0", 5);
	seal(&b);
	assert_not_described(&b, VM_ERR_UNSUPPORTED, "9.0.0 (bincode)");
	b.bytes[4] = 0;
	seal(&b);
	assert_not_described(&b, VM_ERR_UNSUPPORTED, "does not begin like one");
	vm_state_info_free(&info);
}

static void devices_on_pci_are_unsupported(void **state)
{
	struct blob b = fixture_named(state, "1.14.4/basic.vmstate")->blob;

	/* the PCI devices are the last 30 bytes; behind the flag, the number of drives */
	b.bytes[b.len - 8 - 29] = 1;
	seal(&b);
	assert_not_described(&b, VM_ERR_UNSUPPORTED, "devices that cannot be looked into");
}

/* Whatever a byte says, nothing outside is read, and a refusal has its reason. */
static void any_byte_may_be_another(void **state)
{
	static const char *const names[] = {"1.12.1/relative.vmstate", "1.16.1/drv3.vmstate",
	                                    "made/pmem.vmstate"};

	for (size_t n = 0; n < VM_ARRAY_LEN(names); n++) {
		struct blob b = fixture_named(state, names[n])->blob;
		uint8_t *exact = malloc(b.len);

		assert_non_null(exact);
		for (size_t at = 0; at < b.len - 8; at++) {
			struct vm_state_info info = {0};
			struct vm_err err = {0};
			uint8_t was = b.bytes[at];

			b.bytes[at] = (uint8_t)(was + 1 + at % 255);
			seal(&b);
			b.bytes[at] = was;
			memcpy(exact, b.bytes, b.len);
			exact[at] = (uint8_t)(was + 1 + at % 255);
			if (vm_fc_state_describe(exact, b.len, &info, &err)) {
				assert_true(err.message[0] != '\0');
				assert_true(err.code == VM_ERR_CORRUPT ||
				            err.code == VM_ERR_UNSUPPORTED ||
				            err.code == VM_ERR_INCOMPATIBLE);
			}
			vm_state_info_free(&info);
			/* the checksum of every byte takes long: near the devices all, else some */
			if (at > 300 && at < b.len - 1200)
				at += 36;
		}
		free(exact);
	}
}

static void assert_not_rewritten(const struct blob *b, enum vm_state_path_kind kind,
                                 const char *text, uint64_t cid, enum vm_code code)
{
	struct vm_state_info info = described(b);
	const char **texts = no_texts(&info);
	struct vm_err err = {0};
	void *data = &err;
	size_t len = 88;

	for (size_t i = 0; i < info.count; i++)
		if (text && info.paths[i].kind == kind)
			texts[i] = text;
	assert_int_equal(
	        vm_fc_state_rewrite(b->bytes, b->len, &info, texts, cid, &data, &len, &err), -1);
	assert_int_equal(err.code, code);
	assert_ptr_equal(data, &err);
	assert_int_equal(len, 88);
	free(texts);
	vm_state_info_free(&info);
}

static void what_cannot_be_recorded_is_refused(void **state)
{
	const struct blob *b = &fixture_named(state, "1.12.1/initrd.vmstate")->blob;
	char *text = calloc(1, 4098);

	assert_non_null(text);
	assert_not_rewritten(b, VM_STATE_KERNEL, "", 0, VM_ERR_USAGE);
	assert_not_rewritten(b, VM_STATE_DISK, "\xff", 0, VM_ERR_USAGE);
	assert_not_rewritten(b, VM_STATE_BOOT_ARGS, "/sbin/init", 0, VM_ERR_USAGE);
	memset(text, '/', 4096);
	assert_not_rewritten(b, VM_STATE_DISK, text, 0, VM_ERR_USAGE);
	text[108] = '\0';
	assert_not_rewritten(b, VM_STATE_VSOCK, text, 0, VM_ERR_USAGE);
	assert_not_rewritten(b, VM_STATE_KERNEL, NULL, 2, VM_ERR_USAGE);
	assert_not_rewritten(b, VM_STATE_KERNEL, NULL, 0xffffffff, VM_ERR_USAGE);
	b = &fixture_named(state, "1.12.1/bare.vmstate")->blob;
	assert_not_rewritten(b, VM_STATE_KERNEL, NULL, 99, VM_ERR_INCOMPATIBLE);
	free(text);
}

static void what_was_described_from_another_state_is_refused(void **state)
{
	const struct fixture *fx = fixture_named(state, "1.12.1/basic.vmstate");
	struct vm_state_info info = described(&fixture_named(state, "1.12.1/drv3.vmstate")->blob);
	const char **texts = no_texts(&info);
	struct vm_err err = {0};
	void *data;
	size_t len;

	assert_int_equal(vm_fc_state_rewrite(fx->blob.bytes, fx->blob.len, &info, texts, 0, &data,
	                                     &len, &err),
	                 -1);
	assert_int_equal(err.code, VM_ERR_USAGE);
	free(texts);
	vm_state_info_free(&info);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	        cmocka_unit_test(every_fixture_says_what_its_manifest_does),
	        cmocka_unit_test(drives_are_told_with_id_path_and_flags_in_both_encodings),
	        cmocka_unit_test(network_devices_are_told),
	        cmocka_unit_test(initrd_boot_arguments_and_vcpus_are_told),
	        cmocka_unit_test(a_pmem_device_is_told_and_a_state_may_have_no_device),
	        cmocka_unit_test(texts_of_equal_length_change_only_their_bytes_and_the_trailer),
	        cmocka_unit_test(texts_of_other_lengths_are_recorded_and_back_is_identical),
	        cmocka_unit_test(lengths_of_every_size_are_packed_so_that_they_read_back),
	        cmocka_unit_test(a_shorter_relative_text_is_padded_to_the_recorded_length),
	        cmocka_unit_test(what_is_not_understood_to_its_end_is_refused),
	        cmocka_unit_test(devices_on_pci_are_unsupported),
	        cmocka_unit_test(any_byte_may_be_another),
	        cmocka_unit_test(what_cannot_be_recorded_is_refused),
	        cmocka_unit_test(what_was_described_from_another_state_is_refused),
	};

	return cmocka_run_group_tests(tests, load_fixtures, free_fixtures);
}
