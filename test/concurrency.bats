#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # bats sets output, stderr and lines; wait_all sets statuses
# shellcheck disable=SC2030,SC2031 # each test is a subshell of its own
# Many processes at once: locks, names, restore slots.

load helpers
load jobs

setup() {
	vm_setup
	jobs_setup
}

teardown() {
	jobs_teardown
	vm_teardown
}

# What the last `run --separate-stderr` has said on its standard error.
assert_error() {
	if [[ $stderr != *"$1"* ]]; then
		fail "'$1' is not in: $stderr"
	fi
}

# start_forks COUNT NAME [arguments...]: that many processes at once; {} in NAME is their number.
start_forks() {
	local count=$1 name=$2 i
	shift 2
	pids=()
	for ((i = 1; i <= count; i++)); do
		vmctl fork src "${name//\{\}/$i}" "$@" >"out-$i" 2>"err-$i" 3>&- &
		pids+=($!)
	done
}

# Rows and processes agree, and nothing is left of whatever failed.
assert_agrees() {
	local known
	known=$(sqlite3 -readonly "$VMCTL_ROOT/vmctl.db" \
		"SELECT count(*) FROM instance WHERE state IN ('running', 'paused')")
	assert_equal "$(live_vmms)" "$known"
	assert_equal "$(find "$VMCTL_ROOT/guests" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort)" \
		"$(vmctl ls -q | sort)"
	assert_clean
}

# The most saved states that were being loaded at one instant, by the logs of the VMMs. `timed_loads`
# comes before the loads.
timed_loads() {
	mkdir loads
	wrap_hypervisor timed "echo \"\$EPOCHREALTIME 1\" >'$PWD/loads'/\$\$; set -- \"\$@\" $(timed_log)"
}

loads_at_once() {
	local name
	for name; do
		load_times_in "$(dir_of "$name")/vmm.log" "loads/$(field "$name" .pid)"
	done | sort | awk '{ now += $2; if (now > most) most = now } END { print most }'
}

@test "20 processes fork one source under 20 names, and all succeed" {
	make_standby src
	local before name
	before=$(sums_of src)
	start_forks 20 'web-{}'
	wait_all "${pids[@]}"
	assert_equal "$(count_status 0)" 20
	assert_equal "$(live_vmms)" 20
	! has_vsock || assert_equal "$(vmctl ls -o json | jq -r '.[].guest_cid' | sort -u | wc -l)" 21
	for name in web-{1..20}; do
		wait_for has_ticked "$name"
		assert_equal "$(boots_of "$name")" 0
	done
	assert_equal "$(sums_of src)" "$before"
	assert_agrees
}

@test "20 processes fork one source under one name: one succeeds, 19 say that it exists" {
	make_standby src
	start_forks 20 web
	wait_all "${pids[@]}"
	assert_equal "$(count_status 0)" 1
	assert_equal "$(count_status 4)" 19
	assert_equal "$(cat out-*)" web
	assert_equal "$(cat err-* | grep -c "an instance 'web' exists already")" 19
	assert_equal "$(vmctl ls -q | wc -l)" 2
	wait_for has_ticked web
	assert_agrees
}

@test "eight processes want the same five names: one gets all of them, the others none" {
	make_standby src
	start_forks 8 'web-{}' --target-state standby # names web-1 to web-8, out of the way
	wait_all "${pids[@]}"
	local i
	pids=()
	for i in {1..8}; do
		vmctl fork src -n 5 --name 'set-{}' >"out-$i" 2>"err-$i" 3>&- &
		pids+=($!)
	done
	wait_all "${pids[@]}"
	assert_equal "$(count_status 0)" 1
	assert_equal "$(count_status 4)" 7
	assert_equal "$(cat out-* | sort)" "$(printf 'set-%d\n' {1..5})"
	assert_equal "$(live_vmms)" 5
	assert_agrees
}

@test "more forks than restore slots succeed by waiting, and never more than the slots load at once" {
	vmctl_yaml 'limits:' '  max_concurrent_restores: 2'
	make_standby src
	timed_loads
	start_forks 12 'web-{}'
	wait_all "${pids[@]}"
	assert_equal "$(count_status 0)" 12
	run -0 loads_at_once web-{1..12}
	assert [ "$output" -ge 1 ]
	assert [ "$output" -le 2 ]
	vmctl fork src -n 12 --name 'set-{}'
	run -0 loads_at_once set-{1..12}
	assert [ "$output" -ge 1 ]
	assert [ "$output" -le 2 ]
	assert_equal "$(live_vmms)" 24
	assert_agrees
}

@test "when all restore slots are taken --no-wait and a short --wait fail and leave nothing" {
	vmctl_yaml 'limits:' '  max_concurrent_restores: 2'
	make_standby src
	gated_hypervisor
	local before first waiter
	start_forks 2 'first-{}'
	first=("${pids[@]}")
	wait_for held "$VMCTL_ROOT/run/slot.$VMCTL_HYPERVISOR.0"
	wait_for held "$VMCTL_ROOT/run/slot.$VMCTL_HYPERVISOR.1"
	two_vmms() { [ "$(live_vmms)" = 2 ]; }
	wait_for two_vmms
	before=$(snapshot_root)

	start_forks 8 'late-{}' --no-wait
	wait_all "${pids[@]}"
	assert_equal "$(count_status 7)" 8
	assert_equal "$(cat out-*)" ''
	assert_equal "$(cat err-* | grep -c "no restore slot of $VMCTL_HYPERVISOR became free: all 2 are held")" 8
	assert_equal "$(snapshot_root)" "$before"

	run -7 --separate-stderr vmctl fork src late --wait=200ms
	assert_output ''
	# Who is in the way is named.
	assert_error "pid ${first[0]} (vmctl-fork src first-"
	assert_error "pid ${first[1]} (vmctl-fork src first-"
	assert_equal "$(snapshot_root)" "$before"

	run -7 --separate-stderr vmctl fork src -n 3 --name 'late-{}' --wait=200ms
	assert_output ''
	assert_equal "$(snapshot_root)" "$before"

	# A patient one gets a slot as soon as there is one.
	vmctl fork src patient --wait >out 2>&1 3>&- &
	waiter=$!
	has_row() {
		[ "$(sqlite3 -readonly "$VMCTL_ROOT/vmctl.db" \
			"SELECT count(*) FROM instance WHERE name = 'patient'")" = 1 ]
	}
	wait_for has_row
	touch go
	wait_all "${first[@]}" "$waiter"
	assert_equal "$(count_status 0)" 3
	assert_equal "$(live_vmms)" 3
	assert_agrees
}

@test "slot files are the truth: with all locked by somebody else nothing is loaded, he is named" {
	vmctl_yaml 'limits:' '  max_concurrent_restores: 2'
	make_standby src
	vmctl fork src one # makes the slots' files, and leaves all tokens
	local before holder first
	hold "$VMCTL_ROOT/run/slot.$VMCTL_HYPERVISOR.0"
	first=$holder
	hold "$VMCTL_ROOT/run/slot.$VMCTL_HYPERVISOR.1"
	before=$(snapshot_root)
	run -7 --separate-stderr vmctl fork src web --wait=500ms
	assert_error "pid $first ("
	assert_error "pid $holder ("
	run -7 --separate-stderr vmctl fork src web --no-wait
	assert_error "pid $first ("
	assert_equal "$(snapshot_root)" "$before"
	run -7 vmctl restore src --no-wait
	assert_equal "$(state_of src)" standby
	assert_equal "$(snapshot_root)" "$before"
	# A holder that is killed gives his slot back by that, and the other one is enough for many.
	let_go "$first"
	timed_loads
	start_forks 6 'web-{}'
	wait_all "${pids[@]}"
	assert_equal "$(count_status 0)" 6
	assert_equal "$(loads_at_once web-{1..6})" 1
	assert_agrees
}

@test "lost tokens of the slots' semaphore come back" {
	vmctl_yaml 'limits:' '  max_concurrent_restores: 1'
	make_standby src
	gated_hypervisor
	local pid
	# Killed while it has the only slot: the file is free, the token is lost.
	vmctl fork src web >/dev/null 2>&1 3>&- &
	pid=$!
	wait_for held "$VMCTL_ROOT/run/slot.$VMCTL_HYPERVISOR.0"
	one_vmm() { [ "$(live_vmms)" = 1 ]; }
	wait_for one_vmm
	kill -9 "$pid"
	wait "$pid" || true
	touch go
	vmctl fork src web --no-wait
	vmctl fork src two --no-wait
	# The whole semaphore gone.
	rm "/dev/shm/sem.vmctl-$(root_id)-$VMCTL_HYPERVISOR"
	vmctl fork src three --no-wait
	assert_equal "$(live_vmms)" 3
	assert_agrees
}

@test "a verb that does not get the lock in time says who has it" {
	make_standby src
	local before verb
	hold "$VMCTL_ROOT/locks/$(field src .id)"
	before=$(snapshot_root)
	for verb in start 'stop --discard' standby restore pause resume 'rm --force' fork; do
		# shellcheck disable=SC2086 # a verb and its options
		run -5 --separate-stderr vmctl $verb --no-wait src
		assert_output ''
		assert_error "instance 'src' is locked by pid $holder ("
		assert_error 'hint: wait longer with --wait=SEC'
	done
	run -5 --separate-stderr vmctl restore --wait=200ms src
	assert_error "pid $holder ("
	run -5 --separate-stderr vmctl restore --wait=1 -o json src
	assert_equal "$(jq -r .error.code <<<"$stderr")" busy
	vmctl_yaml 'wait: 100ms'
	run -5 vmctl restore src
	rm "$VMCTL_ROOT/vmctl.yaml"
	assert_equal "$(snapshot_root)" "$before"
	# Who only looks needs no lock.
	run -0 vmctl ls
	run -0 vmctl inspect src
	assert_clean
}

@test "a verb that may wait gets the lock when it is given back" {
	make_standby src
	local lock waiter
	lock=$VMCTL_ROOT/locks/$(field src .id)
	hold "$lock"
	vmctl restore src --wait=600 >out 2>err 3>&- &
	waiter=$!
	wait_for awaited "$lock"
	assert_equal "$(state_of src)" standby
	let_go "$holder"
	wait_all "$waiter"
	assert_equal "${statuses[0]}" 0
	assert_equal "$(state_of src)" running
	assert_clean
}

@test "a wait for a lock can be ended by Ctrl-C" {
	make_standby src
	local lock waiter before
	lock=$VMCTL_ROOT/locks/$(field src .id)
	before=$(snapshot_root)
	hold "$lock"
	env --default-signal=INT vmctl restore src --wait >out 2>err 3>&- &
	waiter=$!
	wait_for awaited "$lock"
	kill -INT "$waiter"
	wait_all "$waiter"
	assert_equal "${statuses[0]}" 130
	let_go "$holder"
	assert_equal "$(snapshot_root)" "$before"
	assert_clean
}

@test "verbs of all kinds on one instance at once leave a store that agrees with the processes" {
	local seed=${CONCURRENCY_SEED:-$RANDOM} round i pid
	local verbs=('stop --force' 'stop --discard --force' standby restore start pause resume
		'fork --from-running -q' 'fork --target-state standby -q' 'rm --force' ls doctor)
	echo "CONCURRENCY_SEED=$seed"
	RANDOM=$seed
	for round in {1..4}; do
		make_running src
		pids=()
		for i in {1..8}; do
			order=()
			for _ in {1..4}; do
				# rm rarely: it ends the round for all others
				order+=("${verbs[RANDOM % (${#verbs[@]} - (RANDOM % 8 ? 3 : 0))]}")
			done
			(
				exec 3>&-
				for verb in "${order[@]}"; do
					set -- "${verb%% *}" "${verb#"${verb%% *}"}"
					# shellcheck disable=SC2086 # options
					case $1 in
					ls | doctor) vmctl "$1" >/dev/null 2>&1 || : ;;
					*) vmctl "$1" $2 src >/dev/null 2>>"errors-$round-$i" && status=0 ||
						status=$? ;;
					esac
					case ${status:-0} in
					0 | 3 | 6) ;; # done; gone; not from this state
					*)
						echo "$verb ended with $status"
						cat "errors-$round-$i"
						exit 1
						;;
					esac
				done
			) >"said-$round-$i" 2>&1 &
			pids+=($!)
		done
		wait_all "${pids[@]}"
		assert_equal "$(cat said-"$round"-*)" ''
		assert_equal "$(count_status 0)" 8
		# The next verb settles what a verb has rightly left for it, such as a VMM that ended.
		assert_agrees
		for pid in $(vmctl ls -q); do
			vmctl rm --force "$pid" >/dev/null
		done
		assert_equal "$(live_vmms)" 0
	done
}

# A shell that forks src until it is gone, one line in stream-N for each fork.
# The name has a dash: of the thousands of ids that it makes one may begin with "src", and would be forked once
# the source is gone.
fork_without_pause() {
	local n=0 status=0
	exec 3>&-
	while [ "$status" = 0 ]; do
		n=$((n + 1))
		vmctl fork the-src "s$1-$n" --from-running --target-state stopped --wait=600 \
			2>"err-$1" >>"stream-$1" && status=0 || status=$?
	done
	return "$status"
}

# all_have_forked LINES...: whether each stream is longer now than it was.
all_have_forked() {
	local i=0 before
	for before; do
		i=$((i + 1))
		(($(wc -l <"stream-$i") > before)) || return 1
	done
}

@test "restore, standby, stop and rm get their turn while 16 shells fork their source without pause" {
	make_standby the-src
	local i pids=() verb before
	for i in {1..16}; do
		: >"stream-$i"
		fork_without_pause "$i" &
		pids+=($!)
	done
	# Forks of a source at rest share its lock; those of a running one do not. All 16 go on before,
	# between and after.
	for verb in restore standby 'stop --discard' start 'stop --force'; do
		mapfile -t before < <(wc -l stream-{1..16} | awk '$2 != "total" { print $1 }')
		wait_for all_have_forked "${before[@]}"
		# shellcheck disable=SC2086 # a verb and its options
		vmctl $verb the-src --wait=30
	done
	mapfile -t before < <(wc -l stream-{1..16} | awk '$2 != "total" { print $1 }')
	wait_for all_have_forked "${before[@]}"
	vmctl rm the-src --wait=30
	wait_all "${pids[@]}"
	assert_equal "$(count_status 3)" 16
	assert_agrees
}

@test "forks of a source that is being removed are made whole or not at all" {
	make_standby src
	local remover
	start_forks 12 'web-{}'
	vmctl rm --force src >/dev/null 3>&- &
	remover=$!
	wait_all "${pids[@]}"
	assert_equal $(($(count_status 0) + $(count_status 3))) 12
	assert_equal "$(live_vmms)" "$(count_status 0)"
	wait_all "$remover"
	assert_equal "${statuses[0]}" 0
	for name in $(vmctl ls | awk 'NR > 1 { print $1 }'); do
		wait_for has_ticked "$name"
	done
	assert_agrees
}

@test "limits hold when many ask at once" {
	make_standby src
	vmctl_yaml 'limits:' '  max_running: 5'
	start_forks 12 'web-{}'
	wait_all "${pids[@]}"
	assert_equal "$(count_status 0)" 5
	assert_equal "$(count_status 7)" 7
	assert_equal "$(live_vmms)" 5
	run -7 vmctl restore src
	vmctl rm --force "$(cat out-* | head -n 1)"
	vmctl restore src
	assert_agrees
}
