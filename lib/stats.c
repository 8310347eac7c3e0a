/* SPDX-License-Identifier: Apache-2.0 */
#include "stats.h"

#include <stdlib.h>
#include <string.h>

#include "driver/driver.h"
#include "held.h"
#include "util.h"

/* What a reader shall find even before it has happened once. */
static const struct {
	const char *name, *label;
} known_counters[] = {
        {VM_COUNT_FORKS, "relative"},   {VM_COUNT_FORKS, "rewrite"},
        {VM_COUNT_FORKS, "alias"},      {VM_COUNT_FORKS, "none"},
        {VM_COUNT_ALIAS_FALLBACKS, ""}, {VM_COUNT_DISK_COPIES, "reflink"},
        {VM_COUNT_DISK_COPIES, "copy"}, {VM_COUNT_LOCK_WAITS, ""},
        {VM_COUNT_LOCK_WAIT_US, ""},    {VM_COUNT_SLOT_WAITS, ""},
        {VM_COUNT_SLOT_WAIT_US, ""},    {VM_COUNT_INSUFFICIENT, ""},
        {VM_COUNT_VMM_DEATHS, ""},
};

const char *vm_slow_name(enum vm_slow reason)
{
	static const char *const names[VM_SLOW_COUNT] = {
	        [VM_SLOW_ALIAS] = "alias_relocations",
	        [VM_SLOW_DISKS_COPIED] = "disks_copied",
	        [VM_SLOW_SLOT_WAITS] = "slot_waits",
	        [VM_SLOW_LOCK_WAITS] = "lock_waits",
	        [VM_SLOW_INSUFFICIENT] = "insufficient_resources",
	        [VM_SLOW_VMM_DEATHS] = "vmm_deaths",
	};

	return names[reason];
}

unsigned vm_slow_reasons(const struct vm_window *window, unsigned found_dead)
{
	bool locks = (double)window->lock_waited_us * 100 >
	             (double)window->duration_us * VM_SLOW_LOCK_PERCENT;
	unsigned slow = 0;

	slow |= (unsigned)(window->alias_relocations > 0) << VM_SLOW_ALIAS;
	slow |= (unsigned)(window->disks_copied > 0) << VM_SLOW_DISKS_COPIED;
	slow |= (unsigned)(window->slot_waits > 0) << VM_SLOW_SLOT_WAITS;
	slow |= (unsigned)locks << VM_SLOW_LOCK_WAITS;
	slow |= (unsigned)(window->insufficient_resources > 0) << VM_SLOW_INSUFFICIENT;
	slow |= (unsigned)(window->vmm_deaths + found_dead > 0) << VM_SLOW_VMM_DEATHS;
	return slow;
}

static int by_name_and_label(const void *a, const void *b)
{
	const struct vm_counter *left = a, *right = b;
	int order = strcmp(left->name, right->name);

	return order ? order : strcmp(left->label, right->label);
}

static int read_counters(struct vm_op *op, struct vm_stats *stats, struct vm_err *err)
{
	VM_AUTO_FREE struct vm_counter *counted = NULL;
	size_t count = 0, before;

	if (vm_counters_list(op->root->store, &counted, &count, err) < 0)
		return -1;
	before = count;
	stats->counters = vm_calloc(count + VM_ARRAY_LEN(known_counters), sizeof(*counted), err);
	if (!stats->counters)
		return -1;
	if (count > 0)
		memcpy(stats->counters, counted, count * sizeof(*counted));
	for (size_t i = 0; i < VM_ARRAY_LEN(known_counters); i++) {
		struct vm_counter zero = {.value = 0};

		snprintf(zero.name, sizeof(zero.name), "%s", known_counters[i].name);
		snprintf(zero.label, sizeof(zero.label), "%s", known_counters[i].label);
		if (before == 0 ||
		    !bsearch(&zero, counted, before, sizeof(zero), by_name_and_label))
			stats->counters[count++] = zero;
	}
	qsort(stats->counters, count, sizeof(*stats->counters), by_name_and_label);
	stats->counter_count = count;
	return 0;
}

static int count_instances(struct vm_op *op, struct vm_stats *stats, struct vm_err *err)
{
	struct vm_instance *rows = NULL;
	size_t count = 0;
	int rc = vm_store_list(op->root->store, VM_LIST_ALL, &rows, &count, err);

	for (size_t i = 0; rc == 0 && i < count; i++) {
		enum vm_state committed = rows[i].state;

		if (rows[i].kind != VM_KIND_INSTANCE)
			continue;
		rc = vm_observe(op->root, &rows[i], err);
		stats->instances[rows[i].state]++;
		stats->found_dead +=
		        rows[i].state == VM_STATE_FAILED && committed != VM_STATE_FAILED;
	}
	vm_instances_free(rows, count);
	return rc;
}

static int read_pools(struct vm_op *op, struct vm_stats *stats, struct vm_err *err)
{
	size_t drivers = 0;

	while (vm_drivers[drivers])
		drivers++;
	stats->pools = vm_calloc(drivers + 1, sizeof(*stats->pools), err);
	if (!stats->pools)
		return -1;
	for (; stats->pool_count < drivers; stats->pool_count++) {
		struct vm_slot_pool slots = vm_op_slots(op, vm_drivers[stats->pool_count]);
		struct vm_stats_pool *pool = &stats->pools[stats->pool_count];

		pool->hypervisor = slots.hypervisor;
		pool->status = (struct vm_slot_status){.total = slots.count, .tokens = -1};
		if (!op->root->missing && vm_slot_holders(&slots, &pool->status, &pool->holders,
		                                          &pool->holder_count, err) < 0)
			return -1;
	}
	return 0;
}

int vm_stats(struct vm_op *op, int64_t since_us, struct vm_stats *ret, struct vm_err *err)
{
	struct vm_stats stats = {.time_us = vm_realtime_us()};

	if (read_counters(op, &stats, err) < 0 || count_instances(op, &stats, err) < 0 ||
	    read_pools(op, &stats, err) < 0 ||
	    vm_lock_table(op->root, &stats.claims, &stats.claim_count, err) < 0 ||
	    vm_events_window(op->root->store, since_us, &stats.window, err) < 0) {
		vm_stats_free(&stats);
		return -1;
	}
	stats.slow = vm_slow_reasons(&stats.window, stats.found_dead);
	*ret = stats;
	return 0;
}

void vm_stats_free(struct vm_stats *stats)
{
	for (size_t i = 0; stats->pools && i < stats->pool_count; i++)
		free(stats->pools[i].holders);
	free(stats->pools);
	free(stats->counters);
	free(stats->claims);
	*stats = (struct vm_stats){0};
}
