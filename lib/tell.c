/* SPDX-License-Identifier: Apache-2.0 */
#include "tell.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#include "lock.h"
#include "util.h"

enum { PATIENCE_MS = 200, AGAIN_MS = 1000 };

/* --- work ---------------------------------------------------------------------------------------
 */

void vm_work_init(struct vm_work *work, const struct vm_tell *tell, const char *fmt, ...)
{
	va_list ap;

	work->tell = tell;
	work->what[0] = '\0';
	work->done = work->total = work->told = 0;
	if (!tell)
		return;
	va_start(ap, fmt);
	vsnprintf(work->what, sizeof(work->what), fmt, ap);
	va_end(ap);
}

bool vm_work_is_told(const struct vm_work *work, uint64_t total_bytes)
{
	return work && work->tell && total_bytes >= VM_WORK_LEAST_BYTES;
}

static void tell_work(struct vm_work *work)
{
	const struct vm_amount amount = {
	        .what = work->what, .done = work->done, .total = work->total};

	work->told = work->done;
	work->tell->amount(work->tell->ctx, &amount);
}

void vm_work_begin(struct vm_work *work, uint64_t total_bytes)
{
	if (!work || !work->tell)
		return;
	work->done = 0;
	work->total = total_bytes;
	if (vm_work_is_told(work, total_bytes))
		tell_work(work);
}

void vm_work_add(struct vm_work *work, uint64_t bytes)
{
	if (!work || !vm_work_is_told(work, work->total))
		return;
	work->done += bytes;
	if (work->done - work->told >= VM_WORK_STEP_BYTES || work->done >= work->total)
		tell_work(work);
}

void vm_work_watch(struct vm_work *work, uint64_t total_bytes, const struct vm_growth *growth)
{
	const struct vm_amount amount = {
	        .what = work->what, .total = total_bytes, .blind = true, .growth = growth};

	work->total = total_bytes;
	if (vm_work_is_told(work, total_bytes))
		work->tell->amount(work->tell->ctx, &amount);
}

void vm_work_end(struct vm_work *work)
{
	work->done = work->total;
	if (vm_work_is_told(work, work->total))
		tell_work(work);
}

void vm_work_at(struct vm_work *work, uint64_t done_bytes, uint64_t total_bytes)
{
	if (!work->tell)
		return;
	work->done = done_bytes;
	work->total = total_bytes;
	tell_work(work);
}

uint64_t vm_growth_bytes(const struct vm_growth *growth)
{
	uint64_t bytes = 0;
	struct stat st;

	for (size_t i = 0; i < VM_GROWTH_FILES && growth->files[i]; i++) {
		if (fstatat(growth->dir_fd, growth->files[i], &st, AT_SYMLINK_NOFOLLOW) == 0)
			bytes += (uint64_t)st.st_blocks * 512;
	}
	return bytes;
}

/* --- waits --------------------------------------------------------------------------------------
 */

void vm_waiting_begin(struct vm_waiting *waiting, const struct vm_tell *tell, const char *what,
                      int64_t deadline_ms)
{
	waiting->tell = tell;
	waiting->what = what;
	waiting->note[0] = '\0';
	waiting->began_ms = vm_monotonic_ms();
	waiting->deadline_ms = deadline_ms;
	waiting->next_ms = waiting->began_ms + PATIENCE_MS;
	waiting->told = waiting->over = false;
}

int64_t vm_waiting_piece(const struct vm_waiting *waiting, int64_t deadline_ms)
{
	bool sooner = deadline_ms == VM_WAIT_FOREVER || waiting->next_ms < deadline_ms;

	return waiting->tell && sooner ? waiting->next_ms : deadline_ms;
}

bool vm_waiting_is_due(const struct vm_waiting *waiting)
{
	return waiting->tell && vm_monotonic_ms() >= waiting->next_ms;
}

void vm_waiting_put_off(struct vm_waiting *waiting)
{
	waiting->next_ms = vm_monotonic_ms() + AGAIN_MS;
}

void vm_waiting_tell(struct vm_waiting *waiting)
{
	if (!waiting->tell)
		return;
	waiting->told = true;
	vm_waiting_put_off(waiting);
	waiting->tell->waiting(waiting->tell->ctx, waiting);
}

void vm_waiting_end(struct vm_waiting *waiting)
{
	if (!waiting->told)
		return;
	waiting->over = true;
	waiting->told = false;
	waiting->tell->waiting(waiting->tell->ctx, waiting);
}
