#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154,SC2317 # bats sets output, stderr and lines; called by name
# SIGKILL of every verb at every fault point that it passes (docs/faults.md), one after the other:
# the next ordinary verb on that instance works, doctor is clean after it, the source and the others
# are what they were, no VMM is alive that no row knows, no guest is left paused.
#
# Tagged `driver`: the verbs that have a VMM do something, which is what test/run runs with a second
# hypervisor; what the others do is the same with any.

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
	VMCTL_FAULT="$point:kill" run vmctl "$@"
	case $point in
	# It is the child that dies there; the verb says so and undoes what it has done.
	vmm.record* | vmm.view*) assert_equal "$status $output" "9 ${output}" ;;
	*) { is_racy "$point" && [ "$status" = 0 ]; } || assert_equal "$status $output" "137 $output" ;;
	esac
}

# bats test_tags=driver
@test "start" {
	scenario_start
}

# bats test_tags=driver
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

# bats test_tags=driver
@test "standby" {
	scenario_standby
}

# bats test_tags=driver
@test "restore" {
	scenario_restore
}

@test "rm" {
	scenario_rm
}

@test "label" {
	scenario_label
}

@test "create" {
	scenario_create
}

# bats test_tags=driver
@test "fork of a standby" {
	scenario_fork
}

@test "three forks of a standby" {
	scenario_forks
}

# bats test_tags=driver
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
	needs state_rewrite
	scenario_alias symlink
}

@test "restore and fork by a symbolic link where no directory was" {
	needs state_rewrite
	scenario_alias symlink gone
}

@test "fork by a symbolic link in the place of an instance's directory" {
	needs state_rewrite
	scenario_alias_of_instance
}

@test "restore and fork by a namespace" {
	needs state_rewrite
	scenario_alias namespace
}

@test "snapshot adopt" {
	needs state_rewrite
	scenario_snapshot_adopt
}

@test "snapshot import" {
	needs state_rewrite
	scenario_snapshot_import
}

@test "snapshot export" {
	scenario_snapshot_export
}

@test "doctor --repair" {
	scenario_repair
}

@test "every fault point is listed, passed by some verb, and a wrong one is refused" {
	# Those of an alias, of the pool and of layers too.
	needs state_rewrite
	needs recycles_memory
	needs diff_snapshot
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
	# A saved memory is always usable as it is: that point is the unit tests'. The others are passed only with
	# qcow2 disks, or where a save leaves something to do, in the next test.
	assert_equal "$(comm -23 listed passed | grep -v '^driver\.\(memory\|freeze\|finish\)')" ''
	assert_equal "$(comm -13 listed passed)" ''
}

# bats test_tags=driver
@test "the fault points of layers of qcow2 disks and of what is left to do after a save are passed" {
	needs disk_qcow2
	qemu-img create -q -f qcow2 disk.qcow2 1M
	vmctl create web --kernel "$guest" --memory 16M --disk path=disk.qcow2 --start
	VMCTL_FAULT_TRACE=$PWD/trace vmctl fork web one --from-running
	sed 's/#.*//' trace | sort -u >passed
	vmctl doctor --fault-points -o json | jq -r '.[].point' | grep '^driver\.\(freeze\|finish\)' | sort >listed
	assert [ "$(wc -l <listed)" -gt 0 ]
	assert_equal "$(comm -23 listed passed)" ''
}
