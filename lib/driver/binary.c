/* SPDX-License-Identifier: Apache-2.0 */
#include "binary.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../interrupt.h"
#include "../util.h"

enum { VERSION_TIMEOUT_MS = 10000, VERSION_SIZE = 24 };

/* An executable regular file; its absolute path, for the VMM is started in another directory. */
static bool usable(const char *path, char *ret_path, size_t size)
{
	VM_AUTO_FREE char *real = realpath(path, NULL);
	struct stat st;

	if (!real || stat(real, &st) < 0)
		return false;
	if (!S_ISREG(st.st_mode) || access(real, X_OK) < 0 || strlen(real) >= size) {
		errno = EACCES;
		return false;
	}
	memcpy(ret_path, real, strlen(real) + 1);
	return true;
}

/* Searches PATH as execvp would. */
static bool search_path(const char *name, char *ret_path, size_t size)
{
	const char *path = getenv("PATH");
	char file[4096];

	while (path && *path) {
		size_t len = strcspn(path, ":");
		int n = snprintf(file, sizeof(file), "%.*s/%s", (int)len, path, name);

		if (len > 0 && n > 0 && (size_t)n < sizeof(file) && usable(file, ret_path, size))
			return true;
		path += len + (path[len] == ':');
	}
	return false;
}

/* The wrong file was named, by the user or by whoever put it into PATH. */
static int hint_name(const struct vm_binary_search *search, struct vm_err *err)
{
	return vm_err_hint(err, "name a %s binary by $%s or %s: in vmctl.yaml", search->product,
	                   search->variable, search->driver);
}

static int find(const struct vm_root *root, const struct vm_binary_search *search, char *ret_path,
                size_t size, struct vm_err *err)
{
	const char *given = vm_config_binary(&root->config, search->driver);

	if (given[0] && usable(given, ret_path, size))
		return 0;
	if (given[0]) {
		const char *env = getenv(search->variable);
		bool by_env = env && env[0];

		vm_err_sys(err, "%s: %s (from %s%s)", search->driver, given, by_env ? "$" : "",
		           by_env ? search->variable : "the settings");
		err->code = VM_ERR_HYPERVISOR;
		return hint_name(search, err);
	}
	for (size_t i = 0; search->names[i]; i++) {
		if (search_path(search->names[i], ret_path, size))
			return 0;
	}
	vm_err_set(err, VM_ERR_HYPERVISOR, "%s is not installed: it is not in PATH",
	           search->names[0]);
	return vm_err_hint(err, "install it, or name it by $%s or %s: in vmctl.yaml",
	                   search->variable, search->driver);
}

/* What `BINARY --version` prints, with a deadline: it may be anything that somebody has named. */
static int read_version(int fd, char *text, size_t size, const char *path, struct vm_err *err)
{
	int64_t deadline = vm_monotonic_ms() + VERSION_TIMEOUT_MS;
	struct pollfd p = {.fd = fd, .events = POLLIN};
	size_t used = 0;

	while (used < size - 1) {
		int64_t left = deadline - vm_monotonic_ms();
		ssize_t n;
		int ready = poll(&p, 1, left > 0 ? (int)left : 0);

		if (vm_interrupt_check(err) < 0)
			return -1;
		if (ready == 0)
			return vm_err_set(err, VM_ERR_HYPERVISOR, "%s --version does not answer",
			                  path);
		n = ready > 0 ? read(fd, text + used, size - 1 - used) : -1;
		if (n < 0 && errno != EINTR)
			return vm_err_sys(err, "reading the version of %s", path);
		if (n == 0)
			break;
		used += n > 0 ? (size_t)n : 0;
	}
	text[used] = '\0';
	return 0;
}

static int run_version(const char *path, char *text, size_t size, struct vm_err *err)
{
	VM_AUTO_CLOSE int out = -1;
	int ends[2], rc;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return vm_err_sys(err, "pipe");
	out = ends[0];
	pid = fork();
	if (pid == 0) {
		if (dup2(ends[1], STDOUT_FILENO) >= 0)
			execl(path, path, "--version", (char *)NULL);
		_exit(127);
	}
	close(ends[1]);
	if (pid < 0)
		return vm_err_sys(err, "fork");
	rc = read_version(out, text, size, path, err);
	kill(pid, SIGKILL); /* our own child, not waited for yet: nobody else has this pid */
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return rc;
}

static int ask_version(const struct vm_binary_search *search, const char *path,
                       char ret_version[VERSION_SIZE], struct vm_err *err)
{
	char text[256] = "", version[VERSION_SIZE];

	if (run_version(path, text, sizeof(text), err) < 0)
		return err->code == VM_ERR_HYPERVISOR ? hint_name(search, err) : -1;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	if (sscanf(text, search->version_format, version) == 1) {
#pragma GCC diagnostic pop
		memcpy(ret_version, version, VERSION_SIZE);
		return 0;
	}
	vm_err_set(err, VM_ERR_HYPERVISOR, "%s is not %s: --version says '%.*s'", path,
	           search->product, (int)strcspn(text, "\r\n"), text);
	return hint_name(search, err);
}

int vm_binary_find(const struct vm_root *root, const struct vm_binary_search *search,
                   struct vm_driver_info *ret, struct vm_err *err)
{
	struct vm_driver_info info = {0};
	struct vm_binary_key key = {0};
	struct stat st;
	int known;

	_Static_assert(sizeof(info.version) == VERSION_SIZE, "the formats read 23 characters");
	if (find(root, search, info.path, sizeof(info.path), err) < 0)
		return -1;
	if (stat(info.path, &st) < 0)
		return vm_err_sys(err, "%s", info.path);
	key.path = info.path;
	key.device = st.st_dev;
	key.inode = st.st_ino;
	key.size = (uint64_t)st.st_size;
	key.mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
	known = vm_store_binary_version(root->store, &key, info.version, sizeof(info.version), err);
	if (known < 0)
		return -1;
	if (!known && ask_version(search, info.path, info.version, err) < 0)
		return -1;
	/* Who only looks holds no lock, changes nothing, and perhaps may not. */
	if (!known && root->store_lock.fd >= 0 &&
	    vm_store_remember_binary(root->store, &key, info.version, err) < 0)
		return -1;
	*ret = info;
	return 0;
}

bool vm_version_is_since(const char *version, int major, int minor)
{
	int have_major = 0, have_minor = 0;

	return sscanf(version, "%d.%d", &have_major, &have_minor) == 2 &&
	       (have_major > major || (have_major == major && have_minor >= minor));
}

bool vm_version_is_alike(const char *a, const char *b)
{
	int major[2] = {-1, -2}, minor[2] = {-1, -2};

	return sscanf(a, "%d.%d", &major[0], &minor[0]) == 2 &&
	       sscanf(b, "%d.%d", &major[1], &minor[1]) == 2 && major[0] == major[1] &&
	       minor[0] == minor[1];
}
