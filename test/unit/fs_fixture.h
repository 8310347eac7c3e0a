/* SPDX-License-Identifier: Apache-2.0 */
/* Two directories on one filesystem, one on another, and files in them. */
#ifndef VM_TEST_FS_FIXTURE_H
#define VM_TEST_FS_FIXTURE_H

#include "procs.h"

#include <sys/stat.h>

#include "fs.h"
#include "interrupt.h"

enum { BLOCK = 4096, MIB = 1 << 20 };

struct fixture {
	struct test_dir dir;
	int from, to; /* "from" and "to" in it */
	int shm;      /* a directory of another filesystem, without shared extents */
	char shm_path[64];
};

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct vm_err err = {0};

	assert_non_null(f);
	test_dir_open(&f->dir);
	f->from = vm_fs_make_dir(f->dir.fd, "from", &err);
	f->to = vm_fs_make_dir(f->dir.fd, "to", &err);
	snprintf(f->shm_path, sizeof(f->shm_path), "/dev/shm/vmctl-unit-XXXXXX");
	assert_non_null(mkdtemp(f->shm_path));
	f->shm = open(f->shm_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(f->from >= 0 && f->to >= 0 && f->shm >= 0);
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;
	struct vm_err err = {0};

	close(f->from);
	close(f->to);
	close(f->shm);
	vm_fs_remove_tree(AT_FDCWD, f->shm_path, &err);
	vm_fs_remove_tree(f->dir.fd, "from", &err);
	vm_fs_remove_tree(f->dir.fd, "to", &err);
	test_dir_close(&f->dir);
	assert_int_equal(err.code, VM_OK);
	free(f);
	return 0;
}

static inline void write_text(int dir, const char *name, const char *text)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static inline void assert_text(int dir, const char *name, const char *want)
{
	VM_AUTO_FREE char *text = NULL;
	struct vm_err err = {0};
	size_t len;

	if (vm_fs_read(dir, name, MIB, &text, &len, &err) < 0)
		fail_msg("%s", err.message);
	assert_string_equal(text, want);
	assert_int_equal(len, strlen(want));
}

static inline size_t count_entries(int dir_fd)
{
	DIR *list = fdopendir(openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	size_t n = 0;

	assert_non_null(list);
	while (readdir(list))
		n++;
	closedir(list);
	return n - 2;
}

#endif
