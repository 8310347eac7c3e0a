/* SPDX-License-Identifier: Apache-2.0 */
#include "dry.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "interrupt.h"
#include "util.h"

struct found {
	struct vm_dry_run *list;
	size_t count;
	uint64_t freed_bytes; /* by all together */
};

static void free_found(struct found *found)
{
	for (size_t i = 0; i < found->count; i++)
		vm_dry_run_free(&found->list[i]);
	free(found->list);
}

/* --- JSON ---------------------------------------------------------------------------------------
 */

static json_t *lost_json(const struct vm_dry_run *dry)
{
	json_t *list = json_array();

	for (size_t i = 0; i < dry->lost_count; i++)
		(void)json_array_append_new(list, json_string(dry->lost[i]));
	return list;
}

static json_t *one_json(const struct vm_dry_run *dry, bool weighs)
{
	json_t *json = json_pack("{s:s, s:s, s:s, s:s, s:o, s:o}", "id", dry->instance.id, "name",
	                         dry->instance.name, "state", vm_state_name(dry->instance.state),
	                         "action", vm_dry_action_name(dry->action), "lost", lost_json(dry),
	                         "locked_by", cli_json_text(dry->locked_by));

	if (dry->action == VM_DRY_REVERT)
		(void)json_object_set_new(
		        json, "snapshot",
		        json_pack("{s:s, s:s}", "id", dry->image.id, "name", dry->image.name));
	if (weighs)
		(void)json_object_set_new(json, "freed_bytes",
		                          json_integer((json_int_t)dry->freed_bytes));
	return json;
}

static int print_json(struct cli *cli, const struct cli_dry_run *how, const struct found *found,
                      struct vm_err *err)
{
	json_t *list = json_array(), *json;

	for (size_t i = 0; i < found->count; i++)
		(void)json_array_append_new(list, one_json(&found->list[i], how->weighs));
	json = json_pack("{s:b, s:o}", "dry_run", 1, how->things, list);
	if (how->weighs)
		(void)json_object_set_new(json, "freed_bytes",
		                          json_integer((json_int_t)found->freed_bytes));
	return cli_print_json(cli, json, err);
}

/* --- text ---------------------------------------------------------------------------------------
 */

/* "disk root, memory" */
static char *lost_text(const struct vm_dry_run *dry, struct vm_err *err)
{
	char *text = vm_strdup("", err);

	for (size_t i = 0; text != NULL && i < dry->lost_count; i++) {
		char *longer = vm_strf(err, "%s%s%s", text, i > 0 ? ", " : "", dry->lost[i]);

		free(text);
		text = longer;
	}
	return text;
}

static char *revert_text(const struct vm_dry_run *dry, struct vm_err *err)
{
	VM_AUTO_FREE char *when = cli_when(dry->image.created_us, err);
	VM_AUTO_FREE char *lost = when != NULL ? lost_text(dry, err) : NULL;

	if (lost == NULL)
		return NULL;
	return vm_strf(err, "would be taken back to %s, made %s%s%s", dry->image.name, when,
	               lost[0] != '\0' ? ", and lose: " : "", lost);
}

static char *remove_text(const struct vm_dry_run *dry, struct vm_err *err)
{
	switch (dry->instance.state) {
	case VM_STATE_RUNNING:
	case VM_STATE_PAUSED:
		return vm_strdup("would be killed and removed", err);
	case VM_STATE_STANDBY:
		return vm_strdup("would be removed, with its saved memory", err);
	default:
		return vm_strdup("would be removed", err);
	}
}

static char *shutdown_text(const struct vm_dry_run *dry, struct vm_err *err)
{
	if (dry->grace_ms < 0)
		return vm_strdup("would be asked to shut down, and waited for", err);
	return vm_strf(err, "would be asked to shut down, and killed after %.1f s",
	               (double)dry->grace_ms / 1000);
}

static char *would_text(const struct vm_dry_run *dry, struct vm_err *err)
{
	switch (dry->action) {
	case VM_DRY_REMOVE:
		return remove_text(dry, err);
	case VM_DRY_SHUTDOWN:
		return shutdown_text(dry, err);
	case VM_DRY_KILL:
		return vm_strdup("would be killed", err);
	case VM_DRY_DISCARD:
		return vm_strdup("would lose its saved memory", err);
	case VM_DRY_REVERT:
		return revert_text(dry, err);
	default:
		return vm_strdup("is stopped already", err);
	}
}

static int print_one(const struct vm_dry_run *dry, bool weighs, struct vm_err *err)
{
	VM_AUTO_FREE char *would = would_text(dry, err);
	char size[32];

	if (would == NULL)
		return -1;
	(void)printf("%s\t%s", dry->instance.name, would);
	if (weighs)
		(void)printf("\t%s", vm_size_format(dry->freed_bytes, size, sizeof(size)));
	(void)putchar('\n');
	return 0;
}

static int print_text(const struct cli *cli, const struct cli_dry_run *how,
                      const struct found *found, struct vm_err *err)
{
	char size[32];

	for (size_t i = 0; i < found->count; i++) {
		if (cli->quiet)
			cli_print_word(cli, found->list[i].instance.id);
		else if (print_one(&found->list[i], how->weighs, err) < 0)
			return -1;
	}
	if (how->weighs && !cli->quiet)
		(void)printf("would free %s\n",
		             vm_size_format(found->freed_bytes, size, sizeof(size)));
	return 0;
}

/* ------------------------------------------------------------------------------------------------
 */

/* What is removed is gone when it is asked for again. */
static int check_again(const struct found *found, const struct vm_dry_run *dry, struct vm_err *err)
{
	for (size_t i = 0; dry->action == VM_DRY_REMOVE && i < found->count; i++) {
		if (strcmp(found->list[i].instance.id, dry->instance.id) == 0)
			return vm_err_set(err, VM_ERR_NOT_FOUND,
			                  "%s is given twice, and would be gone by then",
			                  dry->instance.name);
	}
	return 0;
}

static void look_at(struct cli *cli, const struct cli_dry_run *how, const char *selector,
                    struct found *found)
{
	struct vm_dry_run *dry = &found->list[found->count];
	struct vm_err err = {0};

	(void)cli_begin(cli);
	if (how->look(cli, selector, dry, &err) < 0) {
		cli_fail(cli, &err);
	} else if (check_again(found, dry, &err) < 0) {
		vm_dry_run_free(dry);
		cli_fail(cli, &err);
	} else {
		found->count++;
	}
}

int cli_dry_run(struct cli *cli, const struct cli_dry_run *how, int count, struct vm_err *err)
{
	VM_AUTO(free_found) struct found found = {0};

	if (cli->format_text != NULL || (cli->null && !cli->quiet))
		return cli_usage(cli, err,
		                 "--dry-run goes neither with --format nor with -0 alone");
	if (cli_open(cli, VM_ROOT_READ, err) < 0)
		return -1;
	found.list = vm_calloc((size_t)count, sizeof(*found.list), err);
	if (found.list == NULL)
		return -1;
	for (int i = 0; i < count && vm_interrupt_signal() == 0; i++)
		look_at(cli, how, cli->operands[i], &found);
	if (how->weighs && found.count > 0 &&
	    vm_dry_run_weigh(&cli->op, found.list, found.count, &found.freed_bytes, err) < 0)
		return -1;
	cli_progress_hide(&cli->progress);
	return cli->output == CLI_JSON && !cli->quiet ? print_json(cli, how, &found, err)
	                                              : print_text(cli, how, &found, err);
}
