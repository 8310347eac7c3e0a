/* SPDX-License-Identifier: Apache-2.0 */
/* Admission, intents and commits. Every function is one transaction. */
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "store_sql.h"

/* Whether one more of memory_bytes may run. Inside the caller's transaction, so nobody races us. */
static int check_limits(struct vm_store *store, const struct vm_limits *limits, size_t more,
                        uint64_t more_bytes, struct vm_err *err)
{
	VM_AUTO_STMT sqlite3_stmt *stmt = NULL;
	int64_t running, bytes;
	char have[16], want[16], max[16];

	if (!limits || more == 0 || (limits->max_running == 0 && limits->max_memory_bytes == 0))
		return 0;
	stmt = vm_sql_prepare(
	        store, err,
	        "SELECT count(*), ifnull(sum(memory_bytes), 0) FROM instance WHERE occupies = 1",
	        "");
	if (!stmt || vm_sql_step(store, stmt, err) < 0)
		return -1;
	running = sqlite3_column_int64(stmt, 0);
	bytes = sqlite3_column_int64(stmt, 1);
	if (limits->max_running && (uint64_t)running + more > limits->max_running) {
		vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES,
		           "%zu more instance%s cannot run: %jd of at most %u run already", more,
		           more == 1 ? "" : "s", (intmax_t)running, limits->max_running);
		return vm_err_hint(err, "stop some, or raise limits.max_running in vmctl.yaml");
	}
	if (limits->max_memory_bytes && (uint64_t)bytes + more_bytes > limits->max_memory_bytes) {
		vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES,
		           "%s more of guest memory cannot run: %s of at most %s are in use",
		           vm_size_format(more_bytes, want, sizeof(want)),
		           vm_size_format((uint64_t)bytes, have, sizeof(have)),
		           vm_size_format(limits->max_memory_bytes, max, sizeof(max)));
		return vm_err_hint(err,
		                   "stop some, or raise limits.memory_overcommit in vmctl.yaml");
	}
	return 0;
}

/* 31 random bits above the CIDs that people choose by hand (0 to 2 are reserved by virtio). */
static int random_cid(uint64_t *ret_cid, struct vm_err *err)
{
	uint32_t raw;

	if (getrandom(&raw, sizeof(raw), 0) != (ssize_t)sizeof(raw))
		return vm_err_sys(err, "getrandom for a guest CID");
	*ret_cid = 0x10000 + (raw & 0x7fffffffU) % (0x7fffffffU - 0x10000U);
	return 0;
}

/* A CID that no row has; the caller's transaction keeps it so until it is in one. */
static int choose_cid(struct vm_store *store, uint64_t *ret_cid, struct vm_err *err)
{
	for (;;) {
		uint64_t cid = 0;
		int taken;

		if (random_cid(&cid, err) < 0)
			return -1;
		taken = vm_sql_exists(store, err, "SELECT 1 FROM instance WHERE guest_cid = ?", "i",
		                      (int64_t)cid);
		if (taken < 0)
			return -1;
		if (taken == 0) {
			*ret_cid = cid;
			return 0;
		}
	}
}

/*
 * Whether `row` may run with the guest CID it has. Inside the caller's transaction, so that of two
 * who want one CID at once the second sees the first.
 */
static int check_cid(struct vm_store *store, const struct vm_instance *row,
                     struct vm_conflict *ret_conflict, struct vm_err *err)
{
	VM_AUTO_STMT sqlite3_stmt *stmt = vm_sql_prepare(
	        store, err,
	        "SELECT id, name FROM instance WHERE guest_cid = ? AND occupies = 1 AND id <> ?",
	        "it", (int64_t)row->guest_cid, row->id);
	int rc = stmt ? vm_sql_step(store, stmt, err) : -1;
	const char *name;

	if (rc <= 0)
		return rc;
	name = (const char *)sqlite3_column_text(stmt, 1);
	snprintf(ret_conflict->cid_holder, sizeof(ret_conflict->cid_holder), "%s",
	         (const char *)sqlite3_column_text(stmt, 0));
	vm_err_set(err, VM_ERR_ALREADY_EXISTS,
	           "guest CID %ju is in use by '%s', and no two guests can run with the same",
	           (uintmax_t)row->guest_cid, name);
	return vm_err_hint(err, "a saved guest keeps its CID: stop '%s' or put it in standby first",
	                   name);
}

/* One that boots keeps its CID unless anybody needs it: those who run, and those who will. */
static int renew_cid(struct vm_store *store, const char *id, uint64_t *cid, struct vm_err *err)
{
	int taken = vm_sql_exists(store, err,
	                          "SELECT 1 FROM instance WHERE guest_cid = ? AND id <> ?"
	                          " AND (state <> 'stopped' OR occupies = 1)",
	                          "it", (int64_t)*cid, id);

	return taken > 0 ? choose_cid(store, cid, err) : taken;
}

static int insert_row(struct vm_store *store, const struct vm_instance *row, struct vm_err *err)
{
	return vm_sql_rerun(
	        store, &store->insert_row, err,
	        "INSERT INTO instance (id, name, state, hypervisor, hypervisor_version, parent_id,"
	        " parent_name, vcpus, memory_bytes, occupies, created_us, changed_us, relocation, "
	        "spec,"
	        " guest_cid, kind, alias_path) VALUES (?, ?, 'creating', ?, ?, nullif(?, ''), "
	        "nullif(?, ''), "
	        "?, ?, ?, ?,"
	        " ?, ?, ?, nullif(?, 0), ?, ifnull(?, ''))",
	        "ttttttiiiiittitt", row->id, row->name, row->hypervisor, row->hypervisor_version,
	        row->parent_id, row->parent_name, (int64_t)row->vcpus, (int64_t)row->memory_bytes,
	        (int64_t)row->occupies, row->created_us, row->created_us, row->relocation,
	        row->spec, (int64_t)row->guest_cid, vm_kind_name(row->kind), row->alias_path);
}

static int put_intent(struct vm_store *store, const char *id, const char *verb, const char *detail,
                      struct vm_err *err)
{
	return vm_sql_rerun(store, &store->put_intent, err,
	                    "INSERT OR REPLACE INTO intent VALUES (?, ?, ?, ?, ?)", "tttii", id,
	                    verb, detail, (int64_t)getpid(), vm_realtime_us());
}

/* The lock files are this row's from now on. */
static int take_note_back(struct vm_store *store, const char *id, struct vm_err *err)
{
	if (vm_sql_forget_lock(store, id, err) < 0)
		return -1;
	if (sqlite3_changes(store->db) == 1)
		return 0;
	/* We were taken for dead, and our lock file for garbage: it protects nothing. */
	vm_err_set(err, VM_ERR_BUSY, "the reservation of %s was swept away", id);
	return vm_err_hint(err, "try again");
}

static int reserve_one(struct vm_store *store, struct vm_instance *row, bool needs_cid,
                       bool inherits, const char *verb, struct vm_conflict *conflict,
                       struct vm_err *err)
{
	int taken =
	        vm_sql_exists(store, err, "SELECT 1 FROM instance WHERE name = ?", "t", row->name);

	if (taken < 0)
		return -1;
	if (taken > 0) {
		bool image = row->kind == VM_KIND_IMAGE;

		vm_err_set(err, VM_ERR_ALREADY_EXISTS, "%s '%s' exists already",
		           image ? "a snapshot" : "an instance", row->name);
		return vm_err_hint(err, "choose another name, or remove it with 'vmctl %srm %s'",
		                   image ? "snapshot " : "", row->name);
	}
	if (row->guest_cid != 0 && row->occupies && check_cid(store, row, conflict, err) < 0)
		return -1;
	if (needs_cid && row->guest_cid == 0 && choose_cid(store, &row->guest_cid, err) < 0)
		return -1;
	if (take_note_back(store, row->id, err) < 0)
		return -1;
	row->created_us = vm_realtime_us();
	row->changed_us = row->created_us;
	if (insert_row(store, row, err) < 0 || vm_sql_admit_labels(store, row, inherits, err) < 0)
		return -1;
	return put_intent(store, row->id, verb, "", err);
}

int vm_store_reserve(struct vm_store *store, struct vm_instance *rows, size_t count, bool needs_cid,
                     const char *verb, const struct vm_limits *limits,
                     struct vm_conflict *ret_conflict, struct vm_err *err)
{
	struct vm_conflict conflict = {0};
	uint64_t bytes = 0;
	size_t running = 0;
	int rc, inherits = 0;
	size_t i;

	for (i = 0; i < count; i++) {
		running += rows[i].occupies;
		bytes += rows[i].occupies ? rows[i].memory_bytes : 0;
	}
	if (vm_sql_begin(store, err) < 0)
		return -1;
	rc = check_limits(store, limits, running, bytes, err);
	for (i = 0; rc == 0 && i < count; i++) {
		/* Forks of one source: asked once for all of them, and most have none. */
		if (i == 0 || strcmp(rows[i].parent_id, rows[i - 1].parent_id) != 0)
			inherits = vm_sql_has_labels(store, rows[i].parent_id, err);
		rc = inherits < 0 ? -1
		                  : reserve_one(store, &rows[i], needs_cid, inherits > 0, verb,
		                                &conflict, err);
	}
	if (rc < 0 && err->code == VM_ERR_ALREADY_EXISTS) {
		conflict.row = i - 1;
		*ret_conflict = conflict;
	}
	return vm_sql_end(store, rc, err);
}

/* The instance is about to run: limits and guest CID, and the place it takes. */
static int admit(struct vm_store *store, const char *id, struct vm_admission *admission,
                 struct vm_err *err)
{
	struct vm_instance row = {0};
	int rc;

	if (vm_store_get(store, id, &row, err) < 0)
		return -1;
	rc = row.occupies ? 0 : check_limits(store, &admission->limits, 1, row.memory_bytes, err);
	if (rc == 0 && row.guest_cid != 0)
		rc = admission->boots ? renew_cid(store, id, &row.guest_cid, err)
		                      : check_cid(store, &row, &admission->conflict, err);
	if (rc == 0)
		rc = vm_sql_run(
		        store, err,
		        "UPDATE instance SET occupies = 1, guest_cid = nullif(?, 0) WHERE id = ?",
		        "it", (int64_t)row.guest_cid, id);
	if (rc == 0)
		admission->guest_cid = row.guest_cid;
	vm_instance_free(&row);
	return rc;
}

int vm_store_intend(struct vm_store *store, const char *id, const char *verb, const char *detail,
                    struct vm_admission *admission, struct vm_err *err)
{
	int rc;

	if (vm_sql_begin(store, err) < 0)
		return -1;
	rc = admission ? admit(store, id, admission, err) : 0;
	if (rc == 0)
		rc = put_intent(store, id, verb, detail, err);
	return vm_sql_end(store, rc, err);
}

int vm_store_forget_intent(struct vm_store *store, const char *id, bool occupies,
                           const struct vm_event *event, struct vm_err *err)
{
	int rc;

	if (vm_sql_begin(store, err) < 0)
		return -1;
	rc = vm_sql_run(store, err, "DELETE FROM intent WHERE instance_id = ?", "t", id);
	if (rc == 0)
		rc = vm_sql_run(store, err, "UPDATE instance SET occupies = ? WHERE id = ?", "it",
		                (int64_t)occupies, id);
	if (rc == 0 && event)
		rc = vm_store_add_event(store, event, err);
	return vm_sql_end(store, rc, err);
}

static int apply_change(struct vm_store *store, const struct vm_change *change, struct vm_err *err)
{
	bool occupies = change->state == VM_STATE_RUNNING || change->state == VM_STATE_PAUSED;

	if (vm_sql_rerun(store, &store->change_row, err,
	                 "UPDATE instance SET state = ?, generation = generation + 1, pid = ?,"
	                 " occupies = ?, hypervisor_version = ifnull(?, hypervisor_version),"
	                 " relocation = ifnull(?, relocation), alias_path = ifnull(?, alias_path),"
	                 " failure = ifnull(?, ''), changed_us = ?"
	                 " WHERE id = ? AND generation = ?",
	                 "tiittttiti", vm_state_name(change->state), (int64_t)change->pid,
	                 (int64_t)occupies, change->hypervisor_version, change->relocation,
	                 change->alias_path, change->failure, vm_realtime_us(), change->id,
	                 change->generation) < 0)
		return -1;
	if (sqlite3_changes(store->db) != 1)
		return vm_err_set(err, VM_ERR_INVALID_STATE,
		                  "instance %s was changed by somebody else meanwhile", change->id);
	if (change->next_detail)
		return vm_sql_run(store, err, "UPDATE intent SET detail = ? WHERE instance_id = ?",
		                  "tt", change->next_detail, change->id);
	return vm_sql_rerun(store, &store->drop_intent, err,
	                    "DELETE FROM intent WHERE instance_id = ?", "t", change->id);
}

static int set_durability(struct vm_store *store, bool durable, struct vm_err *err)
{
	return vm_sql_run(store, err,
	                  durable ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL",
	                  "");
}

int vm_store_commit(struct vm_store *store, const struct vm_change *changes, size_t count,
                    const struct vm_event *events, bool durable, struct vm_err *err)
{
	int rc = 0;

	/* The level cannot be changed inside a transaction. */
	if ((durable && set_durability(store, true, err) < 0) || vm_sql_begin(store, err) < 0)
		return -1;
	for (size_t i = 0; rc == 0 && i < count; i++) {
		rc = apply_change(store, &changes[i], err);
		if (rc == 0 && events)
			rc = vm_store_add_event(store, &events[i], err);
	}
	rc = vm_sql_end(store, rc, err);
	if (durable) {
		struct vm_err ignored = {0}; /* a higher level than needed does no harm */

		set_durability(store, false, &ignored);
	}
	return rc;
}

int vm_store_delete(struct vm_store *store, const char *id, const struct vm_event *event,
                    struct vm_err *err)
{
	int rc;

	if (vm_sql_begin(store, err) < 0)
		return -1;
	rc = vm_sql_run(store, err, "DELETE FROM instance WHERE id = ?", "t", id);
	if (rc == 0)
		rc = vm_sql_note_lock(store, id, err);
	if (rc == 0 && event)
		rc = vm_store_add_event(store, event, err);
	return vm_sql_end(store, rc, err);
}
