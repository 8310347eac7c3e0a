/* SPDX-License-Identifier: Apache-2.0 */
#include "fault.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util.h"

static const struct {
	const char *name;
	bool done_fails;
	const char *what;
} effects[] = {
#define EFFECT(constant, name, done_fails, what) {name, done_fails, what},
        VM_FAULT_EFFECTS(EFFECT)
#undef EFFECT
};

void vm_fault_info(enum vm_fault_point point, struct vm_fault_info *ret)
{
	bool done = point % 2;

	snprintf(ret->name, sizeof(ret->name), "%s%s", effects[point / 2].name,
	         done ? ".done" : "");
	ret->may_fail = !done || effects[point / 2].done_fails;
	ret->what = effects[point / 2].what;
}

#ifndef VM_FAULTS

bool vm_fault_built_in(void)
{
	return false;
}

int vm_fault_check(struct vm_err *err)
{
	/* Ignored, it would let a test pass that has tested nothing. */
	if (!getenv("VMCTL_FAULT") && !getenv("VMCTL_FAULT_TRACE"))
		return 0;
	return vm_err_set(err, VM_ERR_UNSUPPORTED,
	                  "VMCTL_FAULT is set, but this vmctl was built without FAULTS=1");
}

#else

enum action { KILL, STOP, FAIL };

struct fault {
	enum vm_fault_point point;
	long nth;
	enum action action;
	int error;
};

/* Those that a full disk, a broken one, a limit or a quota give, and a missing right. */
static const struct {
	const char *name;
	int number;
} errors[] = {{"ENOSPC", ENOSPC}, {"EIO", EIO},       {"EMFILE", EMFILE}, {"EDQUOT", EDQUOT},
              {"ENOMEM", ENOMEM}, {"EACCES", EACCES}, {"EAGAIN", EAGAIN}};

/* How often each point was passed: what only a build for tests has, so it may be a global. */
static atomic_long passed[VM_FAULT_COUNT];

bool vm_fault_built_in(void)
{
	return true;
}

static int find_point(const char *name, size_t len)
{
	for (int i = 0; i < VM_FAULT_COUNT; i++) {
		struct vm_fault_info info = {0};

		vm_fault_info((enum vm_fault_point)i, &info);
		if (strlen(info.name) == len && memcmp(info.name, name, len) == 0)
			return i;
	}
	return -1;
}

/* Parses one word up to the next ',' or the end. False when it is not well-formed. */
static bool parse(const char *word, struct fault *ret)
{
	size_t len = strcspn(word, ","), name = strcspn(word, "#:,");
	const char *at = word + name, *end = word + len;
	int point = find_point(word, name);
	struct vm_fault_info info = {0};

	*ret = (struct fault){.nth = 1};
	if (point < 0)
		return false;
	ret->point = (enum vm_fault_point)point;
	if (*at == '#')
		ret->nth = strtol(at + 1, (char **)&at, 10);
	if (*at++ != ':' || ret->nth < 1)
		return false;
	if (strncmp(at, "kill", (size_t)(end - at)) == 0)
		return end - at == 4;
	ret->action = STOP;
	if (strncmp(at, "stop", (size_t)(end - at)) == 0)
		return end - at == 4;
	ret->action = FAIL;
	vm_fault_info(ret->point, &info);
	if (!info.may_fail || strncmp(at, "fail:", 5) != 0)
		return false;
	at += 5;
	for (size_t i = 0; i < VM_ARRAY_LEN(errors); i++) {
		if ((size_t)(end - at) == strlen(errors[i].name) &&
		    memcmp(at, errors[i].name, (size_t)(end - at)) == 0)
			ret->error = errors[i].number;
	}
	return ret->error != 0;
}

int vm_fault_check(struct vm_err *err)
{
	const char *word = getenv("VMCTL_FAULT");

	while (word && *word) {
		size_t len = strcspn(word, ",");
		struct fault fault;

		if (!parse(word, &fault)) {
			vm_err_set(err, VM_ERR_USAGE, "VMCTL_FAULT: '%.*s' is not a fault",
			           (int)len, word);
			return vm_err_hint(err, "POINT[#N]:kill, :stop or :fail:ERRNO; 'vmctl "
			                        "doctor --fault-points' lists the points");
		}
		word += len + (word[len] == ',');
	}
	return 0;
}

static void trace(enum vm_fault_point point, long nth)
{
	const char *path = getenv("VMCTL_FAULT_TRACE");
	struct vm_fault_info info = {0};
	char line[64];
	int fd, len;

	if (!path)
		return;
	vm_fault_info(point, &info);
	len = snprintf(line, sizeof(line), "%s#%ld\n", info.name, nth);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	/* A trace that is not complete makes its reader find fewer points: not in silence. */
	if (fd < 0 || write(fd, line, (size_t)len) != len)
		abort();
	close(fd);
}

bool vm_fault(enum vm_fault_point point)
{
	const char *word = getenv("VMCTL_FAULT");
	int saved = errno;
	long nth = atomic_fetch_add(&passed[point], 1) + 1;

	trace(point, nth);
	errno = saved;
	for (; word && *word; word += strcspn(word, ","), word += *word == ',') {
		struct fault fault;

		if (!parse(word, &fault) || fault.point != point || fault.nth != nth)
			continue;
		if (fault.action == FAIL) {
			errno = fault.error;
			return true;
		}
		/* By the number of this process: in a child that was just forked, the child's. */
		kill(getpid(), fault.action == KILL ? SIGKILL : SIGSTOP);
	}
	return false;
}

#endif
