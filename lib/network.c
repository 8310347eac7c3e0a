/* SPDX-License-Identifier: Apache-2.0 */
#include "network.h"

#include <stdio.h>
#include <unistd.h>

int vm_network_check(const struct vm_spec *spec, struct vm_err *err)
{
	char file[sizeof("/sys/class/net//tun_flags") + VM_TAP_MAX];

	if (spec->network != VM_NETWORK_TAP)
		return 0;
	/* Only tun and tap devices have it (drivers/net/tun.c). */
	snprintf(file, sizeof(file), "/sys/class/net/%s/tun_flags", spec->tap);
	if (access(file, F_OK) == 0)
		return 0;
	vm_err_set(err, VM_ERR_SYSTEM, "there is no tap device '%s'", spec->tap);
	return vm_err_hint(err, "make it: ip tuntap add dev %s mode tap", spec->tap);
}
