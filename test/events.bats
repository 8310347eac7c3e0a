#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # bats sets output, lines and stderr
# shellcheck disable=SC2030,SC2031 # each test is a subshell of its own
# Events: what verbs leave behind, found again, followed, and bounded.

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

make_web() {
	vmctl create "${1:-web}" --kernel "$guest" --memory 16M --disk size=1M >/dev/null
}

# The column of the table that is called so.
column() {
	awk -v name="$1" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) at = i; next }
		{ print $at }' <<<"$output" | xargs
}

@test "events: each operation leaves one, of a fork of many each fork" {
	make_standby web
	vmctl fork web -n 3 --name 'f-{}' >/dev/null
	vmctl pause f-1 >/dev/null
	run -6 vmctl start f-1
	vmctl rm --force f-2 >/dev/null
	run -0 vmctl events
	assert_line --index 0 --regexp \
		'^TIME +VERB +INSTANCE +OUTCOME +TOOK +WAITED +RELOCATION +MESSAGE$'
	assert_equal "$(column VERB)" 'create start standby fork fork fork pause start rm'
	assert_equal "$(column INSTANCE)" 'web web web f-1 f-2 f-3 f-1 f-1 f-2'
	assert_equal "$(column OUTCOME)" 'ok ok ok ok ok ok ok invalid_state ok'
	assert_equal "$(column RELOCATION)" '- - - relative relative relative - - -'
	assert_line --regexp '^20[0-9-]{8}T[0-9:]{8}\.[0-9]{3}Z  start .* f-1 is paused; '
	[[ $(column TOOK) =~ ^([0-9.]+m?s ?){9}$ ]]
}

@test "events: -o json is a line for each, with the keys of the manual page" {
	local keys
	make_web
	run -0 vmctl events -o json
	assert_equal "${#lines[@]}" 1
	keys=$(sed -n '/The keys are/,/^The common/{s/^\.It Cm //p}' "$top/man/vmctl-events.1" |
		tr -s ' ,' '\n' | sort)
	assert_equal "$(jq -r 'keys[]' <<<"$output" | sort)" "$keys"
	assert_equal "$(jq -c '[.seq, .verb, .name, .outcome, .lock_waited_us, .relocation,
		.repaired, .message]' <<<"$output")" '[1,"create","web","ok",0,null,null,null]'
	assert_equal "$(jq -r .instance_id <<<"$output")" "$(field web .id)"
	assert_equal "$(jq '.duration_us > 0' <<<"$output")" true
}

@test "events: a fork tells how its disks came to be, as the filesystem allows" {
	local how=copy
	make_standby web
	: >one
	! cp --reflink=always one two 2>/dev/null || how=reflink
	vmctl fork web fork >/dev/null
	run -0 vmctl events -o json fork
	assert_equal "$(jq -r .disks <<<"$output")" $how
	vmctl create blank --kernel "$guest" >/dev/null
	run -0 vmctl events -o json blank
	assert_equal "$(jq -r .disks <<<"$output")" null
}

@test "events: by verb, outcome, time and number; mistakes are usage errors" {
	local middle
	make_web a
	make_web b
	run -6 vmctl pause a
	middle=$(vmctl events -o json -n 1 | jq -r .time)
	until [[ $(date -u +%FT%T.%3NZ) > $middle ]]; do :; done
	middle=$(date -u +%FT%T.%3NZ)
	vmctl rm a >/dev/null
	run -0 vmctl events --verb create,remove
	assert_equal "$(column VERB)" 'create create rm'
	run -0 vmctl events --verb pause --verb rm -n 1
	assert_equal "$(column VERB)" rm
	run -0 vmctl events --outcome invalid_state
	assert_equal "$(column VERB)" pause
	run -0 vmctl events --since "$middle"
	assert_equal "$(column VERB)" rm
	run -0 vmctl events --until "$middle"
	assert_equal "$(column VERB)" 'create create pause'
	run -0 vmctl events --since 1h --until "$middle" --tail 2
	assert_equal "$(column VERB)" 'create pause'
	run -0 vmctl events --until 1h
	assert_equal "${#lines[@]}" 1
	run -0 vmctl events -o json --until 1h
	assert_output ''
	run -2 vmctl events --since yesterday
	assert_output --partial "--since: 'yesterday' is neither"
	run -2 vmctl events --verb frok
	assert_output --partial "did you mean 'fork'?"
	run -2 vmctl events --outcome bussy
	assert_output --partial "did you mean 'busy'?"
	run -2 vmctl events -f --until 1h
	run -2 vmctl events -n -1
}

@test "events: of one instance, also when it was removed, by name, id or the beginning of its id" {
	local id
	make_web web
	make_web other
	id=$(field web .id)
	vmctl rm web >/dev/null
	for selector in web "$id" "${id:0:20}"; do
		run -0 vmctl events "$selector"
		assert_equal "$(column VERB)" 'create rm'
	done
	# By name those of all who ever had it.
	make_web web
	run -0 vmctl events web
	assert_equal "$(column VERB)" 'create rm create'
	run -0 vmctl events "$(field web .id)"
	assert_equal "$(column VERB)" create
	run -3 vmctl events nobody
	run -4 vmctl create web --kernel "$guest"
	run -0 vmctl events --outcome already_exists web
	assert_equal "$(column VERB)" create
}

@test "events: who was refused the lock is told of, and what found nothing to do is not" {
	make_web web
	hold "$VMCTL_ROOT/locks/$(field web .id)"
	run -5 vmctl start --no-wait web
	run -5 vmctl fork --no-wait web f
	# A reader takes no locks, not even the store's.
	hold "$VMCTL_ROOT/locks/store"
	run -0 timeout 60 vmctl events -o json
	assert_equal "$(jq -c '[.verb, .outcome]' <<<"$output" | xargs)" \
		'[create,ok] [start,busy] [fork,busy]'
	assert_equal "$(jq -s '.[1].message | contains("is locked by pid")' <<<"$output")" true
	let_go "${holders[0]}"
	let_go "${holders[1]}"
	vmctl stop web >/dev/null
	run -3 vmctl start nobody
	run -0 vmctl events
	assert_equal "$(column VERB)" 'create start fork'
}

@test "events: a wait for a lock is told, and counted" {
	make_web web
	hold "$VMCTL_ROOT/locks/$(field web .id)"
	background vmctl rm web
	wait_for awaited "$VMCTL_ROOT/locks/$(field web .id)"
	let_go "$holder"
	ended 0
	run -0 vmctl events --verb rm -o json web
	assert_equal "$(jq '.lock_waited_us > 0 and .lock_waited_us <= .duration_us' <<<"$output")" true
	assert_equal "$(vmctl stats -o json | jq .counters.lock_waits)" 1
}

@test "events: a dead VMM is told once, by the verb that finds it" {
	make_running web
	kill -KILL "$(field web .pid)"
	vmctl wait --state failed --timeout 60 web >/dev/null
	run -0 vmctl events --verb repair
	assert_equal "${#lines[@]}" 1
	run -6 vmctl pause web
	run -0 vmctl events --verb repair -o json
	assert_equal "$(jq -c '[.name, .outcome, .repaired]' <<<"$output")" '["web","ok","vmm_death"]'
	assert_equal "$(jq '.message | contains("died")' <<<"$output")" true
	run -6 vmctl pause web
	assert_equal "$(vmctl events --verb repair -o json | wc -l)" 1
	assert_equal "$(vmctl stats -o json | jq -c '.counters | [.vmm_deaths, .repairs]')" \
		'[1,{"vmm_death":1}]'
}

@test "events -f: shows what there is, then what comes" {
	make_web a
	background vmctl events -f -o json
	wait_for sleeps
	assert_equal "$(jq -r .name out)" a
	make_web b
	wait_for said '"name":"b"'
	run -6 vmctl pause b
	wait_for said invalid_state
	vmctl rm a >/dev/null
	wait_for said '"verb":"rm"'
	assert_equal "$(jq -r .verb out | xargs)" 'create create pause rm'
	kill -TERM "$child"
	ended 143
}

@test "events -f: also as YAML documents, and by a template" {
	make_web a
	background vmctl events -f -o yaml
	wait_for said '^name: a$'
	make_web b
	wait_for said '^name: b$'
	kill -TERM "$child"
	ended 143
	assert_equal "$(python3 -c 'import sys, yaml
print(*[event["name"] for event in yaml.safe_load_all(sys.stdin)])' <out)" 'a b'
	background vmctl events -f -n 1 --format 'table {{.Verb}}\t{{.Name}}'
	wait_for said '^create  b$'
	vmctl rm b >/dev/null
	wait_for said '^rm      b$'
	assert_equal "$(head -n 1 out)" 'VERB    NAME'
	kill -TERM "$child"
	ended 143
}

@test "events -f: only what the filter lets through, below one header" {
	make_web web
	background vmctl events -f -n 0 --verb create,rm b
	ended 3
	background vmctl events -f -n 0 --verb rm
	wait_for sleeps
	make_web a-longer-name
	vmctl rm a-longer-name >/dev/null
	vmctl rm web >/dev/null
	wait_for said ' web '
	assert_equal "$(awk '{ print $2, $3 }' out | xargs)" 'VERB INSTANCE rm a-longer-name rm web'
	kill -TERM "$child"
	ended 143
}

@test "events -f: ends at once when its reader is gone, though nothing happens" {
	make_web web
	# shellcheck disable=SC2016 # PIPESTATUS is for that shell
	run -0 timeout 60 bash -c 'vmctl events -f | head -n 1; echo "${PIPESTATUS[0]}"'
	assert_line --index 1 0
}

@test "events -f: where there is no data root there is nothing to follow" {
	run -0 vmctl events
	assert_equal "${#lines[@]}" 1
	run -3 vmctl events -f
	assert_output --partial 'no data root'
	[ ! -e "$VMCTL_ROOT" ]
}

@test "events_kept bounds the events, and not the counters" {
	vmctl_yaml 'events_kept: 3'
	for name in a b c d e; do
		make_web $name
	done
	run -0 vmctl events
	assert_equal "$(column INSTANCE)" 'c d e'
	assert_equal "$(vmctl stats -o json | jq -c '[.counters.operations.create.ok,
		.window.operations, .window.complete]')" '[5,3,false]'
	vmctl_yaml 'events_kept: 0'
	run -2 vmctl events
}
