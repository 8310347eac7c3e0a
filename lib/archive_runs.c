/* SPDX-License-Identifier: Apache-2.0 */
#include "archive_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "interrupt.h"
#include "util.h"

enum { FIRST_ROOM = 64 };

void vm_archive_runs_free(struct vm_archive_runs *runs)
{
	free(runs->runs);
	*runs = (struct vm_archive_runs){0};
}

/* Adds data [at, end), which begins no earlier than what is there already. */
static int add(struct vm_archive_runs *runs, size_t *room, off_t at, off_t end, struct vm_err *err)
{
	struct vm_archive_run *last = runs->count > 0 ? &runs->runs[runs->count - 1] : NULL;
	void *more;

	if (last && at <= last->at + last->len) {
		if (end > last->at + last->len)
			last->len = end - last->at;
		return 0;
	}
	if (!runs->runs || runs->count == *room) {
		*room = *room > 0 ? *room * 2 : FIRST_ROOM;
		more = reallocarray(runs->runs, *room, sizeof(*runs->runs));
		if (!more)
			return vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES, "out of memory");
		runs->runs = more;
	}
	runs->runs[runs->count++] = (struct vm_archive_run){.at = at, .len = end - at};
	return 0;
}

/* 1 when that grain makes more runs than may be. */
static int find(int fd, off_t size, off_t grain, size_t max_runs, struct vm_archive_runs *runs,
                struct vm_err *err)
{
	size_t room = 0;
	off_t data = 0, hole;

	while (data < size) {
		data = lseek(fd, data, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			return 0; /* nothing but a hole up to the end */
		hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
		if (hole < 0)
			return vm_err_sys(err, "looking for data");
		if (vm_interrupt_check(err) < 0)
			return -1;
		/* Data that came behind the end since then is not ours. */
		if (data >= size)
			return 0;
		hole = hole > size - grain ? size : (hole + grain - 1) / grain * grain;
		if (add(runs, &room, data / grain * grain, hole, err) < 0)
			return -1;
		if (runs->count > max_runs)
			return 1;
		data = hole;
	}
	return 0;
}

int vm_archive_runs_find(int fd, off_t size, size_t max_runs, struct vm_archive_runs *ret,
                         struct vm_err *err)
{
	struct vm_archive_runs runs = {0};
	int rc = 1;

	/* A coarser grain takes small holes for data: that is longer, but as right. */
	for (off_t grain = VM_ARCHIVE_BLOCK_BYTES; rc == 1; grain *= 2) {
		vm_archive_runs_free(&runs);
		rc = find(fd, size, grain, max_runs, &runs, err);
	}
	if (rc < 0) {
		vm_archive_runs_free(&runs);
		return -1;
	}
	for (size_t i = 0; i < runs.count; i++)
		runs.data_bytes += (uint64_t)runs.runs[i].len;
	*ret = runs;
	return 0;
}
