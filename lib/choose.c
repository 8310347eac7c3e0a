/* SPDX-License-Identifier: Apache-2.0 */
#include "choose.h"

#include <stdlib.h>
#include <string.h>

#include "kvm.h"
#include "util.h"

const char *vm_choose_wanted(const struct vm_root *root, const struct vm_spec *spec)
{
	return spec && spec->hypervisor ? spec->hypervisor : root->config.hypervisor;
}

int vm_choose_suits(const struct vm_root *root, const struct vm_driver *driver,
                    const struct vm_spec *spec, struct vm_err *err)
{
	struct vm_driver_info binary;

	if ((spec && driver->check_spec(spec, err) < 0) ||
	    driver->probe(root, spec, NULL, &binary, err) < 0)
		return -1;
	return driver->suits ? driver->suits(root, spec, err) : 0;
}

int vm_choose_auto(const struct vm_root *root, const struct vm_spec *spec,
                   const struct vm_driver **ret, char *passed, size_t size, struct vm_err *err)
{
	bool only_asks = true; /* for what none of them has, on whatever host */

	passed[0] = '\0';
	for (size_t i = 0; vm_drivers[i]; i++) {
		struct vm_err why = {0};
		size_t used = strlen(passed);

		if (vm_choose_suits(root, vm_drivers[i], spec, &why) == 0) {
			*ret = vm_drivers[i];
			return 0;
		}
		/* Not an answer, but what kept us from getting one. */
		if (why.code != VM_ERR_USAGE && why.code != VM_ERR_UNSUPPORTED &&
		    why.code != VM_ERR_HYPERVISOR) {
			*err = why;
			return -1;
		}
		only_asks &= why.code != VM_ERR_HYPERVISOR;
		snprintf(passed + used, size - used, "%s%s: %.160s", used ? "; " : "",
		         vm_drivers[i]->name, why.message);
	}
	vm_err_set(err, only_asks ? VM_ERR_UNSUPPORTED : VM_ERR_HYPERVISOR,
	           "no hypervisor here runs this guest");
	return vm_err_hint(err, "%s", passed);
}

int vm_choose_driver(const struct vm_root *root, const struct vm_spec *spec,
                     const struct vm_driver **ret, struct vm_err *err)
{
	const char *name = vm_choose_wanted(root, spec);
	const struct vm_driver *driver;
	char passed[sizeof(err->hint)];

	if (strcmp(name, VM_HYPERVISOR_AUTO) == 0)
		return vm_choose_auto(root, spec, ret, passed, sizeof(passed), err);
	if (vm_driver_find(name, &driver, err) < 0 || driver->check_spec(spec, err) < 0)
		return -1;
	*ret = driver;
	return 0;
}

/* What the spec asks for, "" for nothing. */
static void asked_for(const struct vm_instance *row, char *buf, size_t size)
{
	json_t *json = json_loads(row->spec, 0, NULL);
	const char *text = json_string_value(json_object_get(json, "accelerator"));

	snprintf(buf, size, "%s", text && strcmp(text, "auto") != 0 ? text : "");
	json_decref(json);
}

int vm_choose_reason(const struct vm_root *root, const struct vm_instance *row, char *buf,
                     size_t size, struct vm_err *err)
{
	char asked[VM_MACHINE_MAX + 1];
	const struct vm_driver *driver;
	struct vm_kvm_status kvm;
	bool emulated;

	buf[0] = '\0';
	if (!vm_version_accelerator(row->hypervisor_version)[0])
		return 0;
	asked_for(row, asked, sizeof(asked));
	if (asked[0]) {
		snprintf(buf, size, "the spec asks for %s", asked);
		return 0;
	}
	if (vm_driver_find(row->hypervisor, &driver, err) < 0 ||
	    vm_kvm_status(root->store, &kvm, err) < 0)
		return -1;
	emulated = driver->emulates && driver->emulates(row->hypervisor_version);
	if (emulated == (kvm.verdict != VM_KVM_GOOD))
		snprintf(buf, size, "%s", kvm.why);
	else
		snprintf(buf, size, "it was saved with it, or started when KVM was %s",
		         emulated ? "no good" : "good");
	return 0;
}
