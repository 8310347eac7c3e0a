/* SPDX-License-Identifier: Apache-2.0 */
#include "compress.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "fault.h"
#include "fs.h"
#include "interrupt.h"
#include "util.h"

enum {
	LEVEL = 1, /* guest memory: higher levels cost much and gain little */
	PAGE_BYTES = 4096,
};

/* One file read through zstd into another. */
struct stream {
	int in, out;
	char *in_buffer, *out_buffer;
	size_t in_size, out_size;
	uint64_t written; /* length of what came out, holes included */
	struct vm_work *work;
};

static void stream_close(struct stream *stream)
{
	vm_cleanup_close(&stream->in);
	vm_cleanup_close(&stream->out);
	free(stream->in_buffer);
	free(stream->out_buffer);
}

/* The result gets its name by publish(): until then it has none. */
static int stream_open(struct stream *stream, int dir_fd, const char *from, size_t in_size,
                       size_t out_size, struct vm_err *err)
{
	*stream = (struct stream){.in = -1, .out = -1, .in_size = in_size, .out_size = out_size};
	stream->in_buffer = vm_calloc(1, in_size, err);
	stream->out_buffer = stream->in_buffer ? vm_calloc(1, out_size, err) : NULL;
	if (!stream->out_buffer)
		return -1;
	stream->in = openat(dir_fd, from, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (stream->in < 0)
		return vm_fs_fail(dir_fd, from, "opening", err);
	if (!vm_fault(VM_FAULT_FS_CREATE))
		stream->out = openat(dir_fd, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
	if (stream->out < 0 || vm_fault(VM_FAULT_FS_CREATE_DONE))
		return vm_fs_fail(dir_fd, NULL, "creating a file in", err);
	return 0;
}

static ssize_t fill(struct stream *stream)
{
	ssize_t n;

	do
		n = read(stream->in, stream->in_buffer, stream->in_size);
	while (n < 0 && errno == EINTR);
	return n;
}

static int put(struct stream *stream, const char *data, size_t len, off_t at)
{
	while (len > 0) {
		ssize_t n = pwrite(stream->out, data, len, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		data += n;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

static int append(struct stream *stream, size_t len)
{
	off_t at = (off_t)stream->written;

	stream->written += len;
	return put(stream, stream->out_buffer, len, at);
}

/* Pages of zeros become holes. */
static int append_sparse(struct stream *stream, size_t len)
{
	static const char zeros[PAGE_BYTES];

	for (size_t done = 0; done < len;) {
		off_t at = (off_t)(stream->written + done);
		size_t piece = PAGE_BYTES - (size_t)at % PAGE_BYTES;

		if (piece > len - done)
			piece = len - done;
		if (memcmp(stream->out_buffer + done, zeros, piece) != 0 &&
		    put(stream, stream->out_buffer + done, piece, at) < 0)
			return -1;
		done += piece;
	}
	stream->written += len;
	return 0;
}

/*
 * On disk first, then the name: whoever sees it may rely on it. Another who did the same may have
 * been faster: then the file is there.
 */
static int publish(const struct stream *stream, int dir_fd, const char *to, struct vm_err *err)
{
	char path[40];

	if (vm_fault(VM_FAULT_FS_SYNC) || fsync(stream->out) < 0 || vm_fault(VM_FAULT_FS_SYNC_DONE))
		return vm_fs_fail(dir_fd, to, "syncing", err);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", stream->out);
	if (vm_fault(VM_FAULT_FS_LINK) ||
	    (linkat(AT_FDCWD, path, dir_fd, to, AT_SYMLINK_FOLLOW) < 0 && errno != EEXIST) ||
	    vm_fault(VM_FAULT_FS_LINK_DONE))
		return vm_fs_fail(dir_fd, to, "naming", err);
	if (vm_fs_sync(dir_fd, NULL, err) == 0)
		return 0;
	unlinkat(dir_fd, to, 0); /* not known to last, so it is not there */
	return -1;
}

static int compress_all(ZSTD_CCtx *context, struct stream *stream, struct vm_err *err)
{
	bool more = true;
	struct stat st;

	if (fstat(stream->in, &st) < 0)
		return vm_err_sys(err, "asking for the size");
	vm_work_begin(stream->work, (uint64_t)st.st_size);
	while (more) {
		ssize_t n = fill(stream);
		ZSTD_inBuffer in = {.src = stream->in_buffer};
		size_t left;

		if (n < 0)
			return vm_err_sys(err, "reading");
		if (vm_interrupt_check(err) < 0)
			return -1;
		in.size = (size_t)n;
		more = n > 0;
		do {
			ZSTD_outBuffer out = {.dst = stream->out_buffer, .size = stream->out_size};

			left = ZSTD_compressStream2(context, &out, &in,
			                            more ? ZSTD_e_continue : ZSTD_e_end);
			if (ZSTD_isError(left))
				return vm_err_set(err, VM_ERR_SYSTEM, "zstd: %s",
				                  ZSTD_getErrorName(left));
			if (append(stream, out.pos) < 0)
				return vm_err_sys(err, "writing");
		} while (more ? in.pos < in.size : left != 0);
		vm_work_add(stream->work, in.size);
	}
	return 0;
}

int vm_compress_file(int dir_fd, const char *from, const char *to, struct vm_work *work,
                     struct vm_err *err)
{
	ZSTD_CCtx *context = NULL;
	struct stream stream;
	int rc;

	if (vm_fs_exists(dir_fd, to))
		return 0;
	rc = stream_open(&stream, dir_fd, from, ZSTD_CStreamInSize(), ZSTD_CStreamOutSize(), err);
	stream.work = work;
	context = rc == 0 ? ZSTD_createCCtx() : NULL;
	if (rc == 0 &&
	    (!context ||
	     ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, LEVEL)) ||
	     ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1))))
		rc = vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES, "out of memory for zstd");
	if (rc == 0 && vm_fault(VM_FAULT_FS_WRITE))
		rc = vm_fs_fail(dir_fd, to, "writing", err);
	if (rc == 0 && compress_all(context, &stream, err) < 0)
		rc = vm_fs_wrap(dir_fd, to, err);
	if (rc == 0) {
		vm_fault(VM_FAULT_FS_WRITE_DONE);
		rc = publish(&stream, dir_fd, to, err);
	}
	ZSTD_freeCCtx(context);
	stream_close(&stream);
	return rc;
}

/* All that is in `in`, or up to the end of the frame. */
static int unpack_piece(ZSTD_DCtx *context, struct stream *stream, ZSTD_inBuffer *in,
                        uint64_t size_bytes, size_t *left, struct vm_err *err)
{
	while (in->pos < in->size && *left != 0) {
		ZSTD_outBuffer out = {.dst = stream->out_buffer, .size = stream->out_size};

		*left = ZSTD_decompressStream(context, &out, in);
		if (ZSTD_isError(*left))
			return vm_err_set(err, VM_ERR_CORRUPT, "the file is damaged (%s)",
			                  ZSTD_getErrorName(*left));
		if (out.pos > size_bytes - stream->written)
			return vm_err_set(err, VM_ERR_CORRUPT,
			                  "it holds more than the memory of the guest");
		if (append_sparse(stream, out.pos) < 0)
			return vm_err_sys(err, "writing");
		vm_work_add(stream->work, out.pos);
	}
	return 0;
}

/* `left` becomes 0 at the end of a frame, whose checksum was then found right. */
static int decompress_all(ZSTD_DCtx *context, struct stream *stream, uint64_t size_bytes,
                          struct vm_err *err)
{
	size_t left = 1;
	ssize_t n;

	vm_work_begin(stream->work, size_bytes);
	while ((n = fill(stream)) > 0) {
		ZSTD_inBuffer in = {.src = stream->in_buffer, .size = (size_t)n};

		if (vm_interrupt_check(err) < 0)
			return -1;
		if (left == 0)
			return vm_err_set(err, VM_ERR_CORRUPT, "something follows behind its end");
		if (unpack_piece(context, stream, &in, size_bytes, &left, err) < 0)
			return -1;
	}
	if (n < 0)
		return vm_err_sys(err, "reading");
	if (left != 0 || stream->written != size_bytes)
		return vm_err_set(err, VM_ERR_CORRUPT, "it ends too early");
	return ftruncate(stream->out, (off_t)size_bytes) < 0 ? vm_err_sys(err, "setting the size")
	                                                     : 0;
}

int vm_decompress_file(int dir_fd, const char *from, const char *to, uint64_t size_bytes,
                       struct vm_work *work, struct vm_err *err)
{
	ZSTD_DCtx *context = NULL;
	struct stream stream;
	int rc = stream_open(&stream, dir_fd, from, ZSTD_DStreamInSize(), ZSTD_DStreamOutSize(),
	                     err);

	stream.work = work;
	context = rc == 0 ? ZSTD_createDCtx() : NULL;
	if (rc == 0 && !context)
		rc = vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES, "out of memory for zstd");
	if (rc == 0 && vm_fault(VM_FAULT_FS_WRITE))
		rc = vm_fs_fail(dir_fd, to, "writing", err);
	if (rc == 0 && decompress_all(context, &stream, size_bytes, err) < 0)
		rc = vm_fs_wrap(dir_fd, from, err);
	if (rc == 0) {
		vm_fault(VM_FAULT_FS_WRITE_DONE);
		rc = publish(&stream, dir_fd, to, err);
	}
	ZSTD_freeDCtx(context);
	stream_close(&stream);
	return rc;
}
