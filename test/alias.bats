#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154,SC2030,SC2031,SC2317 # bats sets output, stderr and lines; each test is a subshell
# Saved states that name another directory and cannot be rewritten: while they are loaded, that directory
# is the instance's own (docs/relocation.md).

load helpers
load alias

setup() {
	vm_setup
	needs state_rewrite
	recorded=$PWD/recorded
	readers=()
}

teardown() {
	local pid
	for pid in "${readers[@]}"; do
		kill "$pid" 2>/dev/null || true
	done
	vm_teardown
}

# Reads what there is to read, over and over; says so if something is not there.
read_on() {
	while :; do
		{
			vmctl logs "$1"
			vmctl inspect "$1"
			vmctl snapshot ls
			vmctl fork "$1" "r$BASHPID" --target-state stopped && vmctl rm "r$BASHPID"
		} >/dev/null 2>>reader.errors
		: >have-read
	done
}

# start_readers NAME
start_readers() {
	local i
	: >reader.errors
	for i in 1 2; do
		read_on "$1" 3>&- &
		readers+=("$!")
	done
	wait_for test -e have-read
}

stop_readers() {
	kill "${readers[@]}" 2>/dev/null || true
	wait "${readers[@]}" 2>/dev/null || true
	readers=()
	assert_equal "$(cat reader.errors)" ''
}

# Many at once by that method: all run, each with its own files, and the directory is as it was.
many_at_once() {
	local i pids=() before
	vmctl_yaml "alias: $1"
	make_alias_image src base "$recorded"
	echo 'of somebody else' >"$recorded/notes"
	before=$(contents_of "$recorded")
	start_readers src
	for i in $(seq 8); do
		vmctl snapshot fork src/base "web$i" >/dev/null 3>&- &
		pids+=("$!")
	done
	wait_all "${pids[@]}"
	assert_equal "$(count_status 0)" 8
	pids=()
	for i in $(seq 8); do
		assert_own_files "web$i"
		vmctl standby "web$i" >/dev/null
	done
	for i in $(seq 8); do
		vmctl restore "web$i" >/dev/null 3>&- &
		pids+=("$!")
	done
	wait_all "${pids[@]}"
	assert_equal "$(count_status 0)" 8
	stop_readers
	for i in $(seq 8); do
		assert_own_files "web$i"
	done
	assert_equal "$(contents_of "$recorded")" "$before"
	assert_equal "$(alias_count)" 16
	assert_equal "$(vmctl events -o json | jq -s "flatten | map(select(.relocation == \"alias\" and
		.message == \"alias: $1\")) | length")" 16
	assert_clean
}

@test "eight forks and eight restores at once by namespace, with readers" {
	many_at_once namespace
}

@test "eight forks and eight restores at once by symbolic link, with readers" {
	many_at_once symlink
	assert_equal "$(find "$VMCTL_ROOT/run" "$VMCTL_ROOT/locks" -name '*.alias*')" ''
}

@test "one fork of many warns once, and says how; inspect shows the directory" {
	make_alias_image src base "$recorded"
	run --separate-stderr vmctl snapshot fork src/base -n 4 --name 'web-{}'
	assert_equal "$status" 0
	assert_equal "$(grep -c 'warning: .* names files in' <<<"$stderr")" 1
	for i in 1 2 3 4; do
		assert_own_files "web-$i"
		assert_equal "$(field "web-$i" '"\(.relocation) \(.alias_path)"')" "alias $recorded"
		wait_for has_ticked "web-$i"
	done
	assert_equal "$(vmctl stats -o json | jq .counters.forks.alias)" 4
}

@test "a recorded directory that is gone is made for nobody to see" {
	local method
	recorded=$PWD/a/b/recorded
	make_alias_image src base "$recorded"
	rm -r a
	for method in namespace symlink; do
		vmctl_yaml "alias: $method"
		vmctl snapshot fork src/base "$method"
		assert_own_files "$method"
		assert [ ! -e a ]
		wait_for has_ticked "$method"
		vmctl fork "$method" "$method-2" --from-running
		assert_own_files "$method-2"
		assert [ ! -e a ]
	done
	assert_clean
}

@test "so is one of which not even the first directory is there" {
	# Recorded in a namespace, the path is one that this host does not have.
	[ "$(id -u)" = 0 ] || skip 'needs root'
	recorded=/vmctl-no-such-directory/recorded
	record_state "$PWD/recorded-1" >/dev/null
	assert [ ! -e /vmctl-no-such-directory ]
	mkdir there
	export -f record_state wait_for request_at open_vmm close_vmm accepts_at
	# shellcheck disable=SC2016 # for the other shell
	unshare -m --propagation private bash -c 'set -e
		mount -t tmpfs none /mnt
		mkdir /mnt/root /mnt/root/vmctl-no-such-directory
		for d in /*; do [ -d "$d" ] && [ ! -L "$d" ] && [ "$d" != /mnt ] || continue
			mkdir "/mnt/root$d"; mount --rbind "$d" "/mnt/root$d"; done
		for d in /*; do [ ! -L "$d" ] || cp -P "$d" /mnt/root/; done
		mount --bind "$1" /mnt/root/vmctl-no-such-directory
		guest=$2 WAIT_SECONDS=60 chroot /mnt/root bash -c "record_state $3"' \
		bash "$PWD/there" "$guest" "$recorded" >/dev/null
	vmctl create src --kernel "$guest" --memory 16M --disk size=1M --start
	vmctl standby src
	cp -r there/recorded copied
	alias_row "$(field src .id)" "$recorded" copied
	vmctl_yaml 'alias: namespace'
	vmctl restore src
	assert_own_files src
	vmctl fork src web --from-running
	assert_own_files web
	vmctl snapshot create web kept
	vmctl snapshot fork web/kept third
	assert_own_files third
	assert [ ! -e /vmctl-no-such-directory ]
}

@test "a state saved by a VMM with an alias is one again, until the instance boots" {
	local method
	make_alias_image src base "$recorded"
	for method in namespace symlink; do
		vmctl_yaml "alias: $method"
		vmctl snapshot fork src/base "$method"
		vmctl standby "$method"
		vmctl restore "$method"
		vmctl fork "$method" "$method-2" --from-running
		vmctl snapshot create "$method-2" kept
		vmctl standby "$method-2"
		vmctl fork "$method-2" "$method-3"
		vmctl stop --discard "$method-2"
		vmctl snapshot restore "$method-2" kept
		assert_equal "$(field "$method-2" '"\(.state) \(.relocation) \(.alias_path)"')" \
			"standby alias $recorded"
		vmctl restore "$method-2"
		for name in "$method" "$method-2" "$method-3"; do
			assert_own_files "$name"
			wait_for has_ticked "$name"
			assert_equal "$(boots_of "$name")" 0
		done
		vmctl stop --force "$method-2"
		vmctl start "$method-2"
		assert_equal "$(field "$method-2" '"\(.relocation) \(.alias_path)"')" 'null null'
		assert_equal "$(find "$(dir_of "$method-2")" -type l)" ''
		vmctl standby "$method-2"
		vmctl restore "$method-2"
		assert_equal "$(field "$method-2" .relocation)" null
		# And back to one that is.
		vmctl standby "$method-2"
		vmctl stop --discard "$method-2"
		vmctl snapshot restore "$method-2" kept
		vmctl restore "$method-2"
		assert_own_files "$method-2"
	done
	assert_clean
}

@test "a directory whose files somebody has open is not replaced, and the standby stays" {
	local before
	vmctl_yaml 'alias: symlink'
	make_alias_image src base "$recorded"
	vmctl snapshot fork src/base web --target-state standby
	before=$(contents_of "$recorded")
	exec 9<>"$recorded/rootfs.img"
	run -5 vmctl restore --no-wait web
	assert_output --partial "$recorded is in use by pid"
	run -5 vmctl snapshot fork --wait=0.2 src/base other
	assert_equal "$(contents_of "$recorded")" "$before"
	# A namespace takes nothing away from anybody.
	vmctl_yaml 'alias: namespace'
	vmctl restore web
	assert_own_files web
	vmctl standby web
	exec 9>&-
	vmctl_yaml 'alias: symlink'
	vmctl restore web
	assert_own_files web
	assert_clean
}

@test "where the directory is another instance's, that one must be at rest, and its readers wait" {
	local i pids=() before
	make_alias_of_instance
	before=$(contents_of "$recorded")
	vmctl_yaml 'alias: symlink'
	start_readers src
	for i in $(seq 4); do
		vmctl snapshot fork src/base "web$i" >/dev/null 3>&- &
		pids+=("$!")
	done
	wait_all "${pids[@]}"
	assert_equal "$(count_status 0)" 4
	stop_readers
	for i in $(seq 4); do
		assert_own_files "web$i"
	done
	assert_equal "$(contents_of "$recorded")" "$before"
	vmctl start src
	run -5 vmctl snapshot fork src/base other
	assert_output --partial 'the directory of an instance whose VMM is alive'
	assert_equal "$(guest_state src)" Running
	run -3 vmctl inspect other
	# That is no matter in a namespace.
	vmctl_yaml 'alias: namespace'
	vmctl snapshot fork src/base other
	assert_own_files other
	wait_for has_ticked src
	assert_clean
}

@test "a VMM that has opened other files than the instance's is ended before its guest runs" {
	local method image
	make_alias_image src base "$recorded"
	image=$(vmctl snapshot inspect src/base | jq -r .directory)
	cp "$image/disk-root.img" other.img
	sum=$(sha256sum <other.img)
	rm "$image/rootfs.img"
	cp other.img "$image/rootfs.img"
	for method in namespace symlink; do
		vmctl_yaml "alias: $method"
		run vmctl snapshot fork src/base web
		assert [ "$status" != 0 ]
		vmctl snapshot fork src/base web --target-state standby
		cp other.img "$(dir_of web)/rootfs.img"
		run -11 vmctl restore web
		assert_output --partial 'has not opened disk-root.img of this instance'
		assert_equal "$(state_of web)" standby
		assert_equal "$(live_vmms)" 0
		assert_equal "$(sha256sum <"$(dir_of web)/rootfs.img")" "$sum"
		ln -sf disk-root.img "$(dir_of web)/rootfs.img"
		vmctl restore web
		assert_own_files web
		vmctl rm --force web
	done
}

@test "two data roots that want one directory do so one after the other" {
	vmctl_yaml 'alias: symlink'
	make_alias_image src base "$recorded"
	exec 8<.
	flock 8
	run -5 vmctl snapshot fork --no-wait src/base web
	assert_output --partial "$PWD is locked by another process"
	vmctl snapshot fork --wait=forever src/base web >/dev/null 3>&- 8<&- &
	flock -u 8
	wait $!
	assert_own_files web
}

@test "where namespaces are not permitted it is done by a link, and doctor says so" {
	[ "$(id -u)" = 0 ] || skip 'needs root'
	make_alias_image src base "$recorded"
	barred() {
		unshare --user --map-root-user bash -c 'echo 0 >/proc/sys/user/max_mnt_namespaces
			exec "$@"' bash "$@"
	}
	barred vmctl snapshot fork src/base web
	assert_own_files web
	assert_equal "$(vmctl events -o json | jq -s -r 'flatten | .[-1].message')" 'alias: symlink'
	run barred vmctl doctor
	assert_output --partial 'WARN   alias         a VMM can have no mount namespace of its own (making a'
	run vmctl doctor
	assert_output --partial 'OK     alias         a VMM can have a mount namespace of its own'
	vmctl_yaml 'alias: namespace'
	run -8 barred vmctl snapshot fork src/base other
	assert_output --partial 'mount namespaces are not permitted here'
}

@test "without CAP_SYS_ADMIN it is a user namespace" {
	[ "$(id -u)" = 0 ] || skip 'needs root'
	[ "$(cat /proc/sys/user/max_user_namespaces)" != 0 ] || skip 'needs user namespaces'
	vmctl_yaml 'alias: namespace'
	make_alias_image src base "$recorded"
	setpriv --bounding-set -sys_admin --inh-caps -sys_admin vmctl snapshot fork src/base web
	assert_own_files web
	rm -r recorded
	setpriv --bounding-set -sys_admin --inh-caps -sys_admin vmctl snapshot fork src/base other
	assert_own_files other
	assert [ ! -e recorded ]
	assert [ "$(readlink "/proc/$(field web .pid)/ns/user")" != "$(readlink /proc/self/ns/user)" ]
	vmctl standby web
	vmctl restore web
	assert_own_files web
}

# For one who may not open /dev/kvm on this machine there is another one of it, for him alone.
as_user() {
	# shellcheck disable=SC2016 # for the other shell
	unshare -m --propagation private bash -c 'mount -t tmpfs none /mnt
		mknod -m 0666 /mnt/kvm c 10 232 && mount --bind /mnt/kvm /dev/kvm || exit
		exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"' bash "$@"
}

@test "an ordinary user can do it, too" {
	[ "$(id -u)" = 0 ] || skip 'needs root'
	[ "$(cat /proc/sys/user/max_user_namespaces)" != 0 ] || skip 'needs user namespaces'
	vmctl_yaml 'alias: namespace'
	make_alias_image src base "$recorded"
	# He must get there; what lies above the project is not ours to open.
	dir=$BATS_TEST_TMPDIR
	while [ "$dir" != "$top" ] && [ -O "$dir" ] && [ "$dir" != / ]; do
		chmod a+x "$dir"
		dir=$(dirname "$dir")
	done
	chown -R 65534:65534 "$BATS_TEST_TMPDIR"
	# Root, who looks below, does not go by the settings of others.
	chown 0:0 "$VMCTL_ROOT/vmctl.yaml"
	chmod 0644 "$VMCTL_ROOT/vmctl.yaml"
	rm -f "/dev/shm/sem.vmctl-$(root_id)"-* "/dev/shm/vmctl-$(root_id).root"
	as_user test -x "$VMCTL_FIRECRACKER" || skip 'nobody else can execute this Firecracker'
	as_user vmctl snapshot fork src/base web
	assert_own_files web
	rm -r recorded
	as_user vmctl fork web other --from-running
	assert_own_files other
	as_user vmctl standby web
	as_user vmctl restore web
	assert_own_files web
	assert_equal "$(stat -c %u "/proc/$(field web .pid)")" 65534
	as_user vmctl rm --force web other src
}

@test "paths that cannot be another directory are refused" {
	local path
	make_alias_image src base "$recorded"
	vmctl snapshot fork src/base web --target-state standby
	for path in / relative /a//b /a/../b /a/. /a/; do
		sqlite3 "$VMCTL_ROOT/vmctl.db" "UPDATE instance SET alias_path = '$path' WHERE name = 'web'"
		run -8 vmctl restore web
		assert_output --partial 'cannot be the directory of an alias'
	done
	vmctl_yaml 'alias: symlink'
	sqlite3 "$VMCTL_ROOT/vmctl.db" "UPDATE instance SET alias_path = '$VMCTL_ROOT' WHERE name = 'web'"
	run -8 vmctl restore web
	assert_output --partial 'holds the data root'
	vmctl_yaml 'alias: namespace'
	sqlite3 "$VMCTL_ROOT/vmctl.db" "UPDATE instance SET alias_path = '/dev/vmctl' WHERE name = 'web'"
	run -8 vmctl restore web
	assert_output --partial '/dev/vmctl cannot be shown as another directory'
	vmctl_yaml 'alias: links'
	run -2 vmctl ls
	assert_output --partial "'links' is none of auto, namespace, symlink"
	rm "$VMCTL_ROOT/vmctl.yaml"
}
