#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # bats sets output, stderr and lines
# doctor --repair settles everything at once: each kind of leftover is planted, reported, repaired, and
# gone. What verbs that are killed really leave is in faults_kill.bats.

load helpers
load sound

setup() {
	sound_setup
}

teardown() {
	rm -f /dev/shm/{sem.vmctl-,vmctl-}zzzzzzzzzzzzzzzzzzzzzzzz*
	sound_teardown
}

# finds TEXT: doctor reports it as a leftover and changes nothing; a repair settles it; then all is well.
finds() {
	local before
	before=$(snapshot_root)
	run -13 vmctl doctor
	assert_line --regexp "^LEFT +leftovers +$1"
	assert_equal "$(snapshot_root)" "$before"
	run -0 --separate-stderr vmctl doctor --repair -o json
	assert_equal "$(jq -r '[.[] | select(.level == "repaired")] | length > 0' <<<"$output")" true
	assert_regex "$(jq -r '.[] | select(.level == "repaired") | .message' <<<"$output")" "$1"
	assert_sound
}

id=aaaaaaaaaaaaaaaaaaaaaaaa

# intent VERB NAME [DETAIL]: as a killed verb leaves it.
intent() {
	sqlite3 "$VMCTL_ROOT/vmctl.db" "INSERT INTO intent SELECT id, '$1', '${3:-running}', 1, 0
		FROM instance WHERE name = '$2'"
}

# A VMM under the liveness lock of no instance: it has the descriptor, as a real one has.
start_orphan() {
	# shellcheck disable=SC2016 # expanded by the inner shell
	setsid bash -c 'exec 3>>"$1"; flock -x 3
		printf "%d %d\n" $$ "$(sed "s/.*) //" /proc/$$/stat | cut -d" " -f20)" >"$1"
		exec sleep 1000' - "$VMCTL_ROOT/run/$id.alive" >/dev/null 2>&1 &
	orphan=$!
	wait_for test -s "$VMCTL_ROOT/run/$id.alive"
}

@test "a source that a killed fork has paused goes on" {
	make_running web
	pause_by_api web
	intent fork web
	finds 'a killed fork of web'
	assert_equal "$(guest_state web)" Running
}

# By the VMM's own API, behind vmctl's back.
pause_by_api() {
	set_guest_at "$(dir_of "$1")" Paused
	assert_equal "$(guest_state "$1")" Paused
}

@test "a guest that was paused behind vmctl's back is found, and its row says so" {
	make_running web
	pause_by_api web
	finds 'the guest is paused, though it should run, of web'
	assert_equal "$(state_of web)" paused
	vmctl resume web
	assert_equal "$(guest_state web)" Running
}

@test "a VMM that no instance knows is ended" {
	start_orphan
	finds "liveness file run/$id.alive belongs to no instance"
	run -1 kill -0 "$orphan"
}

@test "a dead VMM, sockets of it and temporary files" {
	local dir file
	make_running web
	kill -9 "$(field web .pid)"
	finds 'the VMM has ended of web'
	assert_equal "$(state_of web)" failed
	dir=$(dir_of web)
	for file in vmm.sock $(files_of_vmm) memory.new memory.below vmstate.new manifest.json.tmp vmstate.tmp vmstate.source; do
		: >"$dir/$file"
		finds 'sockets or temporary files in the directory of web'
		assert [ ! -e "$dir/$file" ]
	done
}

@test "files and directories of no instance: trash and locks go, a directory of guests/ to lost/" {
	local path
	for path in trash/$id/ locks/$id locks/$id.gate locks/$id.memory run/$id.alive; do
		case $path in
		*/) mkdir "$VMCTL_ROOT/$path" && echo data >"$VMCTL_ROOT/${path}disk-root.img" ;;
		*) : >"$VMCTL_ROOT/$path" ;;
		esac
		finds ".* ?${path%/} belongs to no instance"
		assert [ ! -e "$VMCTL_ROOT/$path" ]
	done
	mkdir "$VMCTL_ROOT/guests/$id"
	echo data >"$VMCTL_ROOT/guests/$id/disk-root.img"
	finds "directory guests/$id belongs to no instance"
	assert_equal "$(cat "$VMCTL_ROOT/lost/$id/disk-root.img")" data
	# Once more: what is in lost/ is not overwritten, and what is not repaired says why.
	mkdir "$VMCTL_ROOT/guests/$id"
	run -13 vmctl doctor --repair
	assert_output --partial 'not repaired: '
	assert_equal "$(cat "$VMCTL_ROOT/lost/$id/disk-root.img")" data
	rmdir "$VMCTL_ROOT/guests/$id"
	assert_sound
}

@test "notes of lock files that the dead have left" {
	sqlite3 "$VMCTL_ROOT/vmctl.db" "INSERT INTO lock_file VALUES ('$id', 1, 1)"
	: >"$VMCTL_ROOT/locks/$id.gate"
	finds "(a dead process's note of lock files|gate) locks/$id"
	assert_equal "$(sqlite3 "$VMCTL_ROOT/vmctl.db" 'SELECT count(*) FROM lock_file')" 0
	assert [ ! -e "$VMCTL_ROOT/locks/$id.gate" ]
}

@test "an instance without its directory is failed, and can be removed; its VMM is ended" {
	local dir
	make_running web
	dir=$(dir_of web)
	rm -r "$dir"
	run -13 vmctl doctor
	assert_line --regexp '^LEFT +leftovers +the directory is gone of web$'
	run -0 vmctl doctor --repair
	assert_equal "$(state_of web)" failed
	assert_equal "$(field web .failure)" 'its directory is gone'
	assert_equal "$(live_vmms)" 0
	run -0 vmctl doctor
	assert_line --regexp '^WARN +instance +web has lost its directory$'
	vmctl rm --force web
	assert_sound
}

@test "when no instance has its directory nothing is changed: a filesystem is not mounted" {
	local before
	# One is enough.
	assert_equal "$(vmctl ls -q | wc -l)" 1
	mv "$VMCTL_ROOT/guests" "$VMCTL_ROOT/away"
	mkdir -m 0700 "$VMCTL_ROOT/guests"
	before=$(snapshot_root)
	run -1 vmctl doctor --repair
	assert_output --partial 'is a filesystem not mounted?'
	assert_equal "$(snapshot_root)" "$before"
	rmdir "$VMCTL_ROOT/guests"
	mv "$VMCTL_ROOT/away" "$VMCTL_ROOT/guests"
	assert_sound
}

@test "what a deleted data root has left in /dev/shm is a warning, and goes" {
	local other
	VMCTL_ROOT=$PWD/other vmctl create web --kernel "$guest" --memory 16M
	# A restore makes the semaphore, and the note whose it is.
	VMCTL_ROOT=$PWD/other make_running src
	VMCTL_ROOT=$PWD/other vmctl standby src
	VMCTL_ROOT=$PWD/other vmctl restore src
	other=$(VMCTL_ROOT=$PWD/other root_id)
	VMCTL_ROOT=$PWD/other vmctl rm --force src
	run -0 ls "/dev/shm/vmctl-$other.root"
	run cat "/dev/shm/vmctl-$other.root"
	assert_output --partial "$PWD/other/run"
	# While it is there it is left alone.
	vmctl doctor --repair
	run ls /dev/shm
	assert_output --regexp "sem\.vmctl-$other-"
	rm -r other
	# Whoever repairs at this moment, in a pass of the tests beside this one, may be first: then again.
	mkdir kept
	cp /dev/shm/*"$other"* kept
	says() {
		local line=$1
		shift
		cp -n kept/* /dev/shm
		"$@" | grep -q -x -E "$line +what a deleted data root has left in /dev/shm, $other"
	}
	wait_for says 'WARN +shm' vmctl doctor
	wait_for says 'FIXED +leftovers' vmctl doctor --repair
	run ls /dev/shm
	refute_output --partial "$other"
}

@test "a VMM that hangs is an error with a hint, and is not ended by a repair" {
	local pid
	make_running web
	vmctl_yaml 'api_timeout: 500ms'
	pid=$(field web .pid)
	kill -STOP "$pid"
	run -1 vmctl doctor --repair
	assert_line --regexp '^ERROR +vmm +the VMM of web does not answer$'
	kill -CONT "$pid"
	wait_for vmctl doctor
	assert_equal "$(field web .pid)" "$pid"
}

@test "a standby without its manifest is an error with a hint" {
	vmctl fork rest web --target-state standby
	rm "$(dir_of web)/manifest.json"
	run -1 vmctl doctor --repair
	assert_line --regexp '^ERROR +instance +web is in standby, but its saved state is not complete$'
	vmctl stop --discard web
	assert_sound
}

# has_begun PID: it has written its intent, or come to its end.
has_begun() {
	[ -n "$(sqlite3 -readonly "$VMCTL_ROOT/vmctl.db" 'SELECT verb FROM intent')" ] ||
		! kill -0 "$1" 2>/dev/null
}

@test "what somebody is working on is not repaired under his hands, and not waited for" {
	local pid before
	make_running web
	# A verb that stands still in the middle of its work, with everything half done.
	vmctl stop --time 600 web 3>&- &
	pid=$!
	wait_for has_begun "$pid"
	kill -STOP "$pid" 2>/dev/null || true
	before=$(sqlite3 -readonly "$VMCTL_ROOT/vmctl.db" 'SELECT * FROM intent')
	run vmctl doctor --repair --no-wait
	[ "$status" = 0 ] || assert_equal "$status $output" "0 $output"
	assert_equal "$(sqlite3 -readonly "$VMCTL_ROOT/vmctl.db" 'SELECT * FROM intent')" "$before"
	kill -CONT "$pid" 2>/dev/null || true
	wait "$pid"
	assert_equal "$(state_of web)" stopped
}

@test "a repair that meets a lock which is shared waits no longer than it may" {
	make_running web
	intent pause web
	# A shared lock is a fork's; who has it will let go, but here does not.
	exec 8<"$VMCTL_ROOT/locks/$(field web .id)"
	flock -s 8
	run -13 vmctl doctor --repair --no-wait
	assert_output --partial "not repaired: instance 'web' is locked by pid $$"
	flock -u 8
	exec 8<&-
	vmctl doctor --repair
	assert_sound
}

@test "--repair and --fault-points do not go together" {
	run -2 vmctl doctor --repair --fault-points
	run -0 vmctl doctor --fault-points
	assert_line --regexp '^store\.commit +kill,fail +'
	assert_line --regexp '^store\.commit\.done +kill +'
	run -0 vmctl doctor --fault-points -o json
	[ "${VMCTL_BUILD:-build}" = build ] || return 0
	run -8 env VMCTL_FAULT=store.commit:kill vmctl ls
}
