/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor of the restore benchmarks: the least that any program must do to have Firecracker
 *resume a snapshot. No checks, no locks, no store: what vmctl takes beyond this is vmctl's own
 *cost.
 *
 *	floor [--json] [--kill] FIRECRACKER DIR [RESUME]
 *
 * DIR holds vmstate, memory and the disks, whose names in the state are relative: the VMM runs with
 * DIR as its working directory, and stale vmm.sock and vsock.sock there are removed. RESUME is the
 * value of resume_vm, true (the default) or false. Prints the microseconds from just before the
 *spawn to the answer 204, with --json also its parts {"spawn_us","load_us","total_us"}: until the
 *API socket was connected, and the load. --kill kills the VMM afterwards and removes its sockets;
 * without it the VMM goes on. No libraries, on purpose: this must not share what it is to judge.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct options {
	int json, kill;
	const char *firecracker, *dir, *resume;
};

struct vmm {
	pid_t pid;
	int pidfd; /* readable when the VMM has died */
};

static long long now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000LL + ts.tv_nsec / 1000;
}

static void remove_sockets(void)
{
	unlink("vmm.sock");
	unlink("vsock.sock");
}

/* Our child, not yet waited for: its pid cannot have been given to another process. */
static void vmm_kill(const struct vmm *vmm)
{
	if (vmm->pid <= 0)
		return;
	if (vmm->pidfd < 0 || pidfd_send_signal(vmm->pidfd, SIGKILL, NULL, 0) < 0)
		kill(vmm->pid, SIGKILL);
	waitpid(vmm->pid, NULL, 0);
	remove_sockets();
}

static _Noreturn void die(const struct vmm *vmm, const char *what, int error)
{
	fprintf(stderr, "floor: %s%s%s\n", what, error ? ": " : "", error ? strerror(error) : "");
	vmm_kill(vmm);
	exit(1);
}

static void vmm_spawn(const char *firecracker, struct vmm *vmm)
{
	char *argv[] = {(char *)firecracker, "--api-sock", "vmm.sock", NULL};
	posix_spawn_file_actions_t actions;
	int error;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_adddup2(&actions, 0, 1); /* the guest's console */
	error = posix_spawn(&vmm->pid, firecracker, &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (error) {
		vmm->pid = 0;
		die(vmm, firecracker, error);
	}
	vmm->pidfd = pidfd_open(vmm->pid, 0);
	if (vmm->pidfd < 0)
		die(vmm, "pidfd_open", errno);
}

/* Sleeps until a file was made in DIR, so that nothing is polled while the VMM starts. */
static void await_new_file(const struct vmm *vmm, int watch)
{
	struct pollfd p[2] = {{.fd = watch, .events = POLLIN},
	                      {.fd = vmm->pidfd, .events = POLLIN}};
	char events[sizeof(struct inotify_event) + NAME_MAX + 1];

	if (poll(p, 2, -1) < 0 && errno != EINTR)
		die(vmm, "poll", errno);
	if (p[1].revents)
		die(vmm, "the VMM exited before it answered", 0);
	if (p[0].revents && read(watch, events, sizeof(events)) < 0)
		die(vmm, "reading inotify events", errno);
}

static int connect_api(const struct vmm *vmm, int watch)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX, .sun_path = "vmm.sock"};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct pollfd died = {.fd = vmm->pidfd, .events = POLLIN};

	if (fd < 0)
		die(vmm, "socket", errno);
	while (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		if (errno == ENOENT) {
			await_new_file(vmm, watch);
			continue;
		}
		/* Between the VMM's bind() and its listen(): microseconds. */
		if (errno != ECONNREFUSED && errno != EINTR)
			die(vmm, "connecting to vmm.sock", errno);
		if (poll(&died, 1, 0) > 0)
			die(vmm, "the VMM exited before it answered", 0);
		sched_yield();
	}
	return fd;
}

static void load(const struct vmm *vmm, int fd, const char *resume)
{
	char body[256], request[512], answer[4096];
	size_t have = 0;
	int len;

	len = snprintf(body, sizeof(body),
	               "{\"snapshot_path\":\"vmstate\",\"mem_backend\":{\"backend_type\":\"File\","
	               "\"backend_path\":\"memory\"},\"resume_vm\":%s}",
	               resume);
	len = snprintf(
	        request, sizeof(request),
	        "PUT /snapshot/load HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
	        "Content-Length: %d\r\n\r\n%s",
	        len, body);
	if (send(fd, request, (size_t)len, MSG_NOSIGNAL) != len)
		die(vmm, "sending the request", errno);
	do {
		ssize_t n = recv(fd, answer + have, sizeof(answer) - 1 - have, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			die(vmm, "the VMM closed its API socket before it answered", 0);
		have += (size_t)n;
		answer[have] = '\0';
	} while (!strstr(answer, "\r\n\r\n") && have < sizeof(answer) - 1);
	if (strncmp(answer, "HTTP/1.1 204", 12) != 0)
		die(vmm, answer, 0);
}

static int usage(const char *what)
{
	fprintf(stderr, "floor: %s\nusage: floor [--json] [--kill] FIRECRACKER DIR [true|false]\n",
	        what);
	return -1;
}

static int parse_options(int argc, char **argv, struct options *o)
{
	const char **next[] = {&o->firecracker, &o->dir, &o->resume};
	size_t n = 0;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0)
			o->json = 1;
		else if (strcmp(argv[i], "--kill") == 0)
			o->kill = 1;
		else if (argv[i][0] == '-' || n == 3)
			return usage("unknown option or too many arguments");
		else
			*next[n++] = argv[i];
	}
	if (n < 2)
		return usage("FIRECRACKER and DIR are needed");
	if (strcmp(o->resume, "true") != 0 && strcmp(o->resume, "false") != 0)
		return usage("RESUME is true or false");
	return 0;
}

int main(int argc, char **argv)
{
	struct options o = {.resume = "true"};
	struct vmm vmm = {0, -1};
	char firecracker[PATH_MAX];
	long long begin, connected, loaded;
	int watch, fd;

	if (parse_options(argc, argv, &o) < 0)
		return 2;
	if (!realpath(o.firecracker, firecracker))
		die(&vmm, o.firecracker, errno);
	if (chdir(o.dir) < 0)
		die(&vmm, o.dir, errno);
	remove_sockets();
	watch = inotify_init1(IN_CLOEXEC);
	if (watch < 0 || inotify_add_watch(watch, ".", IN_CREATE) < 0)
		die(&vmm, "inotify", errno);

	begin = now_us();
	vmm_spawn(firecracker, &vmm);
	fd = connect_api(&vmm, watch);
	connected = now_us();
	load(&vmm, fd, o.resume);
	loaded = now_us();

	if (o.json)
		printf("{\"spawn_us\":%lld,\"load_us\":%lld,\"total_us\":%lld}\n",
		       connected - begin, loaded - connected, loaded - begin);
	else
		printf("%lld\n", loaded - begin);
	if (o.kill)
		vmm_kill(&vmm);
	return 0;
}
