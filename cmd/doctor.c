/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <stdio.h>

#include "cli/cli.h"
#include "util.h"

static const struct {
	const char *mark, *name;
} levels[] = {
        [VM_FINDING_OK] = {"OK", "ok"},
        [VM_FINDING_WARNING] = {"WARN", "warning"},
        [VM_FINDING_ERROR] = {"ERROR", "error"},
        [VM_FINDING_LEFTOVER] = {"LEFT", "leftover"},
};

static int print_json(const struct vm_finding *findings, size_t count, struct vm_err *err)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		(void)json_array_append_new(
		        list, json_pack("{s:s, s:s, s:o, s:o}", "level",
		                        levels[findings[i].level].name, "check", findings[i].check,
		                        "message", cli_json_text(findings[i].message), "hint",
		                        cli_json_text(findings[i].hint)));
	return cli_print_json(list, err);
}

static void print_text(const struct vm_finding *findings, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct vm_finding *finding = &findings[i];

		(void)printf("%-5s  %-12s  %s\n", levels[finding->level].mark, finding->check,
		             finding->message);
		if (finding->hint[0] != '\0')
			(void)printf("%-5s  %-12s  hint: %s\n", "", "", finding->hint);
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

static int run(struct cli *cli, struct vm_err *err)
{
	VM_AUTO_FREE struct vm_finding *findings = NULL;
	size_t count = 0;

	if (cli_open(cli, VM_ROOT_READ, err) < 0 || vm_doctor(&cli->op, &findings, &count, err) < 0)
		return -1;
	cli_progress_hide(&cli->progress);
	if (cli->output == CLI_JSON) {
		if (print_json(findings, count, err) < 0)
			return -1;
	} else {
		print_text(findings, count);
	}
	cli->status = judge(findings, count);
	return 0;
}

static const struct cli_verb verb = {
        .name = "doctor",
        .synopsis = "",
        .operands = "",
        .run = run,
};

int main(int argc, char **argv)
{
	return cli_main(&verb, NULL, argc, argv);
}
