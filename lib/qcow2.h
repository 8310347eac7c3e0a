/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disk images of the format qcow2, versions 2 and 3: what a header says, new images that lie on
 * another, and the chain of files that an image lies on. Guest data is never read or written here.
 *
 * The source of the format and of each number of it is the qcow2 specification
 * (docs/interop/qcow2.txt); numbers in a file are big-endian. Where a limit is not the
 * specification's but that of the implementations we know, it says so.
 *
 * A header is input from outside: whoever wrote to an image may have made it. All that is returned
 * has been checked against the file's size, and no text has NUL or control characters in it. Bytes
 * from 0x80 are passed on as they are.
 */
#ifndef VM_QCOW2_H
#define VM_QCOW2_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"

enum {
	VM_QCOW2_NAME_MAX = 255,  /* bytes of a backing file's name here; the format's are 1023 */
	VM_QCOW2_FORMAT_MAX = 15, /* bytes of a recorded format's name, by implementations */
	VM_QCOW2_LAYERS_MAX = 64, /* backing files below an image; ours, against endless ones */
};

/* Bits of vm_qcow2_info.incompatible; all others are refused. */
#define VM_QCOW2_DIRTY (UINT64_C(1) << 0)       /* reference counts may be out of date */
#define VM_QCOW2_CORRUPT (UINT64_C(1) << 1)     /* refused, too */
#define VM_QCOW2_DATA_FILE (UINT64_C(1) << 2)   /* refused, too */
#define VM_QCOW2_COMPRESSION (UINT64_C(1) << 3) /* another compression than zlib */
#define VM_QCOW2_EXTENDED_L2 (UINT64_C(1) << 4) /* subclusters */

struct vm_qcow2_info {
	uint64_t size_bytes;                 /* of the disk that a guest sees */
	uint64_t incompatible;               /* features, VM_QCOW2_*; 0 with version 2 */
	unsigned version;                    /* 2 or 3 */
	unsigned cluster_bits;               /* a cluster has 1 << cluster_bits bytes; 9 to 21 */
	unsigned snapshots;                  /* internal ones */
	bool bitmaps;                        /* it has persistent ones */
	bool backed;                         /* it lies on another file */
	char backing[VM_QCOW2_NAME_MAX + 1]; /* its name as recorded, or "" */
	char backing_format[VM_QCOW2_FORMAT_MAX + 1]; /* as recorded: "qcow2", "raw"; or "" */
	/*
	 * It has no cluster of its own, no internal snapshot and no bitmap: what a guest sees is
	 * the backing file, cut off or followed by zeroes where that is of another size. Of an
	 * image in use, by what has been written of its L1 table.
	 */
	bool untouched;
};

/* Whether the file begins with the magic of qcow2 (also of a version that is not supported). */
bool vm_qcow2_is(int fd);

/*
 * Reads what the header of a regular file says, and its L1 table for `untouched`; `what` is its
 * name for messages. *ret is untouched on failure. Errors: corrupt (damaged, cut short, marked as
 * corrupt, or no qcow2 at all); unsupported (another version, encrypted, data in another file, an
 * unknown incompatible feature, a backing file's name of more than VM_QCOW2_NAME_MAX bytes);
 * system, insufficient_resources.
 */
int vm_qcow2_read(int fd, const char *what, struct vm_qcow2_info *ret, struct vm_err *err);

/*
 * Makes a new image of version 3, mode 0600, with clusters of 64 KiB and none of them in use but
 * for its own tables. `size_bytes` is the disk's, in whole sectors of 512. With `backing` it lies
 * on that qcow2 image, a plain name (see vm_qcow2_chain) in the same directory that need not exist
 * yet; NULL is none. Nothing is synced. On failure nothing is left. Errors: already_exists;
 * unsupported (a size of 0, more than 2 PiB or no whole sectors; no plain name);
 * insufficient_resources, system.
 */
int vm_qcow2_create(int dir_fd, const char *name, uint64_t size_bytes, const char *backing,
                    struct vm_err *err);

/* For each backing file of a chain: 0 to go on, -1 with err. */
typedef int vm_qcow2_layer(void *ctx, const char *name, struct vm_err *err);

/*
 * Calls `each` for every backing file that the image `name` lies on, from the nearest to the last;
 * not for itself. Each is checked before its call, so a failure may come after calls for those
 * above it. All are regular files in dir_fd with plain names: no '/', and no ':', with which a name
 * would mean a protocol. Symbolic links are not followed. A file that is recorded as raw ends the
 * chain. Errors: not_found (`name`); corrupt (a layer is missing, is no regular file or lies on
 * itself, or there are more than VM_QCOW2_LAYERS_MAX); unsupported (no plain name; another format
 * than qcow2 and raw; none recorded, and it is not qcow2); as vm_qcow2_read; what `each` sets.
 */
int vm_qcow2_chain(int dir_fd, const char *name, vm_qcow2_layer *each, void *ctx,
                   struct vm_err *err);

#endif
