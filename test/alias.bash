# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # bats sets output, stderr and lines
# A saved state with absolute paths in it, made by a VMM that vmctl has nothing to do with, as an image
# that can only be loaded through an alias. `load alias` after `load helpers`.

# record_state DIRECTORY: boots the guest there by hand, every path absolute, and saves it: rootfs.img,
# v.sock, saved.memory, saved.state. The VMM is ended.
record_state() {
	local dir=$1 vmm
	mkdir -p "$dir"
	truncate -s 1M "$dir/rootfs.img"
	: >"$dir/console"
	(cd "$dir" && exec "$VMCTL_FIRECRACKER" --id by-hand --api-sock vmm.sock >console 2>log 3>&-) &
	vmm=$!
	wait_for accepts_at "$dir"
	request_at "$dir" PUT /machine-config '{"vcpu_count":1,"mem_size_mib":16}'
	request_at "$dir" PUT /boot-source "{\"kernel_image_path\":\"$guest\",
		\"boot_args\":\"console=ttyS0 reboot=k panic=1 pci=off\"}"
	request_at "$dir" PUT /drives/root "{\"drive_id\":\"root\",\"path_on_host\":\"$dir/rootfs.img\",
		\"is_root_device\":true,\"is_read_only\":false}"
	request_at "$dir" PUT /vsock "{\"guest_cid\":77,\"uds_path\":\"$dir/v.sock\"}"
	request_at "$dir" PUT /actions '{"action_type":"InstanceStart"}'
	wait_for grep -q '^tick' "$dir/console"
	request_at "$dir" PATCH /vm '{"state":"Paused"}'
	request_at "$dir" PUT /snapshot/create "{\"snapshot_type\":\"Full\",
		\"snapshot_path\":\"$dir/saved.state\",\"mem_file_path\":\"$dir/saved.memory\"}"
	kill -9 "$vmm"
	wait "$vmm" || true
	rm -f "$dir/vmm.sock" "$dir/v.sock" "$dir/log"
}

# alias_row ID DIRECTORY [FILES]: makes the instance or image of that id, whose spec is the same, one of
# that state. FILES: where they are now, if not in DIRECTORY.
alias_row() {
	local id=$1 path=$2 dir=${3:-$2} own
	own=$(find "$VMCTL_ROOT/guests" "$VMCTL_ROOT/images" -maxdepth 1 -name "$id")
	rm "$own/memory" "$own/disk-root.img"
	cp --sparse=always "$dir/saved.memory" "$own/memory"
	cp "$dir/saved.state" "$own/vmstate"
	cp --sparse=always "$dir/rootfs.img" "$own/disk-root.img"
	ln -s disk-root.img "$own/rootfs.img"
	ln -s v.sock "$own/vsock.sock"
	sqlite3 "$VMCTL_ROOT/vmctl.db" "UPDATE instance SET relocation = 'alias', alias_path = '$path',
		guest_cid = 77 WHERE id = '$id'"
}

# make_alias_image INSTANCE NAME DIRECTORY: INSTANCE is made, in standby, and its image INSTANCE/NAME.
make_alias_image() {
	local name=$1 image=$2 dir=$3
	[ -d "$dir" ] || record_state "$dir" >/dev/null
	vmctl create "$name" --kernel "$guest" --memory 16M --disk size=1M --start >/dev/null
	vmctl snapshot create "$name" "$image" >/dev/null
	vmctl stop --force "$name" >/dev/null
	alias_row "$(vmctl snapshot inspect "$name/$image" | jq -r .id)" "$dir"
}

# What a directory holds, as far as it may not change.
contents_of() {
	(cd "$1" && find . -printf '%p %y %m %s %i %T@\n' | sort)
}

# assert_own_files NAME: its VMM has this instance's disk open and no other's, and its vsock socket is in
# its own directory.
assert_own_files() {
	local dir pid own found
	dir=$(dir_of "$1")
	pid=$(field "$1" .pid)
	own=$(stat -c '%d:%i' "$dir/disk-root.img")
	found=$(for fd in "/proc/$pid/fd"/*; do stat -L -c '%d:%i %n' "$fd"; done |
		while read -r file fd; do [[ $(readlink "$fd") = *.img ]] && echo "$file"; done | sort -u)
	assert_equal "$found" "$own"
	assert [ -S "$dir/v.sock" ]
	assert [ "$(readlink "$dir/vsock.sock")" = v.sock ]
}

# alias_count: the counter of loads through an alias, and events that say so.
alias_count() {
	vmctl stats -o json | jq '.counters.alias_fallbacks'
}

# The recorded directory is the one of the instance src, which is stopped.
make_alias_of_instance() {
	vmctl create src --kernel "$guest" --memory 16M --disk size=1M --start
	vmctl snapshot create src base
	vmctl stop --force src
	recorded=$(dir_of src)
	record_state "$recorded" >/dev/null
	mkdir copied
	mv "$recorded"/{rootfs.img,saved.*,console} copied/
	alias_row "$(vmctl snapshot inspect src/base | jq -r .id)" "$recorded" copied
}
