#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # bats sets output, stderr and lines
# SIGKILL of a verb at random moments: the next ordinary verb makes good what was left.
#
#   KILL_ROUNDS  kills per verb (25)
#   KILL_SEED    the moments: what a failed test has printed
#   KILL_MAX_MS  the latest moment (60, or what a fork takes here, if that is longer)

load helpers
load sound

setup() {
	sound_setup
	rounds=${KILL_ROUNDS:-25}
	seed=${KILL_SEED:-$RANDOM}
	echo "KILL_SEED=$seed"
	RANDOM=$seed
	killed=0
	latest=${KILL_MAX_MS:-$(latest_moment)}
}

# In milliseconds. Forks are among the verbs that take longest.
latest_moment() {
	local began=${EPOCHREALTIME/[.,]/} ms
	vmctl fork rest probe >/dev/null
	ms=$(((${EPOCHREALTIME/[.,]/} - began) / 1000))
	vmctl rm --force probe >/dev/null
	echo $((ms > 60 ? ms : 60))
}

teardown() {
	sound_teardown
}

# kill_verb ARGUMENTS...: starts the verb and kills it, if it still lives then.
kill_verb() {
	local pid us until ranges=(2 8 20 "$latest")
	# Most of a verb's life is in its first milliseconds; some of it is in a VMM's answer.
	us=$(((RANDOM * 32768 + RANDOM) % (ranges[RANDOM % 4] * 1000)))
	printf 'kill after %d us: vmctl %s\n' "$us" "$*"
	vmctl "$@" >/dev/null 2>>killed.err 3>&- &
	pid=$!
	# Not to wait for something, but to be at a random place; sleep(1) would begin too late for most.
	until=$((${EPOCHREALTIME/[.,]/} + us))
	while ((${EPOCHREALTIME/[.,]/} < until)); do :; done
	if kill -9 "$pid" 2>/dev/null; then
		killed=$((killed + 1))
	fi
	wait "$pid" 2>/dev/null || true
}

# Most kills must have met a living process, or this file has proven nothing.
assert_enough_killed() {
	echo "$killed of $rounds verbs were killed"
	assert [ "$killed" -gt 0 ]
}

goes_on() {
	local now
	now=$(last_tick "$1")
	wait_for ticked_past "$1" "${now:-0}"
}

@test "fork of a standby source" {
	make_standby src
	local before number round target
	before=$(sums_of src)
	number=$(last_tick src)
	for ((round = 0; round < rounds; round++)); do
		target=$( ((RANDOM % 3)) && echo running || echo standby)
		kill_verb fork src web --target-state "$target"
		retry 4 fork src web --target-state "$target"
		assert_equal "$(state_of web)" "$target"
		assert_sound
		assert_equal "$(sums_of src)" "$before"
		[ "$target" = running ] || vmctl restore web >/dev/null
		wait_for ticked_past web "$number"
		assert_equal "$(boots_of web)" 0
		vmctl rm --force web >/dev/null
	done
	vmctl restore src
	wait_for ticked_past src "$number"
	assert_enough_killed
}

@test "several forks of a standby source" {
	make_standby src
	local before round
	before=$(sums_of src)
	for ((round = 0; round < rounds; round++)); do
		kill_verb fork src -n 4 --name 'web-{}'
		retry 4 fork src -n 4 --name 'web-{}'
		# All or none had been published.
		assert_equal "$(vmctl ls | grep -c '^web-[1-4] .* running ')" 4
		assert_sound
		assert_equal "$(sums_of src)" "$before"
		vmctl rm --force web-{1..4} >/dev/null
	done
	assert_enough_killed
}

@test "fork of a running source" {
	make_running src
	ask src mA '^marked A'
	local round pid count pattern
	pid=$(field src .pid)
	for ((round = 0; round < rounds; round++)); do
		count=$((1 + RANDOM % 2))
		pattern='web-{}'
		kill_verb fork src -n $count --name "$pattern" --from-running
		retry 4 fork src -n $count --name "$pattern" --from-running
		assert_equal "$(vmctl ls | grep -c '^web-[12] .* running ')" $count
		assert_equal "$(field src .pid)" "$pid"
		assert_equal "$(state_of src)" running
		assert_equal "$(guest_state src)" Running
		goes_on src
		goes_on web-1
		assert_equal "$(boots_of web-1)" 0
		assert_sound
		if [ $count = 1 ]; then
			vmctl rm --force web-1 >/dev/null
		else
			vmctl rm --force web-1 web-2 >/dev/null
		fi
	done
	assert_equal "$(boots_of src)" 1
	assert_equal "$(ask src g '^marker mem=')" 'marker mem=A disk=A'
	assert_enough_killed
}

@test "a running source goes on with whatever verb comes next" {
	make_running src
	local round pid next
	pid=$(field src .pid)
	for ((round = 0; round < rounds; round++)); do
		kill_verb fork src web --from-running
		next=$(printf '%s\n' start restore resume 'fork --target-state stopped --from-running' |
			sed -n "$((1 + RANDOM % 4))p")
		# shellcheck disable=SC2086 # options
		case $next in
		fork*) vmctl $next src other >/dev/null && vmctl rm other >/dev/null ;;
		*) vmctl $next src >/dev/null ;;
		esac
		assert_equal "$(field src .pid)" "$pid"
		assert_equal "$(guest_state src)" Running
		goes_on src
		# The half-made fork waits for who wants its name.
		retry 4 fork src web --from-running --target-state stopped
		assert_sound
		vmctl rm --force web >/dev/null
	done
	assert_equal "$(boots_of src)" 1
	assert_enough_killed
}

@test "standby" {
	make_running src
	local round number
	for ((round = 0; round < rounds; round++)); do
		number=$(last_tick src)
		kill_verb standby src
		if ((RANDOM % 2)); then
			vmctl standby src >/dev/null
			assert_equal "$(state_of src)" standby
			assert_sound
			run ls "$(dir_of src)"
			refute_output --partial .new
		fi
		# In standby or still running: it goes on from where it was.
		vmctl restore src >/dev/null
		assert_equal "$(state_of src)" running
		assert_equal "$(guest_state src)" Running
		wait_for ticked_past src "$number"
		assert_sound
	done
	assert_equal "$(boots_of src)" 1
	number=$(last_tick src)
	assert [ "$(disk_counter src)" -ge "$number" ]
	assert_enough_killed
}

@test "restore" {
	make_standby src
	local round number
	for ((round = 0; round < rounds; round++)); do
		number=$(last_tick src)
		kill_verb restore src
		if ((RANDOM % 3 == 0)); then
			# Without a retry: whatever it is, standby ends it well.
			vmctl standby src >/dev/null
			assert_equal "$(state_of src)" standby
			assert_sound
		fi
		vmctl restore src >/dev/null
		assert_equal "$(guest_state src)" Running
		wait_for ticked_past src "$number"
		assert_sound
		vmctl standby src >/dev/null
	done
	assert_equal "$(boots_of src)" 1
	assert_enough_killed
}

@test "start" {
	vmctl create src --kernel "$guest" --memory 16M --disk size=1M
	local round
	for ((round = 0; round < rounds; round++)); do
		kill_verb start src
		vmctl start src >/dev/null
		assert_equal "$(state_of src)" running
		wait_for has_ticked src
		goes_on src
		assert_sound
		vmctl stop --force src >/dev/null
	done
	assert_enough_killed
}

@test "stop" {
	vmctl create src --kernel "$guest" --memory 16M --disk size=1M
	local round
	for ((round = 0; round < rounds; round++)); do
		vmctl start src >/dev/null
		if ((RANDOM % 2)); then
			kill_verb stop --force src
		else
			kill_verb stop --time 60 src
		fi
		vmctl stop --force src >/dev/null
		assert_equal "$(state_of src)" stopped
		assert_equal "$(live_vmms)" 0
		assert_sound
	done
	assert_enough_killed
}

@test "stop --discard of a standby" {
	make_standby src
	local round
	for ((round = 0; round < rounds; round++)); do
		vmctl fork src web --target-state standby >/dev/null
		kill_verb stop --discard web
		if ((RANDOM % 2)); then
			# Half discarded is never loaded.
			run vmctl restore web
			case $status in
			0)
				wait_for has_ticked web
				vmctl standby web >/dev/null
				;;
			6) ;;
			*) fail "restore after a killed discard: $status $output" ;;
			esac
		fi
		vmctl stop --discard web >/dev/null
		assert_equal "$(state_of web)" stopped
		assert [ ! -e "$(dir_of web)/memory" ]
		assert_sound
		vmctl start web >/dev/null
		wait_for has_ticked web
		vmctl rm --force web >/dev/null
	done
	assert_enough_killed
}

@test "create" {
	head -c 4M /dev/urandom >disk.img
	local round
	for ((round = 0; round < rounds; round++)); do
		if ((RANDOM % 2)); then
			kill_verb create web --kernel "$guest" --memory 16M --disk disk.img
			retry 4 create web --kernel "$guest" --memory 16M --disk disk.img
			vmctl start web >/dev/null
		else
			kill_verb create web --kernel "$guest" --memory 16M --disk disk.img --start
			retry 4 create web --kernel "$guest" --memory 16M --disk disk.img --start
			vmctl start web >/dev/null
		fi
		wait_for has_ticked web
		assert_sound
		vmctl rm --force web >/dev/null
	done
	assert_enough_killed
}

@test "rm" {
	make_standby src
	local round
	for ((round = 0; round < rounds; round++)); do
		vmctl fork src web --target-state "$( ((RANDOM % 2)) && echo running || echo standby)" \
			>/dev/null
		kill_verb rm --force web
		if ((RANDOM % 2)); then
			retry 3 rm --force web
			run -3 vmctl inspect web
			assert_sound
		fi
		# The name is free, or is made free by whoever wants it.
		retry 4 fork src web
		[ "$status" = 0 ] || retry 3 rm --force web
		retry 4 fork src web
		wait_for has_ticked web
		assert_sound
		vmctl rm --force web >/dev/null
	done
	assert_enough_killed
}

@test "all verbs on one instance, without a retry in between" {
	local round verb
	local verbs=(start standby restore 'stop --force' 'stop --discard --force' pause resume
		'fork --from-running -q' 'fork -q')
	make_running src
	for ((round = 0; round < 2 * rounds; round++)); do
		verb=${verbs[RANDOM % ${#verbs[@]}]}
		# shellcheck disable=SC2086 # options
		kill_verb $verb src
	done
	# Any changing verb settles it.
	run vmctl resume src
	run vmctl restore src
	run vmctl start src
	assert_equal "$(state_of src)" running
	assert_equal "$(guest_state src)" Running
	goes_on src
	vmctl rm --force src >/dev/null
	assert_enough_killed
}
