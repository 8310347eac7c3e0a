/* SPDX-License-Identifier: Apache-2.0 */
/* Which hooks there are. Where there are none this costs one openat() for each directory. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hooks.h"
#include "trust.h"
#include "util.h"

#define HOOKS_DIR "hooks.d"

const char *vm_hook_name(enum vm_hook_when when, enum vm_hook_event event,
                         char buf[VM_HOOK_NAME_SIZE])
{
	static const char *const events[VM_HOOK_EVENTS] = {[VM_HOOK_FORK] = "fork",
	                                                   [VM_HOOK_START] = "start",
	                                                   [VM_HOOK_RESTORE] = "restore",
	                                                   [VM_HOOK_STANDBY] = "standby",
	                                                   [VM_HOOK_RM] = "rm"};

	snprintf(buf, VM_HOOK_NAME_SIZE, "%s-%s", when == VM_HOOK_PRE ? "pre" : "post",
	         events[event]);
	return buf;
}

bool vm_hook_is_name(const char *text)
{
	char name[VM_HOOK_NAME_SIZE];

	for (int event = 0; event < VM_HOOK_EVENTS; event++)
		for (int when = VM_HOOK_PRE; when < VM_HOOK_WHENS; when++)
			if (strcmp(text, vm_hook_name((enum vm_hook_when)when,
			                              (enum vm_hook_event)event, name)) == 0)
				return true;
	return false;
}

/*
 * A directory that may not be there: 1 opened, 0 not there, -1. It is no link: what that leads to
 * may be root's and full of programs, but it is not meant to be run by us.
 */
static int open_dir(int at_fd, const char *name, const char *path, int *ret_fd, struct vm_err *err)
{
	struct stat st;
	int fd = openat(at_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int failure = errno;

	/* A home of /dev/null has none either; a file of that name is a mistake. */
	if (fd < 0 && (failure == ENOENT || (failure == ENOTDIR && lstat(path, &st) < 0 &&
	                                     (errno == ENOENT || errno == ENOTDIR))))
		return 0;
	errno = failure;
	if (fd < 0) /* also one that cannot be read: its hooks would be passed over */
		return vm_err_sys(err, "hooks: %s", path);
	*ret_fd = fd;
	if (fstat(fd, &st) < 0)
		return vm_err_sys(err, "hooks: %s", path);
	return vm_trust_check(&st, path, true, err) < 0 ? -1 : 1;
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

struct names {
	char **list;
	size_t count;
};

static void free_names(struct names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->list[i]);
	free(names->list);
}

static int add_name(struct names *names, const char *name, struct vm_err *err)
{
	char *copy = vm_strdup(name, err);
	char **more = copy ? reallocarray(names->list, names->count + 1, sizeof(*more)) : NULL;

	if (!more) {
		free(copy);
		return copy ? vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES, "out of memory") : -1;
	}
	names->list = more;
	names->list[names->count++] = copy;
	return 0;
}

/* In order, so that 10-net comes before 20-dns, as run-parts(8) has it. */
static int read_names(int dir_fd, const char *path, struct names *names, struct vm_err *err)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *entry;
	int rc = 0;

	if (!dir) {
		vm_cleanup_close(&fd);
		return vm_err_sys(err, "hooks: %s", path);
	}
	while (rc == 0 && (errno = 0, entry = readdir(dir))) {
		if (entry->d_name[0] != '.')
			rc = add_name(names, entry->d_name, err);
	}
	if (rc == 0 && errno != 0) /* the rest would be passed over */
		rc = vm_err_sys(err, "hooks: %s", path);
	closedir(dir);
	if (names->count > 1)
		qsort(names->list, names->count, sizeof(*names->list), compare);
	return rc;
}

static bool is_hook_name(const char *name)
{
	return name[strspn(name,
	                   "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")] ==
	       '\0';
}

/* What a file that has gone since, or was none, is: nothing. */
static int look_at(int dir_fd, const char *name, const char *path, bool *ret_is_file,
                   enum vm_hook_use *ret_use, struct vm_err *err)
{
	VM_AUTO_FREE char *real = NULL;
	struct stat st;
	bool can_run;

	*ret_is_file = fstatat(dir_fd, name, &st, 0) == 0 && S_ISREG(st.st_mode);
	if (!*ret_is_file)
		return 0;
	can_run = faccessat(dir_fd, name, X_OK, AT_EACCESS) == 0;
	/* Something that is neither a hook nor meant to be one. */
	if (!is_hook_name(name) && !can_run) {
		*ret_is_file = false;
		return 0;
	}
	*ret_use = !is_hook_name(name) ? VM_HOOK_BAD_NAME
	           : can_run           ? VM_HOOK_RUNS
	                               : VM_HOOK_NOT_EXECUTABLE;
	return *ret_use == VM_HOOK_RUNS ? vm_trust_program(path, &real, err) : 0;
}

struct walk {
	enum vm_hook_when when;
	vm_hook_entry *each;
	void *ctx;
};

static int walk_dir(const struct walk *walk, int dir_fd, const char *path, struct vm_err *err)
{
	VM_AUTO(free_names) struct names names = {0};

	if (read_names(dir_fd, path, &names, err) < 0)
		return -1;
	for (size_t i = 0; i < names.count; i++) {
		VM_AUTO_FREE char *file = vm_strf(err, "%s/%s", path, names.list[i]);
		enum vm_hook_use use = VM_HOOK_RUNS;
		bool is_file;

		if (!file || look_at(dir_fd, names.list[i], file, &is_file, &use, err) < 0)
			return -1;
		if (is_file && walk->each(walk->ctx, walk->when, file, use, err) < 0)
			return -1;
	}
	return 0;
}

/*
 * Who can write a directory around it, or owns a link that leads there, can put another in its
 * place.
 */
static int check_around(const char *dir, const char *top, struct vm_err *err)
{
	struct stat st;

	if (stat(*dir ? dir : "/", &st) < 0)
		return vm_err_sys(err, "hooks: %s", dir);
	if (vm_trust_check(&st, dir, true, err) < 0)
		return -1;
	return vm_trust_check_way(top, err);
}

/* hooks.d of one place. */
static int walk_place(const char *dir, enum vm_hook_event event, struct walk *walk,
                      struct vm_err *err)
{
	VM_AUTO_FREE char *top = vm_strf(err, "%s/" HOOKS_DIR, dir);
	VM_AUTO_CLOSE int top_fd = -1;
	int rc = top ? open_dir(AT_FDCWD, top, top, &top_fd, err) : -1;

	if (rc > 0 && check_around(dir, top, err) < 0)
		rc = -1;
	for (int when = VM_HOOK_PRE; rc > 0 && when < VM_HOOK_WHENS; when++) {
		char name[VM_HOOK_NAME_SIZE];
		VM_AUTO_CLOSE int fd = -1;
		VM_AUTO_FREE char *path = vm_strf(
		        err, "%s/%s", top, vm_hook_name((enum vm_hook_when)when, event, name));
		int found = path ? open_dir(top_fd, name, path, &fd, err) : -1;

		walk->when = (enum vm_hook_when)when;
		if (found < 0 || (found > 0 && walk_dir(walk, fd, path, err) < 0))
			rc = -1;
	}
	return rc < 0 ? -1 : 0;
}

int vm_hooks_each(const struct vm_root *root, enum vm_hook_event event, vm_hook_entry *each,
                  void *ctx, struct vm_err *err)
{
	VM_AUTO(vm_places_free) struct vm_places places = {.count = 0};
	struct walk walk = {.each = each, .ctx = ctx};

	if (vm_places_find(root->path, &places, err) < 0)
		return -1;
	for (size_t i = 0; i < places.count; i++) {
		if (walk_place(places.list[i].dir, event, &walk, err) < 0)
			return -1;
	}
	return 0;
}

static int keep(void *ctx, enum vm_hook_when when, const char *path, enum vm_hook_use use,
                struct vm_err *err)
{
	struct vm_hooks *hooks = ctx;
	struct vm_hook_list *list = &hooks->lists[when];
	struct names names = {.list = list->files, .count = list->count};
	int rc;

	if (use != VM_HOOK_RUNS)
		return 0;
	rc = add_name(&names, path, err);
	list->files = names.list;
	list->count = names.count;
	return rc;
}

int vm_hooks_find(const struct vm_root *root, enum vm_hook_event event, struct vm_hooks *ret,
                  struct vm_err *err)
{
	const char *within = getenv("VMCTL_HOOK");
	struct vm_hooks hooks = {.event = event};

	if ((!within || !*within) && vm_hooks_each(root, event, keep, &hooks, err) < 0) {
		vm_hooks_free(&hooks);
		return -1;
	}
	*ret = hooks;
	return 0;
}

bool vm_hooks_any(const struct vm_hooks *hooks)
{
	return hooks->lists[VM_HOOK_PRE].count + hooks->lists[VM_HOOK_POST].count > 0;
}

void vm_hooks_free(struct vm_hooks *hooks)
{
	for (size_t i = 0; i < VM_HOOK_WHENS; i++) {
		struct names names = {.list = hooks->lists[i].files,
		                      .count = hooks->lists[i].count};

		free_names(&names);
		hooks->lists[i] = (struct vm_hook_list){0};
	}
}
