/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors as values.
 *
 * A library function that can fail takes `struct vm_err *err` last and returns -1 (or NULL) after
 * filling it. The struct lives on the caller's stack, so reporting cannot itself fail. Setting an
 * error over a pending one is a programming mistake and asserts: undo paths use a struct of their
 * own. The codes are the exit statuses of every verb; they are published in vmctl(1), appended to
 * and never renumbered.
 */
#ifndef VM_ERR_H
#define VM_ERR_H

enum vm_code {
	VM_OK = 0,
	VM_ERR_SYSTEM = 1,
	VM_ERR_USAGE = 2,
	VM_ERR_NOT_FOUND = 3,
	VM_ERR_ALREADY_EXISTS = 4,
	VM_ERR_BUSY = 5,
	VM_ERR_INVALID_STATE = 6,
	VM_ERR_INSUFFICIENT_RESOURCES = 7,
	VM_ERR_UNSUPPORTED = 8,
	VM_ERR_HYPERVISOR = 9,
	VM_ERR_CORRUPT = 10,
	VM_ERR_INCOMPATIBLE = 11,
	VM_ERR_TIMEOUT = 12,
	VM_ERR_NEEDS_REPAIR = 13,
	VM_ERR_AMBIGUOUS = 14,
	VM_ERR_HOOK = 15, /* a hook said no, or took too long */
	VM_CODE_COUNT
};

struct vm_err {
	enum vm_code code;
	char message[896]; /* what happened and where; never ends in a newline */
	char hint[384];    /* what to do about it; may be empty */
};

/* Each of these returns -1, so that a failure is one `return`. */
int vm_err_set(struct vm_err *err, enum vm_code code, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));
/*
 * Like vm_err_set with the code and text that errno stands for, appended as ": strerror".
 * Exhaustion (ENOSPC, EDQUOT, EMFILE, ENFILE, ENOMEM, EAGAIN from fork) is insufficient_resources,
 * all else is system.
 */
int vm_err_sys(struct vm_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Puts "fmt: " in front of the pending error's message. */
int vm_err_wrap(struct vm_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Sets the hint of the pending error. */
int vm_err_hint(struct vm_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Forgets a pending error, for a caller that has dealt with it. */
void vm_err_clear(struct vm_err *err);
/*
 * A copy that outlives its caller's stack, for one of many who mostly have none. Never NULL:
 * with no memory for it, one that says so (insufficient_resources). Let go of by vm_err_drop().
 */
const struct vm_err *vm_err_keep(const struct vm_err *err);
void vm_err_drop(const struct vm_err *kept); /* accepts NULL */
/* The published name of a code, e.g. "already_exists". */
const char *vm_code_name(enum vm_code code);

#endif
