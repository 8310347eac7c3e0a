/* SPDX-License-Identifier: Apache-2.0 */
/* Spawning the VMM and waiting for its API. */
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
#include "firecracker.h"

/* Whether the API socket accepts: 1 yes, 0 not yet. */
static int try_connect(int dir_fd)
{
	VM_AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/" VM_FILE_API_SOCKET,
	         dir_fd);
	return fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0;
}

/* The VMM ended before its API answered. */
static int died_early(struct vm_machine *machine, struct vm_err *err)
{
	char tail[400];

	vm_vmm_log_tail(machine->dir_fd, VM_VMM_LOG, tail, sizeof(tail));
	return vm_fc_refuse(machine, "the VMM ended at once", tail[0] ? tail : "(its log is empty)",
	                    err);
}

/*
 * Waits until the socket accepts. Its creation is an inotify event; between bind() and listen()
 * there is an instant in which connections are refused, hence the short slices once the file is
 * there.
 */
static int await_api(struct vm_machine *machine, int inotify_fd, struct vm_err *err)
{
	struct pollfd p[2] = {{.fd = machine->vmm.pid_fd, .events = POLLIN},
	                      {.fd = inotify_fd, .events = POLLIN}};
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
			return died_early(machine, err);
		if (p[1].revents && read(inotify_fd, events, sizeof(events)) < 0 && errno != EAGAIN)
			return vm_err_sys(err, "reading inotify");
	}
	return 0;
}

static int watch_dir(int dir_fd, struct vm_err *err)
{
	VM_AUTO_CLOSE int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", dir_fd);
	if (fd < 0 || inotify_add_watch(fd, path, IN_CREATE) < 0)
		return vm_err_sys(err, "watching for the VMM's API socket");
	return vm_take_fd(&fd);
}

int vm_fc_spawn(struct vm_machine *machine, struct vm_err *err)
{
	VM_AUTO_CLOSE int inotify_fd = -1;
	const char *argv[] = {
	        machine->binary->path, "--id",     machine->id, "--api-sock", VM_FILE_API_SOCKET,
	        "--log-path",          VM_VMM_LOG, "--level",   "Info",       NULL};

	/* Sockets of a dead VMM stay behind and would be refused ("stale API socket", EADDRINUSE).
	 */
	if (vm_driver_clean(machine->driver, machine->dir_fd, err) < 0)
		return -1;
	inotify_fd = watch_dir(machine->dir_fd, err);
	if (inotify_fd < 0 || vm_vmm_spawn_in(machine->root, machine->id, machine->dir_fd,
	                                      machine->view, argv, &machine->vmm, err) < 0)
		return -1;
	return await_api(machine, inotify_fd, err);
}
