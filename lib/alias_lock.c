/* SPDX-License-Identifier: Apache-2.0 */
/* The lock of an alias: who loads takes it, who comes after a kill, and who reads meanwhile. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "alias.h"
#include "fs.h"
#include "interrupt.h"
#include "util.h"

enum {
	LOOK_MS = 50, /* between two looks whether a directory is still in use */
	READER_WAIT_MS = 30000,
	LOOKS = 8,
	ORPHAN_WAIT_MS = 2000,
};

/* --- the lock -----------------------------------------------------------------------------------
 */

static struct vm_lock_request lock_request(const struct vm_root *root, const char *name,
                                           const char *what, enum vm_lock_mode mode)
{
	return (struct vm_lock_request){
	        .dir_fd = root->locks_fd,
	        .name = name,
	        .rank = VM_RANK_ALIAS,
	        .mode = mode,
	        .create = true,
	        .what = what,
	};
}

int vm_alias_try_lock(const struct vm_root *root, const char *name, struct vm_lock *ret_lock,
                      struct vm_err *err)
{
	const struct vm_lock_request request =
	        lock_request(root, name, "the alias of a directory", VM_LOCK_EXCLUSIVE);

	return vm_lock_try(&request, ret_lock, err);
}

void vm_alias_unlock(const struct vm_root *root, const char *name, struct vm_lock *lock)
{
	struct vm_err ignored = {0}; /* then the file stays, and the next who needs it uses it */

	if (lock->fd < 0)
		return;
	if (lock->mode == VM_LOCK_SHARED) {
		vm_lock_release(lock);
		if (vm_alias_try_lock(root, name, lock, &ignored) <= 0)
			return;
	}
	vm_lock_unlink_release(lock, root->locks_fd, name, NULL);
}

static int take_lock(struct vm_op *op, const struct vm_alias *alias, enum vm_lock_mode mode,
                     struct vm_lock *ret_lock, struct vm_err *err)
{
	char name[VM_ALIAS_NAME_SIZE], what[PATH_MAX + 32];
	struct vm_lock_request request =
	        lock_request(alias->root, vm_alias_name(alias->path, name), what, mode);

	snprintf(what, sizeof(what), "the alias of %s", alias->path);
	request.deadline_ms = alias->deadline_ms;
	request.waited_us = &op->lock_waited_us;
	request.tell = op->tell;
	return vm_lock_take(&request, ret_lock, err);
}

/* Whoever comes first after a kill puts back what it has left. */
static int lock_shared(struct vm_op *op, struct vm_alias *alias, struct vm_err *err)
{
	VM_AUTO(vm_lock_release) struct vm_lock alone = VM_LOCK_INIT;
	char name[VM_ALIAS_NAME_SIZE];

	vm_alias_name(alias->path, name);
	if (vm_alias_is_left(alias->root, name) &&
	    (take_lock(op, alias, VM_LOCK_EXCLUSIVE, &alone, err) < 0 ||
	     vm_alias_repair(alias->root, name, err) < 0))
		return -1;
	vm_lock_release(&alone);
	return take_lock(op, alias, VM_LOCK_SHARED, &alias->lock, err);
}

/* Two data roots have locks of their own, and may want the same directory: so what it is in is
 * locked, too. */
static int lock_ground(struct vm_alias *alias, struct vm_err *err)
{
	VM_AUTO_FREE char *ground = vm_strdup(alias->path, err);
	int rc;

	while (ground && alias->ground_fd < 0) {
		char *slash = strrchr(ground, '/');

		slash[slash == ground ? 1 : 0] = '\0';
		alias->ground_fd = open(ground, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (alias->ground_fd < 0 && (errno != ENOENT || slash == ground))
			return vm_err_sys(err, "opening %s", ground);
	}
	if (!ground)
		return -1;
	rc = vm_flock_until(alias->ground_fd, LOCK_EX, alias->deadline_ms, err);
	if (rc > 0)
		return vm_err_set(err, VM_ERR_BUSY, "%s is locked by another process", ground);
	return rc;
}

int vm_alias_await_unused(const struct vm_alias *alias, int64_t deadline_ms, struct vm_err *err)
{
	const struct timespec pause = {.tv_nsec = (long)LOOK_MS * 1000000};
	pid_t pid = 0;

	for (;;) {
		int used = vm_alias_user(alias->path, &pid, err);

		if (used <= 0 || vm_interrupt_check(err) < 0)
			return used <= 0 ? used : -1;
		if (deadline_ms >= 0 && vm_monotonic_ms() >= deadline_ms)
			break;
		nanosleep(&pause, NULL);
	}
	vm_err_set(err, VM_ERR_BUSY, "%s is in use by pid %d", alias->path, pid);
	return vm_err_hint(err, "it must be replaced for an instant, which is not done under a "
	                        "process that has files of it open");
}

int vm_alias_lock(struct vm_op *op, struct vm_alias *alias, struct vm_err *err)
{
	char name[VM_ALIAS_NAME_SIZE];

	switch (alias->method) {
	case VM_ALIAS_AUTO:
		return 0;
	case VM_ALIAS_NAMESPACE:
		return lock_shared(op, alias, err);
	case VM_ALIAS_SYMLINK:
		break;
	}
	if (take_lock(op, alias, VM_LOCK_EXCLUSIVE, &alias->lock, err) < 0 ||
	    vm_alias_repair(alias->root, vm_alias_name(alias->path, name), err) < 0 ||
	    lock_ground(alias, err) < 0)
		return -1;
	return vm_alias_await_unused(alias, alias->deadline_ms, err);
}

void vm_alias_let_go(struct vm_alias *alias)
{
	char name[VM_ALIAS_NAME_SIZE];

	if (alias->ground_fd >= 0)
		flock(alias->ground_fd, LOCK_UN); /* a child of another thread may have it still */
	vm_cleanup_close(&alias->ground_fd);
	if (alias->path)
		vm_alias_unlock(alias->root, vm_alias_name(alias->path, name), &alias->lock);
	vm_lock_release(&alias->source);
}

void vm_alias_release(struct vm_alias *alias)
{
	vm_alias_let_go(alias);
	vm_view_free(&alias->view);
	free(alias->path);
	free(alias->directory);
	alias->path = NULL;
	alias->directory = NULL;
}

/* --- for those who find it as it was left -------------------------------------------------------
 */

/*
 * Whoever else has the lock has put it back, or is about to. But a verb that was killed while it
 * spawned a VMM has left a child that holds the lock until it executes the hypervisor: for an
 * instant, which a journal that can only be of the dead is worth.
 */
int vm_alias_settle(const struct vm_root *root, const char *path, const char *id,
                    struct vm_err *err)
{
	VM_AUTO_FREE char *plain = path ? vm_alias_plain_path(path, err) : NULL;
	struct vm_lock lock = VM_LOCK_INIT;
	char name[VM_ALIAS_NAME_SIZE];
	struct vm_lock_request request;
	int rc;

	vm_err_clear(err);
	if (!plain || !vm_alias_is_left(root, vm_alias_name(plain, name)))
		return 0;
	request = lock_request(root, name, "the alias of a directory", VM_LOCK_EXCLUSIVE);
	if (!id || vm_alias_journal_is_of(root, name, id))
		request.deadline_ms = vm_monotonic_ms() + ORPHAN_WAIT_MS;
	if (vm_lock_take(&request, &lock, err) < 0) {
		if (err->code != VM_ERR_BUSY)
			return -1;
		vm_err_clear(err);
		return 0;
	}
	rc = vm_alias_repair(root, name, err);
	vm_alias_unlock(root, name, &lock);
	return rc;
}

bool vm_alias_has_journal(const struct vm_root *root, const char *id)
{
	const int dirs[] = {root->guests_fd, root->images_fd};
	char path[PATH_MAX], name[VM_ALIAS_NAME_SIZE];

	for (size_t i = 0; i < VM_ARRAY_LEN(dirs); i++) {
		vm_fs_path(dirs[i], id, path, sizeof(path));
		if (dirs[i] >= 0 && vm_fs_exists(root->run_fd, vm_alias_name(path, name)))
			return true;
	}
	return false;
}

/*
 * Waits until nobody is loading with that directory renamed away: 1 with the lock shared, 0 nobody
 * is, -1 (he does not come to an end).
 */
static int await_alias(const struct vm_root *root, const char *name, struct vm_lock *lock)
{
	struct vm_lock_request request =
	        lock_request(root, name, "the alias of a directory", VM_LOCK_SHARED);
	struct vm_err why = {0};

	if (!vm_fs_exists(root->locks_fd, name))
		return 0;
	/* Who has a lock of that rank is at it himself. */
	if (vm_lock_held_mask() >> VM_RANK_ALIAS)
		return -1;
	request.create = false;
	request.deadline_ms = vm_monotonic_ms() + READER_WAIT_MS;
	if (vm_lock_take(&request, lock, &why) == 0)
		return 1;
	return why.code == VM_ERR_NOT_FOUND ? 0 : -1;
}

int vm_alias_open_dir(const struct vm_root *root, enum vm_kind kind, const char *id,
                      struct vm_err *err)
{
	int parent_fd = vm_root_kind_fd(root, kind);
	char path[PATH_MAX], name[VM_ALIAS_NAME_SIZE];
	int fd = vm_fs_open_dir(parent_fd, id, err);

	vm_alias_name(vm_fs_path(parent_fd, id, path, sizeof(path)), name);
	/* He may have been done between our look at the directory and the one at his lock. */
	for (int i = 0; fd < 0 && i < LOOKS; i++) {
		VM_AUTO(vm_lock_release) struct vm_lock lock = VM_LOCK_INIT;

		if (await_alias(root, name, &lock) < 0)
			return -1;
		vm_err_clear(err);
		fd = vm_fs_open_dir(parent_fd, id, err);
	}
	return fd;
}
