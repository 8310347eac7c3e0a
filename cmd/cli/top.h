/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `vmctl top` knows and how it shows it, but for the terminal (cmd/top/screen.c).
 *
 * Each look is a few short transactions of their own: between two looks nothing of the store is
 * held, so that SQLite can clear its log while a top runs for days.
 */
#ifndef CLI_TOP_H
#define CLI_TOP_H

#include <jansson.h>

#include "cli.h"
#include "proc.h"

enum { CLI_TOP_UNKNOWN = -1 }; /* of bytes and times: there is none, or it was not looked at yet */

struct cli_top_row {
	char id[VM_ID_LEN + 1], name[VM_FULL_NAME_MAX + 1], hypervisor[24];
	enum vm_state state;
	pid_t pid; /* of the VMM; 0: there is none */
	uint64_t start_ticks;
	int64_t sampled_us; /* vm_monotonic_us() */
	int64_t cpu_us, rss_bytes;
	int64_t pss_bytes, pss_at_us; /* PSS, and when it was read (0: never) */
	int64_t disk_bytes;           /* that are of nobody else */
	int64_t age_us;               /* since its VMM began; of others since its state changed */
	double cpu_percent;           /* of one CPU, since the look before; < 0: unknown */
};

struct cli_top_pool {
	const char *hypervisor;
	unsigned total, held;
};
enum { CLI_TOP_POOLS = 8 };

struct cli_top_frame {
	int64_t time_us; /* CLOCK_REALTIME */
	struct cli_top_row *rows;
	size_t count;
	unsigned states[VM_STATE_COUNT];
	struct cli_top_pool pools[CLI_TOP_POOLS];
	size_t pool_count;
	unsigned lock_waiters;
	bool stats_known; /* false: no pools and waiters; `trouble` says why */
	char trouble[256];
	unsigned host_cpus;
	struct vm_host_memory host; /* zeros: unknown */
};

struct cli_top {
	struct cli *cli;
	struct cli_top_frame frame;
	int64_t disk_at_us, disk_took_us; /* the last look at the disks; 0: none yet */
	struct vm_usage *usage;
};

/* --- top_sample.c -------------------------------------------------------------------------------
 */

/* Looks; the frame before gives way to the new one. The data root may come to be meanwhile. */
int cli_top_look(struct cli_top *top, struct vm_err *err);
/*
 * Reads the PSS of those whose last reading is `age_us` old or older, the oldest first, until
 * budget_us have passed (-1: all).
 */
void cli_top_read_pss(struct cli_top_frame *frame, int64_t age_us, int64_t budget_us);
/* Whether it is time for a look at the disks: it takes at most a hundredth of all time. */
bool cli_top_disk_due(const struct cli_top *top, int64_t now_us);
int cli_top_read_disk(struct cli_top *top, struct vm_err *err);
/* Takes CPU use and PSS over from the same instance's row before, if it is the same process. */
void cli_top_carry(struct cli_top_row *row, const struct cli_top_row *before);
void cli_top_close(struct cli_top *top);

/* --- top_show.c ---------------------------------------------------------------------------------
 */

enum cli_top_key { CLI_TOP_BY_CPU, CLI_TOP_BY_PSS, CLI_TOP_BY_NAME, CLI_TOP_BY_TIME };
/* "cpu", "pss", "name", "time"; NULL after the last. */
extern const char *const cli_top_keys[];
/* The largest first, but names from a to z; equals by name. `reverse`: the other way round. */
void cli_top_sort(struct cli_top_row *rows, size_t count, enum cli_top_key key, bool reverse);

enum { CLI_TOP_COLUMNS = 9, CLI_TOP_LINE = 384, CLI_TOP_INFO = 4 };
struct cli_top_layout {
	bool shown[CLI_TOP_COLUMNS];
	int name_width;
	int state_at, state_width; /* where the state stands in a line */
};
/* Which columns fit into a line of `width` characters; 0: any width is at hand. */
struct cli_top_layout cli_top_layout(const struct cli_top_row *rows, size_t count, int width);
/* One line each, without a newline. Return buf. */
char *cli_top_header(const struct cli_top_layout *layout, char buf[CLI_TOP_LINE]);
char *cli_top_line(const struct cli_top_layout *layout, const struct cli_top_row *row,
                   char buf[CLI_TOP_LINE]);
/* The lines above the table. `how` says how it is shown: "every 2 s, by cpu". */
void cli_top_info(const struct cli_top_frame *frame, const char *root, const char *how,
                  char lines[CLI_TOP_INFO][CLI_TOP_LINE]);
/* The frame as an object (vmctl-top(1)); a new reference or NULL. */
json_t *cli_top_json(const struct cli_top_frame *frame);

#endif
