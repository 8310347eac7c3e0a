/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose word counts. Settings name programs that vmctl runs, hooks are such programs: a file of
 * somebody else's must not decide what root runs, as with `sudo -E`, where $HOME is another's.
 *
 * What belongs to root or to whom we run as is trusted; as root also only if nobody else can write
 * it: it is not writable by others, and by its group only if that is root's.
 */
#ifndef VM_TRUST_H
#define VM_TRUST_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "err.h"

/*
 * strict: the owner counts also when we are not root. Errors: usage, naming the file, its owner and
 * what to do.
 */
int vm_trust_check(const struct stat *st, const char *path, bool strict, struct vm_err *err);
/*
 * The directories and links that an absolute path leads through, as it is written, strictly; not
 * what it leads to. Errors: usage, system.
 */
int vm_trust_check_way(const char *path, struct vm_err *err);
/*
 * A program that is to be run, strictly, with the directories around it. *ret_real is its path
 * without links, for free(): run that, as nobody else can put another program there. Errors: usage,
 * system, insufficient_resources.
 */
int vm_trust_program(const char *path, char **ret_real, struct vm_err *err);
/* Reads a file as vm_yaml_read() does, if it can be trusted. Errors: as both of them. */
int vm_trust_read(const char *path, bool strict, char **ret_text, size_t *ret_len,
                  struct vm_err *err);

#endif
