#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # bats sets output, stderr and lines
# vmctl state: what state files record, and the same with other paths; loaded by a real VMM.

load helpers
load foreign

setup() {
	vm_setup
	fixtures=$top/test/fixtures/vmstate
}

teardown() {
	local pid pids=()
	[ ! -e vmm.pids ] || mapfile -t pids <vmm.pids
	for pid in "${pids[@]}"; do
		kill -9 "$pid" 2>/dev/null || true
	done
	vm_teardown
}

# All fixtures, below their directory.
all_states() {
	(cd "$fixtures" && find . -name '*.vmstate' | sort)
}

@test "show tells format, memory, vCPUs, CID and every path" {
	run -0 vmctl state show "$fixtures/1.12.1/initrd.vmstate"
	assert_line --index 0 "format     6.0.0 (bincode), of firecracker 1.12"
	assert_line --index 1 "memory     8.0M"
	assert_line --index 2 "vcpus      1"
	assert_line --index 3 "guest CID  3"
	assert_line --regexp '^initrd +- +- +initrd.img$'
	assert_line --regexp '^disk +d_0 +root,ro +root fs.img$'
	assert_line --regexp '^boot_args +- +- +/sbin/init$'
	assert_line --regexp '^vsock +- +- +vsock.sock$'
	[ ! -e "$VMCTL_ROOT" ]
}

@test "show as JSON has stable keys, and null for what there is not" {
	vmctl state show -o json "$fixtures/made/pmem.vmstate" >shown
	assert_equal "$(jq -rc keys_unsorted shown)" '["file","hypervisor","hypervisor_version","format","encoding","memory_bytes","vcpus","guest_cid","network_devices","tap","paths"]'
	assert_equal "$(jq -rc '.paths[] | select(.kind == "pmem") | [.id, .root, .read_only, .path]' shown)" \
		'["p0",false,true,"pmem.img"]'
	assert_equal "$(jq -rc '.paths[] | select(.kind == "kernel") | [.id, .root, .read_only]' shown)" \
		'[null,null,null]'
	assert_equal "$(vmctl state show -o json "$fixtures/1.12.1/bare.vmstate" | jq -c '[.guest_cid, (.paths | length)]')" \
		'[null,1]'
}

@test "check is content with every state, and reports each that is not" {
	local states
	mapfile -t states < <(all_states)
	cd "$fixtures"
	run -0 vmctl state check "${states[@]}"
	assert_equal "$(grep -c ': ok, format ' <<<"$output")" "${#states[@]}"
	cd "$BATS_TEST_TMPDIR"
	head -c 9000 "$fixtures/1.12.1/basic.vmstate" >cut.state
	run -10 vmctl state check cut.state
	assert_output --partial 'cut.state: state file is damaged'
	run -8 vmctl state check "$guest"
	assert_output --partial 'does not begin like one'
	run -3 vmctl state check none
	: >empty
	run -8 vmctl state check empty
	run -3 vmctl state check "$fixtures/none/none"
	run -10 vmctl state check .
	mkfifo pipe
	run -10 vmctl state check pipe
	# the first failure decides, the good ones are told all the same
	run -10 --separate-stderr vmctl state check cut.state "$fixtures/1.12.1/basic.vmstate" none
	assert_equal "${#lines[@]}" 1
	assert_equal "$(grep -c '^vmctl-state: ' <<<"$stderr")" 2
	vmctl state check -o json "$fixtures"/1.16.1/*.vmstate | jq -e 'length == 5 and all(.encoding == "bitcode")'
}

@test "rewrite: exact, by prefix with its boundary, relative, and the CID" {
	local old=/var/lib/vmctl/1.16.1/guests/tttttttttttttttttttttttt
	cp "$fixtures/1.16.1/drv3.vmstate" state
	run -0 vmctl state rewrite state --path "$old/data.img=/data" --prefix "$old=/x" --cid 70000 --to new
	assert_line "disk d1: $old/data.img -> /data"
	assert_line "disk d0: $old/rootfs.ext4 -> /x/rootfs.ext4"
	assert_line "vsock: $old/vsock.sock -> /x/vsock.sock"
	assert_line "guest CID: 439041101 -> 70000"
	assert_equal "$(vmctl state show -o json new | jq -r '.guest_cid, (.paths[] | .path)' | xargs)" \
		"70000 /x/vmlinux /data /x/rootfs.ext4 /x/third.img /x/vsock.sock"
	run -0 vmctl state rewrite new --prefix "/x=$old" --path "/data=$old/data.img" --cid 439041101 --to back
	cmp state back
	run -3 vmctl state rewrite state --prefix "${old%t}=/x" --to no
	run -0 vmctl state rewrite state --relative --in-place
	assert_equal "$(stat -c %s state)" "$(stat -c %s back)"
	assert_equal "$(vmctl state show -o json state | jq -r '.paths[] | .path' | sed 's|^[./]*/||' | sort | xargs)" \
		"disk-d0.img disk-d1.img disk-d2.img kernel vsock.sock"
	vmctl state rewrite back --relative --to new2 -o json |
		jq -e '.file == "new2" and (.paths | length) == 5 and .guest_cid == null and (.paths[0] | keys == ["from", "id", "kind", "to"])'
	[ ! -e no ]
	[ ! -e "$VMCTL_ROOT" ]
}

@test "rewrite: what is refused leaves nothing behind" {
	cp "$fixtures/1.12.1/initrd.vmstate" state
	mkdir sub
	before=$(ls -Ai1 . sub; sha256sum state)
	refuses() {
		local code=$1 message=$2
		shift 2
		run "-$code" vmctl state rewrite "$@"
		assert_output --partial "$message"
		assert_equal "$(ls -Ai1 . sub; sha256sum state)" "$before"
	}
	refuses 2 'either --to FILE or --in-place' state --relative
	refuses 2 'either --to FILE or --in-place' state --relative --in-place --to new
	refuses 2 'nothing is to be changed' state --in-place
	refuses 2 'not of the form OLD=NEW' state --path vmlinux --to new
	refuses 2 '--cid' state --cid 2 --to new
	refuses 2 'must have 1 to' state --path vmlinux= --to new
	refuses 2 'must have 1 to 107' state --path "vsock.sock=$(printf '%0108d' 0)" --to new
	refuses 2 'boot arguments' state --path /sbin/init=/x --to new
	refuses 3 'records no such path' state --prefix /g=/x --to new
	refuses 4 'exists' state --relative --to state
	refuses 4 'exists' state --relative --to sub
	refuses 2 'no name for a file' state --relative --to sub/
	refuses 1 'none/new' state --relative --to none/new || refuses 1 'none' state --relative --to none/new
	refuses 11 'without vsock' "$fixtures/1.12.1/bare.vmstate" --cid 9 --to new
	refuses 8 'does not begin like one' "$guest" --relative --to new
}

@test "rewrite in place writes another file: a hard link keeps what it was" {
	cp "$fixtures/1.12.1/basic.vmstate" state
	ln state kept
	ln -s state link
	run -0 vmctl state rewrite link --cid 9 --in-place
	cmp kept "$fixtures/1.12.1/basic.vmstate"
	assert_equal "$(readlink link)" state
	assert_equal "$(vmctl state show -o json state | jq .guest_cid)" 9
	assert_equal "$(ls -A)" $'kept\nlink\nstate'
}

# loads_in DIRECTORY STATE: a VMM that works there loads and resumes it, and has only that
# directory's files open.
loads_in() {
	local dir=$1 state=$2 pid open
	(cd "$dir" && exec "${VMCTL_FIRECRACKER:-firecracker}" --api-sock vmm.sock >vmm.log 2>&1 3>&- </dev/null) &
	pid=$!
	echo "$pid" >>vmm.pids
	wait_for accepts_at "$dir"
	request_at "$dir" PUT /snapshot/load "{\"snapshot_path\": \"$PWD/$state\", \"mem_backend\":
		{\"backend_type\": \"File\", \"backend_path\": \"$PWD/foreign.memory\"}, \"resume_vm\": true}"
	wait_for grep -q '^tick' "$dir/vmm.log"
	vm_config=$(request_at "$dir" GET /vm/config)
	open=$(find -L "/proc/$pid/fd" -type f -printf '%D:%i\n' 2>/dev/null | sort -u)
	assert grep -qx "$(stat -c '%d:%i' "$3")" <<<"$open"
	assert grep -qx "$(stat -c '%d:%i' "$4")" <<<"$open"
	assert [ -S "$5" ]
	kill -9 "$pid"
	wait "$pid" || true
}

@test "a VMM loads what was rewritten: relative and of equal length, longer, shorter" {
	needs state_rewrite
	local old=$PWD/old/dir long
	make_foreign "$old" 2
	rm -rf old
	long=$PWD/$(printf 'd%.0s' {1..200})/$(printf 'e%.0s' {1..200})

	mkdir here
	cp foreign.0 here/disk-d0.img
	cp foreign.1 here/disk-d1.img
	vmctl state rewrite foreign.state --relative --cid 4000 --to relative.state
	assert_equal "$(stat -c %s relative.state)" "$(stat -c %s foreign.state)"
	loads_in here relative.state here/disk-d0.img here/disk-d1.img here/vsock.sock
	assert_equal "$(jq .vsock.guest_cid <<<"$vm_config")" 4000

	mkdir -p "$long" there
	cp foreign.0 "$long/disk0.raw"
	cp foreign.1 "$long/a b=c.raw"
	vmctl state rewrite foreign.state --path "$old/disk1.raw=$long/a b=c.raw" \
		--path "$old/disk0.raw=$long/disk0.raw" --path "$old/v.sock=v.sock" --to longer.state
	assert [ "$(stat -c %s longer.state)" -gt "$(stat -c %s foreign.state)" ]
	loads_in there longer.state "$long/disk0.raw" "$long/a b=c.raw" there/v.sock
	assert_equal "$(jq .vsock.guest_cid <<<"$vm_config")" 77

	mkdir -p yonder/s
	cp foreign.0 yonder/s/disk0.raw
	cp foreign.1 yonder/s/disk1.raw
	# "./s" is shorter, so it is padded; an absolute one is not
	dir=$(mktemp -d /tmp/s.XXXXXX)
	cp foreign.0 "$dir/disk0.raw"
	vmctl state rewrite foreign.state --path "$old/disk0.raw=$dir/disk0.raw" --prefix "$old=./s" --to shorter.state
	assert [ "$(stat -c %s shorter.state)" -lt "$(stat -c %s foreign.state)" ]
	loads_in yonder shorter.state "$dir/disk0.raw" yonder/s/disk1.raw yonder/s/v.sock
	rm -rf "$dir"
}

@test "an adopted state with a padded socket path is forked with another CID" {
	needs state_rewrite
	make_foreign "$PWD/old" 1
	rm -rf old
	vmctl snapshot adopt web --state foreign.state --memory foreign.memory --disk d0=foreign.0
	vmctl snapshot fork web/base one --target-state standby
	vmctl state show -o json "$(dir_of one)/vmstate" >shown
	assert_equal "$(jq .guest_cid shown)" "$(field one .guest_cid)"
	assert_not_equal "$(jq -r '.paths[] | select(.kind == "vsock") | .path' shown)" vsock.sock
	vmctl restore one
	wait_for ticked_past one "$foreign_tick"
	assert_clean
}
