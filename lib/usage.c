/* SPDX-License-Identifier: Apache-2.0 */
/* The looking; usage_count.c adds up what was found. */
#include "usage_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "alias.h"
#include "fs.h"
#include "util.h"

enum { EXTENTS_AT_ONCE = 128, BLOCK_BYTES = 512 };

static void *add(struct list *list, size_t size, struct vm_err *err)
{
	if (list->count == list->room) {
		size_t room = list->room ? list->room * 2 : 64;
		void *more = realloc(list->items, room * size);

		if (!more) {
			vm_err_sys(err, "adding up what is used");
			return NULL;
		}
		list->items = more;
		list->room = room;
	}
	return (char *)list->items + size * list->count++;
}

static int add_extent(struct vm_usage *usage, const struct edge *like, uint64_t len,
                      struct vm_err *err)
{
	for (int end = 0; end < 2; end++) {
		struct edge *edge = add(&usage->edges, sizeof(*edge), err);

		if (!edge)
			return -1;
		*edge = *like;
		edge->at += end ? len : 0;
		edge->begins = end == 0;
	}
	return 0;
}

/* Bytes that nobody else can have, on a device that there is not. */
static int add_private(struct vm_usage *usage, size_t file, uint64_t len, struct vm_err *err)
{
	const struct edge edge = {.at = usage->unknown, .file = file};

	if (len == 0)
		return 0;
	usage->unknown += len;
	return add_extent(usage, &edge, len, err);
}

/* 1 all extents are there, 0 the filesystem cannot tell, -1. */
static int map_extents(struct vm_usage *usage, int fd, size_t file, dev_t device,
                       struct vm_err *err)
{
	union {
		struct fiemap map;
		char room[sizeof(struct fiemap) + EXTENTS_AT_ONCE * sizeof(struct fiemap_extent)];
	} u;
	uint64_t next = 0;

	for (;;) {
		const struct fiemap_extent *last;

		memset(&u, 0, sizeof(u));
		u.map.fm_start = next;
		u.map.fm_length = FIEMAP_MAX_OFFSET - next;
		u.map.fm_extent_count = EXTENTS_AT_ONCE;
		if (ioctl(fd, FS_IOC_FIEMAP, &u.map) < 0)
			return next == 0 && (errno == EOPNOTSUPP || errno == ENOTTY)
			               ? 0
			               : vm_err_sys(err, "asking where a file lies");
		for (unsigned i = 0; i < u.map.fm_mapped_extents; i++) {
			const struct fiemap_extent *extent = &u.map.fm_extents[i];
			const struct edge edge = {
			        .device = device,
			        .at = extent->fe_physical,
			        .file = file,
			        .shared = extent->fe_flags & FIEMAP_EXTENT_SHARED,
			};
			bool known = !(extent->fe_flags &
			               (FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC |
			                FIEMAP_EXTENT_DATA_INLINE));

			if ((known ? add_extent(usage, &edge, extent->fe_length, err)
			           : add_private(usage, file, extent->fe_length, err)) < 0)
				return -1;
		}
		if (u.map.fm_mapped_extents == 0)
			return 1;
		last = &u.map.fm_extents[u.map.fm_mapped_extents - 1];
		if (last->fe_flags & FIEMAP_EXTENT_LAST)
			return 1;
		next = last->fe_logical + last->fe_length;
	}
}

/* The file of that inode: only one with several names can have been seen before. */
static size_t find_file(const struct vm_usage *usage, const struct stat *st)
{
	size_t i = st->st_nlink > 1 ? 0 : usage->files.count;

	for (; i < usage->files.count; i++) {
		if (file_at(usage, i)->inode == st->st_ino &&
		    file_at(usage, i)->device == st->st_dev)
			break;
	}
	return i;
}

struct scan {
	struct vm_usage *usage;
	size_t owner;
};

static int add_file(struct vm_usage *usage, int fd, const struct stat *st, struct vm_err *err)
{
	size_t index = usage->files.count;
	struct file *file = add(&usage->files, sizeof(*file), err);
	int rc;

	if (!file)
		return -1;
	*file = (struct file){
	        .device = st->st_dev, .inode = st->st_ino, .links_left = st->st_nlink};
	rc = map_extents(usage, fd, index, st->st_dev, err);
	return rc == 0 ? add_private(usage, index, (uint64_t)st->st_blocks * BLOCK_BYTES, err) : rc;
}

static int scan_name(void *ctx, int dir_fd, const char *name, struct vm_err *err)
{
	const struct scan *scan = ctx;
	VM_AUTO_CLOSE int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct name *entry;
	struct stat st;
	size_t index;

	/* Sockets, links, and what has just been removed: none takes anything worth telling. */
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	index = find_file(scan->usage, &st);
	if (index == scan->usage->files.count && add_file(scan->usage, fd, &st, err) < 0)
		return -1;
	if (file_at(scan->usage, index)->links_left > 0)
		file_at(scan->usage, index)->links_left--;
	entry = add(&scan->usage->names, sizeof(*entry), err);
	if (!entry)
		return -1;
	*entry = (struct name){.file = index, .owner = scan->owner};
	return 0;
}

/* The directories of one kind. */
struct scan_kind {
	struct vm_usage *usage;
	const struct vm_root *root;
	enum vm_kind kind;
};

static int scan_directory(void *ctx, int dir_fd, const char *name, struct vm_err *err)
{
	const struct scan_kind *all = ctx;
	struct scan scan = {.usage = all->usage};
	VM_AUTO_CLOSE int fd = -1;
	char(*id)[VM_ID_LEN + 1];

	if (!vm_id_valid(name))
		return 0;
	scan.owner = scan.usage->ids.count;
	id = add(&scan.usage->ids, sizeof(*id), err);
	if (!id)
		return -1;
	memcpy(*id, name, sizeof(*id));
	fd = vm_alias_open_dir(all->root, all->kind, name, err);
	if (fd >= 0 && vm_fs_each(fd, ".", scan_name, &scan, err) == 0)
		return 0;
	if (vm_fs_exists(dir_fd, name))
		return -1;
	vm_err_clear(err); /* removed while we looked */
	return 0;
}

int vm_usage_scan(const struct vm_root *root, struct vm_usage **ret, struct vm_err *err)
{
	struct vm_usage *usage = vm_calloc(1, sizeof(*usage), err);

	if (!usage)
		return -1;
	for (enum vm_kind kind = VM_KIND_INSTANCE; kind <= VM_KIND_IMAGE; kind++) {
		struct scan_kind all = {usage, root, kind};
		int dir_fd = vm_root_kind_fd(root, kind);

		if (dir_fd >= 0 && vm_fs_each(dir_fd, ".", scan_directory, &all, err) < 0) {
			vm_usage_free(usage);
			return -1;
		}
	}
	if (vm_usage_count(usage, err) < 0) {
		vm_usage_free(usage);
		return -1;
	}
	*ret = usage;
	return 0;
}

void vm_usage_free(struct vm_usage *usage)
{
	if (!usage)
		return;
	free(usage->ids.items);
	free(usage->files.items);
	free(usage->names.items);
	free(usage->edges.items);
	free(usage->each);
	free(usage->by_id);
	free(usage);
}
