/* SPDX-License-Identifier: Apache-2.0 */
/* Taking in a snapshot that somebody else has made. */
#ifndef VM_ADOPT_H
#define VM_ADOPT_H

#include "ops.h"

/* --disk RECORDED=FILE: the file of a drive, which is named by its recorded path or its id. */
struct vm_adopt_disk {
	char *recorded;
	const char *file;
};

enum vm_relocate {
	VM_RELOCATE_AUTO,    /* rewritten if the driver can, else by alias */
	VM_RELOCATE_REWRITE, /* or not at all */
	VM_RELOCATE_ALIAS,
};

struct vm_adopt_request {
	const char *name;           /* STEM/NAME, or STEM for STEM/base */
	const char *state, *memory; /* files */
	struct vm_adopt_disk *disks;
	size_t disk_count;
	const char *kernel, *initrd; /* or NULL: then forks go on, but none can be booted */
	unsigned vcpus;              /* 0: not known, told as 1 */
	const struct vm_image_info *info;
	enum vm_relocate relocate;
};

/*
 * Makes an image of the files: copied (or reflinked), never linked, for they stay the user's. All
 * is checked before anything is copied. Errors: usage (a file is missing, a drive has none),
 * incompatible (sizes), corrupt or unsupported (the state), and those of an admission.
 */
int vm_adopt(struct vm_op *op, const struct vm_adopt_request *request, struct vm_instance *ret,
             struct vm_err *err);

#endif
