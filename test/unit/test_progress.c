/* SPDX-License-Identifier: Apache-2.0 */
/* What a terminal is shown while something goes on, and when it is not. test_bar.c has the layout.
 */
#include "procs.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "../../cmd/cli/progress.h"

#define MIB_BYTES ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

/* A terminal whose screen is what the test reads. */
struct terminal {
	int master, slave;
	char screen[65536]; /* all that was ever written to it */
	size_t len;
};

static void open_terminal(struct terminal *t)
{
	const struct winsize size = {.ws_row = 24, .ws_col = 80};

	memset(t, 0, sizeof(*t));
	t->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(t->master >= 0);
	assert_int_equal(grantpt(t->master), 0);
	assert_int_equal(unlockpt(t->master), 0);
	t->slave = open(ptsname(t->master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(t->slave >= 0);
	assert_int_equal(ioctl(t->slave, TIOCSWINSZ, &size), 0);
}

static void close_terminal(struct terminal *t)
{
	close(t->slave);
	close(t->master);
}

static const char *screen(struct terminal *t)
{
	struct pollfd p = {.fd = t->master, .events = POLLIN};

	while (poll(&p, 1, 0) > 0 && t->len < sizeof(t->screen) - 1) {
		ssize_t n = read(t->master, t->screen + t->len, sizeof(t->screen) - 1 - t->len);

		if (n <= 0)
			break;
		t->len += (size_t)n;
	}
	t->screen[t->len] = '\0';
	return t->screen;
}

static bool shows(struct terminal *t, const char *text)
{
	return strstr(screen(t), text) != NULL;
}

/* The last that was written erases the line. */
static bool is_blank(struct terminal *t)
{
	static const char erased[] = "\r\033[K";
	size_t n = sizeof(erased) - 1;

	return screen(t) &&
	       (t->len == 0 || (t->len >= n && strcmp(t->screen + t->len - n, erased) == 0));
}

static void begin(struct cli_progress *progress, const struct terminal *t)
{
	cli_progress_init(progress, "test", false);
	progress->fd = t->slave;
	progress->terminal = true;
}

static const struct vm_amount half = {.what = "exporting web", .done = GIB, .total = 2 * GIB};

static void without_a_terminal_nothing_is_drawn_and_no_thread_begins(void **state)
{
	const struct vm_waiting waiting = {.what = "a thing", .note = "", .deadline_ms = -1};
	struct cli_progress progress;

	(void)state;
	cli_progress_init(&progress, "test", true);
	cli_progress_amount(&progress, &half);
	cli_progress_waiting(&progress, &waiting);
	assert_false(progress.started);
	cli_progress_hide(&progress);
	cli_progress_end(&progress);
}

/* stderr is fd, for as long as the two are called. */
static int replace_stderr(int fd)
{
	int saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);

	assert_true(saved >= 0);
	assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	return saved;
}

static void put_stderr_back(int saved)
{
	assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);
	close(saved);
}

static void a_dumb_terminal_none_and_verbosity_are_no_terminal_to_draw_on(void **state)
{
	static const struct {
		const char *term;
		bool verbose, want;
	} cases[] = {{"xterm", false, true},
	             {"dumb", false, false},
	             {"", false, false},
	             {"xterm", true, false},
	             {NULL, false, false}};
	struct cli_progress progress;
	struct terminal t;

	(void)state;
	open_terminal(&t);
	for (size_t i = 0; i < VM_ARRAY_LEN(cases); i++) {
		int saved = replace_stderr(t.slave);

		if (cases[i].term)
			setenv("TERM", cases[i].term, 1);
		else
			unsetenv("TERM");
		cli_progress_init(&progress, "test", cases[i].verbose);
		put_stderr_back(saved);
		assert_int_equal(progress.terminal, cases[i].want);
		cli_progress_end(&progress);
	}
	close_terminal(&t);
}

static void with_verbosity_a_wait_is_one_plain_line_once_it_is_known_who_is_in_the_way(void **state)
{
	struct vm_waiting waiting = {.what = "the thing", .deadline_ms = -1};
	struct cli_progress progress;
	char text[256];
	int ends[2], saved;
	ssize_t n;

	(void)state;
	assert_int_equal(pipe(ends), 0);
	saved = replace_stderr(ends[1]);
	cli_progress_init(&progress, "test", true);
	cli_progress_waiting(&progress, &waiting);
	snprintf(waiting.note, sizeof(waiting.note), "held by somebody");
	cli_progress_waiting(&progress, &waiting);
	cli_progress_waiting(&progress, &waiting);
	waiting.over = true;
	cli_progress_waiting(&progress, &waiting);
	cli_progress_amount(&progress, &half);
	cli_progress_end(&progress);
	put_stderr_back(saved);
	close(ends[1]);
	n = read(ends[0], text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = '\0';
	close(ends[0]);
	assert_string_equal(text, "test: waiting for the thing: held by somebody\n");
}

static void what_is_told_appears_and_disappears(void **state)
{
	struct cli_progress progress;
	struct terminal t;

	(void)state;
	open_terminal(&t);
	begin(&progress, &t);
	cli_progress_amount(&progress, &half);
	assert_true(wait_for(shows(&t, "1.0G / 2.0G")));
	cli_progress_say(&progress, "starting");
	assert_true(wait_for(shows(&t, "starting")));
	cli_progress_hide(&progress);
	assert_true(is_blank(&t));
	cli_progress_amount(&progress, &(struct vm_amount){.what = "again", .done = 1, .total = 2});
	assert_true(wait_for(shows(&t, "again")));
	cli_progress_end(&progress);
	assert_true(is_blank(&t));
	close_terminal(&t);
}

/* Nothing that is over in an instant is ever seen. */
static void what_ends_before_patience_does_leaves_no_trace(void **state)
{
	struct cli_progress progress;
	struct terminal t;

	(void)state;
	open_terminal(&t);
	begin(&progress, &t);
	progress.due_ms = INT64_MAX;
	cli_progress_amount(&progress, &half);
	pthread_mutex_lock(&progress.lock);
	progress.due_ms = patience(); /* the instant, however slow the machine */
	pthread_mutex_unlock(&progress.lock);
	cli_progress_end(&progress);
	/* Unless the thread had 300 ms between the two: then what it drew is gone. */
	assert_true(is_blank(&t));
	close_terminal(&t);
}

static void a_wait_that_is_over_goes_though_nothing_follows_it(void **state)
{
	struct vm_waiting one = {.what = "one", .note = "held by A", .deadline_ms = -1};
	struct vm_waiting other = {.what = "other", .note = "held by B", .deadline_ms = -1};
	struct cli_progress progress;
	struct terminal t;

	(void)state;
	open_terminal(&t);
	begin(&progress, &t);
	one.began_ms = other.began_ms = vm_monotonic_ms();
	cli_progress_waiting(&progress, &one);
	cli_progress_waiting(&progress, &other);
	assert_true(wait_for(shows(&t, "waiting for other: held by B")));
	/* That of another thread, which is not what is shown. */
	one.over = true;
	cli_progress_waiting(&progress, &one);
	pthread_mutex_lock(&progress.lock);
	assert_string_equal(progress.shown.wait.what, "other");
	pthread_mutex_unlock(&progress.lock);
	other.over = true;
	cli_progress_waiting(&progress, &other);
	assert_true(wait_for(is_blank(&t)));
	cli_progress_end(&progress);
	close_terminal(&t);
}

static void counts_that_come_out_of_order_do_not_go_back(void **state)
{
	struct vm_amount forks = {.what = "forks", .unit = "forks", .done = 37, .total = 100};
	struct cli_progress progress;
	struct terminal t;

	(void)state;
	open_terminal(&t);
	begin(&progress, &t);
	cli_progress_amount(&progress, &forks);
	forks.done = 36;
	cli_progress_amount(&progress, &forks);
	assert_int_equal(progress.shown.amount.done, 37);
	forks.done = 0; /* another hundred */
	cli_progress_amount(&progress, &forks);
	assert_int_equal(progress.shown.amount.done, 0);
	cli_progress_end(&progress);
	close_terminal(&t);
}

static void *tell_much(void *ctx)
{
	struct cli_progress *progress = ctx;
	struct vm_waiting waiting = {.what = "a thing", .deadline_ms = -1};

	for (unsigned i = 1; i <= 20000; i++) {
		const struct vm_amount amount = {.what = "work", .done = i, .total = 20000};

		cli_progress_amount(progress, &amount);
		waiting.over = i % 2 == 0;
		cli_progress_waiting(progress, &waiting);
		if (i % 1000 == 0)
			cli_progress_say(progress, "text");
	}
	return NULL;
}

/* ^S: nobody who has something to tell waits for the terminal, though it takes nothing any more. */
static void a_stopped_terminal_stops_nobody_who_works(void **state)
{
	struct cli_progress progress;
	pthread_t threads[4];
	struct terminal t;

	(void)state;
	open_terminal(&t);
	begin(&progress, &t);
	cli_progress_amount(&progress, &half);
	assert_true(wait_for(shows(&t, "exporting web")));
	assert_int_equal(tcflow(t.slave, TCOOFF), 0);
	for (size_t i = 0; i < VM_ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, tell_much, &progress), 0);
	for (size_t i = 0; i < VM_ARRAY_LEN(threads); i++)
		pthread_join(threads[i], NULL);
	cli_progress_say(&progress, "after it");
	nap_us(700000); /* the thread tries, and must not get stuck in it */
	assert_false(shows(&t, "after it"));
	/* The thread is not stuck: it comes when it is called. */
	assert_int_equal(tcflow(t.slave, TCOON), 0);
	assert_true(wait_for(shows(&t, "after it")));
	cli_progress_end(&progress);
	assert_true(is_blank(&t));
	close_terminal(&t);
}

static void the_width_is_that_of_the_moment(void **state)
{
	static const struct winsize narrow = {.ws_row = 24, .ws_col = 30};
	struct cli_progress progress;
	struct terminal t;

	(void)state;
	open_terminal(&t);
	begin(&progress, &t);
	cli_progress_amount(&progress, &half);
	assert_true(wait_for(shows(&t, "[")) && wait_for(shows(&t, "]  1.0G / 2.0G")));
	assert_int_equal(ioctl(t.slave, TIOCSWINSZ, &narrow), 0);
	assert_true(wait_for(shows(&t, "\r\033[Kexporting web  1.0G / 2.0G")));
	cli_progress_end(&progress);
	close_terminal(&t);
}

static void put_megabytes(int dir_fd, const char *name, size_t megabytes)
{
	VM_AUTO_CLOSE int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	static char bytes[1 << 20];

	assert_true(fd >= 0);
	memset(bytes, 'x', sizeof(bytes));
	for (size_t i = 0; i < megabytes; i++)
		assert_int_equal(write(fd, bytes, sizeof(bytes)), sizeof(bytes));
	assert_int_equal(fdatasync(fd), 0); /* where blocks come late */
}

/* Work of another process shows in the files that it writes, until it is over. */
static void files_that_grow_tell_how_far_another_process_is(void **state)
{
	struct cli_progress progress;
	struct test_dir dir = {0};
	struct vm_growth growth = {.files = {"memory", "state"}};
	struct vm_amount amount = {
	        .what = "saving", .total = 8 * MIB_BYTES, .blind = true, .growth = &growth};
	struct terminal t;
	unsigned fds;

	(void)state;
	open_terminal(&t);
	test_dir_open(&dir);
	begin(&progress, &t);
	fds = count_fds();
	growth.dir_fd = dir.fd;
	cli_progress_amount(&progress, &amount);
	assert_true(wait_for(shows(&t, "]  0 / 8.0M")));
	put_megabytes(dir.fd, "memory", 2);
	put_megabytes(dir.fd, "state", 1);
	assert_true(wait_for(shows(&t, "]  3.0M / 8.0M")));
	/* No more than all, though more may be written. */
	put_megabytes(dir.fd, "state", 9);
	assert_true(wait_for(shows(&t, "]  8.0M / 8.0M")));
	amount = (struct vm_amount){.what = "then", .total = 4 * GIB, .blind = true};
	cli_progress_amount(&progress, &amount);
	assert_true(wait_for(shows(&t, "then  4.0G  ")));
	cli_progress_end(&progress);
	assert_int_equal(count_fds(), fds);
	assert_true(is_blank(&t));
	test_dir_close(&dir);
	close_terminal(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(without_a_terminal_nothing_is_drawn_and_no_thread_begins),
	        cmocka_unit_test(a_dumb_terminal_none_and_verbosity_are_no_terminal_to_draw_on),
	        cmocka_unit_test(
	                with_verbosity_a_wait_is_one_plain_line_once_it_is_known_who_is_in_the_way),
	        cmocka_unit_test(what_is_told_appears_and_disappears),
	        cmocka_unit_test(what_ends_before_patience_does_leaves_no_trace),
	        cmocka_unit_test(a_wait_that_is_over_goes_though_nothing_follows_it),
	        cmocka_unit_test(counts_that_come_out_of_order_do_not_go_back),
	        cmocka_unit_test(a_stopped_terminal_stops_nobody_who_works),
	        cmocka_unit_test(the_width_is_that_of_the_moment),
	        cmocka_unit_test(files_that_grow_tell_how_far_another_process_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
