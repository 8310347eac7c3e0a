/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/table.h"
#include "statefile.h"
#include "util.h"

enum { KEY_PATH = CLI_KEY_VERB, KEY_PREFIX, KEY_RELATIVE, KEY_CID, KEY_TO, KEY_IN_PLACE };

struct state_options {
	struct vm_state_rules rules;
	const char *to;
	bool in_place;
};

/* --- show ---------------------------------------------------------------------------------------
 */

static bool is_device(const struct vm_state_path *path)
{
	return path->kind == VM_STATE_DISK || path->kind == VM_STATE_PMEM;
}

static json_t *path_json(const struct vm_state_path *path)
{
	return json_pack("{s:s, s:o, s:o, s:o, s:I, s:o}", "kind",
	                 vm_state_path_kind_name(path->kind), "id", cli_json_text(path->id), "root",
	                 is_device(path) ? json_boolean(path->root) : json_null(), "read_only",
	                 is_device(path) ? json_boolean(path->read_only) : json_null(), "offset",
	                 (json_int_t)path->at, "path", cli_json_text(path->text));
}

static json_t *number_json(uint64_t value)
{
	return value != 0 ? json_integer((json_int_t)value) : json_null();
}

/* What `show` shows; a new reference or NULL. */
static json_t *file_json(const char *name, const struct vm_statefile *file)
{
	const struct vm_state_info *info = &file->info;
	json_t *paths = json_array();

	for (size_t i = 0; i < info->count; i++)
		(void)json_array_append_new(paths, path_json(&info->paths[i]));
	return json_pack("{s:o, s:s, s:o, s:s, s:s, s:I, s:o, s:o, s:i, s:o, s:o}", "file",
	                 cli_json_text(name), "hypervisor", file->driver->name,
	                 "hypervisor_version", cli_json_text(info->version), "format", info->format,
	                 "encoding", info->encoding, "memory_bytes", (json_int_t)info->memory_bytes,
	                 "vcpus", number_json(info->vcpus), "guest_cid",
	                 number_json(info->guest_cid), "network_devices", (int)info->net_count,
	                 "tap", cli_json_text(info->tap), "paths", paths);
}

static const char *flags_of(const struct vm_state_path *path)
{
	if (path->root)
		return path->read_only ? "root,ro" : "root";
	return path->read_only ? "ro" : NULL;
}

static int print_file(const struct vm_statefile *file, struct vm_err *err)
{
	static const char *const header[] = {"KIND", "ID", "FLAGS", "PATH"};
	VM_AUTO(cli_grid_free) struct cli_grid grid = {0};
	const struct vm_state_info *info = &file->info;
	char size[24];

	if (cli_grid_init(&grid, header, VM_ARRAY_LEN(header), info->count, err) < 0)
		return -1;
	(void)printf("format     %s (%s), of %s %s\n", info->format, info->encoding,
	             file->driver->name, info->version);
	(void)printf("memory     %s\n", vm_size_format(info->memory_bytes, size, sizeof(size)));
	(void)printf("vcpus      %u\n", info->vcpus);
	if (info->guest_cid != 0)
		(void)printf("guest CID  %" PRIu64 "\n", info->guest_cid);
	else
		(void)puts("guest CID  -");
	if (info->net_count != 0)
		(void)printf("network    %u, on %s\n", info->net_count, info->tap);
	(void)putchar('\n');
	for (size_t i = 0; i < info->count; i++) {
		const struct vm_state_path *path = &info->paths[i];
		const char *flags = flags_of(path);

		cli_grid_put(&grid, i, 0, strdup(vm_state_path_kind_name(path->kind)));
		cli_grid_put(&grid, i, 1, path->id[0] != '\0' ? strdup(path->id) : NULL);
		cli_grid_put(&grid, i, 2, flags != NULL ? strdup(flags) : NULL);
		cli_grid_put(&grid, i, 3, strdup(path->text));
	}
	cli_grid_print(&grid);
	return 0;
}

static int run_show(struct cli *cli, struct vm_err *err)
{
	VM_AUTO(vm_statefile_close) struct vm_statefile file = {0};

	if (vm_statefile_open(cli->operands[0], &file, err) < 0)
		return -1;
	return cli->output == CLI_JSON
	               ? cli_print_json(cli, file_json(cli->operands[0], &file), err)
	               : print_file(&file, err);
}

static const struct cli_verb state_show = {
        .name = "show",
        .summary = "Show what a state file records",
        .synopsis = "",
        .operands = "FILE",
        .min_operands = 1,
        .max_operands = 1,
        .run = run_show,
};

/* --- check --------------------------------------------------------------------------------------
 */

/* All files are looked at; each that is not good is reported, and the first decides the status. */
static int run_check(struct cli *cli, struct vm_err *err)
{
	json_t *list = json_array();

	for (int i = 0; i < cli->operand_count; i++) {
		VM_AUTO(vm_statefile_close) struct vm_statefile file = {0};
		struct vm_err failure = {0};

		if (vm_statefile_open(cli->operands[i], &file, &failure) < 0)
			cli_fail(cli, &failure);
		else if (cli->output == CLI_JSON)
			(void)json_array_append_new(list, file_json(cli->operands[i], &file));
		else
			(void)printf("%s: ok, format %s of %s %s\n", cli->operands[i],
			             file.info.format, file.driver->name, file.info.version);
	}
	if (cli->output == CLI_JSON)
		return cli_print_json(cli, list, err);
	json_decref(list);
	return 0;
}

static const struct cli_verb state_check = {
        .name = "check",
        .summary = "Check that state files are intact and understood",
        .synopsis = "",
        .operands = "FILE ...",
        .min_operands = 1,
        .max_operands = CLI_ANY,
        .run = run_check,
};

/* --- rewrite ------------------------------------------------------------------------------------
 */

static const struct cli_option rewrite_options[] = {
        {"path", KEY_PATH, "OLD=NEW", "record NEW instead of the path OLD; may be repeated", 0,
         false},
        {"prefix", KEY_PREFIX, "OLD=NEW",
         "the same for all that is in the directory OLD; may be repeated", 0, false},
        {"relative", KEY_RELATIVE, NULL,
         "record all other paths by the names that vmctl uses in an instance's directory", 0,
         false},
        {"cid", KEY_CID, "N", "record this guest CID", 0, false},
        {"to", KEY_TO, "FILE", "write the new state to this file, which must not exist", 0, false},
        {"in-place", KEY_IN_PLACE, NULL, "replace the file itself", 0, false},
        {NULL, 0, NULL, NULL, 0, false},
};

static int add_rule(struct vm_state_rules *rules, const char *text, bool prefix, struct vm_err *err)
{
	struct vm_state_rule *more =
	        reallocarray(rules->rules, rules->count + 1, sizeof(*rules->rules));

	if (more == NULL)
		return vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES, "out of memory");
	rules->rules = more;
	rules->rules[rules->count++] = (struct vm_state_rule){.text = text, .prefix = prefix};
	return 0;
}

static int take_cid(struct vm_state_rules *rules, const char *value, struct vm_err *err)
{
	int64_t cid;

	if (vm_int_parse(value, "--cid", 3, INT64_C(0xfffffffe), &cid, err) < 0)
		return -1;
	rules->guest_cid = (uint64_t)cid;
	return 0;
}

static int rewrite_option(void *ctx, int key, const char *value, struct vm_err *err)
{
	struct state_options *options = ctx;

	switch (key) {
	case KEY_PATH:
		return add_rule(&options->rules, value, false, err);
	case KEY_PREFIX:
		return add_rule(&options->rules, value, true, err);
	case KEY_CID:
		return take_cid(&options->rules, value, err);
	case KEY_TO:
		options->to = value;
		return 0;
	case KEY_RELATIVE:
		options->rules.relative = true;
		return 0;
	default:
		options->in_place = true;
		return 0;
	}
}

static int check_rewrite(struct cli *cli, struct vm_err *err)
{
	const struct state_options *options = cli->options;
	const struct vm_state_rules *rules = &options->rules;

	if (options->in_place == (options->to != NULL))
		return cli_usage(cli, err, "either --to FILE or --in-place is needed");
	if (rules->count == 0 && !rules->relative && rules->guest_cid == 0)
		return cli_usage(cli, err,
		                 "nothing is to be changed: give --path, --prefix, --relative or "
		                 "--cid");
	return 0;
}

static json_t *changes_json(const struct vm_state_info *was, const struct vm_state_info *is)
{
	json_t *list = json_array();

	for (size_t i = 0; i < was->count && i < is->count; i++) {
		if (strcmp(was->paths[i].text, is->paths[i].text) == 0)
			continue;
		(void)json_array_append_new(list,
		                            json_pack("{s:s, s:o, s:o, s:o}", "kind",
		                                      vm_state_path_kind_name(was->paths[i].kind),
		                                      "id", cli_json_text(was->paths[i].id), "from",
		                                      cli_json_text(was->paths[i].text), "to",
		                                      cli_json_text(is->paths[i].text)));
	}
	return list;
}

static int print_changes_json(struct cli *cli, const char *to, const struct vm_state_info *was,
                              const struct vm_state_info *is, struct vm_err *err)
{
	json_t *cid = was->guest_cid != is->guest_cid
	                      ? json_pack("{s:I, s:I}", "from", (json_int_t)was->guest_cid, "to",
	                                  (json_int_t)is->guest_cid)
	                      : json_null();

	return cli_print_json(cli,
	                      json_pack("{s:o, s:o, s:o}", "file", cli_json_text(to), "paths",
	                                changes_json(was, is), "guest_cid", cid),
	                      err);
}

static void print_changes(const struct vm_state_info *was, const struct vm_state_info *is)
{
	for (size_t i = 0; i < was->count && i < is->count; i++) {
		const struct vm_state_path *path = &was->paths[i];

		if (strcmp(path->text, is->paths[i].text) != 0)
			(void)printf("%s%s%s: %s -> %s\n", vm_state_path_kind_name(path->kind),
			             path->id[0] != '\0' ? " " : "", path->id, path->text,
			             is->paths[i].text);
	}
	if (was->guest_cid != is->guest_cid)
		(void)printf("guest CID: %" PRIu64 " -> %" PRIu64 "\n", was->guest_cid,
		             is->guest_cid);
}

static int run_rewrite(struct cli *cli, struct vm_err *err)
{
	const struct state_options *options = cli->options;
	VM_AUTO(vm_state_info_free) struct vm_state_info is = {0};
	VM_AUTO(vm_statefile_close) struct vm_statefile file = {0};
	char **texts = NULL;
	int rc;

	if (check_rewrite(cli, err) < 0 || vm_statefile_open(cli->operands[0], &file, err) < 0 ||
	    vm_state_rules_apply(&options->rules, &file.info, &texts, err) < 0)
		return -1;
	rc = vm_statefile_rewrite(&file, texts, options->rules.guest_cid, options->to, &is, err);
	vm_state_texts_free(texts, file.info.count);
	if (rc < 0)
		return -1;
	if (cli->output == CLI_JSON)
		return print_changes_json(cli, options->to != NULL ? options->to : cli->operands[0],
		                          &file.info, &is, err);
	print_changes(&file.info, &is);
	return 0;
}

static const struct cli_verb state_rewrite = {
        .name = "rewrite",
        .summary = "Make a state file that records other paths or another guest CID",
        .synopsis = "[--path OLD=NEW ...] [--prefix OLD=NEW ...] [--relative] [--cid N] "
                    "{--to FILE | --in-place}",
        .operands = "FILE",
        .min_operands = 1,
        .max_operands = 1,
        .options = rewrite_options,
        .option = rewrite_option,
        .run = run_rewrite,
};

static const struct cli_verb *const commands[] = {&state_show, &state_check, &state_rewrite, NULL};

static const struct cli_group group = {.name = "state", .commands = commands};

int main(int argc, char **argv)
{
	struct state_options options = {0};
	int status = cli_main_group(&group, &options, argc, argv);

	free(options.rules.rules);
	return status;
}
