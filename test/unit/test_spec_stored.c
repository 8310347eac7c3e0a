/* SPDX-License-Identifier: Apache-2.0 */
/* A spec from flags (--disk, vm_spec_check) and in the store (JSON, copies). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "spec.h"
#include "util.h"

static void add_ok(struct vm_spec *spec, const char *argument)
{
	struct vm_err err = {0};

	if (vm_spec_add_disk(spec, argument, &err))
		fail_msg("%s", err.message);
}

static void a_disk_argument_is_a_path_or_keys(void **state)
{
	struct vm_spec spec;

	(void)state;
	vm_spec_init(&spec);
	add_ok(&spec, "root.img");
	add_ok(&spec, "id=data,size=64M");
	add_ok(&spec, "path=b.img,readonly");
	add_ok(&spec, "/with=sign.img");
	add_ok(&spec, "./with=sign.img");
	add_ok(&spec, "path=a=b.img,readonly=false,root=false,id=x_1");
	assert_int_equal(spec.disk_count, 6);
	assert_string_equal(spec.disks[0].id, "root");
	assert_string_equal(spec.disks[0].path, "root.img");
	assert_true(spec.disks[0].root);
	assert_string_equal(spec.disks[1].id, "data");
	assert_null(spec.disks[1].path);
	assert_int_equal(spec.disks[1].size_bytes, 64 << 20);
	assert_false(spec.disks[1].root);
	assert_string_equal(spec.disks[2].id, "disk2");
	assert_true(spec.disks[2].read_only);
	assert_string_equal(spec.disks[3].path, "/with=sign.img");
	assert_string_equal(spec.disks[4].path, "./with=sign.img");
	assert_string_equal(spec.disks[5].path, "a=b.img");
	assert_string_equal(spec.disks[5].id, "x_1");
	assert_false(spec.disks[5].read_only);
	vm_spec_free(&spec);
}

static void a_root_disk_that_is_named_replaces_the_default(void **state)
{
	struct vm_err err = {0};
	struct vm_spec spec;

	(void)state;
	vm_spec_init(&spec);
	add_ok(&spec, "a.img");
	assert_true(spec.disks[0].root);
	add_ok(&spec, "path=b.img,root");
	assert_false(spec.disks[0].root);
	assert_true(spec.disks[1].root);
	assert_int_equal(vm_spec_add_disk(&spec, "path=c.img,root", &err), -1);
	assert_string_equal(err.message, "--disk 'path=c.img,root': root: disks[1], 'disk1', is "
	                                 "the root disk already");
	assert_int_equal(spec.disk_count, 2);
	assert_true(spec.disks[1].root);
	vm_spec_free(&spec);
	add_ok(&spec, "path=a.img,root=false");
	add_ok(&spec, "b.img");
	assert_false(spec.disks[0].root);
	assert_false(spec.disks[1].root);
	vm_spec_free(&spec);
}

static void a_disk_argument_joins_the_disks_of_the_file(void **state)
{
	static const char text[] = "disks: [{path: a}, {path: b}]";
	struct vm_err err = {0};
	struct vm_spec spec;

	(void)state;
	assert_int_equal(vm_spec_parse(text, strlen(text), "w", NULL, &spec, &err), 0);
	add_ok(&spec, "c.img");
	assert_string_equal(spec.disks[2].id, "disk2");
	assert_true(spec.disks[0].root);
	add_ok(&spec, "path=d.img,root");
	assert_false(spec.disks[0].root);
	assert_true(spec.disks[3].root);
	vm_spec_free(&spec);
}

static void a_bad_disk_argument_changes_nothing(void **state)
{
	static const struct {
		const char *argument, *message, *hint;
	} cases[] = {
	        {"", "--disk '': path: is empty", ""},
	        {"path=", "--disk 'path=': path: is empty", ""},
	        {"size=", "--disk 'size=': size: '' is not a size", ""},
	        {"size=0", "--disk 'size=0': size: must not be 0", ""},
	        {"size=64", "--disk 'size=64': size: 64 bytes are not a multiple of 512", "unit"},
	        {"size=-1M", "--disk 'size=-1M': size: '-1M' is not a size", ""},
	        {"size=65T", "--disk 'size=65T': size: 65.0T is too large", ""},
	        {"size=1M,readonly", "--disk 'size=1M,readonly': readonly: a blank disk", ""},
	        {"path=a,size=1M", "--disk 'path=a,size=1M': has path= and size=", ""},
	        {"readonly,root", "--disk 'readonly,root': needs path=, or size=", ""},
	        {"pth=a", "--disk 'pth=a': unknown key 'pth' (did you mean 'path'?)", ""},
	        {"path=a,read-only",
	         "--disk 'path=a,read-only': unknown key 'read-only' (did you "
	         "mean 'readonly'?)",
	         ""},
	        {"cache=none", "--disk 'cache=none': key 'cache' is none of id=, path=", ""},
	        {"path=/a,b.img", "--disk 'path=/a,b.img': 'b.img' is none of id=, path=",
	         "comma can only be given in a spec file"},
	        {"/a,readonly", "--disk '/a,readonly': a comma after a plain path",
	         "write path=PATH,"},
	        {"path=a,", "--disk 'path=a,': '' is none of id=", ""},
	        {",", "--disk ',': '' is none of id=", ""},
	        {"=", "--disk '=': key '' is none of id=", ""},
	        {"id,path=a", "--disk 'id,path=a': id needs a value: id=...", ""},
	        {"path=a,path=b", "--disk 'path=a,path=b': path is given twice", ""},
	        {"path=a,root,root=false", "--disk 'path=a,root,root=false': root is given twice",
	         ""},
	        {"path=a,root=1", "--disk 'path=a,root=1': root: '1' is neither true nor false",
	         ""},
	        {"id=A,path=a", "--disk 'id=A,path=a': id: 'A': only a-z", ""},
	        {"id=,path=a", "--disk 'id=,path=a': id: is empty", ""},
	        {"id=first,path=b", "--disk 'id=first,path=b': id: 'first' is the id of disks[0]",
	         ""},
	        {"path=~/a", "--disk 'path=~/a': path: '~/a': ~ is not expanded here", ""},
	        {"path=\xff", "--disk 'path=\xff': path: is not UTF-8 text", ""},
	};
	struct vm_spec spec;

	(void)state;
	vm_spec_init(&spec);
	add_ok(&spec, "id=first,path=a");
	for (size_t i = 0; i < VM_ARRAY_LEN(cases); i++) {
		struct vm_err err = {0};

		if (vm_spec_add_disk(&spec, cases[i].argument, &err) != -1)
			fail_msg("was taken: %s", cases[i].argument);
		if (strncmp(err.message, cases[i].message, strlen(cases[i].message)) != 0)
			fail_msg("%s\nbut expected\n%s", err.message, cases[i].message);
		if (!strstr(err.hint, cases[i].hint))
			fail_msg("%s: hint: %s", cases[i].argument, err.hint);
		assert_int_equal(err.code, VM_ERR_USAGE);
		assert_int_equal(spec.disk_count, 1);
		assert_true(spec.disks[0].root);
	}
	vm_spec_free(&spec);
}

static void there_is_room_for_sixteen_disks(void **state)
{
	struct vm_err err = {0};
	struct vm_spec spec;

	(void)state;
	vm_spec_init(&spec);
	for (int i = 0; i < VM_DISKS_MAX; i++)
		add_ok(&spec, "size=1M");
	assert_int_equal(vm_spec_add_disk(&spec, "size=1M", &err), -1);
	assert_non_null(strstr(err.message, "the limit of 16 disks"));
	assert_int_equal(spec.disk_count, VM_DISKS_MAX);
	vm_spec_free(&spec);
}

/* --- the check of a whole spec
 * -------------------------------------------------------------------*/

static char kernel_path[] = "vmlinux";

static void expect_complaint(const struct vm_spec *spec, const char *message)
{
	struct vm_err err = {0};

	if (vm_spec_check(spec, &err) != -1)
		fail_msg("was accepted, but expected: %s", message);
	if (strncmp(err.message, message, strlen(message)) != 0)
		fail_msg("%s\nbut expected\n%s", err.message, message);
	assert_int_equal(err.code, VM_ERR_USAGE);
}

static void a_spec_without_a_kernel_is_incomplete(void **state)
{
	struct vm_err err = {0};
	struct vm_spec spec;

	(void)state;
	vm_spec_init(&spec);
	assert_int_equal(vm_spec_check(&spec, &err), -1);
	assert_string_equal(err.message, "kernel: missing");
	assert_string_equal(err.hint, "give --kernel, or kernel: in the spec file");
	vm_err_clear(&err);
	spec.kernel = kernel_path;
	assert_int_equal(vm_spec_check(&spec, &err), 0);
}

static void the_check_names_the_field(void **state)
{
	static char name[] = "-web", empty[] = "", tilde[] = "~", path[PATH_MAX + 1];
	struct vm_spec spec;

	(void)state;
	vm_spec_init(&spec);
	spec.kernel = empty;
	expect_complaint(&spec, "kernel: is empty");
	memset(path, 'p', PATH_MAX);
	spec.kernel = path;
	expect_complaint(&spec, "kernel: is longer than 4095 bytes");
	spec.kernel = kernel_path;
	spec.initrd = tilde;
	expect_complaint(&spec, "initrd: '~': ~ is not expanded");
	spec.initrd = NULL;
	spec.name = name;
	expect_complaint(&spec, "name: name '-web' may not begin");
	spec.name = NULL;
	spec.hypervisor = empty;
	expect_complaint(&spec, "hypervisor: '' is not the name");
	spec.hypervisor = NULL;
	spec.boot_args = path;
	expect_complaint(&spec, "boot_args: has 4096 characters, the limit is 2047");
	spec.boot_args = NULL;
	spec.vcpus = 0;
	expect_complaint(&spec, "vcpus: 0 is out of range (1 to 32)");
	spec.vcpus = 1;
	spec.memory_bytes = 64;
	expect_complaint(&spec, "memory: 64 bytes are less");
	spec.memory_bytes = UINT64_MAX;
	expect_complaint(&spec, "memory: 16.0E is too large");
	spec.memory_bytes = 1 << 20;
	spec.disk_count = 2;
	expect_complaint(&spec, "disks[0].id: is empty");
	strcpy(spec.disks[0].id, "a");
	expect_complaint(&spec, "disks[0]: needs a path, or the size");
	spec.disks[0].path = kernel_path;
	strcpy(spec.disks[1].id, "a");
	expect_complaint(&spec, "disks[1].id: 'a' is the id of disks[0] already");
	strcpy(spec.disks[1].id, "b");
	spec.disks[1].size_bytes = 513;
	expect_complaint(&spec, "disks[1].size: 513 bytes are not a multiple");
	spec.disks[1].size_bytes = 1024;
	spec.disks[0].root = true;
	spec.disks[1].root = true;
	expect_complaint(&spec, "disks[1].root: disks[0], 'a', is the root disk already");
}

static void a_created_disk_may_have_both_path_and_size(void **state)
{
	struct vm_err err = {0};
	struct vm_spec spec;

	(void)state;
	vm_spec_init(&spec);
	spec.kernel = kernel_path;
	spec.disk_count = 1;
	strcpy(spec.disks[0].id, "root");
	spec.disks[0].path = kernel_path;
	spec.disks[0].size_bytes = 12345;
	assert_int_equal(vm_spec_check(&spec, &err), 0);
}

/* --- the stored form
 * -----------------------------------------------------------------------------*/

static const char full_text[] =
        "name: web\nhypervisor: firecracker\nkernel: /k\ninitrd: /i\nboot_args: quiet\nvcpus: 2\n"
        "machine: q35\naccelerator: tcg\nnetwork: tap=tap0\nmemory: 64M\nvsock: false\n"
        "disks: [{path: /d, readonly: true}, {id: x, size: 1M, format: qcow2}]\n";
static const char full_json[] =
        "{\"name\":\"web\",\"hypervisor\":\"firecracker\",\"machine\":\"q35\",\"accelerator\":"
        "\"tcg\","
        "\"kernel\":\"/k\",\"initrd\":\"/i\",\"boot_args\":\"quiet\",\"vcpus\":2,"
        "\"memory_bytes\":67108864,\"vsock\":false,\"network\":\"tap=tap0\",\"disks\":["
        "{\"id\":\"root\",\"path\":\"/d\",\"size_bytes\":0,\"format\":\"raw\",\"read_only\":true,"
        "\"root\":true},{\"id\":\"x\",\"path\":null,\"size_bytes\":1048576,\"format\":\"qcow2\","
        "\"read_only\":false,\"root\":false}]}";
/* As it was before there were machine, accelerator, network and format. */
static const char old_json[] =
        "{\"name\":\"web\",\"hypervisor\":\"firecracker\",\"kernel\":\"/k\",\"initrd\":\"/i\","
        "\"boot_args\":\"quiet\",\"vcpus\":2,\"memory_bytes\":67108864,\"vsock\":false,\"disks\":["
        "{\"id\":\"root\",\"path\":\"/d\",\"size_bytes\":0,\"read_only\":true,\"root\":true},"
        "{\"id\":\"x\",\"path\":null,\"size_bytes\":1048576,\"read_only\":false,\"root\":false}]}";

static void expect_stored(const struct vm_spec *spec, const char *expected)
{
	json_t *json = vm_spec_to_json(spec);
	char *text = json_dumps(json, JSON_COMPACT);

	assert_non_null(text);
	assert_string_equal(text, expected);
	free(text);
	json_decref(json);
}

static void the_stored_form_is_stable_and_comes_back_the_same(void **state)
{
	json_t *json = json_loads(full_json, 0, NULL);
	struct vm_spec spec, back, copy;
	struct vm_err err = {0};

	(void)state;
	assert_int_equal(vm_spec_parse(full_text, strlen(full_text), "w", NULL, &spec, &err), 0);
	expect_stored(&spec, full_json);
	assert_int_equal(vm_spec_from_json(json, &back, &err), 0);
	json_decref(json);
	expect_stored(&back, full_json);
	assert_int_equal(vm_spec_copy(&back, &copy, &err), 0);
	assert_ptr_not_equal(copy.disks[0].path, back.disks[0].path);
	vm_spec_free(&back);
	expect_stored(&copy, full_json);
	vm_spec_free(&copy);
	vm_spec_free(&spec);
}

static void what_an_older_version_has_stored_is_read(void **state)
{
	json_t *json = json_loads(old_json, 0, NULL);
	struct vm_err err = {0};
	struct vm_spec spec;

	(void)state;
	assert_int_equal(vm_spec_from_json(json, &spec, &err), 0);
	json_decref(json);
	assert_null(spec.machine);
	assert_null(spec.accelerator);
	assert_int_equal(spec.network, VM_NETWORK_NONE);
	assert_int_equal(spec.disks[1].format, VM_DISK_RAW);
	vm_spec_free(&spec);
}

static void what_is_not_set_is_stored_as_null(void **state)
{
	static const char expected[] =
	        "{\"name\":null,\"hypervisor\":null,\"machine\":null,\"accelerator\":null,"
	        "\"kernel\":null,\"initrd\":null,\"boot_args\":null,\"vcpus\":1,"
	        "\"memory_bytes\":134217728,\"vsock\":true,\"network\":\"none\",\"disks\":[]}";
	json_t *json = json_loads(expected, 0, NULL);
	struct vm_err err = {0};
	struct vm_spec spec;

	(void)state;
	vm_spec_init(&spec);
	expect_stored(&spec, expected);
	json_object_set_new(json, "from_a_later_version", json_true());
	assert_int_equal(vm_spec_from_json(json, &spec, &err), 0);
	json_decref(json);
	expect_stored(&spec, expected);
	vm_spec_free(&spec);
}

static void text_that_json_cannot_hold_is_refused_before_it_is_stored(void **state)
{
	static char latin1[] = "caf\xe9";
	struct vm_spec spec;

	(void)state;
	vm_spec_init(&spec);
	spec.kernel = latin1;
	expect_complaint(&spec, "kernel: is not UTF-8 text");
	assert_null(vm_spec_to_json(&spec));
	spec.kernel = kernel_path;
	spec.disk_count = 2;
	strcpy(spec.disks[0].id, "a");
	spec.disks[0].path = kernel_path;
	strcpy(spec.disks[1].id, "b");
	spec.disks[1].path = latin1;
	expect_complaint(&spec, "disks[1].path: is not UTF-8 text");
	assert_null(vm_spec_to_json(&spec));
}

/* Sets a value in the good form: `path` is a key, or "0.key" within the first disk. */
static json_t *damaged(const char *path, const char *value)
{
	json_t *json = json_loads(full_json, 0, NULL);
	json_t *at = json;

	if (strncmp(path, "0.", 2) == 0) {
		at = json_array_get(json_object_get(json, "disks"), 0);
		path += 2;
	}
	if (value)
		json_object_set_new(at, path,
		                    json_loads(value, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL));
	else
		json_object_del(at, path);
	return json;
}

static void every_damage_of_the_stored_form_is_corrupt(void **state)
{
	static const struct {
		const char *path, *value, *message;
	} cases[] = {
	        {"name", NULL, "stored spec: name: missing"},
	        {"name", "7", "stored spec: name: must be text or null"},
	        {"name", "\"A B\"", "stored spec: name: name 'A B': only a-z"},
	        {"name", "\"a\\u0000b\"", "stored spec: name: must be text or null"},
	        {"hypervisor", "\"\"", "stored spec: hypervisor: '' is not the name"},
	        {"hypervisor", "{}", "stored spec: hypervisor: must be text or null"},
	        {"kernel", NULL, "stored spec: kernel: missing"},
	        {"kernel", "\"\"", "stored spec: kernel: is empty"},
	        {"initrd", "[]", "stored spec: initrd: must be text or null"},
	        {"boot_args", "false", "stored spec: boot_args: must be text or null"},
	        {"boot_args", "\"a\\nb\"", "stored spec: boot_args: character 2 is not printable"},
	        {"vcpus", NULL, "stored spec: vcpus: missing"},
	        {"vcpus", "0", "stored spec: vcpus: 0 is out of range"},
	        {"vcpus", "33", "stored spec: vcpus: must be an integer from 0 to 32"},
	        {"vcpus", "2.0", "stored spec: vcpus: must be an integer"},
	        {"vcpus", "4294967297", "stored spec: vcpus: must be an integer"},
	        {"memory_bytes", "-1", "stored spec: memory_bytes: must be an integer"},
	        {"memory_bytes", "1", "stored spec: memory: 1 bytes are less"},
	        {"memory_bytes", "\"64M\"", "stored spec: memory_bytes: must be an integer"},
	        {"memory_bytes", "9223372036854775807", "stored spec: memory_bytes: must be an"},
	        {"vsock", "1", "stored spec: vsock: must be true or false"},
	        {"vsock", NULL, "stored spec: vsock: missing"},
	        {"disks", NULL, "stored spec: disks: missing"},
	        {"disks", "{}", "stored spec: disks: must be an array of at most 16"},
	        {"disks", "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]",
	         "stored spec: disks: must"},
	        {"disks", "[null]", "stored spec: disks[0]: must be an object"},
	        {"0.id", NULL, "stored spec: disks[0]: id: missing"},
	        {"0.id", "null", "stored spec: disks[0]: id: must be text"},
	        {"0.id", "\"../x\"", "stored spec: disks[0]: id: '../x': only a-z"},
	        {"0.id", "\"a234567890123456789012345678901234567890\"",
	         "stored spec: disks[0]: id: 'a2345"},
	        {"0.id", "\"x\"", "stored spec: disks[1].id: 'x' is the id of disks[0] already"},
	        {"0.path", "1", "stored spec: disks[0]: path: must be text or null"},
	        {"0.path", "null", "stored spec: disks[0]: needs a path"},
	        {"0.size_bytes", "-512", "stored spec: disks[0]: size_bytes: must be an integer"},
	        {"0.read_only", "null", "stored spec: disks[0]: read_only: must be true or false"},
	        {"0.root", "\"yes\"", "stored spec: disks[0]: root: must be true or false"},
	};

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(cases); i++) {
		json_t *json = damaged(cases[i].path, cases[i].value);
		struct vm_spec spec = {.vcpus = 99};
		struct vm_err err = {0};

		if (vm_spec_from_json(json, &spec, &err) != -1)
			fail_msg("was taken: %s %s", cases[i].path, cases[i].value);
		if (strncmp(err.message, cases[i].message, strlen(cases[i].message)) != 0)
			fail_msg("%s\nbut expected\n%s", err.message, cases[i].message);
		assert_int_equal(err.code, VM_ERR_CORRUPT);
		assert_string_equal(err.hint, "");
		assert_int_equal(spec.vcpus, 99);
		json_decref(json);
	}
}

static void what_is_no_object_is_corrupt(void **state)
{
	json_t *json = json_array();
	struct vm_err err = {0};
	struct vm_spec spec;

	(void)state;
	assert_int_equal(vm_spec_from_json(json, &spec, &err), -1);
	assert_string_equal(err.message, "stored spec: must be an object");
	json_decref(json);
	vm_err_clear(&err);
	assert_int_equal(vm_spec_from_json(NULL, &spec, &err), -1);
	assert_int_equal(err.code, VM_ERR_CORRUPT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_disk_argument_is_a_path_or_keys),
	        cmocka_unit_test(a_root_disk_that_is_named_replaces_the_default),
	        cmocka_unit_test(a_disk_argument_joins_the_disks_of_the_file),
	        cmocka_unit_test(a_bad_disk_argument_changes_nothing),
	        cmocka_unit_test(there_is_room_for_sixteen_disks),
	        cmocka_unit_test(a_spec_without_a_kernel_is_incomplete),
	        cmocka_unit_test(the_check_names_the_field),
	        cmocka_unit_test(a_created_disk_may_have_both_path_and_size),
	        cmocka_unit_test(the_stored_form_is_stable_and_comes_back_the_same),
	        cmocka_unit_test(what_an_older_version_has_stored_is_read),
	        cmocka_unit_test(what_is_not_set_is_stored_as_null),
	        cmocka_unit_test(text_that_json_cannot_hold_is_refused_before_it_is_stored),
	        cmocka_unit_test(every_damage_of_the_stored_form_is_corrupt),
	        cmocka_unit_test(what_is_no_object_is_corrupt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
