/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events and counters, as they are read. docs/observability.md says what each of them means and
 * which event counts where; store.h has what writes them.
 *
 * An event is about one instance: one command that forks ten times leaves ten. Counters are sums
 * over all events there ever were, also over those that are not kept any more.
 */
#ifndef VM_EVENTS_H
#define VM_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store.h"

/* Names of counters, and the labels they have. */
#define VM_COUNT_OPERATIONS "operations"     /* verb,outcome */
#define VM_COUNT_OPERATION_US "operation_us" /* verb */
#define VM_COUNT_FORKS "forks"               /* relocation, or none: no memory was forked */
#define VM_COUNT_ALIAS_FALLBACKS "alias_fallbacks"
#define VM_COUNT_DISK_COPIES "disk_copies" /* reflink or copy */
#define VM_COUNT_LOCK_WAITS "lock_waits"
#define VM_COUNT_LOCK_WAIT_US "lock_wait_us"
#define VM_COUNT_SLOT_WAITS "slot_waits"
#define VM_COUNT_SLOT_WAIT_US "slot_wait_us"
#define VM_COUNT_INSUFFICIENT "insufficient_resources"
#define VM_COUNT_REPAIRS "repairs" /* what was repaired */
#define VM_COUNT_VMM_DEATHS "vmm_deaths"

#define VM_VERB_REPAIR "repair"
/* What an event of the verb "repair" has put right, beside the verbs that were killed. */
#define VM_REPAIRED_VMM_DEATH "vmm_death" /* the VMM died, and not by its guest's will */
/* Nothing was broken, but nobody had seen it. */
#define VM_REPAIRED_GUEST_SHUTDOWN "guest_shutdown"
#define VM_REPAIRED_ORPHAN_VMM "orphan_vmm"   /* a VMM that no committed row knew was ended */
#define VM_REPAIRED_GUEST_STATE "guest_state" /* the guest was paused or resumed by others */
#define VM_REPAIRED_LOST "lost_directory"     /* an instance whose directory is gone */
#define VM_REPAIRED_STRAY "stray_files"       /* files that belonged to no instance */

struct vm_past_event {
	int64_t seq;     /* grows in the order of the commits; never used twice */
	int64_t time_us; /* CLOCK_REALTIME, of the end of the operation */
	char verb[16];
	char instance_id[VM_ID_LEN + 1], name[VM_FULL_NAME_MAX + 1];
	char outcome[24]; /* vm_code_name() */
	int64_t duration_us, lock_waited_us, slot_waited_us;
	char relocation[16], disks[16], repaired[24]; /* "" for none */
	char *message;                                /* owned; NULL for none */
};

/* Which events are wanted; all that is 0 or "" lets every event through, but for `last`. */
struct vm_event_filter {
	int64_t after;                            /* seq: only later ones */
	int64_t since_us, until_us;               /* CLOCK_REALTIME: from then on; before then */
	const char *verbs;                        /* "fork,rm", or NULL */
	const char *outcome;                      /* or NULL */
	char instance_id[VM_ID_LEN + 1];          /* about this instance, or ... */
	char instance_name[VM_FULL_NAME_MAX + 1]; /* ... about one of this name, whichever it was */
	int64_t last;                             /* only the last so many; -1: all */
};

/*
 * Has the filter let through what is about the instance: by id, by name (of all who ever bore it),
 * or by the unique beginning of an id. One that was removed is found by its events. Errors: as
 * vm_store_find().
 */
int vm_events_of(struct vm_store *store, const char *selector, struct vm_event_filter *filter,
                 struct vm_err *err);
/*
 * In order of time. `*ret_seen` (may be NULL) is the latest seq that was looked at, whether it
 * matched or not: `after` for the next look. Free with vm_past_events_free().
 */
int vm_events_list(struct vm_store *store, const struct vm_event_filter *filter,
                   struct vm_past_event **ret, size_t *ret_count, int64_t *ret_seen,
                   struct vm_err *err);
void vm_past_events_free(struct vm_past_event *events, size_t count);

struct vm_counter {
	char name[32];
	char label[64]; /* "" for none; several with commas between them */
	int64_t value;
};
/* In order of name and label; those that never counted are not there. Free *ret with free(). */
int vm_counters_list(struct vm_store *store, struct vm_counter **ret, size_t *ret_count,
                     struct vm_err *err);

/* What the events since a moment say; docs/observability.md judges by it. */
struct vm_window {
	int64_t since_us;
	bool complete;       /* no event of that time has been dropped */
	int64_t operations;  /* all but repairs */
	int64_t duration_us; /* theirs, as the waits below */
	int64_t lock_waits, lock_waited_us, slot_waits, slot_waited_us;
	int64_t alias_relocations;
	int64_t disks_copied; /* forks whose disks were copied, not reflinked */
	int64_t insufficient_resources;
	int64_t vmm_deaths;
};
int vm_events_window(struct vm_store *store, int64_t since_us, struct vm_window *ret,
                     struct vm_err *err);

#endif
