/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fault points: places where a test ends the process, or lets the next call fail, to see what the
 * next comer makes of it. They exist in builds with FAULTS=1 only; elsewhere vm_fault() is false
 * and costs nothing.
 *
 * Every side effect passes two of them: NAME just before it (may fail), NAME.done just after it.
 * The effects are made by few functions (lib/fs.c, lib/store_sql.c, lib/vmm*.c, lib/slot.c,
 * lib/lock.c, the wrapper of the drivers), so a verb that is added has its points from the start.
 * `vmctl doctor --fault-points` lists them; docs/faults.md tells how to use them.
 *
 *   VMCTL_FAULT=POINT[#N]:ACTION[,...]   at the Nth time (default: the first) that the process
 *                                        passes the point; ACTION is kill (SIGKILL of itself), stop
 *                                        (SIGSTOP, to hold it there), or fail:ERRNO
 *   VMCTL_FAULT_TRACE=FILE               appends POINT#N for each point that is passed
 */
#ifndef VM_FAULT_H
#define VM_FAULT_H

#include <stdbool.h>
#include <stddef.h>

#include "err.h"

/* X(constant, name, whether NAME.done may fail too, what the effect is) */
#define VM_FAULT_EFFECTS(X)                                                                        \
	X(ROOT_MKDIR, "root.mkdir", false, "the data root and its directories are made")           \
	X(STORE_ROOM, "store.room", false, "room is made for the store's log")                     \
	X(STORE_COMMIT, "store.commit", false, "a transaction of the store is committed")          \
	X(LOCK_CREATE, "lock.create", false, "a lock file or gate is opened, and made if missing") \
	X(LOCK_TAKE, "lock.take", false, "a lock is taken")                                        \
	X(LOCK_GATE, "lock.gate", false, "the gate of an instance that is no more is unlinked")    \
	X(LOCK_MEMORY, "lock.memory", false, "the memory lock of such an instance is unlinked")    \
	X(LOCK_UNLINK, "lock.unlink", false, "the lock file of such an instance is unlinked")      \
	X(FS_MKDIR, "fs.mkdir", false, "a directory is made")                                      \
	X(FS_CREATE, "fs.create", false, "a file is created")                                      \
	X(FS_COPY, "fs.copy", false, "a disk is filled from another, or made blank")               \
	X(FS_FILL, "fs.fill", false, "what is not in a layer of memory comes from its base")       \
	X(FS_PUNCH, "fs.punch", false, "zeroes of a saved memory become holes")                    \
	X(FS_WRITE, "fs.write", false, "a file's content is written")                              \
	X(FS_SYNC, "fs.sync", false, "a file or directory is synced")                              \
	X(FS_LINK, "fs.link", false, "a file gets a second link")                                  \
	X(FS_SYMLINK, "fs.symlink", false, "a symbolic link is made")                              \
	X(FS_RENAME, "fs.rename", false, "a file or directory is renamed")                         \
	X(FS_UNLINK, "fs.unlink", false, "a file is unlinked")                                     \
	X(FS_REMOVE, "fs.remove", false, "an entry of a directory tree is removed")                \
	X(POOL_PUT, "pool.put", false, "a memory file that nobody needs goes into the pool")       \
	X(POOL_TAKE, "pool.take", false, "a memory file is taken out of the pool")                 \
	X(VMM_ALIVE, "vmm.alive", false, "the liveness lock of a VMM is taken")                    \
	X(VMM_STREAMS, "vmm.streams", false, "console, input and log of a VMM are made")           \
	X(VMM_FORK, "vmm.fork", false, "the child that becomes a VMM is forked")                   \
	X(VMM_RECORD, "vmm.record", false, "that child (it is the one to die) records its pid")    \
	X(VMM_VIEW, "vmm.view", false, "that child makes its mount namespace")                     \
	X(VMM_KILL, "vmm.kill", false, "a VMM is killed")                                          \
	X(DRIVER_BOOT, "driver.boot", false, "a VMM is spawned and boots a guest")                 \
	X(DRIVER_LOAD, "driver.load", false, "a VMM is spawned and loads a saved guest")           \
	X(DRIVER_PAUSE, "driver.pause", true, "a guest is paused")                                 \
	X(DRIVER_RESUME, "driver.resume", true, "a guest is resumed")                              \
	X(DRIVER_QUERY, "driver.query", true, "a guest is asked whether it runs")                  \
	X(DRIVER_SAVE, "driver.save", true, "a guest's memory and state are saved")                \
	X(DRIVER_FREEZE, "driver.freeze", true, "a running guest's disks get new layers")          \
	X(DRIVER_FINISH, "driver.finish", true, "what was saved is made fit to be loaded")         \
	X(DRIVER_SHUTDOWN, "driver.shutdown", true, "a guest is asked to shut down")               \
	X(DRIVER_MEMORY, "driver.memory", true, "a saved memory is made usable")                   \
	X(DRIVER_REQUEST, "driver.request", true, "one request to a VMM's API")                    \
	X(SLOT_SEMAPHORE, "slot.semaphore", false, "the semaphore of the restore slots is opened") \
	X(SLOT_RECORD, "slot.record", false, "a settlement of the slots writes its record")        \
	X(SLOT_TAKE, "slot.take", false, "a slot's file is taken, with a token in hand or none")   \
	X(SLOT_RELEASE, "slot.release", false, "a slot is given back: its file, then its token")   \
	X(SHM_NOTE, "shm.note", false, "whose the semaphore is, is noted in /dev/shm")             \
	X(SHM_REMOVE, "shm.remove", false, "a file of a deleted data root in /dev/shm is unlinked")

enum vm_fault_point {
#define VM_FAULT_POINT(constant, name, may_fail, what)                                             \
	VM_FAULT_##constant, VM_FAULT_##constant##_DONE,
	VM_FAULT_EFFECTS(VM_FAULT_POINT)
#undef VM_FAULT_POINT
	        VM_FAULT_COUNT
};

struct vm_fault_info {
	char name[32];
	bool may_fail;    /* fail:ERRNO is possible here, not only kill and stop */
	const char *what; /* the effect that it stands before or behind */
};
/* The points, in every build. */
void vm_fault_info(enum vm_fault_point point, struct vm_fault_info *ret);
/* Whether this build has them. */
bool vm_fault_built_in(void);

/*
 * Checks $VMCTL_FAULT before anything is done. Errors: usage (unknown point, action or error name),
 * unsupported (it is set and this build has no fault points).
 */
int vm_fault_check(struct vm_err *err);

#ifdef VM_FAULTS
/*
 * Passes a point: kills or stops the process if so asked; true, with errno set, if the effect is to
 * fail. Async-signal-safe enough for the child between fork and exec.
 */
bool vm_fault(enum vm_fault_point point);
#else
static inline bool vm_fault(enum vm_fault_point point)
{
	(void)point;
	return false;
}
#endif

#endif
