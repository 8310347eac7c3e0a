/* SPDX-License-Identifier: Apache-2.0 */
/* Hooks of a fork: once before all of them, and once behind each that was made. */
#include <string.h>

#include "fork_impl.h"
#include "util.h"

static json_t *text_json(const char *text)
{
	return text ? json_string(text) : json_null();
}

static json_t *request_json(const struct vm_fork_request *request)
{
	return json_pack("{s:i, s:o, s:o, s:b, s:b, s:o}", "count", (int)request->count, "name",
	                 text_json(request->name), "target_state",
	                 text_json(request->has_target ? vm_state_name(request->target) : NULL),
	                 "from_running", (int)request->from_running, "atomic", (int)request->atomic,
	                 "network", text_json(request->network));
}

/* `row` is what the hooks are told is the source. */
static int run_pre(struct vm_fork *fork, const struct vm_instance *row, struct vm_err *err)
{
	const struct vm_hook_call call = {.source = row, .request = fork->hook_request};

	memcpy(fork->source_id, row->id, sizeof(fork->source_id));
	fork->selector = fork->source_id; /* and no other that has its name by then */
	return vm_hooks_pre(fork->op, &fork->hooks, &call, err);
}

/* Whether, by what can be seen without its lock, the source can be forked as asked. */
static bool looks_ready(struct vm_fork *fork, struct vm_instance *ret)
{
	const struct vm_driver *driver;
	struct vm_err ignored = {0};
	enum vm_state target;

	return vm_store_find(fork->op->root->store, fork->selector, ret, &ignored) == 0 &&
	       (fork->op->on & 1U << ret->kind) != 0 &&
	       vm_observe(fork->op->root, ret, &ignored) == 0 &&
	       vm_driver_find(ret->hypervisor, &driver, &ignored) == 0 &&
	       vm_fork_check_source(fork->request, driver, ret, &target, &ignored) == 0;
}

int vm_fork_find_hooks(struct vm_fork *fork, struct vm_err *err)
{
	/* An image is no instance, and nobody's fork but ours. */
	if (fork->request->image)
		return 0;
	if (vm_hooks_find(fork->op->root, VM_HOOK_FORK, &fork->hooks, err) < 0)
		return -1;
	if (!vm_hooks_any(&fork->hooks))
		return 0;
	fork->hook_request = request_json(fork->request);
	return fork->hook_request ? 0
	                          : vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES, "out of memory");
}

/*
 * What is seen without the lock is advice: a source that could not be forked then, and can be now
 * that its lock is held, is let go once more for the pre-hooks.
 */
int vm_fork_hold_after_hooks(struct vm_fork *fork, struct vm_err *err)
{
	VM_AUTO(vm_instance_free) struct vm_instance seen = {0};

	if (fork->hooks.lists[VM_HOOK_PRE].count == 0)
		return vm_fork_hold_source(fork, err);
	if (!looks_ready(fork, &seen)) {
		vm_instance_free(&seen);
		if (vm_fork_hold_source(fork, err) < 0)
			return -1;
		seen = vm_instance_take(&fork->source.row);
		vm_held_release(&fork->source);
	}
	if (run_pre(fork, &seen, err) < 0)
		return -1;
	if (vm_fork_hold_source(fork, err) == 0)
		return 0;
	return err->code == VM_ERR_NOT_FOUND
	               ? vm_err_hint(err, "it was removed while the pre-fork hooks ran")
	               : -1;
}

void vm_fork_run_post_hooks(struct vm_fork *fork, const struct vm_instance *source,
                            const struct vm_fork_result *results)
{
	for (size_t i = 0; i < fork->count; i++) {
		const struct vm_hook_call call = {.instance = &results[i].instance,
		                                  .source = source,
		                                  .request = fork->hook_request};

		if (!results[i].err)
			vm_hooks_post(fork->op, &fork->hooks, &call);
	}
}

void vm_fork_free_hooks(struct vm_fork *fork)
{
	vm_hooks_free(&fork->hooks);
	json_decref(fork->hook_request);
}
