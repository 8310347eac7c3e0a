/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "snapshot.h"
#include "util.h"

enum {
	KEY_STATE = SNAPSHOT_INFO_KEYS,
	KEY_MEMORY,
	KEY_DISK,
	KEY_KERNEL,
	KEY_INITRD,
	KEY_VCPUS,
	KEY_RELOCATE
};

static const struct cli_option adopt_options[] = {
        {"state", KEY_STATE, "FILE", "the state file (vmstate) of the snapshot", 0, false},
        {"vmstate", KEY_STATE, "FILE", NULL, 0, false},
        {"memory", KEY_MEMORY, "FILE", "its memory file", 0, false},
        {"disk", KEY_DISK, "RECORDED=FILE",
         "the file of a drive, which is named by its recorded path or its id; once for each", 0,
         false},
        {"kernel", KEY_KERNEL, "FILE", "a kernel, so that forks can also be booted afresh", 0,
         false},
        {"initrd", KEY_INITRD, "FILE", "and an initrd", 0, false},
        {"vcpus", KEY_VCPUS, "N",
         "how many vCPUs to tell for the guest, if not what the state says", 0, false},
        {"relocate", KEY_RELOCATE, "HOW",
         "auto, rewrite (change the paths in the state) or alias (show its files where it names "
         "them)",
         0, false},
        SNAPSHOT_INFO_OPTIONS,
        {NULL, 0, NULL, NULL, 0, false},
};

/* RECORDED=FILE; a recorded path may hold '=', so the last one counts unless the file has it. */
static int take_disk(struct snapshot_options *options, const char *value, struct vm_err *err)
{
	struct vm_adopt_request *adopt = &options->adopt;
	const char *equals = strrchr(value, '=');
	char *recorded;

	if (equals == NULL || equals == value || equals[1] == '\0')
		return vm_err_set(err, VM_ERR_USAGE, "--disk: '%.400s' is not RECORDED=FILE",
		                  value);
	if (adopt->disk_count == VM_DISKS_MAX)
		return vm_err_set(err, VM_ERR_USAGE, "--disk: more than %d", VM_DISKS_MAX);
	recorded = vm_strdup(value, err);
	if (recorded == NULL)
		return -1;
	recorded[equals - value] = '\0';
	options->disks[adopt->disk_count++] = (struct vm_adopt_disk){recorded, equals + 1};
	adopt->disks = options->disks;
	return 0;
}

static int take_vcpus(struct vm_adopt_request *adopt, const char *value, struct vm_err *err)
{
	int64_t n;

	if (vm_int_parse(value, "--vcpus", 1, VM_VCPUS_MAX, &n, err) < 0)
		return -1;
	adopt->vcpus = (unsigned)n;
	return 0;
}

static int take_relocate(struct vm_adopt_request *adopt, const char *value, struct vm_err *err)
{
	static const char *const names[] = {
	        [VM_RELOCATE_AUTO] = "auto",
	        [VM_RELOCATE_REWRITE] = "rewrite",
	        [VM_RELOCATE_ALIAS] = "alias",
	};

	for (size_t i = 0; i < VM_ARRAY_LEN(names); i++) {
		if (strcmp(value, names[i]) == 0) {
			adopt->relocate = (enum vm_relocate)i;
			return 0;
		}
	}
	return vm_err_set(err, VM_ERR_USAGE, "--relocate is auto, rewrite or alias, not '%s'",
	                  value);
}

static int option(void *ctx, int key, const char *value, struct vm_err *err)
{
	struct snapshot_options *options = ctx;

	switch (key) {
	case KEY_STATE:
		options->adopt.state = value;
		return 0;
	case KEY_MEMORY:
		options->adopt.memory = value;
		return 0;
	case KEY_DISK:
		return take_disk(options, value, err);
	case KEY_KERNEL:
		options->adopt.kernel = value;
		return 0;
	case KEY_INITRD:
		options->adopt.initrd = value;
		return 0;
	case KEY_VCPUS:
		return take_vcpus(&options->adopt, value, err);
	case KEY_RELOCATE:
		return take_relocate(&options->adopt, value, err);
	default:
		return snapshot_info_option(&options->info, key, value, err);
	}
}

static int run(struct cli *cli, struct vm_err *err)
{
	struct snapshot_options *options = cli->options;
	VM_AUTO(vm_instance_free) struct vm_instance image = {0};

	if (options->adopt.state == NULL || options->adopt.memory == NULL)
		return cli_usage(cli, err, "both --state FILE and --memory FILE are needed");
	options->adopt.name = cli->operands[0];
	options->adopt.info = &options->info;
	if (cli_open(cli, VM_ROOT_CREATE, err) < 0 ||
	    vm_adopt(&cli->op, &options->adopt, &image, err) < 0)
		return -1;
	cli_say_took(cli, image.name);
	return cli_print_instance(cli, &image, err);
}

const struct cli_verb snapshot_adopt = {
        .name = "adopt",
        .summary = "Take in a snapshot that was made by others",
        .synopsis =
                "--state FILE --memory FILE [--disk RECORDED=FILE ...] [--kernel FILE] "
                "[--initrd FILE] [--vcpus N] [--relocate HOW] [--comment TEXT] [--label KEY=VALUE] "
                "[--expires DURATION]",
        .operands = "NAME",
        .min_operands = 1,
        .max_operands = 1,
        .flags = CLI_WAITS | CLI_PRINTS,
        .options = adopt_options,
        .option = option,
        .run = run,
};
