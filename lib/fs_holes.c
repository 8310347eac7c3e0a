/* SPDX-License-Identifier: Apache-2.0 */
/* Holes in place of zeroes, which take no disk; and the opposite, room for what will be written. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "fault.h"
#include "fs.h"
#include "interrupt.h"
#include "util.h"

enum {
	PAGE_BYTES = 4096,
	/* Large enough that there are few reads, small enough for the stack and the CPU's cache. */
	BUFFER_BYTES = 16 * PAGE_BYTES,
	/* A shorter hole costs more in extents and calls than it spares. */
	SHORTEST_HOLE = 16 * PAGE_BYTES,
};

/* A run of zero pages that may go on. */
struct zeroes {
	int fd;
	off_t from, to;
};

static int punch(struct zeroes *run)
{
	off_t from = run->from, len = run->to - run->from;

	run->from = run->to = 0;
	if (len < SHORTEST_HOLE)
		return 0;
	return fallocate(run->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, len);
}

static int look_at_page(struct zeroes *run, const char *page, off_t at)
{
	static const char zero[PAGE_BYTES];

	if (memcmp(page, zero, PAGE_BYTES) != 0)
		return run->to > run->from ? punch(run) : 0;
	if (run->to != at || run->to == run->from)
		run->from = at;
	run->to = at + PAGE_BYTES;
	return 0;
}

/* One stretch of data; what is no whole page at its end stays. */
static int punch_stretch(struct zeroes *run, char *buffer, off_t at, off_t end)
{
	while (at + PAGE_BYTES <= end) {
		size_t want = (size_t)(end - at < BUFFER_BYTES ? end - at : BUFFER_BYTES);
		ssize_t got = pread(run->fd, buffer, want, at);

		if (got < PAGE_BYTES || vm_interrupt_pending())
			return -1;
		for (ssize_t i = 0; i + PAGE_BYTES <= got; i += PAGE_BYTES) {
			if (look_at_page(run, buffer + i, at + i) < 0)
				return -1;
		}
		at += got - got % PAGE_BYTES;
	}
	return punch(run);
}

void vm_fs_punch_zeroes(int dir_fd, const char *name)
{
	VM_AUTO_CLOSE int fd = openat(dir_fd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	char buffer[BUFFER_BYTES];
	struct zeroes run = {.fd = fd};
	off_t data = 0, hole;

	if (fd < 0 || vm_fault(VM_FAULT_FS_PUNCH))
		return;
	while ((data = lseek(fd, data, SEEK_DATA)) >= 0) {
		hole = lseek(fd, data, SEEK_HOLE);
		if (hole < 0 || punch_stretch(&run, buffer, data, hole) < 0)
			break;
		data = hole;
	}
	vm_fault(VM_FAULT_FS_PUNCH_DONE);
}

/* Reads what is allocated and not written: no disk is asked, but it is cached after that. */
static void cache_pages(int fd)
{
	char buffer[BUFFER_BYTES];

	posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	while (!vm_interrupt_pending() && read(fd, buffer, sizeof(buffer)) > 0)
		;
}

int vm_fs_allocate(int dir_fd, const char *name, uint64_t size_bytes, struct vm_err *err)
{
	VM_AUTO_CLOSE int fd = vm_fs_create(dir_fd, name, 0600, err);
	bool done;

	if (fd < 0)
		return -1;
	done = fallocate(fd, 0, 0, (off_t)size_bytes) == 0;
	vm_cleanup_close(&fd);
	if (!done)
		return vm_fs_unlink(dir_fd, name, err);
	fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0)
		cache_pages(fd);
	return 0;
}
