/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The symlink method's change of the recorded directory, and putting it back. The journal comes
 * first and goes last, both durably. What a kill leaves after each step:
 *
 * - journal written: nothing has happened yet.
 * - parents made, where they were missing: empty directories; the journal says how much of the path
 *   was there before.
 * - renamed away: the directory, beside its place, under a name that tells whose load it was.
 * - link made: a link to the instance's directory.
 *
 * Putting back undoes each of these that it finds done, in the other order, and may be killed, too.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "alias.h"
#include "fs.h"
#include "util.h"

#define MAGIC "vmctl-alias-1"

enum { ASIDE_SIZE = VM_ID_LEN + 8, JOURNAL_MAX = 2 * PATH_MAX + 256 };

struct journal {
	char id[VM_ID_LEN + 1];
	size_t kept;         /* so many bytes of the path were there before */
	char *path, *target; /* the directory that is replaced, and by what; both in `text` */
	char *text;
};

static void free_journal(struct journal *journal)
{
	free(journal->text);
}

/* Beside the directory, so that a rename does; it tells whose it is. */
static char *aside_name(const char *id, char *buf)
{
	snprintf(buf, ASIDE_SIZE, ".vmctl-%s", id);
	return buf;
}

static const char *base_of(const char *path)
{
	return strrchr(path, '/') + 1;
}

/* Opens the directory of the first `len` bytes of a path: the descriptor, or -1 with errno. */
static int open_prefix(const char *path, size_t len)
{
	char prefix[PATH_MAX];

	snprintf(prefix, sizeof(prefix), "%.*s", (int)(len > 0 ? len : 1), path);
	return open(prefix, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* How much of the path to its parent is there. */
static size_t existing(const char *path)
{
	size_t len = (size_t)(base_of(path) - path) - 1;

	while (len > 0) {
		VM_AUTO_CLOSE int fd = open_prefix(path, len);

		if (fd >= 0 || errno != ENOENT)
			break;
		while (path[--len] != '/')
			;
	}
	return len;
}

/* The parent, made where it is missing, all 0700 like what vmctl makes elsewhere. */
static int make_parent(const char *path, size_t kept, struct vm_err *err)
{
	VM_AUTO_CLOSE int fd = open_prefix(path, kept);
	const char *at = path + kept, *base = base_of(path);

	if (fd < 0)
		return vm_err_sys(err, "opening the directory of %s", path);
	while (at + 1 < base) {
		const char *end = strchr(at + 1, '/');
		char name[NAME_MAX + 1];
		int next;

		snprintf(name, sizeof(name), "%.*s", (int)(end - at - 1), at + 1);
		next = vm_fs_make_dir(fd, name, err);
		if (next < 0)
			return -1;
		vm_cleanup_close(&fd);
		fd = next;
		at = end;
	}
	return vm_take_fd(&fd);
}

static int set_aside(const char *path, int parent_fd, const char *id, struct vm_err *err)
{
	char aside[ASIDE_SIZE];

	if (!vm_fs_exists(parent_fd, base_of(path)))
		return 0;
	if (vm_fs_rename_new(parent_fd, base_of(path), aside_name(id, aside), err) == 0)
		return 0;
	return vm_err_hint(err,
	                   "%s must be replaced for an instant; where mount namespaces are "
	                   "permitted it need not be ('vmctl doctor')",
	                   path);
}

int vm_alias_swap(const struct vm_alias *alias, struct vm_err *err)
{
	VM_AUTO_CLOSE int parent_fd = -1;
	VM_AUTO_FREE char *text = NULL;
	size_t kept = existing(alias->path);
	char name[VM_ALIAS_NAME_SIZE];

	text = vm_strf(err, MAGIC "\n%s\n%zu\n%s\n%s\n", alias->id, kept, alias->path,
	               alias->directory);
	if (!text || vm_fs_publish(alias->root->run_fd, vm_alias_name(alias->path, name), text,
	                           strlen(text), true, err) < 0)
		return -1;
	parent_fd = make_parent(alias->path, kept, err);
	if (parent_fd < 0 || set_aside(alias->path, parent_fd, alias->id, err) < 0)
		return -1;
	return vm_fs_symlink(alias->directory, parent_fd, base_of(alias->path), err);
}

static char *next_line(char **at)
{
	char *line = *at, *end = line ? strchr(line, '\n') : NULL;

	if (!end)
		return NULL;
	*end = '\0';
	*at = end + 1;
	return line;
}

static int read_journal(const struct vm_root *root, const char *name, struct journal *ret,
                        struct vm_err *err)
{
	const char *magic, *id, *kept;
	size_t len;
	char *at;

	if (vm_fs_read(root->run_fd, name, JOURNAL_MAX, &ret->text, &len, err) < 0)
		return -1;
	at = ret->text;
	magic = next_line(&at);
	id = next_line(&at);
	kept = next_line(&at);
	ret->path = next_line(&at);
	ret->target = next_line(&at);
	if (!ret->target || strcmp(magic, MAGIC) != 0 || !vm_id_valid(id) || ret->path[0] != '/')
		return vm_err_set(err, VM_ERR_CORRUPT, "run/%s is no journal of an alias", name);
	memcpy(ret->id, id, sizeof(ret->id));
	ret->kept = strtoul(kept, NULL, 10);
	return 0;
}

int vm_alias_journal_path(const struct vm_root *root, const char *name, char **ret_path,
                          struct vm_err *err)
{
	VM_AUTO(free_journal) struct journal journal = {0};

	if (read_journal(root, name, &journal, err) < 0)
		return -1;
	*ret_path = vm_strdup(journal.path, err);
	return *ret_path ? 0 : -1;
}

bool vm_alias_journal_is_of(const struct vm_root *root, const char *name, const char *id)
{
	VM_AUTO(free_journal) struct journal journal = {0};
	struct vm_err ignored = {0};

	return read_journal(root, name, &journal, &ignored) == 0 && strcmp(journal.id, id) == 0;
}

static int remove_link(const struct journal *journal, int parent_fd, struct vm_err *err)
{
	VM_AUTO_FREE char *target = NULL;
	int is_link = vm_fs_read_link(parent_fd, base_of(journal->path), &target, err);

	/* A link that is there by right leads elsewhere. */
	if (is_link <= 0 || strcmp(target, journal->target) != 0)
		return is_link < 0 ? -1 : 0;
	return vm_fs_unlink(parent_fd, base_of(journal->path), err);
}

static int restore_directory(const struct journal *journal, int parent_fd, struct vm_err *err)
{
	char aside[ASIDE_SIZE];

	if (!vm_fs_exists(parent_fd, aside_name(journal->id, aside)))
		return 0;
	if (!vm_fs_exists(parent_fd, base_of(journal->path)))
		return vm_fs_rename_new(parent_fd, aside, base_of(journal->path), err);
	vm_err_set(err, VM_ERR_NEEDS_REPAIR, "something else is now at %s; what was there is %s",
	           journal->path, aside);
	return vm_err_hint(err, "remove one of the two, then 'vmctl doctor --repair'");
}

/* Only those that were made for the link, and only if nobody has put anything there. */
static int remove_parents(const struct journal *journal, struct vm_err *err)
{
	const char *path = journal->path;
	size_t len = (size_t)(base_of(path) - path) - 1;

	while (len > journal->kept) {
		VM_AUTO_CLOSE int fd = -1;
		char name[NAME_MAX + 1];
		size_t end = len;

		while (path[--len] != '/')
			;
		fd = open_prefix(path, len);
		snprintf(name, sizeof(name), "%.*s", (int)(end - len - 1), path + len + 1);
		if (fd >= 0 && vm_fs_remove_empty(fd, name, err) < 0)
			return -1;
	}
	return 0;
}

static int put_back(const struct vm_root *root, const char *name, const struct journal *journal,
                    struct vm_err *err)
{
	size_t parent_len = (size_t)(base_of(journal->path) - journal->path) - 1;
	VM_AUTO_CLOSE int parent_fd = open_prefix(journal->path, parent_len);
	VM_AUTO_CLOSE int kept_fd = open_prefix(journal->path, journal->kept);

	if ((parent_fd < 0 && errno != ENOENT) || kept_fd < 0)
		return vm_err_sys(err, "opening the directory of %s", journal->path);
	if (parent_fd >= 0 && (remove_link(journal, parent_fd, err) < 0 ||
	                       restore_directory(journal, parent_fd, err) < 0))
		return -1;
	/* Synced before the journal goes: a power loss must not keep its end alone. */
	if (remove_parents(journal, err) < 0 || vm_fs_sync(kept_fd, NULL, err) < 0)
		return -1;
	return vm_fs_unlink(root->run_fd, name, err);
}

int vm_alias_put_back(const struct vm_root *root, const char *name, struct vm_err *err)
{
	VM_AUTO(free_journal) struct journal journal = {0};

	if (!vm_fs_exists(root->run_fd, name))
		return 0;
	return read_journal(root, name, &journal, err) < 0 ? -1
	                                                   : put_back(root, name, &journal, err);
}

/* Whether the VMM is one that was committed, or somebody is at work on the instance. */
static bool is_anybodys(const struct vm_root *root, const char *id)
{
	struct vm_err ignored = {0};
	struct vm_instance row = {0};
	bool runs;

	if (vm_lock_probe(root->locks_fd, id, &ignored) != 0)
		return true;
	if (vm_store_get(root->store, id, &row, &ignored) < 0)
		return ignored.code != VM_ERR_NOT_FOUND;
	runs = row.state == VM_STATE_RUNNING || row.state == VM_STATE_PAUSED;
	vm_instance_free(&row);
	return runs;
}

static char *temporary_name(const char *name, char buf[VM_ALIAS_NAME_SIZE + 4])
{
	snprintf(buf, VM_ALIAS_NAME_SIZE + 4, "%s.tmp", name);
	return buf;
}

bool vm_alias_is_left(const struct vm_root *root, const char *name)
{
	char temporary[VM_ALIAS_NAME_SIZE + 4];

	return vm_fs_exists(root->run_fd, name) ||
	       vm_fs_exists(root->run_fd, temporary_name(name, temporary));
}

int vm_alias_repair(const struct vm_root *root, const char *name, struct vm_err *err)
{
	VM_AUTO(free_journal) struct journal journal = {0};
	char temporary[VM_ALIAS_NAME_SIZE + 4];

	if (vm_fs_exists(root->run_fd, temporary_name(name, temporary)) &&
	    vm_fs_unlink(root->run_fd, temporary, err) < 0)
		return -1;
	if (!vm_fs_exists(root->run_fd, name))
		return 0;
	if (read_journal(root, name, &journal, err) < 0)
		return -1;
	/*
	 * The dead verb's VMM may be loading still. It must not find the real directory there, and
	 * make its socket in it: it goes first. The guest has not run, and the row says so.
	 */
	if (!is_anybodys(root, journal.id) && vm_vmm_reap(root, journal.id, err) < 0)
		return -1;
	return put_back(root, name, &journal, err);
}
