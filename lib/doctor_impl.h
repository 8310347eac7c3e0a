/* SPDX-License-Identifier: Apache-2.0 */
/* Private to lib/doctor*.c. */
#ifndef VM_DOCTOR_IMPL_H
#define VM_DOCTOR_IMPL_H

#include "ops.h"

struct vm_findings {
	struct vm_finding *list;
	size_t count, room;
	bool lost; /* out of memory: a finding could not be kept */
};

/* Adds a finding and gives its hint buffer's owner back, or NULL when memory ran out. */
struct vm_finding *vm_findings_add(struct vm_findings *findings, enum vm_finding_level level,
                                   const char *check, const char *fmt, ...)
        __attribute__((format(printf, 4, 5)));
void vm_findings_hint(struct vm_finding *finding, const char *hint);

/* What killed verbs and dead VMMs have left. Changes nothing. */
int vm_doctor_leftovers(struct vm_op *op, struct vm_findings *findings, struct vm_err *err);

#endif
