/* SPDX-License-Identifier: Apache-2.0 */
/* The spec file: what it means, and what is said about each mistake. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "spec.h"
#include "util.h"
#include "yamldoc.h"

static int parse(const char *text, struct vm_spec *spec, struct vm_err *err)
{
	return vm_spec_parse(text, strlen(text), "web.yaml", NULL, spec, err);
}

static void parse_ok(const char *text, struct vm_spec *spec)
{
	struct vm_err err = {0};

	if (parse(text, spec, &err))
		fail_msg("%s\nin:\n%s", err.message, text);
}

/* A case of a text that must be refused: the message begins and the hint holds. */
struct refused {
	const char *text, *message, *hint;
};

static void expect_refused(const struct refused *cases, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct vm_spec spec = {.vcpus = 99};
		struct vm_err err = {0};

		if (parse(cases[i].text, &spec, &err) != -1)
			fail_msg("was taken:\n%s", cases[i].text);
		if (strncmp(err.message, cases[i].message, strlen(cases[i].message)) != 0)
			fail_msg("%s\nbut expected\n%s", err.message, cases[i].message);
		if (cases[i].hint && !strstr(err.hint, cases[i].hint))
			fail_msg("hint '%s' but expected '%s'", err.hint, cases[i].hint);
		assert_int_equal(err.code, VM_ERR_USAGE);
		assert_int_equal(spec.vcpus, 99); /* untouched */
	}
}

static void every_key_is_read(void **state)
{
	struct vm_spec spec;

	(void)state;
	parse_ok("# a comment\n"
	         "---\n"
	         "name: web-1\n"
	         "hypervisor: firecracker\n"
	         "kernel: /k/vmlinux\n"
	         "initrd: /k/initrd.img\n"
	         "boot_args: \"console=ttyS0 reboot=k\"\n"
	         "vcpus: 4\n"
	         "memory: 512M\n"
	         "vsock: false\n"
	         "disks:\n"
	         "  - id: rootfs\n"
	         "    path: /d/root.img\n"
	         "    readonly: yes\n"
	         "  - {id: data, size: 2GiB, root: off}\n"
	         "...\n",
	         &spec);
	assert_string_equal(spec.name, "web-1");
	assert_string_equal(spec.hypervisor, "firecracker");
	assert_string_equal(spec.kernel, "/k/vmlinux");
	assert_string_equal(spec.initrd, "/k/initrd.img");
	assert_string_equal(spec.boot_args, "console=ttyS0 reboot=k");
	assert_int_equal(spec.vcpus, 4);
	assert_int_equal(spec.memory_bytes, UINT64_C(512) << 20);
	assert_false(spec.vsock);
	assert_int_equal(spec.disk_count, 2);
	assert_string_equal(spec.disks[0].id, "rootfs");
	assert_string_equal(spec.disks[0].path, "/d/root.img");
	assert_int_equal(spec.disks[0].size_bytes, 0);
	assert_true(spec.disks[0].read_only);
	assert_true(spec.disks[0].root);
	assert_string_equal(spec.disks[1].id, "data");
	assert_null(spec.disks[1].path);
	assert_int_equal(spec.disks[1].size_bytes, UINT64_C(2) << 30);
	assert_false(spec.disks[1].read_only);
	assert_false(spec.disks[1].root);
	vm_spec_free(&spec);
}

static void what_is_not_given_has_its_default(void **state)
{
	struct vm_spec spec;

	(void)state;
	parse_ok("\xef\xbb\xbfkernel: vmlinux\r\ndisks:\r\n", &spec); /* as an editor may save it */
	assert_null(spec.name);
	assert_null(spec.hypervisor);
	assert_null(spec.initrd);
	assert_null(spec.boot_args);
	assert_int_equal(spec.vcpus, 1);
	assert_int_equal(spec.memory_bytes, 128 << 20);
	assert_int_equal(spec.disk_count, 0);
	assert_true(spec.vsock);
	vm_spec_free(&spec);
	assert_null(spec.kernel);
	assert_int_equal(spec.vcpus, 1);
	vm_spec_free(&spec);
}

static void text_stays_as_it_was_written(void **state)
{
	struct vm_spec spec;

	(void)state;
	parse_ok("name: 123\nkernel: 'a #b: c'\nboot_args: >\n  console=ttyS0\n  quiet\n\nvcpus: "
	         "\"2\"\n",
	         &spec);
	assert_string_equal(spec.name, "123");
	assert_string_equal(spec.kernel, "a #b: c");
	assert_string_equal(spec.boot_args, "console=ttyS0 quiet");
	assert_int_equal(spec.vcpus, 2);
	vm_spec_free(&spec);
	parse_ok("name: no\nboot_args: ''\n", &spec);
	assert_string_equal(spec.name, "no");
	assert_string_equal(spec.boot_args, "");
	vm_spec_free(&spec);
}

static void disks_without_an_id_are_numbered(void **state)
{
	struct vm_spec spec;

	(void)state;
	parse_ok("disks:\n- path: a\n- size: 1M\n- {id: x, path: b}\n- path: c\n", &spec);
	assert_string_equal(spec.disks[0].id, "root");
	assert_string_equal(spec.disks[1].id, "disk1");
	assert_string_equal(spec.disks[2].id, "x");
	assert_string_equal(spec.disks[3].id, "disk3");
	vm_spec_free(&spec);
}

static void the_first_disk_is_root_unless_the_file_says_otherwise(void **state)
{
	static const struct {
		const char *text;
		int root; /* index, or -1 */
	} cases[] = {
	        {"disks: [{path: a}, {path: b}]", 0},
	        {"disks: [{path: a}, {path: b, root: true}]", 1},
	        {"disks: [{path: a, root: false}, {path: b}]", -1},
	        {"disks: [{path: a, root: false}, {path: b, root: false}]", -1},
	        {"disks: [{path: a}, {path: b, root: false}]", 0},
	        {"disks: [{path: a, root: false}, {path: b, root: true}]", 1},
	        {"disks: [{path: a, root: true}, {path: b}]", 0},
	};

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(cases); i++) {
		struct vm_spec spec;

		parse_ok(cases[i].text, &spec);
		for (int k = 0; k < 2; k++) {
			if (spec.disks[k].root != (k == cases[i].root))
				fail_msg("disk %d of %s", k, cases[i].text);
		}
		vm_spec_free(&spec);
	}
}

static void what_only_some_hypervisors_have_is_taken(void **state)
{
	static const struct refused cases[] = {
	        {"network: eth0\n", "web.yaml:1: network: 'eth0' is none of none, user, tap=NAME",
	         NULL},
	        {"network: tap=\n", "web.yaml:1: network: '' is not the name of an interface",
	         NULL},
	        {"network: tap=a/b\n", "web.yaml:1: network: 'a/b' is not the name of an interface",
	         NULL},
	        {"network: tap=sixteen-letters-\n",
	         "web.yaml:1: network: 'sixteen-letters-' is not the name of an interface", NULL},
	        {"machine: Q35\n", "web.yaml:1: machine: 'Q35' is not the name of a machine type",
	         NULL},
	        {"accelerator: 'k v m'\n",
	         "web.yaml:1: accelerator: 'k v m' is not the name of an accelerator", NULL},
	        {"disks:\n- size: 1M\n  format: vmdk\n",
	         "web.yaml:3: disks[0].format: 'vmdk' is neither raw nor qcow2", NULL},
	};
	struct vm_spec spec;

	(void)state;
	parse_ok("network: tap=vm-tap.0\nmachine: q35\naccelerator: kvm\n"
	         "disks: [{size: 1M, format: qcow2}, {path: a, format: raw}, {path: b}]\n",
	         &spec);
	assert_int_equal(spec.network, VM_NETWORK_TAP);
	assert_string_equal(spec.tap, "vm-tap.0");
	assert_string_equal(spec.machine, "q35");
	assert_string_equal(spec.accelerator, "kvm");
	assert_int_equal(spec.disks[0].format, VM_DISK_QCOW2);
	assert_true(spec.disks[1].format_given);
	assert_false(spec.disks[2].format_given);
	vm_spec_free(&spec);
	parse_ok("network: user\n", &spec);
	assert_int_equal(spec.network, VM_NETWORK_USER);
	vm_spec_free(&spec);
	expect_refused(cases, VM_ARRAY_LEN(cases));
}

static void keys_that_are_unknown_or_double_are_refused(void **state)
{
	static const struct refused cases[] = {
	        {"kernel: a\n\n\nmemry: 64M\n",
	         "web.yaml:4: memry: unknown key (did you mean 'memory'?)",
	         "name, hypervisor, kernel"},
	        {"networks: user\n", "web.yaml:1: networks: unknown key (did you mean 'network'?)",
	         "vsock, disks"},
	        {"disks:\n  - path: a\n    read_only: true\n",
	         "web.yaml:3: disks[0].read_only: unknown key (did you mean 'readonly'?)",
	         "id, path, size, root, readonly, format"},
	        {"'': 1\n", "web.yaml:1: : unknown key", NULL},
	        {"<<: {a: b}\n", "web.yaml:1: <<: unknown key", NULL},
	        {"memory: 64M\nkernel: a\nmemory: 64M\n",
	         "web.yaml:3: memory: given twice (first on line 1)", NULL},
	        {"disks:\n- path: a\n  path: b\n",
	         "web.yaml:3: disks[0].path: given twice (first on line 2)", NULL},
	        {"? [a, b]\n: c\n", "web.yaml:1: a key must be text, not a list or map", NULL},
	        {"? {a: b}\n: c\n", "web.yaml:1: a key must be text, not a list or map", NULL},
	};

	(void)state;
	expect_refused(cases, VM_ARRAY_LEN(cases));
}

static void values_of_the_wrong_type_are_refused(void **state)
{
	static const struct refused cases[] = {
	        {"kernel: [a, b]\n", "web.yaml:1: kernel: must be a single value, not a list",
	         NULL},
	        {"kernel:\n  path: a\n", "web.yaml:1: kernel: must be a single value, not a map",
	         NULL},
	        {"name: a\nkernel:\nvcpus: 1\n", "web.yaml:2: kernel: has no value",
	         "remove the line"},
	        {"initrd: ~\n", "web.yaml:1: initrd: has no value", NULL},
	        {"initrd: null\n", "web.yaml:1: initrd: has no value", NULL},
	        {"kernel: ''\n", "web.yaml:1: kernel: is empty", NULL},
	        {"kernel: ~/vmlinux\n", "web.yaml:1: kernel: '~/vmlinux': ~ is not expanded here",
	         "write the path out"},
	        {"vsock: maybe\n", "web.yaml:1: vsock: 'maybe' is neither true nor false", NULL},
	        {"vsock: 1\n", "web.yaml:1: vsock: '1' is neither true nor false", NULL},
	        {"disks: a.img\n", "web.yaml:1: disks: must be a list", "- path: root.img"},
	        {"disks:\n  path: a.img\n", "web.yaml:1: disks: must be a list", NULL},
	        {"disks:\n  - a.img\n",
	         "web.yaml:2: disks[0]: must be 'key: value' lines, not plain text", NULL},
	        {"disks:\n  - [a]\n",
	         "web.yaml:2: disks[0]: must be 'key: value' lines, not a list", NULL},
	        {"disks:\n  -\n", "web.yaml:2: disks[0]: must be 'key: value' lines", NULL},
	        {"- kernel: a\n", "web.yaml:1: must be 'key: value' lines, not a list", NULL},
	        {"just words\n", "web.yaml:1: must be 'key: value' lines, not plain text", "colon"},
	        {"kernel:a\n", "web.yaml:1: must be 'key: value' lines, not plain text", "colon"},
	};

	(void)state;
	expect_refused(cases, VM_ARRAY_LEN(cases));
}

static void values_out_of_range_are_refused(void **state)
{
	static const struct refused cases[] = {
	        {"name: Web\n", "web.yaml:1: name: name 'Web': only a-z", NULL},
	        {"hypervisor: Fire Cracker\n",
	         "web.yaml:1: hypervisor: 'Fire Cracker' is not the name of a hypervisor", NULL},
	        {"vcpus: 0\n", "web.yaml:1: vcpus: 0 is out of range (1 to 32)", NULL},
	        {"vcpus: 33\n", "web.yaml:1: vcpus: 33 is out of range", NULL},
	        {"vcpus: -1\n", "web.yaml:1: vcpus: -1 is out of range", NULL},
	        {"vcpus: 1.5\n", "web.yaml:1: vcpus: '1.5' is not a whole number", NULL},
	        {"vcpus: two\n", "web.yaml:1: vcpus: 'two' is not a whole number", NULL},
	        {"memory: 512\n", "web.yaml:1: memory: 512 bytes are less than the least, 1 MiB",
	         "a unit is probably missing"},
	        {"memory: 0\n", "web.yaml:1: memory: 0 bytes are less", NULL},
	        {"memory: -64M\n", "web.yaml:1: memory: '-64M' is not a size", NULL},
	        {"memory: 64 lots\n", "web.yaml:1: memory: '64 lots' is not a size", NULL},
	        {"memory: 1048577\n", "web.yaml:1: memory: 1048577 bytes are not a whole number",
	         NULL},
	        {"memory: 17T\n", "web.yaml:1: memory: 17.0T is too large (at most 16T)", NULL},
	        {"memory: 99999999999999999999G\n",
	         "web.yaml:1: memory: '99999999999999999999G' is too", NULL},
	        {"boot_args: \"a\xc3\xa4\"\n",
	         "web.yaml:1: boot_args: character 2 is not printable ASCII", NULL},
	        {"kernel: \"a\\nb\"\n", "web.yaml:1: kernel: must be one line", NULL},
	        {"kernel: \"a\\0b\"\n", "web.yaml:1: kernel: holds a control character", NULL},
	        {"kernel: \"a\\x9bb\"\n", "web.yaml:1: kernel: holds a control character", NULL},
	        {"\"a\\eb\": 1\n", "web.yaml:1: holds a control character", NULL},
	        {"boot_args: |\n  a\n  b\n", "web.yaml:1: boot_args: must be one line", NULL},
	};

	(void)state;
	expect_refused(cases, VM_ARRAY_LEN(cases));
}

static void impossible_disks_are_refused(void **state)
{
	static const struct refused cases[] = {
	        {"disks:\n- path: a\n  size: 1M\n",
	         "web.yaml:2: disks[0]: has path and size; a disk is either a copy or blank", NULL},
	        {"disks:\n- path: a\n- id: b\n", "web.yaml:3: disks[1]: needs a path, or the size",
	         NULL},
	        {"disks:\n- {}\n", "web.yaml:2: disks[0]: needs a path, or the size", NULL},
	        {"disks:\n- size: 0\n", "web.yaml:2: disks[0].size: must not be 0", NULL},
	        {"disks:\n- size: 64\n",
	         "web.yaml:2: disks[0].size: 64 bytes are not a multiple of 512", "unit"},
	        {"disks:\n- size: 65T\n", "web.yaml:2: disks[0].size: 65.0T is too large", NULL},
	        {"disks:\n- size: -5M\n", "web.yaml:2: disks[0].size: '-5M' is not a size", NULL},
	        {"disks:\n- size: 1M\n  readonly: true\n",
	         "web.yaml:3: disks[0].readonly: a blank disk that is read-only", NULL},
	        {"disks:\n- path: ''\n", "web.yaml:2: disks[0].path: is empty", NULL},
	        {"disks:\n- path: a\n  id: ''\n", "web.yaml:3: disks[0].id: is empty", NULL},
	        {"disks:\n- path: a\n  id: A-b\n", "web.yaml:3: disks[0].id: 'A-b': only a-z",
	         NULL},
	        {"disks:\n- path: a\n  id: ../x\n", "web.yaml:3: disks[0].id: '../x': only a-z",
	         NULL},
	        {"disks:\n- path: a\n  id: a23456789_123456789_123456789_12\n",
	         "web.yaml:3: disks[0].id: 'a23456789_123456789_123456789_12' has 32 characters",
	         NULL},
	        {"disks:\n- {path: a, id: x}\n- path: b\n  id: x\n",
	         "web.yaml:4: disks[1].id: 'x' is the id of disks[0] already", "another id"},
	        {"disks:\n- {path: a, id: disk1}\n- path: b\n",
	         "web.yaml:3: disks[1]: 'disk1' is the id of disks[0] already", "another id"},
	        {"disks:\n- {path: a, root: true}\n- path: b\n  root: true\n",
	         "web.yaml:4: disks[1].root: disks[0], 'root', is the root disk already", NULL},
	        {"disks: [{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}]\n",
	         "web.yaml:1: disks: has 17 disks, the limit is 16", NULL},
	};

	(void)state;
	expect_refused(cases, VM_ARRAY_LEN(cases));
}

static void bad_yaml_is_refused_with_line_and_column(void **state)
{
	static const struct refused cases[] = {
	        {"", "web.yaml: is empty", "kernel"},
	        {"# only\n# comments\n", "web.yaml: is empty", NULL},
	        {"---\n", "web.yaml: is empty", NULL},
	        {"~\n", "web.yaml: is empty", NULL},
	        {"kernel: a\n\tvcpus: 1\n",
	         "web.yaml:2:1: YAML syntax: ", "line 2 is indented with a tab"},
	        {"disks:\n\t- path: a\n", "web.yaml:2:1: YAML syntax: ", "tab"},
	        {"kernel: [a\nvcpus: 1\n", "web.yaml:2:6: YAML syntax: ", NULL},
	        {"kernel: 'a\n",
	         "web.yaml:2:1: YAML syntax: found unexpected end of stream while "
	         "scanning a quoted scalar that began on line 1",
	         NULL},
	        {"kernel: a: b\n", "web.yaml:1:10: YAML syntax: mapping values are not allowed",
	         "quote a value"},
	        {"name: a\n vcpus: 1\n", "web.yaml:2:7: YAML syntax: ", NULL},
	        {"kernel: a\n}\n", "web.yaml:2:1: YAML syntax: ", NULL},
	        {"kernel: a\n--- \nkernel: b\n", "web.yaml:2: a second document begins here", NULL},
	        {"kernel: &x a\n", "web.yaml:1: kernel: anchors (&) and aliases (*)", NULL},
	        {"name: a\nkernel: *x\n", "web.yaml:2: kernel: anchors (&) and aliases (*)", NULL},
	        {"&x name: a\n", "web.yaml:1: anchors (&) and", NULL},
	        {"!!str name: a\n", "web.yaml:1: tags (!) are not", NULL},
	        {"*x : a\n", "web.yaml:1: a key must be text, not an alias", NULL},
	        {"&x {name: a}\n", "web.yaml:1: anchors (&) and", NULL},
	        {"disks: &x []\n", "web.yaml:1: disks: anchors (&) and", NULL},
	        {"kernel: !!str a\n", "web.yaml:1: kernel: tags (!) are not supported", NULL},
	        {"disks: !x []\n", "web.yaml:1: disks: tags (!) are not supported", NULL},
	        {"name: a\nkernel: \xff\xfe\n", "web.yaml:2: is not UTF-8 text", "save the file"},
	        {"\xff\xfek\n", "web.yaml:1: is not UTF-8 text", NULL},
	        {"name: a\n\nkernel: a\x01\n", "web.yaml:3: holds the control character 0x01",
	         NULL},
	        {"a: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\n", "web.yaml:1: is nested too deeply", NULL},
	        {"%YAML 3.0\n---\na: b\n", "web.yaml:1:1: YAML syntax: ", NULL},
	};

	(void)state;
	expect_refused(cases, VM_ARRAY_LEN(cases));
}

static void a_nul_byte_and_a_text_that_is_too_large_are_refused(void **state)
{
	static const char nul[] = "kernel: a\nname: b\0c\n";
	static char big[VM_YAML_FILE_MAX + 1];
	struct vm_err err = {0};
	struct vm_spec spec;
	size_t used;

	(void)state;
	assert_int_equal(vm_spec_parse(nul, sizeof(nul) - 1, "w", NULL, &spec, &err), -1);
	assert_string_equal(err.message, "w:2: holds the control character 0x00");
	memset(big, '#', VM_YAML_FILE_MAX + 1);
	vm_err_clear(&err);
	assert_int_equal(vm_spec_parse(big, VM_YAML_FILE_MAX + 1, "w", NULL, &spec, &err), -1);
	assert_string_equal(err.message, "w is larger than 1 MiB");
	for (used = 0; used < VM_YAML_FILE_MAX; used++)
		big[used] = ",x"[used % 2];
	big[0] = '[';
	vm_err_clear(&err);
	assert_int_equal(vm_spec_parse(big, used, "w", NULL, &spec, &err), -1);
	assert_string_equal(err.message, "w:1: has more than 4096 entries");
}

static void a_very_long_file_name_keeps_room_for_the_field(void **state)
{
	struct vm_err err = {0};
	struct vm_spec spec;
	char origin[4096];

	(void)state;
	memset(origin, 'd', sizeof(origin));
	snprintf(origin + sizeof(origin) - 10, 10, "/web.yaml");
	assert_int_equal(vm_spec_parse("memry: 1", 8, origin, NULL, &spec, &err), -1);
	assert_non_null(strstr(err.message, "/web.yaml:1: memry: unknown key"));
}

static void labels_are_read_as_they_are_written(void **state)
{
	struct vm_spec spec, copy;
	struct vm_err err = {0};
	json_t *json;

	(void)state;
	parse_ok("kernel: vmlinux\n"
	         "labels:\n"
	         "  tier: 1\n"
	         "  example.com/app: \"web, b\"\n"
	         "  yes: no\n"
	         "  empty: ''\n",
	         &spec);
	assert_int_equal(spec.labels.count, 4);
	assert_int_equal(vm_spec_copy(&spec, &copy, &err), 0);
	vm_spec_free(&spec);
	assert_string_equal(vm_labels_get(&copy.labels, "tier"), "1");
	assert_string_equal(vm_labels_get(&copy.labels, "example.com/app"), "web, b");
	assert_string_equal(vm_labels_get(&copy.labels, "yes"), "no");
	assert_string_equal(vm_labels_get(&copy.labels, "empty"), "");
	/* They are the store's; a spec that is stored does not repeat them. */
	json = vm_spec_to_json(&copy);
	assert_non_null(json);
	assert_null(json_object_get(json, "labels"));
	json_decref(json);
	vm_spec_free(&copy);
	parse_ok("kernel: vmlinux\nlabels:\n", &spec);
	assert_int_equal(spec.labels.count, 0);
	vm_spec_free(&spec);
}

static void labels_that_break_a_rule_are_refused(void **state)
{
	static const struct refused cases[] = {
	        {"labels: [a]\n", "web.yaml:1: labels: must be 'key: value' lines", "app: web"},
	        {"labels: a=b\n", "web.yaml:1: labels: must be 'key: value' lines", NULL},
	        {"labels:\n  app: web\n  app: db\n",
	         "web.yaml:3: labels.app: given twice (first on line 2)", NULL},
	        {"labels:\n  app: [web]\n",
	         "web.yaml:2: labels.app: must be a single value, not a list", NULL},
	        {"labels:\n  app: {a: b}\n",
	         "web.yaml:2: labels.app: must be a single value, not a map", NULL},
	        {"labels:\n  app:\n", "web.yaml:2: labels.app: has no value", NULL},
	        {"labels:\n  a b: c\n", "web.yaml:2: labels.a b: 'a b' is not the key of a label",
	         "1 to 63 letters"},
	        {"label: {a: b}\n", "web.yaml:1: label: unknown key (did you mean 'labels'?)",
	         NULL},
	};

	(void)state;
	expect_refused(cases, VM_ARRAY_LEN(cases));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(every_key_is_read),
	        cmocka_unit_test(what_is_not_given_has_its_default),
	        cmocka_unit_test(text_stays_as_it_was_written),
	        cmocka_unit_test(disks_without_an_id_are_numbered),
	        cmocka_unit_test(the_first_disk_is_root_unless_the_file_says_otherwise),
	        cmocka_unit_test(what_only_some_hypervisors_have_is_taken),
	        cmocka_unit_test(keys_that_are_unknown_or_double_are_refused),
	        cmocka_unit_test(values_of_the_wrong_type_are_refused),
	        cmocka_unit_test(values_out_of_range_are_refused),
	        cmocka_unit_test(impossible_disks_are_refused),
	        cmocka_unit_test(bad_yaml_is_refused_with_line_and_column),
	        cmocka_unit_test(a_nul_byte_and_a_text_that_is_too_large_are_refused),
	        cmocka_unit_test(labels_are_read_as_they_are_written),
	        cmocka_unit_test(labels_that_break_a_rule_are_refused),
	        cmocka_unit_test(a_very_long_file_name_keeps_room_for_the_field),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
