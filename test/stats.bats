#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # bats sets output, lines and stderr
# shellcheck disable=SC2030,SC2031 # each test is a subshell of its own
# stats: counters, slots, locks, the slow path, and metrics for Prometheus.

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

# For jq: the restore slots of the hypervisor under test.
slot='def slot: .slots[] | select(.hypervisor == env.VMCTL_HYPERVISOR);'

# stat FILTER: what jq finds in the statistics of now.
stat_of() {
	vmctl stats -o json | jq -r "$slot $1"
}

# Whether that is true: for wait_for.
stat_is() {
	[ "$(stat_of "$1")" = true ]
}

@test "stats: the keys are those of the manual page; without a data root all is 0" {
	local keys
	run -0 vmctl stats -o json
	[ ! -e "$VMCTL_ROOT" ]
	keys=$(sed -n '/The keys are/,/^\.Ss Prometheus/{s/^\.It Cm //p}' "$top/man/vmctl-stats.1" |
		tr -s ' ,' '\n' | sort)
	assert_equal "$(jq -r 'keys[]' <<<"$output" | sort)" "$keys"
	assert_equal "$(jq -c '[.slow_path, .slow_path_reasons, .locks, .counters.operations,
		.counters.forks, .instances.running, .slots[0].held]' <<<"$output")" \
		'[false,[],[],{},{"alias":0,"none":0,"relative":0,"rewrite":0},0,0]'
	run -0 vmctl stats
	assert_line --regexp '^STATE +INSTANCES$'
	assert_line --regexp '^HYPERVISOR +SLOTS +HELD +TOKENS$'
	assert_line --regexp '^COUNTER +LABEL +VALUE$'
	assert_line --regexp '^SLOW-PATH +SINCE +OPERATIONS +REASONS$'
	refute_line --regexp '^(SLOT|LOCK) '
}

@test "stats: counters are the sums of the events" {
	make_standby web
	vmctl fork web -n 3 --name 'f-{}' >/dev/null
	vmctl fork web stopped --target-state stopped >/dev/null
	run -4 vmctl fork web f-1
	run -6 vmctl start f-1 web
	vmctl events -o json >events.json
	vmctl stats -o json >stats.json
	assert_equal "$(jq -S -c .counters.operations stats.json)" "$(jq -S -s -c '
		reduce .[] as $e ({}; .[$e.verb][$e.outcome] += 1)' events.json)"
	assert_equal "$(jq -S -c .counters.operation_us stats.json)" "$(jq -S -s -c '
		reduce .[] as $e ({}; .[$e.verb] += $e.duration_us)' events.json)"
	assert_equal "$(jq -c .counters.forks stats.json)" '{"alias":0,"none":1,"relative":3,"rewrite":0}'
	assert_equal "$(jq '.counters.disk_copies | add' stats.json)" \
		"$(jq -s 'map(select(.disks)) | length' events.json)"
	assert_equal "$(jq .window.operations stats.json)" "$(wc -l <events.json)"
	run -0 vmctl stats
	assert_line --regexp '^operations +fork,ok +4$'
	assert_line --regexp '^running +3$'
}

@test "stats: instances are counted as they are, and a VMM found dead is a reason" {
	make_running web
	make_web other
	assert_equal "$(stat_of '[.instances.running, .instances.stopped] | join(" ")')" '1 1'
	kill -KILL "$(field web .pid)"
	vmctl wait --state failed --timeout 60 web >/dev/null
	assert_equal "$(vmctl stats -o json | jq -c '[.instances.failed, .instances.running,
		.window.found_dead, .window.vmm_deaths, .counters.vmm_deaths]')" '[1,0,1,0,0]'
	assert_equal "$(stat_of '.slow_path_reasons | contains(["vmm_deaths"])')" true
	vmctl start web >/dev/null
	assert_equal "$(vmctl stats -o json | jq -c '[.instances.failed, .instances.running,
		.window.found_dead, .window.vmm_deaths, .counters.vmm_deaths]')" '[0,1,0,1,1]'
	assert_equal "$(stat_of '.slow_path_reasons | contains(["vmm_deaths"])')" true
}

@test "stats: who holds a restore slot, and since when" {
	local before after total
	total=$(capability max_concurrent_restores)
	make_standby web
	gated_hypervisor
	assert_equal "$(stat_of 'slot.holders | length')" 0
	before=$(date -u +%FT%T.%3NZ)
	background vmctl-restore web
	wait_for stat_is 'slot.held == 1 and (slot.holders | length) == 1'
	after=$(date -u +%FT%T.%3NZ)
	run -0 vmctl stats -o json
	assert_equal "$(jq -c "$slot slot | [.hypervisor, .total, .tokens]" <<<"$output")" \
		"[\"$VMCTL_HYPERVISOR\",$total,$((total - 1))]"
	assert_equal "$(jq -r "$slot slot.holders[0]"' | .pid, .command' <<<"$output" | xargs)" \
		"$child vmctl-restore web"
	# The clock of a filesystem may be a tick behind: it is compared by the second.
	since=$(jq -r "$slot slot.holders[0].since" <<<"$output")
	[[ ! ${since%.*} < ${before%.*} && ! $since > $after ]] || wrong "$before $since $after"
	run -0 vmctl stats
	assert_line --regexp "^$VMCTL_HYPERVISOR +$total +1 +$((total - 1))\$"
	assert_line --regexp "^$VMCTL_HYPERVISOR\.[0-9]+ +$child +20[^ ]+Z +vmctl-restore web\$"
	touch go
	ended 0
	assert_equal "$(stat_of 'slot | [.held, .tokens, (.holders | length)] | join(" ")')" "0 $total 0"
}

@test "stats: who waits for a restore slot makes the host slow" {
	vmctl_yaml 'limits: {max_concurrent_restores: 1}'
	make_standby a
	make_standby b
	gated_hypervisor
	background vmctl restore a
	first=$child
	wait_for stat_is 'slot.held == 1'
	assert_equal "$(stat_of '.slow_path_reasons | contains(["slot_waits"])')" false
	run -7 vmctl restore --wait=200ms b
	run -0 vmctl stats -o json
	assert_equal "$(jq -c '.slow_path, (.slow_path_reasons | contains(["slot_waits",
		"insufficient_resources"]))' <<<"$output" | xargs)" 'true true'
	assert_equal "$(jq -c '.counters | [.slot_waits, .insufficient_resources,
		.slot_wait_us > 0]' <<<"$output")" '[1,1,true]'
	touch go
	child=$first
	ended 0
	# In a later window it is over; the counters stay.
	run -0 vmctl stats -o json --since 0
	assert_equal "$(jq -c '[.slow_path, .window.operations, .counters.slot_waits]' \
		<<<"$output")" '[false,0,1]'
}

@test "stats: who waits for whom" {
	local lock
	make_web
	make_web idle
	lock=$VMCTL_ROOT/locks/$(field web .id)
	hold "$lock"
	background vmctl-stop --time 1 web
	wait_for awaited "$lock"
	first=$child
	background vmctl-fork web copy
	wait_for stat_is '.locks[0].waiters | length == 2'
	run -0 vmctl stats -o json
	assert_equal "$(jq '.locks | length' <<<"$output")" 1
	assert_equal "$(jq -c '.locks[0] | [.lock, .name, .instance_id]' <<<"$output")" \
		"[\"instance\",\"web\",\"$(field web .id)\"]"
	assert_equal "$(jq -c '.locks[0].holders | map([.pid, .mode])' <<<"$output")" \
		"[[$holder,\"exclusive\"]]"
	assert_equal "$(jq -c '.locks[0].waiters | map([.pid, .command, .mode, .queued])' \
		<<<"$output")" "[[$first,\"vmctl-stop --time 1 web\",\"exclusive\",false],$(
		)[$child,\"vmctl-fork web copy\",null,true]]"
	assert_equal "$(jq '.locks[0].waiters[0].age_seconds >= 0' <<<"$output")" true
	run -0 vmctl stats
	assert_line --regexp '^LOCK +CLAIM +MODE +PID +AGE +COMMAND$'
	assert_line --regexp "^web +holds +exclusive +$holder "
	assert_line --regexp "^web +waits +exclusive +$first +[0-9.]+s +vmctl-stop --time 1 web\$"
	assert_line --regexp "^web +queues +- +$child +[0-9.]+s +vmctl-fork web copy\$"
	let_go "$holder"
	ended 0
	child=$first
	ended 0
	assert_equal "$(stat_of '.locks | length')" 0
}

@test "stats: who has the store alone is told, those who share it are not" {
	make_web
	hold "$VMCTL_ROOT/locks/store"
	background vmctl-start web
	wait_for awaited "$VMCTL_ROOT/locks/store"
	run -0 timeout 60 vmctl stats -o json
	assert_equal "$(jq -c '.locks | map([.lock, .name, .holders[].pid, .waiters[].command])' \
		<<<"$output")" "[[\"store\",null,$holder,\"vmctl-start web\"]]"
	run -0 vmctl stats
	assert_line --regexp '^\(store\) +holds +exclusive '
	let_go "$holder"
	ended 0
	gated_hypervisor
	vmctl stop --force web >/dev/null
	background vmctl-start web
	wait_for stat_is '.locks | length == 1'
	assert_equal "$(stat_of '.locks[0].name')" web
	touch go
	ended 0
}

@test "stats: waits for locks make the host slow when they are a tenth of the time" {
	local id
	make_web
	id=$(field web .id)
	assert_equal "$(stat_of '.slow_path_reasons | contains(["lock_waits"])')" false
	hold "$VMCTL_ROOT/locks/$id"
	background vmctl rm web
	wait_for awaited "$VMCTL_ROOT/locks/$id"
	# As long as all that was done so far, which is more than a tenth of all there will have been.
	sleep "$(stat_of '.window.duration_us / 1000000')"
	let_go "$holder"
	ended 0
	run -0 vmctl stats -o json
	assert_equal "$(jq '.slow_path_reasons | contains(["lock_waits"])' <<<"$output")" true
	assert_equal "$(jq '.window | .lock_waited_us * 10 > .duration_us' <<<"$output")" true
}

@test "stats: disks that are copied make the host slow, where the filesystem shares no extents" {
	local copied=true
	make_standby web
	assert_equal "$(stat_of '.slow_path_reasons | contains(["disks_copied"])')" false
	: >one
	! cp --reflink=always one two 2>/dev/null || copied=false
	vmctl fork web fork >/dev/null
	assert_equal "$(stat_of '.slow_path_reasons | contains(["disks_copied"])')" $copied
}

# --- Prometheus -----------------------------------------------------------------------------------

# The exposition format, strictly: HELP, TYPE, then all samples of a metric, each series once.
check_format() {
	[ "$(tail -c 1 "$1" | od -A n -t x1)" = ' 0a' ] || wrong 'the last line has no end'
	awk '
		function bad(why) { print FILENAME ":" FNR ": " why ": " $0; failed = 1 }
		/^# HELP / {
			if (state == "help" || seen[$3]++) bad("HELP")
			metric = $3; state = "help"
			if (NF < 4) bad("no text")
			next
		}
		/^# TYPE / {
			if (state != "help" || $3 != metric || $4 !~ /^(counter|gauge)$/ || NF != 4) bad("TYPE")
			if (($4 == "counter") != ($3 ~ /_total$/)) bad("a counter, and only that, is _total")
			state = "type"
			next
		}
		{
			name = $0; sub(/\{.*/, "", name)
			if ((state != "type" && state != "sample") || name != metric) bad("not below its TYPE")
			if (name !~ /^vmctl_[a-z_]+$/) bad("name")
			if ($0 !~ /^[a-z_]+\{[a-z]+="([^"\\]|\\["\\n])*"(,[a-z]+="([^"\\]|\\["\\n])*")*\} -?[0-9]+(\.[0-9]+)?$/)
				bad("sample")
			series = $0; sub(/\} .*/, "}", series)
			if (all[series]++) bad("twice")
			state = "sample"
		}
		END { if (state != "sample") bad("no sample"); exit failed }' "$1"
}

# Another reader of the format, as lines "name labels value".
parse() {
	local python=/usr/bin/python3 # the one that Debian's packages are for
	if ! $python -c 'import prometheus_client.parser' 2>/dev/null; then
		[ "${CI:-}" != true ] || wrong 'python3-prometheus-client is not installed'
		skip 'python3-prometheus-client is not installed'
	fi
	$python - "$1" <<-'PYTHON'
		import json, sys
		from prometheus_client.parser import text_string_to_metric_families
		for family in text_string_to_metric_families(open(sys.argv[1], encoding="utf-8").read()):
		    assert family.documentation and family.type in ("counter", "gauge"), family
		    for s in family.samples:
		        print(json.dumps({"name": s.name, "labels": s.labels, "value": s.value}))
	PYTHON
}

@test "stats -o prometheus: the format is right, for an empty root and a busy one" {
	vmctl stats -o prometheus >empty.prom
	check_format empty.prom
	make_standby web
	vmctl fork web -n 2 --name 'f-{}' >/dev/null
	run -4 vmctl fork web f-1
	kill -KILL "$(field f-1 .pid)"
	vmctl wait --state failed --timeout 60 f-1 >/dev/null
	run -6 vmctl pause f-1
	vmctl stats -o prometheus >busy.prom
	check_format busy.prom
	assert [ "$(wc -l <busy.prom)" -gt "$(wc -l <empty.prom)" ]
	# What the check is good for.
	sed '2d' busy.prom >broken.prom
	run ! check_format broken.prom
	{ cat busy.prom && tail -n 1 busy.prom; } >broken.prom
	run ! check_format broken.prom
}

@test "stats -o prometheus: another reader finds the same numbers as -o json has" {
	make_standby web
	vmctl fork web -n 2 --name 'f-{}' >/dev/null
	run -4 vmctl fork web f-1
	vmctl stats -o json >json.txt
	vmctl stats -o prometheus >prom
	parse prom >parsed
	assert_equal "$(jq -s -r 'map(.labels.root) | unique[]' parsed)" "$VMCTL_ROOT"
	value() { jq -s -r "map(select(.name == \"$1\" $2)) | map(.value) | add" parsed; }
	assert_equal "$(value vmctl_operations_total)" \
		"$(jq '[.counters.operations[][]] | add' json.txt)"
	assert_equal "$(value vmctl_operations_total \
		'and .labels.verb == "fork" and .labels.outcome == "already_exists"')" 1
	assert_equal "$(value vmctl_forks_total 'and .labels.relocation == "relative"')" 2
	assert_equal "$(value vmctl_instances 'and .labels.state == "running"')" 2
	assert_equal "$(value vmctl_restore_slots "and .labels.hypervisor == \"$VMCTL_HYPERVISOR\"")" \
		"$(capability max_concurrent_restores)"
	assert_equal "$(value vmctl_slow_path)" "$(jq 'if .slow_path then 1 else 0 end' json.txt)"
	assert_equal "$(value vmctl_slow_path_reason)" "$(jq '.slow_path_reasons | length' json.txt)"
	assert_equal "$(value vmctl_operation_seconds_total '' | xargs printf '%.6f')" \
		"$(jq '[.counters.operation_us[]] | add / 1000000' json.txt | xargs printf '%.6f')"
	assert [ "$(value vmctl_slow_path_window_seconds | cut -d . -f 1)" -ge 3600 ]
}

@test "stats -o prometheus: a data root of any name is a label" {
	export VMCTL_ROOT=$BATS_TEST_TMPDIR/$'a "b" \\c\nd {e}, ü'
	make_web
	vmctl stats -o prometheus >prom
	check_format prom
	parse prom >parsed
	assert_equal "$(jq -s -r 'map(.labels.root) | unique[]' parsed)" "$VMCTL_ROOT"
	export VMCTL_ROOT=$BATS_TEST_TMPDIR/$'bytes-\xff\xfe'
	vmctl stats -o prometheus >prom
	check_format prom
	parse prom >parsed
	assert_equal "$(jq -s -r 'map(.labels.root) | unique[]' parsed)" "$BATS_TEST_TMPDIR/bytes-??"
}

@test "stats -o prometheus: the recipe of the manual page works, and no other verb has it" {
	local recipe
	mkdir collector
	make_web
	recipe=$(sed -n '/^\* \* \* \* \*/,/^\.Ed/{/^\.Ed/d;p}' "$top/man/vmctl-stats.1" |
		sed '1s/.*root cd [^ ]*/cd collector/' | xargs -d '\n')
	[[ $recipe == 'cd collector && '*'vmctl stats -o prometheus >'*' mv '* ]] || wrong "$recipe"
	bash -e -c "$recipe"
	assert_equal "$(ls collector)" vmctl.prom
	check_format collector/vmctl.prom
	run -2 vmctl ls -o prometheus
	assert_output --partial "'table', 'json' or 'yaml', not 'prometheus'"
	run -2 vmctl stats -o xml
	assert_output --partial "'table', 'json', 'yaml' or 'prometheus'"
}
