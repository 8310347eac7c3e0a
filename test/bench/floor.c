/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor of the restore benchmarks: the least that any program must do to have Firecracker
 * resume a snapshot. No checks, no locks, no store: what vmctl takes beyond this is vmctl's own
 * cost.
 *
 *	floor [--json] [--kill] [--paused] [--parallel P] FIRECRACKER DIR...
 *
 * Each DIR holds vmstate, memory and the disks, whose names in the state are relative: a VMM runs
 * in each, P of them (1) are being started at a time, and stale vmm.sock and vsock.sock there are
 * removed. --paused does not resume the guests. Prints the microseconds from just before the first
 * spawn to the last answer 204. --json, for one DIR, also its parts
 * {"spawn_us","load_us","total_us"}: until the API socket was connected, and the load. --kill kills
 * the VMMs afterwards and removes their sockets; without it they go on. No libraries, on purpose:
 * this must not share what it is to judge.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PARALLEL_MAX = 256, VMMS_MAX = 1024 };

struct vmm {
	const char *dir;
	pid_t pid;
	int pidfd; /* readable when the VMM has died */
	long long began, connected, loaded;
};

struct options {
	int json, kill, paused;
	long parallel;
	char firecracker[PATH_MAX];
	struct vmm vmms[VMMS_MAX];
	int count;
	atomic_int next; /* the first that nobody has begun with */
	int home;        /* what relative names of DIRs start from */
};

static struct options options = {.parallel = 1};

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
	if (fchdir(options.home) == 0 && chdir(vmm->dir) == 0)
		remove_sockets();
}

static _Noreturn void die(const struct vmm *vmm, const char *what, int error)
{
	fprintf(stderr, "floor: %s: %s%s%s\n", vmm->dir, what, error ? ": " : "",
	        error ? strerror(error) : "");
	for (int i = 0; i < options.count; i++)
		vmm_kill(&options.vmms[i]);
	_exit(1);
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

static void do_nothing(int signo)
{
	(void)signo;
}

/*
 * From now on SIGIO tells this thread of each file that is made in its working directory, but only
 * while it sleeps with *ret_mask. Not inotify: who closes its descriptor, or exits, waits for a
 * grace period of the kernel, which takes longer than the load.
 */
static int watch_directory(const struct vmm *vmm, sigset_t *ret_mask)
{
	const struct f_owner_ex self = {.type = F_OWNER_TID, .pid = gettid()};
	int watch = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	sigset_t block;

	signal(SIGIO, do_nothing);
	sigemptyset(&block);
	sigaddset(&block, SIGIO);
	pthread_sigmask(SIG_BLOCK, &block, ret_mask);
	sigdelset(ret_mask, SIGIO);
	if (watch < 0 || fcntl(watch, F_SETOWN_EX, &self) < 0 ||
	    fcntl(watch, F_NOTIFY, DN_CREATE | DN_MULTISHOT) < 0)
		die(vmm, "dnotify", errno);
	return watch;
}

/* So that nothing is polled while the VMM starts. */
static void await_new_file(const struct vmm *vmm, const sigset_t *mask)
{
	struct pollfd died = {.fd = vmm->pidfd, .events = POLLIN};

	if (ppoll(&died, 1, NULL, mask) < 0 && errno != EINTR)
		die(vmm, "ppoll", errno);
	if (died.revents)
		die(vmm, "the VMM exited before it answered", 0);
}

static int connect_api(const struct vmm *vmm, const sigset_t *mask)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX, .sun_path = "vmm.sock"};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct pollfd died = {.fd = vmm->pidfd, .events = POLLIN};

	if (fd < 0)
		die(vmm, "socket", errno);
	while (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		if (errno == ENOENT) {
			await_new_file(vmm, mask);
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

static void load(const struct vmm *vmm, int fd, int paused)
{
	char body[256], request[512], answer[4096];
	size_t have = 0;
	int len;

	len = snprintf(body, sizeof(body),
	               "{\"snapshot_path\":\"vmstate\",\"mem_backend\":{\"backend_type\":\"File\","
	               "\"backend_path\":\"memory\"},\"resume_vm\":%s}",
	               paused ? "false" : "true");
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

/* In the calling thread's working directory, which is not that of the others. */
static void start(const struct options *o, struct vmm *vmm)
{
	sigset_t mask;
	int watch, fd;

	if (fchdir(o->home) < 0 || chdir(vmm->dir) < 0)
		die(vmm, "chdir", errno);
	remove_sockets();
	vmm->began = now_us();
	vmm_spawn(o->firecracker, vmm);
	watch = watch_directory(vmm, &mask);
	fd = connect_api(vmm, &mask);
	vmm->connected = now_us();
	load(vmm, fd, o->paused);
	vmm->loaded = now_us();
	close(fd);
	close(watch);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
}

static void *worker(void *arg)
{
	struct options *o = arg;
	int i;

	while ((i = atomic_fetch_add(&o->next, 1)) < o->count)
		start(o, &o->vmms[i]);
	return NULL;
}

static void *worker_thread(void *arg)
{
	/* A working directory of its own. */
	if (unshare(CLONE_FS) < 0) {
		perror("floor: unshare");
		exit(1);
	}
	return worker(arg);
}

static void start_all(struct options *o)
{
	pthread_t threads[PARALLEL_MAX];
	long made = 0;

	while (made + 1 < o->parallel && made + 1 < o->count &&
	       pthread_create(&threads[made], NULL, worker_thread, o) == 0)
		made++;
	(void)(made ? worker_thread(o) : worker(o));
	while (made > 0)
		pthread_join(threads[--made], NULL);
}

static int usage(const char *what)
{
	fprintf(stderr,
	        "floor: %s\nusage: floor [--json] [--kill] [--paused] [--parallel P] FIRECRACKER "
	        "DIR...\n",
	        what);
	return -1;
}

static int parse_options(char **next, struct options *o)
{
	for (; *next && **next == '-'; next++) {
		if (strcmp(*next, "--json") == 0)
			o->json = 1;
		else if (strcmp(*next, "--kill") == 0)
			o->kill = 1;
		else if (strcmp(*next, "--paused") == 0)
			o->paused = 1;
		else if (strcmp(*next, "--parallel") == 0 && next[1])
			o->parallel = strtol(*++next, NULL, 10);
		else
			return usage("unknown option");
	}
	if (!next[0] || !next[1])
		return usage("FIRECRACKER and DIR are needed");
	if (o->parallel < 1 || o->parallel > PARALLEL_MAX)
		return usage("--parallel takes 1 to 256");
	if (!realpath(*next, o->firecracker)) {
		perror(*next);
		return -1;
	}
	for (next++; *next && o->count < VMMS_MAX; next++) {
		o->vmms[o->count].dir = *next;
		o->vmms[o->count++].pidfd = -1;
	}
	if (*next || (o->json && o->count > 1))
		return usage("too many DIRs");
	return 0;
}

int main(int argc, char **argv)
{
	struct options *o = &options;
	long long began = LLONG_MAX, loaded = 0;

	(void)argc;
	if (parse_options(argv + 1, o) < 0)
		return 2;
	o->home = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	start_all(o);
	for (int i = 0; i < o->count; i++) {
		began = o->vmms[i].began < began ? o->vmms[i].began : began;
		loaded = o->vmms[i].loaded > loaded ? o->vmms[i].loaded : loaded;
	}
	if (o->json)
		printf("{\"spawn_us\":%lld,\"load_us\":%lld,\"total_us\":%lld}\n",
		       o->vmms[0].connected - began, loaded - o->vmms[0].connected, loaded - began);
	else
		printf("%lld\n", loaded - began);
	for (int i = 0; o->kill && i < o->count; i++)
		vmm_kill(&o->vmms[i]);
	return 0;
}
