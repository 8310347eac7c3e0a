/* SPDX-License-Identifier: Apache-2.0 */
/* Texts for recorded paths: padding, moving a directory, rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "driver/state.h"
#include "statefile.h"
#include "util.h"

static void a_name_is_padded_to_every_length_but_one_more(void **state)
{
	char buf[4096];

	(void)state;
	for (size_t len = 5; len < sizeof(buf) - 1; len++) {
		memset(buf, 'x', sizeof(buf));
		if (len == 5 || len == 7) {
			assert_false(vm_state_pad("disk-a", len, buf));
			assert_int_equal(buf[0], 'x');
			continue;
		}
		assert_true(vm_state_pad("disk-a", len, buf));
		assert_int_equal(strlen(buf), len);
		assert_true(buf[0] != '/');
		assert_string_equal(buf + len - 6, "disk-a");
		assert_int_equal(strspn(buf, "./"), len - 6);
		assert_null(strstr(buf, ".."));
	}
	assert_false(vm_state_pad("/disk-a", 20, buf));
	assert_false(vm_state_pad("", 20, buf));
}

static void padded_names_open_the_file_and_the_socket(void **state)
{
	char dir[] = "/tmp/vmctl-pad-XXXXXX", buf[4096];
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC), fd;

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chdir(dir), 0);
	fd = open("disk-a.img", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	for (size_t len = 12; len < sizeof(buf); len += len < 200 ? 1 : 777) {
		fd = vm_state_pad("disk-a.img", len, buf) ? open(buf, O_RDONLY | O_CLOEXEC) : -1;
		assert_true(fd >= 0);
		close(fd);
	}
	for (size_t len = 12; len <= 107; len++) {
		int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		assert_true(vm_state_pad("vsock.sock", len, address.sun_path));
		if (len == 12) {
			assert_int_equal(
			        bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
			assert_int_equal(listen(listener, 128), 0);
		}
		assert_int_equal(connect(client, (struct sockaddr *)&address, sizeof(address)), 0);
		close(client);
	}
	close(listener);
	unlink("vsock.sock");
	unlink("disk-a.img");
	assert_int_equal(fchdir(here), 0);
	close(here);
	rmdir(dir);
}

static void a_directory_is_moved_only_where_it_ends(void **state)
{
	static const struct {
		const char *text, *from, *to, *result;
	} cases[] = {
	        {"/g/src/a.img", "/g/src", "/x", "/x/a.img"},
	        {"/g/src/a.img", "/g/src/", "/x/", "/x/a.img"},
	        {"/g/src2/a.img", "/g/src", "/x", NULL},
	        {"/g/sr", "/g/src", "/x", NULL},
	        {"/g/src", "/g/src", "/x", "/x"},
	        {"/g/src", "/g/src", "/", "/"},
	        {"/g/src/a", "/g/src", "/", "/a"},
	        {"/g/src/a", "/", "/x", "/x/g/src/a"},
	        {"a/b", "/", "/x", NULL},
	        {"disks/b", "disks", "/x/y", "/x/y/b"},
	        {"disks/b", "disks", ".", "./b"},
	        {"g/src/a", "/g/src", "/x", NULL},
	        {"/other/g/src/a", "/g/src", "/x", NULL},
	};

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(cases); i++) {
		struct vm_err err = {0};
		char *result = NULL;

		assert_int_equal(vm_state_move_path(cases[i].text, cases[i].from, cases[i].to,
		                                    &result, &err),
		                 0);
		if (cases[i].result)
			assert_string_equal(result, cases[i].result);
		else
			assert_null(result);
		free(result);
	}
}

static struct vm_state_path paths[] = {
        {.kind = VM_STATE_KERNEL, .text = "/g/src/vmlinux"},
        {.kind = VM_STATE_BOOT_ARGS, .text = "/g/src/init"},
        {.kind = VM_STATE_DISK, .text = "/g/src2/a=b.img", .id = "d0"},
        {.kind = VM_STATE_VSOCK, .text = "/g/src/v.sock"},
};
static const struct vm_state_info recorded = {.paths = paths, .count = VM_ARRAY_LEN(paths)};

static void assert_texts(struct vm_state_rule *rules, size_t count, bool relative,
                         const char *const *expected)
{
	struct vm_state_rules all = {.rules = rules, .count = count, .relative = relative};
	struct vm_err err = {0};
	char **texts;

	if (vm_state_rules_apply(&all, &recorded, &texts, &err) < 0)
		fail_msg("%s", err.message);
	for (size_t i = 0; i < recorded.count; i++) {
		if (expected[i])
			assert_string_equal(texts[i], expected[i]);
		else
			assert_null(texts[i]);
	}
	vm_state_texts_free(texts, recorded.count);
}

static void rules_decide_in_order_and_leave_boot_arguments_alone(void **state)
{
	struct vm_state_rule prefix[] = {{"/g/src=/x", true}};
	struct vm_state_rule equals[] = {{"/g/src2/a=b.img=/x/c=d.img", false}};
	struct vm_state_rule both[] = {{"/g/src/v.sock=/v", false}, {"/g/src=/x", true}};

	(void)state;
	assert_texts(prefix, 1, false, (const char *[]){"/x/vmlinux", NULL, NULL, "/x/v.sock"});
	assert_texts(equals, 1, false, (const char *[]){NULL, NULL, "/x/c=d.img", NULL});
	assert_texts(both, 2, false, (const char *[]){"/x/vmlinux", NULL, NULL, "/v"});
	assert_texts(both, 2, true, (const char *[]){"/x/vmlinux", NULL, "disk-d0.img", "/v"});
	assert_texts(NULL, 0, true, (const char *[]){"kernel", NULL, "disk-d0.img", "vsock.sock"});
}

static void a_rule_about_nothing_is_refused(void **state)
{
	static const struct {
		struct vm_state_rule rule;
		enum vm_code code;
	} cases[] = {
	        {{"/g/srcx=/x", true}, VM_ERR_NOT_FOUND},  {{"/g/src=/x", false}, VM_ERR_NOT_FOUND},
	        {{"/g/src", true}, VM_ERR_USAGE},          {{"=/x", true}, VM_ERR_USAGE},
	        {{"/g/src/init=/x", false}, VM_ERR_USAGE}, {{"", false}, VM_ERR_USAGE},
	};

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(cases); i++) {
		struct vm_state_rule rule = cases[i].rule;
		struct vm_state_rules all = {.rules = &rule, .count = 1};
		struct vm_err err = {0};
		char **texts;

		assert_int_equal(vm_state_rules_apply(&all, &recorded, &texts, &err), -1);
		assert_int_equal(err.code, cases[i].code);
	}
}

static void an_id_that_cannot_name_a_file_gives_no_name(void **state)
{
	struct vm_state_path path = {.kind = VM_STATE_DISK, .text = "/a", .id = "../x"};
	struct vm_err err = {0};

	(void)state;
	assert_null(vm_state_own_name(&path, &err));
	assert_int_equal(err.code, VM_ERR_UNSUPPORTED);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_name_is_padded_to_every_length_but_one_more),
	        cmocka_unit_test(padded_names_open_the_file_and_the_socket),
	        cmocka_unit_test(a_directory_is_moved_only_where_it_ends),
	        cmocka_unit_test(rules_decide_in_order_and_leave_boot_arguments_alone),
	        cmocka_unit_test(a_rule_about_nothing_is_refused),
	        cmocka_unit_test(an_id_that_cannot_name_a_file_gives_no_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
