/* SPDX-License-Identifier: Apache-2.0 */
/* Zeroes become holes, and nothing else changes; holes of a layer get what its base has. */
#include "fs_fixture.h"

enum { PAGES = 2048, TAIL = 100, BYTES = PAGES * BLOCK };

/* Pages that are not zero are full of their number, in a file that does not end with a page. */
static void fill(int dir, const char *name, bool (*is_zero)(int page))
{
	VM_AUTO_CLOSE int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char page[BLOCK];

	assert_true(fd >= 0);
	for (int i = 0; i < PAGES; i++) {
		memset(page, is_zero(i) ? 0 : 1 + i % 200, sizeof(page));
		assert_int_equal(write(fd, page, sizeof(page)), sizeof(page));
	}
	memset(page, 0, sizeof(page));
	assert_int_equal(write(fd, page, TAIL), TAIL);
	assert_int_equal(fsync(fd), 0);
}

static void assert_filled(int dir, const char *name, bool (*is_zero)(int page))
{
	VM_AUTO_CLOSE int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	char page[BLOCK], want[BLOCK];
	struct stat st = {0};

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, BYTES + TAIL);
	for (int i = 0; i < PAGES; i++) {
		memset(want, is_zero(i) ? 0 : 1 + i % 200, sizeof(want));
		assert_int_equal(read(fd, page, sizeof(page)), sizeof(page));
		assert_memory_equal(page, want, sizeof(page));
	}
}

static int64_t taken(int dir, const char *name)
{
	struct stat st = {0};

	assert_int_equal(fstatat(dir, name, &st, 0), 0);
	return (int64_t)st.st_blocks * 512;
}

static bool every_page(int page)
{
	(void)page;
	return true;
}

static bool no_page(int page)
{
	(void)page;
	return false;
}

/* Runs longer than what is read at once, from a page that is no multiple of it on. */
static bool long_runs(int page)
{
	return page % 300 >= 7;
}

static bool short_runs(int page)
{
	return page % 16 != 0;
}

static void what_is_zero_is_punched_and_reads_the_same(void **state)
{
	struct fixture *f = *state;
	bool (*const kinds[])(int) = {every_page, no_page, long_runs, short_runs};

	for (size_t i = 0; i < VM_ARRAY_LEN(kinds); i++) {
		fill(f->to, "memory", kinds[i]);
		vm_fs_punch_zeroes(f->to, "memory");
		assert_filled(f->to, "memory", kinds[i]);
		/* Once more, over the holes. */
		vm_fs_punch_zeroes(f->to, "memory");
		assert_filled(f->to, "memory", kinds[i]);
	}
}

static void long_runs_take_no_disk_and_short_ones_stay(void **state)
{
	struct fixture *f = *state;

	fill(f->to, "all", every_page);
	fill(f->to, "long", long_runs);
	fill(f->to, "short", short_runs);
	vm_fs_punch_zeroes(f->to, "all");
	vm_fs_punch_zeroes(f->to, "long");
	vm_fs_punch_zeroes(f->to, "short");
	/* The beginning of a page at its end, and what a filesystem keeps of its own. */
	assert_true(taken(f->to, "all") <= 65536);
	assert_true(taken(f->to, "long") <= BYTES / 10);
	assert_true(taken(f->to, "short") >= BYTES);
}

static void a_file_can_be_allocated_before_it_is_written(void **state)
{
	struct fixture *f = *state;
	struct vm_err err = {0};
	struct stat st = {0};

	assert_int_equal(vm_fs_allocate(f->to, "room", BYTES, &err), 0);
	assert_int_equal(fstatat(f->to, "room", &st, 0), 0);
	assert_int_equal(st.st_size, BYTES);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_true(taken(f->to, "room") >= BYTES);
	assert_int_equal(vm_fs_allocate(f->to, "room", BYTES, &err), -1);
	assert_int_equal(err.code, VM_ERR_ALREADY_EXISTS);
	/* More than there is: no file, and no error, for the VMM makes one. */
	vm_err_clear(&err);
	assert_int_equal(vm_fs_allocate(f->to, "huge", UINT64_C(1) << 60, &err), 0);
	assert_false(vm_fs_exists(f->to, "huge"));
}

/* A page of a sparse file: 0 a hole, 1 of zeroes, else full of that. */
static void write_sparse(int dir, const char *name, int (*page)(int i))
{
	VM_AUTO_CLOSE int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char data[BLOCK];

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, BYTES), 0);
	for (int i = 0; i < PAGES; i++) {
		memset(data, page(i) == 1 ? 0 : page(i), sizeof(data));
		if (page(i) != 0)
			assert_int_equal(pwrite(fd, data, BLOCK, (off_t)i * BLOCK), BLOCK);
	}
}

static int only_hole(int i)
{
	(void)i;
	return 0;
}

static int only_data(int i)
{
	return 2 + i % 50;
}

static int base_page(int i)
{
	return i % 5 < 2 || i / 100 == 3 ? 0 : 100 + i % 50;
}

/* Zeroes over data and over holes; single pages and runs, with and without one at its ends. */
static int layer_page(int i)
{
	return i % 7 == 3 || i / 50 == 11 ? 1 : i % 11 < 3 ? 200 + i % 50 : 0;
}

static int page_of_next(int i)
{
	return layer_page((i + 1) % PAGES);
}

static void assert_laid(struct fixture *f, int (*base)(int), int (*layer)(int))
{
	VM_AUTO_CLOSE int fd = -1;
	char page[BLOCK], want[BLOCK];
	struct vm_err err = {0};
	int64_t data = 0;

	write_sparse(f->to, "base", base);
	write_sparse(f->to, "layer", layer);
	assert_int_equal(vm_fs_fill_holes(f->to, "base", f->to, "layer", NULL, &err), 0);
	fd = openat(f->to, "layer", O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	for (int i = 0; i < PAGES; i++) {
		int of = layer(i) != 0 ? layer(i) : base(i);

		memset(want, of == 1 ? 0 : of, sizeof(want));
		assert_int_equal(read(fd, page, sizeof(page)), sizeof(page));
		assert_memory_equal(page, want, sizeof(page));
		data += of != 0 ? BLOCK : 0;
	}
	assert_int_equal(read(fd, page, 1), 0);
	assert_int_equal(fsync(fd), 0);
	/* A hole of both is one still; a filesystem has something of its own beside the data. */
	assert_true(taken(f->to, "layer") <= data + 65536);
}

static void holes_of_a_layer_are_filled_from_its_base(void **state)
{
	struct fixture *f = *state;
	int (*const kinds[])(int) = {only_hole, only_data, base_page, layer_page, page_of_next};

	if (!vm_fs_keeps_holes(f->to, BYTES))
		skip();
	for (size_t i = 0; i < VM_ARRAY_LEN(kinds); i++) {
		for (size_t k = 0; k < VM_ARRAY_LEN(kinds); k++)
			assert_laid(f, kinds[i], kinds[k]);
	}
}

static void a_layer_needs_a_base_of_its_size(void **state)
{
	struct fixture *f = *state;
	struct vm_err err = {0};

	write_text(f->to, "short", "x");
	write_sparse(f->to, "layer", layer_page);
	assert_int_equal(vm_fs_fill_holes(f->to, "short", f->to, "layer", NULL, &err), -1);
	assert_int_equal(err.code, VM_ERR_SYSTEM);
	assert_non_null(strstr(err.message, "its base has 1 bytes"));
	vm_err_clear(&err);
	assert_int_equal(vm_fs_fill_holes(f->to, "nothing", f->to, "layer", NULL, &err), -1);
	assert_non_null(strstr(err.message, "nothing"));
	/* Too small for the trial; and no directory. */
	assert_false(vm_fs_keeps_holes(f->to, BLOCK));
	assert_false(vm_fs_keeps_holes(-1, BYTES));
}

static void what_is_not_there_is_left_alone(void **state)
{
	struct fixture *f = *state;

	vm_fs_punch_zeroes(f->to, "nothing");
	assert_false(vm_fs_exists(f->to, "nothing"));
	write_text(f->to, "empty", "");
	vm_fs_punch_zeroes(f->to, "empty");
	assert_text(f->to, "empty", "");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	        TEST(what_is_zero_is_punched_and_reads_the_same),
	        TEST(long_runs_take_no_disk_and_short_ones_stay),
	        TEST(a_file_can_be_allocated_before_it_is_written),
	        TEST(holes_of_a_layer_are_filled_from_its_base),
	        TEST(a_layer_needs_a_base_of_its_size),
	        TEST(what_is_not_there_is_left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
