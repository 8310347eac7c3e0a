# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# For every bats file: `load helpers`, then `vm_setup` in setup() and `vm_teardown` in teardown().
# Each test has a data root of its own; whatever it leaves running is removed, and a leftover that
# vmctl itself would report fails the test.

bats_require_minimum_version 1.5.0
bats_load_library bats-support 2>/dev/null || load /usr/lib/bats/bats-support/load
bats_load_library bats-assert 2>/dev/null || load /usr/lib/bats/bats-assert/load
load vmm_api

# Nothing here waits for a fixed time: a condition is waited for, and this is when we give up.
WAIT_SECONDS=${WAIT_SECONDS:-60}

vm_setup() {
	if [ -n "${VMCTL_TEST_SKIP:-}" ]; then
		skip "$VMCTL_TEST_SKIP"
	fi
	top=$(cd "$BATS_TEST_DIRNAME/.." && pwd)
	PATH=$top/${VMCTL_BUILD:-build}/bin:$PATH
	guest=$top/build/guest/guest.elf
	export VMCTL_ROOT="$BATS_TEST_TMPDIR/root"
	# By name: the automatic choice would depend on the machine.
	export VMCTL_HYPERVISOR=${VMCTL_TEST_HYPERVISOR:-firecracker}
	unset VMCTL_CONFIG VMCTL_HOOK
	# Settings and hooks of whoever runs the tests are no business of theirs.
	export XDG_CONFIG_HOME=$BATS_TEST_TMPDIR/config
	cd "$BATS_TEST_TMPDIR" || return 1
}

vm_teardown() {
	local ids status=0
	[ -n "${VMCTL_ROOT:-}" ] && [ -e "$VMCTL_ROOT/vmctl.db" ] || return 0
	ids=$(vmctl ls -q)
	# shellcheck disable=SC2086 # a list of ids
	[ -z "$ids" ] || vmctl rm --force $ids >/dev/null || status=1
	rm -f "/dev/shm/sem.vmctl-$(root_id)"-* "/dev/shm/vmctl-$(root_id).root" || status=1
	return $status
}

# What the hypervisor under test cannot do is left out by what it says of itself, never by its name.
# What that means, for who reads the reason:
declare -g -A meaning_of=(
	[concurrent_fork_prepare]='several forks cannot be prepared from one source at once'
	[snapshot_keeps_running]='a guest does not go on after it was saved'
	[relative_paths]='saved states name files by absolute paths'
	[state_rewrite]='vmctl does not read its saved states'
	[cid_rewrite]='forks keep the guest CID of their source'
	[memory_shared_base]='several guests cannot map one memory file'
	[recycles_memory]='a save makes a memory file and does not write over one'
	[diff_snapshot]='it does not track dirty pages'
	[vsock_by_socket]="the host's end of a vsock is not a unix socket"
	[tells_crash]='a guest that crashed is not told from one that ended'
	[disk_qcow2]='no qcow2 disks'
	[network]='no network devices'
	[network_override]='a saved state keeps its tap device'
	[kernel_bzimage]='no compressed kernels'
	[graceful_shutdown]='guests cannot be asked to shut down'
)

# capability NAME: what the hypervisor under test says of it, by vmctl's own word.
capability() {
	local file=$BATS_FILE_TMPDIR/capabilities
	if [ ! -s "$file" ]; then
		# Of a data root that does not exist, so that it is the same whatever the test has made.
		VMCTL_ROOT=$BATS_FILE_TMPDIR/none vmctl doctor -o json >"$file.all" || true
		jq --arg name "$VMCTL_HYPERVISOR" '.[] | select(.check == $name) | .capabilities' \
			"$file.all" >"$file"
	fi
	json_value "$1" <"$file" || jq --arg name "$1" '.[$name]' "$file"
}

# json_value KEY: of an indented JSON object on standard input a number, a word or a plain text that is right in
# it, not in what is in there; fails where it is none of these. What is looked up at every step is so without
# jq, which takes ten times as long to start as vmctl.
json_value() {
	local json value
	IFS= read -r -d '' json || true
	[[ $'\n'$json =~ $'\n  "'$1$'": '([^$'\n']+) ]] || return
	value=${BASH_REMATCH[1]%,}
	case $value in
	[\[\{]* | *\\*) return 1 ;;
	esac
	value=${value#\"}
	printf '%s\n' "${value%\"}"
}

# can CAPABILITY: whether it has it. A test that asks for one that there is not fails, and ends here.
can() {
	case $(capability "$1") in
	true) return 0 ;;
	false) return 1 ;;
	esac
	echo "vmctl doctor does not tell whether $VMCTL_HYPERVISOR has $1" >&2
	exit 1
}

# needs CAPABILITY: skips the test on a hypervisor that does not have it.
needs() {
	can "$1" || skip "$VMCTL_HYPERVISOR: no $1 (${meaning_of[$1]})"
}

# lacks CAPABILITY: the contrary, for tests of what is said then.
lacks() {
	! can "$1" || skip "$VMCTL_HYPERVISOR: has $1 (not: ${meaning_of[$1]})"
}

# Whether instances get a vsock device, and so a guest CID, where nothing is said of it: the host's end
# of one that is no unix socket is a device of its kernel.
has_vsock() {
	can vsock_by_socket || [ -e /dev/vhost-vsock ]
}

needs_vsock() {
	has_vsock || skip "$VMCTL_HYPERVISOR: no vsock_by_socket (${meaning_of[vsock_by_socket]}), and no /dev/vhost-vsock"
}

# The binary of the hypervisor under test, and the variable that names it.
binary_variable() {
	echo "VMCTL_${VMCTL_HYPERVISOR^^}"
}

binary_of_hypervisor() {
	local variable names=(firecracker)
	variable=$(binary_variable)
	[ "$VMCTL_HYPERVISOR" = firecracker ] || names=(qemu-system-x86_64)
	echo "${!variable:-$(command -v "${names[0]}")}"
}

# wrap_hypervisor NAME TEXT: from now on the hypervisor is the script NAME, which runs TEXT (bash) and then
# what it was before; not where it is only asked for its version.
wrap_hypervisor() {
	local variable
	variable=$(binary_variable)
	cat >"$1" <<-WRAPPER
		#!/bin/bash
		if [ "\$1" != --version ]; then
			$2
		fi
		exec '$(binary_of_hypervisor)' "\$@"
	WRAPPER
	chmod +x "$1"
	declare -g -x "$variable=$PWD/$1"
}

# The data root's own id, in the names of its semaphores.
root_id() {
	sqlite3 -readonly "$VMCTL_ROOT/vmctl.db" "SELECT value FROM meta WHERE key = 'root_id'"
}

# wait_for COMMAND...: until it succeeds, or WAIT_SECONDS have passed.
wait_for() {
	local deadline=$((SECONDS + WAIT_SECONDS))
	until "$@"; do
		if ((SECONDS > deadline)); then
			echo "waited $WAIT_SECONDS seconds in vain for: $*" >&2
			return 1
		fi
		sleep 0.02
	done
}

# make_running NAME [create options...]: a running instance whose guest ticks.
make_running() {
	local name=$1
	shift
	vmctl create "$name" --kernel "$guest" --memory 16M --disk size=1M "$@" --start >/dev/null
	wait_for has_ticked "$name"
}

# make_standby NAME [create options...]
make_standby() {
	make_running "$@"
	vmctl standby "$1" >/dev/null
}

dir_of() {
	field "$1" .directory
}

state_of() {
	field "$1" .state
}

console_of() {
	cat "$(dir_of "$1")/console.log"
}

has_ticked() {
	grep -q '^tick' "$(dir_of "$1")/console.log"
}

# The lines of a console log that are complete: a guest writes byte by byte.
whole_lines() {
	head -n "$(wc -l <"$1")" "$1"
}

# The last number a guest has told on its console.
last_tick() {
	whole_lines "$(dir_of "$1")/console.log" | sed -n 's/^tick \([0-9][0-9]*\)$/\1/p' | tail -n 1
}

# The counter a guest has written to sector 8 of its disk (see test/guest/README.md).
disk_counter() {
	local file
	file=$(dir_of "$1")/disk-${2:-root}.img
	[ "$(dd if="$file" bs=1 skip=4096 count=8 2>/dev/null)" = VMCTLCNT ] || return 1
	od -A n -t u8 -j 4104 -N 8 "$file" | tr -d ' '
}

# ask NAME COMMAND PATTERN: sends serial input until the console shows a new line that matches, and
# prints that line. Input may be lost while a guest is being restored, hence the repetition.
ask() {
	local log before deadline=$((SECONDS + WAIT_SECONDS)) line
	log=$(dir_of "$1")/console.log
	before=$(whole_lines "$log" | grep -c -a -E "$3" || true)
	while :; do
		printf '%s' "$2" | timeout 5 dd of="$(dir_of "$1")/console.in" conv=notrunc status=none || true
		for _ in $(seq 50); do
			line=$(whole_lines "$log" | grep -a -E "$3" | tail -n "+$((before + 1))" | tail -n 1)
			if [ -n "$line" ]; then
				printf '%s\n' "$line"
				return 0
			fi
			sleep 0.02
		done
		((SECONDS <= deadline)) || return 1
	done
}

# What a test compares before and after something that must leave nothing: the store's rows, and every
# file of the data root but SQLite's own, and memory locks, which stay where a memory was linked.
snapshot_root() {
	sqlite3 -readonly "$VMCTL_ROOT/vmctl.db" 'SELECT * FROM instance ORDER BY id; SELECT * FROM intent'
	(cd "$VMCTL_ROOT" && find . ! -name 'vmctl.db*' ! -name 'slot.*' ! -name '*.memory' \
		! -name 'console.log' ! -name 'vmm.log' -printf '%p %y %m %s %n\n' | sort)
}

# Processes of a VMM of this data root, by its liveness locks.
live_vmms() {
	local file count=0
	for file in "$VMCTL_ROOT"/run/*.alive; do
		[ -e "$file" ] || continue
		# With a descriptor, and no command to start under the lock.
		flock -n -s 9 2>/dev/null 9<"$file" || [ ! -e "$file" ] || count=$((count + 1))
	done
	echo "$count"
}

assert_clean() {
	run -0 vmctl doctor
	assert_output --partial 'leftovers     none'
}

# field NAME PATH: one value of inspect, e.g. `field web .guest_cid`.
field() {
	local json
	json=$(vmctl-inspect "$1") || return 0
	if [[ $2 =~ ^\.[a-z_]+$ ]] && json_value "${2#.}" <<<"$json"; then
		return
	fi
	jq -r "$2" <<<"$json"
}

# The first whole line of a console that tells a number. A fork may begin in the middle of one.
first_tick() {
	whole_lines "$(dir_of "$1")/console.log" | sed -n 's/^tick \([0-9][0-9]*\)$/\1/p' | head -n 1
}

# ticked_past NAME N: for wait_for.
ticked_past() {
	local now
	now=$(last_tick "$1" 2>/dev/null)
	[ -n "$now" ] && ((now > $2))
}

# How often an instance's guest has booted in its own console.
boots_of() {
	grep -c 'vmctl-guest ready' "$(dir_of "$1")/console.log" || true
}

# What must not change of an instance at rest, by its directory: disks, memory, state, manifest, kernel; each
# with its CRC and size, which tell any change by accident, in a tenth of the time of a cryptographic sum.
sums_in() {
	(
		files=()
		cd "$1" || exit
		for file in disk-* kernel manifest.json memory vmstate; do
			[ ! -f "$file" ] || [ -L "$file" ] || files+=("$file")
		done
		[ ${#files[@]} = 0 ] || exec cksum -- "${files[@]}"
	)
}

# The same of an instance, by its name.
sums_of() {
	sums_in "$(dir_of "$1")"
}

# Whether the guest is running, by what its VMM says and not by what the store believes.
guest_state() {
	guest_state_at "$(dir_of "$1")"
}

# The guest CID that the VMM of an instance has, or null.
vmm_cid() {
	cid_at "$(dir_of "$1")" "$(field "$1" .pid)"
}

pauses_of() {
	pauses_in "$(dir_of "$1")/vmm.log"
}

saves_of() {
	saves_in "$(dir_of "$1")/vmm.log"
}

# vmctl_yaml LINE...: the settings of this test's data root.
vmctl_yaml() {
	[ -d "$VMCTL_ROOT" ] || mkdir -m 0700 "$VMCTL_ROOT"
	printf '%s\n' "$@" >"$VMCTL_ROOT/vmctl.yaml"
}

# wait_all PID...: waits for background jobs; how each ended goes to the array `statuses`.
wait_all() {
	local pid
	statuses=()
	for pid; do
		wait "$pid" && statuses+=(0) || statuses+=($?)
	done
}

# How many of `statuses` are the given one.
count_status() {
	printf '%s\n' "${statuses[@]}" | grep -c -x "$1" || true
}
