/* SPDX-License-Identifier: Apache-2.0 */
/* Private to lib/driver/firecracker_state.c and firecracker_paths*.c. */
#ifndef VM_FIRECRACKER_STATE_IMPL_H
#define VM_FIRECRACKER_STATE_IMPL_H

#include "firecracker_state.h"

enum {
	VM_FC_TRAILER = 8,
	VM_FC_CID_SIZE = 9,  /* at most */
	VM_FC_CID_MIN = 3,   /* the others are reserved by AF_VSOCK */
	VM_FC_UDS_MAX = 107, /* sockaddr_un.sun_path less its NUL: no longer path was ever bound */
};

/* A state whose trailer and header were found good. */
struct vm_fc_state {
	const uint8_t *bytes;
	size_t body; /* offset of the first byte behind the header */
	size_t end;  /* offset of the trailer */
	struct vm_fc_state_info info;
};

/* Where a state holds its guest CID. */
struct vm_fc_cid_place {
	size_t offset;
	size_t size; /* bytes it takes, with bitcode's width byte */
	uint64_t cid;
};

/* Checks trailer and header. */
int vm_fc_state_open(const void *data, size_t len, struct vm_fc_state *ret_state,
                     struct vm_err *err);
/* unsupported unless the format is one that this code can look into. */
int vm_fc_state_known(const struct vm_fc_state *st, struct vm_err *err);
/* bitcode's integer: one byte that says the width (of up to 8), then the value. */
int vm_fc_state_read_packed(const struct vm_fc_state *st, size_t at,
                            struct vm_fc_cid_place *ret_place, struct vm_err *err);
/* Encodes as Firecracker does, in bitcode with the narrowest width. Returns the number of bytes. */
size_t vm_fc_state_encode_cid(enum vm_fc_encoding encoding, uint64_t cid,
                              uint8_t buf[static VM_FC_CID_SIZE]);

#endif
