/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings of a data root, from YAML: $VMCTL_CONFIG alone if that is set, else
 * /etc/vmctl/vmctl.yaml, the user's own and then <root>/vmctl.yaml, key by key; the later wins, and
 * the environment over all of them. A missing file is no error (a missing $VMCTL_CONFIG is).
 * Unknown keys are refused with file, line and a suggestion. Of each key it is known where its
 * value comes from. One table in config.c says what keys there are, and of what kind.
 */
#ifndef VM_CONFIG_H
#define VM_CONFIG_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "spec.h"

enum {
	VM_CONFIG_BINARIES_MAX = 4,
	VM_CONFIG_OTHERS = 12, /* settings beside the binaries */
	VM_SETTINGS_MAX = VM_CONFIG_OTHERS + VM_CONFIG_BINARIES_MAX,
	VM_SETTING_KEY_SIZE = 64,
	VM_SETTING_VALUE_SIZE = 4096,
};

/* How a saved state gets its old directory shown, where it needs that: alias.h. */
enum vm_alias_method {
	VM_ALIAS_AUTO,      /* by a namespace where that is permitted, else by a link */
	VM_ALIAS_NAMESPACE, /* a mount namespace of the VMM's own */
	VM_ALIAS_SYMLINK,   /* a symbolic link for as long as the load takes */
};
/* "auto", "namespace", "symlink". */
const char *vm_alias_method_name(enum vm_alias_method method);

/* Whose settings, templates and hooks are in a directory. */
enum vm_place {
	VM_PLACE_SYSTEM, /* /etc/vmctl */
	VM_PLACE_USER,   /* ${XDG_CONFIG_HOME:-~/.config}/vmctl */
	VM_PLACE_ROOT,   /* the data root */
	VM_PLACE_GIVEN,  /* where $VMCTL_CONFIG is, instead of all others */
};

/* Where a value comes from. */
enum vm_origin_kind { VM_ORIGIN_DEFAULT, VM_ORIGIN_FILE, VM_ORIGIN_ENVIRONMENT };
struct vm_origin {
	enum vm_origin_kind kind;
	enum vm_place place; /* of a file */
	size_t line;
	const char *variable; /* of the environment; a constant */
};

/* Where the binary of a driver is. */
struct vm_config_binary {
	const char *hypervisor; /* the driver's name, constant; NULL: no entry */
	/* Absolute, unless it is from the environment; "": where the driver looks by itself. */
	char path[VM_SETTING_VALUE_SIZE];
};

enum vm_memory_diff {
	VM_MEMORY_DIFF_OFF,
	VM_MEMORY_DIFF_REFLINK, /* where the filesystem shares extents */
	VM_MEMORY_DIFF_AUTO,    /* and, by layers, where it keeps holes */
};

struct vm_config {
	char hypervisor[VM_HYPERVISOR_MAX + 1]; /* of what does not name one, or "auto" */
	unsigned max_running;         /* running and paused, at most 10^6; 0: no limit. Default 0 */
	double memory_overcommit;     /* guests / host, 0.01 to 1000; 0: no limit. Default 0 */
	uint64_t min_free_disk_bytes; /* of the data root's filesystem. Default 256 MiB */
	unsigned max_concurrent_restores; /* 1..1024; 0: the driver's default. Default 0 */
	int64_t lock_wait_ms;       /* default of --wait. Default 30000; "none" 0, "forever" -1 */
	int64_t api_timeout_ms;     /* one call to a VMM. Default 30000, at least 100 */
	unsigned events_kept;       /* the latest events, 1..10^6. Default 100000 */
	enum vm_alias_method alias; /* default auto */
	enum vm_memory_diff memory_diff; /* save only what has changed. Default auto */
	uint64_t memory_pool_max_bytes;  /* memory files kept for reuse; 0: none. Default 1 GiB */
	int64_t hooks_timeout_ms;        /* one hook. Default 30000, at least 100 */
	struct vm_config_binary binaries[VM_CONFIG_BINARIES_MAX]; /* one for each driver there is */
	struct vm_origin origins[VM_SETTINGS_MAX]; /* as vm_setting_find() counts them */
};
/*
 * In the file:
 *
 *   limits:
 *     max_running: 100
 *     memory_overcommit: 4.0
 *     min_free_disk: 1G
 *     max_concurrent_restores: 32
 *
 *   wait: 30s                            # none, forever, or seconds / "500ms" / "2m"
 *
 *   api_timeout: 30s
 *
 *   NAME: /usr/bin/NAME                  # absolute; NAME is a driver's, see vm_drivers[]
 *
 *   events_kept: 100000
 *
 *   alias: auto                          # namespace, symlink
 *
 *   memory:
 *     diff: auto                         # or off
 *     pool_max: 1G
 *
 *   hooks:
 *     timeout: 30s
 */
void vm_config_init(struct vm_config *config); /* the defaults */
/* What is configured for the driver of that name, "" when nothing is. Borrowed from config. */
const char *vm_config_binary(const struct vm_config *config, const char *hypervisor);
/*
 * Errors: usage (a mistake in a file or in the environment; a file that others could have written,
 * see trust.h), not_found for $VMCTL_CONFIG, system.
 */
int vm_config_load(const char *root_path, struct vm_config *ret_config, struct vm_err *err);
/* vm_config_load() with another directory in place of /etc/vmctl; for tests. */
int vm_config_load_from(const char *system_dir, const char *root_path, struct vm_config *ret_config,
                        struct vm_err *err);
/*
 * Parses one text over what `config` holds, which a failure leaves as it was. `file` stands in
 * messages, `place` in origins. Errors: usage.
 */
int vm_config_parse(const char *text, size_t len, const char *file, enum vm_place place,
                    struct vm_config *config, struct vm_err *err);

/* --- config_files.c: where they are -------------------------------------------------------------
 */

enum { VM_PLACES_MAX = 3 };
struct vm_places {
	struct {
		enum vm_place place;
		char *dir;  /* with vmctl.yaml, templates/ and hooks.d/ */
		char *file; /* the settings in it */
	} list[VM_PLACES_MAX];
	size_t count;
};
/*
 * The directories, in the order in which they are read; whether they exist is not looked at. No
 * directory is told twice. That of $VMCTL_CONFIG is absolute, as all others if root_path is.
 * Free with vm_places_free(). Errors: system, insufficient_resources.
 */
int vm_places_find(const char *root_path, struct vm_places *ret, struct vm_err *err);
/* With another directory in place of /etc/vmctl; for tests. */
int vm_places_find_from(const char *system_dir, const char *root_path, struct vm_places *ret,
                        struct vm_err *err);
void vm_places_free(struct vm_places *places);

/* --- config_show.c: to be shown -----------------------------------------------------------------
 */

size_t vm_settings_count(void);
/* "limits.max_running"; of all that are below vm_settings_count(). Returns buf. */
const char *vm_setting_key(size_t index, char buf[VM_SETTING_KEY_SIZE]);
/* Its value, as it could stand in the file. Returns buf. */
const char *vm_setting_text(const struct vm_config *config, size_t index,
                            char buf[VM_SETTING_VALUE_SIZE]);
/* The same as JSON: a number where it is one without a unit. A new reference, or NULL. */
json_t *vm_setting_json(const struct vm_config *config, size_t index);
/* As vm_setting_text() writes them. */
const char *vm_duration_text(int64_t ms, char *buf, size_t size);

/*
 * "none", "forever", "5", "5s", "500ms", "2m", "1h", "7d", "2w" to milliseconds (0, -1, ...), at
 * most 366 days; usage names `what`.
 */
int vm_duration_parse(const char *text, const char *what, int64_t *ret_ms, struct vm_err *err);

#endif
