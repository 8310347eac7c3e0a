/* SPDX-License-Identifier: Apache-2.0 */
#include "shape.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "util.h"

enum { KEYS_MAX = 64, KEYS_SIZE = 1024 };

struct entry {
	const char *name;
	size_t len;
	struct cli_shape below;
};

/* The length of "{...}" or "[...]", of which there may be some within. */
static size_t bracket_length(const char *text, size_t len)
{
	size_t depth = 0, i;

	for (i = 0; i < len; i++) {
		if (text[i] == '{' || text[i] == '[')
			depth++;
		else if ((text[i] == '}' || text[i] == ']') && --depth == 0)
			return i + 1;
	}
	return i;
}

/* Takes the first entry off a body; false: there is none. */
static bool next_entry(const char **body, size_t *len, struct entry *ret)
{
	const char *text = *body;
	size_t at = 0, end = *len;

	while (at < end && text[at] == ' ')
		at++;
	if (at == end)
		return false;
	ret->name = text + at;
	while (at < end && text[at] != ' ' && text[at] != '{' && text[at] != '[')
		at++;
	ret->len = (size_t)(text + at - ret->name);
	ret->below = (struct cli_shape){.kind = CLI_SCALAR};
	if (at < end && text[at] != ' ') {
		size_t all = bracket_length(text + at, end - at);

		ret->below = (struct cli_shape){text[at] == '[' ? CLI_LIST : CLI_OBJECT,
		                                text + at + 1, all - 2};
		at += all;
	}
	*body = text + at;
	*len = end - at;
	return true;
}

bool cli_key_same(const char *left, size_t left_len, const char *right, size_t right_len)
{
	size_t i = 0, k = 0;

	for (;; i++, k++) {
		while (i < left_len && left[i] == '_')
			i++;
		while (k < right_len && right[k] == '_')
			k++;
		if (i == left_len || k == right_len)
			return i == left_len && k == right_len;
		if (tolower((unsigned char)left[i]) != tolower((unsigned char)right[k]))
			return false;
	}
}

/* The key that was meant, or all there are. */
static int no_key(const struct cli_shape *at, const struct cli_key *key, struct vm_err *err)
{
	const char *body = at->body, *names[KEYS_MAX + 1] = {NULL}, *meant;
	char all[KEYS_SIZE] = "", copies[KEYS_SIZE], word[64];
	size_t len = at->len, count = 0, used = 0, shown = 0;
	struct entry entry;

	while (count < KEYS_MAX && next_entry(&body, &len, &entry) &&
	       used + entry.len + 1 < sizeof(copies)) {
		names[count++] = copies + used;
		used += (size_t)snprintf(copies + used, sizeof(copies) - used, "%.*s",
		                         (int)entry.len, entry.name) +
		        1;
		shown += (size_t)snprintf(all + shown, sizeof(all) - shown, " .%.*s",
		                          (int)entry.len, entry.name);
		if (shown >= sizeof(all))
			shown = sizeof(all) - 1;
	}
	(void)snprintf(word, sizeof(word), "%.*s", (int)key->len, key->name);
	vm_err_set(err, VM_ERR_USAGE, "there is no key '.%s'", word);
	meant = vm_suggest(word, names);
	return meant != NULL ? vm_err_hint(err, "did you mean '.%s'?", meant)
	                     : vm_err_hint(err, "the keys are%s", all);
}

int cli_shape_key(struct cli_shape *at, struct cli_key *key, struct vm_err *err)
{
	const char *body = at->body;
	size_t len = at->len;
	struct entry entry;

	if (at->kind == CLI_ANYTHING)
		return 0;
	if (at->kind != CLI_OBJECT) {
		vm_err_set(err, VM_ERR_USAGE, "there is no key '.%.*s' in a %s", (int)key->len,
		           key->name, at->kind == CLI_LIST ? "list" : "plain value");
		return at->kind == CLI_LIST
		               ? vm_err_hint(err, "{{index .LIST 0 \"%.*s\"}} is that of one item",
		                             (int)key->len, key->name)
		               : -1;
	}
	while (next_entry(&body, &len, &entry)) {
		if (entry.len == 1 && (*entry.name == '*' || *entry.name == '=')) {
			key->exact = *entry.name == '=';
			at->kind = key->exact ? CLI_SCALAR : CLI_ANYTHING;
			return 0;
		}
		if (!cli_key_same(entry.name, entry.len, key->name, key->len))
			continue;
		*key = (struct cli_key){.name = entry.name, .len = entry.len};
		*at = entry.below;
		return 0;
	}
	return no_key(at, key, err);
}

int cli_shape_item(struct cli_shape *at, struct vm_err *err)
{
	if (at->kind == CLI_ANYTHING)
		return 0;
	if (at->kind != CLI_LIST)
		return vm_err_set(err, VM_ERR_USAGE,
		                  "a number is for items of lists, and this is none");
	at->kind = CLI_OBJECT;
	return 0;
}
