/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line of a terminal that says what goes on. What does not fit into `columns` is left out, the
 * least important first; the result never is wider, and has nothing in it that could command the
 * terminal.
 */
#ifndef CLI_BAR_H
#define CLI_BAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CLI_LINE_SIZE = 1024, CLI_LINE_COLUMNS = 400 };

struct cli_bar {
	const char *what; /* "copying disk root of web" */
	const char *unit; /* "forks"; NULL: bytes */
	uint64_t done, total;
	int64_t elapsed_ms;
	bool blind; /* it is not known how much is done: only how much there is, and since when */
};

struct cli_wait {
	const char *before; /* "3 of 10 forks", or NULL */
	const char *what;   /* "instance 'web'" */
	const char *note;   /* "held by pid 4711 (...)", or "" */
	int64_t elapsed_ms;
	int64_t left_ms; /* -1: for ever */
};

/*
 * "copying disk root of web  [########----]  1.2G / 4.0G  350M/s  8 s left". Rate and time left
 * once there is something to go by. Narrow: without the bar, then without the rate, then the
 * beginning is cut. Returns buf.
 */
char *cli_bar_line(const struct cli_bar *bar, int columns, bool utf8, char buf[CLI_LINE_SIZE]);
/* "waiting for instance 'web': held by pid 4711 (...); 3 s so far, 26 s left". Narrow: the note is
 * cut. */
char *cli_wait_line(const struct cli_wait *wait, int columns, char buf[CLI_LINE_SIZE]);
/* Any text. */
char *cli_text_line(const char *text, int columns, char buf[CLI_LINE_SIZE]);
/* "37 of 100 forks", "1.2G / 4.0G". */
char *cli_bar_amount(const struct cli_bar *bar, char *buf, size_t size);

#endif
