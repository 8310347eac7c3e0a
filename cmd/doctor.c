/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <stdio.h>

#include "cli/cli.h"
#include "cli/text.h"
#include "driver/driver.h"
#include "fault.h"
#include "util.h"

enum { KEY_REPAIR = CLI_KEY_VERB, KEY_DRY_RUN, KEY_FAULT_POINTS };

struct doctor_options {
	bool repair, dry_run, fault_points;
};

static const struct cli_option doctor_options[] = {
        {"repair", KEY_REPAIR, NULL, "settle all that killed commands have left", 0, false},
        {"dry-run", KEY_DRY_RUN, NULL, "with --repair: say what it would do, and stop", 0, false},
        {"fault-points", KEY_FAULT_POINTS, NULL,
         "list where a build for tests can be made to fail, and exit", 0, false},
        {NULL, 0, NULL, NULL, 0, false},
};

static int option(void *ctx, int key, const char *value, struct vm_err *err)
{
	struct doctor_options *options = ctx;

	(void)value;
	(void)err;
	if (key == KEY_REPAIR)
		options->repair = true;
	else if (key == KEY_DRY_RUN)
		options->dry_run = true;
	else
		options->fault_points = true;
	return 0;
}

static const struct {
	const char *mark, *name;
	enum cli_colour colour;
} levels[] = {
        [VM_FINDING_OK] = {"OK", "ok", CLI_GREEN},
        [VM_FINDING_WARNING] = {"WARN", "warning", CLI_YELLOW},
        [VM_FINDING_ERROR] = {"ERROR", "error", CLI_RED},
        [VM_FINDING_LEFTOVER] = {"LEFT", "leftover", CLI_RED},
        [VM_FINDING_REPAIRED] = {"FIXED", "repaired", CLI_CYAN},
        [VM_FINDING_REPAIRABLE] = {"WOULD", "repairable", CLI_YELLOW},
};

static json_t *capabilities_json(const struct vm_driver *driver)
{
	const struct vm_driver_caps *caps = &driver->caps;

	return json_pack(
	        "{s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:i}",
	        "concurrent_fork_prepare", caps->concurrent_fork_prepare, "snapshot_keeps_running",
	        caps->snapshot_keeps_running, "relative_paths", caps->relative_paths,
	        "state_rewrite", caps->state_rewrite, "cid_rewrite", caps->cid_rewrite,
	        "network_override", caps->network_override, "memory_shared_base",
	        caps->memory_shared_base, "recycles_memory", caps->recycles_memory, "diff_snapshot",
	        caps->diff_snapshot, "vsock_by_socket", caps->vsock_by_socket, "kernel_bzimage",
	        caps->kernel_bzimage, "disk_qcow2", caps->disk_qcow2, "network", caps->network,
	        "tells_crash", caps->tells_crash, "graceful_shutdown", caps->graceful_shutdown,
	        "max_concurrent_restores", (int)caps->max_concurrent_restores);
}

static json_t *finding_json(const struct vm_finding *finding, bool dry_run)
{
	json_t *json =
	        json_pack("{s:s, s:s, s:o, s:o}", "level", levels[finding->level].name, "check",
	                  finding->check, "message", cli_json_text(finding->message), "hint",
	                  cli_json_text(finding->hint));

	if (json != NULL && dry_run)
		(void)json_object_set_new(json, "dry_run", json_true());
	if (json != NULL && finding->driver != NULL)
		(void)json_object_set_new(json, "capabilities", capabilities_json(finding->driver));
	return json;
}

static int print_json(struct cli *cli, const struct vm_finding *findings, size_t count,
                      bool dry_run, struct vm_err *err)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		(void)json_array_append_new(list, finding_json(&findings[i], dry_run));
	return cli_print_json(cli, list, err);
}

enum { MESSAGE_COLUMN = 21 };

static void print_line(const char *mark, enum cli_colour colour, const char *check,
                       const char *label, const char *text)
{
	char line[sizeof(((struct vm_finding *)NULL)->message) + 16];
	bool coloured = cli_colours();

	(void)snprintf(line, sizeof(line), "%s%s", label, text);
	cli_text_clean(line, cli_table_width() > 0);
	(void)printf("%s%-5s%s  %-12s  ", cli_colour_on(colour, coloured), mark,
	             cli_colour_off(colour, coloured), check);
	cli_text_print(line, MESSAGE_COLUMN);
}

static void print_text(const struct vm_finding *findings, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct vm_finding *finding = &findings[i];

		print_line(levels[finding->level].mark, levels[finding->level].colour,
		           finding->check, "", finding->message);
		if (finding->hint[0] != '\0')
			print_line("", CLI_PLAIN, "", "hint: ", finding->hint);
	}
}

/* Leftovers weigh more than errors: they are what `needs_repair` is for. */
static enum vm_code judge(const struct vm_finding *findings, size_t count)
{
	enum vm_code code = VM_OK;

	for (size_t i = 0; i < count; i++) {
		if (findings[i].level == VM_FINDING_LEFTOVER)
			return VM_ERR_NEEDS_REPAIR;
		if (findings[i].level == VM_FINDING_ERROR)
			code = VM_ERR_SYSTEM;
	}
	return code;
}

static json_t *point_json(const struct vm_fault_info *info)
{
	return json_pack("{s:s, s:b, s:s}", "point", info->name, "may_fail", (int)info->may_fail,
	                 "effect", info->what);
}

/* Where a build with FAULTS=1 can be killed, stopped or made to fail. */
static int print_points(struct cli *cli, struct vm_err *err)
{
	json_t *list = json_array();

	for (int i = 0; i < VM_FAULT_COUNT; i++) {
		struct vm_fault_info info = {0};

		vm_fault_info((enum vm_fault_point)i, &info);
		if (cli->output == CLI_JSON)
			(void)json_array_append_new(list, point_json(&info));
		else
			(void)printf("%-22s  %-9s  %s\n", info.name,
			             info.may_fail ? "kill,fail" : "kill", info.what);
	}
	if (cli->output == CLI_JSON)
		return cli_print_json(cli, list, err);
	json_decref(list);
	if (!vm_fault_built_in())
		cli_warn(cli, "this vmctl was built without FAULTS=1: the points are not in it");
	return 0;
}

static int run(struct cli *cli, struct vm_err *err)
{
	const struct doctor_options *options = cli->options;
	VM_AUTO_FREE struct vm_finding *findings = NULL;
	enum vm_doctor_mode mode;
	size_t count = 0;

	if (options->fault_points && options->repair)
		return cli_usage(cli, err, "--repair and --fault-points do not go together");
	if (options->dry_run && !options->repair)
		return cli_usage(cli, err, "--dry-run says what --repair would do: give both");
	if (options->fault_points)
		return print_points(cli, err);
	mode = !options->repair   ? VM_DOCTOR_LOOK
	       : options->dry_run ? VM_DOCTOR_DRY_RUN
	                          : VM_DOCTOR_REPAIR;
	if (cli_open(cli, mode == VM_DOCTOR_REPAIR ? VM_ROOT_CHANGE : VM_ROOT_READ, err) < 0 ||
	    vm_doctor(&cli->op, mode, &findings, &count, err) < 0)
		return -1;
	cli_progress_hide(&cli->progress);
	if (cli->output == CLI_JSON) {
		if (print_json(cli, findings, count, options->dry_run, err) < 0)
			return -1;
	} else {
		print_text(findings, count);
	}
	cli->status = judge(findings, count);
	return 0;
}

static const struct cli_verb verb = {
        .name = "doctor",
        .synopsis = "[--repair [--dry-run] | --fault-points]",
        .operands = "",
        .flags = CLI_WAITS,
        .options = doctor_options,
        .option = option,
        .run = run,
};

int main(int argc, char **argv)
{
	struct doctor_options options = {0};

	return cli_main(&verb, &options, argc, argv);
}
