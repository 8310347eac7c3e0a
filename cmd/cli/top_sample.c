/* SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stats.h"
#include "top.h"
#include "usage.h"
#include "util.h"
#include "vmm.h"

/* Of the disks: at most each 10 seconds, and at most a hundredth of the time. */
enum { DISK_EVERY_US = 10000000, DISK_SHARE = 100 };

/* Nothing at all is of one that was not there at the last look. */
static int64_t disk_of(const struct cli_top *top, const char *id)
{
	struct vm_usage_bytes bytes = {0};

	if (top->usage != NULL)
		bytes = vm_usage_of(top->usage, id);
	return bytes.exclusive + bytes.shared > 0 ? (int64_t)bytes.exclusive : CLI_TOP_UNKNOWN;
}

/* --- processes -----------------------------------------------------------------------------------
 */

void cli_top_carry(struct cli_top_row *row, const struct cli_top_row *before)
{
	int64_t elapsed_us = row->sampled_us - before->sampled_us;

	if (row->pid == 0 || before->pid != row->pid || before->start_ticks != row->start_ticks)
		return;
	row->pss_bytes = before->pss_bytes;
	row->pss_at_us = before->pss_at_us;
	if (elapsed_us > 0 && row->cpu_us >= before->cpu_us)
		row->cpu_percent =
		        (double)(row->cpu_us - before->cpu_us) * 100.0 / (double)elapsed_us;
}

static int compare_ids(const void *left, const void *right)
{
	const struct cli_top_row *a = left, *b = right;

	return strcmp(a->id, b->id);
}

/*
 * The VMM's process. A pid alone is no name, and the row's is that of the last commit: unless it is
 * the process that was found before, the one that holds the liveness lock is asked for.
 */
static bool find_process(const struct vm_root *root, struct cli_top_row *row,
                         const struct cli_top_row *before, struct vm_proc_usage *ret_usage)
{
	struct vm_vmm vmm = VM_VMM_INIT;
	struct vm_err err = {0};
	struct pollfd end;

	if (before != NULL && before->pid > 0 && before->pid == row->pid &&
	    vm_proc_usage(row->pid, ret_usage) == 0 &&
	    ret_usage->start_ticks == before->start_ticks)
		return true;
	row->pid = 0;
	if (vm_vmm_open(root, row->id, &vmm, &err) <= 0)
		return false; /* it has just ended, or cannot be told: no numbers, then */
	/* Alive after it was looked at: then it was its pid all the time. */
	end = (struct pollfd){.fd = vmm.pid_fd, .events = POLLIN};
	if (vm_proc_usage(vmm.pid, ret_usage) == 0 && poll(&end, 1, 0) == 0)
		row->pid = vmm.pid;
	vm_vmm_close(&vmm);
	return row->pid != 0;
}

static void sample(struct cli_top *top, const struct vm_instance *instance,
                   const struct cli_top_row *before, struct cli_top_row *row)
{
	struct vm_proc_usage usage;

	*row = (struct cli_top_row){
	        .state = instance->state,
	        .cpu_us = CLI_TOP_UNKNOWN,
	        .rss_bytes = CLI_TOP_UNKNOWN,
	        .pss_bytes = CLI_TOP_UNKNOWN,
	        .age_us = vm_realtime_us() - instance->changed_us,
	        .cpu_percent = CLI_TOP_UNKNOWN,
	};
	memcpy(row->id, instance->id, sizeof(row->id));
	memcpy(row->name, instance->name, sizeof(row->name));
	memcpy(row->hypervisor, instance->hypervisor, sizeof(row->hypervisor));
	row->disk_bytes = disk_of(top, row->id);
	if (row->state != VM_STATE_RUNNING && row->state != VM_STATE_PAUSED)
		return;
	row->pid = instance->pid;
	if (!find_process(&top->cli->root, row, before, &usage))
		return;
	row->sampled_us = vm_monotonic_us();
	row->start_ticks = usage.start_ticks;
	row->cpu_us = usage.cpu_us;
	row->rss_bytes = (int64_t)usage.rss_bytes;
	row->age_us = vm_proc_since_boot_us() - vm_proc_ticks_us(usage.start_ticks);
	if (before != NULL)
		cli_top_carry(row, before);
}

/* --- a frame -------------------------------------------------------------------------------------
 */

static const struct cli_top_row *find_last(const struct cli_top *top, const char *id)
{
	struct cli_top_row key = {.pid = 0};

	memcpy(key.id, id, sizeof(key.id));
	return top->frame.count > 0
	               ? bsearch(&key, top->frame.rows, top->frame.count, sizeof(key), compare_ids)
	               : NULL;
}

static int read_rows(struct cli_top *top, struct cli_top_frame *frame, struct vm_err *err)
{
	struct vm_root *root = &top->cli->root;
	struct vm_instance *instances = NULL;
	size_t count = 0;
	int rc = 0;

	if (vm_store_list(root->store, VM_LIST_BRIEF, &instances, &count, err) < 0)
		return -1;
	frame->rows = vm_calloc(count + 1, sizeof(*frame->rows), err);
	if (frame->rows == NULL)
		rc = -1;
	if (top->frame.count > 0)
		qsort(top->frame.rows, top->frame.count, sizeof(*frame->rows), compare_ids);
	for (; rc == 0 && frame->count < count; frame->count++) {
		struct vm_instance *instance = &instances[frame->count];

		rc = vm_observe(root, instance, err);
		if (rc < 0)
			break;
		sample(top, instance, find_last(top, instance->id), &frame->rows[frame->count]);
		frame->states[instance->state]++;
	}
	vm_instances_free(instances, count);
	return rc;
}

/* Slots and locks. That they cannot be told now is no reason to end: somebody sits on the list. */
static void read_stats(struct cli *cli, struct cli_top_frame *frame)
{
	VM_AUTO(vm_stats_free) struct vm_stats stats = {0};
	struct vm_err err = {0};

	if (vm_stats(&cli->op, vm_realtime_us(), &stats, &err) < 0) {
		(void)snprintf(frame->trouble, sizeof(frame->trouble), "%.*s",
		               (int)sizeof(frame->trouble) - 1, err.message);
		return;
	}
	frame->stats_known = true;
	for (size_t i = 0; i < stats.pool_count && i < CLI_TOP_POOLS; i++)
		frame->pools[frame->pool_count++] = (struct cli_top_pool){
		        .hypervisor = stats.pools[i].hypervisor,
		        .total = stats.pools[i].status.total,
		        .held = stats.pools[i].status.held,
		};
	for (size_t i = 0; i < stats.claim_count; i++)
		frame->lock_waiters += stats.claims[i].waits || stats.claims[i].at_gate;
}

/* A data root that was not there reads as empty for ever: it has to be looked for. */
static int reopen(struct cli *cli, struct vm_err *err)
{
	struct vm_root root = VM_ROOT_INIT;

	if (!cli->root.missing)
		return 0;
	if (vm_root_open(cli->root_option, VM_ROOT_READ, cli->wait_given ? &cli->wait_ms : NULL,
	                 &root, NULL, err) < 0)
		return -1;
	vm_root_close(&cli->root);
	cli->root = root;
	return 0;
}

int cli_top_look(struct cli_top *top, struct vm_err *err)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct cli_top_frame frame = {
	        .time_us = vm_realtime_us(),
	        .host_cpus = cpus > 0 ? (unsigned)cpus : 1,
	};

	if (reopen(top->cli, err) < 0 || read_rows(top, &frame, err) < 0) {
		free(frame.rows);
		return -1;
	}
	read_stats(top->cli, &frame);
	(void)vm_host_memory(&frame.host);
	free(top->frame.rows);
	top->frame = frame;
	return 0;
}

void cli_top_close(struct cli_top *top)
{
	free(top->frame.rows);
	vm_usage_free(top->usage);
}

/* --- what costs more -----------------------------------------------------------------------------
 */

static int by_reading(const void *left, const void *right)
{
	const struct cli_top_row *const *a = left, *const *b = right;

	if ((*a)->pss_at_us != (*b)->pss_at_us)
		return (*a)->pss_at_us < (*b)->pss_at_us ? -1 : 1;
	return 0;
}

void cli_top_read_pss(struct cli_top_frame *frame, int64_t age_us, int64_t budget_us)
{
	struct vm_err ignored = {0};
	int64_t begin = vm_monotonic_us();
	VM_AUTO_FREE struct cli_top_row **due =
	        vm_calloc(frame->count + 1, sizeof(struct cli_top_row *), &ignored);
	size_t count = 0;

	for (size_t i = 0; due != NULL && i < frame->count; i++)
		if (frame->rows[i].pid != 0 &&
		    (frame->rows[i].pss_at_us == 0 || begin - frame->rows[i].pss_at_us >= age_us))
			due[count++] = &frame->rows[i];
	if (count > 1)
		qsort(due, count, sizeof(struct cli_top_row *), by_reading);
	for (size_t i = 0; i < count; i++) {
		uint64_t bytes;

		if (budget_us >= 0 && vm_monotonic_us() - begin >= budget_us && i > 0)
			return;
		/* It may not be ours to look at, or have ended: then nothing is known of it. */
		due[i]->pss_bytes = vm_proc_pss(due[i]->pid, due[i]->start_ticks, &bytes) == 0
		                            ? (int64_t)bytes
		                            : CLI_TOP_UNKNOWN;
		due[i]->pss_at_us = vm_monotonic_us();
	}
}

bool cli_top_disk_due(const struct cli_top *top, int64_t now_us)
{
	int64_t pause = top->disk_took_us * DISK_SHARE;

	if (pause < DISK_EVERY_US)
		pause = DISK_EVERY_US;
	return top->disk_at_us == 0 || now_us - top->disk_at_us >= pause;
}

int cli_top_read_disk(struct cli_top *top, struct vm_err *err)
{
	int64_t begin = vm_monotonic_us();
	struct vm_usage *usage = NULL;

	if (vm_usage_scan(&top->cli->root, &usage, err) < 0)
		return -1;
	vm_usage_free(top->usage);
	top->usage = usage;
	top->disk_at_us = vm_monotonic_us();
	top->disk_took_us = top->disk_at_us - begin;
	for (size_t i = 0; i < top->frame.count; i++)
		top->frame.rows[i].disk_bytes = disk_of(top, top->frame.rows[i].id);
	return 0;
}
