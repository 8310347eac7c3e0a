#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # bats sets output, stderr and lines
# Snapshots that were made by others, with absolute paths, become images.

load helpers
load foreign

setup() {
	vm_setup
	needs state_rewrite
}
teardown() {
	vm_teardown
	rm -rf "${elsewhere:-}"
}

# What a guest's VMM has open for writing below the given directory, as device and inode.
open_files() {
	find -L "/proc/$(field "$1" .pid)/fd" -type f -printf '%D:%i\n' 2>/dev/null | sort -u
}

# adopts_and_runs DIRECTORY [HOW]: a snapshot whose files were in that directory, which is gone by now.
adopts_and_runs() {
	local dir=$1 how=${2:-auto} i pids=() name seen=()
	make_foreign "$dir" 2
	rm -rf "$dir"
	vmctl snapshot adopt old --state foreign.state --memory foreign.memory \
		--disk "$dir/disk0.raw=foreign.0" --disk d1=foreign.1 --relocate "$how"
	for i in 1 2 3 4 5 6 7 8; do
		vmctl snapshot fork old/base "f-$i" >/dev/null &
		pids+=($!)
	done
	wait_all "${pids[@]}"
	assert_equal "$(count_status 0)" 8
	for i in 1 2 3 4 5 6 7 8; do
		name=f-$i
		wait_for ticked_past "$name" "$foreign_tick"
		assert_equal "$(boots_of "$name")" 0
		assert [ "$(disk_counter "$name" d0)" -gt "$foreign_tick" ]
		# Its own disks are what its VMM has open, and its own socket is where it listens.
		assert grep -qx "$(stat -c '%d:%i' "$(dir_of "$name")/disk-d0.img")" <(open_files "$name")
		assert grep -qx "$(stat -c '%d:%i' "$(dir_of "$name")/disk-d1.img")" <(open_files "$name")
		assert [ -S "$(dir_of "$name")/vsock.sock" ]
		seen+=("$(stat -c %i "$(dir_of "$name")/disk-d0.img")" "$(field "$name" .guest_cid)")
	done
	assert_equal "$(printf '%s\n' "${seen[@]}" | sort -u | wc -l)" 16
	assert [ ! -e "$dir" ]
	# Once and for all: generations to come, and images of them.
	vmctl standby f-1
	vmctl restore f-1
	vmctl fork f-1 child --from-running
	vmctl snapshot create child now
	vmctl snapshot fork child/now grandchild
	wait_for ticked_past grandchild "$foreign_tick"
	assert_equal "$(boots_of grandchild)" 0
	assert_clean
}

@test "a snapshot with absolute paths whose directory is gone: eight forks at once run" {
	adopts_and_runs "$BATS_TEST_TMPDIR/some where/else"
}

@test "the same with recorded paths that are shorter than ours" {
	elsewhere=/$(mktemp -u XXX)
	adopts_and_runs "$elsewhere"
}

@test "the same with long ones" {
	elsewhere=$(mktemp -d /tmp/vmctl-XXXXXX)
	adopts_and_runs "$elsewhere/0123456789/0123456789/0123456789/0123456789/0123456789"
}

@test "by an alias in namespaces: the state stays as it is, and each fork sees its own files" {
	vmctl_yaml 'alias: namespace'
	adopts_and_runs "$BATS_TEST_TMPDIR/some where/else" alias
	assert_equal "$(vmctl stats -o json | jq .counters.forks.alias)" 10
	assert_equal "$(vmctl snapshot inspect old/base | jq -r '.relocation, .alias_path' | xargs)" \
		"alias $BATS_TEST_TMPDIR/some where/else"
	assert_equal "$(cmp foreign.state "$(vmctl snapshot inspect old/base | jq -r .directory)/vmstate")" ''
	run -8 vmctl snapshot export old/base -o image
}

@test "by an alias with a link, one after the other" {
	vmctl_yaml 'alias: symlink'
	adopts_and_runs "$BATS_TEST_TMPDIR/else" alias
	assert_equal "$(vmctl stats -o json | jq .counters.forks.alias)" 10
}

@test "what cannot be shown as one directory is no alias" {
	make_foreign "$PWD/old" 1
	run -2 vmctl snapshot adopt old --state foreign.state --memory foreign.memory \
		--disk d0=foreign.0 --relocate no
	# Two directories.
	vmctl state rewrite foreign.state --path "$PWD/old/v.sock=$PWD/ald/v.sock" --to two.state
	run -8 vmctl snapshot adopt old --state two.state --memory foreign.memory \
		--disk d0=foreign.0 --relocate alias
	assert_output --partial 'are in two'
	assert_equal "$(vmctl snapshot ls -q)" ''
	vmctl snapshot adopt old --state two.state --memory foreign.memory --disk d0=foreign.0 \
		--relocate rewrite
	assert_clean
}

@test "an adopted image says where it came from, and what is counted agrees" {
	make_foreign "$PWD/old"
	vmctl snapshot adopt old/first --state foreign.state --memory foreign.memory \
		--disk d0=foreign.0 --vcpus 1 --comment 'from the old host' --label from=old
	assert_equal "$(vmctl snapshot inspect old/first | jq -r '.relocation, .comment, .guest_cid' | xargs)" \
		'rewrite from the old host 77'
	vmctl snapshot fork old/first -n 3 --name 'f-{}'
	assert_equal "$(vmctl events -o json f-1 | jq -r .relocation)" rewrite
	assert_equal "$(vmctl stats -o json | jq .counters.forks.rewrite)" 3
	# Without a kernel it goes on, but does not boot.
	run -6 vmctl snapshot fork old/first cold --target-state stopped
	assert_output --partial 'adopted without a kernel'
	vmctl stop --force f-1
	run -6 vmctl start f-1
	assert_output --partial 'f-1: it was adopted without a kernel'
	vmctl snapshot adopt old/second --state foreign.state --memory foreign.memory \
		--disk d0=foreign.0 --kernel "$guest"
	vmctl snapshot fork old/second warm
	vmctl stop --force warm
	vmctl start warm
	wait_for has_ticked warm
	# The user's files are the user's: changed now, nothing happens to what was made of them.
	: >foreign.memory
	vmctl snapshot fork old/first again
	wait_for ticked_past again "$foreign_tick"
}

@test "what does not fit is told before anything is copied" {
	local before
	make_foreign "$PWD/old" 2
	vmctl create web --kernel "$guest"
	before=$(snapshot_root)
	refuses() {
		local code=$1 message=$2
		shift 2
		run "-$code" vmctl snapshot adopt old "$@"
		assert_output --partial "$message"
		assert_equal "$(snapshot_root)" "$before"
	}
	refuses 2 'both --state FILE and --memory FILE' --state foreign.state
	refuses 2 "$PWD/old/disk1.raw (d1)" --state foreign.state --memory foreign.memory --disk d0=foreign.0
	refuses 2 "no drive 'd7'" --state foreign.state --memory foreign.memory --disk d0=foreign.0 \
		--disk d1=foreign.1 --disk d7=foreign.1
	refuses 2 'no-such-file' --state foreign.state --memory foreign.memory --disk d0=no-such-file \
		--disk d1=foreign.1
	refuses 2 'no-such-file' --state no-such-file --memory foreign.memory
	refuses 2 'is not RECORDED=FILE' --state foreign.state --memory foreign.memory --disk foreign.0
	truncate -s 8M short.memory
	refuses 11 'short.memory has 8388608 bytes, the state says 16777216' --state foreign.state \
		--memory short.memory --disk d0=foreign.0 --disk d1=foreign.1
	head -c 9000 foreign.state >cut.state
	refuses 10 'checksum' --state cut.state --memory foreign.memory
	refuses 8 'does not begin like one' --state "$guest" --memory foreign.memory
	refuses 8 'does not begin like one' --state foreign.memory --memory foreign.memory
	refuses 8 "a network device on the interface 'fctap0'" --memory foreign.memory --disk d0=foreign.0 \
		--state "$top/test/fixtures/vmstate/1.12.1/net2.vmstate"
	run -2 vmctl snapshot adopt Old --state foreign.state --memory foreign.memory
	run -2 vmctl snapshot adopt old/a/b --state foreign.state --memory foreign.memory
	vmctl snapshot adopt old --state foreign.state --memory foreign.memory \
		--disk d0=foreign.0 --disk d1=foreign.1
	before=$(snapshot_root)
	refuses 4 "a snapshot 'old/base' exists already" --state foreign.state --memory foreign.memory \
		--disk d0=foreign.0 --disk d1=foreign.1
	assert_clean
}
