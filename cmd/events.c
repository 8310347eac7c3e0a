/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/table.h"
#include "cli/verbs.h"
#include "events.h"
#include "hooks.h"
#include "interrupt.h"
#include "util.h"
#include "watch.h"
#include "when.h"

enum { KEY_SINCE = CLI_KEY_VERB, KEY_UNTIL, KEY_VERB, KEY_OUTCOME };

enum { COLUMNS = 8, VERBS_SIZE = 512 };
static const char *const header[COLUMNS] = {"TIME", "VERB",   "INSTANCE",   "OUTCOME",
                                            "TOOK", "WAITED", "RELOCATION", "MESSAGE"};

/* On a terminal that is too narrow. */
static const struct cli_column gives[COLUMNS] = {
        {.rank = 2},              /* TIME */
        {0},                      /* VERB */
        {.least = 12},            /* INSTANCE */
        {0},                      /* OUTCOME */
        {.rank = 3},              /* TOOK */
        {.rank = 4},              /* WAITED */
        {.rank = 5},              /* RELOCATION */
        {.least = 16, .rank = 1}, /* MESSAGE */
};

/* What event_json() makes, for --format; a test holds them against each other. */
#define EVENT_SHAPE                                                                                \
	"seq time verb instance_id name outcome duration_us lock_waited_us slot_waited_us"         \
	" relocation disks repaired message"

struct events_options {
	bool follow;
	int64_t since_us, until_us; /* 0: not given */
	char verbs[VERBS_SIZE];     /* with commas between them */
	const char *outcome;
	int64_t tail; /* -1: all */
};

static const struct cli_option events_options[] = {
        {"follow", 'f', NULL, "go on with what happens from now on", 0, false},
        {"since", KEY_SINCE, "WHEN", "only from then on: 10m ago, or 2026-11-23T10:00:00Z", 0,
         false},
        {"until", KEY_UNTIL, "WHEN", "only before then", 0, false},
        {"verb", KEY_VERB, "VERB[,VERB]",
         "only of these verbs; 'repair' is one, and so is the hook 'post-fork'", 0, false},
        {"outcome", KEY_OUTCOME, "CODE", "only with this outcome: ok, busy, ...", 0, false},
        {"tail", 'n', "LINES", "begin with the last so many events", 0, false},
        {NULL, 0, NULL, NULL, 0, false},
};

/* --- options -------------------------------------------------------------------------------------
 */

/* What events also have for a verb: those of commands of `snapshot`, and hooks. */
static bool is_other(const char *word)
{
	static const char *const others[] = {VM_VERB_REPAIR, "revert", "adopt",
	                                     "export",       "import", "compress"};

	for (size_t i = 0; i < VM_ARRAY_LEN(others); i++)
		if (strcmp(word, others[i]) == 0)
			return true;
	return vm_hook_is_name(word);
}

static int add_verb(struct events_options *options, const char *word, struct vm_err *err)
{
	const char *known = is_other(word) ? word : cli_verb_resolve(word);
	size_t used = strlen(options->verbs);

	if (known == NULL) {
		vm_err_set(err, VM_ERR_USAGE, "--verb: there is no verb '%.64s'", word);
		if (cli_verb_suggest(word) != NULL)
			vm_err_hint(err, "did you mean '%s'?", cli_verb_suggest(word));
		return -1;
	}
	if (used + strlen(known) + 2 > sizeof(options->verbs))
		return vm_err_set(err, VM_ERR_USAGE, "--verb: too many verbs");
	(void)snprintf(options->verbs + used, sizeof(options->verbs) - used, "%s%s",
	               used > 0 ? "," : "", known);
	return 0;
}

static int take_verbs(struct events_options *options, const char *value, struct vm_err *err)
{
	VM_AUTO_FREE char *words = vm_strdup(value, err);
	char *rest = words, *word;

	if (words == NULL)
		return -1;
	while ((word = strsep(&rest, ",")) != NULL)
		if (add_verb(options, word, err) < 0)
			return -1;
	return 0;
}

static int take_outcome(struct events_options *options, const char *value, struct vm_err *err)
{
	const char *names[VM_CODE_COUNT + 1] = {NULL};
	const char *meant;

	for (int code = 0; code < VM_CODE_COUNT; code++) {
		names[code] = vm_code_name((enum vm_code)code);
		if (strcmp(names[code], value) == 0) {
			options->outcome = value;
			return 0;
		}
	}
	vm_err_set(err, VM_ERR_USAGE, "--outcome: there is no outcome '%.64s'", value);
	meant = vm_suggest(value, names);
	return meant != NULL ? vm_err_hint(err, "did you mean '%s'?", meant) : -1;
}

static int option(void *ctx, int key, const char *value, struct vm_err *err)
{
	struct events_options *options = ctx;

	switch (key) {
	case 'f':
		options->follow = true;
		return 0;
	case KEY_SINCE:
		return vm_when_parse(value, "--since", &options->since_us, err);
	case KEY_UNTIL:
		return vm_when_parse(value, "--until", &options->until_us, err);
	case KEY_VERB:
		return take_verbs(options, value, err);
	case KEY_OUTCOME:
		return take_outcome(options, value, err);
	default:
		return vm_int_parse(value, "--tail", 0, INT64_MAX, &options->tail, err);
	}
}

/* --- output --------------------------------------------------------------------------------------
 */

static json_t *event_json(const struct vm_past_event *event)
{
	char time[VM_WHEN_SIZE];

	return json_pack(
	        "{s:I, s:s, s:s, s:o, s:o, s:s, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "seq",
	        (json_int_t)event->seq, "time", vm_when_format(event->time_us, time), "verb",
	        event->verb, "instance_id", cli_json_text(event->instance_id), "name",
	        cli_json_text(event->name), "outcome", event->outcome, "duration_us",
	        (json_int_t)event->duration_us, "lock_waited_us", (json_int_t)event->lock_waited_us,
	        "slot_waited_us", (json_int_t)event->slot_waited_us, "relocation",
	        cli_json_text(event->relocation), "disks", cli_json_text(event->disks), "repaired",
	        cli_json_text(event->repaired), "message", cli_json_text(event->message));
}

static int print_lines(struct cli *cli, const struct vm_past_event *events, size_t count,
                       struct vm_err *err)
{
	json_t *list = cli->format_text != NULL ? json_array() : NULL;

	/* A table by --format is to be seen as a whole, all else comes one by one. */
	for (size_t i = 0; i < count; i++) {
		json_t *json = event_json(&events[i]);

		if (list != NULL)
			(void)json_array_append_new(list, json);
		else if (cli_print_object(cli, json, err) < 0)
			return -1;
	}
	return list != NULL ? cli_print_json(cli, list, err) : 0;
}

static char *duration(int64_t us, struct vm_err *err)
{
	if (us < 1000000)
		return vm_strf(err, "%.1fms", (double)us / 1000);
	return vm_strf(err, "%.1fs", (double)us / 1000000);
}

static void put_event(struct cli_grid *grid, size_t row, const struct vm_past_event *event)
{
	int64_t waited_us = event->lock_waited_us + event->slot_waited_us;
	struct vm_err err = {0};
	char time[VM_WHEN_SIZE];

	cli_grid_put(grid, row, 0, vm_strdup(vm_when_format(event->time_us, time), &err));
	cli_grid_put(grid, row, 1, vm_strdup(event->verb, &err));
	cli_grid_put(grid, row, 2, vm_strdup(event->name, &err));
	cli_grid_put(grid, row, 3, vm_strdup(event->outcome, &err));
	cli_grid_colour(grid, row, 3, cli_outcome_colour(event->outcome));
	cli_grid_put(grid, row, 4, duration(event->duration_us, &err));
	if (waited_us > 0)
		cli_grid_put(grid, row, 5, duration(waited_us, &err));
	cli_grid_put(grid, row, 6, vm_strdup(event->relocation, &err));
	if (event->message != NULL)
		cli_grid_put(grid, row, 7, vm_strdup(event->message, &err));
}

static int print_table(const struct vm_past_event *events, size_t count, bool first, size_t *widths,
                       struct vm_err *err)
{
	VM_AUTO(cli_grid_free) struct cli_grid grid = {0};

	if (cli_grid_init(&grid, header, COLUMNS, count, err) < 0)
		return -1;
	grid.gives = gives;
	for (size_t i = 0; i < count; i++)
		put_event(&grid, i, &events[i]);
	cli_grid_print_piece(&grid, first, widths);
	return 0;
}

/* --- the verb ------------------------------------------------------------------------------------
 */

/* Prints what there is after filter->after, and moves that on: 1, 0 when nobody can read it, -1. */
static int print_new(struct cli *cli, struct vm_event_filter *filter, bool first, size_t *widths,
                     struct vm_err *err)
{
	struct vm_past_event *events = NULL;
	size_t count = 0;
	int rc;

	if (vm_events_list(cli->root.store, filter, &events, &count, &filter->after, err) < 0)
		return -1;
	cli_progress_hide(&cli->progress);
	rc = cli->output == CLI_JSON ? print_lines(cli, events, count, err)
	                             : print_table(events, count, first, widths, err);
	vm_past_events_free(events, count);
	return rc < 0 ? -1 : cli_flush(cli);
}

static int follow(struct cli *cli, struct vm_event_filter *filter, struct vm_err *err)
{
	VM_AUTO(vm_watch_close) struct vm_watch watch = VM_WATCH_INIT;
	size_t widths[COLUMNS] = {0};

	if (vm_watch_open(&cli->root, &watch, err) < 0)
		return -1;
	for (bool first = true;; first = false) {
		/* A pipe whose reader has gone: worth to know before the next event comes. */
		struct pollfd reader = {.fd = STDOUT_FILENO};
		int rc = print_new(cli, filter, first, widths, err);

		if (rc <= 0)
			return rc;
		filter->last = -1;
		rc = vm_watch_sleep(&watch, &reader, 1, -1, err);
		if (rc < 0 && vm_interrupt_signal() == 0)
			return -1;
		if (rc < 0)
			vm_err_clear(err); /* ^C is how one ends this */
		if (rc < 0 || reader.revents != 0)
			return 0;
	}
}

static int run(struct cli *cli, struct vm_err *err)
{
	const struct events_options *options = cli->options;
	size_t widths[COLUMNS] = {0};
	struct vm_event_filter filter = {
	        .since_us = options->since_us,
	        .until_us = options->until_us,
	        .verbs = options->verbs,
	        .outcome = options->outcome,
	        .last = options->tail,
	};

	if (options->follow && options->until_us != 0)
		return cli_usage(cli, err, "--follow does not go with --until");
	if (cli_open(cli, VM_ROOT_READ, err) < 0 ||
	    (cli->operand_count > 0 &&
	     vm_events_of(cli->root.store, cli->operands[0], &filter, err) < 0))
		return -1;
	if (options->follow)
		return follow(cli, &filter, err);
	return print_new(cli, &filter, true, widths, err) < 0 ? -1 : 0;
}

static const struct cli_verb verb = {
        .name = "events",
        .synopsis = "[-f] [--since WHEN] [--until WHEN] [--verb VERB[,VERB]] [--outcome CODE]"
                    " [-n LINES]",
        .operands = "[INSTANCE]",
        .max_operands = 1,
        .flags = CLI_SHOWS,
        .shape = EVENT_SHAPE,
        .options = events_options,
        .option = option,
        .run = run,
};

int main(int argc, char **argv)
{
	struct events_options options = {.tail = -1};

	return cli_main(&verb, &options, argc, argv);
}
