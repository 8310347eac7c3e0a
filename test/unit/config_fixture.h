/* SPDX-License-Identifier: Apache-2.0 */
/* What both tests of the settings need. */
#ifndef VM_TEST_CONFIG_FIXTURE_H
#define VM_TEST_CONFIG_FIXTURE_H

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
#include "util.h"

static inline void parse_ok(const char *text, struct vm_config *config)
{
	struct vm_err err = {0};

	if (vm_config_parse(text, strlen(text), "vmctl.yaml", VM_PLACE_ROOT, config, &err))
		fail_msg("%s\nin:\n%s", err.message, text);
}

static inline void expect_defaults(const struct vm_config *config)
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

#endif
