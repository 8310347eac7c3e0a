/* SPDX-License-Identifier: Apache-2.0 */
#include "lock_table.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util.h"

enum { PROCESSES_MAX = 64, LOOKS = 3 };

/* Inode numbers of all files that somebody has an flock on. */
struct inodes {
	uintmax_t *list;
	size_t count, room;
};

struct table {
	const struct vm_root *root;
	struct inodes locked;
	struct vm_lock_claim *claims;
	size_t count, room;
};

static int by_number(const void *a, const void *b)
{
	uintmax_t left = *(const uintmax_t *)a, right = *(const uintmax_t *)b;

	return (left > right) - (left < right);
}

static int add_inode(struct inodes *inodes, uintmax_t inode, struct vm_err *err)
{
	if (inodes->count == inodes->room) {
		size_t room = inodes->room ? 2 * inodes->room : 256;
		uintmax_t *more = realloc(inodes->list, room * sizeof(*more));

		if (!more)
			return vm_err_sys(err, "reading /proc/locks");
		inodes->list = more;
		inodes->room = room;
	}
	inodes->list[inodes->count++] = inode;
	return 0;
}

static int read_once(struct inodes *inodes, struct vm_err *err)
{
	FILE *locks = fopen("/proc/locks", "re");
	char line[256];
	int rc = 0;

	if (!locks)
		return vm_err_sys(err, "opening /proc/locks");
	while (rc == 0 && fgets(line, sizeof(line), locks)) {
		const char *fields = strstr(line, ": FLOCK ");
		uintmax_t inode;

		if (fields && sscanf(fields, ": FLOCK %*s %*s %*d %*x:%*x:%ju", &inode) == 1)
			rc = add_inode(inodes, inode, err);
	}
	(void)fclose(locks);
	return rc;
}

/*
 * Most locks of a root are free: a look at the kernel's list spares a look at each of them. The
 * list comes a page at a time, by position: of one that stands behind others that are given back
 * between two pages nothing is said. Hence more than one look.
 */
static int read_inodes(struct inodes *inodes, struct vm_err *err)
{
	for (int i = 0; i < LOOKS; i++) {
		if (read_once(inodes, err) < 0)
			return -1;
	}
	if (inodes->count > 0)
		qsort(inodes->list, inodes->count, sizeof(*inodes->list), by_number);
	return 0;
}

/* The lock file, open, if somebody has a lock on it; else -1. */
static int open_locked(const struct table *table, const char *name)
{
	struct stat st;
	uintmax_t inode;

	if (table->locked.count == 0 ||
	    fstatat(table->root->locks_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -1;
	inode = st.st_ino;
	if (!bsearch(&inode, table->locked.list, table->locked.count, sizeof(inode), by_number))
		return -1;
	return openat(table->root->locks_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
}

static int add_claims(struct table *table, const struct vm_lock_claim *like,
                      const struct vm_lock_process *processes, unsigned count, struct vm_err *err)
{
	if (table->room - table->count < count) {
		size_t room = 2 * table->room + PROCESSES_MAX;
		struct vm_lock_claim *more = realloc(table->claims, room * sizeof(*more));

		if (!more)
			return vm_err_sys(err, "listing who holds locks");
		table->claims = more;
		table->room = room;
	}
	for (unsigned i = 0; i < count; i++) {
		table->claims[table->count] = *like;
		table->claims[table->count++].process = processes[i];
	}
	return 0;
}

/* Whoever holds the gate waits at the lock, where it is told, or is just passing through. */
static int add_lock(struct table *table, const char *name, const char *gate,
                    struct vm_lock_claim like, struct vm_err *err)
{
	VM_AUTO_CLOSE int fd = open_locked(table, name);
	VM_AUTO_CLOSE int gate_fd = gate ? open_locked(table, gate) : -1;
	struct vm_lock_process processes[PROCESSES_MAX];
	unsigned count = 0;

	if (fd >= 0)
		count = vm_lock_holders(fd, processes, PROCESSES_MAX);
	if (add_claims(table, &like, processes, count, err) < 0)
		return -1;
	like.waits = true;
	count = fd >= 0 ? vm_lock_waiters(fd, processes, PROCESSES_MAX) : 0;
	if (add_claims(table, &like, processes, count, err) < 0)
		return -1;
	like.at_gate = true;
	count = gate_fd >= 0 ? vm_lock_waiters(gate_fd, processes, PROCESSES_MAX) : 0;
	return add_claims(table, &like, processes, count, err);
}

static int add_store(struct table *table, struct vm_err *err)
{
	const struct vm_lock_claim like = {.waits = false};

	if (add_lock(table, VM_STORE_LOCK, VM_STORE_GATE, like, err) < 0)
		return -1;
	for (size_t i = 0; i < table->count; i++) {
		const struct vm_lock_claim *claim = &table->claims[i];

		if (claim->waits || claim->process.mode == VM_LOCK_EXCLUSIVE)
			return 0;
	}
	table->count = 0;
	return 0;
}

static int add_instances(struct table *table, struct vm_err *err)
{
	struct vm_instance *rows = NULL;
	size_t count = 0;
	int rc = vm_store_list(table->root->store, VM_LIST_ALL, &rows, &count, err);

	for (size_t i = 0; rc == 0 && i < count; i++) {
		struct vm_lock_claim like = {.waits = false};
		char gate[VM_LOCK_NAME_SIZE];

		memcpy(like.instance_id, rows[i].id, sizeof(like.instance_id));
		memcpy(like.instance_name, rows[i].name, sizeof(like.instance_name));
		rc = add_lock(table, rows[i].id, vm_root_gate_name(rows[i].id, gate), like, err);
	}
	vm_instances_free(rows, count);
	return rc;
}

int vm_lock_table(const struct vm_root *root, struct vm_lock_claim **ret, size_t *ret_count,
                  struct vm_err *err)
{
	struct table table = {.root = root};
	int rc = root->missing ? 0 : read_inodes(&table.locked, err);

	if (rc == 0 && !root->missing &&
	    (add_store(&table, err) < 0 || add_instances(&table, err) < 0))
		rc = -1;
	free(table.locked.list);
	if (rc < 0) {
		free(table.claims);
		return -1;
	}
	*ret = table.claims;
	*ret_count = table.count;
	return 0;
}
