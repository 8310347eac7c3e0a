# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Data roots on filesystems of their own: `load mounts` after `load helpers`; needs root. The test's
# teardown() calls vm_teardown, and then unmount_root.

# missing WHAT: a reason to skip on a user's machine, a failure in CI.
missing() {
	[ "${CI:-}" != true ] || fail "$1 is needed"
	skip "needs $1"
}

# mount_root SIZE TYPE [mkfs options...]: the data root is a filesystem of that size and type.
# MOUNT_OPTIONS: for mount -o.
mount_root() {
	local size=$1 type=$2
	shift 2
	command -v "mkfs.$type" >/dev/null || missing "mkfs.$type"
	[ "$(id -u)" = 0 ] || missing root
	truncate -s "$size" image
	"mkfs.$type" -q "$@" image >/dev/null
	mkdir -m 0700 root
	loop=$(losetup -f --show image) || missing 'a loop device'
	mount -t "$type" -o "${MOUNT_OPTIONS:-rw}" "$loop" root || missing "a kernel with $type"
	chmod 0700 root
}

unmount_root() {
	local status=0
	cd / || status=1
	if mountpoint -q "$BATS_TEST_TMPDIR/root"; then
		umount "$BATS_TEST_TMPDIR/root" || status=1
	fi
	if [ -n "${loop:-}" ]; then
		losetup -d "$loop" || status=1
	fi
	return $status
}
