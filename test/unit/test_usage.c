/* SPDX-License-Identifier: Apache-2.0 */
/* Whose the bytes are: what each directory is told is what a look at it alone would tell. */
#include "root_fixture.h"

#include <linux/fs.h>
#include <sys/ioctl.h>

#include "usage.h"

enum { OWNERS = 12, FILES = 40, PIECE = 8192 };

static void name_owner(size_t owner, char id[VM_ID_LEN + 1])
{
	(void)snprintf(id, VM_ID_LEN + 1, "owner%019zu", owner);
}

/* Where the filesystem can, it begins with what `last` begins with: the same place on the disk. */
static int make_file(const struct fixture *f, const char *path, size_t pieces, int last)
{
	struct file_clone_range range = {.src_fd = last, .src_length = PIECE};
	int fd = openat(f->dir.fd, path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char piece[PIECE];

	memset(piece, 'x', sizeof(piece));
	assert_true(fd >= 0);
	for (size_t i = 0; i < pieces; i++) {
		assert_int_equal(write(fd, piece, sizeof(piece)), PIECE);
		/* Holes between them, so that the file has several extents. */
		assert_true(lseek(fd, PIECE, SEEK_CUR) >= 0);
	}
	if (last >= 0)
		(void)ioctl(fd, FICLONERANGE, &range);
	assert_int_equal(fsync(fd), 0);
	return fd;
}

/* Files with one to several names, in directories of both kinds and outside. */
static void fill(const struct fixture *f)
{
	char path[128], other[128], id[VM_ID_LEN + 1];
	unsigned long dice = 12345;
	int last = -1, fd;

	for (size_t i = 0; i < OWNERS; i++) {
		name_owner(i, id);
		(void)snprintf(path, sizeof(path), "root/%s/%s",
		               i % 3 == 0 ? VM_IMAGES_DIR : VM_GUESTS_DIR, id);
		assert_int_equal(mkdirat(f->dir.fd, path, 0700), 0);
	}
	for (size_t file = 0; file < FILES; file++) {
		(void)snprintf(path, sizeof(path), "outside-%zu", file);
		fd = make_file(f, path, file % 5, file % 4 == 1 ? -1 : last);
		close(last);
		last = fd;
		for (size_t i = 0; i < OWNERS; i++) {
			dice = dice * 1103515245 + 12345;
			if ((dice >> 16) % 4 != 0 && file % 7 != 0)
				continue;
			name_owner(i, id);
			(void)snprintf(other, sizeof(other), "root/%s/%s/file-%zu",
			               i % 3 == 0 ? VM_IMAGES_DIR : VM_GUESTS_DIR, id, file);
			assert_int_equal(linkat(f->dir.fd, path, f->dir.fd, other, 0), 0);
		}
		if (file % 6 != 0)
			assert_int_equal(unlinkat(f->dir.fd, path, 0), 0);
	}
	close(last);
}

static void each_is_told_what_it_would_be_told_alone(void **state)
{
	const struct fixture *f = *state;
	struct vm_usage *usage = NULL;
	struct vm_root root;
	struct vm_err err;
	uint64_t exclusive = 0, shared = 0;

	assert_int_equal(open_root(f, VM_ROOT_CREATE, &root, &err), 0);
	fill(f);
	assert_int_equal(vm_usage_scan(&root, &usage, &err), 0);
	for (size_t i = 0; i < OWNERS; i++) {
		char id[VM_ID_LEN + 1];
		const char *ids[] = {id};
		struct vm_usage_bytes bytes;

		name_owner(i, id);
		bytes = vm_usage_of(usage, id);
		assert_int_equal(bytes.exclusive, vm_usage_freed(usage, ids, 1));
		assert_int_equal(bytes.exclusive + bytes.shared, vm_usage_taken(usage, ids, 1));
		exclusive += bytes.exclusive;
		shared += bytes.shared;
	}
	assert_true(exclusive > 0);
	assert_true(shared > 0);
	assert_int_equal(vm_usage_of(usage, "no-such-id").shared, 0);
	assert_int_equal(vm_usage_of(usage, "").exclusive, 0);
	vm_usage_free(usage);
	vm_root_close(&root);
}

static void an_empty_data_root_has_nothing(void **state)
{
	const struct fixture *f = *state;
	struct vm_usage *usage = NULL;
	struct vm_root root;
	struct vm_err err;

	assert_int_equal(open_root(f, VM_ROOT_CREATE, &root, &err), 0);
	assert_int_equal(vm_usage_scan(&root, &usage, &err), 0);
	assert_int_equal(vm_usage_of(usage, "anything").exclusive, 0);
	vm_usage_free(usage);
	vm_root_close(&root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(each_is_told_what_it_would_be_told_alone, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(an_empty_data_root_has_nothing, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
