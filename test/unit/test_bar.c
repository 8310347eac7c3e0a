/* SPDX-License-Identifier: Apache-2.0 */
/* The lines that a terminal is shown: what stands in them, and what goes first where it is narrow.
 */
#include "procs.h"

#include "../../cmd/cli/bar.h"

#define MIB_BYTES ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

static void a_bar_tells_its_amount_its_rate_and_the_time_left(void **state)
{
	static const struct {
		uint64_t done, total;
		int64_t elapsed_ms;
		const char *text; /* behind the bar */
	} cases[] = {
	        {0, 4 * GIB, 0, "0 / 4.0G"},
	        {0, 4 * GIB, 5000, "0 / 4.0G"},
	        {300 * MIB_BYTES, 4 * GIB, 999, "300M / 4.0G"},
	        {GIB, 4 * GIB, 4000, "1.0G / 4.0G  256M/s  12 s left"},
	        {GIB, 4 * GIB, 100000, "1.0G / 4.0G  10.2M/s  5 min left"},
	        {MIB_BYTES, 4 * GIB, 10000, "1.0M / 4.0G  102K/s  11 h left"},
	        {4 * GIB, 4 * GIB, 4000, "4.0G / 4.0G"},
	        {1, 4 * GIB, 1000, "1 / 4.0G  1/s  1193046 h left"},
	};
	char want[128], line[CLI_LINE_SIZE];

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(cases); i++) {
		const struct cli_bar bar = {.what = "x",
		                            .done = cases[i].done,
		                            .total = cases[i].total,
		                            .elapsed_ms = cases[i].elapsed_ms};

		snprintf(want, sizeof(want), "]  %s", cases[i].text);
		cli_bar_line(&bar, 100, false, line);
		assert_non_null(strchr(line, ']'));
		assert_string_equal(strchr(line, ']'), want);
	}
}

static void a_narrow_terminal_loses_the_bar_then_the_rate_then_the_end_of_the_name(void **state)
{
	static const struct {
		int columns;
		const char *line;
	} cases[] = {
	        {200, "copying disk root of web  [######################--------]  3.0G / 4.0G  "
	              "300M/s  3 s left"},
	        {89, "copying disk root of web  [######################--------]  3.0G / 4.0G  "
	             "300M/s  3 s left"},
	        {88, "copying disk root of web  [###############-----]  3.0G / 4.0G  300M/s  3 s "
	             "left"},
	        {78, "copying disk root of web  [#######---]  3.0G / 4.0G  300M/s  3 s left"},
	        {68, "copying disk root of web  3.0G / 4.0G  300M/s  3 s left"},
	        {55, "copying disk root of web  3.0G / 4.0G  300M/s  3 s left"},
	        {54, "copying disk root of web  3.0G / 4.0G  3 s left"},
	        {46, "copying disk root of...  3.0G / 4.0G  3 s left"},
	        {30, "copying disk root of web"},
	        {20, "copying disk root..."},
	        {2, "co"},
	        {0, "c"},
	};
	const struct cli_bar bar = {.what = "copying disk root of web",
	                            .done = 3 * GIB,
	                            .total = 4 * GIB,
	                            .elapsed_ms = 10240};
	char line[CLI_LINE_SIZE];

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(cases); i++)
		assert_string_equal(cli_bar_line(&bar, cases[i].columns, false, line),
		                    cases[i].line);
}

static void forks_are_counted_and_have_no_rate(void **state)
{
	struct cli_bar bar = {.what = "starting forks of web",
	                      .unit = "forks",
	                      .done = 37,
	                      .total = 100,
	                      .elapsed_ms = 3700};
	char line[CLI_LINE_SIZE];

	(void)state;
	assert_string_equal(cli_bar_line(&bar, 79, false, line),
	                    "starting forks of web  [#######-------------]  37 of 100 forks  6 s "
	                    "left");
	assert_string_equal(cli_bar_line(&bar, 50, true, line),
	                    "starting forks of web  37 of 100 forks  6 s left");
	bar.done = bar.total = 0;
	assert_string_equal(cli_bar_line(&bar, 79, false, line),
	                    "starting forks of web  0 of 0 forks");
}

static void a_wait_tells_who_is_in_the_way_and_how_long_it_will_be(void **state)
{
	struct cli_wait wait = {.what = "instance 'web'",
	                        .note = "held by pid 123 (vmctl-stop web, for 4.0 s)",
	                        .elapsed_ms = 3400,
	                        .left_ms = 26400};
	char line[CLI_LINE_SIZE];

	(void)state;
	assert_string_equal(cli_wait_line(&wait, 199, line),
	                    "waiting for instance 'web': held by pid 123 (vmctl-stop web, for 4.0 "
	                    "s); 3 s so far, 26 s left");
	/* What is cut is who: how long it takes stays. */
	assert_string_equal(
	        cli_wait_line(&wait, 79, line),
	        "waiting for instance 'web': held by pid 123 (vmctl-st...; 3 s so far, 26 s "
	        "left");
	assert_string_equal(cli_wait_line(&wait, 60, line),
	                    "waiting for instance 'web'; 3 s so far, 26 s left");
	assert_string_equal(cli_wait_line(&wait, 30, line), "waiting for instance 'web'");
	wait.left_ms = -1;
	wait.before = "3 of 10 forks";
	wait.what = "a restore slot";
	wait.note = "";
	assert_string_equal(cli_wait_line(&wait, 79, line),
	                    "3 of 10 forks, waiting for a restore slot; 3 s so far");
}

/* Of a line in UTF-8 or ASCII. */
static size_t columns_in(const char *line)
{
	size_t n = 0;

	for (; *line; line++)
		n += ((unsigned char)*line & 0xc0) != 0x80;
	return n;
}

static void assert_fits(const char *line, int columns)
{
	if (columns_in(line) > (size_t)(columns > 0 ? columns : 1) || strlen(line) == 0)
		fail_msg("%d columns: '%s'", columns, line);
	for (const char *c = line; *c; c++)
		assert_true((unsigned char)*c >= 0x20 && *c != 0x7f);
}

/* Every kind of line, of this name and any amounts. */
static void assert_all_fit(const char *name, int columns, bool counts, bool utf8)
{
	static const uint64_t amounts[] = {1, 999, 1023 * MIB_BYTES, 999 * GIB, UINT64_MAX};
	const struct cli_wait wait = {.before = counts ? "99 of 100 forks" : NULL,
	                              .what = name,
	                              .note = name,
	                              .elapsed_ms = INT64_MAX,
	                              .left_ms = INT64_MAX};
	char line[CLI_LINE_SIZE];

	for (size_t i = 0; i < VM_ARRAY_LEN(amounts); i++) {
		const struct cli_bar bar = {.what = name,
		                            .unit = counts ? "forks" : NULL,
		                            .done = amounts[i],
		                            .total = UINT64_MAX,
		                            .elapsed_ms = 1000000,
		                            .blind = i == 2 && utf8};

		assert_fits(cli_bar_line(&bar, columns, utf8, line), columns);
	}
	assert_fits(cli_wait_line(&wait, columns, line), columns);
	assert_fits(cli_text_line(name, columns, line), columns);
}

static void a_line_is_never_wider_than_the_terminal_and_commands_nothing(void **state)
{
	char longest[300];

	(void)state;
	memset(longest, 'n', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	for (int columns = -1; columns < 500; columns++) {
		assert_all_fit("x", columns, false, true);
		assert_all_fit("importing \033[2Jweb\r\n\x7f", columns, true, false);
		assert_all_fit("\xc3\xa4\xc3\xb6\xff", columns, false, false);
		assert_all_fit(longest, columns, true, true);
	}
}

static void a_bar_grows_from_empty_to_full(void **state)
{
	static const char *const want[] = {"[----------]", "[####------]", "[#########-]",
	                                   "[##########]"};
	static const uint64_t done[] = {0, 499, 999, 1000};
	struct cli_bar bar = {.what = "x", .total = 1000};
	char line[CLI_LINE_SIZE];

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(want); i++) {
		bar.done = done[i];
		assert_non_null(strstr(cli_bar_line(&bar, 30, false, line), want[i]));
	}
	bar.done = 500;
	assert_non_null(strstr(cli_bar_line(&bar, 30, true, line),
	                       "[\u2588\u2588\u2588\u2588\u2588\u2591\u2591\u2591\u2591\u2591]"));
}

/* Where nobody knows how far it is. */
static void what_is_done_blindly_tells_how_much_and_since_when(void **state)
{
	const struct cli_bar bar = {.what = "saving the memory of web",
	                            .total = 4 * GIB,
	                            .elapsed_ms = 3400,
	                            .blind = true};
	char line[CLI_LINE_SIZE];

	(void)state;
	assert_string_equal(cli_bar_line(&bar, 79, false, line),
	                    "saving the memory of web  4.0G  3 s so far");
	assert_string_equal(cli_bar_line(&bar, 38, false, line),
	                    "saving the memory...  4.0G  3 s so far");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_bar_tells_its_amount_its_rate_and_the_time_left),
	        cmocka_unit_test(
	                a_narrow_terminal_loses_the_bar_then_the_rate_then_the_end_of_the_name),
	        cmocka_unit_test(forks_are_counted_and_have_no_rate),
	        cmocka_unit_test(a_wait_tells_who_is_in_the_way_and_how_long_it_will_be),
	        cmocka_unit_test(a_line_is_never_wider_than_the_terminal_and_commands_nothing),
	        cmocka_unit_test(a_bar_grows_from_empty_to_full),
	        cmocka_unit_test(what_is_done_blindly_tells_how_much_and_since_when),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
