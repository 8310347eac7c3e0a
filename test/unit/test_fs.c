/* SPDX-License-Identifier: Apache-2.0 */
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

static int setup(void **state)
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

static int teardown(void **state)
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

static void write_text(int dir, const char *name, const char *text)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void assert_text(int dir, const char *name, const char *want)
{
	VM_AUTO_FREE char *text = NULL;
	struct vm_err err = {0};
	size_t len;

	if (vm_fs_read(dir, name, MIB, &text, &len, &err) < 0)
		fail_msg("%s", err.message);
	assert_string_equal(text, want);
	assert_int_equal(len, strlen(want));
}

static size_t count_entries(int dir_fd)
{
	DIR *list = fdopendir(openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	size_t n = 0;

	assert_non_null(list);
	while (readdir(list))
		n++;
	closedir(list);
	return n - 2;
}

/* --- copies --------------------------------------------------------------------------------------
 */

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
        {"dense", 3L * BLOCK, {{0, 3 * BLOCK}}},
        {"only-a-hole", 64L * MIB, {{0, 0}}},
        {"hole-of-odd-size", 64L * MIB + 123, {{0, 0}}},
        {"data-first", 64L * MIB, {{0, BLOCK}}},
        {"data-last", 64L * MIB, {{64L * MIB - BLOCK, BLOCK}}},
        {"data-between", 64L * MIB, {{20L * MIB, MIB}, {40L * MIB, BLOCK}}},
        {"partial-last-block", 8L * MIB + 777, {{0, BLOCK}, {8L * MIB, 777}}},
        {"data-at-odd-places", 8L * MIB, {{12345, 10}, {3L * MIB + 1, MIB}, {8L * MIB - 1, 1}}},
        {"more-than-a-chunk", 40L * MIB, {{MIB, 20 * MIB + 5}}},
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

	if (vm_fs_copy(from, to_dir, layout->name, 0640, &how, &err) < 0)
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

	assert_int_equal(vm_fs_copy(from, f->to, "huge", 0600, &how, &err), 0);
	assert_int_equal(fstatat(f->to, "huge", &st, 0), 0);
	assert_int_equal(st.st_size, (off_t)1 << 40);
	assert_in_range(st.st_blocks * 512, 0, MIB);
	close(from);
}

static void a_copy_does_not_depend_on_the_offset_of_its_source(void **state)
{
	static const struct layout layout = {"file", 2L * BLOCK, {{0, 2 * BLOCK}}};
	struct fixture *f = *state;
	int from = make_file(f->shm, &layout), copy;
	struct vm_err err = {0};
	enum vm_copy how;

	assert_int_equal(lseek(from, BLOCK, SEEK_SET), BLOCK);
	assert_int_equal(vm_fs_copy(from, f->to, "file", 0600, &how, &err), 0);
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
		assert_int_equal(vm_fs_copy(from, f->to, *name, 0600, &how, &err), -1);
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
	static const struct layout layout = {"file", 8L * BLOCK, {{0, 8 * BLOCK}}};
	struct fixture *f = arg;
	int from = openat(f->shm, layout.name, O_RDONLY | O_CLOEXEC);
	struct vm_err err = {0};
	enum vm_copy how;

	signal(SIGXFSZ, SIG_IGN);
	if (from < 0 || setrlimit(RLIMIT_FSIZE, &limit) < 0)
		return 2;
	if (vm_fs_copy(from, f->to, "copy", 0600, &how, &err) != -1)
		return 3;
	return strstr(err.message, "copy: ") ? 0 : 4;
}

static void a_copy_that_fails_leaves_nothing(void **state)
{
	static const struct layout layout = {"file", 8L * BLOCK, {{0, 8 * BLOCK}}};
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
	raise(SIGINT);
	if (vm_fs_copy(from, f->to, "copy", 0600, &how, &err) != -1)
		return 2;
	if (!strstr(err.message, "copy: interrupted by SIGINT"))
		return 3;
	vm_interrupt_suspend(); /* as in an undo */
	vm_err_clear(&err);
	return vm_fs_copy(from, f->to, "whole", 0600, &how, &err) == 0 ? 0 : 4;
}

static void an_interrupted_copy_leaves_nothing(void **state)
{
	struct fixture *f = *state;

	write_text(f->shm, "file", "text");
	assert_exits(spawn(copy_interrupted, f), 0);
	assert_false(vm_fs_exists(f->to, "copy"));
	assert_text(f->to, "whole", "text");
}

/* --- publishing and reading ----------------------------------------------------------------------
 */

static void a_published_file_replaces_the_old_one_whole(void **state)
{
	struct fixture *f = *state;
	struct vm_err err = {0};
	char text[16] = "";
	struct stat st;
	int old;

	write_text(f->to, "file", "old and long");
	old = openat(f->to, "file", O_RDONLY | O_CLOEXEC);
	assert_int_equal(vm_fs_publish(f->to, "file", "new", 3, true, &err), 0);
	assert_text(f->to, "file", "new");
	assert_int_equal(pread(old, text, sizeof(text), 0), strlen("old and long"));
	assert_string_equal(text, "old and long");
	assert_int_equal(fstatat(f->to, "file", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(vm_fs_publish(f->to, "file", "", 0, false, &err), 0);
	assert_text(f->to, "file", "");
	assert_int_equal(count_entries(f->to), 1);
	close(old);
}

static void what_a_killed_publisher_left_is_no_hindrance_and_not_followed(void **state)
{
	struct fixture *f = *state;
	struct vm_err err = {0};

	write_text(f->to, "file.tmp", "half of");
	assert_int_equal(vm_fs_publish(f->to, "file", "new", 3, false, &err), 0);
	assert_text(f->to, "file", "new");
	write_text(f->dir.fd, "elsewhere", "mine");
	assert_int_equal(symlinkat("../elsewhere", f->to, "file.tmp"), 0);
	assert_int_equal(vm_fs_publish(f->to, "file", "newer", 5, false, &err), 0);
	assert_text(f->to, "file", "newer");
	assert_text(f->dir.fd, "elsewhere", "mine");
	/* A link under the name itself is replaced, not written through. */
	assert_int_equal(symlinkat("../elsewhere", f->to, "link"), 0);
	assert_int_equal(vm_fs_publish(f->to, "link", "file now", 8, false, &err), 0);
	assert_text(f->to, "link", "file now");
	assert_text(f->dir.fd, "elsewhere", "mine");
}

static void a_publication_that_fails_leaves_the_old_file_and_nothing_else(void **state)
{
	struct fixture *f = *state;
	struct vm_err err = {0};

	assert_int_equal(mkdirat(f->to, "file", 0700), 0);
	write_text(f->to, "other", "x");
	assert_int_equal(vm_fs_publish(f->to, "file", "new", 3, true, &err), -1);
	assert_int_equal(err.code, VM_ERR_SYSTEM);
	assert_non_null(strstr(err.message, "file"));
	assert_int_equal(count_entries(f->to), 2);
}

enum { PUBLICATIONS = 300, TEXT = 3 * BLOCK };

static int publish_many(void *arg)
{
	struct fixture *f = arg;
	struct vm_err err = {0};
	static char text[TEXT];

	for (int i = 0; i < PUBLICATIONS; i++) {
		memset(text, 'a' + i % 26, sizeof(text));
		if (vm_fs_publish(f->shm, "file", text, i % 2 ? TEXT : TEXT / 2, false, &err) < 0)
			return 1;
	}
	return 0;
}

/* Whether the file is one of those published, whole. */
static bool is_whole(int dir)
{
	VM_AUTO_FREE char *text = NULL;
	struct vm_err err = {0};
	size_t len = 0;

	if (vm_fs_read(dir, "file", TEXT, &text, &len, &err) < 0 ||
	    (len != TEXT && len != TEXT / 2))
		return false;
	for (size_t i = 1; i < len; i++) {
		if (text[i] != text[0])
			return false;
	}
	return true;
}

static void readers_see_the_old_or_the_new_file(void **state)
{
	struct fixture *f = *state;
	siginfo_t info = {0};
	pid_t pid;

	static char text[TEXT];

	memset(text, 'x', TEXT);
	assert_int_equal(vm_fs_publish(f->shm, "file", text, TEXT, false, &(struct vm_err){0}), 0);
	pid = spawn(publish_many, f);
	while (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       info.si_pid == 0)
		assert_true(is_whole(f->shm));
	assert_exits(pid, 0);
	assert_true(is_whole(f->shm));
}

static void a_file_is_read_up_to_its_limit(void **state)
{
	struct fixture *f = *state;
	char *data = (char *)f; /* stays so on failure */
	struct vm_err err = {0};
	size_t len = 77;

	write_text(f->to, "file", "12345678");
	assert_int_equal(vm_fs_read(f->to, "file", 7, &data, &len, &err), -1);
	assert_int_equal(err.code, VM_ERR_CORRUPT);
	assert_non_null(strstr(err.message, "file has 8 bytes, more than 7"));
	assert_ptr_equal(data, f);
	assert_int_equal(len, 77);
	vm_err_clear(&err);
	assert_int_equal(vm_fs_read(f->to, "file", 8, &data, &len, &err), 0);
	assert_int_equal(len, 8);
	assert_string_equal(data, "12345678");
	free(data);
	write_text(f->to, "empty", "");
	assert_int_equal(vm_fs_read(f->to, "empty", 0, &data, &len, &err), 0);
	assert_int_equal(len, 0);
	assert_string_equal(data, "");
	free(data);
}

static void only_regular_files_are_read(void **state)
{
	static const struct {
		const char *name;
		enum vm_code code;
	} cases[] = {
	        {"missing", VM_ERR_NOT_FOUND}, {"dir", VM_ERR_CORRUPT}, {"link", VM_ERR_SYSTEM}};
	struct fixture *f = *state;

	write_text(f->to, "file", "x");
	assert_int_equal(mkdirat(f->to, "dir", 0700), 0);
	assert_int_equal(symlinkat("file", f->to, "link"), 0);
	for (size_t i = 0; i < VM_ARRAY_LEN(cases); i++) {
		struct vm_err err = {0};
		char *data = NULL;
		size_t len;

		assert_int_equal(vm_fs_read(f->to, cases[i].name, 100, &data, &len, &err), -1);
		assert_int_equal(err.code, cases[i].code);
		assert_non_null(strstr(err.message, cases[i].name));
		assert_null(data);
	}
}

/* --- removing and making -------------------------------------------------------------------------
 */

static void a_tree_goes_with_all_it_holds_and_nothing_it_points_to(void **state)
{
	struct fixture *f = *state;
	struct vm_err err = {0};
	int tree = vm_fs_make_dir(f->to, "tree", &err), deep = tree;

	assert_int_equal(mkdirat(f->from, "precious", 0700), 0);
	write_text(f->from, "keep", "kept");
	for (int i = 0; i < 40; i++) {
		int next = vm_fs_make_dir(deep, "deeper", &err);

		write_text(deep, "file", "x");
		assert_int_equal(symlinkat("../../from", deep, "a-link"), 0);
		assert_int_equal(symlinkat("/nowhere", deep, "z-dangling"), 0);
		assert_int_equal(mkfifoat(deep, "fifo", 0600), 0);
		if (deep != tree)
			close(deep);
		deep = next;
		assert_true(deep >= 0);
	}
	close(deep);
	assert_int_equal(symlinkat("../../../from", tree, "to-dir"), 0);
	close(tree);
	assert_int_equal(vm_fs_remove_tree(f->to, "tree", &err), 0);
	assert_int_equal(count_entries(f->to), 0);
	assert_text(f->from, "keep", "kept");
	assert_true(vm_fs_exists(f->from, "precious"));
}

static void a_directory_with_many_entries_goes(void **state)
{
	struct fixture *f = *state;
	struct vm_err err = {0};
	int dir = vm_fs_make_dir(f->to, "many", &err);

	for (int i = 0; i < 3000; i++) {
		char name[32];

		snprintf(name, sizeof(name), "a-file-with-a-number-%d", i);
		write_text(dir, name, "");
	}
	close(dir);
	assert_int_equal(vm_fs_remove_tree(f->to, "many", &err), 0);
	assert_int_equal(count_entries(f->to), 0);
}

static void of_a_link_the_link_goes_and_a_missing_name_is_no_error(void **state)
{
	struct fixture *f = *state;
	struct vm_err err = {0};

	write_text(f->from, "keep", "kept");
	assert_int_equal(symlinkat("../from", f->to, "link"), 0);
	assert_int_equal(vm_fs_remove_tree(f->to, "link", &err), 0);
	assert_false(vm_fs_exists(f->to, "link"));
	assert_text(f->from, "keep", "kept");
	write_text(f->to, "file", "x");
	assert_int_equal(vm_fs_remove_tree(f->to, "file", &err), 0);
	assert_int_equal(vm_fs_remove_tree(f->to, "file", &err), 0);
	assert_int_equal(vm_fs_unlink(f->to, "file", &err), 0);
	assert_int_equal(mkdirat(f->to, "dir", 0700), 0);
	assert_int_equal(vm_fs_unlink(f->to, "dir", &err), -1);
	assert_non_null(strstr(err.message, "dir"));
}

static void a_directory_is_made_once_for_its_owner_alone(void **state)
{
	struct fixture *f = *state;
	struct vm_err err = {0};
	mode_t old = umask(0);
	int one = vm_fs_make_dir(f->to, "dir", &err), two;
	struct stat st;

	umask(old);
	assert_true(one >= 0);
	assert_int_equal(fstat(one, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_true(fcntl(one, F_GETFD) & FD_CLOEXEC);
	write_text(one, "file", "x");
	two = vm_fs_make_dir(f->to, "dir", &err);
	assert_true(two >= 0);
	assert_text(two, "file", "x");
	close(one);
	close(two);
	assert_int_equal(symlinkat("dir", f->to, "link"), 0);
	assert_int_equal(vm_fs_make_dir(f->to, "link", &err), -1);
	vm_err_clear(&err);
	assert_int_equal(vm_fs_open_dir(f->to, "link", &err), -1);
	vm_err_clear(&err);
	write_text(f->to, "file", "x");
	assert_int_equal(vm_fs_make_dir(f->to, "file", &err), -1);
	assert_non_null(strstr(err.message, "file"));
}

static void a_link_exists_whatever_it_points_to(void **state)
{
	struct fixture *f = *state;
	struct vm_err err = {0};
	uint64_t bytes = 0;

	assert_false(vm_fs_exists(f->to, "link"));
	assert_int_equal(symlinkat("/nowhere", f->to, "link"), 0);
	assert_true(vm_fs_exists(f->to, "link"));
	write_text(f->to, "file", "x");
	assert_int_equal(vm_fs_sync(f->to, "file", &err), 0);
	assert_int_equal(vm_fs_sync(f->to, NULL, &err), 0);
	assert_int_equal(vm_fs_free_bytes(f->to, &bytes, &err), 0);
	assert_int_not_equal(bytes, 0);
	assert_int_equal(vm_fs_sync(f->to, "missing", &err), -1);
	assert_non_null(strstr(err.message, "missing"));
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
	        TEST(a_published_file_replaces_the_old_one_whole),
	        TEST(what_a_killed_publisher_left_is_no_hindrance_and_not_followed),
	        TEST(a_publication_that_fails_leaves_the_old_file_and_nothing_else),
	        TEST(readers_see_the_old_or_the_new_file),
	        TEST(a_file_is_read_up_to_its_limit),
	        TEST(only_regular_files_are_read),
	        TEST(a_tree_goes_with_all_it_holds_and_nothing_it_points_to),
	        TEST(a_directory_with_many_entries_goes),
	        TEST(of_a_link_the_link_goes_and_a_missing_name_is_no_error),
	        TEST(a_directory_is_made_once_for_its_owner_alone),
	        TEST(a_link_exists_whatever_it_points_to),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
