/* SPDX-License-Identifier: Apache-2.0 */
/* doctor: what can run guests on this host, and which of it is chosen. */
#include <string.h>

#include "choose.h"
#include "doctor_impl.h"
#include "kvm.h"

static void check_kvm(const struct vm_kvm_status *kvm, struct vm_findings *findings)
{
	const char *hint = "load the kvm module, enable virtualization in the firmware, or nested "
	                   "virtualization on the host";
	bool good = kvm->verdict == VM_KVM_GOOD;
	struct vm_finding *finding = vm_findings_add(
	        findings, good ? VM_FINDING_OK : VM_FINDING_WARNING, "kvm", "%s", kvm->why);

	if (kvm->verdict == VM_KVM_DENIED)
		hint = "add yourself to the group 'kvm'";
	else if (kvm->verdict == VM_KVM_BROKEN && kvm->cached)
		hint = "'vmctl doctor --repair' tries again";
	if (!good)
		vm_findings_hint(finding, hint);
}

/* One that is not installed, or too old, is a warning: another may do. */
static void check_driver(struct vm_op *op, const struct vm_driver *driver,
                         struct vm_findings *findings)
{
	struct vm_driver_info info;
	struct vm_finding *finding;
	struct vm_err err = {0};
	bool found = driver->probe(op->root, NULL, NULL, &info, &err) == 0;

	if (found)
		finding = vm_findings_add(findings, VM_FINDING_OK, driver->name,
		                          "%.400s, version %s", info.path, info.version);
	else
		finding = vm_findings_add(findings, VM_FINDING_WARNING, driver->name, "%.500s",
		                          err.message);
	if (finding && !found)
		vm_findings_hint(finding, err.hint);
	if (finding)
		finding->driver = driver;
}

/* One that is named is what there has to be, and whether it is the best is not asked. */
static void check_wanted(struct vm_op *op, const char *wanted, struct vm_findings *findings)
{
	const struct vm_driver *driver;
	struct vm_driver_info info;
	struct vm_err err = {0};

	if (vm_driver_find(wanted, &driver, &err) == 0 &&
	    driver->probe(op->root, NULL, NULL, &info, &err) == 0)
		vm_findings_add(findings, VM_FINDING_OK, "hypervisor",
		                "%s, as the environment or the settings say", wanted);
	else
		vm_findings_hint(vm_findings_add(findings, VM_FINDING_ERROR, "hypervisor",
		                                 "%.64s, as the environment or the settings say: "
		                                 "%.300s",
		                                 wanted, err.message),
		                 err.hint);
}

/* What "auto" comes to for a guest that anything can run, and why not what comes before it. */
static void check_choice(struct vm_op *op, struct vm_findings *findings)
{
	const char *wanted = vm_choose_wanted(op->root, NULL);
	const struct vm_driver *driver;
	struct vm_err why = {0};
	char passed[sizeof(why.hint)];

	if (strcmp(wanted, VM_HYPERVISOR_AUTO) != 0) {
		check_wanted(op, wanted, findings);
		return;
	}
	if (vm_choose_auto(op->root, NULL, &driver, passed, sizeof(passed), &why) == 0)
		vm_findings_add(findings, VM_FINDING_OK, "hypervisor", "auto chooses %s%s%s",
		                driver->name, passed[0] ? "; not " : "", passed);
	else
		vm_findings_hint(vm_findings_add(findings, VM_FINDING_ERROR, "hypervisor",
		                                 "nothing here runs guests well: %s",
		                                 why.hint[0] ? why.hint : why.message),
		                 "install one of them");
}

int vm_doctor_hypervisors(struct vm_op *op, struct vm_findings *findings, struct vm_err *err)
{
	struct vm_kvm_status kvm;

	if (vm_kvm_status(op->root->store, &kvm, err) < 0 ||
	    (findings->repair && kvm.cached && kvm.verdict == VM_KVM_BROKEN &&
	     vm_kvm_try_again(op->root->store, &kvm, err) < 0))
		return -1;
	check_kvm(&kvm, findings);
	for (size_t i = 0; vm_drivers[i]; i++)
		check_driver(op, vm_drivers[i], findings);
	check_choice(op, findings);
	return 0;
}
