#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # helpers sets meaning_of, bats output and lines
# What keeps hypervisors apart from the rest: the generic layer knows them by the registry alone.

load helpers

setup() {
	top=$(cd "$BATS_TEST_DIRNAME/.." && pwd)
	PATH=$top/${VMCTL_BUILD:-build}/bin:$PATH
	# The tool qemu-img is one, too, of the disks of any.
	hypervisors='firecracker|qemu($|[^-]|-[^i])|cloud.?hypervisor'
}

@test "lib/ outside lib/driver/ names no hypervisor, in comments neither" {
	# The pattern finds what it is to find, and there is something to look through.
	run -0 grep -r -l -i -E "$hypervisors" "$top/lib/driver"
	run -0 find "$top/lib" -path "$top/lib/driver" -prune -o -name '*.[ch]' -print
	assert [ "${#lines[@]}" -gt 50 ]
	run -1 grep -r -n -i -E --exclude-dir=driver "$hypervisors" "$top/lib"
	assert_output ''
}

@test "the default hypervisor that the help of create names is the automatic choice" {
	run -0 vmctl create --help
	assert_output --partial "(default auto)"
}

@test "each capability has a meaning, for the tests that are skipped without it" {
	export VMCTL_HYPERVISOR=${VMCTL_TEST_HYPERVISOR:-firecracker} VMCTL_ROOT=$BATS_TEST_TMPDIR/none
	capability network >/dev/null
	assert_equal "$(printf '%s\n' "${!meaning_of[@]}" | sort)" \
		"$(jq -r 'to_entries[] | select(.value | type == "boolean").key' "$BATS_FILE_TMPDIR/capabilities" | sort)"
}

@test "vmctl itself has no SQLite to load, which each verb that opens the store has" {
	local bin=$top/${VMCTL_BUILD:-build}/bin
	run -0 grep -c -a -F sqlite3_open "$bin/vmctl-ls"
	run -1 grep -c -a -F sqlite3_open "$bin/vmctl"
	assert_output 0
}
