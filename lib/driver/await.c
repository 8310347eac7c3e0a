/* SPDX-License-Identifier: Apache-2.0 */
#include "await.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "../fs.h"
#include "../interrupt.h"
#include "../util.h"

enum {
	LOOK_MS = 200,       /* a sleeper looks for a request to stop this often */
	REFUSED_YIELDS = 32, /* between the VMM's bind() and its listen() there are microseconds */
	REFUSED_NAP_NS = 50000,
};

/*
 * New files in the machine's directory, where the socket will be.
 *
 * By dnotify (F_NOTIFY in fcntl(2)) and not by inotify: to close an inotify descriptor that has
 * watched something the kernel waits until nobody can look at the watch any more, 11 ms in the
 * median here, which was half of the time of a fork. dnotify waits for nothing. It says by SIGIO
 * that something has changed: to this thread only, which blocks it but for the time of its sleep
 * in ppoll(). Without F_SETSIG, whose signals can be too many and become another one.
 *
 * Where the kernel has none, or it is turned off (fs.dir-notify-enable), inotify it is.
 */
struct watch {
	int dir_fd;     /* dnotify's descriptor, or -1 */
	int inotify_fd; /* or -1 */
	sigset_t saved; /* the thread's mask before */
	sigset_t sleep; /* and while it sleeps */
};

static void do_nothing(int signo)
{
	(void)signo;
}

static void install_handler(void)
{
	struct sigaction action = {.sa_handler = do_nothing};

	sigemptyset(&action.sa_mask);
	sigaction(SIGIO, &action, NULL);
}

static void watch_end(struct watch *watch)
{
	/* After this nothing sends SIGIO, and one that waits is met by the handler. */
	vm_cleanup_close(&watch->dir_fd);
	vm_cleanup_close(&watch->inotify_fd);
	pthread_sigmask(SIG_SETMASK, &watch->saved, NULL);
}

static bool begin_dnotify(struct watch *watch, int dir_fd)
{
	const struct f_owner_ex self = {.type = F_OWNER_TID, .pid = gettid()};

	watch->dir_fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (watch->dir_fd >= 0 && fcntl(watch->dir_fd, F_SETOWN_EX, &self) == 0 &&
	    fcntl(watch->dir_fd, F_NOTIFY, DN_CREATE | DN_MULTISHOT) == 0)
		return true;
	vm_cleanup_close(&watch->dir_fd);
	return false;
}

static int watch_begin(struct watch *watch, int dir_fd, struct vm_err *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	sigset_t block;
	char path[40];

	pthread_once(&once, install_handler);
	sigemptyset(&block);
	sigaddset(&block, SIGIO);
	pthread_sigmask(SIG_BLOCK, &block, &watch->saved);
	watch->sleep = watch->saved;
	sigdelset(&watch->sleep, SIGIO);
	if (begin_dnotify(watch, dir_fd))
		return 0;
	watch->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", dir_fd);
	if (watch->inotify_fd < 0 || inotify_add_watch(watch->inotify_fd, path, IN_CREATE) < 0)
		return vm_err_sys(err, "watching for the VMM's API socket");
	return 0;
}

/* Sleeps until there is a new file, the VMM has ended (1), or it is time to look again. */
static int watch_sleep(const struct watch *watch, int pid_fd, int64_t ns, struct vm_err *err)
{
	struct pollfd p[2] = {{.fd = pid_fd, .events = POLLIN},
	                      {.fd = watch->inotify_fd, .events = POLLIN}};
	const struct timespec slice = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
	char events[1024] __attribute__((aligned(8)));

	if (ppoll(p, 2, &slice, &watch->sleep) < 0 && errno != EINTR)
		return vm_err_sys(err, "waiting for the VMM's API");
	if (vm_interrupt_check(err) < 0)
		return -1;
	if (p[0].revents)
		return 1;
	if (p[1].revents && read(watch->inotify_fd, events, sizeof(events)) < 0 && errno != EAGAIN)
		return vm_err_sys(err, "reading inotify");
	return 0;
}

static int late(const struct vm_machine *machine, struct vm_err *err)
{
	return vm_err_set(err, VM_ERR_TIMEOUT, "the VMM's API did not come up in %d ms",
	                  (int)machine->root->config.api_timeout_ms);
}

/* The watch is there before the first look, so that no socket comes between the two. */
static int connect_when_there(const struct vm_machine *machine, const struct watch *watch, int fd,
                              struct vm_err *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int refused = 0;

	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/" VM_FILE_API_SOCKET,
	         machine->dir_fd);
	while (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		bool bound = errno == ECONNREFUSED;
		int64_t left = machine->deadline_ms - vm_monotonic_ms();
		int rc;

		if (left <= 0)
			return late(machine, err);
		if (bound && refused++ < REFUSED_YIELDS) {
			sched_yield();
			continue;
		}
		rc = watch_sleep(
		        watch, machine->vmm.pid_fd,
		        bound ? REFUSED_NAP_NS : (left < LOOK_MS ? left : LOOK_MS) * 1000000, err);
		if (rc != 0)
			return rc;
	}
	return 0;
}

int vm_await_socket(const struct vm_machine *machine, int *ret_fd, struct vm_err *err)
{
	VM_AUTO(watch_end) struct watch watch = {.dir_fd = -1, .inotify_fd = -1};
	VM_AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int rc;

	if (watch_begin(&watch, machine->dir_fd, err) < 0)
		return -1;
	if (fd < 0)
		return vm_err_sys(err, "creating a socket");
	rc = connect_when_there(machine, &watch, fd, err);
	if (rc == 0)
		*ret_fd = vm_take_fd(&fd);
	return rc;
}
