/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Labels: what users say of instances and snapshots, as KEY=VALUE, and selectors, which choose by
 * it. docs/labels.md has the rules for users. Labels are kept in the store (vm_store_get_labels()),
 * not in the spec: they may change at any time, and nothing but choosing depends on them.
 */
#ifndef VM_LABELS_H
#define VM_LABELS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "err.h"

enum {
	VM_LABELS_MAX = 64,       /* of one instance */
	VM_LABEL_KEY_MAX = 63,    /* bytes; at least 1: letters, digits, and . _ - / */
	VM_LABEL_VALUE_MAX = 255, /* bytes of UTF-8 without control characters; may be empty */
};

struct vm_label {
	char *key, *value; /* owned */
};

/* A set, in order of key. A zeroed struct is an empty one. */
struct vm_labels {
	struct vm_label *list;
	size_t count;
};

void vm_labels_free(struct vm_labels *labels);
/* The value of a key, borrowed; NULL: there is none. */
const char *vm_labels_get(const struct vm_labels *labels, const char *key);
/* Puts one in, or in the place of what the key had, whatever the rules say. */
int vm_labels_put(struct vm_labels *labels, const char *key, const char *value, struct vm_err *err);
/* All of `from`, which win over what is there. */
int vm_labels_put_all(struct vm_labels *labels, const struct vm_labels *from, struct vm_err *err);
/* Whether it was there. */
bool vm_labels_remove(struct vm_labels *labels, const char *key);

/* The rules. Errors: usage, which does not say where the key or value stands. */
int vm_label_check_key(const char *key, struct vm_err *err);
int vm_label_check_value(const char *value, struct vm_err *err);
/* No more than VM_LABELS_MAX. */
int vm_labels_check_count(size_t count, struct vm_err *err);
/* vm_labels_put() by the rules. */
int vm_labels_set(struct vm_labels *labels, const char *key, const char *value, struct vm_err *err);
/* The same of "KEY=VALUE". */
int vm_labels_set_text(struct vm_labels *labels, const char *text, struct vm_err *err);

/* An object of strings; new reference, NULL when out of memory. */
json_t *vm_labels_to_json(const struct vm_labels *labels);
/*
 * By the rules, but that control characters become '?'. Errors: corrupt; *ret is untouched then.
 */
int vm_labels_from_json(const json_t *json, struct vm_labels *ret, struct vm_err *err);

/* --- selectors ----------------------------------------------------------------------------------
 */

enum vm_label_test {
	VM_LABEL_HAS,    /* KEY */
	VM_LABEL_LACKS,  /* !KEY */
	VM_LABEL_IS,     /* KEY=VALUE */
	VM_LABEL_IS_NOT, /* KEY!=VALUE: also true of what has no such key */
};

struct vm_label_requirement {
	enum vm_label_test test;
	char *key, *value; /* owned */
};

/* All of these must be met. A zeroed struct chooses everything. */
struct vm_label_selector {
	struct vm_label_requirement *list;
	size_t count;
};

/*
 * Adds the requirements of "KEY,!KEY,KEY=VALUE,KEY!=VALUE". In a VALUE a backslash takes the
 * character behind it as it is, a comma or another backslash. Errors: usage.
 */
int vm_label_selector_add(struct vm_label_selector *selector, const char *text, struct vm_err *err);
bool vm_label_selector_matches(const struct vm_label_selector *selector,
                               const struct vm_labels *labels);
void vm_label_selector_free(struct vm_label_selector *selector);

#endif
