#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # bats sets output, stderr and lines
# Forks of a running source: it is paused for an instant and goes on.

load helpers

setup() { vm_setup; }

teardown() {
	local status=0
	# A VMM that a failed test has stopped could not be asked to do anything.
	[ -z "${stopped_pid:-}" ] || kill -CONT "$stopped_pid" 2>/dev/null || true
	vm_teardown || status=1
	if mountpoint -q "$BATS_TEST_TMPDIR/root"; then
		umount "$BATS_TEST_TMPDIR/root" || status=1
	fi
	return $status
}

# The source is what it was, runs, and by its VMM's own word is not paused.
assert_went_on() {
	local name=$1 pid=$2 generation=$3 now
	assert_equal "$(field "$name" .pid)" "$pid"
	assert_equal "$(field "$name" .generation)" "$generation"
	assert_equal "$(state_of "$name")" running
	assert_equal "$(field "$name" .intent)" null
	assert_equal "$(guest_state "$name")" Running
	now=$(last_tick "$name")
	wait_for ticked_past "$name" "$now"
}

# For wait_for: whether a verb has begun something with the source.
intends() {
	[ "$(field src .intent.verb 2>/dev/null)" = "$1" ]
}

# The directory in guests/ that is not the only instance's, once it holds the file $1.
half_made() {
	find "$VMCTL_ROOT/guests" -mindepth 2 -maxdepth 2 -name "$1" ! -path "$(dir_of src)/*" \
		-size +0 | grep .
}

@test "a running source goes on as if nothing had been" {
	make_running src
	local pid generation number name
	pid=$(field src .pid)
	generation=$(field src .generation)
	number=$(last_tick src)
	run -0 vmctl fork src web --from-running
	assert_equal "${lines[-1]}" web
	assert_went_on src "$pid" "$generation"
	assert_equal "$(boots_of src)" 1

	wait_for ticked_past web "$number"
	assert_equal "$(boots_of web)" 0
	assert_equal "$(vmm_cid web)" "$(field web .guest_cid)"
	! has_vsock || assert [ "$(field web .guest_cid)" != "$(field src .guest_cid)" ]
	assert [ "$(stat -c %i "$(dir_of web)/disk-root.img")" != \
		"$(stat -c %i "$(dir_of src)/disk-root.img")" ]
	# Whatever the source had been given for the fork is gone.
	for name in src web; do
		run -0 ls "$(dir_of "$name")"
		refute_output --partial .source
		refute_output --partial .new
	done
	ask web mB '^marked B'
	assert_equal "$(ask src g '^marker mem=')" 'marker mem=- disk=-'
	assert_clean
}

@test "memory and disk of the fork are of the same instant" {
	make_running src
	local before after saved first
	before=$(last_tick src)
	vmctl fork src web --from-running --target-state standby
	after=$(last_tick src)
	assert_equal "$(live_vmms)" 1
	saved=$(disk_counter web)
	assert [ "$saved" -ge "$before" ]
	# The source may have gone on, at most by the line that it was in.
	assert [ "$saved" -le $((after + 1)) ]
	# Later forks of the fork see that instant too, however far the source has come.
	wait_for ticked_past src $((saved + 5))
	vmctl restore web
	wait_for has_ticked web
	first=$(first_tick web)
	assert [ "$first" -ge "$saved" ]
	assert [ "$first" -le $((saved + 2)) ]
	assert_clean
}

@test "five forks of a running source take one pause and one snapshot" {
	make_running src
	local pid generation number name
	pid=$(field src .pid)
	generation=$(field src .generation)
	number=$(last_tick src)
	run -0 --separate-stderr vmctl fork src -n 5 --name 'web-{}' --from-running
	assert_output "$(printf 'web-%d\n' {1..5})"
	assert_equal "$(pauses_of src)" 1
	assert_equal "$(saves_of src)" 1
	assert_went_on src "$pid" "$generation"
	for name in web-{1..5}; do
		wait_for ticked_past "$name" "$number"
		assert_equal "$(boots_of "$name")" 0
		ask "$name" "m${name#web-}" "^marked ${name#web-}"
		run -0 ls "$(dir_of "$name")"
		refute_output --partial .source
	done
	for name in web-{1..5}; do
		assert_equal "$(ask "$name" g '^marker mem=')" \
			"marker mem=${name#web-} disk=${name#web-}"
	done
	assert_equal "$(for name in src web-{1..5}; do
		stat -c %i "$(dir_of "$name")/disk-root.img"
		! has_vsock || field "$name" .guest_cid
	done | sort -u | wc -l)" "$(has_vsock && echo 12 || echo 6)"
	# All have the one memory file of the pause.
	assert_equal "$(for name in web-{1..5}; do
		stat -c %i "$(dir_of "$name")/memory"
	done | sort -u | wc -l)" 1
	# The first fork is as dispensable as any.
	vmctl rm --force src web-1
	vmctl standby web-2
	vmctl restore web-2
	number=$(last_tick web-2)
	wait_for ticked_past web-2 "$number"
	assert_clean
}

@test "a running source forks to stopped, to standby and to running" {
	make_running src
	ask src mA '^marked A'
	local pid generation number
	pid=$(field src .pid)
	generation=$(field src .generation)
	number=$(last_tick src)
	vmctl fork src cold --from-running --target-state stopped
	# Memory that nobody wants is not saved.
	assert_equal "$(saves_of src)" 0
	assert_equal "$(pauses_of src)" 1
	vmctl fork src -n 2 --name 'rest-{}' --from-running --target-state standby
	vmctl fork src warm --from-running --target-state running
	assert_went_on src "$pid" "$generation"
	assert_equal "$(state_of cold) $(state_of rest-1) $(state_of rest-2) $(state_of warm)" \
		'stopped standby standby running'
	assert_equal "$(live_vmms)" 2
	assert [ ! -e "$(dir_of cold)/memory" ]
	assert [ ! -e "$(dir_of cold)/manifest.json" ]
	vmctl start cold
	assert_equal "$(ask cold g '^marker mem=')" 'marker mem=- disk=A'
	assert_equal "$(boots_of cold)" 1
	vmctl restore rest-1
	vmctl fork rest-2 child
	for name in rest-1 warm child; do
		wait_for ticked_past "$name" "$number"
		assert_equal "$(boots_of "$name")" 0
		assert_equal "$(ask "$name" g '^marker mem=')" 'marker mem=A disk=A'
	done
	assert_clean
}

@test "without --from-running a running source is not touched" {
	make_running src
	local before
	before=$(snapshot_root)
	run -6 --separate-stderr vmctl fork src web
	assert_output ''
	assert_equal "$(printf '%s\n' "$stderr" | grep -c -e 'src is running')" 1
	assert_equal "$(printf '%s\n' "$stderr" | grep -c -e 'hint: --from-running')" 1
	assert_equal "$(snapshot_root)" "$before"
	assert_equal "$(pauses_of src)" 0
	assert_clean
}

@test "a request that must fail does not pause the source" {
	make_running src
	vmctl create taken-2 --kernel "$guest" --memory 16M
	local before
	before=$(snapshot_root)
	run -4 vmctl fork src taken-2 --from-running
	run -4 vmctl fork src -n 2 --name 'taken-{}' --from-running
	run -2 vmctl fork src -n 2 --name web --from-running
	run -2 vmctl fork src Web --from-running
	vmctl_yaml 'limits:' '  max_running: 1'
	run -7 vmctl fork src web --from-running
	vmctl_yaml 'limits:' '  min_free_disk: 60T'
	run -7 vmctl fork src web --from-running --target-state standby
	rm "$VMCTL_ROOT/vmctl.yaml"
	run -9 env "$(binary_variable)=/nonexistent" vmctl fork src web --from-running
	assert_equal "$(snapshot_root)" "$before"
	assert_equal "$(pauses_of src)" 0
	assert_clean
}

@test "four processes that fork one running source take their turns" {
	make_running src
	local i pids=() pid generation number
	pid=$(field src .pid)
	generation=$(field src .generation)
	number=$(last_tick src)
	for i in {1..4}; do
		vmctl fork src "web-$i" --from-running >"out-$i" 2>&1 3>&- &
		pids+=($!)
	done
	wait_all "${pids[@]}"
	assert_equal "$(count_status 0)" 4
	assert_equal "$(pauses_of src)" 4
	assert_went_on src "$pid" "$generation"
	for i in {1..4}; do
		wait_for ticked_past "web-$i" "$number"
	done
	assert_clean
}

@test "when the disk is full inside the pause the source goes on and nothing is left" {
	if ! command -v mkfs.ext4 >/dev/null || [ "$(id -u)" != 0 ]; then
		[ "${CI:-}" != true ] || fail 'mkfs.ext4 and root are needed'
		skip 'needs mkfs.ext4 and root'
	fi
	truncate -s 93M image
	mkfs.ext4 -q image
	mkdir -m 0700 root
	mount -o loop image root
	vmctl_yaml 'limits:' '  min_free_disk: 0'
	# 42 MiB that cannot be shared: they fit once, but not twice; 16 MiB of memory do fit, also where
	# the guest has as much on the disk already.
	head -c 42M /dev/urandom >data.img
	make_running src --disk id=data,path=data.img
	rm data.img
	local before pid generation target
	pid=$(field src .pid)
	generation=$(field src .generation)
	before=$(snapshot_root)
	for target in running standby stopped; do
		run -7 --separate-stderr vmctl fork src web --from-running --target-state "$target"
		assert_output ''
		assert_equal "$(snapshot_root)" "$before"
		assert_went_on src "$pid" "$generation"
	done
	assert_equal "$(pauses_of src)" 3
	assert_equal "$(live_vmms)" 1
	assert_clean
}

@test "Ctrl-C while the source is being paused leaves a running source and nothing else" {
	make_running src
	local before pid generation forker
	pid=$(field src .pid)
	generation=$(field src .generation)
	before=$(snapshot_root)
	# A VMM that does not answer holds the fork where we want it.
	stopped_pid=$pid
	kill -STOP "$pid"
	env --default-signal=INT vmctl fork src web --from-running >out 2>err 3>&- &
	forker=$!
	wait_for intends fork
	kill -INT "$forker"
	kill -CONT "$pid"
	stopped_pid=
	wait_all "$forker"
	assert_equal "${statuses[0]}" 130
	assert_equal "$(cat out)" ''
	assert_went_on src "$pid" "$generation"
	assert_equal "$(snapshot_root)" "$before"
	assert_clean
}

@test "Ctrl-C while the memory is being saved leaves a running source and nothing else" {
	make_running src --memory 256M
	local before pid generation forker caught=no
	pid=$(field src .pid)
	generation=$(field src .generation)
	before=$(snapshot_root)
	stopped_pid=$pid
	# The VMM is stopped as soon as it has begun to write. Should it have been quicker, once more.
	until [ $caught = yes ]; do
		env --default-signal=INT vmctl fork src web --from-running >out 2>err 3>&- &
		forker=$!
		until half_made memory >/dev/null || ! kill -0 "$forker" 2>/dev/null; do :; done
		kill -STOP "$pid"
		if [ "$(field src .intent.verb)" = fork ] && [ "$(saves_of src)" -gt 0 ]; then
			# It may have got everything from the VMM before that was stopped, and be at its end.
			! kill -INT "$forker" || caught=yes
		fi
		kill -CONT "$pid"
		wait_all "$forker"
		[ $caught = yes ] || vmctl rm --force web
	done
	stopped_pid=
	assert_equal "${statuses[0]}" 130
	assert_equal "$(cat out)" ''
	assert_equal "$(grep -c 'interrupted by SIGINT' err)" 1
	assert_went_on src "$pid" "$generation"
	assert_equal "$(snapshot_root)" "$before"
	assert_equal "$(live_vmms)" 1
	assert_clean
}

@test "a source that dies while it is saved fails the fork and leaves nothing of it" {
	make_running src
	local pid forker
	pid=$(field src .pid)
	stopped_pid=$pid
	kill -STOP "$pid"
	vmctl fork src web --from-running >out 2>err 3>&- &
	forker=$!
	wait_for intends fork
	kill -KILL "$pid"
	stopped_pid=
	wait_all "$forker"
	assert_equal "${statuses[0]}" 9
	assert_equal "$(cat out)" ''
	run -3 vmctl inspect web
	# The next verb finds out what became of the source.
	run -6 vmctl standby src
	assert_equal "$(state_of src)" failed
	vmctl start src
	assert_equal "$(live_vmms)" 1
	assert_clean
}
