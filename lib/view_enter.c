/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a view. All of this runs between fork and exec of a program that may have threads: system
 * calls only, no stdio, no malloc.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault.h"
#include "view.h"

static int put_text(const char *path, const char *text, size_t len)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : write(fd, text, len);

	if (fd >= 0)
		close(fd);
	return n == (ssize_t)len ? 0 : -1;
}

/* "ID ID 1": in the user namespace everybody is who he is outside. */
static int put_map(const char *path, unsigned id)
{
	char digits[12], text[32];
	size_t count = 0, n = 0;

	do {
		digits[count++] = (char)('0' + id % 10);
		id /= 10;
	} while (id > 0);
	for (int twice = 0; twice < 2; twice++) {
		for (size_t i = count; i > 0; i--)
			text[n++] = digits[i - 1];
		text[n++] = ' ';
	}
	text[n++] = '1';
	return put_text(path, text, n);
}

static const char *unshare_mounts(void)
{
	unsigned uid = geteuid(), gid = getegid();

	if (unshare(CLONE_NEWNS) == 0)
		return NULL;
	if (errno != EPERM)
		return "making a mount namespace";
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		return "making a user namespace";
	if (put_map("/proc/self/uid_map", uid) < 0 ||
	    put_text("/proc/self/setgroups", "deny", sizeof("deny") - 1) < 0 ||
	    put_map("/proc/self/gid_map", gid) < 0)
		return "mapping the user into a user namespace";
	return NULL;
}

/*
 * A namespace of our own. It hears of what the host unmounts, so that no filesystem stays busy for
 * as long as the VMM lives, but the host hears nothing of it.
 */
static const char *make_namespace(void)
{
	const char *failed = unshare_mounts();

	if (failed)
		return failed;
	return mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ? "making mounts private" : NULL;
}

static int show_entry(const struct vm_view_entry *entry)
{
	if (entry->link)
		return symlink(entry->link, entry->to);
	if (entry->is_dir ? mkdir(entry->to, 0700) < 0 : mknod(entry->to, S_IFREG | 0600, 0) < 0)
		return -1;
	if (mount(entry->from, entry->to, NULL, MS_BIND | MS_REC, NULL) == 0)
		return 0;
	return errno == ENOENT ? 0 : -1; /* gone since it was listed */
}

/*
 * The cwd is the instance's directory, and the tmpfs is mounted over it: by "." it is still what it
 * was.
 */
static const char *show_missing(const struct vm_view *view)
{
	if (mount("vmctl", view->stage, "tmpfs", 0, "mode=0755,size=1m") < 0)
		return "mounting a tmpfs";
	for (size_t i = 0; i < view->entry_count; i++) {
		if (show_entry(&view->entries[i]) < 0)
			return "binding what is beside the directory";
	}
	for (size_t i = 0; i < view->directory_count; i++) {
		if (mkdir(view->directories[i], 0755) < 0)
			return "making the directory";
	}
	/* Not what is mounted on it: that is the tmpfs. */
	if (mount(".", view->directories[view->directory_count - 1], NULL, MS_BIND, NULL) < 0)
		return "binding the instance's directory";
	if (strcmp(view->ground, "/") == 0)
		return chroot(view->stage) < 0 ? "changing the root" : NULL;
	return mount(view->stage, view->ground, NULL, MS_MOVE, NULL) < 0 ? "moving the tmpfs"
	                                                                 : NULL;
}

const char *vm_view_enter(const struct vm_view *view, int dir_fd)
{
	const char *failed;

	if (vm_fault(VM_FAULT_VMM_VIEW))
		return "making its view";
	/* Before the namespace is made: what is bound in it must be reached by a mount of its own.
	 */
	if (fchdir(dir_fd) < 0)
		return "entering the instance's directory";
	failed = make_namespace();
	if (failed)
		return failed;
	if (view->ground)
		failed = show_missing(view);
	else if (mount(".", view->path, NULL, MS_BIND, NULL) < 0)
		failed = "binding the instance's directory";
	if (failed)
		return failed;
	/* The host's own mount again: paths that go up from it must not meet the view. */
	if (fchdir(dir_fd) < 0 || vm_fault(VM_FAULT_VMM_VIEW_DONE))
		return "entering the instance's directory";
	return NULL;
}

/* All that a view is made of, with nothing in it; and what a VMM needs is still to be opened. */
static const char *try_view(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	const char *failed = make_namespace();

	if (failed)
		return failed;
	if (mount("vmctl", "/", "tmpfs", 0, "mode=0755,size=1m") < 0)
		return "mounting a tmpfs";
	if (kvm >= 0 && open("/dev/kvm", O_RDWR | O_CLOEXEC) < 0)
		return "opening /dev/kvm in a namespace";
	return NULL;
}

bool vm_view_permitted(const char **ret_why, int *ret_errno)
{
	struct {
		const char *what;
		int number;
	} failure = {"trying it in a child", 0};
	int ends[2], status = 0;
	pid_t pid;

	*ret_why = failure.what;
	*ret_errno = 0;
	if (pipe2(ends, O_CLOEXEC) < 0) {
		*ret_errno = errno;
		return false;
	}
	pid = fork();
	if (pid == 0) {
		signal(SIGSYS, SIG_DFL);
		failure.what = try_view();
		failure.number = errno;
		if (failure.what && write(ends[1], &failure, sizeof(failure)) < 0)
			_exit(2);
		_exit(failure.what ? 1 : 0);
	}
	close(ends[1]);
	/* The text is a constant of this program, at the same place in its child. */
	if (pid < 0)
		*ret_errno = errno;
	else if (read(ends[0], &failure, sizeof(failure)) == (ssize_t)sizeof(failure)) {
		*ret_why = failure.what;
		*ret_errno = failure.number;
	}
	close(ends[0]);
	if (pid > 0)
		waitpid(pid, &status, 0);
	return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
