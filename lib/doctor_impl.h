/* SPDX-License-Identifier: Apache-2.0 */
/* Private to lib/doctor*.c. */
#ifndef VM_DOCTOR_IMPL_H
#define VM_DOCTOR_IMPL_H

#include "ops.h"

struct vm_findings {
	struct vm_finding *list;
	size_t count, room;
	bool repair;  /* leftovers are settled as they are found */
	bool dry_run; /* it is told how they would be */
	bool lost;    /* out of memory: a finding could not be kept */
};

/* Adds a finding and gives its hint buffer's owner back, or NULL when memory ran out. */
struct vm_finding *vm_findings_add(struct vm_findings *findings, enum vm_finding_level level,
                                   const char *check, const char *fmt, ...)
        __attribute__((format(printf, 4, 5)));
void vm_findings_hint(struct vm_finding *finding, const char *hint);
/* Of a leftover, by what became of it: 0 it is repaired, 1 nothing was tried, -1. */
enum vm_finding_level vm_findings_level(const struct vm_findings *findings, int repaired);

/* KVM, the drivers, and what "auto" comes to. Errors: those of vm_kvm_status(). */
int vm_doctor_hypervisors(struct vm_op *op, struct vm_findings *findings, struct vm_err *err);
/* What killed verbs and dead VMMs have left; settles it if findings->repair. */
int vm_doctor_leftovers(struct vm_op *op, struct vm_findings *findings, struct vm_err *err);

/* --- doctor_alias.c -----------------------------------------------------------------------------
 */

void vm_doctor_views(struct vm_findings *findings);
/* Directories that a killed load has renamed away; put back if findings->repair. */
int vm_doctor_aliases(struct vm_op *op, struct vm_findings *findings, struct vm_err *err);

/* --- doctor_hooks.c -----------------------------------------------------------------------------
 */

void vm_doctor_hooks(struct vm_op *op, struct vm_findings *findings);

/* --- doctor_rows.c ------------------------------------------------------------------------------
 */

enum vm_ailment {
	VM_AILMENT_NONE,
	VM_AILMENT_HALF_MADE,    /* a dead maker's row */
	VM_AILMENT_NO_DIRECTORY, /* guests/<id> is gone */
	VM_AILMENT_INTENT,       /* a killed verb's */
	VM_AILMENT_VMM_DIED,
	VM_AILMENT_VMM_UNWANTED, /* there is one, and the row says there is not */
	VM_AILMENT_PAUSED,       /* the guest stands still, and the row says it runs */
	VM_AILMENT_RUNS,         /* the other way round */
	VM_AILMENT_SILENT,       /* the VMM does not answer: no leftover, but an error */
	VM_AILMENT_FILES,        /* sockets of a dead VMM, temporary files of a dead writer */
	VM_AILMENT_NO_STATE,     /* in standby without a manifest: no leftover, but an error */
	VM_AILMENT_LOST,         /* failed, without a directory: a warning */
};

/* What is wrong with an instance that nobody holds exclusively now: the first ailment, or -1. */
int vm_doctor_examine(struct vm_op *op, const struct vm_instance *row, struct vm_err *err);

/* --- doctor_repair.c: each looks again under the lock that it takes ------------------------------
 */

int vm_repair_row(struct vm_op *op, const struct vm_instance *row, enum vm_ailment ailment,
                  struct vm_err *err);
/*
 * Files that belong to no row: a VMM is ended, trash is emptied, lock and liveness files are
 * unlinked. A directory of guests/ is moved to lost/, for it may hold somebody's disks.
 */
int vm_repair_stray(struct vm_op *op, const char *id, struct vm_err *err);

#endif
