/* SPDX-License-Identifier: Apache-2.0 */
/* What people write: the YAML file and --disk. docs/spec.md describes both. */
#include <string.h>

#include "spec.h"
#include "spec_impl.h"
#include "util.h"
#include "yamldoc.h"

static const char *const spec_keys[] = {
        "name",  "hypervisor", "kernel",  "initrd",  "boot_args",   "vcpus",  "memory",
        "vsock", "disks",      "machine", "network", "accelerator", "labels", NULL,
};
static const char *const disk_keys[] = {"id", "path", "size", "root", "readonly", "format", NULL};

struct spec_file {
	struct vm_yaml doc;
	const char *base_dir; /* NULL: paths stay as they are */
	struct vm_spec spec;
};

static void spec_file_free(struct spec_file *file)
{
	vm_yaml_free(&file->doc);
	vm_spec_free(&file->spec);
}

static int wrap_where(const struct spec_file *file, const struct vm_yaml_node *node,
                      struct vm_err *err)
{
	char where[VM_YAML_WHERE_MAX];

	return vm_err_wrap(err, "%s", vm_yaml_where(&file->doc, node, where));
}

static int take_text(const struct spec_file *file, const struct vm_yaml_node *node, char **ret,
                     struct vm_err *err)
{
	const char *text = NULL;

	if (vm_yaml_text(&file->doc, node, &text, err))
		return -1;
	if (!text)
		return 0;
	*ret = vm_strdup(text, err);
	return *ret ? 0 : -1;
}

static int take_path(const struct spec_file *file, const struct vm_yaml_node *node, char **ret,
                     struct vm_err *err)
{
	const char *base = file->base_dir;
	const char *text = NULL;

	if (vm_yaml_text(&file->doc, node, &text, err))
		return -1;
	if (!text)
		return 0;
	/* Checked before it is joined to the directory, which would hide an empty one. */
	if (vm_spec_path_check(text, err))
		return wrap_where(file, node, err);
	if (*text == '/' || !base || !*base || strcmp(base, ".") == 0)
		*ret = vm_strdup(text, err);
	else
		*ret = vm_strf(err, "%s%s%s", base, base[strlen(base) - 1] == '/' ? "" : "/", text);
	return *ret ? 0 : -1;
}

static int disk_id(const struct spec_file *file, const struct vm_yaml_node *node, size_t index,
                   struct vm_disk *disk, struct vm_err *err)
{
	const char *id = NULL;

	if (vm_yaml_text(&file->doc, node, &id, err))
		return -1;
	if (id && vm_spec_disk_set_id(disk, id, err))
		return wrap_where(file, node, err);
	if (!id)
		vm_spec_disk_default_id(disk, index);
	return 0;
}

static int take_format(const struct spec_file *file, const struct vm_yaml_node *node,
                       struct vm_disk *disk, struct vm_err *err)
{
	const char *text = NULL;

	if (vm_yaml_text(&file->doc, node, &text, err))
		return -1;
	if (text && vm_spec_disk_set_format(disk, text, err))
		return wrap_where(file, node, err);
	return 0;
}

static int take_network(struct spec_file *file, const struct vm_yaml_node *node, struct vm_err *err)
{
	const char *text = NULL;

	if (vm_yaml_text(&file->doc, node, &text, err))
		return -1;
	if (text && vm_spec_set_network(&file->spec, text, err))
		return wrap_where(file, node, err);
	return 0;
}

/* Every key is the user's own; that none is given twice was seen while reading. */
static int take_labels(struct spec_file *file, const struct vm_yaml_node *map, struct vm_err *err)
{
	const struct vm_yaml *doc = &file->doc;

	if (!map || vm_yaml_is_null(map))
		return 0;
	if (map->kind != VM_YAML_MAP) {
		vm_yaml_fail(doc, map, err, "must be 'key: value' lines");
		return vm_err_hint(err, "write each label on a line of its own: 'app: web'");
	}
	for (const struct vm_yaml_node *node = map->child; node; node = node->next) {
		const char *value = NULL;

		if (vm_yaml_text(doc, node, &value, err))
			return -1;
		if (vm_labels_set(&file->spec.labels, node->key, value, err))
			return wrap_where(file, node, err);
	}
	return 0;
}

static int parse_disk(struct spec_file *file, const struct vm_yaml_node *map, struct vm_disk *disk,
                      struct vm_err *err)
{
	const struct vm_yaml *doc = &file->doc;
	const struct vm_yaml_node *path, *size;

	if (vm_yaml_check_keys(doc, map, disk_keys, err))
		return -1;
	path = vm_yaml_get(map, "path");
	size = vm_yaml_get(map, "size");
	if (!path == !size)
		return vm_yaml_fail(doc, map, err,
		                    path ? "has path and size; a disk is either a copy or blank"
		                         : "needs a path, or the size of a blank disk");
	if (disk_id(file, vm_yaml_get(map, "id"), map->index, disk, err) ||
	    take_path(file, path, &disk->path, err) ||
	    vm_yaml_size(doc, size, &disk->size_bytes, err) ||
	    take_format(file, vm_yaml_get(map, "format"), disk, err) ||
	    vm_yaml_bool(doc, vm_yaml_get(map, "readonly"), &disk->read_only, err) ||
	    vm_yaml_bool(doc, vm_yaml_get(map, "root"), &disk->root, err))
		return -1;
	disk->root_given = vm_yaml_get(map, "root") != NULL;
	if (size && disk->size_bytes == 0)
		return vm_yaml_fail(doc, size, err, "must not be 0");
	return 0;
}

static int parse_disks(struct spec_file *file, const struct vm_yaml_node *list, struct vm_err *err)
{
	struct vm_spec *spec = &file->spec;

	if (!list || vm_yaml_is_null(list))
		return 0;
	if (list->kind != VM_YAML_LIST) {
		vm_yaml_fail(&file->doc, list, err, "must be a list");
		return vm_err_hint(err, "begin each disk with '- ', e.g. '- path: root.img'");
	}
	if (list->count > VM_DISKS_MAX)
		return vm_yaml_fail(&file->doc, list, err, "has %zu disks, the limit is %d",
		                    list->count, VM_DISKS_MAX);
	for (const struct vm_yaml_node *node = list->child; node; node = node->next) {
		/* Counted before it is filled, so that what it got is freed. */
		if (parse_disk(file, node, &spec->disks[spec->disk_count++], err))
			return -1;
	}
	vm_spec_default_root(spec);
	return 0;
}

/* The nearest node of a broken rule. */
static const struct vm_yaml_node *fault_node(const struct spec_file *file,
                                             const struct vm_spec_fault *fault)
{
	const struct vm_yaml_node *node = file->doc.root;
	const struct vm_yaml_node *field;

	if (fault->disk != VM_SPEC_NO_DISK) {
		node = vm_yaml_get(node, "disks")->child;
		for (int i = 0; i < fault->disk; i++)
			node = node->next;
	}
	field = fault->field ? vm_yaml_get(node, fault->field) : NULL;
	return field ? field : node;
}

static int parse_root(struct spec_file *file, struct vm_err *err)
{
	const struct vm_yaml_node *root = file->doc.root;
	const struct vm_yaml *doc = &file->doc;
	struct vm_spec *spec = &file->spec;
	struct vm_spec_fault fault;

	if (vm_yaml_check_keys(doc, root, spec_keys, err))
		return -1;
	if (take_text(file, vm_yaml_get(root, "name"), &spec->name, err) ||
	    take_text(file, vm_yaml_get(root, "hypervisor"), &spec->hypervisor, err) ||
	    take_text(file, vm_yaml_get(root, "machine"), &spec->machine, err) ||
	    take_text(file, vm_yaml_get(root, "accelerator"), &spec->accelerator, err) ||
	    take_network(file, vm_yaml_get(root, "network"), err) ||
	    take_path(file, vm_yaml_get(root, "kernel"), &spec->kernel, err) ||
	    take_path(file, vm_yaml_get(root, "initrd"), &spec->initrd, err) ||
	    take_text(file, vm_yaml_get(root, "boot_args"), &spec->boot_args, err) ||
	    vm_yaml_unsigned(doc, vm_yaml_get(root, "vcpus"), 1, VM_VCPUS_MAX, &spec->vcpus, err) ||
	    vm_yaml_size(doc, vm_yaml_get(root, "memory"), &spec->memory_bytes, err) ||
	    vm_yaml_bool(doc, vm_yaml_get(root, "vsock"), &spec->vsock, err) ||
	    take_labels(file, vm_yaml_get(root, "labels"), err) ||
	    parse_disks(file, vm_yaml_get(root, "disks"), err))
		return -1;
	spec->vsock_given = vm_yaml_get(root, "vsock") != NULL;
	if (vm_spec_validate(spec, &fault, err))
		return wrap_where(file, fault_node(file, &fault), err);
	return 0;
}

int vm_spec_parse(const char *text, size_t len, const char *origin, const char *base_dir,
                  struct vm_spec *ret_spec, struct vm_err *err)
{
	VM_AUTO(spec_file_free) struct spec_file file = {.base_dir = base_dir};

	vm_spec_init(&file.spec);
	if (vm_yaml_parse(text, len, origin, &file.doc, err))
		return -1;
	if (!file.doc.root || vm_yaml_is_null(file.doc.root)) {
		vm_err_set(err, VM_ERR_USAGE, "%s: is empty", origin);
		return vm_err_hint(err, "a spec has at least kernel:, e.g. 'kernel: vmlinux'");
	}
	if (parse_root(&file, err))
		return -1;
	*ret_spec = file.spec;
	vm_spec_init(&file.spec);
	return 0;
}

int vm_spec_load(const char *path, struct vm_spec *ret_spec, struct vm_err *err)
{
	bool is_stdin = strcmp(path, "-") == 0;
	VM_AUTO_FREE char *text = NULL;
	VM_AUTO_FREE char *dir = NULL;
	size_t len;

	if (vm_yaml_read(is_stdin ? NULL : path, &text, &len, err))
		return -1;
	if (is_stdin)
		return vm_spec_parse(text, len, "stdin", NULL, ret_spec, err);
	dir = vm_strdup(path, err);
	if (!dir)
		return -1;
	/* Up to the last slash; nothing for a file in the working directory. */
	if (strrchr(dir, '/'))
		strrchr(dir, '/')[1] = '\0';
	else
		*dir = '\0';
	return vm_spec_parse(text, len, path, dir, ret_spec, err);
}

/* --- --disk
 * --------------------------------------------------------------------------------------*/

struct disk_words {
	const char *id, *path, *size, *format, *readonly, *root; /* NULL: not given */
};

static int word_unknown(const char *word, bool has_value, struct vm_err *err)
{
	const char *meant = vm_suggest(word, disk_keys);

	if (meant)
		return vm_err_set(err, VM_ERR_USAGE, "unknown key '%.64s' (did you mean '%s'?)",
		                  word, meant);
	vm_err_set(err, VM_ERR_USAGE,
	           "%s'%.64s' is none of id=, path=, size=, format=, readonly, root",
	           has_value ? "key " : "", word);
	return vm_err_hint(err, "a path that holds a comma can only be given in a spec file");
}

static int take_word(struct disk_words *words, char *word, struct vm_err *err)
{
	char *value = strchr(word, '=');
	const char **slot = NULL;
	bool flag = false;

	if (value)
		*value++ = '\0';
	if (strcmp(word, "id") == 0)
		slot = &words->id;
	else if (strcmp(word, "path") == 0)
		slot = &words->path;
	else if (strcmp(word, "size") == 0)
		slot = &words->size;
	else if (strcmp(word, "format") == 0)
		slot = &words->format;
	else if (strcmp(word, "readonly") == 0)
		slot = &words->readonly;
	else if (strcmp(word, "root") == 0)
		slot = &words->root;
	else
		return word_unknown(word, value, err);
	flag = slot == &words->readonly || slot == &words->root;
	if (*slot)
		return vm_err_set(err, VM_ERR_USAGE, "%s is given twice", word);
	if (!value && !flag)
		return vm_err_set(err, VM_ERR_USAGE, "%s needs a value: %s=...", word, word);
	*slot = value ? value : "true";
	return 0;
}

static int flag_value(const char *text, const char *key, bool *ret, struct vm_err *err)
{
	if (!text)
		return 0;
	if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
		return vm_err_set(err, VM_ERR_USAGE, "%s: '%.64s' is neither true nor false", key,
		                  text);
	*ret = strcmp(text, "true") == 0;
	return 0;
}

/* Fills `disk`, whose path is owned by the caller even when this fails. */
static int disk_from_words(const struct disk_words *words, size_t index, struct vm_disk *disk,
                           struct vm_err *err)
{
	if (!words->path == !words->size)
		return vm_err_set(err, VM_ERR_USAGE,
		                  words->path
		                          ? "has path= and size=; a disk is either a copy or blank"
		                          : "needs path=, or size= for a blank disk");
	if (words->id && vm_spec_disk_set_id(disk, words->id, err))
		return vm_err_wrap(err, "id");
	if (!words->id)
		vm_spec_disk_default_id(disk, index);
	if (words->size && vm_size_parse(words->size, "size", &disk->size_bytes, err))
		return -1;
	if (words->size && !disk->size_bytes)
		return vm_err_set(err, VM_ERR_USAGE, "size: must not be 0");
	if (flag_value(words->readonly, "readonly", &disk->read_only, err) ||
	    flag_value(words->root, "root", &disk->root, err))
		return -1;
	if (words->format && vm_spec_disk_set_format(disk, words->format, err))
		return vm_err_wrap(err, "format");
	disk->root_given = words->root != NULL;
	if (words->path)
		disk->path = vm_strdup(words->path, err);
	return words->path && !disk->path ? -1 : 0;
}

/* `text` is cut into pieces that *words then points to. */
static int split_words(char *text, struct disk_words *words, struct vm_err *err)
{
	char *rest = text;

	if (*text == '/' || strncmp(text, "./", 2) == 0 || strncmp(text, "../", 3) == 0 ||
	    !strpbrk(text, "=,")) {
		words->path = text;
		if (!strchr(text, ','))
			return 0;
		vm_err_set(err, VM_ERR_USAGE, "a comma after a plain path");
		return vm_err_hint(err,
		                   "write path=PATH,... to say more than the path; a path that "
		                   "holds a comma can only be given in a spec file");
	}
	while (rest) {
		if (take_word(words, strsep(&rest, ","), err))
			return -1;
	}
	return 0;
}

static int append_disk(struct vm_spec *spec, const char *argument, struct vm_err *err)
{
	VM_AUTO_FREE char *text = vm_strdup(argument, err);
	struct vm_spec_fault fault;
	struct disk_words words = {0};
	struct vm_disk *disk;

	if (!text || split_words(text, &words, err))
		return -1;
	if (spec->disk_count >= VM_DISKS_MAX)
		return vm_err_set(err, VM_ERR_USAGE, "is one more than the limit of %d disks",
		                  VM_DISKS_MAX);
	disk = &spec->disks[spec->disk_count];
	*disk = (struct vm_disk){0};
	if (disk_from_words(&words, spec->disk_count, disk, err))
		return -1;
	spec->disk_count++;
	vm_spec_default_root(spec);
	if (!vm_spec_validate_disk(spec, spec->disk_count - 1, &fault, err))
		return 0;
	return fault.field ? vm_err_wrap(err, "%s", fault.field) : -1;
}

int vm_spec_add_disk(struct vm_spec *spec, const char *argument, struct vm_err *err)
{
	size_t before = spec->disk_count;

	if (append_disk(spec, argument, err) == 0)
		return 0;
	if (before < VM_DISKS_MAX) {
		vm_cleanup_free(&spec->disks[before].path);
		spec->disks[before] = (struct vm_disk){0};
	}
	spec->disk_count = before;
	vm_spec_default_root(spec);
	return vm_err_wrap(err, "--disk '%.200s'", argument);
}
