/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "prometheus.h"
#include "stats_print.h"
#include "util.h"

static const struct cli_label none = {NULL, NULL};

/* How a counter of the store is shown. */
static const struct {
	const char *counter, *metric, *help;
	const char *a, *b; /* labels, or NULL */
	bool seconds;      /* it counts microseconds */
} metrics[] = {
        {VM_COUNT_OPERATIONS, "vmctl_operations_total",
         "Operations on one instance each, by verb and outcome.", "verb", "outcome", false},
        {VM_COUNT_OPERATION_US, "vmctl_operation_seconds_total",
         "Time that operations took, waits included.", "verb", NULL, true},
        {VM_COUNT_FORKS, "vmctl_forks_total",
         "Forks made, by how the saved state was made usable (none: without memory).", "relocation",
         NULL, false},
        {VM_COUNT_ALIAS_FALLBACKS, "vmctl_alias_fallbacks_total",
         "Saved states that could only be loaded through an alias of their old directory.", NULL,
         NULL, false},
        {VM_COUNT_DISK_COPIES, "vmctl_disk_copies_total",
         "Instances made with disks of their own, by how those came to be.", "how", NULL, false},
        {VM_COUNT_LOCK_WAITS, "vmctl_lock_waits_total", "Operations that waited for a lock.", NULL,
         NULL, false},
        {VM_COUNT_LOCK_WAIT_US, "vmctl_lock_wait_seconds_total",
         "Time that operations waited for locks.", NULL, NULL, true},
        {VM_COUNT_SLOT_WAITS, "vmctl_slot_waits_total",
         "Operations that waited for a restore slot.", NULL, NULL, false},
        {VM_COUNT_SLOT_WAIT_US, "vmctl_slot_wait_seconds_total",
         "Time that operations waited for restore slots.", NULL, NULL, true},
        {VM_COUNT_INSUFFICIENT, "vmctl_insufficient_resources_total",
         "Operations refused for want of disk, memory, slots or a place under the limits.", NULL,
         NULL, false},
        {VM_COUNT_REPAIRS, "vmctl_repairs_total",
         "Repairs of what killed verbs and dead VMMs had left, by what was put right.", "what",
         NULL, false},
        {VM_COUNT_VMM_DEATHS, "vmctl_vmm_deaths_total",
         "VMMs found dead that their guests had not ended.", NULL, NULL, false},
};

/* A counter's one or two label values are one text, with a comma between them. */
static void print_counter(const struct vm_counter *counter, size_t m, const char *root)
{
	char label[sizeof(counter->label)];
	char *second;
	struct cli_label a = {metrics[m].a, label}, b = {metrics[m].b, ""};

	memcpy(label, counter->label, sizeof(label));
	second = b.name != NULL ? strchr(label, ',') : NULL;
	if (second != NULL) {
		*second = '\0';
		b.value = second + 1;
	}
	if (metrics[m].seconds)
		cli_sample_seconds(metrics[m].metric, root, a, b, counter->value);
	else
		cli_sample(metrics[m].metric, root, a, b, counter->value);
}

static void print_counters(const struct vm_stats *stats, const char *root)
{
	for (size_t m = 0; m < VM_ARRAY_LEN(metrics); m++) {
		bool begun = false;

		for (size_t i = 0; i < stats->counter_count; i++) {
			if (strcmp(stats->counters[i].name, metrics[m].counter) != 0)
				continue;
			if (!begun)
				cli_metric(metrics[m].metric, "counter", metrics[m].help);
			begun = true;
			print_counter(&stats->counters[i], m, root);
		}
	}
}

static void print_instances(const struct vm_stats *stats, const char *root)
{
	cli_metric("vmctl_instances", "gauge", "Instances by state, as they are now.");
	for (int state = 0; state < VM_STATE_COUNT; state++)
		cli_sample("vmctl_instances", root,
		           (struct cli_label){"state", vm_state_name((enum vm_state)state)}, none,
		           stats->instances[state]);
}

static void print_pool(const char *metric, const struct vm_stats_pool *pool, const char *root,
                       int64_t value)
{
	cli_sample(metric, root, (struct cli_label){"hypervisor", pool->hypervisor}, none, value);
}

static void print_slots(const struct vm_stats *stats, const char *root)
{
	cli_metric("vmctl_restore_slots", "gauge", "Restore slots there are.");
	for (size_t i = 0; i < stats->pool_count; i++)
		print_pool("vmctl_restore_slots", &stats->pools[i], root,
		           stats->pools[i].status.total);
	cli_metric("vmctl_restore_slots_held", "gauge", "Restore slots that are held now.");
	for (size_t i = 0; i < stats->pool_count; i++)
		print_pool("vmctl_restore_slots_held", &stats->pools[i], root,
		           stats->pools[i].status.held);
	cli_metric("vmctl_restore_slot_tokens", "gauge",
	           "Tokens of the semaphore that waiters sleep on (-1: it does not exist yet).");
	for (size_t i = 0; i < stats->pool_count; i++)
		print_pool("vmctl_restore_slot_tokens", &stats->pools[i], root,
		           stats->pools[i].status.tokens);
}

static void print_locks(const struct vm_stats *stats, const char *root)
{
	int64_t holders = 0, waiters = 0;

	for (size_t i = 0; i < stats->claim_count; i++) {
		if (stats->claims[i].waits)
			waiters++;
		else
			holders++;
	}
	cli_metric("vmctl_lock_holders", "gauge",
	           "Processes that hold the lock of an instance now.");
	cli_sample("vmctl_lock_holders", root, none, none, holders);
	cli_metric("vmctl_lock_waiters", "gauge", "Processes that wait for a lock now.");
	cli_sample("vmctl_lock_waiters", root, none, none, waiters);
}

static void print_slow(const struct vm_stats *stats, const char *root)
{
	cli_metric("vmctl_slow_path", "gauge", "Whether this host is on the slow path.");
	cli_sample("vmctl_slow_path", root, none, none, stats->slow != 0);
	cli_metric("vmctl_slow_path_reason", "gauge", "Why it is on the slow path.");
	for (int reason = 0; reason < VM_SLOW_COUNT; reason++)
		cli_sample("vmctl_slow_path_reason", root,
		           (struct cli_label){"reason", vm_slow_name((enum vm_slow)reason)}, none,
		           (stats->slow & 1U << reason) != 0);
	cli_metric("vmctl_slow_path_window_seconds", "gauge",
	           "The time by which the slow path is judged.");
	cli_sample_seconds("vmctl_slow_path_window_seconds", root, none, none,
	                   stats->time_us > stats->window.since_us
	                           ? stats->time_us - stats->window.since_us
	                           : 0);
}

void cli_stats_prometheus(const struct vm_stats *stats, const char *root)
{
	print_counters(stats, root);
	print_instances(stats, root);
	print_slots(stats, root);
	print_locks(stats, root);
	print_slow(stats, root);
}
