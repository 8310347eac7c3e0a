/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Says on stderr what a verb is doing: at once with -v, else only on a terminal and only once it
 * has taken so long that a person starts to wonder. The line on the terminal disappears again.
 */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct cli_progress {
	const char *program;
	bool verbose, terminal;
	bool started, late, shown, ended; /* guarded by lock, as is text */
	char text[256];
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
};

void cli_progress_init(struct cli_progress *progress, const char *program, bool verbose);
/* Safe to call from several threads. */
void cli_progress_say(struct cli_progress *progress, const char *text);
/* Takes the line away before something else is printed; it comes back with the next text. */
void cli_progress_hide(struct cli_progress *progress);
void cli_progress_end(struct cli_progress *progress);

#endif
