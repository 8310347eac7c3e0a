/* SPDX-License-Identifier: Apache-2.0 */
/* A hypervisor's binary on this host, for its driver: which one, and its version. */
#ifndef VM_DRIVER_BINARY_H
#define VM_DRIVER_BINARY_H

#include "driver.h"

struct vm_binary_search {
	const char *driver;       /* its name, also the key of vmctl.yaml that names a path */
	const char *product;      /* as people write it: "Firecracker" */
	const char *variable;     /* of the environment, comes first: "VMCTL_FIRECRACKER" */
	const char *const *names; /* to be looked for in PATH, in this order; NULL-terminated */
	/* What the first line of `--version` begins with, with one %23[...] for the version. */
	const char *version_format;
};

/*
 * Finds the binary and asks its version, once per file: the store remembers it. Errors: hypervisor
 * (none, or it is none of this product).
 */
int vm_binary_find(const struct vm_root *root, const struct vm_binary_search *search,
                   struct vm_driver_info *ret, struct vm_err *err);

/* Whether a version is at least MAJOR.MINOR. */
bool vm_version_is_since(const char *version, int major, int minor);
/* Whether two versions have the same MAJOR.MINOR; what follows does not matter. */
bool vm_version_is_alike(const char *a, const char *b);

#endif
