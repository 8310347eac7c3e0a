/* SPDX-License-Identifier: Apache-2.0 */
#include "config_fixture.h"

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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
