/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "complete.h"
#include "fault.h"
#include "interrupt.h"
#include "util.h"

enum { CLI_COMMANDS_MAX = 32 };

/*
 * A closed standard descriptor would be taken by the next file we open, and a message would end up
 * in it. The stand-ins fail on use, so that lost output is still noticed.
 */
static void fill_standard_fds(void)
{
	for (int fd = 0; fd <= 2; fd++) {
		if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF)
			continue;
		if (open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
			_exit(VM_ERR_SYSTEM);
	}
}

/* Output that could not be written is a failure, found at the latest when the file is closed. */
static void close_stdout(struct cli *cli)
{
	bool failed = ferror(stdout) != 0;
	struct vm_err err = {0};

	if (fclose(stdout) != 0) {
		failed = true;
		cli->output_errno = errno;
	}
	if (!failed)
		return;
	if (cli->status == VM_OK)
		cli->status = VM_ERR_SYSTEM;
	if (cli->output_errno == EPIPE) /* nobody reads any more, and the exit status says it */
		return;
	vm_err_set(&err, VM_ERR_SYSTEM, "cannot write to standard output%s%s",
	           cli->output_errno != 0 ? ": " : "",
	           cli->output_errno != 0 ? strerror(cli->output_errno) : "");
	cli_fail(cli, &err);
}

/* What comes before the verb, whichever it is. */
static void begin(struct cli *cli, const char *name)
{
	fill_standard_fds();
	(void)snprintf(cli->program, sizeof(cli->program), "vmctl%s%s", name[0] != '\0' ? "-" : "",
	               name);
}

/* And after it. */
static int end(struct cli *cli, int rc, const struct vm_err *err)
{
	if (cli->close_root != NULL)
		cli->close_root(&cli->root);
	if (rc < 0)
		cli_fail(cli, err);
	/* What cannot be written is told, too: so the end of progress comes last. */
	cli_progress_hide(&cli->progress);
	close_stdout(cli);
	cli_progress_end(&cli->progress);
	cli_format_free(&cli->format);
	vm_interrupt_reraise();
	return (int)cli->status;
}

void cli_become(const char *program, char **argv)
{
	char path[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);
	char *slash;

	path[len > 0 ? len : 0] = '\0';
	slash = strrchr(path, '/');
	if (slash != NULL && strlen(program) < sizeof(path) - (size_t)(slash + 1 - path)) {
		memcpy(slash + 1, program, strlen(program) + 1);
		(void)execv(path, argv);
		if (errno != ENOENT)
			return;
	}
	(void)execvp(program, argv);
}

static int run(struct cli *cli, int argc, char **argv)
{
	struct vm_err err = {0};
	int rc = cli_parse(cli, argc, argv, &err);

	cli_progress_init(&cli->progress, cli->program, cli->verbose);
	if (rc == 0)
		rc = vm_fault_check(&err);
	if (rc == 0)
		rc = cli->verb->run(cli, &err);
	return end(cli, rc, &err);
}

int cli_main_offering(const struct cli_verb *verb, void *options, int argc, char **argv,
                      cli_offer *offer)
{
	struct cli cli = {.options = options, .root = VM_ROOT_INIT, .offer = offer};

	begin(&cli, verb->name);
	cli.verb = verb;
	if (cli_completes(argc, argv))
		return cli_complete(&cli, argc - 2, argv + 2);
	return run(&cli, argc, argv);
}

/* --- groups --------------------------------------------------------------------------------------
 */

static const struct cli_verb *find_command(const struct cli_group *group, const char *name)
{
	const struct cli_verb *const *verb = group->commands;

	while (*verb != NULL && strcmp((*verb)->name, name) != 0)
		verb++;
	return *verb;
}

static int no_command(const struct cli *cli, const char *name, struct vm_err *err)
{
	const char *words[CLI_COMMANDS_MAX + 1] = {NULL};
	const char *meant;
	size_t count = 0;

	if (name == NULL)
		return cli_usage(cli, err, "missing argument: expected COMMAND");
	if (name[0] == '-')
		return cli_usage(cli, err, "unknown option '%s'", name);
	while (count < CLI_COMMANDS_MAX && cli->group->commands[count] != NULL) {
		words[count] = cli->group->commands[count]->name;
		count++;
	}
	meant = vm_suggest(name, words);
	if (meant == NULL)
		return cli_usage(cli, err, "there is no command '%s'", name);
	return cli_usage(cli, err, "there is no command '%s'; did you mean '%s'?", name, meant);
}

/* Without a command: its --help and --version, and mistakes. */
static int run_group(struct cli *cli, const char *name)
{
	static const struct cli_verb none = {.name = NULL};
	struct vm_err err = {0};
	int rc = 0;

	cli->verb = &none;
	cli_progress_init(&cli->progress, cli->program, false);
	if (name != NULL && (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0))
		cli_print_group_help(cli);
	else if (name != NULL && strcmp(name, "--version") == 0)
		(void)printf("%s %s\n", cli->program, VM_VERSION);
	else
		rc = no_command(cli, name, &err);
	return end(cli, rc, &err);
}

static int become(struct cli *cli, char **argv)
{
	struct vm_err err = {0};

	cli_become(cli->group->other, argv);
	cli_progress_init(&cli->progress, cli->program, false);
	return end(cli, vm_err_sys(&err, "cannot run %s", cli->group->other), &err);
}

int cli_main_group_offering(const struct cli_group *group, void *options, int argc, char **argv,
                            cli_offer *offer)
{
	struct cli cli = {.options = options, .root = VM_ROOT_INIT, .offer = offer};
	const char *name;

	begin(&cli, group->name);
	cli.group = group;
	if (cli_completes(argc, argv))
		return cli_complete_group(&cli, argc, argv);
	name = cli_command_first(argc - 1, argv + 1) ? argv[1] : NULL;
	cli.verb = name != NULL ? find_command(group, name) : NULL;
	if (cli.verb == NULL)
		return run_group(&cli, name);
	if (cli.verb->run == NULL)
		return become(&cli, argv);
	return run(&cli, argc - 1, argv + 1);
}
