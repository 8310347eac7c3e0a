/* SPDX-License-Identifier: Apache-2.0 */
/* The labels of instances and images: a table of their own, with a row for each label. */
#include <stdlib.h>
#include <string.h>

#include "store_sql.h"

static int put(struct vm_store *store, const char *id, const struct vm_labels *labels,
               struct vm_err *err)
{
	for (size_t i = 0; i < labels->count; i++) {
		if (vm_sql_run(store, err, "INSERT OR REPLACE INTO label VALUES (?, ?, ?)", "ttt",
		               id, labels->list[i].key, labels->list[i].value) < 0)
			return -1;
	}
	return 0;
}

static int query_count(struct vm_store *store, const char *sql, const char *id, size_t *ret,
                       struct vm_err *err)
{
	VM_AUTO_STMT sqlite3_stmt *stmt = vm_sql_prepare(store, err, sql, "t", id);

	if (!stmt || vm_sql_step(store, stmt, err) < 0)
		return -1;
	*ret = (size_t)sqlite3_column_int64(stmt, 0);
	return 0;
}

int vm_sql_has_labels(struct vm_store *store, const char *id, struct vm_err *err)
{
	size_t found = 0;

	if (id[0] && query_count(store, "SELECT EXISTS (SELECT 1 FROM label WHERE instance_id = ?)",
	                         id, &found, err) < 0)
		return -1;
	return found > 0;
}

int vm_sql_admit_labels(struct vm_store *store, const struct vm_instance *row, bool inherits,
                        struct vm_err *err)
{
	size_t count;

	if (inherits &&
	    vm_sql_run(store, err,
	               "INSERT INTO label SELECT ?, key, value FROM label WHERE instance_id = ?",
	               "tt", row->id, row->parent_id) < 0)
		return -1;
	if (!row->labels || row->labels->count == 0)
		return 0;
	if (put(store, row->id, row->labels, err) < 0 ||
	    query_count(store, "SELECT count(*) FROM label WHERE instance_id = ?", row->id, &count,
	                err) < 0)
		return -1;
	return vm_labels_check_count(count, err) < 0 ? vm_err_wrap(err, "%s", row->name) : 0;
}

int vm_store_change_labels(struct vm_store *store, const char *id, const struct vm_labels *set,
                           const char *const *drop, size_t drop_count, const struct vm_event *event,
                           struct vm_err *err)
{
	int rc = 0;

	if (vm_sql_begin(store, err) < 0)
		return -1;
	for (size_t i = 0; rc == 0 && i < drop_count; i++)
		rc = vm_sql_run(store, err, "DELETE FROM label WHERE instance_id = ? AND key = ?",
		                "tt", id, drop[i]);
	if (rc == 0)
		rc = put(store, id, set, err);
	if (rc == 0)
		rc = vm_store_add_event(store, event, err);
	return vm_sql_end(store, rc, err);
}

int vm_store_get_labels(struct vm_store *store, const char *id, struct vm_labels *ret,
                        struct vm_err *err)
{
	/* From the instance, so that one without labels is told from one that is gone. */
	VM_AUTO_STMT sqlite3_stmt *stmt =
	        vm_sql_prepare(store, err,
	                       "SELECT l.key, l.value FROM instance i"
	                       " LEFT JOIN label l ON l.instance_id = i.id WHERE i.id = ?"
	                       " ORDER BY l.key",
	                       "t", id);
	struct vm_labels labels = {0};
	bool found = false;
	int rc = stmt ? 0 : -1;

	while (rc == 0 && (rc = vm_sql_step(store, stmt, err)) > 0) {
		const char *key = (const char *)sqlite3_column_text(stmt, 0);

		found = true;
		rc = key ? vm_labels_put(&labels, key, (const char *)sqlite3_column_text(stmt, 1),
		                         err)
		         : 0;
	}
	if (rc == 0 && !found)
		rc = vm_err_set(err, VM_ERR_NOT_FOUND, "no instance with id %s", id);
	if (rc < 0) {
		vm_labels_free(&labels);
		return -1;
	}
	*ret = labels;
	return 0;
}

/* --- all at once --------------------------------------------------------------------------------
 */

struct entry {
	char id[VM_ID_LEN + 1];
	struct vm_labels labels;
};

struct vm_label_index {
	struct entry *list; /* in order of id */
	size_t count, room;
};

void vm_label_index_free(struct vm_label_index *index)
{
	for (size_t i = 0; index && i < index->count; i++)
		vm_labels_free(&index->list[i].labels);
	if (index)
		free(index->list);
	free(index);
}

/* The last entry, or a new one behind it. */
static struct entry *entry_for(struct vm_label_index *index, const char *id, struct vm_err *err)
{
	struct entry *entry = index->count ? &index->list[index->count - 1] : NULL;

	if (entry && strcmp(entry->id, id) == 0)
		return entry;
	if (!index->list || index->count == index->room) {
		size_t room = index->room ? index->room * 2 : 64;
		struct entry *list = realloc(index->list, room * sizeof(*list));

		if (!list) {
			vm_err_sys(err, "listing the labels");
			return NULL;
		}
		index->list = list;
		index->room = room;
	}
	entry = &index->list[index->count++];
	*entry = (struct entry){0};
	snprintf(entry->id, sizeof(entry->id), "%s", id);
	return entry;
}

int vm_store_list_labels(struct vm_store *store, struct vm_label_index **ret, struct vm_err *err)
{
	/* The order of the primary key: nothing is sorted here or there. */
	VM_AUTO_STMT sqlite3_stmt *stmt = vm_sql_prepare(
	        store, err, "SELECT instance_id, key, value FROM label ORDER BY instance_id, key",
	        "");
	struct vm_label_index *index = vm_calloc(1, sizeof(*index), err);
	int rc = stmt && index ? 0 : -1;

	while (rc == 0 && (rc = vm_sql_step(store, stmt, err)) > 0) {
		struct entry *entry =
		        entry_for(index, (const char *)sqlite3_column_text(stmt, 0), err);

		rc = entry ? vm_labels_put(&entry->labels,
		                           (const char *)sqlite3_column_text(stmt, 1),
		                           (const char *)sqlite3_column_text(stmt, 2), err)
		           : -1;
	}
	if (rc < 0) {
		vm_label_index_free(index);
		return -1;
	}
	*ret = index;
	return 0;
}

static int compare_id(const void *key, const void *entry)
{
	return strcmp(key, ((const struct entry *)entry)->id);
}

const struct vm_labels *vm_label_index_of(const struct vm_label_index *index, const char *id)
{
	static const struct vm_labels none;
	const struct entry *entry = index->count ? bsearch(id, index->list, index->count,
	                                                   sizeof(*index->list), compare_id)
	                                         : NULL;

	return entry ? &entry->labels : &none;
}
