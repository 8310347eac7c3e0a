/* SPDX-License-Identifier: Apache-2.0 */
/* Which of several settings counts, where it comes from, and whose word it is. */
#include "config_fixture.h"
#include "trust.h"

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static int enter_scratch(void **state)
{
	char *dir = strdup("/tmp/vmctl-config-XXXXXX");

	*state = dir;
	if (!dir || !mkdtemp(dir) || chdir(dir) || mkdir("root", 0700) || mkdir("etc", 0700) ||
	    mkdir("vmctl", 0700))
		return -1;
	unsetenv("VMCTL_CONFIG");
	unsetenv("VMCTL_FAKE");
	unsetenv("VMCTL_HYPERVISOR");
	setenv("XDG_CONFIG_HOME", dir, 1);
	return 0;
}

static int leave_scratch(void **state)
{
	char *dir = *state;
	int rc;

	unsetenv("VMCTL_CONFIG");
	unsetenv("VMCTL_FAKE");
	unsetenv("VMCTL_HYPERVISOR");
	unlink("vmctl/vmctl.yaml");
	rmdir("vmctl");
	unlink("root/vmctl.yaml");
	unlink("etc/vmctl.yaml");
	unlink("only.yaml");
	rmdir("root");
	rmdir("etc");
	rc = chdir("/");
	rmdir(dir);
	free(dir);
	return rc;
}

static void without_a_file_the_defaults_hold(void **state)
{
	struct vm_config config;
	struct vm_err err = {0};

	(void)state;
	assert_int_equal(vm_config_load_from("etc", "root", &config, &err), 0);
	expect_defaults(&config);
	assert_int_equal(vm_config_load_from("etc", "no/such/root", &config, &err), 0);
	expect_defaults(&config);
}

static void the_data_root_wins_over_the_system_key_by_key(void **state)
{
	struct vm_config config;
	struct vm_err err = {0};

	(void)state;
	write_file("etc/vmctl.yaml", "limits: {max_running: 1, memory_overcommit: 2}\nwait: 1s\n");
	write_file("root/vmctl.yaml", "limits: {max_running: 9}\napi_timeout: 5s\n");
	assert_int_equal(vm_config_load_from("etc", "root", &config, &err), 0);
	assert_int_equal(config.max_running, 9);
	assert_true(config.memory_overcommit == 2.0);
	assert_int_equal(config.lock_wait_ms, 1000);
	assert_int_equal(config.api_timeout_ms, 5000);
}

static void the_environment_names_the_only_file(void **state)
{
	struct vm_config config;
	struct vm_err err = {0};

	(void)state;
	write_file("etc/vmctl.yaml", "wait: 1s\n");
	write_file("root/vmctl.yaml", "nonsense\n");
	write_file("only.yaml", "limits: {max_running: 3}\n");
	setenv("VMCTL_CONFIG", "only.yaml", 1);
	assert_int_equal(vm_config_load_from("etc", "root", &config, &err), 0);
	assert_int_equal(config.max_running, 3);
	assert_int_equal(config.lock_wait_ms, 30000);
	assert_int_equal(vm_config_load("root", &config, &err), 0);
	assert_int_equal(config.max_running, 3);
	setenv("VMCTL_CONFIG", "gone.yaml", 1);
	assert_int_equal(vm_config_load_from("etc", "root", &config, &err), -1);
	assert_int_equal(err.code, VM_ERR_NOT_FOUND);
	assert_string_equal(err.message, "settings: gone.yaml: no such file");
	assert_non_null(strstr(err.hint, "VMCTL_CONFIG"));
	vm_err_clear(&err);
	setenv("VMCTL_CONFIG", "-", 1); /* a file of that name, not standard input */
	assert_int_equal(vm_config_load_from("etc", "root", &config, &err), -1);
	assert_int_equal(err.code, VM_ERR_NOT_FOUND);
	vm_err_clear(&err);
	setenv("VMCTL_CONFIG", "", 1); /* as if it were not set */
	assert_int_equal(vm_config_load_from("etc", "root", &config, &err), -1);
	assert_int_equal(err.code, VM_ERR_USAGE);
	assert_non_null(strstr(err.message, "root/vmctl.yaml:1: must be"));
}

static size_t index_of(const char *key)
{
	char buf[VM_SETTING_KEY_SIZE];
	size_t i = 0;

	while (strcmp(vm_setting_key(i, buf), key) != 0) {
		i++;
		assert_true(i < vm_settings_count());
	}
	return i;
}

static void the_user_stands_between_system_and_data_root(void **state)
{
	struct vm_config config;
	struct vm_err err = {0};

	(void)state;
	write_file("etc/vmctl.yaml", "limits: {max_running: 1, memory_overcommit: 2}\nwait: 1s\n");
	write_file("vmctl/vmctl.yaml", "\nlimits: {max_running: 5}\nwait: 2s\n");
	write_file("root/vmctl.yaml", "limits:\n  max_running: 9\n");
	assert_int_equal(vm_config_load_from("etc", "root", &config, &err), 0);
	assert_int_equal(config.max_running, 9);
	assert_int_equal(config.lock_wait_ms, 2000);
	assert_true(config.memory_overcommit == 2.0);
	assert_int_equal(config.origins[index_of("limits.max_running")].place, VM_PLACE_ROOT);
	assert_int_equal(config.origins[index_of("limits.max_running")].line, 2);
	assert_int_equal(config.origins[index_of("wait")].place, VM_PLACE_USER);
	assert_int_equal(config.origins[index_of("wait")].line, 3);
	assert_int_equal(config.origins[index_of("limits.memory_overcommit")].place,
	                 VM_PLACE_SYSTEM);
	assert_int_equal(config.origins[index_of("alias")].kind, VM_ORIGIN_DEFAULT);
}

static void the_user_is_found_by_absolute_paths_only(void **state)
{
	VM_AUTO(vm_places_free) struct vm_places places = {.count = 0};
	struct vm_err err = {0};

	(void)state;
	setenv("XDG_CONFIG_HOME", "relative", 1);
	setenv("HOME", "/home/u", 1);
	assert_int_equal(vm_places_find_from("/etc/vmctl", "/root", &places, &err), 0);
	assert_int_equal(places.count, 3);
	assert_string_equal(places.list[1].file, "/home/u/.config/vmctl/vmctl.yaml");
	vm_places_free(&places);
	unsetenv("HOME");
	assert_int_equal(vm_places_find_from("/etc/vmctl", "/root", &places, &err), 0);
	assert_int_equal(places.count, 2);
	vm_places_free(&places);
	/* One directory under two names is read, and its hooks are run, once. */
	setenv("XDG_CONFIG_HOME", "/etc", 1);
	assert_int_equal(vm_places_find_from("/etc/vmctl", "/root", &places, &err), 0);
	assert_int_equal(places.count, 2);
	assert_int_equal(places.list[1].place, VM_PLACE_ROOT);
}

static void the_environment_wins_over_all_files(void **state)
{
	struct vm_config config;
	struct vm_err err = {0};
	size_t fake = index_of("fake"), hypervisor = index_of("hypervisor");

	(void)state;
	write_file("root/vmctl.yaml", "hypervisor: fake\nfake: /by/file\n");
	setenv("VMCTL_FAKE", "by/environment", 1);
	assert_int_equal(vm_config_load_from("etc", "root", &config, &err), 0);
	assert_string_equal(vm_config_binary(&config, "fake"), "by/environment");
	assert_string_equal(config.hypervisor, "fake");
	assert_int_equal(config.origins[fake].kind, VM_ORIGIN_ENVIRONMENT);
	assert_string_equal(config.origins[fake].variable, "VMCTL_FAKE");
	assert_int_equal(config.origins[hypervisor].kind, VM_ORIGIN_FILE);
	setenv("VMCTL_FAKE", "", 1); /* as if it were not set */
	setenv("VMCTL_HYPERVISOR", "auto", 1);
	assert_int_equal(vm_config_load_from("etc", "root", &config, &err), 0);
	assert_string_equal(vm_config_binary(&config, "fake"), "/by/file");
	assert_string_equal(config.hypervisor, "auto");
	assert_int_equal(config.origins[hypervisor].kind, VM_ORIGIN_ENVIRONMENT);
	setenv("VMCTL_HYPERVISOR", "a-name-that-is-much-longer-than-any-driver-has", 1);
	assert_int_equal(vm_config_load_from("etc", "root", &config, &err), -1);
	assert_int_equal(err.code, VM_ERR_USAGE);
	assert_non_null(strstr(err.message, "$VMCTL_HYPERVISOR: "));
}

static void what_is_shown_is_read_again_as_the_same(void **state)
{
	static const char *const texts[] = {
	        ("limits: {max_running: 7, memory_overcommit: 1.25, min_free_disk: 1500,\n"
	         "  max_concurrent_restores: 3}\nwait: none\napi_timeout: 1500ms\n"),
	        "limits: {min_free_disk: 3G}\nwait: forever\nalias: symlink\nfake: /x\n",
	        "memory: {diff: reflink, pool_max: 0}\nhooks: {timeout: 2m}\nhypervisor: fake\n",
	        "memory: {pool_max: 1025K}\nevents_kept: 1\n"};

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(texts); i++) {
		struct vm_config config, again;
		char key[VM_SETTING_KEY_SIZE], value[VM_SETTING_VALUE_SIZE], text[8192];

		vm_config_init(&config);
		vm_config_init(&again);
		parse_ok(texts[i], &config);
		for (size_t n = 0; n < vm_settings_count(); n++) {
			const char *dot = strchr(vm_setting_key(n, key), '.');

			snprintf(text, sizeof(text), "%.*s%s%s: '%s'%s\n",
			         dot ? (int)(dot - key) : 0, key, dot ? ": {" : "",
			         dot ? dot + 1 : key, vm_setting_text(&config, n, value),
			         dot ? "}" : "");
			parse_ok(text, &again);
		}
		memcpy(again.origins, config.origins, sizeof(again.origins));
		assert_memory_equal(&config, &again, sizeof(config));
	}
}

static void what_others_could_have_written_is_refused(void **state)
{
	struct vm_config config;
	struct vm_err err = {0};

	(void)state;
	if (geteuid() != 0)
		skip();
	write_file("root/vmctl.yaml", "wait: 1s\n");
	assert_int_equal(chmod("root/vmctl.yaml", 0602), 0);
	assert_int_equal(vm_config_load_from("etc", "root", &config, &err), -1);
	assert_int_equal(err.code, VM_ERR_USAGE);
	assert_non_null(strstr(err.message, "root/vmctl.yaml can be written by others"));
	vm_err_clear(&err);
	/* By a group: root's own may. */
	assert_int_equal(chmod("root/vmctl.yaml", 0660), 0);
	assert_int_equal(chown("root/vmctl.yaml", 0, 0), 0);
	assert_int_equal(vm_config_load_from("etc", "root", &config, &err), 0);
	assert_int_equal(chown("root/vmctl.yaml", 0, 12345), 0);
	assert_int_equal(vm_config_load_from("etc", "root", &config, &err), -1);
	vm_err_clear(&err);
	assert_int_equal(chmod("root/vmctl.yaml", 0600), 0);
	assert_int_equal(chown("root/vmctl.yaml", 54321, 0), 0);
	assert_int_equal(vm_config_load_from("etc", "root", &config, &err), -1);
	assert_non_null(
	        strstr(err.message, "root/vmctl.yaml belongs to uid 54321, and vmctl runs"));
	assert_non_null(strstr(err.hint, "sudo"));
}

/* Whose word counts: trust.h. Not for root, who takes more care. */
static void a_user_takes_the_word_of_root_and_of_himself(void **state)
{
	bool was_root = geteuid() == 0;
	struct stat st = {.st_mode = S_IFREG | 0666};
	struct vm_err err = {0};

	(void)state;
	if (was_root)
		assert_int_equal(seteuid(65534), 0);
	st.st_uid = geteuid();
	assert_int_equal(vm_trust_check(&st, "own", true, &err), 0);
	st.st_uid = 0;
	assert_int_equal(vm_trust_check(&st, "of root", true, &err), 0);
	st.st_uid = 12345;
	assert_int_equal(vm_trust_check(&st, "of the data root", false, &err), 0);
	assert_int_equal(vm_trust_check(&st, "foreign", true, &err), -1);
	assert_int_equal(err.code, VM_ERR_USAGE);
	assert_non_null(strstr(err.message, "foreign belongs to uid 12345, and vmctl runs as "));
	if (was_root)
		assert_int_equal(seteuid(0), 0);
}

static void a_file_that_is_there_but_cannot_be_used_is_an_error(void **state)
{
	struct vm_config config = {.max_running = 42};
	struct vm_err err = {0};

	(void)state;
	write_file("etc/vmctl.yaml", "wait: never\n");
	assert_int_equal(vm_config_load_from("etc", "root", &config, &err), -1);
	assert_string_equal(err.message, "etc/vmctl.yaml:1: wait: 'never' is not a duration");
	vm_err_clear(&err);
	unlink("etc/vmctl.yaml");
	assert_int_equal(mkdir("root/vmctl.yaml", 0700), 0);
	assert_int_equal(vm_config_load_from("etc", "root", &config, &err), -1);
	rmdir("root/vmctl.yaml");
	assert_int_equal(err.code, VM_ERR_USAGE);
	assert_string_equal(err.message, "settings: root/vmctl.yaml is a directory, not a file");
	assert_int_equal(config.max_running, 42);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(without_a_file_the_defaults_hold, enter_scratch,
	                                        leave_scratch),
	        cmocka_unit_test_setup_teardown(the_data_root_wins_over_the_system_key_by_key,
	                                        enter_scratch, leave_scratch),
	        cmocka_unit_test(a_user_takes_the_word_of_root_and_of_himself),
	        cmocka_unit_test(what_is_shown_is_read_again_as_the_same),
	        cmocka_unit_test_setup_teardown(the_user_stands_between_system_and_data_root,
	                                        enter_scratch, leave_scratch),
	        cmocka_unit_test_setup_teardown(the_user_is_found_by_absolute_paths_only,
	                                        enter_scratch, leave_scratch),
	        cmocka_unit_test_setup_teardown(the_environment_wins_over_all_files, enter_scratch,
	                                        leave_scratch),
	        cmocka_unit_test_setup_teardown(what_others_could_have_written_is_refused,
	                                        enter_scratch, leave_scratch),
	        cmocka_unit_test_setup_teardown(the_environment_names_the_only_file, enter_scratch,
	                                        leave_scratch),
	        cmocka_unit_test_setup_teardown(a_file_that_is_there_but_cannot_be_used_is_an_error,
	                                        enter_scratch, leave_scratch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
