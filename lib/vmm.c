/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fault.h"
#include "interrupt.h"
#include "proc.h"
#include "util.h"

enum {
	KILL_TIMEOUT_MS =
	        20000,      /* a killed VMM with much memory may take a while to be torn down */
	HANDOVER_MS = 5000, /* between fork and the child's own record of its pid */
	LOG_TAIL_MAX = 1024,
};

void vm_vmm_close(struct vm_vmm *vmm)
{
	vm_cleanup_close(&vmm->pid_fd);
}

int vm_vmm_wait(const struct vm_vmm *vmm, int64_t deadline_ms, struct vm_err *err)
{
	struct pollfd p = {.fd = vmm->pid_fd, .events = POLLIN};
	int ready = vm_poll_until(&p, 1, deadline_ms, err);

	if (ready < 0)
		return vm_err_wrap(err, "waiting for the end of pid %d", vmm->pid);
	if (ready == 0)
		return 1;
	waitpid(vmm->pid, NULL,
	        WNOHANG); /* a child of ours would stay a zombie as long as we live */
	return 0;
}

int vm_vmm_kill(struct vm_vmm *vmm, struct vm_err *err)
{
	int rc;

	if (vm_fault(VM_FAULT_VMM_KILL) ||
	    (syscall(SYS_pidfd_send_signal, vmm->pid_fd, SIGKILL, NULL, 0) < 0 && errno != ESRCH) ||
	    vm_fault(VM_FAULT_VMM_KILL_DONE))
		return vm_err_sys(err, "killing the VMM (pid %d)", vmm->pid);
	vm_interrupt_suspend();
	rc = vm_vmm_wait(vmm, vm_monotonic_ms() + KILL_TIMEOUT_MS, err);
	vm_interrupt_resume();
	if (rc > 0)
		return vm_err_set(err, VM_ERR_TIMEOUT, "the VMM (pid %d) does not die of SIGKILL",
		                  vmm->pid);
	return rc;
}

int vm_vmm_reap(const struct vm_root *root, const char *id, struct vm_err *err)
{
	struct vm_vmm vmm = VM_VMM_INIT;
	int alive = vm_vmm_open(root, id, &vmm, err);
	int rc;

	if (alive <= 0)
		return alive;
	rc = vm_vmm_kill(&vmm, err);
	vm_vmm_close(&vmm);
	return rc;
}

int vm_vmm_alive(const struct vm_root *root, const char *id, struct vm_err *err)
{
	char name[VM_LOCK_NAME_SIZE];

	return vm_lock_probe(root->run_fd, vm_root_alive_name(id, name), err);
}

/* Reads the record of a held liveness file: 1 and an open pidfd, 0 no valid record (yet), -1. */
static int open_recorded(int fd, struct vm_vmm *ret_vmm, struct vm_err *err)
{
	char text[64] = "";
	uint64_t start, recorded;
	int pid_fd;
	int pid, rc;

	if (pread(fd, text, sizeof(text) - 1, 0) < 0)
		return vm_err_sys(err, "reading a liveness file");
	if (sscanf(text, "%d %" SCNu64, &pid, &recorded) != 2 || !strchr(text, '\n'))
		return 0;
	pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pid_fd < 0)
		return errno == ESRCH ? 0 : vm_err_sys(err, "opening pid %d", pid);
	/* Only after the pidfd is open is the pid certain not to be used anew: compare then. */
	rc = vm_proc_start_time(pid, &start);
	if (rc < 0 || start != recorded) {
		bool unknown = rc < 0 && errno != ENOENT && errno != ESRCH;

		vm_cleanup_close(&pid_fd);
		return unknown ? vm_err_sys(err, "reading /proc/%d/stat", pid) : 0;
	}
	ret_vmm->pid = pid;
	ret_vmm->pid_fd = pid_fd;
	return 1;
}

int vm_vmm_open(const struct vm_root *root, const char *id, struct vm_vmm *ret_vmm,
                struct vm_err *err)
{
	const struct timespec pause = {.tv_nsec = 500000};
	int64_t deadline = vm_monotonic_ms() + HANDOVER_MS;
	char name[VM_LOCK_NAME_SIZE];
	VM_AUTO_CLOSE int fd = openat(root->run_fd, vm_root_alive_name(id, name),
	                              O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ? 0 : vm_err_sys(err, "opening run/%s", name);
	for (;;) {
		int rc;

		if (flock(fd, LOCK_SH | LOCK_NB) == 0)
			return 0; /* closing fd gives the lock back */
		if (errno != EWOULDBLOCK && errno != EINTR)
			return vm_err_sys(err, "asking for the liveness of %s", id);
		rc = open_recorded(fd, ret_vmm, err);
		if (rc != 0)
			return rc;
		if (vm_monotonic_ms() > deadline)
			return vm_err_set(err, VM_ERR_NEEDS_REPAIR,
			                  "run/%s is locked by a process that left no valid record",
			                  name);
		/* The spawned child is between fork and its record, or has just died: an instant.
		 */
		nanosleep(&pause, NULL);
	}
}

int64_t vm_vmm_log_size(int dir_fd, const char *log)
{
	struct stat st;

	return fstatat(dir_fd, log, &st, AT_SYMLINK_NOFOLLOW) == 0 ? st.st_size : 0;
}

void vm_vmm_log_tail(int dir_fd, const char *log, char *buf, size_t size)
{
	vm_vmm_log_since(dir_fd, log, 0, buf, size);
}

void vm_vmm_log_since(int dir_fd, const char *log, int64_t begin, char *buf, size_t size)
{
	VM_AUTO_CLOSE int fd = openat(dir_fd, log, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	/* The end is what matters: read no more than fits, with room for what joins the lines. */
	off_t want = (off_t)(size - size / 8 < LOG_TAIL_MAX ? size - size / 8 : LOG_TAIL_MAX);
	char text[LOG_TAIL_MAX + 1] = "";
	struct stat st = {0};
	off_t from = 0;
	ssize_t n = 0;
	char *line = text;

	buf[0] = '\0';
	if (fd >= 0 && fstat(fd, &st) == 0) {
		from = st.st_size - begin > want ? st.st_size - want : begin;
		n = pread(fd, text, (size_t)want, from);
	}
	while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\0'))
		n--;
	text[n > 0 ? n : 0] = '\0';
	if (from > begin && strchr(text, '\n'))
		line = strchr(text, '\n') + 1; /* the first line is cut off */
	while (*line) {
		size_t len = strcspn(line, "\n");
		int used = snprintf(buf, size, "%.*s%s", (int)len, line, line[len] ? " | " : "");

		if (used < 0 || (size_t)used >= size)
			break;
		buf += used;
		size -= (size_t)used;
		line += len + (line[len] == '\n');
	}
}
