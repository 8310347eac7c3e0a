/* SPDX-License-Identifier: Apache-2.0 */
/* fork, restore and rm. */
#include <string.h>

#include "../cli/dry.h"
#include "../cli/fork_args.h"
#include "snapshot.h"
#include "util.h"

static const struct cli_option fork_options[] = {
        CLI_FORK_OPTIONS("default running; stopped if the snapshot has no memory"),
        {NULL, 0, NULL, NULL, 0, false},
};

static int fork_option(void *ctx, int key, const char *value, struct vm_err *err)
{
	struct snapshot_options *options = ctx;

	return cli_fork_option(&options->fork, key, value, err);
}

static int run_fork(struct cli *cli, struct vm_err *err)
{
	struct snapshot_options *options = cli->options;

	options->fork.request.only_image = true;
	return cli_fork_run(cli, &options->fork, err);
}

const struct cli_verb snapshot_fork = {
        .name = "fork",
        .summary = "Make new instances of a snapshot",
        .synopsis = "[-n N] [--name PATTERN] [--target-state STATE] [--network NET]"
                    " [--label KEY=VALUE] [--atomic]",
        .operands = "SNAPSHOT [NAME]",
        .min_operands = 1,
        .max_operands = 2,
        .flags = CLI_WAITS | CLI_PRINTS,
        .options = fork_options,
        .option = fork_option,
        .run = run_fork,
};

/* --- restore and rm ------------------------------------------------------------------------------
 */

enum { KEY_DRY_RUN = CLI_KEY_VERB };

static const struct cli_option restore_options[] = {
        CLI_DRY_RUN_OPTION(KEY_DRY_RUN, "say what would be lost, and stop"),
        {NULL, 0, NULL, NULL, 0, false},
};

static const struct cli_option rm_options[] = {
        CLI_DRY_RUN_OPTION(KEY_DRY_RUN, "say what would go and what that would free, and stop"),
        {NULL, 0, NULL, NULL, 0, false},
};

static int dry_run_option(void *ctx, int key, const char *value, struct vm_err *err)
{
	struct snapshot_options *options = ctx;

	(void)key, (void)value, (void)err;
	options->dry_run = true;
	return 0;
}

/* A snapshot of the instance may be called by its own part of the name. */
static char *full_name(const char *instance, const char *snapshot, struct vm_err *err)
{
	return strchr(snapshot, '/') != NULL || vm_id_valid(snapshot)
	               ? vm_strdup(snapshot, err)
	               : vm_strf(err, "%s/%s", instance, snapshot);
}

static int look_at_restore(struct cli *cli, const char *selector, struct vm_dry_run *ret,
                           struct vm_err *err)
{
	VM_AUTO_FREE char *snapshot = full_name(selector, cli->operands[1], err);

	return snapshot != NULL
	               ? vm_snapshot_restore_dry_run(&cli->op, selector, snapshot, ret, err)
	               : -1;
}

static int run_restore(struct cli *cli, struct vm_err *err)
{
	static const struct cli_dry_run dry_run = {.things = "instances", .look = look_at_restore};
	const struct snapshot_options *options = cli->options;
	VM_AUTO(vm_instance_free) struct vm_instance instance = {0};
	VM_AUTO_FREE char *snapshot = NULL;

	if (options->dry_run)
		return cli_dry_run(cli, &dry_run, 1, err);
	snapshot = full_name(cli->operands[0], cli->operands[1], err);
	if (snapshot == NULL || cli_open(cli, VM_ROOT_CHANGE, err) < 0 ||
	    vm_snapshot_restore(&cli->op, cli->operands[0], snapshot, &instance, err) < 0)
		return -1;
	cli_say_took(cli, instance.name);
	return cli_print_instance(cli, &instance, err);
}

const struct cli_verb snapshot_restore = {
        .name = "restore",
        .summary = "Take an instance back to one of its snapshots",
        .synopsis = "[--dry-run]",
        .operands = "INSTANCE SNAPSHOT",
        .min_operands = 2,
        .max_operands = 2,
        .flags = CLI_WAITS | CLI_PRINTS,
        .options = restore_options,
        .option = dry_run_option,
        .states = 1U << VM_STATE_STOPPED | 1U << VM_STATE_STANDBY | 1U << VM_STATE_FAILED,
        .run = run_restore,
};

static int rm_one(struct cli *cli, const char *selector, struct vm_instance *ret,
                  struct vm_err *err)
{
	return vm_snapshot_rm(&cli->op, selector, ret, err);
}

static int look_at_rm(struct cli *cli, const char *selector, struct vm_dry_run *ret,
                      struct vm_err *err)
{
	return vm_snapshot_rm_dry_run(&cli->op, selector, ret, err);
}

static int run_rm(struct cli *cli, struct vm_err *err)
{
	static const struct cli_dry_run dry_run = {
	        .things = "snapshots", .weighs = true, .look = look_at_rm};
	const struct snapshot_options *options = cli->options;

	if (options->dry_run)
		return cli_dry_run(cli, &dry_run, cli->operand_count, err);
	return cli_each(cli, rm_one, err);
}

const struct cli_verb snapshot_rm = {
        .name = "rm",
        .summary = "Remove snapshots",
        .synopsis = "[--dry-run]",
        .operands = "SNAPSHOT ...",
        .min_operands = 1,
        .max_operands = CLI_ANY,
        .flags = CLI_WAITS | CLI_PRINTS,
        .options = rm_options,
        .option = dry_run_option,
        .run = run_rm,
};

static int compress_one(struct cli *cli, const char *selector, struct vm_instance *ret,
                        struct vm_err *err)
{
	return vm_snapshot_compress(&cli->op, selector, ret, err);
}

static int run_compress(struct cli *cli, struct vm_err *err)
{
	return cli_each(cli, compress_one, err);
}

const struct cli_verb snapshot_compress = {
        .name = "compress",
        .summary = "Compress the memory of snapshots until it is needed",
        .synopsis = "",
        .operands = "SNAPSHOT ...",
        .min_operands = 1,
        .max_operands = CLI_ANY,
        .flags = CLI_WAITS | CLI_PRINTS,
        .run = run_compress,
};
