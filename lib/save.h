/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saving a running guest's memory cheaply, around the pause in which its VMM writes it:
 *
 *   vm_save_prepare()   before the pause: the file that the VMM will write into
 *   vm_save_write()     inside: the VMM writes memory and state
 *   vm_save_finish()    when nobody waits for it any more: a layer is made whole, zeroes become
 *                       holes
 *   vm_save_done()      of a guest that goes on: what makes its next save cheap
 *
 * Four ways, the cheapest that there is:
 *
 * - diff: the file is a reflink of the base, and the VMM writes over it what is dirty. The pause
 *   is short however large the guest is. Where the filesystem shares extents and the VMM tracks
 *   dirty pages.
 * - layer: the file is new, and the VMM writes only what is dirty into it. After the pause, and
 *   before anybody can see the file, its holes get what the base has there. The pause is as short,
 *   and the copy takes as long as the base has data. Where the VMM tracks dirty pages, and the
 *   filesystem shares no extents, but tells what was written page by page.
 * - recycled: the VMM writes all memory over a file that nobody needs any more (pool.h); blocks
 *   that are allocated already are written two to three times faster.
 * - full: into a new file, allocated and cached before the pause if it may be recycled one day.
 *
 * A full file is mostly zeroes, which become holes before anybody else uses it, unless it may be
 * recycled one day: what has holes would have to be allocated again. Where layers are possible they
 * always do, also those of a recycled file.
 *
 * The base, VM_FILE_BASE in the directory of the instance, is a link to the published memory file
 * that its VMM was loaded from or saved to last. Nobody else can remove or change it. Its being
 * there says: whatever differs from it by now is marked dirty in the VMM. So it is withdrawn before
 * each save, which resets the marks, also if it fails or whoever asked for it is killed; it comes
 * back after a success only, and goes with the VMM. Without it everything is written, which makes
 * a base again. Under a layer it has another name until that is whole, VM_FILE_BELOW beside the
 * layer: so its content is kept by us, and nobody who holds another link takes it for the last.
 */
#ifndef VM_SAVE_H
#define VM_SAVE_H

#include "held.h"

enum vm_save_how { VM_SAVE_FULL, VM_SAVE_RECYCLED, VM_SAVE_DIFF, VM_SAVE_LAYER };

struct vm_save {
	int to_fd; /* borrowed: the directory that memory and state are saved in */
	const char *name, *state;
	enum vm_save_how how;
	int64_t blocks; /* of the file before it is written */
	bool layers;    /* the next save of this guest can be a layer on this file */
	bool below;     /* there is a VM_FILE_BELOW in to_fd; ours to remove, on failure too */
};

/*
 * Makes what the guest of `held` will be saved into, to_fd/name (which must not exist), where that
 * is better than a file that the VMM makes; withdraws the base. On failure there may be a file, and
 * a VM_FILE_BELOW.
 * Errors: insufficient_resources, system.
 */
int vm_save_prepare(struct vm_op *op, struct vm_held *held, int to_fd, const char *name,
                    const char *state, struct vm_save *ret_save, struct vm_err *err);
/*
 * Saves the paused guest; `memory` and `state` are the paths of the files as the VMM sees them. On
 * failure they are there or not, and worth nothing. Errors: the driver's.
 */
int vm_save_write(struct vm_save *save, struct vm_machine *machine, const char *memory,
                  const char *state, struct vm_err *err);
/*
 * The save has succeeded; the file is not published yet, nor synced. On failure it is worth
 * nothing, and there is a VM_FILE_BELOW. Errors: insufficient_resources, system.
 */
int vm_save_finish(const struct vm_op *op, const struct vm_save *save, struct vm_machine *machine,
                   struct vm_err *err);
/*
 * The save has succeeded, and nobody will ever change the memory file: it is the base of the next,
 * if that can be a diff. For a VMM that goes on. What fails is a warning: the next is full then.
 */
void vm_save_done(struct vm_op *op, struct vm_held *held, const struct vm_save *save,
                  struct vm_machine *machine);

/*
 * Around the publication of a memory file in the place of one that a living VMM may have mapped:
 * that keeps its link, under VM_FILE_MAPPED, until the VMM is dead (pool.h); or gets its name back,
 * when the VMM goes on after all.
 */
int vm_save_put_aside(int dir_fd, struct vm_err *err);
int vm_save_put_back(int dir_fd, struct vm_err *err);

/* "full", "recycled", "diff", "layer"; or what the driver calls its own way. */
const char *vm_save_how_name(const struct vm_save *save, const struct vm_machine *machine);

#endif
