/* SPDX-License-Identifier: Apache-2.0 */
/* Where a spec file comes from: directories, standard input, and files that cannot be read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "spec.h"
#include "util.h"
#include "yamldoc.h"

static void relative_paths_are_relative_to_the_base_directory(void **state)
{
	static const char text[] = "kernel: vmlinux\ninitrd: /abs/initrd\ndisks: [{path: ./a}]\n";
	static const struct {
		const char *base, *kernel, *disk;
	} cases[] = {
	        {NULL, "vmlinux", "./a"},
	        {".", "vmlinux", "./a"},
	        {"", "vmlinux", "./a"},
	        {"/", "/vmlinux", "/./a"},
	        {"/s/p", "/s/p/vmlinux", "/s/p/./a"},
	        {"dir/", "dir/vmlinux", "dir/./a"},
	};

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(cases); i++) {
		struct vm_err err = {0};
		struct vm_spec spec;

		assert_int_equal(vm_spec_parse(text, strlen(text), "w", cases[i].base, &spec, &err),
		                 0);
		assert_string_equal(spec.kernel, cases[i].kernel);
		assert_string_equal(spec.initrd, "/abs/initrd");
		assert_string_equal(spec.disks[0].path, cases[i].disk);
		vm_spec_free(&spec);
	}
}

/* --- files
 * ---------------------------------------------------------------------------------------*/

static int enter_scratch(void **state)
{
	char *dir = strdup("/tmp/vmctl-spec-XXXXXX");

	*state = dir;
	if (!dir || !mkdtemp(dir) || chdir(dir))
		return -1;
	return 0;
}

static int leave_scratch(void **state)
{
	char *dir = *state;
	int rc = chdir("/");

	unlinkat(AT_FDCWD, dir, AT_REMOVEDIR);
	free(dir);
	return rc;
}

static void write_file(const char *path, const char *text, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), len);
	close(fd);
}

static void a_file_is_loaded_with_paths_from_its_own_directory(void **state)
{
	static const char text[] = "kernel: vmlinux\n";
	struct vm_err err = {0};
	struct vm_spec spec;

	(void)state;
	assert_int_equal(mkdir("sub", 0700), 0);
	write_file("sub/web.yaml", text, strlen(text));
	assert_int_equal(vm_spec_load("sub/web.yaml", &spec, &err), 0);
	assert_string_equal(spec.kernel, "sub/vmlinux");
	vm_spec_free(&spec);
	assert_int_equal(chdir("sub"), 0);
	assert_int_equal(vm_spec_load("web.yaml", &spec, &err), 0);
	assert_string_equal(spec.kernel, "vmlinux");
	vm_spec_free(&spec);
	unlink("web.yaml");
	assert_int_equal(chdir(".."), 0);
	rmdir("sub");
}

static void standard_input_is_a_dash(void **state)
{
	int saved = dup(STDIN_FILENO);
	struct vm_err err = {0};
	struct vm_spec spec;
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], "kernel: vmlinux\nbad: 1\n", 23), 23);
	close(fds[1]);
	dup2(fds[0], STDIN_FILENO);
	close(fds[0]);
	assert_int_equal(vm_spec_load("-", &spec, &err), -1);
	assert_string_equal(err.message, "stdin:2: bad: unknown key");
	dup2(saved, STDIN_FILENO);
	close(saved);
}

static void what_is_no_readable_file_is_refused(void **state)
{
	static const char big[VM_YAML_FILE_MAX + 1];
	struct vm_err err = {0};
	struct vm_spec spec;

	(void)state;
	assert_int_equal(vm_spec_load("gone.yaml", &spec, &err), -1);
	assert_int_equal(err.code, VM_ERR_NOT_FOUND);
	assert_string_equal(err.message, "gone.yaml: no such file");
	vm_err_clear(&err);
	assert_int_equal(vm_spec_load("", &spec, &err), -1);
	assert_int_equal(err.code, VM_ERR_NOT_FOUND);
	vm_err_clear(&err);
	assert_int_equal(vm_spec_load(".", &spec, &err), -1);
	assert_int_equal(err.code, VM_ERR_USAGE);
	assert_string_equal(err.message, ". is a directory, not a file");
	vm_err_clear(&err);
	write_file("big.yaml", big, VM_YAML_FILE_MAX + 1);
	assert_int_equal(vm_spec_load("big.yaml", &spec, &err), -1);
	assert_int_equal(err.code, VM_ERR_USAGE);
	assert_string_equal(err.message, "big.yaml is larger than 1 MiB");
	vm_err_clear(&err);
	assert_int_equal(vm_spec_load("/dev/zero", &spec, &err), -1);
	assert_string_equal(err.message, "/dev/zero is larger than 1 MiB");
	vm_err_clear(&err);
	unlink("big.yaml");
}

static void a_file_without_read_permission_is_a_system_error(void **state)
{
	struct vm_err err = {0};
	struct vm_spec spec;

	(void)state;
	write_file("secret.yaml", "kernel: a\n", 10);
	assert_int_equal(chmod("secret.yaml", 0), 0);
	if (getuid() == 0) /* root may read everything; another user's effective id may not */
		assert_int_equal(seteuid(65534), 0);
	assert_int_equal(vm_spec_load("secret.yaml", &spec, &err), -1);
	if (getuid() == 0)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(err.code, VM_ERR_SYSTEM);
	assert_string_equal(err.message, "opening secret.yaml: Permission denied");
	unlink("secret.yaml");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(relative_paths_are_relative_to_the_base_directory),
	        cmocka_unit_test(a_file_is_loaded_with_paths_from_its_own_directory),
	        cmocka_unit_test(standard_input_is_a_dash),
	        cmocka_unit_test(what_is_no_readable_file_is_refused),
	        cmocka_unit_test(a_file_without_read_permission_is_a_system_error),
	};

	return cmocka_run_group_tests(tests, enter_scratch, leave_scratch);
}
