#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What keeps hypervisors apart from the rest: the generic layer knows them by the registry alone.

load helpers

setup() {
	top=$(cd "$BATS_TEST_DIRNAME/.." && pwd)
	PATH=$top/${VMCTL_BUILD:-build}/bin:$PATH
	hypervisors='firecracker|qemu|cloud.?hypervisor'
}

@test "lib/ outside lib/driver/ names no hypervisor, in comments neither" {
	# The pattern finds what it is to find, and there is something to look through.
	run -0 grep -r -l -i -E "$hypervisors" "$top/lib/driver"
	run -0 find "$top/lib" -path "$top/lib/driver" -prune -o -name '*.[ch]' -print
	assert [ "${#lines[@]}" -gt 50 ]
	run -1 grep -r -n -i -E --exclude-dir=driver "$hypervisors" "$top/lib"
	assert_output ''
}

@test "the default hypervisor that the help of create names is the first of the registry" {
	local first
	first=$(sed -n 's/.*vm_drivers\[\] = {&vm_driver_\([a-z_]*\).*/\1/p' "$top/lib/driver/registry.c")
	assert [ -n "$first" ]
	run -0 vmctl create --help
	assert_output --partial "(default $first)"
}
