/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"
#include "trust.h"
#include "util.h"

static void a_duration_is_seconds_or_has_a_unit(void **state)
{
	static const struct {
		const char *text;
		int64_t ms;
	} cases[] = {
	        {"none", 0},
	        {"forever", -1},
	        {"0", 0},
	        {"5", 5000},
	        {"5s", 5000},
	        {"500ms", 500},
	        {"2m", 120000},
	        {"1h", 3600000},
	        {"007s", 7000},
	        {"0.5", 500},
	        {"1.25s", 1250},
	        {"0.0019", 1},
	        {"8784h", INT64_C(31622400000)},
	        {"31622400000ms", INT64_C(31622400000)},
	};

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(cases); i++) {
		struct vm_err err = {0};
		int64_t ms = 77;

		if (vm_duration_parse(cases[i].text, "--wait", &ms, &err))
			fail_msg("%s: %s", cases[i].text, err.message);
		assert_true(ms == cases[i].ms);
	}
}

static void what_is_no_duration_is_refused(void **state)
{
	static const char *const texts[] = {"",    " ",    "-1",  "+1",   "s",     "ms",
	                                    "1 s", " 1",   "1.s", ".5",   "1..5",  "1y",
	                                    "5S",  "5sec", "1s ", "None", "1h30m", "0x5"};
	static const char *const large[] = {"8785h", "31622401", "9223372036854775807",
	                                    "99999999999999999999999", "99999999999999999999999ms"};

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(texts); i++) {
		struct vm_err err = {0};
		int64_t ms = 77;

		if (vm_duration_parse(texts[i], "--wait", &ms, &err) != -1)
			fail_msg("was taken: '%s'", texts[i]);
		assert_int_equal(err.code, VM_ERR_USAGE);
		assert_non_null(strstr(err.message, "--wait: '"));
		assert_non_null(strstr(err.message, "is not a duration"));
		assert_int_equal(ms, 77);
	}
	for (size_t i = 0; i < VM_ARRAY_LEN(large); i++) {
		struct vm_err err = {0};
		int64_t ms = 77;

		assert_int_equal(vm_duration_parse(large[i], "--wait", &ms, &err), -1);
		assert_non_null(strstr(err.message, "is more than a year"));
		assert_non_null(strstr(err.hint, "forever"));
		assert_int_equal(ms, 77);
	}
}

static void parse_ok(const char *text, struct vm_config *config)
{
	struct vm_err err = {0};

	if (vm_config_parse(text, strlen(text), "vmctl.yaml", VM_PLACE_ROOT, config, &err))
		fail_msg("%s\nin:\n%s", err.message, text);
}

static void expect_defaults(const struct vm_config *config)
{
	assert_int_equal(config->max_running, 0);
	assert_true(config->memory_overcommit == 0.0);
	assert_int_equal(config->min_free_disk_bytes, 256 << 20);
	assert_int_equal(config->max_concurrent_restores, 0);
	assert_int_equal(config->lock_wait_ms, 30000);
	assert_int_equal(config->api_timeout_ms, 30000);
	assert_int_equal(config->events_kept, 100000);
	assert_int_equal(config->alias, VM_ALIAS_AUTO);
	assert_int_equal(config->memory_diff, VM_MEMORY_DIFF_AUTO);
	assert_int_equal(config->memory_pool_max_bytes, 1 << 30);
	assert_int_equal(config->hooks_timeout_ms, 30000);
	assert_string_equal(vm_config_binary(config, "fake"), "");
}

static void every_key_is_read(void **state)
{
	struct vm_config config;

	(void)state;
	vm_config_init(&config);
	parse_ok("limits: {max_running: 100, memory_overcommit: 4.0, min_free_disk: 1G,\n"
	         "         max_concurrent_restores: 32}\n"
	         "wait: 2m\napi_timeout: 500ms\nfake: /usr/bin/fake\nevents_kept: 7\nalias: "
	         "symlink\n"
	         "memory: {diff: off, pool_max: 64M}\nhooks: {timeout: 3s}\n",
	         &config);
	assert_int_equal(config.max_running, 100);
	assert_true(config.memory_overcommit == 4.0);
	assert_int_equal(config.min_free_disk_bytes, 1 << 30);
	assert_int_equal(config.max_concurrent_restores, 32);
	assert_int_equal(config.lock_wait_ms, 120000);
	assert_int_equal(config.api_timeout_ms, 500);
	assert_int_equal(config.events_kept, 7);
	assert_int_equal(config.alias, VM_ALIAS_SYMLINK);
	assert_int_equal(config.memory_diff, VM_MEMORY_DIFF_OFF);
	assert_int_equal(config.memory_pool_max_bytes, 64 << 20);
	assert_int_equal(config.hooks_timeout_ms, 3000);
	assert_string_equal(vm_config_binary(&config, "fake"), "/usr/bin/fake");
}

static void each_way_to_save_memory_has_a_name(void **state)
{
	static const struct {
		const char *text;
		enum vm_memory_diff diff;
	} names[] = {{"memory: {diff: auto}\n", VM_MEMORY_DIFF_AUTO},
	             {"memory: {diff: reflink}\n", VM_MEMORY_DIFF_REFLINK},
	             {"memory: {diff: off}\n", VM_MEMORY_DIFF_OFF}};
	struct vm_config config;

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(names); i++) {
		vm_config_init(&config);
		parse_ok(names[i].text, &config);
		assert_int_equal(config.memory_diff, names[i].diff);
	}
}

static void a_file_with_all_commented_out_changes_nothing(void **state)
{
	static const char *const texts[] = {
	        "",    "# nothing\n", "---\n", "limits:\n  # max_running: 3\n", "limits: {}\n",
	        "{}\n"};
	struct vm_config config;

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(texts); i++) {
		vm_config_init(&config);
		parse_ok(texts[i], &config);
		expect_defaults(&config);
	}
}

static void a_later_text_changes_only_the_keys_it_has(void **state)
{
	struct vm_config config;

	(void)state;
	vm_config_init(&config);
	parse_ok("limits: {max_running: 5, min_free_disk: 0}\nwait: none\nfake: /vmm\n", &config);
	parse_ok("limits: {max_running: 7}\nfake: ''\n", &config);
	assert_int_equal(config.max_running, 7);
	assert_int_equal(config.min_free_disk_bytes, 0);
	assert_int_equal(config.lock_wait_ms, 0);
	assert_string_equal(vm_config_binary(&config, "fake"), "");
}

static const struct {
	const char *text, *message;
} mistakes[] = {
        {"wait: 1s\nwiat: 1s\n", "vmctl.yaml:2: wiat: unknown key (did you mean 'wait'?)"},
        {"max_running: 1\n", "vmctl.yaml:1: max_running: unknown key"},
        {"limits:\n  max_runing: 1\n",
         "vmctl.yaml:2: limits.max_runing: unknown key (did you mean 'max_running'?)"},
        {"limits: 7\n", "vmctl.yaml:1: limits: must be 'key: value' lines"},
        {"limits: [1]\n", "vmctl.yaml:1: limits: must be 'key: value' lines, not a list"},
        {"- 1\n", "vmctl.yaml:1: must be 'key: value' lines, not a list"},
        {"limits: {max_running: -1}\n", "vmctl.yaml:1: limits.max_running: -1 is out of range"},
        {"limits: {max_running: 1000001}\n", "vmctl.yaml:1: limits.max_running: 1000001 is out"},
        {"limits: {max_running: many}\n", "vmctl.yaml:1: limits.max_running: 'many' is not a"},
        {"limits: {max_running: }\n", "vmctl.yaml:1: limits.max_running: has no value"},
        {"limits: {max_concurrent_restores: 1025}\n",
         "vmctl.yaml:1: limits.max_concurrent_restores: 1025 is out of range (0 to 1024)"},
        {"limits: {min_free_disk: lots}\n", "vmctl.yaml:1: limits.min_free_disk: 'lots' is not"},
        {"limits: {memory_overcommit: nan}\n",
         "vmctl.yaml:1: limits.memory_overcommit: 'nan' is not a number such as 1.5"},
        {"limits: {memory_overcommit: inf}\n", "vmctl.yaml:1: limits.memory_overcommit: 'inf'"},
        {"limits: {memory_overcommit: -1}\n", "vmctl.yaml:1: limits.memory_overcommit: '-1'"},
        {"limits: {memory_overcommit: 0x2}\n", "vmctl.yaml:1: limits.memory_overcommit: '0x2'"},
        {"limits: {memory_overcommit: 1e2}\n", "vmctl.yaml:1: limits.memory_overcommit: '1e2'"},
        {"limits: {memory_overcommit: 1.2.3}\n",
         "vmctl.yaml:1: limits.memory_overcommit: '1.2.3' is not"},
        {"limits: {memory_overcommit: 1,5}\n", "vmctl.yaml:1: limits.5: unknown key"},
        {"limits: {memory_overcommit: 0.001}\n",
         "vmctl.yaml:1: limits.memory_overcommit: 0.001 is out of range (0.01 to 1000"},
        {"limits: {memory_overcommit: 1000.5}\n",
         "vmctl.yaml:1: limits.memory_overcommit: 1000.5 is out of range"},
        {"wait: soon\n", "vmctl.yaml:1: wait: 'soon' is not a duration"},
        {"wait: -1\n", "vmctl.yaml:1: wait: '-1' is not a duration"},
        {"api_timeout: 99ms\n", "vmctl.yaml:1: api_timeout: must be at least 100ms"},
        {"memory: {diff: on}\n", "vmctl.yaml:1: memory.diff: 'on' is none of off, reflink, auto"},
        {"memory: {pool: 1G}\n", "vmctl.yaml:1: memory.pool: unknown key"},
        {"memory: {pool_max: lots}\n", "vmctl.yaml:1: memory.pool_max: 'lots' is not"},
        {"memory: 1G\n", "vmctl.yaml:1: memory: must be 'key: value' lines"},
        {"hooks: {timeout: forever}\n", "vmctl.yaml:1: hooks.timeout: there must be a limit"},
        {"hooks: {timeout: none}\n", "vmctl.yaml:1: hooks.timeout: must be at least 100ms"},
        {"hooks: 30s\n", "vmctl.yaml:1: hooks: must be 'key: value' lines"},
        {"alias: link\n", "vmctl.yaml:1: alias: 'link' is none of auto, namespace, symlink"},
        {"events_kept: 0\n", "vmctl.yaml:1: events_kept: 0 is out of range (1 to 1000000)"},
        {"api_timeout: none\n", "vmctl.yaml:1: api_timeout: must be at least 100ms"},
        {"api_timeout: forever\n", "vmctl.yaml:1: api_timeout: there must be a limit"},
        {"fake: bin/vmm\n", "vmctl.yaml:1: fake: 'bin/vmm' is not an absolute path"},
        {"fake: [a]\n", "vmctl.yaml:1: fake: must be a single value"},
        {"fkae: /vmm\n", "vmctl.yaml:1: fkae: unknown key (did you mean 'fake'?)"},
        /* A key only where there is such a driver, and here there is none but the fake one. */
        {"firecracker: /vmm\n", "vmctl.yaml:1: firecracker: unknown key"},
        {"wait: 1s\nwait: 2s\n", "vmctl.yaml:2: wait: given twice (first on line 1)"},
        {"wait: 1s\n---\nwait: 2s\n", "vmctl.yaml:2: a second document begins here"},
        {"wait: [\n", "vmctl.yaml:2:1: YAML syntax: "},
};

static void mistakes_are_refused_and_change_nothing(void **state)
{
	char path[4096 + 32] = "fake: /";
	struct vm_config config;
	struct vm_err err = {0};

	(void)state;
	vm_config_init(&config);
	for (size_t i = 0; i < VM_ARRAY_LEN(mistakes); i++) {
		vm_err_clear(&err);
		if (vm_config_parse(mistakes[i].text, strlen(mistakes[i].text), "vmctl.yaml",
		                    VM_PLACE_ROOT, &config, &err) != -1)
			fail_msg("was taken:\n%s", mistakes[i].text);
		if (strncmp(err.message, mistakes[i].message, strlen(mistakes[i].message)) != 0)
			fail_msg("%s\nbut expected\n%s", err.message, mistakes[i].message);
		assert_int_equal(err.code, VM_ERR_USAGE);
		expect_defaults(&config);
	}
	memset(path + 7, 'p', 4096);
	vm_err_clear(&err);
	assert_int_equal(
	        vm_config_parse(path, strlen(path), "vmctl.yaml", VM_PLACE_ROOT, &config, &err),
	        -1);
	assert_string_equal(err.message, "vmctl.yaml:1: fake: is longer than 4095 bytes");
}

/* --- the layers
 * ----------------------------------------------------------------------------------*/

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
	        "limits: {max_running: 7, memory_overcommit: 1.25, min_free_disk: 1500,\n"
	        "  max_concurrent_restores: 3}\nwait: none\napi_timeout: 1500ms\n",
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
	        cmocka_unit_test(a_duration_is_seconds_or_has_a_unit),
	        cmocka_unit_test(what_is_no_duration_is_refused),
	        cmocka_unit_test(every_key_is_read),
	        cmocka_unit_test(each_way_to_save_memory_has_a_name),
	        cmocka_unit_test(a_file_with_all_commented_out_changes_nothing),
	        cmocka_unit_test(a_later_text_changes_only_the_keys_it_has),
	        cmocka_unit_test(mistakes_are_refused_and_change_nothing),
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
