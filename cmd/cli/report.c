/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "util.h"
#include "yaml_text.h"

/* Text may hold what a user or a guest gave: nothing in it may command the terminal. */
static void sanitize(char *text)
{
	for (; *text != '\0'; text++)
		if (((unsigned char)*text < 0x20 && *text != '\n' && *text != '\t') ||
		    *text == 0x7f)
			*text = '?';
}

/*
 * Prints {"key": value} as JSON or YAML where the results are; false: they are not, or out of
 * memory. One write, so that what verbs that run at once say does not mix.
 */
static bool print_object(const struct cli *cli, const char *key, json_t *value)
{
	struct vm_err ignored = {0};
	json_t *object = json_pack("{s:o}", key, value);
	VM_AUTO_FREE char *text = NULL;

	if (cli->output == CLI_JSON && cli->format_text == NULL && object != NULL)
		text = cli->yaml ? cli_yaml_text(object, true, &ignored)
		                 : json_dumps(object, JSON_COMPACT);
	json_decref(object);
	if (text == NULL)
		return false;
	(void)fprintf(stderr, "%s%s", text, cli->yaml ? "" : "\n");
	return true;
}

void cli_fail(struct cli *cli, const struct vm_err *err)
{
	struct vm_err shown = *err;

	if (cli->status == VM_OK)
		cli->status = err->code != VM_OK ? err->code : VM_ERR_SYSTEM;
	cli_progress_hide(&cli->progress);
	if (print_object(cli, "error",
	                 json_pack("{s:s, s:o, s:o}", "code", vm_code_name(err->code), "message",
	                           cli_json_text(err->message), "hint", cli_json_text(err->hint))))
		return;
	sanitize(shown.message);
	sanitize(shown.hint);
	if (shown.hint[0] != '\0')
		(void)fprintf(stderr, "%s: %s\nhint: %s\n", cli->program, shown.message,
		              shown.hint);
	else
		(void)fprintf(stderr, "%s: %s\n", cli->program, shown.message);
}

void cli_warn(void *ctx, const char *text)
{
	struct cli *cli = ctx;
	char shown[1024];

	cli_progress_hide(&cli->progress);
	if (print_object(cli, "warning", json_pack("{s:o}", "message", cli_json_text(text))))
		return;
	(void)snprintf(shown, sizeof(shown), "%s", text);
	sanitize(shown);
	(void)fprintf(stderr, "%s: warning: %s\n", cli->program, shown);
}
