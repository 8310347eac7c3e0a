#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154,SC2317,SC2034 # bats sets output, stderr and lines; called by name
# Saved memory byte by byte: a fork is killed when the memory of its source is saved and the source
# still stands; then the VMM writes all memory once more, past vmctl, and both must be the same. After
# a kill anywhere in a save the next one must be right too.

load helpers
load mounts
load memory
load sound
load faults

setup() { vm_setup; }

teardown() {
	local status=0
	vm_teardown || status=1
	unmount_root || status=1
	return $status
}

wanted() {
	true
}

strike() {
	local point=$1
	shift
	echo "kill at $point: vmctl $*"
	run env VMCTL_FAULT="$point:kill" vmctl "$@"
	case $point in
	vmm.record*) assert_equal "$status $output" "9 ${output}" ;;
	*) { is_racy "$point" && [ "$status" = 0 ]; } || assert_equal "$status $output" "137 $output" ;;
	esac
}

# assert_exact HOW NAME: what a fork of that running instance saves now is its memory.
assert_exact() {
	local how=$1 name=$2 made
	run env VMCTL_FAULT=driver.resume:kill vmctl fork "$name" exact --from-running
	assert_equal "$status" 137
	assert_equal "$(guest_state "$name")" Paused
	made=$VMCTL_ROOT/guests/$(sqlite3 -readonly "$VMCTL_ROOT/vmctl.db" \
		"SELECT id FROM instance WHERE name = 'exact'")/memory
	# Before the other save, which writes as much: how it came to be.
	case $how in
	diff) filefrag -v "$made" | grep -q shared ;;
	full) ! filefrag -v "$made" | grep -q shared ;;
	recycled) assert_equal "$(stat -c %i "$made")" "$recycled" ;;
	esac
	assert [ ! -e "$(dir_of "$name")/memory.base" ]
	full_save "$name" "$PWD/truth"
	cmp "$made" truth
	rm truth truth.state
	# The next verb lets it go on, and removes what the dead one has left.
	vmctl resume "$name" >/dev/null
	assert_equal "$(guest_state "$name")" Running
	assert [ ! -e "$made" ]
}

# The guest has done something since.
go_on() {
	local number
	wait_for has_ticked "$1"
	number=$(last_tick "$1")
	ask "$1" "m${2:-x}" "^marked ${2:-x}"
	wait_for ticked_past "$1" "$number"
}

@test "what is saved by a diff is the guest's memory, byte by byte" {
	mount_root 3G xfs -m reflink=1
	make_running src --memory 64M --boot-args memfill=32
	assert_exact full src
	go_on src
	vmctl fork src one --from-running
	go_on src
	# The second save, and one more after that: each over what the one before has made.
	assert_exact diff src
	go_on src
	vmctl fork src two --from-running
	go_on src
	vmctl fork src three --from-running
	go_on src
	assert_exact diff src
	# A fork, whose base is what it was loaded from; and after standby and restore.
	go_on three
	assert_exact diff three
	vmctl fork src four --from-running
	vmctl standby src
	vmctl restore src
	go_on src
	assert_exact diff src
	vmctl fork src five --from-running --target-state standby
	vmctl restore five
	go_on five
	assert_exact diff five
}

@test "what is saved over a recycled file is the guest's memory, byte by byte" {
	local recycled file
	mount_root 1G ext4 -m 0
	vmctl_yaml 'memory:' '  pool_max: 64M' 'limits:' '  min_free_disk: 64M'
	make_running src
	vmctl fork src one --from-running
	vmctl rm --force one
	file=$(find "$VMCTL_ROOT/pool" -type f)
	recycled=$(stat -c %i "$file")
	head -c 16M /dev/urandom | dd of="$file" conv=notrunc status=none
	assert_exact recycled src
}

@test "a save that was killed anywhere leaves the next one right" {
	local point points how
	mount_root 2G xfs -m reflink=1
	make_running src
	vmctl fork src first --from-running
	VMCTL_FAULT_TRACE=$PWD/trace vmctl fork src other --from-running
	vmctl rm --force first other
	# From the reflink of the base until the base is there again.
	points=$(sed -n '/^fs\.copy/,$p' trace | sed -n '1,/^fs\.link\.done/p' | grep -v '^store')
	assert [ "$(wc -l <<<"$points")" -gt 10 ]
	for point in $points; do
		echo "killed at $point"
		rm -f trace
		vmctl fork src before --from-running
		assert [ -e "$(dir_of src)/memory.base" ]
		go_on src
		run env VMCTL_FAULT="$point:kill" vmctl fork src half --from-running
		assert_equal "$status" 137
		vmctl resume src >/dev/null
		go_on src y
		# Where the base is still there, nothing has been saved since; or it is the new one.
		how=full
		[ ! -e "$(dir_of src)/memory.base" ] || how='diff'
		assert_exact "$how" src
		vmctl rm --force before
		assert_clean
	done
}

@test "forks of a running source by diff, killed at every point" {
	mount_root 3G xfs -m reflink=1
	vmctl_yaml 'limits:' '  min_free_disk: 0'
	make_standby rest
	rest_dir=$(dir_of rest)
	rest_sums=$(sums_in "$rest_dir")
	scenario_fork_running
	assert_saved diff fork src last --from-running
	wait_for has_ticked last
}
