/* SPDX-License-Identifier: Apache-2.0 */
/* Aliases: what is put back after a kill, what is not touched, and who waits meanwhile. */
#include "site.h"

#include "alias.h"

/* An instance whose saved state names "recorded", or another directory, beside the data root. */
struct aliased {
	struct site *site;
	struct vm_instance row;
	struct vm_alias alias;
	char path[128], name[VM_ALIAS_NAME_SIZE];
	int dir_fd;
};

static void aliased_make(struct site *site, const char *recorded, struct aliased *ret)
{
	*ret = (struct aliased){.site = site, .alias = VM_ALIAS_INIT};
	site_make(site, "web", VM_STATE_STANDBY);
	site_op(site, "restore");
	assert_int_equal(vm_store_find(site->root.store, "web", &ret->row, &site->err), 0);
	snprintf(ret->path, sizeof(ret->path), "%s/%s", site->dir.path, recorded);
	ret->row.alias_path = strdup(ret->path);
	assert_non_null(ret->row.alias_path);
	ret->dir_fd = site_dir(site, "web");
	assert_int_equal(vm_alias_prepare(&site->op, &ret->row, ret->dir_fd, VM_ALIAS_SYMLINK,
	                                  "/usr/bin/vmm", &ret->alias, &site->err),
	                 0);
	vm_alias_name(ret->alias.path, ret->name);
}

static void aliased_free(struct aliased *aliased)
{
	vm_alias_release(&aliased->alias);
	vm_instance_free(&aliased->row);
	close(aliased->dir_fd);
}

static bool there(const struct aliased *aliased, const char *name)
{
	return vm_fs_exists(aliased->site->dir.fd, name);
}

static int repair(struct aliased *aliased)
{
	vm_err_clear(&aliased->site->err);
	return vm_alias_repair(&aliased->site->root, aliased->name, &aliased->site->err);
}

static ino_t inode_of(const struct aliased *aliased, int flags)
{
	struct stat st;

	assert_int_equal(fstatat(AT_FDCWD, aliased->path, &st, flags), 0);
	return st.st_ino;
}

static void what_a_kill_has_left_is_put_back(void **state)
{
	struct site *site = *state;
	struct aliased web;
	char aside[64];
	struct stat own;
	ino_t before;

	aliased_make(site, "recorded", &web);
	assert_int_equal(mkdirat(site->dir.fd, "recorded", 0755), 0);
	before = inode_of(&web, AT_SYMLINK_NOFOLLOW);
	assert_int_equal(vm_alias_swap(&web.alias, &site->err), 0);
	assert_int_equal(fstat(web.dir_fd, &own), 0);
	assert_true(inode_of(&web, 0) == own.st_ino);
	snprintf(aside, sizeof(aside), ".vmctl-%s", web.row.id);
	assert_true(there(&web, aside));
	assert_true(vm_alias_is_left(&site->root, web.name));
	for (int i = 0; i < 2; i++) {
		assert_int_equal(repair(&web), 0);
		assert_true(inode_of(&web, AT_SYMLINK_NOFOLLOW) == before);
		assert_false(there(&web, aside));
		assert_false(vm_alias_is_left(&site->root, web.name));
	}
	assert_int_equal(unlinkat(site->dir.fd, "recorded", AT_REMOVEDIR), 0);
	aliased_free(&web);
}

static void what_has_come_in_its_place_is_not_touched(void **state)
{
	struct site *site = *state;
	struct aliased web;
	ino_t other;

	aliased_make(site, "recorded", &web);
	assert_int_equal(mkdirat(site->dir.fd, "recorded", 0755), 0);
	assert_int_equal(vm_alias_swap(&web.alias, &site->err), 0);
	assert_int_equal(unlinkat(site->dir.fd, "recorded", 0), 0);
	assert_int_equal(symlinkat("elsewhere", site->dir.fd, "recorded"), 0);
	other = inode_of(&web, AT_SYMLINK_NOFOLLOW);
	assert_int_equal(repair(&web), -1);
	assert_int_equal(site->err.code, VM_ERR_NEEDS_REPAIR);
	assert_non_null(strstr(site->err.message, web.path));
	assert_true(inode_of(&web, AT_SYMLINK_NOFOLLOW) == other);
	/* Once it is gone the directory comes back. */
	assert_int_equal(unlinkat(site->dir.fd, "recorded", 0), 0);
	assert_int_equal(repair(&web), 0);
	assert_int_equal(unlinkat(site->dir.fd, "recorded", AT_REMOVEDIR), 0);
	aliased_free(&web);
}

static void only_directories_that_were_made_are_removed(void **state)
{
	struct site *site = *state;
	struct aliased web;

	aliased_make(site, "a/b/recorded", &web);
	assert_int_equal(mkdirat(site->dir.fd, "a", 0755), 0);
	assert_int_equal(vm_alias_swap(&web.alias, &site->err), 0);
	assert_int_equal(repair(&web), 0);
	assert_false(there(&web, "a/b"));
	assert_true(there(&web, "a"));
	/* Somebody has put a file there meanwhile. */
	assert_int_equal(vm_alias_swap(&web.alias, &site->err), 0);
	site_write(site->dir.fd, "a/b/file", 1);
	assert_int_equal(repair(&web), 0);
	assert_true(there(&web, "a/b/file"));
	assert_false(there(&web, "a/b/recorded"));
	/* Killed while they were removed. */
	assert_int_equal(unlinkat(site->dir.fd, "a/b/file", 0), 0);
	assert_int_equal(unlinkat(site->dir.fd, "a/b", AT_REMOVEDIR), 0);
	assert_int_equal(vm_alias_swap(&web.alias, &site->err), 0);
	assert_int_equal(unlinkat(site->dir.fd, "a/b/recorded", 0), 0);
	assert_int_equal(unlinkat(site->dir.fd, "a/b", AT_REMOVEDIR), 0);
	assert_int_equal(repair(&web), 0);
	assert_false(vm_alias_is_left(&site->root, web.name));
	assert_int_equal(unlinkat(site->dir.fd, "a", AT_REMOVEDIR), 0);
	aliased_free(&web);
}

static void a_damaged_journal_is_told(void **state)
{
	struct site *site = *state;
	struct aliased web;

	aliased_make(site, "recorded", &web);
	site_write(site->root.run_fd, web.name, 100);
	assert_int_equal(repair(&web), -1);
	assert_int_equal(site->err.code, VM_ERR_CORRUPT);
	assert_non_null(strstr(site->err.message, web.name));
	assert_int_equal(unlinkat(site->root.run_fd, web.name, 0), 0);
	aliased_free(&web);
}

static atomic_int *renamed; /* shared with the reader */

static int open_src(struct site *site, const void *id)
{
	struct vm_err err = {0};
	int fd;

	while (!atomic_load(renamed))
		nap_us(1000);
	fd = vm_alias_open_dir(&site->root, VM_KIND_INSTANCE, id, &err);
	return fd < 0 || close(fd) != 0;
}

/* Who reads an instance whose directory is renamed away waits for whoever has done it. */
static void readers_wait_for_the_end_of_a_load(void **state)
{
	struct site *site = *state;
	struct vm_lock lock = VM_LOCK_INIT;
	char path[128], name[VM_ALIAS_NAME_SIZE];
	struct vm_instance src;
	struct stat st;
	pid_t reader;

	site_make(site, "src", VM_STATE_STOPPED);
	assert_int_equal(vm_store_find(site->root.store, "src", &src, &site->err), 0);
	snprintf(path, sizeof(path), "%s/guests/%s", site->root_path, src.id);
	renamed = shared_memory(sizeof(*renamed));
	reader = site_spawn(site, open_src, src.id);
	site_reopen(site);
	assert_int_equal(
	        vm_alias_try_lock(&site->root, vm_alias_name(path, name), &lock, &site->err), 1);
	assert_int_equal(renameat(site->root.guests_fd, src.id, site->root.guests_fd, "away"), 0);
	assert_int_equal(symlinkat("/nowhere", site->root.guests_fd, src.id), 0);
	assert_int_equal(fstatat(site->root.locks_fd, name, &st, 0), 0);
	atomic_store(renamed, 1);
	for (int64_t until = patience(); count_waiters(st.st_ino) == 0;) {
		assert_true(vm_monotonic_ms() < until);
		nap_us(1000);
	}
	assert_int_equal(unlinkat(site->root.guests_fd, src.id, 0), 0);
	assert_int_equal(renameat(site->root.guests_fd, "away", site->root.guests_fd, src.id), 0);
	vm_alias_unlock(&site->root, name, &lock);
	assert_exits(reader, 0);
	/* He has let go of it, and nothing of the lock is left. */
	assert_int_equal(vm_alias_try_lock(&site->root, name, &lock, &site->err), 1);
	vm_alias_unlock(&site->root, name, &lock);
	assert_false(vm_fs_exists(site->root.locks_fd, name));
	vm_instance_free(&src);
}

static void a_view_is_planned_by_what_is_there(void **state)
{
	struct site *site = *state;
	struct vm_view view = {0};
	char path[160];

	assert_int_equal(vm_view_plan(site->dir.path, "/own", "/usr/bin/vmm", &view, &site->err),
	                 0);
	assert_null(view.ground);
	vm_view_free(&view);
	snprintf(path, sizeof(path), "%s/a/b", site->dir.path);
	assert_int_equal(vm_view_plan(path, "/own", "/usr/bin/vmm", &view, &site->err), 0);
	assert_string_equal(view.ground, site->dir.path);
	assert_int_equal(view.directory_count, 2);
	assert_string_equal(view.directories[0], "/own/a");
	assert_string_equal(view.directories[1], "/own/a/b");
	assert_int_equal(view.entry_count, 0);
	vm_view_free(&view);
	/* The binary would not be found. */
	assert_int_equal(vm_view_plan("/usr/none/b", "/own", "/opt/vmm", &view, &site->err), 0);
	assert_string_equal(view.ground, "/usr");
	assert_true(view.entry_count > 0);
	vm_view_free(&view);
	assert_int_equal(vm_view_plan("/vmctl-none", "/own", "/opt/vmm", &view, &site->err), 0);
	assert_string_equal(view.ground, "/");
	assert_string_equal(view.directories[0], "/own/vmctl-none");
	assert_true(view.entry_count > 0);
	vm_view_free(&view);
	assert_int_equal(vm_view_plan("/etc/passwd", "/own", "/opt/vmm", &view, &site->err), -1);
	assert_int_equal(site->err.code, VM_ERR_UNSUPPORTED);
}

static void a_path_is_below_another_at_a_boundary_only(void **state)
{
	(void)state;
	assert_true(vm_path_is_below("/a/b", "/a"));
	assert_true(vm_path_is_below("/a", "/a"));
	assert_true(vm_path_is_below("/a", "/"));
	assert_false(vm_path_is_below("/ab", "/a"));
	assert_false(vm_path_is_below("/a", "/a/b"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, site_setup, site_teardown)
	const struct CMUnitTest tests[] = {
	        TEST(what_a_kill_has_left_is_put_back),
	        TEST(what_has_come_in_its_place_is_not_touched),
	        TEST(only_directories_that_were_made_are_removed),
	        TEST(a_damaged_journal_is_told),
	        TEST(readers_wait_for_the_end_of_a_load),
	        TEST(a_view_is_planned_by_what_is_there),
	        cmocka_unit_test(a_path_is_below_another_at_a_boundary_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
