/* SPDX-License-Identifier: Apache-2.0 */
/* Private to lib/driver/firecracker_paths*.c and firecracker_rewrite.c. */
#ifndef VM_FIRECRACKER_PATHS_IMPL_H
#define VM_FIRECRACKER_PATHS_IMPL_H

#include "firecracker_paths.h"
#include "firecracker_state_impl.h"

struct vm_fc_cursor {
	const struct vm_fc_state *st;
	size_t at;
};
/* Each takes what is at the cursor; false leaves it anywhere: begin anew with a copy. */
bool vm_fc_take(struct vm_fc_cursor *cursor, size_t size, const uint8_t **ret);
bool vm_fc_take_byte(struct vm_fc_cursor *cursor, unsigned max, uint8_t *ret);
bool vm_fc_take_u64(struct vm_fc_cursor *cursor, uint64_t *ret);

/* A string in the state. */
struct vm_fc_text {
	const uint8_t *bytes;
	size_t at, len;
	size_t length_at; /* of its length: eight bytes, in bitcode one; 0: it cannot be changed */
};
bool vm_fc_is_path(const struct vm_fc_text *text);
bool vm_fc_is_id(const struct vm_fc_text *text);
bool vm_fc_is_vsock_id(const struct vm_fc_text *text);

struct vm_fc_drive {
	struct vm_fc_text id, path;
	uint32_t backend; /* 0: a file, 1: vhost-user */
	bool root;
	uint64_t features; /* of virtio */
};

struct vm_fc_vsock {
	struct vm_fc_text path;
	uint64_t cid;
	size_t cid_at;
};
typedef bool vm_fc_parse_vsock(struct vm_fc_cursor *cursor, struct vm_fc_vsock *ret);

struct vm_state_path *vm_fc_add(struct vm_state_info *info, enum vm_state_path_kind kind,
                                const struct vm_fc_text *text, struct vm_err *err);
int vm_fc_add_disk(struct vm_state_info *info, const struct vm_fc_drive *drive, struct vm_err *err);
int vm_fc_refuse_backend(const struct vm_fc_drive *drive, struct vm_err *err);
int vm_fc_set_machine(struct vm_state_info *info, uint64_t mib, const struct vm_fc_text *kernel,
                      const struct vm_fc_text *initrd, struct vm_err *err);
/* The one vsock, if any. */
int vm_fc_find_vsock(const struct vm_fc_state *st, vm_fc_parse_vsock *parse,
                     struct vm_state_info *info, struct vm_err *err);
int vm_fc_describe_bitcode(const struct vm_fc_state *st, struct vm_state_info *info,
                           struct vm_err *err);

#endif
