/* SPDX-License-Identifier: Apache-2.0 */
#include "fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "fault.h"
#include "util.h"

char *vm_fs_path(int dir_fd, const char *name, char *buf, size_t size)
{
	char link[40];
	int saved = errno;
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", dir_fd);
	n = readlink(link, buf, size - 1);
	errno = saved;
	n = n > 0 ? n : 0;
	snprintf(buf + n, size - (size_t)n, "%s%s", n > 0 && name ? "/" : "",
	         name    ? name
	         : n > 0 ? ""
	                 : "the directory");
	return buf;
}

int vm_fs_fail(int dir_fd, const char *name, const char *doing, struct vm_err *err)
{
	char path[VM_PATH_SHOWN];

	return vm_err_sys(err, "%s %s", doing, vm_fs_path(dir_fd, name, path, sizeof(path)));
}

int vm_fs_wrap(int dir_fd, const char *name, struct vm_err *err)
{
	char path[VM_PATH_SHOWN];

	return vm_err_wrap(err, "%s", vm_fs_path(dir_fd, name, path, sizeof(path)));
}

int vm_fs_open_dir(int dir_fd, const char *name, struct vm_err *err)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		vm_fs_fail(dir_fd, name, "opening directory", err);
	return fd;
}

int vm_fs_make_dir(int dir_fd, const char *name, struct vm_err *err)
{
	if (vm_fault(VM_FAULT_FS_MKDIR) || (mkdirat(dir_fd, name, 0700) < 0 && errno != EEXIST) ||
	    vm_fault(VM_FAULT_FS_MKDIR_DONE))
		return vm_fs_fail(dir_fd, name, "creating directory", err);
	return vm_fs_open_dir(dir_fd, name, err);
}

static int read_all(int fd, char *data, size_t len, size_t *ret_got, struct vm_err *err)
{
	size_t got = 0;

	while (got < len) {
		ssize_t n = read(fd, data + got, len - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return vm_err_sys(err, "reading");
		if (n == 0)
			break;
		got += (size_t)n;
	}
	*ret_got = got;
	return 0;
}

int vm_fs_read(int dir_fd, const char *name, size_t max, char **ret_data, size_t *ret_len,
               struct vm_err *err)
{
	VM_AUTO_CLOSE int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	VM_AUTO_FREE char *data = NULL;
	struct stat st;
	size_t len = 0;

	if (fd < 0 && errno == ENOENT)
		return vm_err_set(err, VM_ERR_NOT_FOUND, "%s: no such file", name);
	if (fd < 0 || fstat(fd, &st) < 0)
		return vm_fs_fail(dir_fd, name, "opening", err);
	if (!S_ISREG(st.st_mode))
		return vm_err_set(err, VM_ERR_CORRUPT, "%s is not a regular file", name);
	if ((uint64_t)st.st_size > max)
		return vm_err_set(err, VM_ERR_CORRUPT, "%s has %jd bytes, more than %zu", name,
		                  (intmax_t)st.st_size, max);
	data = vm_calloc((size_t)st.st_size + 1, 1, err);
	if (!data)
		return -1;
	if (read_all(fd, data, (size_t)st.st_size, &len, err) < 0)
		return vm_err_wrap(err, "%s", name);
	data[len] = '\0';
	*ret_data = vm_take_ptr(&data);
	*ret_len = len;
	return 0;
}

int vm_fs_create(int dir_fd, const char *name, mode_t mode, struct vm_err *err)
{
	VM_AUTO_CLOSE int fd = -1;

	if (!vm_fault(VM_FAULT_FS_CREATE))
		fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		            mode);
	if (fd < 0 && errno == EEXIST)
		return vm_err_set(err, VM_ERR_ALREADY_EXISTS, "%s exists already", name);
	if (fd < 0 || vm_fault(VM_FAULT_FS_CREATE_DONE))
		return vm_fs_fail(dir_fd, name, "creating", err);
	return vm_take_fd(&fd);
}

static int write_all(int fd, const void *data, size_t len)
{
	if (vm_fault(VM_FAULT_FS_WRITE) || vm_write_all(fd, data, len) < 0)
		return -1;
	return vm_fault(VM_FAULT_FS_WRITE_DONE) ? -1 : 0;
}

static int sync_fd(int fd, int dir_fd, const char *name, struct vm_err *err)
{
	if (vm_fault(VM_FAULT_FS_SYNC) || fsync(fd) < 0 || vm_fault(VM_FAULT_FS_SYNC_DONE))
		return vm_fs_fail(dir_fd, name, "syncing", err);
	return 0;
}

/* Writes the file under the name `tmp`, which must be free, and renames it. */
static int publish_by(int dir_fd, const char *tmp, const char *name, const void *data, size_t len,
                      bool durable, struct vm_err *err)
{
	VM_AUTO_CLOSE int fd = vm_fs_create(dir_fd, tmp, 0600, err);

	if (fd < 0)
		return -1;
	if (write_all(fd, data, len) < 0)
		vm_fs_fail(dir_fd, name, "writing", err);
	else if (!durable || sync_fd(fd, dir_fd, name, err) == 0)
		vm_fs_rename(dir_fd, tmp, dir_fd, name, err);
	if (err->code != VM_OK) {
		unlinkat(dir_fd, tmp, 0);
		return -1;
	}
	return durable ? vm_fs_sync(dir_fd, NULL, err) : 0;
}

int vm_fs_publish(int dir_fd, const char *name, const void *data, size_t len, bool durable,
                  struct vm_err *err)
{
	char tmp[256];

	/* A fixed temporary name: the caller holds the instance's lock, a leftover is a dead
	 * writer's. */
	snprintf(tmp, sizeof(tmp), "%s.tmp", name);
	if (vm_fs_unlink(dir_fd, tmp, err) < 0)
		return -1;
	return publish_by(dir_fd, tmp, name, data, len, durable, err);
}

int vm_fs_publish_foreign(int dir_fd, const char *name, const void *data, size_t len, bool replace,
                          struct vm_err *err)
{
	char id[VM_ID_LEN + 1], tmp[VM_ID_LEN + 16], shown[VM_PATH_SHOWN];

	/* Not a lock: whoever makes the file in this very moment is overwritten. */
	if (!replace && vm_fs_exists(dir_fd, name))
		return vm_err_set(err, VM_ERR_ALREADY_EXISTS, "%s exists",
		                  vm_fs_path(dir_fd, name, shown, sizeof(shown)));
	if (vm_id_new(id, err) < 0)
		return -1;
	snprintf(tmp, sizeof(tmp), ".vmctl-%s", id);
	return publish_by(dir_fd, tmp, name, data, len, true, err);
}

int vm_fs_unlink(int dir_fd, const char *name, struct vm_err *err)
{
	if (vm_fault(VM_FAULT_FS_UNLINK) || (unlinkat(dir_fd, name, 0) < 0 && errno != ENOENT) ||
	    vm_fault(VM_FAULT_FS_UNLINK_DONE))
		return vm_fs_fail(dir_fd, name, "removing", err);
	return 0;
}

int vm_fs_rename(int from_fd, const char *from, int to_fd, const char *to, struct vm_err *err)
{
	char path[VM_PATH_SHOWN];

	if (!vm_fault(VM_FAULT_FS_RENAME) && renameat(from_fd, from, to_fd, to) == 0)
		return vm_fault(VM_FAULT_FS_RENAME_DONE) ? -1 : 0;
	return vm_err_sys(err, "renaming %s to %s", from,
	                  vm_fs_path(to_fd, to, path, sizeof(path)));
}

int vm_fs_rename_new(int dir_fd, const char *from, const char *to, struct vm_err *err)
{
	char path[VM_PATH_SHOWN];

	if (!vm_fault(VM_FAULT_FS_RENAME) &&
	    renameat2(dir_fd, from, dir_fd, to, RENAME_NOREPLACE) == 0)
		return vm_fault(VM_FAULT_FS_RENAME_DONE) ? -1 : 0;
	vm_fs_path(dir_fd, to, path, sizeof(path));
	if (errno == EEXIST)
		return vm_err_set(err, VM_ERR_ALREADY_EXISTS, "%s exists already", path);
	return vm_err_sys(err, "renaming %s to %s", from, path);
}

int vm_fs_symlink(const char *target, int dir_fd, const char *name, struct vm_err *err)
{
	if (!vm_fault(VM_FAULT_FS_SYMLINK) && symlinkat(target, dir_fd, name) == 0)
		return vm_fault(VM_FAULT_FS_SYMLINK_DONE) ? -1 : 0;
	return vm_fs_fail(dir_fd, name, "making the symbolic link", err);
}

int vm_fs_read_link(int dir_fd, const char *name, char **ret_target, struct vm_err *err)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(dir_fd, name, target, sizeof(target) - 1);

	if (n < 0 && (errno == EINVAL || errno == ENOENT))
		return 0;
	if (n < 0)
		return vm_fs_fail(dir_fd, name, "reading the link", err);
	target[n] = '\0';
	*ret_target = vm_strdup(target, err);
	return *ret_target ? 1 : -1;
}

int vm_fs_remove_empty(int dir_fd, const char *name, struct vm_err *err)
{
	if (vm_fault(VM_FAULT_FS_REMOVE) ||
	    (unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT && errno != ENOTEMPTY &&
	     errno != EEXIST) ||
	    vm_fault(VM_FAULT_FS_REMOVE_DONE))
		return vm_fs_fail(dir_fd, name, "removing directory", err);
	return 0;
}

int vm_fs_exchange(int a_fd, const char *a, int b_fd, const char *b, struct vm_err *err)
{
	char path[VM_PATH_SHOWN];

	if (!vm_fault(VM_FAULT_FS_RENAME) && renameat2(a_fd, a, b_fd, b, RENAME_EXCHANGE) == 0)
		return vm_fault(VM_FAULT_FS_RENAME_DONE) ? -1 : 0;
	return vm_err_sys(err, "exchanging %s and %s", b, vm_fs_path(a_fd, a, path, sizeof(path)));
}

int vm_fs_link(int from_fd, int to_fd, const char *name, struct vm_err *err)
{
	if (vm_fault(VM_FAULT_FS_LINK) || linkat(from_fd, name, to_fd, name, 0) < 0 ||
	    vm_fault(VM_FAULT_FS_LINK_DONE))
		return vm_fs_fail(from_fd, name, "linking", err);
	return 0;
}

int vm_fs_link_as(int from_fd, const char *from, int to_fd, const char *to, struct vm_err *err)
{
	int rc = vm_fault(VM_FAULT_FS_LINK) ? -1 : linkat(from_fd, from, to_fd, to, 0);

	if (rc < 0 && errno == EEXIST)
		return vm_err_set(err, VM_ERR_ALREADY_EXISTS, "%s exists already", to);
	if (rc < 0 || vm_fault(VM_FAULT_FS_LINK_DONE))
		return vm_fs_fail(from_fd, from, "linking", err);
	return 0;
}

int vm_fs_each(int dir_fd, const char *name, vm_fs_entry *each, void *ctx, struct vm_err *err)
{
	struct dirent *entry;
	int fd = vm_fs_open_dir(dir_fd, name, err);
	DIR *dir;
	int rc = 0;

	if (fd < 0)
		return -1;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return vm_fs_fail(dir_fd, name, "listing", err);
	}
	while (rc == 0 && (entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			rc = each(ctx, fd, entry->d_name, err);
	}
	closedir(dir);
	return rc;
}

static int remove_entry(void *ctx, int dir_fd, const char *name, struct vm_err *err)
{
	(void)ctx;
	return vm_fs_remove_tree(dir_fd, name, err);
}

int vm_fs_remove_tree(int dir_fd, const char *name, struct vm_err *err)
{
	if (vm_fault(VM_FAULT_FS_REMOVE))
		return vm_fs_fail(dir_fd, name, "removing", err);
	if (unlinkat(dir_fd, name, 0) == 0)
		return vm_fault(VM_FAULT_FS_REMOVE_DONE) ? -1 : 0;
	if (errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return vm_fs_fail(dir_fd, name, "removing", err);
	if (vm_fs_each(dir_fd, name, remove_entry, NULL, err) < 0)
		return -1;
	if (unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return vm_fs_fail(dir_fd, name, "removing directory", err);
	return 0;
}

bool vm_fs_exists(int dir_fd, const char *name)
{
	return faccessat(dir_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

void vm_fs_begin_sync(int dir_fd, const char *name)
{
	VM_AUTO_CLOSE int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0)
		(void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

int vm_fs_sync(int dir_fd, const char *name, struct vm_err *err)
{
	VM_AUTO_CLOSE int fd =
	        openat(dir_fd, name ? name : ".", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	return fd < 0 ? vm_fs_fail(dir_fd, name, "syncing", err) : sync_fd(fd, dir_fd, name, err);
}

int vm_fs_free_bytes(int fd, uint64_t *ret_bytes, struct vm_err *err)
{
	struct statvfs st;

	if (fstatvfs(fd, &st) < 0)
		return vm_err_sys(err, "asking for free disk space");
	*ret_bytes = (uint64_t)st.f_bavail * st.f_frsize;
	return 0;
}
