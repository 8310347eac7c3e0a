#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # bats sets output, stderr and lines
# How memory is saved: what is dirty over a reflink of the base, or as a layer whose holes the base
# fills; all of it over a recycled file, or into a new one. That each of them is right byte by byte: faults_memory.bats.

load helpers
load mounts
load memory

setup() { vm_setup; }

teardown() {
	local status=0
	vm_teardown || status=1
	unmount_root || status=1
	return $status
}

base_of() {
	stat -c %i "$(dir_of "$1")/memory.base"
}

memory_of() {
	stat -c %i "$(dir_of "$1")/memory"
}

# assert_diffs HOW: forks, standby and restore by diff or layer: each goes on from where its source was, with what that knew.
assert_diffs() {
	local how=$1 name number
	make_running src --memory 64M
	assert_equal "$(tracks src)" true
	ask src ma '^marked a'
	# A guest that has booted has no base yet: the first save makes it.
	assert [ ! -e "$(dir_of src)/memory.base" ]
	assert_saved full fork src one --from-running
	assert_equal "$(base_of src)" "$(memory_of one)"
	ask src mb '^marked b'
	assert_saved "$how" fork src two --from-running
	assert_equal "$(base_of src)" "$(memory_of two)"
	ask src mc '^marked c'
	assert_saved "$how" fork src -n 2 --name 'three-{}' --from-running
	# A fork's base is the memory that it was loaded from.
	assert_equal "$(base_of two)" "$(memory_of two)"
	ask two md '^marked d'
	wait_for has_ticked two
	number=$(last_tick two)
	assert_saved "$how" fork two four --from-running
	wait_for ticked_past four "$number"
	for name in src:c one:a two:d three-1:c three-2:c four:d; do
		assert_equal "$(ask "${name%:*}" g '^marker mem=')" \
			"marker mem=${name#*:} disk=${name#*:}"
		assert_equal "$(boots_of "${name%:*}")" "$([ "${name%:*}" = src ] && echo 1 || echo 0)"
	done
	# What the base shares with others outlives them.
	vmctl rm --force one two three-1 three-2
	assert_saved "$how" fork src five --from-running --target-state standby
	assert [ ! -e "$(dir_of five)/memory.base" ]
	assert_saved "$how" standby src
	assert [ ! -e "$(dir_of src)/memory.base" ]
	number=$(last_tick src)
	vmctl restore src five
	assert_equal "$(base_of src)" "$(memory_of src)"
	wait_for ticked_past src "$number"
	ask src me '^marked e'
	assert_saved "$how" standby src
	vmctl restore src
	assert_equal "$(ask src g '^marker mem=')" 'marker mem=e disk=e'
	assert_equal "$(ask five g '^marker mem=')" 'marker mem=c disk=c'
	vmctl stop --force src
	assert [ ! -e "$(dir_of src)/memory.base" ]
	assert_equal "$(pooled)" 0
	assert_equal "$(find "$VMCTL_ROOT" -name 'memory.below')" ''
	assert_clean
}

@test "xfs: only what is dirty is saved, and forks of it go on" {
	needs diff_snapshot
	mount_root 3G xfs -m reflink=1
	assert_diffs 'diff'
}

@test "btrfs: only what is dirty is saved, and forks of it go on" {
	needs diff_snapshot
	mount_root 3G btrfs
	assert_diffs 'diff'
}

@test "ext4: only what is dirty is saved, in a layer that is made whole, and forks of it go on" {
	needs diff_snapshot
	mount_root 2G ext4 -m 0
	assert_diffs layer
}

@test "xfs without reflinks: the same" {
	needs diff_snapshot
	mount_root 2G xfs -m reflink=0
	assert_diffs layer
}

@test "an image of a running source is a layer that was made whole" {
	needs diff_snapshot
	mount_root 1G ext4 -m 0
	make_running src --memory 64M
	ask src ma '^marked a'
	assert_saved full fork src one --from-running
	ask src mb '^marked b'
	vmctl snapshot create src kept
	assert_equal "$(find "$VMCTL_ROOT/images" -name 'memory*' -printf '%f\n')" memory
	assert_equal "$(base_of src)" "$(stat -c %i "$VMCTL_ROOT"/images/*/memory)"
	ask src mc '^marked c'
	vmctl stop --force src
	vmctl snapshot restore src kept
	vmctl restore src
	assert_equal "$(ask src g '^marker mem=')" 'marker mem=b disk=b'
	assert_clean
}

@test "what is saved by layers takes as much of the disk as has data" {
	needs diff_snapshot
	local name blocks
	mount_root 2G ext4 -m 0
	make_running src --memory 256M
	vmctl fork src one --from-running
	assert_saved layer fork src two --from-running
	assert_saved layer standby src
	for name in one two src; do
		blocks=$(stat -c %b "$(dir_of "$name")/memory")
		assert [ "$blocks" -gt 0 ]
		assert [ "$blocks" -lt 65536 ]
	done
}

@test "no layer where written pages cannot be told from others" {
	needs diff_snapshot
	# A huge page has data if any page of it has.
	[ "$(id -u)" = 0 ] || missing root
	mkdir -m 0700 root
	mount -t tmpfs -o huge=always,size=1G none root || missing 'a kernel with huge pages in tmpfs'
	chmod 0700 root
	make_running src
	assert_equal "$(tracks src)" false
	assert_saved full fork src one --from-running
	assert_saved full fork src two --from-running
}

@test "a diff takes as much of the disk as has changed" {
	needs diff_snapshot
	local before after
	mount_root 3G xfs -m reflink=1
	make_running src --memory 256M
	vmctl fork src one --from-running
	sync -f root
	before=$(df --output=used -k root | tail -n 1)
	assert_saved diff fork src two --from-running
	sync -f root
	after=$(df --output=used -k root | tail -n 1)
	assert [ $((after - before)) -lt 65536 ]
}

@test "memory.diff: off neither tracks nor keeps a base" {
	needs recycles_memory
	needs diff_snapshot
	mount_root 2G xfs -m reflink=1
	vmctl_yaml 'memory:' '  diff: off' 'limits:' '  min_free_disk: 0'
	make_running src
	assert_equal "$(tracks src)" false
	assert_saved full fork src one --from-running
	assert_saved full fork src two --from-running
	assert_equal "$(tracks one)" false
	assert [ ! -e "$(dir_of src)/memory.base" ]
	# Turned on again: who tracks is known by asking, so a VMM of before never has a base.
	vmctl_yaml 'memory:' '  diff: auto' 'limits:' '  min_free_disk: 0'
	assert_saved full fork src three --from-running
	assert [ ! -e "$(dir_of src)/memory.base" ]
	assert_saved diff fork three four --from-running
	# And the other way round: a base that is there is not used, nor kept.
	vmctl_yaml 'memory:' '  diff: off' 'limits:' '  min_free_disk: 0'
	assert_saved full fork three five --from-running
	assert [ ! -e "$(dir_of three)/memory.base" ]
	vmctl rm --force five
	assert_equal "$(pooled)" 1
	assert_saved recycled fork three six --from-running
	assert_clean
}

@test "memory.diff: reflink makes no layers, off neither" {
	needs diff_snapshot
	mount_root 1G ext4 -m 0
	vmctl_yaml 'memory:' '  pool_max: 0' 'limits:' '  min_free_disk: 0'
	make_running src
	vmctl fork src one --from-running
	assert [ -e "$(dir_of src)/memory.base" ]
	vmctl_yaml 'memory:' '  diff: reflink' '  pool_max: 0' 'limits:' '  min_free_disk: 0'
	assert_saved full fork src two --from-running
	assert [ ! -e "$(dir_of src)/memory.base" ]
	assert_equal "$(tracks two)" false
	assert [ ! -e "$(dir_of two)/memory.base" ]
	# A VMM of before tracks still.
	vmctl_yaml 'memory:' '  diff: auto' 'limits:' '  min_free_disk: 0'
	assert_saved full fork src three --from-running
	assert_saved layer fork src four --from-running
	assert_saved full fork two five --from-running
	assert_saved full fork two six --from-running
	vmctl_yaml 'memory:' '  diff: off' 'limits:' '  min_free_disk: 0'
	assert_saved full fork src seven --from-running
	assert [ ! -e "$(dir_of src)/memory.base" ]
	assert_clean
}

# From here on: all memory is written, as where neither is possible.
use_pool() {
	needs recycles_memory
	needs diff_snapshot # to be turned off
	mount_root "${1:-1G}" ext4 -m 0
	vmctl_yaml 'memory:' '  diff: reflink' "  pool_max: ${2:-64M}" 'limits:' '  min_free_disk: 64M'
	make_running src
	assert_equal "$(tracks src)" false
}

@test "a memory file that loses its last link is written over by the next save" {
	local inode
	use_pool
	assert_saved full fork src one --from-running
	assert_saved full fork src two --from-running
	assert_equal "$(pooled)" 0
	inode=$(memory_of one)
	vmctl rm --force one
	assert_equal "$(pooled)" 1
	ask src ma '^marked a'
	assert_saved recycled fork src three --from-running
	assert_equal "$(pooled) $(memory_of three)" "0 $inode"
	assert_equal "$(ask three g '^marker mem=')" 'marker mem=a disk=a'
	# By stop too, and by a standby that has another memory now.
	vmctl stop --force three
	assert_equal "$(pooled)" 1
	assert_saved recycled standby two
	assert_equal "$(pooled)" 1
	vmctl restore two
	assert_saved recycled standby two
	vmctl restore two
	wait_for has_ticked two
	assert_equal "$(boots_of two)" 0
	vmctl standby two
	vmctl stop --discard two
	assert_equal "$(pooled)" 2
	assert_clean
}

@test "a memory file that others are linked to is not recycled" {
	local number
	use_pool
	vmctl fork src -n 3 --name 'web-{}' --from-running
	vmctl standby web-1
	vmctl rm --force web-2
	assert_equal "$(pooled)" 0
	wait_for has_ticked web-3
	number=$(last_tick web-3)
	vmctl fork src more --from-running
	wait_for ticked_past web-3 "$number"
	vmctl rm --force web-3
	assert_equal "$(pooled)" 1
	assert_clean
}

@test "the pool is as large as pool_max, and 0 turns it off" {
	use_pool 1G 40M
	vmctl fork src -n 1 --name one --from-running
	vmctl fork src two --from-running
	vmctl fork src three --from-running
	vmctl rm --force one two three
	assert_equal "$(pooled)" 2
	# Files of another size make room.
	vmctl create big --kernel "$guest" --memory 32M --disk size=1M --start
	wait_for has_ticked big
	assert_saved full standby big
	vmctl stop --discard big
	assert_equal "$(find "$VMCTL_ROOT/pool" -type f -printf '%s\n')" $((32 << 20))
	vmctl_yaml 'memory:' '  diff: reflink' '  pool_max: 0'
	vmctl fork src four --from-running
	vmctl rm --force four
	assert_equal "$(pooled)" 1
	assert_clean
}

@test "the pool gives its space back when the disk is short" {
	use_pool
	vmctl fork src one --from-running
	vmctl rm --force one
	assert_equal "$(pooled)" 1
	vmctl_yaml 'memory:' '  diff: reflink' '  pool_max: 64M' 'limits:' '  min_free_disk: 100T'
	# Reading verbs change nothing.
	run vmctl doctor
	assert_equal "$(pooled)" 1
	run -7 vmctl fork src two --from-running
	assert_equal "$(pooled)" 0
	# And nothing goes in.
	vmctl stop --force src
	vmctl_yaml 'memory:' '  diff: reflink' '  pool_max: 64M' 'limits:' '  min_free_disk: 64M'
	vmctl start src
	wait_for has_ticked src
	vmctl fork src two --from-running
	vmctl_yaml 'memory:' '  diff: reflink' '  pool_max: 64M' 'limits:' '  min_free_disk: 100T'
	vmctl rm --force two
	assert_equal "$(pooled)" 0
}

@test "doctor tells what does not belong into the pool, and takes it away" {
	use_pool
	vmctl fork src one --from-running
	vmctl rm --force one
	: >"$VMCTL_ROOT/pool/notes.txt"
	mkdir "$VMCTL_ROOT/pool/aaaaaaaaaaaaaaaaaaaaaaaa"
	run -13 vmctl doctor
	assert_output --partial 'pool/notes.txt is no memory file'
	assert_output --partial 'pool/aaaaaaaaaaaaaaaaaaaaaaaa is no memory file'
	vmctl doctor --repair
	assert_clean
	assert_equal "$(pooled)" 1
}
