/* SPDX-License-Identifier: Apache-2.0 */
/* Where the data root is, and how it is made and opened. */
#include "root_fixture.h"

static void set_or_unset(const char *name, const char *value)
{
	if (value)
		setenv(name, value, 1);
	else
		unsetenv(name);
}

/* --- where it is ---------------------------------------------------------------------------------
 */

struct place {
	const char *option, *root, *state_home, *home; /* NULL: not set */
	const char *path;                              /* NULL: refused */
};

/* For spawn, as a user who is not root: the number of the first case that is wrong, or 0. */
static int check_places_of_a_user(void *arg)
{
	static const struct place places[] = {
	        {"/option", "/env", "/state", "/home/u", "/option"},
	        {NULL, "/env", "/state", "/home/u", "/env"},
	        {NULL, "", "/state", "/home/u", "/state/vmctl"},
	        {NULL, NULL, "/state", "/home/u", "/state/vmctl"},
	        {NULL, NULL, "", "/home/u", "/home/u/.local/state/vmctl"},
	        {NULL, NULL, "relative", "/home/u", "/home/u/.local/state/vmctl"},
	        {NULL, NULL, NULL, "/home/u", "/home/u/.local/state/vmctl"},
	        {NULL, NULL, NULL, NULL, NULL},
	        {NULL, NULL, NULL, "", NULL},
	        {NULL, NULL, NULL, "relative", NULL},
	        {"", "/env", "/state", "/home/u", NULL},
	};

	(void)arg;
	if (geteuid() == 0 && seteuid(65534) < 0)
		return 99;
	for (size_t i = 0; i < VM_ARRAY_LEN(places); i++) {
		struct vm_err err = {0};
		VM_AUTO_FREE char *path = NULL;

		set_or_unset("VMCTL_ROOT", places[i].root);
		set_or_unset("XDG_STATE_HOME", places[i].state_home);
		set_or_unset("HOME", places[i].home);
		path = vm_root_path(places[i].option, &err);
		if (!path != !places[i].path || (path && strcmp(path, places[i].path) != 0) ||
		    (!path && err.code != VM_ERR_USAGE))
			return (int)i + 1;
	}
	return 0;
}

static void a_user_s_root_is_the_option_the_environment_or_below_home(void **state)
{
	(void)state;
	assert_exits(spawn(check_places_of_a_user, NULL), 0);
}

static void who_has_no_home_is_told_what_to_give(void **state)
{
	VM_AUTO_FREE char *path = NULL;
	struct vm_err err = {0};

	(void)state;
	path = vm_root_path("", &err);
	assert_null(path);
	assert_int_equal(err.code, VM_ERR_USAGE);
	assert_non_null(strstr(err.message, "--root"));
}

static void root_s_root_does_not_depend_on_home(void **state)
{
	VM_AUTO_FREE char *path = NULL;
	struct vm_err err = {0};

	(void)state;
	if (geteuid() != 0)
		skip();
	setenv("HOME", "/home/u", 1);
	setenv("XDG_STATE_HOME", "/state", 1);
	path = vm_root_path(NULL, &err);
	assert_string_equal(path, "/var/lib/vmctl");
}

static void a_relative_root_is_made_absolute(void **state)
{
	struct fixture *f = *state;
	VM_AUTO_FREE char *by_option = NULL;
	VM_AUTO_FREE char *by_env = NULL;
	struct vm_err err = {0};
	char want[128];
	int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_int_equal(fchdir(f->dir.fd), 0);
	setenv("VMCTL_ROOT", "env", 1);
	by_option = vm_root_path("a/b", &err);
	by_env = vm_root_path(NULL, &err);
	assert_int_equal(fchdir(here), 0);
	close(here);
	snprintf(want, sizeof(want), "%s/a/b", f->dir.path);
	assert_string_equal(by_option, want);
	snprintf(want, sizeof(want), "%s/env", f->dir.path);
	assert_string_equal(by_env, want);
}

/* --- how it is opened ----------------------------------------------------------------------------
 */

static unsigned mode_of(const struct fixture *f, const char *name)
{
	struct stat st;

	assert_int_equal(fstatat(f->dir.fd, name, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st.st_mode & 07777;
}

static void it_is_made_for_its_owner_alone_whatever_the_umask(void **state)
{
	static const char *const dirs[] = {"root", "root/guests", "root/locks", "root/run",
	                                   "root/trash"};
	struct fixture *f = *state;
	struct vm_root root;
	struct vm_err err;
	mode_t old = umask(0);

	if (open_root(f, VM_ROOT_CREATE, &root, &err) < 0)
		fail_msg("%s", err.message);
	umask(old);
	for (size_t i = 0; i < VM_ARRAY_LEN(dirs); i++)
		assert_int_equal(mode_of(f, dirs[i]), 0700);
	assert_int_equal(vm_lock_held_mask(), 1U << VM_RANK_STORE);
	assert_true(vm_id_valid(vm_store_root_id(root.store)));
	vm_root_close(&root);
}

static void it_is_made_with_its_parents(void **state)
{
	struct fixture *f = *state;
	struct vm_root root;
	struct vm_err err;

	snprintf(f->path, sizeof(f->path), "%s/root/with/parents", f->dir.path);
	assert_int_equal(open_root(f, VM_ROOT_CREATE, &root, &err), 0);
	assert_int_equal(mode_of(f, "root/with/parents"), 0700);
	assert_string_equal(root.path, f->path);
	vm_root_close(&root);
}

/* Opens it, finds nothing in it, and changes nothing. */
static void assert_reads_as_empty(const struct fixture *f, enum vm_root_mode mode)
{
	struct vm_instance *rows = NULL;
	struct vm_root root;
	struct vm_err err;
	size_t count = 99;

	if (open_root(f, mode, &root, &err) < 0)
		fail_msg("%s", err.message);
	assert_true(root.missing);
	assert_int_equal(vm_store_list(root.store, VM_LIST_ALL, &rows, &count, &err), 0);
	assert_int_equal(count, 0);
	vm_instances_free(rows, count);
	vm_root_close(&root);
}

static void only_create_makes_what_is_missing(void **state)
{
	struct fixture *f = *state;

	assert_reads_as_empty(f, VM_ROOT_READ);
	assert_reads_as_empty(f, VM_ROOT_CHANGE);
	assert_false(vm_fs_exists(f->dir.fd, "root"));
	assert_int_equal(mkdir(f->path, 0700), 0);
	assert_reads_as_empty(f, VM_ROOT_READ);
	assert_reads_as_empty(f, VM_ROOT_CHANGE);
	assert_int_equal(rmdir(f->path), 0); /* it is still empty */
}

static void a_root_that_was_made_is_found_by_all(void **state)
{
	static const enum vm_root_mode modes[] = {VM_ROOT_READ, VM_ROOT_CHANGE, VM_ROOT_CREATE};
	struct fixture *f = *state;
	char id[VM_ID_LEN + 1];
	struct vm_root root;
	struct vm_err err;

	assert_int_equal(open_root(f, VM_ROOT_CREATE, &root, &err), 0);
	memcpy(id, vm_store_root_id(root.store), sizeof(id));
	vm_root_close(&root);
	for (size_t i = 0; i < VM_ARRAY_LEN(modes); i++) {
		assert_int_equal(open_root(f, modes[i], &root, &err), 0);
		assert_false(root.missing);
		assert_string_equal(vm_store_root_id(root.store), id);
		assert_int_equal(vm_lock_held_mask(),
		                 modes[i] == VM_ROOT_READ ? 0 : 1U << VM_RANK_STORE);
		vm_root_close(&root);
	}
}

/* What the first user leaves when he is killed at some moment of making it. */
static void a_half_made_root_reads_as_empty_and_is_completed(void **state)
{
	struct fixture *f = *state;

	for (int stage = 0; stage < 4; stage++) {
		char db[128];
		struct vm_root root;
		struct vm_err err;
		sqlite3 *half;

		snprintf(db, sizeof(db), "%s/vmctl.db", f->path);
		assert_int_equal(mkdir(f->path, 0700), 0);
		if (stage >= 1)
			assert_int_equal(mkdirat(f->dir.fd, "root/guests", 0700), 0);
		if (stage >= 2) {
			assert_int_equal(mkdirat(f->dir.fd, "root/locks", 0700), 0);
			assert_int_equal(mkdirat(f->dir.fd, "root/run", 0700), 0);
			assert_int_equal(mkdirat(f->dir.fd, "root/trash", 0700), 0);
			close(open(db, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
		}
		if (stage >= 3) {
			assert_int_equal(sqlite3_open(db, &half), SQLITE_OK);
			assert_int_equal(
			        sqlite3_exec(half, "PRAGMA journal_mode = WAL", NULL, NULL, NULL),
			        SQLITE_OK);
			sqlite3_close(half);
		}
		assert_reads_as_empty(f, VM_ROOT_READ);
		if (open_root(f, VM_ROOT_CREATE, &root, &err) < 0)
			fail_msg("stage %d: %s", stage, err.message);
		assert_false(root.missing);
		assert_true(vm_id_valid(vm_store_root_id(root.store)));
		vm_root_close(&root);
		assert_int_equal(vm_fs_remove_tree(f->dir.fd, "root", &err), 0);
	}
}

static void what_is_no_root_is_refused(void **state)
{
	struct fixture *f = *state;
	struct vm_root root;
	struct vm_err err;

	close(openat(f->dir.fd, "root", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	for (int mode = VM_ROOT_READ; mode <= VM_ROOT_CREATE; mode++) {
		assert_int_equal(open_root(f, (enum vm_root_mode)mode, &root, &err), -1);
		assert_non_null(strstr(err.message, f->path));
	}
	snprintf(f->path, sizeof(f->path), "%s/root/below-a-file", f->dir.path);
	assert_int_equal(open_root(f, VM_ROOT_CREATE, &root, &err), -1);
	assert_int_equal(vm_lock_held_mask(), 0);
}

static void a_bad_configuration_or_store_is_refused_and_nothing_stays_held(void **state)
{
	struct fixture *f = *state;
	struct vm_root root;
	struct vm_err err;
	unsigned fds;
	int file;

	assert_int_equal(open_root(f, VM_ROOT_CREATE, &root, &err), 0);
	vm_root_close(&root);
	fds = count_fds();
	unsetenv("VMCTL_CONFIG");
	file = openat(f->dir.fd, "root/vmctl.yaml", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(dprintf(file, "limits: {max_runing: 3}\n") > 0);
	close(file);
	assert_int_equal(open_root(f, VM_ROOT_CHANGE, &root, &err), -1);
	assert_int_equal(err.code, VM_ERR_USAGE);
	assert_int_equal(unlinkat(f->dir.fd, "root/vmctl.yaml", 0), 0);

	/* The log would still hold every page. */
	assert_int_equal(unlinkat(f->dir.fd, "root/vmctl.db-wal", 0), 0);
	file = openat(f->dir.fd, "root/vmctl.db", O_WRONLY | O_TRUNC | O_CLOEXEC);
	assert_true(dprintf(file, "%4096s", "this is no database") > 0);
	close(file);
	assert_int_equal(open_root(f, VM_ROOT_CHANGE, &root, &err), -1);
	assert_int_equal(err.code, VM_ERR_CORRUPT);
	assert_int_equal(open_root(f, VM_ROOT_READ, &root, &err), -1);
	assert_int_equal(err.code, VM_ERR_CORRUPT);
	assert_int_equal(count_fds(), fds);
	assert_int_equal(vm_lock_held_mask(), 0);
}

static void the_wait_that_applies_is_given_else_configured(void **state)
{
	struct fixture *f = *state;
	const int64_t given = 1234;
	int64_t wait = 0;
	struct vm_root root;
	struct vm_err err = {0};

	assert_int_equal(vm_root_open(f->path, VM_ROOT_CREATE, &given, &root, &wait, &err), 0);
	assert_int_equal(wait, 1234);
	vm_root_close(&root);
	assert_int_equal(vm_root_open(f->path, VM_ROOT_READ, NULL, &root, &wait, &err), 0);
	assert_int_equal(wait, root.config.lock_wait_ms);
	vm_root_close(&root);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	        TEST(a_user_s_root_is_the_option_the_environment_or_below_home),
	        TEST(who_has_no_home_is_told_what_to_give),
	        TEST(root_s_root_does_not_depend_on_home),
	        TEST(a_relative_root_is_made_absolute),
	        TEST(it_is_made_for_its_owner_alone_whatever_the_umask),
	        TEST(it_is_made_with_its_parents),
	        TEST(only_create_makes_what_is_missing),
	        TEST(a_root_that_was_made_is_found_by_all),
	        TEST(a_half_made_root_reads_as_empty_and_is_completed),
	        TEST(what_is_no_root_is_refused),
	        TEST(a_bad_configuration_or_store_is_refused_and_nothing_stays_held),
	        TEST(the_wait_that_applies_is_given_else_configured),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
