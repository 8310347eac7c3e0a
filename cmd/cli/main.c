/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "fault.h"
#include "interrupt.h"
#include "util.h"

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

int cli_main(const struct cli_verb *verb, void *options, int argc, char **argv)
{
	struct cli cli = {
	        .verb = verb,
	        .options = options,
	        .root = VM_ROOT_INIT,
	};
	struct vm_err err = {0};
	int rc;

	fill_standard_fds();
	(void)snprintf(cli.program, sizeof(cli.program), "vmctl%s%s",
	               verb->name[0] != '\0' ? "-" : "", verb->name);
	rc = cli_parse(&cli, argc, argv, &err);
	cli_progress_init(&cli.progress, cli.program, cli.verbose);
	if (rc == 0)
		rc = vm_fault_check(&err);
	if (rc == 0)
		rc = verb->run(&cli, &err);
	if (cli.opened)
		vm_root_close(&cli.root);
	if (rc < 0)
		cli_fail(&cli, &err);
	cli_progress_end(&cli.progress);
	close_stdout(&cli);
	vm_interrupt_reraise();
	return (int)cli.status;
}
