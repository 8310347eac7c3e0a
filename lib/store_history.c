/* SPDX-License-Identifier: Apache-2.0 */
/* Events and counters, as they are read. */
#include <stdlib.h>
#include <string.h>

#include "events.h"
#include "store_sql.h"

static void text_column(sqlite3_stmt *stmt, int column, char *buf, size_t size)
{
	const unsigned char *text = sqlite3_column_text(stmt, column);

	snprintf(buf, size, "%s", text ? (const char *)text : "");
}

/* Makes room for one more element; rooms double. NULL with err set. */
static void *grow(void *list, size_t count, size_t size, struct vm_err *err)
{
	void *more = list;

	/* Full at 0, 16, 32, 64, ... */
	if (count == 0 || (count >= 16 && (count & (count - 1)) == 0))
		more = realloc(list, (count ? 2 * count : 16) * size);
	if (!more)
		vm_err_sys(err, "reading the store");
	return more;
}

/* --- which events --------------------------------------------------------------------------------
 */

/* Whether any event is about the id or the name: 1, 0, -1. */
static int has_events(struct vm_store *store, const char *column, const char *value,
                      struct vm_err *err)
{
	return vm_sql_exists(store, err,
	                     strcmp(column, "name") == 0
	                             ? "SELECT 1 FROM event WHERE name = ? LIMIT 1"
	                             : "SELECT 1 FROM event WHERE instance_id = ? LIMIT 1",
	                     "t", value);
}

/* The one id of an event that begins so: 1 and the id, 0 none, -1 (ambiguous). */
static int find_old_id(struct vm_store *store, const char *selector, char ret_id[VM_ID_LEN + 1],
                       struct vm_err *err)
{
	VM_AUTO_STMT sqlite3_stmt *stmt = NULL;
	int rc;

	/* substr() and not LIKE: nothing in a selector is a pattern. */
	stmt = vm_sql_prepare(store, err,
	                      "SELECT DISTINCT instance_id FROM event"
	                      " WHERE substr(instance_id, 1, length(?1)) = ?1 AND length(?1) > 0"
	                      " LIMIT 2",
	                      "t", selector);
	rc = stmt ? vm_sql_step(store, stmt, err) : -1;
	if (rc <= 0)
		return rc;
	text_column(stmt, 0, ret_id, VM_ID_LEN + 1);
	rc = vm_sql_step(store, stmt, err);
	if (rc <= 0)
		return rc < 0 ? -1 : 1;
	vm_err_set(err, VM_ERR_AMBIGUOUS, "'%s' is the beginning of several ids, %s and %s",
	           selector, ret_id, (const char *)sqlite3_column_text(stmt, 0));
	return vm_err_hint(err, "give more of the id, or the name");
}

/* One that is no more; `err` says already that there is none now. */
static int find_removed(struct vm_store *store, const char *selector,
                        struct vm_event_filter *filter, struct vm_err *err)
{
	struct vm_err second = {0};
	char id[VM_ID_LEN + 1];
	int rc = has_events(store, "name", selector, &second);

	if (rc > 0) {
		snprintf(filter->instance_name, sizeof(filter->instance_name), "%s", selector);
	} else if (rc == 0) {
		rc = find_old_id(store, selector, id, &second);
		if (rc > 0)
			memcpy(filter->instance_id, id, sizeof(id));
	}
	if (rc == 0)
		return -1;
	*err = second;
	return rc < 0 ? -1 : 0;
}

int vm_events_of(struct vm_store *store, const char *selector, struct vm_event_filter *filter,
                 struct vm_err *err)
{
	struct vm_instance row;
	int rc;

	/* An id goes before a name, as everywhere. */
	rc = vm_id_valid(selector) ? has_events(store, "instance_id", selector, err) : 0;
	if (rc != 0) {
		if (rc > 0)
			memcpy(filter->instance_id, selector, VM_ID_LEN + 1);
		return rc < 0 ? -1 : 0;
	}
	if (vm_store_find(store, selector, &row, err) < 0)
		return err->code == VM_ERR_NOT_FOUND ? find_removed(store, selector, filter, err)
		                                     : -1;
	if (strcmp(row.name, selector) == 0)
		memcpy(filter->instance_name, row.name, sizeof(row.name));
	else
		memcpy(filter->instance_id, row.id, sizeof(row.id));
	vm_instance_free(&row);
	return 0;
}

/* --- events --------------------------------------------------------------------------------------
 */

static int read_event(sqlite3_stmt *stmt, struct vm_past_event *ret, struct vm_err *err)
{
	const char *message = (const char *)sqlite3_column_text(stmt, 12);

	*ret = (struct vm_past_event){
	        .seq = sqlite3_column_int64(stmt, 0),
	        .time_us = sqlite3_column_int64(stmt, 1),
	        .duration_us = sqlite3_column_int64(stmt, 6),
	        .lock_waited_us = sqlite3_column_int64(stmt, 7),
	        .slot_waited_us = sqlite3_column_int64(stmt, 8),
	};
	text_column(stmt, 2, ret->verb, sizeof(ret->verb));
	text_column(stmt, 3, ret->instance_id, sizeof(ret->instance_id));
	text_column(stmt, 4, ret->name, sizeof(ret->name));
	text_column(stmt, 5, ret->outcome, sizeof(ret->outcome));
	text_column(stmt, 9, ret->relocation, sizeof(ret->relocation));
	text_column(stmt, 10, ret->disks, sizeof(ret->disks));
	text_column(stmt, 11, ret->repaired, sizeof(ret->repaired));
	if (message && message[0]) {
		ret->message = vm_strdup(message, err);
		return ret->message ? 0 : -1;
	}
	return 0;
}

static int latest_seq(struct vm_store *store, int64_t *ret, struct vm_err *err)
{
	VM_AUTO_STMT sqlite3_stmt *stmt =
	        vm_sql_prepare(store, err, "SELECT ifnull(max(seq), 0) FROM event", "");

	if (!stmt || vm_sql_step(store, stmt, err) < 0)
		return -1;
	*ret = sqlite3_column_int64(stmt, 0);
	return 0;
}

static const char *or_null(const char *text)
{
	return text && text[0] ? text : NULL;
}

/* What is bound to NULL or 0 lets all through. */
static sqlite3_stmt *prepare_list(struct vm_store *store, const struct vm_event_filter *filter,
                                  int64_t up_to, struct vm_err *err)
{
	return vm_sql_prepare(
	        store, err,
	        "SELECT * FROM (SELECT seq, time_us, verb, instance_id, name, outcome, duration_us,"
	        "  lock_waited_us, slot_waited_us, relocation, disks, repaired, message"
	        " FROM event WHERE seq > ?1 AND seq <= ?2"
	        " AND (?3 = 0 OR time_us >= ?3) AND (?4 = 0 OR time_us < ?4)"
	        " AND (?5 IS NULL OR instr(',' || ?5 || ',', ',' || verb || ',') > 0)"
	        " AND (?6 IS NULL OR outcome = ?6)"
	        " AND ((?7 IS NULL AND ?8 IS NULL) OR instance_id = ?7 OR name = ?8)"
	        " ORDER BY seq DESC LIMIT ?9) ORDER BY seq",
	        "iiiittt"
	        "ti",
	        filter->after, up_to, filter->since_us, filter->until_us, or_null(filter->verbs),
	        or_null(filter->outcome), or_null(filter->instance_id),
	        or_null(filter->instance_name), filter->last);
}

static int read_events(struct vm_store *store, sqlite3_stmt *stmt, struct vm_past_event **events,
                       size_t *count, struct vm_err *err)
{
	int rc;

	while ((rc = vm_sql_step(store, stmt, err)) > 0) {
		struct vm_past_event *more = grow(*events, *count, sizeof(**events), err);

		if (!more)
			return -1;
		*events = more;
		if (read_event(stmt, &more[*count], err) < 0)
			return -1;
		(*count)++;
	}
	return rc;
}

int vm_events_list(struct vm_store *store, const struct vm_event_filter *filter,
                   struct vm_past_event **ret, size_t *ret_count, int64_t *ret_seen,
                   struct vm_err *err)
{
	VM_AUTO_STMT sqlite3_stmt *stmt = NULL;
	struct vm_past_event *events = NULL;
	size_t count = 0;
	int64_t up_to;

	/* What is committed after this look comes with the next one, and is not passed over. */
	if (latest_seq(store, &up_to, err) < 0)
		return -1;
	stmt = prepare_list(store, filter, up_to, err);
	if (!stmt || read_events(store, stmt, &events, &count, err) < 0) {
		vm_past_events_free(events, count);
		return -1;
	}
	*ret = events;
	*ret_count = count;
	if (ret_seen)
		*ret_seen = up_to > filter->after ? up_to : filter->after;
	return 0;
}

void vm_past_events_free(struct vm_past_event *events, size_t count)
{
	for (size_t i = 0; events && i < count; i++)
		free(events[i].message);
	free(events);
}

/* --- counters ------------------------------------------------------------------------------------
 */

int vm_counters_list(struct vm_store *store, struct vm_counter **ret, size_t *ret_count,
                     struct vm_err *err)
{
	VM_AUTO_STMT sqlite3_stmt *stmt = vm_sql_prepare(
	        store, err, "SELECT name, label, value FROM counter ORDER BY name, label", "");
	VM_AUTO_FREE struct vm_counter *counters = NULL;
	size_t count = 0;
	int rc = stmt ? 0 : -1;

	while (rc == 0 && (rc = vm_sql_step(store, stmt, err)) > 0) {
		struct vm_counter *more = grow(counters, count, sizeof(*counters), err);

		if (!more)
			return -1;
		counters = more;
		text_column(stmt, 0, more[count].name, sizeof(more[count].name));
		text_column(stmt, 1, more[count].label, sizeof(more[count].label));
		more[count++].value = sqlite3_column_int64(stmt, 2);
		rc = 0;
	}
	if (rc < 0)
		return -1;
	*ret = vm_take_ptr(&counters);
	*ret_count = count;
	return 0;
}

/* --- the window ----------------------------------------------------------------------------------
 */

int vm_events_window(struct vm_store *store, int64_t since_us, struct vm_window *ret,
                     struct vm_err *err)
{
	/* A repair happens within an operation, whose time and waits have it in them already. */
	VM_AUTO_STMT sqlite3_stmt *stmt = vm_sql_prepare(
	        store, err,
	        "SELECT count(*) FILTER (WHERE verb <> 'repair'),"
	        " ifnull(sum(duration_us) FILTER (WHERE verb <> 'repair'), 0),"
	        " count(*) FILTER (WHERE lock_waited_us > 0), ifnull(sum(lock_waited_us), 0),"
	        " count(*) FILTER (WHERE slot_waited_us > 0), ifnull(sum(slot_waited_us), 0),"
	        " count(*) FILTER (WHERE relocation = 'alias'),"
	        " count(*) FILTER (WHERE verb = 'fork' AND disks = 'copy'),"
	        " count(*) FILTER (WHERE outcome = 'insufficient_resources'),"
	        " count(*) FILTER (WHERE repaired = '" VM_REPAIRED_VMM_DEATH "'),"
	        " ifnull((SELECT min(seq) FROM event), 1) = 1"
	        "  OR EXISTS (SELECT 1 FROM event WHERE time_us < ?1)"
	        " FROM event WHERE time_us >= ?1",
	        "i", since_us);

	if (!stmt || vm_sql_step(store, stmt, err) < 0)
		return -1;
	*ret = (struct vm_window){
	        .since_us = since_us,
	        .operations = sqlite3_column_int64(stmt, 0),
	        .duration_us = sqlite3_column_int64(stmt, 1),
	        .lock_waits = sqlite3_column_int64(stmt, 2),
	        .lock_waited_us = sqlite3_column_int64(stmt, 3),
	        .slot_waits = sqlite3_column_int64(stmt, 4),
	        .slot_waited_us = sqlite3_column_int64(stmt, 5),
	        .alias_relocations = sqlite3_column_int64(stmt, 6),
	        .disks_copied = sqlite3_column_int64(stmt, 7),
	        .insufficient_resources = sqlite3_column_int64(stmt, 8),
	        .vmm_deaths = sqlite3_column_int64(stmt, 9),
	        .complete = sqlite3_column_int(stmt, 10) != 0,
	};
	return 0;
}
