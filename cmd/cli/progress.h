/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Says on stderr what a verb is doing: at once with -v, else only on a terminal and only once it
 * has taken so long that a person starts to wonder. The line on the terminal disappears again.
 *
 * On a terminal the verb's own threads only note what is to be said, for they may hold locks, and a
 * terminal may be slow, or stopped (^S). A thread of its own draws, a few times a second. Who shows
 * something else hides the line first, and waits for the terminal as anybody does who writes to it.
 */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "bar.h"
#include "tell.h"

/* What is going on, as it was told last. */
struct cli_shown {
	char text[256]; /* "" for none, as all texts here */
	struct {
		char what[224], unit[16]; /* unit "": bytes */
		uint64_t done, total;
		int64_t began_ms;
		bool blind, grows; /* grows: growth.dir_fd is ours, and its files are the two */
		struct vm_growth growth;
		char files[VM_GROWTH_FILES][64];
	} amount;
	struct {
		const struct vm_waiting
		        *who; /* never looked into: the address tells the waits apart */
		char what[320], note[VM_WAITING_NOTE];
		int64_t began_ms, deadline_ms;
	} wait;
};

struct cli_progress {
	const char *program;
	int fd; /* the terminal's; stderr but in tests */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	/* All below is guarded by the lock. */
	bool verbose, terminal;
	bool started, ended;
	bool busy;      /* somebody writes to the terminal, without the lock */
	bool drawn;     /* the line is on it */
	int64_t due_ms; /* not before this moment it is drawn (again) */
	struct cli_shown shown;
	char line[CLI_LINE_SIZE]; /* as it was drawn last */
};

void cli_progress_init(struct cli_progress *progress, const char *program, bool verbose);
/* These three are safe to call from several threads, and do not wait for the terminal. */
void cli_progress_say(struct cli_progress *progress, const char *text);
void cli_progress_amount(struct cli_progress *progress, const struct vm_amount *amount);
void cli_progress_waiting(struct cli_progress *progress, const struct vm_waiting *waiting);
/*
 * Takes the line away before something else is printed; it comes back with what is said next, and
 * not at once.
 */
void cli_progress_hide(struct cli_progress *progress);
void cli_progress_end(struct cli_progress *progress);

/* What would be drawn. Returns buf, which is empty when nothing goes on. */
char *cli_progress_line(const struct cli_shown *shown, int64_t now_ms, int columns, bool utf8,
                        char buf[CLI_LINE_SIZE]);

#endif
