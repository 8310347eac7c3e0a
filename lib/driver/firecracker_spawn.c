/* SPDX-License-Identifier: Apache-2.0 */
/* Finding the binary, asking its version, spawning the VMM and waiting for its API. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../fs.h"
#include "../interrupt.h"
#include "../util.h"
#include "firecracker.h"

/* Searches PATH as execvp would. */
static int search_path(char *ret_path, size_t size)
{
	const char *path = getenv("PATH");

	while (path && *path) {
		size_t len = strcspn(path, ":");
		int n = snprintf(ret_path, size, "%.*s/firecracker", (int)len, path);

		if (len > 0 && n > 0 && (size_t)n < size && access(ret_path, X_OK) == 0)
			return 0;
		path += len + (path[len] == ':');
	}
	return -1;
}

static int find_binary(const struct vm_root *root, char *ret_path, size_t size, struct vm_err *err)
{
	const char *env = getenv("VMCTL_FIRECRACKER");
	const char *given = env && env[0] ? env : root->config.firecracker;

	if (given[0]) {
		VM_AUTO_FREE char *real = realpath(given, NULL);

		if (!real || access(real, X_OK) < 0) {
			vm_err_sys(err, "firecracker: %s (from %s)", given,
			           given == env ? "$VMCTL_FIRECRACKER" : "the config");
			err->code = VM_ERR_HYPERVISOR;
			return -1;
		}
		snprintf(ret_path, size, "%s", real);
		return 0;
	}
	if (search_path(ret_path, size) == 0)
		return 0;
	vm_err_set(err, VM_ERR_HYPERVISOR, "firecracker is not installed: it is not in PATH");
	return vm_err_hint(err, "install it, or name it by $VMCTL_FIRECRACKER or firecracker: in "
	                        "vmctl.yaml");
}

/* Runs "BINARY --version", whose first line is "Firecracker v1.12.1". */
static int ask_version(const char *path, char *ret_version, size_t size, struct vm_err *err)
{
	char text[256] = "";
	int ends[2];
	size_t used = 0;
	ssize_t n;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return vm_err_sys(err, "pipe");
	pid = fork();
	if (pid == 0) {
		if (dup2(ends[1], STDOUT_FILENO) >= 0)
			execl(path, path, "--version", (char *)NULL);
		_exit(127);
	}
	close(ends[1]);
	while (pid > 0 && used < sizeof(text) - 1 &&
	       ((n = read(ends[0], text + used, sizeof(text) - 1 - used)) > 0 ||
	        (n < 0 && errno == EINTR)))
		used += n > 0 ? (size_t)n : 0;
	close(ends[0]);
	if (pid < 0)
		return vm_err_sys(err, "fork");
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (sscanf(text, "Firecracker v%23[0-9A-Za-z.-]", ret_version) != 1)
		return vm_err_set(err, VM_ERR_HYPERVISOR,
		                  "%s --version says '%.40s', not 'Firecracker v...'", path, text);
	(void)size;
	return 0;
}

int vm_fc_probe(const struct vm_root *root, struct vm_driver_info *ret, struct vm_err *err)
{
	struct vm_driver_info info = {0};
	struct vm_binary_key key = {0};
	struct stat st;
	int known;

	if (find_binary(root, info.path, sizeof(info.path), err) < 0)
		return -1;
	if (stat(info.path, &st) < 0)
		return vm_err_sys(err, "%s", info.path);
	key.path = info.path;
	key.device = st.st_dev;
	key.inode = st.st_ino;
	key.size = (uint64_t)st.st_size;
	key.mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
	known = vm_store_binary_version(root->store, &key, info.version, sizeof(info.version), err);
	if (known < 0)
		return -1;
	if (!known && (ask_version(info.path, info.version, sizeof(info.version), err) < 0 ||
	               vm_store_remember_binary(root->store, &key, info.version, err) < 0))
		return -1;
	*ret = info;
	return 0;
}

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
	return vm_err_set(err, VM_ERR_HYPERVISOR, "the VMM ended at once: %s",
	                  tail[0] ? tail : "(its log is empty)");
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
	if (inotify_fd < 0 ||
	    vm_vmm_spawn(machine->root, machine->id, machine->dir_fd, argv, &machine->vmm, err) < 0)
		return -1;
	return await_api(machine, inotify_fd, err);
}
