/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "spec.h"
#include "template.h"
#include "util.h"

enum {
	KEY_KERNEL = CLI_KEY_VERB,
	KEY_INITRD,
	KEY_BOOT_ARGS,
	KEY_VCPUS,
	KEY_MEMORY,
	KEY_DISK,
	KEY_NO_VSOCK,
	KEY_HYPERVISOR,
	KEY_MACHINE,
	KEY_ACCELERATOR,
	KEY_NETWORK,
	KEY_LABEL,
	KEY_TEMPLATE,
	KEY_START
};

struct create_options {
	const char *file, *template;
	const char *kernel, *initrd, *boot_args, *hypervisor;
	const char *machine, *accelerator, *network;
	unsigned vcpus;        /* 0: not given */
	uint64_t memory_bytes; /* 0: not given */
	const char *disks[VM_DISKS_MAX];
	size_t disk_count;
	struct vm_labels labels; /* owned */
	bool no_vsock, start;
};

static const struct cli_option create_options[] = {
        {"file", 'f', "SPEC", "read the YAML spec from this file, '-' for standard input", 0,
         false},
        {"template", KEY_TEMPLATE, "TEMPLATE",
         "take the spec of this name; 'vmctl config templates' lists them", 0, false},
        {"kernel", KEY_KERNEL, "FILE", "kernel image to boot", 0, false},
        {"initrd", KEY_INITRD, "FILE", "initial RAM disk", 0, false},
        {"boot-args", KEY_BOOT_ARGS, "ARGS", "kernel command line", 0, false},
        {"vcpus", KEY_VCPUS, "N", "number of virtual CPUs (default 1)", 0, false},
        {"memory", KEY_MEMORY, "SIZE", "guest memory, e.g. 512M or 2G (default 128M)", 0, false},
        {"disk", KEY_DISK, "DISK",
         "add a disk: PATH, or id=ID,path=PATH|size=SIZE[,format=FORMAT][,readonly][,root]; may be"
         " repeated",
         0, false},
        {"no-vsock", KEY_NO_VSOCK, NULL, "give the guest no vsock device", 0, false},
        {"hypervisor", KEY_HYPERVISOR, "NAME", "hypervisor to use (default auto)", 0, false},
        {"machine", KEY_MACHINE, "TYPE", "machine type of the hypervisor's", 0, false},
        {"accelerator", KEY_ACCELERATOR, "NAME", "auto, or one of the hypervisor's", 0, false},
        {"network", KEY_NETWORK, "NET", "none, user or tap=NAME (default none)", 0, false},
        {"label", KEY_LABEL, "KEY=VALUE", "a label; may be repeated", 0, false},
        {"start", KEY_START, NULL, "boot the instance at once", 0, false},
        {NULL, 0, NULL, NULL, 0, false},
};

static int add_disk(struct create_options *options, const char *value, struct vm_err *err)
{
	if (options->disk_count == VM_DISKS_MAX)
		return vm_err_set(err, VM_ERR_USAGE, "more than %d disks", VM_DISKS_MAX);
	options->disks[options->disk_count++] = value;
	return 0;
}

static int take_vcpus(struct create_options *options, const char *value, struct vm_err *err)
{
	int64_t number;

	if (vm_int_parse(value, "--vcpus", 1, VM_VCPUS_MAX, &number, err) < 0)
		return -1;
	options->vcpus = (unsigned)number;
	return 0;
}

static int take_memory(struct create_options *options, const char *value, struct vm_err *err)
{
	if (vm_size_parse(value, "--memory", &options->memory_bytes, err) < 0)
		return -1;
	if (options->memory_bytes == 0)
		return vm_err_set(err, VM_ERR_USAGE, "--memory: must be more than 0");
	return 0;
}

static int option(void *ctx, int key, const char *value, struct vm_err *err)
{
	struct create_options *options = ctx;

	switch (key) {
	case 'f':
		options->file = value;
		return 0;
	case KEY_TEMPLATE:
		options->template = value;
		return 0;
	case KEY_KERNEL:
		options->kernel = value;
		return 0;
	case KEY_INITRD:
		options->initrd = value;
		return 0;
	case KEY_BOOT_ARGS:
		options->boot_args = value;
		return 0;
	case KEY_HYPERVISOR:
		options->hypervisor = value;
		return 0;
	case KEY_MACHINE:
		options->machine = value;
		return 0;
	case KEY_ACCELERATOR:
		options->accelerator = value;
		return 0;
	case KEY_NETWORK:
		options->network = value;
		return 0;
	case KEY_VCPUS:
		return take_vcpus(options, value, err);
	case KEY_MEMORY:
		return take_memory(options, value, err);
	case KEY_DISK:
		return add_disk(options, value, err);
	case KEY_LABEL:
		return vm_labels_set_text(&options->labels, value, err) < 0
		               ? vm_err_wrap(err, "--label")
		               : 0;
	case KEY_NO_VSOCK:
		options->no_vsock = true;
		return 0;
	default:
		options->start = true;
		return 0;
	}
}

static int replace(char **text, const char *value, struct vm_err *err)
{
	char *copy;

	if (value == NULL)
		return 0;
	copy = vm_strdup(value, err);
	if (copy == NULL)
		return -1;
	free(*text);
	*text = copy;
	return 0;
}

/* What the flags say wins over the file; --disk adds to the file's disks. */
static int apply_flags(const struct create_options *options, const char *name, struct vm_spec *spec,
                       struct vm_err *err)
{
	if (replace(&spec->name, name, err) < 0 ||
	    replace(&spec->kernel, options->kernel, err) < 0 ||
	    replace(&spec->initrd, options->initrd, err) < 0 ||
	    replace(&spec->boot_args, options->boot_args, err) < 0 ||
	    replace(&spec->hypervisor, options->hypervisor, err) < 0 ||
	    replace(&spec->machine, options->machine, err) < 0 ||
	    replace(&spec->accelerator, options->accelerator, err) < 0)
		return -1;
	if (options->network != NULL && vm_spec_set_network(spec, options->network, err) < 0)
		return vm_err_wrap(err, "--network");
	if (options->vcpus != 0)
		spec->vcpus = options->vcpus;
	if (options->memory_bytes != 0)
		spec->memory_bytes = options->memory_bytes;
	if (options->no_vsock)
		spec->vsock = false;
	for (size_t i = 0; i < options->disk_count; i++)
		if (vm_spec_add_disk(spec, options->disks[i], err) < 0)
			return -1;
	if (vm_labels_put_all(&spec->labels, &options->labels, err) < 0)
		return -1;
	return vm_labels_check_count(spec->labels.count, err);
}

/* What the flags are laid over: a file, a template, or nothing. */
static int load_spec(struct cli *cli, struct vm_spec *spec, struct vm_err *err)
{
	const struct create_options *options = cli->options;
	VM_AUTO_FREE char *root_path = NULL;

	if (options->file != NULL && options->template != NULL)
		return cli_usage(cli, err, "-f and --template do not go together");
	if (options->file != NULL)
		return vm_spec_load(options->file, spec, err);
	if (options->template == NULL)
		return options->kernel != NULL
		               ? 0
		               : cli_usage(cli, err,
		                           "none of a spec file (-f), --template and --kernel is "
		                           "given");
	root_path = vm_root_path(cli->root_option, err);
	return root_path != NULL ? vm_template_load(root_path, options->template, spec, err) : -1;
}

/* The spec is complete and checked before the data root is opened: a mistake leaves nothing behind.
 */
static int build_spec(struct cli *cli, struct vm_spec *spec, struct vm_err *err)
{
	const struct create_options *options = cli->options;
	const char *name = cli->operand_count > 0 ? cli->operands[0] : NULL;

	if (load_spec(cli, spec, err) < 0 || apply_flags(options, name, spec, err) < 0)
		return -1;
	if (spec->name != NULL && vm_name_check(spec->name, err) < 0)
		return -1;
	return vm_spec_check(spec, err);
}

static int run(struct cli *cli, struct vm_err *err)
{
	const struct create_options *options = cli->options;
	VM_AUTO(vm_spec_free) struct vm_spec spec;
	VM_AUTO(vm_instance_free) struct vm_instance instance = {0};

	vm_spec_init(&spec);
	if (build_spec(cli, &spec, err) < 0 || cli_open(cli, VM_ROOT_CREATE, err) < 0 ||
	    vm_create(&cli->op, &spec, options->start, &instance, err) < 0)
		return -1;
	cli_say_took(cli, instance.name);
	return cli_print_instance(cli, &instance, err);
}

static const struct cli_verb verb = {
        .name = "create",
        .synopsis =
                "[-f SPEC | --template TEMPLATE] [--kernel FILE] [--initrd FILE] [--boot-args "
                "ARGS] [--vcpus N]"
                " [--memory SIZE] [--disk DISK] [--no-vsock] [--hypervisor NAME] [--machine TYPE]"
                " [--accelerator NAME] [--network NET] [--label KEY=VALUE] [--start]",
        .operands = "[NAME]",
        .max_operands = 1,
        .flags = CLI_WAITS | CLI_PRINTS,
        .options = create_options,
        .option = option,
        .run = run,
};

int main(int argc, char **argv)
{
	struct create_options options = {0};
	int status = cli_main(&verb, &options, argc, argv);

	vm_labels_free(&options.labels);
	return status;
}
