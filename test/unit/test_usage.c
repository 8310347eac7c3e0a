/* SPDX-License-Identifier: Apache-2.0 */
#include "fs_fixture.h"

#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

#include <linux/fs.h>

#include "usage.h"

static int put_file(int dir, const char *name, off_t at, size_t len)
{
	int fd = openat(dir, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char *data = malloc(len + 1);

	assert_true(fd >= 0);
	if (!data)
		fail();
	else
		memset(data, 'x', len);
	assert_int_equal(pwrite(fd, data, len, at), len);
	assert_int_equal(fsync(fd), 0); /* until then there may be no blocks to count */
	free(data);
	return fd;
}

static struct vm_usage usage_of(int dir)
{
	struct vm_usage usage;
	struct vm_err err = {0};

	if (vm_usage_dir(dir, &usage, &err) < 0)
		fail_msg("%s", err.message);
	return usage;
}

static void assert_usage(int dir, uint64_t size, uint64_t exclusive, uint64_t shared)
{
	struct vm_usage usage = usage_of(dir);

	assert_int_equal(usage.size_bytes, size);
	assert_int_equal(usage.exclusive_bytes, exclusive);
	assert_int_equal(usage.shared_bytes, shared);
}

/* --- anywhere ------------------------------------------------------------------------------------
 */

static void holes_take_nothing_of_the_disk(void **state)
{
	struct fixture *f = *state;

	assert_usage(f->shm, 0, 0, 0);
	close(put_file(f->shm, "memory", MIB, BLOCK));
	close(put_file(f->shm, "disk", 0, MIB));
	assert_usage(f->shm, 2UL * MIB + BLOCK, MIB + BLOCK, 0);
}

static void a_second_link_is_shared_until_it_goes(void **state)
{
	struct fixture *f = *state;
	struct vm_err err = {0};
	int other = vm_fs_make_dir(f->shm, "other", &err);

	close(put_file(f->shm, "memory", 0, MIB));
	close(put_file(f->shm, "disk", 0, BLOCK));
	assert_int_equal(linkat(f->shm, "memory", other, "memory", 0), 0);
	assert_usage(f->shm, MIB + BLOCK, BLOCK, MIB);
	assert_usage(other, MIB, 0, MIB);
	assert_int_equal(unlinkat(f->shm, "memory", 0), 0);
	assert_usage(other, MIB, MIB, 0);
	close(other);
}

static void what_is_no_file_does_not_count(void **state)
{
	struct fixture *f = *state;

	close(put_file(f->dir.fd, "big", 0, MIB));
	assert_int_equal(symlinkat("../big", f->to, "link"), 0);
	assert_int_equal(mkfifoat(f->to, "pipe", 0600), 0);
	assert_int_equal(mkdirat(f->to, "directory", 0700), 0);
	assert_usage(f->to, 0, 0, 0);
	assert_int_equal(unlinkat(f->to, "directory", AT_REMOVEDIR), 0);
}

/* --- xfs, which shares extents -------------------------------------------------------------------
 */

static int run(const char *command)
{
	return system(command); /* NOLINT(cert-env33-c): a test, and its own words */
}

static int open_at(const char *dir, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

struct sizes {
	uint64_t a_exclusive, a_shared, b_exclusive, b_shared;
	int failed_at;
};

struct job {
	struct fixture *f;
	struct sizes *seen; /* shared with the parent, who judges them */
};

static int fail_at(struct job *job, int line)
{
	job->seen->failed_at = line;
	return 1;
}

/*
 * In a process with mounts of its own: they go when it ends, however it ends. Makes directories "a"
 * and "b" of an xfs.
 */
static bool mount_xfs(struct job *job, int *ret_a, int *ret_b)
{
	const char *dir = job->f->dir.path;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    setenv("DIR", dir, 1) < 0 ||
	    run("truncate -s 400M $DIR/image && mkfs.xfs -q -m reflink=1 $DIR/image &&"
	        " mount -o loop $DIR/image $DIR/from && mkdir $DIR/from/a $DIR/from/b") != 0)
		return false;
	*ret_a = open_at(dir, "from/a");
	*ret_b = open_at(dir, "from/b");
	return *ret_a >= 0 && *ret_b >= 0;
}

/* "a" has a disk of 4 MiB; "b" a clone of it, a MiB of that written anew, and a file of its own. */
static int share_extents(void *arg)
{
	struct job *job = arg;
	struct vm_usage usage_a, usage_b;
	struct vm_err err = {0};
	int a, b, disk, clone;

	if (!mount_xfs(job, &a, &b))
		return fail_at(job, __LINE__);
	disk = put_file(a, "disk", 0, 4UL * MIB);
	clone = openat(b, "disk", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (ioctl(clone, FICLONE, disk) < 0)
		return fail_at(job, __LINE__);
	close(put_file(b, "disk", MIB, MIB));
	close(put_file(b, "memory", 0, 2UL * MIB));
	if (vm_usage_dir(a, &usage_a, &err) < 0 || vm_usage_dir(b, &usage_b, &err) < 0)
		return fail_at(job, __LINE__);
	job->seen->a_exclusive = usage_a.exclusive_bytes;
	job->seen->a_shared = usage_a.shared_bytes;
	job->seen->b_exclusive = usage_b.exclusive_bytes;
	job->seen->b_shared = usage_b.shared_bytes;
	return 0;
}

static bool can_mount_xfs(void)
{
	return geteuid() == 0 && run("command -v mkfs.xfs >/dev/null") == 0;
}

static void extents_that_a_fork_shares_are_not_its_own(void **state)
{
	struct job job = {.f = *state, .seen = shared_memory(sizeof(struct sizes))};
	const char *ci = getenv("CI");
	int status;

	if (!can_mount_xfs() && !(ci && strcmp(ci, "true") == 0))
		skip();
	status = reap(spawn(share_extents, &job));
	if (status != 0)
		fail_msg("test_usage.c:%d", job.seen->failed_at);
	/* What "b" wrote anew is no longer shared, on either side. */
	assert_int_equal(job.seen->a_shared, 3 * MIB);
	assert_int_equal(job.seen->a_exclusive, MIB);
	assert_int_equal(job.seen->b_shared, 3 * MIB);
	/* xfs may keep more than that for what might come next. */
	assert_in_range(job.seen->b_exclusive, 3 * MIB, 4 * MIB);
	munmap(job.seen, sizeof(struct sizes));
}

/* More extents than one question to the kernel answers. */
static int share_many(void *arg)
{
	struct job *job = arg;
	struct vm_usage usage;
	struct vm_err err = {0};
	int a, b, disk, clone;

	if (!mount_xfs(job, &a, &b))
		return fail_at(job, __LINE__);
	disk = openat(a, "disk", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	for (int i = 0; i < 1300; i++) {
		if (pwrite(disk, "x", 1, (off_t)i * 4 * BLOCK) != 1)
			return fail_at(job, __LINE__);
	}
	fsync(disk);
	clone = openat(b, "disk", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (ioctl(clone, FICLONE, disk) < 0 || vm_usage_dir(b, &usage, &err) < 0)
		return fail_at(job, __LINE__);
	job->seen->b_shared = usage.shared_bytes;
	job->seen->b_exclusive = usage.exclusive_bytes;
	return 0;
}

static void any_number_of_extents_is_added_up(void **state)
{
	struct job job = {.f = *state, .seen = shared_memory(sizeof(struct sizes))};
	const char *ci = getenv("CI");

	if (!can_mount_xfs() && !(ci && strcmp(ci, "true") == 0))
		skip();
	if (reap(spawn(share_many, &job)) != 0)
		fail_msg("test_usage.c:%d", job.seen->failed_at);
	assert_int_equal(job.seen->b_shared, 1300 * BLOCK);
	munmap(job.seen, sizeof(struct sizes));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	        TEST(holes_take_nothing_of_the_disk),
	        TEST(a_second_link_is_shared_until_it_goes),
	        TEST(what_is_no_file_does_not_count),
	        TEST(extents_that_a_fork_shares_are_not_its_own),
	        TEST(any_number_of_extents_is_added_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
