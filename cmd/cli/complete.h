/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may follow on a command line, for the shells in completions/. Every program answers
 *
 *   vmctl-VERB __complete [WORD ...]
 *
 * where the last WORD is the one that is being typed, "" for a new one. So a verb tells its options
 * itself, and vmctl passes the question on to the verb that the words name. The answer:
 *
 *   KIND<TAB>KEPT                 words, files or dirs; what of the last word stays as it is
 *   CANDIDATE[<TAB>DESCRIPTION]   for the rest of the last word; one a line
 *
 * files and dirs: the shell adds names of files, or directories. Candidates are not chosen by what
 * was typed: each shell has its own way of matching. No space is put behind one that ends in '='.
 *
 * The kind of a value is told by the name that the option or the man page gives it ("FILE",
 * "STATE", "INSTANCE"): complete_values.c, complete_known.c. Nothing is locked, and the store is
 * opened only for names, without waiting. Whatever goes wrong, there is just nothing to offer: no
 * message, and exit status 0.
 */
#ifndef CLI_COMPLETE_H
#define CLI_COMPLETE_H

#include "cli.h"

#define CLI_COMPLETE_WORD "__complete"

/* A line that is being typed: what its words are, by the options of the verb. */
struct cli_line {
	const struct cli_verb *verb;
	cli_offer *offer; /* or NULL */
	const struct cli_option *options[CLI_OPTIONS_MAX + 1];
	const struct cli_option *pending; /* wants the next word as its value */
	bool in_order, ended;             /* options end at the first operand; they have ended */
	bool wider;                       /* verb->wider was given */
	const char *root;                 /* of --root, or NULL */
	char **operands;                  /* those before the last word; borrowed words */
	int operand_count;
	const char *word; /* the last word */
	size_t kept;      /* so much of it is in front of what is being typed */
};

bool cli_completes(int argc, char **argv);
/* Of a verb: its words. Returns the exit status. */
int cli_complete(struct cli *cli, int argc, char **words);
/* Of a group: argv is the whole, for a command that another program has. */
int cli_complete_group(struct cli *cli, int argc, char **argv);

/*
 * Moves the first word that is neither a common option nor its value, or is --help or --version, in
 * front of the others. False when there is none.
 */
bool cli_command_first(int count, char **words);

/* Begins the answer. */
void cli_answer(const char *kind, const struct cli_line *line);
void cli_candidate(const char *word, const char *description);
/* The value of an option, or an operand: what is offered follows from its name and argument. */
void cli_complete_value(const struct cli_line *line, const char *option, const char *argument);

/* --- what both complete_values.c and complete_known.c go by -------------------------------------
 */

struct cli_rule {
	const char *option;   /* the option's long name; NULL: any, and operands */
	const char *argument; /* the argument's name as far as "=" or "["; NULL: any */
	void (*offer)(struct cli_line *line, const char *argument);
	const char *words; /* where `offer` is NULL: separated by spaces */
};

/* Goes by the first of the rules that fits. False when none does. */
bool cli_complete_by(const struct cli_rule *rules, size_t count, struct cli_line *line,
                     const char *option, const char *argument);
/* `option` by its long name or an unambiguous beginning of it. */
const struct cli_option *cli_option_find(const struct cli_line *line, const char *name, size_t len);

#endif
