/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files by directory descriptor: reading, publishing, copying, removing. Names are single path
 * components below `dir_fd`; symbolic links are never followed.
 */
#ifndef VM_FS_H
#define VM_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "err.h"
#include "tell.h"

/* Opens a directory below dir_fd (O_NOFOLLOW, O_CLOEXEC); the descriptor, or -1 with err. */
int vm_fs_open_dir(int dir_fd, const char *name, struct vm_err *err);
/* For each entry of a directory but . and ..: 0 to go on, -1. dir_fd is that directory's. */
typedef int vm_fs_entry(void *ctx, int dir_fd, const char *name, struct vm_err *err);
int vm_fs_each(int dir_fd, const char *name, vm_fs_entry *each, void *ctx, struct vm_err *err);
/* Creates it with mode 0700 unless it exists, then opens it. */
int vm_fs_make_dir(int dir_fd, const char *name, struct vm_err *err);

/*
 * Reads a whole regular file of at most `max` bytes; *ret_data is malloc'ed and NUL-terminated
 * (*ret_len does not count the NUL). Errors: not_found, corrupt (larger than max), system.
 */
int vm_fs_read(int dir_fd, const char *name, size_t max, char **ret_data, size_t *ret_len,
               struct vm_err *err);

/*
 * Publishes a file: written under a temporary name, fsynced if `durable`, renamed over `name`, the
 * directory fsynced if `durable`. Readers see the old or the new file, a kill leaves at most
 * NAME.tmp.
 */
int vm_fs_publish(int dir_fd, const char *name, const void *data, size_t len, bool durable,
                  struct vm_err *err);

/*
 * The same in a directory that is not ours, durably: under a temporary name that nobody else has,
 * and with `replace` false only if `name` does not exist yet. Errors: already_exists; as above.
 */
int vm_fs_publish_foreign(int dir_fd, const char *name, const void *data, size_t len, bool replace,
                          struct vm_err *err);

/* How a disk came to be; VM_COPY_LAYER: a new layer on a shared one (overlay.h). */
enum vm_copy { VM_COPY_REFLINK, VM_COPY_SPARSE, VM_COPY_LAYER };

/*
 * Copies the open regular file `from_fd` to a new file: by FICLONE where the filesystem can, else
 * only its data extents, of which `work` (may be NULL) tells. The copy has the same size and holes.
 * On failure nothing is left. Errors: already_exists, insufficient_resources (disk full), system
 * (also "interrupted").
 */
int vm_fs_copy(int from_fd, int dir_fd, const char *name, mode_t mode, struct vm_work *work,
               enum vm_copy *ret_how, struct vm_err *err);

/*
 * The same of a file by name, by FICLONE or not at all: *ret_cloned is false, and there is no file,
 * where the filesystem cannot.
 */
int vm_fs_clone(int from_fd, const char *from, int to_fd, const char *to, bool *ret_cloned,
                struct vm_err *err);

/*
 * Every hole of to_fd/to gets the data that from_fd/from has there; what both have as a hole stays
 * one. By holes, never by zeroes: those of `to` are data. Both are of one size, and nobody else
 * uses `to` yet. On failure it is worth nothing. `work` tells of it, or is NULL. Errors:
 * insufficient_resources, system (also "interrupted").
 */
int vm_fs_fill_holes(int from_fd, const char *from, int to_fd, const char *to, struct vm_work *work,
                     struct vm_err *err);
/*
 * Makes holes of pages of zeroes, where there are many in a row. It reads the same at any moment,
 * so whatever fails, or an interruption, only ends it. For files that nobody else uses yet.
 */
void vm_fs_punch_zeroes(int dir_fd, const char *name);

/*
 * Makes a file of that size of which all is allocated and cached, so that to write it takes no more
 * than that. If the disk has no room for it, or the filesystem cannot, there is none. Errors:
 * already_exists, system.
 */
int vm_fs_allocate(int dir_fd, const char *name, uint64_t size_bytes, struct vm_err *err);

/* Creates a file that must not exist yet, for writing. Errors: already_exists; as above. */
int vm_fs_create(int dir_fd, const char *name, mode_t mode, struct vm_err *err);
/* Another link, of the same name, in to_fd. */
int vm_fs_link(int from_fd, int to_fd, const char *name, struct vm_err *err);
/* A symbolic link. Errors: already_exists; system. */
int vm_fs_symlink(const char *target, int dir_fd, const char *name, struct vm_err *err);
/*
 * The target of a symbolic link: 1 and a malloc'ed string, 0 when it is none or does not exist, -1.
 */
int vm_fs_read_link(int dir_fd, const char *name, char **ret_target, struct vm_err *err);
/* rename(2) that replaces nothing: already_exists where `to` is there. */
int vm_fs_rename_new(int dir_fd, const char *from, const char *to, struct vm_err *err);
/* Another link, of another name. `to` must not exist: already_exists. */
int vm_fs_link_as(int from_fd, const char *from, int to_fd, const char *to, struct vm_err *err);
/* rename(2): replaces `to`. A missing `from` is an error (errno is ENOENT). */
int vm_fs_rename(int from_fd, const char *from, int to_fd, const char *to, struct vm_err *err);
/* renameat2(RENAME_EXCHANGE): each of two names gets what the other had, in one step. */
int vm_fs_exchange(int a_fd, const char *a, int b_fd, const char *b, struct vm_err *err);
/* Unlinks a file; a missing one is no error. */
int vm_fs_unlink(int dir_fd, const char *name, struct vm_err *err);
/* Removes a file or a directory with all it holds; a missing one is no error. */
int vm_fs_remove_tree(int dir_fd, const char *name, struct vm_err *err);
/* Removes an empty directory; a missing one, and one that is not empty, is no error. */
int vm_fs_remove_empty(int dir_fd, const char *name, struct vm_err *err);
bool vm_fs_exists(int dir_fd, const char *name);
/*
 * Has the kernel begin to write a file out, for a vm_fs_sync() that comes later, and waits for
 * nothing. Several files that are begun before the first is synced share the commits of the
 * filesystem's journal. It promises nothing, and what fails here is the sync's to report.
 */
void vm_fs_begin_sync(int dir_fd, const char *name);
/* fsync of a file by name, or of the directory itself when name is NULL. */
int vm_fs_sync(int dir_fd, const char *name, struct vm_err *err);

/*
 * The full path of `name` below dir_fd (NULL: of the directory itself) for a message, by
 * /proc/self/fd; just the name where that does not tell. Cut to `size`. Returns buf, keeps errno.
 */
enum { VM_PATH_SHOWN = 512 };
char *vm_fs_path(int dir_fd, const char *name, char *buf, size_t size);
/*
 * vm_err_sys() for a failure at `name` below dir_fd (NULL: the directory itself), with its full
 * path: "DOING /var/lib/vmctl/guests/ID/NAME: No space left on device". Returns -1.
 */
int vm_fs_fail(int dir_fd, const char *name, const char *doing, struct vm_err *err);
/* Puts the full path in front of an error that is set. Returns -1. */
int vm_fs_wrap(int dir_fd, const char *name, struct vm_err *err);

/* Bytes an unprivileged writer could still use on the filesystem of fd. */
int vm_fs_free_bytes(int fd, uint64_t *ret_bytes, struct vm_err *err);
/* Whether two files below the directory can share extents: tried with two small files. */
int vm_fs_reflink_supported(int dir_fd, bool *ret_supported, struct vm_err *err);
/*
 * The same quickly, and nothing is written: for verbs. A process remembers what it has found of the
 * last filesystem; for any thread. False as well where nothing can be tried.
 */
bool vm_fs_shares_extents(int dir_fd);
/*
 * Whether in a file of that size each page that was written is told from those around it that were
 * not, also one of zeroes: tried with a file that has no name. Not so with blocks larger than a
 * page, where zeroes are made holes, or where nothing is known of holes. Remembered as above, for
 * the last size.
 */
bool vm_fs_keeps_holes(int dir_fd, uint64_t size_bytes);

#endif
