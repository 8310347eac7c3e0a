#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # bats sets output, stderr, lines and status
# Disks in layers: a fork freezes its source's disk, and each side goes on in a layer of its own.

load helpers
load layers

setup() {
	vm_setup
	needs disk_qcow2
}

teardown() {
	vm_teardown
}

@test "forks of one source at once all succeed, each on the same frozen layer, with a disk of its own" {
	local name pids=() frozen tick forks=(web-1 web-2 web-3 web-4 web-5 web-6)
	make_layered src
	vmctl standby src
	tick=$(last_tick src)
	for name in "${forks[@]}"; do
		vmctl fork src "$name" >/dev/null &
		pids+=($!)
	done
	wait_all "${pids[@]}"
	assert_equal "$(count_status 0)" 6
	# The source has one new layer, whoever came first; all others have found it empty.
	frozen=$(layers_of src)
	assert_equal "$(wc -l <<<"$frozen")" 1
	for name in "${forks[@]}"; do
		assert_equal "$(layers_of "$name")" "$frozen"
		wait_for ticked_past "$name" "$((tick + 2))"
		assert_equal "$(first_tick "$name")" "$((tick + 1))"
	done
	# Links of one file: seven directories have it.
	assert_equal "$(stat -c %h "$(dir_of src)/$frozen")" 7
	assert_equal "$(layered_counter src)" "$tick"
	for name in "${forks[@]}"; do
		assert_equal "$(stat -c %h "$(disk_of "$name")")" 2
		# Not by force: what a guest has not flushed is lost with its VMM, as with a disk's cache.
		vmctl standby "$name" >/dev/null
		assert_sound_layers "$name"
		assert [ "$(layered_counter "$name")" -ge "$(last_tick "$name")" ]
	done
	assert_sound_layers src
	assert_clean
}

@test "a fork needs its source alone: another waits, or is told who has it" {
	local gate pid
	make_layered src
	vmctl standby src
	gate=$VMCTL_ROOT/locks/$(field src .id).memory
	# The first is held where it has the source's lock, and wants the memory's.
	exec 8>>"$gate"
	flock 8
	vmctl fork src one 8>&- >/dev/null &
	pid=$!
	waits() { vmctl stats -o json | jq -e --argjson pid "$pid" '.. | objects | select(.pid? == $pid)' >/dev/null; }
	wait_for waits
	run -5 --separate-stderr vmctl fork src two --no-wait 8>&-
	[[ $stderr = *"is locked by pid $pid "* ]] || fail "$stderr"
	vmctl fork src three 8>&- >/dev/null &
	exec 8>&-
	wait_all "$pid" $!
	assert_equal "$(count_status 0)" 2
	assert_equal "$(layers_of one)" "$(layers_of three)"
}

@test "forks of a source whose disk is no layers share it, as before" {
	local pid
	make_standby src
	exec 8>>"$VMCTL_ROOT/locks/$(field src .id).memory"
	flock -s 8
	vmctl fork src one 8>&- >/dev/null &
	pid=$!
	vmctl fork src two --no-wait 8>&-
	exec 8>&-
	wait_all "$pid"
	assert_equal "$(count_status 0)" 1
}

@test "what is frozen is never written again, whoever runs" {
	local before
	make_layered src
	vmctl standby src
	vmctl fork src -n 2 --name 'web-{}'
	before=$(frozen_sums src)
	vmctl restore src
	for name in src web-1 web-2; do
		wait_for ticked_past "$name" "$(($(last_tick "$name" || echo 0) + 3))"
	done
	assert_equal "$(frozen_sums src)" "$before"
	assert_equal "$(frozen_sums web-1)" "$before"
}

@test "a fork of a running source: both go on, in layers of their own, and memory and disk belong together" {
	local tick
	make_layered src
	vmctl fork src one --from-running
	vmctl fork one two --from-running
	wait_for ticked_past src "$(last_tick src)"
	vmctl fork src three --from-running
	wait_for has_ticked three
	for name in src one two three; do
		tick=$(last_tick "$name")
		wait_for ticked_past "$name" "$tick"
		[[ ! $(ask "$name" c '^count') =~ error ]]
		refute grep -q 'disk error' "$(dir_of "$name")/console.log"
	done
	# Two freezes of src, in between it has written; of one none or one, as it had written or not.
	assert_equal "$(layers_of src | wc -l)" 2
	assert_equal "$(layers_of three)" "$(layers_of src)"
	assert_equal "$(layers_of two)" "$(layers_of one)"
	assert [ "$(layers_of one | tail -n 1)" = "$(layers_of src | tail -n 1)" ]
	assert_equal "$(ask src mA '^marked')" 'marked A'
	assert_equal "$(ask one mB '^marked')" 'marked B'
	assert_equal "$(ask src g '^marker')" 'marker mem=A disk=A'
	assert_equal "$(ask two g '^marker')" 'marker mem=- disk=-'
	assert_equal "$(ask one g '^marker')" 'marker mem=B disk=B'
	for name in src one two three; do
		vmctl stop "$name" >/dev/null
		assert_sound_layers "$name"
		assert [ "$(layered_counter "$name")" -ge "$(last_tick "$name")" ]
	done
	# And they boot from them.
	vmctl start two
	wait_for has_ticked two
	assert_clean
}

@test "the source may be removed: its forks, and theirs, go on" {
	make_layered src
	vmctl standby src
	vmctl fork src one
	vmctl rm --force src
	wait_for has_ticked one
	vmctl standby one
	vmctl fork one two
	vmctl rm --force one
	wait_for has_ticked two
	vmctl stop --force two
	assert_sound_layers two
	assert_equal "$(layers_of two | wc -l)" 2
}

@test "snapshots: forks of an image share it, it is restored in place, and not exported" {
	local tick pids=()
	make_layered src
	vmctl snapshot create src base
	tick=$(last_tick src)
	wait_for ticked_past src "$((tick + 3))"
	for name in web-1 web-2 web-3; do
		vmctl fork src/base "$name" >/dev/null &
		pids+=($!)
	done
	wait_all "${pids[@]}"
	assert_equal "$(count_status 0)" 3
	wait_for has_ticked web-1
	assert [ "$(first_tick web-1)" -le "$((tick + 2))" ]
	run -8 --separate-stderr vmctl snapshot export src/base
	[[ $stderr = *'has qcow2 disks'* ]] || fail "$stderr"
	vmctl stop src
	assert [ "$(layered_counter src)" -gt "$((tick + 2))" ]
	vmctl snapshot restore src base
	assert [ "$(layered_counter src)" -le "$((tick + 2))" ]
	vmctl restore src
	wait_for ticked_past src "$((tick + 3))"
	vmctl stop --force src
	assert_sound_layers src
	vmctl snapshot rm src/base
	assert_clean
}

@test "an image of a user's: seen for what it is, copied, refused where it lies on another" {
	qemu-img create -q -f qcow2 own.qcow2 2M
	vmctl create one --kernel "$guest" --memory 16M --disk own.qcow2 --start
	assert_equal "$(field one '.disks[0].format')" qcow2
	assert_equal "$(field one '.disks[0].size_bytes')" 2097152
	wait_for has_ticked one
	[[ $(ask one i '^id mem') = *'disk=4096 '* ]]
	# As what it is said to be, if that is said.
	cp own.qcow2 as-raw.qcow2
	truncate -s 256K as-raw.qcow2
	vmctl create two --kernel "$guest" --memory 16M --disk path=as-raw.qcow2,format=raw
	assert_equal "$(field two '.disks[0].format')" raw
	qemu-img create -q -f qcow2 -b own.qcow2 -F qcow2 above.qcow2
	run -2 --separate-stderr vmctl create three --kernel "$guest" --memory 16M --disk above.qcow2
	[[ $stderr = *"lies on another image, 'own.qcow2'"*'qemu-img convert'* ]] || fail "$stderr"
	head -c 1000 own.qcow2 >short.qcow2
	run -2 --separate-stderr vmctl create three --kernel "$guest" --memory 16M --disk short.qcow2
	[[ $stderr = *short.qcow2* ]] || fail "$stderr"
	run -3 vmctl inspect three
}

@test "a layer that is missing or damaged is named, and nothing is changed by who needs it" {
	local layer
	make_layered src
	vmctl standby src
	vmctl fork src one --target-state standby
	layer=$(layers_of one)
	mv "$(dir_of one)/$layer" kept
	run -10 --separate-stderr vmctl restore one
	[[ $stderr = *"$layer"*'is missing'* ]] || fail "$stderr"
	run -10 --separate-stderr vmctl fork one two
	assert_equal "$(state_of one)" standby
	ln kept "$(dir_of one)/$layer"
	vmctl restore one
	vmctl standby src && vmctl restore src
	wait_for has_ticked one
	assert_clean
}

@test "a read-only qcow2 disk is shared by its forks" {
	qemu-img create -q -f qcow2 data.qcow2 1M
	vmctl create src --kernel "$guest" --memory 16M --disk size=1M \
		--disk id=data,path=data.qcow2,readonly --start
	wait_for has_ticked src
	vmctl standby src
	vmctl fork src -n 2 --name 'web-{}'
	assert_equal "$(stat -c %h "$(disk_of src data)")" 3
	wait_for has_ticked web-2
}
