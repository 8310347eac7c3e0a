/* SPDX-License-Identifier: Apache-2.0 */
/*
 * (Not archive.h: that is the header of libarchive, which this is made with.)
 *
 * An image as one stream that can be stored and sent: a tar, compressed by zstd unless told
 * otherwise. docs/archive-format.md has the format, its checksums, and what is refused.
 *
 *   vmctl-image.json       what the image is and which files follow, with their sizes
 *   the files              in that order; sparse ones stay sparse
 *   vmctl-checksums.json   last, so that each file is read once and the stream may be a pipe
 *
 * Both ways cost what the data costs: a hole takes neither time nor bytes. The library knows
 * nothing of the store: it turns files of a directory into a stream and back. What the image is
 * (its spec, who can load it) is a JSON object that it carries and does not look into.
 *
 * Reading trusts nothing. Until vm_archive_read() has returned 0, what stands in the directory is
 * not to be used; when it returns -1 nothing stands there. The checksums are against damage, not
 * against malice: whoever can make an archive can make right checksums for it. What its content
 * may do is for the caller to judge.
 */
#ifndef VM_IMAGE_ARCHIVE_H
#define VM_IMAGE_ARCHIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "err.h"

enum {
	VM_ARCHIVE_FORMAT = 1,
	VM_ARCHIVE_NAME_MAX = 99,   /* bytes of a file's name: [A-Za-z0-9_-][A-Za-z0-9._-]* */
	VM_ARCHIVE_FILES_MAX = 256, /* in one archive */
	VM_ARCHIVE_LEVEL_MIN = 1,   /* of zstd; higher ones need much memory to read again */
	VM_ARCHIVE_LEVEL_DEFAULT = 3,
	VM_ARCHIVE_LEVEL_MAX = 19,
};

/* The sum of the sizes of the files is less: what no off_t can hold is no archive. */
#define VM_ARCHIVE_BYTES_MAX ((uint64_t)1 << 62)

/* Called every megabyte or so, and at the end with done == total; both count data, not holes. */
typedef void vm_archive_progress(void *ctx, uint64_t done_bytes, uint64_t total_bytes);

struct vm_archive_write_options {
	bool plain;                    /* not compressed */
	int level;                     /* VM_ARCHIVE_LEVEL_*; 0 is the default */
	vm_archive_progress *progress; /* or NULL */
	void *ctx;                     /* of progress */
};

/*
 * Writes an archive of `count` files of a directory to out_fd, from where that is. `image` is a
 * JSON object, borrowed. The files must not change meanwhile. After a failure what was written is
 * the beginning of an archive, which vm_archive_read() refuses; a caller who made a file of it
 * removes it. SIGPIPE has to be ignored (cli_open() does that).
 * Errors: usage (a name or level that cannot be), not_found (a file), unsupported (it is no regular
 * file), insufficient_resources (disk full), system (nobody reads the pipe any more; it became
 * shorter; interrupted).
 */
int vm_archive_write(int out_fd, const json_t *image, int dir_fd, const char *const *files,
                     size_t count, const struct vm_archive_write_options *options,
                     struct vm_err *err);

/* What an archive says is in it. */
struct vm_archive_file {
	char name[VM_ARCHIVE_NAME_MAX + 1];
	uint64_t size_bytes; /* with holes */
	uint64_t data_bytes; /* without: at most so much disk does it take, in whole blocks */
};

struct vm_archive_contents {
	const json_t *image; /* as it was given to vm_archive_write() */
	const char *made_by; /* "vmctl 0.1.0" */
	const struct vm_archive_file *files;
	size_t count;
	uint64_t size_bytes, data_bytes; /* of all files */
};

/*
 * Called once, before anything is created: 0 to go on, or -1 with an error (incompatible, no free
 * space, ...), with which vm_archive_read() ends then. `contents` is only lent, and its checksum is
 * not known to be right yet: look, and act on it after vm_archive_read() has returned 0.
 */
typedef int vm_archive_check(void *ctx, const struct vm_archive_contents *contents,
                             struct vm_err *err);

struct vm_archive_read_options {
	/* Limits; 0 is none but those of the format. Beyond them: insufficient_resources. */
	uint64_t max_size_bytes, max_data_bytes;
	size_t max_files;
	bool durable;                  /* fsync of each file, and of the directory */
	vm_archive_check *check;       /* or NULL */
	vm_archive_progress *progress; /* or NULL */
	void *ctx;                     /* of both */
	/*
	 * Where vm_archive_read() is given -1 for the directory: what is looked at for it after
	 * `check`, so that it need not be made before it is known what it is for.
	 */
	const int *late_dir_fd;
};

/*
 * Reads an archive from in_fd, to the end of the stream, into an empty directory, and verifies all
 * of it. Files are created with mode 0600, sparse where they are zero. On success *ret_image is a
 * new reference to the JSON object that was given to vm_archive_write(). On failure nothing is left
 * in the directory, but for what cannot be removed.
 * Errors: corrupt (damaged, cut short, not an archive, or made to harm), incompatible (of a newer
 * format), already_exists (the directory was not empty), insufficient_resources (a limit, or the
 * disk is full), system (also: interrupted), what `check` said.
 */
int vm_archive_read(int in_fd, int dir_fd, const struct vm_archive_read_options *options,
                    json_t **ret_image, struct vm_err *err);

#endif
