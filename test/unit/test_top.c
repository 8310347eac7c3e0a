/* SPDX-License-Identifier: Apache-2.0 */
/* What top makes of its samples: differences, order, columns, lines. */
#include "procs.h"

#include "../../cmd/cli/top.h"

static struct cli_top_row row(const char *name, double cpu_percent, int64_t pss_bytes,
                              int64_t cpu_us)
{
	struct cli_top_row made = {
	        .state = cpu_us < 0 ? VM_STATE_STOPPED : VM_STATE_RUNNING,
	        .pid = cpu_us < 0 ? 0 : 42,
	        .cpu_percent = cpu_percent,
	        .pss_bytes = pss_bytes,
	        .rss_bytes = pss_bytes,
	        .cpu_us = cpu_us,
	        .disk_bytes = CLI_TOP_UNKNOWN,
	        .age_us = INT64_C(61) * 1000000,
	};

	(void)snprintf(made.name, sizeof(made.name), "%s", name);
	(void)snprintf(made.hypervisor, sizeof(made.hypervisor), "fake");
	return made;
}

static void cpu_use_is_the_difference_of_two_samples(void **state)
{
	struct cli_top_row before = {.pid = 7,
	                             .start_ticks = 9,
	                             .sampled_us = 1000000,
	                             .cpu_us = 500000,
	                             .pss_bytes = 77,
	                             .pss_at_us = 5};
	struct cli_top_row now = {.pid = 7,
	                          .start_ticks = 9,
	                          .sampled_us = 3000000,
	                          .cpu_us = 3500000,
	                          .cpu_percent = -1,
	                          .pss_bytes = -1};

	(void)state;
	cli_top_carry(&now, &before);
	assert_true(now.cpu_percent > 149.9 && now.cpu_percent < 150.1); /* of two CPUs */
	assert_int_equal(now.pss_bytes, 77);
	assert_int_equal(now.pss_at_us, 5);
}

static void another_process_of_the_same_pid_begins_anew(void **state)
{
	const struct cli_top_row before = {.pid = 7,
	                                   .start_ticks = 9,
	                                   .sampled_us = 1,
	                                   .cpu_us = 500000,
	                                   .pss_bytes = 77,
	                                   .pss_at_us = 5};
	struct cli_top_row now = {.pid = 7,
	                          .start_ticks = 10,
	                          .sampled_us = 3000000,
	                          .cpu_us = 3500000,
	                          .cpu_percent = -1,
	                          .pss_bytes = -1};

	(void)state;
	cli_top_carry(&now, &before);
	assert_true(now.cpu_percent < 0);
	assert_int_equal(now.pss_bytes, -1);
	now.start_ticks = 9;
	now.sampled_us = before.sampled_us;
	cli_top_carry(&now, &before); /* no time has passed: nothing to divide by */
	assert_true(now.cpu_percent < 0);
}

static void assert_order(const struct cli_top_row *rows, size_t count, const char *expected)
{
	char text[64] = "";

	for (size_t i = 0; i < count; i++)
		(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s",
		               i > 0 ? " " : "", rows[i].name);
	assert_string_equal(text, expected);
}

static void rows_are_sorted_by_each_key_both_ways(void **state)
{
	struct cli_top_row rows[] = {row("n10", 1.0, 300, 5), row("n9", 2.0, 100, 7),
	                             row("idle", -1, -1, -1), row("n2", 1.0, 200, 9)};
	const size_t count = VM_ARRAY_LEN(rows);

	(void)state;
	cli_top_sort(rows, count, CLI_TOP_BY_CPU, false);
	assert_order(rows, count, "n9 n2 n10 idle"); /* equals by name, as people count */
	cli_top_sort(rows, count, CLI_TOP_BY_CPU, true);
	assert_order(rows, count, "idle n2 n10 n9");
	cli_top_sort(rows, count, CLI_TOP_BY_PSS, false);
	assert_order(rows, count, "n10 n2 n9 idle");
	cli_top_sort(rows, count, CLI_TOP_BY_TIME, false);
	assert_order(rows, count, "n2 n9 n10 idle");
	cli_top_sort(rows, count, CLI_TOP_BY_NAME, false);
	assert_order(rows, count, "idle n2 n9 n10");
	cli_top_sort(rows, count, CLI_TOP_BY_NAME, true);
	assert_order(rows, count, "n10 n9 n2 idle");
	cli_top_sort(NULL, 0, CLI_TOP_BY_CPU, false);
}

static void a_line_is_never_wider_than_the_window(void **state)
{
	char longest[VM_FULL_NAME_MAX + 1];
	struct cli_top_row rows[2];
	char header[CLI_TOP_LINE], line[CLI_TOP_LINE];

	(void)state;
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	rows[0] = row(longest, 12800.0, INT64_MAX, INT64_C(90000000) * 1000000);
	rows[1] = row("a", 0.04, 0, 0);
	rows[0].age_us = INT64_C(40000) * 86400 * 1000000;
	for (int width = 20; width <= 250; width++) {
		struct cli_top_layout layout = cli_top_layout(rows, 2, width);

		assert_true((int)strlen(cli_top_header(&layout, header)) <= width);
		for (int i = 0; i < 2; i++)
			assert_true((int)strlen(cli_top_line(&layout, &rows[i], line)) <= width);
		assert_int_equal(strncmp(header + layout.state_at, "STATE", 5), 0);
		assert_int_equal(strncmp(line + layout.state_at, "running", 7), 0);
	}
}

static void columns_go_by_their_weight_as_the_window_shrinks(void **state)
{
	const struct cli_top_row rows[] = {row("a-name-of-usual-size", 0.5, 2048, 61230000)};
	struct cli_top_layout layout = cli_top_layout(rows, 1, 88);
	char line[CLI_TOP_LINE];

	(void)state;
	assert_string_equal(cli_top_header(&layout, line),
	                    "NAME                 STATE   HYPERVISOR    %CPU     PSS     RSS    "
	                    "DISK     TIME+    AGE");
	assert_string_equal(cli_top_line(&layout, &rows[0], line),
	                    "a-name-of-usual-size running fake           0.5    2.0K    2.0K       "
	                    "-   1:01.23   1m01");
	layout = cli_top_layout(rows, 1, 80);
	assert_null(strstr(cli_top_header(&layout, line), "RSS"));
	assert_non_null(strstr(cli_top_line(&layout, &rows[0], line), "a-name-of-usual-size "));
	layout = cli_top_layout(rows, 1, 20);
	assert_string_equal(cli_top_line(&layout, &rows[0], line), "a-name-of-u+ running");
}

static void what_is_not_known_is_a_dash(void **state)
{
	const struct cli_top_row rows[] = {row("web", -1, -1, -1)};
	struct cli_top_layout layout = cli_top_layout(rows, 1, 0);
	char line[CLI_TOP_LINE];

	(void)state;
	assert_string_equal(
	        cli_top_line(&layout, &rows[0], line),
	        "web  stopped fake             -       -       -       -         -   1m01");
}

static void the_summary_adds_up_what_is_known(void **state)
{
	struct cli_top_row rows[] = {row("a", 50.0, 1048576, 1), row("b", 25.5, -1, 1),
	                             row("c", -1, -1, -1)};
	struct cli_top_frame frame = {.rows = rows,
	                              .count = 3,
	                              .host_cpus = 4,
	                              .stats_known = true,
	                              .pool_count = 2,
	                              .lock_waiters = 3,
	                              .pools = {{"one", 32, 5}, {"two", 8, 0}}};
	char lines[CLI_TOP_INFO][CLI_TOP_LINE];
	json_t *json;

	(void)state;
	frame.states[VM_STATE_RUNNING] = 2;
	frame.states[VM_STATE_STOPPED] = 1;
	cli_top_info(&frame, "/root", "every 2 s, by cpu", lines);
	assert_non_null(strstr(lines[0], "every 2 s, by cpu, /root"));
	assert_string_equal(lines[1], "Instances: 3 total, 2 running, 0 paused, 0 standby, "
	                              "1 stopped, 0 failed");
	assert_string_equal(lines[2], "Slots: one 5/32, two 0/8; lock waiters: 3");
	assert_non_null(strstr(lines[3], "CPU: 75.5% of 400%; PSS: at least 1.0M;"));
	json = cli_top_json(&frame);
	assert_non_null(json);
	assert_true(json_is_null(json_object_get(
	        json_array_get(json_object_get(json, "instances"), 2), "cpu_percent")));
	assert_int_equal(json_integer_value(json_object_get(json, "pss_bytes")), 1048576);
	json_decref(json);
	frame.stats_known = false;
	frame.pool_count = 0;
	(void)snprintf(frame.trouble, sizeof(frame.trouble), "somebody sits on it");
	cli_top_info(&frame, "/root", "", lines);
	assert_string_equal(lines[2], "Slots: unknown: somebody sits on it");
}

static void a_stat_of_proc_is_read_whatever_the_command_is_called(void **state)
{
	static const char text[] =
	        "123 (a) b (c)) S 1 123 123 0 -1 4194560 1000 0 5 0 250 50 0 0 20 0 3 0 777 "
	        "123456789 20 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 240 0\n";
	struct vm_proc_usage usage;

	(void)state;
	assert_true(vm_proc_parse_usage(text, &usage));
	assert_int_equal(usage.start_ticks, 777);
	assert_int_equal(usage.cpu_us, vm_proc_ticks_us(300));
	assert_int_equal(usage.rss_bytes, 20 * sysconf(_SC_PAGESIZE));
	assert_false(vm_proc_parse_usage("", &usage));
	assert_false(vm_proc_parse_usage("123 (a", &usage));
	assert_false(vm_proc_parse_usage("123 (a) S 1 2 3", &usage));
}

static void a_process_tells_what_it_uses(void **state)
{
	struct vm_proc_usage first, then;
	uint64_t pss, start;

	(void)state;
	assert_int_equal(vm_proc_usage(getpid(), &first), 0);
	assert_int_equal(vm_proc_start_time(getpid(), &start), 0);
	assert_int_equal(first.start_ticks, start);
	assert_true(first.rss_bytes > 0);
	assert_true(wait_for(vm_proc_usage(getpid(), &then) == 0 && then.cpu_us > first.cpu_us));
	assert_int_equal(vm_proc_pss(getpid(), start, &pss), 0);
	assert_true(pss > 0 && pss <= 2 * then.rss_bytes);
	assert_int_equal(vm_proc_pss(getpid(), start + 1, &pss), -1);
	assert_int_equal(errno, ESRCH);
	assert_int_equal(vm_proc_usage(0x7ffffff0, &then), -1);
}

static void the_host_tells_its_memory(void **state)
{
	struct vm_host_memory memory;

	(void)state;
	assert_int_equal(vm_host_memory(&memory), 0);
	assert_true(memory.available_bytes > 0);
	assert_true(memory.available_bytes <= memory.total_bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(cpu_use_is_the_difference_of_two_samples),
	        cmocka_unit_test(another_process_of_the_same_pid_begins_anew),
	        cmocka_unit_test(rows_are_sorted_by_each_key_both_ways),
	        cmocka_unit_test(a_line_is_never_wider_than_the_window),
	        cmocka_unit_test(columns_go_by_their_weight_as_the_window_shrinks),
	        cmocka_unit_test(what_is_not_known_is_a_dash),
	        cmocka_unit_test(the_summary_adds_up_what_is_known),
	        cmocka_unit_test(a_stat_of_proc_is_read_whatever_the_command_is_called),
	        cmocka_unit_test(a_process_tells_what_it_uses),
	        cmocka_unit_test(the_host_tells_its_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
