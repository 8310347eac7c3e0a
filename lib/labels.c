/* SPDX-License-Identifier: Apache-2.0 */
#include "labels.h"

#include <stdlib.h>
#include <string.h>

#include "util.h"

#define KEY_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/"

/* --- the set ------------------------------------------------------------------------------------
 */

void vm_labels_free(struct vm_labels *labels)
{
	for (size_t i = 0; i < labels->count; i++) {
		free(labels->list[i].key);
		free(labels->list[i].value);
	}
	free(labels->list);
	*labels = (struct vm_labels){0};
}

/* The label of a key, or NULL; *ret_place (may be NULL) is where it belongs. */
static struct vm_label *find(const struct vm_labels *labels, const char *key, size_t *ret_place)
{
	struct vm_label *found = NULL;
	size_t i = 0;

	for (; i < labels->count; i++) {
		int order = strcmp(labels->list[i].key, key);

		if (order == 0)
			found = &labels->list[i];
		if (order >= 0)
			break;
	}
	if (ret_place)
		*ret_place = i;
	return found;
}

const char *vm_labels_get(const struct vm_labels *labels, const char *key)
{
	const struct vm_label *label = find(labels, key, NULL);

	return label ? label->value : NULL;
}

static int insert(struct vm_labels *labels, size_t at, const char *key, char **value,
                  struct vm_err *err)
{
	VM_AUTO_FREE char *own_key = vm_strdup(key, err);
	struct vm_label *list;

	if (!own_key)
		return -1;
	list = realloc(labels->list, (labels->count + 1) * sizeof(*list));
	if (!list)
		return vm_err_sys(err, "labels");
	memmove(list + at + 1, list + at, (labels->count - at) * sizeof(*list));
	list[at] = (struct vm_label){.key = vm_take_ptr(&own_key), .value = vm_take_ptr(value)};
	labels->list = list;
	labels->count++;
	return 0;
}

int vm_labels_put(struct vm_labels *labels, const char *key, const char *value, struct vm_err *err)
{
	VM_AUTO_FREE char *own = vm_strdup(value, err);
	struct vm_label *label;
	size_t place;

	if (!own)
		return -1;
	label = find(labels, key, &place);
	if (!label)
		return insert(labels, place, key, &own, err);
	free(label->value);
	label->value = vm_take_ptr(&own);
	return 0;
}

int vm_labels_put_all(struct vm_labels *labels, const struct vm_labels *from, struct vm_err *err)
{
	for (size_t i = 0; i < from->count; i++) {
		if (vm_labels_put(labels, from->list[i].key, from->list[i].value, err) < 0)
			return -1;
	}
	return 0;
}

bool vm_labels_remove(struct vm_labels *labels, const char *key)
{
	size_t i;
	struct vm_label *label = find(labels, key, &i);

	if (!label)
		return false;
	free(label->key);
	free(label->value);
	labels->count--;
	memmove(labels->list + i, labels->list + i + 1,
	        (labels->count - i) * sizeof(*labels->list));
	return true;
}

/* --- the rules ----------------------------------------------------------------------------------
 */

static int check_key(const char *key, size_t len, struct vm_err *err)
{
	if (len > 0 && len <= VM_LABEL_KEY_MAX && strspn(key, KEY_CHARACTERS) >= len)
		return 0;
	vm_err_set(err, VM_ERR_USAGE, "'%.*s' is not the key of a label",
	           len < 200 ? (int)len : 200, key);
	return vm_err_hint(err, "a key has 1 to %d letters, digits, and . _ - /", VM_LABEL_KEY_MAX);
}

int vm_label_check_key(const char *key, struct vm_err *err)
{
	return check_key(key, strlen(key), err);
}

int vm_label_check_value(const char *value, struct vm_err *err)
{
	json_t *probe = json_string(value);

	/* The store holds text that must come out as JSON; jansson is the judge of UTF-8. */
	if (!probe)
		return vm_err_set(err, VM_ERR_USAGE, "the value is not UTF-8 text");
	json_decref(probe);
	if (strlen(value) > VM_LABEL_VALUE_MAX)
		return vm_err_set(err, VM_ERR_USAGE, "the value has more than %d bytes",
		                  VM_LABEL_VALUE_MAX);
	/* One label is one line of output. */
	for (const char *c = value; *c; c++) {
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			return vm_err_set(err, VM_ERR_USAGE,
			                  "the value has a control character (byte 0x%02x)",
			                  (unsigned)(unsigned char)*c);
	}
	return 0;
}

int vm_labels_check_count(size_t count, struct vm_err *err)
{
	if (count <= VM_LABELS_MAX)
		return 0;
	vm_err_set(err, VM_ERR_USAGE, "%zu labels are too many, the limit is %d", count,
	           VM_LABELS_MAX);
	return vm_err_hint(err, "'vmctl label INSTANCE KEY-' removes one");
}

int vm_labels_set(struct vm_labels *labels, const char *key, const char *value, struct vm_err *err)
{
	if (vm_label_check_key(key, err) < 0)
		return -1;
	if (vm_label_check_value(value, err) < 0)
		return vm_err_wrap(err, "label '%s'", key);
	if (vm_labels_check_count(labels->count + (vm_labels_get(labels, key) ? 0 : 1), err) < 0)
		return -1;
	return vm_labels_put(labels, key, value, err);
}

int vm_labels_set_text(struct vm_labels *labels, const char *text, struct vm_err *err)
{
	size_t len = strcspn(text, "=");
	VM_AUTO_FREE char *key = NULL;

	if (!text[len] || check_key(text, len, err) < 0) {
		vm_err_clear(err);
		vm_err_set(err, VM_ERR_USAGE, "'%.200s' is not KEY=VALUE", text);
		return vm_err_hint(err, "a key has 1 to %d letters, digits, and . _ - /",
		                   VM_LABEL_KEY_MAX);
	}
	key = vm_strf(err, "%.*s", (int)len, text);
	return key ? vm_labels_set(labels, key, text + len + 1, err) : -1;
}

/* --- JSON ---------------------------------------------------------------------------------------
 */

json_t *vm_labels_to_json(const struct vm_labels *labels)
{
	json_t *json = json_object();

	for (size_t i = 0; json && i < labels->count; i++) {
		const struct vm_label *label = &labels->list[i];

		if (json_object_set_new(json, label->key, json_string(label->value)) < 0) {
			json_decref(json);
			json = NULL;
		}
	}
	return json;
}

/* The first vmctl that had labels took any text, and what it has exported shall come back. */
static void blot_controls(char *value)
{
	for (; *value; value++) {
		if ((unsigned char)*value < 0x20 || *value == 0x7f)
			*value = '?';
	}
}

static int from_json(const json_t *json, struct vm_labels *labels, struct vm_err *err)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)json, key, value)
	{
		const char *text = json_string_value(value);
		VM_AUTO_FREE char *own = NULL;

		if (!text || strlen(text) != json_string_length(value))
			return vm_err_set(err, VM_ERR_CORRUPT, "label '%.100s' is no text", key);
		own = vm_strdup(text, err);
		if (!own)
			return -1;
		blot_controls(own);
		if (vm_labels_set(labels, key, own, err) < 0)
			return -1;
	}
	return 0;
}

int vm_labels_from_json(const json_t *json, struct vm_labels *ret, struct vm_err *err)
{
	struct vm_labels labels = {0};

	if (!json_is_object(json))
		return vm_err_set(err, VM_ERR_CORRUPT, "the labels are no object");
	if (from_json(json, &labels, err) < 0) {
		vm_labels_free(&labels);
		/* The rules speak of mistakes of a user, but this is no user's text. */
		if (err->code == VM_ERR_USAGE) {
			err->code = VM_ERR_CORRUPT;
			err->hint[0] = '\0';
		}
		return -1;
	}
	*ret = labels;
	return 0;
}

/* --- selectors ----------------------------------------------------------------------------------
 */

void vm_label_selector_free(struct vm_label_selector *selector)
{
	for (size_t i = 0; i < selector->count; i++) {
		free(selector->list[i].key);
		free(selector->list[i].value);
	}
	free(selector->list);
	*selector = (struct vm_label_selector){0};
}

static int refuse_requirement(const char *text, size_t len, struct vm_err *err)
{
	vm_err_set(err, VM_ERR_USAGE, "'%.*s' does not choose by a label",
	           len < 200 ? (int)len : 200, text);
	return vm_err_hint(err,
	                   "it is KEY, !KEY, KEY=VALUE or KEY!=VALUE, or several, with commas");
}

/* A VALUE up to the next comma that has no backslash in front; *text goes to its end. */
static int take_value(const char **text, char **ret, struct vm_err *err)
{
	VM_AUTO_FREE char *value = vm_calloc(strlen(*text) + 1, 1, err);
	size_t used = 0;

	if (!value)
		return -1;
	for (; **text && **text != ','; (*text)++) {
		if (**text == '\\' && (*text)[1])
			(*text)++;
		value[used++] = **text;
	}
	*ret = vm_take_ptr(&value);
	return 0;
}

/* One requirement; *text goes to the comma behind it, or to the end. */
static int take_requirement(const char **text, struct vm_label_requirement *ret, struct vm_err *err)
{
	const char *begin = *text, *key = begin + (*begin == '!');
	size_t len = strspn(key, KEY_CHARACTERS);
	const char *rest = key + len;
	bool differs = rest[0] == '!' && rest[1] == '=', has_value = differs || rest[0] == '=';

	if (len == 0 || len > VM_LABEL_KEY_MAX || (key > begin && has_value) ||
	    (!has_value && *rest && *rest != ','))
		return refuse_requirement(begin, strcspn(begin, ","), err);
	ret->test = key > begin ? VM_LABEL_LACKS
	            : differs   ? VM_LABEL_IS_NOT
	            : has_value ? VM_LABEL_IS
	                        : VM_LABEL_HAS;
	ret->key = vm_strf(err, "%.*s", (int)len, key);
	if (!ret->key)
		return -1;
	rest += differs ? 2 : has_value;
	if (has_value && take_value(&rest, &ret->value, err) < 0)
		return -1;
	*text = rest;
	return 0;
}

int vm_label_selector_add(struct vm_label_selector *selector, const char *text, struct vm_err *err)
{
	for (;; text++) {
		struct vm_label_requirement *list =
		        realloc(selector->list, (selector->count + 1) * sizeof(*list));

		if (!list)
			return vm_err_sys(err, "choosing by labels");
		selector->list = list;
		/* Counted before it is filled, so that what it got is freed. */
		list[selector->count] = (struct vm_label_requirement){0};
		if (take_requirement(&text, &list[selector->count++], err) < 0)
			return -1;
		if (!*text)
			return 0;
	}
}

bool vm_label_selector_matches(const struct vm_label_selector *selector,
                               const struct vm_labels *labels)
{
	for (size_t i = 0; i < selector->count; i++) {
		const struct vm_label_requirement *want = &selector->list[i];
		const char *value = vm_labels_get(labels, want->key);
		bool met = value != NULL;

		if (want->test == VM_LABEL_IS || want->test == VM_LABEL_IS_NOT)
			met = value && strcmp(value, want->value) == 0;
		if (want->test == VM_LABEL_LACKS || want->test == VM_LABEL_IS_NOT)
			met = !met;
		if (!met)
			return false;
	}
	return true;
}
