/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest with private memory was saved to becomes what can be shared: a QEMU that never runs
 * the guest loads it, with a new memory file mapped shared, and saves it again without memory.
 *
 * A kill leaves files that nobody has published, and no process: the helper dies with its parent.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../fs.h"
#include "../util.h"
#include "qemu.h"

#define FLAT_STATE VM_FILE_STATE ".tmp"

struct helper {
	pid_t pid;  /* 0: none */
	int log_fd; /* a memfd: what it says */
	struct vm_qmp qmp;
};

/* Our own child, not waited for yet: nobody else has its pid. */
static void end_helper(struct helper *helper)
{
	vm_qmp_close(&helper->qmp);
	if (helper->pid > 0) {
		kill(helper->pid, SIGKILL);
		while (waitpid(helper->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	vm_cleanup_close(&helper->log_fd);
}

/* Between fork and exec. `qmp_fd` and the log are above VM_QEMU_QMP_FD. */
static _Noreturn void become_helper(pid_t parent, const struct vm_qemu_args *args, int dir_fd,
                                    int qmp_fd, int log_fd)
{
	static char *const environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	umask(0077);
	/* It shall not outlive us, also if we are gone already. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent && setsid() >= 0 &&
	    fchdir(dir_fd) == 0 && dup2(null_fd, STDIN_FILENO) >= 0 &&
	    dup2(null_fd, STDOUT_FILENO) >= 0 && dup2(log_fd, STDERR_FILENO) >= 0 &&
	    dup2(qmp_fd, VM_QEMU_QMP_FD) >= 0 &&
	    syscall(SYS_close_range, VM_QEMU_QMP_FD + 1, ~0U, 0) == 0)
		execve(args->list[0], args->list, environment);
	_exit(127);
}

static int high_fd(int *fd, struct vm_err *err)
{
	int high = fcntl(*fd, F_DUPFD_CLOEXEC, VM_QEMU_QMP_FD + 1);

	if (high < 0)
		return vm_err_sys(err, "descriptors for a helper");
	close(*fd);
	*fd = high;
	return 0;
}

static int start_helper(const struct vm_machine *machine, const struct vm_qemu_args *args,
                        int dir_fd, struct helper *helper, struct vm_err *err)
{
	VM_AUTO_CLOSE int ours = -1;
	VM_AUTO_CLOSE int theirs = -1;
	pid_t parent = getpid();
	int ends[2];

	helper->log_fd = memfd_create("vmctl-helper", MFD_CLOEXEC);
	if (helper->log_fd < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return vm_err_sys(err, "preparing a helper");
	ours = ends[0];
	theirs = ends[1];
	if (high_fd(&theirs, err) < 0 || high_fd(&helper->log_fd, err) < 0)
		return -1;
	helper->pid = fork();
	if (helper->pid == 0)
		become_helper(parent, args, dir_fd, theirs, helper->log_fd);
	if (helper->pid < 0)
		return vm_err_sys(err, "fork");
	/* So that its end is seen as one. */
	vm_cleanup_close(&theirs);
	return vm_qmp_begin(vm_take_fd(&ours), machine->deadline_ms, &helper->qmp, err);
}

/* A page of a mapped file that has no room on the disk ends a process by SIGBUS. */
static bool was_out_of_room(struct helper *helper)
{
	siginfo_t info = {0};

	return helper->pid > 0 &&
	       waitid(P_PID, (id_t)helper->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       (info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED) &&
	       info.si_status == SIGBUS;
}

/* A helper that has hung up has said why. */
static int explain(const struct vm_machine *machine, struct helper *helper, struct vm_err *err)
{
	char words[400] = "", what[200];
	ssize_t n;

	if (err->code != VM_ERR_HYPERVISOR || helper->log_fd < 0)
		return -1;
	if (was_out_of_room(helper)) {
		vm_err_clear(err);
		return vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES,
		                  "making memory that can be shared: the disk is full");
	}
	n = pread(helper->log_fd, words, sizeof(words) - 1, 0);
	words[n > 0 ? n : 0] = '\0';
	if (!words[0])
		return -1;
	snprintf(what, sizeof(what), "making memory that can be shared: %.150s", err->message);
	vm_err_clear(err);
	return vm_qemu_refuse(machine, what, words, err);
}

static int flatten(const struct vm_machine *machine, struct helper *helper, int dir_fd,
                   const char *state, struct vm_err *err)
{
	const char *version = machine->version;

	if (vm_qemu_migrate_in(&helper->qmp, version, dir_fd, state, true, err) < 0 ||
	    vm_qemu_migrate_out(&helper->qmp, version, dir_fd, FLAT_STATE, false, err) < 0)
		return -1;
	return vm_fs_rename(dir_fd, FLAT_STATE, dir_fd, state, err);
}

/* A device claims its guest CID when it is made, also if no guest runs with it. */
static int other_cid(uint64_t *ret_cid, struct vm_err *err)
{
	uint32_t raw;

	if (getrandom(&raw, sizeof(raw), 0) != (ssize_t)sizeof(raw))
		return vm_err_sys(err, "getrandom for a guest CID");
	*ret_cid = UINT64_C(0x80000000) | (raw & 0x3fffffffU);
	return 0;
}

int vm_qemu_finish_save(struct vm_machine *machine, int to_fd, const char *memory,
                        const char *state, struct vm_err *err)
{
	VM_AUTO(vm_qemu_args_free) struct vm_qemu_args args = {0};
	VM_AUTO(end_helper) struct helper helper = {.log_fd = -1, .qmp = VM_QMP_INIT};
	struct vm_machine flat = *machine;
	struct vm_driver_info binary;
	int rc;

	if (vm_fs_exists(to_fd, memory)) { /* it was mapped shared */
		vm_qemu_release_memory(to_fd, memory);
		return 0;
	}
	if (vm_qemu_probe(machine->root, NULL, machine->version, &binary, err) < 0)
		return -1;
	flat.binary = &binary;
	/* That of the guest is its own; this one is above all that are given to guests. */
	if (flat.guest_cid != 0 && other_cid(&flat.guest_cid, err) < 0)
		return -1;
	if (vm_fs_unlink(to_fd, FLAT_STATE, err) < 0 ||
	    vm_qemu_args_make(&flat, VM_QEMU_FLATTEN, memory, true, &args, err) < 0)
		return -1;
	rc = start_helper(&flat, &args, to_fd, &helper, err);
	if (rc == 0)
		rc = flatten(&flat, &helper, to_fd, state, err);
	return rc < 0 ? explain(&flat, &helper, err) : 0;
}
