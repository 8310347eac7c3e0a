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
	unset VMCTL_CONFIG
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
	vmctl inspect "$1" | jq -r .directory
}

state_of() {
	vmctl inspect "$1" | jq -r .state
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
		printf '%s' "$2" | timeout 5 dd of="$(dir_of "$1")/console.in" conv=notrunc status=none
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
		flock -n -s "$file" true || count=$((count + 1))
	done
	echo "$count"
}

assert_clean() {
	run -0 vmctl doctor
	assert_output --partial 'leftovers     none'
}

# field NAME PATH: one value of inspect, e.g. `field web .guest_cid`.
field() {
	vmctl inspect "$1" | jq -r "$2"
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

# Everything of an instance that a fork must not change, as sums.
sums_of() {
	(cd "$(dir_of "$1")" && find . -maxdepth 1 -type f \( -name 'disk-*' -o -name memory \
		-o -name vmstate -o -name manifest.json -o -name kernel \) -exec sha256sum {} + | sort)
}

# api NAME PATH: the body that the VMM itself answers to a GET.
api() {
	api_at "$(dir_of "$1")" "$2"
}

# Whether the guest is running, by what its VMM says and not by what the store believes.
guest_state() {
	api "$1" / | jq -r .state
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
