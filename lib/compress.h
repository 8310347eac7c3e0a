/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory files at rest, compressed by zstd. The result has its name only once it is complete, and a
 * kill leaves nothing: it is written to a file without a name (O_TMPFILE).
 */
#ifndef VM_COMPRESS_H
#define VM_COMPRESS_H

#include <stdint.h>

#include "err.h"
#include "tell.h"

/*
 * Compresses the file `from` of a directory to `to`, one zstd frame with a checksum of its content,
 * durably. If there is a `to` already nothing is done. `work` tells of it, or is NULL. Errors:
 * insufficient_resources, system (also "interrupted").
 */
int vm_compress_file(int dir_fd, const char *from, const char *to, struct vm_work *work,
                     struct vm_err *err);
/*
 * The way back: a sparse file of exactly `size_bytes`, with holes where 4 KiB are zero. Errors:
 * corrupt (the file is damaged, or not of that size), and as above.
 */
int vm_decompress_file(int dir_fd, const char *from, const char *to, uint64_t size_bytes,
                       struct vm_work *work, struct vm_err *err);

#endif
