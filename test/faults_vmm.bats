#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # bats sets output, stderr, lines and status
# The VMM dies under a verb, after each request that the verb makes: the verb says so and ends, nothing is
# left, and what was saved before is what it was. (Of the fault points only that one is used here, to hold
# the verb.)

load helpers
load sound

setup() {
	sound_setup
}

teardown() {
	sound_teardown
}

is_stopped() {
	[[ $(ps -o stat= -p "$1") == T* ]] || ! kill -0 "$1" 2>/dev/null
}

# The VMM of an instance, by its liveness file: it may be in no row yet.
kill_vmm() {
	local pid
	read -r pid _ <"$VMCTL_ROOT/run/$1.alive"
	kill -KILL "$pid"
}

# lose_vmm N ID ARGUMENTS...: runs a verb, holds it after its Nth request, and kills the VMM of the instance
# ID, or of the one that is being made ("new"). `status` is how it ended, `said` what it said. Fails, and has
# killed nobody, when the verb has no such request.
lose_vmm() {
	local n=$1 id=$2 verb
	shift 2
	VMCTL_FAULT="driver.request.done#$n:stop" vmctl "$@" >/dev/null 2>said &
	verb=$!
	wait_for is_stopped $verb
	if ! kill -0 $verb 2>/dev/null; then
		wait $verb || fail "vmctl $*: $? $(cat said)"
		assert [ "$n" -gt "${least:-3}" ]
		echo "$((n - 1)) requests of vmctl $*"
		return 1
	fi
	[ "$id" != new ] || id=$(sqlite3 -readonly "$VMCTL_ROOT/vmctl.db" \
		"SELECT id FROM instance WHERE state = 'creating'")
	kill_vmm "$id"
	kill -CONT $verb
	wait $verb && status=0 || status=$?
	said=$(cat said)
	echo "request $n of vmctl $*: $status $said"
}

# A VMM that is gone is no reason to wait, nor a crash of ours.
assert_told() {
	assert_equal "$status ($said)" "9 ($said)"
	[[ $said = *'VMM'* ]] || fail "$said"
}

# A VMM that has mapped a memory that others have, which is the longer way.
fork_of_rest() {
	vmctl rm --force "$1" >/dev/null 2>&1 || true
	vmctl fork rest "$1" >/dev/null
	wait_for has_ticked "$1"
	id=$(field "$1" .id)
}

@test "standby: the VMM dies after any request" {
	local id n
	for ((n = 1; ; n++)); do
		fork_of_rest web
		lose_vmm "$n" "$id" standby web || break
		if [ "$status" = 0 ]; then
			# Everything was saved by then.
			assert_equal "$(state_of web)" standby
			vmctl restore web
		else
			assert_told
			assert_equal "$(state_of web)" failed
			assert [ "$(field web .failure)" != null ]
			refute [ -e "$(dir_of web)/manifest.json" ]
			vmctl start web >/dev/null
		fi
		assert_sound
	done
}

@test "restore: the VMM dies after any request, and the standby can be restored again" {
	local id n least=1
	fork_of_rest web
	for ((n = 1; ; n++)); do
		vmctl standby web >/dev/null
		lose_vmm "$n" "$id" restore web || break
		[ "$status" = 0 ] || assert_told
		# When the guest may have run, what was saved must never be loaded again.
		case $status$(state_of web) in
		9standby) vmctl restore web >/dev/null ;;
		[09]failed)
			refute [ -e "$(dir_of web)/manifest.json" ]
			vmctl start web >/dev/null
			;;
		*) fail "$status $(state_of web)" ;;
		esac
		assert_sound
	done
}

@test "fork: the VMM of the fork dies after any request, and nothing is left of it" {
	local n least=1
	for ((n = 1; ; n++)); do
		lose_vmm "$n" new fork rest web || break
		if [ "$status" = 0 ]; then
			assert_equal "$(state_of web)" failed
			vmctl rm web >/dev/null
		else
			assert_told
			run -3 vmctl inspect web
		fi
		assert_sound
	done
}

@test "fork of a running source: its VMM dies after any request, and the fork is whole or not there" {
	local id n
	for ((n = 1; ; n++)); do
		fork_of_rest src
		lose_vmm "$n" "$id" fork src web --from-running || break
		if [ "$status" = 0 ]; then
			wait_for has_ticked web
			vmctl rm --force web
		else
			assert_told
			run -3 vmctl inspect web
		fi
		# Its own VMM, or, at the last of them, that of the fork, which a look tells.
		assert_equal "$(state_of src)" failed
		vmctl rm src >/dev/null
		assert_sound
	done
}
