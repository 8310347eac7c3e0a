/* SPDX-License-Identifier: Apache-2.0 */
#include "colour.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "text.h"

static const char *const begins[] = {
        [CLI_PLAIN] = "",        [CLI_BOLD] = "\033[1m",   [CLI_DIM] = "\033[2m",
        [CLI_RED] = "\033[31m",  [CLI_GREEN] = "\033[32m", [CLI_YELLOW] = "\033[33m",
        [CLI_CYAN] = "\033[36m",
};

bool cli_colours(void)
{
	const char *no_color = getenv("NO_COLOR");

	return (no_color == NULL || no_color[0] == '\0') && cli_is_terminal(STDOUT_FILENO);
}

const char *cli_colour_on(enum cli_colour colour, bool coloured)
{
	return coloured ? begins[colour] : "";
}

const char *cli_colour_off(enum cli_colour colour, bool coloured)
{
	return coloured && colour != CLI_PLAIN ? "\033[0m" : "";
}

enum cli_colour cli_state_colour(enum vm_state state)
{
	switch (state) {
	case VM_STATE_RUNNING:
		return CLI_GREEN;
	case VM_STATE_STANDBY:
		return CLI_CYAN;
	case VM_STATE_PAUSED:
		return CLI_YELLOW;
	case VM_STATE_FAILED:
		return CLI_RED;
	default:
		return CLI_PLAIN;
	}
}

enum cli_colour cli_outcome_colour(const char *outcome)
{
	return strcmp(outcome, vm_code_name(VM_OK)) == 0 ? CLI_GREEN : CLI_RED;
}
