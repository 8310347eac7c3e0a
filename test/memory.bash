# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # bats sets output, stderr and lines
# For the tests of saved memory: `load memory` after `load helpers`.

# full_save NAME FILE: has the VMM of a paused guest write all its memory to FILE, past vmctl. It
# forgets by that what is dirty, as in any save.
full_save() {
	request_at "$(dir_of "$1")" PUT /snapshot/create "$(jq -nc --arg memory "$2" \
		'{snapshot_type: "Full", snapshot_path: ($memory + ".state"), mem_file_path: $memory}')" >/dev/null
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
	api "$1" /machine-config | jq .track_dirty_pages
}
