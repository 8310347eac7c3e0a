/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the state file code share: only firecracker_state*.c include this. */
#ifndef VM_FIRECRACKER_STATE_IMPL_H
#define VM_FIRECRACKER_STATE_IMPL_H

#include "firecracker_layout.h"
#include "firecracker_state.h"

enum {
	VM_FC_TRAILER_LEN = 8,
	VM_FC_UDS_PATH_MAX = 107, /* sockaddr_un.sun_path less its NUL: no longer path was ever
	                             bound */
	VM_FC_PATH_MAX = 4095,    /* PATH_MAX less its NUL */
	VM_FC_CID_MIN = 3,
};

#define VM_FC_CID_MAX UINT64_C(0xffffffff)

/* A state whose trailer and header were found good. */
struct vm_fc_state {
	const uint8_t *bytes;
	size_t body; /* offset of the first byte behind the header */
	size_t end;  /* offset of the trailer */
	struct vm_fc_state_info info;
};

uint64_t vm_fc_read_le64(const uint8_t *p);
void vm_fc_write_le64(uint8_t *p, uint64_t v);
/* Checks trailer and header. */
int vm_fc_state_open(const void *data, size_t len, struct vm_fc_state *ret, struct vm_err *err);
unsigned long vm_fc_state_major(const struct vm_fc_state *state);
/* unsupported, unless the format is one of those that this code looks into. */
int vm_fc_state_require_known(const struct vm_fc_state *state, struct vm_err *err);
/* usage, unless it can be a microVM's. */
int vm_fc_state_check_cid(uint64_t cid, struct vm_err *err);
/* Encodes as Firecracker does, in bitcode with the narrowest width. Returns the number of bytes. */
size_t vm_fc_state_encode_cid(enum vm_fc_encoding encoding, uint64_t cid, uint8_t buf[static 9]);

/*
 * Walks through the whole state. On success `ret` has the noted fields and is to be freed with
 * vm_fc_walk_free(). Errors: unsupported (format, devices), incompatible (not of its format's
 * structure, or of more than one that could be it).
 */
int vm_fc_state_walk(const struct vm_fc_state *state, struct vm_fc_walk *ret, struct vm_err *err);
/* What was noted, as paths and numbers. */
int vm_fc_state_read(const struct vm_fc_state *state, const struct vm_fc_walk *walk,
                     struct vm_state_info *ret, struct vm_err *err);

#endif
