/* SPDX-License-Identifier: Apache-2.0 */
#include "fs_fixture.h"

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
		char name[48];

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
