/* SPDX-License-Identifier: Apache-2.0 */
#include "archive_impl.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <archive_entry.h>

#include "fs.h"
#include "interrupt.h"
#include "util.h"

enum {
	/* Of the stream, for the headers of one entry: libarchive takes at most 1 MiB for each. */
	HEADER_BYTES = 4 * 1024 * 1024,
	RUN_BYTES = 40, /* a line of the map: two numbers of up to 19 digits */
	SHOWN_BYTES = 80,
};

static la_ssize_t next_piece(struct archive *tar, void *ctx, const void **ret_data)
{
	struct vm_archive_reader *reader = ctx;
	la_ssize_t n = vm_archive_source_next(reader->source, ret_data);

	if (n < 0)
		archive_set_error(tar, EIO, "the stream cannot be read");
	return n;
}

/* Another's name for a message: no terminal is to be led astray by it. */
static const char *shown(const char *name, char buf[SHOWN_BYTES])
{
	size_t i = 0;

	for (; name && name[i] && i < SHOWN_BYTES - 1; i++)
		buf[i] = (char)(name[i] >= ' ' && name[i] <= '~' ? name[i] : '?');
	buf[i] = '\0';
	return buf;
}

static int unexpected(struct vm_archive_reader *reader, const char *name, const char *expected,
                      struct vm_err *err)
{
	bool ours =
	        strcmp(name, VM_ARCHIVE_IMAGE_NAME) == 0 || strcmp(name, VM_ARCHIVE_SUMS_NAME) == 0;
	char buf[SHOWN_BYTES];

	if (strcmp(expected, VM_ARCHIVE_IMAGE_NAME) == 0) {
		vm_err_set(err, VM_ERR_CORRUPT,
		           "this is not an archive of an image: it begins with '%s'",
		           shown(name, buf));
		return vm_err_hint(err, "such archives are made by 'vmctl snapshot export'");
	}
	if (!ours && !vm_archive_name_ok(name))
		return vm_err_set(err, VM_ERR_CORRUPT,
		                  "'%s' in the archive is not a plain file name", shown(name, buf));
	if (!ours && vm_archive_list_find(&reader->list, name) == reader->list.count)
		return vm_err_set(err, VM_ERR_CORRUPT, "%s in the archive was not announced", name);
	return vm_err_set(err, VM_ERR_CORRUPT, "%s stands in the archive where %s should be", name,
	                  expected);
}

static int check_kind(struct archive_entry *entry, const char *name, struct vm_err *err)
{
	if (archive_entry_hardlink(entry) || archive_entry_symlink(entry) ||
	    archive_entry_filetype(entry) != AE_IFREG)
		return vm_err_set(err, VM_ERR_CORRUPT,
		                  "%s in the archive is a link, directory or device, not a file",
		                  name);
	if (archive_entry_perm(entry) & 07000)
		return vm_err_set(err, VM_ERR_CORRUPT,
		                  "%s in the archive has a set-id or sticky mode", name);
	if (!archive_entry_size_is_set(entry) || archive_entry_size(entry) < 0)
		return vm_err_set(err, VM_ERR_CORRUPT, "%s in the archive has no size", name);
	return 0;
}

static int bad_beginning(struct vm_archive_reader *reader, struct vm_err *err)
{
	vm_archive_tar_failed(reader, err);
	if (err->code != VM_ERR_CORRUPT)
		return -1;
	vm_err_wrap(err, "this does not begin as an archive of an image");
	return vm_err_hint(err, "such archives are made by 'vmctl snapshot export'");
}

/* Goes on to the next entry, which has to be a file of that name. */
static int expect(struct vm_archive_reader *reader, const char *expected, uint64_t size_bytes,
                  struct archive_entry **ret, struct vm_err *err)
{
	uint64_t runs = size_bytes / ((uint64_t)2 * VM_ARCHIVE_BLOCK_BYTES) + 1;
	const char *name;
	int rc;

	runs = runs < VM_ARCHIVE_RUNS_MAX ? runs : VM_ARCHIVE_RUNS_MAX;
	vm_archive_source_allow(reader->source, HEADER_BYTES + runs * RUN_BYTES);
	rc = archive_read_next_header(reader->tar, ret);
	if (rc == ARCHIVE_EOF)
		return vm_err_set(err, VM_ERR_CORRUPT, "the archive ends before %s", expected);
	/* A warning is about a name or attribute that we would never have written. */
	if (rc != ARCHIVE_OK)
		return strcmp(expected, VM_ARCHIVE_IMAGE_NAME) == 0
		               ? bad_beginning(reader, err)
		               : vm_archive_tar_failed(reader, err);
	name = archive_entry_pathname(*ret);
	if (!name || strcmp(name, expected) != 0)
		return unexpected(reader, name ? name : "", expected, err);
	return check_kind(*ret, expected, err);
}

/* Reads one of our two JSON entries and hashes it. */
static int read_text(struct vm_archive_reader *reader, const char *name, char **ret_text,
                     size_t *ret_len, char ret_sum[VM_ARCHIVE_SUM_LEN + 1], struct vm_err *err)
{
	VM_AUTO_FREE char *text = NULL;
	struct archive_entry *entry = NULL;
	size_t len, got = 0;

	if (expect(reader, name, 0, &entry, err) < 0)
		return -1;
	if (archive_entry_size(entry) > VM_ARCHIVE_JSON_MAX)
		return vm_err_set(err, VM_ERR_CORRUPT, "%s has more than %d bytes", name,
		                  VM_ARCHIVE_JSON_MAX);
	len = (size_t)archive_entry_size(entry);
	text = vm_calloc(len + 1, 1, err);
	if (!text)
		return -1;
	vm_archive_source_allow(reader->source, HEADER_BYTES);
	while (got < len) {
		la_ssize_t n = archive_read_data(reader->tar, text + got, len - got);

		if (n < 0)
			return vm_archive_tar_failed(reader, err);
		if (n == 0)
			return vm_err_set(err, VM_ERR_CORRUPT, "%s is cut short", name);
		got += (size_t)n;
	}
	vm_archive_hash_all(reader->hash, text, len, ret_sum);
	*ret_text = vm_take_ptr(&text);
	*ret_len = len;
	return 0;
}

static int over(const char *what, uint64_t has, uint64_t max, struct vm_err *err)
{
	return vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES,
	                  "the archive has %ju %s, and the limit is %ju", (uintmax_t)has, what,
	                  (uintmax_t)max);
}

static int check_limits(const struct vm_archive_reader *reader, struct vm_err *err)
{
	const struct vm_archive_read_options *options = reader->options;
	const struct vm_archive_list *list = &reader->list;

	if (options->max_files && list->count > options->max_files)
		return over("files", list->count, options->max_files, err);
	if (options->max_size_bytes && list->size_bytes > options->max_size_bytes)
		return over("bytes", list->size_bytes, options->max_size_bytes, err);
	if (options->max_data_bytes && list->data_bytes > options->max_data_bytes)
		return over("bytes of data", list->data_bytes, options->max_data_bytes, err);
	return 0;
}

static int take_announcement(struct vm_archive_reader *reader, struct vm_err *err)
{
	struct vm_archive_list *list = &reader->list;
	char sum[VM_ARCHIVE_SUM_LEN + 1];
	VM_AUTO_FREE char *text = NULL;
	struct vm_archive_contents contents;
	size_t len = 0;

	if (read_text(reader, VM_ARCHIVE_IMAGE_NAME, &text, &len, sum, err) < 0 ||
	    vm_archive_image_parse(text, len, list, err) < 0)
		return -1;
	snprintf(list->image_sum, sizeof(list->image_sum), "%s", sum);
	if (check_limits(reader, err) < 0)
		return -1;
	contents = (struct vm_archive_contents){.image = list->image,
	                                        .made_by = list->made_by,
	                                        .files = list->files,
	                                        .count = list->count,
	                                        .size_bytes = list->size_bytes,
	                                        .data_bytes = list->data_bytes};
	if (!reader->options->check)
		return 0;
	return reader->options->check(reader->options->ctx, &contents, err);
}

static int take_file(struct vm_archive_reader *reader, int dir_fd, size_t index, struct vm_err *err)
{
	const struct vm_archive_file *file = &reader->list.files[index];
	struct archive_entry *entry = NULL;

	if (expect(reader, file->name, file->size_bytes, &entry, err) < 0)
		return -1;
	if ((uint64_t)archive_entry_size(entry) != file->size_bytes)
		return vm_err_set(err, VM_ERR_CORRUPT, "%s has %ju bytes, and %ju were announced",
		                  file->name, (uintmax_t)archive_entry_size(entry),
		                  (uintmax_t)file->size_bytes);
	return vm_archive_extract(reader, dir_fd, index, err);
}

static int take_end(struct vm_archive_reader *reader, struct vm_err *err)
{
	char unused[VM_ARCHIVE_SUM_LEN + 1], buf[SHOWN_BYTES];
	VM_AUTO_FREE char *text = NULL;
	struct archive_entry *entry = NULL;
	size_t len = 0;
	int rc;

	if (read_text(reader, VM_ARCHIVE_SUMS_NAME, &text, &len, unused, err) < 0 ||
	    vm_archive_sums_compare(text, len, &reader->list, err) < 0)
		return -1;
	vm_archive_source_allow(reader->source, HEADER_BYTES);
	rc = archive_read_next_header(reader->tar, &entry);
	if (rc == ARCHIVE_OK || rc == ARCHIVE_WARN)
		return vm_err_set(err, VM_ERR_CORRUPT, "'%s' stands behind the archive's end",
		                  shown(archive_entry_pathname(entry), buf));
	if (rc != ARCHIVE_EOF)
		return vm_archive_tar_failed(reader, err);
	return vm_archive_source_drain(reader->source,
	                               (uint64_t)archive_filter_bytes(reader->tar, 0), err);
}

static int in_the_way(void *ctx, int dir_fd, const char *name, struct vm_err *err)
{
	char path[VM_PATH_SHOWN];

	(void)ctx;
	return vm_err_set(err, VM_ERR_ALREADY_EXISTS, "%s is in the way",
	                  vm_fs_path(dir_fd, name, path, sizeof(path)));
}

/* *ret_made is how many files may be there. */
static int take_all(struct vm_archive_reader *reader, int *dir_fd, size_t *ret_made,
                    struct vm_err *err)
{
	const struct vm_archive_read_options *options = reader->options;

	if (take_announcement(reader, err) < 0)
		return -1;
	assert(*dir_fd >= 0 || options->late_dir_fd);
	if (*dir_fd < 0)
		*dir_fd = *options->late_dir_fd;
	if (vm_fs_each(*dir_fd, ".", in_the_way, NULL, err) < 0)
		return -1;
	for (size_t i = 0; i < reader->list.count; i++) {
		*ret_made = i + 1;
		if (take_file(reader, *dir_fd, i, err) < 0)
			return -1;
	}
	if (take_end(reader, err) < 0)
		return -1;
	if (options->durable && vm_fs_sync(*dir_fd, NULL, err) < 0)
		return -1;
	if (options->progress)
		options->progress(options->ctx, reader->list.data_bytes, reader->list.data_bytes);
	return 0;
}

static int open_all(struct vm_archive_reader *reader, int in_fd, struct vm_err *err)
{
	reader->block = vm_calloc(1, VM_ARCHIVE_BLOCK_BYTES, err);
	reader->hash = reader->block ? vm_archive_hash_new(err) : NULL;
	reader->source = reader->hash ? vm_archive_source_open(in_fd, err) : NULL;
	if (!reader->source)
		return -1;
	reader->tar = archive_read_new();
	if (!reader->tar)
		return vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES, "out of memory");
	vm_archive_source_allow(reader->source, HEADER_BYTES);
	/* Nothing but tar, and no filter: what is compressed twice is not unpacked twice. */
	if (archive_read_support_format_tar(reader->tar) != ARCHIVE_OK ||
	    archive_read_open(reader->tar, reader, NULL, next_piece, NULL) != ARCHIVE_OK)
		return bad_beginning(reader, err);
	return 0;
}

/* Takes away what was made. Whatever stays is the directory's owner's, who removes that too. */
static void undo(const struct vm_archive_list *list, size_t made, int dir_fd)
{
	for (size_t i = 0; i < made; i++) {
		struct vm_err ignored = {0};

		(void)vm_fs_unlink(dir_fd, list->files[i].name, &ignored);
	}
}

int vm_archive_read(int in_fd, int dir_fd, const struct vm_archive_read_options *options,
                    json_t **ret_image, struct vm_err *err)
{
	static const struct vm_archive_read_options defaults = {0};
	struct vm_archive_reader reader = {.options = options ? options : &defaults};
	size_t made = 0;
	int rc = open_all(&reader, in_fd, err);

	if (rc == 0)
		rc = take_all(&reader, &dir_fd, &made, err);
	if (rc == 0)
		*ret_image = json_incref(reader.list.image);
	else
		undo(&reader.list, made, dir_fd);
	archive_read_free(reader.tar);
	vm_archive_source_close(&reader.source);
	vm_archive_hash_free(&reader.hash);
	vm_archive_list_free(&reader.list);
	free(reader.block);
	return rc;
}
