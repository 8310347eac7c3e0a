# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154,SC2034 # the helpers set guest; foreign_tick is for the test
# Snapshots that vmctl has not made: `load foreign` after `load helpers`.

# make_foreign DIRECTORY [DRIVES]: a guest in Firecracker, started by hand, with absolute paths below
# DIRECTORY, ticks, is saved to foreign.state and foreign.memory in the current directory, and its
# disks are copied there as foreign.0, foreign.1 ... What was in DIRECTORY stays there.
make_foreign() {
	local dir=$1 drives=${2:-1} i pid
	mkdir -p "$dir" api
	cp "$guest" "$dir/guest.elf"
	(cd api && exec "${VMCTL_FIRECRACKER:-firecracker}" --api-sock vmm.sock \
		>"$BATS_TEST_TMPDIR/foreign.log" 2>&1 3>&- </dev/null) &
	pid=$!
	wait_for accepts_at api
	request_at api PUT /machine-config '{"vcpu_count": 1, "mem_size_mib": 16}'
	request_at api PUT /boot-source "{\"kernel_image_path\": \"$dir/guest.elf\", \"boot_args\": \"\"}"
	for ((i = 0; i < drives; i++)); do
		truncate -s 1M "$dir/disk$i.raw"
		request_at api PUT "/drives/d$i" "{\"drive_id\": \"d$i\", \"path_on_host\": \"$dir/disk$i.raw\",
			\"is_root_device\": $([ $i = 0 ] && echo true || echo false), \"is_read_only\": false}"
	done
	request_at api PUT /vsock "{\"guest_cid\": 77, \"uds_path\": \"$dir/v.sock\"}"
	request_at api PUT /actions '{"action_type": "InstanceStart"}'
	wait_for grep -q '^tick' foreign.log
	request_at api PATCH /vm '{"state": "Paused"}'
	request_at api PUT /snapshot/create "{\"snapshot_type\": \"Full\", \"snapshot_path\":
		\"$PWD/foreign.state\", \"mem_file_path\": \"$PWD/foreign.memory\"}"
	for ((i = 0; i < drives; i++)); do
		cp "$dir/disk$i.raw" "foreign.$i"
	done
	kill -9 "$pid"
	wait "$pid" || true
	foreign_tick=$(whole_lines foreign.log | sed -n 's/^tick \([0-9]*\)$/\1/p' | tail -n 1)
}
