/* SPDX-License-Identifier: Apache-2.0 */
/* The data root when several processes make it, read it, or change its schema. */
#include "root_fixture.h"

#include "schema_1.h"

struct together {
	const struct fixture *fixture;
	atomic_int *begin;
	char (*ids)[VM_ID_LEN + 1];
};

struct maker {
	const struct together *all;
	int number;
};

static int make_root(void *arg)
{
	const struct maker *maker = arg;
	struct vm_root root;
	struct vm_err err;

	if (!wait_for(atomic_load(maker->all->begin)))
		return 1;
	if (open_root(maker->all->fixture, VM_ROOT_CREATE, &root, &err) < 0) {
		fprintf(stderr, "%s\n", err.message);
		return 2;
	}
	memcpy(maker->all->ids[maker->number], vm_store_root_id(root.store), VM_ID_LEN + 1);
	vm_root_close(&root);
	return 0;
}

/* A reader in between sees nothing, or the root; never half of it. */
static int read_root(void *arg)
{
	const struct maker *maker = arg;
	struct vm_root root = {.missing = true};

	if (!wait_for(atomic_load(maker->all->begin)))
		return 1;
	while (root.missing) {
		struct vm_err err;

		if (open_root(maker->all->fixture, VM_ROOT_READ, &root, &err) < 0) {
			fprintf(stderr, "%s\n", err.message);
			return 2;
		}
		vm_root_close(&root);
	}
	return 0;
}

static void those_who_make_it_at_once_make_one(void **state)
{
	enum { MAKERS = 6, ROUNDS = 12 };
	struct fixture *f = *state;
	struct together all = {.fixture = f, .begin = shared_memory(sizeof(*all.begin))};

	all.ids = shared_memory(MAKERS * sizeof(*all.ids));
	for (int round = 0; round < ROUNDS; round++) {
		struct vm_err err = {0};
		pid_t pids[MAKERS + 1];

		atomic_store(all.begin, 0);
		for (int i = 0; i <= MAKERS; i++) {
			struct maker maker = {&all, i};

			pids[i] = spawn(i < MAKERS ? make_root : read_root, &maker);
		}
		atomic_store(all.begin, 1);
		for (int i = 0; i <= MAKERS; i++)
			assert_exits(pids[i], 0);
		for (int i = 1; i < MAKERS; i++)
			assert_string_equal(all.ids[i], all.ids[0]);
		assert_int_equal(vm_fs_remove_tree(f->dir.fd, "root", &err), 0);
	}
	munmap(all.begin, sizeof(*all.begin));
	munmap(all.ids, MAKERS * sizeof(*all.ids));
}

static int hold_store_lock(void *arg)
{
	const struct fixture *f = arg;
	struct vm_lock lock = VM_LOCK_INIT;
	struct vm_err err = {0};
	const struct vm_lock_request request = {.dir_fd = f->dir.fd,
	                                        .name = "root/locks/store",
	                                        .rank = VM_RANK_STORE,
	                                        .mode = VM_LOCK_EXCLUSIVE,
	                                        .deadline_ms = VM_WAIT_NONE,
	                                        .what = "the store"};

	if (vm_lock_take(&request, &lock, &err) < 0)
		return 1;
	close(openat(f->dir.fd, "held", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	for (;;)
		pause();
}

static void who_migrates_the_store_is_waited_for_but_not_by_readers(void **state)
{
	const int64_t none = 0;
	struct fixture *f = *state;
	struct vm_root root;
	struct vm_err err;
	pid_t pid;

	assert_int_equal(open_root(f, VM_ROOT_CREATE, &root, &err), 0);
	vm_root_close(&root);
	pid = spawn(hold_store_lock, f);
	assert_true(wait_for(vm_fs_exists(f->dir.fd, "held")));
	assert_int_equal(vm_root_open(f->path, VM_ROOT_CHANGE, &none, &root, NULL, &err), -1);
	assert_int_equal(err.code, VM_ERR_BUSY);
	assert_non_null(strstr(err.message, "the store"));
	assert_int_equal(open_root(f, VM_ROOT_READ, &root, &err), 0);
	vm_root_close(&root);
	kill_and_reap(pid);
	assert_int_equal(open_root(f, VM_ROOT_CHANGE, &root, &err), 0);
	vm_root_close(&root);
}

/* For spawn: shares the store, as every changing verb does, until it is killed. */
static int share_store(void *arg)
{
	const struct fixture *f = arg;
	struct vm_root root;
	struct vm_err err;

	if (open_root(f, VM_ROOT_CHANGE, &root, &err) < 0)
		return 1;
	close(openat(f->dir.fd, "held", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	for (;;)
		pause();
}

static void set_schema(const struct fixture *f, const char *pragma)
{
	char db[128];
	sqlite3 *store;

	snprintf(db, sizeof(db), "%s/vmctl.db", f->path);
	assert_int_equal(sqlite3_open(db, &store), SQLITE_OK);
	assert_int_equal(sqlite3_exec(store, pragma, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(store);
}

static void nobody_migrates_a_store_that_others_use(void **state)
{
	const int64_t none = 0;
	struct fixture *f = *state;
	struct vm_root root;
	struct vm_err err;
	pid_t pid;

	assert_int_equal(open_root(f, VM_ROOT_CREATE, &root, &err), 0);
	vm_root_close(&root);
	pid = spawn(share_store, f);
	assert_true(wait_for(vm_fs_exists(f->dir.fd, "held")));
	set_schema(f, "PRAGMA user_version = 0");
	assert_int_equal(vm_root_open(f->path, VM_ROOT_CHANGE, &none, &root, NULL, &err), -1);
	assert_int_equal(err.code, VM_ERR_BUSY);
	assert_non_null(strstr(err.message, "the store"));
	kill_and_reap(pid);
}

/* A root whose store the first vmctl has made. */
static void make_old_root(struct fixture *f)
{
	char db[128];
	struct vm_root root;
	struct vm_err err;

	assert_int_equal(open_root(f, VM_ROOT_CREATE, &root, &err), 0);
	vm_root_close(&root);
	for (const char *const *file =
	             (const char *const[]){"vmctl.db", "vmctl.db-wal", "vmctl.db-shm", NULL};
	     *file; file++) {
		snprintf(db, sizeof(db), "root/%s", *file);
		unlinkat(f->dir.fd, db, 0);
	}
	snprintf(db, sizeof(db), "%s/vmctl.db", f->path);
	make_schema_1(db);
}

static void a_store_of_an_older_vmctl_is_migrated_by_whoever_comes_first(void **state)
{
	static const enum vm_root_mode modes[] = {VM_ROOT_READ, VM_ROOT_CHANGE, VM_ROOT_CREATE};
	struct fixture *f = *state;

	for (size_t i = 0; i < VM_ARRAY_LEN(modes); i++) {
		struct vm_instance *rows = NULL;
		struct vm_root root;
		struct vm_err err;
		size_t count = 0;

		make_old_root(f);
		if (open_root(f, modes[i], &root, &err) < 0)
			fail_msg("%s", err.message);
		assert_false(root.missing);
		assert_int_equal(vm_store_list(root.store, VM_LIST_ALL, &rows, &count, &err), 0);
		assert_int_equal(count, 60);
		vm_instances_free(rows, count);
		/* Who only reads keeps no lock. */
		assert_int_equal(vm_lock_held_mask(),
		                 modes[i] == VM_ROOT_READ ? 0 : 1U << VM_RANK_STORE);
		vm_root_close(&root);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	        TEST(those_who_make_it_at_once_make_one),
	        TEST(who_migrates_the_store_is_waited_for_but_not_by_readers),
	        TEST(nobody_migrates_a_store_that_others_use),
	        TEST(a_store_of_an_older_vmctl_is_migrated_by_whoever_comes_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
