#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154,SC2030,SC2031 # bats sets output, stderr and lines; each test is a subshell
# What two processes do to each other, held still at fault points (docs/faults.md); and failures that
# come two at a time, as on a broken disk.

load helpers
load jobs

setup() {
	vm_setup
	jobs_setup
}

teardown() {
	local pid
	for pid in "${children[@]}"; do
		kill -CONT "$pid" 2>/dev/null || true
	done
	jobs_teardown
	vm_teardown
}

# Whether a process stands at its fault point.
stands() {
	grep -q '^State:.T' "/proc/$1/status"
}

# held_at FAULTS COMMAND...: runs it in the background up to its first fault point; $child is its pid.
held_at() {
	local faults=$1
	shift
	VMCTL_FAULT=$faults "$@" >"out.$1" 2>&1 3>&- &
	child=$!
	children+=("$child")
	wait_for stands "$child"
}

go_on() {
	kill -CONT "$1"
}

# The number that the last passing of a point has in ./trace.
last_of() {
	sed -n "s/^$1#//p" trace | tail -n 1
}

sql() {
	sqlite3 -readonly "$VMCTL_ROOT/vmctl.db" "$1"
}

@test "a fork that pauses its source and lets it go on while doctor looks is no leftover" {
	local doctor fork
	make_running web
	export VMCTL_FAULT_TRACE=$PWD/trace
	held_at driver.query:stop,driver.query.done:stop vmctl-doctor
	unset VMCTL_FAULT_TRACE
	doctor=$child
	held_at driver.pause.done:stop vmctl-fork web --from-running --name fork
	fork=$child
	# Now doctor asks the guest, which is paused, and is held before it looks whether anybody works on it.
	go_on "$doctor"
	wait_for stands_at_second "$doctor"
	go_on "$fork"
	wait "$fork"
	go_on "$doctor"
	wait "$doctor"
	run -0 cat out.vmctl-doctor
	assert_output --partial 'leftovers     none'
}

stands_at_second() {
	grep -q '^driver.query.done#1' trace && stands "$1"
}

@test "what a living maker has just made is no leftover" {
	local n point
	make_standby web
	for n in 1 2 3 4 5 6; do
		for point in "lock.create.done#$n" "store.commit#$n"; do
			VMCTL_FAULT=$point:stop vmctl-create "new-$n-${point%%.*}" --kernel "$guest" --memory 16M \
				--disk size=1M >out 2>&1 3>&- &
			child=$!
			children+=("$child")
			wait_for stands_or_ended "$child"
			assert_clean
			kill -CONT "$child" 2>/dev/null || true
			wait "$child"
		done
	done
}

stands_or_ended() {
	[ ! -e "/proc/$1/status" ] || grep -q '^State:.[TZ]' "/proc/$1/status"
}

@test "a repair of an instance that has lost its lock file as well" {
	local id
	make_running web
	id=$(field web .id)
	kill -KILL "$(field web .pid)"
	wait_for no_vmm
	rm "$VMCTL_ROOT/locks/$id" "$VMCTL_ROOT/locks/$id.gate"
	run -0 vmctl doctor --repair
	assert_output --regexp 'FIXED +leftovers +the VMM has ended of web'
	assert_equal "$(sql 'SELECT state FROM instance')" failed
	assert_clean
}

no_vmm() {
	[ "$(live_vmms)" = 0 ]
}

@test "an instance that is removed while a repair finds it without its directory leaves no lock files" {
	local doctor
	make_standby web
	# One that has its directory: otherwise the filesystem with all of them could be missing.
	vmctl create keeper --kernel "$guest" --memory 16M --disk size=1M
	rm -r "$(dir_of web)"
	# Its own lock file, the third after those of the store.
	held_at 'lock.create#3:stop' vmctl-doctor --repair
	doctor=$child
	vmctl rm --force web
	go_on "$doctor"
	wait "$doctor" || true
	vmctl create other --kernel "$guest" --memory 16M --disk size=1M
	run -0 ls "$VMCTL_ROOT/locks"
	refute_output --partial "$(sql "SELECT instance_id FROM event WHERE name = 'web' LIMIT 1")"
	assert_clean
}

@test "a removal whose last note cannot be forgotten has happened, and is counted once" {
	vmctl create one --kernel "$guest" --memory 16M --disk size=1M
	vmctl create two --kernel "$guest" --memory 16M --disk size=1M
	VMCTL_FAULT_TRACE=$PWD/trace vmctl-rm one
	VMCTL_FAULT="store.commit#$(last_of store.commit):fail:EIO" vmctl-rm two
	assert_equal "$(sql "SELECT label, value FROM counter WHERE name = 'operations' AND label LIKE 'rm,%'")" 'rm,ok|2'
	vmctl create three --kernel "$guest" --memory 16M --disk size=1M
	assert_equal "$(sql 'SELECT count(*) FROM lock_file')" 0
	assert_clean
}

@test "a restore that can neither retire the saved state nor take the restore back loses no memory" {
	local before unlink commit
	make_standby web
	VMCTL_FAULT_TRACE=$PWD/trace vmctl-restore web
	# The manifest goes after the commit that says running; the next commit would take it back.
	unlink=$(last_of fs.unlink) commit=$(last_of store.commit)
	vmctl standby web
	before=$(boots_of web)
	run -1 env VMCTL_FAULT="fs.unlink#$unlink:fail:EIO,store.commit#$commit:fail:EIO" vmctl-restore web
	assert_output --partial manifest.json
	vmctl restore web
	assert_equal "$(state_of web)" running
	assert_equal "$(boots_of web)" "$before"
	assert_equal "$(guest_state web)" Running
	assert_clean
}

@test "a restore that was taken back is no success in the events" {
	local unlink
	make_standby web
	VMCTL_FAULT_TRACE=$PWD/trace vmctl-restore web
	unlink=$(last_of fs.unlink)
	vmctl standby web
	run -1 env VMCTL_FAULT="fs.unlink#$unlink:fail:EIO" vmctl-restore web
	assert_equal "$(state_of web)" standby
	assert_equal "$(sql "SELECT label, value FROM counter WHERE label LIKE 'restore,%' ORDER BY label")" \
		"$(printf 'restore,ok|1\nrestore,system|1')"
	assert_clean
	vmctl restore web
}

@test "a VMM that is started, not committed and not ended keeps its place and its guest CID" {
	local commit
	make_running web
	vmctl stop --force web
	VMCTL_FAULT_TRACE=$PWD/trace vmctl-start web
	commit=$(last_of store.commit)
	vmctl stop --force web
	run -1 env VMCTL_FAULT="vmm.kill:fail:EIO,store.commit#$commit:fail:EIO" vmctl-start web
	assert_equal "$(live_vmms)" 1
	assert_equal "$(sql 'SELECT state, occupies FROM instance')" 'stopped|1'
	vmctl start web
	assert_equal "$(live_vmms)" 1
	assert_clean
}
