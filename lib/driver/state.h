/* SPDX-License-Identifier: Apache-2.0 */
/* Texts for the paths of a saved state (struct vm_state_info in driver.h). */
#ifndef VM_STATE_H
#define VM_STATE_H

#include <stdbool.h>
#include <stddef.h>

#include "driver.h"
#include "err.h"

/*
 * Writes a relative path padded in front to exactly `len` bytes, with "./" and "/", so that it
 * names the same file from the same directory: "./././disk-a.img", ".//disk-a.img". `buf` has room
 * for len + 1. False, with nothing written, when that cannot be: absolute, too long, or just one
 * byte is to be filled.
 */
bool vm_state_pad(const char *path, size_t len, char *buf);
/*
 * `text` with the directory `from` replaced by `to`: only where `from` ends in `text` or a '/'
 * follows, so that /g/src is not found in /g/src2. *ret is malloc'ed, or NULL when `text` is not in
 * `from`.
 */
int vm_state_move_path(const char *text, const char *from, const char *to, char **ret,
                       struct vm_err *err);
/* The name of the kernel, initrd or socket in an instance's directory; NULL for other kinds. */
const char *vm_state_fixed_name(enum vm_state_path_kind kind);
/*
 * The name that a file of this kind has in an instance's directory; malloc'ed, NULL with err.
 * unsupported when a disk's id cannot be part of a file's name.
 */
char *vm_state_own_name(const struct vm_state_path *path, struct vm_err *err);

#endif
