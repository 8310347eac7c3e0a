/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `snapshot gc`: which images go. What has expired always goes. With keep_last or keep_within the
 * others go as well, but for those that one of the rules keeps. Then the oldest go until what is
 * left fits max_bytes.
 */
#ifndef VM_GC_H
#define VM_GC_H

#include "ops.h"

struct vm_gc_policy {
	int64_t keep_last;      /* the newest so many of each instance stay; -1: no such rule */
	int64_t keep_within_us; /* those that are younger stay; -1: no such rule */
	int64_t max_bytes;      /* that all images together may take on disk; -1: any */
	const char *instance;   /* only those named INSTANCE/...; NULL: all */
};

/* An image that goes, or would go. */
struct vm_gc_item {
	struct vm_instance image;
	const char *why;   /* "expired", "not kept", "max-size" */
	struct vm_err err; /* why it could not be removed: somebody holds it, ... */
};

struct vm_gc {
	struct vm_gc_item *items; /* oldest first */
	size_t count;
	uint64_t freed_bytes; /* on disk, by those that went, or would go, together */
};

/*
 * Chooses, and unless `dry_run` removes, each image as an operation of its own: one that fails
 * keeps none of the others. Returns 0, also then; -1 when nothing could be chosen. Free with
 * vm_gc_free().
 */
int vm_gc(struct vm_op *op, const struct vm_gc_policy *policy, bool dry_run, struct vm_gc *ret,
          struct vm_err *err);
void vm_gc_free(struct vm_gc *gc);

#endif
