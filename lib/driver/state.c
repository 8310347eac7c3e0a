/* SPDX-License-Identifier: Apache-2.0 */
#include "state.h"

#include <string.h>

#include "../util.h"

bool vm_state_pad(const char *path, size_t len, char *buf)
{
	size_t own = strlen(path), pad = len - own;

	if (own == 0 || path[0] == '/' || own > len || pad == 1)
		return false;
	for (size_t at = 0; at < pad;) {
		buf[at++] = '.';
		buf[at++] = '/';
		/* one more slash where the number is odd */
		if (at == 2 && pad % 2 != 0)
			buf[at++] = '/';
	}
	memcpy(buf + pad, path, own + 1);
	return true;
}

int vm_state_move_path(const char *text, const char *from, const char *to, char **ret,
                       struct vm_err *err)
{
	size_t from_len = strlen(from), to_len = strlen(to);
	const char *rest;

	while (from_len > 0 && from[from_len - 1] == '/')
		from_len--;
	while (to_len > 0 && to[to_len - 1] == '/')
		to_len--;
	*ret = NULL;
	rest = text + from_len;
	if (strncmp(text, from, from_len) != 0 || (rest[0] != '/' && rest[0] != '\0'))
		return 0;
	/* the root directory itself is all that the stripped slashes can have been */
	*ret = vm_strf(err, "%.*s%s", (int)to_len, to, to_len == 0 && rest[0] == '\0' ? "/" : rest);
	return *ret ? 0 : -1;
}

const char *vm_state_fixed_name(enum vm_state_path_kind kind)
{
	switch (kind) {
	case VM_STATE_KERNEL:
		return VM_FILE_KERNEL;
	case VM_STATE_INITRD:
		return VM_FILE_INITRD;
	case VM_STATE_VSOCK:
		return VM_FILE_VSOCK;
	default:
		return NULL;
	}
}

char *vm_state_own_name(const struct vm_state_path *path, struct vm_err *err)
{
	const char *fixed = vm_state_fixed_name(path->kind);

	if (fixed)
		return vm_strdup(fixed, err);
	if (path->id[0] == '\0' || strchr(path->id, '/')) {
		vm_err_set(err, VM_ERR_UNSUPPORTED,
		           "the device '%s' of the path '%s' cannot give a file its name", path->id,
		           path->text);
		return NULL;
	}
	return vm_strf(err, VM_DISK_FILE_FORMAT, path->id);
}
