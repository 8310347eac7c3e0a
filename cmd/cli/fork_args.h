/* SPDX-License-Identifier: Apache-2.0 */
/* What `fork` and `snapshot fork` have in common: their options, and how they print. */
#ifndef CLI_FORK_ARGS_H
#define CLI_FORK_ARGS_H

#include "cli.h"

enum cli_fork_key {
	CLI_FORK_NAME = CLI_KEY_VERB,
	CLI_FORK_TARGET_STATE,
	CLI_FORK_ATOMIC,
	CLI_FORK_NETWORK,
	CLI_FORK_LABEL,
	CLI_FORK_FROM_RUNNING,
	CLI_FORK_KEYS, /* a verb's further options count from here */
};

/* The rows of a table of options. */
#define CLI_FORK_OPTIONS(target_default)                                                           \
	{"count", 'n', "N", "how many forks to make (default 1)", 0, false},                       \
	        {"name",    CLI_FORK_NAME,                                                         \
	         "PATTERN", "name of the fork; with --count it holds {} for the number: 'web-{}'", \
	         0,         false},                                                                \
	        {"target-state",                                                                   \
	         CLI_FORK_TARGET_STATE,                                                            \
	         "STATE",                                                                          \
	         "leave the forks stopped, standby or running (" target_default ")",               \
	         0,                                                                                \
	         false},                                                                           \
	        {"network", CLI_FORK_NETWORK,                                                      \
	         "NET",     "give the forks another network: 'tap=NAME{}'",                        \
	         0,         false},                                                                \
	        {"label",                                                                          \
	         CLI_FORK_LABEL,                                                                   \
	         "KEY=VALUE",                                                                      \
	         "a label beside those of the source, or in place of one; may be repeated",        \
	         0,                                                                                \
	         false},                                                                           \
	{                                                                                          \
		"atomic", CLI_FORK_ATOMIC, NULL, "make all forks or none", 0, false                \
	}

struct cli_fork {
	struct vm_fork_request request;
	struct vm_labels labels; /* owned */
};

/* Takes one of these options. */
int cli_fork_option(struct cli_fork *fork, int key, const char *value, struct vm_err *err);
/* Takes the operands SOURCE [NAME], makes the forks, prints them. */
int cli_fork_run(struct cli *cli, struct cli_fork *fork, struct vm_err *err);

#endif
