/* SPDX-License-Identifier: Apache-2.0 */
#include "await.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "../fs.h"
#include "../interrupt.h"
#include "../util.h"

/* Whether the API socket accepts: 1 yes, 0 not yet. */
static int try_connect(int dir_fd)
{
	VM_AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/" VM_FILE_API_SOCKET,
	         dir_fd);
	return fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0;
}

int vm_await_begin(const struct vm_machine *machine, struct vm_err *err)
{
	VM_AUTO_CLOSE int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", machine->dir_fd);
	if (fd < 0 || inotify_add_watch(fd, path, IN_CREATE) < 0)
		return vm_err_sys(err, "watching for the VMM's API socket");
	return vm_take_fd(&fd);
}

/*
 * The socket's creation is an inotify event; between bind() and listen() there is an instant in
 * which connections are refused, hence the short slices once the file is there.
 */
int vm_await_socket(const struct vm_machine *machine, int watch_fd, struct vm_err *err)
{
	struct pollfd p[2] = {{.fd = machine->vmm.pid_fd, .events = POLLIN},
	                      {.fd = watch_fd, .events = POLLIN}};
	char events[1024] __attribute__((aligned(8)));

	while (!try_connect(machine->dir_fd)) {
		int64_t left = machine->deadline_ms - vm_monotonic_ms();
		bool bound = vm_fs_exists(machine->dir_fd, VM_FILE_API_SOCKET);
		const struct timespec slice = {.tv_sec = bound ? 0 : left / 1000,
		                               .tv_nsec = bound ? 50000 : left % 1000 * 1000000};

		if (left <= 0)
			return vm_err_set(err, VM_ERR_TIMEOUT,
			                  "the VMM's API did not come up in %d ms",
			                  (int)machine->root->config.api_timeout_ms);
		if (ppoll(p, 2, &slice, NULL) < 0 && errno != EINTR)
			return vm_err_sys(err, "waiting for the VMM's API");
		if (vm_interrupt_check(err) < 0)
			return -1;
		if (p[0].revents)
			return 1;
		if (p[1].revents && read(watch_fd, events, sizeof(events)) < 0 && errno != EAGAIN)
			return vm_err_sys(err, "reading inotify");
	}
	return 0;
}
