/* SPDX-License-Identifier: Apache-2.0 */
/* What a hook is told: its environment, and JSON on its standard input. docs/hooks.md has it all.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "driver/driver.h"
#include "hooks_impl.h"
#include "util.h"

static const struct vm_instance nobody = {.id = ""};

void vm_hook_words_free(struct vm_hook_words *words)
{
	for (size_t i = 0; i < words->own; i++)
		free(words->environment[i]);
	free(words->environment);
	free(words->input);
	*words = (struct vm_hook_words){0};
}

static int put(struct vm_hook_words *words, const char *name, const char *value, struct vm_err *err)
{
	char *word = vm_strf(err, "%s=%s", name, value);

	if (!word)
		return -1;
	words->environment[words->own++] = word;
	return 0;
}

/* A hook runs in another directory than we do: a path that begins in ours would not be found. */
static int put_path(struct vm_hook_words *words, const char *name, struct vm_err *err)
{
	const char *value = name ? getenv(name) : NULL;
	VM_AUTO_FREE char *cwd = NULL, *path = NULL;

	if (!value || !*value || *value == '/')
		return 0;
	cwd = getcwd(NULL, 0);
	if (!cwd)
		return vm_err_sys(err, "$%s is relative, and the current directory", name);
	path = vm_strf(err, "%s/%s", cwd, value);
	return path ? put(words, name, path, err) : -1;
}

static int put_own(const struct vm_op *op, const char *hook, const struct vm_hook_call *call,
                   struct vm_hook_words *words, struct vm_err *err)
{
	const struct vm_instance *instance = call->instance ? call->instance : &nobody;
	const struct vm_instance *source = call->source ? call->source : &nobody;
	const struct vm_instance *about = call->instance ? call->instance : source;
	const struct {
		const char *name, *value;
	} own[] = {
	        {"VMCTL_HOOK", hook},
	        {"VMCTL_VERB", op->verb},
	        {"VMCTL_ROOT", op->root->path},
	        {"VMCTL_INSTANCE_ID", instance->id},
	        {"VMCTL_INSTANCE_NAME", instance->name},
	        {"VMCTL_SOURCE_ID", source->id},
	        {"VMCTL_SOURCE_NAME", source->name},
	        {"VMCTL_STATE", vm_state_name(about->state)},
	};

	for (size_t i = 0; i < VM_ARRAY_LEN(own); i++) {
		if (put(words, own[i].name, own[i].value, err) < 0)
			return -1;
	}
	for (size_t i = 0; vm_drivers[i]; i++) {
		if (put_path(words, vm_drivers[i]->binary_variable, err) < 0)
			return -1;
	}
	return put_path(words, "VMCTL_CONFIG", err);
}

static bool is_own(const struct vm_hook_words *words, const char *word)
{
	size_t len = strcspn(word, "=");

	for (size_t i = 0; i < words->own; i++) {
		if (strncmp(words->environment[i], word, len + 1) == 0)
			return true;
	}
	return false;
}

static int make_environment(const struct vm_op *op, const char *hook,
                            const struct vm_hook_call *call, struct vm_hook_words *words,
                            struct vm_err *err)
{
	enum { OWN_MAX = 16 };
	size_t count = 0;

	while (environ && environ[count])
		count++;
	words->environment = vm_calloc(count + OWN_MAX + 1, sizeof(*words->environment), err);
	if (!words->environment || put_own(op, hook, call, words, err) < 0)
		return -1;
	for (size_t i = 0, end = words->own; i < count; i++) {
		if (!is_own(words, environ[i]))
			words->environment[end++] = environ[i];
	}
	return 0;
}

static json_t *text_json(const char *text)
{
	return text[0] ? json_string(text) : json_null();
}

json_t *vm_hook_labels(const struct vm_root *root, const struct vm_instance *row)
{
	struct vm_labels labels = {0};
	struct vm_err ignored = {0};
	json_t *json;

	if (vm_store_get_labels(root->store, row->id, &labels, &ignored) < 0)
		return json_null(); /* it was removed meanwhile */
	json = vm_labels_to_json(&labels);
	vm_labels_free(&labels);
	return json;
}

/* `labels` are those of a row that has gone, or NULL. */
static json_t *row_json(const struct vm_root *root, const struct vm_instance *row, json_t *labels)
{
	const char *kind_dir = "";
	struct vm_err ignored = {0};
	VM_AUTO_FREE char *dir = NULL;
	json_t *spec;

	if (!row)
		return json_null();
	kind_dir = row->kind == VM_KIND_IMAGE ? VM_IMAGES_DIR : VM_GUESTS_DIR;
	dir = vm_strf(&ignored, "%s/%s/%s", root->path, kind_dir, row->id);
	spec = row->spec ? json_loads(row->spec, 0, NULL) : NULL;
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:i, s:I, s:o, s:o, s:o, s:o}", "id",
	                 row->id, "name", row->name, "kind", vm_kind_name(row->kind), "state",
	                 vm_state_name(row->state), "hypervisor", row->hypervisor, "guest_cid",
	                 row->guest_cid ? json_integer((json_int_t)row->guest_cid) : json_null(),
	                 "vcpus", (int)row->vcpus, "memory_bytes", (json_int_t)row->memory_bytes,
	                 "parent",
	                 row->parent_id[0] ? json_pack("{s:s, s:o}", "id", row->parent_id, "name",
	                                               text_json(row->parent_name))
	                                   : json_null(),
	                 "directory", dir ? text_json(dir) : NULL, "labels",
	                 labels ? json_incref(labels) : vm_hook_labels(root, row), "spec",
	                 spec ? spec : json_null());
}

int vm_hook_words_make(const struct vm_op *op, const char *hook, const struct vm_hook_call *call,
                       struct vm_hook_words *ret, struct vm_err *err)
{
	struct vm_hook_words words = {0};
	json_t *json;
	int rc = make_environment(op, hook, call, &words, err);

	if (rc == 0) {
		/* O takes a reference of its own, which must not be const. */
		json = json_pack("{s:s, s:s, s:o, s:o, s:o, s:O}", "hook", hook, "verb", op->verb,
		                 "root", text_json(op->root->path), "instance",
		                 row_json(op->root, call->instance, call->labels), "source",
		                 row_json(op->root, call->source, NULL), "request",
		                 (json_t *)call->request);
		words.input = json ? json_dumps(json, JSON_COMPACT) : NULL;
		json_decref(json);
		if (!words.input)
			rc = vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES,
			                "out of memory, or a path that is not UTF-8");
	}
	if (rc < 0)
		vm_hook_words_free(&words);
	else
		*ret = words;
	return rc;
}
