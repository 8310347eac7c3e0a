/* SPDX-License-Identifier: Apache-2.0 */
#include "state.h"

#include <stdlib.h>
#include <string.h>

#include "../util.h"
#include "driver.h"

static const char *const kind_names[] = {
        [VM_STATE_KERNEL] = "kernel", [VM_STATE_INITRD] = "initrd",
        [VM_STATE_DISK] = "disk",     [VM_STATE_PMEM] = "pmem",
        [VM_STATE_VSOCK] = "vsock",   [VM_STATE_BOOT_ARGS] = "boot_args",
};

const char *vm_state_kind_name(enum vm_state_path_kind kind)
{
	return kind_names[kind];
}

void vm_state_info_free(struct vm_state_info *info)
{
	for (size_t i = 0; i < info->count; i++) {
		free(info->paths[i].id);
		free(info->paths[i].text);
	}
	free(info->paths);
	*info = (struct vm_state_info){0};
}

int vm_state_driver(const void *data, size_t len, const struct vm_driver **ret, struct vm_err *err)
{
	for (size_t i = 0; vm_drivers[i]; i++) {
		if (vm_drivers[i]->knows_state && vm_drivers[i]->knows_state(data, len)) {
			*ret = vm_drivers[i];
			return 0;
		}
	}
	return vm_err_set(err, VM_ERR_UNSUPPORTED,
	                  "this is no saved state of a hypervisor that vmctl knows");
}

int vm_state_describe(const void *data, size_t len, struct vm_state_info *ret, struct vm_err *err)
{
	const struct vm_driver *driver;

	if (vm_state_driver(data, len, &driver, err) < 0 ||
	    driver->describe_state(data, len, ret, err) < 0)
		return -1;
	ret->driver = driver;
	return 0;
}

int vm_state_rewrite(const void *data, size_t len, const struct vm_state_changes *changes,
                     void **ret_data, size_t *ret_len, struct vm_err *err)
{
	const struct vm_driver *driver;

	if (vm_state_driver(data, len, &driver, err) < 0)
		return -1;
	if (!driver->rewrite_state)
		return vm_err_set(err, VM_ERR_UNSUPPORTED, "saved states of %s are not rewritten",
		                  driver->name);
	return driver->rewrite_state(data, len, changes, ret_data, ret_len, err);
}

/* --- texts for changes --------------------------------------------------------------------------
 */

char *vm_state_fit(const char *name, size_t len, struct vm_err *err)
{
	size_t name_len = strlen(name), pad;
	char *text;

	if (name[0] == '/' || name_len >= len || len - name_len == 1)
		return vm_strdup(name, err);
	text = vm_calloc(len + 1, 1, err);
	if (!text)
		return NULL;
	pad = len - name_len;
	for (size_t at = 0; at < pad;) {
		text[at++] = '.';
		text[at++] = '/';
		/* one more slash makes an odd number of bytes even */
		if (at == 2 && pad % 2 != 0)
			text[at++] = '/';
	}
	memcpy(text + pad, name, name_len);
	return text;
}

int vm_state_move_path(const char *text, const char *from, const char *to, char **ret,
                       struct vm_err *err)
{
	size_t from_len = strlen(from), to_len = strlen(to);

	while (from_len > 0 && from[from_len - 1] == '/')
		from_len--;
	while (to_len > 0 && to[to_len - 1] == '/')
		to_len--;
	*ret = NULL;
	if (strncmp(text, from, from_len) != 0 || (text[from_len] != '/' && text[from_len] != '\0'))
		return 0;
	*ret = vm_strf(err, "%.*s%s", (int)to_len, to, text + from_len);
	return *ret ? 0 : -1;
}

char *vm_state_own_name(const struct vm_state_path *path, struct vm_err *err)
{
	switch (path->kind) {
	case VM_STATE_KERNEL:
		return vm_strdup(VM_FILE_KERNEL, err);
	case VM_STATE_INITRD:
		return vm_strdup(VM_FILE_INITRD, err);
	case VM_STATE_VSOCK:
		return vm_strdup(VM_FILE_VSOCK, err);
	case VM_STATE_DISK:
	case VM_STATE_PMEM:
		return vm_strf(err, VM_DISK_FILE_FORMAT, path->id ? path->id : "");
	default:
		return vm_strdup(path->text, err);
	}
}
