/* SPDX-License-Identifier: Apache-2.0 */
/* Private to lib/transfer.c and lib/import.c: the files of an image, and its description. */
#ifndef VM_TRANSFER_IMPL_H
#define VM_TRANSFER_IMPL_H

#include "child.h"
#include "manifest.h"
#include "transfer.h"

#define VM_ARCH "x86_64" /* what this code is built for; states of others are not understood */

enum { VM_IMAGE_FILES_MAX = VM_DISKS_MAX + 4 };

/* The names of the files that an image consists of, in the order in which they are sent. */
struct vm_image_files {
	char names[VM_IMAGE_FILES_MAX][VM_DISK_FILE_SIZE];
	const char *list[VM_IMAGE_FILES_MAX];
	size_t count;
};
void vm_image_files(const struct vm_spec *spec, bool with_memory, struct vm_image_files *ret);

/* The description: what the row, its info and its manifest say. */
struct vm_image_description {
	char name[VM_FULL_NAME_MAX + 1];
	char parent_name[VM_FULL_NAME_MAX + 1];
	char hypervisor[24], version[24], cpu[VM_CPU_SIZE], relocation[16];
	bool with_memory;
	uint64_t guest_cid;
	struct vm_spec spec;
	struct vm_image_info info;
};
void vm_image_description_free(struct vm_image_description *description);
/* New reference; NULL with err. */
json_t *vm_image_describe(const struct vm_instance *row, const struct vm_image_info *info,
                          const char *cpu, struct vm_err *err);
/* Errors: corrupt (a key lacks or is wrong), incompatible (another architecture). */
int vm_image_read_description(const json_t *json, struct vm_image_description *ret,
                              struct vm_err *err);

#endif
