#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # bats sets output and stderr
# One instance through its states.

load helpers

setup() { vm_setup; }
teardown() { vm_teardown; }

@test "create makes a stopped instance and prints its name" {
	run -0 vmctl create web --kernel "$guest" --memory 16M --disk size=1M
	assert_output web
	assert_equal "$(state_of web)" stopped
	assert_clean
}

@test "start boots it: the guest ticks and writes its counter to its own disk" {
	make_running web
	assert_equal "$(state_of web)" running
	wait_for disk_counter web
	assert_equal "$(live_vmms)" 1
	assert_clean
}

@test "standby ends the VMM, restore goes on from the same number" {
	make_standby web
	local before
	assert_equal "$(state_of web)" standby
	assert_equal "$(live_vmms)" 0
	before=$(last_tick web)
	vmctl restore web
	goes_on() { (($(last_tick web) > before)); }
	wait_for goes_on
	# Not one boot more than the first: it was restored, not started afresh.
	assert_equal "$(console_of web | grep -c ready)" 1
	assert [ ! -e "$(dir_of web)/manifest.json" ]
	assert_clean
}

@test "a guest that is stopped gracefully is asked first" {
	make_running web
	run -0 vmctl stop --time 60 web
	run -0 console_of web
	assert_output --partial ctrl-alt-del
	assert_equal "$(state_of web)" stopped
}

@test "a guest that does not listen is killed when its time is over" {
	make_running web --boot-args 'console=ttyS0 reboot=k panic=1 pci=off stubborn'
	run -0 vmctl stop --time 1 web
	assert_equal "$(state_of web)" stopped
	assert_equal "$(live_vmms)" 0
}

@test "a guest that crashes is failed where its VMM tells that from an end, else stopped; it can be started" {
	make_running web
	printf h >"$(dir_of web)/console.in"
	none() { [ "$(live_vmms)" = 0 ]; }
	wait_for none
	run -0 console_of web
	assert_output --partial crash
	assert_equal "$(state_of web)" "$(can tells_crash && echo failed || echo stopped)"
	vmctl start web
	assert_equal "$(state_of web)" running
	wait_for ticked_past web 0
	assert_equal "$(boots_of web)" 2
	assert_clean
}

@test "rm leaves nothing of an instance" {
	make_running web
	run -6 --separate-stderr vmctl rm web
	assert_equal "$(state_of web)" running
	run -0 vmctl rm --force web
	run -0 find "$VMCTL_ROOT/guests" "$VMCTL_ROOT/trash" -mindepth 1
	assert_output ''
	assert_clean
}
