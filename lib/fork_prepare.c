/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a fork. */
#include "files.h"
#include "fork_impl.h"
#include "fs.h"
#include "interrupt.h"
#include "manifest.h"
#include "memory.h"
#include "save.h"
#include "util.h"

static int copy_disks(struct vm_fork *fork, struct vm_child *child, int from_fd, struct vm_err *err)
{
	enum vm_copy how = VM_COPY_REFLINK;
	int private = vm_files_copy_disks(&fork->source.spec, from_fd, &fork->frozen, child->dir_fd,
	                                  fork->op->tell, child->row.name, &how, err);

	if (private < 0)
		return vm_err_wrap(err, "%s", child->row.name);
	if (private > 0)
		vm_child_note_copy(child, how);
	fork->copied |= how == VM_COPY_SPARSE;
	return 0;
}

/* What every fork has of its source as it is. Of an alias: the names that the state has for its
 * files. */
static int link_shared(struct vm_fork *fork, struct vm_child *child, int from_fd,
                       struct vm_err *err)
{
	if (child->row.alias_path && vm_files_copy_links(from_fd, child->dir_fd, err) < 0)
		return -1;
	return vm_files_link_kernel(&fork->source.spec, from_fd, child->dir_fd, err);
}

static int move_state(struct vm_fork *fork, struct vm_child *child, int from_fd,
                      const char *from_name, struct vm_err *err)
{
	const struct vm_state_move move = {
	        .from_fd = from_fd,
	        .from_name = from_name,
	        .to_fd = child->dir_fd,
	        .spec = &fork->source.spec,
	        .from_cid = fork->source.row.guest_cid,
	        .to_cid = child->row.guest_cid,
	        .durable = false, /* make_durable() sees to that */
	};

	if (fork->source.driver->move_state(&move, err) < 0)
		return vm_err_wrap(err, "%s", child->row.name);
	return 0;
}

/* The last file of a standby fork, and a start with writing them all out. */
static int begin_durable(struct vm_fork *fork, struct vm_child *child, struct vm_err *err)
{
	const struct vm_spec *spec = &fork->source.spec;
	char file[VM_DISK_FILE_SIZE];

	for (size_t i = 0; i < spec->disk_count; i++) {
		if (!spec->disks[i].read_only)
			vm_fs_begin_sync(child->dir_fd, vm_disk_file(&spec->disks[i], file));
	}
	if (fork->target != VM_STATE_STANDBY)
		return 0;
	if (vm_manifest_write(child->dir_fd, &child->row, spec, child->row.hypervisor_version,
	                      false, err) < 0)
		return -1;
	vm_fs_begin_sync(child->dir_fd, VM_FILE_STATE);
	vm_fs_begin_sync(child->dir_fd, VM_FILE_MANIFEST);
	return 0;
}

static int end_durable(const struct vm_fork *fork, const struct vm_child *child, struct vm_err *err)
{
	if (vm_interrupt_check(err) < 0 ||
	    vm_disks_sync(child->dir_fd, &fork->source.spec, err) < 0)
		return -1;
	if (fork->target == VM_STATE_STANDBY &&
	    (vm_fs_sync(child->dir_fd, VM_FILE_STATE, err) < 0 ||
	     vm_fs_sync(child->dir_fd, VM_FILE_MANIFEST, err) < 0))
		return -1;
	return vm_fs_sync(child->dir_fd, NULL, err);
}

/*
 * A running fork would not survive a power loss anyway; those at rest are synced before they are
 * published, and until then nobody reads anything of them, a manifest neither. So all is written
 * out first and waited for afterwards: the first fsync then commits the filesystem's journal for
 * all the files of all the forks, and the others find nothing left to do. One by one, each would
 * commit for itself.
 */
static int make_durable(struct vm_fork *fork, struct vm_err *err)
{
	struct vm_child *children = fork->children;

	if (fork->target == VM_STATE_RUNNING)
		return 0;
	for (size_t i = 0; i < fork->count; i++) {
		if (begin_durable(fork, &children[i], err) < 0)
			return -1;
	}
	/* One file of many names. */
	if (fork->target == VM_STATE_STANDBY &&
	    vm_fs_sync(children[0].dir_fd, VM_FILE_MEMORY, err) < 0)
		return -1;
	for (size_t i = 0; i < fork->count; i++) {
		if (end_durable(fork, &children[i], err) < 0)
			return -1;
	}
	return vm_fs_sync(vm_root_kind_fd(fork->op->root, children[0].row.kind), NULL, err);
}

int vm_fork_prepare_frozen(struct vm_fork *fork, struct vm_err *err)
{
	VM_AUTO(vm_lock_release) struct vm_lock memory = VM_LOCK_INIT;
	int from_fd = fork->source.dir_fd;

	if (vm_fork_with_memory(fork) && vm_memory_use(fork->op, &fork->source, &memory, err) < 0)
		return -1;
	/* An image is shared with others; its disks are frozen since it was made. */
	if (vm_overlay_freeze(from_fd, &fork->source.spec,
	                      fork->source.row.kind == VM_KIND_INSTANCE, &fork->frozen, err) < 0)
		return -1;
	for (size_t i = 0; i < fork->count; i++) {
		struct vm_child *child = &fork->children[i];

		if (vm_interrupt_check(err) < 0 || link_shared(fork, child, from_fd, err) < 0 ||
		    copy_disks(fork, child, from_fd, err) < 0)
			return -1;
		if (vm_fork_with_memory(fork) &&
		    (vm_fs_link(from_fd, child->dir_fd, VM_FILE_MEMORY, err) < 0 ||
		     move_state(fork, child, from_fd, VM_FILE_STATE, err) < 0))
			return -1;
	}
	return make_durable(fork, err);
}

/* Inside the pause: memory, state and disks of the same instant, into the first child. */
static int capture(struct vm_fork *fork, struct vm_machine *source, struct vm_save *save,
                   struct vm_err *err)
{
	struct vm_child *first = &fork->children[0];
	const char *dirs = first->row.kind == VM_KIND_IMAGE ? "../../" VM_IMAGES_DIR : "..";
	char memory[VM_ID_LEN + 48], state[VM_ID_LEN + 48];
	int64_t began;
	int rc;

	/* The VMM writes them; its cwd is the source's directory, beside the child's. */
	snprintf(memory, sizeof(memory), "%s/%s/" VM_FILE_MEMORY, dirs, first->row.id);
	snprintf(state, sizeof(state), "%s/%s/" VM_FILE_SOURCE_STATE, dirs, first->row.id);
	/* Before the save, which may leave the VMM's disks closed until the guest runs again. */
	if ((vm_overlay_any(source->spec) &&
	     vm_driver_freeze_disks(source, &fork->frozen, err) < 0) ||
	    (vm_fork_with_memory(fork) && vm_save_write(save, source, memory, state, err) < 0))
		return -1;
	began = vm_monotonic_us();
	rc = copy_disks(fork, first, fork->source.dir_fd, err);
	fork->disks_us = vm_monotonic_us() - began;
	return rc;
}

/* The source goes on, whatever became of the capture. */
static int let_go_on(struct vm_fork *fork, struct vm_machine *source, int rc, struct vm_err *err)
{
	struct vm_err second = {0}, ignored = {0};
	int resumed;

	vm_interrupt_suspend();
	resumed = vm_driver_resume(source, &second);
	vm_interrupt_resume();
	if (resumed == 0) {
		/* If it stays, the next comer asks the guest and finds it running. */
		if (vm_store_forget_intent(fork->op->root->store, fork->source.row.id, true, NULL,
		                           &ignored) < 0)
			vm_op_warn(fork->op, "%s goes on, but: %s", fork->source.row.name,
			           ignored.message);
		return rc;
	}
	if (rc == 0)
		*err = second;
	if (vm_vmm_wait(&source->vmm, vm_monotonic_ms(), &ignored) == 0)
		return vm_err_hint(err, "the VMM of the source '%s' has died",
		                   fork->source.row.name);
	/* Its intent stays: whoever takes the source's lock next tries again. */
	return vm_err_hint(err, "the source '%s' is still paused: 'vmctl resume %s' lets it go on",
	                   fork->source.row.name, fork->source.row.name);
}

/* How long the source stood still, and what for: a warning where another filesystem would help. */
static void tell_pause(const struct vm_fork *fork, const struct vm_save *save,
                       const struct vm_machine *source)
{
	double total = (double)fork->paused_us / 1000, disks = (double)fork->disks_us / 1000;

	if (fork->copied)
		vm_op_warn(fork->op,
		           "'%s' was paused for %.1f ms, %.1f ms of it to copy its disks: the "
		           "filesystem shares no extents",
		           fork->source.row.name, total, disks);
	vm_op_progress(fork->op, "'%s' was paused for %.1f ms (memory: %s)", fork->source.row.name,
	               total, vm_fork_with_memory(fork) ? vm_save_how_name(save, source) : "none");
}

static int pause_and_capture(struct vm_fork *fork, struct vm_err *err)
{
	struct vm_save save = {.how = VM_SAVE_FULL};
	struct vm_machine source;
	int64_t began;
	int rc;

	if (vm_fork_with_memory(fork) &&
	    vm_save_prepare(fork->op, &fork->source, fork->children[0].dir_fd, VM_FILE_MEMORY,
	                    VM_FILE_SOURCE_STATE, &save, err) < 0)
		return -1;
	if (vm_held_attach(fork->op, &fork->source, &source, err) < 0)
		return -1;
	if (vm_held_intend(fork->op, &fork->source, "running", VM_RUN_NONE, err) < 0) {
		vm_vmm_close(&source.vmm);
		return -1;
	}
	began = vm_monotonic_us();
	rc = vm_driver_pause(&source, err);
	if (rc == 0)
		rc = capture(fork, &source, &save, err);
	rc = let_go_on(fork, &source, rc, err);
	fork->paused_us = vm_monotonic_us() - began;
	if (rc == 0 && vm_fork_with_memory(fork))
		rc = vm_save_finish(fork->op, &save, &source, err);
	/* What is given up now must not stay as the base of the source: it may be large. */
	if (rc == 0)
		rc = vm_interrupt_check(err);
	if (rc == 0 && vm_fork_with_memory(fork))
		vm_save_done(fork->op, &fork->source, &save, &source);
	vm_vmm_close(&source.vmm);
	if (rc == 0)
		tell_pause(fork, &save, &source);
	return rc;
}

/* One of the other children, from the first, which nobody runs yet. */
static int clone_first(struct vm_fork *fork, struct vm_child *child, struct vm_err *err)
{
	struct vm_child *first = &fork->children[0];

	if (vm_interrupt_check(err) < 0 || link_shared(fork, child, first->dir_fd, err) < 0 ||
	    copy_disks(fork, child, first->dir_fd, err) < 0)
		return -1;
	if (!vm_fork_with_memory(fork))
		return 0;
	return vm_fs_link(first->dir_fd, child->dir_fd, VM_FILE_MEMORY, err);
}

/* All children have what the first has. */
static int complete(struct vm_fork *fork, struct vm_err *err)
{
	int first_fd = fork->children[0].dir_fd;

	for (size_t i = 1; i < fork->count; i++) {
		if (clone_first(fork, &fork->children[i], err) < 0)
			return -1;
	}
	for (size_t i = 0; vm_fork_with_memory(fork) && i < fork->count; i++) {
		if (move_state(fork, &fork->children[i], first_fd, VM_FILE_SOURCE_STATE, err) < 0)
			return -1;
	}
	return vm_fs_unlink(first_fd, VM_FILE_SOURCE_STATE, err) < 0 ? -1 : make_durable(fork, err);
}

int vm_fork_prepare_running(struct vm_fork *fork, struct vm_err *err)
{
	struct vm_err ignored = {0};
	int rc;

	/* What does not need the pause comes before it. */
	if (link_shared(fork, &fork->children[0], fork->source.dir_fd, err) < 0 ||
	    vm_interrupt_check(err) < 0 || pause_and_capture(fork, err) < 0)
		return -1;
	rc = complete(fork, err);
	/* If the disk is full, what the forks give back must not stay as the source's base. */
	if (rc < 0)
		vm_fs_unlink(fork->source.dir_fd, VM_FILE_BASE, &ignored);
	return rc;
}
