/* SPDX-License-Identifier: Apache-2.0 */
#include "alias.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "driver/refuse.h"
#include "fs.h"
#include "util.h"

/*
 * The longest wait for another instance's lock while we hold our own: two whose states name each
 * other's directories must not wait for each other for ever.
 */
enum { SOURCE_WAIT_MS = 30000 };

/* --- names --------------------------------------------------------------------------------------
 */

char *vm_alias_name(const char *path, char *buf)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a; one in common costs a wait */

	for (const char *at = path; *at; at++)
		hash = (hash ^ (unsigned char)*at) * UINT64_C(0x100000001b3);
	snprintf(buf, VM_ALIAS_NAME_SIZE, "%016" PRIx64 VM_ALIAS_SUFFIX, hash);
	return buf;
}

/* The path of an open directory, as it is without links. */
static char *path_of(int fd, struct vm_err *err)
{
	char link[40], path[PATH_MAX];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path));
	if (n > 0 && n < (ssize_t)sizeof(path) && path[0] == '/') {
		path[n] = '\0';
		return vm_strdup(path, err);
	}
	vm_err_set(err, VM_ERR_UNSUPPORTED, "the path of the instance's directory is too long");
	return NULL;
}

/* Absolute, and nothing in it that means something else than it says. */
static int check_form(const char *path, struct vm_err *err)
{
	const char *at = path;
	bool good = path[0] == '/' && path[1] != '\0' && !strchr(path, '\n');

	while (good && *at) {
		size_t len = strcspn(at + 1, "/");

		good = len > 0 && !(len == 1 && at[1] == '.') &&
		       !(len == 2 && at[1] == '.' && at[2] == '.');
		at += 1 + len;
	}
	return good ? 0
	            : vm_err_set(err, VM_ERR_UNSUPPORTED,
	                         "'%.200s' cannot be the directory of an alias", path);
}

/*
 * The same directory by a path in which no part but the last is a link: all who mean it call it so,
 * and it is that which is locked. What is missing stays as it is.
 */
char *vm_alias_plain_path(const char *path, struct vm_err *err)
{
	VM_AUTO_FREE char *there = check_form(path, err) == 0 ? vm_strdup(path, err) : NULL;

	while (there) {
		char *slash = strrchr(there, '/');
		VM_AUTO_FREE char *real = NULL;

		if (slash == there)
			return vm_strdup(path, err);
		*slash = '\0';
		real = realpath(there, NULL);
		if (real)
			return vm_strf(err, "%s%s", strcmp(real, "/") == 0 ? "" : real,
			               path + strlen(there));
	}
	return NULL;
}

/* --- how ----------------------------------------------------------------------------------------
 */

int vm_alias_choose(const struct vm_op *op, const struct vm_instance *row,
                    enum vm_alias_method *ret_method, struct vm_err *err)
{
	enum vm_alias_method wanted = op->root->config.alias;
	const char *why = "the settings say so";
	int number = 0;
	bool permitted;

	*ret_method = VM_ALIAS_AUTO;
	if (!row->alias_path)
		return 0;
	permitted = wanted != VM_ALIAS_SYMLINK && vm_view_permitted(&why, &number);
	if (wanted == VM_ALIAS_NAMESPACE && !permitted) {
		vm_err_set(err, VM_ERR_UNSUPPORTED,
		           "%s: mount namespaces are not permitted here (%s: %s)", row->name, why,
		           strerror(number));
		return vm_err_hint(err, "'alias: auto' in vmctl.yaml allows a symbolic link");
	}
	*ret_method = permitted ? VM_ALIAS_NAMESPACE : VM_ALIAS_SYMLINK;
	vm_op_warn(op,
	           "the saved state of %s names files in %s: that directory is %s while it is "
	           "loaded",
	           row->name, row->alias_path,
	           permitted ? "shown to its VMM as another one" : "replaced by a symbolic link");
	return 0;
}

static int is_same(const char *path, int dir_fd)
{
	struct stat at_path, own;

	return stat(path, &at_path) == 0 && fstat(dir_fd, &own) == 0 &&
	       at_path.st_dev == own.st_dev && at_path.st_ino == own.st_ino;
}

/* The id of the instance or image of this data root whose directory is at the path; or "". */
static void find_owner(const struct vm_root *root, const char *path, char ret_id[VM_ID_LEN + 1])
{
	const int dirs[] = {root->guests_fd, root->images_fd};
	const char *base = strrchr(path, '/') + 1;
	char parent[PATH_MAX];

	ret_id[0] = '\0';
	snprintf(parent, sizeof(parent), "%.*s", (int)(base - path), path);
	for (size_t i = 0; i < VM_ARRAY_LEN(dirs); i++) {
		if (vm_id_valid(base) && dirs[i] >= 0 && is_same(parent, dirs[i]))
			memcpy(ret_id, base, VM_ID_LEN + 1);
	}
}

/*
 * Where the recorded directory is another instance's, nobody may be at work on that, nor its VMM
 * alive, while it is renamed. Of rank CHILD, for ours is held already.
 */
static int hold_owner(struct vm_op *op, struct vm_alias *alias, struct vm_err *err)
{
	int64_t most = vm_monotonic_ms() + SOURCE_WAIT_MS, deadline = vm_op_deadline(op);
	const struct vm_lock_how how = {.rank = VM_RANK_CHILD,
	                                .mode = VM_LOCK_EXCLUSIVE,
	                                .deadline_ms =
	                                        deadline < 0 || deadline > most ? most : deadline};
	struct vm_instance owner = {0};
	int alive;

	find_owner(op->root, alias->path, owner.id);
	if (!owner.id[0])
		return 0;
	snprintf(owner.name, sizeof(owner.name), "%s", owner.id);
	if (vm_held_lock(op, &owner, &how, &alias->source, err) < 0) {
		if (err->code != VM_ERR_NOT_FOUND)
			return -1;
		vm_err_clear(err); /* it was one once */
		return 0;
	}
	/* It may have begun to run until the lock was had; now it cannot. */
	alive = vm_vmm_alive(op->root, owner.id, err);
	if (alive > 0)
		return vm_err_set(err, VM_ERR_BUSY,
		                  "%s is the directory of an instance whose VMM is alive",
		                  alias->path);
	return alive;
}

static int prepare_symlink(struct vm_op *op, struct vm_alias *alias, const char *binary,
                           struct vm_err *err)
{
	if (vm_path_is_below(alias->directory, alias->path))
		return vm_err_set(err, VM_ERR_UNSUPPORTED,
		                  "%s holds the data root and cannot be replaced by a link",
		                  alias->path);
	if (vm_path_is_below(binary, alias->path))
		return vm_err_set(err, VM_ERR_UNSUPPORTED,
		                  "the hypervisor %s is in %s, which must be replaced by a link",
		                  binary, alias->path);
	return hold_owner(op, alias, err);
}

int vm_alias_prepare(struct vm_op *op, const struct vm_instance *row, int dir_fd,
                     enum vm_alias_method method, const char *binary, struct vm_alias *ret,
                     struct vm_err *err)
{
	*ret = (struct vm_alias)VM_ALIAS_INIT;
	if (!row->alias_path)
		return 0;
	ret->root = op->root;
	ret->deadline_ms = vm_op_deadline(op);
	memcpy(ret->id, row->id, sizeof(ret->id));
	ret->path = vm_alias_plain_path(row->alias_path, err);
	ret->directory = ret->path ? path_of(dir_fd, err) : NULL;
	if (!ret->directory)
		return vm_err_wrap(err, "%s", row->name);
	if (is_same(ret->path, dir_fd))
		return 0; /* it is there already */
	ret->method = method;
	if (method == VM_ALIAS_NAMESPACE &&
	    vm_view_plan(ret->path, ret->directory, binary, &ret->view, err) < 0) {
		if (err->code != VM_ERR_UNSUPPORTED || op->root->config.alias != VM_ALIAS_AUTO)
			return vm_err_wrap(err, "%s", row->name);
		vm_err_clear(err);
		ret->method = VM_ALIAS_SYMLINK;
	}
	if (ret->method == VM_ALIAS_SYMLINK && prepare_symlink(op, ret, binary, err) < 0)
		return vm_err_wrap(err, "%s", row->name);
	return 0;
}

const char *vm_alias_message(const struct vm_alias *alias)
{
	if (!alias->path)
		return NULL;
	return alias->method == VM_ALIAS_NAMESPACE ? "alias: namespace"
	       : alias->method == VM_ALIAS_SYMLINK ? "alias: symlink"
	                                           : "alias: in place";
}

/* --- the load -----------------------------------------------------------------------------------
 */

static int load_by_link(struct vm_machine *machine, struct vm_err *err)
{
	const struct vm_alias *alias = machine->alias;
	char name[VM_ALIAS_NAME_SIZE];
	struct vm_err second = {0};
	int rc;

	/* Once more: while we waited for a slot somebody may have come. */
	if (vm_alias_await_unused(alias, VM_WAIT_NONE, err) < 0)
		return -1;
	rc = vm_alias_swap(alias, err);
	if (rc == 0)
		rc = machine->driver->load(machine, false, err);
	vm_alias_name(alias->path, name);
	if (vm_alias_put_back(alias->root, name, &second) == 0)
		return rc;
	if (rc == 0)
		*err = second;
	return vm_err_hint(err, "%.200s; 'vmctl doctor --repair' tries again", second.message);
}

int vm_alias_load(struct vm_machine *machine, bool resume, struct vm_err *err)
{
	const struct vm_alias *alias = machine->alias;
	int rc;

	machine->view = alias->method == VM_ALIAS_NAMESPACE ? &alias->view : NULL;
	rc = alias->method == VM_ALIAS_SYMLINK ? load_by_link(machine, err)
	                                       : machine->driver->load(machine, false, err);
	/* Not before it is certain whose disks it has may the guest write to them. */
	if (rc == 0)
		rc = vm_alias_verify(machine, err);
	if (rc == 0 && resume)
		rc = machine->driver->resume(machine, err);
	if (rc < 0)
		vm_abandon(machine);
	return rc;
}
