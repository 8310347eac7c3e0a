/* SPDX-License-Identifier: Apache-2.0 */
#include "remove.h"

#include "fs.h"

static int remove_directory(const struct vm_root *root, const char *id, struct vm_err *err)
{
	/*
	 * Away from guests/ in one step, so that nobody ever sees half an instance there. If an
	 * earlier try was killed while emptying trash/<id>, the rename finds nothing and the
	 * emptying goes on.
	 */
	if (vm_fs_exists(root->guests_fd, id) &&
	    vm_fs_rename(root->guests_fd, id, root->trash_fd, id, err) < 0) {
		if (err->code != VM_ERR_INSUFFICIENT_RESOURCES)
			return -1;
		/* A disk too full for the name in trash/: where it is, then. */
		vm_err_clear(err);
		return vm_fs_remove_tree(root->guests_fd, id, err);
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
