/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starts a command N times at once, as so many people would, and waits for all of them.
 *
 *	at-once N WORD...
 *
 * "{}" as a part of a word stands for the number, 1 to N. Exit status 1 if one of them failed; what
 * they wrote to standard error tells why.
 */
#include <errno.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORDS_MAX = 64, PROCESSES_MAX = 10000 };

static void start(char **words, int count, long number)
{
	static char texts[WORDS_MAX][PATH_MAX];
	char *made[WORDS_MAX + 1] = {NULL};
	int error;
	pid_t pid;

	for (int i = 0; i < count; i++) {
		const char *place = strstr(words[i], "{}");

		made[i] = texts[i];
		if (place)
			snprintf(made[i], PATH_MAX, "%.*s%ld%s", (int)(place - words[i]), words[i],
			         number, place + 2);
		else
			snprintf(made[i], PATH_MAX, "%s", words[i]);
	}
	error = posix_spawnp(&pid, made[0], NULL, NULL, made, environ);
	if (error) {
		fprintf(stderr, "at-once: %s: %s\n", made[0], strerror(error));
		exit(1);
	}
}

int main(int argc, char **argv)
{
	long n = argc > 2 ? strtol(argv[1], NULL, 10) : 0;
	int status, failed = 0;

	if (n < 1 || n > PROCESSES_MAX || argc - 2 > WORDS_MAX) {
		fputs("usage: at-once N WORD...\n", stderr);
		return 2;
	}
	for (long i = 1; i <= n; i++)
		start(argv + 2, argc - 2, i);
	while (wait(&status) > 0 || errno == EINTR)
		failed += status != 0;
	if (failed)
		fprintf(stderr, "at-once: %d of %ld failed\n", failed, n);
	return failed != 0;
}
