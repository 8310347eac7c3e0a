/* SPDX-License-Identifier: Apache-2.0 */
/* What is said of images beside their rows: comments, when they expire. */
#include <stdlib.h>
#include <string.h>

#include "store_sql.h"

void vm_image_info_free(struct vm_image_info *info)
{
	free(info->comment);
	vm_labels_free(&info->labels);
	*info = (struct vm_image_info){0};
}

int vm_store_put_image(struct vm_store *store, const char *id, const struct vm_image_info *info,
                       struct vm_err *err)
{
	int rc;

	if (vm_sql_begin(store, err) < 0)
		return -1;
	rc = vm_sql_run(store, err, "INSERT OR REPLACE INTO image VALUES (?, ?, ?)", "tti", id,
	                info->comment, info->expires_us);
	return vm_sql_end(store, rc, err);
}

/* A copy of a column's text in *ret, which stays NULL for a null. */
static int copy_text(sqlite3_stmt *stmt, int column, char **ret, struct vm_err *err)
{
	const char *text = (const char *)sqlite3_column_text(stmt, column);

	if (!text)
		return 0;
	*ret = vm_strdup(text, err);
	return *ret ? 0 : -1;
}

static int get_labels(struct vm_store *store, const char *id, struct vm_labels *ret,
                      struct vm_err *err)
{
	if (vm_store_get_labels(store, id, ret, err) == 0)
		return 0;
	if (err->code != VM_ERR_NOT_FOUND)
		return -1;
	vm_err_clear(err);
	return 0;
}

int vm_store_get_image(struct vm_store *store, const char *id, struct vm_image_info *ret,
                       struct vm_err *err)
{
	VM_AUTO_STMT sqlite3_stmt *stmt = vm_sql_prepare(
	        store, err, "SELECT comment, expires_us FROM image WHERE instance_id = ?", "t", id);
	struct vm_image_info info = {0};
	int rc = stmt ? vm_sql_step(store, stmt, err) : -1;

	if (rc > 0) {
		info.expires_us = sqlite3_column_int64(stmt, 1);
		rc = copy_text(stmt, 0, &info.comment, err);
	}
	if (rc == 0)
		rc = get_labels(store, id, &info.labels, err);
	if (rc < 0) {
		vm_image_info_free(&info);
		return -1;
	}
	*ret = info;
	return 0;
}
