/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small tree over libyaml's events for files that people write: spec files and settings. (Not
 * yaml.h: with -Ilib that would hide libyaml's own header.)
 *
 * A node is text, a list or a map, and knows its line and where it hangs, so that every message can
 * be "web.yaml:4: disks[0].size: what is wrong". All text stays as it was written; the getters
 * below turn it into a type, so `name: 123` and `name: no` are names and nothing is guessed.
 * Refused while reading, because they only hide mistakes in files this small: anchors and aliases,
 * tags, duplicate keys, keys that are not text, control characters, a second document, nesting
 * deeper than 16 and more than 4096 entries.
 */
#ifndef VM_YAMLDOC_H
#define VM_YAMLDOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

enum {
	VM_YAML_FILE_MAX = 1024 * 1024,
	VM_YAML_DEPTH_MAX = 16,
	VM_YAML_NODES_MAX = 4096,
	VM_YAML_WHERE_MAX = 512, /* bytes that always hold what vm_yaml_where() writes */
};

enum vm_yaml_kind { VM_YAML_TEXT, VM_YAML_LIST, VM_YAML_MAP };

struct vm_yaml_node {
	enum vm_yaml_kind kind;
	bool plain;   /* text without quotes: an empty one, ~ and null mean "no value" */
	size_t line;  /* from 1; of the key where there is one */
	char *key;    /* NULL unless the parent is a map */
	size_t index; /* place among the parent's children, from 0 */
	char *text;   /* without NUL and control characters; NULL for lists and maps */
	size_t count; /* of children */
	struct vm_yaml_node *parent, *child, *last, *next;
};

struct vm_yaml {
	const char *origin;        /* the file's name for messages; borrowed */
	struct vm_yaml_node *root; /* NULL for a text without a document */
};

/*
 * Reads a whole file, or standard input when `path` is NULL. A missing file is not_found; a
 * directory and a file above 1 MiB are usage; the rest is system. *ret_text ends with a NUL that
 * *ret_len does not count.
 */
int vm_yaml_read(const char *path, char **ret_text, size_t *ret_len, struct vm_err *err);
/* The two halves of it, for who looks at the open file first. The descriptor, or -1. */
int vm_yaml_open(const char *path, struct vm_err *err);
int vm_yaml_read_fd(int fd, const char *path, char **ret_text, size_t *ret_len, struct vm_err *err);

/* Errors: usage with file and line, for bad syntax the column too. Free with vm_yaml_free(). */
int vm_yaml_parse(const char *text, size_t len, const char *origin, struct vm_yaml *ret_doc,
                  struct vm_err *err);
void vm_yaml_free(struct vm_yaml *doc); /* accepts a zeroed struct */

/* "web.yaml:4: disks[0].size" into buf (VM_YAML_WHERE_MAX bytes), which it returns. */
char *vm_yaml_where(const struct vm_yaml *doc, const struct vm_yaml_node *node,
                    char buf[VM_YAML_WHERE_MAX]);
/* Sets a usage error that begins with vm_yaml_where(). */
int vm_yaml_fail(const struct vm_yaml *doc, const struct vm_yaml_node *node, struct vm_err *err,
                 const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* No value was given: `key:`, `key: ~` or `key: null`. */
bool vm_yaml_is_null(const struct vm_yaml_node *node);
/* Fails unless the node is a map with none but the keys of `known`, which ends with NULL. */
int vm_yaml_check_keys(const struct vm_yaml *doc, const struct vm_yaml_node *map,
                       const char *const *known, struct vm_err *err);
/* The value of a key or NULL; NULL too when `map` is NULL or no map. */
const struct vm_yaml_node *vm_yaml_get(const struct vm_yaml_node *map, const char *key);

/*
 * The getters accept a NULL node, for a key that was not given: they succeed and leave *ret alone.
 * Text is borrowed from the document. Booleans are true/yes/on and false/no/off in any case.
 */
int vm_yaml_text(const struct vm_yaml *doc, const struct vm_yaml_node *node, const char **ret,
                 struct vm_err *err);
int vm_yaml_bool(const struct vm_yaml *doc, const struct vm_yaml_node *node, bool *ret,
                 struct vm_err *err);
int vm_yaml_unsigned(const struct vm_yaml *doc, const struct vm_yaml_node *node, unsigned min,
                     unsigned max, unsigned *ret, struct vm_err *err);
/* As vm_size_parse(). */
int vm_yaml_size(const struct vm_yaml *doc, const struct vm_yaml_node *node, uint64_t *ret,
                 struct vm_err *err);

#endif
