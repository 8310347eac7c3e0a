/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "progress.h"
#include "util.h"

enum { SECOND_US = 1000000, REDRAW_US = 200000, MINUTE_S = 60, HOUR_S = 3600 };

/* Until there is something to go by, a guess at the time left would only frighten. */
static const int64_t guess_after_us = SECOND_US;

static void left_text(double seconds, char *buf, size_t size)
{
	if (seconds < 2.0 * MINUTE_S)
		(void)snprintf(buf, size, "%.0f s left", seconds);
	else if (seconds < 2.0 * HOUR_S)
		(void)snprintf(buf, size, "%.0f min left", seconds / MINUTE_S);
	else
		(void)snprintf(buf, size, "%.0f h left", seconds / HOUR_S);
}

char *cli_transfer_text(const char *what, uint64_t done, uint64_t total, int64_t elapsed_us,
                        char *buf, size_t size)
{
	char have[16], of[16], each[16], left[32];
	double rate;

	vm_size_format(done, have, sizeof(have));
	vm_size_format(total, of, sizeof(of));
	if (elapsed_us < guess_after_us || done == 0) {
		(void)snprintf(buf, size, "%s: %s of %s", what, have, of);
		return buf;
	}
	rate = (double)done / ((double)elapsed_us / SECOND_US);
	vm_size_format((uint64_t)rate, each, sizeof(each));
	left_text(done < total ? (double)(total - done) / rate : 0, left, sizeof(left));
	(void)snprintf(buf, size, "%s: %s of %s, %s/s, %s", what, have, of, each, left);
	return buf;
}

void cli_progress_bytes(void *transfer, uint64_t done, uint64_t total)
{
	struct cli_transfer *t = transfer;
	int64_t now = vm_monotonic_us();
	char text[256];

	if (t->began_us == 0)
		t->began_us = now;
	if (!t->progress->terminal || (t->drawn_us != 0 && now - t->drawn_us < REDRAW_US))
		return;
	t->drawn_us = now;
	cli_progress_say(t->progress, cli_transfer_text(t->what, done, total, now - t->began_us,
	                                                text, sizeof(text)));
}
