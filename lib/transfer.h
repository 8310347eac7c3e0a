/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images on their way to another data root: export writes one as a stream, import makes one of it.
 * docs/archive-format.md has the stream; what stands in its description is in lib/transfer.c.
 */
#ifndef VM_TRANSFER_H
#define VM_TRANSFER_H

#include "image_archive.h"
#include "ops.h"

/*
 * Writes the image to out_fd, from where that is; held shared meanwhile, so that it can be forked,
 * and not be removed. How far it is is told to op->tell, not by the options. `*ret` (may be NULL)
 * is the image. Errors: unsupported (its state needs an
 * alias on this host), those of vm_archive_write().
 */
int vm_export(struct vm_op *op, const char *selector, int out_fd,
              const struct vm_archive_write_options *options, struct vm_instance *ret,
              struct vm_err *err);

struct vm_import_request {
	int in_fd;
	const char *name;                 /* STEM/NAME; NULL: the name that it had */
	const struct vm_image_info *info; /* what is said here replaces what it said */
};
/*
 * Makes an image of a stream. Nothing is published before all of it is verified: its checksums,
 * that its files are those of its spec, and that its state names no file but these. Errors:
 * already_exists (the name), corrupt, incompatible (another architecture, a newer format),
 * unsupported (hypervisor), insufficient_resources.
 */
int vm_import(struct vm_op *op, const struct vm_import_request *request, struct vm_instance *ret,
              struct vm_err *err);

#endif
