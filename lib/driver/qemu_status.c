/* SPDX-License-Identifier: Apache-2.0 */
/* What the guest and the saves of a VMM are at. */
#include <stdlib.h>
#include <string.h>

#include "../interrupt.h"
#include "../util.h"
#include "qemu.h"

enum {
	STATUS_SIZE = 32,
	POLL_MS = 1, /* of a migration that somebody else has begun: its events are not ours */
};

/* The "status" of what a query returns; "" if there is none. */
static int ask(struct vm_qmp *qmp, const char *command, char ret_status[STATUS_SIZE],
               struct vm_err *err)
{
	json_t *value = NULL;
	const char *status;

	if (vm_qmp_call(qmp, command, NULL, -1, &value, err) < 0)
		return -1;
	status = json_string_value(json_object_get(value, "status"));
	snprintf(ret_status, STATUS_SIZE, "%s", status ? status : "");
	json_decref(value);
	return 0;
}

/* MigrationStatus of qapi/migration.json. */
static bool is_over(const char *status)
{
	static const char *const ended[] = {"", "none", "completed", "failed", "cancelled"};

	for (size_t i = 0; i < VM_ARRAY_LEN(ended); i++) {
		if (strcmp(status, ended[i]) == 0)
			return true;
	}
	return false;
}

/* 1 while a save goes on, or is over and the run state has not followed yet; 0; -1. */
static int is_saving(struct vm_qmp *qmp, bool *told, struct vm_err *err)
{
	char status[STATUS_SIZE];

	if (ask(qmp, "query-migrate", status, err) < 0)
		return -1;
	if (is_over(status))
		return ask(qmp, "query-status", status, err) < 0
		               ? -1
		               : strcmp(status, "finish-migrate") == 0;
	if (!*told && vm_qmp_call(qmp, "migrate_cancel", NULL, -1, NULL, err) < 0)
		return -1;
	*told = true;
	return 1;
}

int vm_qemu_end_migration(struct vm_qmp *qmp, struct vm_err *err)
{
	bool told = false;
	int going;

	while ((going = is_saving(qmp, &told, err)) > 0) {
		if (vm_monotonic_ms() > qmp->deadline_ms)
			return vm_err_set(err, VM_ERR_TIMEOUT, "an old save does not end");
		if (vm_poll_until(NULL, 0, vm_monotonic_ms() + POLL_MS, err) < 0)
			return -1;
	}
	return going;
}

/* RunState of qapi/run-state.json. */
static int guest_state(const char *status, enum vm_guest_state *ret, struct vm_err *err)
{
	static const struct {
		const char *status;
		enum vm_guest_state state;
	} states[] = {
	        {"running", VM_GUEST_RUNNING},       {"paused", VM_GUEST_PAUSED},
	        {"postmigrate", VM_GUEST_PAUSED},    {"finish-migrate", VM_GUEST_PAUSED},
	        {"suspended", VM_GUEST_RUNNING},     {"io-error", VM_GUEST_PAUSED},
	        {"prelaunch", VM_GUEST_NOT_STARTED}, {"inmigrate", VM_GUEST_NOT_STARTED},
	};

	for (size_t i = 0; i < VM_ARRAY_LEN(states); i++) {
		if (strcmp(status, states[i].status) == 0) {
			*ret = states[i].state;
			return 0;
		}
	}
	return vm_err_set(err, VM_ERR_HYPERVISOR, "query-status: the guest is in the state '%s'",
	                  status);
}

int vm_qemu_ask_status(struct vm_qmp *qmp, enum vm_guest_state *ret, struct vm_err *err)
{
	char status[STATUS_SIZE];

	return ask(qmp, "query-status", status, err) < 0 ? -1 : guest_state(status, ret, err);
}
