/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the verbs do. Each cmd/VERB.c parses options, calls one of these and prints the result.
 *
 * Every changing operation: finds the instance, takes its lock, settles what a dead predecessor
 * left (settle.h), checks the state under the lock, writes an intent, acts, and commits. A failure
 * leaves the instance as it was, or says in which state it is now. On success `*ret` (may be NULL)
 * is the row as committed; free it with vm_instance_free().
 */
#ifndef VM_OPS_H
#define VM_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "root.h"
#include "spec.h"
#include "store.h"
#include "tell.h"

/* One run of a verb. */
struct vm_op {
	struct vm_root *root;
	const char *verb; /* "fork"; stands in intents and events */
	int64_t wait_ms;  /* each wait for a lock or a slot: 0 none, -1 for ever, else milliseconds
	                   */
	int64_t began_us; /* vm_monotonic_us() */
	int64_t lock_waited_us, slot_waited_us; /* spent waiting so far */
	/* Which instance it is about, as soon as that is known: for the event of a failure. */
	char instance_id[VM_ID_LEN + 1], instance_name[VM_FULL_NAME_MAX + 1];
	/* Says what is going on, e.g. "waiting for instance 'web'"; may be NULL. One line, no
	 * newline. */
	void (*progress)(void *ctx, const char *text);
	/* Who wants to know how far it is, and what it waits for; may be NULL. */
	const struct vm_tell *tell;
	/* Says something the user should know though the operation goes on; may be NULL. */
	void (*warn)(void *ctx, const char *text);
	void *ctx;
	/* Set by the verbs that end a VMM: one that does not answer is killed, by force at once. */
	bool ends_vmm, force;
	bool tolerate_damage; /* set by vm_rm(force): a missing directory is no reason to refuse */
	unsigned on;          /* kinds it works on, a bit mask of 1 << enum vm_kind; 0: instances */
};
/* Begins the operation, or the next one of the same run: its clocks start anew. */
void vm_op_begin(struct vm_op *op);

/*
 * Makes an instance (stopped) from a complete spec: kernel, initrd and disks are copied into it.
 * `start`: boots it afterwards; if that fails the instance stays, stopped, and the message says so.
 * Errors: usage (spec, files), already_exists, insufficient_resources, unsupported.
 */
int vm_create(struct vm_op *op, const struct vm_spec *spec, bool start, struct vm_instance *ret,
              struct vm_err *err);

int vm_start(struct vm_op *op, const char *selector, struct vm_instance *ret, struct vm_err *err);

struct vm_stop_options {
	int64_t grace_ms; /* how long the guest may take to shut down before it is killed; 0: at
	                     once */
	bool discard;     /* a standby may be stopped: its saved memory is lost */
};
int vm_stop(struct vm_op *op, const char *selector, const struct vm_stop_options *options,
            struct vm_instance *ret, struct vm_err *err);

int vm_pause(struct vm_op *op, const char *selector, struct vm_instance *ret, struct vm_err *err);
int vm_resume(struct vm_op *op, const char *selector, struct vm_instance *ret, struct vm_err *err);
int vm_standby(struct vm_op *op, const char *selector, struct vm_instance *ret, struct vm_err *err);
int vm_restore(struct vm_op *op, const char *selector, struct vm_instance *ret, struct vm_err *err);
/* force: whatever its state, a running VMM is killed at once. */
int vm_rm(struct vm_op *op, const char *selector, bool force, struct vm_instance *ret,
          struct vm_err *err);

struct vm_label_change {
	struct vm_labels set;
	const char *const *drop; /* keys, none of which is set; one that is not there is no error */
	size_t drop_count;
};
/*
 * Changes the labels of an instance or image, all or none of them. Errors: usage (it would have
 * more than VM_LABELS_MAX).
 */
int vm_label(struct vm_op *op, const char *selector, const struct vm_label_change *change,
             struct vm_instance *ret, struct vm_err *err);

enum { VM_FORKS_MAX = 1000 };

struct vm_fork_request {
	const char *source; /* selector */
	const char *name;   /* a name, a pattern with {} (1..count), or NULL: SOURCE-xxxxxx */
	unsigned count;     /* 1..VM_FORKS_MAX */
	bool has_target;
	enum vm_state target; /* stopped, standby, running; default: running, of a stopped source
	                         stopped */
	bool from_running;    /* a running source may be paused for an instant */
	bool atomic;          /* all forks or none */
	bool only_image;      /* the source must be a snapshot */
	/* Of the forks, as in a spec, with {} for the number of the fork; NULL: as the source has
	 * it. */
	const char *network;
	const struct vm_labels *labels; /* win over the source's; or NULL */
	/*
	 * Not NULL: the one fork is an image of the source, with all that the source has saved or
	 * is running, and its name is SOURCE/NAME. For vm_snapshot_create().
	 */
	const struct vm_image_info *image;
};

/* What became of each fork, in order. */
struct vm_fork_result {
	struct vm_instance instance; /* valid when there is no err */
	char name[VM_FULL_NAME_MAX + 1];
	const struct vm_err *err; /* owned; NULL: it was made */
};

/*
 * Forks. Returns 0 when all forks were made, 1 when some were (not with atomic), -1 when none, with
 * err set. `*ret_results` has *ret_count entries when 0 or 1 is returned; free with
 * vm_fork_results_free.
 */
int vm_fork(struct vm_op *op, const struct vm_fork_request *request,
            struct vm_fork_result **ret_results, size_t *ret_count, struct vm_err *err);
void vm_fork_results_free(struct vm_fork_result *results, size_t count);

/* --- snapshots (docs/snapshots.md) --------------------------------------------------------------
 */

/*
 * Makes an image of an instance that is running (paused for an instant), in standby or stopped. It
 * shares extents and memory with nobody who could change them, and outlives the instance. `name` is
 * the part behind the '/', NULL for one made of the time. Errors: as vm_fork().
 */
int vm_snapshot_create(struct vm_op *op, const char *instance, const char *name,
                       const struct vm_image_info *info, struct vm_instance *ret,
                       struct vm_err *err);
/* invalid_state, with what to do, unless the row is an image's. */
int vm_snapshot_require(const struct vm_instance *row, struct vm_err *err);
/* Forks of an image are vm_fork()'s, with the image as the source. */
int vm_snapshot_rm(struct vm_op *op, const char *selector, struct vm_instance *ret,
                   struct vm_err *err);
/* Compresses the memory of an image; of one without memory that is invalid_state. */
int vm_snapshot_compress(struct vm_op *op, const char *selector, struct vm_instance *ret,
                         struct vm_err *err);
/*
 * Puts an instance that has no VMM back to one of its own images: disks, and memory if the image
 * has any. All that it had since is lost, in one step, once the new files are complete. Errors:
 * invalid_state (it runs, or the image is of another instance), those of the manifest check.
 */
int vm_snapshot_restore(struct vm_op *op, const char *instance, const char *image,
                        struct vm_instance *ret, struct vm_err *err);

/* --- reading verbs: they take no locks ---------------------------------------------------------
 */

/*
 * Puts what is true now into a row read from the store: a "running" instance whose VMM is gone
 * reads as failed (the next changing verb commits that).
 */
int vm_observe(struct vm_root *root, struct vm_instance *instance, struct vm_err *err);

/*
 * Waits until the instance is in one of the states (a bit mask of 1 << enum vm_state; 0: it is
 * gone). timeout_ms as in lock.h's deadline_ms, but relative: 0 looks once, -1 waits for ever.
 * Errors: timeout (says the state it is in), not_found (also: removed while waiting, unless mask is
 * 0).
 */
int vm_wait(struct vm_op *op, const char *selector, unsigned states, int64_t timeout_ms,
            struct vm_instance *ret, struct vm_err *err);

enum vm_log { VM_LOG_CONSOLE, VM_LOG_VMM };
/* Opens a log for reading; a log that does not exist yet reads as empty. The fd, or -1. */
int vm_log_open(struct vm_root *root, const char *id, enum vm_log which, struct vm_err *err);
/*
 * Waits until the log is longer than `seen_bytes`, the VMM has ended, or timeout_ms passed (-1: for
 * ever). Returns 1 when there may be more, 0 when the VMM is not running (read once more, then
 * stop), -1. Fits a loop of read() until it returns 0, then vm_log_wait() with the offset reached.
 */
int vm_log_wait(struct vm_root *root, const char *id, enum vm_log which, int64_t seen_bytes,
                int64_t timeout_ms, struct vm_err *err);
/*
 * The guest's serial input of a running instance (a FIFO), for writing. -1: invalid_state when it
 * does not run.
 */
int vm_console_input(struct vm_root *root, const struct vm_instance *instance, struct vm_err *err);
/* A descriptor that polls readable when the VMM ends (a pidfd); invalid_state when it does not run.
 */
int vm_console_vmm(struct vm_root *root, const struct vm_instance *instance, struct vm_err *err);

enum vm_finding_level {
	VM_FINDING_OK,
	VM_FINDING_WARNING,
	VM_FINDING_ERROR,
	VM_FINDING_LEFTOVER,   /* of a killed verb or a dead VMM, not repaired (yet) */
	VM_FINDING_REPAIRED,   /* such a leftover, which is settled now */
	VM_FINDING_REPAIRABLE, /* one that a repair would settle; the hint says how */
};
struct vm_driver;
struct vm_finding {
	enum vm_finding_level level;
	char check[32]; /* "kvm", "reflink", "shm", "limits", "leftovers", a driver's name, ... */
	char message[512];
	char hint[384];
	const struct vm_driver *driver; /* of what is said of a driver; else NULL */
};
enum vm_doctor_mode {
	VM_DOCTOR_LOOK,
	VM_DOCTOR_REPAIR,
	VM_DOCTOR_DRY_RUN, /* looks, and tells what a repair would do */
};
/*
 * Looks at host and data root, without changing anything but to repair: then all that killed verbs,
 * dead VMMs and deleted data roots have left is settled, each instance under its own lock, as the
 * next verb on it would do. What somebody is working on is left alone. Free *ret with free().
 */
int vm_doctor(struct vm_op *op, enum vm_doctor_mode mode, struct vm_finding **ret,
              size_t *ret_count, struct vm_err *err);

#endif
