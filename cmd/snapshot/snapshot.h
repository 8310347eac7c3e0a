/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of vmctl-snapshot, a file for each or for a few that are alike. */
#ifndef SNAPSHOT_SNAPSHOT_H
#define SNAPSHOT_SNAPSHOT_H

#include "../cli/cli.h"
#include "adopt.h"
#include "gc.h"

/* The options of all commands; each has those of its own table. */
struct snapshot_options {
	struct vm_image_info info; /* what `create` says of the image; owned */
	struct vm_fork_request fork;
	struct vm_gc_policy gc;
	bool dry_run, compress;
	struct vm_adopt_request adopt;
	struct vm_adopt_disk disks[VM_DISKS_MAX]; /* of `adopt`; recorded is owned */
};

extern const struct cli_verb snapshot_create, snapshot_ls, snapshot_inspect, snapshot_rm,
        snapshot_restore, snapshot_fork, snapshot_gc, snapshot_compress, snapshot_adopt;

/* Options that say something of an image: --comment, --label, --expires. */
enum snapshot_info_key {
	SNAPSHOT_COMMENT = CLI_KEY_VERB,
	SNAPSHOT_LABEL,
	SNAPSHOT_EXPIRES,
	SNAPSHOT_INFO_KEYS, /* a command's further options count from here */
};
#define SNAPSHOT_INFO_OPTIONS                                                                      \
	{"comment", SNAPSHOT_COMMENT, "TEXT", "what the snapshot is", 0, false},                   \
	        {"label", SNAPSHOT_LABEL, "KEY=VALUE", "a label; may be repeated", 0, false},      \
	{                                                                                          \
		"expires", SNAPSHOT_EXPIRES, "DURATION",                                           \
		        "when 'gc' may remove it: 7d, 12h, ... (default never)", 0, false          \
	}
int snapshot_info_option(struct vm_image_info *info, int key, const char *value,
                         struct vm_err *err);

/* An image as JSON; `usage` may be NULL. New reference, or NULL with err. */
struct vm_usage;
json_t *snapshot_json(const struct cli *cli, const struct vm_instance *image,
                      const struct vm_usage *usage, struct vm_err *err);
/* Finds an image; an instance is invalid_state. */
int snapshot_find(struct cli *cli, const char *selector, struct vm_instance *ret,
                  struct vm_err *err);

#endif
