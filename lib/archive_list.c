/* SPDX-License-Identifier: Apache-2.0 */
/* The two JSON texts of an archive: what it announces, and its checksums. */
#include "archive_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util.h"

int vm_archive_list_init(struct vm_archive_list *list, size_t count, struct vm_err *err)
{
	*list = (struct vm_archive_list){0};
	list->files = vm_calloc(count + 1, sizeof(*list->files), err);
	list->sums = list->files ? vm_calloc(count + 1, sizeof(*list->sums), err) : NULL;
	list->count = list->sums ? count : 0;
	return list->sums ? 0 : -1;
}

void vm_archive_list_free(struct vm_archive_list *list)
{
	free(list->files);
	free(list->sums);
	json_decref(list->image);
	*list = (struct vm_archive_list){0};
}

bool vm_archive_name_ok(const char *name)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	                            "0123456789_-.";
	size_t len = strlen(name);

	return len > 0 && len <= VM_ARCHIVE_NAME_MAX && strspn(name, plain) == len &&
	       name[0] != '.' && strcmp(name, VM_ARCHIVE_IMAGE_NAME) != 0 &&
	       strcmp(name, VM_ARCHIVE_SUMS_NAME) != 0;
}

size_t vm_archive_list_find(const struct vm_archive_list *list, const char *name)
{
	size_t i = 0;

	while (i < list->count && strcmp(list->files[i].name, name) != 0)
		i++;
	return i;
}

/* Takes over `json`, which may be NULL: out of memory, or not to be written as JSON. */
static int to_text(json_t *json, char **ret_text, size_t *ret_len, struct vm_err *err)
{
	VM_AUTO_FREE char *text = json ? json_dumps(json, JSON_INDENT(1)) : NULL;

	json_decref(json);
	if (!text)
		return vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES, "out of memory");
	if (strlen(text) > VM_ARCHIVE_JSON_MAX)
		return vm_err_set(err, VM_ERR_USAGE,
		                  "the description of the image has more than %d bytes",
		                  VM_ARCHIVE_JSON_MAX);
	*ret_len = strlen(text);
	*ret_text = vm_take_ptr(&text);
	return 0;
}

int vm_archive_image_text(const struct vm_archive_list *list, char **ret_text, size_t *ret_len,
                          struct vm_err *err)
{
	json_t *files = json_array();

	for (size_t i = 0; i < list->count; i++) {
		const struct vm_archive_file *file = &list->files[i];

		json_array_append_new(files, json_pack("{s:s, s:I, s:I}", "name", file->name,
		                                       "size", (json_int_t)file->size_bytes, "data",
		                                       (json_int_t)file->data_bytes));
	}
	return to_text(json_pack("{s:i, s:s, s:O, s:o}", "format", VM_ARCHIVE_FORMAT, "made_by",
	                         list->made_by, "image", list->image, "files", files),
	               ret_text, ret_len, err);
}

int vm_archive_sums_text(const struct vm_archive_list *list, char **ret_text, size_t *ret_len,
                         struct vm_err *err)
{
	json_t *files = json_object();

	json_object_set_new(files, VM_ARCHIVE_IMAGE_NAME, json_string(list->image_sum));
	for (size_t i = 0; i < list->count; i++)
		json_object_set_new(files, list->files[i].name, json_string(list->sums[i]));
	return to_text(
	        json_pack("{s:s, s:o}", "algorithm", VM_ARCHIVE_SUMS_ALGORITHM, "files", files),
	        ret_text, ret_len, err);
}

static int corrupt(const char *what, struct vm_err *err)
{
	return vm_err_set(err, VM_ERR_CORRUPT, "%s: %s", VM_ARCHIVE_IMAGE_NAME, what);
}

static int parse_file(const json_t *json, struct vm_archive_list *list, struct vm_err *err)
{
	struct vm_archive_file *file = &list->files[list->count];
	json_int_t size = -1, data = -1;
	const char *name = NULL;

	if (json_unpack((json_t *)json, "{s:s, s:I, s:I}", "name", &name, "size", &size, "data",
	                &data) < 0)
		return corrupt("a file without a name and a size", err);
	if (!vm_archive_name_ok(name))
		return corrupt("it announces a file whose name is not a plain one", err);
	if (vm_archive_list_find(list, name) < list->count)
		return vm_err_set(err, VM_ERR_CORRUPT, "%s: it announces %s twice",
		                  VM_ARCHIVE_IMAGE_NAME, name);
	if (size < 0 || data < 0 || data > size || (uint64_t)size > VM_ARCHIVE_BYTES_MAX ||
	    list->size_bytes + (uint64_t)size > VM_ARCHIVE_BYTES_MAX)
		return vm_err_set(err, VM_ERR_CORRUPT, "%s: %s has an impossible size",
		                  VM_ARCHIVE_IMAGE_NAME, name);
	snprintf(file->name, sizeof(file->name), "%s", name);
	file->size_bytes = (uint64_t)size;
	file->data_bytes = (uint64_t)data;
	list->size_bytes += file->size_bytes;
	list->data_bytes += file->data_bytes;
	list->count++;
	return 0;
}

/* A newer format may have anything else otherwise, so its number is looked at before the rest. */
static int check_format(const json_t *json, struct vm_err *err)
{
	const json_t *format = json_object_get(json, "format");

	if (!json_is_integer(format) || json_integer_value(format) < 1)
		return corrupt("it has no format number", err);
	if (json_integer_value(format) <= VM_ARCHIVE_FORMAT)
		return 0;
	vm_err_set(err, VM_ERR_INCOMPATIBLE,
	           "the archive has format %jd, and this vmctl knows formats up to %d",
	           (intmax_t)json_integer_value(format), VM_ARCHIVE_FORMAT);
	return vm_err_hint(err, "it was made by a newer vmctl; import it with that one");
}

static int parse_image(const json_t *json, struct vm_archive_list *list, struct vm_err *err)
{
	const json_t *files = json_object_get(json, "files");
	json_t *image = json_object_get(json, "image");
	const char *made_by = json_string_value(json_object_get(json, "made_by"));

	if (check_format(json, err) < 0)
		return -1;
	if (!json_is_object(image) || !json_is_array(files) || !made_by)
		return corrupt("it has no image, no files or no made_by", err);
	if (json_array_size(files) > VM_ARCHIVE_FILES_MAX)
		return vm_err_set(err, VM_ERR_CORRUPT, "%s: it announces more than %d files",
		                  VM_ARCHIVE_IMAGE_NAME, VM_ARCHIVE_FILES_MAX);
	if (vm_archive_list_init(list, json_array_size(files), err) < 0)
		return -1;
	list->count = 0;
	for (size_t i = 0; i < json_array_size(files); i++) {
		if (parse_file(json_array_get(files, i), list, err) < 0)
			return -1;
	}
	list->image = json_incref(image);
	/* It may end up on a terminal. */
	for (size_t i = 0; i < sizeof(list->made_by) - 1 && made_by[i]; i++)
		list->made_by[i] =
		        (char)(made_by[i] >= ' ' && made_by[i] <= '~' ? made_by[i] : '?');
	return 0;
}

int vm_archive_image_parse(const char *text, size_t len, struct vm_archive_list *ret,
                           struct vm_err *err)
{
	json_t *json = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	int rc = json ? parse_image(json, ret, err) : corrupt("it is not JSON", err);

	json_decref(json);
	return rc;
}

static int compare(const json_t *sums, const char *name, const char *found, struct vm_err *err)
{
	const char *told = json_string_value(json_object_get(sums, name));

	if (!told)
		return vm_err_set(err, VM_ERR_CORRUPT, "%s has no checksum of %s",
		                  VM_ARCHIVE_SUMS_NAME, name);
	if (strcmp(told, found) == 0)
		return 0;
	vm_err_set(err, VM_ERR_CORRUPT, "%s is damaged: its content does not have its checksum",
	           name);
	return vm_err_hint(err, "get the archive again from where it came from");
}

static int compare_all(const json_t *json, const struct vm_archive_list *list, struct vm_err *err)
{
	const json_t *sums = json_object_get(json, "files");
	const char *algorithm = json_string_value(json_object_get(json, "algorithm"));

	if (!json_is_object(sums) || !algorithm ||
	    strcmp(algorithm, VM_ARCHIVE_SUMS_ALGORITHM) != 0)
		return vm_err_set(err, VM_ERR_CORRUPT, "%s holds no checksums",
		                  VM_ARCHIVE_SUMS_NAME);
	if (json_object_size(sums) != list->count + 1)
		return vm_err_set(err, VM_ERR_CORRUPT, "%s is about other files",
		                  VM_ARCHIVE_SUMS_NAME);
	if (compare(sums, VM_ARCHIVE_IMAGE_NAME, list->image_sum, err) < 0)
		return -1;
	for (size_t i = 0; i < list->count; i++) {
		if (compare(sums, list->files[i].name, list->sums[i], err) < 0)
			return -1;
	}
	return 0;
}

int vm_archive_sums_compare(const char *text, size_t len, const struct vm_archive_list *list,
                            struct vm_err *err)
{
	json_t *json = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	int rc = json ? compare_all(json, list, err)
	              : vm_err_set(err, VM_ERR_CORRUPT, "%s is not JSON", VM_ARCHIVE_SUMS_NAME);

	json_decref(json);
	return rc;
}
