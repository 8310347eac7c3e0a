/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A maker that is killed before any one of its system calls that change something: what it has
 * reserved is free for the next verb, which does not wait for anything.
 */
#include "site.h"

#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>

/* What makes a difference to others. A kill before anything else is a kill before one of these. */
static bool changes_something(unsigned long long number)
{
	static const long calls[] = {
	        SYS_flock,           SYS_openat,    SYS_mkdirat,   SYS_linkat,
	        SYS_unlinkat,        SYS_renameat,  SYS_renameat2, SYS_ftruncate,
	        SYS_copy_file_range, SYS_ioctl,     SYS_write,     SYS_pwrite64,
	        SYS_fsync,           SYS_fdatasync, SYS_fcntl,     SYS_clone,
	        SYS_clone3,          SYS_vfork,     SYS_fork,      SYS_exit_group,
	        SYS_fallocate,       SYS_close,     SYS_kill,      SYS_unlink,
	};

	for (size_t i = 0; i < VM_ARRAY_LEN(calls); i++) {
		if ((long)number == calls[i])
			return true;
	}
	return false;
}

struct stepped {
	int (*run)(struct site *site, const void *arg);
	const void *arg;
};

static int run_stepped(struct site *site, const void *arg)
{
	const struct stepped *stepped = arg;

	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
		return 96;
	raise(SIGSTOP);
	return stepped->run(site, stepped->arg);
}

/* To its next system call's entry or exit; false when it has ended, with its status. */
static bool step(pid_t pid, int *status)
{
	for (;;) {
		if (ptrace(PTRACE_SYSCALL, pid, NULL, NULL) < 0 || waitpid(pid, status, 0) != pid ||
		    !WIFSTOPPED(*status))
			return false;
		if (WSTOPSIG(*status) == (SIGTRAP | 0x80))
			return true;
		/* Any other signal, as of a VMM that has ended, is not passed on. */
	}
}

/*
 * Kills the child as it is about to make its nth call that changes something. False when it made
 * fewer and ended by itself, with its exit status.
 */
static bool kill_before(pid_t pid, int nth, int *ret_status)
{
	bool entry = true;
	int seen = 0;

	*ret_status = -1;
	if (waitpid(pid, ret_status, 0) != pid || !WIFSTOPPED(*ret_status))
		return false;
	ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
	for (; step(pid, ret_status); entry = !entry) {
		struct user_regs_struct regs;

		if (!entry || ptrace(PTRACE_GETREGS, pid, NULL, &regs) < 0 ||
		    !changes_something(regs.orig_rax) || ++seen < nth)
			continue;
		kill(pid, SIGKILL);
		waitpid(pid, ret_status, 0);
		return true;
	}
	return false;
}

static int create_web(struct site *site, const void *arg)
{
	(void)arg;
	return site_create(site, "web") < 0 ? (int)site->err.code : 0;
}

static const struct vm_fork_request to_standby = {
        .source = "src", .name = "web", .count = 1, .has_target = true, .target = VM_STATE_STANDBY};
static const struct vm_fork_request to_running = {
        .source = "src", .name = "web", .count = 1, .has_target = true, .target = VM_STATE_RUNNING};
static const struct vm_fork_request from_running = {
        .source = "src", .name = "web", .count = 1, .from_running = true};

/* The next verb that wants the name; it waits for no lock and no slot. */
static void assert_free_at_once(struct site *site, int step, const struct vm_fork_request *request)
{
	struct vm_fork_result *results = NULL;
	struct vm_op *op;
	size_t count = 0;

	/* Killed after it was published: then the name is taken, by a whole instance. */
	if (site_sql(site,
	             "SELECT count(*) FROM instance WHERE name = 'web' AND state <> 'creating'"))
		site_do(site, "rm", "web");
	op = site_op(site, "fork");
	op->wait_ms = 0;
	if (vm_fork(op, request, &results, &count, &site->err) != 0)
		fail_msg("killed before change %d: %s", step, site->err.message);
	vm_fork_results_free(results, count);
	site_assert(site, "web", request->has_target ? request->target : VM_STATE_RUNNING);
	site_do(site, "rm", "web");
	site_assert_only(site, 1);
}

static void kill_everywhere(struct site *site, int (*run)(struct site *, const void *),
                            const void *arg, const struct vm_fork_request *next)
{
	const struct stepped stepped = {run, arg};
	bool killed = true;
	int nth, status;

	for (nth = 1; killed; nth++) {
		pid_t pid = site_spawn(site, run_stepped, &stepped);

		killed = kill_before(pid, nth, &status);
		site_reopen(site);
		if (!killed && WIFEXITED(status) && WEXITSTATUS(status) == 96)
			skip(); /* nobody may trace here */
		if (!killed)
			assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
		assert_free_at_once(site, nth, next);
	}
	/* Reservation, directory, files, publication: each has several. */
	assert_in_range(nth, 50, 5000);
}

static void a_name_of_a_create_that_was_killed_anywhere_is_free_at_once(void **state)
{
	struct site *site = *state;

	site_make(site, "src", VM_STATE_STANDBY);
	kill_everywhere(site, create_web, NULL, &to_standby);
	site_assert(site, "src", VM_STATE_STANDBY);
}

static void a_name_and_a_cid_of_a_fork_that_was_killed_anywhere_is_free_at_once(void **state)
{
	struct site *site = *state;

	fake_caps()->cid_rewrite = false;
	site_make(site, "src", VM_STATE_STANDBY);
	kill_everywhere(site, site_run_fork, &to_running, &to_running);
	site_assert(site, "src", VM_STATE_STANDBY);
}

static void
a_name_of_a_fork_of_a_running_source_that_was_killed_anywhere_is_free_at_once(void **state)
{
	struct site *site = *state;

	site_make(site, "src", VM_STATE_RUNNING);
	kill_everywhere(site, site_run_fork, &from_running, &from_running);
	site_assert(site, "src", VM_STATE_RUNNING);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, site_setup, site_teardown)
	const struct CMUnitTest tests[] = {
	        TEST(a_name_of_a_create_that_was_killed_anywhere_is_free_at_once),
	        TEST(a_name_and_a_cid_of_a_fork_that_was_killed_anywhere_is_free_at_once),
	        TEST(a_name_of_a_fork_of_a_running_source_that_was_killed_anywhere_is_free_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
