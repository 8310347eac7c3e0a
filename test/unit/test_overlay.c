/* SPDX-License-Identifier: Apache-2.0 */
/* Disks in layers: what freezing adds, and what a fork shares with its source. */
#include "overlay_fixture.h"

static void a_fresh_disk_gets_an_empty_layer_on_what_it_was(void **state)
{
	struct fixture *f = *state;
	struct vm_disk disk = disk_of("root");
	struct vm_spec spec = spec_of(&disk, NULL);
	char active[VM_LAYER_NAME_SIZE];
	struct vm_qcow2_info info;
	struct vm_frozen frozen;
	struct vm_err err = {0};
	ino_t was;

	make(f->from, "disk-root.img", NULL);
	was = stat_of(f->from, "disk-root.img").st_ino;
	freeze(f->from, &spec, true, &frozen);
	assert_int_equal(strlen(frozen.layer[0]), strlen("disk-root." ID "X.layer"));
	assert_true(stat_of(f->from, frozen.layer[0]).st_ino == was);
	assert_int_equal(stat_of(f->from, frozen.layer[0]).st_nlink, 1);
	info = info_of(f->from, "disk-root.img");
	assert_true(info.untouched && info.backed && info.size_bytes == DISK_BYTES);
	assert_string_equal(info.backing, frozen.layer[0]);
	assert_string_equal(info.backing_format, "qcow2");
	/* Nothing else is there but the name that the new one will be frozen by. */
	assert_int_equal(count_entries(f->from), 3);
	assert_int_equal(vm_overlay_name(f->from, &disk, active, &err), 0);
	assert_int_equal(count_entries(f->from), 3);
	assert_string_not_equal(active, frozen.layer[0]);
	assert_true(stat_of(f->from, active).st_ino == stat_of(f->from, "disk-root.img").st_ino);
	assert_int_equal(stat_of(f->from, active).st_nlink, 2);
	check(f->from, &disk);
}

static void a_layer_without_writes_is_not_frozen_again(void **state)
{
	struct fixture *f = *state;
	struct vm_disk disk = disk_of("root");
	struct vm_spec spec = spec_of(&disk, NULL);
	struct vm_frozen first, second, third;
	struct listing before;

	make(f->from, "disk-root.img", NULL);
	freeze(f->from, &spec, true, &first);
	before = listing(f->from);
	freeze(f->from, &spec, true, &second);
	freeze(f->from, &spec, false, &third);
	assert_memory_equal(&first, &second, sizeof(first));
	assert_memory_equal(&first, &third, sizeof(first));
	assert_same(f->from, &before);
}

static void a_layer_that_was_written_is_frozen_under_the_name_it_had(void **state)
{
	struct fixture *f = *state;
	struct vm_disk disk = disk_of("root");
	struct vm_spec spec = spec_of(&disk, NULL);
	struct vm_frozen first, second;
	char active[VM_LAYER_NAME_SIZE];
	struct vm_err err = {0};

	make(f->from, "disk-root.img", NULL);
	freeze(f->from, &spec, true, &first);
	assert_int_equal(vm_overlay_name(f->from, &disk, active, &err), 0);
	touch(f->from, "disk-root.img");
	freeze(f->from, &spec, true, &second);
	assert_string_equal(second.layer[0], active);
	assert_string_equal(info_of(f->from, "disk-root.img").backing, active);
	assert_string_equal(info_of(f->from, active).backing, first.layer[0]);
	assert_int_equal(stat_of(f->from, active).st_nlink, 1);
	assert_int_equal(count_entries(f->from), 4);
	check(f->from, &disk);
}

static void a_fork_shares_the_frozen_layers_and_has_its_own_active_one(void **state)
{
	struct fixture *f = *state;
	struct vm_disk disk = disk_of("root");
	struct vm_spec spec = spec_of(&disk, NULL);
	char theirs[VM_LAYER_NAME_SIZE], ours[VM_LAYER_NAME_SIZE];
	struct vm_frozen first, second;
	struct vm_err err = {0};

	make(f->from, "disk-root.img", NULL);
	freeze(f->from, &spec, true, &first);
	touch(f->from, "disk-root.img");
	freeze(f->from, &spec, true, &second);
	if (vm_overlay_share(f->from, second.layer[0], f->to, &disk, &err) < 0)
		fail_msg("%s", err.message);
	for (int i = 0; i < 2; i++) {
		const char *name = i ? second.layer[0] : first.layer[0];

		assert_true(stat_of(f->from, name).st_ino == stat_of(f->to, name).st_ino);
		assert_int_equal(stat_of(f->to, name).st_nlink, 2);
	}
	assert_int_equal(vm_overlay_name(f->from, &disk, ours, &err), 0);
	assert_int_equal(vm_overlay_name(f->to, &disk, theirs, &err), 0);
	assert_string_not_equal(ours, theirs);
	assert_int_equal(stat_of(f->to, theirs).st_nlink, 2);
	assert_int_equal(stat_of(f->to, "disk-root.img").st_nlink, 2);
	assert_string_equal(info_of(f->to, "disk-root.img").backing, second.layer[0]);
	assert_int_equal(count_entries(f->to), 4);
	check(f->to, &disk);
	/* It is a fork's source at once, without a change, and by the same layer. */
	freeze(f->to, &spec, false, &first);
	assert_string_equal(first.layer[0], second.layer[0]);
}

static void a_layer_that_is_gone_is_not_shared(void **state)
{
	struct fixture *f = *state;
	struct vm_disk disk = disk_of("root");
	char a[VM_LAYER_NAME_SIZE], b[VM_LAYER_NAME_SIZE];
	struct vm_err err = {0};

	make(f->from, layer_name('b', b), layer_name('a', a));
	assert_int_equal(vm_overlay_share(f->from, b, f->to, &disk, &err), -1);
	assert_int_equal(err.code, VM_ERR_CORRUPT);
	assert_false(vm_fs_exists(f->to, "disk-root.img"));
}

static void an_image_is_never_changed(void **state)
{
	struct fixture *f = *state;
	struct vm_disk disk = disk_of("root");
	struct vm_spec spec = spec_of(&disk, NULL);
	struct vm_frozen frozen;
	struct vm_err err;

	make(f->from, "disk-root.img", NULL);
	assert_no_freeze(f->from, &spec, false, VM_ERR_CORRUPT, &err);
	assert_non_null(strstr(err.message, "disk 'root' of an image"));
	freeze(f->from, &spec, true, &frozen);
	touch(f->from, "disk-root.img");
	assert_no_freeze(f->from, &spec, false, VM_ERR_CORRUPT, &err);
	check(f->from, &disk);
}

static void what_a_user_has_put_below_a_disk_is_no_frozen_layer(void **state)
{
	static const char *const names[] = {"base", "disk-root.img.layer",
	                                    "disk-data." ID "x.layer", "disk-root." ID "xy.layer"};
	struct fixture *f = *state;
	struct vm_disk disk = disk_of("root");
	struct vm_spec spec = spec_of(&disk, NULL);

	for (size_t i = 0; i < VM_ARRAY_LEN(names); i++) {
		struct vm_frozen frozen;
		struct vm_err err;

		make(f->from, names[i], NULL);
		make(f->from, "disk-root.img", names[i]);
		assert_no_freeze(f->from, &spec, false, VM_ERR_CORRUPT, &err);
		freeze(f->from, &spec, true, &frozen);
		assert_string_not_equal(frozen.layer[0], names[i]);
		assert_string_equal(info_of(f->from, frozen.layer[0]).backing, names[i]);
		check(f->from, &disk);
		assert_int_equal(unlinkat(f->from, "disk-root.img", 0), 0);
	}
}

static void a_disk_that_cannot_be_read_freezes_nothing(void **state)
{
	struct fixture *f = *state;
	struct vm_disk first = disk_of("root"), second = disk_of("data");
	struct vm_spec spec = spec_of(&first, NULL);
	struct vm_err err;

	assert_no_freeze(f->from, &spec, true, VM_ERR_SYSTEM, &err);
	make(f->from, "real", NULL);
	assert_int_equal(symlinkat("real", f->from, "disk-root.img"), 0);
	assert_no_freeze(f->from, &spec, true, VM_ERR_SYSTEM, &err);
	assert_int_equal(unlinkat(f->from, "disk-root.img", 0), 0);
	write_text(f->from, "disk-root.img", "not at all");
	assert_no_freeze(f->from, &spec, true, VM_ERR_CORRUPT, &err);
	/* Of two disks the first one may have got its layer, which changes nothing for anybody. */
	assert_int_equal(unlinkat(f->from, "disk-root.img", 0), 0);
	make(f->from, "disk-root.img", NULL);
	spec = spec_of(&first, &second);
	err = (struct vm_err){0};
	assert_int_equal(vm_overlay_freeze(f->from, &spec, true, &(struct vm_frozen){0}, &err), -1);
	check(f->from, &first);
	assert_no_freeze(f->from, &spec, true, VM_ERR_SYSTEM, &err);
}

static void only_disks_in_layers_are_frozen(void **state)
{
	struct fixture *f = *state;
	struct vm_disk raw = disk_of("raw"), fixed = disk_of("fixed"), disk = disk_of("root");
	struct vm_spec spec;
	struct vm_frozen frozen;
	struct listing before;

	raw.format = VM_DISK_RAW;
	fixed.read_only = true;
	spec = spec_of(&raw, &fixed);
	assert_false(vm_overlay_is(&raw) || vm_overlay_is(&fixed) || vm_overlay_any(&spec));
	write_text(f->from, "disk-raw.img", "raw");
	make(f->from, "disk-fixed.img", NULL);
	touch(f->from, "disk-fixed.img");
	before = listing(f->from);
	for (int i = 0; i < 2; i++) {
		memset(&frozen, 0x5a, sizeof(frozen));
		freeze(f->from, &spec, i, &frozen);
		assert_same(f->from, &before);
		assert_true(!frozen.layer[0][0] && !frozen.layer[1][0]);
	}
	spec.disks[spec.disk_count++] = disk;
	assert_true(vm_overlay_any(&spec));
	make(f->from, "disk-root.img", NULL);
	freeze(f->from, &spec, true, &frozen);
	assert_true(!frozen.layer[0][0] && !frozen.layer[1][0] && frozen.layer[2][0]);
	assert_int_equal(stat_of(f->from, "disk-fixed.img").st_nlink, 1);
	assert_int_equal(count_entries(f->from), 5);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	        TEST(a_fresh_disk_gets_an_empty_layer_on_what_it_was),
	        TEST(a_layer_without_writes_is_not_frozen_again),
	        TEST(a_layer_that_was_written_is_frozen_under_the_name_it_had),
	        TEST(a_fork_shares_the_frozen_layers_and_has_its_own_active_one),
	        TEST(a_layer_that_is_gone_is_not_shared),
	        TEST(an_image_is_never_changed),
	        TEST(what_a_user_has_put_below_a_disk_is_no_frozen_layer),
	        TEST(a_disk_that_cannot_be_read_freezes_nothing),
	        TEST(only_disks_in_layers_are_frozen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
