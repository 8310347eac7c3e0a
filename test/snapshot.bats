#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # bats sets output, stderr and lines
# Snapshots: images that are kept on their own.

load helpers
load mounts

setup() { vm_setup; }
teardown() {
	vm_teardown
	unmount_root
}

snapshots() {
	vmctl snapshot ls -o json | jq -r '.[].name'
}

image_dir() {
	vmctl snapshot inspect "$1" | jq -r .directory
}

image_sums() {
	(cd "$(image_dir "$1")" && sha256sum -- *)
}

image_field() {
	vmctl snapshot inspect "$1" | jq -r "$2"
}

@test "a snapshot of a running instance is taken while it runs on, and outlives it" {
	local tick sums dir
	make_running web
	run --separate-stderr vmctl snapshot create web first --comment 'before the upgrade' \
		--label app=web --label tier=1 --expires 7d
	assert_equal "$status $output" '0 web/first'
	tick=$(last_tick web)
	assert_equal "$(guest_state web)" Running
	wait_for ticked_past web "$tick"
	assert_equal "$(image_field web/first '.state, .memory, .comment, .labels.app, .labels.tier' | xargs)" \
		'standby true before the upgrade web 1'
	assert_equal "$(image_field web/first .instance.id)" "$(field web .id)"
	sums=$(image_sums web/first)
	vmctl rm --force web
	assert_equal "$(vmctl ls -q)" ''
	vmctl snapshot fork web/first again
	wait_for ticked_past again 0
	assert_equal "$(boots_of again)" 0
	assert_equal "$(field again .parent.name)" web/first
	# It goes on, in files of its own, and the image stays as it was.
	wait_for ticked_past again "$((tick + 3))"
	assert_equal "$(image_sums web/first)" "$sums"
	dir=$(image_dir web/first)
	assert [ ! -S "$dir/vmm.sock" ]
	assert [ ! -e "$dir/console.log" ]
	vmctl snapshot rm web/first
	assert [ ! -e "$dir" ]
	# What was made of it needs it no more.
	tick=$(last_tick again)
	wait_for ticked_past again "$tick"
	vmctl standby again
	vmctl restore again
	assert_clean
}

@test "snapshots are made of what is in standby and of what is stopped, and of nothing else" {
	make_standby web
	vmctl snapshot create web asleep
	assert_equal "$(state_of web)" standby
	vmctl stop --discard web
	vmctl snapshot create web disks
	assert_equal "$(image_field web/disks '.state, .memory' | xargs)" 'stopped false'
	assert [ ! -e "$(image_dir web/disks)/memory" ]
	vmctl start web
	vmctl pause web
	run -6 vmctl snapshot create web paused
	assert_output --partial 'web is paused; snapshot works from: stopped, standby, running'
	assert_equal "$(guest_state web)" Paused
	# A stopped one makes stopped forks, that boot.
	vmctl snapshot fork web/disks fresh
	assert_equal "$(state_of fresh)" stopped
	run -6 vmctl snapshot fork web/disks --target-state standby
	vmctl start fresh
	wait_for has_ticked fresh
	assert_equal "$(boots_of fresh)" 1
	assert_equal "$(snapshots | xargs)" 'web/asleep web/disks'
}

@test "names: a default, rules, none twice; a snapshot is found by name, id and the beginning of it" {
	local id
	make_standby web
	run -0 vmctl snapshot create web
	assert_output --regexp '^web/[0-9]{8}-[0-9]{6}-[a-z0-9]{4}$'
	vmctl snapshot create web one
	run -4 vmctl snapshot create web one
	assert_output --partial "a snapshot 'web/one' exists already"
	run -2 vmctl snapshot create web One
	run -2 vmctl snapshot create web a/b
	run -3 vmctl snapshot create nothing
	run -3 vmctl snapshot rm web/two
	assert_output --partial "no snapshot 'web/two'"
	id=$(vmctl snapshot inspect web/one | jq -r .id)
	assert_equal "$(vmctl snapshot inspect "$id" | jq -r .name)" web/one
	assert_equal "$(vmctl snapshot inspect "${id:0:10}" | jq -r .name)" web/one
	# An instance's name has no '/', and an instance of the same name as a snapshot's may come.
	vmctl snapshot ls web | grep -q web/one
	assert_equal "$(vmctl snapshot ls -q web | wc -l)" 2
	run -3 vmctl snapshot ls nothing
	# Forks have the instance's part of the name.
	run -0 vmctl snapshot fork web/one
	assert_output --regexp '^web-[a-z0-9]{6}$'
}

@test "what is said of a snapshot is checked" {
	make_standby web
	run -2 vmctl snapshot create web a --label nothing
	assert_output --partial "'nothing' is not KEY=VALUE"
	run -2 vmctl snapshot create web a --label 'a b=c'
	run -2 vmctl snapshot create web a --expires soon
	run -2 vmctl snapshot create web a --expires 0
	run -2 vmctl snapshot create web a --comment $'\xff'
	assert_equal "$(snapshots)" ''
	run -2 vmctl snapshot
	assert_output --partial 'missing argument: expected COMMAND'
	run -2 vmctl snapshot craete
	assert_output --partial "did you mean 'create'?"
}

@test "verbs of instances refuse snapshots, and say what to do" {
	local verb
	make_standby web
	vmctl snapshot create web one
	for verb in start stop pause resume standby restore rm 'rm --force'; do
		# shellcheck disable=SC2086 # a verb with its option
		run -6 vmctl $verb web/one
		assert_output --partial 'web/one is a snapshot'
		assert_output --partial 'vmctl snapshot fork web/one'
	done
	run -6 vmctl snapshot rm web
	assert_output --partial 'web is an instance, not a snapshot'
	run -6 vmctl snapshot fork web
	run -6 vmctl snapshot create web/one two
	# `fork` takes either.
	vmctl fork web/one two
	wait_for has_ticked two
	assert_equal "$(vmctl ls --names | xargs)" 'two web'
	assert_equal "$(vmctl inspect web/one | jq -r .kind)" image
}

@test "eight forks of one snapshot at once go on from the same instant, each with its own files" {
	local i tick pids=() name inodes=()
	make_running web
	vmctl snapshot create web base
	vmctl rm --force web
	for i in 1 2 3 4 5 6 7 8; do
		vmctl snapshot fork web/base "web-$i" &
		pids+=($!)
	done
	wait_all "${pids[@]}"
	assert_equal "$(count_status 0)" 8
	for i in 1 2 3 4 5 6 7 8; do
		name=web-$i
		wait_for has_ticked "$name"
		assert_equal "$(boots_of "$name")" 0
		inodes+=("$(stat -c %i "$(dir_of "$name")/disk-root.img")")
		! has_vsock || inodes+=("$(field "$name" .guest_cid)")
	done
	assert_equal "$(printf '%s\n' "${inodes[@]}" | sort -u | wc -l)" "$(has_vsock && echo 16 || echo 8)"
	assert_clean
}

@test "restore takes an instance back in place: memory, disk and all, and keeps its logs and name" {
	local tick id cid counter
	make_running web
	vmctl snapshot create web back
	id=$(field web .id) cid=$(field web .guest_cid)
	tick=$(last_tick web)
	wait_for ticked_past web "$((tick + 5))"
	run -6 vmctl snapshot restore web back
	assert_output --partial 'web is running'
	vmctl standby web
	counter=$(disk_counter web)
	run -0 vmctl snapshot restore web back
	assert_output web
	assert_equal "$(state_of web) $(field web .id) $(field web .guest_cid)" "standby $id $cid"
	assert [ "$(disk_counter web)" -lt "$counter" ]
	assert [ "$(boots_of web)" = 1 ]
	assert [ ! -e "$(dir_of web)/reverted" ]
	assert_equal "$(find "$VMCTL_ROOT/trash" -mindepth 1)" ''
	vmctl restore web
	wait_for ticked_past web "$((tick + 5))"
	assert_equal "$(boots_of web)" 1
	# Also to one of its disks alone, from failed, and by id.
	vmctl stop --force web
	vmctl snapshot create web disks
	vmctl start web
	kill -9 "$(field web .pid)"
	vmctl wait web --state failed
	vmctl snapshot restore web "$(image_field web/disks .id)"
	assert_equal "$(state_of web)" stopped
	assert_equal "$(field web .failure)" null
	vmctl start web
	assert_clean
}

@test "restore refuses a snapshot of another instance, and one that does not fit" {
	local dir
	make_standby web
	make_standby other
	vmctl snapshot create web one
	run -6 vmctl snapshot restore other web/one
	assert_output --partial 'web/one is a snapshot of another instance than other'
	run -3 vmctl snapshot restore web two
	# A new instance of the name is another instance.
	vmctl rm --force web
	make_standby web
	run -6 vmctl snapshot restore web one
	vmctl snapshot create web mine
	dir=$(image_dir web/mine)
	sed -i 's/"cpu": "[^"]*"/"cpu": "other"/' "$dir/manifest.json"
	run -11 vmctl snapshot restore web mine
	assert_output --partial 'another kind of CPU'
	run -11 vmctl snapshot fork web/mine
	vmctl restore web
	wait_for has_ticked web
	assert_clean
}

@test "restores, forks and removals of one snapshot at once: each is done whole or refused" {
	local i pids=()
	make_standby web
	vmctl snapshot create web base
	for i in 1 2 3 4; do
		vmctl snapshot restore web base >/dev/null &
		pids+=($!)
		vmctl snapshot fork web/base "f-$i" --target-state standby >/dev/null &
		pids+=($!)
	done
	wait_all "${pids[@]}"
	assert_equal "$(count_status 0)" 8
	pids=()
	for i in 5 6 7 8; do
		vmctl snapshot fork web/base "f-$i" --target-state standby >/dev/null 2>&1 &
		pids+=($!)
	done
	vmctl snapshot rm web/base >/dev/null &
	pids+=($!)
	wait_all "${pids[@]}"
	assert_equal "$((${#statuses[@]} - $(count_status 0) - $(count_status 3)))" 0
	assert_equal "$(snapshots)" ''
	assert_equal "$(vmctl ls --names | grep -c '^f-')" $((3 + $(count_status 0)))
	vmctl restore web
	assert_clean
}

@test "memory at rest is compressed, and unpacked once by the forks that need it" {
	local i pids=() dir sums bytes
	make_running web --memory 32M
	vmctl snapshot create web base --compress
	vmctl rm --force web
	dir=$(image_dir web/base)
	assert [ ! -e "$dir/memory" ]
	bytes=$(stat -c %s "$dir/memory.zst")
	assert [ "$bytes" -lt 4194304 ]
	for i in 1 2 3 4; do
		vmctl snapshot fork web/base "web-$i" >/dev/null &
		pids+=($!)
	done
	wait_all "${pids[@]}"
	assert_equal "$(count_status 0)" 4
	for i in 1 2 3 4; do
		wait_for has_ticked "web-$i"
		assert_equal "$(stat -c %i "$(dir_of "web-$i")/memory")" "$(stat -c %i "$dir/memory")"
	done
	# Unpacked it is the memory, byte for byte, with holes where nothing is.
	assert [ "$(stat -c %s "$dir/memory")" = 33554432 ]
	assert [ "$(du -B1 "$dir/memory" | cut -f 1)" -lt 4194304 ]
	sums=$(sha256sum <"$dir/memory")
	vmctl snapshot compress web/base
	assert [ ! -e "$dir/memory" ]
	vmctl snapshot compress web/base
	assert_equal "$(zstd -dc "$dir/memory.zst" | sha256sum)" "$sums"
	vmctl snapshot fork web/base last
	wait_for has_ticked last
	# A damaged one is told, and leaves nothing.
	vmctl snapshot compress web/base
	printf x | dd of="$dir/memory.zst" bs=1 seek=$((bytes / 2)) conv=notrunc status=none
	run -10 vmctl snapshot fork web/base broken
	assert_output --partial "$dir/memory.zst"
	truncate -s $((bytes / 2)) "$dir/memory.zst"
	run -10 vmctl snapshot fork web/base broken
	assert_equal "$(find "$dir" -name 'memory*' | wc -l)" 1
	vmctl rm --force web-1
	vmctl snapshot create web-2 disks >/dev/null
	vmctl stop --force web-2
	vmctl snapshot create web-2 only-disks
	run -6 vmctl snapshot compress web-2/only-disks
	assert_clean
}

@test "gc: what has expired, what no rule keeps, and the oldest until the others fit" {
	local i
	make_standby web
	make_standby db
	for i in 1 2 3; do
		vmctl snapshot create web "s$i"
		vmctl snapshot create db "s$i"
	done
	vmctl snapshot create web old --expires 1h
	run -0 vmctl snapshot gc --dry-run
	assert_output 'would free 0'
	sqlite3 "$VMCTL_ROOT/vmctl.db" "UPDATE image SET expires_us = 1 WHERE expires_us > 0"
	run -0 vmctl snapshot gc --dry-run
	assert_line $'web/old\texpired'
	assert_equal "$(snapshots | wc -l)" 7
	vmctl snapshot gc
	assert_equal "$(snapshots | wc -l)" 6
	run -0 vmctl snapshot gc --keep-last 1 web
	assert_line $'web/s1\tnot kept'
	assert_line $'web/s2\tnot kept'
	assert_equal "$(snapshots | xargs)" 'db/s1 db/s2 db/s3 web/s3'
	run -0 vmctl snapshot gc --keep-within 1h
	assert_equal "$(snapshots | wc -l)" 4
	run -0 vmctl snapshot gc --keep-within 0
	assert_equal "$(snapshots)" ''
	run -2 vmctl snapshot gc --keep-last x
	assert_clean
}

@test "gc tells what it really frees: shared memory and reflinked disks are nobody's alone" {
	local before freed told exclusive
	mount_root 512M xfs
	vmctl_yaml 'limits: {min_free_disk: 0}'
	make_running web --memory 32M --disk id=data,size=64M
	dd if=/dev/urandom of="$(dir_of web)/disk-data.img" bs=1M count=40 conv=notrunc status=none
	vmctl standby web
	vmctl snapshot create web a
	vmctl snapshot create web b
	sync -f "$VMCTL_ROOT"
	# Both have the memory and the disks of web.
	exclusive=$(image_field web/a .exclusive_bytes)
	assert [ "$exclusive" -lt 1048576 ]
	assert [ "$(image_field web/a .shared_bytes)" -gt $((32 * 1048576)) ]
	told=$(vmctl snapshot gc --keep-last 0 --dry-run -o json | jq .freed_bytes)
	assert [ "$told" -lt 2097152 ]
	# Once the instance is gone only they have them, each still shared with the other.
	vmctl rm --force web
	assert [ "$(image_field web/a .exclusive_bytes)" -lt 1048576 ]
	told=$(vmctl snapshot gc --keep-last 0 --dry-run -o json | jq .freed_bytes)
	sync -f "$VMCTL_ROOT"
	before=$(df --output=avail -B1 "$VMCTL_ROOT" | tail -n 1)
	vmctl snapshot gc --keep-last 0 >/dev/null
	assert [ "$told" -gt $((40 * 1048576)) ]
	# But for directories and inodes it is to the byte. xfs frees in the background.
	has_freed() {
		local freed
		sync -f "$VMCTL_ROOT"
		freed=$(($(df --output=avail -B1 "$VMCTL_ROOT" | tail -n 1) - before))
		((freed > told - 2097152 && freed < told + 2097152))
	}
	wait_for has_freed
}
