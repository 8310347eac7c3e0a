/* SPDX-License-Identifier: Apache-2.0 */
/* A VMM that was just spawned, until its socket accepts; for drivers. */
#ifndef VM_DRIVER_AWAIT_H
#define VM_DRIVER_AWAIT_H

#include "driver.h"

/* Watches the machine's directory for VM_FILE_API_SOCKET; before the spawn. -1: system. */
int vm_await_begin(const struct vm_machine *machine, struct vm_err *err);
/*
 * Waits until the socket accepts: 0; 1 the VMM has ended before (the driver says why), -1: timeout,
 * system (also "interrupted"). `watch_fd` is from vm_await_begin(), and stays the caller's.
 */
int vm_await_socket(const struct vm_machine *machine, int watch_fd, struct vm_err *err);

#endif
