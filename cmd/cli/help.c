/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "verbs.h"

enum { WIDTH = 80, HELP_COLUMN = 28 };

/* Length of the next piece that is not to be torn: up to a space outside of brackets. */
static size_t piece_length(const char *text)
{
	size_t depth = 0, len;

	for (len = 0; text[len] != '\0'; len++) {
		if (text[len] == '[')
			depth++;
		else if (text[len] == ']' && depth > 0)
			depth--;
		else if (text[len] == ' ' && depth == 0)
			break;
	}
	return len;
}

/* Prints text from `column` on; further lines begin at `indent`. */
static void print_wrapped(const char *text, size_t column, size_t indent)
{
	bool first = true;

	for (; *text != '\0'; text += strspn(text, " ")) {
		size_t len = piece_length(text);

		if (!first && column + 1 + len > WIDTH) {
			(void)printf("\n%*s", (int)indent, "");
			column = indent;
		} else if (!first) {
			(void)putchar(' ');
			column++;
		}
		(void)printf("%.*s", (int)len, text);
		column += len;
		text += len;
		first = false;
	}
	(void)putchar('\n');
}

static void print_option(const struct cli_option *option)
{
	char left[64];
	const char *open = option->optional ? "[=" : " ", *close = option->optional ? "]" : "";
	int len;

	if (option->key < CLI_KEY_COMMON)
		len = snprintf(left, sizeof(left), "  -%c, --%s", option->key, option->name);
	else
		len = snprintf(left, sizeof(left), "      --%s", option->name);
	if (option->argument != NULL)
		len += snprintf(left + len, sizeof(left) - (size_t)len, "%s%s%s", open,
		                option->argument, close);
	if (len + 2 > HELP_COLUMN)
		(void)printf("%s\n%*s", left, HELP_COLUMN, "");
	else
		(void)printf("%-*s", HELP_COLUMN, left);
	print_wrapped(option->help, HELP_COLUMN, HELP_COLUMN);
}

/* Those of the verb itself; some are for completion, and not shown. */
static void print_own_options(const struct cli_option *options)
{
	bool any = false;

	for (; options != NULL && options->name != NULL; options++) {
		if (options->help == NULL)
			continue;
		if (!any)
			(void)puts("\nOptions:");
		any = true;
		print_option(options);
	}
}

static void print_common_options(unsigned flags)
{
	(void)puts("\nCommon options:");
	for (const struct cli_option *option = cli_common_options; option->name != NULL; option++)
		if (cli_has_option(option, flags) &&
		    (option->key != 'o' || (flags & CLI_WRITES) == 0)) /* that is among its own */
			print_option(option);
}

const char *cli_command(const struct cli *cli, char buf[CLI_COMMAND_SIZE])
{
	bool named = cli->group != NULL && cli->verb->name != NULL;

	(void)snprintf(buf, CLI_COMMAND_SIZE, "%s%s%s", cli->program, named ? " " : "",
	               named ? cli->verb->name : "");
	return buf;
}

void cli_print_group_help(const struct cli *cli)
{
	const char *summary = cli_verb_summary(cli->group->name);

	(void)printf("Usage: %s COMMAND [OPTION ...] [ARGUMENT ...]\n", cli->program);
	if (summary != NULL)
		(void)printf("\n%s.\n", summary);
	(void)puts("\nCommands:");
	for (const struct cli_verb *const *verb = cli->group->commands; *verb != NULL; verb++)
		(void)printf("  %-10s %s\n", (*verb)->name, (*verb)->summary);
	(void)printf("\nSee '%s COMMAND --help'.\n", cli->program);
}

void cli_print_help(const struct cli *cli)
{
	const struct cli_verb *verb = cli->verb;
	const char *summary = verb->summary != NULL ? verb->summary : cli_verb_summary(verb->name);
	char usage[512], command[CLI_COMMAND_SIZE];

	(void)snprintf(usage, sizeof(usage), "%s%s%s [COMMON-OPTION ...]%s%s",
	               cli_command(cli, command), verb->synopsis[0] != '\0' ? " " : "",
	               verb->synopsis, verb->operands[0] != '\0' ? " " : "", verb->operands);
	(void)fputs("Usage: ", stdout);
	print_wrapped(usage, strlen("Usage: "), strlen("Usage: ") + 4);
	if (summary != NULL)
		(void)printf("\n%s.\n", summary);
	print_own_options(verb->options);
	print_common_options(verb->flags);
	if (verb->more_help != NULL)
		verb->more_help();
}
