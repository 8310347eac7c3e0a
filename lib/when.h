/* SPDX-License-Identifier: Apache-2.0 */
/* Moments, as people write and read them. */
#ifndef VM_WHEN_H
#define VM_WHEN_H

#include <stdint.h>

#include "err.h"

/*
 * Microseconds since 1970 of "10m" (that long ago: vm_duration_parse(), but not none or forever) or
 * of an RFC 3339 time, "2026-11-23T10:00:00Z" or "2026-11-23 12:00:00.5+02:00". -1 (usage) names
 * `what`.
 */
int vm_when_parse(const char *text, const char *what, int64_t *ret_us, struct vm_err *err);

enum { VM_WHEN_SIZE = 40 };
/* Writes "2026-11-23T10:00:00.000Z". Returns buf. */
char *vm_when_format(int64_t realtime_us, char buf[VM_WHEN_SIZE]);

#endif
