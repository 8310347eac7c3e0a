/* SPDX-License-Identifier: Apache-2.0 */
/* Settings as text: what vm_setting_parse() would read again. */
#include <inttypes.h>
#include <stdio.h>

#include "config_impl.h"
#include "util.h"

const char *vm_setting_key(size_t index, char buf[VM_SETTING_KEY_SIZE])
{
	struct vm_setting setting = vm_setting_at(index);

	snprintf(buf, VM_SETTING_KEY_SIZE, "%s%s%s", setting.section ? setting.section : "",
	         setting.section ? "." : "", setting.name);
	return buf;
}

const char *vm_duration_text(int64_t ms, char *buf, size_t size)
{
	if (ms < 0)
		snprintf(buf, size, "forever");
	else if (ms == 0)
		snprintf(buf, size, "none");
	else if (ms % 1000 != 0)
		snprintf(buf, size, "%" PRId64 "ms", ms);
	else
		snprintf(buf, size, "%" PRId64 "s", ms / 1000);
	return buf;
}

/* Exactly, in the largest unit in which it is whole. */
static const char *size_text(uint64_t bytes, char *buf, size_t size)
{
	static const char units[] = "KMGT";
	size_t unit = 0;

	while (bytes > 0 && bytes % 1024 == 0 && unit < sizeof(units) - 1) {
		bytes /= 1024;
		unit++;
	}
	snprintf(buf, size, "%" PRIu64 "%.*s", bytes, unit > 0, unit > 0 ? &units[unit - 1] : "");
	return buf;
}

const char *vm_setting_text(const struct vm_config *config, size_t index,
                            char buf[VM_SETTING_VALUE_SIZE])
{
	struct vm_setting setting = vm_setting_at(index);
	const void *at = (const char *)config + setting.offset;

	switch (setting.kind) {
	case VM_SETTING_COUNT:
		snprintf(buf, VM_SETTING_VALUE_SIZE, "%u", *(const unsigned *)at);
		return buf;
	case VM_SETTING_RATIO:
		snprintf(buf, VM_SETTING_VALUE_SIZE, "%g", *(const double *)at);
		return buf;
	case VM_SETTING_SIZE:
		return size_text(*(const uint64_t *)at, buf, VM_SETTING_VALUE_SIZE);
	case VM_SETTING_WAIT:
	case VM_SETTING_TIMEOUT:
		return vm_duration_text(*(const int64_t *)at, buf, VM_SETTING_VALUE_SIZE);
	case VM_SETTING_CHOICE:
		snprintf(buf, VM_SETTING_VALUE_SIZE, "%s", setting.choices[*(const int *)at]);
		return buf;
	default:
		snprintf(buf, VM_SETTING_VALUE_SIZE, "%s", (const char *)at);
		return buf;
	}
}

json_t *vm_setting_json(const struct vm_config *config, size_t index)
{
	struct vm_setting setting = vm_setting_at(index);
	const void *at = (const char *)config + setting.offset;
	char text[VM_SETTING_VALUE_SIZE];

	if (setting.kind == VM_SETTING_COUNT)
		return json_integer((json_int_t) * (const unsigned *)at);
	if (setting.kind == VM_SETTING_RATIO)
		return json_real(*(const double *)at);
	return json_string(vm_setting_text(config, index, text));
}
