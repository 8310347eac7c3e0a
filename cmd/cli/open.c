/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>

#include "cli.h"
#include "interrupt.h"
#include "util.h"

static void progress(void *ctx, const char *text)
{
	struct cli *cli = ctx;

	cli_progress_say(&cli->progress, text);
}

static void tell_amount(void *ctx, const struct vm_amount *amount)
{
	struct cli *cli = ctx;

	cli_progress_amount(&cli->progress, amount);
}

static void tell_waiting(void *ctx, const struct vm_waiting *waiting)
{
	struct cli *cli = ctx;

	cli_progress_waiting(&cli->progress, waiting);
}

int cli_open(struct cli *cli, enum vm_root_mode mode, struct vm_err *err)
{
	/*
	 * From here on there may be something to undo, so a signal must not simply end the process;
	 * and a reader of our output that goes away is a failed write, not a death in mid-flight.
	 */
	vm_interrupt_install();
	(void)signal(SIGPIPE, SIG_IGN);
	umask(0077); /* guest memory, disks and the store are nobody else's business */
	if (vm_root_open(cli->root_option, mode, cli->wait_given ? &cli->wait_ms : NULL, &cli->root,
	                 &cli->op.wait_ms, err) < 0)
		return -1;
	cli->close_root = vm_root_close;
	cli->op.root = &cli->root;
	cli->op.verb = cli->verb->name;
	cli->op.progress = progress;
	cli->tell = (struct vm_tell){.amount = tell_amount, .waiting = tell_waiting, .ctx = cli};
	/* Where nobody would see it nothing is looked for. */
	cli->op.tell = cli->progress.terminal || cli->progress.verbose ? &cli->tell : NULL;
	cli->op.warn = cli_warn;
	cli->op.ctx = cli;
	cli_begin(cli);
	return 0;
}

struct vm_op *cli_begin(struct cli *cli)
{
	vm_op_begin(&cli->op);
	return &cli->op;
}

void cli_say_took(struct cli *cli, const char *what)
{
	char text[256];

	if (!cli->verbose)
		return;
	(void)snprintf(text, sizeof(text), "%s took %.1f ms, %.1f ms of it waiting", what,
	               (double)(vm_monotonic_us() - cli->op.began_us) / 1000.0,
	               (double)(cli->op.lock_waited_us + cli->op.slot_waited_us) / 1000.0);
	cli_progress_say(&cli->progress, text);
}

int cli_each(struct cli *cli,
             int (*act)(struct cli *cli, const char *selector, struct vm_instance *ret,
                        struct vm_err *err),
             struct vm_err *err)
{
	int rc = 0;

	if (cli_open(cli, VM_ROOT_CHANGE, err) < 0)
		return -1;
	for (int i = 0; i < cli->operand_count && rc == 0 && vm_interrupt_signal() == 0; i++) {
		struct vm_instance instance = {0};
		struct vm_err one = {0};

		cli_begin(cli);
		if (act(cli, cli->operands[i], &instance, &one) < 0) {
			cli_fail(cli, &one);
			continue;
		}
		cli_say_took(cli, instance.name);
		rc = cli_print_instance(cli, &instance, err);
		vm_instance_free(&instance);
	}
	return rc;
}
