/* SPDX-License-Identifier: Apache-2.0 */
#include "remove.h"

#include "fs.h"
#include "interrupt.h"
#include "pool.h"
#include "revert.h"

static int remove_directory(const struct vm_root *root, const char *id, struct vm_err *err)
{
	/* An id is of one kind only, but what is left of a row may not tell which. */
	int from_fd = vm_fs_exists(root->images_fd, id) ? root->images_fd : root->guests_fd;

	/*
	 * Away from guests/ in one step, so that nobody ever sees half an instance there. If an
	 * earlier try was killed while emptying trash/<id>, the rename finds nothing and the
	 * emptying goes on.
	 */
	if (vm_fs_exists(from_fd, id) && vm_fs_rename(from_fd, id, root->trash_fd, id, err) < 0) {
		if (err->code != VM_ERR_INSUFFICIENT_RESOURCES)
			return -1;
		/* A disk too full for the name in trash/: where it is, then. */
		vm_err_clear(err);
		return vm_fs_remove_tree(from_fd, id, err);
	}
	return vm_fs_remove_tree(root->trash_fd, id, err);
}

int vm_remove(struct vm_op *op, const char *id, struct vm_lock *lock, const struct vm_event *event,
              struct vm_err *err)
{
	const struct vm_root *root = op->root;
	char alive[VM_LOCK_NAME_SIZE];
	struct vm_err ignored = {0};

	/* The row goes after the files: until then a kill leaves something that names what to
	 * finish. */
	if (vm_vmm_reap(root, id, err) < 0 || remove_directory(root, id, err) < 0 ||
	    vm_revert_drop_staged(root, id, err) < 0 ||
	    vm_fs_unlink(root->run_fd, vm_root_alive_name(id, alive), err) < 0 ||
	    vm_store_delete(root->store, id, event, err) < 0)
		return -1;
	/*
	 * It is gone, and its event says so. What is left of its lock files, and their note, is
	 * swept once we are gone: no failure of ours that would be told and counted beside that.
	 */
	vm_held_unlink_locks(op, id, lock, &ignored);
	return 0;
}

int vm_remove_held(struct vm_op *op, struct vm_held *held, struct vm_err *err)
{
	struct vm_event event = vm_op_event(op, &held->row, VM_OK);
	int rc;

	if (vm_held_intend(op, held, vm_state_name(held->row.state), VM_RUN_NONE, err) < 0)
		return -1;
	/* From here on a removal is only ever finished, by us or by the next comer. */
	vm_interrupt_suspend();
	rc = vm_vmm_reap(op->root, held->row.id, err);
	if (rc == 0 && held->dir_fd >= 0)
		vm_pool_offer(op->root, held->dir_fd, VM_FILE_MEMORY);
	if (rc == 0)
		rc = vm_remove(op, held->row.id, &held->lock, &event, err);
	vm_interrupt_resume();
	return rc;
}
