/* SPDX-License-Identifier: Apache-2.0 */
/* Planning a view; view_enter.c makes it. */
#include "view.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs.h"
#include "util.h"

enum { ENTRIES_MAX = 4096 };

bool vm_path_is_below(const char *path, const char *below)
{
	size_t len = strlen(below);

	if (strcmp(below, "/") == 0)
		return path[0] == '/';
	return strncmp(path, below, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

void vm_view_free(struct vm_view *view)
{
	for (size_t i = 0; i < view->directory_count; i++)
		free(view->directories[i]);
	for (size_t i = 0; i < view->entry_count; i++) {
		free(view->entries[i].from);
		free(view->entries[i].to);
		free(view->entries[i].link);
	}
	free(view->directories);
	free(view->entries);
	free(view->path);
	free(view->ground);
	free(view->stage);
	memset(view, 0, sizeof(*view));
}

/* The nearest ancestor of a path that is a directory; what is left of the path goes behind it. */
static char *find_ground(const char *path, struct vm_err *err)
{
	char *ground = vm_strdup(path, err);
	struct stat st;

	while (ground) {
		char *slash = strrchr(ground, '/');

		slash[slash == ground ? 1 : 0] = '\0';
		if (slash == ground || (stat(ground, &st) == 0 && S_ISDIR(st.st_mode)))
			return ground;
	}
	return NULL;
}

/* What programs need that are not static, and what vmctl itself is given by the system. */
static bool is_of_system(const char *path)
{
	static const char *const dirs[] = {"/usr", "/lib",  "/lib32", "/lib64",  "/bin",
	                                   "/etc", "/sbin", "/run",   "/var/run"};

	for (size_t i = 0; i < VM_ARRAY_LEN(dirs); i++) {
		if (vm_path_is_below(path, dirs[i]))
			return true;
	}
	return false;
}

static int add_directory(struct vm_view *view, const char *path, size_t len, struct vm_err *err)
{
	char **more = realloc(view->directories,
	                      (view->directory_count + 1) * sizeof(*view->directories));

	if (!more)
		return vm_err_sys(err, "planning a view");
	view->directories = more;
	more[view->directory_count] = vm_strf(err, "%s%.*s", view->stage, (int)len, path);
	return more[view->directory_count++] ? 0 : -1;
}

/* All directories that are missing between the ground and the path, it included. */
static int plan_directories(struct vm_view *view, struct vm_err *err)
{
	const char *missing =
	        view->path + (strcmp(view->ground, "/") == 0 ? 0 : strlen(view->ground));

	for (size_t len = 1;; len++) {
		if (missing[len] != '/' && missing[len] != '\0')
			continue;
		if (add_directory(view, missing, len, err) < 0)
			return -1;
		if (missing[len] == '\0')
			return 0;
	}
}

static int plan_entry(void *ctx, int dir_fd, const char *name, struct vm_err *err)
{
	struct vm_view *view = ctx;
	const char *ground = strcmp(view->ground, "/") == 0 ? "" : view->ground;
	struct vm_view_entry *more, *entry;
	char link[4096];
	struct stat st;
	ssize_t n;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0; /* gone since it was listed */
	/* In the place of the first missing directory there may be a link that leads nowhere. */
	if (strcmp(name, view->directories[0] + strlen(view->stage) + 1) == 0)
		return 0;
	if (view->entry_count == ENTRIES_MAX)
		return vm_err_set(err, VM_ERR_UNSUPPORTED, "%s holds more than %d files",
		                  view->ground, ENTRIES_MAX);
	more = realloc(view->entries, (view->entry_count + 1) * sizeof(*more));
	if (!more)
		return vm_err_sys(err, "planning a view");
	view->entries = more;
	entry = &more[view->entry_count++];
	*entry = (struct vm_view_entry){.is_dir = S_ISDIR(st.st_mode)};
	entry->from = vm_strf(err, "%s/%s", ground, name);
	entry->to = entry->from ? vm_strf(err, "%s/%s", view->stage, name) : NULL;
	if (!entry->to)
		return -1;
	if (!S_ISLNK(st.st_mode))
		return 0;
	n = readlinkat(dir_fd, name, link, sizeof(link) - 1);
	link[n > 0 ? n : 0] = '\0';
	entry->link = vm_strdup(link, err);
	return entry->link ? 0 : -1;
}

static int plan_missing(struct vm_view *view, const char *directory, const char *binary,
                        struct vm_err *err)
{
	view->ground = find_ground(view->path, err);
	view->stage = view->ground ? vm_strdup(directory, err) : NULL;
	if (!view->stage || plan_directories(view, err) < 0)
		return -1;
	/* Elsewhere nobody looks for what is beside the path: the VMM has its cwd. */
	if (strcmp(view->ground, "/") != 0 && !is_of_system(view->ground) &&
	    !vm_path_is_below(binary, view->ground))
		return 0;
	return vm_fs_each(AT_FDCWD, view->ground, plan_entry, view, err);
}

/* What the kernel shows there is nobody's files, and the VMM needs it. */
static int check_path(const char *path, struct vm_err *err)
{
	static const char *const kernels[] = {"/dev", "/proc", "/sys"};

	for (size_t i = 0; i < VM_ARRAY_LEN(kernels); i++) {
		if (vm_path_is_below(path, kernels[i]))
			return vm_err_set(err, VM_ERR_UNSUPPORTED,
			                  "%s cannot be shown as another directory", path);
	}
	return 0;
}

static int plan(struct vm_view *view, const char *path, const char *directory, const char *binary,
                struct vm_err *err)
{
	struct stat st;

	view->path = vm_strdup(path, err);
	if (!view->path)
		return -1;
	if (stat(path, &st) < 0)
		return plan_missing(view, directory, binary, err);
	return S_ISDIR(st.st_mode)
	               ? 0
	               : vm_err_set(err, VM_ERR_UNSUPPORTED, "%s is not a directory", path);
}

int vm_view_plan(const char *path, const char *directory, const char *binary,
                 struct vm_view *ret_view, struct vm_err *err)
{
	*ret_view = (struct vm_view){0};
	if (check_path(path, err) == 0 && plan(ret_view, path, directory, binary, err) == 0)
		return 0;
	vm_view_free(ret_view);
	return -1;
}
