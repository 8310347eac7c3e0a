/* SPDX-License-Identifier: Apache-2.0 */
/* A file of its own, for <term.h> makes macros of words like `lines`. */
#include <unistd.h>

#include "screen.h"

#include <curses.h>
#include <term.h>

bool top_terminal_known(void)
{
	int status;

	if (setupterm(NULL, STDOUT_FILENO, &status) != OK)
		return false;
	(void)del_curterm(cur_term);
	return true;
}
