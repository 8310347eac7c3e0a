/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The extents of all files are sorted by where they lie on the disk. Walking over them, the files
 * that are open at one place are those that share it; a place is free once all directories that
 * have one of those files are gone.
 */
#include "usage.h"

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

/* One file, however many names it has. */
struct file {
	dev_t device;
	ino_t inode;
	nlink_t links_left;   /* names that we have not seen: somebody outside has it */
	size_t first_of, ofs; /* its directories: usage->owners[first_of] and on, once sorted */
};

/* One end of an extent. */
struct edge {
	dev_t device;
	uint64_t at;
	size_t file;
	bool begins;
	bool shared; /* so the filesystem says, but not with whom */
};

/* A name: file and the directory that it is in. */
struct name {
	size_t file, owner;
};

struct list {
	void *items;
	size_t count, room;
};

struct vm_usage {
	struct list ids;   /* char[VM_ID_LEN + 1] */
	struct list files; /* struct file */
	struct list names; /* struct name, sorted by file once complete */
	struct list edges; /* struct edge, sorted once complete */
	uint64_t unknown;  /* next made-up place, for extents whose place is not known */
};

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

static struct file *file_at(const struct vm_usage *usage, size_t i)
{
	return (struct file *)usage->files.items + i;
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

static int by_place(const void *a, const void *b)
{
	const struct edge *left = a, *right = b;

	if (left->device != right->device)
		return left->device < right->device ? -1 : 1;
	if (left->at != right->at)
		return left->at < right->at ? -1 : 1;
	return (int)left->begins -
	       (int)right->begins; /* what ends here does not share what begins */
}

static int by_file(const void *a, const void *b)
{
	const struct name *left = a, *right = b;

	if (left->file != right->file)
		return left->file < right->file ? -1 : 1;
	return left->owner < right->owner ? -1 : left->owner > right->owner;
}

static void sort_all(struct vm_usage *usage)
{
	const struct name *names = usage->names.items;

	if (usage->edges.count > 0)
		qsort(usage->edges.items, usage->edges.count, sizeof(struct edge), by_place);
	if (usage->names.count > 0)
		qsort(usage->names.items, usage->names.count, sizeof(struct name), by_file);
	for (size_t i = 0; i < usage->names.count; i++) {
		struct file *file = file_at(usage, names[i].file);

		if (file->ofs++ == 0)
			file->first_of = i;
	}
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
	sort_all(usage);
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
	free(usage);
}

/* Whether a file is in one of the marked directories (*ret_in), and only in such ones (returned).
 */
static bool only_in(const struct vm_usage *usage, size_t index, const bool *marked, bool *ret_in)
{
	const struct name *names = usage->names.items;
	const struct file *file = file_at(usage, index);
	bool only = file->links_left == 0;

	for (size_t i = 0; i < file->ofs; i++) {
		bool in = marked[names[file->first_of + i].owner];

		*ret_in |= in;
		only &= in;
	}
	return only;
}

/*
 * Walks over the disk. Between two edges the open files are the same: how many of them are in a
 * marked directory, and how many of them elsewhere as well, says whose the bytes are.
 */
static struct vm_usage_bytes walk(const struct vm_usage *usage, const bool *marked)
{
	const struct edge *edges = usage->edges.items;
	struct vm_usage_bytes bytes = {0};
	size_t ours = 0, others = 0, open = 0, shared = 0;

	for (size_t i = 0; i + 1 < usage->edges.count; i++) {
		uint64_t length = edges[i + 1].at - edges[i].at;
		bool in = false;
		bool only = only_in(usage, edges[i].file, marked, &in);
		size_t step = edges[i].begins ? 1 : (size_t)-1;

		ours += in ? step : 0;
		others += only ? 0 : step;
		open += step;
		shared += edges[i].shared ? step : 0;
		/* One file alone, and the filesystem says shared: with one outside. */
		if (ours > 0 && edges[i + 1].device == edges[i].device)
			*(others > 0 || (open == 1 && shared == 1) ? &bytes.shared
			                                           : &bytes.exclusive) += length;
	}
	return bytes;
}

static void mark(const struct vm_usage *usage, const char *id, bool *marked)
{
	char(*ids)[VM_ID_LEN + 1] = usage->ids.items;

	for (size_t i = 0; i < usage->ids.count; i++)
		marked[i] |= strcmp(ids[i], id) == 0;
}

static struct vm_usage_bytes bytes_of(const struct vm_usage *usage, const char *const *ids,
                                      size_t count)
{
	struct vm_usage_bytes bytes = {0};
	bool *marked = calloc(usage->ids.count + 1, sizeof(*marked));

	/* Out of memory: then nothing is known, as of one that was not seen. */
	for (size_t i = 0; marked && i < count; i++)
		mark(usage, ids[i], marked);
	if (marked)
		bytes = walk(usage, marked);
	free(marked);
	return bytes;
}

struct vm_usage_bytes vm_usage_of(const struct vm_usage *usage, const char *id)
{
	return bytes_of(usage, &id, 1);
}

uint64_t vm_usage_taken(const struct vm_usage *usage, const char *const *ids, size_t count)
{
	struct vm_usage_bytes bytes = bytes_of(usage, ids, count);

	return bytes.exclusive + bytes.shared;
}

uint64_t vm_usage_freed(const struct vm_usage *usage, const char *const *ids, size_t count)
{
	return bytes_of(usage, ids, count).exclusive;
}
