/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The turn of those who write to the store. SQLite lets one write at a time, and has the others
 * sleep and look again, for up to 0.1 s; of 64 forks at once that was most of the time. So whoever
 * is about to write takes the flock of locks/store.turn before, and gives it back with the end of
 * the transaction: the kernel wakes the next at that instant, and has it back when a holder dies.
 *
 * It is for speed only. What excludes is SQLite's own lock: who cannot have the turn, because the
 * file cannot be opened or somebody in front is stopped (Ctrl-Z), writes without one from then on,
 * and waits as SQLite does. Nothing is waited for by someone who has it but SQLite's lock, which
 * only those have longer than an instant who have no turn; so it has no rank.
 *
 * The file is opened each time: a descriptor that stayed would be one fewer for what comes after a
 * first transaction, which has said what is going to be done.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "lock.h"
#include "store_sql.h"
#include "util.h"

#define TURN_DIR "locks"
#define TURN_FILE "store.turn"

/* Many transactions, and still most of VM_STORE_BUSY_MS is left. */
enum { TURN_MS = 5000 };

/* The directory of locks, which may be another user's: no link is followed out of it. Or -1. */
static int open_dir(const char *store_file)
{
	struct vm_err ignored = {0};
	const char *slash = strrchr(store_file, '/');
	VM_AUTO_FREE char *path =
	        slash ? vm_strf(&ignored, "%.*s/" TURN_DIR, (int)(slash - store_file), store_file)
	              : NULL;

	return path ? open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
}

/* Of the owner of the store, whoever makes it: others would have to do without. -1 without one. */
static int open_turn(const char *store_file)
{
	const int flags = O_RDWR | O_NOFOLLOW | O_CLOEXEC;
	VM_AUTO_CLOSE int dir_fd = open_dir(store_file);
	int fd = dir_fd < 0 ? -1 : openat(dir_fd, TURN_FILE, flags);

	if (fd >= 0 || dir_fd < 0)
		return fd;
	fd = openat(dir_fd, TURN_FILE, flags | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		return openat(dir_fd, TURN_FILE, flags); /* another was first */
	if (vm_store_give_to_owner(fd, store_file) < 0)
		vm_cleanup_close(&fd);
	return fd;
}

void vm_store_take_turn(struct vm_store *store)
{
	const char *file = sqlite3_db_filename(store->db, "main");
	struct vm_err ignored = {0};

	if (!store->late && file && file[0])
		store->turn_fd = open_turn(file);
	if (store->turn_fd < 0 || flock(store->turn_fd, LOCK_EX | LOCK_NB) == 0)
		return;
	if (vm_flock_until(store->turn_fd, LOCK_EX, vm_monotonic_ms() + TURN_MS, &ignored) == 0)
		return;
	/*
	 * Not again: a holder that is stopped would be waited for with each transaction. What is
	 * left of the time is for SQLite's lock. It must be some, as all who came late to the turn
	 * may come to that together.
	 */
	vm_cleanup_close(&store->turn_fd);
	store->late = true;
	sqlite3_busy_timeout(store->db, VM_STORE_BUSY_MS - TURN_MS);
}

void vm_store_end_turn(struct vm_store *store)
{
	vm_cleanup_close(&store->turn_fd);
	if (store->late)
		sqlite3_busy_timeout(store->db, VM_STORE_BUSY_MS);
}
