/* SPDX-License-Identifier: Apache-2.0 */
#include "archive_files.h"

#include "archive_impl.h"

static off_t disk_bytes(int dir, const char *name)
{
	struct stat st;

	assert_int_equal(fstatat(dir, name, &st, 0), 0);
	return st.st_blocks * 512;
}

/* --- round trips ---------------------------------------------------------------------------------
 */

static void what_is_exported_is_imported_the_same(void **state)
{
	static const struct vm_archive_write_options ways[] = {
	        {0}, {.plain = true}, {.level = 1}, {.level = VM_ARCHIVE_LEVEL_MAX}};
	const struct vm_archive_read_options durable = {.durable = true};
	struct fixture *f = *state;

	make_all(f->from);
	for (size_t i = 0; i < VM_ARRAY_LEN(ways); i++) {
		int fd = export_files(f->from, all_names, &ways[i]);
		struct stat st;

		import_whole(fd, f->to, i == 0 ? &durable : NULL);
		for (const char **name = all_names; *name; name++) {
			assert_same_file(f->from, f->to, *name);
			assert_in_range(disk_bytes(f->to, *name), 0, disk_bytes(f->from, *name));
			assert_int_equal(fstatat(f->to, *name, &st, 0), 0);
			assert_int_equal(st.st_mode, S_IFREG | 0600);
		}
		empty_dir(f->to, all_names);
		close(fd);
	}
	empty_dir(f->from, all_names);
}

static void the_same_image_makes_the_same_bytes(void **state)
{
	struct fixture *f = *state;
	size_t len, again_len;
	char *data, *again;
	int fd;

	make_all(f->from);
	fd = export_files(f->from, all_names, NULL);
	data = bytes_of(fd, &len);
	close(fd);
	empty_dir(f->from, all_names);
	make_all(f->from);
	fd = export_files(f->from, all_names, NULL);
	again = bytes_of(fd, &again_len);
	close(fd);
	assert_int_equal(len, again_len);
	assert_memory_equal(data, again, len);
	free(data);
	free(again);
}

static void an_image_without_files_is_an_image(void **state)
{
	static const char *const none[] = {NULL};
	struct fixture *f = *state;
	int fd = export_files(f->from, none, NULL);

	import_whole(fd, f->to, NULL);
	assert_int_equal(count_entries(f->to), 0);
	close(fd);
}

struct progress {
	uint64_t last, total, calls;
};

static void note_progress(void *ctx, uint64_t done, uint64_t total)
{
	struct progress *p = ctx;

	assert_true(done >= p->last && done <= total);
	assert_true(p->calls == 0 || total == p->total);
	*p = (struct progress){done, total, p->calls + 1};
}

/* What this process has read and written so far, as the kernel counts it. */
static uint64_t io_bytes(void)
{
	char text[512];
	uintmax_t in = 0, out = 0;
	int fd = open("/proc/self/io", O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, text, sizeof(text) - 1);

	close(fd);
	assert_true(n > 0);
	text[n] = '\0';
	assert_int_equal(sscanf(text, "rchar: %ju wchar: %ju", &in, &out), 2);
	return in + out;
}

static void holes_cost_nothing_on_either_way(void **state)
{
	static const struct layout memory = {
	        "memory",
	        (off_t)4 << 30,
	        {{0, MIB}, {(off_t)3 << 30, 5}, {((off_t)4 << 30) - 9, 9}}};
	static const char *const names[] = {"memory", NULL};
	struct progress there = {0}, back = {0};
	const struct vm_archive_write_options out = {
	        .plain = true, .progress = note_progress, .ctx = &there};
	const struct vm_archive_read_options in = {.progress = note_progress, .ctx = &back};
	struct fixture *f = *state;
	uint64_t before;
	struct stat st;
	int fd;

	make_file(f->from, &memory);
	before = io_bytes();
	fd = export_files(f->from, names, &out);
	assert_int_equal(fstat(fd, &st), 0);
	assert_in_range(st.st_size, MIB, 2 * MIB);
	import_whole(fd, f->to, &in);
	assert_in_range(io_bytes() - before, 4 * MIB, 6 * MIB);
	assert_int_equal(there.total, MIB + 2 * VM_ARCHIVE_BLOCK_BYTES);
	assert_int_equal(back.total, there.total);
	assert_true(there.last == there.total && back.last == back.total);
	assert_int_equal(fstatat(f->to, "memory", &st, 0), 0);
	assert_int_equal(st.st_size, (off_t)4 << 30);
	assert_in_range(st.st_blocks * 512, MIB, 2 * MIB);
	close(fd);
}

/* Pages here and there, as a guest leaves them. */
static void make_scattered(int dir, const char *name, int pages, off_t apart)
{
	int fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	for (int i = 0; i < pages; i++)
		put(fd, i * apart, BLOCK);
	close(fd);
}

static void thousands_of_extents_stay_apart(void **state)
{
	static const char *const names[] = {"close", "far", NULL};
	struct fixture *f = *state;
	int fd;

	make_scattered(f->from, "close", 500, 3L * BLOCK);
	make_scattered(f->from, "far", 3000, 192L * 1024);
	for (int plain = 0; plain < 2; plain++) {
		const struct vm_archive_write_options options = {.plain = plain};

		fd = export_files(f->from, names, &options);
		import_whole(fd, f->to, NULL);
		close(fd);
		for (int i = 0; names[i]; i++) {
			assert_same_file(f->from, f->to, names[i]);
			/* A hole within a block that travelled is a hole again, too. */
			assert_in_range(disk_bytes(f->to, names[i]), BLOCK,
			                disk_bytes(f->from, names[i]) + MIB);
		}
		empty_dir(f->to, names);
	}
}

static void too_many_runs_are_joined(void **state)
{
	struct fixture *f = *state;
	struct vm_archive_runs runs = {0};
	struct vm_err err = {0};
	struct stat st;
	int fd;

	make_scattered(f->from, "memory", 100, 192L * 1024);
	fd = openat(f->from, "memory", O_RDONLY | O_CLOEXEC);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(vm_archive_runs_find(fd, st.st_size, 1000, &runs, &err), 0);
	assert_int_equal(runs.count, 100);
	assert_int_equal(runs.data_bytes, 99 * VM_ARCHIVE_BLOCK_BYTES + BLOCK);
	vm_archive_runs_free(&runs);
	assert_int_equal(vm_archive_runs_find(fd, st.st_size, 10, &runs, &err), 0);
	assert_in_range(runs.count, 1, 10);
	for (int i = 0; i < 100; i++) {
		bool covered = false;

		for (size_t j = 0; j < runs.count; j++)
			covered = covered ||
			          (runs.runs[j].at <= i * 192L * 1024 &&
			           runs.runs[j].at + runs.runs[j].len >= i * 192L * 1024 + BLOCK);
		assert_true(covered);
	}
	vm_archive_runs_free(&runs);
	close(fd);
}

static void the_checksum_is_of_the_content_not_of_the_holes(void **state)
{
	static char data[3 * VM_ARCHIVE_BLOCK_BYTES + 100];
	char a[VM_ARCHIVE_SUM_LEN + 1], b[VM_ARCHIVE_SUM_LEN + 1];
	struct vm_err err = {0};
	struct vm_archive_hash *hash = vm_archive_hash_new(&err);

	(void)state;
	fill(data + VM_ARCHIVE_BLOCK_BYTES, 10, 0);
	vm_archive_hash_all(hash, data, sizeof(data), a);
	vm_archive_hash_begin(hash);
	vm_archive_hash_block(hash, 1, data + VM_ARCHIVE_BLOCK_BYTES, VM_ARCHIVE_BLOCK_BYTES);
	vm_archive_hash_end(hash, sizeof(data), b);
	assert_string_equal(a, b);
	/* The same block elsewhere, another length, another byte: each is another content. */
	vm_archive_hash_begin(hash);
	vm_archive_hash_block(hash, 2, data + VM_ARCHIVE_BLOCK_BYTES, VM_ARCHIVE_BLOCK_BYTES);
	vm_archive_hash_end(hash, sizeof(data), b);
	assert_string_not_equal(a, b);
	vm_archive_hash_all(hash, data, sizeof(data) - 1, b);
	assert_string_not_equal(a, b);
	data[sizeof(data) - 1] = 1;
	vm_archive_hash_all(hash, data, sizeof(data), b);
	assert_string_not_equal(a, b);
	/* Of docs/archive-format.md: nothing but the size is hashed of an empty file. */
	vm_archive_hash_all(hash, "", 0, a);
	assert_string_equal(a, "2c0a8a99dc147d5445c3b49d035665b2");
	vm_archive_hash_free(&hash);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	        TEST(what_is_exported_is_imported_the_same),
	        TEST(the_same_image_makes_the_same_bytes),
	        TEST(an_image_without_files_is_an_image),
	        TEST(holes_cost_nothing_on_either_way),
	        TEST(thousands_of_extents_stay_apart),
	        TEST(too_many_runs_are_joined),
	        TEST(the_checksum_is_of_the_content_not_of_the_holes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
