/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util.h"

static void a_size_is_a_number_with_a_binary_unit(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} cases[] = {
	        {"0", 0},
	        {"1", 1},
	        {"64", 64},
	        {"64b", 64},
	        {"64K", UINT64_C(64) << 10},
	        {"64k", UINT64_C(64) << 10},
	        {"64kB", UINT64_C(64) << 10},
	        {"64KiB", UINT64_C(64) << 10},
	        {"64kib", UINT64_C(64) << 10},
	        {"64M", 64 << 20},
	        {"64MiB", 64 << 20},
	        {"2G", UINT64_C(2) << 30},
	        {"2gb", UINT64_C(2) << 30},
	        {"3T", UINT64_C(3) << 40},
	        {"3TiB", UINT64_C(3) << 40},
	        {"007M", 7 << 20},
	        {"9223372036854775807", INT64_MAX},
	        {"8388607T", UINT64_C(8388607) << 40},
	};

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(cases); i++) {
		struct vm_err err = {0};
		uint64_t bytes = 1234;

		if (vm_size_parse(cases[i].text, "memory", &bytes, &err))
			fail_msg("%s: %s", cases[i].text, err.message);
		assert_int_equal(bytes, cases[i].bytes);
	}
}

static void what_is_no_size_is_refused_and_leaves_the_result_alone(void **state)
{
	static const char *const texts[] = {
	        "",      " ",    "M",     "-1",   "-64M", "+1",     "64X",  "64 M",
	        " 64M",  "64M ", "64MM",  "1.5G", "0x40", "64iB",   "64Bi", "64Mi",
	        "64MBB", "1e3",  "64M\n", "NaN",  "\xff", "64\xff",
	};

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(texts); i++) {
		struct vm_err err = {0};
		uint64_t bytes = 1234;

		if (vm_size_parse(texts[i], "memory", &bytes, &err) != -1)
			fail_msg("'%s' was taken for %" PRIu64, texts[i], bytes);
		assert_int_equal(err.code, VM_ERR_USAGE);
		assert_non_null(strstr(err.message, "memory: '"));
		assert_non_null(strstr(err.message, "is not a size"));
		assert_int_equal(bytes, 1234);
	}
}

static void a_size_that_does_not_fit_is_too_large(void **state)
{
	static const char *const texts[] = {
	        "9223372036854775808",  "18446744073709551615",
	        "18446744073709551616", "8388608T",
	        "9007199254740992K",    "99999999999999999999999999999T",
	};

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(texts); i++) {
		struct vm_err err = {0};
		uint64_t bytes = 1234;

		assert_int_equal(vm_size_parse(texts[i], "size", &bytes, &err), -1);
		assert_int_equal(err.code, VM_ERR_USAGE);
		assert_non_null(strstr(err.message, "is too large"));
		assert_int_equal(bytes, 1234);
	}
}

static void a_formatted_size_never_shows_1024_of_a_unit(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {
	        {0, "0"},
	        {512, "512"},
	        {1023, "1023"},
	        {1024, "1.0K"},
	        {1536, "1.5K"},
	        {64 << 20, "64.0M"},
	        {(1 << 20) - 1, "1.0M"},
	        {(UINT64_C(1) << 30) - 1, "1.0G"},
	        {UINT64_C(1) << 40, "1.0T"},
	        {UINT64_MAX, "16.0E"},
	};
	char buf[16];

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(cases); i++)
		assert_string_equal(vm_size_format(cases[i].bytes, buf, sizeof(buf)),
		                    cases[i].text);
}

static void an_integer_is_taken_only_within_its_range(void **state)
{
	struct vm_err err = {0};
	int64_t n = 0;

	(void)state;
	assert_int_equal(vm_int_parse("1", "vcpus", 1, 32, &n, &err), 0);
	assert_int_equal(n, 1);
	assert_int_equal(vm_int_parse("32", "vcpus", 1, 32, &n, &err), 0);
	assert_int_equal(n, 32);
	assert_int_equal(vm_int_parse("-7", "offset", -10, 10, &n, &err), 0);
	assert_int_equal(n, -7);
	assert_int_equal(vm_int_parse("-9223372036854775808", "n", INT64_MIN, INT64_MAX, &n, &err),
	                 0);
	assert_true(n == INT64_MIN);
	assert_int_equal(vm_int_parse("9223372036854775807", "n", INT64_MIN, INT64_MAX, &n, &err),
	                 0);
	assert_true(n == INT64_MAX);

	n = 5;
	assert_int_equal(vm_int_parse("33", "vcpus", 1, 32, &n, &err), -1);
	assert_string_equal(err.message, "vcpus: 33 is out of range (1 to 32)");
	assert_int_equal(err.code, VM_ERR_USAGE);
	vm_err_clear(&err);
	assert_int_equal(vm_int_parse("9223372036854775808", "n", 0, INT64_MAX, &n, &err), -1);
	assert_non_null(strstr(err.message, "out of range"));
	vm_err_clear(&err);
	assert_int_equal(vm_int_parse("-9223372036854775809", "n", INT64_MIN, 0, &n, &err), -1);
	assert_non_null(strstr(err.message, "out of range"));
	assert_int_equal(n, 5);
}

static void what_is_no_integer_is_refused(void **state)
{
	static const char *const texts[] = {"",    " ",   "-",   "+",   "x",   "1x",
	                                    "1 ",  " 1",  "\t1", "1.",  "1.5", "0x10",
	                                    "1e2", "--1", "one", "1,2", "\n"};

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(texts); i++) {
		struct vm_err err = {0};
		int64_t n = 77;

		assert_int_equal(vm_int_parse(texts[i], "count", 0, 100, &n, &err), -1);
		assert_int_equal(err.code, VM_ERR_USAGE);
		assert_non_null(strstr(err.message, "is not a whole number"));
		assert_int_equal(n, 77);
	}
}

static void a_slip_of_the_hand_finds_the_word_that_was_meant(void **state)
{
	static const char *const words[] = {"memory", "vcpus", "kernel",    "initrd",
	                                    "id",     "disks", "boot_args", NULL};
	static const struct {
		const char *typed, *meant;
	} cases[] = {
	        {"memry", "memory"},
	        {"memmory", "memory"},
	        {"mmeory", "memory"},
	        {"memoyr", "memory"},
	        {"Memory", "memory"},
	        {"MEMORY", "memory"},
	        {"VCPU", "vcpus"},
	        {"cpus", "vcpus"},
	        {"disk", "disks"},
	        {"boot-args", "boot_args"},
	        {"bootargs", "boot_args"},
	        {"bootArgs", "boot_args"},
	        {"iid", "id"},
	        {"di", "id"},
	        {"kernle", "kernel"},
	        {"intrid", "initrd"},
	        {"memory", "memory"},
	};
	static const char *const strangers[] = {
	        "",
	        "network",
	        "x",
	        "cp",
	        "memorandum",
	        "kern",
	        "a-very-long-word-that-nobody-could-have-meant-to-write"};
	static const char *const none[] = {NULL};

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(cases); i++) {
		const char *found = vm_suggest(cases[i].typed, words);

		if (!found || strcmp(found, cases[i].meant) != 0)
			fail_msg("%s: %s", cases[i].typed, found ? found : "nothing");
	}
	for (size_t i = 0; i < VM_ARRAY_LEN(strangers); i++) {
		const char *found = vm_suggest(strangers[i], words);

		if (found)
			fail_msg("%s: %s", strangers[i], found);
	}
	assert_null(vm_suggest("memory", none));
}

static void the_nearest_word_wins_and_words_too_long_to_compare_are_passed_over(void **state)
{
	static const char *const words[] = {"a-candidate-that-is-longer-than-the-forty-characters",
	                                    "snapshots", "snapshot", NULL};

	(void)state;
	assert_string_equal(vm_suggest("snapshor", words), "snapshot");
	assert_string_equal(vm_suggest("snapshotss", words), "snapshots");
}

static void a_name_is_a_dns_label(void **state)
{
	static const char *const good[] = {"a", "0", "web", "web-1", "a--b", "123"};
	static const struct {
		const char *name, *message;
	} bad[] = {
	        {"", "is empty"},         {"-a", "begin or end"},
	        {"a-", "begin or end"},   {"-", "begin or end"},
	        {"Web", "only a-z"},      {"a_b", "only a-z"},
	        {"a.b", "only a-z"},      {"a b", "only a-z"},
	        {"\xc3\xa4", "only a-z"}, {"../etc/passwd", "only a-z"},
	};
	struct vm_err err = {0};
	char longest[VM_NAME_MAX + 2];

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(good); i++)
		assert_int_equal(vm_name_check(good[i], &err), 0);
	for (size_t i = 0; i < VM_ARRAY_LEN(bad); i++) {
		vm_err_clear(&err);
		assert_int_equal(vm_name_check(bad[i].name, &err), -1);
		assert_int_equal(err.code, VM_ERR_USAGE);
		assert_non_null(strstr(err.message, bad[i].message));
	}
	memset(longest, 'a', sizeof(longest));
	longest[VM_NAME_MAX + 1] = '\0';
	vm_err_clear(&err);
	assert_int_equal(vm_name_check(longest, &err), -1);
	assert_non_null(strstr(err.message, "has 64 characters, the limit is 63"));
	longest[VM_NAME_MAX] = '\0';
	vm_err_clear(&err);
	assert_int_equal(vm_name_check(longest, &err), 0);
}

static void new_ids_are_valid_and_differ(void **state)
{
	char a[VM_ID_LEN + 1], b[VM_ID_LEN + 1];
	struct vm_err err = {0};

	(void)state;
	assert_int_equal(vm_id_new(a, &err), 0);
	assert_int_equal(vm_id_new(b, &err), 0);
	assert_true(vm_id_valid(a));
	assert_true(vm_id_valid(b));
	assert_string_not_equal(a, b);
	assert_false(vm_id_valid(""));
	assert_false(vm_id_valid("abc"));
	assert_false(vm_id_valid("ABCDEFGHIJKLMNOPQRSTUVWX"));
	assert_true(vm_id_valid("abcdefghijklmnopqrstuvwx"));
	assert_false(vm_id_valid("abcdefghijklmnopqrstuvwxy"));
	assert_false(vm_id_valid("abcdefghijklmnopqrstuvw/"));
}

static void cleanup_keeps_errno_and_taking_leaves_nothing_behind(void **state)
{
	char *text = strdup("text");
	char *taken;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int other = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int number;

	(void)state;
	taken = vm_take_ptr(&text);
	assert_null(text);
	assert_string_equal(taken, "text");
	errno = EXDEV;
	vm_cleanup_free(&taken);
	assert_null(taken);
	vm_cleanup_free(&taken);
	number = fd;
	assert_int_equal(vm_take_fd(&fd), number);
	assert_int_equal(fd, -1);
	vm_cleanup_close(&fd);
	close(number);
	errno = EXDEV;
	vm_cleanup_close(&other);
	assert_int_equal(other, -1);
	assert_int_equal(errno, EXDEV);
}

static void clocks_agree_on_their_units(void **state)
{
	int64_t us = vm_monotonic_us();
	int64_t ms = vm_monotonic_ms();

	(void)state;
	assert_true(ms >= us / 1000);
	assert_true(vm_monotonic_us() / 1000 >= ms);
	assert_true(vm_realtime_us() > INT64_C(1600000000) * 1000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_size_is_a_number_with_a_binary_unit),
	        cmocka_unit_test(what_is_no_size_is_refused_and_leaves_the_result_alone),
	        cmocka_unit_test(a_size_that_does_not_fit_is_too_large),
	        cmocka_unit_test(a_formatted_size_never_shows_1024_of_a_unit),
	        cmocka_unit_test(an_integer_is_taken_only_within_its_range),
	        cmocka_unit_test(what_is_no_integer_is_refused),
	        cmocka_unit_test(a_slip_of_the_hand_finds_the_word_that_was_meant),
	        cmocka_unit_test(
	                the_nearest_word_wins_and_words_too_long_to_compare_are_passed_over),
	        cmocka_unit_test(a_name_is_a_dns_label),
	        cmocka_unit_test(new_ids_are_valid_and_differ),
	        cmocka_unit_test(cleanup_keeps_errno_and_taking_leaves_nothing_behind),
	        cmocka_unit_test(clocks_agree_on_their_units),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
