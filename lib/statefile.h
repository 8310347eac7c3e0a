/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files with saved states, wherever they are: reading them, and changing what they record. Needs no
 * data root.
 */
#ifndef VM_STATEFILE_H
#define VM_STATEFILE_H

#include "driver/driver.h"

struct vm_statefile {
	char *path; /* where it really is: absolute, without symbolic links */
	char *data;
	size_t len;
	const struct vm_driver *driver;
	struct vm_state_info info;
};

/*
 * Reads, checks and understands a file. Errors: not_found, system; corrupt, unsupported and
 * incompatible as vm_driver_recognise().
 */
int vm_statefile_open(const char *path, struct vm_statefile *ret, struct vm_err *err);
void vm_statefile_close(struct vm_statefile *file);

/* Recorded paths that are to become others. */
struct vm_state_rule {
	const char *text; /* OLD=NEW; each may have '=' in it */
	bool prefix;      /* OLD is a directory: all that is in it moves, too */
};

struct vm_state_rules {
	struct vm_state_rule *rules;
	size_t count;
	bool relative; /* what no rule is about becomes relative, with the name that vmctl gives */
	uint64_t guest_cid; /* 0: as it is */
};

/*
 * What is to be recorded instead of each path of `info`: *ret_texts has an element for each, NULL
 * where nothing changes; free it with vm_state_texts_free(). The first rule that is about a path
 * decides. Errors: usage (no rule, a rule without '=' or about a path of the boot arguments),
 * not_found (a rule about no recorded path).
 */
int vm_state_rules_apply(const struct vm_state_rules *rules, const struct vm_state_info *info,
                         char ***ret_texts, struct vm_err *err);
void vm_state_texts_free(char **texts, size_t count);

/*
 * Writes a file with these texts and guest CID recorded, to `to`, which must not exist, or over the
 * file itself for NULL. `ret_info` tells what the new file records. Errors: those of the driver's
 * rewrite_state, already_exists, insufficient_resources, system.
 */
int vm_statefile_rewrite(const struct vm_statefile *file, char *const *texts, uint64_t guest_cid,
                         const char *to, struct vm_state_info *ret_info, struct vm_err *err);

#endif
