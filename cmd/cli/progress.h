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

/*
 * Bytes on their way, e.g. "exporting web: 1.2G of 4.0G, 350.0M/s, 8 s left": on a terminal only,
 * as above, and drawn a few times a second however often it is told. For one transfer, in one
 * thread; the first two fields are the caller's, the others begin as 0.
 */
struct cli_transfer {
	struct cli_progress *progress;
	const char *what;           /* "exporting web" */
	int64_t began_us, drawn_us; /* monotonic */
};

/* `transfer` is a struct cli_transfer: so this can be a callback of the library. */
void cli_progress_bytes(void *transfer, uint64_t done, uint64_t total);
/* That text, `elapsed_us` after the beginning. Returns buf. */
char *cli_transfer_text(const char *what, uint64_t done, uint64_t total, int64_t elapsed_us,
                        char *buf, size_t size);

#endif
