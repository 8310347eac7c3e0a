/* SPDX-License-Identifier: Apache-2.0 */
/* Whose files are open: by device and inode, for in a namespace a path says nothing. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alias.h"
#include "fs.h"
#include "util.h"

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* --- what a VMM has open ------------------------------------------------------------------------
 */

struct search {
	struct stat wanted;
	bool found;
};

static int look_at(void *ctx, int dir_fd, const char *name, struct vm_err *err)
{
	struct search *search = ctx;
	struct stat st;

	(void)err;
	/* Follows the magic link to the open file itself, whatever its path is called. */
	if (fstatat(dir_fd, name, &st, 0) == 0 && same_file(&st, &search->wanted))
		search->found = true;
	return 0;
}

static int verify_disk(const struct vm_machine *machine, const struct vm_disk *disk,
                       const char *fds, struct vm_err *err)
{
	struct search search = {.found = false};
	char file[VM_DISK_FILE_SIZE];

	vm_disk_file(disk, file);
	if (fstatat(machine->dir_fd, file, &search.wanted, AT_SYMLINK_NOFOLLOW) < 0)
		return vm_fs_fail(machine->dir_fd, file, "looking at", err);
	if (vm_fs_each(AT_FDCWD, fds, look_at, &search, err) < 0)
		return -1;
	if (search.found)
		return 0;
	vm_err_set(err, VM_ERR_INCOMPATIBLE,
	           "the VMM has not opened %s of this instance; its saved state names another file",
	           file);
	return vm_err_hint(err, "the recorded names must be links to the instance's own files");
}

int vm_alias_verify(const struct vm_machine *machine, struct vm_err *err)
{
	struct stat st;
	char fds[32];

	snprintf(fds, sizeof(fds), "/proc/%d/fd", machine->vmm.pid);
	for (size_t i = 0; i < machine->spec->disk_count; i++) {
		if (verify_disk(machine, &machine->spec->disks[i], fds, err) < 0)
			return -1;
	}
	/* A socket is no file that can be compared; but ours was removed before the load. */
	if (machine->guest_cid != 0 &&
	    (fstatat(machine->dir_fd, VM_FILE_VSOCK, &st, 0) < 0 || !S_ISSOCK(st.st_mode)))
		return vm_err_set(err, VM_ERR_INCOMPATIBLE,
		                  "the VMM has made its vsock socket in another directory");
	return 0;
}

/* --- who has a directory open -------------------------------------------------------------------
 */

struct users {
	const char *path;
	pid_t pid;
	bool found;
};

static int look_for_path(void *ctx, int dir_fd, const char *name, struct vm_err *err)
{
	struct users *users = ctx;
	struct stat open_file, named;
	char target[PATH_MAX];
	ssize_t n = readlinkat(dir_fd, name, target, sizeof(target) - 1);

	(void)err;
	if (n <= 0)
		return 0;
	target[n] = '\0';
	/* In another namespace that path may be another file's: one that we show, for example. */
	if (vm_path_is_below(target, users->path) && strcmp(target, users->path) != 0 &&
	    fstatat(dir_fd, name, &open_file, 0) == 0 && stat(target, &named) == 0 &&
	    same_file(&open_file, &named))
		users->found = true;
	return 0;
}

int vm_alias_user(const char *path, pid_t *ret_pid, struct vm_err *err)
{
	struct users users = {.path = path};
	DIR *proc = opendir("/proc");
	struct dirent *entry;

	if (!proc)
		return vm_err_sys(err, "listing /proc");
	while (!users.found && (entry = readdir(proc))) {
		char fds[NAME_MAX + 16];
		struct vm_err gone = {0}; /* ended meanwhile, or another user's */

		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		users.pid = (pid_t)strtol(entry->d_name, NULL, 10);
		snprintf(fds, sizeof(fds), "/proc/%s/fd", entry->d_name);
		if (users.pid != getpid())
			vm_fs_each(AT_FDCWD, fds, look_for_path, &users, &gone);
	}
	closedir(proc);
	*ret_pid = users.pid;
	return users.found;
}
