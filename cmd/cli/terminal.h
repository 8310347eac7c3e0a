/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The terminal in raw mode, and the signals that would otherwise end the process without giving it
 * back. Between enter and leave those signals are blocked and read from `signal_fd`.
 */
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H

#include <signal.h>
#include <stdbool.h>
#include <termios.h>

#include "err.h"

struct cli_terminal {
	bool raw; /* false: standard input is no terminal, and is left alone */
	struct termios before;
	sigset_t mask_before;
	int signal_fd;
};

int cli_terminal_enter(struct cli_terminal *terminal, struct vm_err *err);
/* Gives the terminal back and unblocks the signals; safe to call twice. */
void cli_terminal_leave(struct cli_terminal *terminal);
/*
 * Takes a signal off signal_fd. A stop (SIGTSTP) gives the terminal back, stops, and takes it again
 * when continued: 0. For every other signal: its number, and the caller should leave and raise it.
 */
int cli_terminal_signal(struct cli_terminal *terminal);

#endif
