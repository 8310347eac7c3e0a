/* SPDX-License-Identifier: Apache-2.0 */
/* What is offered for a value, by the name that the verb gives it: what is the same for all
 * programs. */
#include <stdio.h>
#include <string.h>

#include "complete.h"
#include "util.h"

static void offer_words(const char *words)
{
	for (const char *at = words; *at != '\0'; at += strspn(at, " ")) {
		int len = (int)strcspn(at, " ");

		(void)printf("%.*s\n", len, at);
		at += len;
	}
}

static void offer_files(struct cli_line *line, const char *argument)
{
	/* OLD=NEW, RECORDED=FILE: the one behind '='. */
	const char *equals = strchr(argument, '=') != NULL ? strchr(line->word, '=') : NULL;

	if (equals != NULL && (size_t)(equals - line->word) >= line->kept)
		line->kept = (size_t)(equals - line->word) + 1;
	cli_answer("files", line);
}

static void offer_dirs(struct cli_line *line, const char *argument)
{
	(void)argument;
	cli_answer("dirs", line);
}

/* PATH, or id=ID,path=PATH|size=SIZE[,format=FORMAT][,readonly][,root] */
static void offer_disk(struct cli_line *line, const char *argument)
{
	const char *comma = strrchr(line->word + line->kept, ',');
	const char *piece = comma != NULL ? comma + 1 : line->word + line->kept;
	bool first = comma == NULL;

	(void)argument;
	line->kept = (size_t)(piece - line->word);
	if (strncmp(piece, "path=", 5) == 0 || strncmp(piece, "format=", 7) == 0) {
		line->kept += strcspn(piece, "=") + 1;
		cli_answer(piece[0] == 'p' ? "files" : "words", line);
		if (piece[0] == 'f')
			offer_words("raw qcow2");
		return;
	}
	if (strchr(piece, '=') != NULL)
		return;
	cli_answer(first ? "files" : "words", line);
	offer_words("id= path= size= format=");
	if (!first)
		offer_words("readonly root");
}

/* The words that the help of the option has in quotes. */
static void offer_formats(struct cli_line *line, const char *argument)
{
	const struct cli_option *option = cli_option_find(line, "output", strlen("output"));
	const char *at = option != NULL ? strchr(option->help, '\'') : NULL;

	(void)argument;
	cli_answer("words", line);
	while (at != NULL) {
		int len = (int)strcspn(at + 1, "'");

		(void)printf("%.*s\n", len, at + 1);
		at = at[1 + len] == '\'' ? strchr(at + 2 + len, '\'') : NULL;
	}
	if ((line->verb->flags & CLI_MEASURES) != 0)
		(void)puts("prometheus");
}

/* --- which it is ---------------------------------------------------------------------------------
 */

bool cli_complete_by(const struct cli_rule *rules, size_t count, struct cli_line *line,
                     const char *option, const char *argument)
{
	size_t len = strcspn(argument, "=[");

	for (size_t i = 0; i < count; i++) {
		const struct cli_rule *rule = &rules[i];

		if (rule->option != NULL && (option == NULL || strcmp(rule->option, option) != 0))
			continue;
		if (rule->argument != NULL &&
		    (strlen(rule->argument) != len || strncmp(rule->argument, argument, len) != 0))
			continue;
		if (rule->offer != NULL) {
			rule->offer(line, argument);
			return true;
		}
		cli_answer("words", line);
		offer_words(rule->words);
		return true;
	}
	return false;
}

static const struct cli_rule fixed[] = {
        {"target-state", NULL, NULL, "stopped standby running"},
        {"machine", NULL, NULL, "microvm q35"},
        {"accelerator", NULL, NULL, "auto kvm tcg"},
        {"network", NULL, NULL, "none user tap="},
        {"relocate", NULL, NULL, "auto rewrite alias"},
        {"sort", NULL, NULL, "cpu pss name time"},
        {NULL, "DIR", offer_dirs, NULL},
        {NULL, "FILE", offer_files, NULL},
        {NULL, "SPEC", offer_files, NULL},
        {NULL, "OLD", offer_files, NULL},
        {NULL, "RECORDED", offer_files, NULL},
        {NULL, "DISK", offer_disk, NULL},
        {NULL, "FORMAT", offer_formats, NULL},
};

void cli_complete_value(const struct cli_line *line, const char *option, const char *argument)
{
	struct cli_line here = *line;

	if (!cli_complete_by(fixed, VM_ARRAY_LEN(fixed), &here, option, argument) &&
	    here.offer != NULL)
		(void)here.offer(&here, option, argument);
}
