/* SPDX-License-Identifier: Apache-2.0 */
#include "screen.h"

#include <curses.h>
#include <locale.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>
#include <wchar.h>

#include "../cli/colour.h"
#include "interrupt.h"
#include "util.h"

/*
 * PSS is read again after 3 seconds, and for 50 ms a refresh; a change of the window's size is
 * looked for each 200 ms; after an Esc, 50 ms tell whether it begins a key.
 */
enum { PSS_AGE_US = 3000000, PSS_BUDGET_US = 50000, SLICE_MS = 200, ESC_MS = 50 };

enum { CTRL_L = 'L' & 0x1f, ESC = 0x1b, PROMPT_MAX = 8 };

/* Pairs of colours are numbered by state, beginning with 1. */
enum { FIRST_PAIR = 1 };

enum mode { TABLE, HELP, PROMPT };

struct screen {
	struct cli_top *top;
	struct top_view *view;
	SCREEN *terminal;
	bool colour;
	enum mode mode;
	size_t first;               /* row at the top of the table */
	char typed[PROMPT_MAX + 1]; /* at the prompt */
	char message[CLI_TOP_LINE]; /* what went wrong; until the next key */
	bool refresh_now, disk_now, quit;
};

static const char *const help[] = {
        "q        quit                 space  refresh now",
        "P M      by CPU, by PSS       N T    by name, by CPU time",
        "R        the other way round  i      all, or running only",
        "d s      the delay            u      look at the disks now",
        "arrows, PgUp, PgDn, Home, End scroll; ^L draws anew",
        "",
        "%CPU     of one CPU, since the refresh before",
        "PSS      its share of the memory that it uses; RSS all of it",
        "DISK     bytes that no other instance or snapshot has",
        "TIME+    CPU time; AGE since its start, or change of state",
        "",
        "Any key goes back.",
};

/* --- the terminal --------------------------------------------------------------------------------
 */

static short curses_colour(enum cli_colour colour)
{
	switch (colour) {
	case CLI_RED:
		return COLOR_RED;
	case CLI_GREEN:
		return COLOR_GREEN;
	case CLI_YELLOW:
		return COLOR_YELLOW;
	case CLI_CYAN:
		return COLOR_CYAN;
	default:
		return -1; /* the terminal's own */
	}
}

static void make_colours(struct screen *screen)
{
	if (!cli_colours() || !has_colors() || start_color() == ERR || use_default_colors() == ERR)
		return;
	for (int i = 0; i < VM_STATE_COUNT; i++)
		(void)init_pair((short)(FIRST_PAIR + i),
		                curses_colour(cli_state_colour((enum vm_state)i)), -1);
	screen->colour = true;
}

/* ^\ would end us without giving the terminal back. */
static void no_quit_key(void)
{
	struct termios terminal;

	if (tcgetattr(STDIN_FILENO, &terminal) < 0)
		return;
	terminal.c_cc[VQUIT] = _POSIX_VDISABLE;
	if (tcsetattr(STDIN_FILENO, TCSADRAIN, &terminal) == 0)
		(void)def_prog_mode();
}

static int open_screen(struct screen *screen, struct vm_err *err)
{
	const char *name = getenv("TERM");

	(void)setlocale(LC_CTYPE, "");
	/* Asked first, for newterm() leaves memory behind when it fails. */
	if (top_terminal_known())
		screen->terminal = newterm(NULL, stdout, stdin);
	if (screen->terminal == NULL) {
		vm_err_set(err, VM_ERR_USAGE,
		           "no full-screen terminal of the type '%.64s' is known",
		           name != NULL ? name : "");
		return vm_err_hint(err, "set $TERM, or print by -b");
	}
	(void)set_escdelay(ESC_MS);
	(void)cbreak();
	(void)noecho();
	(void)nonl();
	(void)keypad(stdscr, TRUE);
	(void)nodelay(stdscr, TRUE);
	(void)curs_set(0);
	no_quit_key();
	make_colours(screen);
	return 0;
}

/* Also what it looked like before comes back. */
static void close_screen(struct screen *screen)
{
	if (screen->terminal == NULL)
		return;
	(void)endwin();
	delscreen(screen->terminal);
	screen->terminal = NULL;
}

/* --- drawing -------------------------------------------------------------------------------------
 */

/* Puts text at the beginning of a line, as much of it as fits; what is no text becomes '?'. */
static void put_text(int y, const char *text)
{
	int width = 0;
	mbstate_t state = {0};
	wchar_t wide;

	if (move(y, 0) == ERR)
		return;
	while (*text != '\0') {
		size_t len = mbrtowc(&wide, text, MB_CUR_MAX, &state);
		int columns = len <= MB_CUR_MAX ? wcwidth(wide) : -1;

		if (columns < 0) {
			state = (mbstate_t){0};
			len = 1;
			columns = 1;
		}
		if (width + columns > COLS)
			return;
		if (len == 1 && ((unsigned char)*text < 0x20 || (unsigned char)*text >= 0x7f))
			(void)addch('?');
		else
			(void)addnstr(text, (int)len);
		text += len;
		width += columns;
	}
}

/* The table's own part of the window. */
struct area {
	int info, message, header, rows; /* lines of the summary; where the others are; how many */
};

static struct area divide(void)
{
	struct area area = {0};

	area.info = LINES - 4 < CLI_TOP_INFO ? LINES - 4 : CLI_TOP_INFO;
	if (area.info < 0)
		area.info = 0;
	area.message = LINES > 2 ? area.info : -1;
	area.header = area.message + 1;
	area.rows = LINES > area.header + 1 ? LINES - area.header - 1 : 0;
	return area;
}

static void draw_row(const struct screen *screen, const struct cli_top_layout *layout,
                     const struct cli_top_row *row, int y)
{
	char line[CLI_TOP_LINE];
	int width = layout->state_width;

	put_text(y, cli_top_line(layout, row, line));
	if (layout->state_at + width > COLS)
		width = COLS - layout->state_at;
	if (screen->colour && width > 0)
		(void)mvchgat(y, layout->state_at, width, A_NORMAL,
		              (short)(FIRST_PAIR + (int)row->state), NULL);
}

static void draw_table(struct screen *screen, const struct area *area)
{
	const struct cli_top_frame *frame = &screen->top->frame;
	struct cli_top_layout layout = cli_top_layout(frame->rows, frame->count, COLS);
	size_t rows = (size_t)area->rows;
	char line[CLI_TOP_LINE];

	if (screen->first + rows > frame->count)
		screen->first = frame->count > rows ? frame->count - rows : 0;
	put_text(area->header, cli_top_header(&layout, line));
	(void)mvchgat(area->header, 0, -1, A_REVERSE, 0, NULL);
	for (size_t i = 0; i < rows && screen->first + i < frame->count; i++)
		draw_row(screen, &layout, &frame->rows[screen->first + i],
		         area->header + 1 + (int)i);
}

static void draw(struct screen *screen)
{
	struct area area = divide();
	char lines[CLI_TOP_INFO][CLI_TOP_LINE], how[64], text[CLI_TOP_LINE];

	(void)erase();
	if (screen->mode == HELP) {
		for (size_t i = 0; i < VM_ARRAY_LEN(help) && (int)i < LINES; i++)
			put_text((int)i, help[i]);
		(void)refresh();
		return;
	}
	cli_top_info(&screen->top->frame, screen->top->cli->root.path,
	             top_how(screen->view, how, sizeof(how)), lines);
	for (int i = 0; i < area.info; i++)
		put_text(i, lines[i]);
	draw_table(screen, &area);
	if (area.message >= 0 && screen->mode == PROMPT) {
		(void)snprintf(text, sizeof(text), "Seconds between refreshes [%g]: %s_",
		               (double)screen->view->delay_ms / 1000, screen->typed);
		put_text(area.message, text);
	} else if (area.message >= 0) {
		put_text(area.message, screen->message);
	}
	(void)refresh();
}

static void say(struct screen *screen, const char *text)
{
	(void)snprintf(screen->message, sizeof(screen->message), "%.*s",
	               (int)sizeof(screen->message) - 1, text);
}

/* --- keys ----------------------------------------------------------------------------------------
 */

static void end_prompt(struct screen *screen)
{
	struct vm_err err = {0};
	int64_t ms;

	screen->mode = TABLE;
	if (screen->typed[0] == '\0')
		return;
	if (vm_duration_parse(screen->typed, "delay", &ms, &err) < 0 || ms < TOP_DELAY_MIN_MS ||
	    ms > TOP_DELAY_MAX_MS) {
		say(screen, "The delay is between 0.1 and 3600 seconds.");
		return;
	}
	screen->view->delay_ms = ms;
	screen->refresh_now = true;
}

static void prompt_key(struct screen *screen, int key)
{
	size_t len = strlen(screen->typed);

	if (key == '\r' || key == '\n' || key == KEY_ENTER) {
		end_prompt(screen);
	} else if (key == ESC) {
		screen->mode = TABLE;
	} else if (key == KEY_BACKSPACE || key == 0x7f || key == '\b') {
		screen->typed[len > 0 ? len - 1 : 0] = '\0';
	} else if (((key >= '0' && key <= '9') || key == '.') && len < PROMPT_MAX) {
		screen->typed[len] = (char)key;
		screen->typed[len + 1] = '\0';
	}
}

/* False: it is none of these. */
static bool scroll_key(struct screen *screen, int key)
{
	size_t page = (size_t)divide().rows;

	if (page == 0)
		page = 1;
	switch (key) {
	case KEY_UP:
		screen->first -= screen->first > 0;
		return true;
	case KEY_DOWN:
		screen->first++; /* drawing keeps it in bounds */
		return true;
	case KEY_PPAGE:
		screen->first -= screen->first < page ? screen->first : page;
		return true;
	case KEY_NPAGE:
		screen->first += page;
		return true;
	case KEY_HOME:
		screen->first = 0;
		return true;
	case KEY_END:
		screen->first = screen->top->frame.count;
		return true;
	default:
		return false;
	}
}

static bool order_key(struct screen *screen, int key)
{
	static const char letters[] = {
	        [CLI_TOP_BY_CPU] = 'P',
	        [CLI_TOP_BY_PSS] = 'M',
	        [CLI_TOP_BY_NAME] = 'N',
	        [CLI_TOP_BY_TIME] = 'T',
	};

	for (size_t i = 0; i < sizeof(letters); i++)
		if (letters[i] == key) {
			screen->view->key = (enum cli_top_key)i;
			return true;
		}
	if (key == 'R')
		screen->view->reverse = !screen->view->reverse;
	return key == 'R';
}

static void table_key(struct screen *screen, int key)
{
	screen->message[0] = '\0';
	if (scroll_key(screen, key) || order_key(screen, key))
		return;
	switch (key) {
	case 'q':
		screen->quit = true;
		return;
	case 'h':
	case '?':
		screen->mode = HELP;
		return;
	case 'd':
	case 's':
		screen->mode = PROMPT;
		screen->typed[0] = '\0';
		return;
	case 'i':
		screen->view->only_running = !screen->view->only_running;
		screen->refresh_now = true;
		return;
	case 'u':
		screen->disk_now = true;
		return;
	case ' ':
	case '\r':
	case '\n':
		screen->refresh_now = true;
		return;
	case CTRL_L:
		(void)clearok(curscr, TRUE);
		return;
	default:
		return;
	}
}

static void take_keys(struct screen *screen)
{
	int key;

	while ((key = getch()) != ERR && !screen->quit) {
		if (key == KEY_RESIZE)
			continue; /* curses has changed LINES and COLS */
		if (screen->mode == PROMPT)
			prompt_key(screen, key);
		else if (screen->mode == HELP)
			screen->mode = TABLE;
		else
			table_key(screen, key);
	}
}

/* --- the loop ------------------------------------------------------------------------------------
 */

/* Leaves only those that run in the frame. */
static void drop_idle(struct cli_top_frame *frame)
{
	size_t kept = 0;

	for (size_t i = 0; i < frame->count; i++)
		if (frame->rows[i].pid != 0)
			frame->rows[kept++] = frame->rows[i];
	frame->count = kept;
}

static int look(struct screen *screen, struct vm_err *err)
{
	if (cli_top_look(screen->top, err) < 0)
		return -1;
	if (screen->view->only_running)
		drop_idle(&screen->top->frame);
	cli_top_read_pss(&screen->top->frame, PSS_AGE_US, PSS_BUDGET_US);
	screen->refresh_now = false;
	return 0;
}

static void look_at_disks(struct screen *screen)
{
	struct vm_err err = {0};

	say(screen, "Looking at the disks...");
	draw(screen);
	screen->message[0] = '\0';
	screen->disk_now = false;
	if (cli_top_read_disk(screen->top, &err) == 0)
		return;
	say(screen, err.message);
	screen->top->disk_at_us = vm_monotonic_us(); /* not again and again */
}

static void sort_and_draw(struct screen *screen)
{
	struct cli_top_frame *frame = &screen->top->frame;

	cli_top_sort(frame->rows, frame->count, screen->view->key, screen->view->reverse);
	draw(screen);
}

/* Until it is time, or a key wants more than a new look at the same rows. */
static int wait_for_keys(struct screen *screen, int64_t until_ms, struct vm_err *err)
{
	while (!screen->quit && !screen->refresh_now && !screen->disk_now) {
		struct pollfd keys = {.fd = STDIN_FILENO, .events = POLLIN};
		int64_t now = vm_monotonic_ms(), slice = now + SLICE_MS;
		int lines = LINES, columns = COLS, rc;

		if (now >= until_ms)
			return 0;
		rc = vm_poll_until(&keys, 1, slice < until_ms ? slice : until_ms, err);
		if (rc < 0)
			return -1;
		take_keys(screen);
		/* The terminal has gone, and nobody has told us by SIGHUP. */
		if ((keys.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0)
			screen->quit = true;
		if (rc > 0 || lines != LINES || columns != COLS)
			sort_and_draw(screen);
	}
	return 0;
}

static int loop(struct screen *screen, struct vm_err *err)
{
	const struct top_view *view = screen->view;
	int64_t delay_ms = view->delay_ms < TOP_FIRST_MS ? view->delay_ms : TOP_FIRST_MS;

	for (int64_t looks = 0; !screen->quit; looks++) {
		int64_t began_ms = vm_monotonic_ms();

		if (look(screen, err) < 0)
			return -1;
		sort_and_draw(screen);
		if (view->refreshes != 0 && looks >= view->refreshes)
			return 0;
		do {
			if (screen->disk_now || cli_top_disk_due(screen->top, vm_monotonic_us())) {
				look_at_disks(screen);
				sort_and_draw(screen);
			}
			if (wait_for_keys(screen, began_ms + delay_ms, err) < 0)
				return -1;
		} while (screen->disk_now);
		delay_ms = view->delay_ms;
	}
	return 0;
}

int top_screen(struct cli_top *top, struct top_view *view, struct vm_err *err)
{
	VM_AUTO(close_screen) struct screen screen = {.top = top, .view = view};

	return open_screen(&screen, err) < 0 ? -1 : loop(&screen, err);
}
