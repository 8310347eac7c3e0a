/* SPDX-License-Identifier: Apache-2.0 */
/* Hooks around an operation. */
#include "hooks.h"

#include <string.h>

#include "hooks_impl.h"
#include "interrupt.h"
#include "util.h"

/* The message says for whom it ran: a verb may have many instances. */
static int run_one(struct vm_op *op, const char *hook, const char *file, const char *name,
                   const struct vm_hook_words *words, struct vm_err *err)
{
	vm_op_progress(op, "running %s hook %s", hook, file);
	if (vm_hook_run(file, words, op->root->config.hooks_timeout_ms, err) == 0)
		return 0;
	return vm_err_wrap(err, "%s: %s hook %s", name, hook, file);
}

int vm_hooks_pre(struct vm_op *op, const struct vm_hooks *hooks, const struct vm_hook_call *call,
                 struct vm_err *err)
{
	const struct vm_instance *about = call->instance ? call->instance : call->source;
	const struct vm_hook_list *list = &hooks->lists[VM_HOOK_PRE];
	VM_AUTO(vm_hook_words_free) struct vm_hook_words words = {0};
	char hook[VM_HOOK_NAME_SIZE];
	int rc = 0;

	if (list->count == 0)
		return 0;
	/* A refusal is an event about it. */
	vm_op_about(op, about->id, about->name);
	vm_hook_name(VM_HOOK_PRE, hooks->event, hook);
	if (vm_hook_words_make(op, hook, call, &words, err) < 0)
		return -1;
	for (size_t i = 0; rc == 0 && i < list->count; i++)
		rc = run_one(op, hook, list->files[i], about->name, &words, err);
	if (rc < 0 && !err->hint[0])
		vm_err_hint(err, "%s was not done: nothing was changed", op->verb);
	return rc;
}

/* What was done stands; but it is told, to the user now and to whoever reads the events. */
static void tell_failure(struct vm_op *op, const char *hook, const struct vm_instance *about,
                         int64_t began_us, const struct vm_err *why)
{
	struct vm_event event = vm_op_event(op, about, why->code);
	struct vm_err ignored = {0};

	event.verb = hook;
	event.duration_us = vm_monotonic_us() - began_us;
	event.lock_waited_us = 0;
	event.slot_waited_us = 0;
	event.message = why->message;
	vm_op_warn(op, "%s", why->message);
	vm_store_record(op->root->store, &event, &ignored);
}

void vm_hooks_post(struct vm_op *op, const struct vm_hooks *hooks, const struct vm_hook_call *call)
{
	const struct vm_hook_list *list = &hooks->lists[VM_HOOK_POST];
	VM_AUTO(vm_hook_words_free) struct vm_hook_words words = {0};
	int64_t began_us = vm_monotonic_us();
	char hook[VM_HOOK_NAME_SIZE];
	struct vm_err err = {0};

	if (list->count == 0)
		return;
	vm_hook_name(VM_HOOK_POST, hooks->event, hook);
	if (vm_hook_words_make(op, hook, call, &words, &err) < 0) {
		tell_failure(op, hook, call->instance, began_us, &err);
		return;
	}
	for (size_t i = 0; i < list->count; i++) {
		vm_err_clear(&err);
		began_us = vm_monotonic_us();
		if (vm_interrupt_check(&err) < 0)
			vm_err_wrap(&err, "%s: %s hook %s did not run", call->instance->name, hook,
			            list->files[i]);
		else
			run_one(op, hook, list->files[i], call->instance->name, &words, &err);
		if (err.code != VM_OK)
			tell_failure(op, hook, call->instance, began_us, &err);
	}
}

/* --- an operation on one instance
 * ----------------------------------------------------------------*/

struct guard {
	const struct vm_hooked *hooked;
	bool ran;       /* the pre-hooks */
	bool missed;    /* the steps would act, and the pre-hooks have not run */
	bool changed;   /* the steps have acted */
	json_t *labels; /* of what the steps remove; owned */
};

/*
 * Under the lock. What was seen without it is only advice: an instance that was in a state where
 * nothing is to do, or nothing can be done, may be in another by now. It is let go once more then,
 * for its pre-hooks.
 */
static int guarded_steps(struct vm_op *op, struct vm_held *held, const void *arg,
                         struct vm_err *err)
{
	struct guard *const *at = arg;
	struct guard *guard = *at;
	int rc;

	if (!guard->ran && (guard->hooked->from & 1U << held->row.state) != 0) {
		guard->missed = true;
		return 1;
	}
	if (guard->hooked->event == VM_HOOK_RM && !guard->labels)
		guard->labels = vm_hook_labels(op->root, &held->row);
	rc = guard->hooked->steps(op, held, guard->hooked->arg, err);
	guard->changed = rc == 0;
	return rc;
}

/* Whether, by what can be seen without its lock, the steps will act on it. */
static bool looks_ready(struct vm_op *op, const struct vm_hooked *hooked, const char *selector,
                        struct vm_instance *ret)
{
	struct vm_err ignored = {0};

	return vm_store_find(op->root->store, selector, ret, &ignored) == 0 &&
	       ret->kind == VM_KIND_INSTANCE && vm_observe(op->root, ret, &ignored) == 0 &&
	       (hooked->from & 1U << ret->state) != 0;
}

static int run_pre(struct vm_op *op, const struct vm_hooks *hooks, struct guard *guard,
                   const struct vm_instance *row, struct vm_err *err)
{
	const struct vm_hook_call call = {.instance = row, .request = guard->hooked->request};

	guard->ran = true;
	guard->missed = false;
	if (vm_hooks_pre(op, hooks, &call, err) == 0)
		return 0;
	vm_op_record_failure(op, err);
	return -1;
}

/* The instance that the hooks were told of, whoever has its name by now. */
static int run_seen(struct vm_op *op, struct guard *guard, const struct vm_instance *seen,
                    struct vm_instance *ret, struct vm_err *err)
{
	if (vm_held_run(op, seen->id, guarded_steps, &guard, ret, err) == 0)
		return 0;
	if (err->code == VM_ERR_NOT_FOUND)
		vm_err_hint(err, "it was removed while its pre-hooks ran");
	return -1;
}

static int run_hooked(struct vm_op *op, const struct vm_hooks *hooks, struct guard *guard,
                      const char *selector, struct vm_instance *ret, struct vm_err *err)
{
	VM_AUTO(vm_instance_free) struct vm_instance seen = {0};
	int rc;

	if (looks_ready(op, guard->hooked, selector, &seen)) {
		if (run_pre(op, hooks, guard, &seen, err) < 0)
			return -1;
		return run_seen(op, guard, &seen, ret, err);
	}
	vm_instance_free(&seen);
	seen = (struct vm_instance){0};
	rc = vm_held_run(op, selector, guarded_steps, &guard, &seen, err);
	if (rc == 0 && guard->missed) {
		if (run_pre(op, hooks, guard, &seen, err) < 0)
			return -1;
		return run_seen(op, guard, &seen, ret, err);
	}
	if (rc == 0)
		*ret = vm_instance_take(&seen);
	return rc;
}

int vm_hooks_held_run(struct vm_op *op, const struct vm_hooked *hooked, const char *selector,
                      struct vm_instance *ret, struct vm_err *err)
{
	VM_AUTO(vm_hooks_free) struct vm_hooks hooks = {0};
	struct guard guard = {.hooked = hooked};
	struct vm_instance row = {0};
	int rc;

	if (!hooked->request)
		rc = vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES, "out of memory");
	else
		rc = vm_hooks_find(op->root, hooked->event, &hooks, err);
	if (rc == 0 && !vm_hooks_any(&hooks)) {
		rc = vm_held_run(op, selector, hooked->steps, hooked->arg, ret, err);
	} else if (rc == 0) {
		rc = run_hooked(op, &hooks, &guard, selector, &row, err);
		if (rc == 0 && guard.changed) {
			const struct vm_hook_call call = {.instance = &row,
			                                  .request = hooked->request,
			                                  .labels = guard.labels};

			vm_hooks_post(op, &hooks, &call);
		}
		if (rc == 0 && ret)
			*ret = row;
		else
			vm_instance_free(&row);
	}
	json_decref(guard.labels);
	json_decref(hooked->request);
	return rc;
}
