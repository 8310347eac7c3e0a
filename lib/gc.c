/* SPDX-License-Identifier: Apache-2.0 */
#include "gc.h"

#include <stdlib.h>
#include <string.h>

#include "usage.h"
#include "util.h"

/* One image while it is decided about. */
struct candidate {
	struct vm_instance *row;
	const char *why; /* NULL: it stays */
};

static size_t stem_length(const struct vm_instance *row)
{
	return strcspn(row->name, "/");
}

static bool same_stem(const struct vm_instance *a, const struct vm_instance *b)
{
	size_t len = stem_length(a);

	return len == stem_length(b) && strncmp(a->name, b->name, len) == 0;
}

/* Newest first; of the same instant by name, so that two runs choose alike. */
static int by_age(const void *a, const void *b)
{
	const struct vm_instance *left = a, *right = b;

	if (left->created_us != right->created_us)
		return left->created_us > right->created_us ? -1 : 1;
	return strcmp(right->name, left->name);
}

/* Those of the policy's instance only. */
static void select_rows(const struct vm_gc_policy *policy, struct vm_instance *rows, size_t *count)
{
	size_t kept = 0;

	for (size_t i = 0; i < *count; i++) {
		size_t len = stem_length(&rows[i]);

		if (policy->instance && (strlen(policy->instance) != len ||
		                         strncmp(policy->instance, rows[i].name, len) != 0)) {
			vm_instance_free(&rows[i]);
			continue;
		}
		rows[kept++] = rows[i];
	}
	*count = kept;
}

static bool is_kept(const struct vm_gc_policy *policy, const struct vm_instance *rows, size_t index,
                    int64_t now_us)
{
	int64_t newer = 0;

	if (policy->keep_last < 0 && policy->keep_within_us < 0)
		return true; /* no rule: only what has expired goes */
	if (policy->keep_within_us >= 0 &&
	    now_us - rows[index].created_us <= policy->keep_within_us)
		return true;
	for (size_t i = 0; i < index; i++)
		newer += same_stem(&rows[i], &rows[index]);
	return policy->keep_last >= 0 && newer < policy->keep_last;
}

static int judge(struct vm_op *op, const struct vm_gc_policy *policy, struct vm_instance *rows,
                 size_t count, struct candidate *candidates, struct vm_err *err)
{
	int64_t now = vm_realtime_us();

	for (size_t i = 0; i < count; i++) {
		struct vm_image_info info = {0};

		if (vm_store_get_image(op->root->store, rows[i].id, &info, err) < 0)
			return -1;
		candidates[i].row = &rows[i];
		if (info.expires_us != 0 && info.expires_us <= now)
			candidates[i].why = "expired";
		else if (!is_kept(policy, rows, i, now))
			candidates[i].why = "not kept";
		vm_image_info_free(&info);
	}
	return 0;
}

/* All bytes of those that stay, each counted once. */
static uint64_t left_bytes(const struct vm_usage *usage, const struct candidate *candidates,
                           size_t count, const char **ids)
{
	size_t n = 0;

	for (size_t i = 0; i < count; i++) {
		if (!candidates[i].why)
			ids[n++] = candidates[i].row->id;
	}
	return vm_usage_taken(usage, ids, n);
}

/* The oldest go until the others fit. */
static void fit(const struct vm_gc_policy *policy, const struct vm_usage *usage,
                struct candidate *candidates, size_t count, const char **ids)
{
	if (policy->max_bytes < 0)
		return;
	for (size_t i = count; i > 0; i--) {
		if (candidates[i - 1].why)
			continue;
		if (left_bytes(usage, candidates, count, ids) <= (uint64_t)policy->max_bytes)
			return;
		candidates[i - 1].why = "max-size";
	}
}

/* What was chosen becomes the result's, oldest first. */
static int collect(struct candidate *candidates, size_t count, struct vm_gc *ret,
                   struct vm_err *err)
{
	ret->items = vm_calloc(count + 1, sizeof(*ret->items), err);
	if (!ret->items)
		return -1;
	for (size_t i = count; i > 0; i--) {
		struct vm_gc_item *item = &ret->items[ret->count];

		if (!candidates[i - 1].why)
			continue;
		item->image = vm_instance_take(candidates[i - 1].row);
		item->why = candidates[i - 1].why;
		ret->count++;
	}
	return 0;
}

/*
 * Nothing was locked: one that has been removed meanwhile is not found, one that somebody forks is
 * waited for, and both are the item's own matter.
 */
static void remove_all(struct vm_op *op, struct vm_gc *gc)
{
	for (size_t i = 0; i < gc->count; i++) {
		vm_op_begin(op);
		vm_snapshot_rm(op, gc->items[i].image.id, NULL, &gc->items[i].err);
	}
}

/* Of those that went, or would go. */
static void add_up(const struct vm_usage *usage, const char **ids, struct vm_gc *gc)
{
	size_t n = 0;

	for (size_t i = 0; i < gc->count; i++) {
		if (gc->items[i].err.code == VM_OK)
			ids[n++] = gc->items[i].image.id;
	}
	gc->freed_bytes = vm_usage_freed(usage, ids, n);
}

static int run(struct vm_op *op, const struct vm_gc_policy *policy, bool dry_run,
               struct vm_instance *rows, size_t count, struct vm_gc *ret, struct vm_err *err)
{
	VM_AUTO_FREE struct candidate *candidates = vm_calloc(count + 1, sizeof(*candidates), err);
	VM_AUTO_FREE const char **ids = vm_calloc(count + 1, sizeof(*ids), err);
	struct vm_usage *usage = NULL;
	int rc;

	if (!candidates || !ids || judge(op, policy, rows, count, candidates, err) < 0 ||
	    vm_usage_scan(op->root, &usage, err) < 0)
		return -1;
	fit(policy, usage, candidates, count, ids);
	rc = collect(candidates, count, ret, err);
	if (rc == 0 && !dry_run)
		remove_all(op, ret);
	if (rc == 0)
		add_up(usage, ids, ret);
	vm_usage_free(usage);
	return rc;
}

int vm_gc(struct vm_op *op, const struct vm_gc_policy *policy, bool dry_run, struct vm_gc *ret,
          struct vm_err *err)
{
	struct vm_instance *rows = NULL;
	struct vm_gc gc = {0};
	size_t count = 0;
	int rc;

	if (vm_store_list(op->root->store, VM_LIST_IMAGES, &rows, &count, err) < 0)
		return -1;
	select_rows(policy, rows, &count);
	if (count > 1)
		qsort(rows, count, sizeof(*rows), by_age);
	rc = run(op, policy, dry_run, rows, count, &gc, err);
	vm_instances_free(rows, count);
	if (rc < 0) {
		vm_gc_free(&gc);
		return -1;
	}
	*ret = gc;
	return 0;
}

void vm_gc_free(struct vm_gc *gc)
{
	for (size_t i = 0; gc->items && i < gc->count; i++)
		vm_instance_free(&gc->items[i].image);
	free(gc->items);
	*gc = (struct vm_gc){0};
}
