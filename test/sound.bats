#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154,SC2317 # bats sets output and lines; called by name
# What the tests that kill verbs look at after each (sound.bash) is found wrong when it is, whatever doctor
# says of it.

load helpers
load sound

setup() {
	sound_setup
}

teardown() {
	unset -f vmctl
	sound_teardown
}

# noticed WHAT: assert_sound fails, by what it looks at and not because it cannot look.
noticed() {
	# As in a test, where the first that is wrong ends it; under run, or with ||, it would not.
	assert_sound >told 2>&1 3>&- &
	wait_all $!
	output=$(<told)
	assert [ "${statuses[0]}" != 0 ]
	assert_output --partial 'values do not equal'
	assert_output --partial "$1"
}

@test "assert_sound believes no doctor: what has no row or no VMM, and a bystander that changed, are noticed" {
	local id entry file
	vmctl fork rest web >/dev/null
	vmctl snapshot create rest one >/dev/null
	assert_sound
	id=$(field web .id)
	vmctl() {
		echo 'OK     leftovers     none'
	}
	assert_sound
	for entry in guests/x guests/.x images/x images/.x trash/x trash/.x; do
		mkdir "$VMCTL_ROOT/$entry"
		noticed "$entry"
		rmdir "$VMCTL_ROOT/$entry"
	done
	mv "$VMCTL_ROOT/guests/$id" away
	noticed "guests/$id"
	mv away "$VMCTL_ROOT/guests/$id"
	for file in disk-root.img kernel manifest.json memory vmstate; do
		mv "$rest_dir/$file" away
		noticed "$file"
		# One bit of it.
		cp --sparse=always away "$rest_dir/$file"
		printf '\x%02x' $((0x$(od -A n -t x1 -j 100 -N 1 away | tr -d ' ') ^ 16)) >bit
		# shellcheck disable=SC2059 # an escape
		printf "$(<bit)" | dd of="$rest_dir/$file" bs=1 seek=100 conv=notrunc status=none
		noticed "$file"
		mv away "$rest_dir/$file"
	done
	assert_sound
	sqlite3 "$VMCTL_ROOT/vmctl.db" "UPDATE instance SET state = 'stopped' WHERE id = '$id'"
	noticed 'actual'
	sqlite3 "$VMCTL_ROOT/vmctl.db" "UPDATE instance SET state = 'running' WHERE id = '$id'"
	assert_sound
	kill -KILL "$(field web .pid)"
	none() { [ "$(live_vmms)" = 0 ]; }
	wait_for none
	noticed 'actual'
}

@test "assert_sound believes a doctor that complains" {
	mkdir "$VMCTL_ROOT/guests/aaaaaaaaaaaaaaaaaaaaaaaa"
	noticed leftovers
	rmdir "$VMCTL_ROOT/guests/aaaaaaaaaaaaaaaaaaaaaaaa"
	assert_sound
	vmctl() {
		echo 'OK     leftovers     none'
		return 1
	}
	noticed 'actual   : 1'
	vmctl() {
		echo 'WARN   leftovers     one'
	}
	noticed 'WARN'
	vmctl() {
		echo 'OK     leftovers     none'
		echo 'FIXED  leftovers     one'
	}
	noticed 'FIXED'
	vmctl() {
		echo 'OK     root'
	}
	noticed 'leftovers'
}
