/* SPDX-License-Identifier: Apache-2.0 */
#include "memory.h"

#include "compress.h"
#include "fs.h"

/* Nobody can make it unusable while we hold the source's lock, so the second look should do. */
enum { TRIES = 3 };

static int take(struct vm_op *op, const struct vm_held *held, enum vm_lock_mode mode,
                int64_t deadline_ms, struct vm_lock *ret_lock, struct vm_err *err)
{
	char name[VM_LOCK_NAME_SIZE], what[VM_FULL_NAME_MAX + 32];
	const struct vm_lock_request request = {
	        .dir_fd = op->root->locks_fd,
	        .name = vm_root_memory_lock_name(held->row.id, name),
	        .rank = VM_RANK_MEMORY,
	        .mode = mode,
	        .deadline_ms = deadline_ms,
	        .create = true,
	        .what = what,
	        .waited_us = &op->lock_waited_us,
	        .tell = op->tell,
	};

	snprintf(what, sizeof(what), "the memory of instance '%s'", held->row.name);
	return vm_lock_take(&request, ret_lock, err);
}

static int is_ready(const struct vm_machine *machine, struct vm_err *err)
{
	if (vm_memory_is_packed(machine->dir_fd))
		return 0;
	return machine->driver->memory_ready ? machine->driver->memory_ready(machine, err) : 1;
}

static int unpack(const struct vm_op *op, const struct vm_machine *machine, struct vm_err *err)
{
	uint64_t bytes = machine->spec->memory_bytes;
	struct vm_work work;

	vm_work_init(&work, op->tell, "decompressing the memory of %s", machine->name);
	if (vm_op_check_disk(op, bytes, err) < 0)
		return -1;
	return vm_decompress_file(machine->dir_fd, VM_FILE_COMPRESSED, VM_FILE_MEMORY, bytes, &work,
	                          err);
}

static int make_ready(struct vm_op *op, struct vm_machine *machine, const struct vm_held *held,
                      int64_t deadline_ms, struct vm_err *err)
{
	VM_AUTO(vm_lock_release) struct vm_lock alone = VM_LOCK_INIT;
	int ready;

	if (take(op, held, VM_LOCK_EXCLUSIVE, deadline_ms, &alone, err) < 0)
		return -1;
	/*
	 * Between our shared lock and this one another fork may have done the work: done twice, it
	 * would cost a second time and replace a file that somebody has just linked.
	 */
	ready = is_ready(machine, err);
	if (ready != 0)
		return ready < 0 ? -1 : 0;
	vm_op_progress(op, "making the memory of %s usable", held->row.name);
	if (vm_memory_is_packed(machine->dir_fd) && unpack(op, machine, err) < 0)
		return -1;
	ready = is_ready(machine, err);
	if (ready != 0)
		return ready < 0 ? -1 : 0;
	return vm_driver_prepare_memory(machine, err);
}

int vm_memory_use(struct vm_op *op, const struct vm_held *held, struct vm_lock *ret_lock,
                  struct vm_err *err)
{
	struct vm_machine machine = vm_held_machine(op, held);
	int64_t deadline = vm_op_deadline(op);

	for (int i = 0; i < TRIES; i++) {
		struct vm_lock lock = VM_LOCK_INIT;
		int ready = -1;

		if (take(op, held, VM_LOCK_SHARED, deadline, &lock, err) == 0)
			ready = is_ready(&machine, err);
		if (ready > 0) {
			*ret_lock = lock;
			return 0;
		}
		/* Let go before it is taken alone: two sharers that both wait for the other. */
		vm_lock_release(&lock);
		if (ready < 0 || make_ready(op, &machine, held, deadline, err) < 0)
			return -1;
	}
	return vm_err_set(err, VM_ERR_CORRUPT,
	                  "%s: its memory is not usable, and does not become so", held->row.name);
}

/* Others may use the raw file meanwhile, and two may do this at once: one of them publishes. */
static int pack(struct vm_op *op, const struct vm_held *held, int64_t deadline_ms,
                struct vm_err *err)
{
	VM_AUTO(vm_lock_release) struct vm_lock shared = VM_LOCK_INIT;
	struct vm_work work;

	if (take(op, held, VM_LOCK_SHARED, deadline_ms, &shared, err) < 0)
		return -1;
	if (!vm_fs_exists(held->dir_fd, VM_FILE_MEMORY))
		return 0; /* it is packed, and nobody has needed it since */
	vm_op_progress(op, "compressing the memory of %s", held->row.name);
	vm_work_init(&work, op->tell, "compressing the memory of %s", held->row.name);
	return vm_compress_file(held->dir_fd, VM_FILE_MEMORY, VM_FILE_COMPRESSED, &work, err);
}

int vm_memory_pack(struct vm_op *op, const struct vm_held *held, struct vm_err *err)
{
	VM_AUTO(vm_lock_release) struct vm_lock alone = VM_LOCK_INIT;
	int64_t deadline = vm_op_deadline(op);

	if (pack(op, held, deadline, err) < 0 ||
	    take(op, held, VM_LOCK_EXCLUSIVE, deadline, &alone, err) < 0)
		return -1;
	/*
	 * In the gap a fork may have come: it has linked the raw file, or unpacked it if another
	 * compress was faster than we. Whichever, the packed one is there, and stays.
	 */
	return vm_fs_unlink(held->dir_fd, VM_FILE_MEMORY, err);
}
