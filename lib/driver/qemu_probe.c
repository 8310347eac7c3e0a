/* SPDX-License-Identifier: Apache-2.0 */
/* The binary, and the accelerator that guests run with. */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <x86intrin.h>

#include "../kvm.h"
#include "../util.h"
#include "binary.h"
#include "qemu.h"

/* The oldest that was tried: of Debian 12. */
enum { MIN_MAJOR = 7, MIN_MINOR = 2, TSC_MEASURE_NS = 10000000 };

bool vm_qemu_emulates(const char *version)
{
	return strcmp(vm_version_accelerator(version), "tcg") == 0;
}

unsigned vm_qemu_tsc_khz(void)
{
	const struct timespec pause = {.tv_nsec = TSC_MEASURE_NS};
	int64_t began_us = vm_monotonic_us(), passed_us;
	uint64_t began = __rdtsc(), passed;

	/* However long it really is: it is measured by the same clock. */
	nanosleep(&pause, NULL);
	passed_us = vm_monotonic_us() - began_us;
	passed = __rdtsc() - began;
	return passed_us > 0 ? (unsigned)(passed * 1000 / (uint64_t)passed_us) : 0;
}

/*
 * A saved guest goes on with the accelerator that it was saved with, unless that is not to be had:
 * then the version says so, and vm_qemu_check_version() refuses. One that boots gets KVM if that
 * really runs code at speed, unless the spec asks for one.
 */
static int choose_accelerator(const struct vm_root *root, const struct vm_spec *spec,
                              const char *saved, const char **ret, struct vm_err *err)
{
	const char *wanted = saved                       ? vm_version_accelerator(saved)
	                     : spec && spec->accelerator ? spec->accelerator
	                                                 : "auto";
	struct vm_kvm_status kvm;
	bool usable;

	*ret = "tcg";
	if (strcmp(wanted, "tcg") == 0)
		return 0;
	if (vm_kvm_status(root->store, &kvm, err) < 0)
		return -1;
	usable = kvm.verdict == VM_KVM_GOOD || kvm.verdict == VM_KVM_SLOW;
	if (!saved && !usable && strcmp(wanted, "kvm") == 0) {
		vm_err_set(err, VM_ERR_HYPERVISOR, "accelerator kvm: %s", kvm.why);
		return vm_err_hint(err, "'accelerator: tcg' emulates, and runs everywhere");
	}
	if (kvm.verdict == VM_KVM_GOOD || (usable && strcmp(wanted, "kvm") == 0))
		*ret = "kvm";
	return 0;
}

/* "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)" */
int vm_qemu_probe(const struct vm_root *root, const struct vm_spec *spec, const char *saved,
                  struct vm_driver_info *ret, struct vm_err *err)
{
	static const char *const names[] = {"qemu-system-x86_64", NULL};
	static const struct vm_binary_search search = {
	        .driver = "qemu",
	        .product = "QEMU",
	        .variable = VM_QEMU_BINARY_VARIABLE,
	        .names = names,
	        .version_format = "QEMU emulator version %23[0-9.]",
	};
	struct vm_driver_info info;
	const char *accelerator;
	size_t len;

	if (vm_binary_find(root, &search, &info, err) < 0)
		return -1;
	if (!vm_version_is_since(info.version, MIN_MAJOR, MIN_MINOR)) {
		vm_err_set(err, VM_ERR_HYPERVISOR, "%s is QEMU %s: it is too old", info.path,
		           info.version);
		return vm_err_hint(err, "install QEMU %d.%d or newer", MIN_MAJOR, MIN_MINOR);
	}
	if (choose_accelerator(root, spec, saved, &accelerator, err) < 0)
		return -1;
	len = strlen(info.version);
	snprintf(info.version + len, sizeof(info.version) - len, "+%s", accelerator);
	*ret = info;
	return 0;
}

int vm_qemu_check_version(const char *version, const char *now, struct vm_err *err)
{
	const char *was = vm_version_accelerator(version), *is = vm_version_accelerator(now);
	int major = 0, minor = 0;

	if (!vm_version_is_alike(version, now)) {
		(void)sscanf(version, "%d.%d", &major, &minor);
		vm_err_set(err, VM_ERR_INCOMPATIBLE,
		           "the state was saved by QEMU %s, the binary here is %s", version, now);
		return vm_err_hint(err, "name a QEMU %d.%d by $VMCTL_QEMU", major, minor);
	}
	if (strcmp(was, is) == 0)
		return 0;
	vm_err_set(err, VM_ERR_INCOMPATIBLE,
	           "the state was saved with the accelerator %s, which is not to be had here", was);
	return vm_err_hint(err, "'vmctl doctor' says why; or start it afresh: "
	                        "vmctl stop --discard, vmctl start");
}
