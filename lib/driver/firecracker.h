/* SPDX-License-Identifier: Apache-2.0 */
/* The Firecracker driver (1.10 and newer). docs/firecracker.md lists the measured facts it rests
 * on. */
#ifndef VM_FIRECRACKER_H
#define VM_FIRECRACKER_H

#include <jansson.h>

#include "driver.h"

extern const struct vm_driver vm_driver_firecracker;

/* --- private to lib/driver/firecracker*.c -------------------------------------------------------
 */

/*
 * Spawns the VMM and waits until its API accepts; `ret_fd` is that connection, the caller's, for
 * the first call. What is left of the VMM on failure is the caller's to end (vm_abandon).
 */
int vm_fc_spawn(struct vm_machine *machine, int *ret_fd, struct vm_err *err);
/* Turns what the VMM says, in an answer or in its log, into an error "WHAT: MESSAGE". Returns -1.
 */
int vm_fc_refuse(const struct vm_machine *machine, const char *what, const char *message,
                 struct vm_err *err);
/*
 * One API request. `body` is stolen (may be NULL); so is the connection, -1 afterwards (see
 * http.h). `ret_answer` (may be NULL) gets the answer's JSON as a new reference. A refusal becomes
 * a vmctl code by what the VMM says, with its own message kept.
 */
int vm_fc_call_on(struct vm_machine *machine, int *connection, const char *method, const char *path,
                  json_t *body, json_t **ret_answer, struct vm_err *err);
/* The same, with a connection of its own. */
int vm_fc_call(struct vm_machine *machine, const char *method, const char *path, json_t *body,
               json_t **ret_answer, struct vm_err *err);

#endif
