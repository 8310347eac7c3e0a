/* SPDX-License-Identifier: Apache-2.0 */
#include "progress.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "text.h"
#include "util.h"

enum { PATIENCE_MS = 300, REDRAW_MS = 200, WIDTH_UNKNOWN = 80 };

#define ERASE "\r\033[K"

void cli_progress_init(struct cli_progress *progress, const char *program, bool verbose)
{
	pthread_condattr_t attr;
	memset(progress, 0, sizeof(*progress));
	progress->program = program;
	progress->fd = STDERR_FILENO;
	progress->verbose = verbose;
	progress->terminal = !verbose && cli_is_terminal(STDERR_FILENO);
	pthread_mutex_init(&progress->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&progress->wake, &attr);
	pthread_condattr_destroy(&attr);
}

/* --- the line -----------------------------------------------------------------------------------
 */

static bool shows_something(const struct cli_shown *shown)
{
	return shown->text[0] != '\0' || shown->amount.what[0] != '\0' ||
	       shown->wait.what[0] != '\0';
}

static char *wait_line(const struct cli_shown *shown, const char *before, int64_t now_ms,
                       int columns, char buf[CLI_LINE_SIZE])
{
	int64_t deadline_ms = shown->wait.deadline_ms;
	const struct cli_wait wait = {
	        .before = before,
	        .what = shown->wait.what,
	        .note = shown->wait.note,
	        .elapsed_ms = now_ms - shown->wait.began_ms,
	        .left_ms = deadline_ms < 0        ? -1
	                   : deadline_ms > now_ms ? deadline_ms - now_ms
	                                          : 0,
	};

	return cli_wait_line(&wait, columns, buf);
}

char *cli_progress_line(const struct cli_shown *shown, int64_t now_ms, int columns, bool utf8,
                        char buf[CLI_LINE_SIZE])
{
	bool counts = shown->amount.unit[0] != '\0';
	const struct cli_bar bar = {
	        .what = shown->amount.what,
	        .unit = counts ? shown->amount.unit : NULL,
	        .done = shown->amount.done,
	        .total = shown->amount.total,
	        .elapsed_ms = now_ms - shown->amount.began_ms,
	        .blind = shown->amount.blind,
	};
	char before[96];

	/* Many threads count, and some of them may wait: both are worth to be known. */
	if (shown->wait.what[0] != '\0')
		return wait_line(shown,
		                 bar.what[0] != '\0' && counts
		                         ? cli_bar_amount(&bar, before, sizeof(before))
		                         : NULL,
		                 now_ms, columns, buf);
	if (bar.what[0] != '\0')
		return cli_bar_line(&bar, columns, utf8, buf);
	return cli_text_line(shown->text, columns, buf);
}

/* --- files that grow ----------------------------------------------------------------------------
 */

/* Called with the lock held. */
static void forget_growth(struct cli_shown *shown)
{
	if (shown->amount.grows)
		vm_cleanup_close(&shown->amount.growth.dir_fd);
	shown->amount.grows = false;
}

static void note_growth(struct cli_shown *shown, const struct vm_growth *growth)
{
	int dir_fd = growth != NULL ? fcntl(growth->dir_fd, F_DUPFD_CLOEXEC, 3) : -1;

	if (dir_fd < 0)
		return;
	shown->amount.grows = true;
	shown->amount.growth = (struct vm_growth){.dir_fd = dir_fd};
	for (size_t i = 0; i < VM_GROWTH_FILES; i++)
		(void)snprintf(shown->amount.files[i], sizeof(shown->amount.files[i]), "%s",
		               growth->files[i] != NULL ? growth->files[i] : "");
}

/* Of a copy, without the lock: a filesystem may take its time. `growth` has a descriptor of its
 * own. */
static void measure_growth(struct cli_shown *shown)
{
	struct vm_growth *growth = &shown->amount.growth;
	uint64_t bytes;

	for (size_t i = 0; i < VM_GROWTH_FILES; i++)
		growth->files[i] =
		        shown->amount.files[i][0] != '\0' ? shown->amount.files[i] : NULL;
	bytes = vm_growth_bytes(growth);
	shown->amount.done = bytes < shown->amount.total ? bytes : shown->amount.total;
	shown->amount.blind = false;
}

/* --- the terminal -------------------------------------------------------------------------------
 */

/* A description of its own, so that nobody else's writes become non-blocking. */
static int open_terminal(int fd)
{
	char path[40];
	int own;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	own = open(path, O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	return own >= 0 ? own : fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

/* One less than there are: in the last one some terminals begin a new line, which is not erased. */
static int columns_of(int fd)
{
	struct winsize size = {0};
	int columns = WIDTH_UNKNOWN;

	if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 1)
		columns = size.ws_col;
	return columns - 1;
}

/* In the background the line of the terminal is somebody else's: the prompt's, most often. */
static bool in_background(int fd)
{
	pid_t group = tcgetpgrp(fd);

	return group > 0 && group != getpgrp();
}

/* Now or not at all: a terminal that is stopped has no room. False: nothing was written. */
static bool try_put(int fd, const char *text)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};

	return poll(&p, 1, 0) == 1 && (p.revents & POLLOUT) != 0 &&
	       write(fd, text, strlen(text)) > 0;
}

/* As any other output: it waits. */
static void put(int fd, const char *text)
{
	(void)vm_write_all(fd, text, strlen(text));
}

/* Draws what is in `shown`, unless that is there already. Whether the line is now on the terminal.
 */
static bool draw_line(const struct cli_progress *progress, struct cli_shown *shown, int fd,
                      bool utf8, char line[CLI_LINE_SIZE])
{
	char text[CLI_LINE_SIZE + sizeof(ERASE)];

	if (shown->amount.grows)
		measure_growth(shown);
	(void)cli_progress_line(shown, vm_monotonic_ms(), columns_of(fd), utf8, line);
	if (in_background(fd) || (progress->drawn && strcmp(line, progress->line) == 0))
		return false;
	(void)snprintf(text, sizeof(text), ERASE "%s", line);
	return try_put(fd, text);
}

/*
 * Called with the lock held, which it lets go of while it looks and writes: whoever has something
 * to say must not wait for that. `drawn` and `line` are nobody else's while it is busy.
 */
static void draw(struct cli_progress *progress, int fd, bool utf8)
{
	struct cli_shown shown = progress->shown;
	char line[CLI_LINE_SIZE];
	bool put_out;

	if (shown.amount.grows)
		shown.amount.growth.dir_fd = fcntl(shown.amount.growth.dir_fd, F_DUPFD_CLOEXEC, 3);
	progress->busy = true;
	pthread_mutex_unlock(&progress->lock);
	put_out = draw_line(progress, &shown, fd, utf8, line);
	forget_growth(&shown);
	pthread_mutex_lock(&progress->lock);
	progress->busy = false;
	if (put_out) {
		progress->drawn = line[0] != '\0'; /* a wait that is over leaves nothing */
		memcpy(progress->line, line, sizeof(progress->line));
	}
	pthread_cond_broadcast(&progress->wake);
}

/* Called with the lock held. When it returns nothing is on the terminal, or being drawn. */
static void erase(struct cli_progress *progress)
{
	forget_growth(&progress->shown);
	memset(&progress->shown, 0, sizeof(progress->shown));
	while (progress->busy)
		pthread_cond_wait(&progress->wake, &progress->lock);
	if (!progress->drawn)
		return;
	progress->drawn = false;
	if (in_background(progress->fd))
		return;
	progress->busy = true;
	pthread_mutex_unlock(&progress->lock);
	put(progress->fd, ERASE);
	pthread_mutex_lock(&progress->lock);
	progress->busy = false;
	pthread_cond_broadcast(&progress->wake);
}

/* --- the thread ---------------------------------------------------------------------------------
 */

static void sleep_until(struct cli_progress *progress, int64_t at_ms)
{
	const struct timespec at = {.tv_sec = at_ms / 1000, .tv_nsec = at_ms % 1000 * 1000000};

	(void)pthread_cond_timedwait(&progress->wake, &progress->lock, &at);
}

static void *draw_all(void *ctx)
{
	struct cli_progress *progress = ctx;
	bool utf8 = cli_locale_is_utf8();
	VM_AUTO_CLOSE int fd = open_terminal(progress->fd);

	pthread_mutex_lock(&progress->lock);
	while (!progress->ended && fd >= 0) {
		if (progress->busy || (!shows_something(&progress->shown) && !progress->drawn)) {
			pthread_cond_wait(&progress->wake, &progress->lock);
		} else if (vm_monotonic_ms() < progress->due_ms) {
			sleep_until(progress, progress->due_ms);
		} else {
			progress->due_ms = vm_monotonic_ms() + REDRAW_MS;
			draw(progress, fd, utf8);
		}
	}
	pthread_mutex_unlock(&progress->lock);
	return NULL;
}

/*
 * Called with the lock held, when there is something to show. The thread must not take the signals
 * that are meant to interrupt the verb's own waits.
 */
static void show(struct cli_progress *progress)
{
	sigset_t all, before;

	if (progress->started) {
		pthread_cond_broadcast(&progress->wake);
		return;
	}
	progress->due_ms = vm_monotonic_ms() + PATIENCE_MS;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	progress->started = pthread_create(&progress->thread, NULL, draw_all, progress) == 0;
	if (!progress->started)
		progress->terminal = false;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* --- what is told -------------------------------------------------------------------------------
 */

void cli_progress_say(struct cli_progress *progress, const char *text)
{
	pthread_mutex_lock(&progress->lock);
	if (progress->terminal) {
		(void)snprintf(progress->shown.text, sizeof(progress->shown.text), "%s", text);
		forget_growth(&progress->shown);
		progress->shown.amount.what[0] = '\0';
		show(progress);
	} else if (progress->verbose) {
		(void)fprintf(stderr, "%s: %s\n", progress->program, text);
	}
	pthread_mutex_unlock(&progress->lock);
}

void cli_progress_amount(struct cli_progress *progress, const struct vm_amount *amount)
{
	pthread_mutex_lock(&progress->lock);
	if (progress->terminal) {
		struct cli_shown *shown = &progress->shown;

		if (amount->done == 0 || strcmp(shown->amount.what, amount->what) != 0) {
			(void)snprintf(shown->amount.what, sizeof(shown->amount.what), "%s",
			               amount->what);
			(void)snprintf(shown->amount.unit, sizeof(shown->amount.unit), "%s",
			               amount->unit != NULL ? amount->unit : "");
			shown->amount.done = amount->done;
			shown->amount.began_ms = vm_monotonic_ms();
		}
		if (amount->done > shown->amount.done)
			shown->amount.done = amount->done;
		shown->amount.total = amount->total;
		shown->amount.blind = amount->blind;
		forget_growth(shown);
		note_growth(shown, amount->growth);
		show(progress);
	}
	pthread_mutex_unlock(&progress->lock);
}

/* With -v a wait is told once, when it is known who is in the way. */
static void say_wait(struct cli_progress *progress, const struct vm_waiting *waiting)
{
	if (waiting->over || waiting->note[0] == '\0' ||
	    strcmp(progress->shown.wait.what, waiting->what) == 0)
		return;
	(void)snprintf(progress->shown.wait.what, sizeof(progress->shown.wait.what), "%s",
	               waiting->what);
	(void)fprintf(stderr, "%s: waiting for %s: %s\n", progress->program, waiting->what,
	              waiting->note);
}

void cli_progress_waiting(struct cli_progress *progress, const struct vm_waiting *waiting)
{
	struct cli_shown *shown = &progress->shown;

	pthread_mutex_lock(&progress->lock);
	if (!progress->terminal) {
		if (progress->verbose)
			say_wait(progress, waiting);
	} else if (!waiting->over) {
		shown->wait.who = waiting;
		(void)snprintf(shown->wait.what, sizeof(shown->wait.what), "%s", waiting->what);
		(void)snprintf(shown->wait.note, sizeof(shown->wait.note), "%s", waiting->note);
		shown->wait.began_ms = waiting->began_ms;
		shown->wait.deadline_ms = waiting->deadline_ms;
		show(progress);
	} else if (shown->wait.who == waiting) { /* another one shows itself within a second */
		shown->wait.who = NULL;
		shown->wait.what[0] = '\0';
		pthread_cond_broadcast(&progress->wake);
	}
	pthread_mutex_unlock(&progress->lock);
}

void cli_progress_hide(struct cli_progress *progress)
{
	pthread_mutex_lock(&progress->lock);
	erase(progress);
	/* What is printed now is printed by then: it shall not come behind a line of ours. */
	progress->due_ms = vm_monotonic_ms() + PATIENCE_MS;
	pthread_mutex_unlock(&progress->lock);
}

void cli_progress_end(struct cli_progress *progress)
{
	bool started;

	pthread_mutex_lock(&progress->lock);
	started = progress->started;
	progress->ended = true;
	erase(progress);
	pthread_cond_broadcast(&progress->wake);
	pthread_mutex_unlock(&progress->lock);
	if (started)
		pthread_join(progress->thread, NULL);
	pthread_cond_destroy(&progress->wake);
	pthread_mutex_destroy(&progress->lock);
}
