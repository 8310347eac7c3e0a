/* SPDX-License-Identifier: Apache-2.0 */
/* A VMM that was just spawned, until its socket accepts; for drivers. */
#ifndef VM_DRIVER_AWAIT_H
#define VM_DRIVER_AWAIT_H

#include "driver.h"

/*
 * Waits until VM_FILE_API_SOCKET accepts: 0 and the connection, which is the caller's; 1 the VMM
 * has ended before (the driver says why), -1: timeout, system (also "interrupted"). After the
 * spawn; at the latest when machine->deadline_ms has come. Takes SIGIO for itself: its handler does
 * nothing.
 */
int vm_await_socket(const struct vm_machine *machine, int *ret_fd, struct vm_err *err);

#endif
