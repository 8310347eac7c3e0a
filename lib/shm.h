/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What data roots have in /dev/shm: the semaphores of their restore slots (sem.vmctl-<root id>-*,
 * slot.h) and a note, vmctl-<root id>.root, that says which directory the id belongs to:
 * "DEVICE INODE PATH\n" of its run/. The note is made before the first semaphore, so a semaphore
 * whose note is missing, or names a directory that is no more, was left by a data root that was
 * deleted or moved. To remove one that is in use after all is harmless: its waiters go on by their
 * slices, and the next caller makes it anew.
 */
#ifndef VM_SHM_H
#define VM_SHM_H

#include <stddef.h>

#include "err.h"
#include "util.h"

/* Notes that this root id's directory is run_fd, over a note that says otherwise. */
int vm_shm_note(const char *root_id, int run_fd, struct vm_err *err);

/*
 * The ids of dead data roots that have left something, without `own_id` (may be NULL) and without
 * what we have no right to remove. *ret is malloc'ed.
 */
int vm_shm_dead_roots(const char *own_id, char (**ret)[VM_ID_LEN + 1], size_t *ret_count,
                      struct vm_err *err);
/* Removes all that a root id has there: the semaphores first, the note last. */
int vm_shm_remove(const char *root_id, struct vm_err *err);

#endif
