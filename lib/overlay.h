/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks in layers: writable disks of the format qcow2.
 *
 * The disk file of an instance, disk-<id>.img, is the active layer: the only one that is ever
 * written, and only by that instance's VMM. What it lies on are frozen layers, which nobody writes;
 * a fork and its source share them by hard links, each in its own directory and under the same
 * name, disk-<id>.<24 characters>.layer, for that name is recorded in the layer above.
 *
 * To fork, the active layer of the source is frozen: a new one that lies on it takes its place.
 * Each fork gets links to the frozen ones and an active layer of its own. So a fork changes its
 * source's directory, and needs the source alone (not of an image: that is made with an active
 * layer that is empty, and never gets another).
 *
 * Order, and what a kill leaves: the layer gets the name that it will be known by; the new one is
 * made and synced; it takes the name of the disk in one rename. Before that rename the source is as
 * it was, but for names that nobody uses (vm_overlay_tidy() takes them away); after it, it sees the
 * same content through one more layer. A running VMM is told to go over after the rename: until it
 * has, it writes the layer below, which nobody else has got yet.
 */
#ifndef VM_OVERLAY_H
#define VM_OVERLAY_H

#include <stdbool.h>

#include "err.h"
#include "spec.h"
#include "util.h"

enum { VM_LAYER_NAME_SIZE = VM_DISK_ID_MAX + VM_ID_LEN + 16 };

/* The frozen layers that copies of the disks are to lie on, by the index of the disk. */
struct vm_frozen {
	char layer[VM_DISKS_MAX][VM_LAYER_NAME_SIZE]; /* "": a disk that is copied otherwise */
};

/* Whether a disk is kept in layers. */
bool vm_overlay_is(const struct vm_disk *disk);
/* Whether any is: then a fork needs its source alone. */
bool vm_overlay_any(const struct vm_spec *spec);

/*
 * Freezes the disks of a directory at rest; no VMM has them open. A layer that nothing was written
 * to stays active, and what it lies on is given. With `may_change` false nothing is changed: an
 * active layer that is not empty is corrupt. Errors: corrupt, unsupported (too many layers),
 * insufficient_resources, system.
 */
int vm_overlay_freeze(int dir_fd, const struct vm_spec *spec, bool may_change,
                      struct vm_frozen *ret, struct vm_err *err);
/*
 * The name under which the active layer will be frozen one day; it gets one if it has none. A VMM
 * opens the disk by it, so that it can tell which layer it writes.
 */
int vm_overlay_name(int dir_fd, const struct vm_disk *disk, char ret_name[VM_LAYER_NAME_SIZE],
                    struct vm_err *err);
/* A new, empty active layer on the frozen one `below`; its own name to be is returned. */
int vm_overlay_put(int dir_fd, const struct vm_disk *disk, const char *below,
                   char ret_name[VM_LAYER_NAME_SIZE], struct vm_err *err);
/*
 * Whether each disk can get one more layer: before a running guest is paused for it. Errors:
 * unsupported (there are as many as can be), corrupt, system.
 */
int vm_overlay_check_depth(int dir_fd, const struct vm_spec *spec, struct vm_err *err);
/*
 * What the active layer lies on, if nothing was written to it; else "". Of a VMM that has flushed
 * what it has of it.
 */
int vm_overlay_below_empty(int dir_fd, const struct vm_disk *disk,
                           char ret_layer[VM_LAYER_NAME_SIZE], struct vm_err *err);
/* Links the frozen layer with all that it lies on into to_fd, and puts a new one there. */
int vm_overlay_share(int from_fd, const char *layer, int to_fd, const struct vm_disk *disk,
                     struct vm_err *err);
/*
 * Whether the disk, which may be read-only, and the files it lies on are there, whole enough, and
 * of the size that is recorded. Errors: corrupt, unsupported, system.
 */
int vm_overlay_check(int dir_fd, const struct vm_disk *disk, struct vm_err *err);
/*
 * Unlinks layers of this disk that the active one does not lie on: what a kill has left. While no
 * VMM has them open.
 */
int vm_overlay_tidy(int dir_fd, const struct vm_disk *disk, struct vm_err *err);

#endif
