#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154,SC2317,SC2034,SC2030,SC2031 # bats sets output, stderr and lines; called by name
# Saved memory byte by byte: a fork is killed when the memory of its source is saved and the source
# still stands; then the VMM writes all memory once more, past vmctl, and both must be the same. A layer
# is made whole after that: there the fork is held, and goes on. After a kill anywhere in a save the next
# one must be right too.

load helpers
load mounts
load memory
load sound
load faults

setup() { vm_setup; }

teardown() {
	local status=0
	[ -z "${held:-}" ] || kill -CONT "$held" 2>/dev/null || true
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

# Whether a process stands at its fault point.
stands() {
	grep -q '^State:.T' "/proc/$1/status"
}

# hold POINT ARGUMENTS...: runs that verb up to the point, in the background; $held is its pid.
hold() {
	local point=$1
	shift
	VMCTL_FAULT=$point:stop vmctl "$@" >held.out 2>&1 3>&- &
	held=$!
	wait_for stands "$held"
}

is_running() {
	[ "$(guest_state "$1")" = Running ]
}

let_go() {
	kill -CONT "$held"
	wait "$held"
	held=
}

# assert_exact_layer NAME: what a fork of that running instance publishes is its memory of the pause.
assert_exact_layer() {
	local name=$1
	hold driver.resume -v fork "$name" exact --from-running --target-state standby
	assert_equal "$(guest_state "$name")" Paused
	assert [ ! -e "$(dir_of "$name")/memory.base" ]
	full_save "$name" "$PWD/truth"
	let_go
	grep -F '(memory: layer)' held.out
	cmp "$(dir_of exact)/memory" truth
	assert [ ! -e "$(dir_of exact)/memory.below" ]
	rm truth truth.state
	vmctl rm --force exact
	# The other save has reset the same marks, of the same instant.
	assert [ -e "$(dir_of "$name")/memory.base" ]
}

# assert_exact_standby NAME: the same of a standby, which then is undone.
assert_exact_standby() {
	local made
	made=$(dir_of "$1")/memory.new
	run env VMCTL_FAULT=fs.fill.done:kill vmctl standby "$1"
	assert_equal "$status" 137
	assert_equal "$(guest_state "$1")" Paused
	full_save "$1" "$PWD/truth"
	cmp "$made" truth
	rm truth truth.state
	vmctl resume "$1" >/dev/null
	assert_equal "$(guest_state "$1")" Running
	assert [ ! -e "$made" ]
	assert [ ! -e "$(dir_of "$1")/memory.below" ]
}

# assert_exact_held NAME: what a fork of that running instance publishes is its memory of the pause, however
# it is saved: the fork is held until the VMM itself has written it, too.
assert_exact_held() {
	local name=$1
	hold driver.resume fork "$name" exact --from-running --target-state standby
	assert_equal "$(guest_state "$name")" Paused
	full_save "$name" "$PWD/truth"
	let_go
	same_memory "$(dir_of exact)/memory" truth
	rm truth*
	vmctl rm --force exact
}

# assert_exact HOW NAME: what a fork of that running instance saves now is its memory.
assert_exact() {
	local how=$1 name=$2 made
	if [ "$how" = layer ]; then
		assert_exact_layer "$name"
		return
	fi
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

# assert_all_exact HOW
assert_all_exact() {
	local how=$1
	make_running src --memory 64M --boot-args memfill=32
	assert_exact full src
	go_on src
	vmctl fork src one --from-running
	go_on src
	# The second save, and one more after that: each over what the one before has made.
	assert_exact "$how" src
	go_on src
	vmctl fork src two --from-running
	go_on src
	vmctl fork src three --from-running
	go_on src
	assert_exact "$how" src
	# A fork, whose base is what it was loaded from; and after standby and restore.
	go_on three
	assert_exact "$how" three
	vmctl fork src four --from-running
	vmctl standby src
	vmctl restore src
	go_on src
	assert_exact "$how" src
	vmctl fork src five --from-running --target-state standby
	vmctl restore five
	go_on five
	assert_exact "$how" five
}

@test "memory of a guest that has booted, of forks of it and of forks of those, and of one that was in standby" {
	make_running src
	go_on src
	assert_exact_held src
	vmctl fork src one --from-running
	go_on one
	assert_exact_held one
	assert_exact_held one
	vmctl fork one two --from-running
	go_on two
	assert_exact_held two
	# Once it is the only one that has its memory.
	vmctl standby two
	vmctl restore two
	go_on two
	assert_exact_held two
	go_on src y
	assert_exact_held src
	vmctl standby src
	vmctl fork src three
	vmctl restore src
	go_on src z
	go_on three
	assert_exact_held src
	assert_exact_held three
	assert_clean
}

@test "what is saved by a diff is the guest's memory, byte by byte" {
	needs diff_snapshot
	mount_root 3G xfs -m reflink=1
	assert_all_exact 'diff'
}

@test "what is saved by a layer is the guest's memory, byte by byte" {
	needs diff_snapshot
	mount_root 3G ext4 -m 0
	assert_all_exact layer
	# Standby too; and the next one, which has no base after that.
	go_on five
	assert_exact_standby five
	go_on five
	assert_saved full fork five six --from-running
	go_on six
	assert_exact_standby six
	# And an image.
	hold driver.resume snapshot create src kept
	full_save src "$PWD/truth"
	let_go
	cmp "$VMCTL_ROOT"/images/*/memory truth
	go_on src
	assert_exact layer src
	assert_clean
}

@test "xfs without reflinks: what is saved by a layer is the guest's memory, byte by byte" {
	needs diff_snapshot
	mount_root 3G xfs -m reflink=0
	assert_all_exact layer
}

# A file that could be recycled, but reads as it did.
allocate() {
	fallocate -l "$(stat -c %s "$1")" "$1"
}

@test "what a layer lies on is not recycled before the layer is whole" {
	needs diff_snapshot
	mount_root 1G ext4 -m 0
	vmctl_yaml 'memory:' '  pool_max: 64M' 'limits:' '  min_free_disk: 64M'
	make_running src
	vmctl fork src one --from-running
	allocate "$(dir_of one)/memory"
	go_on src
	hold driver.resume:stop,fs.fill fork src two --from-running --target-state standby
	full_save src "$PWD/truth"
	kill -CONT "$held"
	wait_for is_running src
	wait_for stands "$held"
	assert [ ! -e "$(dir_of src)/memory.base" ]
	vmctl rm --force one
	assert_equal "$(pooled)" 0
	let_go
	cmp "$(dir_of two)/memory" truth
	assert_equal "$(find "$VMCTL_ROOT/guests" -name memory.below)" ''
	# After that it is.
	allocate "$(dir_of two)/memory"
	vmctl fork src three --from-running
	vmctl rm --force two
	assert_equal "$(pooled)" 1
	assert_clean
}

@test "a layer that cannot be made whole fails the verb, and the source goes on" {
	needs diff_snapshot
	mount_root 1G ext4 -m 0
	vmctl_yaml 'limits:' '  min_free_disk: 0'
	make_running src
	vmctl fork src one --from-running
	go_on src
	run env VMCTL_FAULT=fs.fill:fail:ENOSPC vmctl fork src two --from-running
	assert_equal "$status" 7
	assert_output --partial /memory
	run -3 vmctl inspect two
	assert_equal "$(guest_state src)" Running
	assert_clean
	assert_exact full src
	vmctl fork src two --from-running
	go_on src
	run env VMCTL_FAULT=fs.fill:fail:EIO vmctl standby src
	assert_equal "$status" 1
	assert_equal "$(guest_state src)" Running
	assert_equal "$(find "$VMCTL_ROOT/guests" -name 'memory.[bn]e[lw]*')" ''
	assert_clean
	go_on src
	assert_exact full src
}

@test "what is saved over a recycled file is the guest's memory, byte by byte" {
	needs recycles_memory
	local recycled file
	mount_root 1G ext4 -m 0
	vmctl_yaml 'memory:' '  diff: reflink' '  pool_max: 64M' 'limits:' '  min_free_disk: 64M'
	make_running src
	vmctl fork src one --from-running
	vmctl rm --force one
	file=$(find "$VMCTL_ROOT/pool" -type f)
	recycled=$(stat -c %i "$file")
	head -c 16M /dev/urandom | dd of="$file" conv=notrunc status=none
	assert_exact recycled src
}

# assert_killed_anywhere HOW FIRST: from the first point that a save by that has.
assert_killed_anywhere() {
	local point points how by=$1 first=$2
	make_running src
	vmctl fork src first --from-running
	VMCTL_FAULT_TRACE=$PWD/trace vmctl fork src other --from-running
	vmctl rm --force first other
	# Until the base is there again.
	points=$(sed -n "/^$first/,\$p" trace | sed -n '1,/^fs\.link\.done/p' | grep -v '^store')
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
		[ ! -e "$(dir_of src)/memory.base" ] || how=$by
		assert_exact "$how" src
		vmctl rm --force before
		assert_clean
	done
}

@test "a diff that was killed anywhere leaves the next save right" {
	needs diff_snapshot
	mount_root 2G xfs -m reflink=1
	assert_killed_anywhere 'diff' 'fs\.copy'
}

@test "a layer that was killed anywhere leaves the next save right" {
	needs diff_snapshot
	mount_root 2G ext4 -m 0
	assert_killed_anywhere layer 'fs\.rename'
}

@test "forks of a running source by diff, killed at every point" {
	needs diff_snapshot
	mount_root 3G xfs -m reflink=1
	vmctl_yaml 'limits:' '  min_free_disk: 0'
	make_standby rest
	rest_dir=$(dir_of rest)
	rest_sums=$(sums_in "$rest_dir")
	scenario_fork_running
	assert_saved diff fork src last --from-running
	wait_for has_ticked last
}
