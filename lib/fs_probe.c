/* SPDX-License-Identifier: Apache-2.0 */
/* What a filesystem can do: tried with files that have no name. */
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "fs.h"
#include "util.h"

enum { PAGE_BYTES = 4096 };

/*
 * What was found of the filesystem that was asked of last. Each trial makes inodes, and each of a
 * hundred forks would try the same, in a directory of its own on the same filesystem.
 */
struct answer {
	bool known, yes;
	dev_t dev;
	uint64_t bytes; /* the size that was tried */
};

static bool remembered(struct answer *answer, int dir_fd, uint64_t bytes,
                       bool (*try)(int dir_fd, uint64_t bytes))
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	struct stat st;
	bool yes;

	if (fstat(dir_fd, &st) < 0)
		return false;
	pthread_mutex_lock(&lock);
	if (!answer->known || answer->dev != st.st_dev || answer->bytes != bytes)
		*answer = (struct answer){true, try(dir_fd, bytes), st.st_dev, bytes};
	yes = answer->yes;
	pthread_mutex_unlock(&lock);
	return yes;
}

static bool try_shares(int dir_fd, uint64_t any_size)
{
	VM_AUTO_CLOSE int a = -1;
	VM_AUTO_CLOSE int b = -1;
	struct statfs fs;

	(void)any_size;
	/* ext2 to ext4, whose number is one, have no reflinks: to ask costs two inodes. */
	if (fstatfs(dir_fd, &fs) < 0 || fs.f_type == EXT4_SUPER_MAGIC)
		return false;
	a = openat(dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	b = openat(dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	/* A filesystem that cannot says so of empty files too. */
	return a >= 0 && b >= 0 && ioctl(b, FICLONE, a) == 0;
}

bool vm_fs_shares_extents(int dir_fd)
{
	static struct answer seen;

	return remembered(&seen, dir_fd, 0, try_shares);
}

int vm_fs_reflink_supported(int dir_fd, bool *ret_supported, struct vm_err *err)
{
	VM_AUTO_CLOSE int a = openat(dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	VM_AUTO_CLOSE int b = openat(dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	static const char block[4096] = "vmctl";

	if (a < 0 || b < 0 || write(a, block, sizeof(block)) != (ssize_t)sizeof(block))
		return vm_fs_fail(dir_fd, NULL, "trying reflinks in", err);
	*ret_supported = ioctl(b, FICLONE, a) == 0;
	return 0;
}

static bool try_holes(int dir_fd, uint64_t size_bytes)
{
	VM_AUTO_CLOSE int fd = openat(dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	static const char zeroes[PAGE_BYTES], data[PAGE_BYTES] = "vmctl";
	off_t size = (off_t)size_bytes;

	/* Pages 1 and 3; the first of zeroes, the second not. */
	return fd >= 0 && size_bytes >= (uint64_t)5 * PAGE_BYTES && ftruncate(fd, size) == 0 &&
	       pwrite(fd, zeroes, PAGE_BYTES, PAGE_BYTES) == PAGE_BYTES &&
	       pwrite(fd, data, PAGE_BYTES, (off_t)3 * PAGE_BYTES) == PAGE_BYTES &&
	       lseek(fd, 0, SEEK_DATA) == PAGE_BYTES &&
	       lseek(fd, PAGE_BYTES, SEEK_HOLE) == (off_t)2 * PAGE_BYTES &&
	       lseek(fd, (off_t)2 * PAGE_BYTES, SEEK_DATA) == (off_t)3 * PAGE_BYTES &&
	       lseek(fd, (off_t)3 * PAGE_BYTES, SEEK_HOLE) == (off_t)4 * PAGE_BYTES;
}

bool vm_fs_keeps_holes(int dir_fd, uint64_t size_bytes)
{
	static struct answer seen;

	return remembered(&seen, dir_fd, size_bytes, try_holes);
}
