/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../cmd/cli/progress.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

static void a_transfer_tells_its_rate_and_the_time_left(void **state)
{
	static const struct {
		uint64_t done, total;
		int64_t elapsed_us;
		const char *text;
	} cases[] = {
	        {0, 4 * GIB, 0, "x: 0 of 4.0G"},
	        {0, 4 * GIB, 5000000, "x: 0 of 4.0G"},
	        {300 * MIB, 4 * GIB, 999999, "x: 300.0M of 4.0G"},
	        {GIB, 4 * GIB, 4000000, "x: 1.0G of 4.0G, 256.0M/s, 12 s left"},
	        {GIB, 4 * GIB, 100000000, "x: 1.0G of 4.0G, 10.2M/s, 5 min left"},
	        {MIB, 4 * GIB, 10000000, "x: 1.0M of 4.0G, 102.4K/s, 11 h left"},
	        {4 * GIB, 4 * GIB, 4000000, "x: 4.0G of 4.0G, 1.0G/s, 0 s left"},
	        {1, 4 * GIB, 1000000, "x: 1 of 4.0G, 1/s, 1193046 h left"},
	        {0, 0, 0, "x: 0 of 0"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char buf[256];

		assert_string_equal(cli_transfer_text("x", cases[i].done, cases[i].total,
		                                      cases[i].elapsed_us, buf, sizeof(buf)),
		                    cases[i].text);
	}
}

/* -v and a stderr that is no terminal: nothing is drawn, and so no thread begins to draw. */
static void a_transfer_is_not_told_where_there_is_no_terminal(void **state)
{
	struct cli_progress progress;
	struct cli_transfer transfer = {.progress = &progress, .what = "exporting web"};

	(void)state;
	cli_progress_init(&progress, "test", true);
	cli_progress_bytes(&transfer, 1, 2);
	cli_progress_bytes(&transfer, 2, 2);
	assert_false(progress.started);
	assert_false(progress.shown);
	assert_int_equal(progress.text[0], '\0');
	cli_progress_end(&progress);
}

/* Where there is one, the text is handed on, and the next one only after a while. */
static void a_transfer_is_told_on_a_terminal(void **state)
{
	struct cli_progress progress;
	struct cli_transfer transfer = {.progress = &progress, .what = "exporting web"};

	(void)state;
	cli_progress_init(&progress, "test", false);
	progress.terminal = true;
	cli_progress_bytes(&transfer, 0, GIB);
	assert_string_equal(progress.text, "exporting web: 0 of 1.0G");
	transfer.drawn_us = INT64_MAX; /* just now, whatever the clock says */
	cli_progress_bytes(&transfer, GIB, GIB);
	assert_string_equal(progress.text, "exporting web: 0 of 1.0G");
	transfer.drawn_us = 1; /* long ago */
	cli_progress_bytes(&transfer, GIB, GIB);
	assert_memory_equal(progress.text, "exporting web: 1.0G of 1.0G", 27);
	cli_progress_end(&progress);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_transfer_tells_its_rate_and_the_time_left),
	        cmocka_unit_test(a_transfer_is_not_told_where_there_is_no_terminal),
	        cmocka_unit_test(a_transfer_is_told_on_a_terminal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
