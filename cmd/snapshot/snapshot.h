/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of vmctl-snapshot, a file for each or for a few that are alike. */
#ifndef SNAPSHOT_SNAPSHOT_H
#define SNAPSHOT_SNAPSHOT_H

#include "../cli/fork_args.h"
#include "adopt.h"
#include "gc.h"
#include "info.h"

/* The options of all commands; each has those of its own table. */
struct snapshot_options {
	struct vm_image_info info; /* what `create` says of the image; owned */
	struct cli_fork fork;
	struct vm_gc_policy gc;
	struct vm_label_selector selector; /* of `ls`; owned */
	bool dry_run, compress;
	struct vm_adopt_request adopt;
	struct vm_adopt_disk disks[VM_DISKS_MAX]; /* of `adopt`; recorded is owned */
};

extern const struct cli_verb snapshot_create, snapshot_ls, snapshot_inspect, snapshot_rm,
        snapshot_restore, snapshot_fork, snapshot_gc, snapshot_compress, snapshot_adopt;

/* An image as JSON; `usage` may be NULL. New reference, or NULL with err. */
struct vm_usage;
json_t *snapshot_json(const struct cli *cli, const struct vm_instance *image,
                      const struct vm_usage *usage, struct vm_err *err);
/* Finds an image; an instance is invalid_state. */
int snapshot_find(struct cli *cli, const char *selector, struct vm_instance *ret,
                  struct vm_err *err);

#endif
