/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "config_impl.h"
#include "driver/driver.h"
#include "store.h"
#include "util.h"
#include "yamldoc.h"

enum {
	MAX_RUNNING_LIMIT = 1000000,
	MAX_RESTORES_LIMIT = 1024,
	MIN_TIMEOUT_MS = 100,
};
static const double max_overcommit = 1000;

static const char *const alias_names[] = {
        [VM_ALIAS_AUTO] = "auto",
        [VM_ALIAS_NAMESPACE] = "namespace",
        [VM_ALIAS_SYMLINK] = "symlink",
        NULL,
};
static const char *const diff_names[] = {
        [VM_MEMORY_DIFF_OFF] = "off",
        [VM_MEMORY_DIFF_REFLINK] = "reflink",
        [VM_MEMORY_DIFF_AUTO] = "auto",
        NULL,
};

#define AT(member) offsetof(struct vm_config, member)

/* Beside these, each driver's name is a key. In this order they are shown. */
static const struct vm_setting settings[] = {
        {.section = "limits",
         .name = "max_running",
         .kind = VM_SETTING_COUNT,
         .offset = AT(max_running),
         .max = MAX_RUNNING_LIMIT},
        {.section = "limits",
         .name = "memory_overcommit",
         .kind = VM_SETTING_RATIO,
         .offset = AT(memory_overcommit)},
        {.section = "limits",
         .name = "min_free_disk",
         .kind = VM_SETTING_SIZE,
         .offset = AT(min_free_disk_bytes)},
        {.section = "limits",
         .name = "max_concurrent_restores",
         .kind = VM_SETTING_COUNT,
         .offset = AT(max_concurrent_restores),
         .max = MAX_RESTORES_LIMIT},
        {.name = "wait", .kind = VM_SETTING_WAIT, .offset = AT(lock_wait_ms)},
        {.name = "api_timeout", .kind = VM_SETTING_TIMEOUT, .offset = AT(api_timeout_ms)},
        {.name = "events_kept",
         .kind = VM_SETTING_COUNT,
         .offset = AT(events_kept),
         .min = 1,
         .max = VM_EVENTS_KEPT_MAX},
        {.name = "alias", .kind = VM_SETTING_CHOICE, .offset = AT(alias), .choices = alias_names},
        {.section = "memory",
         .name = "diff",
         .kind = VM_SETTING_CHOICE,
         .offset = AT(memory_diff),
         .choices = diff_names},
        {.section = "memory",
         .name = "pool_max",
         .kind = VM_SETTING_SIZE,
         .offset = AT(memory_pool_max_bytes)},
        {.section = "hooks",
         .name = "timeout",
         .kind = VM_SETTING_TIMEOUT,
         .offset = AT(hooks_timeout_ms)},
        {.name = "hypervisor",
         .kind = VM_SETTING_NAME,
         .offset = AT(hypervisor),
         .variable = "VMCTL_HYPERVISOR"},
};
_Static_assert(VM_ARRAY_LEN(settings) == VM_CONFIG_OTHERS, "the origins are counted like them");
_Static_assert(sizeof(enum vm_alias_method) == sizeof(int) &&
                       sizeof(enum vm_memory_diff) == sizeof(int),
               "choices are stored as int");

size_t vm_settings_count(void)
{
	size_t count = VM_CONFIG_OTHERS;

	while (vm_drivers[count - VM_CONFIG_OTHERS])
		count++;
	return count;
}

struct vm_setting vm_setting_at(size_t index)
{
	const struct vm_driver *driver;

	if (index < VM_CONFIG_OTHERS)
		return settings[index];
	driver = vm_drivers[index - VM_CONFIG_OTHERS];
	return (struct vm_setting){
	        .name = driver->name,
	        .kind = VM_SETTING_PATH,
	        .offset = AT(binaries) +
	                  (index - VM_CONFIG_OTHERS) * sizeof(struct vm_config_binary) +
	                  offsetof(struct vm_config_binary, path),
	        .variable = driver->binary_variable,
	};
}

void vm_config_init(struct vm_config *config)
{
	*config = (struct vm_config){
	        .hypervisor = "auto",
	        .min_free_disk_bytes = UINT64_C(256) << 20,
	        .lock_wait_ms = 30000,
	        .api_timeout_ms = 30000,
	        .events_kept = VM_EVENTS_KEPT,
	        .memory_diff = VM_MEMORY_DIFF_AUTO,
	        .memory_pool_max_bytes = UINT64_C(1) << 30,
	        .hooks_timeout_ms = 30000,
	};
	for (size_t i = 0; vm_drivers[i]; i++) {
		assert(i < VM_CONFIG_BINARIES_MAX);
		config->binaries[i].hypervisor = vm_drivers[i]->name;
	}
}

const char *vm_config_binary(const struct vm_config *config, const char *hypervisor)
{
	for (size_t i = 0; i < VM_CONFIG_BINARIES_MAX && config->binaries[i].hypervisor; i++) {
		if (strcmp(config->binaries[i].hypervisor, hypervisor) == 0)
			return config->binaries[i].path;
	}
	return "";
}

const char *vm_alias_method_name(enum vm_alias_method method)
{
	return alias_names[method];
}

/* --- values
 * --------------------------------------------------------------------------------------*/

static int parse_ratio(const char *text, const char *what, double *ret, struct vm_err *err)
{
	/* Digits and a point only: strtod() would take nan, inf, hex and signs too. */
	char *end = NULL;
	double value = strtod(text, &end);

	if (!isdigit((unsigned char)*text) || *end || text[strspn(text, "0123456789.")])
		return vm_err_set(err, VM_ERR_USAGE, "%s: '%.64s' is not a number such as 1.5",
		                  what, text);
	if (value > max_overcommit || (value > 0 && value < 0.01))
		return vm_err_set(err, VM_ERR_USAGE,
		                  "%s: %.64s is out of range (0.01 to %g, or 0 for no limit)", what,
		                  text, max_overcommit);
	*ret = value;
	return 0;
}

static int parse_timeout(const char *text, const char *what, int64_t *ret_ms, struct vm_err *err)
{
	int64_t ms = 0;

	if (vm_duration_parse(text, what, &ms, err))
		return -1;
	if (ms < MIN_TIMEOUT_MS)
		return vm_err_set(err, VM_ERR_USAGE, "%s: %s", what,
		                  ms < 0 ? "there must be a limit" : "must be at least 100ms");
	*ret_ms = ms;
	return 0;
}

static int parse_choice(const struct vm_setting *setting, const char *text, const char *what,
                        int *ret, struct vm_err *err)
{
	char all[128] = "";

	for (int i = 0; setting->choices[i]; i++) {
		size_t used = strlen(all);

		if (strcmp(text, setting->choices[i]) == 0) {
			*ret = i;
			return 0;
		}
		snprintf(all + used, sizeof(all) - used, "%s%s", i ? ", " : "",
		         setting->choices[i]);
	}
	return vm_err_set(err, VM_ERR_USAGE, "%s: '%.64s' is none of %s", what, text, all);
}

static int parse_text(const char *text, const char *what, char *ret, size_t size,
                      struct vm_err *err)
{
	if (strlen(text) >= size)
		return vm_err_set(err, VM_ERR_USAGE, "%s: is longer than %zu bytes", what,
		                  size - 1);
	memcpy(ret, text, strlen(text) + 1);
	return 0;
}

/* Whether there is a driver of that name is for who creates something by it. */
static int parse_name(const char *text, const char *what, char *ret, struct vm_err *err)
{
	if (!*text || strlen(text) > VM_HYPERVISOR_MAX)
		return vm_err_set(err, VM_ERR_USAGE, "%s: '%.64s' is not the name of a hypervisor",
		                  what, text);
	return parse_text(text, what, ret, VM_HYPERVISOR_MAX + 1, err);
}

int vm_setting_parse(const struct vm_setting *setting, const char *text, const char *what,
                     struct vm_config *config, struct vm_err *err)
{
	void *at = (char *)config + setting->offset;
	int64_t n;

	switch (setting->kind) {
	case VM_SETTING_COUNT:
		if (vm_int_parse(text, what, setting->min, setting->max, &n, err))
			return -1;
		*(unsigned *)at = (unsigned)n;
		return 0;
	case VM_SETTING_RATIO:
		return parse_ratio(text, what, at, err);
	case VM_SETTING_SIZE:
		return vm_size_parse(text, what, at, err);
	case VM_SETTING_WAIT:
		return vm_duration_parse(text, what, at, err);
	case VM_SETTING_TIMEOUT:
		return parse_timeout(text, what, at, err);
	case VM_SETTING_CHOICE:
		return parse_choice(setting, text, what, at, err);
	case VM_SETTING_NAME:
		return parse_name(text, what, at, err);
	default:
		return parse_text(text, what, at, VM_SETTING_VALUE_SIZE, err);
	}
}

/* --- the file
 * ------------------------------------------------------------------------------------*/

static bool same(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

/* The keys that a map may have: below a section, or at the top, where sections are keys too. */
static int check_keys(const struct vm_yaml *doc, const struct vm_yaml_node *map,
                      const char *section, struct vm_err *err)
{
	const char *known[VM_SETTINGS_MAX + 1] = {NULL};
	size_t count = 0;

	for (size_t i = 0; i < vm_settings_count(); i++) {
		struct vm_setting setting = vm_setting_at(i);
		const char *key = NULL;

		if (same(setting.section, section))
			key = setting.name;
		else if (!section)
			key = setting.section;
		if (key && (count == 0 || strcmp(known[count - 1], key) != 0))
			known[count++] = key;
	}
	return vm_yaml_check_keys(doc, map, known, err);
}

/* All settings of a section, or, for NULL, those of none. */
static int take_map(const struct vm_yaml *doc, const struct vm_yaml_node *map, const char *section,
                    enum vm_place place, struct vm_config *config, struct vm_err *err)
{
	/* Nothing below "limits:" is a file with all of them commented out. */
	if (!map || vm_yaml_is_null(map))
		return 0;
	if (check_keys(doc, map, section, err))
		return -1;
	for (size_t i = 0; i < vm_settings_count(); i++) {
		struct vm_setting setting = vm_setting_at(i);
		const struct vm_yaml_node *node =
		        same(setting.section, section) ? vm_yaml_get(map, setting.name) : NULL;
		char where[VM_YAML_WHERE_MAX];
		const char *text = NULL;

		if (!node)
			continue;
		if (vm_yaml_text(doc, node, &text, err))
			return -1;
		/* What is searched for in the environment's way has no business in a file. */
		if (setting.kind == VM_SETTING_PATH && *text && *text != '/')
			return vm_yaml_fail(doc, node, err, "'%.200s' is not an absolute path",
			                    text);
		if (vm_setting_parse(&setting, text, vm_yaml_where(doc, node, where), config, err))
			return -1;
		config->origins[i] = (struct vm_origin){
		        .kind = VM_ORIGIN_FILE, .place = place, .line = node->line};
	}
	return 0;
}

int vm_config_parse(const char *text, size_t len, const char *file, enum vm_place place,
                    struct vm_config *config, struct vm_err *err)
{
	VM_AUTO(vm_yaml_free) struct vm_yaml doc = {0};
	struct vm_config changed = *config;
	const char *section = NULL;

	if (vm_yaml_parse(text, len, file, &doc, err) ||
	    take_map(&doc, doc.root, NULL, place, &changed, err))
		return -1;
	for (size_t i = 0; i < VM_ARRAY_LEN(settings); i++) {
		if (same(settings[i].section, section))
			continue;
		section = settings[i].section;
		if (section &&
		    take_map(&doc, vm_yaml_get(doc.root, section), section, place, &changed, err))
			return -1;
	}
	*config = changed;
	return 0;
}
