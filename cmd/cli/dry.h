/* SPDX-License-Identifier: Apache-2.0 */
/* How verbs with --dry-run print what they would do. */
#ifndef CLI_DRY_H
#define CLI_DRY_H

#include "cli.h"
#include "dry_run.h"

/* A row of a table of options. */
#define CLI_DRY_RUN_OPTION(key, text)                                                              \
	{                                                                                          \
		"dry-run", key, NULL, text, 0, false                                               \
	}

struct cli_dry_run {
	const char *things; /* "instances", "snapshots": the key of the list in JSON */
	bool weighs;        /* also how many bytes would be freed */
	/* The dry run of one operand. */
	int (*look)(struct cli *cli, const char *selector, struct vm_dry_run *ret,
	            struct vm_err *err);
};

/*
 * Opens the data root to be read, looks at the first `count` operands in turn and prints what would
 * become of each. All are tried, and each failure is reported, as by cli_each().
 */
int cli_dry_run(struct cli *cli, const struct cli_dry_run *how, int count, struct vm_err *err);

#endif
