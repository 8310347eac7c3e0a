/* SPDX-License-Identifier: Apache-2.0 */
/* The reading verbs: what is true now, and waiting for it. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "alias.h"
#include "driver/driver.h"
#include "fs.h"
#include "ops.h"
#include "settle.h"
#include "util.h"
#include "watch.h"

/* The same verdict as the next changing verb will commit. */
static int observe_dead(struct vm_root *root, struct vm_instance *instance, struct vm_err *err)
{
	VM_AUTO_CLOSE int dir_fd = vm_alias_open_dir(root, VM_KIND_INSTANCE, instance->id, err);
	const struct vm_driver *driver;
	char why[VM_FAILURE_MAX + 1];

	if (dir_fd < 0 || vm_driver_find(instance->hypervisor, &driver, err) < 0) {
		vm_err_clear(err);
		instance->state = VM_STATE_FAILED;
		snprintf(why, sizeof(why), "the VMM (pid %d) is gone", instance->pid);
	} else {
		instance->state = vm_settle_verdict(instance, driver, dir_fd, why, sizeof(why));
	}
	instance->pid = 0;
	free(instance->failure);
	instance->failure = why[0] ? vm_strdup(why, err) : NULL;
	return why[0] && !instance->failure ? -1 : 0;
}

/* Reads the row anew: 1 somebody has changed its state meanwhile, 0 nobody has or it is gone, -1.
 */
static int reread(struct vm_root *root, struct vm_instance *instance, struct vm_err *err)
{
	struct vm_instance now;
	int moved;

	if (vm_store_get(root->store, instance->id, &now, err) < 0) {
		if (err->code != VM_ERR_NOT_FOUND)
			return -1;
		vm_err_clear(err);
		return 0;
	}
	moved = now.generation != instance->generation || now.state != instance->state;
	vm_instance_free(instance);
	*instance = now;
	return moved;
}

enum { LOOKS = 16 }; /* each time somebody got on */

int vm_observe(struct vm_root *root, struct vm_instance *instance, struct vm_err *err)
{
	for (int i = 0; i < LOOKS; i++) {
		int rc;

		if (instance->state != VM_STATE_RUNNING && instance->state != VM_STATE_PAUSED)
			return 0;
		rc = vm_vmm_alive(root, instance->id, err);
		if (rc != 0)
			return rc < 0 ? -1 : 0;
		/*
		 * No lock is held: between the row and this look at the VMM a verb may have stopped
		 * it or put it in standby, and a VMM that was ended in good order must not be
		 * called dead. Such a verb has committed its state, or its intent at least.
		 */
		rc = reread(root, instance, err);
		if (rc <= 0)
			return rc < 0 ? -1 : observe_dead(root, instance, err);
	}
	return 0;
}

/* Looks once: 1 there, 0 not yet, -1. `ret` is filled unless the instance is gone. */
static int look(struct vm_op *op, const struct vm_instance *row, unsigned states,
                struct vm_instance *ret, struct vm_err *err)
{
	if (vm_store_get(op->root->store, row->id, ret, err) < 0) {
		if (err->code != VM_ERR_NOT_FOUND)
			return -1;
		vm_err_clear(err);
		return states == 0
		               ? 1
		               : vm_err_set(err, VM_ERR_NOT_FOUND,
		                            "%s was removed while it was waited for", row->name);
	}
	if (vm_observe(op->root, ret, err) < 0)
		return -1;
	return (states & (1U << ret->state)) != 0;
}

/* "web to be stopped or failed" */
static void describe_goal(const char *name, unsigned states, char *buf, size_t size)
{
	size_t used = (size_t)snprintf(buf, size, "%.*s to be%s", VM_FULL_NAME_MAX, name,
	                               states == 0 ? " gone" : "");
	unsigned told = 0;

	for (unsigned state = 0; state < VM_STATE_COUNT && used < size; state++) {
		if (!(states & (1U << state)))
			continue;
		used += (size_t)snprintf(buf + used, size - used, "%s %s", told > 0 ? " or" : "",
		                         vm_state_name((enum vm_state)state));
		told = 1;
	}
}

static void tell_state(struct vm_waiting *waiting, const struct vm_instance *row)
{
	snprintf(waiting->note, sizeof(waiting->note), "it is %s", vm_state_name(row->state));
	vm_waiting_tell(waiting);
}

static int wait_loop(struct vm_op *op, struct vm_instance *row, unsigned states,
                     struct vm_waiting *waiting, struct vm_watch *watch, struct vm_vmm *vmm,
                     struct vm_err *err)
{
	int64_t deadline_ms = waiting->deadline_ms;

	for (;;) {
		struct vm_instance now = {0};
		struct pollfd end;
		int rc = look(op, row, states, &now, err);

		if (rc < 0) {
			vm_instance_free(&now);
			return -1;
		}
		if (now.spec) {
			vm_instance_free(row);
			*row = now;
		}
		if (rc > 0)
			return 0;
		if (deadline_ms >= 0 && vm_monotonic_ms() >= deadline_ms)
			return vm_err_set(err, VM_ERR_TIMEOUT, "%s is still %s", row->name,
			                  vm_state_name(row->state));
		tell_state(waiting, row);
		/* A VMM that ends says so through its pidfd; a new one appears with a commit. */
		vm_vmm_close(vmm);
		if ((row->state == VM_STATE_RUNNING || row->state == VM_STATE_PAUSED) &&
		    vm_vmm_open(op->root, row->id, vmm, err) < 0)
			return -1;
		end = (struct pollfd){.fd = vmm->pid_fd, .events = POLLIN};
		if (vm_watch_sleep(watch, &end, 1, deadline_ms, err) < 0)
			return -1;
	}
}

int vm_wait(struct vm_op *op, const char *selector, unsigned states, int64_t timeout_ms,
            struct vm_instance *ret, struct vm_err *err)
{
	int64_t deadline = timeout_ms < 0 ? -1 : vm_monotonic_ms() + timeout_ms;
	struct vm_watch watch = VM_WATCH_INIT;
	struct vm_vmm vmm = VM_VMM_INIT;
	char goal[VM_FULL_NAME_MAX + 128];
	struct vm_waiting waiting;
	struct vm_instance row;
	int rc;

	if (vm_store_find(op->root->store, selector, &row, err) < 0)
		return -1;
	describe_goal(row.name, states, goal, sizeof(goal));
	vm_waiting_begin(&waiting, op->tell, goal, deadline);
	rc = vm_watch_open(op->root, &watch, err);
	if (rc == 0)
		rc = wait_loop(op, &row, states, &waiting, &watch, &vmm, err);
	vm_waiting_end(&waiting);
	vm_vmm_close(&vmm);
	vm_watch_close(&watch);
	if (rc == 0 && ret)
		*ret = row;
	else
		vm_instance_free(&row);
	return rc;
}
