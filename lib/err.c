/* SPDX-License-Identifier: Apache-2.0 */
#include "err.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const code_names[VM_CODE_COUNT] = {
        [VM_OK] = "ok",
        [VM_ERR_SYSTEM] = "system",
        [VM_ERR_USAGE] = "usage",
        [VM_ERR_NOT_FOUND] = "not_found",
        [VM_ERR_ALREADY_EXISTS] = "already_exists",
        [VM_ERR_BUSY] = "busy",
        [VM_ERR_INVALID_STATE] = "invalid_state",
        [VM_ERR_INSUFFICIENT_RESOURCES] = "insufficient_resources",
        [VM_ERR_UNSUPPORTED] = "unsupported",
        [VM_ERR_HYPERVISOR] = "hypervisor",
        [VM_ERR_CORRUPT] = "corrupt",
        [VM_ERR_INCOMPATIBLE] = "incompatible",
        [VM_ERR_TIMEOUT] = "timeout",
        [VM_ERR_NEEDS_REPAIR] = "needs_repair",
        [VM_ERR_AMBIGUOUS] = "ambiguous",
        [VM_ERR_HOOK] = "hook",
};

const char *vm_code_name(enum vm_code code)
{
	return (unsigned)code < VM_CODE_COUNT ? code_names[code] : "unknown";
}

static void begin(struct vm_err *err, enum vm_code code)
{
	assert(err->code == VM_OK);
	assert(code != VM_OK);
	err->code = code;
	err->hint[0] = '\0';
}

int vm_err_set(struct vm_err *err, enum vm_code code, const char *fmt, ...)
{
	va_list ap;

	begin(err, code);
	va_start(ap, fmt);
	vsnprintf(err->message, sizeof(err->message), fmt, ap);
	va_end(ap);
	return -1;
}

static enum vm_code code_of_errno(int e)
{
	switch (e) {
	case ENOSPC:
	case EDQUOT:
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case EAGAIN:
	case EMLINK:
		return VM_ERR_INSUFFICIENT_RESOURCES;
	default:
		return VM_ERR_SYSTEM;
	}
}

static void hint_of_errno(struct vm_err *err, int e)
{
	if (e == ENOSPC || e == EDQUOT)
		vm_err_hint(err, "free some space there, or give --root another filesystem");
	else if (e == EMFILE)
		vm_err_hint(err, "raise the limit of open files: ulimit -n");
	else if (e == EMLINK)
		vm_err_hint(err,
		            "the filesystem allows a file no more names (ext4: 65000): restore "
		            "one of the forks, put it in standby, and fork that");
}

int vm_err_sys(struct vm_err *err, const char *fmt, ...)
{
	int saved = errno;
	char reason[128];
	size_t used;
	va_list ap;

	begin(err, code_of_errno(saved));
	va_start(ap, fmt);
	vsnprintf(err->message, sizeof(err->message), fmt, ap);
	va_end(ap);
	used = strlen(err->message);
	snprintf(err->message + used, sizeof(err->message) - used, ": %s",
	         strerror_r(saved, reason, sizeof(reason)));
	hint_of_errno(err, saved);
	errno = saved;
	return -1;
}

int vm_err_wrap(struct vm_err *err, const char *fmt, ...)
{
	char old[sizeof(err->message)];
	size_t used;
	va_list ap;

	assert(err->code != VM_OK);
	memcpy(old, err->message, sizeof(old));
	va_start(ap, fmt);
	vsnprintf(err->message, sizeof(err->message), fmt, ap);
	va_end(ap);
	used = strlen(err->message);
	snprintf(err->message + used, sizeof(err->message) - used, ": %s", old);
	return -1;
}

int vm_err_hint(struct vm_err *err, const char *fmt, ...)
{
	va_list ap;

	assert(err->code != VM_OK);
	va_start(ap, fmt);
	vsnprintf(err->hint, sizeof(err->hint), fmt, ap);
	va_end(ap);
	return -1;
}

void vm_err_clear(struct vm_err *err)
{
	err->code = VM_OK;
	err->message[0] = '\0';
	err->hint[0] = '\0';
}

static const struct vm_err no_memory = {
        .code = VM_ERR_INSUFFICIENT_RESOURCES,
        .message = "out of memory, also to keep what went wrong",
};

const struct vm_err *vm_err_keep(const struct vm_err *err)
{
	struct vm_err *kept = malloc(sizeof(*kept));

	assert(err->code != VM_OK);
	if (!kept)
		return &no_memory;
	*kept = *err;
	return kept;
}

void vm_err_drop(const struct vm_err *kept)
{
	if (kept != &no_memory)
		free((void *)kept);
}
