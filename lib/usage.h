/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who takes how much of the disk. Instances and images share files by hard links (memory, kernels,
 * read-only disks) and extents by reflinks, so that the size of a directory says little about what
 * its removal would free. One look over all directories of the data root tells which bytes are
 * whose alone.
 *
 * Where the filesystem can tell where a file's extents lie (FIEMAP: ext4, xfs, btrfs) sharing is
 * seen exactly, but for sharing with files outside of the data root, which counts as shared. Where
 * it cannot (tmpfs), only hard links are seen.
 */
#ifndef VM_USAGE_H
#define VM_USAGE_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "root.h"

struct vm_usage;

/*
 * Looks at guests/ and images/. No lock is taken: what is made or removed meanwhile is seen or not.
 * Free with vm_usage_free().
 */
int vm_usage_scan(const struct vm_root *root, struct vm_usage **ret, struct vm_err *err);
void vm_usage_free(struct vm_usage *usage);

struct vm_usage_bytes {
	uint64_t exclusive; /* of nobody else: its removal frees them */
	uint64_t shared;    /* in other directories, too, or outside */
};
/* Of one instance or image; zeros for one that was not seen. */
struct vm_usage_bytes vm_usage_of(const struct vm_usage *usage, const char *id);
/* What all of these together take, each byte counted once. */
uint64_t vm_usage_taken(const struct vm_usage *usage, const char *const *ids, size_t count);
/* What the removal of all of these together frees: also what they share among each other. */
uint64_t vm_usage_freed(const struct vm_usage *usage, const char *const *ids, size_t count);

#endif
