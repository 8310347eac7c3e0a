/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the archive share. docs/archive-format.md describes what they write. */
#ifndef VM_ARCHIVE_IMPL_H
#define VM_ARCHIVE_IMPL_H

#include <sys/types.h>

#include <archive.h>

#include "image_archive.h"

#define VM_ARCHIVE_IMAGE_NAME "vmctl-image.json"
#define VM_ARCHIVE_SUMS_NAME "vmctl-checksums.json"
#define VM_ARCHIVE_SUMS_ALGORITHM "xxh3-128-blocks"

enum {
	VM_ARCHIVE_BLOCK_BYTES = 64 * 1024,  /* what is hashed, or is a hole, as a whole */
	VM_ARCHIVE_JSON_MAX = 1024 * 1024,   /* bytes of each of the two JSON entries */
	VM_ARCHIVE_RUNS_MAX = 1024 * 1024,   /* of data in one file */
	VM_ARCHIVE_SUM_LEN = 32,             /* hexadecimal digits */
	VM_ARCHIVE_PROGRESS_BYTES = 1 << 20, /* how often progress is told */
};

/* --- archive_hash.c -----------------------------------------------------------------------------
 *
 * The checksum of a content, which does not depend on where its holes are and costs nothing for
 * them: XXH3-128 over, for each block of 64 KiB that is not all zeros, in order, its index (8
 * bytes, little-endian) and its bytes (the last block may be short); then the size (8 bytes, so
 * too).
 */
struct vm_archive_hash;
struct vm_archive_hash *vm_archive_hash_new(struct vm_err *err);
void vm_archive_hash_free(struct vm_archive_hash **hash);
void vm_archive_hash_begin(struct vm_archive_hash *hash);
/* The next block in order; one that is all zeros makes no difference. */
void vm_archive_hash_block(struct vm_archive_hash *hash, uint64_t index, const void *data,
                           size_t len);
void vm_archive_hash_end(struct vm_archive_hash *hash, uint64_t size_bytes,
                         char ret_sum[VM_ARCHIVE_SUM_LEN + 1]);
/* All of that for what is in memory. */
void vm_archive_hash_all(struct vm_archive_hash *hash, const void *data, size_t len,
                         char ret_sum[VM_ARCHIVE_SUM_LEN + 1]);
bool vm_archive_is_zero(const void *data, size_t len);

/* --- archive_runs.c -----------------------------------------------------------------------------
 */

/* Where a file has data: in order, apart, on whole blocks but for the end of the file. */
struct vm_archive_run {
	off_t at, len;
};

struct vm_archive_runs {
	struct vm_archive_run *runs; /* owned */
	size_t count;
	uint64_t data_bytes;
};

/*
 * Looks for the data of an open file of that size, in at most max_runs (one or more) runs: small
 * holes are taken for data until it is so.
 */
int vm_archive_runs_find(int fd, off_t size, size_t max_runs, struct vm_archive_runs *ret,
                         struct vm_err *err);
void vm_archive_runs_free(struct vm_archive_runs *runs);

/* --- archive_list.c -----------------------------------------------------------------------------
 */

/* A list of files with their checksums, those known so far. */
struct vm_archive_list {
	struct vm_archive_file *files; /* owned */
	char (*sums)[VM_ARCHIVE_SUM_LEN + 1];
	size_t count;
	json_t *image; /* owned */
	char made_by[64];
	char image_sum[VM_ARCHIVE_SUM_LEN + 1]; /* of vmctl-image.json */
	uint64_t size_bytes, data_bytes;
};

int vm_archive_list_init(struct vm_archive_list *list, size_t count, struct vm_err *err);
void vm_archive_list_free(struct vm_archive_list *list);
/* A plain name that is none of ours. */
bool vm_archive_name_ok(const char *name);
/* The index of a name in the list, or list->count. */
size_t vm_archive_list_find(const struct vm_archive_list *list, const char *name);

/* The text of vmctl-image.json and vmctl-checksums.json; free() it. Errors: usage (too large). */
int vm_archive_image_text(const struct vm_archive_list *list, char **ret_text, size_t *ret_len,
                          struct vm_err *err);
int vm_archive_sums_text(const struct vm_archive_list *list, char **ret_text, size_t *ret_len,
                         struct vm_err *err);
/* The way back. `ret` is to be freed on failure, too. Errors: corrupt, incompatible. */
int vm_archive_image_parse(const char *text, size_t len, struct vm_archive_list *ret,
                           struct vm_err *err);
/* Compares a text of checksums with those in the list. Errors: corrupt, naming the first file. */
int vm_archive_sums_compare(const char *text, size_t len, const struct vm_archive_list *list,
                            struct vm_err *err);

/* --- archive_source.c ---------------------------------------------------------------------------
 */

/*
 * The bytes of the tar, whether compressed or not, as libarchive asks for them. It gives no more
 * than it was allowed: libarchive keeps what it makes of a header in memory, and a few bytes of
 * zstd can become any number of bytes of header.
 */
struct vm_archive_source;
struct vm_archive_source *vm_archive_source_open(int fd, struct vm_err *err);
void vm_archive_source_close(struct vm_archive_source **source);
/* How much it may give from now on. */
void vm_archive_source_allow(struct vm_archive_source *source, uint64_t bytes);
/* The next piece: its length, 0 at the end, or -1 with the error kept for ..._error(). */
la_ssize_t vm_archive_source_next(struct vm_archive_source *source, const void **ret_data);
/* Moves the error that ..._next() had to `err`; false when it had none. */
bool vm_archive_source_error(struct vm_archive_source *source, struct vm_err *err);
/*
 * Reads on to the end. Behind `end`, where libarchive says that the tar is at its end, there may be
 * zeros only, as many as make a tar complete.
 */
int vm_archive_source_drain(struct vm_archive_source *source, uint64_t end, struct vm_err *err);

/* --- archive_extract.c --------------------------------------------------------------------------
 */

struct vm_archive_reader {
	struct vm_archive_source *source;
	struct archive *tar;
	struct vm_archive_hash *hash;
	const struct vm_archive_read_options *options;
	struct vm_archive_list list;
	unsigned char *block; /* the one that is being put together */
	uint64_t done_bytes, told_bytes;
};

/* The error that a call of libarchive ended with. Returns -1. */
int vm_archive_tar_failed(struct vm_archive_reader *reader, struct vm_err *err);
/* Makes the file of the entry that was just announced, and notes its checksum. */
int vm_archive_extract(struct vm_archive_reader *reader, int dir_fd, size_t index,
                       struct vm_err *err);

#endif
