/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "driver/driver.h"
#include "store.h"
#include "util.h"
#include "yamldoc.h"

#define SYSTEM_CONFIG "/etc/vmctl/vmctl.yaml"

enum {
	FRACTION = 1000,
	MAX_RUNNING_LIMIT = 1000000,
	MAX_RESTORES_LIMIT = 1024,
	MIN_API_TIMEOUT_MS = 100,
};
static const double max_overcommit = 1000;
static const int64_t max_duration_ms = INT64_C(366) * 24 * 3600 * 1000;

/* Beside these, each driver's name is a key. */
static const char *const config_keys[] = {"hypervisor",  "limits", "wait",  "api_timeout",
                                          "events_kept", "alias",  "memory"};
static const char *const limit_keys[] = {
        "max_running", "memory_overcommit", "min_free_disk", "max_concurrent_restores", NULL,
};

static const char *const memory_keys[] = {"diff", "pool_max", NULL};

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

/* Milliseconds of a unit, 0 for what is none. No unit means seconds. */
static int64_t unit_ms(const char *unit)
{
	static const struct {
		const char *name;
		int64_t ms;
	} units[] = {{"", 1000},     {"s", 1000},     {"ms", 1},       {"m", 60000},
	             {"h", 3600000}, {"d", 86400000}, {"w", 604800000}};

	for (size_t i = 0; i < VM_ARRAY_LEN(units); i++) {
		if (strcmp(unit, units[i].name) == 0)
			return units[i].ms;
	}
	return 0;
}

/* Up to three decimals after the point at *at, in thousandths; *at goes behind them. */
static int64_t fraction_of(char **at)
{
	int64_t value = 0;

	if (**at != '.' || !isdigit((unsigned char)(*at)[1]))
		return 0;
	(*at)++;
	for (int64_t digit = FRACTION / 10; isdigit((unsigned char)**at); digit /= 10)
		value += digit * (*(*at)++ - '0');
	return value;
}

int vm_duration_parse(const char *text, const char *what, int64_t *ret_ms, struct vm_err *err)
{
	char *end = NULL;
	int64_t scale = 0;
	intmax_t n = 0;
	int64_t fraction = 0;

	if (strcmp(text, "none") == 0 || strcmp(text, "forever") == 0) {
		*ret_ms = strcmp(text, "none") == 0 ? 0 : -1;
		return 0;
	}
	errno = 0;
	if (isdigit((unsigned char)*text)) {
		n = strtoimax(text, &end, 10);
		fraction = fraction_of(&end);
		scale = unit_ms(end);
	}
	if (scale == 0) {
		vm_err_set(err, VM_ERR_USAGE, "%s: '%.64s' is not a duration", what, text);
		return vm_err_hint(err, "seconds, or e.g. 500ms, 1.5s, 2m, 1h, 7d, none, forever");
	}
	if (errno == ERANGE || n > max_duration_ms / scale) {
		vm_err_set(err, VM_ERR_USAGE, "%s: '%.64s' is more than a year", what, text);
		return vm_err_hint(err, "'forever' waits without a limit");
	}
	*ret_ms = n * scale + fraction * scale / FRACTION;
	return 0;
}

/* --- the file
 * ------------------------------------------------------------------------------------*/

static int take_overcommit(const struct vm_yaml *doc, const struct vm_yaml_node *node, double *ret,
                           struct vm_err *err)
{
	const char *text = NULL;
	char *end = NULL;
	double value;

	if (vm_yaml_text(doc, node, &text, err))
		return -1;
	if (!text)
		return 0;
	/* Digits and a point only: strtod() would take nan, inf, hex and signs too. */
	value = strtod(text, &end);
	if (!isdigit((unsigned char)*text) || *end || text[strspn(text, "0123456789.")])
		return vm_yaml_fail(doc, node, err, "'%.64s' is not a number such as 1.5", text);
	if (value > max_overcommit || (value > 0 && value < 0.01))
		return vm_yaml_fail(doc, node, err,
		                    "%.64s is out of range (0.01 to %g, or 0 for no "
		                    "limit)",
		                    text, max_overcommit);
	*ret = value;
	return 0;
}

static int take_duration(const struct vm_yaml *doc, const struct vm_yaml_node *node, int64_t *ret,
                         struct vm_err *err)
{
	char where[VM_YAML_WHERE_MAX];
	const char *text = NULL;

	if (vm_yaml_text(doc, node, &text, err))
		return -1;
	if (!text)
		return 0;
	return vm_duration_parse(text, vm_yaml_where(doc, node, where), ret, err);
}

static int take_api_timeout(const struct vm_yaml *doc, const struct vm_yaml_node *node,
                            int64_t *ret, struct vm_err *err)
{
	int64_t ms = *ret;

	if (take_duration(doc, node, &ms, err))
		return -1;
	if (node && ms < MIN_API_TIMEOUT_MS)
		return vm_yaml_fail(doc, node, err,
		                    ms < 0 ? "a call to a hypervisor must have a limit"
		                           : "must be at least 100ms");
	*ret = ms;
	return 0;
}

const char *vm_alias_method_name(enum vm_alias_method method)
{
	static const char *const names[] = {
	        [VM_ALIAS_AUTO] = "auto",
	        [VM_ALIAS_NAMESPACE] = "namespace",
	        [VM_ALIAS_SYMLINK] = "symlink",
	};

	return names[method];
}

static int take_alias(const struct vm_yaml *doc, const struct vm_yaml_node *node,
                      enum vm_alias_method *ret, struct vm_err *err)
{
	const char *text = NULL;

	if (vm_yaml_text(doc, node, &text, err))
		return -1;
	if (!text)
		return 0;
	for (int method = VM_ALIAS_AUTO; method <= VM_ALIAS_SYMLINK; method++) {
		if (strcmp(text, vm_alias_method_name((enum vm_alias_method)method)) == 0) {
			*ret = (enum vm_alias_method)method;
			return 0;
		}
	}
	return vm_yaml_fail(doc, node, err, "'%.64s' is none of auto, namespace, symlink", text);
}

/* An absolute path, or "" to go back to the default. */
static int take_binary(const struct vm_yaml *doc, struct vm_config_binary *binary,
                       struct vm_err *err)
{
	const struct vm_yaml_node *node = vm_yaml_get(doc->root, binary->hypervisor);
	const char *text = NULL;

	if (vm_yaml_text(doc, node, &text, err))
		return -1;
	if (!text)
		return 0;
	if (*text && *text != '/')
		return vm_yaml_fail(doc, node, err, "'%.200s' is not an absolute path", text);
	if (strlen(text) >= sizeof(binary->path))
		return vm_yaml_fail(doc, node, err, "is longer than %zu bytes",
		                    sizeof(binary->path) - 1);
	memcpy(binary->path, text, strlen(text) + 1);
	return 0;
}

/* Whether there is a driver of that name is for who creates something by it. */
static int take_hypervisor(const struct vm_yaml *doc, const struct vm_yaml_node *node,
                           struct vm_config *config, struct vm_err *err)
{
	const char *text = NULL;

	if (vm_yaml_text(doc, node, &text, err))
		return -1;
	if (!text)
		return 0;
	if (!*text || strlen(text) >= sizeof(config->hypervisor))
		return vm_yaml_fail(doc, node, err, "'%.64s' is not the name of a hypervisor",
		                    text);
	memcpy(config->hypervisor, text, strlen(text) + 1);
	return 0;
}

static int take_binaries(const struct vm_yaml *doc, struct vm_config *config, struct vm_err *err)
{
	for (size_t i = 0; i < VM_CONFIG_BINARIES_MAX && config->binaries[i].hypervisor; i++) {
		if (take_binary(doc, &config->binaries[i], err))
			return -1;
	}
	return 0;
}

static int take_limits(const struct vm_yaml *doc, const struct vm_yaml_node *map,
                       struct vm_config *config, struct vm_err *err)
{
	/* Nothing below "limits:" is a file with all of them commented out. */
	if (!map || vm_yaml_is_null(map))
		return 0;
	if (vm_yaml_check_keys(doc, map, limit_keys, err))
		return -1;
	if (vm_yaml_unsigned(doc, vm_yaml_get(map, "max_running"), 0, MAX_RUNNING_LIMIT,
	                     &config->max_running, err) ||
	    take_overcommit(doc, vm_yaml_get(map, "memory_overcommit"), &config->memory_overcommit,
	                    err) ||
	    vm_yaml_size(doc, vm_yaml_get(map, "min_free_disk"), &config->min_free_disk_bytes,
	                 err) ||
	    vm_yaml_unsigned(doc, vm_yaml_get(map, "max_concurrent_restores"), 0,
	                     MAX_RESTORES_LIMIT, &config->max_concurrent_restores, err))
		return -1;
	return 0;
}

static int take_diff(const struct vm_yaml *doc, const struct vm_yaml_node *node,
                     enum vm_memory_diff *ret, struct vm_err *err)
{
	static const char *const names[] = {[VM_MEMORY_DIFF_OFF] = "off",
	                                    [VM_MEMORY_DIFF_REFLINK] = "reflink",
	                                    [VM_MEMORY_DIFF_AUTO] = "auto"};
	const char *text = NULL;

	if (vm_yaml_text(doc, node, &text, err))
		return -1;
	if (!text)
		return 0;
	for (size_t i = 0; i < VM_ARRAY_LEN(names); i++) {
		if (strcmp(text, names[i]) == 0) {
			*ret = (enum vm_memory_diff)i;
			return 0;
		}
	}
	return vm_yaml_fail(doc, node, err, "'%.64s' is none of auto, reflink and off", text);
}

static int take_memory(const struct vm_yaml *doc, const struct vm_yaml_node *map,
                       struct vm_config *config, struct vm_err *err)
{
	if (!map || vm_yaml_is_null(map))
		return 0;
	if (vm_yaml_check_keys(doc, map, memory_keys, err) ||
	    take_diff(doc, vm_yaml_get(map, "diff"), &config->memory_diff, err) ||
	    vm_yaml_size(doc, vm_yaml_get(map, "pool_max"), &config->memory_pool_max_bytes, err))
		return -1;
	return 0;
}

static int check_keys(const struct vm_yaml *doc, const struct vm_config *config, struct vm_err *err)
{
	const char *known[VM_ARRAY_LEN(config_keys) + VM_CONFIG_BINARIES_MAX + 1] = {NULL};
	size_t count = VM_ARRAY_LEN(config_keys);

	memcpy(known, config_keys, sizeof(config_keys));
	for (size_t i = 0; i < VM_CONFIG_BINARIES_MAX && config->binaries[i].hypervisor; i++)
		known[count++] = config->binaries[i].hypervisor;
	return vm_yaml_check_keys(doc, doc->root, known, err);
}

static int take_config(const struct vm_yaml *doc, struct vm_config *config, struct vm_err *err)
{
	const struct vm_yaml_node *root = doc->root;

	if (!root || vm_yaml_is_null(root))
		return 0;
	if (check_keys(doc, config, err))
		return -1;
	if (take_limits(doc, vm_yaml_get(root, "limits"), config, err) ||
	    take_duration(doc, vm_yaml_get(root, "wait"), &config->lock_wait_ms, err) ||
	    take_api_timeout(doc, vm_yaml_get(root, "api_timeout"), &config->api_timeout_ms, err) ||
	    take_binaries(doc, config, err) ||
	    take_hypervisor(doc, vm_yaml_get(root, "hypervisor"), config, err) ||
	    take_alias(doc, vm_yaml_get(root, "alias"), &config->alias, err) ||
	    take_memory(doc, vm_yaml_get(root, "memory"), config, err) ||
	    vm_yaml_unsigned(doc, vm_yaml_get(root, "events_kept"), 1, VM_EVENTS_KEPT_MAX,
	                     &config->events_kept, err))
		return -1;
	return 0;
}

int vm_config_parse(const char *text, size_t len, const char *origin, struct vm_config *config,
                    struct vm_err *err)
{
	VM_AUTO(vm_yaml_free) struct vm_yaml doc = {0};
	struct vm_config changed = *config;

	if (vm_yaml_parse(text, len, origin, &doc, err) || take_config(&doc, &changed, err))
		return -1;
	*config = changed;
	return 0;
}

/* --- the layers
 * ----------------------------------------------------------------------------------*/

static int load_file(const char *path, bool must_exist, struct vm_config *config,
                     struct vm_err *err)
{
	VM_AUTO_FREE char *text = NULL;
	size_t len;

	if (vm_yaml_read(path, &text, &len, err)) {
		if (must_exist || err->code != VM_ERR_NOT_FOUND)
			return vm_err_wrap(err, "settings");
		vm_err_clear(err);
		return 0;
	}
	return vm_config_parse(text, len, path, config, err);
}

int vm_config_load_from(const char *system_path, const char *root_path,
                        struct vm_config *ret_config, struct vm_err *err)
{
	const char *only = getenv("VMCTL_CONFIG");
	VM_AUTO_FREE char *own = NULL;
	struct vm_config config;

	vm_config_init(&config);
	if (only && *only) {
		if (load_file(only, true, &config, err)) {
			if (err->code == VM_ERR_NOT_FOUND)
				vm_err_hint(err, "$VMCTL_CONFIG names it; correct or unset that");
			return -1;
		}
		*ret_config = config;
		return 0;
	}
	own = vm_strf(err, "%s/vmctl.yaml", root_path);
	if (!own || load_file(system_path, false, &config, err) ||
	    load_file(own, false, &config, err))
		return -1;
	*ret_config = config;
	return 0;
}

int vm_config_load(const char *root_path, struct vm_config *ret_config, struct vm_err *err)
{
	return vm_config_load_from(SYSTEM_CONFIG, root_path, ret_config, err);
}
