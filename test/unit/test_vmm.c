/* SPDX-License-Identifier: Apache-2.0 */
/* The process of a hypervisor: what it inherits, how it is found, and who is never killed for it.
 */
#include "site.h"

#include <inttypes.h>
#include <sys/file.h>
#include <sys/syscall.h>

#include "proc.h"

static const char vmm_id[] = "vmmvmmvmmvmmvmmvmmvmmvmm";
static const char *const argv[] = {"/bin/sleep", "3600", NULL};

static int vmm_setup(void **state)
{
	struct site *site = site_new();
	struct vm_err err = {0};
	int dir = vm_fs_make_dir(site->root.guests_fd, vmm_id, &err);

	assert_true(dir >= 0);
	close(dir);
	*state = site;
	return 0;
}

static int vmm_teardown(void **state)
{
	struct site *site = *state;
	struct vm_err err = {0};

	assert_int_equal(vm_vmm_reap(&site->root, vmm_id, &err), 0);
	site_free(site);
	return 0;
}

static int spawn_vmm(struct site *site, const char *const *words, struct vm_vmm *ret)
{
	VM_AUTO_CLOSE int dir = -1;

	vm_err_clear(&site->err);
	dir = vm_fs_open_dir(site->root.guests_fd, vmm_id, &site->err);
	return vm_vmm_spawn(&site->root, vmm_id, dir, words, ret, &site->err);
}

static void read_link(pid_t pid, const char *name, char *buf, size_t size)
{
	char path[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	n = readlink(path, buf, size - 1);
	assert_true(n >= 0);
	buf[n] = '\0';
}

static void it_has_its_directory_streams_and_liveness_and_nothing_else(void **state)
{
	static const char *const fds[] = {"console.in", "console.log", "vmm.log"};
	struct site *site = *state;
	struct vm_vmm vmm = VM_VMM_INIT;
	char path[64], link[PATH_MAX];
	size_t open_fds = 0;
	DIR *list;

	assert_int_equal(spawn_vmm(site, argv, &vmm), 0);
	assert_int_equal(getsid(vmm.pid), vmm.pid);
	read_link(vmm.pid, "cwd", link, sizeof(link));
	assert_non_null(strstr(link, vmm_id));
	for (size_t i = 0; i < VM_ARRAY_LEN(fds); i++) {
		snprintf(path, sizeof(path), "fd/%zu", i);
		read_link(vmm.pid, path, link, sizeof(link));
		assert_string_equal(strrchr(link, '/') + 1, fds[i]);
	}
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)vmm.pid);
	list = opendir(path);
	assert_non_null(list);
	for (const struct dirent *entry; (entry = readdir(list));)
		open_fds += entry->d_name[0] != '.';
	closedir(list);
	assert_int_equal(open_fds, 4);
	vm_vmm_close(&vmm);
}

static void it_is_found_until_it_is_killed(void **state)
{
	struct site *site = *state;
	struct vm_vmm vmm = VM_VMM_INIT, found = VM_VMM_INIT;

	assert_int_equal(vm_vmm_alive(&site->root, vmm_id, &site->err), 0);
	assert_int_equal(vm_vmm_open(&site->root, vmm_id, &found, &site->err), 0);
	assert_int_equal(spawn_vmm(site, argv, &vmm), 0);
	assert_int_equal(vm_vmm_alive(&site->root, vmm_id, &site->err), 1);
	assert_int_equal(vm_vmm_open(&site->root, vmm_id, &found, &site->err), 1);
	assert_int_equal(found.pid, vmm.pid);
	assert_int_equal(vm_vmm_wait(&found, VM_WAIT_NONE, &site->err), 1);
	assert_int_equal(vm_vmm_kill(&found, &site->err), 0);
	assert_int_equal(vm_vmm_wait(&vmm, VM_WAIT_NONE, &site->err), 0);
	assert_int_equal(vm_vmm_alive(&site->root, vmm_id, &site->err), 0);
	assert_int_equal(vm_vmm_reap(&site->root, vmm_id, &site->err), 0);
	vm_vmm_close(&found);
	vm_vmm_close(&vmm);
}

static void there_is_one_of_each_instance(void **state)
{
	struct site *site = *state;
	struct vm_vmm vmm = VM_VMM_INIT, other = VM_VMM_INIT;

	assert_int_equal(spawn_vmm(site, argv, &vmm), 0);
	assert_int_equal(spawn_vmm(site, argv, &other), -1);
	assert_int_equal(site->err.code, VM_ERR_BUSY);
	assert_int_equal(other.pid_fd, -1);
	assert_int_equal(vm_vmm_wait(&vmm, VM_WAIT_NONE, &site->err), 1);
	vm_vmm_close(&vmm);
}

static void what_cannot_be_executed_leaves_nothing_alive(void **state)
{
	static const char *const missing[] = {"/nowhere/vmm", NULL};
	struct site *site = *state;
	struct vm_vmm vmm = VM_VMM_INIT;
	unsigned fds = count_fds();

	assert_int_equal(spawn_vmm(site, missing, &vmm), -1);
	assert_int_equal(site->err.code, VM_ERR_HYPERVISOR);
	assert_non_null(strstr(site->err.message, "/nowhere/vmm"));
	assert_int_equal(vmm.pid_fd, -1);
	assert_int_equal(count_fds(), fds);
	assert_int_equal(vm_vmm_alive(&site->root, vmm_id, &(struct vm_err){0}), 0);
}

static int spawn_and_die(struct site *site, const void *arg)
{
	struct vm_vmm vmm = VM_VMM_INIT;

	(void)arg;
	if (spawn_vmm(site, argv, &vmm) < 0)
		return 1;
	kill(getpid(), SIGKILL);
	return 2;
}

/* --- signals before the exec ---------------------------------------------------------------------
 */

enum { STUCK_SECONDS = 20 };

static atomic_int signals_for_child, handled;
static volatile pid_t handled_by;

static void handle(int signo)
{
	(void)signo;
	atomic_fetch_add(&handled, 1);
	handled_by = getpid();
}

/* In place of that of the C library, which the child calls when it has written its record. */
pid_t setsid(void)
{
	if (atomic_load(&signals_for_child)) {
		kill(getpid(), SIGUSR1);
		kill(getpid(), SIGTSTP);
	}
	return (pid_t)syscall(SYS_setsid);
}

static void assert_blocks_nothing(pid_t pid)
{
	char path[64], line[128];
	FILE *status;
	bool seen = false;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	status = fopen(path, "re");
	assert_non_null(status);
	while (fgets(line, sizeof(line), status)) {
		if (strncmp(line, "SigBlk:", 7) != 0 && strncmp(line, "ShdPnd:", 7) != 0)
			continue;
		seen = true;
		assert_int_equal(strtoull(line + 7, NULL, 16), 0);
	}
	fclose(status);
	assert_true(seen);
}

/* A group of our own below a parent of the same session: there SIGTSTP stops. */
static int spawn_under_signals(struct site *site, const void *arg)
{
	const struct sigaction action = {.sa_handler = handle};
	struct vm_vmm vmm = VM_VMM_INIT;
	sigset_t mask;

	(void)arg;
	setpgid(0, 0);
	sigaction(SIGUSR1, &action, NULL);
	alarm(STUCK_SECONDS);
	atomic_store(&signals_for_child, 1);
	if (spawn_vmm(site, argv, &vmm) < 0)
		return 1;
	alarm(0);
	assert_blocks_nothing(vmm.pid);
	pthread_sigmask(SIG_BLOCK, NULL, &mask);
	if (sigismember(&mask, SIGUSR1) || atomic_load(&handled) != 0)
		return 2;
	raise(SIGUSR1);
	return atomic_load(&handled) == 1 && handled_by == getpid() ? 0 : 3;
}

static void signals_of_its_first_moments_neither_stop_it_nor_reach_our_handlers(void **state)
{
	struct site *site = *state;

	assert_int_equal(reap(site_spawn(site, spawn_under_signals, NULL)), 0);
	site_reopen(site);
	assert_int_equal(vm_vmm_alive(&site->root, vmm_id, &site->err), 1);
}

static void it_outlives_its_parent_and_is_found_by_others(void **state)
{
	struct site *site = *state;
	struct vm_vmm vmm = VM_VMM_INIT;
	int status = reap(site_spawn(site, spawn_and_die, NULL));

	assert_true(WIFSIGNALED(status));
	site_reopen(site);
	assert_int_equal(vm_vmm_open(&site->root, vmm_id, &vmm, &site->err), 1);
	assert_int_equal(vm_vmm_reap(&site->root, vmm_id, &site->err), 0);
	assert_int_equal(vm_vmm_wait(&vmm, VM_WAIT_NONE, &site->err), 0);
	vm_vmm_close(&vmm);
}

/* A liveness file that is locked by us, with a record of this process. */
static int forge_record(struct site *site, pid_t pid, uint64_t start)
{
	char name[VM_LOCK_NAME_SIZE];
	int fd = openat(site->root.run_fd, vm_root_alive_name(vmm_id, name),
	                O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	assert_true(dprintf(fd, "%d %" PRIu64 "\n", (int)pid, start) > 0);
	return fd;
}

static int wait_to_be_killed(void *arg)
{
	(void)arg;
	while (pause() < 0)
		;
	return 0;
}

static void who_has_the_pid_but_not_the_start_time_is_not_killed(void **state)
{
	struct site *site = *state;
	pid_t innocent = spawn(wait_to_be_killed, NULL);
	struct vm_vmm vmm = VM_VMM_INIT;
	uint64_t start;
	int fd;

	assert_int_equal(vm_proc_start_time(innocent, &start), 0);
	fd = forge_record(site, innocent, start + 1);
	assert_int_equal(vm_vmm_reap(&site->root, vmm_id, &site->err), -1);
	assert_int_equal(site->err.code, VM_ERR_NEEDS_REPAIR);
	assert_false(ended(innocent));
	close(fd);
	vm_err_clear(&site->err);
	/* With the right one it is he. */
	fd = forge_record(site, innocent, start);
	assert_int_equal(vm_vmm_open(&site->root, vmm_id, &vmm, &site->err), 1);
	assert_int_equal(vmm.pid, innocent);
	vm_vmm_close(&vmm);
	/* Nobody holds the lock: what the record says does not matter. */
	close(fd);
	assert_int_equal(vm_vmm_reap(&site->root, vmm_id, &site->err), 0);
	assert_false(ended(innocent));
	kill_and_reap(innocent);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, vmm_setup, vmm_teardown)
	const struct CMUnitTest tests[] = {
	        TEST(it_has_its_directory_streams_and_liveness_and_nothing_else),
	        TEST(it_is_found_until_it_is_killed),
	        TEST(there_is_one_of_each_instance),
	        TEST(what_cannot_be_executed_leaves_nothing_alive),
	        TEST(signals_of_its_first_moments_neither_stop_it_nor_reach_our_handlers),
	        TEST(it_outlives_its_parent_and_is_found_by_others),
	        TEST(who_has_the_pid_but_not_the_start_time_is_not_killed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
