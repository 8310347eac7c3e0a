/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a pool of prestarted VMMs could save at most: Firecrackers that were started beforehand,
 * each in a directory of its own, and wait for a load. Results, and why there is no pool:
 * docs/performance.md.
 *
 *	prestart [--runs N] [--forks N] [--jobs N] [--busy] FIRECRACKER DIR WORK
 *
 * DIR holds vmstate, memory, kernel and disk-root.img, whose names in the state are relative; WORK
 * is empty, on the same filesystem. A fork here is a directory with links of those files, and a
 * VMM that runs in it and has loaded and resumed the state. Either the VMM is started there, or
 * one that waits is claimed: its directory is renamed to the fork's and the links are made in it.
 * Its working directory and its socket follow, for they are inodes and not paths.
 *
 * Prints tables: --runs (30) forks one by one, each kind in turn, with the CPU time of all that
 * takes part, from start to end; --forks (64) by --jobs (8) threads, 5 times each in turn; the
 * memory of a VMM that waits. --busy: with a process on each CPU that only computes.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	FORKS_MAX = 256,
	JOBS_MAX = 64,
	RUNS_MAX = 1000,
	ROUNDS = 5,
	ARGS_MAX = 10,
	CPUS_MAX = 256,
	START_MAX_US = 10000000
};

/* How a fork gets its VMM. */
struct kind {
	const char *text;
	bool claim;      /* one that waits; else it is started */
	bool refill;     /* and another one is started in its place, by the same thread */
	bool ask_resume; /* by a request of its own */
	const char *args[ARGS_MAX]; /* further arguments of a VMM that is started */
};

/* A VMM and its directory. */
struct vmm {
	pid_t pid; /* 0: none */
	char dir[16];
};

struct options {
	size_t runs, forks, jobs;
	bool busy;
};

struct batch {
	const struct kind *kind;
	size_t count;
	atomic_size_t next;
};

static const struct kind kinds[] = {
        {.text = "started, loaded"},
        {.text = "prestarted: claimed, loaded", .claim = true},
        {.text = "started, loaded, resumed by a second request", .ask_resume = true},
        {.text = "started with --id and the log of vmctl, loaded",
         .args = {"--id", "x", "--log-path", "vmm.log", "--level", "Info"}},
        {.text = "started with --no-seccomp, loaded", .args = {"--no-seccomp"}},
};

static const struct kind batches[] = {
        {.text = "started, loaded"},
        {.text = "prestarted: claimed, loaded", .claim = true},
        {.text = "the same, and another one started", .claim = true, .refill = true},
};

enum { KINDS = sizeof(kinds) / sizeof(kinds[0]), BATCHES = sizeof(batches) / sizeof(batches[0]) };

enum { WAITING = FORKS_MAX, REFILL = 2 * FORKS_MAX, VMMS_MAX = 3 * FORKS_MAX };

static const char *const files[] = {"vmstate", "memory", "kernel", "disk-root.img"};

static char firecracker[PATH_MAX];
static int source_fd;             /* DIR */
static struct vmm vmms[VMMS_MAX]; /* forks, then those that wait, then those that refill */

static _Noreturn void die(const char *what)
{
	int error = errno;

	for (size_t i = 0; i < VMMS_MAX; i++)
		if (vmms[i].pid > 0)
			kill(vmms[i].pid, SIGKILL);
	fprintf(stderr, "prestart: %s: %s\n", what, error ? strerror(error) : "refused");
	exit(1);
}

static long long now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000LL + ts.tv_nsec / 1000;
}

static long long cpu_us_of(int who)
{
	struct rusage used;

	getrusage(who, &used);
	return (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000LL + used.ru_utime.tv_usec +
	       used.ru_stime.tv_usec;
}

/* Of this process and the children that were waited for. */
static long long cpu_us(void)
{
	return cpu_us_of(RUSAGE_SELF) + cpu_us_of(RUSAGE_CHILDREN);
}

static void link_files(const char *dir)
{
	char path[64];

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
		if (linkat(source_fd, files[i], AT_FDCWD, path, 0) < 0)
			die(path);
	}
}

/* With an empty file for the VMM's log, which it does not make itself. */
static void make_dir(const char *dir)
{
	char path[64];
	int fd;

	if (mkdir(dir, 0700) < 0)
		die(dir);
	snprintf(path, sizeof(path), "%s/vmm.log", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		die(path);
	close(fd);
}

static void remove_dir(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *entry;

	if (!d)
		return;
	while ((entry = readdir(d)))
		unlinkat(dirfd(d), entry->d_name, 0);
	closedir(d);
	if (rmdir(dir) < 0)
		die(dir);
}

/*
 * Polls until the VMM answers. Not inotify, as in vmctl once: whoever closes its descriptor waits
 * in the kernel for a grace period of SRCU, 8 ms and more, which is longer than what is measured.
 */
static int connect_api(const char *dir)
{
	const struct timespec slice = {.tv_nsec = 20000};
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	long long begin = now_us();

	if (fd < 0)
		die("socket");
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/vmm.sock", dir);
	while (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		if ((errno != ENOENT && errno != ECONNREFUSED && errno != EINTR) ||
		    now_us() - begin > START_MAX_US)
			die(addr.sun_path);
		nanosleep(&slice, NULL);
	}
	return fd;
}

/* Starts a VMM in its directory, which is there. Returns a connection to it. */
static int start(struct vmm *vmm, const struct kind *kind)
{
	const char *argv[ARGS_MAX + 4] = {firecracker, "--api-sock", "vmm.sock"};
	posix_spawn_file_actions_t actions;
	int error;

	for (size_t i = 0; i < ARGS_MAX && kind->args[i]; i++)
		argv[3 + i] = kind->args[i];
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addchdir_np(&actions, vmm->dir);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_adddup2(&actions, 0, 1); /* the guest's console */
	posix_spawn_file_actions_adddup2(&actions, 0, 2);
	error = posix_spawn(&vmm->pid, firecracker, &actions, NULL, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (error) {
		errno = error;
		die(firecracker);
	}
	return connect_api(vmm->dir);
}

static void call(int fd, const char *method, const char *path, const char *body)
{
	char request[512], answer[4096];
	size_t have = 0;
	int len = snprintf(request, sizeof(request),
	                   "%s %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
	                   "Content-Length: %zu\r\n\r\n%s",
	                   method, path, strlen(body), body);

	if (send(fd, request, (size_t)len, MSG_NOSIGNAL) != len)
		die("sending the request");
	do {
		ssize_t n = recv(fd, answer + have, sizeof(answer) - 1 - have, 0);

		if (n <= 0)
			die("the VMM's answer");
		have += (size_t)n;
		answer[have] = '\0';
	} while (!strstr(answer, "\r\n\r\n") && have < sizeof(answer) - 1);
	errno = 0;
	if (strncmp(answer, "HTTP/1.1 204", 12) != 0)
		die(answer);
}

static void load(int fd, bool resume)
{
	char body[256];

	snprintf(body, sizeof(body),
	         "{\"snapshot_path\":\"vmstate\",\"mem_backend\":{\"backend_type\":\"File\","
	         "\"backend_path\":\"memory\"},\"resume_vm\":%s}",
	         resume ? "true" : "false");
	call(fd, "PUT", "/snapshot/load", body);
	if (!resume)
		call(fd, "PATCH", "/vm", "{\"state\":\"Resumed\"}");
}

static void prestart(struct vmm *vmm)
{
	make_dir(vmm->dir);
	close(start(vmm, &batches[1]));
}

/* Returns a connection to the VMM that is now the fork's. */
static int claim(struct vmm *from, struct vmm *fork)
{
	if (rename(from->dir, fork->dir) < 0)
		die(from->dir);
	fork->pid = from->pid;
	from->pid = 0;
	link_files(fork->dir);
	return connect_api(fork->dir);
}

/* *ret_ready: when the VMM could be told to load. */
static void make_fork(const struct kind *kind, size_t i, long long *ret_ready)
{
	struct vmm *fork = &vmms[i];
	int fd;

	if (kind->claim) {
		fd = claim(&vmms[WAITING + i], fork);
	} else {
		make_dir(fork->dir);
		link_files(fork->dir);
		fd = start(fork, kind);
	}
	*ret_ready = now_us();
	load(fd, !kind->ask_resume);
	close(fd);
}

static void end(struct vmm *vmm)
{
	if (vmm->pid <= 0)
		return;
	kill(vmm->pid, SIGKILL);
	waitpid(vmm->pid, NULL, 0);
	vmm->pid = 0;
	remove_dir(vmm->dir);
}

static int by_value(const void *a, const void *b)
{
	long long x = *(const long long *)a, y = *(const long long *)b;

	return (x > y) - (x < y);
}

/* Sorts them. */
static double quantile_ms(long long *us, size_t n, size_t percent)
{
	qsort(us, n, sizeof(*us), by_value);
	size_t at = (n - 1) * percent / 100;

	return (double)us[at] / 1000;
}

static void one_by_one(size_t runs)
{
	static long long ready[KINDS][RUNS_MAX], total[KINDS][RUNS_MAX], cpu[KINDS][RUNS_MAX];

	for (size_t run = 0; run < runs; run++) {
		for (size_t k = 0; k < KINDS; k++) {
			long long cpu_before = cpu_us(), begin, came_up;

			if (kinds[k].claim)
				prestart(&vmms[WAITING + 0]);
			begin = now_us();
			make_fork(&kinds[k], 0, &came_up);
			total[k][run] = now_us() - begin;
			ready[k][run] = came_up - begin;
			end(&vmms[0]);
			cpu[k][run] = cpu_us() - cpu_before;
		}
	}
	printf("| %-46s | %7s | %7s | %7s | %9s | %9s | %7s |\n|---|---|---|---|---|---|---|\n",
	       "ms", "median", "min", "p99", "VMM ready", "min", "CPU");
	for (size_t k = 0; k < KINDS; k++)
		printf("| %-46s | %7.2f | %7.2f | %7.2f | %9.2f | %9.2f | %7.2f |\n", kinds[k].text,
		       quantile_ms(total[k], runs, 50), quantile_ms(total[k], runs, 0),
		       quantile_ms(total[k], runs, 99), quantile_ms(ready[k], runs, 50),
		       quantile_ms(ready[k], runs, 0), quantile_ms(cpu[k], runs, 50));
}

static void *worker(void *arg)
{
	struct batch *batch = arg;
	long long ready;

	for (;;) {
		size_t i = atomic_fetch_add(&batch->next, 1);

		if (i >= batch->count)
			return NULL;
		make_fork(batch->kind, i, &ready);
		if (batch->kind->refill)
			prestart(&vmms[REFILL + i]);
	}
}

static long long run_batch(const struct kind *kind, size_t count, size_t jobs)
{
	struct batch batch = {.kind = kind, .count = count};
	pthread_t threads[JOBS_MAX];
	long long begin = now_us();

	for (size_t i = 0; i < jobs; i++)
		if ((errno = pthread_create(&threads[i], NULL, worker, &batch)) != 0)
			die("threads");
	for (size_t i = 0; i < jobs; i++)
		pthread_join(threads[i], NULL);
	return now_us() - begin;
}

/* In KiB: *ret_private, what would be free without it, and *ret_pss, with its part of what is
 * shared. */
static void memory_of(pid_t pid, long long *ret_private, long long *ret_pss)
{
	char path[64], line[128];
	long long kib;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	f = fopen(path, "re");
	if (!f)
		die(path);
	*ret_private = 0;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Private_%*[a-zA-Z]: %lld", &kib) == 1)
			*ret_private += kib;
		else if (sscanf(line, "Pss: %lld", &kib) == 1)
			*ret_pss = kib;
	}
	fclose(f);
}

static void at_once(size_t count, size_t jobs)
{
	long long wall[BATCHES][ROUNDS], refill[ROUNDS], private[FORKS_MAX], pss[FORKS_MAX];

	for (size_t round = 0; round < ROUNDS; round++) {
		for (size_t b = 0; b < BATCHES; b++) {
			long long begin = now_us();

			for (size_t i = 0; batches[b].claim && i < count; i++)
				prestart(&vmms[WAITING + i]);
			refill[round] = now_us() - begin;
			for (size_t i = 0; batches[b].claim && i < count; i++)
				memory_of(vmms[WAITING + i].pid, &private[i], &pss[i]);
			wall[b][round] = run_batch(&batches[b], count, jobs);
			for (size_t i = 0; i < count; i++) {
				end(&vmms[i]);
				end(&vmms[REFILL + i]);
			}
		}
	}
	printf("\n| ms, %3zu forks by %2zu threads                      | %7s | %7s "
	       "|\n|---|---|---|\n",
	       count, jobs, "median", "min");
	for (size_t b = 0; b < BATCHES; b++)
		printf("| %-46s | %7.1f | %7.1f |\n", batches[b].text,
		       quantile_ms(wall[b], ROUNDS, 50), quantile_ms(wall[b], ROUNDS, 0));
	printf("| %-46s | %7.1f | %7.1f |\n", "prestarting them, one after the other",
	       quantile_ms(refill, ROUNDS, 50), quantile_ms(refill, ROUNDS, 0));
	printf("\nA VMM that waits, one of %zu: %.0f KiB of its own, PSS %.0f KiB (medians).\n",
	       count, quantile_ms(private, count, 50) * 1000, quantile_ms(pss, count, 50) * 1000);
}

/* They end with this process. */
static void keep_busy(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	for (long i = 0; i < cpus && i < CPUS_MAX; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (volatile unsigned n = 0;; n++)
				;
		}
	}
}

static int usage(void)
{
	fputs("usage: prestart [--runs N] [--forks N] [--jobs N] [--busy] FIRECRACKER DIR WORK\n",
	      stderr);
	return -1;
}

/* Returns how many arguments were options, or -1. */
static int parse_options(int argc, char **argv, struct options *o)
{
	int i = 1;

	for (; i < argc && argv[i][0] == '-'; i++) {
		size_t *number = strcmp(argv[i], "--runs") == 0    ? &o->runs
		                 : strcmp(argv[i], "--forks") == 0 ? &o->forks
		                 : strcmp(argv[i], "--jobs") == 0  ? &o->jobs
		                                                   : NULL;

		if (strcmp(argv[i], "--busy") == 0)
			o->busy = true;
		else if (number && i + 1 < argc)
			*number = (size_t)strtoul(argv[++i], NULL, 10);
		else
			return usage();
	}
	if (argc - i != 3 || o->runs < 1 || o->runs > RUNS_MAX || o->forks < 1 ||
	    o->forks > FORKS_MAX || o->jobs < 1 || o->jobs > JOBS_MAX)
		return usage();
	return i - 1;
}

int main(int argc, char **argv)
{
	struct options o = {.runs = 30, .forks = 64, .jobs = 8};
	int skip = parse_options(argc, argv, &o);

	if (skip < 0)
		return 2;
	if (!realpath(argv[skip + 1], firecracker))
		die(argv[skip + 1]);
	source_fd = open(argv[skip + 2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (source_fd < 0 || chdir(argv[skip + 3]) < 0)
		die("DIR or WORK");
	for (unsigned i = 0; i < VMMS_MAX; i++)
		snprintf(vmms[i].dir, sizeof(vmms[i].dir), "v%u", i);
	if (o.busy)
		keep_busy();
	one_by_one(o.runs);
	at_once(o.forks, o.jobs);
	return 0;
}
