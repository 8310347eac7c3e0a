/* SPDX-License-Identifier: Apache-2.0 */
#include "fs_fixture.h"

struct extent {
	off_t at;
	size_t len;
};

struct layout {
	const char *name;
	off_t size;
	struct extent data[3];
};

static const struct layout layouts[] = {
        {"empty", 0, {{0, 0}}},
        {"one-byte", 1, {{0, 1}}},
        {"dense", 3L * BLOCK, {{0, 3UL * BLOCK}}},
        {"only-a-hole", 64L * MIB, {{0, 0}}},
        {"hole-of-odd-size", 64L * MIB + 123, {{0, 0}}},
        {"data-first", 64L * MIB, {{0, BLOCK}}},
        {"data-last", 64L * MIB, {{64L * MIB - BLOCK, BLOCK}}},
        {"data-between", 64L * MIB, {{20L * MIB, MIB}, {40L * MIB, BLOCK}}},
        {"partial-last-block", 8L * MIB + 777, {{0, BLOCK}, {8L * MIB, 777}}},
        {"data-at-odd-places", 8L * MIB, {{12345, 10}, {3L * MIB + 1, MIB}, {8L * MIB - 1, 1}}},
        {"more-than-a-chunk", 40L * MIB, {{MIB, 20UL * MIB + 5}}},
};

/* Bytes that tell their place. */
static void fill(char *data, size_t len, off_t at)
{
	for (size_t i = 0; i < len; i++)
		data[i] = (char)((((size_t)at + i) * 2654435761U >> 13 & 0xff) | 1);
}

static int make_file(int dir, const struct layout *layout)
{
	int fd = openat(dir, layout->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, layout->size), 0);
	for (size_t i = 0; i < VM_ARRAY_LEN(layout->data); i++) {
		const struct extent *extent = &layout->data[i];
		char *data = malloc(extent->len + 1);

		assert_non_null(data);
		fill(data, extent->len, extent->at);
		assert_int_equal(pwrite(fd, data, extent->len, extent->at), extent->len);
		free(data);
	}
	return fd;
}

static void assert_same_content(int a, int b, off_t size)
{
	static char one[MIB], two[MIB];

	for (off_t at = 0; at < size; at += MIB) {
		ssize_t n = pread(a, one, MIB, at);

		assert_true(n > 0);
		assert_int_equal(pread(b, two, MIB, at), n);
		assert_memory_equal(one, two, (size_t)n);
	}
}

/* Every extent of data in `copy` is one of `from`: a hole has not been filled with zeros. */
static void assert_no_more_data(int from, int copy, off_t size)
{
	off_t at = 0;

	while (at < size && (at = lseek(copy, at, SEEK_DATA)) >= 0) {
		off_t end = lseek(copy, at, SEEK_HOLE);

		assert_int_equal(lseek(from, at, SEEK_DATA), at);
		assert_true(lseek(from, at, SEEK_HOLE) >= end);
		at = end;
	}
	assert_true(at >= 0 || errno == ENXIO);
}

static void copy_and_compare(int from_dir, int to_dir, const struct layout *layout, bool same_fs)
{
	int from = make_file(from_dir, layout), copy;
	enum vm_copy how = (enum vm_copy)99;
	struct vm_err err = {0};
	struct stat st;

	if (vm_fs_copy(from, to_dir, layout->name, 0640, NULL, &how, &err) < 0)
		fail_msg("%s: %s", layout->name, err.message);
	assert_true(how == VM_COPY_SPARSE || how == VM_COPY_REFLINK);
	copy = openat(to_dir, layout->name, O_RDONLY | O_CLOEXEC);
	assert_int_equal(fstat(copy, &st), 0);
	assert_int_equal(st.st_size, layout->size);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_same_content(from, copy, layout->size);
	if (same_fs)
		assert_no_more_data(from, copy, layout->size);
	close(copy);
	close(from);
	assert_int_equal(unlinkat(from_dir, layout->name, 0), 0);
	assert_int_equal(unlinkat(to_dir, layout->name, 0), 0);
}

static void a_copy_has_the_same_bytes_size_and_holes(void **state)
{
	struct fixture *f = *state;
	mode_t old = umask(022);

	for (size_t i = 0; i < VM_ARRAY_LEN(layouts); i++) {
		struct vm_err err = {0};
		int other = vm_fs_make_dir(f->shm, "other", &err);

		copy_and_compare(f->from, f->to, &layouts[i], true);
		copy_and_compare(f->shm, other, &layouts[i], true);
		copy_and_compare(f->from, f->shm, &layouts[i], false);
		copy_and_compare(f->shm, f->to, &layouts[i], false);
		close(other);
	}
	umask(old);
}

static void a_copy_of_a_big_hole_takes_no_space(void **state)
{
	static const struct layout huge = {"huge", (off_t)1 << 40, {{(off_t)1 << 39, 3}}};
	struct fixture *f = *state;
	int from = make_file(f->from, &huge);
	struct vm_err err = {0};
	enum vm_copy how;
	struct stat st;

	assert_int_equal(vm_fs_copy(from, f->to, "huge", 0600, NULL, &how, &err), 0);
	assert_int_equal(fstatat(f->to, "huge", &st, 0), 0);
	assert_int_equal(st.st_size, (off_t)1 << 40);
	assert_in_range(st.st_blocks * 512, 0, MIB);
	close(from);
}

static void a_copy_does_not_depend_on_the_offset_of_its_source(void **state)
{
	static const struct layout layout = {"file", 2L * BLOCK, {{0, 2UL * BLOCK}}};
	struct fixture *f = *state;
	int from = make_file(f->shm, &layout), copy;
	struct vm_err err = {0};
	enum vm_copy how;

	assert_int_equal(lseek(from, BLOCK, SEEK_SET), BLOCK);
	assert_int_equal(vm_fs_copy(from, f->to, "file", 0600, NULL, &how, &err), 0);
	copy = openat(f->to, "file", O_RDONLY | O_CLOEXEC);
	assert_same_content(from, copy, layout.size);
	close(copy);
	close(from);
}

static void what_stands_at_the_target_is_not_overwritten(void **state)
{
	struct fixture *f = *state;
	struct vm_err err = {0};
	enum vm_copy how = (enum vm_copy)99;
	int from;

	write_text(f->from, "file", "new");
	write_text(f->to, "there", "old");
	write_text(f->dir.fd, "elsewhere", "old");
	assert_int_equal(symlinkat("../elsewhere", f->to, "link"), 0);
	assert_int_equal(symlinkat("../nowhere", f->to, "dangling"), 0);
	from = openat(f->from, "file", O_RDONLY | O_CLOEXEC);
	for (const char *const *name = (const char *const[]){"there", "link", "dangling", NULL};
	     *name; name++) {
		assert_int_equal(vm_fs_copy(from, f->to, *name, 0600, NULL, &how, &err), -1);
		assert_int_equal(err.code, VM_ERR_ALREADY_EXISTS);
		assert_int_equal(how, 99);
		vm_err_clear(&err);
	}
	assert_text(f->to, "there", "old");
	assert_text(f->dir.fd, "elsewhere", "old");
	assert_false(vm_fs_exists(f->dir.fd, "nowhere"));
	assert_int_equal(count_entries(f->to), 3);
	close(from);
}

/* For spawn: a copy that cannot be written leaves nothing. */
static int copy_without_room(void *arg)
{
	const struct rlimit limit = {.rlim_cur = BLOCK, .rlim_max = BLOCK};
	static const struct layout layout = {"file", 8L * BLOCK, {{0, 8UL * BLOCK}}};
	struct fixture *f = arg;
	int from = openat(f->shm, layout.name, O_RDONLY | O_CLOEXEC);
	struct vm_err err = {0};
	enum vm_copy how;

	signal(SIGXFSZ, SIG_IGN);
	if (from < 0 || setrlimit(RLIMIT_FSIZE, &limit) < 0)
		return 2;
	if (vm_fs_copy(from, f->to, "copy", 0600, NULL, &how, &err) != -1)
		return 3;
	return strstr(err.message, "copy: ") ? 0 : 4;
}

static void a_copy_that_fails_leaves_nothing(void **state)
{
	static const struct layout layout = {"file", 8L * BLOCK, {{0, 8UL * BLOCK}}};
	struct fixture *f = *state;

	close(make_file(f->shm, &layout));
	assert_exits(spawn(copy_without_room, f), 0);
	assert_int_equal(count_entries(f->to), 0);
}

static int copy_interrupted(void *arg)
{
	struct fixture *f = arg;
	int from = openat(f->shm, "file", O_RDONLY | O_CLOEXEC);
	struct vm_err err = {0};
	enum vm_copy how;

	vm_interrupt_install();
	kill(getpid(), SIGINT);
	if (vm_fs_copy(from, f->to, "copy", 0600, NULL, &how, &err) != -1)
		return 2;
	if (!strstr(err.message, "copy: interrupted by SIGINT"))
		return 3;
	vm_interrupt_suspend(); /* as in an undo */
	vm_err_clear(&err);
	return vm_fs_copy(from, f->to, "whole", 0600, NULL, &how, &err) == 0 ? 0 : 4;
}

static void an_interrupted_copy_leaves_nothing(void **state)
{
	struct fixture *f = *state;

	write_text(f->shm, "file", "text");
	assert_exits(spawn(copy_interrupted, f), 0);
	assert_false(vm_fs_exists(f->to, "copy"));
	assert_text(f->to, "whole", "text");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	        TEST(a_copy_has_the_same_bytes_size_and_holes),
	        TEST(a_copy_of_a_big_hole_takes_no_space),
	        TEST(a_copy_does_not_depend_on_the_offset_of_its_source),
	        TEST(what_stands_at_the_target_is_not_overwritten),
	        TEST(a_copy_that_fails_leaves_nothing),
	        TEST(an_interrupted_copy_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
