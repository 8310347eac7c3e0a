# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # bats sets output, stderr and lines
# For the tests that kill verbs: `load sound` after `load helpers`, `sound_setup` in setup() and
# `sound_teardown` in teardown().

# A data root with a bystander in standby, which nothing below may touch.
sound_setup() {
	vm_setup
	make_standby rest
	rest_dir=$(dir_of rest)
	rest_sums=$(sums_in "$rest_dir")
}

sound_teardown() {
	local status=0 file pid
	vm_teardown || status=1
	# A failed test may have left a VMM that no row in `vmctl ls` knows.
	for file in "$VMCTL_ROOT"/run/*.alive; do
		[ -e "$file" ] || continue
		flock -n -s "$file" true && continue
		read -r pid _ <"$file"
		kill -9 "$pid" || status=1
	done
	return $status
}

# What a killed verb must not change of an instance at rest: disks, memory, state, manifest.
sums_in() {
	(cd "$1" && find . -maxdepth 1 -type f \( -name 'disk-*' -o -name memory -o -name vmstate \
		-o -name manifest.json -o -name kernel \) -exec sha256sum {} + | sort)
}

# Every VMM has a row, every row its VMM, nothing is left over, and the bystander is as it was.
assert_sound() {
	local known
	run vmctl doctor
	assert_equal "$(grep -e leftovers <<<"$output")" 'OK     leftovers     none'
	assert_equal "$status" 0
	known=$(sqlite3 -readonly "$VMCTL_ROOT/vmctl.db" \
		"SELECT count(*) FROM instance WHERE state IN ('running', 'paused')")
	assert_equal "$(live_vmms)" "$known"
	assert_equal "$(find "$VMCTL_ROOT/guests" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort)" \
		"$(vmctl ls -q | sort)"
	[ ! -d "$VMCTL_ROOT/images" ] ||
		assert_equal "$(find "$VMCTL_ROOT/images" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort)" \
			"$(vmctl snapshot ls -q | sort)"
	assert_equal "$(find "$VMCTL_ROOT/trash" -mindepth 1)" ''
	assert_equal "$(sums_in "$rest_dir")" "$rest_sums"
}

# retry CODE ARGUMENTS...: the verb again; CODE is how it ends if the killed one had come to its end.
retry() {
	local code=$1
	shift
	run vmctl "$@"
	echo "$status $output"
	[ "$status" = 0 ] || assert_equal "$status ($output)" "$code ($output)"
}
