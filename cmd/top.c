/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/top.h"
#include "interrupt.h"
#include "top/screen.h"
#include "util.h"

enum { KEY_SORT = CLI_KEY_VERB };

struct top_options {
	bool batch;
	struct top_view view;
};

static const struct cli_option top_options[] = {
        {"batch", 'b', NULL, "print each refresh to standard output, for scripts", 0, false},
        {"iterations", 'n', "N", "end after so many refreshes", 0, false},
        {"delay", 'd', "DURATION", "the time between two refreshes (default 2 s)", 0, false},
        {"sort", KEY_SORT, "KEY", "the order: cpu (default), pss, name or time", 0, false},
        {NULL, 0, NULL, NULL, 0, false},
};

static int take_delay(struct top_view *view, const char *value, struct vm_err *err)
{
	if (vm_duration_parse(value, "--delay", &view->delay_ms, err) < 0)
		return -1;
	if (view->delay_ms >= TOP_DELAY_MIN_MS && view->delay_ms <= TOP_DELAY_MAX_MS)
		return 0;
	return vm_err_set(err, VM_ERR_USAGE, "--delay: %s is not between 0.1 seconds and an hour",
	                  value);
}

static int take_sort(struct top_view *view, const char *value, struct vm_err *err)
{
	const char *meant = vm_suggest(value, cli_top_keys);

	for (int i = 0; cli_top_keys[i] != NULL; i++)
		if (strcmp(cli_top_keys[i], value) == 0) {
			view->key = (enum cli_top_key)i;
			return 0;
		}
	vm_err_set(err, VM_ERR_USAGE, "--sort is 'cpu', 'pss', 'name' or 'time', not '%.64s'",
	           value);
	return meant != NULL ? vm_err_hint(err, "did you mean '%s'?", meant) : -1;
}

static int option(void *ctx, int key, const char *value, struct vm_err *err)
{
	struct top_options *options = ctx;

	switch (key) {
	case 'b':
		options->batch = true;
		return 0;
	case 'n':
		return vm_int_parse(value, "--iterations", 1, INT32_MAX, &options->view.refreshes,
		                    err);
	case 'd':
		return take_delay(&options->view, value, err);
	default:
		return take_sort(&options->view, value, err);
	}
}

char *top_how(const struct top_view *view, char *buf, size_t size)
{
	(void)snprintf(buf, size, "every %g s, by %s%s%s", (double)view->delay_ms / 1000,
	               cli_top_keys[view->key], view->reverse ? " reversed" : "",
	               view->only_running ? ", running only" : "");
	return buf;
}

/* --- batch ---------------------------------------------------------------------------------------
 */

static void print_text(struct cli_top *top, const struct top_view *view, bool first)
{
	const struct cli_top_frame *frame = &top->frame;
	struct cli_top_layout layout = cli_top_layout(frame->rows, frame->count, 0);
	char lines[CLI_TOP_INFO][CLI_TOP_LINE], line[CLI_TOP_LINE], how[64];

	cli_top_info(frame, top->cli->root.path, top_how(view, how, sizeof(how)), lines);
	if (!first)
		(void)putchar('\n');
	for (int i = 0; i < CLI_TOP_INFO; i++)
		(void)puts(lines[i]);
	(void)printf("\n%s\n", cli_top_header(&layout, line));
	for (size_t i = 0; i < frame->count; i++)
		(void)puts(cli_top_line(&layout, &frame->rows[i], line));
}

/* 1 go on, 0 nobody reads any more, -1. */
static int refresh(struct cli_top *top, const struct top_view *view, bool first, struct vm_err *err)
{
	if (cli_top_look(top, err) < 0 ||
	    (cli_top_disk_due(top, vm_monotonic_us()) && cli_top_read_disk(top, err) < 0))
		return -1;
	cli_top_read_pss(&top->frame, 0, -1);
	cli_top_sort(top->frame.rows, top->frame.count, view->key, view->reverse);
	if (!top->frame.stats_known)
		cli_warn(top->cli, top->frame.trouble);
	if (top->cli->output == CLI_JSON) {
		if (cli_print_object(top->cli, cli_top_json(&top->frame), err) < 0)
			return -1;
	} else {
		print_text(top, view, first);
	}
	return cli_flush(top->cli);
}

/* 1 the time has passed, 0 the reader of a pipe has gone, -1 interrupted. */
static int pause_for(int64_t ms, struct vm_err *err)
{
	struct pollfd reader = {.fd = STDOUT_FILENO};
	int rc = vm_poll_until(&reader, 1, vm_monotonic_ms() + ms, err);

	return rc < 0 ? -1 : rc == 0;
}

static int batch(struct cli_top *top, const struct top_view *view, struct vm_err *err)
{
	int64_t wait_ms = view->delay_ms < TOP_FIRST_MS ? view->delay_ms : TOP_FIRST_MS;
	int rc = cli_top_look(top, err) < 0 ? -1 : 1;

	for (int64_t i = 0; rc > 0 && (view->refreshes == 0 || i < view->refreshes); i++) {
		rc = pause_for(wait_ms, err);
		if (rc > 0)
			rc = refresh(top, view, i == 0, err);
		wait_ms = view->delay_ms;
	}
	return rc < 0 ? -1 : 0;
}

/* --- the verb ------------------------------------------------------------------------------------
 */

static int check_terminal(const struct cli *cli, struct vm_err *err)
{
	if (cli->output != CLI_TABLE) {
		vm_err_set(err, VM_ERR_USAGE, "-o json and -o yaml need -b");
		return vm_err_hint(err, "with -b it prints one object a refresh");
	}
	if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO))
		return 0;
	vm_err_set(err, VM_ERR_USAGE, "standard input and output are not a terminal");
	return vm_err_hint(err, "-b prints to whatever standard output is, e.g. -b -n 1");
}

static int run(struct cli *cli, struct vm_err *err)
{
	struct top_options *options = cli->options;
	VM_AUTO(cli_top_close) struct cli_top top = {.cli = cli};
	int rc;

	if ((!options->batch && check_terminal(cli, err) < 0) ||
	    cli_open(cli, VM_ROOT_READ, err) < 0)
		return -1;
	if (!options->batch)
		cli->op.progress = NULL; /* the screen is taken */
	rc = options->batch ? batch(&top, &options->view, err)
	                    : top_screen(&top, &options->view, err);
	/* ^C is one way to end this. */
	if (rc < 0 && vm_interrupt_signal() != 0) {
		vm_err_clear(err);
		return 0;
	}
	return rc;
}

static const struct cli_verb verb = {
        .name = "top",
        .synopsis = "[-b] [-n N] [-d DURATION] [--sort KEY]",
        .operands = "",
        .options = top_options,
        .option = option,
        .run = run,
};

int main(int argc, char **argv)
{
	struct top_options options = {.view = {.delay_ms = 2000}};

	return cli_main(&verb, &options, argc, argv);
}
