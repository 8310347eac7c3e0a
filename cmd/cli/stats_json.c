/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "cli.h"
#include "stats_print.h"
#include "when.h"

static json_t *instances_json(const struct vm_stats *stats)
{
	json_t *object = json_object();

	for (int state = 0; state < VM_STATE_COUNT; state++)
		(void)json_object_set_new(object, vm_state_name((enum vm_state)state),
		                          json_integer(stats->instances[state]));
	return object;
}

/* The object below `key`, made when it is missing; borrowed. */
static json_t *descend(json_t *object, const char *key)
{
	json_t *below = json_object_get(object, key);

	if (below == NULL) {
		below = json_object();
		(void)json_object_set_new(object, key, below);
	}
	return below;
}

/* {"forks": {"alias": 0, ...}, "lock_waits": 3, ...}: one level for each label. */
static json_t *counters_json(const struct vm_stats *stats)
{
	json_t *root = json_object();

	/* Those whose labels are not known beforehand are there even when they are empty. */
	(void)descend(root, VM_COUNT_OPERATIONS);
	(void)descend(root, VM_COUNT_OPERATION_US);
	(void)descend(root, VM_COUNT_REPAIRS);
	for (size_t i = 0; i < stats->counter_count; i++) {
		const struct vm_counter *counter = &stats->counters[i];
		char label[sizeof(counter->label)];
		char *rest = label, *word;
		const char *key = counter->name;
		json_t *at = root;

		memcpy(label, counter->label, sizeof(label));
		while (label[0] != '\0' && (word = strsep(&rest, ",")) != NULL) {
			at = descend(at, key);
			key = word;
		}
		(void)json_object_set_new(at, key, json_integer(counter->value));
	}
	return root;
}

static json_t *claim_json(const struct vm_lock_claim *claim)
{
	const struct vm_lock_process *process = &claim->process;
	const char *mode = process->mode == VM_LOCK_SHARED ? "shared" : "exclusive";

	/* What those at the gate want is not to be seen: they pass through it one by one. */
	return json_pack("{s:i, s:s, s:o, s:o}", "pid", (int)process->pid, "command", process->verb,
	                 "mode", claim->at_gate ? json_null() : json_string(mode), "age_seconds",
	                 process->age_s < 0 ? json_null() : json_real(process->age_s));
}

static json_t *holders_json(const struct vm_stats_pool *pool)
{
	json_t *list = json_array();

	for (size_t i = 0; i < pool->holder_count; i++) {
		const struct vm_slot_holder *holder = &pool->holders[i];
		char since[VM_WHEN_SIZE];

		(void)json_array_append_new(
		        list, json_pack("{s:i, s:i, s:s, s:s}", "index", (int)holder->index, "pid",
		                        (int)holder->process.pid, "command", holder->process.verb,
		                        "since", vm_when_format(holder->since_us, since)));
	}
	return list;
}

static json_t *slots_json(const struct vm_stats *stats)
{
	json_t *list = json_array();

	for (size_t i = 0; i < stats->pool_count; i++) {
		const struct vm_stats_pool *pool = &stats->pools[i];

		(void)json_array_append_new(
		        list, json_pack("{s:s, s:i, s:i, s:o, s:o}", "hypervisor", pool->hypervisor,
		                        "total", (int)pool->status.total, "held",
		                        (int)pool->status.held, "tokens",
		                        pool->status.tokens < 0 ? json_null()
		                                                : json_integer(pool->status.tokens),
		                        "holders", holders_json(pool)));
	}
	return list;
}

static json_t *lock_json(const struct vm_lock_claim *claim)
{
	bool store = claim->instance_id[0] == '\0';

	return json_pack("{s:s, s:o, s:o, s:[], s:[]}", "lock", store ? "store" : "instance",
	                 "instance_id", cli_json_text(claim->instance_id), "name",
	                 cli_json_text(claim->instance_name), "holders", "waiters");
}

/* One object for each lock, with those who hold it and those who wait for them. */
static json_t *locks_json(const struct vm_stats *stats)
{
	json_t *list = json_array(), *lock = NULL;

	for (size_t i = 0; i < stats->claim_count; i++) {
		const struct vm_lock_claim *claim = &stats->claims[i];
		json_t *process = claim_json(claim);

		if (i == 0 || strcmp(claim->instance_id, claim[-1].instance_id) != 0) {
			lock = lock_json(claim);
			(void)json_array_append_new(list, lock);
		}
		if (claim->waits)
			(void)json_object_set_new(process, "queued", json_boolean(claim->at_gate));
		(void)json_array_append_new(
		        json_object_get(lock, claim->waits ? "waiters" : "holders"), process);
	}
	return list;
}

static json_t *window_json(const struct vm_stats *stats)
{
	const struct vm_window *w = &stats->window;
	char since[VM_WHEN_SIZE];

	return json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:i}",
	                 "since", vm_when_format(w->since_us, since), "complete", w->complete,
	                 "operations", (json_int_t)w->operations, "duration_us",
	                 (json_int_t)w->duration_us, "lock_waits", (json_int_t)w->lock_waits,
	                 "lock_waited_us", (json_int_t)w->lock_waited_us, "slot_waits",
	                 (json_int_t)w->slot_waits, "slot_waited_us", (json_int_t)w->slot_waited_us,
	                 "alias_relocations", (json_int_t)w->alias_relocations, "disks_copied",
	                 (json_int_t)w->disks_copied, "insufficient_resources",
	                 (json_int_t)w->insufficient_resources, "vmm_deaths",
	                 (json_int_t)w->vmm_deaths, "found_dead", (int)stats->found_dead);
}

static json_t *reasons_json(const struct vm_stats *stats)
{
	json_t *list = json_array();

	for (int reason = 0; reason < VM_SLOW_COUNT; reason++)
		if ((stats->slow & 1U << reason) != 0)
			(void)json_array_append_new(
			        list, json_string(vm_slow_name((enum vm_slow)reason)));
	return list;
}

json_t *cli_stats_json(const struct vm_stats *stats, const char *root)
{
	char time[VM_WHEN_SIZE];

	return json_pack("{s:s, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o}", "time",
	                 vm_when_format(stats->time_us, time), "root", cli_json_text(root),
	                 "slow_path", stats->slow != 0, "slow_path_reasons", reasons_json(stats),
	                 "window", window_json(stats), "instances", instances_json(stats), "slots",
	                 slots_json(stats), "locks", locks_json(stats), "counters",
	                 counters_json(stats));
}
