/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What has which colour, and whether there are any: on a terminal that is not "dumb", unless
 * $NO_COLOR is set to something (no-color.org). Only tables for people have colours.
 */
#ifndef CLI_COLOUR_H
#define CLI_COLOUR_H

#include <stdbool.h>

#include "store.h"

enum cli_colour {
	CLI_PLAIN,
	CLI_BOLD,
	CLI_DIM,
	CLI_RED,
	CLI_GREEN,
	CLI_YELLOW,
	CLI_CYAN,
};

/* Whether standard output gets colours. */
bool cli_colours(void);
/* What switches a colour on, and off again; "" for CLI_PLAIN, and where there are to be none. */
const char *cli_colour_on(enum cli_colour colour, bool coloured);
const char *cli_colour_off(enum cli_colour colour, bool coloured);

enum cli_colour cli_state_colour(enum vm_state state);
/* Of an event: "ok", or the name of an error's code. */
enum cli_colour cli_outcome_colour(const char *outcome);

#endif
