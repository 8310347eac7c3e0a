/* SPDX-License-Identifier: Apache-2.0 */
/* What is offered for a value, where one has to look: into the program, the store, the settings. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "complete.h"
#include "driver/driver.h"
#include "hooks.h"
#include "util.h"
#include "verbs.h"

/* --- what the program knows ----------------------------------------------------------------------
 */

/* In a list with commas: goes to its last item. Returns where the list begins. */
static const char *to_last_item(struct cli_line *line, const char *argument)
{
	const char *list = line->word + line->kept, *comma = strrchr(list, ',');

	if (strstr(argument, "[,") != NULL && comma != NULL)
		line->kept = (size_t)(comma + 1 - line->word);
	return list;
}

/* Whether an item stands in the list in front of the last one. */
static bool is_listed(const struct cli_line *line, const char *list, const char *item)
{
	const char *end = line->word + line->kept;
	size_t len = strlen(item);

	for (; list < end; list += strcspn(list, ",") + 1)
		if (strncmp(list, item, len) == 0 && list[len] == ',')
			return true;
	return false;
}

static void offer_states(struct cli_line *line, const char *argument)
{
	const char *list = to_last_item(line, argument);

	cli_answer("words", line);
	for (int state = VM_STATE_CREATING + 1; state < VM_STATE_COUNT; state++)
		if (!is_listed(line, list, vm_state_name((enum vm_state)state)))
			(void)puts(vm_state_name((enum vm_state)state));
}

/* Of events: what did something is a verb, repair, or a hook that failed behind a verb. */
static void offer_verb_names(struct cli_line *line, const char *argument)
{
	char name[VM_HOOK_NAME_SIZE];
	const char *list = to_last_item(line, argument);

	cli_answer("words", line);
	for (const struct cli_verb_entry *verb = cli_verbs; verb->name != NULL; verb++)
		if (!is_listed(line, list, verb->name))
			cli_candidate(verb->name, verb->summary);
	if (!is_listed(line, list, "repair"))
		cli_candidate("repair", "What killed commands had left was put right");
	for (int event = 0; event < VM_HOOK_EVENTS; event++) {
		vm_hook_name(VM_HOOK_POST, (enum vm_hook_event)event, name);
		if (!is_listed(line, list, name))
			cli_candidate(name, "A hook has failed");
	}
}

static void offer_codes(struct cli_line *line, const char *argument)
{
	(void)argument;
	cli_answer("words", line);
	for (int code = VM_OK; code < VM_CODE_COUNT; code++)
		(void)puts(vm_code_name((enum vm_code)code));
}

static void offer_hypervisors(struct cli_line *line, const char *argument)
{
	(void)argument;
	cli_answer("words", line);
	cli_candidate("auto", "one that can run it and suits this host");
	for (size_t i = 0; vm_drivers[i] != NULL; i++)
		(void)puts(vm_drivers[i]->name);
}

/* --- what the store knows ------------------------------------------------------------------------
 */

struct choice {
	const struct cli_line *line;
	bool instances, images;
	unsigned states; /* of instances; 0: any */
};

/* NULL when there is nothing to be had; close it. */
static struct vm_store *peek(const struct cli_line *line)
{
	struct vm_err err = {0};
	VM_AUTO_FREE char *root = vm_root_path(line->root, &err);
	VM_AUTO_FREE char *path = root != NULL ? vm_strf(&err, "%s/vmctl.db", root) : NULL;
	struct vm_store *store = NULL;

	if (path == NULL || vm_store_peek(path, &store, &err) < 0)
		return NULL;
	return store;
}

static void see_name(void *ctx, const struct vm_name *name)
{
	const struct choice *choice = ctx;
	const struct cli_line *line = choice->line;

	if (name->kind == VM_KIND_IMAGE ? !choice->images : !choice->instances)
		return;
	if (name->kind == VM_KIND_INSTANCE && choice->states != 0 &&
	    (choice->states & 1U << name->state) == 0)
		return;
	for (int i = 0; i < line->operand_count; i++)
		if (strcmp(line->operands[i], name->name) == 0)
			return;
	cli_candidate(name->name,
	              name->kind == VM_KIND_IMAGE ? "snapshot" : vm_state_name(name->state));
}

static void offer_names(struct cli_line *line, struct choice choice, const char *parent)
{
	struct vm_err err = {0};
	struct vm_store *store;

	cli_answer("words", line);
	store = peek(line);
	if (store == NULL)
		return;
	choice.line = line;
	(void)vm_store_names(store, parent, see_name, &choice, &err);
	vm_store_close(store);
}

static unsigned states_of(const struct cli_line *line)
{
	const struct cli_verb *verb = line->verb;

	if (verb->states == 0 || !line->wider)
		return verb->states;
	return verb->states | verb->wider_states;
}

static void offer_instances(struct cli_line *line, const char *argument)
{
	struct choice choice = {.instances = true, .states = states_of(line)};

	(void)argument;
	offer_names(line, choice, NULL);
}

/* Of an instance that was named before: those that were made of it. */
static void offer_snapshots(struct cli_line *line, const char *argument)
{
	bool of_instance = strncmp(line->verb->operands, "INSTANCE ", 9) == 0;

	(void)argument;
	offer_names(line, (struct choice){.images = true},
	            of_instance && line->operand_count > 0 ? line->operands[0] : NULL);
}

static void offer_sources(struct cli_line *line, const char *argument)
{
	struct choice choice = {.instances = true, .images = true, .states = states_of(line)};

	(void)argument;
	offer_names(line, choice, NULL);
}

static void see_label(void *ctx, const char *text)
{
	const char *const *end = ctx;

	if (strpbrk(text, "\t\n") == NULL)
		(void)printf("%s%s\n", text, *end);
}

/* KEY=VALUE: keys, and behind '=' the values that the key has. */
static void offer_labels(struct cli_line *line, const char *argument)
{
	const char *typed, *end;
	struct vm_err err = {0};
	VM_AUTO_FREE char *key = NULL;
	struct vm_store *store;
	size_t len;

	(void)to_last_item(line, argument);
	typed = line->word + line->kept;
	len = strcspn(typed, "=");
	end = typed[len] == '=' ? "" : "=";
	if (typed[len] == '=') {
		key = vm_strf(&err, "%.*s", (int)len, typed);
		line->kept += len + 1;
	}
	cli_answer("words", line);
	store = peek(line);
	if (store == NULL)
		return;
	(void)vm_store_labels(store, key, see_label, &end, &err);
	vm_store_close(store);
}

/* --- what another verb lists ---------------------------------------------------------------------
 */

/* `vmctl config COMMAND --names` goes on with the answer. */
static void offer_of_config(struct cli_line *line, const char *command)
{
	char *root = (char *)line->root;
	char *argv[] = {"vmctl-config", (char *)command,
	                "--names",      root != NULL ? "--root" : NULL,
	                root,           NULL};

	cli_answer("words", line);
	(void)fflush(stdout);
	cli_become(argv[0], argv);
}

static void offer_templates(struct cli_line *line, const char *argument)
{
	(void)argument;
	offer_of_config(line, "templates");
}

static void offer_settings(struct cli_line *line, const char *argument)
{
	if (strchr(argument, '=') != NULL)
		offer_labels(line, argument);
	else
		offer_of_config(line, "show");
}

/* --- which it is ---------------------------------------------------------------------------------
 */

static const struct cli_rule known[] = {
        {"hypervisor", NULL, offer_hypervisors, NULL},
        {"template", NULL, offer_templates, NULL},
        {"label", NULL, offer_labels, NULL},
        {NULL, "STATE", offer_states, NULL},
        {NULL, "VERB", offer_verb_names, NULL},
        {NULL, "CODE", offer_codes, NULL},
        {NULL, "INSTANCE", offer_instances, NULL},
        {NULL, "INSTANCE|SNAPSHOT", offer_sources, NULL},
        {NULL, "SNAPSHOT", offer_snapshots, NULL},
        {NULL, "SOURCE", offer_sources, NULL},
        {NULL, "KEY", offer_settings, NULL},
        {NULL, "LABEL", offer_labels, NULL},
};

bool cli_offer_known(struct cli_line *line, const char *option, const char *argument)
{
	return cli_complete_by(known, VM_ARRAY_LEN(known), line, option, argument);
}
