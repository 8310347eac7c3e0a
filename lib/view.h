/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a VMM sees instead of a directory that its saved state names: a mount namespace of its own,
 * made between fork and exec, in which the instance's directory is bound over that path. Nobody
 * else sees it, nothing on the host changes, it goes with the process: no lock and no repair. Where
 * the caller may not make a mount namespace it makes a user namespace first, in which it may.
 *
 * The path need not exist. A directory to mount on is then made where nobody else sees it: on the
 * nearest ancestor that exists ("the ground") comes a tmpfs, which holds the missing directories
 * and, where others need what is beside them, all else that the ground holds, bound one by one.
 * Mounted over "/" it would not be seen; there the process gets the tmpfs as its root.
 *
 * The VMM's cwd stays what it is without all this, the instance's directory as the host has it:
 * relative paths, also those that go up, do not meet the view.
 */
#ifndef VM_VIEW_H
#define VM_VIEW_H

#include <stdbool.h>
#include <stddef.h>

#include "err.h"

struct vm_view_entry {
	char *from, *to; /* what is bound, and where it is seen */
	char *link;      /* a symbolic link: its target; else NULL */
	bool is_dir;
};

struct vm_view {
	char *path; /* where the instance's directory is to be seen; NULL: no view is planned */
	/* Where the path does not exist: */
	char *ground;       /* the nearest ancestor that exists; NULL: the path exists */
	char *stage;        /* where the tmpfs is made before it is moved to the ground */
	char **directories; /* the missing ones below the stage, outermost first */
	size_t directory_count;
	struct vm_view_entry *entries; /* what else the ground holds, if it is to be seen */
	size_t entry_count;
};

/*
 * Plans a view. `directory` is the absolute path of the instance's directory, `binary` that of the
 * hypervisor. Errors: unsupported (the path cannot be shown so), system, insufficient_resources.
 */
int vm_view_plan(const char *path, const char *directory, const char *binary,
                 struct vm_view *ret_view, struct vm_err *err);
void vm_view_free(struct vm_view *view);

/*
 * In the child, between fork and exec, in a thread of its own: makes the view. dir_fd is the
 * instance's directory, and afterwards the cwd. Returns NULL, or what failed (a constant), with
 * errno.
 */
const char *vm_view_enter(const struct vm_view *view, int dir_fd);

/*
 * Whether this process may make views: tried in a child. If not, *ret_why says what is in the way
 * (a constant) and *ret_errno how it failed.
 */
bool vm_view_permitted(const char **ret_why, int *ret_errno);

/* Whether `path` is `below` or something below it; both absolute and without "." and "..". */
bool vm_path_is_below(const char *path, const char *below);

#endif
