/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saved states as files: what a hypervisor has recorded in one, and the same state with other
 * recorded paths or another guest CID. These need no data root and no instance; the driver that
 * recognises the file does the work, and everybody else asks here.
 */
#ifndef VM_STATE_H
#define VM_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../err.h"

struct vm_driver;

enum { VM_STATE_FILE_MAX_BYTES = 16 * 1024 * 1024 }; /* real ones have 15 to 500 KB */
enum { VM_STATE_PATH_MAX = 4095 };

enum vm_state_path_kind {
	VM_STATE_KERNEL,
	VM_STATE_INITRD,
	VM_STATE_DISK,
	VM_STATE_PMEM, /* a disk that the guest sees as memory */
	VM_STATE_VSOCK,
	VM_STATE_BOOT_ARGS, /* a path inside the boot arguments: the guest's, and never changed */
};

struct vm_state_path {
	enum vm_state_path_kind kind;
	char *id;             /* of disks and pmem devices, else NULL */
	char *text;           /* UTF-8 without NUL */
	size_t offset;        /* where the text stands in the file */
	bool root, read_only; /* of disks and pmem devices */
};

/* What is recorded in a state; its own until vm_state_info_free(). */
struct vm_state_info {
	const struct vm_driver *driver;
	char format[24];      /* of the state, not the hypervisor's version */
	const char *encoding; /* a constant */
	const char *versions; /* of the hypervisor, that load it; a constant */
	uint64_t memory_bytes;
	unsigned vcpus;
	uint64_t guest_cid; /* 0: no vsock */
	struct vm_state_path *paths;
	size_t count;
};

void vm_state_info_free(struct vm_state_info *info);
const char *vm_state_kind_name(enum vm_state_path_kind kind);

struct vm_state_change {
	size_t path;      /* index into the paths of vm_state_describe() */
	const char *text; /* what is recorded instead */
};

struct vm_state_changes {
	const struct vm_state_change *paths;
	size_t count;
	uint64_t guest_cid; /* 0: as it is */
};

/*
 * The driver that recognises a file as one of its states. Errors: unsupported (none does, or only
 * ones without these functions).
 */
int vm_state_driver(const void *data, size_t len, const struct vm_driver **ret, struct vm_err *err);

/*
 * Checks a state and reads what is recorded. Errors: corrupt (damaged), unsupported (another
 * architecture, or a format that the driver does not know), incompatible (intact, but not what its
 * format says, or with a path that cannot be shown).
 */
int vm_state_describe(const void *data, size_t len, struct vm_state_info *ret, struct vm_err *err);

/*
 * Makes a copy in which the given paths and the guest CID are others; nothing else differs but
 * lengths and checksums. Texts of equal length change nothing else at all. The copy has been read
 * back and compared before it is returned; `*ret_data` is malloc'ed and the caller's to free.
 * Errors: as above; usage (a text that cannot be recorded, a reserved CID, a path of the boot
 * arguments, a path twice), invalid_state (a CID for a state without vsock).
 */
int vm_state_rewrite(const void *data, size_t len, const struct vm_state_changes *changes,
                     void **ret_data, size_t *ret_len, struct vm_err *err);

/* --- texts for changes; malloc'ed, NULL with err ------------------------------------------------
 */

/*
 * A relative name that takes exactly `len` bytes: padded with "./" and "/" in front, so that it
 * names the same file from the same directory. As it is when it does not fit, or is one byte
 * shorter, or absolute.
 */
char *vm_state_fit(const char *name, size_t len, struct vm_err *err);
/*
 * `text` with the directory `from` replaced by `to`: only where `from` ends in `text` or a '/'
 * follows. *ret is NULL when `text` is not in `from`.
 */
int vm_state_move_path(const char *text, const char *from, const char *to, char **ret,
                       struct vm_err *err);
/* The name that a file of this kind has in an instance's directory. */
char *vm_state_own_name(const struct vm_state_path *path, struct vm_err *err);

#endif
