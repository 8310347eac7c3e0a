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

static char *with_number(const char *word, long number)
{
	const char *place = strstr(word, "{}");
	char *made = NULL;

	if (!place)
		return strdup(word);
	if (asprintf(&made, "%.*s%ld%s", (int)(place - word), word, number, place + 2) < 0)
		return NULL;
	return made;
}

static void start(char **words, int count, long number)
{
	char *made[WORDS_MAX + 1] = {NULL};
	int error;
	pid_t pid;

	for (int i = 0; i < count; i++) {
		made[i] = with_number(words[i], number);
		if (!made[i])
			exit(1);
	}
	error = posix_spawnp(&pid, made[0], NULL, NULL, made, environ);
	if (error) {
		fprintf(stderr, "at-once: %s: %s\n", made[0], strerror(error));
		exit(1);
	}
	for (int i = 0; i < count; i++)
		free(made[i]);
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
