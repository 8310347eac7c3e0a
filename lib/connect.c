/* SPDX-License-Identifier: Apache-2.0 */
#include "connect.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "interrupt.h"
#include "util.h"

enum { WAIT_SLICE_MS = 250 };

/*
 * How long the next sleep may be; -1 when the deadline has passed or a signal asks to stop. Sleeps
 * are short because a signal that arrives between this look and the sleep does not end that.
 */
static int next_slice(int64_t deadline_ms, const char *step, int *ret_ms, struct vm_err *err)
{
	int64_t left = deadline_ms - vm_monotonic_ms();

	if (vm_interrupt_check(err) < 0)
		return -1;
	if (left <= 0) {
		vm_err_set(err, VM_ERR_TIMEOUT, "timed out while %s", step);
		return -1;
	}
	*ret_ms = left < WAIT_SLICE_MS ? (int)left : WAIT_SLICE_MS;
	return 0;
}

int vm_connect_wait(int fd, short events, int64_t deadline_ms, const char *step, struct vm_err *err)
{
	struct pollfd p = {.fd = fd, .events = events};
	int slice, n;

	do {
		if (next_slice(deadline_ms, step, &slice, err) < 0)
			return -1;
		n = poll(&p, 1, slice);
	} while (n == 0 || (n < 0 && errno == EINTR));
	return n < 0 ? vm_err_sys(err, "waiting for the socket") : 0;
}

/* The socket file itself, so that its path's length does not matter (sun_path holds 107 bytes). */
static int open_socket_file(int dir_fd, const char *name, struct vm_err *err)
{
	VM_AUTO_CLOSE int fd = openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0 && errno == ENOENT) {
		vm_err_set(err, VM_ERR_HYPERVISOR, "there is no socket '%s'", name);
		vm_err_hint(err, "the VMM is not running, or has not opened its API socket yet");
		errno = ENOENT;
		return -1;
	}
	if (fd < 0 || fstat(fd, &st) < 0)
		return vm_err_sys(err, "opening the socket '%s'", name);
	if (!S_ISSOCK(st.st_mode))
		return vm_err_set(err, VM_ERR_HYPERVISOR, "'%s' is not a socket", name);
	return vm_take_fd(&fd);
}

static int failed(const char *name, struct vm_err *err)
{
	if (errno == ENOENT) {
		errno = ENOTDIR; /* ENOENT would say that nobody listens */
		return vm_err_set(err, VM_ERR_SYSTEM,
		                  "connecting to '%s' needs /proc, which is not mounted", name);
	}
	if (errno != ECONNREFUSED)
		return vm_err_sys(err, "connecting to '%s'", name);
	vm_err_set(err, VM_ERR_HYPERVISOR, "nobody listens at the socket '%s'", name);
	vm_err_hint(err, "the VMM is not running; its socket file is a leftover");
	errno = ECONNREFUSED;
	return -1;
}

/*
 * poll() cannot wait for room in a unix socket's backlog: a non-blocking connect() just says
 * EAGAIN. A blocking one with a send timeout can, and says EAGAIN when that has passed.
 */
int vm_connect(int dir_fd, const char *name, int64_t deadline_ms, struct vm_err *err)
{
	VM_AUTO_CLOSE int file = open_socket_file(dir_fd, name, err);
	VM_AUTO_CLOSE int fd = -1;
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int slice;

	if (file < 0)
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return vm_err_sys(err, "creating a socket");
	snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d", file);
	for (;;) {
		struct timeval tv = {0};

		if (next_slice(deadline_ms, "connecting", &slice, err) < 0)
			return -1;
		tv.tv_usec = (suseconds_t)slice * 1000; /* below a second, see WAIT_SLICE_MS */
		if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) < 0)
			return vm_err_sys(err, "setting the timeout of a socket");
		if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
			return vm_take_fd(&fd);
		if (errno != EAGAIN && errno != EINTR)
			return failed(name, err);
	}
}
