#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154,SC2317 # bats sets output, stderr and lines; called by name
# SIGKILL of every verb at every fault point that it passes (docs/faults.md), one after the other:
# the next ordinary verb on that instance works, doctor is clean after it, the source and the others
# are what they were, no VMM is alive that no row knows, no guest is left paused.

load helpers
load sound
load faults
load alias
load faults_alias
load foreign
load faults_snapshot

setup() {
	sound_setup
}

teardown() {
	sound_teardown
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
	# It is the child that dies there; the verb says so and undoes what it has done.
	vmm.record* | vmm.view*) assert_equal "$status $output" "9 ${output}" ;;
	*) { is_racy "$point" && [ "$status" = 0 ]; } || assert_equal "$status $output" "137 $output" ;;
	esac
}

@test "start" {
	scenario_start
}

@test "stop, and stop by force" {
	scenario_stop
}

@test "stop --discard of a standby" {
	scenario_discard
}

@test "pause" {
	scenario_pause
}

@test "resume" {
	scenario_resume
}

@test "standby" {
	scenario_standby
}

@test "restore" {
	scenario_restore
}

@test "rm" {
	scenario_rm
}

@test "create" {
	scenario_create
}

@test "fork of a standby" {
	scenario_fork
}

@test "three forks of a standby" {
	scenario_forks
}

@test "forks of a running source" {
	scenario_fork_running
}

@test "snapshot create of a standby and of a stopped one" {
	scenario_snapshot
}

@test "snapshot create of a running source" {
	scenario_snapshot_running
}

@test "snapshot rm" {
	scenario_snapshot_rm
}

@test "snapshot restore" {
	scenario_snapshot_restore
}

@test "snapshot fork" {
	scenario_snapshot_fork
}

@test "snapshot compress, and a fork of a compressed one" {
	scenario_snapshot_compress
}

@test "restore and fork by a symbolic link" {
	scenario_alias symlink
}

@test "restore and fork by a symbolic link where no directory was" {
	scenario_alias symlink gone
}

@test "fork by a symbolic link in the place of an instance's directory" {
	scenario_alias_of_instance
}

@test "restore and fork by a namespace" {
	scenario_alias namespace
}

@test "snapshot adopt" {
	scenario_snapshot_adopt
}

@test "snapshot import" {
	scenario_snapshot_import
}

@test "snapshot export" {
	scenario_snapshot_export
}

@test "doctor --repair" {
	scenario_repair
}

@test "every fault point is listed, passed by some verb, and a wrong one is refused" {
	local point
	run -2 env VMCTL_FAULT=fs.lnk:kill vmctl ls
	assert_output --partial "'fs.lnk:kill' is not a fault"
	run -2 env VMCTL_FAULT=fs.link.done:fail:EIO vmctl ls
	run -2 env VMCTL_FAULT=fs.link:fail:ENOTHING vmctl ls
	export VMCTL_FAULT_TRACE=$PWD/trace
	vmctl create web --kernel "$guest" --memory 16M --disk size=1M --start
	vmctl pause web && vmctl resume web && vmctl standby web && vmctl restore web
	vmctl fork web one --from-running --target-state standby
	printf 'memory:\n  pool_max: 0\n' >no-pool.yaml
	export VMCTL_ROOT=$PWD/other VMCTL_CONFIG=$PWD/no-pool.yaml
	vmctl create web --kernel "$guest" --memory 16M --start
	vmctl standby web
	vmctl rm --force web
	# Where no layers are made, over the memory that a stop has dropped.
	printf 'memory:\n  diff: reflink\n' >pool.yaml
	export VMCTL_ROOT=$PWD/pooled VMCTL_CONFIG=$PWD/pool.yaml
	vmctl create web --kernel "$guest" --memory 16M --start
	vmctl standby web && vmctl restore web
	vmctl stop --force web && vmctl start web
	vmctl standby web && vmctl rm --force web
	export VMCTL_ROOT=$PWD/root VMCTL_CONFIG=
	make_alias_image src base "$PWD/recorded"
	vmctl snapshot fork src/base aliased
	: >/dev/shm/sem.vmctl-zzzzzzzzzzzzzzzzzzzzzzzz-gone
	vmctl doctor --repair
	assert [ ! -e /dev/shm/sem.vmctl-zzzzzzzzzzzzzzzzzzzzzzzz-gone ]
	vmctl stop --time 60 web && vmctl rm --force web
	unset VMCTL_FAULT_TRACE
	vmctl doctor --fault-points -o json | jq -r '.[].point' | sort >listed
	sed 's/#.*//' trace | sort -u >passed
	# Firecracker's memory is always usable as it is: that point is the unit tests'.
	assert_equal "$(comm -23 listed passed | grep -v '^driver\.memory')" ''
	assert_equal "$(comm -13 listed passed)" ''
}
