/* SPDX-License-Identifier: Apache-2.0 */
#include "root.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fault.h"
#include "fs.h"
#include "util.h"

#define STORE_FILE "vmctl.db"

/* How often the store may be taken away or put back old under our feet before we give up. */
enum { SCHEMA_TRIES = 4 };

char *vm_root_alive_name(const char *id, char *buf)
{
	snprintf(buf, VM_LOCK_NAME_SIZE, "%s.alive", id);
	return buf;
}

char *vm_root_gate_name(const char *id, char *buf)
{
	snprintf(buf, VM_LOCK_NAME_SIZE, "%s.gate", id);
	return buf;
}

char *vm_root_memory_lock_name(const char *id, char *buf)
{
	snprintf(buf, VM_LOCK_NAME_SIZE, "%s.memory", id);
	return buf;
}

int vm_root_kind_fd(const struct vm_root *root, enum vm_kind kind)
{
	return kind == VM_KIND_IMAGE ? root->images_fd : root->guests_fd;
}

static char *absolute(const char *path, struct vm_err *err)
{
	VM_AUTO_FREE char *cwd = NULL;

	if (path[0] == '/')
		return vm_strdup(path, err);
	cwd = getcwd(NULL, 0);
	if (!cwd) {
		vm_err_sys(err, "the data root '%s' is relative, and the current directory", path);
		return NULL;
	}
	return vm_strf(err, "%s/%s", cwd, path);
}

char *vm_root_path(const char *option, struct vm_err *err)
{
	const char *env = getenv("VMCTL_ROOT");
	const char *state_home = getenv("XDG_STATE_HOME");
	const char *home = getenv("HOME");

	if (option && option[0] == '\0') {
		vm_err_set(err, VM_ERR_USAGE, "--root: the path is empty");
		return NULL;
	}
	if (option || (env && env[0]))
		return absolute(option ? option : env, err);
	if (geteuid() == 0)
		return vm_strdup("/var/lib/vmctl", err);
	if (state_home && state_home[0] == '/')
		return vm_strf(err, "%s/vmctl", state_home);
	if (home && home[0] == '/')
		return vm_strf(err, "%s/.local/state/vmctl", home);
	vm_err_set(err, VM_ERR_USAGE, "no data root: neither $VMCTL_ROOT nor $HOME is set");
	vm_err_hint(err, "give --root DIR");
	return NULL;
}

/* mkdir -p; parents get the usual mode, the root itself 0700. */
static int make_path(const char *path, struct vm_err *err)
{
	VM_AUTO_FREE char *copy = vm_strdup(path, err);

	if (!copy)
		return -1;
	for (char *slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(copy, 0755) < 0 && errno != EEXIST)
			return vm_err_sys(err, "creating %s", copy);
		*slash = '/';
	}
	if (vm_fault(VM_FAULT_ROOT_MKDIR) || (mkdir(copy, 0700) < 0 && errno != EEXIST) ||
	    vm_fault(VM_FAULT_ROOT_MKDIR_DONE))
		return vm_err_sys(err, "creating the data root %s", copy);
	return 0;
}

static int open_subdirs(struct vm_root *root, bool create, struct vm_err *err)
{
	const struct {
		const char *name;
		int *fd;
	} dirs[] = {{VM_GUESTS_DIR, &root->guests_fd},
	            {"locks", &root->locks_fd},
	            {"run", &root->run_fd},
	            {"trash", &root->trash_fd}};

	for (size_t i = 0; i < VM_ARRAY_LEN(dirs); i++) {
		*dirs[i].fd = create ? vm_fs_make_dir(root->fd, dirs[i].name, err)
		                     : vm_fs_open_dir(root->fd, dirs[i].name, err);
		if (*dirs[i].fd < 0)
			return vm_err_wrap(err, "data root %s", root->path);
	}
	return 0;
}

/* What a data root of an older vmctl has not; who only reads does without. */
static int open_younger(struct vm_root *root, enum vm_root_mode mode, struct vm_err *err)
{
	VM_AUTO_CLOSE int pool_fd = -1;
	const struct {
		const char *name;
		int *fd;
	} dirs[] = {{VM_IMAGES_DIR, &root->images_fd}, {VM_POOL_DIR, &pool_fd}};

	for (size_t i = 0; i < VM_ARRAY_LEN(dirs); i++) {
		bool there = vm_fs_exists(root->fd, dirs[i].name);

		if (!there && mode == VM_ROOT_READ)
			continue;
		*dirs[i].fd = there ? vm_fs_open_dir(root->fd, dirs[i].name, err)
		                    : vm_fs_make_dir(root->fd, dirs[i].name, err);
		if (*dirs[i].fd < 0)
			return vm_err_wrap(err, "data root %s", root->path);
	}
	return 0;
}

static int open_dirs(struct vm_root *root, enum vm_root_mode mode, struct vm_err *err)
{
	root->fd = open(root->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root->fd < 0 && errno == ENOENT && mode == VM_ROOT_CREATE) {
		if (make_path(root->path, err) < 0)
			return -1;
		root->fd = open(root->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (root->fd < 0 && errno != ENOENT)
		return vm_err_sys(err, "data root %s", root->path);
	/* No directory, an empty one, or one whose maker was killed: nothing is in it yet. */
	root->missing =
	        root->fd < 0 || (mode != VM_ROOT_CREATE && !vm_fs_exists(root->fd, STORE_FILE));
	if (root->missing)
		return 0;
	if (open_subdirs(root, mode == VM_ROOT_CREATE, err) < 0)
		return -1;
	return open_younger(root, mode, err);
}

static int take_store_lock(struct vm_root *root, enum vm_lock_mode lock_mode, int64_t wait_ms,
                           struct vm_err *err)
{
	const struct vm_lock_request request = {
	        .dir_fd = root->locks_fd,
	        .name = VM_STORE_LOCK,
	        .gate = VM_STORE_GATE,
	        .rank = VM_RANK_STORE,
	        .mode = lock_mode,
	        .deadline_ms = wait_ms > 0 ? vm_monotonic_ms() + wait_ms : wait_ms,
	        .create = true,
	        .what = "the store",
	};

	return vm_lock_take(&request, &root->store_lock, err);
}

/*
 * Makes or migrates the schema. Between our look under the shared lock and the exclusive one the
 * lock was free: another verb may have done it. vm_store_open() looks at the version again inside
 * its transaction, so that no step is taken twice.
 */
static int make_schema(struct vm_root *root, const char *file, int64_t wait_ms, struct vm_err *err)
{
	int rc;

	if (take_store_lock(root, VM_LOCK_EXCLUSIVE, wait_ms, err) < 0)
		return -1;
	rc = vm_store_open(file, true, &root->store, err);
	vm_store_close(root->store);
	root->store = NULL;
	vm_lock_release(&root->store_lock);
	return rc;
}

/*
 * Opens the store for a changing verb. The common case needs only the shared lock; a missing or old
 * schema is made under the exclusive one. From that to the shared one the lock is free for an
 * instant too, and a vmctl that is newer than this one may migrate what we have just made: so what
 * counts is the version that is read under the shared lock, which is kept.
 */
static int open_store(struct vm_root *root, int64_t wait_ms, struct vm_err *err)
{
	VM_AUTO_FREE char *file = vm_strf(err, "%s/" STORE_FILE, root->path);

	if (!file)
		return -1;
	for (int i = 0; i < SCHEMA_TRIES; i++) {
		if (take_store_lock(root, VM_LOCK_SHARED, wait_ms, err) < 0)
			return -1;
		if (vm_fs_exists(root->fd, STORE_FILE)) {
			if (vm_store_open(file, false, &root->store, err) == 0)
				return 0;
			if (err->code != VM_ERR_NEEDS_REPAIR && err->code != VM_ERR_NOT_FOUND)
				return -1;
			vm_err_clear(err);
		}
		vm_lock_release(&root->store_lock);
		if (make_schema(root, file, wait_ms, err) < 0)
			return -1;
	}
	return vm_err_set(err, VM_ERR_BUSY, "the store of %s is replaced all the time", root->path);
}

static int open_store_to_read(struct vm_root *root, int64_t wait_ms, struct vm_err *err)
{
	VM_AUTO_FREE char *file = vm_strf(err, "%s/" STORE_FILE, root->path);
	int rc;

	if (!file || vm_store_open(file, false, &root->store, err) == 0)
		return file ? 0 : -1;
	switch (err->code) {
	case VM_ERR_NOT_FOUND:
		/* Its first user is making the schema now, or was killed before: it is empty. */
		vm_err_clear(err);
		root->missing = true;
		return vm_store_open_empty(&root->store, err);
	case VM_ERR_NEEDS_REPAIR:
		/* Of an older vmctl: what is in it can be read once it has been migrated. */
		vm_err_clear(err);
		rc = open_store(root, wait_ms, err);
		vm_lock_release(&root->store_lock);
		return rc;
	default:
		return -1;
	}
}

int vm_root_open(const char *option, enum vm_root_mode mode, const int64_t *wait_ms,
                 struct vm_root *ret_root, int64_t *ret_wait_ms, struct vm_err *err)
{
	struct vm_root root = VM_ROOT_INIT;
	int64_t wait = 0;
	int rc;

	root.path = vm_root_path(option, err);
	rc = root.path ? vm_config_load(root.path, &root.config, err) : -1;
	if (rc == 0) {
		wait = wait_ms ? *wait_ms : root.config.lock_wait_ms;
		rc = open_dirs(&root, mode, err);
	}
	if (rc == 0 && root.missing)
		rc = vm_store_open_empty(&root.store, err);
	else if (rc == 0)
		rc = mode == VM_ROOT_READ ? open_store_to_read(&root, wait, err)
		                          : open_store(&root, wait, err);
	if (rc < 0) {
		vm_root_close(&root);
		return -1;
	}
	vm_store_keep_events(root.store, root.config.events_kept);
	*ret_root = root;
	if (ret_wait_ms)
		*ret_wait_ms = wait;
	return 0;
}

void vm_root_close(struct vm_root *root)
{
	vm_store_close(root->store);
	root->store = NULL;
	vm_lock_release(&root->store_lock);
	vm_cleanup_close(&root->guests_fd);
	vm_cleanup_close(&root->images_fd);
	vm_cleanup_close(&root->locks_fd);
	vm_cleanup_close(&root->run_fd);
	vm_cleanup_close(&root->trash_fd);
	vm_cleanup_close(&root->fd);
	free(root->path);
	root->path = NULL;
}
