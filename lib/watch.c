/* SPDX-License-Identifier: Apache-2.0 */
#include "watch.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "interrupt.h"
#include "util.h"

enum {
	LOOK_AGAIN_MS = 1000, /* in case an event got lost: a log begun anew, a full queue */
	OTHERS_MAX = 4,
};

int vm_watch_open(const struct vm_root *root, struct vm_watch *ret, struct vm_err *err)
{
	VM_AUTO_FREE char *wal = vm_strf(err, "%s/vmctl.db-wal", root->path);
	VM_AUTO_CLOSE int fd = -1;

	if (!wal)
		return -1;
	if (root->missing)
		return vm_err_set(err, VM_ERR_NOT_FOUND, "there is no data root at %s yet",
		                  root->path);
	fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (fd < 0)
		return vm_err_sys(err, "inotify");
	/* The log may not exist yet: the directory tells. */
	if (inotify_add_watch(fd, root->path, IN_CREATE | IN_DELETE) < 0 ||
	    (inotify_add_watch(fd, wal, IN_MODIFY) < 0 && errno != ENOENT))
		return vm_err_sys(err, "watching %s", root->path);
	*ret = (struct vm_watch){.inotify_fd = vm_take_fd(&fd)};
	return 0;
}

void vm_watch_close(struct vm_watch *watch)
{
	vm_cleanup_close(&watch->inotify_fd);
}

/*
 * A commit is seen by readers an instant after it was appended to the log. So one who was told of
 * the append and has found nothing looks again soon, and less and less soon.
 */
static int64_t slice_of(struct vm_watch *watch, int64_t deadline_ms)
{
	int64_t slice = LOOK_AGAIN_MS;
	int64_t left = deadline_ms < 0 ? LOOK_AGAIN_MS : deadline_ms - vm_monotonic_ms();

	if (watch->again_ms > 0) {
		slice = watch->again_ms;
		watch->again_ms = 2 * slice < LOOK_AGAIN_MS ? 2 * slice : 0;
	}
	if (left < slice)
		slice = left;
	return slice < 0 ? 0 : slice;
}

int vm_watch_sleep(struct vm_watch *watch, struct pollfd *others, nfds_t count, int64_t deadline_ms,
                   struct vm_err *err)
{
	struct pollfd p[OTHERS_MAX + 1] = {{.fd = watch->inotify_fd, .events = POLLIN}};
	char events[4096];

	assert(count <= OTHERS_MAX);
	if (count > 0)
		memcpy(p + 1, others, count * sizeof(*others));
	if (poll(p, count + 1, (int)slice_of(watch, deadline_ms)) < 0) {
		if (errno != EINTR)
			return vm_err_sys(err, "waiting");
		memset(p, 0, sizeof(p));
	}
	for (nfds_t i = 0; i < count; i++)
		others[i].revents = p[i + 1].revents;
	if (p[0].revents) {
		if (read(watch->inotify_fd, events, sizeof(events)) < 0 && errno != EAGAIN)
			return vm_err_sys(err, "reading inotify");
		watch->again_ms = 1;
	}
	return vm_interrupt_check(err);
}
