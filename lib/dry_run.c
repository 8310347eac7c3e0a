/* SPDX-License-Identifier: Apache-2.0 */
#include "dry_run.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "alias.h"
#include "held.h"
#include "usage.h"
#include "util.h"

enum { HOLDERS_SEEN = 8 };

const char *vm_dry_action_name(enum vm_dry_action action)
{
	static const char *const names[] = {
	        [VM_DRY_NOTHING] = "none",      [VM_DRY_REMOVE] = "remove",
	        [VM_DRY_SHUTDOWN] = "shutdown", [VM_DRY_KILL] = "kill",
	        [VM_DRY_DISCARD] = "discard",   [VM_DRY_REVERT] = "restore",
	};

	return names[action];
}

void vm_dry_run_free(struct vm_dry_run *dry)
{
	vm_instance_free(&dry->instance);
	vm_instance_free(&dry->image);
}

/* --- a look instead of a lock -------------------------------------------------------------------
 */

/* Whether anybody has a lock that one of `mode` would have to wait for. */
static bool is_held(int lock_fd, enum vm_lock_mode mode)
{
	struct vm_lock_process holders[HOLDERS_SEEN];
	unsigned count = vm_lock_holders(lock_fd, holders, HOLDERS_SEEN);

	for (unsigned i = 0; i < count; i++) {
		if (mode == VM_LOCK_EXCLUSIVE || holders[i].mode == VM_LOCK_EXCLUSIVE)
			return true;
	}
	return false;
}

/* From /proc/locks, without touching the lock. Only to be waited for is no failure. */
static int look_at_lock(struct vm_op *op, const struct vm_instance *row, enum vm_lock_mode mode,
                        struct vm_dry_run *dry, struct vm_err *err)
{
	VM_AUTO_CLOSE int fd = openat(op->root->locks_fd, row->id, O_RDONLY | O_CLOEXEC);
	char holders[VM_DRY_LOCKED_SIZE];

	if (fd < 0 || !is_held(fd, mode) || vm_lock_list_holders(fd, holders, sizeof(holders)) == 0)
		return 0;
	if (op->wait_ms == 0) {
		vm_err_set(err, VM_ERR_BUSY, "instance '%s' is locked by %s", row->name, holders);
		return vm_err_hint(err, "wait longer with --wait=SEC");
	}
	vm_op_warn(op, "%s is locked by %s, who would be waited for", row->name, holders);
	memcpy(dry->locked_by, holders, sizeof(holders));
	return 0;
}

/* What the next comer settles before anything else. */
static int look_at_intent(const struct vm_op *op, const struct vm_instance *row,
                          const struct vm_dry_run *dry, struct vm_err *err)
{
	if (!row->intent.verb[0] || dry->locked_by[0])
		return 0;
	if (strcmp(row->intent.verb, "rm") == 0)
		return vm_err_set(
		        err, VM_ERR_NOT_FOUND,
		        "%s is what a killed rm has left, and the next verb finishes that",
		        row->name);
	vm_op_warn(op, "%s: what a killed %s has left would be settled first", row->name,
	           row->intent.verb);
	return 0;
}

/* A directory that a killed load has renamed away would be put back first. */
static int open_held(const struct vm_op *op, struct vm_held *held, struct vm_err *err)
{
	struct vm_err second = {0};

	if (vm_held_open(op, held, err) == 0)
		return 0;
	if (held->driver && vm_alias_has_journal(op->root, held->row.id))
		held->dir_fd = vm_alias_open_dir(op->root, held->row.kind, held->row.id, &second);
	if (held->dir_fd < 0 && !op->tolerate_damage)
		return -1;
	vm_err_clear(err);
	return 0;
}

/* As vm_held_take(), but that nothing is held, settled or swept. */
static int look(struct vm_op *op, const char *selector, struct vm_held *held,
                struct vm_dry_run *dry, struct vm_err *err)
{
	if (vm_store_find(op->root->store, selector, &held->row, err) < 0)
		return -1;
	vm_op_about(op, held->row.id, held->row.name);
	if (vm_held_check_kind(op, &held->row, err) < 0 ||
	    look_at_lock(op, &held->row, VM_LOCK_EXCLUSIVE, dry, err) < 0 ||
	    look_at_intent(op, &held->row, dry, err) < 0 || open_held(op, held, err) < 0)
		return -1;
	return vm_observe(op->root, &held->row, err);
}

/* --- what is lost ------------------------------------------------------------------------------
 */

static void add_lost(struct vm_dry_run *dry, const char *what, const char *id)
{
	snprintf(dry->lost[dry->lost_count++], VM_DRY_LOST_SIZE, "%s%s", what, id);
}

static void lose_disks(struct vm_dry_run *dry, const struct vm_held *held, bool read_only_too)
{
	for (size_t i = 0; i < held->spec.disk_count; i++) {
		if (read_only_too || !held->spec.disks[i].read_only)
			add_lost(dry, "disk ", held->spec.disks[i].id);
	}
}

/* Of a guest that has any: saved, or in a VMM. */
static void lose_memory(struct vm_dry_run *dry, const struct vm_held *held)
{
	if (held->row.state != VM_STATE_STOPPED && held->row.state != VM_STATE_FAILED)
		add_lost(dry, "memory", "");
}

/* --- the verbs ----------------------------------------------------------------------------------
 */

/* Hands the row on and lets go of the rest. */
static int finish(struct vm_held *held, struct vm_dry_run *dry, int rc, struct vm_dry_run *ret)
{
	if (rc == 0) {
		dry->instance = vm_instance_take(&held->row);
		*ret = *dry;
	} else {
		vm_dry_run_free(dry);
	}
	vm_held_release(held);
	return rc;
}

int vm_rm_dry_run(struct vm_op *op, const char *selector, bool force, struct vm_dry_run *ret,
                  struct vm_err *err)
{
	struct vm_dry_run dry = {.action = VM_DRY_REMOVE};
	struct vm_held held = VM_HELD_INIT;
	int rc;

	op->tolerate_damage = force;
	rc = look(op, selector, &held, &dry, err);
	if (rc == 0)
		rc = vm_rm_check(op, &held, force, err);
	lose_disks(&dry, &held, true);
	lose_memory(&dry, &held);
	return finish(&held, &dry, rc, ret);
}

int vm_stop_dry_run(struct vm_op *op, const char *selector, const struct vm_stop_options *options,
                    struct vm_dry_run *ret, struct vm_err *err)
{
	struct vm_dry_run dry = {.grace_ms = options->grace_ms};
	struct vm_held held = VM_HELD_INIT;
	int rc = look(op, selector, &held, &dry, err);

	if (rc == 0)
		rc = vm_stop_choose(op, &held, options, &dry.action, err);
	if (dry.action == VM_DRY_KILL || dry.action == VM_DRY_DISCARD)
		lose_memory(&dry, &held);
	return finish(&held, &dry, rc, ret);
}

int vm_snapshot_rm_dry_run(struct vm_op *op, const char *selector, struct vm_dry_run *ret,
                           struct vm_err *err)
{
	struct vm_dry_run dry = {.action = VM_DRY_REMOVE};
	struct vm_held held = VM_HELD_INIT;
	int rc;

	op->verb = "rm";
	op->on = 1U << VM_KIND_IMAGE;
	op->tolerate_damage = true;
	rc = look(op, selector, &held, &dry, err);
	lose_disks(&dry, &held, true);
	lose_memory(&dry, &held);
	return finish(&held, &dry, rc, ret);
}

/* The image is only read: several may have it. */
static int look_at_image(struct vm_op *op, const char *selector, const struct vm_held *held,
                         struct vm_dry_run *dry, struct vm_err *err)
{
	struct vm_held image = VM_HELD_INIT;
	int rc = vm_store_find(op->root->store, selector, &image.row, err);

	if (rc == 0)
		rc = vm_snapshot_require(&image.row, err);
	if (rc == 0)
		rc = look_at_lock(op, &image.row, VM_LOCK_SHARED, dry, err);
	if (rc == 0)
		rc = look_at_intent(op, &image.row, dry, err);
	if (rc == 0)
		rc = open_held(op, &image, err);
	if (rc == 0)
		rc = vm_revert_check_image(op, held, &image, err);
	if (rc == 0)
		dry->image = vm_instance_take(&image.row);
	vm_held_release(&image);
	return rc;
}

int vm_snapshot_restore_dry_run(struct vm_op *op, const char *instance, const char *image,
                                struct vm_dry_run *ret, struct vm_err *err)
{
	struct vm_dry_run dry = {.action = VM_DRY_REVERT};
	struct vm_held held = VM_HELD_INIT;
	int rc;

	op->verb = "revert";
	rc = look(op, instance, &held, &dry, err);
	if (rc == 0)
		rc = vm_revert_check_instance(&held, err);
	if (rc == 0)
		rc = look_at_image(op, image, &held, &dry, err);
	lose_disks(&dry, &held, false);
	lose_memory(&dry, &held);
	return finish(&held, &dry, rc, ret);
}

int vm_dry_run_weigh(const struct vm_op *op, struct vm_dry_run *list, size_t count,
                     uint64_t *ret_total, struct vm_err *err)
{
	VM_AUTO_FREE const char **ids = vm_calloc(count + 1, sizeof(*ids), err);
	struct vm_usage *usage = NULL;

	if (!ids || vm_usage_scan(op->root, &usage, err) < 0)
		return -1;
	for (size_t i = 0; i < count; i++) {
		ids[i] = list[i].instance.id;
		list[i].freed_bytes = vm_usage_of(usage, ids[i]).exclusive;
	}
	*ret_total = vm_usage_freed(usage, ids, count);
	vm_usage_free(usage);
	return 0;
}
