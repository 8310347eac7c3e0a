/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "stats_print.h"
#include "table.h"
#include "util.h"
#include "when.h"

/* Each table but the first has an empty line before it. */
static void print_next(const struct cli_grid *grid)
{
	(void)putchar('\n');
	cli_grid_print(grid);
}

static int print_instances(const struct vm_stats *stats, struct vm_err *err)
{
	static const char *const header[] = {"STATE", "INSTANCES"};
	VM_AUTO(cli_grid_free) struct cli_grid grid = {0};

	if (cli_grid_init(&grid, header, VM_ARRAY_LEN(header), VM_STATE_COUNT, err) < 0)
		return -1;
	for (size_t i = 0; i < VM_STATE_COUNT; i++) {
		struct vm_err lost = {0};

		cli_grid_put(&grid, i, 0, vm_strdup(vm_state_name((enum vm_state)i), &lost));
		cli_grid_colour(&grid, i, 0, cli_state_colour((enum vm_state)i));
		cli_grid_put(&grid, i, 1, vm_strf(&lost, "%u", stats->instances[i]));
	}
	cli_grid_print(&grid);
	return 0;
}

static int print_pools(const struct vm_stats *stats, struct vm_err *err)
{
	static const char *const header[] = {"HYPERVISOR", "SLOTS", "HELD", "TOKENS"};
	VM_AUTO(cli_grid_free) struct cli_grid grid = {0};

	if (cli_grid_init(&grid, header, VM_ARRAY_LEN(header), stats->pool_count, err) < 0)
		return -1;
	for (size_t i = 0; i < stats->pool_count; i++) {
		const struct vm_stats_pool *pool = &stats->pools[i];
		struct vm_err lost = {0};

		cli_grid_put(&grid, i, 0, vm_strdup(pool->hypervisor, &lost));
		cli_grid_put(&grid, i, 1, vm_strf(&lost, "%u", pool->status.total));
		cli_grid_put(&grid, i, 2, vm_strf(&lost, "%u", pool->status.held));
		if (pool->status.tokens >= 0)
			cli_grid_put(&grid, i, 3, vm_strf(&lost, "%d", pool->status.tokens));
	}
	print_next(&grid);
	return 0;
}

static void put_holder(struct cli_grid *grid, size_t row, const struct vm_stats_pool *pool,
                       const struct vm_slot_holder *holder)
{
	struct vm_err lost = {0};
	char since[VM_WHEN_SIZE];

	cli_grid_put(grid, row, 0, vm_strf(&lost, "%s.%u", pool->hypervisor, holder->index));
	cli_grid_put(grid, row, 1, vm_strf(&lost, "%d", (int)holder->process.pid));
	cli_grid_put(grid, row, 2, vm_strdup(vm_when_format(holder->since_us, since), &lost));
	cli_grid_put(grid, row, 3, vm_strdup(holder->process.verb, &lost));
}

/* Nothing, not even a header, when no slot is held. */
static int print_holders(const struct vm_stats *stats, struct vm_err *err)
{
	static const char *const header[] = {"SLOT", "PID", "SINCE", "COMMAND"};
	VM_AUTO(cli_grid_free) struct cli_grid grid = {0};
	size_t rows = 0, row = 0;

	for (size_t i = 0; i < stats->pool_count; i++)
		rows += stats->pools[i].holder_count;
	if (rows == 0)
		return 0;
	if (cli_grid_init(&grid, header, VM_ARRAY_LEN(header), rows, err) < 0)
		return -1;
	for (size_t i = 0; i < stats->pool_count; i++)
		for (size_t k = 0; k < stats->pools[i].holder_count; k++)
			put_holder(&grid, row++, &stats->pools[i], &stats->pools[i].holders[k]);
	print_next(&grid);
	return 0;
}

static int print_claims(const struct vm_stats *stats, struct vm_err *err)
{
	static const char *const header[] = {"LOCK", "CLAIM", "MODE", "PID", "AGE", "COMMAND"};
	VM_AUTO(cli_grid_free) struct cli_grid grid = {0};

	if (stats->claim_count == 0)
		return 0;
	if (cli_grid_init(&grid, header, VM_ARRAY_LEN(header), stats->claim_count, err) < 0)
		return -1;
	for (size_t i = 0; i < stats->claim_count; i++) {
		const struct vm_lock_claim *claim = &stats->claims[i];
		const char *how = claim->at_gate ? "queues" : claim->waits ? "waits" : "holds";
		bool shared = claim->process.mode == VM_LOCK_SHARED;
		struct vm_err lost = {0};

		/* An instance's name has no '(', so none is taken for the store. */
		cli_grid_put(&grid, i, 0,
		             vm_strdup(claim->instance_name[0] != '\0' ? claim->instance_name
		                                                       : "(store)",
		                       &lost));
		cli_grid_put(&grid, i, 1, vm_strdup(how, &lost));
		/* What those at the gate want is not to be seen: they pass through it one by one.
		 */
		if (!claim->at_gate)
			cli_grid_put(&grid, i, 2,
			             vm_strdup(shared ? "shared" : "exclusive", &lost));
		cli_grid_put(&grid, i, 3, vm_strf(&lost, "%d", (int)claim->process.pid));
		if (claim->process.age_s >= 0)
			cli_grid_put(&grid, i, 4, vm_strf(&lost, "%.1fs", claim->process.age_s));
		cli_grid_put(&grid, i, 5, vm_strdup(claim->process.verb, &lost));
	}
	print_next(&grid);
	return 0;
}

static int print_counters(const struct vm_stats *stats, struct vm_err *err)
{
	static const char *const header[] = {"COUNTER", "LABEL", "VALUE"};
	VM_AUTO(cli_grid_free) struct cli_grid grid = {0};

	if (cli_grid_init(&grid, header, VM_ARRAY_LEN(header), stats->counter_count, err) < 0)
		return -1;
	for (size_t i = 0; i < stats->counter_count; i++) {
		struct vm_err lost = {0};

		cli_grid_put(&grid, i, 0, vm_strdup(stats->counters[i].name, &lost));
		cli_grid_put(&grid, i, 1, vm_strdup(stats->counters[i].label, &lost));
		cli_grid_put(&grid, i, 2, vm_strf(&lost, "%" PRId64, stats->counters[i].value));
	}
	print_next(&grid);
	return 0;
}

static char *reasons_text(const struct vm_stats *stats, struct vm_err *err)
{
	char text[256] = "";
	size_t used = 0;

	for (int reason = 0; reason < VM_SLOW_COUNT; reason++)
		if ((stats->slow & 1U << reason) != 0)
			used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s",
			                         used > 0 ? "," : "",
			                         vm_slow_name((enum vm_slow)reason));
	return vm_strdup(text, err);
}

static int print_slow(const struct vm_stats *stats, struct vm_err *err)
{
	static const char *const header[] = {"SLOW-PATH", "SINCE", "OPERATIONS", "REASONS"};
	VM_AUTO(cli_grid_free) struct cli_grid grid = {0};
	struct vm_err lost = {0};
	char since[VM_WHEN_SIZE];

	if (cli_grid_init(&grid, header, VM_ARRAY_LEN(header), 1, err) < 0)
		return -1;
	cli_grid_put(&grid, 0, 0, vm_strdup(stats->slow != 0 ? "yes" : "no", &lost));
	cli_grid_put(&grid, 0, 1, vm_strdup(vm_when_format(stats->window.since_us, since), &lost));
	cli_grid_put(&grid, 0, 2, vm_strf(&lost, "%" PRId64, stats->window.operations));
	cli_grid_put(&grid, 0, 3, reasons_text(stats, &lost));
	print_next(&grid);
	return 0;
}

int cli_stats_tables(const struct vm_stats *stats, struct vm_err *err)
{
	if (print_instances(stats, err) < 0 || print_pools(stats, err) < 0 ||
	    print_holders(stats, err) < 0 || print_claims(stats, err) < 0 ||
	    print_counters(stats, err) < 0)
		return -1;
	return print_slow(stats, err);
}
