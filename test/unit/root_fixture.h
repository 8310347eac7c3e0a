/* SPDX-License-Identifier: Apache-2.0 */
/* A place for a data root of its own for each test. */
#ifndef VM_TEST_ROOT_FIXTURE_H
#define VM_TEST_ROOT_FIXTURE_H

#include "procs.h"

#include <sqlite3.h>
#include <sys/stat.h>

#include "fs.h"
#include "root.h"

struct fixture {
	struct test_dir dir;
	char path[96]; /* of a root that is not there yet */
};

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char config[96];

	assert_non_null(f);
	test_dir_open(&f->dir);
	snprintf(f->path, sizeof(f->path), "%s/root", f->dir.path);
	/* The machine's own configuration is no business of a test. */
	snprintf(config, sizeof(config), "%s/empty.yaml", f->dir.path);
	close(openat(f->dir.fd, "empty.yaml", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	setenv("VMCTL_CONFIG", config, 1);
	unsetenv("VMCTL_ROOT");
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;
	struct vm_err err = {0};

	assert_int_equal(vm_fs_remove_tree(f->dir.fd, "root", &err), 0);
	test_dir_close(&f->dir);
	free(f);
	assert_int_equal(vm_lock_held_mask(), 0);
	return 0;
}

static inline int open_root(const struct fixture *f, enum vm_root_mode mode, struct vm_root *ret,
                            struct vm_err *err)
{
	const int64_t wait = PATIENCE_MS;

	*err = (struct vm_err){0};
	return vm_root_open(f->path, mode, &wait, ret, NULL, err);
}

#endif
