/* SPDX-License-Identifier: Apache-2.0 */
#include "complete.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util.h"
#include "verbs.h"

bool cli_completes(int argc, char **argv)
{
	return argc > 1 && strcmp(argv[1], CLI_COMPLETE_WORD) == 0;
}

/* --- taking the words apart, as getopt_long does ------------------------------------------------
 */

static void begin_line(struct cli_line *line, const struct cli_verb *verb, cli_offer *offer)
{
	*line = (struct cli_line){.verb = verb, .offer = offer};
	line->in_order = (verb->flags & CLI_DISPATCH) != 0;
	cli_all_options(verb, line->options);
}

const struct cli_option *cli_option_find(const struct cli_line *line, const char *name, size_t len)
{
	const struct cli_option *found = NULL;
	size_t matches = 0;

	for (size_t i = 0; line->options[i] != NULL; i++) {
		if (strncmp(line->options[i]->name, name, len) != 0)
			continue;
		if (line->options[i]->name[len] == '\0')
			return line->options[i];
		found = line->options[i];
		matches++;
	}
	return matches == 1 ? found : NULL;
}

static const struct cli_option *find_letter(const struct cli_line *line, char letter)
{
	for (size_t i = 0; line->options[i] != NULL; i++)
		if (line->options[i]->key == letter)
			return line->options[i];
	return NULL;
}

static void take(struct cli_line *line, const struct cli_option *option, const char *value)
{
	if (strcmp(option->name, "root") == 0)
		line->root = value;
	if (line->verb->wider != 0 && option->key == line->verb->wider)
		line->wider = true;
}

static void take_long(struct cli_line *line, const char *text)
{
	size_t len = strcspn(text, "=");
	const struct cli_option *option = cli_option_find(line, text, len);

	if (option == NULL)
		return;
	if (option->argument != NULL && !option->optional && text[len] == '\0')
		line->pending = option;
	else
		take(line, option, text[len] == '=' ? text + len + 1 : NULL);
}

/*
 * Of a word like "-f" or "-fn3": where the value of its last letter begins in it, NULL when it is
 * not in it. *ret is the option that has, or wants, a value; NULL when none does.
 */
static const char *take_letters(struct cli_line *line, const char *word,
                                const struct cli_option **ret)
{
	*ret = NULL;
	for (const char *letter = word + 1; *letter != '\0'; letter++) {
		const struct cli_option *option = find_letter(line, *letter);

		if (option == NULL)
			return NULL;
		if (option->argument == NULL) {
			take(line, option, NULL);
			continue;
		}
		*ret = option;
		return letter[1] != '\0' ? letter + 1 : NULL;
	}
	return NULL;
}

/* Whether the word is an operand; an option is taken. */
static bool is_operand(struct cli_line *line, const char *word)
{
	const struct cli_option *option = line->pending;
	const char *value;

	line->pending = NULL;
	if (option != NULL) {
		take(line, option, word);
	} else if (line->ended || word[0] != '-' || word[1] == '\0') {
		line->ended = line->ended || line->in_order;
		return true;
	} else if (strcmp(word, "--") == 0) {
		line->ended = true;
	} else if (word[1] == '-') {
		take_long(line, word + 2);
	} else {
		value = take_letters(line, word, &option);
		if (value == NULL)
			line->pending = option;
		else if (option != NULL)
			take(line, option, value);
	}
	return false;
}

static void rotate(char **words, int index)
{
	char *first = words[index];

	memmove(words + 1, words, (size_t)index * sizeof(*words));
	words[0] = first;
}

static const struct cli_verb commons = {.flags = CLI_WAITS | CLI_PRINTS};

/* An option that vmctl hands on to whatever verb it is. */
static bool is_common(const struct cli_line *line, const char *word)
{
	const struct cli_option *option =
	        word[1] == '-' ? cli_option_find(line, word + 2, strcspn(word + 2, "="))
	                       : find_letter(line, word[1]);

	return option != NULL && option->key != 'h' && strcmp(option->name, "version") != 0;
}

bool cli_command_first(int count, char **words)
{
	struct cli_line line;

	begin_line(&line, &commons, NULL);
	for (int i = 0; i < count; i++) {
		bool is_value = line.pending != NULL;

		if (is_operand(&line, words[i]) || (!is_value && !is_common(&line, words[i]))) {
			rotate(words, i);
			return true;
		}
	}
	return false;
}

/* --- the answer ----------------------------------------------------------------------------------
 */

void cli_answer(const char *kind, const struct cli_line *line)
{
	(void)printf("%s\t%.*s\n", kind, (int)line->kept, line->word);
}

void cli_candidate(const char *word, const char *description)
{
	if (description != NULL)
		(void)printf("%s\t%s\n", word, description);
	else
		(void)puts(word);
}

static void offer_options(const struct cli_line *line)
{
	const char *typed = line->word;
	char letter[] = "-x";

	cli_answer("words", line);
	for (size_t i = 0; line->options[i] != NULL; i++) {
		const struct cli_option *option = line->options[i];
		VM_AUTO_FREE char *name = NULL;
		struct vm_err err = {0};

		if (option->help == NULL)
			continue;
		name = vm_strf(&err, "--%s", option->name);
		if (name != NULL)
			cli_candidate(name, option->help);
		letter[1] = (char)option->key;
		if (option->key < CLI_KEY_COMMON && strncmp(typed, "--", 2) != 0)
			cli_candidate(letter, option->help);
	}
}

/* The last word, which begins with '-': one with its value in it, or the beginning of one. */
static void complete_option(struct cli_line *line)
{
	const char *word = line->word;
	const char *equals = strchr(word, '=');
	const struct cli_option *option = NULL;
	const char *value = NULL;

	if (word[1] == '-' && equals != NULL) {
		option = cli_option_find(line, word + 2, (size_t)(equals - word - 2));
		value = equals + 1;
	} else if (word[1] != '-') {
		value = take_letters(line, word, &option);
	}
	line->kept = value != NULL ? (size_t)(value - word) : 0;
	if (value == NULL)
		offer_options(line);
	else if (option != NULL && option->argument != NULL)
		cli_complete_value(line, option->name, option->argument);
}

/*
 * What the operands call the one with this index: "INSTANCE" in "INSTANCE ..." whatever the index,
 * "NAME" in "SOURCE [NAME]" for 1. False when there is none.
 */
static bool operand_name(const char *operands, int index, char ret[64])
{
	bool found = false;

	for (const char *at = operands; *(at += strspn(at, " [")) != '\0'; index--) {
		size_t len = strcspn(at, " ");

		if (strncmp(at, "...", 3) == 0)
			return found;
		(void)snprintf(ret, 64, "%.*s", (int)len, at);
		if (strchr(ret, '[') == NULL)
			ret[strcspn(ret, "]")] = '\0';
		if (index == 0)
			return true;
		found = true;
		at += len;
	}
	return false;
}

static void complete_word(struct cli_line *line)
{
	char operand[64];

	if (strpbrk(line->word, "\t\n") != NULL)
		return; /* the answer has no way to say so */
	if (line->pending != NULL)
		cli_complete_value(line, line->pending->name, line->pending->argument);
	else if (!line->ended && line->word[0] == '-')
		complete_option(line);
	else if (operand_name(line->verb->operands, line->operand_count, operand))
		cli_complete_value(line, NULL, operand);
}

/* --- vmctl itself --------------------------------------------------------------------------------
 */

static void offer_verbs(const struct cli_line *line)
{
	cli_answer("words", line);
	for (const struct cli_verb_entry *verb = cli_verbs; verb->name != NULL; verb++)
		cli_candidate(verb->name, verb->summary);
	cli_candidate("help", "Show the manual page of a verb, or the list of verbs");
}

/* The verb's own program answers: words[at] is the verb, and what is in front of it goes with it.
 */
static void ask_verb(struct cli_line *line, int count, char **words, int at)
{
	const char *verb = cli_verb_resolve(words[at]);
	int before = at > 0 && strcmp(words[at - 1], "--") == 0 ? at - 1 : at;
	VM_AUTO_FREE char *program = NULL;
	VM_AUTO_FREE char **argv = NULL;
	struct vm_err err = {0};
	int n = 0;

	if (strcmp(words[at], "help") == 0 && at + 2 == count) {
		offer_verbs(line);
		return;
	}
	if (verb == NULL) { /* a program that somebody has put into PATH: not to be run for this */
		cli_answer("files", line);
		return;
	}
	program = vm_strf(&err, "vmctl-%s", verb);
	argv = vm_calloc((size_t)count + 3, sizeof(*argv), &err);
	if (program == NULL || argv == NULL)
		return;
	argv[n++] = program;
	argv[n++] = (char[]){CLI_COMPLETE_WORD};
	for (int i = 0; i < count; i++)
		if (i < before || i > at)
			argv[n++] = words[i];
	cli_become(program, argv);
}

static void complete_verb(struct cli_line *line, int count, char **words)
{
	line->word = words[count - 1];
	line->operands = words; /* those that are options go as the operands move up */
	for (int i = 0; i + 1 < count; i++) {
		if (!is_operand(line, words[i]))
			continue;
		if (line->in_order) {
			ask_verb(line, count, words, i);
			return;
		}
		line->operands[line->operand_count++] = words[i];
	}
	if (line->in_order && line->pending == NULL && line->word[0] != '-')
		offer_verbs(line);
	else
		complete_word(line);
}

int cli_complete(struct cli *cli, int argc, char **words)
{
	struct cli_line line;

	if (argc == 0)
		return 0;
	begin_line(&line, cli->verb, cli->offer);
	complete_verb(&line, argc, words);
	return 0;
}

/* --- groups --------------------------------------------------------------------------------------
 */

static void offer_commands(struct cli_line *line, const struct cli_group *group)
{
	cli_answer("words", line);
	for (const struct cli_verb *const *verb = group->commands; *verb != NULL; verb++)
		cli_candidate((*verb)->name, (*verb)->summary);
}

int cli_complete_group(struct cli *cli, int argc, char **argv)
{
	int count = argc - 2;
	char **words = argv + 2;
	bool named = count > 0 && cli_command_first(count - 1, words);
	const struct cli_verb *const *verb = cli->group->commands;
	struct cli_line line;

	if (count == 0)
		return 0;
	if (!named) {
		begin_line(&line, &commons, cli->offer);
		line.word = words[count - 1];
		for (int i = 0; i + 1 < count; i++)
			(void)is_operand(&line, words[i]);
		if (line.pending == NULL && line.word[0] != '-')
			offer_commands(&line, cli->group);
		else
			complete_word(&line);
		return 0;
	}
	while (*verb != NULL && strcmp((*verb)->name, words[0]) != 0)
		verb++;
	if (*verb != NULL && (*verb)->run == NULL && cli->group->other != NULL) {
		cli_become(cli->group->other, argv);
		return 0;
	}
	if (*verb == NULL)
		return 0;
	begin_line(&line, *verb, cli->offer);
	complete_verb(&line, count - 1, words + 1);
	return 0;
}
