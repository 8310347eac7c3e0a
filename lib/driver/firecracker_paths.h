/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a state file of Firecracker says of the machine's files: every path that it holds, found by
 * the structure around it and never by its text, and the same rewritten. docs/state-file.md
 * describes the layouts and how they are known.
 */
#ifndef VM_FIRECRACKER_PATHS_H
#define VM_FIRECRACKER_PATHS_H

#include "driver.h"
#include "firecracker_state.h"

enum {
	VM_FC_PATH_MAX = 4095, /* PATH_MAX less its NUL */
	VM_FC_DRIVES_MAX = 64, /* more are not believed */
};

/*
 * Parses a whole state file. Everything that is told has been found by a length in front of it, in
 * the field order of its format, and the number of drives agrees with the number that the state
 * itself names: a state in which that does not fit is refused, not guessed at. Free with
 * vm_state_info_free(). Errors: corrupt, unsupported (format, or a device this code does not know),
 * incompatible (ambiguous).
 */
int vm_fc_describe(const void *data, size_t len, struct vm_state_info *ret, struct vm_err *err);

/*
 * Makes a copy in which path number i of `info` (as described from these bytes) is texts[i], where
 * that is not NULL, and the guest CID is new_cid unless 0. A relative text that is shorter is
 * padded in front with "./" and "/" to the recorded length, so that nothing else moves; one that
 * does not fit changes the length in front of it as well. The CRC is checked before, recomputed and
 * checked after, and the copy is parsed again: it must say what was asked for, and the same as
 * before of all else. *ret_data is malloc'ed. Errors: usage (an empty text), unsupported (a length
 * that cannot be changed), and as above.
 */
int vm_fc_rewrite(const void *data, size_t len, const struct vm_state_info *info,
                  const char *const *texts, uint64_t new_cid, void **ret_data, size_t *ret_len,
                  struct vm_err *err);

/*
 * Pads a relative path in front to exactly `len` bytes: "./././disk-a.img", ".//disk-a.img". False
 * when it cannot be: too long, absolute, or just one byte is to be filled.
 */
bool vm_fc_pad(const char *path, size_t len, char *buf);

#endif
