/* SPDX-License-Identifier: Apache-2.0 */
/* Reading instances out of the store. */
#include <stdlib.h>
#include <string.h>

#include "store_sql.h"

static const char *const state_names[VM_STATE_COUNT + 1] = {
        [VM_STATE_CREATING] = "creating", [VM_STATE_STOPPED] = "stopped",
        [VM_STATE_STANDBY] = "standby",   [VM_STATE_RUNNING] = "running",
        [VM_STATE_PAUSED] = "paused",     [VM_STATE_FAILED] = "failed",
};

const char *vm_state_name(enum vm_state state)
{
	return (unsigned)state < VM_STATE_COUNT ? state_names[state] : "unknown";
}

const char *vm_kind_name(enum vm_kind kind)
{
	return kind == VM_KIND_IMAGE ? "image" : "instance";
}

static int state_of(const char *text)
{
	for (int i = 0; i < VM_STATE_COUNT; i++) {
		if (strcmp(text, state_names[i]) == 0)
			return i;
	}
	return -1;
}

int vm_state_parse(const char *text, enum vm_state *ret_state, struct vm_err *err)
{
	int state = state_of(text);
	const char *near;

	if (state > VM_STATE_CREATING) {
		*ret_state = (enum vm_state)state;
		return 0;
	}
	vm_err_set(err, VM_ERR_USAGE,
	           "'%s' is not a state; there are stopped, standby, running, paused, failed",
	           text);
	near = vm_suggest(text, state_names + 1);
	if (near)
		vm_err_hint(err, "did you mean '%s'?", near);
	return -1;
}

void vm_instance_free(struct vm_instance *instance)
{
	free(instance->alias_path);
	free(instance->failure);
	free(instance->spec);
	instance->alias_path = instance->failure = instance->spec = NULL;
}

struct vm_instance vm_instance_take(struct vm_instance *instance)
{
	struct vm_instance taken = *instance;

	instance->alias_path = instance->failure = instance->spec = NULL;
	return taken;
}

void vm_instances_free(struct vm_instance *instances, size_t count)
{
	for (size_t i = 0; instances && i < count; i++)
		vm_instance_free(&instances[i]);
	free(instances);
}

#define SELECT_WITH(spec)                                                                          \
	"SELECT i.id, i.name, i.state, i.generation, i.hypervisor, i.hypervisor_version,"          \
	" i.guest_cid, i.parent_id, i.parent_name, i.vcpus, i.memory_bytes, i.occupies, i.pid,"    \
	" i.created_us, i.changed_us, i.relocation, i.failure, n.verb, n.detail, " spec            \
	", n.pid, i.kind, i.alias_path"                                                            \
	" FROM instance i LEFT JOIN intent n ON n.instance_id = i.id "
#define SELECT_INSTANCE SELECT_WITH("i.spec")

static void text_column(sqlite3_stmt *stmt, int column, char *buf, size_t size)
{
	const unsigned char *text = sqlite3_column_text(stmt, column);
	size_t len = text ? strnlen((const char *)text, size - 1) : 0;

	if (text)
		memcpy(buf, text, len);
	buf[len] = '\0';
}

/* At most `max` bytes of a column, to be freed; NULL for an empty one. */
static int own_column(sqlite3_stmt *stmt, int column, size_t max, char **ret, struct vm_err *err)
{
	const char *text = (const char *)sqlite3_column_text(stmt, column);

	*ret = NULL;
	if (!text || !text[0])
		return 0;
	*ret = strndup(text, max);
	return *ret ? 0 : vm_err_sys(err, "reading an instance");
}

static int read_row(sqlite3_stmt *stmt, struct vm_instance *ret, struct vm_err *err)
{
	struct vm_instance row = {0};
	const char *spec;
	char state[16];
	int parsed;

	text_column(stmt, 0, row.id, sizeof(row.id));
	text_column(stmt, 1, row.name, sizeof(row.name));
	text_column(stmt, 2, state, sizeof(state));
	row.generation = sqlite3_column_int64(stmt, 3);
	text_column(stmt, 4, row.hypervisor, sizeof(row.hypervisor));
	text_column(stmt, 5, row.hypervisor_version, sizeof(row.hypervisor_version));
	row.guest_cid = (uint64_t)sqlite3_column_int64(stmt, 6);
	text_column(stmt, 7, row.parent_id, sizeof(row.parent_id));
	text_column(stmt, 8, row.parent_name, sizeof(row.parent_name));
	row.vcpus = (unsigned)sqlite3_column_int(stmt, 9);
	row.memory_bytes = (uint64_t)sqlite3_column_int64(stmt, 10);
	row.occupies = sqlite3_column_int(stmt, 11) != 0;
	row.pid = (pid_t)sqlite3_column_int(stmt, 12);
	row.created_us = sqlite3_column_int64(stmt, 13);
	row.changed_us = sqlite3_column_int64(stmt, 14);
	text_column(stmt, 15, row.relocation, sizeof(row.relocation));
	text_column(stmt, 17, row.intent.verb, sizeof(row.intent.verb));
	text_column(stmt, 18, row.intent.detail, sizeof(row.intent.detail));
	row.intent.pid = (pid_t)sqlite3_column_int(stmt, 20);
	row.kind = strcmp((const char *)sqlite3_column_text(stmt, 21), "image") == 0
	                   ? VM_KIND_IMAGE
	                   : VM_KIND_INSTANCE;
	parsed = state_of(state);
	if (parsed < 0 || !vm_id_valid(row.id))
		return vm_err_set(err, VM_ERR_CORRUPT,
		                  "store: instance '%s' has id '%s', state '%s'", row.name, row.id,
		                  state);
	row.state = (enum vm_state)parsed;
	spec = (const char *)sqlite3_column_text(stmt, 19);
	if (own_column(stmt, 16, VM_FAILURE_MAX, &row.failure, err) < 0 ||
	    own_column(stmt, 22, VM_ALIAS_PATH_MAX, &row.alias_path, err) < 0 ||
	    (spec && !(row.spec = vm_strdup(spec, err)))) {
		vm_instance_free(&row);
		return -1;
	}
	*ret = row;
	return 0;
}

/* The first row of a statement: 1 found, 0 none, -1. */
static int first_row(struct vm_store *store, sqlite3_stmt *stmt, struct vm_instance *ret,
                     struct vm_err *err)
{
	int rc = stmt ? vm_sql_step(store, stmt, err) : -1;

	if (rc <= 0)
		return rc;
	return read_row(stmt, ret, err) < 0 ? -1 : 1;
}

/*
 * By id, or where that is NULL, by name: 1, 0, -1. One statement for both, which the store keeps:
 * to prepare it takes longer than to run it, and each verb needs both.
 */
static int find_again(struct vm_store *store, const char *id, const char *name,
                      struct vm_instance *ret, struct vm_err *err)
{
	int rc;

	if (vm_sql_prepare_once(store, &store->one, err,
	                        SELECT_INSTANCE
	                        "WHERE i.id = coalesce(?1, (SELECT o.id FROM instance o"
	                        " WHERE o.name = ?2))",
	                        "tt", id, name) < 0)
		return -1;
	rc = first_row(store, store->one, ret, err);
	sqlite3_reset(store->one);
	return rc;
}

/* The same of what is there for everybody. */
static int find_made(struct vm_store *store, const char *id, const char *name,
                     struct vm_instance *ret, struct vm_err *err)
{
	int rc = find_again(store, id, name, ret, err);

	if (rc <= 0 || ret->state != VM_STATE_CREATING)
		return rc;
	vm_instance_free(ret);
	return 0;
}

int vm_store_get(struct vm_store *store, const char *id, struct vm_instance *ret,
                 struct vm_err *err)
{
	int rc = find_again(store, id, NULL, ret, err);

	if (rc == 0)
		return vm_err_set(err, VM_ERR_NOT_FOUND, "no instance with id %s", id);
	return rc < 0 ? -1 : 0;
}

int vm_store_get_named(struct vm_store *store, const char *name, struct vm_instance *ret,
                       struct vm_err *err)
{
	int rc = find_again(store, NULL, name, ret, err);

	if (rc == 0)
		return vm_err_set(err, VM_ERR_NOT_FOUND, "no instance '%s'", name);
	return rc < 0 ? -1 : 0;
}

static bool may_be_id_prefix(const char *text)
{
	size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789");

	return n > 0 && n <= VM_ID_LEN && text[n] == '\0';
}

/* Lists the candidates of an ambiguous prefix. Returns -1. */
static int say_ambiguous(struct vm_store *store, sqlite3_stmt *stmt, const char *selector,
                         struct vm_err *err)
{
	char list[512] = "";
	size_t used = 0;
	int rows = 0;

	sqlite3_reset(stmt);
	while (sqlite3_step(stmt) == SQLITE_ROW && rows < 6) {
		int n = snprintf(list + used, sizeof(list) - used, "%s%s (%s)", rows ? ", " : "",
		                 (const char *)sqlite3_column_text(stmt, 0),
		                 (const char *)sqlite3_column_text(stmt, 1));
		if (n < 0 || (size_t)n >= sizeof(list) - used)
			break;
		used += (size_t)n;
		rows++;
	}
	(void)store;
	vm_err_set(err, VM_ERR_AMBIGUOUS, "'%s' is the beginning of several ids: %s", selector,
	           list);
	return vm_err_hint(err, "give more of the id, or the name");
}

/* By unique prefix of the id: 1 found, 0 none, -1 (ambiguous). */
static int find_prefix(struct vm_store *store, const char *selector, struct vm_instance *ret,
                       struct vm_err *err)
{
	VM_AUTO_STMT sqlite3_stmt *stmt = NULL;
	struct vm_instance row;
	char end[VM_ID_LEN + 2];
	int rc;

	if (!may_be_id_prefix(selector))
		return 0;
	/* '{' follows 'z' in ASCII: the range holds exactly the ids that begin with the prefix. */
	snprintf(end, sizeof(end), "%s{", selector);
	stmt = vm_sql_prepare(store, err,
	                      SELECT_INSTANCE
	                      "WHERE i.id >= ? AND i.id < ? AND i.state <> 'creating'"
	                      " ORDER BY i.id LIMIT 7",
	                      "tt", selector, end);
	rc = first_row(store, stmt, &row, err);
	if (rc <= 0)
		return rc;
	rc = vm_sql_step(store, stmt, err);
	if (rc == 0) {
		*ret = row;
		return 1;
	}
	vm_instance_free(&row);
	return rc > 0 ? say_ambiguous(store, stmt, selector, err) : -1;
}

/* A name close to what was typed, for the hint; "" when there is none. */
static void suggest_name(struct vm_store *store, const char *selector, char *buf, size_t size)
{
	struct vm_err ignored = {0};
	VM_AUTO_STMT sqlite3_stmt *stmt =
	        vm_sql_prepare(store, &ignored,
	                       "SELECT name FROM instance WHERE state <> 'creating' ORDER BY "
	                       "changed_us DESC LIMIT 200",
	                       "");

	buf[0] = '\0';
	while (stmt && buf[0] == '\0' && sqlite3_step(stmt) == SQLITE_ROW) {
		const char *name = (const char *)sqlite3_column_text(stmt, 0);
		const char *const words[] = {name, NULL};

		if (vm_suggest(selector, words))
			snprintf(buf, size, "%s", name);
	}
}

int vm_store_find(struct vm_store *store, const char *selector, struct vm_instance *ret,
                  struct vm_err *err)
{
	char near[VM_FULL_NAME_MAX + 1];
	struct vm_err ignored = {0};
	bool is_image;
	int rc = 0;

	if (vm_id_valid(selector))
		rc = find_made(store, selector, NULL, ret, err);
	if (rc == 0)
		rc = find_made(store, NULL, selector, ret, err);
	if (rc == 0)
		rc = find_prefix(store, selector, ret, err);
	if (rc != 0)
		return rc > 0 ? 0 : -1;
	/* No instance has such a name. */
	is_image = vm_image_name_check(selector, &ignored) == 0;
	vm_err_set(err, VM_ERR_NOT_FOUND, "no %s '%s'", is_image ? "snapshot" : "instance",
	           selector);
	suggest_name(store, selector, near, sizeof(near));
	if (near[0])
		return vm_err_hint(err, "did you mean '%s'?", near);
	return is_image ? vm_err_hint(err, "'vmctl snapshot ls' lists the snapshots there are")
	                : vm_err_hint(err, "'vmctl ls' lists the instances there are");
}

static int compare_names(const void *left, const void *right)
{
	const struct vm_instance *a = left, *b = right;

	return strcmp(a->name, b->name);
}

/* All rows of a statement; what was read is in *ret also when it fails. */
static int read_rows(struct vm_store *store, sqlite3_stmt *stmt, struct vm_instance **ret,
                     size_t *ret_count, struct vm_err *err)
{
	size_t room = 0;
	int rc;

	while ((rc = vm_sql_step(store, stmt, err)) > 0) {
		if (*ret_count == room) {
			struct vm_instance *more;

			room = room ? room * 2 : 16;
			more = realloc(*ret, room * sizeof(*more));
			if (!more)
				return vm_err_sys(err, "listing the instances");
			*ret = more;
		}
		(*ret)[*ret_count] = (struct vm_instance){0};
		if (read_row(stmt, &(*ret)[*ret_count], err) < 0)
			return -1;
		(*ret_count)++;
	}
	return rc;
}

/*
 * A row is more than a page of the store and the rest of its pages lie anywhere: reading them one
 * by one takes longer than all else. So who reads all of it has the file mapped meanwhile. Failing
 * that it is read.
 */
static void map_while_listing(struct vm_store *store, bool mapped)
{
	(void)sqlite3_exec(store->db,
	                   mapped ? "PRAGMA mmap_size = 268435456" : "PRAGMA mmap_size = 0", NULL,
	                   NULL, NULL);
}

/*
 * In the order in which the table has them, and sorted here: by the index of the names SQLite would
 * look for each row anew.
 */
int vm_store_list(struct vm_store *store, enum vm_list which, struct vm_instance **ret,
                  size_t *ret_count, struct vm_err *err)
{
	static const char *const queries[] = {
	        [VM_LIST_VISIBLE] =
	                SELECT_INSTANCE "WHERE i.state <> 'creating' AND i.kind = 'instance'",
	        [VM_LIST_IMAGES] =
	                SELECT_INSTANCE "WHERE i.state <> 'creating' AND i.kind = 'image'",
	        [VM_LIST_ALL] = SELECT_WITH("NULL"),
	        [VM_LIST_CREATING] = SELECT_WITH("NULL") "WHERE i.state = 'creating'",
	        [VM_LIST_OCCUPYING] = SELECT_WITH("NULL") "WHERE i.occupies = 1",
	        [VM_LIST_BRIEF] =
	                SELECT_WITH("NULL") "WHERE i.state <> 'creating' AND i.kind = 'instance'",
	};
	/* The others have an index, and few rows. */
	bool whole = which != VM_LIST_CREATING && which != VM_LIST_OCCUPYING;
	struct vm_instance *rows = NULL;
	sqlite3_stmt *stmt;
	size_t count = 0;
	int rc = 1;

	*ret = NULL;
	*ret_count = 0;
	/* Each verb that makes something asks for these, and mostly there are none. */
	if (which == VM_LIST_CREATING)
		rc = vm_sql_exists(store, err,
		                   "SELECT 1 FROM instance WHERE state = 'creating' LIMIT 1", "");
	if (rc <= 0)
		return rc;
	stmt = vm_sql_prepare(store, err, queries[which], "");
	if (whole)
		map_while_listing(store, true);
	rc = stmt ? read_rows(store, stmt, &rows, &count, err) : -1;
	sqlite3_finalize(stmt);
	if (whole)
		map_while_listing(store, false);
	if (rc < 0) {
		vm_instances_free(rows, count);
		return -1;
	}
	if (count > 1 && which != VM_LIST_BRIEF)
		qsort(rows, count, sizeof(*rows), compare_names);
	*ret = rows;
	*ret_count = count;
	return 0;
}
