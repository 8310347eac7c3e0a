/* SPDX-License-Identifier: Apache-2.0 */
#include "pool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fault.h"
#include "fs.h"
#include "util.h"

enum { BLOCK_BYTES = 512 };

static int open_pool(const struct vm_root *root, bool create)
{
	if (create && mkdirat(root->fd, VM_POOL_DIR, 0700) < 0 && errno != EEXIST)
		return -1;
	return openat(root->fd, VM_POOL_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static bool is_allocated(const struct stat *st)
{
	return S_ISREG(st->st_mode) && st->st_nlink == 1 && st->st_size > 0 &&
	       (uint64_t)st->st_blocks * BLOCK_BYTES >= (uint64_t)st->st_size;
}

/* For each entry: true goes on. */
typedef bool pool_entry(void *ctx, int pool_fd, const char *name, const struct stat *st);

static void each_file(int pool_fd, pool_entry *each, void *ctx)
{
	int fd = openat(pool_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	struct stat st;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((entry = readdir(dir))) {
		/* Others take files away meanwhile. */
		if (vm_id_valid(entry->d_name) &&
		    fstatat(pool_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    !each(ctx, pool_fd, entry->d_name, &st))
			break;
	}
	closedir(dir);
}

static bool add_size(void *ctx, int pool_fd, const char *name, const struct stat *st)
{
	uint64_t *total = ctx;

	(void)pool_fd;
	(void)name;
	*total += (uint64_t)st->st_size;
	return true;
}

static uint64_t size_of(int pool_fd)
{
	uint64_t total = 0;

	each_file(pool_fd, add_size, &total);
	return total;
}

struct purge {
	off_t spare; /* files of this size stay */
	uint64_t freed, wanted;
};

static bool purge_one(void *ctx, int pool_fd, const char *name, const struct stat *st)
{
	struct purge *purge = ctx;

	if (st->st_size != purge->spare && unlinkat(pool_fd, name, 0) == 0)
		purge->freed += (uint64_t)st->st_size;
	return purge->freed < purge->wanted;
}

uint64_t vm_pool_empty(const struct vm_root *root)
{
	VM_AUTO_CLOSE int pool_fd = open_pool(root, false);
	struct purge purge = {.spare = -1, .wanted = UINT64_MAX};

	if (pool_fd >= 0)
		each_file(pool_fd, purge_one, &purge);
	return purge.freed;
}

/*
 * Whether the disk has room for a pool: so much that it would not be missed if the pool were as
 * large as it may be. If it is short even without that, what the pool has is given back.
 */
static bool disk_has_room(const struct vm_root *root)
{
	uint64_t reserve = root->config.min_free_disk_bytes, free_bytes;
	struct vm_err ignored = {0};

	if (vm_fs_free_bytes(root->fd, &free_bytes, &ignored) < 0)
		return false;
	if (free_bytes < reserve)
		vm_pool_empty(root);
	return free_bytes >= reserve && free_bytes - reserve >= root->config.memory_pool_max_bytes;
}

bool vm_pool_is_for(const struct vm_root *root, int dir_fd, uint64_t size_bytes)
{
	const struct vm_config *config = &root->config;

	return size_bytes <= config->memory_pool_max_bytes &&
	       !(config->memory_diff != VM_MEMORY_DIFF_OFF && vm_fs_shares_extents(dir_fd));
}

/* Room for one more of this size; those of other sizes, which nobody may want again, make it. */
static bool make_place(const struct vm_root *root, int pool_fd, const struct stat *st)
{
	uint64_t max = root->config.memory_pool_max_bytes;
	uint64_t size = (uint64_t)st->st_size, total = size_of(pool_fd);
	struct purge purge = {.spare = st->st_size};

	if (size > max)
		return false;
	if (total + size > max) {
		purge.wanted = total + size - max;
		each_file(pool_fd, purge_one, &purge);
	}
	return total - purge.freed + size <= max;
}

static bool move_in(const struct vm_root *root, int dir_fd, const char *name, const struct stat *st)
{
	VM_AUTO_CLOSE int pool_fd = open_pool(root, true);
	struct vm_err ignored = {0};
	char id[VM_ID_LEN + 1];

	if (pool_fd < 0 || !make_place(root, pool_fd, st) || vm_id_new(id, &ignored) < 0 ||
	    renameat(dir_fd, name, pool_fd, id) < 0)
		return false;
	/* Others may have come at the same time, and have found the same place. */
	if (size_of(pool_fd) > root->config.memory_pool_max_bytes)
		unlinkat(pool_fd, id, 0);
	return true;
}

bool vm_pool_offer(const struct vm_root *root, int dir_fd, const char *name)
{
	struct stat st;
	bool moved;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !is_allocated(&st) ||
	    !vm_pool_is_for(root, dir_fd, (uint64_t)st.st_size) || !disk_has_room(root) ||
	    vm_fault(VM_FAULT_POOL_PUT))
		return false;
	moved = move_in(root, dir_fd, name, &st);
	vm_fault(VM_FAULT_POOL_PUT_DONE);
	return moved;
}

int vm_pool_put(const struct vm_root *root, int dir_fd, const char *name, struct vm_err *err)
{
	return vm_pool_offer(root, dir_fd, name) ? 0 : vm_fs_unlink(dir_fd, name, err);
}

struct claim {
	uint64_t size;
	int to_fd;
	const char *to;
	bool done;
};

static bool claim_one(void *ctx, int pool_fd, const char *name, const struct stat *st)
{
	struct claim *claim = ctx;

	/* Somebody else may have it by now: then there is nothing to rename. */
	if ((uint64_t)st->st_size == claim->size && is_allocated(st) &&
	    !vm_fault(VM_FAULT_POOL_TAKE))
		claim->done = renameat(pool_fd, name, claim->to_fd, claim->to) == 0;
	if (claim->done)
		vm_fault(VM_FAULT_POOL_TAKE_DONE);
	return !claim->done;
}

bool vm_pool_take(const struct vm_root *root, uint64_t size_bytes, int dir_fd, const char *name)
{
	VM_AUTO_CLOSE int pool_fd = open_pool(root, false);
	struct claim claim = {.size = size_bytes, .to_fd = dir_fd, .to = name};

	if (pool_fd >= 0)
		each_file(pool_fd, claim_one, &claim);
	return claim.done;
}

struct strays {
	vm_fs_entry *each;
	void *ctx;
};

static int pick_stray(void *ctx, int pool_fd, const char *name, struct vm_err *err)
{
	const struct strays *strays = ctx;
	struct stat st;

	if (fstatat(pool_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    (vm_id_valid(name) && S_ISREG(st.st_mode)))
		return 0;
	return strays->each(strays->ctx, pool_fd, name, err);
}

int vm_pool_each_stray(const struct vm_root *root, vm_fs_entry *each, void *ctx, struct vm_err *err)
{
	struct strays strays = {each, ctx};

	return vm_fs_exists(root->fd, VM_POOL_DIR)
	               ? vm_fs_each(root->fd, VM_POOL_DIR, pick_stray, &strays, err)
	               : 0;
}
