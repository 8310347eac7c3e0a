/* SPDX-License-Identifier: Apache-2.0 */
/* Small things every module needs: cleanup by scope, clocks, ids, strings. */
#ifndef VM_UTIL_H
#define VM_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "err.h"

#define VM_AUTO(fn) __attribute__((cleanup(fn)))
#define VM_AUTO_FREE VM_AUTO(vm_cleanup_free)
#define VM_AUTO_CLOSE VM_AUTO(vm_cleanup_close)
#define VM_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

enum {
	VM_ID_LEN = 24,                         /* [a-z0-9], from getrandom() */
	VM_NAME_MAX = 63,                       /* as a DNS label */
	VM_FULL_NAME_MAX = 2 * VM_NAME_MAX + 1, /* of a snapshot: INSTANCE/NAME */
};

/* Cleanup handlers; they accept NULL and -1, and keep errno. */
void vm_cleanup_free(void *pointer_to_pointer);
void vm_cleanup_close(int *fd);
/* Hand ownership on: return the value and leave -1 or NULL behind. */
int vm_take_fd(int *fd);
/* write() until all of it is written: 0, or -1 with errno. */
int vm_write_all(int fd, const void *data, size_t len);
void *vm_take_ptr(void *pointer_to_pointer);

/* CLOCK_MONOTONIC in milliseconds and microseconds: for waits, deadlines and durations. */
int64_t vm_monotonic_ms(void);
int64_t vm_monotonic_us(void);
/* CLOCK_REALTIME in microseconds since 1970: for what people read. */
int64_t vm_realtime_us(void);

/* Writes a new random id and its NUL. Returns 0, or -1 (system) when the kernel has no entropy. */
int vm_id_new(char ret_id[VM_ID_LEN + 1], struct vm_err *err);
bool vm_id_valid(const char *id);
/* ^[a-z0-9]([a-z0-9-]*[a-z0-9])?$, at most 63 characters; a violation is usage and says which rule.
 */
int vm_name_check(const char *name, struct vm_err *err);
/* The same of a snapshot's, INSTANCE/NAME: each part by that rule. */
int vm_image_name_check(const char *name, struct vm_err *err);

/* Like asprintf, but returns the string (free() it) or NULL with insufficient_resources set. */
char *vm_strf(struct vm_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* strdup that reports insufficient_resources. */
char *vm_strdup(const char *s, struct vm_err *err);
/* calloc that reports insufficient_resources. */
void *vm_calloc(size_t n, size_t size, struct vm_err *err);

/*
 * Parses "64", "64K", "64MiB", "2G" (binary units; the suffixes B, iB and case do not matter) into
 * bytes. Returns 0, or -1 (usage) that names `what` and what was wrong.
 */
int vm_size_parse(const char *text, const char *what, uint64_t *ret_bytes, struct vm_err *err);
/* A whole number in decimal, at the end of `buf`; returns where it begins there. Quicker than
 * printf, and calls nothing: also for a child between fork and exec. */
enum { VM_DECIMAL_SIZE = 21 };
const char *vm_decimal(uint64_t value, char buf[VM_DECIMAL_SIZE]);
/* Writes e.g. "64.0M" or "512"; the buffer should have at least 16 bytes. Returns buf. */
char *vm_size_format(uint64_t bytes, char *buf, size_t size);
/* Parses a decimal integer in [min, max]; -1 (usage) names `what`, the value and the range. */
int vm_int_parse(const char *text, const char *what, int64_t min, int64_t max, int64_t *ret,
                 struct vm_err *err);
/*
 * The candidate that a mistyped word most likely meant (Damerau-Levenshtein distance of at most a
 * third of its length, at least 1; case does not count), or NULL. `words` ends with NULL.
 */
const char *vm_suggest(const char *word, const char *const *words);

#endif
