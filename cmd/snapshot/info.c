/* SPDX-License-Identifier: Apache-2.0 */
#include "info.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "util.h"

enum { KEY_MAX = 63, VALUE_MAX = 255, COMMENT_MAX = 1024 };

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

static int check_key(const char *key, size_t len, const char *given, struct vm_err *err)
{
	static const char allowed[] =
	        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/";

	if (len == 0 || len > KEY_MAX || strspn(key, allowed) != len) {
		vm_err_set(err, VM_ERR_USAGE, "--label: '%.200s' is not KEY=VALUE", given);
		return vm_err_hint(err, "a key has 1 to %d letters, digits, and . _ - /", KEY_MAX);
	}
	return 0;
}

/* Adds one to the labels; a key that was given before gets the new value. */
static int take_label(struct vm_image_info *info, const char *value, struct vm_err *err)
{
	const char *equals = strchr(value, '=');
	char key[KEY_MAX + 1];
	json_t *labels;

	if (equals == NULL)
		return check_key("", 0, value, err);
	if (check_key(value, strcspn(value, "="), value, err) < 0 ||
	    check_text("--label", equals + 1, VALUE_MAX, err) < 0)
		return -1;
	(void)snprintf(key, sizeof(key), "%.*s", (int)(equals - value), value);
	labels = info->labels != NULL ? json_loads(info->labels, 0, NULL) : json_object();
	if (labels != NULL && json_object_set_new(labels, key, json_string(equals + 1)) == 0) {
		free(info->labels);
		info->labels = json_dumps(labels, JSON_COMPACT | JSON_SORT_KEYS);
	}
	json_decref(labels);
	return info->labels != NULL
	               ? 0
	               : vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES, "out of memory");
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
		return take_label(info, value, err);
	default:
		return take_expiry(info, value, err);
	}
}
