# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # bats sets output, stderr and lines
# For the tests of saved memory: `load memory` after `load helpers`.

# full_save NAME FILE: has the VMM of a paused guest write all its memory to FILE, past vmctl.
full_save() {
	memory_at "$(dir_of "$1")" "$2"
}

# same_memory FILE TRUTH: whether a memory is the one that full_save has written.
same_memory() {
	local from to
	read -r from to < <(hole_of_memory)
	[ "$(stat -c %s "$1")" = "$(stat -c %s "$2")" ] || return
	((to == 0)) || cmp -n $((from << 10)) "$1" "$2" || return
	cmp -i $((to << 10)) "$1" "$2"
}

# assert_saved HOW ARGUMENTS...: a verb that saves memory in that way.
assert_saved() {
	local how=$1
	shift
	run -0 vmctl -v "$@"
	assert_output --partial "(memory: $how)"
}

# Files in the pool.
pooled() {
	find "$VMCTL_ROOT/pool" -type f 2>/dev/null | wc -l
}

# Whether the VMM of an instance tracks dirty pages.
tracks() {
	request_at "$(dir_of "$1")" GET /machine-config | jq .track_dirty_pages
}
