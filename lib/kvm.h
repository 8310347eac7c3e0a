/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether KVM runs code at speed here.
 *
 * That /dev/kvm can be opened says little: a KVM inside of a virtual machine may emulate each
 * instruction of a guest's kernel, and then a guest that boots in a second on hardware takes many
 * minutes. So a loop is run in a virtual machine of its own and timed. What came out is
 * remembered in the store until the host boots anew; whether this user may open /dev/kvm is looked
 * at each time.
 */
#ifndef VM_KVM_H
#define VM_KVM_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "store.h"

enum vm_kvm_verdict {
	VM_KVM_GOOD,   /* the processor itself runs the guest's instructions */
	VM_KVM_SLOW,   /* they are emulated: no use for a guest with an operating system */
	VM_KVM_BROKEN, /* there is a device, but no guest runs by it */
	VM_KVM_ABSENT, /* there is no device, or nothing behind it */
	VM_KVM_DENIED, /* this user may not open it */
};

struct vm_kvm_status {
	enum vm_kvm_verdict verdict;
	uint64_t instructions_per_second; /* 0 unless good or slow */
	bool cached;                      /* remembered, not measured now */
	/* One sentence for people, e.g. "there is no /dev/kvm"; without a full stop. */
	char why[160];
};

/* "good", "slow", "broken", "absent", "denied". */
const char *vm_kvm_verdict_name(enum vm_kvm_verdict verdict);

/*
 * Measures now, in a child process: a few ms where KVM is good, up to 0.3 s where it is slow, 3 s
 * where it hangs. That it is no good is no error; errors are what kept us from finding out: system
 * (also: interrupted), insufficient_resources.
 */
int vm_kvm_measure(struct vm_kvm_status *ret, struct vm_err *err);
/*
 * The same, remembered in the store, which may be one in memory or one that cannot be written: then
 * it is measured each time. One transaction of its own, where it measures.
 */
int vm_kvm_status(struct vm_store *store, struct vm_kvm_status *ret, struct vm_err *err);

/*
 * The same, but what is remembered is forgotten: one that hung may just have been stopped. Errors:
 * those of the store, too.
 */
int vm_kvm_try_again(struct vm_store *store, struct vm_kvm_status *ret, struct vm_err *err);

/* The two for tests: of another device, with another patience for one that hangs. */
enum { VM_KVM_PATIENCE_MS = 3000 };
int vm_kvm_measure_device(const char *device, int64_t patience_ms, struct vm_kvm_status *ret,
                          struct vm_err *err);
int vm_kvm_status_device(struct vm_store *store, const char *device, struct vm_kvm_status *ret,
                         struct vm_err *err);

#endif
