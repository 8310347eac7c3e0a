/* SPDX-License-Identifier: Apache-2.0 */
/* One hook: a process, with an end. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hooks_impl.h"
#include "interrupt.h"
#include "trust.h"
#include "util.h"

enum { GRACE_MS = 2000, REPORT_FD = 3, HOOK_UMASK = 0022 };

struct hook {
	const char *file;
	const char *real; /* the same without links */
	const struct vm_hook_words *words;
	int input_fd, report_fd;
	pid_t parent;
};

/* A file and no pipe: a hook that does not read it keeps nobody waiting. */
static int open_input(const char *text, struct vm_err *err)
{
	VM_AUTO_CLOSE int fd = memfd_create("vmctl-hook", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	size_t len = strlen(text);

	if (fd < 0 || write(fd, text, len) != (ssize_t)len || lseek(fd, 0, SEEK_SET) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
		return vm_err_sys(err, "the input of a hook");
	return vm_take_fd(&fd);
}

/* Between fork and exec of a program that may have threads: no malloc, no stdio. */
static void reset_signals(void)
{
	sigset_t none;

	for (int signo = 1; signo < NSIG; signo++)
		(void)signal(signo, SIG_DFL); /* of some it cannot be changed */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static int move_fd(int *fd, int to)
{
	if (*fd != to && dup3(*fd, to, O_CLOEXEC) < 0)
		return -1;
	*fd = to;
	return 0;
}

static _Noreturn void become_hook(const struct hook *hook)
{
	char *const argv[] = {(char *)hook->file, NULL};
	int failure, report_fd = hook->report_fd;

	/*
	 * With our death a hook's work is in vain. The group is what is ended in the end, and keeps
	 * the terminal's Ctrl-C from it, which is for us to hand on.
	 */
	if (dup2(hook->input_fd, STDIN_FILENO) >= 0 && dup2(STDERR_FILENO, STDOUT_FILENO) >= 0 &&
	    move_fd(&report_fd, REPORT_FD) == 0 &&
	    syscall(SYS_close_range, REPORT_FD + 1, ~0U, 0) == 0 && setpgid(0, 0) == 0 &&
	    prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == hook->parent && chdir("/") == 0) {
		umask(HOOK_UMASK);
		reset_signals();
		execve(hook->real, argv, hook->words->environment);
	}
	failure = errno;
	if (write(report_fd, &failure, sizeof(failure)) < 0)
		_exit(126);
	_exit(127);
}

static int fork_hook(struct hook *hook, pid_t *ret_pid, struct vm_err *err)
{
	VM_AUTO_CLOSE int report = -1;
	int ends[2], failure = 0;
	ssize_t n;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return vm_err_sys(err, "pipe");
	report = ends[0];
	hook->report_fd = ends[1];
	hook->parent = getpid();
	*ret_pid = fork();
	if (*ret_pid == 0)
		become_hook(hook);
	vm_cleanup_close(&hook->report_fd);
	if (*ret_pid < 0)
		return vm_err_sys(err, "fork");
	do {
		n = read(report, &failure, sizeof(failure));
	} while (n < 0 && errno == EINTR);
	if (n <= 0)
		return 0;
	waitpid(*ret_pid, NULL, 0);
	errno = failure;
	vm_err_sys(err, "cannot be executed");
	if (err->code == VM_ERR_SYSTEM)
		err->code = VM_ERR_HOOK;
	return failure == ENOENT || failure == ENOEXEC
	               ? vm_err_hint(err, "what interpreter does its first line, #!, name?")
	               : -1;
}

/*
 * It is our own child that was not waited for yet: neither its pid nor its group's is anybody
 * else's, even when it has ended and others of the group go on.
 */
static void end_group(pid_t pid, struct pollfd *ended)
{
	struct vm_err ignored = {0};

	vm_interrupt_suspend();
	kill(-pid, SIGTERM);
	vm_poll_until(ended, 1, vm_monotonic_ms() + GRACE_MS, &ignored);
	kill(-pid, SIGKILL);
	vm_interrupt_resume();
}

static int judge(int status, struct vm_err *err)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFEXITED(status))
		return vm_err_set(err, VM_ERR_HOOK, "exit status %d", WEXITSTATUS(status));
	if (!sigabbrev_np(WTERMSIG(status)))
		return vm_err_set(err, VM_ERR_HOOK, "killed by signal %d", WTERMSIG(status));
	return vm_err_set(err, VM_ERR_HOOK, "killed by SIG%s", sigabbrev_np(WTERMSIG(status)));
}

static int await_end(pid_t pid, int64_t timeout_ms, struct vm_err *err)
{
	VM_AUTO_CLOSE int pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd ended = {.fd = pid_fd, .events = POLLIN};
	char limit[32];
	int rc, status = 0;

	rc = pid_fd < 0 ? vm_err_sys(err, "pidfd")
	                : vm_poll_until(&ended, 1, vm_monotonic_ms() + timeout_ms, err);
	if (rc <= 0)
		end_group(pid, &ended);
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return rc < 0 ? -1 : vm_err_sys(err, "waiting");
	}
	if (rc < 0)
		return -1;
	if (rc > 0)
		return judge(status, err);
	vm_err_set(err, VM_ERR_HOOK, "took longer than %s, and was ended",
	           vm_duration_text(timeout_ms, limit, sizeof(limit)));
	return vm_err_hint(err, "hooks.timeout in vmctl.yaml says how long a hook may take");
}

/*
 * Looked at again, as it was when the hooks were found: time has gone by, and other hooks. What
 * runs is what was looked at.
 */
static int find_real(const char *file, char **ret_real, struct vm_err *err)
{
	if (vm_trust_program(file, ret_real, err) == 0)
		return 0;
	if (err->code == VM_ERR_SYSTEM)
		err->code = VM_ERR_HOOK;
	return -1;
}

int vm_hook_run(const char *file, const struct vm_hook_words *words, int64_t timeout_ms,
                struct vm_err *err)
{
	VM_AUTO_FREE char *real = NULL;
	struct hook hook = {.file = file, .words = words, .report_fd = -1};
	struct sigaction child;
	pid_t pid = 0;
	int rc;

	/* Who has called us may have had it ignored, and then nobody learns how a child ended. */
	if (sigaction(SIGCHLD, NULL, &child) == 0 && child.sa_handler == SIG_IGN)
		(void)signal(SIGCHLD, SIG_DFL);
	if (find_real(file, &real, err) < 0)
		return -1;
	hook.real = real;
	hook.input_fd = open_input(words->input, err);
	if (hook.input_fd < 0)
		return -1;
	rc = fork_hook(&hook, &pid, err);
	vm_cleanup_close(&hook.input_fd);
	return rc < 0 ? -1 : await_end(pid, timeout_ms, err);
}
