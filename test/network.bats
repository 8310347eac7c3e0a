#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # bats sets output, stderr, lines and status
# Networks of guests: a tap device is one guest's at a time, and forks get others.

load helpers
load mounts

setup() {
	vm_setup
	needs network
	[ "$(id -u)" = 0 ] || missing root
	[ -e /dev/net/tun ] || missing /dev/net/tun
	# Of this test alone, whatever runs beside it.
	tap=vt$(printf '%06x' $((BASHPID % 0x1000000)))
	taps=()
}

teardown() {
	local device status=0
	vm_teardown || status=1
	for device in "${taps[@]}"; do
		ip tuntap del dev "$device" mode tap || status=1
	done
	return $status
}

make_taps() {
	local n
	for n; do
		ip tuntap add dev "$tap$n" mode tap
		taps+=("$tap$n")
	done
}

# Whether a VMM has it: a tap device without has no carrier.
is_attached() {
	[ "$(cat "/sys/class/net/$tap$1/carrier" 2>/dev/null)" = 1 ]
}

@test "forks of a guest with a tap device get one each, and say so; none is shared" {
	needs network_override
	make_taps 0 1 2 3
	for n in 0 1 2 3; do ip link set "$tap$n" up; done
	make_running src --network "tap=${tap}0"
	assert is_attached 0
	assert_equal "$(field src .spec.network)" "tap=${tap}0"
	vmctl standby src
	refute is_attached 0
	# All of them with the source's, or with one: refused before anything is done.
	snapshot_root >before
	run -5 --separate-stderr vmctl fork src -n 2
	[[ $stderr = *"only one of its forks could run with it"*"--network 'tap=NAME{}'"* ]] || fail "$stderr"
	run -2 --separate-stderr vmctl fork src -n 2 --network "tap=${tap}1"
	snapshot_root >after
	diff before after
	vmctl fork src -n 3 --name 'web-{}' --network "tap=$tap{}"
	for n in 1 2 3; do
		assert is_attached "$n"
		assert_equal "$(field "web-$n" .spec.network)" "tap=$tap$n"
		wait_for has_ticked "web-$n"
	done
	vmctl restore src
	assert is_attached 0
	# A fork that rests keeps what it was given.
	vmctl standby web-2
	refute is_attached 2
	vmctl restore web-2
	assert is_attached 2
	assert_clean
}

@test "a tap device that is in use, missing or of another kind is an error, and the guest stays as it was" {
	make_taps 0 1
	make_running src --network "tap=${tap}0"
	run -5 --separate-stderr vmctl fork src one --from-running
	[[ $stderr = *"runs with the tap device '${tap}0'"* ]] || fail "$stderr"
	vmctl standby src
	vmctl fork src one
	run -5 --separate-stderr vmctl restore src
	[[ $stderr = *"${tap}0"*'in use'* ]] || fail "$stderr"
	assert_equal "$(state_of src)" standby
	run -1 --separate-stderr vmctl fork src two --network "tap=${tap}9"
	[[ $stderr = *"there is no tap device '${tap}9'"*'ip tuntap add'* ]] || fail "$stderr"
	run -11 --separate-stderr vmctl fork src two --network user
	[[ $stderr = *"goes on with none of another kind"* ]] || fail "$stderr"
	run -2 vmctl fork src two --network bridge=br0
	run -3 vmctl inspect two
	vmctl fork src two --network "tap=${tap}1"
	vmctl stop --force one
	vmctl restore src
	wait_for has_ticked two
	assert_clean
}

@test "a fork that boots afresh can have another kind of network" {
	vmctl create src --kernel "$guest" --memory 16M --network user
	vmctl fork src one --network none
	assert_equal "$(field one .spec.network)" none
	assert_equal "$(field src .spec.network)" user
	vmctl start one
	wait_for has_ticked one
}
