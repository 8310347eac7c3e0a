/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of the tar: from a file or pipe, through zstd or not, and no more than was allowed. */
#include "archive_impl.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <zstd.h>

#include "interrupt.h"
#include "util.h"

enum {
	IN_BYTES = 128 * 1024,
	OUT_BYTES = 128 * 1024,
	WINDOW_LOG_MAX = 27, /* 128 MiB, the limit that zstd itself has without --long */
	TAR_BLOCK_BYTES = 512,
	END_BYTES = 1024,            /* two empty blocks end a tar */
	PADDING_BYTES = 1024 * 1024, /* other tars fill up to a block, 10 KiB mostly */
};

struct vm_archive_source {
	int fd;
	ZSTD_DCtx *zstd; /* NULL: not compressed */
	bool in_frame;   /* of zstd */
	unsigned char *in, *out;
	size_t in_at, in_len;
	uint64_t allowed, given;
	uint64_t zeros; /* at the end of what was given */
	struct vm_err err;
};

static int fail(struct vm_archive_source *source, enum vm_code code, const char *what)
{
	return vm_err_set(&source->err, code, "%s", what);
}

/* More input behind what is there already; 0 at the end. */
static ssize_t fill(struct vm_archive_source *source)
{
	struct pollfd in = {.fd = source->fd, .events = POLLIN};
	ssize_t n;

	if (source->in_at == source->in_len)
		source->in_at = source->in_len = 0;
	do {
		if (vm_interrupt_check(&source->err) < 0 ||
		    vm_poll_until(&in, 1, -1, &source->err) < 0)
			return -1;
		n = read(source->fd, source->in + source->in_len, IN_BYTES - source->in_len);
	} while (n < 0 && (errno == EINTR || errno == EAGAIN));
	if (n < 0)
		return vm_err_sys(&source->err, "reading the archive");
	source->in_len += (size_t)n;
	return n;
}

/* Whether zstd's magic number, or that of a frame to be skipped, is at the beginning. */
static bool is_zstd(const unsigned char *in, size_t len)
{
	return len >= 4 && (memcmp(in, "\x28\xb5\x2f\xfd", 4) == 0 ||
	                    (in[0] >> 4 == 5 && memcmp(in + 1, "\x2a\x4d\x18", 3) == 0));
}

static int look_at_the_beginning(struct vm_archive_source *source)
{
	ssize_t n = 1;

	while (source->in_len < 4 && n > 0)
		n = fill(source);
	if (n < 0)
		return -1;
	if (source->in_len == 0)
		return fail(source, VM_ERR_CORRUPT, "the archive is empty");
	if (!is_zstd(source->in, source->in_len))
		return 0;
	source->zstd = ZSTD_createDCtx();
	if (!source->zstd ||
	    ZSTD_isError(ZSTD_DCtx_setParameter(source->zstd, ZSTD_d_windowLogMax, WINDOW_LOG_MAX)))
		return fail(source, VM_ERR_INSUFFICIENT_RESOURCES, "out of memory");
	return 0;
}

struct vm_archive_source *vm_archive_source_open(int fd, struct vm_err *err)
{
	struct vm_archive_source *source = vm_calloc(1, sizeof(*source), err);

	if (!source)
		return NULL;
	source->fd = fd;
	source->in = vm_calloc(1, IN_BYTES, err);
	source->out = source->in ? vm_calloc(1, OUT_BYTES, err) : NULL;
	if (!source->out || look_at_the_beginning(source) < 0) {
		vm_archive_source_error(source, err);
		vm_archive_source_close(&source);
	}
	return source;
}

void vm_archive_source_close(struct vm_archive_source **source)
{
	if (!*source)
		return;
	ZSTD_freeDCtx((*source)->zstd);
	free((*source)->in);
	free((*source)->out);
	free(*source);
	*source = NULL;
}

void vm_archive_source_allow(struct vm_archive_source *source, uint64_t bytes)
{
	source->allowed = bytes;
}

bool vm_archive_source_error(struct vm_archive_source *source, struct vm_err *err)
{
	if (source->err.code == VM_OK)
		return false;
	*err = source->err;
	return true;
}

static ssize_t next_plain(struct vm_archive_source *source, size_t most, const void **ret_data)
{
	size_t len;

	if (source->in_at == source->in_len && fill(source) < 0)
		return -1;
	len = source->in_len - source->in_at;
	len = len < most ? len : most;
	*ret_data = source->in + source->in_at;
	source->in_at += len;
	return (ssize_t)len;
}

static ssize_t next_zstd(struct vm_archive_source *source, size_t most, const void **ret_data)
{
	ZSTD_outBuffer out = {.dst = source->out, .size = most < OUT_BYTES ? most : OUT_BYTES};

	while (out.pos == 0) {
		ZSTD_inBuffer in = {.src = source->in};
		ssize_t n = 1;
		size_t rest;

		if (source->in_at == source->in_len)
			n = fill(source);
		if (n < 0)
			return -1;
		/* Without new input zstd may still have output, but only in a frame. */
		if (n == 0 && !source->in_frame)
			return 0;
		in.pos = source->in_at;
		in.size = source->in_len;
		rest = ZSTD_decompressStream(source->zstd, &out, &in);
		source->in_at = in.pos;
		if (ZSTD_isError(rest)) {
			vm_err_set(&source->err, VM_ERR_CORRUPT,
			           "the archive is damaged: its compressed data is wrong (%s)",
			           ZSTD_getErrorName(rest));
			return -1;
		}
		source->in_frame = rest != 0;
		if (n == 0 && out.pos == 0 && source->in_frame)
			return fail(source, VM_ERR_CORRUPT, "the archive is cut short");
	}
	*ret_data = source->out;
	return (ssize_t)out.pos;
}

static void count_zeros(struct vm_archive_source *source, const unsigned char *data, size_t len)
{
	size_t zeros = 0;

	while (zeros < len && data[len - 1 - zeros] == 0)
		zeros++;
	source->zeros = zeros == len ? source->zeros + len : zeros;
}

la_ssize_t vm_archive_source_next(struct vm_archive_source *source, const void **ret_data)
{
	ssize_t n;
	size_t most;

	*ret_data = NULL;
	if (source->err.code != VM_OK)
		return -1;
	if (source->allowed == 0)
		return fail(source, VM_ERR_CORRUPT, "the archive has more in it than it announces");
	most = source->allowed < SIZE_MAX ? (size_t)source->allowed : SIZE_MAX;
	n = source->zstd ? next_zstd(source, most, ret_data) : next_plain(source, most, ret_data);
	if (n <= 0)
		return n;
	source->allowed -= (uint64_t)n;
	source->given += (uint64_t)n;
	count_zeros(source, *ret_data, (size_t)n);
	return n;
}

int vm_archive_source_drain(struct vm_archive_source *source, uint64_t end, struct vm_err *err)
{
	const void *data;
	la_ssize_t n = 1;

	vm_archive_source_allow(source, PADDING_BYTES);
	while (n > 0)
		n = vm_archive_source_next(source, &data);
	if (n < 0) {
		vm_archive_source_error(source, err);
		return -1;
	}
	if (source->given - source->zeros > end)
		return vm_err_set(err, VM_ERR_CORRUPT,
		                  "there is something behind the archive's end");
	if (source->zeros < END_BYTES || source->given % TAR_BLOCK_BYTES != 0)
		return vm_err_set(err, VM_ERR_CORRUPT, "the archive is cut short at its very end");
	return 0;
}
