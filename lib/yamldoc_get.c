/* SPDX-License-Identifier: Apache-2.0 */
/* The typed side of yamldoc.h. */
#include <stdio.h>
#include <string.h>

#include "util.h"
#include "yamldoc.h"

bool vm_yaml_is_null(const struct vm_yaml_node *node)
{
	return node->kind == VM_YAML_TEXT && node->plain &&
	       (!*node->text || strcmp(node->text, "~") == 0 ||
	        strcasecmp(node->text, "null") == 0);
}

const struct vm_yaml_node *vm_yaml_get(const struct vm_yaml_node *map, const char *key)
{
	const struct vm_yaml_node *node = map ? map->child : NULL;

	while (node && (!node->key || strcmp(node->key, key) != 0))
		node = node->next;
	return node;
}

static bool is_known(const char *key, const char *const *known)
{
	for (; *known; known++) {
		if (strcmp(key, *known) == 0)
			return true;
	}
	return false;
}

static int unknown_key(const struct vm_yaml *doc, const struct vm_yaml_node *node,
                       const char *const *known, struct vm_err *err)
{
	const char *meant = vm_suggest(node->key, known);

	if (meant)
		vm_yaml_fail(doc, node, err, "unknown key (did you mean '%s'?)", meant);
	else
		vm_yaml_fail(doc, node, err, "unknown key");
	vm_err_hint(err, "the keys here are");
	for (; *known; known++) {
		size_t used = strlen(err->hint);

		snprintf(err->hint + used, sizeof(err->hint) - used, " %s%s", *known,
		         known[1] ? "," : "");
	}
	return -1;
}

int vm_yaml_check_keys(const struct vm_yaml *doc, const struct vm_yaml_node *map,
                       const char *const *known, struct vm_err *err)
{
	if (map->kind != VM_YAML_MAP) {
		vm_yaml_fail(doc, map, err, "must be 'key: value' lines, not %s",
		             map->kind == VM_YAML_LIST ? "a list" : "plain text");
		return map->kind == VM_YAML_LIST
		               ? -1
		               : vm_err_hint(err, "a space must follow the colon of a key");
	}
	for (const struct vm_yaml_node *node = map->child; node; node = node->next) {
		if (!is_known(node->key, known))
			return unknown_key(doc, node, known, err);
	}
	return 0;
}

int vm_yaml_text(const struct vm_yaml *doc, const struct vm_yaml_node *node, const char **ret,
                 struct vm_err *err)
{
	if (!node)
		return 0;
	if (node->kind != VM_YAML_TEXT)
		return vm_yaml_fail(doc, node, err, "must be a single value, not a %s",
		                    node->kind == VM_YAML_LIST ? "list" : "map");
	if (vm_yaml_is_null(node)) {
		vm_yaml_fail(doc, node, err, "has no value");
		return vm_err_hint(err, "give one or remove the line");
	}
	*ret = node->text;
	return 0;
}

int vm_yaml_bool(const struct vm_yaml *doc, const struct vm_yaml_node *node, bool *ret,
                 struct vm_err *err)
{
	static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};
	const char *text = NULL;

	if (vm_yaml_text(doc, node, &text, err))
		return -1;
	if (!text)
		return 0;
	for (size_t i = 0; i < VM_ARRAY_LEN(words); i++) {
		if (strcasecmp(text, words[i]) == 0) {
			*ret = i % 2 == 1;
			return 0;
		}
	}
	return vm_yaml_fail(doc, node, err, "'%.64s' is neither true nor false", text);
}

int vm_yaml_unsigned(const struct vm_yaml *doc, const struct vm_yaml_node *node, unsigned min,
                     unsigned max, unsigned *ret, struct vm_err *err)
{
	char where[VM_YAML_WHERE_MAX];
	const char *text = NULL;
	int64_t n;

	if (vm_yaml_text(doc, node, &text, err))
		return -1;
	if (!text)
		return 0;
	if (vm_int_parse(text, vm_yaml_where(doc, node, where), min, max, &n, err))
		return -1;
	*ret = (unsigned)n;
	return 0;
}

int vm_yaml_size(const struct vm_yaml *doc, const struct vm_yaml_node *node, uint64_t *ret,
                 struct vm_err *err)
{
	char where[VM_YAML_WHERE_MAX];
	const char *text = NULL;

	if (vm_yaml_text(doc, node, &text, err))
		return -1;
	if (!text)
		return 0;
	return vm_size_parse(text, vm_yaml_where(doc, node, where), ret, err);
}
