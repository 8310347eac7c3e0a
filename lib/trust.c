/* SPDX-License-Identifier: Apache-2.0 */
#include "trust.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util.h"
#include "yamldoc.h"

/* "bob (uid 1000)" */
static void name_user(uid_t uid, char *buf, size_t size)
{
	struct passwd entry, *found = NULL;
	char space[4096];

	if (getpwuid_r(uid, &entry, space, sizeof(space), &found) == 0 && found)
		snprintf(buf, size, "%.64s (uid %u)", found->pw_name, (unsigned)uid);
	else
		snprintf(buf, size, "uid %u", (unsigned)uid);
}

static int refuse_owner(const struct stat *st, const char *path, struct vm_err *err)
{
	char owner[96], self[96];

	name_user(st->st_uid, owner, sizeof(owner));
	name_user(geteuid(), self, sizeof(self));
	vm_err_set(err, VM_ERR_USAGE, "%s belongs to %s, and vmctl runs as %s", path, owner, self);
	if (geteuid() == 0)
		return vm_err_hint(err,
		                   "chown it to root if you trust it; with sudo, leave out -E, or "
		                   "set XDG_CONFIG_HOME, so that it is not read at all");
	return vm_err_hint(err, "only what belongs to you or to root is used");
}

int vm_trust_check(const struct stat *st, const char *path, bool strict, struct vm_err *err)
{
	bool root = geteuid() == 0;

	if ((root || strict) && st->st_uid != 0 && st->st_uid != geteuid())
		return refuse_owner(st, path, err);
	if (!root ||
	    ((st->st_mode & S_IWOTH) == 0 && ((st->st_mode & S_IWGRP) == 0 || st->st_gid == 0)))
		return 0;
	vm_err_set(err, VM_ERR_USAGE,
	           "%s can be written by others (mode %04o), and vmctl runs as root", path,
	           (unsigned)st->st_mode & 07777);
	return vm_err_hint(err, "chmod go-w it");
}

/*
 * A directory or link on the way. Whose it is may change where it leads to; so may others who can
 * write the directory, but for the names of others in one with the sticky bit, as /tmp.
 */
static int check_step(const char *path, struct vm_err *err)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return vm_err_sys(err, "%s", path);
	if (S_ISLNK(st.st_mode) || (st.st_mode & S_ISVTX) != 0)
		st.st_mode &= ~(mode_t)(S_IWGRP | S_IWOTH);
	return vm_trust_check(&st, path, true, err);
}

int vm_trust_check_way(const char *path, struct vm_err *err)
{
	VM_AUTO_FREE char *way = vm_strdup(path, err);
	char *slash = way ? strrchr(way, '/') : NULL;

	if (!way)
		return -1;
	for (; slash && slash > way; slash = strrchr(way, '/')) {
		*slash = '\0';
		if (check_step(way, err) < 0)
			return -1;
	}
	return check_step("/", err);
}

int vm_trust_program(const char *path, char **ret_real, struct vm_err *err)
{
	VM_AUTO_FREE char *real = realpath(path, NULL);
	struct stat st;

	if (!real || stat(real, &st) < 0)
		return vm_err_sys(err, "%s", path);
	if (vm_trust_check(&st, path, true, err) < 0 || vm_trust_check_way(real, err) < 0)
		return -1;
	*ret_real = vm_take_ptr(&real);
	return 0;
}

int vm_trust_read(const char *path, bool strict, char **ret_text, size_t *ret_len,
                  struct vm_err *err)
{
	VM_AUTO_CLOSE int fd = vm_yaml_open(path, err);
	struct stat st;

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) < 0)
		return vm_err_sys(err, "%s", path);
	/* A device, as /dev/null or what a shell makes of <(...), was named on purpose. */
	if ((S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) &&
	    vm_trust_check(&st, path, strict, err) < 0)
		return -1;
	return vm_yaml_read_fd(fd, path, ret_text, ret_len, err);
}
