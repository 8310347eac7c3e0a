/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot.h"
#include "util.h"

enum { KEY_COMPRESS = SNAPSHOT_INFO_KEYS };

static const struct cli_option create_options[] = {
        SNAPSHOT_INFO_OPTIONS,
        {"compress", KEY_COMPRESS, NULL, "compress its memory, too", 0, false},
        {NULL, 0, NULL, NULL, 0, false},
};

static int option(void *ctx, int key, const char *value, struct vm_err *err)
{
	struct snapshot_options *options = ctx;

	if (key == KEY_COMPRESS) {
		options->compress = true;
		return 0;
	}
	return snapshot_info_option(&options->info, key, value, err);
}

/* An operation of its own: a snapshot that cannot be compressed is one all the same. */
static void compress(struct cli *cli, const struct vm_instance *image)
{
	struct vm_err err = {0};

	if (image->state != VM_STATE_STANDBY)
		return;
	cli_begin(cli);
	if (vm_snapshot_compress(&cli->op, image->id, NULL, &err) < 0)
		cli_fail(cli, &err);
}

static int run(struct cli *cli, struct vm_err *err)
{
	const struct snapshot_options *options = cli->options;
	VM_AUTO(vm_instance_free) struct vm_instance image = {0};

	if (cli_open(cli, VM_ROOT_CHANGE, err) < 0 ||
	    vm_snapshot_create(&cli->op, cli->operands[0],
	                       cli->operand_count > 1 ? cli->operands[1] : NULL, &options->info,
	                       &image, err) < 0)
		return -1;
	cli_say_took(cli, image.name);
	if (options->compress)
		compress(cli, &image);
	return cli_print_instance(cli, &image, err);
}

const struct cli_verb snapshot_create = {
        .name = "create",
        .summary = "Make a snapshot of an instance",
        .synopsis = "[--comment TEXT] [--label KEY=VALUE] [--expires DURATION] [--compress]",
        .operands = "INSTANCE [NAME]",
        .min_operands = 1,
        .max_operands = 2,
        .flags = CLI_WAITS | CLI_PRINTS,
        .states = 1U << VM_STATE_STOPPED | 1U << VM_STATE_STANDBY | 1U << VM_STATE_RUNNING,
        .options = create_options,
        .option = option,
        .run = run,
};
