#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # bats sets output and stderr
# shellcheck disable=SC2030,SC2031,SC2317 # each test is a subshell; functions are called by name
# The verbs that only look: ls, inspect, wait, logs, console, doctor.

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

kill_vmm() {
	kill -KILL "$(vmctl inspect "$1" | jq -r .pid)"
	none() { [ "$(live_vmms)" = "${1:-0}" ]; }
	wait_for none
}

@test "ls: the columns, in order of name; nothing but the head without instances" {
	run -0 vmctl ls
	local cid='[0-9]+'
	has_vsock || cid=-
	assert_output --regexp '^NAME +ID +STATE +HYPERVISOR +VCPUS +MEMORY +CID +PARENT +CREATED$'
	for name in c a b; do
		make_web "$name"
	done
	vmctl fork b a-fork >/dev/null
	vmctl create no-vsock --kernel "$guest" --memory 1G --vcpus 3 --no-vsock >/dev/null
	run -0 vmctl ls
	assert_equal "$(awk 'NR > 1 { print $1 }' <<<"$output" | xargs)" 'a a-fork b c no-vsock'
	assert_line --regexp \
		"^a-fork +[a-z0-9]{12} +stopped +$VMCTL_HYPERVISOR +1 +16.0M +$cid +b +(just now|[0-9]+ second)"
	assert_line --regexp "^no-vsock +[a-z0-9]{12} +stopped +$VMCTL_HYPERVISOR +3 +1.0G +- +- +"
	assert_equal "$(vmctl list)" "$output"
}

@test "ls: those that are given, by name, id or the beginning of an id" {
	local id
	for name in a b c; do
		make_web "$name"
	done
	id=$(vmctl inspect b | jq -r .id)
	run -0 vmctl ls -q "$id"
	assert_output "$id"
	run -0 vmctl ls "${id:0:12}" a
	assert_equal "$(awk 'NR > 1 { print $1 }' <<<"$output" | xargs)" 'a b'
	run -3 --separate-stderr vmctl ls a nowhere
	assert_equal "$(awk 'NR > 1 { print $1 }' <<<"$output" | xargs)" a
	[[ $stderr == *"no instance 'nowhere'"* ]]
}

@test "ls: filters by state and parent, -q, -o json" {
	make_standby src
	for name in one two; do
		vmctl fork src "$name" >/dev/null
	done
	vmctl pause two >/dev/null
	vmctl create lone --kernel "$guest" >/dev/null
	names() { awk 'NR > 1 { print $1 }' <<<"$output" | xargs; }
	run -0 vmctl ls --state running
	assert_equal "$(names)" one
	run -0 vmctl ls --state=paused,standby --state=stopped
	assert_equal "$(names)" 'lone src two'
	run -0 vmctl ls --state failed -q
	assert_output ''
	run -0 vmctl ls --parent src
	assert_equal "$(names)" 'one two'
	run -0 vmctl ls --parent src --state paused -q
	assert_output "$(vmctl inspect two | jq -r .id)"
	run -0 vmctl ls -o json
	assert_equal "$(jq -c 'map([.name, .state])' <<<"$output")" \
		'[["lone","stopped"],["one","running"],["src","standby"],["two","paused"]]'
	assert_equal "$(jq -c '.[2]' <<<"$output")" "$(vmctl inspect src | jq -c 'del(.accelerator_reason)')"
	vmctl rm --force src >/dev/null
	run -0 vmctl ls --parent src
	assert_equal "$(names)" 'one two'
	run -3 vmctl ls --parent nobody
	kill_vmm_of_one() { kill -KILL "$(vmctl inspect one | jq -r .pid)"; }
	kill_vmm_of_one
	vmctl wait --state failed --timeout 60 one >/dev/null
	run -0 vmctl ls --state failed
	assert_equal "$(names)" one
}

@test "ls --tree: each source is followed by its forks" {
	make_web root
	make_web other
	vmctl fork root b >/dev/null
	vmctl fork root a >/dev/null
	vmctl fork a a1 >/dev/null
	vmctl fork a1 a2 >/dev/null
	tree() { awk 'NR > 1' <<<"$output" | sed 's/  *[a-z0-9]\{12\}  .*//'; }
	LC_ALL=C run -0 vmctl ls --tree
	assert_equal "$(tree)" 'other
root
|- a
|  `- a1
|     `- a2
`- b'
	LC_ALL=C.UTF-8 run -0 vmctl ls --tree
	assert_line --partial '├─ a '
	assert_line --partial '│  └─ a1 '
	# The columns stay below each other.
	local LC_ALL=C.UTF-8 head=${lines[0]%%STATE*} line
	for line in "${lines[@]:1}"; do
		line=${line%%stopped*}
		[ "${#line}" = "${#head}" ] || wrong "$output"
	done
	LC_ALL=C
	# Forks of what was removed are roots.
	vmctl rm a1 >/dev/null
	LC_ALL=C run -0 vmctl ls --tree
	assert_equal "$(tree)" 'a2
other
root
|- a
`- b'
}

@test "inspect: the keys are those of the manual page, one object or an array" {
	local keys
	make_running web
	run -0 vmctl inspect web
	keys=$(sed -n '/The keys are/,/^The common/{s/^\.It Cm //p}' "$top/man/vmctl-inspect.1" |
		tr -s ' ,' '\n' | sort)
	assert_equal "$(jq -r 'keys[]' <<<"$output" | sort)" "$keys"
	assert_equal "$(jq -c '[.name, .state, .parent, .failure, .intent, .hypervisor]' \
		<<<"$output")" "[\"web\",\"running\",null,null,null,\"$VMCTL_HYPERVISOR\"]"
	[[ $(jq -r .created <<<"$output") =~ ^20[0-9-]{8}T[0-9:]{8}\.[0-9]{3}Z$ ]]
	assert [ -S "$(jq -r .api_socket <<<"$output")" ]
	! can vsock_by_socket || assert [ -S "$(jq -r .vsock_socket <<<"$output")" ]
	can vsock_by_socket || assert_equal "$(jq -r .vsock_socket <<<"$output")" null
	assert [ -f "$(jq -r .console_log <<<"$output")" ]
	assert [ -f "$(jq -r .vmm_log <<<"$output")" ]
	assert [ -f "$(jq -r '.directory + "/" + .disks[0].file' <<<"$output")" ]
	assert [ -d "/proc/$(jq -r .pid <<<"$output")" ]
	vmctl fork web copy --from-running >/dev/null
	run -0 vmctl inspect copy web
	assert_equal "$(jq -c 'map([.name, .parent.name])' <<<"$output")" '[["copy","web"],["web",null]]'
	assert_equal "$(jq 'map([.id, .guest_cid, .directory, .pid]) | add | unique | length' \
		<<<"$output")" "$(has_vsock && echo 8 || echo 7)" # without, both have null
	run -3 --separate-stderr vmctl inspect web nowhere
	assert_equal "$(jq -c 'map(.name)' <<<"$output")" '["web"]'
}

@test "wait: already there, reached by another, one of several" {
	make_running web
	run -0 vmctl wait --state running web
	assert_output web
	run -0 vmctl wait --state stopped,running --timeout 0 web
	background vmctl wait --state standby web
	wait_for sleeps
	vmctl standby web >/dev/null
	ended 0
	assert_equal "$(cat out)" web
	background vmctl wait -q --state stopped --state failed web
	wait_for sleeps
	vmctl restore web >/dev/null
	kill_vmm web
	ended 0
	assert_equal "$(cat out)" "$(vmctl inspect web | jq -r .id)"
}

@test "wait: the time is over (12), removed meanwhile (3), --gone" {
	make_web web
	run -12 --separate-stderr vmctl wait --state running --timeout 0 web
	assert_output ''
	[[ $stderr == *"web is still stopped"* ]]
	run -12 vmctl wait --state running --timeout 200ms web
	run -12 vmctl wait --gone --timeout 0 web
	background vmctl wait --state running web
	wait_for sleeps
	vmctl rm web >/dev/null
	ended 3
	assert said "web was removed while it was waited for" err
	run -0 vmctl wait --gone web
	assert_output ''
	make_running web
	background vmctl wait --gone web
	wait_for sleeps
	vmctl rm --force web >/dev/null
	ended 0
	assert_equal "$(cat out)" ''
}

@test "wait: a signal ends it" {
	make_web web
	background vmctl wait --state running web
	wait_for sleeps
	kill -TERM "$child"
	ended 143
}

@test "wait: a guest that powers itself off is seen as stopped" {
	make_running web
	background vmctl wait --state stopped --timeout 600 web
	wait_for sleeps
	printf q >"$(dir_of web)/console.in"
	ended 0
}

@test "logs: all, the last lines, the hypervisor's; nothing of what never ran" {
	make_web web
	run -0 vmctl logs web
	assert_output ''
	vmctl start web >/dev/null
	told() { (($(last_tick web) >= 3)); }
	wait_for told
	vmctl stop --force web >/dev/null
	assert_equal "$(vmctl logs web)" "$(console_of web)"
	assert_equal "$(vmctl logs web | head -n 2)" $'vmctl-guest ready\ntick 1'
	for n in 1 2 3 1000; do
		assert_equal "$(vmctl logs -n $n web)" "$(console_of web | tail -n $n)"
	done
	run -0 vmctl logs -n 0 web
	assert_output ''
	run -0 vmctl logs --vmm -n 1 web
	assert_equal "${#lines[@]}" 1
	run -0 vmctl logs --vmm web
	assert_output --partial "$(log_word)"
	# Those who follow what does not run get what there is.
	run -0 timeout 60 vmctl logs -f web
	assert_output "$(console_of web)"
	run -1 bash -c 'vmctl logs web >/dev/full'
}

@test "logs: from the beginning, over restores and starts, as the manual page says" {
	make_standby web
	vmctl restore web >/dev/null
	counted_on() { (($(last_tick web) > 3)); }
	wait_for counted_on
	assert_equal "$(vmctl logs web | head -n 2)" $'vmctl-guest ready\ntick 1'
	vmctl stop --force web >/dev/null
	vmctl start web >/dev/null
	booted_again() { (($(vmctl logs web | grep -c ready) == 2)); }
	wait_for booted_again
}

@test "logs -f: shows what comes and ends with the hypervisor" {
	make_running web
	background vmctl logs -f -n 0 web
	wait_for said '^tick'
	ask web c '^count'
	wait_for said '^count'
	vmctl stop --time 60 web >/dev/null
	ended 0
	assert said ctrl-alt-del
	assert_equal "$(tail -n 3 out)" "$(console_of web | tail -n 3)"
	make_running other
	background vmctl logs -f other
	wait_for said '^tick'
	vmctl standby other >/dev/null
	ended 0
	assert_equal "$(cat out)" "$(console_of other)"
	vmctl restore other >/dev/null
	background vmctl logs -f other
	wait_for said '^tick'
	kill -INT "$child" # a job in the background ignores it
	kill -TERM "$child"
	ended 143
}

@test "console: copies what is no terminal to the guest, and its answers out" {
	make_running web
	mkfifo in
	exec 9<>in
	background vmctl console web <in 9>&-
	wait_for said '^tick'
	printf c >&9
	wait_for said '^count'
	printf '\035mW' >&9 # no escape character without a terminal
	wait_for said '^marked W'
	exec 9>&-
	vmctl stop --force web >/dev/null
	ended 0
	run ! grep -q $'\e' out err
	for state in stopped standby; do
		[ "$state" = stopped ] || { vmctl start web && wait_for has_ticked web && vmctl standby web; }
		run -6 --separate-stderr timeout 60 vmctl console web
		[[ $stderr == *"web is $state"* ]]
	done
}

# terminal COMMAND: a shell command on a terminal of its own, which types what is written to fd 9.
terminal() {
	command -v script >/dev/null || skip "script(1) is not installed"
	rm -f keys
	mkfifo keys
	exec 9<>keys
	# shellcheck disable=SC2016 # $? is for that shell
	printf 'stty -g >before\n%s\nstatus=$?\nstty -g >after\necho $status >status\n' "$1" >run.sh
	background script -qec 'sh run.sh' /dev/null <keys 9>&-
}

@test "console on a terminal: keys go to the guest, ^] detaches, the settings come back" {
	make_running web
	terminal 'vmctl console web'
	wait_for said 'escape character is ^\]'
	wait_for said '^tick'
	printf c >&9
	wait_for said '^count'
	printf '\003' >&9 # Control-C is the guest's
	wait_for said '^? '
	printf '\035' >&9
	ended 0
	assert said 'Detached from web'
	assert_equal "$(cat status)" 0
	assert_equal "$(cat after)" "$(cat before)"
	assert_equal "$(state_of web)" running
}

@test "console on a terminal: the hypervisor ends, a signal comes: the settings come back" {
	make_running web
	terminal 'vmctl console --escape ^A web'
	wait_for said 'escape character is ^A'
	printf '\035c' >&9 # ^] is an ordinary key now
	wait_for said '^count'
	vmctl stop --force web >/dev/null
	ended 0
	assert said 'The hypervisor of web has ended'
	assert_equal "$(cat status) $(cat after)" "0 $(cat before)"
	vmctl start web >/dev/null
	rm -f status after
	terminal "sh -c 'echo \$\$ >pid; exec vmctl console web'"
	wait_for said 'Connected to web'
	kill -TERM "$(cat pid)"
	ended 0
	assert_equal "$(cat status) $(cat after)" "143 $(cat before)"
	assert_equal "$(state_of web)" running
}

@test "doctor: a clean root is 0, without instances too" {
	run -0 vmctl doctor
	# A warning where it is emulated.
	assert_line --regexp '^(OK|WARN) +kvm '
	assert_line --regexp "^OK +$VMCTL_HYPERVISOR .*version [0-9.]+(\+[a-z]+)?\$"
	make_running web
	assert_clean
	run -0 vmctl doctor -o json
	assert_equal "$(jq -r '.[] | select(.check == "leftovers") | .level' <<<"$output")" ok
}

@test "doctor: a dead VMM is a leftover until the next verb has repaired it" {
	local before
	make_running web
	kill_vmm web
	before=$(snapshot_root)
	run -13 vmctl doctor
	assert_line --regexp '^LEFT +leftovers +the VMM has ended of web$'
	run -13 vmctl doctor -o json
	assert_equal "$(jq -r '.[] | select(.level == "leftover") | .message' <<<"$output")" \
		'the VMM has ended of web'
	assert_equal "$(snapshot_root)" "$before" # it only looks
	run -6 vmctl pause web
	assert_clean
	assert_equal "$(state_of web)" failed
}

@test "doctor: directories and files that belong to no instance are leftovers" {
	local id=aaaaaaaaaaaaaaaaaaaaaaaa
	make_web web
	for path in guests/$id/ trash/$id/ locks/$id run/$id.alive; do
		case $path in
		*/) mkdir "$VMCTL_ROOT/$path" ;;
		*) : >"$VMCTL_ROOT/$path" ;;
		esac
		run -13 vmctl doctor
		[[ $output == *LEFT*${path%/}* ]] || wrong "$path: $output"
		rm -r "${VMCTL_ROOT:?}/$path"
		assert_clean
	done
}
