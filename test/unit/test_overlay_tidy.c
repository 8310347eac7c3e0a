/* SPDX-License-Identifier: Apache-2.0 */
/* Disks in layers: checking and tidying them, and what a kill leaves in between. */
#include "overlay_fixture.h"

static void a_broken_chain_is_corrupt_and_says_which_file(void **state)
{
	struct fixture *f = *state;
	struct vm_disk disk = disk_of("root");
	char a[VM_LAYER_NAME_SIZE], b[VM_LAYER_NAME_SIZE];

	make(f->from, layer_name('a', a), NULL);
	make(f->from, layer_name('b', b), a);
	make(f->from, "disk-root.img", b);
	check(f->from, &disk);
	assert_int_equal(renameat(f->from, a, f->from, "elsewhere"), 0);
	assert_check_fails(f->from, &disk, VM_ERR_CORRUPT, a);
	assert_int_equal(symlinkat("elsewhere", f->from, a), 0);
	assert_check_fails(f->from, &disk, VM_ERR_CORRUPT, a);
	assert_int_equal(unlinkat(f->from, a, 0), 0);
	write_text(f->from, a, "QFI");
	assert_check_fails(f->from, &disk, VM_ERR_CORRUPT, a);
	assert_int_equal(unlinkat(f->from, a, 0), 0);
	make(f->from, a, b);
	assert_check_fails(f->from, &disk, VM_ERR_CORRUPT, "lies on itself");
	assert_int_equal(unlinkat(f->from, a, 0), 0);
	assert_int_equal(linkat(f->from, "disk-root.img", f->from, a, 0), 0);
	assert_check_fails(f->from, &disk, VM_ERR_CORRUPT, "lies on itself");
	assert_int_equal(unlinkat(f->from, "disk-root.img", 0), 0);
	assert_check_fails(f->from, &disk, VM_ERR_SYSTEM, "disk-root.img");
}

static void a_disk_of_another_size_than_recorded_is_corrupt(void **state)
{
	struct fixture *f = *state;
	struct vm_disk disk = disk_of("root");

	make(f->from, "disk-root.img", NULL);
	disk.size_bytes = DISK_BYTES + 512;
	assert_check_fails(f->from, &disk, VM_ERR_CORRUPT, "disk-root.img is a disk of 67108864");
	disk.size_bytes = 0; /* nothing is recorded */
	check(f->from, &disk);
	/* Also one that is only read. */
	disk = disk_of("root");
	disk.read_only = true;
	check(f->from, &disk);
}

static void there_is_an_end_to_layers_and_it_is_told_before_it_hurts(void **state)
{
	struct fixture *f = *state;
	struct vm_disk disk = disk_of("root");
	struct vm_spec spec = spec_of(&disk, NULL);
	unsigned layers = VM_QCOW2_LAYERS_MAX - 3;
	struct vm_frozen frozen, last = {0};
	struct vm_err err = {0};

	make_chain(f->from, layers);
	touch(f->from, "disk-root.img");
	while (vm_overlay_freeze(f->from, &spec, true, &frozen, &err) == 0) {
		assert_true(++layers <= VM_QCOW2_LAYERS_MAX);
		check(f->from, &disk);
		touch(f->from, "disk-root.img");
		last = frozen;
	}
	assert_in_range(layers, VM_QCOW2_LAYERS_MAX - 2, VM_QCOW2_LAYERS_MAX);
	assert_no_freeze(f->from, &spec, true, VM_ERR_UNSUPPORTED, &err);
	assert_non_null(strstr(err.message, "disk-root.img lies on "));
	assert_string_not_equal(err.hint, "");
	check(f->from, &disk);
	err = (struct vm_err){0};
	assert_int_equal(vm_overlay_share(f->from, last.layer[0], f->to, &disk, &err), 0);
	check(f->to, &disk);
	tidy(f->to, &disk);
}

static void tidying_takes_away_only_what_the_disk_does_not_lie_on(void **state)
{
	static const char *const others[] = {"disk-root2.img",
	                                     "disk-root2.img.new",
	                                     "disk-root2." ID "1.layer",
	                                     "disk-roo." ID "1.layer",
	                                     "disk-root." ID ".layer",
	                                     "disk-root." ID "12.layer",
	                                     "disk-root." ID "1.layer.new",
	                                     "disk-root.img.bak",
	                                     "memory",
	                                     ("." ID)};
	struct fixture *f = *state;
	struct vm_disk disk = disk_of("root");
	char a[VM_LAYER_NAME_SIZE], b[VM_LAYER_NAME_SIZE], active[VM_LAYER_NAME_SIZE], stray[256];
	struct listing before;
	struct vm_err err = {0};

	make(f->from, layer_name('a', a), NULL);
	make(f->from, layer_name('b', b), a);
	make(f->from, "disk-root.img", b);
	assert_int_equal(vm_overlay_name(f->from, &disk, active, &err), 0);
	for (size_t i = 0; i < VM_ARRAY_LEN(others); i++)
		write_text(f->from, others[i], "of somebody else");
	before = listing(f->from);
	tidy(f->from, &disk);
	assert_same(f->from, &before);
	write_text(f->from, layer_name('x', stray), "cut short");
	make(f->from, layer_name('y', stray), b);
	assert_int_equal(linkat(f->from, stray, f->from, FRESH, 0), 0);
	tidy(f->from, &disk);
	assert_same(f->from, &before);
	/* Of a chain that cannot be followed everything may be needed. */
	assert_int_equal(unlinkat(f->from, b, 0), 0);
	write_text(f->from, layer_name('x', stray), "");
	assert_int_equal(vm_overlay_tidy(f->from, &disk, &err), -1);
	assert_int_equal(err.code, VM_ERR_CORRUPT);
	assert_true(vm_fs_exists(f->from, a) && vm_fs_exists(f->from, stray));
}

static void the_longest_chain_can_be_tidied(void **state)
{
	struct fixture *f = *state;
	struct vm_disk disk = disk_of("root");
	char stray[VM_LAYER_NAME_SIZE];

	make_chain(f->from, VM_QCOW2_LAYERS_MAX);
	make(f->from, layer_name('x', stray), NULL);
	tidy(f->from, &disk);
	/* The disk, its layers, and the name that it has got. */
	assert_int_equal(count_entries(f->from), VM_QCOW2_LAYERS_MAX + 2);
	assert_false(vm_fs_exists(f->from, stray));
}

/* What a kill leaves after so many steps of freezing; see vm_overlay_put(). */
enum kill_after { NOTHING, NAMED, EMPTY, MADE, LINKED, RENAMED, KILLS };

static void leave(int dir_fd, const struct vm_disk *disk, enum kill_after step)
{
	char frozen[VM_LAYER_NAME_SIZE], fresh[VM_LAYER_NAME_SIZE];
	struct vm_err err = {0};

	if (step >= NAMED)
		assert_int_equal(vm_overlay_name(dir_fd, disk, frozen, &err), 0);
	layer_name('n', fresh);
	if (step == EMPTY)
		write_text(dir_fd, fresh, "");
	if (step >= MADE)
		make(dir_fd, fresh, frozen);
	if (step >= LINKED)
		assert_int_equal(linkat(dir_fd, fresh, dir_fd, FRESH, 0), 0);
	if (step >= RENAMED)
		assert_int_equal(renameat(dir_fd, FRESH, dir_fd, "disk-root.img"), 0);
}

static void empty(struct fixture *f)
{
	struct vm_err err = {0};

	assert_int_equal(vm_fs_remove_tree(f->dir.fd, "from", &err), 0);
	close(f->from);
	f->from = vm_fs_make_dir(f->dir.fd, "from", &err);
	assert_true(f->from >= 0);
}

static void after_a_kill_at_any_step_the_next_one_finds_all_in_order(void **state)
{
	struct fixture *f = *state;
	struct vm_disk disk = disk_of("root");
	struct vm_spec spec = spec_of(&disk, NULL);

	for (int i = 0; i < 2 * KILLS; i++) {
		enum kill_after step = (enum kill_after)(i / 2);
		bool tidied = i % 2;
		struct vm_frozen frozen;
		ino_t was;

		make(f->from, "disk-root.img", NULL);
		touch(f->from, "disk-root.img");
		was = stat_of(f->from, "disk-root.img").st_ino;
		leave(f->from, &disk, step);
		check(f->from, &disk);
		if (tidied) {
			tidy(f->from, &disk);
			/* The disk's name, and what it lies on if the rename was reached. */
			assert_int_equal(count_entries(f->from), step == RENAMED ? 3 : 2);
		}
		freeze(f->from, &spec, true, &frozen);
		assert_true(stat_of(f->from, frozen.layer[0]).st_ino == was);
		assert_true(info_of(f->from, "disk-root.img").untouched);
		assert_false(vm_fs_exists(f->from, FRESH) && step == RENAMED);
		tidy(f->from, &disk);
		assert_int_equal(count_entries(f->from), 3);
		empty(f);
	}
}

/* Writes and freezes until it is killed. */
static int freeze_for_ever(void *arg)
{
	const struct fixture *f = arg;
	struct vm_disk disk = disk_of("root");
	struct vm_spec spec = spec_of(&disk, NULL);
	struct vm_frozen frozen;
	struct vm_err err = {0};

	for (;;) {
		touch(f->from, "disk-root.img");
		if (vm_overlay_freeze(f->from, &spec, true, &frozen, &err) < 0)
			return err.code == VM_ERR_UNSUPPORTED ? 0 : 1; /* so many layers */
	}
}

static void a_kill_at_any_moment_leaves_a_disk_that_is_whole(void **state)
{
	struct fixture *f = *state;
	struct vm_disk disk = disk_of("root");
	struct vm_spec spec = spec_of(&disk, NULL);

	for (long us = 0; us < 20000; us += 500) {
		struct vm_frozen frozen;
		struct vm_err err = {0};
		pid_t pid;

		make(f->from, "disk-root.img", NULL);
		pid = spawn(freeze_for_ever, f);
		nap_us(us);
		kill_and_reap(pid);
		check(f->from, &disk);
		if (us % 1000)
			tidy(f->from, &disk);
		touch(f->from, "disk-root.img");
		if (vm_overlay_freeze(f->from, &spec, true, &frozen, &err) < 0)
			assert_int_equal(err.code, VM_ERR_UNSUPPORTED);
		tidy(f->from, &disk);
		assert_false(vm_fs_exists(f->from, FRESH));
		empty(f);
	}
}

struct job {
	int dir_fd;
	char *line;
};

static int run_shell(void *arg)
{
	const struct job *job = arg;

	return fchdir(job->dir_fd) < 0 ? 126
	                               : execl("/bin/sh", "sh", "-c", job->line, (char *)NULL);
}

/* What qemu-io says of a disk, if it is there. */
static void qemu_io(const char *options, int dir_fd, const char *commands)
{
	VM_AUTO_FREE char *line = vm_strf(
	        NULL, "exec qemu-io %s -f qcow2 %s disk-root.img >/dev/null", options, commands);
	struct job job = {dir_fd, line};
	int status = reap(spawn(run_shell, &job));

	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		skip();
	if (status != 0)
		fail_msg("%s: %d", line, status);
}

static void what_was_written_before_the_fork_is_seen_by_both_and_later_writes_by_one(void **state)
{
	struct fixture *f = *state;
	struct vm_disk disk = disk_of("root");
	struct vm_spec spec = spec_of(&disk, NULL);
	struct vm_frozen frozen;
	struct vm_err err = {0};

	make(f->from, "disk-root.img", NULL);
	qemu_io("", f->from, "-c 'write -P 1 0 2M'");
	freeze(f->from, &spec, true, &frozen);
	qemu_io("", f->from, "-c 'write -P 2 64k 64k'");
	assert_false(info_of(f->from, "disk-root.img").untouched);
	freeze(f->from, &spec, true, &frozen);
	assert_int_equal(vm_overlay_share(f->from, frozen.layer[0], f->to, &disk, &err), 0);
	qemu_io("", f->from, "-c 'write -P 3 1M 64k'");
	qemu_io("", f->to, "-c 'write -P 4 1M 64k'");
	qemu_io("-r", f->from, "-c 'read -P 1 0 64k' -c 'read -P 2 64k 64k' -c 'read -P 3 1M 64k'");
	qemu_io("-r", f->to, "-c 'read -P 1 0 64k' -c 'read -P 2 64k 64k' -c 'read -P 4 1M 64k'");
	tidy(f->from, &disk);
	tidy(f->to, &disk);
	qemu_io("-r", f->from, "-c 'read -P 1 0 64k' -c 'read -P 3 1M 64k' -c 'read -P 0 2M 62M'");
	qemu_io("-r", f->to, "-c 'read -P 1 0 64k' -c 'read -P 4 1M 64k' -c 'read -P 0 2M 62M'");
}

/* A limit on the size of files stands for a full disk. */
static int freeze_without_room(void *arg)
{
	const struct fixture *f = arg;
	const struct rlimit limit = {65536, 65536};
	struct vm_disk disk = disk_of("root");
	struct vm_spec spec = spec_of(&disk, NULL);
	struct vm_frozen frozen;
	struct vm_err err = {0};

	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &limit);
	return vm_overlay_freeze(f->from, &spec, true, &frozen, &err) == 0 || !err.message[0];
}

static void without_room_for_a_layer_the_disk_stays_as_it_was(void **state)
{
	struct fixture *f = *state;
	struct vm_disk disk = disk_of("root");
	ino_t was;

	make(f->from, "disk-root.img", NULL);
	was = stat_of(f->from, "disk-root.img").st_ino;
	assert_exits(spawn(freeze_without_room, f), 0);
	assert_true(stat_of(f->from, "disk-root.img").st_ino == was);
	assert_int_equal(count_entries(f->from), 2); /* it has got its name */
	check(f->from, &disk);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	        TEST(a_broken_chain_is_corrupt_and_says_which_file),
	        TEST(a_disk_of_another_size_than_recorded_is_corrupt),
	        TEST(there_is_an_end_to_layers_and_it_is_told_before_it_hurts),
	        TEST(tidying_takes_away_only_what_the_disk_does_not_lie_on),
	        TEST(the_longest_chain_can_be_tidied),
	        TEST(after_a_kill_at_any_step_the_next_one_finds_all_in_order),
	        TEST(a_kill_at_any_moment_leaves_a_disk_that_is_whole),
	        TEST(what_was_written_before_the_fork_is_seen_by_both_and_later_writes_by_one),
	        TEST(without_room_for_a_layer_the_disk_stays_as_it_was),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
