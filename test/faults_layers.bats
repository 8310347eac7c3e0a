#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154,SC2317,SC2034 # bats sets output, stderr and lines; called by name
# Forks that freeze the layers of their source's disk, killed, or failing, at every point that makes
# layers: the source sees the content that it had, through sound layers, and is forked again.

load helpers
load sound
load faults
load layers

setup() {
	sound_setup
	needs disk_qcow2
	# Files, and what is asked of the VMM; the other points know nothing of layers.
	FAULTS_ONLY='^(fs|driver\.(freeze|request))'
}

teardown() {
	sound_teardown
}

# What a kill just behind an effect leaves is what one just before the next leaves.
wanted() {
	[[ $1 != *.done#* ]]
}

# Killed, or failing.
strike() {
	local point=$1
	shift
	echo "$how at $point: vmctl $*"
	if [ "$how" = kill ]; then
		run env VMCTL_FAULT="$point:kill" vmctl "$@"
		assert_equal "$status $output" "137 $output"
	else
		run env VMCTL_FAULT="$point:fail:ENOSPC" vmctl "$@"
		# A warning where nothing is lost by it.
		[[ $status = 0 || $status = 7 || $status = 1 ]] || fail "exit status $status: $output"
	fi
}

# Made anew each time, so that each time something is frozen that was written to.
fresh_source() {
	local name
	for name in $(vmctl ls --names | grep -v '^rest$'); do
		vmctl rm --force "$name" >/dev/null
	done
	make_layered src
}

prepare_standby() {
	fresh_source
	vmctl standby src >/dev/null
	counter=$(layered_counter src)
}

prepare_running() {
	fresh_source
	counter=$(last_tick src)
}

source_is_sound() {
	[ "$(state_of src)" != running ] || vmctl standby src >/dev/null
	assert_sound_layers src
	assert [ "$(layered_counter src)" -ge "$counter" ]
	# What it lies on is nobody's to write, and what a kill has left goes when it runs again.
	vmctl restore src >/dev/null
	assert_equal "$(find "$(dir_of src)" -name '*.layer' | wc -l)" "$(($(layers_of src | wc -l) + 1))"
	assert_equal "$(find "$(dir_of src)" -name '*.new')" ''
	wait_for ticked_past src "$counter"
	refute grep -q 'disk error' "$(dir_of src)/console.log"
}

fork_and_look() {
	vmctl rm --force web >/dev/null 2>&1 || true
	vmctl fork src web "${forks[@]}" >/dev/null
	assert_equal "$(state_of web)" running
	wait_for has_ticked web
	refute grep -q 'disk error' "$(dir_of web)/console.log"
	vmctl stop --force web >/dev/null
	assert_sound_layers web
	source_is_sound
}

@test "a fork of a standby in layers is killed at every point" {
	local how=kill forks=(--target-state running)
	prepare=prepare_standby next=fork_and_look walk fork src web "${forks[@]}"
}

@test "a fork of a standby in layers fails at every point" {
	local how=fail forks=(--target-state running)
	prepare=prepare_standby next=fork_and_look walk fork src web "${forks[@]}"
}

@test "a fork of a running one in layers is killed at every point" {
	local how=kill forks=(--from-running)
	prepare=prepare_running next=fork_and_look walk fork src web "${forks[@]}"
}
