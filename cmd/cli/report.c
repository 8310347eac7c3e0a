/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "util.h"

/* Text may hold what a user or a guest gave: nothing in it may command the terminal. */
static void sanitize(char *text)
{
	for (; *text != '\0'; text++)
		if (((unsigned char)*text < 0x20 && *text != '\n' && *text != '\t') ||
		    *text == 0x7f)
			*text = '?';
}

/* One write, so that the lines of verbs that run at once do not mix. False: out of memory. */
static bool print_json_line(const char *key, json_t *value)
{
	json_t *line = json_pack("{s:o}", key, value);
	VM_AUTO_FREE char *text = line != NULL ? json_dumps(line, JSON_COMPACT) : NULL;

	json_decref(line);
	if (text == NULL)
		return false;
	(void)fprintf(stderr, "%s\n", text);
	return true;
}

void cli_fail(struct cli *cli, const struct vm_err *err)
{
	struct vm_err shown = *err;

	if (cli->status == VM_OK)
		cli->status = err->code != VM_OK ? err->code : VM_ERR_SYSTEM;
	cli_progress_hide(&cli->progress);
	if (cli->output == CLI_JSON &&
	    print_json_line("error", json_pack("{s:s, s:o, s:o}", "code", vm_code_name(err->code),
	                                       "message", cli_json_text(err->message), "hint",
	                                       cli_json_text(err->hint))))
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
	if (cli->output == CLI_JSON &&
	    print_json_line("warning", json_pack("{s:o}", "message", cli_json_text(text))))
		return;
	(void)snprintf(shown, sizeof(shown), "%s", text);
	sanitize(shown);
	(void)fprintf(stderr, "%s: warning: %s\n", cli->program, shown);
}
