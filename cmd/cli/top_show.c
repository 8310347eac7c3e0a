/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "top.h"
#include "util.h"
#include "when.h"

enum column { NAME, STATE, HYPERVISOR, CPU, PSS, RSS, DISK, TIME, AGE };

/* Columns go, the last of these first, until a name of usual length fits. */
static const enum column by_weight[CLI_TOP_COLUMNS] = {NAME, STATE, CPU,        PSS, TIME,
                                                       DISK, AGE,   HYPERVISOR, RSS};

static const struct {
	const char *title;
	int width; /* of a name: at least */
	bool right;
} columns[CLI_TOP_COLUMNS] = {
        [NAME] = {"NAME", 4, false},
        [STATE] = {"STATE", 7, false},
        [HYPERVISOR] = {"HYPERVISOR", 11, false},
        [CPU] = {"%CPU", 6, true},
        [PSS] = {"PSS", 7, true},
        [RSS] = {"RSS", 7, true},
        [DISK] = {"DISK", 7, true},
        [TIME] = {"TIME+", 9, true},
        [AGE] = {"AGE", 6, true},
};

enum { USUAL_NAME = 20, LINE_MAX_WIDTH = 250 };

static const int64_t minute = 60, hour = 3600, day = 86400;

/* --- order ---------------------------------------------------------------------------------------
 */

const char *const cli_top_keys[] = {
        [CLI_TOP_BY_CPU] = "cpu",
        [CLI_TOP_BY_PSS] = "pss",
        [CLI_TOP_BY_NAME] = "name",
        [CLI_TOP_BY_TIME] = "time",
        NULL,
};

struct order {
	enum cli_top_key key;
	bool reverse;
};

/* < 0: a's is the larger one. */
static int larger_first(double a, double b)
{
	return (a < b) - (a > b);
}

static int compare_rows(const void *left, const void *right, void *ctx)
{
	const struct cli_top_row *a = left, *b = right;
	const struct order *order = ctx;
	int by_name = strverscmp(a->name, b->name);
	int result = 0;

	switch (order->key) {
	case CLI_TOP_BY_CPU:
		result = larger_first(a->cpu_percent, b->cpu_percent);
		break;
	case CLI_TOP_BY_PSS:
		result = larger_first((double)a->pss_bytes, (double)b->pss_bytes);
		break;
	case CLI_TOP_BY_TIME:
		result = larger_first((double)a->cpu_us, (double)b->cpu_us);
		break;
	case CLI_TOP_BY_NAME:
		result = by_name;
		break;
	}
	if (result == 0)
		return by_name;
	return order->reverse ? -result : result;
}

void cli_top_sort(struct cli_top_row *rows, size_t count, enum cli_top_key key, bool reverse)
{
	struct order order = {key, reverse};

	if (count > 1)
		qsort_r(rows, count, sizeof(*rows), compare_rows, &order);
}

/* --- lines ---------------------------------------------------------------------------------------
 */

struct cli_top_layout cli_top_layout(const struct cli_top_row *rows, size_t count, int width)
{
	struct cli_top_layout layout = {.name_width = columns[NAME].width};
	int longest = columns[NAME].width, left;

	for (size_t i = 0; i < count; i++)
		if ((int)strlen(rows[i].name) > longest)
			longest = (int)strlen(rows[i].name);
	if (width <= 0 || width > LINE_MAX_WIDTH)
		width = LINE_MAX_WIDTH;
	left = width - (longest < USUAL_NAME ? longest : USUAL_NAME);
	layout.shown[NAME] = true;
	/* The state is told as long as there is room for the beginning of a name. */
	layout.shown[STATE] = width > columns[NAME].width + columns[STATE].width;
	left -= 1 + columns[STATE].width;
	for (size_t i = 2; i < CLI_TOP_COLUMNS; i++) {
		enum column column = by_weight[i];

		left -= 1 + columns[column].width;
		if (left < 0)
			break;
		layout.shown[column] = true;
	}
	for (int i = STATE; i < CLI_TOP_COLUMNS; i++)
		if (layout.shown[i])
			width -= 1 + columns[i].width;
	if (width > layout.name_width)
		layout.name_width = width < longest ? width : longest;
	layout.state_at = layout.name_width + 1;
	layout.state_width = layout.shown[STATE] ? columns[STATE].width : 0;
	return layout;
}

/* Puts a cell behind what is there. What is too long for a name's column ends in a '+'. */
static void put(char *buf, const struct cli_top_layout *layout, enum column column,
                const char *text)
{
	size_t used = strlen(buf);
	int width = column == NAME ? layout->name_width : columns[column].width;
	bool cut = (int)strlen(text) > width;

	/* Only names are cut: all else fits, by what cell() makes of it. */
	(void)snprintf(buf + used, CLI_TOP_LINE - used,
	               columns[column].right ? "%s%*.*s" : "%s%-*.*s", used > 0 ? " " : "", width,
	               width, text);
	if (cut && column == NAME)
		buf[strlen(buf) - 1] = '+';
}

static void end_line(char *buf)
{
	size_t len = strlen(buf);

	while (len > 0 && buf[len - 1] == ' ')
		buf[--len] = '\0';
}

char *cli_top_header(const struct cli_top_layout *layout, char buf[CLI_TOP_LINE])
{
	buf[0] = '\0';
	for (int i = 0; i < CLI_TOP_COLUMNS; i++)
		if (layout->shown[i])
			put(buf, layout, (enum column)i, columns[i].title);
	return buf;
}

static const char *bytes_text(int64_t bytes, char *buf, size_t size)
{
	return bytes < 0 ? "-" : vm_size_format((uint64_t)bytes, buf, size);
}

/* As top has it: minutes, seconds and hundredths; hours and minutes when it is long. */
static const char *time_text(int64_t us, char *buf, size_t size)
{
	int64_t seconds = us / 1000000;

	if (us < 0)
		return "-";
	if (seconds < 1000 * minute)
		(void)snprintf(buf, size, "%d:%02d.%02d", (int)(seconds / minute),
		               (int)(seconds % minute), (int)(us % 1000000 / 10000));
	else
		(void)snprintf(buf, size, "%dh%02d", (int)(seconds / hour),
		               (int)(seconds % hour / minute));
	return buf;
}

static const char *age_text(int64_t us, char *buf, size_t size)
{
	int64_t seconds = us > 0 ? us / 1000000 : 0;

	if (seconds < minute)
		(void)snprintf(buf, size, "%ds", (int)seconds);
	else if (seconds < hour)
		(void)snprintf(buf, size, "%dm%02d", (int)(seconds / minute),
		               (int)(seconds % minute));
	else if (seconds < day)
		(void)snprintf(buf, size, "%dh%02d", (int)(seconds / hour),
		               (int)(seconds % hour / minute));
	else
		(void)snprintf(buf, size, "%dd", (int)(seconds / day));
	return buf;
}

static const char *cell(const struct cli_top_row *row, enum column column, char *buf, size_t size)
{
	switch (column) {
	case NAME:
		return row->name;
	case STATE:
		return vm_state_name(row->state);
	case HYPERVISOR:
		return row->hypervisor;
	case CPU:
		if (row->cpu_percent < 0)
			return "-";
		(void)snprintf(buf, size, row->cpu_percent < 9999 ? "%.1f" : "%.0f",
		               row->cpu_percent);
		return buf;
	case PSS:
		return bytes_text(row->pss_bytes, buf, size);
	case RSS:
		return bytes_text(row->rss_bytes, buf, size);
	case DISK:
		return bytes_text(row->disk_bytes, buf, size);
	case TIME:
		return time_text(row->cpu_us, buf, size);
	case AGE:
		return age_text(row->age_us, buf, size);
	}
	return "";
}

char *cli_top_line(const struct cli_top_layout *layout, const struct cli_top_row *row,
                   char buf[CLI_TOP_LINE])
{
	char text[32];

	buf[0] = '\0';
	for (int i = 0; i < CLI_TOP_COLUMNS; i++)
		if (layout->shown[i])
			put(buf, layout, (enum column)i,
			    cell(row, (enum column)i, text, sizeof(text)));
	end_line(buf);
	return buf;
}

/* --- sums ----------------------------------------------------------------------------------------
 */

struct sums {
	double cpu_percent;
	int64_t pss_bytes;
	bool pss_known;     /* of all that run */
	unsigned instances; /* also of those that are not shown */
};

static struct sums add_up(const struct cli_top_frame *frame)
{
	struct sums sums = {.pss_known = true};

	for (size_t i = 0; i < frame->count; i++) {
		const struct cli_top_row *row = &frame->rows[i];

		if (row->cpu_percent > 0)
			sums.cpu_percent += row->cpu_percent;
		if (row->pss_bytes >= 0)
			sums.pss_bytes += row->pss_bytes;
		else if (row->pid != 0)
			sums.pss_known = false;
	}
	for (int i = 0; i < VM_STATE_COUNT; i++)
		sums.instances += frame->states[i];
	return sums;
}

static void slots_line(const struct cli_top_frame *frame, char *line)
{
	size_t used = (size_t)snprintf(line, CLI_TOP_LINE, "Slots:");

	for (size_t i = 0; i < frame->pool_count && used < CLI_TOP_LINE; i++)
		used += (size_t)snprintf(line + used, CLI_TOP_LINE - used, " %s %u/%u%s",
		                         frame->pools[i].hypervisor, frame->pools[i].held,
		                         frame->pools[i].total,
		                         i + 1 < frame->pool_count ? "," : "");
	if (used < CLI_TOP_LINE && frame->stats_known)
		(void)snprintf(line + used, CLI_TOP_LINE - used, "; lock waiters: %u",
		               frame->lock_waiters);
	else if (used < CLI_TOP_LINE)
		(void)snprintf(line + used, CLI_TOP_LINE - used, " unknown: %s", frame->trouble);
}

void cli_top_info(const struct cli_top_frame *frame, const char *root, const char *how,
                  char lines[CLI_TOP_INFO][CLI_TOP_LINE])
{
	struct sums sums = add_up(frame);
	char pss[32], total[32], available[32], clock[16] = "";
	time_t now = (time_t)(frame->time_us / 1000000);
	struct tm local;

	if (localtime_r(&now, &local) != NULL)
		(void)strftime(clock, sizeof(clock), "%H:%M:%S", &local);
	(void)snprintf(lines[0], CLI_TOP_LINE, "vmctl top - %s, %s, %s", clock, how, root);
	(void)snprintf(lines[1], CLI_TOP_LINE,
	               "Instances: %u total, %u running, %u paused, %u standby, %u stopped, %u "
	               "failed",
	               sums.instances, frame->states[VM_STATE_RUNNING],
	               frame->states[VM_STATE_PAUSED], frame->states[VM_STATE_STANDBY],
	               frame->states[VM_STATE_STOPPED], frame->states[VM_STATE_FAILED]);
	slots_line(frame, lines[2]);
	(void)snprintf(lines[3], CLI_TOP_LINE,
	               "CPU: %.1f%% of %u%%; PSS: %s%s; host memory: %s, %s available",
	               sums.cpu_percent, 100 * frame->host_cpus, sums.pss_known ? "" : "at least ",
	               vm_size_format((uint64_t)sums.pss_bytes, pss, sizeof(pss)),
	               vm_size_format(frame->host.total_bytes, total, sizeof(total)),
	               vm_size_format(frame->host.available_bytes, available, sizeof(available)));
}

/* --- JSON ----------------------------------------------------------------------------------------
 */

static json_t *number(int64_t value)
{
	return value < 0 ? json_null() : json_integer((json_int_t)value);
}

/* One decimal, as the table has it. */
static json_t *percent(double value)
{
	return value < 0 ? json_null() : json_real((double)(int64_t)(value * 10 + 0.5) / 10);
}

static json_t *row_json(const struct cli_top_row *row)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:I}", "id", row->id,
	                 "name", row->name, "state", vm_state_name(row->state), "hypervisor",
	                 row->hypervisor, "pid", row->pid != 0 ? number(row->pid) : json_null(),
	                 "cpu_percent", percent(row->cpu_percent), "cpu_us", number(row->cpu_us),
	                 "pss_bytes", number(row->pss_bytes), "rss_bytes", number(row->rss_bytes),
	                 "exclusive_bytes", number(row->disk_bytes), "age_seconds",
	                 (json_int_t)(row->age_us > 0 ? row->age_us / 1000000 : 0));
}

static json_t *pools_json(const struct cli_top_frame *frame)
{
	json_t *list = frame->stats_known ? json_array() : json_null();

	for (size_t i = 0; i < frame->pool_count; i++)
		(void)json_array_append_new(
		        list, json_pack("{s:s, s:I, s:I}", "hypervisor", frame->pools[i].hypervisor,
		                        "total", (json_int_t)frame->pools[i].total, "held",
		                        (json_int_t)frame->pools[i].held));
	return list;
}

static json_t *states_json(const struct cli_top_frame *frame)
{
	json_t *states = json_object();

	for (int i = VM_STATE_STOPPED; i < VM_STATE_COUNT; i++)
		(void)json_object_set_new(states, vm_state_name((enum vm_state)i),
		                          json_integer((json_int_t)frame->states[i]));
	return states;
}

json_t *cli_top_json(const struct cli_top_frame *frame)
{
	struct sums sums = add_up(frame);
	char time[VM_WHEN_SIZE];
	json_t *rows = json_array();

	for (size_t i = 0; i < frame->count; i++)
		if (json_array_append_new(rows, row_json(&frame->rows[i])) < 0) {
			json_decref(rows);
			return NULL;
		}
	return json_pack("{s:s, s:o, s:o, s:o, s:o, s:I, s:{s:I, s:I, s:I}, s:o}", "time",
	                 vm_when_format(frame->time_us, time), "states", states_json(frame),
	                 "slots", pools_json(frame), "lock_waiters",
	                 frame->stats_known ? number(frame->lock_waiters) : json_null(),
	                 "cpu_percent", percent(sums.cpu_percent), "pss_bytes",
	                 (json_int_t)sums.pss_bytes, "host", "cpus", (json_int_t)frame->host_cpus,
	                 "memory_bytes", (json_int_t)frame->host.total_bytes,
	                 "memory_available_bytes", (json_int_t)frame->host.available_bytes,
	                 "instances", rows);
}
