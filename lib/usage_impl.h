/* SPDX-License-Identifier: Apache-2.0 */
/* What usage.c finds and usage_count.c adds up. */
#ifndef VM_USAGE_IMPL_H
#define VM_USAGE_IMPL_H

#include <stdbool.h>
#include <sys/types.h>

#include "usage.h"

/* One file, however many names it has. */
struct file {
	dev_t device;
	ino_t inode;
	nlink_t links_left;   /* names that we have not seen: somebody outside has it */
	size_t first_of, ofs; /* its directories: names[first_of] and on, once sorted */
	/* While the disk is walked over: how many of its extents are open, its place among the
	 * open files, and what it has where no other is open. */
	size_t opened, place;
	struct vm_usage_bytes apart;
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
	struct list ids;             /* char[VM_ID_LEN + 1] */
	struct list files;           /* struct file */
	struct list names;           /* struct name, sorted by file once complete */
	struct list edges;           /* struct edge, sorted once complete */
	uint64_t unknown;            /* next made-up place, for extents whose place is not known */
	struct vm_usage_bytes *each; /* of each id, once complete */
	size_t *by_id;               /* indices of ids, in order of id */
};

static inline struct file *file_at(const struct vm_usage *usage, size_t i)
{
	return (struct file *)usage->files.items + i;
}

/*
 * Sorts what was found and adds up the bytes of each directory. 0, or -1 (insufficient_resources).
 */
int vm_usage_count(struct vm_usage *usage, struct vm_err *err);

#endif
