/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The extents of all files are sorted by where they lie on the disk. Walking over them, the files
 * that are open at one place are those that share it; a place is free once all directories that
 * have one of those files are gone.
 */
#include <stdlib.h>
#include <string.h>

#include "usage_impl.h"
#include "util.h"

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

/* --- each of them --------------------------------------------------------------------------------
 */

/* The one directory that has a file, in *ret_owner; false when several have it, or others. */
static bool has_one_owner(const struct vm_usage *usage, const struct file *file, size_t *ret_owner)
{
	const struct name *names = usage->names.items;

	*ret_owner = names[file->first_of].owner;
	return file->links_left == 0 && names[file->first_of + file->ofs - 1].owner == *ret_owner;
}

/* To every directory that has the file; `seen`, if not NULL, remembers those that got it. */
static void give(struct vm_usage *usage, const struct file *file, uint64_t shared, uint64_t *seen,
                 uint64_t stamp)
{
	const struct name *names = (const struct name *)usage->names.items + file->first_of;

	for (size_t i = 0; i < file->ofs; i++) {
		if (i > 0 && names[i].owner == names[i - 1].owner)
			continue;
		if (seen && seen[names[i].owner] == stamp)
			continue;
		if (seen)
			seen[names[i].owner] = stamp;
		usage->each[names[i].owner].shared += shared;
	}
}

/* The files that are open at one place of the disk. */
struct open_files {
	size_t *files, count;
	uint64_t edges, shared_edges; /* the same in extents; those that are shared, by the flag */
	uint64_t *seen, stamp;
};

static void pass_edge(struct vm_usage *usage, struct open_files *open, const struct edge *edge)
{
	struct file *file = file_at(usage, edge->file);

	if (edge->begins) {
		if (file->opened++ == 0) {
			file->place = open->count;
			open->files[open->count++] = edge->file;
		}
		open->edges++;
		open->shared_edges += edge->shared;
		return;
	}
	if (--file->opened == 0) {
		size_t last = open->files[--open->count];

		open->files[file->place] = last;
		file_at(usage, last)->place = file->place;
	}
	open->edges--;
	open->shared_edges -= edge->shared;
}

/* What lies between two edges; by the rules of walk(). */
static void give_piece(struct vm_usage *usage, struct open_files *open, uint64_t length)
{
	struct file *file = file_at(usage, open->files[0]);
	size_t owner, other;
	bool one = has_one_owner(usage, file, &owner);

	if (open->count == 1) {
		if (open->edges == 1 && open->shared_edges == 1)
			one = false;
		*(one ? &file->apart.exclusive : &file->apart.shared) += length;
		return;
	}
	for (size_t i = 1; one && i < open->count; i++)
		one = has_one_owner(usage, file_at(usage, open->files[i]), &other) &&
		      other == owner;
	if (one) {
		usage->each[owner].exclusive += length;
		return;
	}
	open->stamp++;
	for (size_t i = 0; i < open->count; i++)
		give(usage, file_at(usage, open->files[i]), length, open->seen, open->stamp);
}

/* The bytes of every directory in one walk over the disk: thousands of forks are no news to it. */
static int count_each(struct vm_usage *usage, struct vm_err *err)
{
	const struct edge *edges = usage->edges.items;
	VM_AUTO_FREE size_t *files = vm_calloc(usage->files.count + 1, sizeof(*files), err);
	VM_AUTO_FREE uint64_t *seen =
	        files ? vm_calloc(usage->ids.count + 1, sizeof(*seen), err) : NULL;
	struct open_files open = {.files = files, .seen = seen};

	usage->each = seen ? vm_calloc(usage->ids.count + 1, sizeof(*usage->each), err) : NULL;
	if (!usage->each)
		return -1;
	for (size_t i = 0; i + 1 < usage->edges.count; i++) {
		pass_edge(usage, &open, &edges[i]);
		if (open.count > 0 && edges[i + 1].at > edges[i].at &&
		    edges[i + 1].device == edges[i].device)
			give_piece(usage, &open, edges[i + 1].at - edges[i].at);
	}
	for (size_t i = 0; i < usage->files.count; i++) {
		const struct file *file = file_at(usage, i);
		size_t owner;

		if (has_one_owner(usage, file, &owner))
			usage->each[owner].exclusive += file->apart.exclusive;
		give(usage, file, file->apart.shared, NULL, 0);
	}
	return 0;
}

static int by_id(const void *a, const void *b, void *ids)
{
	char(*all)[VM_ID_LEN + 1] = ids;

	return strcmp(all[*(const size_t *)a], all[*(const size_t *)b]);
}

static int sort_ids(struct vm_usage *usage, struct vm_err *err)
{
	usage->by_id = vm_calloc(usage->ids.count + 1, sizeof(*usage->by_id), err);
	if (!usage->by_id)
		return -1;
	for (size_t i = 0; i < usage->ids.count; i++)
		usage->by_id[i] = i;
	qsort_r(usage->by_id, usage->ids.count, sizeof(*usage->by_id), by_id, usage->ids.items);
	return 0;
}

struct vm_usage_bytes vm_usage_of(const struct vm_usage *usage, const char *id)
{
	char(*ids)[VM_ID_LEN + 1] = usage->ids.items;
	size_t low = 0, high = usage->ids.count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = strcmp(ids[usage->by_id[middle]], id);

		if (order == 0)
			return usage->each[usage->by_id[middle]];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return (struct vm_usage_bytes){0};
}

int vm_usage_count(struct vm_usage *usage, struct vm_err *err)
{
	sort_all(usage);
	if (count_each(usage, err) < 0)
		return -1;
	return sort_ids(usage, err);
}

/* --- several together ----------------------------------------------------------------------------
 */

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

uint64_t vm_usage_taken(const struct vm_usage *usage, const char *const *ids, size_t count)
{
	struct vm_usage_bytes bytes = bytes_of(usage, ids, count);

	return bytes.exclusive + bytes.shared;
}

uint64_t vm_usage_freed(const struct vm_usage *usage, const char *const *ids, size_t count)
{
	return bytes_of(usage, ids, count).exclusive;
}
