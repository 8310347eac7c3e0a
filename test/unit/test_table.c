/* SPDX-License-Identifier: Apache-2.0 */
/* Tables in too little room, and what may get into a cell. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../cmd/cli/table.h"
#include "../../cmd/cli/text.h"
#include "util.h"

enum { COLUMNS = 4, WIDE = 200, NARROWEST = 16 };

static const char *const header[COLUMNS] = {"NAME", "PARENT", "CID", "CREATED"};
static const struct cli_column gives[COLUMNS] = {
        {0}, {.least = 6}, {.rank = 2}, {.rank = 1, .moment = true}};
static const char *const rows[][COLUMNS] = {
        {"web", NULL, "7", "3 hours ago"},
        {"job-1", "a-very-long-name", "1234567890", "in 2 months"},
        {"job-2", "", "", "just now"},
};

static struct cli_grid make_grid(const char *const (*cells)[COLUMNS], size_t count)
{
	struct vm_err err = {0};
	struct cli_grid grid;

	assert_int_equal(cli_grid_init(&grid, header, COLUMNS, count, &err), 0);
	grid.gives = gives;
	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; k < COLUMNS; k++)
			cli_grid_put(&grid, i, k, cells[i][k] != NULL ? strdup(cells[i][k]) : NULL);
	return grid;
}

static char *written(const struct cli_grid *grid, bool with_header, size_t *widths, size_t width,
                     bool coloured)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	cli_grid_write(grid, with_header, widths, width, coloured, out);
	assert_int_equal(fclose(out), 0);
	return text;
}

static void assert_table(size_t width, const char *expected)
{
	struct cli_grid grid = make_grid(rows, VM_ARRAY_LEN(rows));
	size_t widths[CLI_COLUMNS_MAX] = {0};
	char *text = written(&grid, true, widths, width, false);

	assert_string_equal(text, expected);
	free(text);
	cli_grid_free(&grid);
}

static void what_is_no_terminal_gets_everything(void **state)
{
	(void)state;
	assert_table(0, "NAME   PARENT            CID         CREATED\n"
	                "web    -                 7           3 hours ago\n"
	                "job-1  a-very-long-name  1234567890  in 2 months\n"
	                "job-2  -                 -           just now\n");
}

static void a_table_gives_way_in_the_order_that_is_told(void **state)
{
	(void)state;
	/* As wide as it is: nothing happens. */
	assert_table(48, "NAME   PARENT            CID         CREATED\n"
	                 "web    -                 7           3 hours ago\n"
	                 "job-1  a-very-long-name  1234567890  in 2 months\n"
	                 "job-2  -                 -           just now\n");
	/* First moments are told shortly, */
	assert_table(47, "NAME   PARENT            CID         CREATED\n"
	                 "web    -                 7           3h ago\n"
	                 "job-1  a-very-long-name  1234567890  in 2mo\n"
	                 "job-2  -                 -           now\n");
	/* then what may shrink is cut, */
	assert_table(40, "NAME   PARENT        CID         CREATED\n"
	                 "web    -             7           3h ago\n"
	                 "job-1  a-very-long…  1234567890  in 2mo\n"
	                 "job-2  -             -           now\n");
	/* but not below its least width: then the least important goes, which makes room again, */
	assert_table(33, "NAME   PARENT            CREATED\n"
	                 "web    -                 3h ago\n"
	                 "job-1  a-very-long-name  in 2mo\n"
	                 "job-2  -                 now\n");
	/* and the next one, */
	assert_table(13, "NAME   PARENT\n"
	                 "web    -\n"
	                 "job-1  a-ver…\n"
	                 "job-2  -\n");
	/* and at last all are cut. */
	assert_table(9, "NA…  PAR…\n"
	                "web  -\n"
	                "jo…  a-v…\n"
	                "jo…  -\n");
}

/* Columns that the longest line takes; the last character of each is a newline. */
static size_t widest_line(char *text)
{
	size_t widest = 0;

	for (char *rest = text, *line; (line = strsep(&rest, "\n")) != NULL;) {
		size_t width = cli_text_width(line);

		widest = width > widest ? width : widest;
	}
	return widest;
}

static void no_line_is_wider_than_the_terminal(void **state)
{
	(void)state;
	for (size_t width = NARROWEST; width < WIDE; width++) {
		static const char *const wide[][COLUMNS] = {
		        {"名前", "e\xcc\x81t\xc3\xa9 漢字 and more of it", "12345", "4 years ago"},
		        {"a-name-that-is-long-and-gives-no-way", "b", "c", "just now"},
		};
		struct cli_grid grid = make_grid(wide, VM_ARRAY_LEN(wide));
		size_t widths[CLI_COLUMNS_MAX] = {0};
		char *text = written(&grid, true, widths, width, false);

		assert_true(widest_line(text) <= width);
		free(text);
		cli_grid_free(&grid);
	}
}

static void pieces_stand_below_each_other_and_leave_the_same_out(void **state)
{
	struct cli_grid first = make_grid(rows, 0), second = make_grid(rows + 1, 1),
	                third = make_grid(rows, 1);
	size_t widths[CLI_COLUMNS_MAX] = {0};
	char *text = written(&first, true, widths, 33, false);

	(void)state;
	assert_string_equal(text, "NAME  PARENT  CID  CREATED\n");
	free(text);
	text = written(&second, false, widths, 33, false);
	assert_string_equal(text, "job-1  a-very-long-name  in 2mo\n");
	free(text);
	text = written(&third, false, widths, 33, false);
	assert_string_equal(text, "web    -                 3h ago\n");
	free(text);
	cli_grid_free(&first);
	cli_grid_free(&second);
	cli_grid_free(&third);
}

static void colours_take_no_room(void **state)
{
	struct cli_grid grid = make_grid(rows, 1);
	size_t widths[CLI_COLUMNS_MAX] = {0};
	char *text;

	(void)state;
	cli_grid_colour(&grid, 0, 0, CLI_GREEN);
	text = written(&grid, true, widths, 0, true);
	assert_string_equal(text, "\033[1mNAME\033[0m  \033[1mPARENT\033[0m  \033[1mCID\033[0m  "
	                          "\033[1mCREATED\033[0m\n"
	                          "\033[32mweb\033[0m   -       7    3 hours ago\n");
	free(text);
	cli_grid_free(&grid);
}

/* A mark that would turn around what follows it, so that the name seems to end in "png". */
static const char turned[] = {'u', 's', 'e', 'r', (char)0xe2, (char)0x80, (char)0xae, 'g',
                              'n', 'p', '.', 'e', 'x',        'e',        '\0'};

static void nothing_in_a_text_commands_the_terminal(void **state)
{
	static const struct {
		const char *text, *clean;
	} cases[] = {
	        {"plain", "plain"},
	        {"a\tb\nc\rd", "a b c d"},
	        {"\033[31mred\x07", "?[31mred?"},
	        {"\x7f\xc2\x85\xc2\x9b", "???"},   /* DEL, NEL, CSI of 8 bits */
	        {"\xff\xc3+\xe2\x82", "??+??"},    /* no UTF-8 */
	        {"\xc0\xaf\xed\xa0\x80", "?????"}, /* overlong, and half a surrogate pair */
	        {turned, "user?gnp.exe"},
	        {"été 漢字 e\xcc\x81 \xf0\x9f\x98\x80", "été 漢字 e\xcc\x81 \xf0\x9f\x98\x80"},
	};

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(cases); i++) {
		char text[64];

		(void)snprintf(text, sizeof(text), "%s", cases[i].text);
		cli_text_clean(text, true);
		assert_string_equal(text, cases[i].clean);
	}
}

static void widths_are_those_of_the_terminal(void **state)
{
	(void)state;
	assert_int_equal(cli_text_width("été"), 3);
	assert_int_equal(cli_text_width("e\xcc\x81t"), 2);
	assert_int_equal(cli_text_width("漢字"), 4);
	assert_int_equal(cli_text_fit("漢字", 3), 3);
	assert_int_equal(cli_text_fit("e\xcc\x81t", 1), 3);
	assert_int_equal(cli_text_fit("abc", 9), 3);
	assert_int_equal(cli_text_fit("abc", 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(what_is_no_terminal_gets_everything),
	        cmocka_unit_test(a_table_gives_way_in_the_order_that_is_told),
	        cmocka_unit_test(no_line_is_wider_than_the_terminal),
	        cmocka_unit_test(pieces_stand_below_each_other_and_leave_the_same_out),
	        cmocka_unit_test(colours_take_no_room),
	        cmocka_unit_test(nothing_in_a_text_commands_the_terminal),
	        cmocka_unit_test(widths_are_those_of_the_terminal),
	};

	if (setenv("LC_ALL", "C.UTF-8", 1) != 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
