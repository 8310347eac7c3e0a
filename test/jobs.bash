# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2317 # functions are called by name
# For bats files whose tests run commands in the background, hold locks, or have a VMM wait. `setup`
# calls vm_setup and jobs_setup, `teardown` jobs_teardown and then vm_teardown.

jobs_setup() {
	children=()
	holders=()
	mkfifo release
}

# Ends what is still in the background, and lets go whoever waits in a gated hypervisor.
jobs_teardown() {
	local pid
	for pid in "${children[@]}" "${holders[@]}"; do
		kill "$pid" 2>/dev/null || true
	done
	touch "$BATS_TEST_TMPDIR/go"
}

wrong() {
	echo "$*" >&2
	return 1
}

# background COMMAND...: runs it with its output in files `out` and `err`; $child is its pid.
background() {
	: >out # what the last one said is not to be found
	: >err
	"$@" <&0 >out 2>err 3>&- & # without <&0 the shell would give it /dev/null
	child=$!
	children+=("$child")
}

# Whether the vmctl in the background sleeps in its wait.
sleeps() {
	readlink "/proc/$child"/fd/* 2>/dev/null | grep -q inotify
}

# ended STATUS: the one in the background ends by itself, with this status.
ended() {
	local status=0
	gone() { ! kill -0 "$child" 2>/dev/null; }
	wait_for gone
	wait "$child" || status=$?
	[ "$status" = "$1" ] || wrong "exit status $status, not $1: $(cat err)"
}

said() {
	grep -q -a -e "$1" "${2:-out}"
}

held() {
	! flock -n "$1" true
}

# hold FILE: locks it from a process of its own, $holder, until it is killed.
hold() {
	(
		exec 9>>"$1" 3>&-
		flock 9
		read -r _ <>release
	) &
	holder=$!
	holders+=("$holder")
	wait_for held "$1"
}

let_go() {
	kill "$1"
	wait "$1" || true
}

# Whether somebody sleeps for an flock of this file.
awaited() {
	grep -q -E -e "-> FLOCK .*:$(stat -c %i "$1") " /proc/locks
}

# A hypervisor that waits for the file `go` before it begins: who loads with it keeps his slot.
gated_hypervisor() {
	wrap_hypervisor gated "until [ -e '$BATS_TEST_TMPDIR/go' ]; do sleep 0.02; done"
}
