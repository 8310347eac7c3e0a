/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files that one instance or image has from another: what nobody writes is shared by hard
 * links, disks that can be written become private copies.
 */
#ifndef VM_FILES_H
#define VM_FILES_H

#include "fs.h"
#include "overlay.h"
#include "spec.h"

/* Kernel and initrd. */
int vm_files_link_kernel(const struct vm_spec *spec, int from_fd, int to_fd, struct vm_err *err);
/*
 * All disks of `name`; those in layers onto the frozen ones of from_fd. `*ret_how` (as the caller
 * set it, when there is none to copy): VM_COPY_SPARSE when one of them had to be copied, else
 * VM_COPY_LAYER when one got a layer, else VM_COPY_REFLINK. Returns how many were private, or -1.
 */
int vm_files_copy_disks(const struct vm_spec *spec, int from_fd, const struct vm_frozen *frozen,
                        int to_fd, const struct vm_tell *tell, const char *name,
                        enum vm_copy *ret_how, struct vm_err *err);

/*
 * The names that the saved state of an alias has for the files: links to what is in the same
 * directory.
 */
int vm_files_copy_links(int from_fd, int to_fd, struct vm_err *err);
/* Removes them: the instance boots, and has its files under their own names only. */
int vm_files_drop_links(int dir_fd, struct vm_err *err);

#endif
