/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Times commands in turn: a round runs each of them once, so that whatever else the machine does
 * meanwhile falls on all of them. Each round begins with another command than the one before, and
 * none begins at a fixed distance from the last, for both could favour one of them.
 *
 *	rounds [--rounds N] [--warmup N] [--seconds S] [--jitter US] \
 *		{ @NAME [before WORD... ';'] run WORD... ';' [after WORD... ';'] } ...
 *
 * Only `run` is timed: from just before its process is made until it was waited for. There is no
 * shell. `before` and `after` prepare and clean up. What a command leaves running becomes a child
 * of this program (PR_SET_CHILD_SUBREAPER) and is killed when its `after` is over, so that nothing
 * of it is left for the next one, nor for anybody after a ^C. Warm-up rounds (1) are not counted.
 * After S seconds no further round begins, as soon as there were three.
 *
 * Prints JSON: for each command arrays with an element for each round, in the order of the rounds:
 * {"NAME":{"wall_us":[...],"cpu_us":[...],"maxrss_kib":[...],"minor_faults":[...]}, ...}. A command
 * that fails ends it all: its words, its status and what it wrote to standard error are told.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { COMMANDS_MAX = 32, ROUNDS_MIN = 3, ROUNDS_MAX = 100000 };

/* What is known of one run. */
enum { WALL_US, CPU_US, MAXRSS_KIB, MINOR_FAULTS, COLUMNS };
static const char *const columns[COLUMNS] = {"wall_us", "cpu_us", "maxrss_kib", "minor_faults"};

struct sample {
	long of[COLUMNS];
};

struct command {
	const char *name;
	char **before, **run, **after; /* NULL: there is none */
	struct sample *samples;
};

struct plan {
	struct command commands[COMMANDS_MAX];
	size_t count;
	long rounds, warmup, seconds, jitter_us;
};

static volatile sig_atomic_t interrupted;
static int errors = -1; /* a memfd: what the last command wrote to standard error */

static void on_signal(int number)
{
	interrupted = number;
}

static long long now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000LL + ts.tv_nsec / 1000;
}

/* Kills and reaps all children, those that were handed down to us included. */
static void end_children(void)
{
	char path[64], list[65536], *next = list;
	ssize_t size;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	do {
		fd = open(path, O_RDONLY | O_CLOEXEC);
		size = fd < 0 ? -1 : read(fd, list, sizeof(list) - 1);
		if (fd >= 0)
			close(fd);
		if (size < 0) {
			fprintf(stderr, "rounds: %s: %s\n", path, strerror(errno));
			return;
		}
		list[size] = '\0';
		/* They were not waited for: these pids are nobody else's. */
		for (long pid; (pid = strtol(next, &next, 10)) > 0;)
			kill((pid_t)pid, SIGKILL);
		while (waitpid(-1, NULL, 0) > 0)
			;
	} while (size > 0);
}

static _Noreturn void die(const char *what, const char *why)
{
	fprintf(stderr, "rounds: %s: %s\n", what, why);
	end_children();
	exit(1);
}

static void tell_failure(const struct command *command, char **words, int status)
{
	char text[4096];
	ssize_t size = pread(errors, text, sizeof(text), 0);

	fprintf(stderr, "rounds: %s:", command->name);
	for (; *words; words++)
		fprintf(stderr, " %s", *words);
	if (WIFSIGNALED(status))
		fprintf(stderr, ": %s\n", strsignal(WTERMSIG(status)));
	else
		fprintf(stderr, ": exit status %d\n", WEXITSTATUS(status));
	if (size > 0)
		fprintf(stderr, "%.*s", (int)size, text);
}

/* Ends this program as a signal would have: SIGINT from the terminal has reached the child, too. */
static _Noreturn void end_interrupted(pid_t child)
{
	int number = interrupted;

	if (child > 0) {
		kill(child, SIGTERM); /* it is not waited for yet */
		while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
			;
	}
	end_children();
	signal(number, SIG_DFL);
	kill(getpid(), number);
	_exit(1);
}

static void run(const struct command *command, char **words, struct sample *ret)
{
	static posix_spawn_file_actions_t actions;
	static bool ready;
	struct rusage used;
	long long began;
	int error, status;
	pid_t pid;

	if (!ready) {
		posix_spawn_file_actions_init(&actions);
		posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
		posix_spawn_file_actions_adddup2(&actions, 0, 1);
		posix_spawn_file_actions_adddup2(&actions, errors, 2);
		ready = true;
	}
	if (ftruncate(errors, 0) < 0 || lseek(errors, 0, SEEK_SET) < 0)
		die("memfd", strerror(errno));
	began = now_us();
	error = posix_spawnp(&pid, words[0], &actions, NULL, words, environ);
	if (error)
		die(words[0], strerror(error));
	while (wait4(pid, &status, 0, &used) < 0) {
		if (errno != EINTR)
			die("wait4", strerror(errno));
		if (interrupted)
			end_interrupted(pid);
	}
	ret->of[WALL_US] = (long)(now_us() - began);
	ret->of[CPU_US] = (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000L +
	                  used.ru_utime.tv_usec + used.ru_stime.tv_usec;
	ret->of[MAXRSS_KIB] = used.ru_maxrss;
	ret->of[MINOR_FAULTS] = used.ru_minflt;
	if (interrupted)
		end_interrupted(0);
	if (status != 0) {
		tell_failure(command, words, status);
		end_children();
		exit(1);
	}
}

/* The same sequence in every run. */
static void sleep_a_little(long limit_us)
{
	static unsigned long long state = 1;
	struct timespec ts = {0, 0};

	state = state * 6364136223846793005ULL + 1442695040888963407ULL;
	ts.tv_nsec = (long)((state >> 33) % (unsigned long long)(limit_us + 1)) * 1000;
	nanosleep(&ts, NULL);
}

static void one_round(struct plan *plan, long number, long first)
{
	struct sample unused;

	for (size_t i = 0; i < plan->count; i++) {
		struct command *c = &plan->commands[((size_t)first + i) % plan->count];

		if (c->before)
			run(c, c->before, &unused);
		sleep_a_little(plan->jitter_us);
		run(c, c->run, number < 0 ? &unused : &c->samples[number]);
		if (c->after)
			run(c, c->after, &unused);
		end_children();
	}
}

static void print(const struct plan *plan, long rounds)
{
	for (size_t i = 0; i < plan->count; i++) {
		const struct command *c = &plan->commands[i];

		printf("%s\"%s\":{", i ? ",\n" : "{", c->name);
		for (int column = 0; column < COLUMNS; column++) {
			printf("%s\"%s\":[", column ? "," : "", columns[column]);
			for (long round = 0; round < rounds; round++)
				printf("%s%ld", round ? "," : "", c->samples[round].of[column]);
			printf("]");
		}
		printf("}");
	}
	printf("}\n");
}

static _Noreturn void usage(const char *what)
{
	fprintf(stderr,
	        "rounds: %s\nusage: rounds [--rounds N] [--warmup N] [--seconds S]"
	        " [--jitter US] @NAME [before WORD... ';'] run WORD... ';'"
	        " [after WORD... ';'] ...\n",
	        what);
	exit(2);
}

/* The words up to the next ";", which becomes their end. */
static char **words_until_end(char ***next)
{
	char **words = *next;

	while (**next && strcmp(**next, ";") != 0)
		(*next)++;
	if (!**next || *next == words)
		usage("a command has no words, or no ';' at its end");
	**next = NULL;
	(*next)++;
	return words;
}

static char **parse_command(char **next, struct command *c)
{
	c->name = *next++ + 1;
	while (*next && **next != '@') {
		const char *what = *next++;
		char **words = words_until_end(&next);

		if (strcmp(what, "before") == 0)
			c->before = words;
		else if (strcmp(what, "run") == 0)
			c->run = words;
		else if (strcmp(what, "after") == 0)
			c->after = words;
		else
			usage(what);
	}
	if (!c->run)
		usage("a command without 'run'");
	return next;
}

static long *option_of(struct plan *plan, const char *name)
{
	if (strcmp(name, "--rounds") == 0)
		return &plan->rounds;
	if (strcmp(name, "--warmup") == 0)
		return &plan->warmup;
	if (strcmp(name, "--seconds") == 0)
		return &plan->seconds;
	if (strcmp(name, "--jitter") == 0)
		return &plan->jitter_us;
	usage(name);
}

static long number_of(const char *text)
{
	char *end;
	long number = text ? strtol(text, &end, 10) : -1;

	if (!text || *end || end == text || number < 0 || number > 1000000)
		usage("a number is wanted");
	return number;
}

static char **parse_options(char **next, struct plan *plan)
{
	for (; *next && **next == '-'; next += 2)
		*option_of(plan, *next) = number_of(next[1]);
	if (plan->rounds < 1 || plan->rounds > ROUNDS_MAX || plan->jitter_us >= 1000000)
		usage("--rounds takes 1 to 100000, --jitter less than a second");
	return next;
}

static void parse(char **next, struct plan *plan)
{
	next = parse_options(next, plan);
	while (*next) {
		struct command *c = &plan->commands[plan->count];

		if (**next != '@' || plan->count == COMMANDS_MAX)
			usage(*next);
		next = parse_command(next, c);
		c->samples = calloc((size_t)plan->rounds, sizeof(*c->samples));
		if (!c->samples)
			die(c->name, strerror(errno));
		plan->count++;
	}
	if (!plan->count)
		usage("no command");
}

int main(int argc, char **argv)
{
	struct plan plan = {.rounds = 30, .warmup = 1, .seconds = 1000000, .jitter_us = 4000};
	struct sigaction action = {.sa_handler = on_signal};
	long long began;
	long rounds = 0;

	(void)argc;
	parse(argv + 1, &plan);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	errors = memfd_create("errors", MFD_CLOEXEC);
	if (errors < 0)
		die("memfd_create", strerror(errno));
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		die("PR_SET_CHILD_SUBREAPER", strerror(errno));

	for (long i = 0; i < plan.warmup; i++)
		one_round(&plan, -1, i);
	began = now_us();
	while (rounds < plan.rounds &&
	       (rounds < ROUNDS_MIN || now_us() - began < plan.seconds * 1000000LL)) {
		one_round(&plan, rounds, rounds);
		rounds++;
	}
	print(&plan, rounds);
	return 0;
}
