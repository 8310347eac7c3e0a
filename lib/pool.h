/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool/: memory files that nobody needs any more, kept to be written over. To write memory into
 * blocks that are allocated takes a half to a third of the time that new ones take, and a guest
 * that is saved stands still meanwhile.
 *
 * A file goes in when its last link would go, and comes out by rename, which only one can do. What
 * is in it is nobody's: of any content, at most pool_max of the settings in all, never where the
 * disk is short, and thrown away when space is needed.
 *
 * That nobody uses it is known by its links: a memory file has one in the directory of each
 * instance that is saved in it, and of each whose living VMM has it mapped, under VM_FILE_MEMORY or
 * VM_FILE_MAPPED, for as long as that VMM lives. A file whose only link is in a directory that we
 * hold exclusively, with no VMM, is therefore ours.
 *
 * Where the filesystem shares extents there are better ways (save.h), and a file may share extents
 * though it has one link: there the pool stays empty, unless diffs are turned off.
 */
#ifndef VM_POOL_H
#define VM_POOL_H

#include "fs.h"
#include "root.h"

/*
 * Removes dir_fd/name, a memory file of an instance that we hold exclusively and whose VMM is dead:
 * into the pool if it was its last link and there is a place for it. A missing one is no error.
 */
int vm_pool_put(const struct vm_root *root, int dir_fd, const char *name, struct vm_err *err);
/* The same, but a file that the pool does not want stays where it is: false. */
bool vm_pool_offer(const struct vm_root *root, int dir_fd, const char *name);
/* Whether a file of that size in dir_fd could go in one day, if it is all allocated then. */
bool vm_pool_is_for(const struct vm_root *root, int dir_fd, uint64_t size_bytes);
/*
 * Whether dir_fd/name is now a file of that size out of the pool, all of it allocated. It has any
 * content, and must be written over wholly. What fails is no error: a new file does too.
 */
bool vm_pool_take(const struct vm_root *root, uint64_t size_bytes, int dir_fd, const char *name);
/* Gives all space back: what it frees, 0 if nothing. */
uint64_t vm_pool_empty(const struct vm_root *root);
/* For each entry that is no file of the pool's, whatever it is. */
int vm_pool_each_stray(const struct vm_root *root, vm_fs_entry *each, void *ctx,
                       struct vm_err *err);

#endif
