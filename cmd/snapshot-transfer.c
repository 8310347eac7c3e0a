/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `vmctl snapshot export` and `import`: a program of its own, into which vmctl-snapshot turns for
 * these two, because the libraries for archives take longer to load than a fork takes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "snapshot/info.h"
#include "transfer.h"
#include "util.h"

enum { KEY_LEVEL = SNAPSHOT_INFO_KEYS, KEY_NO_COMPRESS, KEY_NAME };

struct options {
	const char *output, *name;
	int64_t level;
	bool plain;
	struct vm_image_info info;
};

static const struct cli_option export_options[] = {
        {"output", 'o', "FILE", "write to this file; - is standard output (default)", 0, false},
        {"level", KEY_LEVEL, "N", "how hard zstd tries, 1 to 19 (default 3)", 0, false},
        {"no-compress", KEY_NO_COMPRESS, NULL, "a plain tar", 0, false},
        {NULL, 0, NULL, NULL, 0, false},
};

static const struct cli_option import_options[] = {
        {"name", KEY_NAME, "INSTANCE/NAME", "another name than it had", 0, false},
        SNAPSHOT_INFO_OPTIONS,
        {NULL, 0, NULL, NULL, 0, false},
};

static int option(void *ctx, int key, const char *value, struct vm_err *err)
{
	struct options *options = ctx;

	switch (key) {
	case 'o':
		options->output = value;
		return 0;
	case KEY_LEVEL:
		return vm_int_parse(value, "--level", VM_ARCHIVE_LEVEL_MIN, VM_ARCHIVE_LEVEL_MAX,
		                    &options->level, err);
	case KEY_NO_COMPRESS:
		options->plain = true;
		return 0;
	case KEY_NAME:
		options->name = value;
		return 0;
	default:
		return snapshot_info_option(&options->info, key, value, err);
	}
}

/* --- export --------------------------------------------------------------------------------------
 */

static int send(struct cli *cli, int out_fd, struct vm_err *err)
{
	const struct options *options = cli->options;
	const struct vm_archive_write_options how = {
	        .plain = options->plain,
	        .level = (int)options->level,
	};

	return vm_export(&cli->op, cli->operands[0], out_fd, &how, NULL, err);
}

/* Under a name of its own until it is complete: FILE is a whole archive, or as it was. */
static int send_to_file(struct cli *cli, const char *file, struct vm_err *err)
{
	VM_AUTO_FREE char *part = vm_strf(err, "%s.part-%d", file, (int)getpid());
	VM_AUTO_CLOSE int fd =
	        part != NULL ? open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;
	int rc;

	if (part == NULL)
		return -1;
	if (fd < 0)
		return vm_err_sys(err, "creating %s", part);
	rc = send(cli, fd, err);
	if (rc == 0 && fsync(fd) < 0)
		rc = vm_err_sys(err, "syncing %s", part);
	if (rc == 0 && rename(part, file) < 0)
		rc = vm_err_sys(err, "renaming %s to %s", part, file);
	if (rc < 0)
		(void)unlink(part);
	return rc;
}

static int run_export(struct cli *cli, struct vm_err *err)
{
	const struct options *options = cli->options;
	bool to_stdout = options->output == NULL || strcmp(options->output, "-") == 0;

	if (options->plain && options->level != 0)
		return cli_usage(cli, err, "--level says how to compress, --no-compress not to");
	if (to_stdout && isatty(STDOUT_FILENO))
		return cli_usage(cli, err, "an archive is nothing for a terminal: give -o FILE");
	if (cli_open(cli, VM_ROOT_CHANGE, err) < 0)
		return -1;
	return to_stdout ? send(cli, STDOUT_FILENO, err) : send_to_file(cli, options->output, err);
}

static const struct cli_verb snapshot_export = {
        .name = "export",
        .summary = "Write a snapshot as one file, or to a pipe",
        .synopsis = "[-o FILE] [--level N] [--no-compress]",
        .operands = "SNAPSHOT",
        .min_operands = 1,
        .max_operands = 1,
        .flags = CLI_WAITS | CLI_WRITES,
        .options = export_options,
        .option = option,
        .run = run_export,
};

/* --- import --------------------------------------------------------------------------------------
 */

static int open_input(const char *file, struct vm_err *err)
{
	int fd;

	if (strcmp(file, "-") == 0)
		return fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		vm_err_sys(err, "%s", file);
		if (errno == ENOENT)
			err->code = VM_ERR_USAGE;
	}
	return fd;
}

static int run_import(struct cli *cli, struct vm_err *err)
{
	const struct options *options = cli->options;
	const char *file = cli->operand_count > 0 ? cli->operands[0] : "-";
	VM_AUTO(vm_instance_free) struct vm_instance image = {0};
	struct vm_import_request request = {
	        .name = options->name,
	        .info = &options->info,
	};
	VM_AUTO_CLOSE int fd = -1;

	if (strcmp(file, "-") == 0 && isatty(STDIN_FILENO))
		return cli_usage(cli, err, "no archive comes from a terminal: give FILE");
	fd = open_input(file, err);
	if (fd < 0)
		return err->code != VM_OK ? -1 : vm_err_sys(err, "standard input");
	request.in_fd = fd;
	if (cli_open(cli, VM_ROOT_CREATE, err) < 0 ||
	    vm_import(&cli->op, &request, &image, err) < 0)
		return -1;
	cli_say_took(cli, image.name);
	return cli_print_instance(cli, &image, err);
}

static const struct cli_verb snapshot_import = {
        .name = "import",
        .summary = "Make a snapshot of what export has written",
        .synopsis = "[--name INSTANCE/NAME] [--comment TEXT] [--label KEY=VALUE] "
                    "[--expires DURATION]",
        .operands = "[FILE]",
        .max_operands = 1,
        .flags = CLI_WAITS | CLI_PRINTS,
        .options = import_options,
        .option = option,
        .run = run_import,
};

/* --- both ----------------------------------------------------------------------------------------
 */

int main(int argc, char **argv)
{
	static const struct cli_verb *const commands[] = {&snapshot_export, &snapshot_import, NULL};
	static const struct cli_group group = {.name = "snapshot", .commands = commands};
	struct options options = {0};
	int status = cli_main_group(&group, &options, argc, argv);

	vm_image_info_free(&options.info);
	return status;
}
