/* SPDX-License-Identifier: Apache-2.0 */
#include "archive_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <archive_entry.h>

#include "fault.h"
#include "fs.h"
#include "interrupt.h"
#include "util.h"

enum {
	BUFFER_BYTES = 16 * VM_ARCHIVE_BLOCK_BYTES,
	OUT_BLOCK_BYTES = 64 * 1024,
	THREADS_MAX = 4,
	/* Holes are told to libarchive as data that it does not look at: memory never touched. */
	HOLE_BYTES = 64 * 1024 * 1024,
};

struct input {
	int fd;
	struct stat st; /* when it was opened */
	struct vm_archive_runs runs;
};

struct writer {
	const struct vm_archive_write_options *options;
	int out_fd;
	bool out_is_file;
	bool out_muted; /* what comes is dropped */
	struct archive *tar;
	struct vm_archive_hash *hash;
	struct vm_archive_list list;
	struct input *inputs; /* as many as files in the list */
	char *buffer;
	void *hole;
	struct vm_err
	        out_err; /* what put_out() failed with; libarchive only hands on that it did */
	uint64_t done_bytes, told_bytes;
};

/* --- the stream ----------------------------------------------------------------------------------
 */

static int out_failed(struct writer *w)
{
	char path[VM_PATH_SHOWN];

	if (errno == EPIPE) {
		vm_err_set(&w->out_err, VM_ERR_SYSTEM,
		           "writing the archive: nobody reads it any more (broken pipe)");
		return vm_err_hint(&w->out_err, "the command behind the pipe has ended early; it "
		                                "should have said why");
	}
	if (w->out_is_file)
		return vm_err_sys(&w->out_err, "writing the archive %s",
		                  vm_fs_path(w->out_fd, NULL, path, sizeof(path)));
	return vm_err_sys(&w->out_err, "writing the archive");
}

/*
 * A write to a pipe of at most PIPE_BUF bytes does not sleep once poll() has said that there is
 * room, so that a signal is always seen: in poll(), which ends by itself to look for one.
 */
static ssize_t put_some(struct writer *w, const char *data, size_t len)
{
	struct pollfd out = {.fd = w->out_fd, .events = POLLOUT};
	ssize_t n;

	if (w->out_is_file ? vm_interrupt_check(&w->out_err) < 0
	                   : vm_poll_until(&out, 1, -1, &w->out_err) < 0)
		return -1;
	n = write(w->out_fd, data, w->out_is_file || len < PIPE_BUF ? len : PIPE_BUF);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	return n < 0 ? out_failed(w) : n;
}

static la_ssize_t put_out(struct archive *tar, void *ctx, const void *data, size_t len)
{
	struct writer *w = ctx;
	size_t done = 0;

	while (done < len && !w->out_muted) {
		ssize_t n = w->out_err.code == VM_OK
		                    ? put_some(w, (const char *)data + done, len - done)
		                    : -1;

		if (n < 0) {
			archive_set_error(tar, EIO, "the stream cannot be written");
			return -1;
		}
		done += (size_t)n;
	}
	return (la_ssize_t)len;
}

static int tar_failed(struct writer *w, struct vm_err *err)
{
	if (w->out_err.code != VM_OK) {
		*err = w->out_err;
		return -1;
	}
	if (archive_errno(w->tar) == ENOMEM)
		return vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES, "out of memory");
	return vm_err_set(err, VM_ERR_SYSTEM, "writing the archive: %s",
	                  archive_error_string(w->tar) ? archive_error_string(w->tar)
	                                               : "libarchive does not say why");
}

static int set_zstd(struct writer *w, const char *option, long value, struct vm_err *err)
{
	char number[24];

	snprintf(number, sizeof(number), "%ld", value);
	if (archive_write_set_filter_option(w->tar, "zstd", option, number) != ARCHIVE_OK)
		return tar_failed(w, err);
	return 0;
}

/*
 * Threads make other bytes than none, but their number makes no difference: the same on each host.
 */
static int add_zstd(struct writer *w, struct vm_err *err)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	if (archive_write_add_filter_zstd(w->tar) != ARCHIVE_OK)
		return tar_failed(w, err);
	if (set_zstd(w, "compression-level",
	             w->options->level ? w->options->level : VM_ARCHIVE_LEVEL_DEFAULT, err) < 0)
		return -1;
	return set_zstd(w, "threads", cpus < 1 ? 1 : cpus < THREADS_MAX ? cpus : THREADS_MAX, err);
}

static int open_tar(struct writer *w, struct vm_err *err)
{
	w->tar = archive_write_new();
	if (!w->tar)
		return vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES, "out of memory");
	if (archive_write_set_format_pax_restricted(w->tar) != ARCHIVE_OK)
		return tar_failed(w, err);
	if (!w->options->plain && add_zstd(w, err) < 0)
		return -1;
	/* Not filled up to a whole block: zeros behind a frame would be no zstd. */
	if (archive_write_set_bytes_per_block(w->tar, OUT_BLOCK_BYTES) != ARCHIVE_OK ||
	    archive_write_set_bytes_in_last_block(w->tar, 1) != ARCHIVE_OK ||
	    archive_write_open(w->tar, w, NULL, put_out, NULL) != ARCHIVE_OK)
		return tar_failed(w, err);
	return 0;
}

/* --- entries -------------------------------------------------------------------------------------
 */

/* `runs` is NULL where all is data. Nothing in it tells when or by whom: same image, same bytes. */
static int put_header(struct writer *w, const char *name, off_t size,
                      const struct vm_archive_runs *runs, struct vm_err *err)
{
	struct archive_entry *entry = archive_entry_new2(w->tar);
	int rc;

	if (!entry)
		return vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES, "out of memory");
	archive_entry_set_pathname(entry, name);
	archive_entry_set_size(entry, size);
	archive_entry_set_filetype(entry, AE_IFREG);
	archive_entry_set_perm(entry, 0600);
	archive_entry_set_mtime(entry, 0, 0);
	for (size_t i = 0; runs && i < runs->count; i++)
		archive_entry_sparse_add_entry(entry, runs->runs[i].at, runs->runs[i].len);
	if (runs && runs->count == 0 && size > 0)
		archive_entry_sparse_add_entry(entry, 0, 0);
	rc = archive_write_header(w->tar, entry);
	archive_entry_free(entry);
	return rc == ARCHIVE_OK ? 0 : tar_failed(w, err);
}

static int put_data(struct writer *w, const void *data, size_t len, struct vm_err *err)
{
	size_t done = 0;

	while (done < len) {
		la_ssize_t n = archive_write_data(w->tar, (const char *)data + done, len - done);

		/* 0 would be for ever; libarchive takes what it announced. */
		if (n <= 0)
			return tar_failed(w, err);
		done += (size_t)n;
	}
	return 0;
}

/* libarchive wants to be walked over the holes, the last one too. */
static int put_hole(struct writer *w, off_t len, struct vm_err *err)
{
	while (len > 0) {
		size_t n = len < HOLE_BYTES ? (size_t)len : HOLE_BYTES;

		if (vm_interrupt_check(err) < 0 || put_data(w, w->hole, n, err) < 0)
			return -1;
		len -= (off_t)n;
	}
	return 0;
}

static void tell(struct writer *w, size_t len)
{
	w->done_bytes += len;
	if (!w->options->progress || w->done_bytes - w->told_bytes < VM_ARCHIVE_PROGRESS_BYTES)
		return;
	w->told_bytes = w->done_bytes;
	w->options->progress(w->options->ctx, w->done_bytes, w->list.data_bytes);
}

static int fill_buffer(const struct input *input, off_t at, size_t len, char *buffer,
                       struct vm_err *err)
{
	size_t got = 0;

	while (got < len) {
		ssize_t n = pread(input->fd, buffer + got, len - got, at + (off_t)got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return vm_err_sys(err, "reading");
		if (n == 0)
			return vm_err_set(err, VM_ERR_SYSTEM,
			                  "the file became shorter while it was read");
		got += (size_t)n;
	}
	return 0;
}

static int put_run(struct writer *w, const struct input *input, struct vm_archive_run run,
                   struct vm_err *err)
{
	while (run.len > 0) {
		size_t len = run.len < BUFFER_BYTES ? (size_t)run.len : BUFFER_BYTES;

		if (vm_interrupt_check(err) < 0 ||
		    fill_buffer(input, run.at, len, w->buffer, err) < 0)
			return -1;
		for (size_t at = 0; at < len; at += VM_ARCHIVE_BLOCK_BYTES) {
			uint64_t offset = (uint64_t)run.at + at;
			size_t left = len - at;

			vm_archive_hash_block(
			        w->hash, offset / VM_ARCHIVE_BLOCK_BYTES, w->buffer + at,
			        left < VM_ARCHIVE_BLOCK_BYTES ? left : VM_ARCHIVE_BLOCK_BYTES);
		}
		if (put_data(w, w->buffer, len, err) < 0)
			return -1;
		run.at += (off_t)len;
		run.len -= (off_t)len;
		tell(w, len);
	}
	return 0;
}

static int put_content(struct writer *w, size_t index, struct vm_err *err)
{
	const struct input *input = &w->inputs[index];
	struct stat now;
	off_t at = 0;

	if (put_header(w, w->list.files[index].name, input->st.st_size, &input->runs, err) < 0)
		return -1;
	vm_archive_hash_begin(w->hash);
	for (size_t i = 0; i < input->runs.count; i++) {
		struct vm_archive_run run = input->runs.runs[i];

		if (put_hole(w, run.at - at, err) < 0 || put_run(w, input, run, err) < 0)
			return -1;
		at = run.at + run.len;
	}
	if (put_hole(w, input->st.st_size - at, err) < 0)
		return -1;
	vm_archive_hash_end(w->hash, (uint64_t)input->st.st_size, w->list.sums[index]);
	/* The checksum would be right, and the content neither the old nor the new one. */
	if (fstat(input->fd, &now) < 0)
		return vm_err_sys(err, "asking for the size");
	if (now.st_size != input->st.st_size || now.st_mtim.tv_sec != input->st.st_mtim.tv_sec ||
	    now.st_mtim.tv_nsec != input->st.st_mtim.tv_nsec)
		return vm_err_set(err, VM_ERR_SYSTEM, "the file was changed while it was read");
	return 0;
}

static int put_file(struct writer *w, size_t index, struct vm_err *err)
{
	const char *name = w->list.files[index].name;

	if (vm_fault(VM_FAULT_FS_WRITE))
		return vm_fs_fail(w->out_fd, NULL, "writing the archive", err);
	if (put_content(w, index, err) < 0)
		return vm_err_wrap(err, "%s", name);
	return vm_fault(VM_FAULT_FS_WRITE_DONE) ? -1 : 0;
}

/* Takes over `text`. */
static int put_text(struct writer *w, const char *name, char *text, size_t len,
                    char ret_sum[VM_ARCHIVE_SUM_LEN + 1], struct vm_err *err)
{
	int rc = put_header(w, name, (off_t)len, NULL, err);

	if (rc == 0)
		rc = put_data(w, text, len, err);
	if (rc == 0)
		vm_archive_hash_all(w->hash, text, len, ret_sum);
	free(text);
	return rc;
}

/* --- the whole -----------------------------------------------------------------------------------
 */

static int open_input(struct writer *w, int dir_fd, size_t index, struct vm_err *err)
{
	struct vm_archive_file *file = &w->list.files[index];
	struct input *input = &w->inputs[index];

	input->fd = openat(dir_fd, file->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (input->fd < 0 && errno == ENOENT)
		return vm_err_set(err, VM_ERR_NOT_FOUND, "%s: no such file", file->name);
	if (input->fd < 0 || fstat(input->fd, &input->st) < 0)
		return vm_fs_fail(dir_fd, file->name, "opening", err);
	if (!S_ISREG(input->st.st_mode))
		return vm_err_set(err, VM_ERR_UNSUPPORTED, "%s is not a regular file", file->name);
	if (vm_archive_runs_find(input->fd, input->st.st_size, VM_ARCHIVE_RUNS_MAX, &input->runs,
	                         err) < 0)
		return vm_err_wrap(err, "%s", file->name);
	file->size_bytes = (uint64_t)input->st.st_size;
	file->data_bytes = input->runs.data_bytes;
	if (file->size_bytes > VM_ARCHIVE_BYTES_MAX - w->list.size_bytes)
		return vm_err_set(err, VM_ERR_UNSUPPORTED, "%s is too large for an archive",
		                  file->name);
	w->list.size_bytes += file->size_bytes;
	w->list.data_bytes += file->data_bytes;
	return 0;
}

/* What vm_archive_read() would refuse is not written. */
static int take_names(struct writer *w, const char *const *files, size_t count, struct vm_err *err)
{
	int level = w->options->level;

	if (level && (level < VM_ARCHIVE_LEVEL_MIN || level > VM_ARCHIVE_LEVEL_MAX))
		return vm_err_set(err, VM_ERR_USAGE, "the level of compression is %d to %d, not %d",
		                  VM_ARCHIVE_LEVEL_MIN, VM_ARCHIVE_LEVEL_MAX, level);
	if (count > VM_ARCHIVE_FILES_MAX)
		return vm_err_set(err, VM_ERR_USAGE, "more than %d files for one archive",
		                  VM_ARCHIVE_FILES_MAX);
	if (vm_archive_list_init(&w->list, count, err) < 0)
		return -1;
	w->list.count = 0;
	for (size_t i = 0; i < count; i++) {
		if (!vm_archive_name_ok(files[i]))
			return vm_err_set(err, VM_ERR_USAGE,
			                  "'%s' cannot be the name of a file in an archive",
			                  files[i]);
		if (vm_archive_list_find(&w->list, files[i]) < w->list.count)
			return vm_err_set(err, VM_ERR_USAGE, "%s is named twice", files[i]);
		snprintf(w->list.files[i].name, sizeof(w->list.files[i].name), "%s", files[i]);
		w->list.count++;
	}
	return 0;
}

static int prepare(struct writer *w, const json_t *image, int dir_fd, const char *const *files,
                   size_t count, struct vm_err *err)
{
	struct stat st;

	if (take_names(w, files, count, err) < 0)
		return -1;
	w->list.image = json_deep_copy(image);
	snprintf(w->list.made_by, sizeof(w->list.made_by), "vmctl %s", VM_VERSION);
	w->inputs = vm_calloc(count + 1, sizeof(*w->inputs), err);
	w->buffer = w->inputs ? vm_calloc(1, BUFFER_BYTES, err) : NULL;
	w->hash = w->buffer ? vm_archive_hash_new(err) : NULL;
	if (!w->hash)
		return -1;
	w->hole = mmap(NULL, HOLE_BYTES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
	               0);
	if (w->hole == MAP_FAILED) {
		w->hole = NULL;
		return vm_err_sys(err, "reserving address space");
	}
	if (fstat(w->out_fd, &st) < 0)
		return vm_err_sys(err, "writing the archive");
	w->out_is_file = S_ISREG(st.st_mode);
	for (size_t i = 0; i < count; i++)
		w->inputs[i].fd = -1;
	for (size_t i = 0; i < count; i++) {
		if (open_input(w, dir_fd, i, err) < 0)
			return -1;
	}
	return open_tar(w, err);
}

static int put_all(struct writer *w, struct vm_err *err)
{
	char unused[VM_ARCHIVE_SUM_LEN + 1];
	char *text = NULL;
	size_t len = 0;

	if (vm_archive_image_text(&w->list, &text, &len, err) < 0 ||
	    put_text(w, VM_ARCHIVE_IMAGE_NAME, text, len, w->list.image_sum, err) < 0)
		return -1;
	for (size_t i = 0; i < w->list.count; i++) {
		if (put_file(w, i, err) < 0)
			return -1;
	}
	if (vm_archive_sums_text(&w->list, &text, &len, err) < 0 ||
	    put_text(w, VM_ARCHIVE_SUMS_NAME, text, len, unused, err) < 0)
		return -1;
	if (archive_write_close(w->tar) != ARCHIVE_OK)
		return tar_failed(w, err);
	if (w->options->progress)
		w->options->progress(w->options->ctx, w->list.data_bytes, w->list.data_bytes);
	return 0;
}

static void finish(struct writer *w, bool failed)
{
	if (w->tar && failed) {
		/*
		 * What libarchive still wants to write is the end of a whole archive: not written.
		 * Without fail it would first fill up the entry, however long that is; without
		 * close it would leave memory behind.
		 */
		w->out_muted = true;
		archive_write_fail(w->tar);
		(void)archive_write_close(w->tar);
	}
	archive_write_free(w->tar);
	for (size_t i = 0; w->inputs && i < w->list.count; i++) {
		vm_cleanup_close(&w->inputs[i].fd);
		vm_archive_runs_free(&w->inputs[i].runs);
	}
	if (w->hole)
		munmap(w->hole, HOLE_BYTES);
	free(w->inputs);
	free(w->buffer);
	vm_archive_hash_free(&w->hash);
	vm_archive_list_free(&w->list);
}

int vm_archive_write(int out_fd, const json_t *image, int dir_fd, const char *const *files,
                     size_t count, const struct vm_archive_write_options *options,
                     struct vm_err *err)
{
	static const struct vm_archive_write_options defaults = {0};
	struct writer w = {.options = options ? options : &defaults, .out_fd = out_fd};
	int rc = prepare(&w, image, dir_fd, files, count, err);

	if (rc == 0)
		rc = put_all(&w, err);
	finish(&w, rc < 0);
	return rc;
}
