/* SPDX-License-Identifier: Apache-2.0 */
/* The list of verbs, for `vmctl --help`, for suggestions, and for the one-line summary of each. */
#ifndef CLI_VERBS_H
#define CLI_VERBS_H

struct cli_verb_entry {
	const char *name;
	const char *summary; /* equal to the man page's one-line description, but for the capital */
	const char *alias;   /* another name that `vmctl` accepts, or NULL */
};

/* In the order in which help shows them; ends with a NULL name. */
extern const struct cli_verb_entry cli_verbs[];

/* NULL for a verb that is not in the list. */
const char *cli_verb_summary(const char *name);
/* The verb that a name or alias stands for; NULL when there is none. */
const char *cli_verb_resolve(const char *name);
/* The verb or alias that a mistyped one most likely meant, or NULL. */
const char *cli_verb_suggest(const char *name);

#endif
