/* SPDX-License-Identifier: Apache-2.0 */
/* Private to lib/kvm*.c: what the child that runs the loop tells its parent. */
#ifndef VM_KVM_IMPL_H
#define VM_KVM_IMPL_H

#include <stdint.h>

struct vm_kvm_report {
	const char *failed; /* the call that failed: a constant, the same in the parent; or NULL */
	int number;         /* its errno; 0: it worked, but not as it should */
	uint64_t instructions_per_second; /* when nothing failed */
};

/*
 * Makes a virtual machine by the open device and times a loop in it. For a child of a threaded
 * program: nothing but system calls. What it opens it leaves to exit.
 */
void vm_kvm_run_loop(int device_fd, struct vm_kvm_report *ret);

#endif
