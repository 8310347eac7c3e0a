#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # bats sets output and stderr
# shellcheck disable=SC2030,SC2031,SC2317 # each test is a subshell; functions are called by name
# vmctl top: in a real terminal, which tmux is, and for scripts.

load helpers
load jobs

setup() {
	vm_setup
	jobs_setup
	unset NO_COLOR TMUX
	export LC_ALL=C.UTF-8
}

# What runs in the terminal is ended before the terminal is: of a terminal that goes away comes SIGCONT, which
# stops the leak check of a sanitized program for ever.
end_what_runs() {
	local shell pids
	shell=$(tmux -S tmux list-panes -F '#{pane_pid}' 2>/dev/null) || return 0
	pids=$(pgrep -P "$shell") || return 0
	# shellcheck disable=SC2086 # a list of processes
	kill -TERM $pids 2>/dev/null || true
	# shellcheck disable=SC2086
	wait_for are_gone $pids
}

are_gone() {
	local pid
	for pid; do
		[ ! -e "/proc/$pid" ] || return 1
	done
}

teardown() {
	end_what_runs
	tmux -S tmux kill-server 2>/dev/null || true
	jobs_teardown
	vm_teardown
}

make_web() {
	vmctl create "$1" --kernel "$guest" --memory 16M --disk size=1M >/dev/null
}

# terminal WIDTH HEIGHT COMMAND: runs it in a shell in a terminal of that size.
terminal() {
	tmux -S tmux -f /dev/null new-session -d -x "$1" -y "$2" "bash --norc --noprofile" 3>&-
	keys "PS1='ready> '; $3" Enter
}

keys() {
	tmux -S tmux send-keys "$@"
}

resize() {
	tmux -S tmux resize-window -x "$1" -y "$2"
}

screen() {
	tmux -S tmux capture-pane -p
}

# shows PATTERN...: whether the screen has a line for each.
shows() {
	local pattern text
	text=$(screen)
	for pattern; do
		grep -q -E -e "$pattern" <<<"$text" || return 1
	done
}

# Waits for it, and shows what was there instead.
sees() {
	wait_for shows "$@" || wrong "$(screen)"
}

# The names in the order of the screen.
rows() {
	screen | awk '/^NAME/ { rows = 1; next } rows && NF { print $1 }' | xargs
}

in_order() {
	[ "$(rows)" = "$1" ]
}

is_there() {
	[ -s "$1" ]
}

widest() {
	awk '{ if (length > max) max = length } END { print max + 0 }' "$@"
}

@test "top: a row for each instance, and sums above them, at 80 and at 200 columns" {
	local columns
	make_web idle
	make_standby saved
	make_running busy
	terminal 80 24 'vmctl top'
	sees '^vmctl top - [0-9:]{8}, every 2 s, by cpu, ' \
		'^Instances: 3 total, 1 running, 0 paused, 1 standby, 1 stopped, 0 failed' \
		"^Slots: .*$VMCTL_HYPERVISOR 0/[0-9]+.*; lock waiters: 0" \
		'^CPU: [0-9.]+% of [0-9]+%; PSS: [0-9.]+[KM]; host memory: [0-9.]+[GM], [0-9.]+[GM] available' \
		"^busy +running +$VMCTL_HYPERVISOR +[0-9.]+ +[0-9.]+[KM] .* [0-9]+:[0-9.]{5} +[0-9a-z]+" \
		"^idle +stopped +$VMCTL_HYPERVISOR +- +- .*[0-9.]+K " \
		"^saved +standby +$VMCTL_HYPERVISOR +- +- "
	screen >at80
	assert [ "$(widest at80)" -le 80 ]
	assert_equal "$(rows)" 'busy idle saved'
	resize 200 50
	columns='^NAME +STATE +HYPERVISOR +%CPU +PSS +RSS +DISK +TIME\+ +AGE$'
	sees "$columns" '^saved '
	resize 40 10
	sees '^NAME +STATE +%CPU' '^saved +standby'
}

@test "top: keys change the order, and the other keys do what the help says" {
	make_web a-stopped
	make_running b-running
	terminal 80 24 'vmctl top'
	sees '^b-running' '^a-stopped'
	wait_for in_order 'b-running a-stopped'
	keys N
	sees 'by name,'
	wait_for in_order 'a-stopped b-running'
	keys R
	sees 'by name reversed'
	wait_for in_order 'b-running a-stopped'
	keys R M
	sees 'by pss,'
	wait_for in_order 'b-running a-stopped'
	keys R
	wait_for in_order 'a-stopped b-running'
	keys T
	sees 'by time reversed'
	keys R P i
	sees 'by cpu, running only' '^Instances: 2 total'
	wait_for in_order b-running
	keys i
	wait_for in_order 'b-running a-stopped'
	keys '?'
	sees '^q +quit' 'Any key goes back'
	keys x
	sees '^b-running'
	keys d
	sees '^Seconds between refreshes \[2\]: _'
	keys 0 Enter
	sees 'between 0.1 and 3600 seconds'
	keys s 1 x . 5 9 BSpace Enter
	sees 'every 1.5 s, by cpu'
	keys d 7
	sees ': 7_'
	keys Escape
	sees 'every 1.5 s'
	keys u C-l
	sees '^a-stopped'
	keys q
	sees '^ready> *$'
}

@test "top: what is made and removed meanwhile comes and goes" {
	make_web one
	terminal 80 24 'vmctl top -d 1h'
	sees '^one '
	make_running two
	vmctl rm one >/dev/null
	keys Space
	sees '^two +running' '^Instances: 1 total'
	assert_equal "$(rows)" two
	vmctl stop --time 0 two >/dev/null || vmctl rm --force two >/dev/null
	keys Space
	sees '^Instances: 1 total, 0 running|^Instances: 0 total'
}

# Rows as instances would leave them, without their directories.
many_rows() {
	sqlite3 "$VMCTL_ROOT/vmctl.db" "
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
		INSERT INTO instance (id, name, state, hypervisor, vcpus, memory_bytes, created_us, changed_us, spec)
		SELECT printf('many%020d', i), printf('many-%d', i), 'stopped', hypervisor, 1, 16777216,
			created_us, changed_us, spec
		FROM instance, n WHERE name = 'web';"
}

@test "top: arrows and pages scroll, within bounds" {
	make_web web
	many_rows 100
	terminal 80 24 'vmctl top --sort name'
	sees '^many-1 ' '^many-18 '
	keys Down
	wait_for in_order "$(seq -f 'many-%g' 2 19 | xargs)"
	keys Up Up Up
	wait_for in_order "$(seq -f 'many-%g' 1 18 | xargs)"
	keys PageDown
	wait_for in_order "$(seq -f 'many-%g' 19 36 | xargs)"
	keys End
	wait_for in_order "$(seq -f 'many-%g' 84 100 | xargs) web"
	keys PageDown Down
	sees '^web '
	wait_for in_order "$(seq -f 'many-%g' 84 100 | xargs) web"
	keys PageUp Home
	wait_for in_order "$(seq -f 'many-%g' 1 18 | xargs)"
	sqlite3 "$VMCTL_ROOT/vmctl.db" "DELETE FROM instance WHERE name <> 'web'"
}

@test "top: tiny windows neither wrap nor crash it" {
	make_web web
	terminal 20 5 'vmctl top -d 0.1; echo "status $?"'
	sees '^web +stopped'
	run -0 screen
	assert_line --index 0 --regexp '^vmctl top - [0-9:]{8}$'
	for size in '1 1' '2 2' '3 40' '200 2' '80 3' '12 4' '500 200' '20 5'; do
		# shellcheck disable=SC2086 # two numbers
		resize $size
	done
	sees '^NAME +STATE' '^web +stopped'
	keys h
	sees '^q  '
	keys h d
	sees '^Seconds between refr$'
	keys Escape q
	sees '^status 0'
}

@test "top: q gives the terminal back as it was" {
	make_web web
	terminal 80 24 'echo was here; stty -g >before; vmctl top; echo $? >status; stty -g >after'
	sees '^web '
	run -1 shows 'was here' # it has a screen of its own
	keys q
	wait_for is_there after
	assert_equal "$(cat after)" "$(cat before)"
	assert_equal "$(cat status)" 0
	sees '^was here' '^ready> *$'
}

@test "top: SIGTERM and ^C give the terminal back, and it dies of them" {
	make_web web
	terminal 80 24 'stty -g >before; vmctl-top; echo $? >status; stty -g >after'
	sees '^web '
	kill -TERM "$(pgrep -P "$(tmux -S tmux display-message -p '#{pane_pid}')" -x vmctl-top)"
	wait_for is_there after
	assert_equal "$(cat after)" "$(cat before)"
	assert_equal "$(cat status)" 143
	sees '^ready> *$'
	rm status after
	keys 'clear; vmctl-top' Enter
	sees '^web '
	keys C-\\
	keys N
	sees 'by name' # ^\ did nothing
	keys C-c
	sees '^ready> *$'
	# shellcheck disable=SC2016 # for the shell in the terminal
	keys 'echo $? >status' Enter
	wait_for is_there status
	assert_equal "$(cat status)" 130
}

@test "top: ^Z gives the terminal back until it goes on" {
	make_web web
	terminal 80 24 'stty -g >before; vmctl-top'
	sees '^web '
	keys C-z
	sees 'Stopped +vmctl-top' '^ready> *$'
	keys 'stty -g >after' Enter
	wait_for is_there after
	assert_equal "$(cat after)" "$(cat before)"
	keys 'clear; fg' Enter
	sees '^web ' '^Instances: 1 total'
	keys q
	sees '^ready> *$'
}

@test "top: states have colours, and none with NO_COLOR" {
	make_running web
	terminal 80 24 'vmctl top -n 1000'
	sees '^web +running'
	tmux -S tmux capture-pane -p -e | grep -q $'\033\[32mrunning'
	keys q
	sees '^ready> *$'
	keys 'clear; NO_COLOR=1 vmctl top' Enter
	sees '^web +running'
	tmux -S tmux capture-pane -p -e >plain
	run -1 grep $'\033\[3[0-7]m' plain
}

@test "top: what is no terminal is refused, with a hint" {
	run -2 --separate-stderr vmctl top
	[[ $stderr == *'not a terminal'*'hint: -b '* ]]
	run -2 --separate-stderr vmctl top -o json
	assert_equal "$(jq -r .error.message <<<"$stderr")" '-o json and -o yaml need -b'
	run -2 vmctl top -b -d 0
	run -2 vmctl top -b -n 0
	run -2 vmctl top -b --sort cup
	assert_output --partial "did you mean 'cpu'?"
	terminal 80 24 'TERM=no-such-terminal vmctl top; echo "status $?"'
	sees "no full-screen terminal of the type 'no-such-terminal'" '^hint: .*-b' '^status 2'
	keys 'clear; TERM=dumb vmctl top; echo "status $?"' Enter
	sees "no full-screen terminal of the type 'dumb'" '^status 2'
	assert [ ! -e "$VMCTL_ROOT" ]
}

@test "top -b: the same as text, so many times" {
	make_web idle
	make_running busy
	run -0 vmctl top -b -n 2 -d 0.1 --sort name
	assert_equal "$(grep -c '^vmctl top - ' <<<"$output")" 2
	assert_equal "$(grep -c -E '^NAME +STATE +HYPERVISOR +%CPU +PSS +RSS +DISK +TIME\+ +AGE$' <<<"$output")" 2
	assert_equal "$(awk '/^(busy|idle)/ { print $1 }' <<<"$output" | xargs)" 'busy idle busy idle'
	assert_line --regexp "^busy +running +$VMCTL_HYPERVISOR +[0-9.]+ +[0-9.]+[KM] +[0-9.]+M +[0-9.]+[KM] +[0-9]+:[0-9.]+ +[0-9]+"
	assert_line --regexp "^idle +stopped +$VMCTL_HYPERVISOR +- +- +- +[0-9.]+[KM] +- +[0-9]+"
	run -0 vmctl --root nowhere top -b -n 1
	assert_line --partial 'Instances: 0 total'
	assert [ ! -e nowhere ]
}

@test "top -b -o json: one object a refresh, with numbers that are sane" {
	local keys
	make_web idle
	make_running busy
	vmctl top -b -d 0.1 -o json >out 3>&- &
	child=$!
	children+=("$child")
	uses_cpu() {
		# Whole lines only; and nothing to read is no failure to jq 1.6.
		[ -n "$(whole_lines out | jq '.instances[] | select(.name == "busy" and .cpu_percent > 0)')" ]
	}
	wait_for uses_cpu
	kill -TERM "$child"
	ended 143
	whole_lines out | tail -n 1 >frame
	keys=$(sed -n '/The keys are/,/^The common/{s/^\.It Cm //p}' "$top/man/vmctl-top.1" |
		tr -s ' ,' '\n' | sort)
	assert_equal "$(jq -r '[keys[], (.host | keys[]), (.instances[0] | keys[])] | unique | .[]' frame)" \
		"$(sort -u <<<"$keys")"
	# Of the PSS only so much is its own: others may run the same program.
	jq -e '.instances[] | select(.name == "busy") | .state == "running" and .pss_bytes > 100000
		and .pss_bytes <= .rss_bytes + 1048576 and .rss_bytes < 1000000000 and .cpu_us > 0
		and .exclusive_bytes > 0 and .age_seconds >= 0 and .pid > 0' frame
	assert_equal "$(jq '.instances[] | select(.name == "busy").pid' frame)" "$(field busy .pid)"
	assert_equal "$(jq -c '.instances[] | select(.name == "idle") |
		[.pid, .cpu_percent, .cpu_us, .pss_bytes, .rss_bytes]' frame)" '[null,null,null,null,null]'
	jq -e '.host | .cpus > 0 and .memory_available_bytes <= .memory_bytes' frame
	assert_equal "$(jq -c '.states' frame)" '{"stopped":1,"standby":0,"running":1,"paused":0,"failed":0}'
	jq -e '.pss_bytes == ([.instances[].pss_bytes | numbers] | add)' frame
}

@test "top -b: a slot that is held, and who waits for a lock" {
	make_standby web
	gated_hypervisor
	background vmctl restore web
	counts() { vmctl top -b -n 1 -d 0.1 -o json | jq -e "$1"; }
	wait_for counts ".slots[] | select(.hypervisor == \"$VMCTL_HYPERVISOR\") | .held == 1"
	counts '.lock_waiters == 0'
	vmctl stop web --wait >/dev/null 2>&1 3>&- &
	children+=($!)
	wait_for counts '.lock_waiters == 1'
	kill "${children[-1]}"
	touch go
	ended 0
	wait_for counts ".slots[] | select(.hypervisor == \"$VMCTL_HYPERVISOR\") | .held == 0"
}

@test "top: holds nothing of the store while it waits" {
	make_web web
	vmctl top -b -d 1h -o json >out 3>&- &
	child=$!
	children+=("$child")
	wait_for is_there out
	vmctl fork web two >/dev/null
	assert_equal "$(sqlite3 "$VMCTL_ROOT/vmctl.db" 'PRAGMA wal_checkpoint(TRUNCATE)')" '0|0|0'
	assert [ ! -s "$VMCTL_ROOT/vmctl.db-wal" ]
	kill -INT "$child" || true
	kill -TERM "$child" || true
	wait "$child" || true
}

@test "top -b: ends when nobody reads any more, and sees a data root that comes to be" {
	vmctl top -b -d 0.1 >out 3>&- &
	child=$!
	children+=("$child")
	wait_for said 'Instances: 0 total'
	make_web web
	wait_for said '^web  *stopped'
	kill -TERM "$child"
	ended 143
	vmctl top -b -d 1h | head -n 1 >first
	assert_equal "$(cut -c 1-12 first)" 'vmctl top - '
}
