#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # wait_all sets statuses
# Guest CIDs: each instance has its own, in the row, in the saved state and in the VMM.

load helpers

setup() {
	vm_setup
	needs_vsock
}

teardown() {
	vm_teardown
}

bytes_at() {
	od -A n -t "$3" -j "$2" -N "${4:-${3#u}}" "$1" | tr -d ' \n'
}

# The guest CID in a state file, as docs/state-file.md has it: behind the path of the vsock's socket.
cid_in_state() {
	local file at
	file=$(dir_of "$1")/vmstate
	at=$(grep -obUa 'vsock\.sock' "$file") || return 1
	at=$((${at%%:*} + 10))
	if [ "$(bytes_at "$file" 2 x1 1)" = 64 ]; then # bincode: 8 bytes behind the path
		bytes_at "$file" "$at" u8
	elif [ "$(bytes_at "$file" $((at + 5)) x1 1)" = 02 ]; then # bitcode: five bytes, 02, 4 bytes
		bytes_at "$file" $((at + 6)) u4
	fi
}

# All that have the CID of an instance agree about it.
assert_cid_everywhere() {
	local cid
	cid=$(field "$1" .guest_cid)
	assert [ "$cid" -ge 3 ]
	! can state_rewrite || assert_equal "$(cid_in_state "$1")" "$cid"
	[ "$(state_of "$1")" = standby ] || assert_equal "$(vmm_cid "$1")" "$cid"
}

@test "over a hundred forks by verbs at once have a CID each: row, saved state and VMM agree" {
	make_running src
	local i pids=() names
	vmctl standby src
	for i in {1..8}; do
		vmctl fork src -n 13 --name "rest$i-{}" --target-state standby -q >/dev/null 3>&- &
		pids+=($!)
		vmctl fork src "run$i" -q >/dev/null 3>&- &
		pids+=($!)
	done
	wait_all "${pids[@]}"
	assert_equal "$(count_status 0)" 16
	assert_equal "$(vmctl ls -o json | jq -r '.[].guest_cid' | sort -u | wc -l)" $((1 + 8 * 14))
	mapfile -t names < <(vmctl ls -o json | jq -r '.[].name')
	assert_equal "${#names[@]}" $((1 + 8 * 14))
	for i in "${names[@]}"; do
		assert_cid_everywhere "$i"
	done
	# What was in a standby is what its VMM gets.
	vmctl restore rest1-1 rest8-13 src >/dev/null
	for i in rest1-1 rest8-13 src; do
		assert_equal "$(vmm_cid "$i")" "$(field "$i" .guest_cid)"
	done
	assert_clean
}

@test "a CID stays the instance's own over stop, start, standby and restore" {
	make_running src
	local cid
	cid=$(field src .guest_cid)
	vmctl stop --force src
	vmctl start src
	assert_equal "$(vmm_cid src)" "$cid"
	vmctl standby src
	assert_cid_everywhere src
	vmctl restore src
	assert_equal "$(field src .guest_cid)" "$cid"
	assert_cid_everywhere src
}
