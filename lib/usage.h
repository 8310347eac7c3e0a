/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a directory of files takes of the disk, and how much of that would come free with it. Forks
 * and images share much: memory by hard links, disks by extents.
 */
#ifndef VM_USAGE_H
#define VM_USAGE_H

#include <stdint.h>

#include "err.h"

struct vm_usage {
	uint64_t size_bytes;      /* as the files are long, with holes */
	uint64_t exclusive_bytes; /* of the disk: what removing the directory would free */
	uint64_t shared_bytes;    /* of the disk: what others have, too */
};

/*
 * Adds up the regular files of a directory; what is in directories below it does not count. All of
 * a file with a second link is shared, else its extents that the filesystem says are. Where it
 * cannot say, nothing of it is: then exclusive_bytes is only an upper bound. A file that goes away
 * meanwhile does not count. Nothing is flushed: what was written just now may count as nothing yet.
 */
int vm_usage_dir(int dir_fd, struct vm_usage *ret, struct vm_err *err);

#endif
