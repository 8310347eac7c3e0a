/* SPDX-License-Identifier: Apache-2.0 */
#include "driver.h"
#include "firecracker.h"

/* The first is the default. */
const struct vm_driver *const vm_drivers[] = {&vm_driver_firecracker, NULL};
