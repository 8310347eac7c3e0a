/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events and counters, as they are written. A counter is changed in the transaction that inserts
 * the event it stands for, so the two cannot disagree; it only ever grows, while old events go.
 */
#include <string.h>

#include "events.h"
#include "store_sql.h"

enum {
	DROPPED_AT_ONCE = 256, /* after a smaller events_kept: nobody's commit pays for all */
	LABEL_SIZE = 64,
};

void vm_store_keep_events(struct vm_store *store, unsigned count)
{
	store->events_kept = (int64_t)count;
}

static int count(struct vm_store *store, const char *name, const char *label, int64_t by,
                 struct vm_err *err)
{
	return vm_sql_rerun(store, &store->add_count, err,
	                    "INSERT INTO counter VALUES (?1, ?2, ?3)"
	                    " ON CONFLICT DO UPDATE SET value = value + ?3",
	                    "tti", name, label, by);
}

/* A wait is a number and a time; most operations have none, and write nothing. */
static int count_wait(struct vm_store *store, const char *number, const char *time,
                      int64_t waited_us, struct vm_err *err)
{
	if (waited_us <= 0)
		return 0;
	return count(store, number, "", 1, err) < 0 ? -1 : count(store, time, "", waited_us, err);
}

static int count_operation(struct vm_store *store, const struct vm_event *event, struct vm_err *err)
{
	char label[LABEL_SIZE];

	snprintf(label, sizeof(label), "%s,%s", event->verb, vm_code_name(event->code));
	if (count(store, VM_COUNT_OPERATIONS, label, 1, err) < 0 ||
	    count(store, VM_COUNT_OPERATION_US, event->verb, event->duration_us, err) < 0 ||
	    count_wait(store, VM_COUNT_LOCK_WAITS, VM_COUNT_LOCK_WAIT_US, event->lock_waited_us,
	               err) < 0)
		return -1;
	return count_wait(store, VM_COUNT_SLOT_WAITS, VM_COUNT_SLOT_WAIT_US, event->slot_waited_us,
	                  err);
}

static int count_making(struct vm_store *store, const struct vm_event *event, struct vm_err *err)
{
	const char *relocation = event->relocation ? event->relocation : "";

	if (event->code == VM_OK && strcmp(event->verb, "fork") == 0 &&
	    count(store, VM_COUNT_FORKS, relocation[0] ? relocation : "none", 1, err) < 0)
		return -1;
	if (event->code == VM_OK && strcmp(relocation, "alias") == 0 &&
	    count(store, VM_COUNT_ALIAS_FALLBACKS, "", 1, err) < 0)
		return -1;
	return event->disks ? count(store, VM_COUNT_DISK_COPIES, event->disks, 1, err) : 0;
}

static int count_trouble(struct vm_store *store, const struct vm_event *event, struct vm_err *err)
{
	if (event->code == VM_ERR_INSUFFICIENT_RESOURCES &&
	    count(store, VM_COUNT_INSUFFICIENT, "", 1, err) < 0)
		return -1;
	if (!event->repaired)
		return 0;
	if (strcmp(event->repaired, VM_REPAIRED_VMM_DEATH) == 0 &&
	    count(store, VM_COUNT_VMM_DEATHS, "", 1, err) < 0)
		return -1;
	return count(store, VM_COUNT_REPAIRS, event->repaired, 1, err);
}

static int insert_event(struct vm_store *store, const struct vm_event *event, struct vm_err *err)
{
	return vm_sql_rerun(store, &store->add_event, err,
	                    "INSERT INTO event (time_us, verb, instance_id, name, outcome,"
	                    " duration_us, lock_waited_us, slot_waited_us, relocation, disks,"
	                    " repaired, message)"
	                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, nullif(?, ''), ?, ?, ?)",
	                    "itttt"
	                    "iiitt"
	                    "tt",
	                    vm_realtime_us(), event->verb, event->instance_id, event->name,
	                    vm_code_name(event->code), event->duration_us, event->lock_waited_us,
	                    event->slot_waited_us, event->relocation, event->disks, event->repaired,
	                    event->message);
}

static int drop_old(struct vm_store *store, struct vm_err *err)
{
	return vm_sql_rerun(store, &store->drop_events, err,
	                    "DELETE FROM event"
	                    " WHERE seq <= min(?, (SELECT min(seq) FROM event) + ?)",
	                    "ii", sqlite3_last_insert_rowid(store->db) - store->events_kept,
	                    (int64_t)DROPPED_AT_ONCE - 1);
}

int vm_store_add_event(struct vm_store *store, const struct vm_event *event, struct vm_err *err)
{
	if (insert_event(store, event, err) < 0 || drop_old(store, err) < 0 ||
	    count_operation(store, event, err) < 0 || count_making(store, event, err) < 0)
		return -1;
	return count_trouble(store, event, err);
}

int vm_store_record(struct vm_store *store, const struct vm_event *event, struct vm_err *err)
{
	if (vm_sql_begin(store, err) < 0)
		return -1;
	return vm_sql_end(store, vm_store_add_event(store, event, err), err);
}
