/* SPDX-License-Identifier: Apache-2.0 */
/* Logs and the serial console of an instance: its console.log, vmm.log and console.in. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alias.h"
#include "driver/driver.h"
#include "fs.h"
#include "interrupt.h"
#include "ops.h"
#include "util.h"

static const char *log_file(enum vm_log which)
{
	return which == VM_LOG_CONSOLE ? VM_CONSOLE_LOG : VM_VMM_LOG;
}

int vm_log_open(struct vm_root *root, const char *id, enum vm_log which, struct vm_err *err)
{
	VM_AUTO_CLOSE int dir_fd = vm_alias_open_dir(root, VM_KIND_INSTANCE, id, err);
	int fd;

	if (dir_fd < 0)
		return -1;
	fd = openat(dir_fd, log_file(which), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC); /* it has never run */
	return fd < 0 ? vm_err_sys(err, "opening %s", log_file(which)) : fd;
}

int vm_log_wait(struct vm_root *root, const char *id, enum vm_log which, int64_t seen_bytes,
                int64_t timeout_ms, struct vm_err *err)
{
	VM_AUTO_CLOSE int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	VM_AUTO_FREE char *path = vm_strf(err, "%s/guests/%s/%s", root->path, id, log_file(which));
	VM_AUTO(vm_vmm_close) struct vm_vmm vmm = VM_VMM_INIT;
	struct pollfd p[2] = {{.events = POLLIN}, {.events = POLLIN}};
	struct stat st;
	int alive;

	if (!path)
		return -1;
	if (watch < 0 || inotify_add_watch(watch, path, IN_MODIFY) < 0)
		return errno == ENOENT ? 0 : vm_err_sys(err, "watching %s", path);
	alive = vm_vmm_open(root, id, &vmm, err);
	if (alive <= 0)
		return alive;
	/* What was written before the watch was set raises no event. */
	if (stat(path, &st) == 0 && st.st_size > seen_bytes)
		return 1;
	p[0].fd = watch;
	p[1].fd = vmm.pid_fd;
	if (vm_poll_until(p, 2, timeout_ms < 0 ? -1 : vm_monotonic_ms() + timeout_ms, err) < 0)
		return vm_err_wrap(err, "waiting for %s", log_file(which));
	return p[1].revents ? 0 : 1;
}

static int need_running(const struct vm_instance *instance, struct vm_err *err)
{
	if (instance->state == VM_STATE_RUNNING || instance->state == VM_STATE_PAUSED)
		return 0;
	return vm_err_set(err, VM_ERR_INVALID_STATE, "%s is %s: it has no console", instance->name,
	                  vm_state_name(instance->state));
}

int vm_console_input(struct vm_root *root, const struct vm_instance *instance, struct vm_err *err)
{
	VM_AUTO_CLOSE int dir_fd = -1;
	int fd;

	if (need_running(instance, err) < 0)
		return -1;
	dir_fd = vm_alias_open_dir(root, VM_KIND_INSTANCE, instance->id, err);
	if (dir_fd < 0)
		return -1;
	/* O_NONBLOCK: without a VMM at the other end this fails with ENXIO instead of waiting for
	 * one. */
	fd = openat(dir_fd, VM_CONSOLE_IN, O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENXIO)
		return vm_err_set(err, VM_ERR_INVALID_STATE, "%s: its VMM has ended",
		                  instance->name);
	return fd < 0 ? vm_err_sys(err, "opening the console of %s", instance->name) : fd;
}

int vm_console_vmm(struct vm_root *root, const struct vm_instance *instance, struct vm_err *err)
{
	struct vm_vmm vmm = VM_VMM_INIT;
	int alive;

	if (need_running(instance, err) < 0)
		return -1;
	alive = vm_vmm_open(root, instance->id, &vmm, err);
	if (alive == 0)
		return vm_err_set(err, VM_ERR_INVALID_STATE, "%s: its VMM has ended",
		                  instance->name);
	return alive < 0 ? -1 : vmm.pid_fd;
}
