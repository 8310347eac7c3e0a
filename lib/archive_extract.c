/* SPDX-License-Identifier: Apache-2.0 */
/* One file out of an archive: put together by blocks, hashed, and written where it is not zero. */
#include "archive_impl.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "fault.h"
#include "fs.h"
#include "interrupt.h"
#include "util.h"

enum {
	PAGE_BYTES = 4096,           /* what can be a hole in the end */
	ALLOWED_BYTES = 1024 * 1024, /* of the stream, for one piece of data */
	NO_BLOCK = -1,
};

/* A file on its way. */
struct output {
	int fd;
	uint64_t size_bytes, left_bytes; /* of data that may still come */
	int64_t block;                   /* which one reader->block holds, or NO_BLOCK */
	uint64_t end;                    /* of the data so far */
};

int vm_archive_tar_failed(struct vm_archive_reader *reader, struct vm_err *err)
{
	const char *why = archive_error_string(reader->tar);

	if (vm_archive_source_error(reader->source, err))
		return -1;
	if (archive_errno(reader->tar) == ENOMEM)
		return vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES, "out of memory");
	return vm_err_set(err, VM_ERR_CORRUPT, "the archive is damaged or cut short (%s)",
	                  why ? why : "libarchive does not say where");
}

static int write_at(int fd, const unsigned char *data, size_t len, uint64_t at, struct vm_err *err)
{
	while (len > 0) {
		ssize_t n = pwrite(fd, data, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return vm_err_sys(err, "writing");
		data += n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

/* Writes what is not zero of a block, in as few writes as pages allow. */
static int write_block(int fd, const unsigned char *data, size_t len, uint64_t at,
                       struct vm_err *err)
{
	size_t from = 0;

	while (from < len) {
		size_t page = len - from < PAGE_BYTES ? len - from : PAGE_BYTES, to = from;

		while (to < len && !vm_archive_is_zero(data + to, page)) {
			to += page;
			page = len - to < PAGE_BYTES ? len - to : PAGE_BYTES;
		}
		if (to > from && write_at(fd, data + from, to - from, at + from, err) < 0)
			return -1;
		from = to + page; /* the page that ended it is zero */
	}
	return 0;
}

/* The block that was put together is complete. */
static int end_block(struct vm_archive_reader *reader, struct output *output, struct vm_err *err)
{
	uint64_t index = (uint64_t)output->block, at = index * VM_ARCHIVE_BLOCK_BYTES;
	size_t len = VM_ARCHIVE_BLOCK_BYTES;

	if (output->block == NO_BLOCK)
		return 0;
	if (output->size_bytes - at < len)
		len = (size_t)(output->size_bytes - at);
	vm_archive_hash_block(reader->hash, index, reader->block, len);
	output->block = NO_BLOCK;
	return write_block(output->fd, reader->block, len, at, err);
}

static int take_piece(struct vm_archive_reader *reader, struct output *output,
                      const unsigned char *data, size_t len, uint64_t at, struct vm_err *err)
{
	while (len > 0) {
		int64_t block = (int64_t)(at / VM_ARCHIVE_BLOCK_BYTES);
		size_t in_block = at % VM_ARCHIVE_BLOCK_BYTES;
		size_t n = VM_ARCHIVE_BLOCK_BYTES - in_block;

		if (block != output->block) {
			if (end_block(reader, output, err) < 0)
				return -1;
			memset(reader->block, 0, VM_ARCHIVE_BLOCK_BYTES);
			output->block = block;
		}
		n = n < len ? n : len;
		memcpy(reader->block + in_block, data, n);
		data += n;
		at += n;
		len -= n;
	}
	return 0;
}

static void tell(struct vm_archive_reader *reader, size_t len)
{
	reader->done_bytes += len;
	if (!reader->options->progress ||
	    reader->done_bytes - reader->told_bytes < VM_ARCHIVE_PROGRESS_BYTES)
		return;
	reader->told_bytes = reader->done_bytes;
	reader->options->progress(reader->options->ctx, reader->done_bytes,
	                          reader->list.data_bytes);
}

/*
 * libarchive gives what the map in the archive says, in the order in which it says so; whether that
 * makes sense is ours to look at.
 */
static int check_piece(const struct output *output, la_int64_t at, size_t len, struct vm_err *err)
{
	if (at < 0 || (uint64_t)at < output->end)
		return vm_err_set(err, VM_ERR_CORRUPT, "its data overlaps or is out of order");
	if ((uint64_t)at > output->size_bytes || len > output->size_bytes - (uint64_t)at)
		return vm_err_set(err, VM_ERR_CORRUPT, "it has data beyond its size");
	if (len > output->left_bytes)
		return vm_err_set(err, VM_ERR_CORRUPT, "it has more data than was announced");
	return 0;
}

static int take_pieces(struct vm_archive_reader *reader, struct output *output, struct vm_err *err)
{
	for (;;) {
		const void *data = NULL;
		la_int64_t at = 0;
		size_t len = 0;
		int rc;

		vm_archive_source_allow(reader->source, ALLOWED_BYTES);
		rc = archive_read_data_block(reader->tar, &data, &len, &at);
		if (rc == ARCHIVE_EOF)
			return end_block(reader, output, err);
		if (rc != ARCHIVE_OK)
			return vm_archive_tar_failed(reader, err);
		if (vm_interrupt_check(err) < 0)
			return -1;
		if (len == 0)
			continue;
		if (check_piece(output, at, len, err) < 0 ||
		    take_piece(reader, output, data, len, (uint64_t)at, err) < 0)
			return -1;
		output->end = (uint64_t)at + len;
		output->left_bytes -= len;
		tell(reader, len);
	}
}

static int fill_file(struct vm_archive_reader *reader, int fd, size_t index, struct vm_err *err)
{
	const struct vm_archive_file *file = &reader->list.files[index];
	struct output output = {.fd = fd,
	                        .size_bytes = file->size_bytes,
	                        .left_bytes = file->data_bytes,
	                        .block = NO_BLOCK};

	if (vm_fault(VM_FAULT_FS_WRITE) || ftruncate(fd, (off_t)file->size_bytes) < 0)
		return vm_err_sys(err, "writing");
	vm_archive_hash_begin(reader->hash);
	if (take_pieces(reader, &output, err) < 0)
		return -1;
	vm_archive_hash_end(reader->hash, file->size_bytes, reader->list.sums[index]);
	return vm_fault(VM_FAULT_FS_WRITE_DONE) ? vm_err_sys(err, "writing") : 0;
}

int vm_archive_extract(struct vm_archive_reader *reader, int dir_fd, size_t index,
                       struct vm_err *err)
{
	const char *name = reader->list.files[index].name;
	VM_AUTO_CLOSE int fd = vm_fs_create(dir_fd, name, 0600, err);
	char path[VM_PATH_SHOWN];

	if (fd < 0)
		return -1;
	if (fill_file(reader, fd, index, err) < 0)
		return vm_err_wrap(err, "%s",
		                   err->code == VM_ERR_CORRUPT
		                           ? name
		                           : vm_fs_path(dir_fd, name, path, sizeof(path)));
	return reader->options->durable ? vm_fs_sync(dir_fd, name, err) : 0;
}
