/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest's network needs of the host. */
#ifndef VM_NETWORK_H
#define VM_NETWORK_H

#include "err.h"
#include "spec.h"

/*
 * Whether the tap device of a spec is there: a VMM that may would make one, attached to nothing.
 * Errors: system.
 */
int vm_network_check(const struct vm_spec *spec, struct vm_err *err);

#endif
