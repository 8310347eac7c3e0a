/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot restore, top to bottom: an instance goes back to one of its images, in place.
 *
 * What a kill leaves after each step, and what the next comer makes of it:
 *
 * - intended, staged: the intent, and trash/<id>.staged: removed, the instance is as it was.
 * - exchanged: the new files in guests/<id>, with VM_FILE_REVERTED: carried through.
 * - committed (the intent's detail is now "done"): the same, less the commit.
 */
#include "revert.h"

#include <string.h>

#include "dry_run.h"
#include "files.h"
#include "interrupt.h"
#include "manifest.h"
#include "memory.h"

#define DONE "done"

/* Where new files wait, and old ones go. */
static char *staged_name(const char *id, char *buf)
{
	snprintf(buf, VM_LOCK_NAME_SIZE, "%s.staged", id);
	return buf;
}

bool vm_revert_is_done(const struct vm_held *held)
{
	return strcmp(held->row.intent.detail, DONE) == 0 ||
	       vm_fs_exists(held->dir_fd, VM_FILE_REVERTED);
}

int vm_revert_drop_staged(const struct vm_root *root, const char *id, struct vm_err *err)
{
	char name[VM_LOCK_NAME_SIZE];

	if (!vm_fs_exists(root->trash_fd, staged_name(id, name)))
		return 0;
	return vm_fs_remove_tree(root->trash_fd, name, err);
}

/* The directory that the new state names, if it is of an alias: all that VM_FILE_REVERTED says. */
static int read_alias(int dir_fd, char **ret_path, struct vm_err *err)
{
	size_t len;

	return vm_fs_read(dir_fd, VM_FILE_REVERTED, VM_ALIAS_PATH_MAX, ret_path, &len, err);
}

int vm_revert_finish(struct vm_op *op, struct vm_held *held, const struct vm_event *event,
                     struct vm_err *err)
{
	VM_AUTO_FREE char *alias_path = NULL;
	bool standby = vm_fs_exists(held->dir_fd, VM_FILE_MANIFEST);
	struct vm_outcome outcome = {
	        .state = standby ? VM_STATE_STANDBY : VM_STATE_STOPPED,
	        .next_detail = DONE,
	        .durable = true,
	};

	/* The row first: without that file nothing would tell that it has not been changed yet. */
	if (strcmp(held->row.intent.detail, DONE) != 0) {
		if (read_alias(held->dir_fd, &alias_path, err) < 0)
			return -1;
		outcome.alias_path = standby ? alias_path : "";
		if (outcome.alias_path[0])
			outcome.relocation = "alias";
		else if (held->row.alias_path)
			outcome.relocation = "";
		if (vm_held_commit(op, held, &outcome, err) < 0)
			return -1;
	}
	if (vm_revert_drop_staged(op->root, held->row.id, err) < 0 ||
	    vm_fs_unlink(held->dir_fd, VM_FILE_REVERTED, err) < 0)
		return -1;
	return vm_store_forget_intent(op->root->store, held->row.id, false, event, err);
}

/* One revert: from the image, which is held shared, to the instance, which is held alone. */
struct revert {
	struct vm_op *op;
	struct vm_held *held;
	struct vm_held image;
	int to_fd; /* what is staged */
};

/* Logs are the instance's own: they tell what was before, too. */
static int link_logs(const struct revert *revert, struct vm_err *err)
{
	static const char *const logs[] = {VM_CONSOLE_LOG, VM_VMM_LOG};

	for (size_t i = 0; i < VM_ARRAY_LEN(logs); i++) {
		if (vm_fs_exists(revert->held->dir_fd, logs[i]) &&
		    vm_fs_link(revert->held->dir_fd, revert->to_fd, logs[i], err) < 0)
			return -1;
	}
	return 0;
}

static int stage_memory(const struct revert *revert, struct vm_err *err)
{
	const struct vm_held *image = &revert->image, *held = revert->held;
	VM_AUTO(vm_lock_release) struct vm_lock memory = VM_LOCK_INIT;
	const struct vm_state_move move = {
	        .from_fd = image->dir_fd,
	        .from_name = VM_FILE_STATE,
	        .to_fd = revert->to_fd,
	        .spec = &image->spec,
	        .from_cid = image->row.guest_cid,
	        .to_cid = held->row.guest_cid,
	        .durable = true,
	};

	if (image->row.state != VM_STATE_STANDBY)
		return 0;
	if ((image->row.alias_path && vm_files_copy_links(image->dir_fd, revert->to_fd, err) < 0) ||
	    vm_memory_use(revert->op, image, &memory, err) < 0 ||
	    vm_fs_link(image->dir_fd, revert->to_fd, VM_FILE_MEMORY, err) < 0 ||
	    image->driver->move_state(&move, err) < 0)
		return -1;
	return vm_manifest_write(revert->to_fd, &held->row, &image->spec,
	                         image->row.hypervisor_version, true, err);
}

/* All files that the instance will have, on disk before anything of the old is touched. */
static int stage(struct revert *revert, struct vm_err *err)
{
	const struct vm_root *root = revert->op->root;
	const struct vm_spec *spec = &revert->image.spec;
	const char *id = revert->held->row.id;
	const char *alias_path = revert->image.row.alias_path ? revert->image.row.alias_path : "";
	int from_fd = revert->image.dir_fd;
	enum vm_copy how = VM_COPY_REFLINK;
	struct vm_frozen frozen;
	char name[VM_LOCK_NAME_SIZE];

	revert->to_fd = vm_fs_make_dir(root->trash_fd, staged_name(id, name), err);
	if (revert->to_fd < 0 || vm_files_link_kernel(spec, from_fd, revert->to_fd, err) < 0 ||
	    vm_overlay_freeze(from_fd, spec, false, &frozen, err) < 0 ||
	    vm_files_copy_disks(spec, from_fd, &frozen, revert->to_fd, revert->op->tell,
	                        revert->held->row.name, &how, err) < 0 ||
	    vm_disks_sync(revert->to_fd, spec, err) < 0 || link_logs(revert, err) < 0 ||
	    stage_memory(revert, err) < 0 || vm_interrupt_check(err) < 0)
		return -1;
	return vm_fs_publish(revert->to_fd, VM_FILE_REVERTED, alias_path, strlen(alias_path), true,
	                     err);
}

/* The two directories change places; ours is then the one that was staged. */
static int exchange(struct revert *revert, struct vm_err *err)
{
	const struct vm_root *root = revert->op->root;
	struct vm_held *held = revert->held;
	char name[VM_LOCK_NAME_SIZE];

	if (vm_fs_exchange(root->guests_fd, held->row.id, root->trash_fd,
	                   staged_name(held->row.id, name), err) < 0)
		return -1;
	vm_cleanup_close(&held->dir_fd);
	held->dir_fd = vm_take_fd(&revert->to_fd);
	return vm_fs_sync(root->guests_fd, NULL, err);
}

int vm_revert_check_instance(const struct vm_held *held, struct vm_err *err)
{
	if (held->row.state != VM_STATE_RUNNING && held->row.state != VM_STATE_PAUSED)
		return 0;
	vm_err_set(err, VM_ERR_INVALID_STATE, "%s is %s; its files are in use", held->row.name,
	           vm_state_name(held->row.state));
	return vm_err_hint(err, "stop it first: 'vmctl stop %s'", held->row.name);
}

int vm_revert_check_image(const struct vm_op *op, const struct vm_held *held,
                          const struct vm_held *image, struct vm_err *err)
{
	struct vm_driver_info binary;

	if (strcmp(image->row.parent_id, held->row.id) != 0) {
		vm_err_set(err, VM_ERR_INVALID_STATE,
		           "%s is a snapshot of another instance than %s", image->row.name,
		           held->row.name);
		return vm_err_hint(err, "'vmctl snapshot fork %s' makes a new instance of it",
		                   image->row.name);
	}
	if (strcmp(image->row.spec, held->row.spec) != 0)
		return vm_err_set(err, VM_ERR_INCOMPATIBLE, "%s has another spec than %s has now",
		                  image->row.name, held->row.name);
	if (image->row.guest_cid != held->row.guest_cid && !image->driver->caps.cid_rewrite)
		return vm_err_set(err, VM_ERR_UNSUPPORTED,
		                  "%s cannot change the guest CID in the saved state of %s",
		                  image->driver->name, image->row.name);
	if (image->row.state != VM_STATE_STANDBY)
		return vm_manifest_check_files(image->dir_fd, &image->spec, false, err);
	if (image->driver->probe(op->root, NULL, image->row.hypervisor_version, &binary, err) < 0)
		return -1;
	return vm_manifest_check(image->dir_fd, &image->row, &image->spec, image->driver, &binary,
	                         err);
}

/*
 * The image is held shared while its files are taken. Rank CHILD, for the instance is held already:
 * whoever holds an image waits for no instance, so the two cannot wait for each other.
 */
static int hold_image(struct revert *revert, const char *selector, struct vm_err *err)
{
	struct vm_op *op = revert->op;
	struct vm_instance found;
	int rc;

	for (;;) {
		const struct vm_lock_how how = {.rank = VM_RANK_CHILD,
		                                .mode = VM_LOCK_SHARED,
		                                .deadline_ms = vm_op_deadline(op)};

		if (vm_store_find(op->root->store, selector, &found, err) < 0)
			return -1;
		rc = vm_snapshot_require(&found, err);
		if (rc == 0)
			rc = vm_held_settle(op, &found, &how, &revert->image, err);
		vm_instance_free(&found);
		if (rc <= 0)
			return rc;
		vm_held_release(&revert->image);
		revert->image = (struct vm_held)VM_HELD_INIT;
	}
}

static int replace(struct revert *revert, struct vm_err *err)
{
	struct vm_op *op = revert->op;
	struct vm_held *held = revert->held;
	struct vm_err second = {0};
	struct vm_event event;

	if (vm_held_intend(op, held, revert->image.row.id, VM_RUN_NONE, err) < 0)
		return -1;
	if (stage(revert, err) < 0) {
		/* If it cannot be removed the intent stays, and the next comer does both. */
		if (vm_revert_drop_staged(op->root, held->row.id, &second) == 0)
			vm_held_abandon(op, held);
		return -1;
	}
	vm_interrupt_suspend();
	/* From here on the intent stays whatever fails: the next comer looks how far it came. */
	int rc = exchange(revert, err);

	event = vm_op_event(op, &held->row, VM_OK);
	if (rc == 0)
		rc = vm_revert_finish(op, held, &event, err);
	vm_interrupt_resume();
	return rc < 0 ? vm_err_hint(err, "the next verb on %s finishes or undoes it",
	                            held->row.name)
	              : 0;
}

static int steps(struct vm_op *op, struct vm_held *held, const void *arg, struct vm_err *err)
{
	struct revert revert = {.op = op, .held = held, .image = VM_HELD_INIT, .to_fd = -1};
	int rc;

	if (vm_revert_check_instance(held, err) < 0)
		return -1;
	rc = hold_image(&revert, arg, err);
	if (rc == 0)
		rc = vm_revert_check_image(op, held, &revert.image, err);
	if (rc == 0)
		rc = replace(&revert, err);
	vm_cleanup_close(&revert.to_fd);
	vm_held_release(&revert.image);
	return rc;
}

int vm_snapshot_restore(struct vm_op *op, const char *instance, const char *image,
                        struct vm_instance *ret, struct vm_err *err)
{
	op->verb = "revert";
	return vm_held_run(op, instance, steps, image, ret, err);
}
