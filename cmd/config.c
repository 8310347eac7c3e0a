/* SPDX-License-Identifier: Apache-2.0 */
/* The group `config`: show and templates. They open no data root and take no lock. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/table.h"
#include "config.h"
#include "template.h"
#include "util.h"

enum { KEY_VALUE = CLI_KEY_VERB, KEY_NAMES };

struct config_options {
	bool value, names;
};

static int option(void *ctx, int key, const char *value, struct vm_err *err)
{
	struct config_options *options = ctx;

	(void)value, (void)err;
	if (key == KEY_VALUE)
		options->value = true;
	else
		options->names = true;
	return 0;
}

/* --- show ---------------------------------------------------------------------------------------
 */

/* All that is shown: the data root itself, then the settings. */
struct shown {
	char *root_path;
	struct vm_config config;
	struct vm_places places;
};

#define ROOT_KEY "root"

static void free_shown(struct shown *shown)
{
	free(shown->root_path);
	vm_places_free(&shown->places);
}

static size_t row_count(void)
{
	return vm_settings_count() + 1;
}

static const char *row_key(size_t row, char buf[VM_SETTING_KEY_SIZE])
{
	return row == 0 ? ROOT_KEY : vm_setting_key(row - 1, buf);
}

static const char *row_text(const struct cli *cli, const struct shown *shown, size_t row,
                            char buf[VM_SETTING_VALUE_SIZE])
{
	char key[VM_SETTING_KEY_SIZE];

	if (row == 0)
		return shown->root_path;
	if (cli->wait_given && strcmp(vm_setting_key(row - 1, key), "wait") == 0)
		return vm_duration_text(cli->wait_ms, buf, VM_SETTING_VALUE_SIZE);
	return vm_setting_text(&shown->config, row - 1, buf);
}

static json_t *row_json(const struct cli *cli, const struct shown *shown, size_t row)
{
	char text[VM_SETTING_VALUE_SIZE], key[VM_SETTING_KEY_SIZE];

	if (row == 0 || strcmp(row_key(row, key), "wait") == 0)
		return cli_json_text(row_text(cli, shown, row, text));
	return vm_setting_json(&shown->config, row - 1);
}

/* What a flag or a variable of the environment has said; else NULL, for a file or a default. */
static const char *row_flag(const struct cli *cli, size_t row)
{
	char key[VM_SETTING_KEY_SIZE];

	if (row == 0)
		return cli->root_option != NULL ? "--root" : NULL;
	if (cli->wait_given && strcmp(row_key(row, key), "wait") == 0)
		return cli->wait_ms == 0 ? "--no-wait" : "--wait";
	return NULL;
}

static struct vm_origin row_origin(const struct shown *shown, size_t row)
{
	const char *env = getenv("VMCTL_ROOT");

	if (row > 0)
		return shown->config.origins[row - 1];
	if (env != NULL && env[0] != '\0')
		return (struct vm_origin){.kind = VM_ORIGIN_ENVIRONMENT, .variable = "VMCTL_ROOT"};
	return (struct vm_origin){.kind = VM_ORIGIN_DEFAULT};
}

static const char *origin_file(const struct shown *shown, enum vm_place place)
{
	for (size_t i = 0; i < shown->places.count; i++)
		if (shown->places.list[i].place == place)
			return shown->places.list[i].file;
	return "";
}

static char *origin_text(const struct cli *cli, const struct shown *shown, size_t row,
                         struct vm_err *err)
{
	struct vm_origin origin = row_origin(shown, row);
	const char *flag = row_flag(cli, row);

	if (flag != NULL)
		return vm_strdup(flag, err);
	switch (origin.kind) {
	case VM_ORIGIN_FILE:
		return vm_strf(err, "%s:%zu", origin_file(shown, origin.place), origin.line);
	case VM_ORIGIN_ENVIRONMENT:
		return vm_strf(err, "$%s", origin.variable);
	default:
		return vm_strdup("default", err);
	}
}

static json_t *origin_json(const struct cli *cli, const struct shown *shown, size_t row)
{
	struct vm_origin origin = row_origin(shown, row);
	const char *flag = row_flag(cli, row);

	if (flag != NULL)
		return json_pack("{s:s, s:s}", "kind", "flag", "flag", flag);
	switch (origin.kind) {
	case VM_ORIGIN_FILE:
		return json_pack("{s:s, s:o, s:I}", "kind", "file", "file",
		                 cli_json_text(origin_file(shown, origin.place)), "line",
		                 (json_int_t)origin.line);
	case VM_ORIGIN_ENVIRONMENT:
		return json_pack("{s:s, s:s}", "kind", "environment", "variable", origin.variable);
	default:
		return json_pack("{s:s}", "kind", "default");
	}
}

/* Whether a row is the one of that key, or in that section. */
static bool is_wanted(size_t row, const char *wanted)
{
	char buf[VM_SETTING_KEY_SIZE];
	const char *key = row_key(row, buf);
	size_t len = strlen(wanted);

	return strncmp(key, wanted, len) == 0 && (key[len] == '\0' || key[len] == '.');
}

static int no_setting(const struct cli *cli, const char *key, struct vm_err *err)
{
	char keys[VM_SETTINGS_MAX + 1][VM_SETTING_KEY_SIZE];
	const char *words[VM_SETTINGS_MAX + 2] = {NULL};
	const char *meant;

	for (size_t row = 0; row < row_count(); row++)
		words[row] = row_key(row, keys[row]);
	meant = vm_suggest(key, words);
	if (meant == NULL)
		return cli_usage(cli, err, "there is no setting '%s'", key);
	return cli_usage(cli, err, "there is no setting '%s'; did you mean '%s'?", key, meant);
}

/* Which rows are shown, in their order: all, or those that the operands name; adds their number. */
static int choose_rows(const struct cli *cli, bool *wanted, size_t *ret_count, struct vm_err *err)
{
	for (int i = 0; i < cli->operand_count; i++) {
		bool found = false;

		for (size_t row = 0; row < row_count(); row++) {
			bool named = is_wanted(row, cli->operands[i]);

			wanted[row] |= named;
			found |= named;
		}
		if (!found)
			return no_setting(cli, cli->operands[i], err);
	}
	for (size_t row = 0; row < row_count(); row++) {
		wanted[row] |= cli->operand_count == 0;
		*ret_count += wanted[row];
	}
	return 0;
}

static int print_rows_json(struct cli *cli, const struct shown *shown, const bool *wanted,
                           struct vm_err *err)
{
	json_t *list = json_array();
	char key[VM_SETTING_KEY_SIZE];

	for (size_t row = 0; row < row_count(); row++)
		if (wanted[row])
			(void)json_array_append_new(
			        list, json_pack("{s:s, s:o, s:o}", "key", row_key(row, key),
			                        "value", row_json(cli, shown, row), "origin",
			                        origin_json(cli, shown, row)));
	return cli_print_json(cli, list, err);
}

static int print_rows(const struct cli *cli, const struct shown *shown, const bool *wanted,
                      size_t count, struct vm_err *err)
{
	static const char *const header[] = {"KEY", "VALUE", "ORIGIN"};
	VM_AUTO(cli_grid_free) struct cli_grid grid = {0};
	char text[VM_SETTING_VALUE_SIZE], key[VM_SETTING_KEY_SIZE];
	size_t line = 0;

	if (cli_grid_init(&grid, header, VM_ARRAY_LEN(header), count, err) < 0)
		return -1;
	for (size_t row = 0; row < row_count(); row++) {
		if (!wanted[row])
			continue;
		cli_grid_put(&grid, line, 0, vm_strdup(row_key(row, key), err));
		cli_grid_put(&grid, line, 1, vm_strdup(row_text(cli, shown, row, text), err));
		cli_grid_put(&grid, line++, 2, origin_text(cli, shown, row, err));
	}
	if (err->code != VM_OK)
		return -1;
	cli_grid_print(&grid);
	return 0;
}

/* For shell completion: whatever the files say. */
static int print_keys(const struct cli *cli)
{
	char key[VM_SETTING_KEY_SIZE];

	for (size_t row = 0; row < row_count(); row++)
		cli_print_word(cli, row_key(row, key));
	return 0;
}

static int run_show(struct cli *cli, struct vm_err *err)
{
	const struct config_options *options = cli->options;
	VM_AUTO(free_shown) struct shown shown = {0};
	bool wanted[VM_SETTINGS_MAX + 1] = {false};
	char text[VM_SETTING_VALUE_SIZE];
	size_t count = 0;

	if (options->names)
		return print_keys(cli);
	if (options->value && cli->output == CLI_JSON)
		return cli_usage(cli, err, "--value goes neither with -o nor with --format");
	if (choose_rows(cli, wanted, &count, err) < 0)
		return -1;
	shown.root_path = vm_root_path(cli->root_option, err);
	if (shown.root_path == NULL || vm_places_find(shown.root_path, &shown.places, err) < 0 ||
	    vm_config_load(shown.root_path, &shown.config, err) < 0)
		return -1;
	if (cli->output == CLI_JSON)
		return print_rows_json(cli, &shown, wanted, err);
	if (!options->value)
		return print_rows(cli, &shown, wanted, count, err);
	for (size_t row = 0; row < row_count(); row++)
		if (wanted[row])
			(void)puts(row_text(cli, &shown, row, text));
	return 0;
}

static const struct cli_option show_options[] = {
        {"value", KEY_VALUE, NULL, "print the values alone, one a line", 0, false},
        {"names", KEY_NAMES, NULL, NULL, 0, false}, /* for shell completion */
        {NULL, 0, NULL, NULL, 0, false},
};

static const struct cli_verb config_show = {
        .name = "show",
        .summary = "Show settings, and where each of them comes from",
        .synopsis = "[--value]",
        .operands = "[KEY ...]",
        .max_operands = CLI_ANY,
        .flags = CLI_WAITS | CLI_SHOWS | CLI_LISTS,
        .shape = "key value origin{kind file line variable flag}",
        .options = show_options,
        .option = option,
        .run = run_show,
};

/* --- templates ----------------------------------------------------------------------------------
 */

static int print_templates_json(struct cli *cli, const struct vm_template *templates, size_t count,
                                struct vm_err *err)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		(void)json_array_append_new(
		        list, json_pack("{s:s, s:o, s:o}", "name", templates[i].name, "file",
		                        cli_json_text(templates[i].file), "description",
		                        cli_json_text(templates[i].description)));
	return cli_print_json(cli, list, err);
}

static int print_templates(struct vm_template *templates, size_t count, struct vm_err *err)
{
	static const char *const header[] = {"NAME", "FILE", "DESCRIPTION"};
	VM_AUTO(cli_grid_free) struct cli_grid grid = {0};

	if (cli_grid_init(&grid, header, VM_ARRAY_LEN(header), count, err) < 0)
		return -1;
	for (size_t i = 0; i < count; i++) {
		cli_grid_put(&grid, i, 0, vm_strdup(templates[i].name, err));
		cli_grid_put(&grid, i, 1, vm_take_ptr(&templates[i].file));
		cli_grid_put(&grid, i, 2, vm_take_ptr(&templates[i].description));
	}
	if (err->code != VM_OK)
		return -1;
	cli_grid_print(&grid);
	return 0;
}

static int run_templates(struct cli *cli, struct vm_err *err)
{
	const struct config_options *options = cli->options;
	VM_AUTO_FREE char *root_path = vm_root_path(cli->root_option, err);
	struct vm_template *templates = NULL;
	size_t count = 0;
	int rc = 0;

	if (root_path == NULL || vm_templates_list(root_path, &templates, &count, err) < 0)
		return -1;
	if (options->names || cli->quiet)
		for (size_t i = 0; i < count; i++)
			cli_print_word(cli, templates[i].name);
	else if (cli->output == CLI_JSON)
		rc = print_templates_json(cli, templates, count, err);
	else
		rc = print_templates(templates, count, err);
	vm_templates_free(templates, count);
	return rc;
}

static const struct cli_option templates_options[] = {
        {"names", KEY_NAMES, NULL, NULL, 0, false}, /* for shell completion */
        {NULL, 0, NULL, NULL, 0, false},
};

static const struct cli_verb config_templates = {
        .name = "templates",
        .summary = "List the specs that create --template knows",
        .synopsis = "",
        .operands = "",
        .flags = CLI_PRINTS | CLI_LISTS,
        .shape = "name file description",
        .options = templates_options,
        .option = option,
        .run = run_templates,
};

static const struct cli_verb *const commands[] = {&config_show, &config_templates, NULL};

static const struct cli_group group = {.name = "config", .commands = commands};

int main(int argc, char **argv)
{
	struct config_options options = {0};

	return cli_main_group(&group, &options, argc, argv);
}
