/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `vmctl VERB ...`: finds the program vmctl-VERB and becomes it. Everybody pays for this one and
 * then for the other, so nothing that needs the store may be linked to it (test/generic.bats
 * looks).
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/verbs.h"
#include "util.h"

static void print_verbs(void)
{
	(void)puts("\nVerbs:");
	for (const struct cli_verb_entry *entry = cli_verbs; entry->name != NULL; entry++)
		(void)printf("  %-10s %s\n", entry->name, entry->summary);
	(void)puts("\nEach verb is also a program of its own: 'vmctl fork' is 'vmctl-fork'.\n"
	           "See 'vmctl VERB --help' and 'vmctl help VERB'.");
}

/* The directory this program was started from, with room for a file name; "" when not known. */
static void own_directory(char dir[PATH_MAX])
{
	ssize_t len = readlink("/proc/self/exe", dir, PATH_MAX - 1);
	char *slash;

	dir[len > 0 ? len : 0] = '\0';
	slash = strrchr(dir, '/');
	if (slash != NULL)
		*slash = '\0';
}

static bool verb_syntax(const char *verb)
{
	return verb[0] != '\0' && verb[0] != '-' &&
	       strspn(verb, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(verb);
}

static int unknown_verb(const struct cli *cli, const char *verb, struct vm_err *err)
{
	const char *meant = cli_verb_suggest(verb);

	if (meant == NULL)
		return cli_usage(cli, err, "there is no verb '%s'", verb);
	return cli_usage(cli, err, "there is no verb '%s'; did you mean '%s'?", verb, meant);
}

/* Becomes vmctl-VERB: from our own directory, else from PATH. Returns only on failure. */
static int exec_verb(const struct cli *cli, const char *name, char **argv, struct vm_err *err)
{
	const char *verb = cli_verb_resolve(name);
	VM_AUTO_FREE char *program = NULL;

	if (verb == NULL)
		verb = name;
	if (!verb_syntax(verb))
		return unknown_verb(cli, name, err);
	program = vm_strf(err, "vmctl-%s", verb);
	if (program == NULL)
		return -1;
	argv[0] = program;
	cli_become(program, argv);
	if (errno == ENOENT)
		return unknown_verb(cli, name, err);
	return vm_err_sys(err, "cannot run %s", program);
}

/* Looks for the manual page of a verb as it was built or installed, and shows it with man(1). */
static void exec_man(const char *page)
{
	static const struct {
		const char *dir, *suffix;
	} places[] = {
	        {"../share/man/man1", ".1"},
	        {"../share/man/man1", ".1.gz"},
	        {"../../man", ".1"},
	        {"../../../man", ".1"},
	};
	char dir[PATH_MAX];

	own_directory(dir);
	for (size_t i = 0; i < VM_ARRAY_LEN(places); i++) {
		struct vm_err err = {0};
		VM_AUTO_FREE char *path = NULL;

		path = vm_strf(&err, "%s/%s/%s%s", dir, places[i].dir, page, places[i].suffix);
		if (path != NULL && access(path, R_OK) == 0)
			execlp("man", "man", "-l", path, (char *)NULL);
	}
}

/* `vmctl help VERB`: its manual page, else its --help. */
static int help(const struct cli *cli, struct vm_err *err)
{
	const char *name = cli->operand_count > 1 ? cli->operands[1] : NULL, *verb;
	char *argv[] = {NULL, "--help", NULL};
	char page[64];

	if (name == NULL) {
		cli_print_help(cli);
		return 0;
	}
	verb = cli_verb_resolve(name);
	if (verb != NULL) {
		(void)snprintf(page, sizeof(page), "vmctl-%s", verb);
		exec_man(page);
	}
	return exec_verb(cli, name, argv, err);
}

static int run(struct cli *cli, struct vm_err *err)
{
	int before = cli->argc - 1; /* options in front of the verb: they go to the verb */
	int after = cli->operand_count - 1;
	VM_AUTO_FREE char **argv = NULL;

	if (cli->operand_count == 0) {
		cli_print_help(cli);
		return 0;
	}
	if (strcmp(cli->operands[0], "help") == 0)
		return help(cli, err);
	if (before > 0 && strcmp(cli->argv[before], "--") == 0)
		before--;
	argv = vm_calloc((size_t)(before + after) + 2, sizeof(*argv), err);
	if (argv == NULL)
		return -1;
	for (int i = 0; i < before; i++)
		argv[1 + i] = cli->argv[1 + i];
	for (int i = 0; i < after; i++)
		argv[1 + before + i] = cli->operands[1 + i];
	return exec_verb(cli, cli->operands[0], argv, err);
}

static const struct cli_verb dispatcher = {
        .name = "",
        .synopsis = "",
        .operands = "VERB [ARGUMENT ...]",
        .max_operands = CLI_ANY,
        .flags = CLI_DISPATCH | CLI_WAITS | CLI_PRINTS,
        .run = run,
        .more_help = print_verbs,
};

int main(int argc, char **argv)
{
	return cli_main_offering(&dispatcher, NULL, argc, argv, NULL);
}
