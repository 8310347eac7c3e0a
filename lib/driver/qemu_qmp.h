/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client of QMP, the QEMU Machine Protocol: JSON objects, one a line, over a stream socket. The
 * VMM greets, the client asks for capabilities, then commands are answered in order; events may
 * come in between. Sources: docs/interop/qmp-spec and qapi/ of QEMU 7.2.
 */
#ifndef VM_QEMU_QMP_H
#define VM_QEMU_QMP_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "../err.h"

struct vm_qmp {
	int fd;              /* -1: not open */
	int64_t deadline_ms; /* vm_monotonic_ms() after which every wait fails with timeout */
	char *in;            /* received and not yet taken; owned */
	size_t len, size;
	char migration[24]; /* status of the last MIGRATION event; "" none since the last command */
};
#define VM_QMP_INIT                                                                                \
	{                                                                                          \
		.fd = -1                                                                           \
	}

/*
 * Takes the connected socket over (also on failure), reads the greeting, and enters command mode.
 * Errors: timeout (silent: another client may be connected), hypervisor (it speaks no QMP, or has
 * hung up), system.
 */
int vm_qmp_begin(int fd, int64_t deadline_ms, struct vm_qmp *ret, struct vm_err *err);
void vm_qmp_close(struct vm_qmp *qmp);

/*
 * One command. `arguments` is stolen (may be NULL). `pass_fd` goes with it by SCM_RIGHTS, unless
 * -1. `ret_value` (may be NULL) gets what it returns, as a new reference. A refusal is hypervisor,
 * "COMMAND: " and QEMU's words. Passes the fault points of a request.
 */
int vm_qmp_call(struct vm_qmp *qmp, const char *command, json_t *arguments, int pass_fd,
                json_t **ret_value, struct vm_err *err);
/*
 * Waits for an end of the migration that was begun on this connection, with the capability
 * "events". Errors: hypervisor (it failed; QEMU's words if there are any), timeout, system.
 */
int vm_qmp_await_migration(struct vm_qmp *qmp, struct vm_err *err);

#endif
