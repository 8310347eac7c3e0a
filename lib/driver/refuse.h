/* SPDX-License-Identifier: Apache-2.0 */
/* A VMM that refuses, does not answer in time, or has failed. */
#ifndef VM_DRIVER_REFUSE_H
#define VM_DRIVER_REFUSE_H

#include "driver.h"

/* A part of a message that is the same in all versions, and what it stands for. */
struct vm_refusal {
	const char *text, *also; /* `also` may be NULL; else both must occur */
	enum vm_code code;
	const char *hint;
};

/*
 * "WHAT: MESSAGE", with the code and hint of the first row that fits, else hypervisor. What the
 * disk had no room for is wrapped with the machine's directory: the VMM does not say of which file,
 * but all are there. Returns -1.
 */
int vm_refuse(const struct vm_machine *machine, const struct vm_refusal *rows, size_t count,
              const char *what, const char *message, struct vm_err *err);

/*
 * Of a pause or resume that has failed with timeout: it may still have happened, so the guest is
 * asked before it is called a failure. 0, without an error, if it is in the state `want`.
 */
int vm_confirm_state(struct vm_machine *machine, enum vm_guest_state want, struct vm_err *err);

/* Ends a VMM that a failed boot or load has left, so that failure leaves no process. Returns -1. */
int vm_abandon(struct vm_machine *machine);

#endif
