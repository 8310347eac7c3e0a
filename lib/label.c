/* SPDX-License-Identifier: Apache-2.0 */
/*
 * label: what is said of an instance or image changes, and nothing else of it. All changes are one
 * transaction, so there is no intent: a kill leaves all of them or none.
 */
#include <string.h>

#include "held.h"

/* What is to be set and has another value now goes to *ret_set; the labels become what they will
 * be. */
static int plan_set(const struct vm_labels *wanted, struct vm_labels *labels,
                    struct vm_labels *ret_set, struct vm_err *err)
{
	for (size_t i = 0; i < wanted->count; i++) {
		const struct vm_label *label = &wanted->list[i];
		const char *now = vm_labels_get(labels, label->key);

		if (now && strcmp(now, label->value) == 0)
			continue;
		if (vm_labels_put(ret_set, label->key, label->value, err) < 0 ||
		    vm_labels_put(labels, label->key, label->value, err) < 0)
			return -1;
	}
	return 0;
}

static size_t plan_drop(const struct vm_op *op, const struct vm_held *held,
                        const struct vm_label_change *change, struct vm_labels *labels)
{
	size_t dropped = 0;

	for (size_t i = 0; i < change->drop_count; i++) {
		if (vm_labels_remove(labels, change->drop[i]))
			dropped++;
		else
			vm_op_progress(op, "%s has no label '%s'", held->row.name, change->drop[i]);
	}
	return dropped;
}

/* The exclusive lock: nobody changes labels, or inherits them, between the look and the change. */
static int steps(struct vm_op *op, struct vm_held *held, const void *arg, struct vm_err *err)
{
	const struct vm_label_change *change = arg;
	VM_AUTO(vm_labels_free) struct vm_labels labels = {0}, set = {0};
	struct vm_event event;
	size_t dropped;

	if (vm_store_get_labels(op->root->store, held->row.id, &labels, err) < 0)
		return -1;
	dropped = plan_drop(op, held, change, &labels);
	if (plan_set(&change->set, &labels, &set, err) < 0)
		return -1;
	if (set.count == 0 && dropped == 0)
		return 1;
	/* A store of an older vmctl may have more, of an image that was imported. */
	if (set.count > 0 && vm_labels_check_count(labels.count, err) < 0)
		return vm_err_wrap(err, "%s", held->row.name);
	event = vm_op_event(op, &held->row, VM_OK);
	return vm_store_change_labels(op->root->store, held->row.id, &set, change->drop,
	                              change->drop_count, &event, err);
}

int vm_label(struct vm_op *op, const char *selector, const struct vm_label_change *change,
             struct vm_instance *ret, struct vm_err *err)
{
	op->on = 1U << VM_KIND_INSTANCE | 1U << VM_KIND_IMAGE;
	return vm_held_run(op, selector, steps, change, ret, err);
}
