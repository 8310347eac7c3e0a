/* SPDX-License-Identifier: Apache-2.0 */
/* The verdict on KVM: the device, the child that runs the loop, what is remembered. */
#include "kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "interrupt.h"
#include "kvm_impl.h"
#include "util.h"

/*
 * Between what was seen: KVM emulates 4 million instructions of this loop a second inside of a
 * virtual machine (0.4 million of a kernel's, which are harder), and a few times that on hardware,
 * for each takes hundreds of cycles. A processor runs at least 1000 million, as an iteration takes
 * it a cycle or two.
 */
#define GOOD_PER_SECOND UINT64_C(100000000)

#define DEVICE "/dev/kvm"
#define META_KEY "kvm"

/* How long the kernel may take to end a child that was killed. */
enum { REAP_MS = 1000, BOOT_ID_SIZE = 40 };

const char *vm_kvm_verdict_name(enum vm_kvm_verdict verdict)
{
	switch (verdict) {
	case VM_KVM_GOOD:
		return "good";
	case VM_KVM_SLOW:
		return "slow";
	case VM_KVM_BROKEN:
		return "broken";
	case VM_KVM_ABSENT:
		return "absent";
	case VM_KVM_DENIED:
		return "denied";
	}
	return "?";
}

/* --- what was found ------------------------------------------------------------------------------
 */

static void __attribute__((format(printf, 3, 4)))
say(struct vm_kvm_status *status, enum vm_kvm_verdict verdict, const char *fmt, ...)
{
	va_list ap;

	*status = (struct vm_kvm_status){.verdict = verdict};
	va_start(ap, fmt);
	vsnprintf(status->why, sizeof(status->why), fmt, ap);
	va_end(ap);
}

static void say_rate(struct vm_kvm_status *status, const char *device, uint64_t rate)
{
	bool good = rate >= GOOD_PER_SECOND;
	int digits = rate < 100000 ? 4 : rate < 10000000 ? 1 : 0;

	say(status, good ? VM_KVM_GOOD : VM_KVM_SLOW,
	    "%s runs %.*f million instructions a second%s", device, digits, (double)rate / 1e6,
	    good ? "" : ": it is emulated");
	status->instructions_per_second = rate;
}

static void say_hangs(struct vm_kvm_status *status, const char *device)
{
	say(status, VM_KVM_BROKEN, "%s does not work: a virtual CPU hangs", device);
}

static void say_report(struct vm_kvm_status *status, const char *device,
                       const struct vm_kvm_report *report)
{
	if (!report->failed)
		say_rate(status, device, report->instructions_per_second);
	else
		say(status, VM_KVM_BROKEN, "%s does not work: %s: %s", device, report->failed,
		    report->number ? strerror(report->number) : "not what was expected");
}

/* --- the device ----------------------------------------------------------------------------------
 */

/* 1 and its descriptor; 0 and what is to be said of one that cannot be opened; -1. */
static int open_device(const char *device, int *ret_fd, struct vm_kvm_status *ret,
                       struct vm_err *err)
{
	*ret_fd = open(device, O_RDWR | O_CLOEXEC);
	if (*ret_fd >= 0)
		return 1;
	switch (errno) {
	case ENOENT:
	case ENOTDIR:
		say(ret, VM_KVM_ABSENT, "there is no %s", device);
		return 0;
	case ENODEV:
	case ENXIO:
		say(ret, VM_KVM_ABSENT, "there is no KVM behind %s", device);
		return 0;
	case EACCES:
	case EPERM:
		say(ret, VM_KVM_DENIED, "no permission for %s", device);
		return 0;
	case EMFILE:
	case ENFILE:
	case ENOMEM:
		return vm_err_sys(err, "%s", device);
	default:
		say(ret, VM_KVM_BROKEN, "%s cannot be opened: %s", device, strerror(errno));
		return 0;
	}
}

/* --- the child -----------------------------------------------------------------------------------
 */

/*
 * All others go, the standard streams too: among them are locks of our parent and pipes that others
 * read to their end, and if the kernel does not let go of us, we keep what we have.
 */
static void close_all_but(int a, int b)
{
	unsigned low = (unsigned)(a < b ? a : b), high = (unsigned)(a < b ? b : a);

	if (low > 0)
		syscall(SYS_close_range, 0, low - 1, 0);
	if (high > low + 1)
		syscall(SYS_close_range, low + 1, high - 1, 0);
	syscall(SYS_close_range, high + 1, ~0U, 0);
}

/* Between fork and exit of a threaded program: system calls only. */
static _Noreturn void be_child(pid_t parent, int device_fd, int report_fd)
{
	struct vm_kvm_report report = {0};
	sigset_t all;

	/* What asks the verb to stop would only cut a call short here; the parent ends us. */
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	close_all_but(device_fd, report_fd);
	vm_kvm_run_loop(device_fd, &report);
	_exit(write(report_fd, &report, sizeof(report)) == (ssize_t)sizeof(report) ? 0 : 1);
}

/* Ends it. One that the kernel does not let go of is left to init, after us. */
static void end_child(pid_t pid)
{
	const struct timespec nap = {.tv_nsec = 200000};
	int64_t deadline = vm_monotonic_ms() + REAP_MS;

	kill(pid, SIGKILL); /* our own child, not waited for yet: nobody else has this pid */
	while (waitpid(pid, NULL, WNOHANG) == 0 && vm_monotonic_ms() < deadline)
		nanosleep(&nap, NULL);
}

/* 1 it hangs, 0 with what is to be said, -1. */
static int await_report(int fd, const char *device, int64_t patience_ms, struct vm_kvm_status *ret,
                        struct vm_err *err)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct vm_kvm_report report;
	int ready = vm_poll_until(&p, 1, vm_monotonic_ms() + patience_ms, err);
	ssize_t n;

	if (ready < 0)
		return -1;
	if (ready == 0) {
		say_hangs(ret, device);
		return 1;
	}
	do {
		n = read(fd, &report, sizeof(report)); /* all or nothing: a pipe's atomic write */
	} while (n < 0 && errno == EINTR);
	if (n == (ssize_t)sizeof(report))
		say_report(ret, device, &report);
	else
		say(ret, VM_KVM_BROKEN, "%s does not work: who tried it was killed", device);
	return 0;
}

/* A process of its own, for a KVM_RUN that hangs can only be killed. 1 it hung, 0, -1. */
static int run_child(int device_fd, const char *device, int64_t patience_ms,
                     struct vm_kvm_status *ret, struct vm_err *err)
{
	VM_AUTO_CLOSE int in = -1;
	pid_t pid, parent = getpid();
	int ends[2], rc;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return vm_err_sys(err, "pipe");
	in = ends[0];
	pid = fork();
	if (pid == 0)
		be_child(parent, device_fd, ends[1]);
	close(ends[1]);
	if (pid < 0)
		return vm_err_sys(err, "fork");
	rc = await_report(in, device, patience_ms, ret, err);
	end_child(pid);
	return rc;
}

int vm_kvm_measure_device(const char *device, int64_t patience_ms, struct vm_kvm_status *ret,
                          struct vm_err *err)
{
	VM_AUTO_CLOSE int fd = -1;
	struct vm_kvm_status status = {0};
	int rc = open_device(device, &fd, &status, err);

	if (rc > 0)
		rc = run_child(fd, device, patience_ms, &status, err);
	if (rc < 0)
		return -1;
	*ret = status;
	return 0;
}

int vm_kvm_measure(struct vm_kvm_status *ret, struct vm_err *err)
{
	return vm_kvm_measure_device(DEVICE, VM_KVM_PATIENCE_MS, ret, err);
}

/* --- what is remembered --------------------------------------------------------------------------
 * "BOOT-ID RATE". A rate of 0 is of a KVM that hung, which takes the longest to find out. What else
 * is broken is not remembered: it shows at once, and may be gone the next time (no memory, another
 * user of the processor's extension).
 */

static bool read_boot_id(char ret_id[BOOT_ID_SIZE])
{
	VM_AUTO_CLOSE int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, ret_id, BOOT_ID_SIZE - 1);

	if (n <= 0)
		return false;
	ret_id[n] = '\0';
	ret_id[strcspn(ret_id, " \n")] = '\0';
	return ret_id[0] != '\0';
}

static bool recall(struct vm_store *store, const char *boot_id, const char *device,
                   struct vm_kvm_status *ret)
{
	struct vm_err ignored = {0}; /* then it is measured */
	char value[96];
	size_t len = strlen(boot_id);
	int64_t rate;

	if (vm_store_get_meta(store, META_KEY, value, sizeof(value), &ignored) <= 0 ||
	    strncmp(value, boot_id, len) != 0 || value[len] != ' ' ||
	    vm_int_parse(value + len + 1, META_KEY, 0, INT64_MAX, &rate, &ignored) < 0)
		return false;
	if (rate > 0)
		say_rate(ret, device, (uint64_t)rate);
	else
		say_hangs(ret, device);
	ret->cached = true;
	return true;
}

static void remember(struct vm_store *store, const char *boot_id, uint64_t rate)
{
	struct vm_err ignored = {0}; /* then it is measured again the next time */
	char value[96];

	snprintf(value, sizeof(value), "%s %" PRIu64, boot_id, rate);
	vm_store_put_meta(store, META_KEY, value, &ignored);
}

int vm_kvm_status_device(struct vm_store *store, const char *device, struct vm_kvm_status *ret,
                         struct vm_err *err)
{
	VM_AUTO_CLOSE int fd = -1;
	struct vm_kvm_status status = {0};
	char boot_id[BOOT_ID_SIZE];
	int rc = open_device(device, &fd, &status, err);
	bool booted = rc > 0 && read_boot_id(boot_id);

	if (rc > 0 && !(booted && recall(store, boot_id, device, &status))) {
		rc = run_child(fd, device, VM_KVM_PATIENCE_MS, &status, err);
		if (booted && (rc > 0 || (rc == 0 && status.instructions_per_second > 0)))
			remember(store, boot_id, status.instructions_per_second);
	}
	if (rc < 0)
		return -1;
	*ret = status;
	return 0;
}

int vm_kvm_status(struct vm_store *store, struct vm_kvm_status *ret, struct vm_err *err)
{
	return vm_kvm_status_device(store, DEVICE, ret, err);
}

int vm_kvm_try_again(struct vm_store *store, struct vm_kvm_status *ret, struct vm_err *err)
{
	return vm_store_put_meta(store, META_KEY, "", err) < 0 ? -1
	                                                       : vm_kvm_status(store, ret, err);
}
