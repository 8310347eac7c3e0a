/* SPDX-License-Identifier: Apache-2.0 */
/* Moments as people write them. */
#include "procs.h"

#include <inttypes.h>

#include "when.h"

static int64_t parse(const char *text)
{
	struct vm_err err = {0};
	int64_t us = -1;

	if (vm_when_parse(text, "--since", &us, &err) < 0)
		fail_msg("%s", err.message);
	return us;
}

static void a_time_is_read_as_rfc_3339_says(void **state)
{
	(void)state;
	assert_int_equal(parse("1970-01-01T00:00:00Z"), 0);
	assert_int_equal(parse("1970-01-01t00:00:01z"), 1000000);
	assert_int_equal(parse("2026-11-23T10:11:12Z"), INT64_C(1795428672000000));
	assert_int_equal(parse("2026-11-23 12:11:12+02:00"), INT64_C(1795428672000000));
	assert_int_equal(parse("2026-11-23T04:41:12-05:30"), INT64_C(1795428672000000));
	assert_int_equal(parse("2026-11-23T10:11:12.5Z"), INT64_C(1795428672500000));
	assert_int_equal(parse("2026-11-23T10:11:12.1234567Z"), INT64_C(1795428672123456));
	assert_int_equal(parse("2028-02-29T00:00:00Z"), INT64_C(1835395200000000));
	assert_int_equal(parse("2016-12-31T23:59:60Z"), parse("2017-01-01T00:00:00Z"));
}

static void a_duration_is_that_long_ago(void **state)
{
	static const struct {
		const char *text;
		int64_t ms;
	} durations[] = {{"10m", 600000}, {"2h", 7200000}, {"5", 5000}, {"500ms", 500}, {"0", 0}};

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(durations); i++) {
		int64_t before = vm_realtime_us(), us = parse(durations[i].text);

		assert_true(us >= before - durations[i].ms * 1000);
		assert_true(us <= vm_realtime_us() - durations[i].ms * 1000);
	}
}

static void anything_else_is_refused_by_name(void **state)
{
	static const char *const odd[] = {"",
	                                  "yesterday",
	                                  "none",
	                                  "forever",
	                                  "-5",
	                                  "10 minutes",
	                                  "2026-11-23x",
	                                  "2026-11-23",
	                                  "2026-11-23T10:00Z",
	                                  "2026-11-23T10:00:00",
	                                  "2026-13-01T00:00:00Z",
	                                  "2026-00-01T00:00:00Z",
	                                  "2026-02-29T00:00:00Z",
	                                  "2026-02-29T23:59:60Z",
	                                  "2026-04-31T00:00:00Z",
	                                  "2026-11-00T00:00:00Z",
	                                  "2026-11-23T24:00:00Z",
	                                  "2026-11-23T10:60:00Z",
	                                  "2026-11-23T10:00:61Z",
	                                  "2026-11-23T10:00:00.Z",
	                                  "2026-11-23T10:00:00+2:00",
	                                  "2026-11-23T10:00:00+24:00",
	                                  "2026-11-23T10:00:00Z ",
	                                  "1969-12-31T23:59:59Z",
	                                  "26-11-23T10:00:00Z"};

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(odd); i++) {
		struct vm_err err = {0};
		int64_t us = 42;

		if (vm_when_parse(odd[i], "--since", &us, &err) == 0)
			fail_msg("'%s' was accepted", odd[i]);
		assert_int_equal(err.code, VM_ERR_USAGE);
		assert_non_null(strstr(err.message, "--since: '"));
		assert_int_equal(us, 42);
	}
}

static void what_is_written_is_read_back(void **state)
{
	static const int64_t moments[] = {0, 999000, INT64_C(1795428672123000)};
	char buf[VM_WHEN_SIZE];

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(moments); i++)
		assert_int_equal(parse(vm_when_format(moments[i], buf)), moments[i]);
	assert_string_equal(buf, "2026-11-23T10:11:12.123Z");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_time_is_read_as_rfc_3339_says),
	        cmocka_unit_test(a_duration_is_that_long_ago),
	        cmocka_unit_test(anything_else_is_refused_by_name),
	        cmocka_unit_test(what_is_written_is_read_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
