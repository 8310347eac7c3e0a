/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "snapshot.h"
#include "util.h"

enum { KEY_KEEP_LAST = CLI_KEY_VERB, KEY_KEEP_WITHIN, KEY_MAX_SIZE, KEY_DRY_RUN };

enum { KEEP_MAX = 1000000 };

static const struct cli_option gc_options[] = {
        {"keep-last", KEY_KEEP_LAST, "N", "of each instance the newest N stay, others go", 0,
         false},
        {"keep-within", KEY_KEEP_WITHIN, "DURATION", "those that are younger stay, others go", 0,
         false},
        {"max-size", KEY_MAX_SIZE, "SIZE", "the oldest go until the others take no more disk", 0,
         false},
        {"dry-run", KEY_DRY_RUN, NULL, "say what would go and what that would free, and stop", 0,
         false},
        {NULL, 0, NULL, NULL, 0, false},
};

static int take_within(struct vm_gc_policy *policy, const char *value, struct vm_err *err)
{
	int64_t ms;

	if (vm_duration_parse(value, "--keep-within", &ms, err) < 0)
		return -1;
	policy->keep_within_us = ms < 0 ? INT64_MAX : ms * 1000;
	return 0;
}

static int take_size(struct vm_gc_policy *policy, const char *value, struct vm_err *err)
{
	uint64_t bytes;

	if (vm_size_parse(value, "--max-size", &bytes, err) < 0)
		return -1;
	policy->max_bytes = bytes > INT64_MAX ? INT64_MAX : (int64_t)bytes;
	return 0;
}

static int option(void *ctx, int key, const char *value, struct vm_err *err)
{
	struct snapshot_options *options = ctx;

	switch (key) {
	case KEY_KEEP_LAST:
		return vm_int_parse(value, "--keep-last", 0, KEEP_MAX, &options->gc.keep_last, err);
	case KEY_KEEP_WITHIN:
		return take_within(&options->gc, value, err);
	case KEY_MAX_SIZE:
		return take_size(&options->gc, value, err);
	default:
		options->dry_run = true;
		return 0;
	}
}

static int print_json(struct cli *cli, const struct vm_gc *gc, bool dry_run, struct vm_err *err)
{
	json_t *list = json_array();

	for (size_t i = 0; i < gc->count; i++) {
		const struct vm_gc_item *item = &gc->items[i];

		(void)json_array_append_new(
		        list, json_pack("{s:s, s:s, s:s, s:b}", "id", item->image.id, "name",
		                        item->image.name, "why", item->why, "removed",
		                        (int)(!dry_run && item->err.code == VM_OK)));
	}
	if (cli->format_text != NULL) /* a line for each of them */
		return cli_print_json(cli, list, err);
	return cli_print_json(cli,
	                      json_pack("{s:b, s:o, s:I}", "dry_run", (int)dry_run, "snapshots",
	                                list, "freed_bytes", (json_int_t)gc->freed_bytes),
	                      err);
}

static void print_text(const struct cli *cli, const struct vm_gc *gc, bool dry_run)
{
	char size[32];

	for (size_t i = 0; i < gc->count; i++) {
		if (gc->items[i].err.code != VM_OK)
			continue;
		if (cli->quiet)
			cli_print_word(cli, gc->items[i].image.id);
		else
			(void)printf("%s\t%s\n", gc->items[i].image.name, gc->items[i].why);
	}
	if (!cli->quiet)
		(void)printf("%s %s\n", dry_run ? "would free" : "freed",
		             vm_size_format(gc->freed_bytes, size, sizeof(size)));
}

static int run(struct cli *cli, struct vm_err *err)
{
	struct snapshot_options *options = cli->options;
	struct vm_gc gc = {0};
	int rc = 0;

	options->gc.instance = cli->operand_count > 0 ? cli->operands[0] : NULL;
	if (cli_open(cli, options->dry_run ? VM_ROOT_READ : VM_ROOT_CHANGE, err) < 0 ||
	    vm_gc(&cli->op, &options->gc, options->dry_run, &gc, err) < 0)
		return -1;
	for (size_t i = 0; i < gc.count; i++) {
		if (gc.items[i].err.code != VM_OK)
			cli_fail(cli, &gc.items[i].err);
	}
	if (cli->output == CLI_JSON && !cli->quiet)
		rc = print_json(cli, &gc, options->dry_run, err);
	else
		print_text(cli, &gc, options->dry_run);
	vm_gc_free(&gc);
	return rc;
}

const struct cli_verb snapshot_gc = {
        .name = "gc",
        .summary = "Remove snapshots that have expired, or that no rule keeps",
        .synopsis = "[--keep-last N] [--keep-within DURATION] [--max-size SIZE] [--dry-run]",
        .operands = "[INSTANCE]",
        .max_operands = 1,
        .flags = CLI_WAITS | CLI_PRINTS | CLI_LISTS,
        .shape = "id name why removed",
        .options = gc_options,
        .option = option,
        .run = run,
};
