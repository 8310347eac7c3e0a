/* SPDX-License-Identifier: Apache-2.0 */
#include "driver.h"
#include "firecracker.h"
#include "qemu.h"

/* The first is the default. */
const struct vm_driver *const vm_drivers[] = {&vm_driver_firecracker, &vm_driver_qemu, NULL};
