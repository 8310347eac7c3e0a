#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # bats sets stderr and status
# --wait and --no-wait: every verb that takes a lock knows them, and says who is in its way.

load helpers

setup() {
	vm_setup
	mkfifo release
}

teardown() {
	[ -z "${holder:-}" ] || kill "$holder" 2>/dev/null || true
	vm_teardown
}

held() {
	! flock -n "$1" true
}

# hold FILE: locks it from a process of its own, $holder.
hold() {
	(
		exec 9>>"$1" 3>&-
		flock 9
		read -r _ <>release
	) &
	holder=$!
	wait_for held "$1"
}

let_go() {
	kill "$holder"
	wait "$holder" || true
	holder=
}

# The verbs that take locks, by their own help.
waiting_verbs() {
	local verb
	vmctl --help | sed -n '/^Verbs:/,/^$/s/^  \([a-z-]*\) .*/\1/p' | while read -r verb; do
		! vmctl "$verb" --help | grep -q -e '^ *--no-wait' || echo "$verb"
	done
}

# What a verb needs, beside the waiting, to change the instance `src`.
arguments_of() {
	case $1 in
	create) echo "new --kernel $guest" ;;
	doctor) echo --repair ;;
	stop) echo 'src --discard' ;;
	rm) echo 'src --force' ;;
	fork) echo 'src new' ;;
	label) echo 'src key=value' ;;
	*) echo src ;;
	esac
}

# Nobody is waited for longer than this by a verb that is told how long to wait, or not to.
in_time() {
	timeout --kill-after=5 "$WAIT_SECONDS" "$@"
}

# said PATTERN: in what the last verb said on its standard error.
said() {
	[[ $stderr =~ $1 ]] || fail "'$1' is not in: $stderr"
}

# refused WHAT VERB: busy at once without a wait, and after a second with one of a second.
refused() {
	local what=$1 verb=$2 arguments began
	read -r -a arguments <<<"$(arguments_of "$verb")"
	run -5 --separate-stderr in_time vmctl "$verb" --no-wait "${arguments[@]}"
	assert_output ''
	said "$what is locked by pid $holder \\([^)]+, for [0-9.]+ (s|min|h)\\)"
	said 'hint: wait longer with --wait=SEC'
	began=${EPOCHREALTIME/./}
	run -5 --separate-stderr in_time vmctl "$verb" --wait=1 "${arguments[@]}"
	assert [ $((${EPOCHREALTIME/./} - began)) -ge 1000000 ]
	said "$what is locked by pid $holder \\("
	run -5 --separate-stderr in_time vmctl "$verb" --no-wait -o json "${arguments[@]}"
	assert_equal "$(jq -r .error.code <<<"$stderr")" busy
	[[ $(jq -r .error.message <<<"$stderr") = *"pid $holder ("* ]]
}

@test "every verb that takes a lock waits as long as it is told, and names who has it" {
	make_standby src
	vmctl_yaml 'wait: forever' # whoever does not heed the options is stopped, and fails
	local before verb verbs
	mapfile -t verbs < <(waiting_verbs)
	assert [ "${#verbs[@]}" -ge 9 ]
	before=$(snapshot_root)
	hold "$VMCTL_ROOT/locks/$(field src .id)"
	for verb in "${verbs[@]}"; do
		case $verb in
		create | doctor) ;; # take no lock of this instance, or do not mind
		*) refused "instance 'src'" "$verb" ;;
		esac
	done
	let_go
	hold "$VMCTL_ROOT/locks/store"
	for verb in "${verbs[@]}"; do
		refused 'the store' "$verb"
	done
	let_go
	assert_equal "$(snapshot_root)" "$before"
	assert_clean
}

@test "verbs that change something are all among those" {
	local verb verbs
	verbs=" $(waiting_verbs | xargs) "
	for verb in create start stop pause resume standby restore fork rm; do
		[[ $verbs = *" $verb "* ]] || fail "$verb knows no --no-wait"
	done
	for verb in ls inspect wait logs console; do
		[[ $verbs != *" $verb "* ]] || fail "$verb only reads"
	done
}

@test "a verb in the way is named with its pid, its arguments and its age" {
	make_running src --boot-args 'console=ttyS0 reboot=k panic=1 pci=off stubborn'
	vmctl stop --time 600 src >/dev/null 2>&1 3>&- &
	holder=$!
	wait_for held "$VMCTL_ROOT/locks/$(field src .id)"
	run -5 --separate-stderr vmctl pause src --no-wait
	said "instance 'src' is locked by pid $holder \\(vmctl-stop --time 600 src, for [0-9.]+ (s|min)\\)"
	kill "$holder"
	wait "$holder" || true
	holder=
	run -0 vmctl pause src
}

@test "a holder that cannot be seen from here is an unknown process" {
	make_standby src
	# Another namespace of pids: whoever is in ours is nobody there.
	local apart=(unshare --pid --fork --mount-proc)
	"${apart[@]}" true || skip "no other namespace of pids can be made here"
	hold "$VMCTL_ROOT/locks/$(field src .id)"
	run -5 --separate-stderr "${apart[@]}" vmctl restore src --no-wait
	said "instance 'src' is locked by an unknown process"
	run -5 --separate-stderr "${apart[@]}" vmctl restore src --wait=300ms
	said "instance 'src' is locked by an unknown process"
	let_go
	assert_equal "$(state_of src)" standby
	assert_clean
}
