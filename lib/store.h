/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store: an SQLite database in the data root, the truth about names, states, generations, guest
 * CIDs, intents and events. vmctl-store(5) documents the schema.
 *
 * Transactions are leaves: each function here is one short transaction (BEGIN IMMEDIATE for
 * writers) in which no lock is waited for. UNIQUE in the schema is the serialized admission point
 * for names, and for the guest CIDs of those that run. Only SQLite opens the file: closing any
 * other descriptor of it would drop SQLite's locks.
 *
 * Durability: what is committed survives kill -9 of anybody at once; a power loss may lose the last
 * commits (WAL, synchronous=NORMAL) except where a caller asks for `durable`.
 */
#ifndef VM_STORE_H
#define VM_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "err.h"
#include "labels.h"
#include "util.h"

enum vm_state {
	VM_STATE_CREATING, /* reserved by a maker who holds its lock; hidden from ls */
	VM_STATE_STOPPED,
	VM_STATE_STANDBY,
	VM_STATE_RUNNING,
	VM_STATE_PAUSED,
	VM_STATE_FAILED,
	VM_STATE_COUNT
};

const char *vm_state_name(enum vm_state state);
/* Returns 0, or -1 (usage) listing the states there are. */
int vm_state_parse(const char *text, enum vm_state *ret_state, struct vm_err *err);

/* What a row is of. Both have a directory, a lock and a state; an image never runs. */
enum vm_kind {
	VM_KIND_INSTANCE,
	VM_KIND_IMAGE, /* a snapshot kept on its own; its name is INSTANCE/NAME, its state stopped
	                  (only disks) or standby (with memory) */
};

/* In bytes, without the NUL. What is longer is cut when a row is read. */
enum { VM_ALIAS_PATH_MAX = 255, VM_FAILURE_MAX = 511 };

struct vm_intent {
	char verb[16];   /* "" when there is none */
	pid_t pid;       /* of the process that wrote it */
	char detail[64]; /* what repair needs beside the verb, e.g. the state it began from */
};

struct vm_instance {
	char id[VM_ID_LEN + 1];
	char name[VM_FULL_NAME_MAX + 1];
	char hypervisor[24];
	char hypervisor_version[24]; /* of the last VMM that ran it; may be "" */
	char parent_id[VM_ID_LEN + 1];
	char parent_name[VM_FULL_NAME_MAX + 1]; /* the source's name when it was forked */
	char relocation[16]; /* how its saved state was made usable: "", "relative", "rewrite",
	                        "alias" */
	bool occupies; /* runs or is about to: counts against the limits, has its guest CID alone */
	enum vm_kind kind;
	enum vm_state state;
	pid_t pid; /* of the VMM as last committed; run/<id>.alive tells the truth */
	unsigned vcpus;
	struct vm_intent intent;
	int64_t generation; /* +1 at every committed state change */
	uint64_t guest_cid; /* 0: it has no vsock */
	uint64_t memory_bytes;
	int64_t created_us, changed_us; /* CLOCK_REALTIME */
	/*
	 * Owned: vm_instance_free(). Most rows have neither of the first two, and thousands are
	 * listed at once: NULL where there is nothing, never "".
	 */
	char *alias_path; /* of an alias: the directory that its saved state names, where its own is
	                     to be seen */
	char *failure;    /* why it is failed */
	char *spec;       /* JSON text */
	/*
	 * Of one that is about to be reserved: what it gets beside the labels of its parent, if it
	 * has one. Borrowed; NULL in rows that were read (vm_store_get_labels()).
	 */
	const struct vm_labels *labels;
};

/* "instance", "image": as stored. */
const char *vm_kind_name(enum vm_kind kind);

/* Frees what the row owns; its other fields stay as they are. */
void vm_instance_free(struct vm_instance *instance);
/* Hands the row on with all that it owns: `*instance` keeps its other fields and owns nothing. */
struct vm_instance vm_instance_take(struct vm_instance *instance);
void vm_instances_free(struct vm_instance *instances, size_t count);

/* What is said of an image, beside its row. */
struct vm_image_info {
	char *comment; /* or NULL; owned */
	struct vm_labels labels;
	int64_t expires_us; /* CLOCK_REALTIME; 0: never */
};
void vm_image_info_free(struct vm_image_info *info);

/* What an operation leaves behind; docs/observability.md says what each field means. */
struct vm_event {
	const char *verb;
	const char *instance_id, *name; /* "" when it has none: it never came to be */
	enum vm_code code;
	int64_t duration_us, lock_waited_us, slot_waited_us;
	const char *relocation; /* or NULL */
	const char *disks;      /* how its disks came to be: "reflink", "copy"; or NULL */
	const char *repaired;   /* of a repair: what was put right; else NULL */
	const char *message;    /* or NULL */
};

struct vm_limits {
	unsigned max_running;      /* 0: none */
	uint64_t max_memory_bytes; /* of all that occupy; 0: none */
};

struct vm_store;

/*
 * Opens ROOT/vmctl.db. With `create` a missing or older schema is made or migrated: the caller then
 * holds the store lock exclusively. Without, a missing schema gives not_found, an older one
 * needs_repair. A newer one is incompatible.
 */
int vm_store_open(const char *path, bool create, struct vm_store **ret_store, struct vm_err *err);
/* An empty store in memory, for reading verbs where there is no data root yet. */
int vm_store_open_empty(struct vm_store **ret_store, struct vm_err *err);
void vm_store_close(struct vm_store *store);
enum { VM_EVENTS_KEPT = 100000, VM_EVENTS_KEPT_MAX = 1000000 };
/* How many of the latest events stay; VM_EVENTS_KEPT unless told otherwise. Counters stay anyway.
 */
void vm_store_keep_events(struct vm_store *store, unsigned count);
/*
 * Called by who removes or ends something before he changes it: he may go on when there is no room
 * for the store any more, with what others have left for him. Everybody else's first change then
 * fails with insufficient_resources. And he keeps the log short for those who open the store next.
 */
void vm_store_makes_space(struct vm_store *store);
/* The data root's own random id. */
const char *vm_store_root_id(const struct vm_store *store);

/*
 * Finds by id, then name, then unique id prefix, instances and images; `creating` rows are not
 * seen.
 * Errors: not_found (with a suggestion), ambiguous (lists candidates).
 */
int vm_store_find(struct vm_store *store, const char *selector, struct vm_instance *ret,
                  struct vm_err *err);
/* By id, `creating` rows included. */
int vm_store_get(struct vm_store *store, const char *id, struct vm_instance *ret,
                 struct vm_err *err);
/* By exact name, `creating` rows included. */
int vm_store_get_named(struct vm_store *store, const char *name, struct vm_instance *ret,
                       struct vm_err *err);
enum vm_list {
	VM_LIST_VISIBLE, /* instances, all but `creating` ones */
	VM_LIST_IMAGES,  /* images, all but `creating` ones */
	/* Of these `spec` is NULL: it is the longest of a row, and who lists them does without. */
	VM_LIST_ALL,       /* both, as below */
	VM_LIST_CREATING,  /* reserved by makers, alive or dead */
	VM_LIST_OCCUPYING, /* those that count against the limits */
	VM_LIST_BRIEF,     /* as VM_LIST_VISIBLE, for whoever shows thousands: in no order */
};
/* In order of name, but VM_LIST_BRIEF. Free with vm_instances_free(). */
int vm_store_list(struct vm_store *store, enum vm_list which, struct vm_instance **ret,
                  size_t *ret_count, struct vm_err *err);

/*
 * Opens ROOT/vmctl.db for the two below: to read only, with no lock of ours, and without waiting
 * for anybody. Any error means that there is nothing to be had now: no store, none of this version,
 * no permission, a damaged one.
 */
int vm_store_peek(const char *path, struct vm_store **ret_store, struct vm_err *err);
/* What can be named, as last committed. */
struct vm_name {
	const char *name; /* as long as `see` runs */
	enum vm_kind kind;
	enum vm_state state;
};
/* All of them in order, or (parent: a name or an id, not NULL) those that were made of that one. */
int vm_store_names(struct vm_store *store, const char *parent,
                   void (*see)(void *ctx, const struct vm_name *name), void *ctx,
                   struct vm_err *err);
/* The keys of labels, each once; or (key not NULL) the values that are given to that key. */
int vm_store_labels(struct vm_store *store, const char *key, void (*see)(void *ctx, const char *),
                    void *ctx, struct vm_err *err);

/*
 * Puts down what is said of an image, of one that has its row already. But for its labels: those it
 * was reserved with.
 */
int vm_store_put_image(struct vm_store *store, const char *id, const struct vm_image_info *info,
                       struct vm_err *err);
/* Nothing was said where nothing is there: that is no error. Free with vm_image_info_free(). */
int vm_store_get_image(struct vm_store *store, const char *id, struct vm_image_info *ret,
                       struct vm_err *err);

/* The labels of one instance or image. Free with vm_labels_free(). Errors: not_found. */
int vm_store_get_labels(struct vm_store *store, const char *id, struct vm_labels *ret,
                        struct vm_err *err);
/* Those of all, by one query; for many. */
struct vm_label_index;
int vm_store_list_labels(struct vm_store *store, struct vm_label_index **ret, struct vm_err *err);
/* Of one of them; borrowed, and empty for one that has none. */
const struct vm_labels *vm_label_index_of(const struct vm_label_index *index, const char *id);
void vm_label_index_free(struct vm_label_index *index); /* accepts NULL */
/*
 * Sets and drops labels of one that is held exclusively, with its event. Setting wins; how many it
 * may have is for the caller to look at.
 */
int vm_store_change_labels(struct vm_store *store, const char *id, const struct vm_labels *set,
                           const char *const *drop, size_t drop_count, const struct vm_event *event,
                           struct vm_err *err);

/*
 * Lock files that no row leads to yet, or any more, are noted by each process that is about to make
 * or unlink them. Noted before they are made; vm_store_reserve() takes the notes back,
 * vm_store_delete() puts them down again, and whoever has unlinked the files, or seen under the
 * lock that they have a row, forgets them. Nobody forgets another's note.
 */
int vm_store_note_locks(struct vm_store *store, const struct vm_instance *rows, size_t count,
                        struct vm_err *err);
int vm_store_forget_lock(struct vm_store *store, const char *id, struct vm_err *err);
/*
 * A note whose process is dead becomes ours: 1 and its id, 0 none, -1. So no two sweep for the same
 * note, and one that is killed while it sweeps leaves a note again.
 */
int vm_store_take_stray_lock(struct vm_store *store, char ret_id[VM_ID_LEN + 1],
                             struct vm_err *err);
/* Whether a process that lives, other than this one, has a note of the id. 1, 0, -1. */
int vm_store_lock_noted(struct vm_store *store, const char *id, struct vm_err *err);
/* The next note of a dead process after the id `after` ("" to begin), left as it is: 1 and its id,
 * 0, -1. */
int vm_store_stray_lock(struct vm_store *store, const char *after, char ret_id[VM_ID_LEN + 1],
                        struct vm_err *err);

/* What an admission was refused for with already_exists. */
struct vm_conflict {
	size_t row; /* index of the row that was refused */
	/* Id of the instance that runs, or is about to, with the same guest CID; "": it is the
	 * name. */
	char cid_holder[VM_ID_LEN + 1];
};

/*
 * Admission: reserves all rows (state creating) with their intent, or none. With needs_cid a row's
 * guest_cid of 0 becomes a fresh one, which no row has. One that is given is kept, and refused when
 * the row occupies and another that does has the same: two guests never run with one CID. A row
 * with a parent_id gets the labels that this one has now; row->labels win over those. Errors:
 * already_exists (with `*ret_conflict`), insufficient_resources (limits), usage (too many labels).
 */
int vm_store_reserve(struct vm_store *store, struct vm_instance *rows, size_t count, bool needs_cid,
                     const char *verb, const struct vm_limits *limits,
                     struct vm_conflict *ret_conflict, struct vm_err *err);

/* One that is about to run. */
struct vm_admission {
	struct vm_limits limits;
	/* No saved state holds it to its guest CID: where anything that is not stopped has the
	 * same, it takes a fresh one. Else it is refused where one that occupies has the same. */
	bool boots;
	/* Set by vm_store_intend(): */
	uint64_t guest_cid;          /* on success: to run with; 0: it has no vsock */
	struct vm_conflict conflict; /* on already_exists */
};

/*
 * Writes the intent of an operation before its first side effect. With `admission` the instance is
 * about to run: limits and guest CID are checked, and it occupies its memory and its CID from now
 * on. Errors: not_found, insufficient_resources (limits), already_exists (guest CID).
 */
int vm_store_intend(struct vm_store *store, const char *id, const char *verb, const char *detail,
                    struct vm_admission *admission, struct vm_err *err);
/* Drops the intent and records the event, if any; state and generation stay as they are. */
int vm_store_forget_intent(struct vm_store *store, const char *id, bool occupies,
                           const struct vm_event *event, struct vm_err *err);

struct vm_change {
	const char *id;
	int64_t generation; /* as read under the lock; the commit fails if it is another */
	enum vm_state state;
	pid_t pid;                      /* 0: no VMM */
	const char *hypervisor_version; /* NULL: as it was */
	const char *relocation;         /* NULL: as it was */
	const char *alias_path;         /* NULL: as it was; "": none */
	const char *failure;            /* NULL: none */
	const char *next_detail; /* not NULL: the operation goes on, with this in its intent */
};

/*
 * Commits state changes (generation + 1), deletes the intents (unless next_detail) and records an
 * event for each, in one transaction. `events` may be NULL. Errors: invalid_state when a row is
 * gone or has another generation.
 */
int vm_store_commit(struct vm_store *store, const struct vm_change *changes, size_t count,
                    const struct vm_event *events, bool durable, struct vm_err *err);
/* Deletes the row with its intent, notes its lock files, and records the event, if any. */
int vm_store_delete(struct vm_store *store, const char *id, const struct vm_event *event,
                    struct vm_err *err);
/*
 * Records an event on its own (an operation that failed). As everywhere, the counters that stand
 * for it are part of the same transaction.
 */
int vm_store_record(struct vm_store *store, const struct vm_event *event, struct vm_err *err);

/*
 * A VMM binary's version is asked once per file: the store remembers it by the file's identity.
 * Returns 1 when known, 0 when not, -1.
 */
struct vm_binary_key {
	const char *path;
	uint64_t device, inode, size;
	int64_t mtime_ns;
};
int vm_store_binary_version(struct vm_store *store, const struct vm_binary_key *key,
                            char *ret_version, size_t size, struct vm_err *err);
int vm_store_remember_binary(struct vm_store *store, const struct vm_binary_key *key,
                             const char *version, struct vm_err *err);

/*
 * Single values that are of the data root or its host: what was found out and may be found out
 * again. A value that does not fit is cut. Returns 1 when known, 0 when not, -1.
 */
int vm_store_get_meta(struct vm_store *store, const char *key, char *ret_value, size_t size,
                      struct vm_err *err);
int vm_store_put_meta(struct vm_store *store, const char *key, const char *value,
                      struct vm_err *err);

#endif
