/* SPDX-License-Identifier: Apache-2.0 */
#include "save.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs.h"
#include "pool.h"

/* Of the host's memory: how much a file may take that is not written yet. */
enum { MEMORY_SHARE = 8 };

const char *vm_save_how_name(const struct vm_save *save, const struct vm_machine *machine)
{
	static const char *const names[] = {
	        [VM_SAVE_FULL] = "full",
	        [VM_SAVE_RECYCLED] = "recycled",
	        [VM_SAVE_DIFF] = "diff",
	        [VM_SAVE_LAYER] = "layer",
	};

	return machine->saved_by ? machine->saved_by : names[save->how];
}

static int look(const struct vm_save *save, struct stat *ret, struct vm_err *err)
{
	if (fstatat(save->to_fd, save->name, ret, AT_SYMLINK_NOFOLLOW) < 0)
		return vm_fs_fail(save->to_fd, save->name, "looking at", err);
	return 0;
}

/* A reflink of the base; `how` says whether there is one. */
static int clone_base(struct vm_held *held, struct vm_save *save, struct vm_err *err)
{
	bool cloned = false;
	struct stat st;

	if (vm_fs_clone(held->dir_fd, VM_FILE_BASE, save->to_fd, save->name, &cloned, err) < 0)
		return -1;
	if (!cloned)
		return 0;
	if (look(save, &st, err) < 0)
		return -1;
	save->blocks = st.st_blocks;
	save->how = VM_SAVE_DIFF;
	return 0;
}

/*
 * Whether the VMM can write a layer, and the next ones: it tracks, and what it writes can be told
 * from what it does not.
 */
static bool can_layer(const struct vm_op *op, const struct vm_held *held,
                      const struct vm_save *save)
{
	struct vm_machine machine = vm_held_machine(op, held);

	return op->root->config.memory_diff == VM_MEMORY_DIFF_AUTO &&
	       vm_driver_wants_tracking(&machine, held->row.hypervisor_version) &&
	       !vm_fs_shares_extents(save->to_fd) &&
	       vm_fs_keeps_holes(save->to_fd, held->row.memory_bytes);
}

/*
 * The base gets another name beside the file, by which it is no base any more. It must have one
 * until the layer is whole: a file without is written over by others (pool.h).
 */
static int lay_on_base(struct vm_held *held, struct vm_save *save, struct vm_err *err)
{
	/* A rename to a link of the same file would do nothing. */
	if (vm_fs_unlink(save->to_fd, VM_FILE_BELOW, err) < 0)
		return -1;
	if (vm_fs_rename(held->dir_fd, VM_FILE_BASE, save->to_fd, VM_FILE_BELOW, err) == 0) {
		save->how = VM_SAVE_LAYER;
		save->below = true;
		return 0;
	}
	if (errno != EXDEV)
		return -1;
	vm_err_clear(err);
	return 0;
}

/*
 * Before the pause, what a new file costs beside writing it: blocks, and pages of the host's
 * memory, which a busy host has to find first. Not for more of that than is easily had. Where it
 * may be recycled: it need not be punched then.
 */
static int allocate(struct vm_op *op, const struct vm_held *held, const struct vm_save *save,
                    struct vm_err *err)
{
	uint64_t size = held->row.memory_bytes;
	long pages = sysconf(_SC_PHYS_PAGES), page_size = sysconf(_SC_PAGESIZE);

	if (!vm_pool_is_for(op->root, save->to_fd, size) || pages <= 0 || page_size <= 0 ||
	    size > (uint64_t)pages * (uint64_t)page_size / MEMORY_SHARE)
		return 0;
	return vm_fs_allocate(save->to_fd, save->name, size, err);
}

int vm_save_prepare(struct vm_op *op, struct vm_held *held, int to_fd, const char *name,
                    const char *state, struct vm_save *ret_save, struct vm_err *err)
{
	struct vm_save save = {.to_fd = to_fd, .name = name, .state = state, .how = VM_SAVE_FULL};
	bool over = held->driver->caps.recycles_memory;
	bool base = op->root->config.memory_diff != VM_MEMORY_DIFF_OFF &&
	            held->driver->caps.diff_snapshot && vm_fs_exists(held->dir_fd, VM_FILE_BASE);

	save.layers = can_layer(op, held, &save);
	if (base && !save.layers && clone_base(held, &save, err) < 0)
		return -1;
	if (base && save.layers && lay_on_base(held, &save, err) < 0)
		return -1;
	/* From here on it is not known what is dirty, until the save has succeeded. */
	if (vm_fs_unlink(held->dir_fd, VM_FILE_BASE, err) < 0)
		return -1;
	if (over && save.how == VM_SAVE_FULL &&
	    vm_pool_take(op->root, held->row.memory_bytes, to_fd, name))
		save.how = VM_SAVE_RECYCLED;
	if (over && save.how == VM_SAVE_FULL && allocate(op, held, &save, err) < 0)
		return -1;
	*ret_save = save;
	return 0;
}

/*
 * Whether the VMM has written into the file that it has found. One that makes it anew first would
 * leave holes where the base had data.
 */
static int is_whole(const struct vm_save *save, const struct vm_machine *machine,
                    struct vm_err *err)
{
	struct stat st;

	if (look(save, &st, err) < 0)
		return -1;
	return (uint64_t)st.st_size == machine->spec->memory_bytes && st.st_blocks >= save->blocks;
}

/* How far the VMM is shows in a file that it makes; one that has its blocks already tells nothing.
 */
static int write_all(const struct vm_save *save, struct vm_machine *machine, const char *memory,
                     const char *state, struct vm_err *err)
{
	const struct vm_growth growth = {.dir_fd = save->to_fd, .files = {save->name, save->state}};
	bool grows = !vm_fs_exists(save->to_fd, save->name);
	struct vm_work work;

	vm_work_init(&work, machine->tell, "saving the memory of %s", machine->name);
	vm_work_watch(&work, machine->spec->memory_bytes, grows ? &growth : NULL);
	if (vm_driver_save(machine, VM_SAVE_ALL, memory, state, err) < 0)
		return -1;
	vm_work_end(&work);
	return 0;
}

int vm_save_write(struct vm_save *save, struct vm_machine *machine, const char *memory,
                  const char *state, struct vm_err *err)
{
	int whole;

	if (save->how != VM_SAVE_DIFF && save->how != VM_SAVE_LAYER)
		return write_all(save, machine, memory, state, err);
	whole = vm_driver_save(machine, VM_SAVE_DIRTY, memory, state, err);
	if (whole == 0)
		whole = is_whole(save, machine, err);
	if (whole > 0 || (whole < 0 && err->code != VM_ERR_UNSUPPORTED))
		return whole > 0 ? 0 : -1;
	/* It cannot do this after all: the guest still stands, so there is time for everything. */
	vm_err_clear(err);
	save->how = VM_SAVE_FULL;
	return write_all(save, machine, memory, state, err);
}

/* Whether the zeroes of a file of which all was written had better be holes. */
static bool is_to_punch(const struct vm_op *op, const struct vm_save *save)
{
	struct stat st;

	/* Each layer on it takes a copy of its data. */
	if (save->layers)
		return save->how != VM_SAVE_LAYER;
	return save->how == VM_SAVE_FULL &&
	       fstatat(save->to_fd, save->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       !vm_pool_is_for(op->root, save->to_fd, (uint64_t)st.st_size);
}

/* Where there is no memory file yet the driver makes it now, of what the state has. */
static int finish_writing(const struct vm_save *save, struct vm_machine *machine,
                          struct vm_err *err)
{
	const struct vm_growth growth = {.dir_fd = save->to_fd, .files = {save->name}};
	bool makes = !vm_fs_exists(save->to_fd, save->name);
	struct vm_work work;

	vm_work_init(&work, machine->tell, "making the memory of %s fit to be shared",
	             machine->name);
	if (makes)
		vm_work_watch(&work, machine->spec->memory_bytes, &growth);
	if (vm_driver_finish_save(machine, save->to_fd, save->name, save->state, err) < 0)
		return -1;
	if (makes)
		vm_work_end(&work);
	return 0;
}

int vm_save_finish(const struct vm_op *op, const struct vm_save *save, struct vm_machine *machine,
                   struct vm_err *err)
{
	struct vm_work work;

	if (finish_writing(save, machine, err) < 0)
		return -1;
	vm_work_init(&work, op->tell, "completing the memory of %s", machine->name);
	if (save->how == VM_SAVE_LAYER &&
	    vm_fs_fill_holes(save->to_fd, VM_FILE_BELOW, save->to_fd, save->name, &work, err) < 0)
		return -1;
	if (machine->driver->caps.recycles_memory && is_to_punch(op, save))
		vm_fs_punch_zeroes(save->to_fd, save->name);
	return save->below ? vm_fs_unlink(save->to_fd, VM_FILE_BELOW, err) : 0;
}

static int make_base(struct vm_held *held, const struct vm_save *save, struct vm_machine *machine,
                     struct vm_err *err)
{
	bool tracks = save->how == VM_SAVE_DIFF || save->how == VM_SAVE_LAYER;

	/* A VMM that was started under other settings may not track: it is the one who knows. */
	if (!vm_driver_wants_tracking(machine, held->row.hypervisor_version) ||
	    (!tracks && vm_driver_tracks(machine, &tracks, err) < 0))
		return -1;
	return tracks ? vm_fs_link_as(save->to_fd, save->name, held->dir_fd, VM_FILE_BASE, err) : 0;
}

void vm_save_done(struct vm_op *op, struct vm_held *held, const struct vm_save *save,
                  struct vm_machine *machine)
{
	struct vm_err why = {0};

	if (make_base(held, save, machine, &why) < 0 && why.code != VM_OK)
		vm_op_warn(op, "the next save of %s will write all of its memory: %s",
		           held->row.name, why.message);
}

int vm_save_put_aside(int dir_fd, struct vm_err *err)
{
	/* Already there, if it could not be put back: what is called memory now is not mapped. */
	if (vm_fs_exists(dir_fd, VM_FILE_MAPPED))
		return vm_fs_unlink(dir_fd, VM_FILE_MEMORY, err);
	if (!vm_fs_exists(dir_fd, VM_FILE_MEMORY))
		return 0;
	return vm_fs_rename(dir_fd, VM_FILE_MEMORY, dir_fd, VM_FILE_MAPPED, err);
}

int vm_save_put_back(int dir_fd, struct vm_err *err)
{
	if (!vm_fs_exists(dir_fd, VM_FILE_MAPPED))
		return 0;
	/* Where both are links of one file, a rename does nothing. */
	if (vm_fs_rename(dir_fd, VM_FILE_MAPPED, dir_fd, VM_FILE_MEMORY, err) < 0)
		return -1;
	return vm_fs_unlink(dir_fd, VM_FILE_MAPPED, err);
}
