/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor of a fork that does not run: a copy of its disk, as `cp --reflink=auto --sparse=always`
 * makes it, and nothing else. One open file is cloned where the filesystem can do that; elsewhere
 * what it has as data is copied and its holes are left out.
 *
 *	copy [--sync] FILE COPY...
 *
 * --sync also makes each copy, and its directory, survive a power loss. The copies must not exist.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "copy: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void copy_data(int from, int to, const char *path)
{
	off_t data, hole = 0;
	struct stat st;

	if (fstat(from, &st) < 0 || ftruncate(to, st.st_size) < 0)
		die(path);
	while ((data = lseek(from, hole, SEEK_DATA)) >= 0) {
		off_t out = data;

		hole = lseek(from, data, SEEK_HOLE);
		if (hole < 0)
			die(path);
		while (data < hole)
			if (copy_file_range(from, &data, to, &out, (size_t)(hole - data), 0) <= 0)
				die(path);
	}
	if (errno != ENXIO) /* no data behind here */
		die(path);
}

static void sync_directory(const char *path)
{
	char name[PATH_MAX];
	int fd;

	snprintf(name, sizeof(name), "%s", path);
	fd = open(dirname(name), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		die(path);
	close(fd);
}

int main(int argc, char **argv)
{
	bool sync = argc > 1 && strcmp(argv[1], "--sync") == 0;
	int from;

	argv += sync ? 2 : 1;
	if (!argv[0] || !argv[1]) {
		fputs("usage: copy [--sync] FILE COPY...\n", stderr);
		return 2;
	}
	from = open(argv[0], O_RDONLY | O_CLOEXEC);
	if (from < 0)
		die(argv[0]);
	for (char **path = argv + 1; *path; path++) {
		int to = open(*path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

		if (to < 0)
			die(*path);
		if (ioctl(to, FICLONE, from) < 0)
			copy_data(from, to, *path);
		if (sync && fsync(to) < 0)
			die(*path);
		close(to);
		if (sync)
			sync_directory(*path);
	}
	return 0;
}
