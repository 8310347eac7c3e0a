/* SPDX-License-Identifier: Apache-2.0 */
/* States that stay as they are recorded: docs/relocation.md. */
#include <string.h>

#include "adopt_impl.h"
#include "fs.h"
#include "manifest.h"
#include "util.h"

/* A load opens no kernel, and what stands in the boot arguments is the guest's. */
static bool is_opened(const struct vm_state_path *path)
{
	return path->kind == VM_STATE_DISK || path->kind == VM_STATE_PMEM ||
	       path->kind == VM_STATE_VSOCK;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

int vm_adopt_recorded_directory(const struct vm_state_info *info, char ret[VM_ALIAS_PATH_MAX + 1],
                                struct vm_err *err)
{
	const struct vm_state_path *first = NULL;
	size_t len = 0;

	for (size_t i = 0; i < info->count; i++) {
		const struct vm_state_path *path = &info->paths[i];

		if (!is_opened(path))
			continue;
		if (path->text[0] != '/' || base_name(path->text)[0] == '\0')
			return vm_err_set(
			        err, VM_ERR_UNSUPPORTED,
			        "an alias shows a directory where the state names it, but "
			        "'%.300s' is no absolute path of a file",
			        path->text);
		if (!first) {
			first = path;
			len = (size_t)(base_name(path->text) - path->text) - 1;
		} else if ((size_t)(base_name(path->text) - path->text) - 1 != len ||
		           strncmp(path->text, first->text, len) != 0) {
			return vm_err_set(
			        err, VM_ERR_UNSUPPORTED,
			        "an alias shows one directory where the state names it, but "
			        "'%.200s' and '%.200s' are in two",
			        first->text, path->text);
		}
	}
	if (!first)
		return vm_err_set(err, VM_ERR_UNSUPPORTED,
		                  "the state names no file: no alias is needed");
	if (len == 0 || len > VM_ALIAS_PATH_MAX)
		return vm_err_set(
		        err, VM_ERR_UNSUPPORTED,
		        "the directory of '%.300s' cannot be an alias: it has 1 to %d bytes",
		        first->text, VM_ALIAS_PATH_MAX);
	memcpy(ret, first->text, len);
	ret[len] = '\0';
	return 0;
}

/* Names that a directory of ours has for something else. */
static bool is_taken(int dir_fd, const char *name)
{
	static const char *const ours[] = {VM_FILE_MEMORY,   VM_FILE_COMPRESSED, VM_FILE_STATE,
	                                   VM_FILE_MANIFEST, VM_FILE_API_SOCKET, VM_FILE_KERNEL,
	                                   VM_FILE_INITRD,   VM_FILE_BASE,       VM_FILE_MAPPED,
	                                   VM_FILE_BELOW,    VM_CONSOLE_LOG,     VM_CONSOLE_IN,
	                                   VM_VMM_LOG};

	for (size_t i = 0; i < VM_ARRAY_LEN(ours); i++) {
		if (strcmp(name, ours[i]) == 0)
			return true;
	}
	return vm_fs_exists(dir_fd, name);
}

int vm_adopt_link_recorded(const struct vm_state_info *info, const struct vm_spec *spec, int dir_fd,
                           struct vm_err *err)
{
	size_t disk = 0;

	for (size_t i = 0; i < info->count; i++) {
		const struct vm_state_path *path = &info->paths[i];
		const char *recorded = base_name(path->text), *own = VM_FILE_VSOCK;
		char file[VM_DISK_FILE_SIZE];
		int rc;

		if (!is_opened(path))
			continue;
		if (path->kind != VM_STATE_VSOCK)
			own = vm_disk_file(&spec->disks[disk++], file);
		if (strcmp(recorded, own) == 0)
			continue;
		if (is_taken(dir_fd, recorded))
			return vm_err_set(err, VM_ERR_UNSUPPORTED,
			                  "the recorded name '%s' is that of another file here",
			                  recorded);
		rc = path->kind == VM_STATE_VSOCK ? vm_fs_symlink(recorded, dir_fd, own, err)
		                                  : vm_fs_symlink(own, dir_fd, recorded, err);
		if (rc < 0)
			return -1;
	}
	return 0;
}
