/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data root: one directory that holds everything vmctl knows, opened once and used through its
 * descriptors. Layout (see vmctl-store(5)): vmctl.db, guests/<id>/, images/, locks/, run/, pool/,
 * trash/, all of mode 0700.
 */
#ifndef VM_ROOT_H
#define VM_ROOT_H

#include <stdbool.h>

#include "config.h"
#include "lock.h"
#include "store.h"

enum vm_root_mode {
	VM_ROOT_READ,   /* takes no lock, but to migrate a store of an older vmctl; a missing root
	                   reads as an empty one */
	VM_ROOT_CHANGE, /* holds the store lock shared; a missing root has nothing to change */
	VM_ROOT_CREATE, /* the same, but makes a missing root */
};

struct vm_root {
	char *path; /* absolute */
	/* -1 for a missing root that is only read; images_fd also for one of an older vmctl */
	int fd, guests_fd, images_fd, locks_fd, run_fd, trash_fd;
	struct vm_config config;
	struct vm_store *store;
	struct vm_lock store_lock;
	bool missing;
};
#define VM_ROOT_INIT                                                                               \
	{                                                                                          \
		.fd = -1, .guests_fd = -1, .images_fd = -1, .locks_fd = -1, .run_fd = -1,          \
		.trash_fd = -1, .store_lock = VM_LOCK_INIT                                         \
	}

/*
 * The data root's path: `option` if not NULL, else $VMCTL_ROOT, else /var/lib/vmctl for root or
 * ${XDG_STATE_HOME:-~/.local/state}/vmctl. malloc'ed; NULL with err (usage: it is empty or relative
 * to nothing).
 */
char *vm_root_path(const char *option, struct vm_err *err);

/*
 * Opens it. wait_ms: 0 not at all, -1 for ever, else milliseconds; NULL: the config's default.
 * `*ret_wait_ms` (may be NULL) is the wait that applies.
 * Errors: those of config and store, busy (a migration or repair holds the store), system.
 */
int vm_root_open(const char *option, enum vm_root_mode mode, const int64_t *wait_ms,
                 struct vm_root *ret_root, int64_t *ret_wait_ms, struct vm_err *err);
void vm_root_close(struct vm_root *root);

/* Where the directories of a kind are: guests/ or images/, by the same length of name. */
int vm_root_kind_fd(const struct vm_root *root, enum vm_kind kind);
#define VM_GUESTS_DIR "guests"
#define VM_IMAGES_DIR "images"
#define VM_POOL_DIR "pool"

/*
 * The store's lock below locks/. The gate gives an exclusive taker (migration, repair) its turn in
 * a stream of changing verbs, each of which shares the lock.
 */
#define VM_STORE_LOCK "store"
#define VM_STORE_GATE "store.gate"

/* File names below run/ and locks/; the buffer must hold VM_ID_LEN + 8 bytes. Return buf. */
enum { VM_LOCK_NAME_SIZE = VM_ID_LEN + 8 };
char *vm_root_alive_name(const char *id, char *buf);
char *vm_root_gate_name(const char *id, char *buf);
char *vm_root_memory_lock_name(const char *id, char *buf);

#endif
