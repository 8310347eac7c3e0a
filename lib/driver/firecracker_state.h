/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Firecracker's state file (vmstate): identity, checksum and guest CID. docs/state-file.md
 * describes the two encodings and where each fact was measured.
 *
 * Everything works on a whole file in memory (state files are some 20 KiB), reads nothing outside
 * [data, data + len) whatever the bytes say, and never changes its input. A state that is not
 * understood completely is refused: a guest CID written to a wrong place would damage a guest.
 */
#ifndef VM_FIRECRACKER_STATE_H
#define VM_FIRECRACKER_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver.h"
#include "err.h"

enum vm_fc_encoding {
	VM_FC_BINCODE, /* formats 4 to 8: fixed-width fields in order; Firecracker 1.10 to 1.14 */
	VM_FC_BITCODE, /* formats 9 and 10: columns of packed values; Firecracker 1.15 and 1.16 */
};

struct vm_fc_state_info {
	enum vm_fc_encoding encoding;
	char format[24]; /* snapshot format version, e.g. "6.0.0"; not Firecracker's own version */
};

/*
 * CRC-64/Jones as the trailer uses it (init 0, no final xor); crc("123456789") =
 * 0xe9c6d914c4b8d9ca. Over a whole intact file, trailer included, it is 0. `data` may be NULL when
 * `len` is 0; the CRC of nothing is 0.
 */
uint64_t vm_fc_state_crc(const void *data, size_t len);

/*
 * Checks trailer, magic and version string of a whole state file. An intact file of a format that
 * this code does not know is a success and is reported in `ret_info`: only looking into it needs a
 * known format. Errors: corrupt (what is wrong and at which offset), unsupported (intact, but of
 * another architecture or not of an encoding this code knows).
 *
 * What no CRC without a final xor can see: up to three zero bytes appended to an intact file. From
 * four on they are reported as corrupt. Whoever knows the file's length should compare it.
 */
int vm_fc_state_check(const void *data, size_t len, struct vm_fc_state_info *ret_info,
                      struct vm_err *err);

/*
 * The driver's describe_state and rewrite_state (driver.h). A state is read from its first field to
 * its last by the structure of its format; one that does not have it is refused, not guessed at.
 */
int vm_fc_state_describe(const void *data, size_t len, struct vm_state_info *ret,
                         struct vm_err *err);
int vm_fc_state_rewrite(const void *data, size_t len, const struct vm_state_info *info,
                        const char *const *texts, uint64_t new_cid, void **ret_data,
                        size_t *ret_len, struct vm_err *err);

/*
 * Makes a copy of a state with another guest CID; everything else but the CRC trailer stays as it
 * is. `uds_path` is the vsock's socket path as recorded in the state (e.g. "vsock.sock") and
 * `old_cid` the CID it must hold: the place is found structurally behind that path, both must
 * agree, and there must be exactly one such place. With NULL for the path, the place is the one
 * that the structure of the whole state has for it, whatever the path is. `new_cid` is 3 to
 * 0xfffffffe (0 to 2 and 0xffffffff are reserved by AF_VSOCK). The CRC is checked before,
 * recomputed and checked after, and the CID is read back. The packed width of bitcode may change,
 * so the copy's length may differ by up to 3 bytes for a state that Firecracker wrote. `*ret_data`
 * is malloc'ed and the caller's to free. Errors: usage (new_cid), corrupt, unsupported (a format
 * this code cannot look into), incompatible (the state does not hold that path and CID),
 * insufficient_resources (memory).
 */
int vm_fc_state_set_cid(const void *data, size_t len, const char *uds_path, uint64_t old_cid,
                        uint64_t new_cid, void **ret_data, size_t *ret_len, struct vm_err *err);

/*
 * Finds the CID behind `uds_path` (or by the structure, for NULL), for verification after a rewrite
 * or for adopting a state whose CID is not known. Errors: corrupt, unsupported, incompatible, as
 * above.
 */
int vm_fc_state_get_cid(const void *data, size_t len, const char *uds_path, uint64_t *ret_cid,
                        struct vm_err *err);

#endif
