#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # bats sets output and stderr
# VMMs that hang, files that got lost, users who change their mind.

load helpers

setup() { vm_setup; }
teardown() { vm_teardown; }

vmm_pid() {
	vmctl inspect "$1" | jq -r .pid
}

# Answers to the API are waited for only this long from now on: not while there is something to do that a busy
# machine may need longer for.
impatient() {
	vmctl_yaml 'api_timeout: 300ms'
}

@test "a VMM that hangs can be stopped by force, also after a verb that it did not answer" {
	make_running web
	impatient
	kill -STOP "$(vmm_pid web)"
	run -12 --separate-stderr vmctl pause web
	[[ $stderr == *"$(request_word)"* ]]
	run -12 --separate-stderr vmctl pause web
	[[ $stderr == *'stop --force web'* ]]
	run -0 vmctl stop --force web
	assert_equal "$(state_of web)" stopped
	assert_equal "$(live_vmms)" 0
	assert_clean
}

@test "a VMM that hangs can be stopped with grace, too: it is killed when it does not listen" {
	make_running web
	impatient
	kill -STOP "$(vmm_pid web)"
	run -0 vmctl stop --time 0.2 web
	assert_equal "$(state_of web)" stopped
	assert_equal "$(live_vmms)" 0
}

@test "an instance whose VMM hangs can be removed by force" {
	make_running web
	impatient
	kill -STOP "$(vmm_pid web)"
	run -12 vmctl pause web
	run -0 vmctl rm --force web
	assert_equal "$(live_vmms)" 0
	assert_clean
}

@test "an instance whose directory is gone is refused with a hint, and can be removed by force" {
	vmctl create web --kernel "$guest" --memory 16M >/dev/null
	rm -r "$(dir_of web)"
	run -10 --separate-stderr vmctl start web
	[[ $stderr == *"vmctl rm --force web"* ]]
	run -0 vmctl rm --force web
	assert_clean
}

@test "lost lock files are made again" {
	make_standby web
	rm "$VMCTL_ROOT"/locks/*
	run -0 vmctl fork web copy --target-state stopped
	rm "$VMCTL_ROOT"/locks/*
	run -0 vmctl restore web
	rm "$VMCTL_ROOT"/locks/*
	run -0 vmctl rm --force web copy
	assert_clean
	run -0 find "$VMCTL_ROOT/locks" -type f ! -name store ! -name store.gate ! -name store.turn
	assert_output ''
}

@test "a manifest that is left over is not taken for a new standby's" {
	make_standby web
	cp "$(dir_of web)/manifest.json" manifest
	vmctl restore web >/dev/null
	cp manifest "$(dir_of web)/manifest.json"
	# As a standby that was killed before it saved anything leaves it, but for the manifest.
	vmctl standby web >/dev/null
	run -0 vmctl restore web
	assert_clean
}

@test "a restore that is interrupted at any moment leaves a standby or a running guest" {
	local round delay status=0 tick
	make_standby web
	RANDOM=${KILL_SEED:-$$}
	echo "KILL_SEED=${KILL_SEED:-$$}"
	for ((round = 0; round < ${KILL_ROUNDS:-25}; round++)); do
		tick=$(last_tick web)
		delay=$(printf '0.%05d' $((RANDOM % 4000)))
		status=0
		# SIGTERM: a shell starts what it puts in the background with SIGINT ignored.
		vmctl restore web >/dev/null 2>&1 3>&- &
		sleep "$delay"
		kill -TERM $! 2>/dev/null || true
		wait $! || status=$?
		echo "round $round: SIGTERM after $delay s: status $status, $(state_of web)"
		case $(state_of web) in
		standby) assert [ "$status" -ne 0 ] ;;
		running)
			ticks_on() { (($(last_tick web) > tick)); }
			wait_for ticks_on
			vmctl standby web >/dev/null
			;;
		*) false ;;
		esac
		assert_clean
	done
	assert_equal "$(console_of web | grep -c ready)" 1
}
