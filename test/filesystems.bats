#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # bats sets output, stderr and lines
# Forks on filesystems that share extents, and on one that does not.

load helpers
load mounts

setup() { vm_setup; }

teardown() {
	local status=0
	vm_teardown || status=1
	unmount_root || status=1
	return $status
}

# KiB of the data root's filesystem that are taken, with nothing still to be written.
used_kib() {
	sync -f root
	df --output=used -k root | tail -n 1
}

# Whether all data of file $1 is in extents that another file shares.
all_shared() {
	sync -f "$1"
	filefrag -v "$1" | awk '
		/^ *[0-9]+: / { extents++; if (/shared/) shared++ }
		END { exit !(extents > 0 && shared == extents) }'
}

# A standby source with 64 MiB of data on its second disk.
make_full_source() {
	head -c 64M /dev/urandom >data.img
	make_standby src --disk path=data.img,id=data
}

# Forks work here: they go on, each on a disk of its own.
assert_forks() {
	local number name
	number=$(last_tick src)
	for name; do
		wait_for ticked_past "$name" "$number"
		assert_equal "$(boots_of "$name")" 0
		cmp "$(dir_of "$name")/disk-data.img" data.img
		ask "$name" "m${name: -1}" "^marked ${name: -1}"
	done
	for name; do
		assert_equal "$(ask "$name" g '^marker mem=')" \
			"marker mem=${name: -1} disk=${name: -1}"
	done
}

assert_shares() {
	local before after name
	make_full_source
	run vmctl doctor
	assert_output --partial 'disks are cloned in O(1)'
	before=$(used_kib)
	run -0 vmctl fork src -n 2 --name 'web-{}'
	refute_output --partial 'shares no extents'
	after=$(used_kib)
	# Two disks of 64 MiB, in far less than one.
	assert [ $((after - before)) -lt 32768 ]
	for name in web-1 web-2; do
		all_shared "$(dir_of "$name")/disk-data.img"
	done
	assert_forks web-1 web-2
	# Also of a running source, without a word about a pause.
	run -0 vmctl fork web-1 web-3 --from-running
	refute_output --partial 'shares no extents'
	all_shared "$(dir_of web-3)/disk-data.img"
	# What one writes is its own, and the source's data stays when the source goes.
	vmctl rm --force src
	cmp "$(dir_of web-2)/disk-data.img" data.img
	wait_for has_ticked web-3
	assert_clean
}

# How the forks' disks came to be, by the events, by the counters, and as a reason to be slow.
assert_told() {
	assert_equal "$(vmctl events --verb fork -o json | jq -r .disks | sort -u)" "$1"
	assert_equal "$(vmctl stats -o json | jq -c ".counters.disk_copies.$1 > 0,
		(.slow_path_reasons | contains([\"disks_copied\"]))" | xargs)" "true $2"
}

@test "xfs: forks share the extents of their disks" {
	mount_root 2G xfs -m reflink=1
	assert_shares
	assert_told reflink false
}

@test "btrfs: forks share the extents of their disks" {
	mount_root 2G btrfs
	assert_shares
	assert_told reflink false
}

@test "xfs without reflink: forks copy, and say what that costs a running source" {
	mount_root 2G xfs -m reflink=0
	make_full_source
	vmctl fork src -n 2 --name 'web-{}'
	assert_forks web-1 web-2
	run -0 --separate-stderr vmctl fork web-1 web-3 --from-running
	assert_output web-3
	assert_equal "$(grep -c -E "'web-1' was paused for [0-9.]+ ms, [0-9.]+ ms of it to copy its disks: the filesystem shares no extents" \
		<<<"$stderr")" 1
	assert_told copy true
	assert_clean
}

@test "ext4: forks copy their disks, and nothing but the data of sparse ones" {
	mount_root 2G ext4 -m 0
	head -c 64M /dev/urandom >data.img
	make_running src --disk path=data.img,id=data --disk size=1G,id=sparse
	local before after name dir
	dir=$(dir_of src)
	run vmctl doctor
	assert_output --partial 'shares no extents'
	vmctl standby src
	# Data in the middle and at the very end.
	printf middle | dd of="$dir/disk-sparse.img" bs=1 seek=500M conv=notrunc status=none
	printf end | dd of="$dir/disk-sparse.img" bs=1 seek=$((1024 * 1024 * 1024 - 3)) conv=notrunc \
		status=none
	before=$(used_kib)
	vmctl fork src -n 2 --name 'web-{}'
	after=$(used_kib)
	assert [ $((after - before)) -ge $((2 * 65536)) ]
	assert [ $((after - before)) -lt $((2 * 65536 + 16384)) ]
	assert_forks web-1 web-2
	for name in web-1 web-2; do
		assert_equal "$(stat -c %s "$(dir_of "$name")/disk-sparse.img")" $((1 << 30))
		assert [ "$(du -k "$(dir_of "$name")/disk-sparse.img" | cut -f 1)" -lt 1024 ]
		cmp "$(dir_of "$name")/disk-sparse.img" "$dir/disk-sparse.img"
	done
	assert_clean
}

@test "tmpfs: a data root in memory works too" {
	[ "$(id -u)" = 0 ] || missing root
	mkdir -m 0700 root
	mount -t tmpfs -o size=1G,mode=0700 none root || missing tmpfs
	make_full_source
	vmctl fork src -n 2 --name 'web-{}'
	assert_forks web-1 web-2
	run -0 vmctl fork web-1 web-3 --from-running
	wait_for has_ticked web-3
	assert_clean
}

@test "ext4: when a memory file can have no more names, a fork says so, and the way out works" {
	mount_root 512M ext4
	make_standby src
	mkdir root/names
	python3 - "$(dir_of src)/memory" root/names <<-'PY'
		import errno, os, sys
		try:
		    for n in range(70000):
		        os.link(sys.argv[1], f"{sys.argv[2]}/{n}")
		except OSError as error:
		    assert error.errno == errno.EMLINK, error
		else:
		    raise SystemExit("ext4 has set no limit")
		# One name for the one fork that is still possible.
		os.unlink(f"{sys.argv[2]}/0")
	PY
	vmctl fork src web --target-state standby
	run -7 vmctl fork src more
	assert_output --partial '/memory: Too many links'
	assert_output --partial 'hint: the filesystem allows a file no more names'
	run -7 vmctl fork src -n 3 --name 'more-{}' --target-state standby
	assert_equal "$(vmctl ls -q | wc -l)" 2
	vmctl restore web
	vmctl standby web
	vmctl fork web -n 3 --name 'more-{}'
	wait_for has_ticked more-3
	rm -r root/names
	vmctl fork src even-more
}
