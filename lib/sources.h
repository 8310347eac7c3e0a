/* SPDX-License-Identifier: Apache-2.0 */
/* The files that a new instance is made from: they are the user's, so they are copied. */
#ifndef VM_SOURCES_H
#define VM_SOURCES_H

#include <sys/stat.h>

#include "child.h"

/* Opened before anything is changed: what is checked is what gets copied. */
struct vm_sources {
	int kernel_fd, initrd_fd; /* -1: there is none */
	int disk_fds[VM_DISKS_MAX];
	uint64_t bytes; /* of data, at most, that the copies will take */
};

/*
 * Opens *path, which must be a regular file that is not empty, and makes it absolute: what is
 * stored must not depend on today's directory. `field` stands in messages. Errors: usage.
 */
int vm_source_open(char **path, const char *field, int *ret_fd, struct stat *ret_st,
                   struct vm_err *err);
void vm_sources_init(struct vm_sources *sources);
/*
 * Opens all that a spec names, and sets the sizes of its disks. To be closed in any case. Errors:
 * usage (missing, not regular, empty, no multiple of a sector).
 */
int vm_sources_open(struct vm_spec *spec, struct vm_sources *sources, struct vm_err *err);
void vm_sources_close(struct vm_sources *sources);
/* Copies them into the child's directory, durably, and makes its blank disks. */
int vm_sources_copy(struct vm_child *child, const struct vm_spec *spec,
                    const struct vm_sources *sources, const struct vm_tell *tell,
                    struct vm_err *err);

#endif
