#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # bats sets output, stderr and lines
# shellcheck disable=SC2030,SC2031 # each test is a subshell of its own
# Data roots on filesystems that are full, for real, and processes that may open few files: every verb
# works or says insufficient_resources (7) or system (1) with the path, nothing is lost by that, rm and
# stop work, and as soon as there is space again everything does.

load helpers
load mounts

setup() {
	vm_setup
	declare -gA state_of sums
}

teardown() {
	local status=0
	touch "$BATS_TEST_TMPDIR/over"
	vm_teardown || status=1
	unmount_root || status=1
	return $status
}

# An instance of each kind.
populate() {
	vmctl_yaml 'limits:' '  min_free_disk: 0'
	make_running run
	make_running halt
	make_standby src
	make_standby rest
	vmctl create off --kernel "$guest" --memory 16M --disk size=1M
	vmctl pause halt
	state_of=([run]=running [halt]=paused [src]=standby [rest]=standby [off]=stopped)
	remember
}

remember() {
	local name
	for name in src rest off; do
		sums[$name]=$(sums_of "$name")
	done
}

# All as after populate().
put_back() {
	local name
	for name in "${!state_of[@]}"; do
		case $name-${state_of[$name]} in
		run-paused) vmctl resume run ;;
		run-standby) vmctl restore run ;;
		src-running) vmctl standby src ;;
		off-running) vmctl stop --force off ;;
		halt-standby) vmctl restore halt && vmctl pause halt ;;
		new* | src-* | run-* | off-*)
			case $name in
			src | run | off) ;;
			*) vmctl rm --force "$name" && unset "state_of[$name]" ;;
			esac
			;;
		esac
	done >/dev/null
	state_of=([run]=running [halt]=paused [src]=standby [rest]=standby [off]=stopped)
	remember
	assert_unharmed
}

# fill [KIB]: takes all space of the data root's filesystem, then gives so much back.
fill() {
	local before=-1 now=0
	rm -f root/filler
	sync -f root
	head -c "${1:-0}K" /dev/zero >root/spare
	: >root/filler
	while [ "$now" != "$before" ]; do
		before=$now
		dd if=/dev/zero of=root/filler bs=64K oflag=append conv=notrunc status=none 2>/dev/null ||
			true
		dd if=/dev/zero of=root/filler bs=512 oflag=append conv=notrunc status=none 2>/dev/null ||
			true
		sync -f root
		now=$(stat -c %s root/filler)
	done
	rm root/spare
	sync -f root
}

free_space() {
	rm -f root/filler
	sync -f root
}

# Every instance is in the state that was last heard of, and what is at rest is what it was.
assert_unharmed() {
	local name
	assert_equal "$(vmctl ls | awk 'NR > 1 { print $1 }' | sort)" \
		"$(printf '%s\n' "${!state_of[@]}" | sort)"
	for name in "${!state_of[@]}"; do
		assert_equal "$name $(state_of "$name")" "$name ${state_of[$name]}"
		case ${state_of[$name]} in
		running) assert_equal "$name $(guest_state "$name")" "$name Running" ;;
		paused) assert_equal "$name $(guest_state "$name")" "$name Paused" ;;
		esac
		[ -z "${sums[$name]:-}" ] || assert_equal "$(sums_of "$name")" "${sums[$name]}"
	done
	# Without room for SQLite's index of its log nobody but vmctl can read the store.
	sql_works || return 0
	run "$top/test/storm-check"
	# What is free for an instant may be gone at the next look, and be there again at the one after.
	[[ $status = 0 || $output != *'the store does not answer'* ]] || return 0
	assert_equal "$status $output" "0 $output"
}

sql_works() {
	sqlite3 -readonly "$VMCTL_ROOT/vmctl.db" 'SELECT count(*) FROM instance' >/dev/null 2>&1
}

# attempt NAME STATE ARGUMENTS...: a verb that brings an instance to a state, or fails as it should.
attempt() {
	local name=$1 state=$2
	shift 2
	[ -z "${crowd:-}" ] || crowd_begins
	run vmctl "$@"
	[ -z "${crowd:-}" ] || crowd_ends
	printf '%s: vmctl %s: %s\n' "$status" "$*" "$output"
	case $status in
	0)
		state_of[$name]=$state
		unset "sums[$name]"
		;;
	1 | 7)
		assert_output --partial "$VMCTL_ROOT"
		# create --start keeps what it has created.
		[[ $output != *'created, but not started'* ]] || state_of[$name]=stopped
		;;
	*) fail 'neither success, nor insufficient_resources, nor system' ;;
	esac
}

attempt_all() {
	local target
	attempt new stopped create new --kernel "$guest" --memory 16M --disk size=1M
	attempt new-run running create new-run --kernel "$guest" --memory 16M --start
	for target in stopped standby running; do
		attempt "src-$target" "$target" fork src "src-$target" --target-state "$target"
	done
	attempt off-run running fork off off-run --target-state running
	for target in stopped standby running; do
		attempt "run-$target" "$target" fork run "run-$target" --target-state "$target" \
			--from-running
	done
	attempt run paused pause run
	attempt run running resume run
	attempt run standby standby run
	attempt halt standby standby halt
	attempt off running start off
	attempt src running restore src
}

# Whether a guest has written to its disk since.
goes_on() {
	[ "$(disk_counter "$1")" -gt "$2" ]
}

# Everything works again, from where it was.
assert_recovers() {
	local name
	free_space
	for name in run halt src rest; do
		case ${state_of[$name]} in
		standby) vmctl restore "$name" ;;
		paused) vmctl resume "$name" ;;
		esac
		wait_for goes_on "$name" "$(disk_counter "$name")"
	done
	vmctl start off
	vmctl fork run again --from-running
	vmctl standby run
	assert_clean
	run "$top/test/storm-check"
	assert_equal "$status $output" "0 $output"
}

assert_survives_little_space() {
	local kib
	for kib in 0 64 700 1200 3000; do
		fill $kib
		echo "$kib KiB are free"
		attempt_all
		assert_unharmed
		free_space
		put_back
	done
	assert_recovers
}

# Takes whatever is free, or becomes so.
eat() {
	exec 3>&-
	until [ -e over ]; do
		dd if=/dev/zero of=root/filler bs=256K count=4 oflag=append conv=notrunc status=none \
			2>/dev/null || true
	done
}

# `crowd` KiB are free when a verb begins, and somebody else wants them too.
crowd_begins() {
	fill "$crowd"
	rm -f over
	eat &
	eater=$!
}

crowd_ends() {
	touch over
	wait "$eater"
}

assert_survives_shrinking_space() {
	local crowd
	for crowd in 800 17000 20000 30000; do
		echo "$crowd KiB are free"
		attempt_all
		assert_unharmed
		free_space
		put_back
	done
	assert_recovers
}

# By those who have nothing to remove, too, whatever they have tried before.
assert_space_can_be_made() {
	local verb
	vmctl fork src -n 3 --name 'kid-{}' --target-state standby
	fill
	for _ in {1..60}; do
		run -7 vmctl fork src web
	done
	for verb in 'rm --force kid-1' 'stop --force run' 'stop --time 5 halt' 'rm off' 'rm --force kid-2' \
		'stop --discard src' 'rm src' 'rm --force kid-3' 'rm run'; do
		fill
		# shellcheck disable=SC2086 # a verb and its options
		run -0 vmctl $verb
	done
	fill
	run vmctl doctor --repair # has not to be content with a full disk
	# What other tests have left in /dev/shm is repaired as well, and is none of this data root's.
	assert_output --regexp '[A-Z]+ +leftovers +(none|what a deleted data root has left in /dev/shm)'
	assert_equal "$(grep -E '^[A-Z]+ +leftovers ' <<<"$output" |
		grep -v -E ' (none$|what a deleted data root has left in /dev/shm)')" ''
	state_of=([halt]=stopped [rest]=standby)
	fill
	assert_unharmed
	free_space
	vmctl restore rest
	vmctl start halt
	assert_clean
}

@test "ext4, full: every verb works or says so, and nothing is lost" {
	mount_root 256M ext4 -m 0 -b 4096
	populate
	assert_survives_little_space
}

@test "xfs, full: every verb works or says so, and nothing is lost" {
	mount_root 320M xfs -m reflink=0
	populate
	assert_survives_little_space
}

@test "btrfs, full: every verb works or says so, and nothing is lost" {
	mount_root 512M btrfs
	populate
	assert_survives_little_space
}

@test "ext4, which fills up meanwhile: nothing is lost" {
	mount_root 256M ext4 -m 0 -b 4096
	populate
	assert_survives_shrinking_space
}

@test "xfs, which fills up meanwhile: nothing is lost" {
	mount_root 320M xfs -m reflink=0
	populate
	assert_survives_shrinking_space
}

@test "ext4, full: rm and stop make space" {
	mount_root 256M ext4 -m 0 -b 4096
	populate
	assert_space_can_be_made
}

@test "xfs, full: rm and stop make space" {
	mount_root 320M xfs -m reflink=0
	populate
	assert_space_can_be_made
}

@test "btrfs, full: rm and stop make space" {
	mount_root 512M btrfs
	populate
	assert_space_can_be_made
}

@test "tmpfs, full: rm and stop make space" {
	[ "$(id -u)" = 0 ] || missing root
	mkdir -m 0700 root
	mount -t tmpfs -o size=160M,mode=0700 none root || missing tmpfs
	populate
	assert_space_can_be_made
}

@test "a store without its -shm file can be opened on a full disk, by one after the other" {
	mount_root 256M ext4 -m 0 -b 4096
	populate
	rm root/vmctl.db-shm
	fill
	run ! sql_works
	assert_equal "$(vmctl ls -q | wc -l)" 5
	run -7 vmctl fork src web
	run -0 vmctl stop --force run
	vmctl stop --time 5 halt 3>&- &
	run -0 vmctl rm --force rest
	wait_all $!
	assert_equal "${statuses[0]}" 0
	free_space
	run -0 sql_works
	assert_clean
}

@test "ext4 without inodes: nothing is lost, and rm and stop work" {
	mount_root 256M ext4 -m 0 -b 4096 -N 256
	populate
	use_up_inodes() {
		mkdir -p root/many
		while : >"root/many/$RANDOM$RANDOM"; do :; done 2>/dev/null
	}
	use_up_inodes
	attempt_all
	assert_unharmed
	run -0 vmctl rm --force rest
	use_up_inodes
	run -0 vmctl stop --force run
	run -0 vmctl rm run
	rm -r root/many
	unset "state_of[rest]" "state_of[run]"
	vmctl fork src web
	vmctl start off
	wait_for has_ticked web
	assert_clean
}

# vmctl with so many open files, and no more.
limited() {
	local files=$1
	shift
	(exec 3>&- && ulimit -n "$files" && exec vmctl "$@")
}

# assert_limited FILES ARGUMENTS...: it works, or says what it lacks, and then has changed nothing.
assert_limited() {
	local before
	before=$(rows_and_files)
	run limited "$@"
	printf '%s: ulimit -n %s: vmctl %s: %s\n' "$status" "$1" "${*:2}" "$output"
	[ "$status" = 0 ] || {
		# Firecracker may panic for want of one.
		[[ $output = *panicked*Error\(24\)* ]] || assert_equal "$status" 7
		assert_output --regexp 'Too many open files|os error 24|Error.24.|cannot create a memfd'
		assert_equal "$(rows_and_files)" "$before"
	}
}

rows_and_files() {
	# A save that fails takes the base along, without which the next one is whole.
	sqlite3 -readonly "$VMCTL_ROOT/vmctl.db" 'SELECT id, name, state, generation FROM instance ORDER BY id;
		SELECT * FROM intent; SELECT * FROM lock_file'
	(cd "$VMCTL_ROOT" && find . -path './guests/*' ! -name '*.log' ! -name console.in ! -name memory.base -printf '%p %i\n' |
		sort)
}

@test "with few open files allowed every verb works or says so, and leaves nothing" {
	populate
	local files before=()
	for files in {5..40}; do
		assert_limited "$files" create new --kernel "$guest" --memory 16M --disk size=1M
		[ "$status" != 0 ] || vmctl rm new
		assert_limited "$files" fork src web
		[ "$status" != 0 ] || vmctl rm --force web
		assert_limited "$files" fork src -n 3 --name 'web-{}' --atomic
		[ "$status" != 0 ] || vmctl rm --force web-{1..3}
		assert_limited "$files" fork run web --from-running
		[ "$status" != 0 ] || vmctl rm --force web
		assert_limited "$files" pause run
		assert_limited "$files" resume run
		vmctl resume run
		assert_limited "$files" standby run
		assert_limited "$files" restore run
		vmctl restore run
		assert_limited "$files" start off
		assert_limited "$files" stop --force off
		vmctl stop --force off
		assert_limited "$files" ls
		assert_unharmed
	done
	assert_clean
}
