/* SPDX-License-Identifier: Apache-2.0 */
/* Which hypervisor runs a new instance. */
#ifndef VM_CHOOSE_H
#define VM_CHOOSE_H

#include "driver/driver.h"
#include "store.h"

/* As it stands in specs and settings for: the first that suits the guest on this host. */
#define VM_HYPERVISOR_AUTO "auto"

/*
 * What is asked for: the spec's hypervisor, else $VMCTL_HYPERVISOR, else that of the settings. With
 * "auto" each driver is asked in order whether it can run the spec, is installed, and would run the
 * guest well here. Errors: usage, unsupported (the named one cannot run the spec, or there is no
 * such driver); with auto, when none suits, hypervisor (or unsupported, if
 * what is asked for is all that keeps them), with the reason of each in the hint.
 */
int vm_choose_driver(const struct vm_root *root, const struct vm_spec *spec,
                     const struct vm_driver **ret, struct vm_err *err);
/* The name that is asked for, or "auto"; `spec` may be NULL. Borrowed. */
const char *vm_choose_wanted(const struct vm_root *root, const struct vm_spec *spec);
/*
 * What "auto" comes to; `spec` may be NULL: for any guest. What was passed over before, and why, is
 * written to `passed`, "" for nothing, also when none suits. Errors: as vm_choose_driver().
 */
int vm_choose_auto(const struct vm_root *root, const struct vm_spec *spec,
                   const struct vm_driver **ret, char *passed, size_t size, struct vm_err *err);
/* Whether a driver is installed and would run a guest (NULL: any) well here: 0, or -1 and why. */
int vm_choose_suits(const struct vm_root *root, const struct vm_driver *driver,
                    const struct vm_spec *spec, struct vm_err *err);

/*
 * Why an instance runs with the accelerator that its version names, for people; "" where there is
 * none to choose. Errors: those of vm_kvm_status().
 */
int vm_choose_reason(const struct vm_root *root, const struct vm_instance *row, char *buf,
                     size_t size, struct vm_err *err);

#endif
