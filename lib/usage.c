/* SPDX-License-Identifier: Apache-2.0 */
#include "usage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/fiemap.h>
#include <linux/fs.h>

#include "fs.h"
#include "interrupt.h"
#include "util.h"

enum { EXTENTS_AT_ONCE = 512, SECTOR_BYTES = 512 };

/* Adds the shared ones of a piece of the map; *ret_next is where the next piece begins. */
static bool add_shared(const struct fiemap *map, uint64_t *shared, uint64_t *ret_next)
{
	bool last = map->fm_mapped_extents == 0;

	for (uint32_t i = 0; i < map->fm_mapped_extents; i++) {
		const struct fiemap_extent *extent = &map->fm_extents[i];

		if (extent->fe_flags & FIEMAP_EXTENT_SHARED)
			*shared += extent->fe_length;
		*ret_next = extent->fe_logical + extent->fe_length;
		last = last || (extent->fe_flags & FIEMAP_EXTENT_LAST);
	}
	return !last;
}

/* 0 where the filesystem does not know extents, or shares none. */
static int shared_bytes(int fd, uint64_t *ret, struct vm_err *err)
{
	VM_AUTO_FREE struct fiemap *map =
	        vm_calloc(1, sizeof(*map) + EXTENTS_AT_ONCE * sizeof(struct fiemap_extent), err);
	uint64_t next = 0, shared = 0;
	bool more = true;

	if (!map)
		return -1;
	while (more) {
		if (vm_interrupt_check(err) < 0)
			return -1;
		memset(map, 0, sizeof(*map));
		map->fm_start = next;
		map->fm_length = FIEMAP_MAX_OFFSET - next;
		map->fm_extent_count = EXTENTS_AT_ONCE;
		if (ioctl(fd, FS_IOC_FIEMAP, map) < 0) {
			if (errno == EINTR)
				continue;
			if (errno != EOPNOTSUPP && errno != ENOTTY && errno != EINVAL)
				return vm_err_sys(err, "asking for extents");
			break;
		}
		more = add_shared(map, &shared, &next);
	}
	*ret = shared;
	return 0;
}

/* 0 of a file that has gone, too. */
static int shared_by_extents(int dir_fd, const char *name, uint64_t *ret, struct vm_err *err)
{
	VM_AUTO_CLOSE int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	*ret = 0;
	if (fd < 0)
		return errno == ENOENT ? 0 : vm_fs_fail(dir_fd, name, "opening", err);
	return shared_bytes(fd, ret, err) < 0 ? vm_err_wrap(err, "%s", name) : 0;
}

static int add_file(void *ctx, int dir_fd, const char *name, struct vm_err *err)
{
	struct vm_usage *usage = ctx;
	uint64_t disk, shared;
	struct stat st;

	/* Sockets and pipes of a VMM are not even opened: that could wake up somebody. */
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : vm_fs_fail(dir_fd, name, "looking at", err);
	if (!S_ISREG(st.st_mode))
		return 0;
	disk = (uint64_t)st.st_blocks * SECTOR_BYTES;
	shared = disk;
	if (st.st_nlink < 2 && disk > 0 && shared_by_extents(dir_fd, name, &shared, err) < 0)
		return -1;
	/* Compressed extents are longer than what they take of the disk. */
	shared = shared < disk ? shared : disk;
	usage->size_bytes += (uint64_t)st.st_size;
	usage->shared_bytes += shared;
	usage->exclusive_bytes += disk - shared;
	return 0;
}

int vm_usage_dir(int dir_fd, struct vm_usage *ret, struct vm_err *err)
{
	struct vm_usage usage = {0};

	if (vm_fs_each(dir_fd, ".", add_file, &usage, err) < 0)
		return -1;
	*ret = usage;
	return 0;
}
