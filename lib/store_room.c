/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Room for the store on a full disk. SQLite appends to its log (vmctl.db-wal) whatever is changed,
 * also when that is a removal, so on a full disk nobody could remove anything. Therefore the
 * blocks behind the end of the log are kept allocated: who changes something sees to that before
 * his first transaction, and who makes space (rm, stop) may use them up. The log stays as long as
 * it is; a process that closes the store does not delete it (SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE).
 *
 * btrfs writes nothing twice in the same place, so there it would be no help, and the index of the
 * log (vmctl.db-shm), which is mapped, would be a SIGBUS. So there the two files are made with the
 * attribute that turns this off, which can be given to empty files only.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "fault.h"
#include "store_sql.h"
#include "util.h"

/* Of one verb the log gets 10 to 20 KB. In steps, so that most verbs find all of it there. */
enum { ROOM_BYTES = 512 * 1024, STEP_BYTES = 128 * 1024 };
/*
 * Who opens the store first reads the log to its end, up to SQLite's 1000 pages, and a fork takes
 * half a millisecond for that. So these verbs, which may take their time, let it grow by no more
 * than some ten forks.
 */
enum { SHORT_LOG_PAGES = 256 };

static int allocate(int fd)
{
	struct stat st;
	off_t end;
	int rc;

	if (fstat(fd, &st) < 0 || vm_fault(VM_FAULT_STORE_ROOM))
		return -1;
	end = (st.st_size / STEP_BYTES + 1) * STEP_BYTES + ROOM_BYTES;
	do
		rc = fallocate(fd, FALLOC_FL_KEEP_SIZE, st.st_size, end - st.st_size);
	while (rc < 0 && errno == EINTR);
	return rc < 0 || vm_fault(VM_FAULT_STORE_ROOM_DONE) ? -1 : 0;
}

int vm_store_make_room(struct vm_store *store, struct vm_err *err)
{
	const char *file = sqlite3_db_filename(store->db, "main");
	const char *log = file && file[0] ? sqlite3_filename_wal(file) : NULL;
	VM_AUTO_CLOSE int fd = -1;

	if (!log)
		return 0; /* in memory */
	fd = open(log, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	/* The store is being made; or a filesystem cannot do this, and goes without. */
	if (fd < 0 ? errno == ENOENT : allocate(fd) == 0 || errno == EOPNOTSUPP)
		return 0;
	vm_err_sys(err, "store %s: keeping room for its log", file);
	if (err->code == VM_ERR_INSUFFICIENT_RESOURCES)
		vm_err_hint(err, "free some space there; 'vmctl rm' and 'vmctl stop' still work");
	return -1;
}

void vm_store_makes_space(struct vm_store *store)
{
	struct vm_err ignored = {0};

	vm_store_make_room(store, &ignored);
	store->has_room = true;
	sqlite3_wal_autocheckpoint(store->db, SHORT_LOG_PAGES);
}

static bool on_btrfs(const char *path)
{
	struct vm_err ignored = {0};
	VM_AUTO_FREE char *directory = vm_strdup(path, &ignored);
	char *slash = directory ? strrchr(directory, '/') : NULL;
	struct statfs fs;

	if (!slash)
		return false;
	slash[1] = '\0';
	return statfs(directory, &fs) == 0 && fs.f_type == BTRFS_SUPER_MAGIC;
}

int vm_store_give_to_owner(int fd, const char *store_file)
{
	struct stat st;

	return geteuid() == 0 && stat(store_file, &st) == 0 ? fchown(fd, st.st_uid, st.st_gid) : 0;
}

/* Of the owner of the store, as SQLite would make it. */
static void make_in_place(const char *file, const char *store_file)
{
	VM_AUTO_CLOSE int fd = open(file, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int flags = 0;

	if (fd < 0)
		return;
	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0) {
		flags |= FS_NOCOW_FL;
		ioctl(fd, FS_IOC_SETFLAGS, &flags);
	}
	if (vm_store_give_to_owner(fd, store_file) < 0)
		unlink(file); /* then SQLite shall make it */
}

void vm_store_make_log(const char *path)
{
	static const char *const suffixes[] = {"-wal", "-shm"};
	struct vm_err ignored = {0};

	for (size_t i = 0; i < VM_ARRAY_LEN(suffixes); i++) {
		VM_AUTO_FREE char *file = vm_strf(&ignored, "%s%s", path, suffixes[i]);

		if (file && access(file, F_OK) < 0 && errno == ENOENT && on_btrfs(path))
			make_in_place(file, path);
		vm_err_clear(&ignored);
	}
}
