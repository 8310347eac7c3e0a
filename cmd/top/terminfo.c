/* SPDX-License-Identifier: Apache-2.0 */
/* A file of its own, for <term.h> makes macros of words like `lines`. */
#include <unistd.h>

#include "screen.h"

#include <curses.h>
#include <term.h>

bool top_terminal_known(void)
{
	bool able;
	int status;

	if (setupterm(NULL, STDOUT_FILENO, &status) != OK)
		return false;
	/* A "dumb" one is known, but nothing can be put anywhere on it. */
	able = cursor_address != NULL && clear_screen != NULL;
	(void)del_curterm(cur_term);
	return able;
}
