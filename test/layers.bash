# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # bats sets output
# Disks in layers (qcow2): `load layers` after `load helpers`.

# make_layered NAME [create options...]: a running instance with a qcow2 disk, whose guest ticks.
make_layered() {
	local name=$1
	shift
	vmctl create "$name" --kernel "$guest" --memory 16M --disk size=1M,format=qcow2 "$@" \
		--start >/dev/null
	wait_for has_ticked "$name"
}

disk_of() {
	echo "$(dir_of "$1")/disk-${2:-root}.img"
}

# The files that the disk of an instance lies on, from the nearest to the last, by what qemu-img says.
layers_of() {
	qemu-img info -U --backing-chain --output=json "$(disk_of "$1")" |
		jq -r '.[] | ."backing-filename" // empty'
}

# The counter that the guest has written, seen through all layers, also while it runs.
layered_counter() {
	rm -f seen.raw
	qemu-img convert -U -O raw "$(disk_of "$1")" seen.raw || return 1
	[ "$(dd if=seen.raw bs=1 skip=4096 count=8 2>/dev/null)" = VMCTLCNT ] || return 1
	od -A n -t u8 -j 4104 -N 8 seen.raw | tr -d ' '
}

# Of one that has no VMM: complete, without leaks, and every name that it lies on is in its directory.
assert_sound_layers() {
	local layer
	run -0 qemu-img check "$(disk_of "$1")"
	assert_output --partial 'No errors were found on the image.'
	for layer in $(layers_of "$1"); do
		[[ $layer =~ ^disk-root\.[a-z0-9]{24}\.layer$ ]] || fail "$layer"
		assert [ -f "$(dir_of "$1")/$layer" ]
		run -0 qemu-img check -U "$(dir_of "$1")/$layer"
	done
}

# The inodes of what others may share: frozen layers, with the sums of their content.
frozen_sums() {
	local layer
	for layer in $(layers_of "$1"); do
		sha256sum "$(dir_of "$1")/$layer"
	done | sed 's|/.*/||' | sort
}
