#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # bats sets output, stderr, lines and status
# A real Linux (examples/linux-guest) with an ext4 file system on its disk: what the tiny guest of the
# other tests cannot show. It speaks the same protocol, so the helpers are the same.

load helpers
load layers

# Emulated, and beside other tests: it boots in seconds, or in a minute.
WAIT_SECONDS=240
linux_args='console=ttyS0 reboot=t panic=1 quiet loglevel=1'

setup_file() {
	cd "$BATS_TEST_DIRNAME/.." || return 1
	# Once for all tests and runs; says so where nothing is to do.
	examples/linux-guest/build build/linux-guest >&2
}

setup() {
	vm_setup
	needs kernel_bzimage
	linux=$top/build/linux-guest
	truncate -s 32M disk.img
	mkfs.ext4 -q disk.img
}

teardown() {
	vm_teardown
}

# make_linux NAME [create options...]: boots it, and waits for its first tick. DISK, MEMORY, TICK_MS.
make_linux() {
	local name=$1
	shift
	vmctl create "$name" --kernel "$linux/vmlinuz" --initrd "$linux/initrd.img" \
		--memory "${MEMORY:-128M}" --disk "id=data,path=${DISK:-disk.img},root=false" \
		--boot-args "$linux_args vmctl.tick=${TICK_MS:-200}" "$@" --start >/dev/null
	wait_for has_ticked "$name"
}

# on_disk NAME FILE: what a file of the guest's has, by its disk alone.
on_disk() {
	debugfs -R "cat /$2" "$(disk_of "$1" data)" 2>/dev/null | tr -d ' \n'
}

# Shut down by its power button, so that nothing is to be repaired.
assert_clean_disk() {
	vmctl stop --time "$WAIT_SECONDS" "$1" >/dev/null
	assert_equal "$(state_of "$1")" stopped
	# Behind it the kernel may have a last word.
	run -0 tail -n 2 "$(dir_of "$1")/console.log"
	assert_line 'power button'
	run -0 fsck.ext4 -f -n "$(disk_of "$1" data)"
	refute_output --partial 'Fix?'
	assert [ "$(on_disk "$1" counter)" -ge "$(last_tick "$1")" ]
}

@test "ten forks at once go on from the same tick, each with its own disk; every file system is clean" {
	local i tick pids=()
	TICK_MS=500 make_linux src
	assert_equal "$(ask src mS '^marked')" 'marked S'
	vmctl standby src
	tick=$(last_tick src)
	for i in 0 1 2 3 4 5 6 7 8 9; do
		vmctl fork src "web-$i" >/dev/null &
		pids+=($!)
	done
	wait_all "${pids[@]}"
	assert_equal "$(count_status 0)" 10
	for i in 0 1 2 3 4 5 6 7 8 9; do
		wait_for ticked_past "web-$i" "$((tick + 1))"
		# The line that a pause has cut in two is no whole line of the fork.
		assert [ "$(first_tick "web-$i")" -ge "$((tick + 1))" ]
		assert [ "$(first_tick "web-$i")" -le "$((tick + 2))" ]
		assert_equal "$(boots_of "web-$i")" 0
	done
	for i in 0 1 2 3 4 5 6 7 8 9; do
		assert_equal "$(ask "web-$i" g '^marker')" 'marker mem=S disk=S'
		assert_equal "$(ask "web-$i" "m$i" '^marked')" "marked $i"
	done
	for i in 0 1 2 3 4 5 6 7 8 9; do
		assert_equal "$(ask "web-$i" g '^marker')" "marker mem=$i disk=$i"
		assert_equal "$(on_disk "web-$i" marker)" "$i"
	done
	assert_equal "$(on_disk src marker)" S
	for i in 0 1 2 3 4 5 6 7 8 9; do
		assert_clean_disk "web-$i"
	done
	vmctl restore src
	wait_for ticked_past src "$((tick + 1))"
	assert_equal "$(ask src g '^marker')" 'marker mem=S disk=S'
	assert_clean_disk src
	assert_clean
}

@test "a fork of a running one, its fork, and theirs: second and third generations, the first removed" {
	local tick name
	make_linux one
	vmctl fork one two --from-running
	tick=$(last_tick one)
	wait_for ticked_past one "$tick"
	wait_for has_ticked two
	assert_equal "$(ask two m2 '^marked')" 'marked 2'
	vmctl standby two
	vmctl rm --force one
	# Saved again by one whose memory was shared with another.
	vmctl fork two three
	wait_for has_ticked three
	assert_equal "$(ask three g '^marker')" 'marker mem=2 disk=2'
	assert_equal "$(ask three m3 '^marked')" 'marked 3'
	vmctl fork three four --from-running
	wait_for has_ticked four
	assert_equal "$(ask four g '^marker')" 'marker mem=3 disk=3'
	vmctl standby four
	vmctl restore four
	vmctl restore two
	tick=$(last_tick two)
	wait_for ticked_past two "$tick"
	assert_equal "$(ask two g '^marker')" 'marker mem=2 disk=2'
	for name in two three four; do
		assert_equal "$(ask "$name" c '^count' | grep -c '^count [0-9]*$')" 1
		[ "$name" = two ] || assert_equal "$(boots_of "$name")" 0
		assert_clean_disk "$name"
	done
	assert_clean
}

@test "a disk in layers: forks of a running one have file systems of their own" {
	local name
	qemu-img convert -f raw -O qcow2 disk.img disk.qcow2
	DISK=disk.qcow2 make_linux src
	assert_equal "$(ask src mS '^marked')" 'marked S'
	vmctl fork src -n 3 --name 'web-{}' --from-running
	for name in web-1 web-2 web-3; do
		wait_for has_ticked "$name"
		assert_equal "$(ask "$name" g '^marker')" 'marker mem=S disk=S'
		assert_equal "$(ask "$name" "m${name#web-}" '^marked')" "marked ${name#web-}"
	done
	assert_equal "$(ask src g '^marker')" 'marker mem=S disk=S'
	for name in src web-1 web-2 web-3; do
		vmctl stop --time "$WAIT_SECONDS" "$name"
		run -0 qemu-img check "$(disk_of "$name" data)"
		qemu-img convert -O raw "$(disk_of "$name" data)" whole.raw
		run -0 fsck.ext4 -f -n whole.raw
		assert_equal "$(debugfs -R 'cat /marker' whole.raw 2>/dev/null)" "${name#web-}" ||
			[ "$name" = src ]
	done
}

# The memory of a VMM of which the file is guest memory, in KiB: what is its own, and its share.
memory_of() {
	awk -v want="$1" '
		/^[0-9a-f]+-[0-9a-f]+ / { ours = $NF ~ /\/memory$/ }
		ours && $1 == want ":" { sum += $2 }
		END { print sum + 0 }' "/proc/$(field "$2" .pid)/smaps"
}

@test "ten idle forks of a 256 MiB Linux share its memory" {
	local i own=0 share=0 all=0 base
	TICK_MS=1000 MEMORY=256M make_linux src
	vmctl standby src
	base=$(($(stat -c %b "$(dir_of src)/memory") / 2))
	vmctl fork src -n 10 --name 'web-{}' >/dev/null
	for i in 1 2 3 4 5 6 7 8 9 10; do
		wait_for has_ticked "web-$i"
	done
	for i in 1 2 3 4 5 6 7 8 9 10; do
		assert_equal "$(stat -c %i "$(dir_of "web-$i")/memory")" "$(stat -c %i "$(dir_of src)/memory")"
		own=$((own + $(memory_of Private_Dirty "web-$i")))
		share=$((share + $(memory_of Pss "web-$i")))
		all=$((all + $(awk '/^Pss:/ { print $2 }' "/proc/$(field "web-$i" .pid)/smaps_rollup")))
	done
	echo "# saved memory $base KiB; a fork, on average of ten: guest memory of its own" \
		"$((own / 10)) KiB, PSS of guest memory $((share / 10)) KiB, PSS of the VMM in all" \
		"$((all / 10)) KiB" >&3
	# What is in the file is there once, however many read it.
	assert [ $((own / 10)) -lt $((base / 2)) ]
	assert [ "$share" -lt $((10 * base)) ]
}

@test "a PC (q35): boots, is forked, shut down by its power button" {
	make_linux src --machine q35
	assert_equal "$(ask src mS '^marked')" 'marked S'
	vmctl standby src
	vmctl fork src -n 2 --name 'web-{}'
	wait_for has_ticked web-2
	vmctl fork web-1 three --from-running
	wait_for has_ticked three
	for name in web-1 web-2 three; do
		assert_equal "$(ask "$name" g '^marker')" 'marker mem=S disk=S'
		assert_clean_disk "$name"
	done
}

@test "a guest with a network of its own gets an address, and its forks go on with theirs" {
	needs network
	make_linux src --network user
	[[ $(ask src n '^net') =~ ^net\ 10\. ]]
	vmctl standby src
	vmctl fork src -n 2 --name 'web-{}'
	vmctl fork web-1 three --from-running
	for name in web-1 web-2 three; do
		[[ $(ask "$name" n '^net') =~ ^net\ 10\. ]]
	done
}

@test "a guest that is killed leaves a journal to replay, and its fork a disk that is clean" {
	make_linux src
	vmctl standby src
	vmctl fork src one
	wait_for has_ticked one
	vmctl stop --force one
	run fsck.ext4 -f -p "$(disk_of one data)"
	assert [ "$status" -le 1 ]
	run -0 fsck.ext4 -f -n "$(disk_of one data)"
	vmctl start one
	# Its log has what it printed as a fork, too.
	booted() { sed -n '/vmctl-guest ready/,$p' "$(dir_of one)/console.log" | grep -q '^tick'; }
	wait_for booted
	assert_clean_disk one
}
