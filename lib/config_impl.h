/* SPDX-License-Identifier: Apache-2.0 */
/* Private to lib/config*.c: the table of settings. */
#ifndef VM_CONFIG_IMPL_H
#define VM_CONFIG_IMPL_H

#include "config.h"

enum vm_setting_kind {
	VM_SETTING_COUNT,   /* unsigned */
	VM_SETTING_RATIO,   /* double; 0: no limit */
	VM_SETTING_SIZE,    /* uint64_t, bytes */
	VM_SETTING_WAIT,    /* int64_t, milliseconds; 0: none, -1: for ever */
	VM_SETTING_TIMEOUT, /* the same, but neither of the two */
	VM_SETTING_CHOICE,  /* an enum, its values in the order of `choices` */
	VM_SETTING_NAME,    /* char[VM_HYPERVISOR_MAX + 1] */
	VM_SETTING_PATH,    /* char[VM_SETTING_VALUE_SIZE] */
};

struct vm_setting {
	const char *section; /* the map that it is in, or NULL */
	const char *name;
	enum vm_setting_kind kind;
	size_t offset; /* in struct vm_config */
	unsigned min, max;
	const char *const *choices; /* NULL-terminated */
	const char *variable;       /* of the environment, which wins over the files; or NULL */
};

/* Number `index` of vm_settings_count(); the binaries of the drivers come last. */
struct vm_setting vm_setting_at(size_t index);
/*
 * Parses a value. `what` begins the message: the place in a file, or a variable. Errors: usage.
 */
int vm_setting_parse(const struct vm_setting *setting, const char *text, const char *what,
                     struct vm_config *config, struct vm_err *err);

#endif
