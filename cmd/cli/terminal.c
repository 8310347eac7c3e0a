/* SPDX-License-Identifier: Apache-2.0 */
#include "terminal.h"

#include <pthread.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "util.h"

static void signals(sigset_t *set)
{
	static const int taken[] = {SIGINT,  SIGTERM, SIGHUP,  SIGQUIT, SIGTSTP,
	                            SIGUSR1, SIGUSR2, SIGALRM, SIGXCPU};

	sigemptyset(set);
	for (size_t i = 0; i < VM_ARRAY_LEN(taken); i++)
		sigaddset(set, taken[i]);
}

/*
 * Output processing stays on: a guest that ends its lines with a bare newline should not draw a
 * staircase.
 */
static int make_raw(const struct cli_terminal *terminal)
{
	struct termios raw = terminal->before;

	cfmakeraw(&raw);
	raw.c_oflag = terminal->before.c_oflag;
	return tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
}

int cli_terminal_enter(struct cli_terminal *terminal, struct vm_err *err)
{
	sigset_t set;

	signals(&set);
	*terminal = (struct cli_terminal){.signal_fd = -1};
	pthread_sigmask(SIG_BLOCK, &set, &terminal->mask_before);
	terminal->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (terminal->signal_fd < 0) {
		vm_err_sys(err, "cannot watch for signals");
		pthread_sigmask(SIG_SETMASK, &terminal->mask_before, NULL);
		return -1;
	}
	if (tcgetattr(STDIN_FILENO, &terminal->before) < 0)
		return 0;
	if (make_raw(terminal) < 0) {
		vm_err_sys(err, "cannot put the terminal into raw mode");
		cli_terminal_leave(terminal);
		return -1;
	}
	terminal->raw = true;
	return 0;
}

void cli_terminal_leave(struct cli_terminal *terminal)
{
	if (terminal->raw)
		(void)tcsetattr(STDIN_FILENO, TCSADRAIN, &terminal->before);
	terminal->raw = false;
	if (terminal->signal_fd < 0)
		return;
	close(terminal->signal_fd);
	terminal->signal_fd = -1;
	pthread_sigmask(SIG_SETMASK, &terminal->mask_before, NULL);
}

int cli_terminal_signal(struct cli_terminal *terminal)
{
	struct signalfd_siginfo info;

	if (read(terminal->signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return 0;
	if (info.ssi_signo != SIGTSTP)
		return (int)info.ssi_signo;
	if (terminal->raw)
		(void)tcsetattr(STDIN_FILENO, TCSADRAIN, &terminal->before);
	(void)kill(getpid(), SIGSTOP);
	if (terminal->raw)
		(void)make_raw(terminal);
	return 0;
}
