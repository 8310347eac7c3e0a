/* SPDX-License-Identifier: Apache-2.0 */
#include "progress.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_MS = 300 };

void cli_progress_init(struct cli_progress *progress, const char *program, bool verbose)
{
	pthread_condattr_t attr;
	const char *term = getenv("TERM");

	memset(progress, 0, sizeof(*progress));
	progress->program = program;
	progress->verbose = verbose;
	progress->terminal = !verbose && isatty(STDERR_FILENO) && term != NULL && term[0] != '\0' &&
	                     strcmp(term, "dumb") != 0;
	pthread_mutex_init(&progress->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&progress->wake, &attr);
	pthread_condattr_destroy(&attr);
}

/* Called with the lock held. The text is cut to the terminal's width: a wrapped line cannot be
 * erased. */
static void draw(struct cli_progress *progress)
{
	struct winsize size = {0};
	int width = 79;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1)
		width = size.ws_col - 1;
	(void)fprintf(stderr, "\r\033[K%.*s", width, progress->text);
	progress->shown = true;
}

/* Called with the lock held. */
static void erase(struct cli_progress *progress)
{
	if (!progress->shown)
		return;
	(void)fputs("\r\033[K", stderr);
	progress->shown = false;
}

/* Sleeps until patience is over or the verb ends, then draws what is being done at that moment. */
static void *show_late(void *ctx)
{
	struct cli_progress *progress = ctx;
	struct timespec until;
	int rc = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += PATIENCE_MS * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000L;
	}
	pthread_mutex_lock(&progress->lock);
	while (!progress->ended && rc == 0)
		rc = pthread_cond_timedwait(&progress->wake, &progress->lock, &until);
	if (!progress->ended && progress->text[0] != '\0')
		draw(progress);
	progress->late = true; /* from now on cli_progress_say() draws by itself */
	pthread_mutex_unlock(&progress->lock);
	return NULL;
}

/*
 * Called with the lock held. The thread must not take the signals that are meant to interrupt the
 * verb's own waits.
 */
static void start_thread(struct cli_progress *progress)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	progress->started = pthread_create(&progress->thread, NULL, show_late, progress) == 0;
	if (!progress->started)
		progress->terminal = false;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void cli_progress_say(struct cli_progress *progress, const char *text)
{
	pthread_mutex_lock(&progress->lock);
	(void)snprintf(progress->text, sizeof(progress->text), "%s", text);
	if (!progress->terminal) {
		if (progress->verbose)
			(void)fprintf(stderr, "%s: %s\n", progress->program, text);
	} else if (!progress->started) {
		start_thread(progress);
	} else if (progress->late && !progress->ended) {
		draw(progress);
	}
	pthread_mutex_unlock(&progress->lock);
}

void cli_progress_hide(struct cli_progress *progress)
{
	pthread_mutex_lock(&progress->lock);
	erase(progress);
	progress->text[0] = '\0';
	pthread_mutex_unlock(&progress->lock);
}

void cli_progress_end(struct cli_progress *progress)
{
	bool started;

	pthread_mutex_lock(&progress->lock);
	started = progress->started;
	progress->ended = true;
	erase(progress);
	pthread_cond_signal(&progress->wake);
	pthread_mutex_unlock(&progress->lock);
	if (started)
		pthread_join(progress->thread, NULL);
	pthread_cond_destroy(&progress->wake);
	pthread_mutex_destroy(&progress->lock);
}
