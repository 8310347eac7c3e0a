/* SPDX-License-Identifier: Apache-2.0 */
#include "info.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "util.h"

enum { COMMENT_MAX = 1024 };

static int check_text(const char *what, const char *text, size_t max, struct vm_err *err)
{
	json_t *json = json_string(text);

	if (json == NULL)
		return vm_err_set(err, VM_ERR_USAGE, "%s: the text is not UTF-8", what);
	json_decref(json);
	if (strlen(text) > max)
		return vm_err_set(err, VM_ERR_USAGE, "%s: the text has more than %zu bytes", what,
		                  max);
	return 0;
}

static int take_expiry(struct vm_image_info *info, const char *value, struct vm_err *err)
{
	int64_t ms;

	if (vm_duration_parse(value, "--expires", &ms, err) < 0)
		return -1;
	if (ms == 0)
		return vm_err_set(err, VM_ERR_USAGE, "--expires: it would be gone at once");
	info->expires_us = ms < 0 ? 0 : vm_realtime_us() + ms * 1000;
	return 0;
}

int snapshot_info_option(struct vm_image_info *info, int key, const char *value, struct vm_err *err)
{
	switch (key) {
	case SNAPSHOT_COMMENT:
		if (check_text("--comment", value, COMMENT_MAX, err) < 0)
			return -1;
		free(info->comment);
		info->comment = vm_strdup(value, err);
		return info->comment != NULL ? 0 : -1;
	case SNAPSHOT_LABEL:
		return vm_labels_set_text(&info->labels, value, err) < 0
		               ? vm_err_wrap(err, "--label")
		               : 0;
	default:
		return take_expiry(info, value, err);
	}
}
