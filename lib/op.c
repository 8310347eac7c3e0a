/* SPDX-License-Identifier: Apache-2.0 */
/* What one run of a verb needs everywhere: deadlines, messages, events, limits. */
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "events.h"
#include "fs.h"
#include "held.h"
#include "pool.h"
#include "util.h"

void vm_op_begin(struct vm_op *op)
{
	op->began_us = vm_monotonic_us();
	op->lock_waited_us = 0;
	op->slot_waited_us = 0;
	vm_op_about(op, "", "");
}

struct vm_op vm_op_repair(const struct vm_op *op)
{
	struct vm_op repair = *op;

	vm_op_begin(&repair);
	repair.verb = VM_VERB_REPAIR;
	return repair;
}

void vm_op_about(struct vm_op *op, const char *id, const char *name)
{
	snprintf(op->instance_id, sizeof(op->instance_id), "%s", id);
	snprintf(op->instance_name, sizeof(op->instance_name), "%s", name);
}

int64_t vm_op_deadline(const struct vm_op *op)
{
	if (op->wait_ms == 0)
		return VM_WAIT_NONE;
	return op->wait_ms < 0 ? VM_WAIT_FOREVER : vm_monotonic_ms() + op->wait_ms;
}

__attribute__((format(printf, 3, 0))) static void say(void (*sink)(void *ctx, const char *text),
                                                      void *ctx, const char *fmt, va_list ap)
{
	char text[512];

	if (!sink)
		return;
	vsnprintf(text, sizeof(text), fmt, ap);
	sink(ctx, text);
}

void vm_op_progress(const struct vm_op *op, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(op->progress, op->ctx, fmt, ap);
	va_end(ap);
}

void vm_op_warn(const struct vm_op *op, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(op->warn, op->ctx, fmt, ap);
	va_end(ap);
}

struct vm_event vm_op_event(const struct vm_op *op, const struct vm_instance *row,
                            enum vm_code code)
{
	return (struct vm_event){
	        .verb = op->verb,
	        .instance_id = row->id,
	        .name = row->name,
	        .code = code,
	        .duration_us = vm_monotonic_us() - op->began_us,
	        .lock_waited_us = op->lock_waited_us,
	        .slot_waited_us = op->slot_waited_us,
	};
}

void vm_op_record_failure(const struct vm_op *op, const struct vm_err *why)
{
	struct vm_instance about = {0};
	struct vm_event event = vm_op_event(op, &about, why->code);
	struct vm_err ignored = {0};

	if (why->code == VM_ERR_USAGE || why->code == VM_ERR_NOT_FOUND ||
	    why->code == VM_ERR_AMBIGUOUS)
		return;
	event.instance_id = op->instance_id;
	event.name = op->instance_name;
	event.message = why->message;
	vm_store_record(op->root->store, &event, &ignored);
}

struct vm_limits vm_op_limits(const struct vm_op *op)
{
	const struct vm_config *config = &op->root->config;
	struct vm_limits limits = {.max_running = config->max_running};
	long pages = sysconf(_SC_PHYS_PAGES), page_size = sysconf(_SC_PAGESIZE);

	if (config->memory_overcommit > 0 && pages > 0 && page_size > 0)
		limits.max_memory_bytes =
		        (uint64_t)((double)pages * (double)page_size * config->memory_overcommit);
	return limits;
}

struct vm_slot_pool vm_op_slots(const struct vm_op *op, const struct vm_driver *driver)
{
	unsigned configured = op->root->config.max_concurrent_restores;

	return (struct vm_slot_pool){
	        .run_fd = op->root->run_fd,
	        .root_id = vm_store_root_id(op->root->store),
	        .hypervisor = driver->name,
	        .count = configured ? configured : driver->caps.max_concurrent_restores,
	        .tell = op->tell,
	};
}

int vm_op_check_disk(const struct vm_op *op, uint64_t need_bytes, struct vm_err *err)
{
	uint64_t reserve = op->root->config.min_free_disk_bytes;
	char need[16], have[16], keep[16];
	uint64_t free_bytes;

	if (vm_fs_free_bytes(op->root->fd, &free_bytes, err) < 0)
		return -1;
	if (free_bytes >= reserve && free_bytes - reserve >= need_bytes)
		return 0;
	/* Who only looks holds no lock, and changes nothing. */
	if (op->root->store_lock.fd >= 0 && vm_pool_empty(op->root) > 0)
		return vm_op_check_disk(op, need_bytes, err);
	vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES,
	           "%s has %s free: %s are needed and %s must stay free", op->root->path,
	           vm_size_format(free_bytes, have, sizeof(have)),
	           vm_size_format(need_bytes, need, sizeof(need)),
	           vm_size_format(reserve, keep, sizeof(keep)));
	return vm_err_hint(err, "free some space, or lower limits.min_free_disk in vmctl.yaml");
}
