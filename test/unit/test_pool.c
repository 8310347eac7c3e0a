/* SPDX-License-Identifier: Apache-2.0 */
/* The pool of memory files: what goes in, what comes out, and each to one only. */
#include "root_fixture.h"

#include "pool.h"

enum {
	SIZE = 256 * 1024,
	TWICE = 2 * SIZE,
	FILES = 8,
	ROOM = FILES * SIZE,
	TOO_LARGE = ROOM + SIZE,
	TAKERS = 16,
};

struct site {
	struct fixture *f;
	struct vm_root root;
	int dir; /* of an instance */
};

static void open_site(void **state, struct site *ret)
{
	struct vm_err err;

	ret->f = *state;
	assert_int_equal(open_root(ret->f, VM_ROOT_CREATE, &ret->root, &err), 0);
	/* Wherever the tests run. */
	ret->root.config.memory_diff = VM_MEMORY_DIFF_OFF;
	ret->root.config.min_free_disk_bytes = 0;
	ret->root.config.memory_pool_max_bytes = ROOM;
	ret->dir = vm_fs_make_dir(ret->root.guests_fd, "instance", &err);
	assert_true(ret->dir >= 0);
}

static void close_site(struct site *site)
{
	close(site->dir);
	vm_root_close(&site->root);
}

static void make(const struct site *site, const char *name, size_t size, bool allocated)
{
	VM_AUTO_CLOSE int fd = openat(site->dir, name, O_WRONLY | O_CREAT | O_EXCL, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	if (allocated)
		assert_int_equal(posix_fallocate(fd, 0, (off_t)size), 0);
}

static int count(const struct site *site)
{
	DIR *list = fdopendir(openat(site->root.fd, "pool", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	int n = 0;

	while (list && readdir(list))
		n++;
	if (list)
		closedir(list);
	return list ? n - 2 : 0;
}

static void put(const struct site *site, const char *name)
{
	struct vm_err err = {0};

	if (vm_pool_put(&site->root, site->dir, name, &err) < 0)
		fail_msg("%s", err.message);
	assert_false(vm_fs_exists(site->dir, name));
}

static void what_has_lost_its_last_link_comes_out_again(void **state)
{
	struct site site;
	struct stat before, after;

	open_site(state, &site);
	assert_false(vm_pool_take(&site.root, SIZE, site.dir, "new"));
	make(&site, "memory", SIZE, true);
	assert_int_equal(fstatat(site.dir, "memory", &before, 0), 0);
	put(&site, "memory");
	assert_int_equal(count(&site), 1);
	assert_false(vm_pool_take(&site.root, TWICE, site.dir, "new"));
	assert_true(vm_pool_take(&site.root, SIZE, site.dir, "new"));
	assert_int_equal(fstatat(site.dir, "new", &after, 0), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_int_equal(count(&site), 0);
	put(&site, "no such file");
	close_site(&site);
}

static void what_would_not_do_is_removed(void **state)
{
	struct site site;

	open_site(state, &site);
	make(&site, "holes", SIZE, false);
	put(&site, "holes");
	make(&site, "empty", 0, false);
	put(&site, "empty");
	make(&site, "large", TOO_LARGE, true);
	put(&site, "large");
	/* Somebody else has it: it stays theirs. */
	make(&site, "linked", SIZE, true);
	assert_int_equal(linkat(site.dir, "linked", site.dir, "theirs", 0), 0);
	put(&site, "linked");
	assert_true(vm_fs_exists(site.dir, "theirs"));
	/* A link to something is not something. */
	assert_int_equal(symlinkat("theirs", site.dir, "symlink"), 0);
	put(&site, "symlink");
	site.root.config.min_free_disk_bytes = UINT64_MAX / 2;
	make(&site, "short", SIZE, true);
	put(&site, "short");
	site.root.config.min_free_disk_bytes = 0;
	site.root.config.memory_pool_max_bytes = 0;
	make(&site, "off", SIZE, true);
	put(&site, "off");
	assert_int_equal(count(&site), 0);
	close_site(&site);
}

static void an_offer_that_is_not_wanted_stays(void **state)
{
	struct site site;

	open_site(state, &site);
	make(&site, "memory", SIZE, false);
	assert_false(vm_pool_offer(&site.root, site.dir, "memory"));
	assert_true(vm_fs_exists(site.dir, "memory"));
	assert_false(vm_pool_offer(&site.root, site.dir, "nothing"));
	close_site(&site);
}

static void it_is_as_large_as_it_may_be_and_other_sizes_make_room(void **state)
{
	struct site site;

	open_site(state, &site);
	for (int i = 0; i < FILES + 2; i++) {
		make(&site, "memory", SIZE, true);
		put(&site, "memory");
		assert_int_equal(count(&site), i < FILES ? i + 1 : FILES);
	}
	make(&site, "memory", TWICE, true);
	put(&site, "memory");
	assert_int_equal(count(&site), FILES - 2 + 1);
	assert_int_equal(vm_pool_empty(&site.root), ROOM);
	assert_int_equal(count(&site), 0);
	assert_int_equal(vm_pool_empty(&site.root), 0);
	close_site(&site);
}

static int take_one(void *arg)
{
	const struct site *site = arg;
	char name[32];

	snprintf(name, sizeof(name), "taken-%d", (int)getpid());
	return vm_pool_take(&site->root, SIZE, site->dir, name) ? 0 : 1;
}

static void a_file_is_taken_by_one_only(void **state)
{
	struct site site;
	pid_t pids[TAKERS];
	int status, taken = 0;

	open_site(state, &site);
	for (int i = 0; i < FILES; i++) {
		make(&site, "memory", SIZE, true);
		put(&site, "memory");
	}
	for (int i = 0; i < TAKERS; i++)
		pids[i] = spawn(take_one, &site);
	for (int i = 0; i < TAKERS; i++) {
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_true(WIFEXITED(status));
		taken += WEXITSTATUS(status) == 0;
	}
	assert_int_equal(taken, FILES);
	assert_int_equal(count(&site), 0);
	close_site(&site);
}

static int note_stray(void *ctx, int dir_fd, const char *name, struct vm_err *err)
{
	char *seen = ctx;

	(void)dir_fd;
	(void)err;
	snprintf(seen, 64, "%s", name);
	return 0;
}

static void strays_are_what_is_no_file_of_the_pools(void **state)
{
	struct vm_err err = {0};
	char seen[64] = "";
	struct site site;
	int fd;

	open_site(state, &site);
	assert_int_equal(vm_pool_each_stray(&site.root, note_stray, seen, &err), 0);
	make(&site, "memory", SIZE, true);
	put(&site, "memory");
	assert_int_equal(vm_pool_each_stray(&site.root, note_stray, seen, &err), 0);
	assert_string_equal(seen, "");
	fd = openat(site.root.fd, "pool/stray", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(vm_pool_each_stray(&site.root, note_stray, seen, &err), 0);
	assert_string_equal(seen, "stray");
	close_site(&site);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	        TEST(what_has_lost_its_last_link_comes_out_again),
	        TEST(what_would_not_do_is_removed),
	        TEST(an_offer_that_is_not_wanted_stays),
	        TEST(it_is_as_large_as_it_may_be_and_other_sizes_make_room),
	        TEST(a_file_is_taken_by_one_only),
	        TEST(strays_are_what_is_no_file_of_the_pools),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
