/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings of a data root, from YAML: $VMCTL_CONFIG alone if that is set, else
 * /etc/vmctl/vmctl.yaml and then <root>/vmctl.yaml, key by key; the later wins. A missing file is
 * no error (a missing $VMCTL_CONFIG is). Unknown keys are refused with file, line and a suggestion.
 */
#ifndef VM_CONFIG_H
#define VM_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "spec.h"

enum { VM_CONFIG_BINARIES_MAX = 4 };

/* How a saved state gets its old directory shown, where it needs that: alias.h. */
enum vm_alias_method {
	VM_ALIAS_AUTO,      /* by a namespace where that is permitted, else by a link */
	VM_ALIAS_NAMESPACE, /* a mount namespace of the VMM's own */
	VM_ALIAS_SYMLINK,   /* a symbolic link for as long as the load takes */
};
/* "auto", "namespace", "symlink". */
const char *vm_alias_method_name(enum vm_alias_method method);

/* Where the binary of a driver is. */
struct vm_config_binary {
	const char *hypervisor; /* the driver's name, constant; NULL: no entry */
	char path[4096];        /* absolute; "": where the driver looks by itself */
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
	struct vm_config_binary binaries[VM_CONFIG_BINARIES_MAX]; /* one for each driver there is */
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
 */
void vm_config_init(struct vm_config *config); /* the defaults */
/* What is configured for the driver of that name, "" when nothing is. Borrowed from config. */
const char *vm_config_binary(const struct vm_config *config, const char *hypervisor);
/* Errors: usage, not_found for $VMCTL_CONFIG, system. */
int vm_config_load(const char *root_path, struct vm_config *ret_config, struct vm_err *err);
/* vm_config_load() with another path in place of /etc/vmctl/vmctl.yaml; for tests. */
int vm_config_load_from(const char *system_path, const char *root_path,
                        struct vm_config *ret_config, struct vm_err *err);
/* Parses one text over what `config` holds, which a failure leaves as it was. Errors: usage. */
int vm_config_parse(const char *text, size_t len, const char *origin, struct vm_config *config,
                    struct vm_err *err);
/*
 * "none", "forever", "5", "5s", "500ms", "2m", "1h", "7d", "2w" to milliseconds (0, -1, ...), at
 * most 366 days; usage names `what`.
 */
int vm_duration_parse(const char *text, const char *what, int64_t *ret_ms, struct vm_err *err);

#endif
