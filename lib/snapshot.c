/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots: images of instances, kept on their own. An image is made as a fork is, and removed as
 * an instance is, with the same locks, the same intents and the same repair: only that it lives in
 * images/ and never runs.
 */
#include <string.h>
#include <time.h>

#include "held.h"
#include "memory.h"
#include "remove.h"
#include "util.h"

enum { NAME_RANDOM = 4 };

/* "20261125-134501-k3x9": in order of time, and no two alike. */
static int default_name(char *buf, size_t size, struct vm_err *err)
{
	time_t now = time(NULL);
	char id[VM_ID_LEN + 1];
	struct tm utc;
	size_t n;

	if (vm_id_new(id, err) < 0)
		return -1;
	gmtime_r(&now, &utc);
	n = strftime(buf, size, "%Y%m%d-%H%M%S", &utc);
	snprintf(buf + n, size - n, "-%.*s", NAME_RANDOM, id);
	return 0;
}

int vm_snapshot_create(struct vm_op *op, const char *instance, const char *name,
                       const struct vm_image_info *info, struct vm_instance *ret,
                       struct vm_err *err)
{
	struct vm_fork_request request = {
	        .source = instance, .name = name, .count = 1, .from_running = true, .image = info};
	struct vm_fork_result *results = NULL;
	char made[VM_NAME_MAX + 1];
	size_t count = 0;

	if (name && vm_name_check(name, err) < 0)
		return -1;
	if (!name) {
		if (default_name(made, sizeof(made), err) < 0)
			return -1;
		request.name = made;
	}
	op->verb = "snapshot";
	if (vm_fork(op, &request, &results, &count, err) < 0)
		return -1;
	*ret = vm_instance_take(&results[0].instance);
	vm_fork_results_free(results, count);
	return 0;
}

/* Whatever is left of it: an image has no guest, and nobody needs its files. */
static int rm_steps(struct vm_op *op, struct vm_held *held, const void *arg, struct vm_err *err)
{
	(void)arg;
	return vm_remove_held(op, held, err);
}

int vm_snapshot_rm(struct vm_op *op, const char *selector, struct vm_instance *ret,
                   struct vm_err *err)
{
	vm_store_makes_space(op->root->store);
	op->verb = "rm";
	op->on = 1U << VM_KIND_IMAGE;
	op->tolerate_damage = true;
	return vm_held_run(op, selector, rm_steps, NULL, ret, err);
}

static int compress_steps(struct vm_op *op, struct vm_held *held, const void *arg,
                          struct vm_err *err)
{
	struct vm_event event;

	(void)arg;
	if (held->row.state != VM_STATE_STANDBY)
		return vm_err_set(err, VM_ERR_INVALID_STATE, "%s has no memory, only disks",
		                  held->row.name);
	if (vm_memory_pack(op, held, err) < 0)
		return -1;
	event = vm_op_event(op, &held->row, VM_OK);
	return vm_store_record(op->root->store, &event, err);
}

int vm_snapshot_compress(struct vm_op *op, const char *selector, struct vm_instance *ret,
                         struct vm_err *err)
{
	op->on = 1U << VM_KIND_IMAGE;
	op->verb = "compress";
	/* Shared: forks go on meanwhile, with the raw file as long as it is there. */
	return vm_held_run_shared(op, selector, compress_steps, NULL, ret, err);
}

int vm_snapshot_require(const struct vm_instance *row, struct vm_err *err)
{
	if (row->kind == VM_KIND_IMAGE)
		return 0;
	vm_err_set(err, VM_ERR_INVALID_STATE, "%s is an instance, not a snapshot", row->name);
	return vm_err_hint(err, "'vmctl snapshot ls %s' lists those that were made of it",
	                   row->name);
}
