/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/close_range.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The child's stack shall be where the sanitizer looks for stacks, not among its own frames. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define NOT_SANITIZED __attribute__((no_sanitize("address")))
#else
#define NOT_SANITIZED
#endif

#include "fault.h"
#include "fs.h"
#include "lock.h"
#include "proc.h"
#include "util.h"
#include "view.h"
#include "vmm.h"

enum {
	ALIVE_WAIT_MS = 2000,
	ALIVE_FD = 3,
	STACK_BYTES = 32 * 1024, /* of the child until its exec; it needs a few KB */
};

/* What the child needs; all descriptors are O_CLOEXEC in the parent. */
struct spawn {
	const struct vm_root *root;
	const char *id;
	const char *const *argv;
	const struct vm_view *view; /* or NULL */
	int dir_fd, alive_fd, in_fd, out_fd, log_fd;
	int exec_fd;   /* the hypervisor's binary, where its path may not lead to it; else -1 */
	int report_fd; /* a struct failure goes here; closed by a successful exec */
	sigset_t mask; /* of the thread that spawns, before it blocked all signals */
};

/* What the child could not do. */
struct failure {
	int number;   /* errno */
	bool in_exec; /* the hypervisor cannot be executed; else the host is short of something */
	const char
	        *view; /* what it could not do for its view: a constant, the same in the parent */
};

static void close_spawn(struct spawn *spawn)
{
	vm_cleanup_close(&spawn->alive_fd);
	vm_cleanup_close(&spawn->in_fd);
	vm_cleanup_close(&spawn->out_fd);
	vm_cleanup_close(&spawn->log_fd);
	vm_cleanup_close(&spawn->exec_fd);
	vm_cleanup_close(&spawn->report_fd);
}

/* Takes the liveness lock. A reader may hold it for an instant to probe it, hence the wait. */
static int take_alive(const struct vm_root *root, const char *id, int *ret_fd, struct vm_err *err)
{
	char name[VM_LOCK_NAME_SIZE];
	VM_AUTO_CLOSE int fd = -1;
	int rc;

	vm_root_alive_name(id, name);
	if (!vm_fault(VM_FAULT_VMM_ALIVE))
		fd = openat(root->run_fd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return vm_fs_fail(root->run_fd, name, "creating", err);
	rc = vm_flock_until(fd, LOCK_EX, vm_monotonic_ms() + ALIVE_WAIT_MS, err);
	if (rc > 0)
		return vm_err_set(err, VM_ERR_BUSY, "a VMM of instance %s is alive already", id);
	/* An old record must not be taken for the new VMM's. */
	if (rc < 0 || ftruncate(fd, 0) < 0)
		return rc < 0 ? -1 : vm_fs_fail(root->run_fd, name, "clearing", err);
	vm_fault(VM_FAULT_VMM_ALIVE_DONE);
	*ret_fd = vm_take_fd(&fd);
	return 0;
}

static int open_streams(int dir_fd, struct spawn *spawn, struct vm_err *err)
{
	const int append = O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC;

	if (vm_fault(VM_FAULT_VMM_STREAMS) ||
	    (mkfifoat(dir_fd, VM_CONSOLE_IN, 0600) < 0 && errno != EEXIST))
		return vm_fs_fail(dir_fd, VM_CONSOLE_IN, "creating", err);
	/* Read and write: the VMM itself keeps the FIFO open, so it never sees an end of input. */
	spawn->in_fd = openat(dir_fd, VM_CONSOLE_IN, O_RDWR | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	spawn->out_fd = openat(dir_fd, VM_CONSOLE_LOG, append, 0600);
	spawn->log_fd = openat(dir_fd, VM_VMM_LOG, append, 0600);
	if (spawn->in_fd < 0 || spawn->out_fd < 0 || spawn->log_fd < 0)
		return vm_fs_fail(dir_fd, NULL, "opening the VMM's console and log in", err);
	vm_fault(VM_FAULT_VMM_STREAMS_DONE);
	return 0;
}

/*
 * Records "PID START\n". Between fork and exec of a threaded program, perhaps in its memory: no
 * stdio, no malloc.
 */
static int record_self(int fd)
{
	char text[2 * VM_DECIMAL_SIZE + 2], digits[VM_DECIMAL_SIZE], *end;
	uint64_t start;

	if (vm_proc_start_time(getpid(), &start) < 0)
		return -1;
	end = stpcpy(text, vm_decimal((uint64_t)getpid(), digits));
	*end++ = ' ';
	end = stpcpy(end, vm_decimal(start, digits));
	*end++ = '\n';
	if (vm_fault(VM_FAULT_VMM_RECORD) ||
	    pwrite(fd, text, (size_t)(end - text), 0) != end - text ||
	    vm_fault(VM_FAULT_VMM_RECORD_DONE))
		return -1;
	return 0;
}

/*
 * Descriptors that the child needs before exec; all others go at once, for among them are the locks
 * of our parent, which must not outlive it in us.
 */
static void close_all_but(const struct spawn *spawn)
{
	int keep[] = {spawn->dir_fd, spawn->alive_fd, spawn->in_fd,    spawn->out_fd,
	              spawn->log_fd, spawn->exec_fd,  spawn->report_fd};
	unsigned from = ALIVE_FD;

	for (size_t i = 1; i < VM_ARRAY_LEN(keep); i++) {
		for (size_t k = i; k > 0 && keep[k] < keep[k - 1]; k--) {
			int swap = keep[k];

			keep[k] = keep[k - 1];
			keep[k - 1] = swap;
		}
	}
	for (size_t i = 0; i < VM_ARRAY_LEN(keep); i++) {
		if (keep[i] < 0)
			continue;
		if ((unsigned)keep[i] > from)
			syscall(SYS_close_range, from, (unsigned)keep[i] - 1, 0);
		from = (unsigned)keep[i] + 1;
	}
	syscall(SYS_close_range, from, ~0U, 0);
}

/* By descriptor where something else is shown where the binary is. Returns on failure only. */
static void execute(const struct spawn *spawn)
{
	static char *const environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};

	if (spawn->exec_fd >= 0)
		syscall(SYS_execveat, spawn->exec_fd, "", spawn->argv, environment, AT_EMPTY_PATH);
	else
		execve(spawn->argv[0], (char *const *)spawn->argv, environment);
}

static int enter_view(const struct spawn *spawn, struct failure *failure)
{
	if (spawn->view)
		failure->view = vm_view_enter(spawn->view, spawn->dir_fd);
	return failure->view ? -1 : 0;
}

/*
 * What came for the child until now is dropped: our handlers write to memory that may be our
 * parent's, and who asks a whole process group to stop has asked our parent, too. What is ignored
 * stays so. No SIGTSTP can stop a process that leads a session of its own.
 */
static int admit_signals(const struct spawn *spawn)
{
	const struct sigaction ignore = {.sa_handler = SIG_IGN}, usual = {.sa_handler = SIG_DFL};
	struct sigaction action;

	for (int signo = 1; signo <= SIGRTMAX; signo++) {
		if (sigaction(signo, NULL, &action) < 0 || action.sa_handler == SIG_IGN ||
		    action.sa_handler == SIG_DFL)
			continue;
		sigaction(signo, &ignore, NULL);
		sigaction(signo, &usual, NULL);
	}
	return sigprocmask(SIG_SETMASK, &spawn->mask, NULL);
}

/* The child: everything it inherits by accident is closed at exec, the liveness lock is not. */
static _Noreturn void become_vmm(const struct spawn *spawn)
{
	struct failure failure = {0};

	close_all_but(spawn);
	signal(SIGPIPE, SIG_DFL);
	umask(0077);
	/*
	 * The record comes first: from here on whoever finds the lock held can name the process.
	 * The streams are all above ALIVE_FD or get there by dup2, so no number is overwritten too
	 * early.
	 */
	if (record_self(spawn->alive_fd) == 0 && setsid() >= 0 && fchdir(spawn->dir_fd) == 0 &&
	    enter_view(spawn, &failure) == 0 && dup2(spawn->in_fd, STDIN_FILENO) >= 0 &&
	    dup2(spawn->out_fd, STDOUT_FILENO) >= 0 && dup2(spawn->log_fd, STDERR_FILENO) >= 0 &&
	    syscall(SYS_close_range, ALIVE_FD, ~0U, CLOSE_RANGE_CLOEXEC) == 0 &&
	    fcntl(spawn->alive_fd, F_SETFD, 0) == 0 && admit_signals(spawn) == 0) {
		failure.in_exec = true;
		execute(spawn);
	}
	failure.number = errno;
	if (write(spawn->report_fd, &failure, sizeof(failure)) < 0)
		_exit(126);
	_exit(127);
}

static int child_main(void *arg)
{
	become_vmm(arg);
}

/*
 * The child, in our memory and on a stack of its own, while this thread stands still until it has
 * executed the hypervisor: a copy of the page tables, and of each page that is written to
 * afterwards, takes longer than all else that is done here. Descriptors, directory, umask and what
 * signals do are its own all the same. If we are killed it goes on as after fork().
 *
 * Signals wait until it leads a session of its own: a Ctrl-Z that stopped it before would leave us
 * standing still, unable to stop with it, and the shell waiting for us.
 *
 * What a view takes to be entered is not made for that: a child that has one gets a copy.
 */
NOT_SANITIZED static pid_t start_child(struct spawn *spawn)
{
	alignas(16) char stack[STACK_BYTES];
	sigset_t all;
	pid_t pid;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &spawn->mask);
	if (!spawn->view)
		pid = clone(child_main, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD,
		            spawn);
	else
		pid = fork();
	if (pid == 0)
		become_vmm(spawn);
	pthread_sigmask(SIG_SETMASK, &spawn->mask, NULL);
#ifdef __SANITIZE_ADDRESS__
	/* The child never returned from the calls that guarded what is beside their variables. */
	ASAN_UNPOISON_MEMORY_REGION(stack, sizeof(stack));
#endif
	return pid;
}

/* Waits until the child has executed the hypervisor or reported why it could not. */
static int await_exec(const struct spawn *spawn, int report_fd, struct vm_err *err)
{
	char alive[VM_LOCK_NAME_SIZE];
	struct failure failure = {0};
	ssize_t n;

	do {
		n = read(report_fd, &failure, sizeof(failure));
	} while (n < 0 && errno == EINTR);
	if (n == 0)
		return 0;
	if (n == (ssize_t)sizeof(failure))
		errno = failure.number;
	if (failure.view)
		return vm_err_sys(err, "showing the VMM another directory as %s: %s",
		                  spawn->view->path, failure.view);
	if (!failure.in_exec)
		return vm_fs_fail(spawn->root->run_fd, vm_root_alive_name(spawn->id, alive),
		                  "recording the VMM in", err);
	vm_err_sys(err, "executing %s", spawn->argv[0]);
	if (err->code == VM_ERR_SYSTEM)
		err->code = VM_ERR_HYPERVISOR;
	return -1;
}

static int fork_vmm(struct spawn *spawn, struct vm_vmm *ret_vmm, struct vm_err *err)
{
	VM_AUTO_CLOSE int report = -1;
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return vm_err_sys(err, "pipe");
	report = ends[0];
	spawn->report_fd = ends[1];
	pid = vm_fault(VM_FAULT_VMM_FORK) ? -1 : start_child(spawn);
	if (pid < 0)
		return vm_err_sys(err, "fork");
	vm_fault(VM_FAULT_VMM_FORK_DONE);
	close_spawn(spawn);
	if (await_exec(spawn, report, err) < 0) {
		waitpid(pid, NULL, 0);
		return -1;
	}
	/* Our own child: its pid is not used anew before we have waited for it. */
	ret_vmm->pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
	ret_vmm->pid = pid;
	if (ret_vmm->pid_fd >= 0)
		return 0;
	vm_err_sys(err, "pidfd of the VMM");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return -1;
}

/* Whether the hypervisor would be looked for where the view shows something else. */
static bool is_hidden(const struct vm_view *view, const char *binary)
{
	return vm_path_is_below(binary, view->path) ||
	       (view->ground && strcmp(view->ground, "/") != 0 && view->entry_count == 0 &&
	        vm_path_is_below(binary, view->ground));
}

static int open_binary(struct spawn *spawn, struct vm_err *err)
{
	if (!spawn->view || !is_hidden(spawn->view, spawn->argv[0]))
		return 0;
	spawn->exec_fd = open(spawn->argv[0], O_PATH | O_CLOEXEC);
	return spawn->exec_fd < 0 ? vm_err_sys(err, "opening %s", spawn->argv[0]) : 0;
}

int vm_vmm_spawn_in(const struct vm_root *root, const char *id, int dir_fd,
                    const struct vm_view *view, const char *const *argv, struct vm_vmm *ret_vmm,
                    struct vm_err *err)
{
	struct spawn spawn = {
	        .root = root,
	        .id = id,
	        .argv = argv,
	        .view = view,
	        .dir_fd = dir_fd,
	        .alive_fd = -1,
	        .in_fd = -1,
	        .out_fd = -1,
	        .log_fd = -1,
	        .exec_fd = -1,
	        .report_fd = -1,
	};
	int rc = -1;

	if (open_binary(&spawn, err) == 0 && take_alive(root, id, &spawn.alive_fd, err) == 0 &&
	    open_streams(dir_fd, &spawn, err) == 0)
		rc = fork_vmm(&spawn, ret_vmm, err);
	close_spawn(&spawn);
	return rc;
}

int vm_vmm_spawn(const struct vm_root *root, const char *id, int dir_fd, const char *const *argv,
                 struct vm_vmm *ret_vmm, struct vm_err *err)
{
	return vm_vmm_spawn_in(root, id, dir_fd, NULL, argv, ret_vmm, err);
}
