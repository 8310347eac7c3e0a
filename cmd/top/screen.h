/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOP_SCREEN_H
#define TOP_SCREEN_H

#include "../cli/top.h"

/* How it is shown: by options, and then by keys. */
struct top_view {
	int64_t delay_ms, refreshes; /* refreshes: 0 without end */
	enum cli_top_key key;
	bool reverse, only_running;
};

enum { TOP_DELAY_MIN_MS = 100, TOP_DELAY_MAX_MS = 3600000 };
/* The first numbers of CPU use come after this time, however long the delay is. */
enum { TOP_FIRST_MS = 500 };

/* The terminal's part, until q, a signal, or so many refreshes. Gives the terminal back. */
int top_screen(struct cli_top *top, struct top_view *view, struct vm_err *err);
/* Whether the type of the terminal, by $TERM, is known, and has a screen to draw on. */
bool top_terminal_known(void);
/* "every 2 s, by cpu": returns buf. */
char *top_how(const struct top_view *view, char *buf, size_t size);

#endif
