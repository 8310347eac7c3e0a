#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154,SC2016 # bats sets output, stderr and lines; hooks expand their own text
# Hooks around fork, start, restore, standby and rm: what they are told, when they run, and what their
# failure, slowness and death make of the verb.

load helpers
load jobs

setup() {
	vm_setup
	jobs_setup
	user=$XDG_CONFIG_HOME/vmctl/hooks.d
	own=$VMCTL_ROOT/hooks.d
	mkdir -m 0700 "$VMCTL_ROOT"
	export LOG=$PWD/log
	: >"$LOG"
}

teardown() {
	jobs_teardown
	rm -rf "$own" "$user"
	vm_teardown
}

# hook EVENT NAME TEXT [DIRECTORY]: a hook in bash.
hook() {
	local dir=${4:-$own}/$1
	mkdir -p "$dir"
	printf '#!/bin/bash\n%s\n' "$3" >"$dir/$2"
	chmod +x "$dir/$2"
}

every_event() {
	local event
	for event in {pre,post}-{fork,start,restore,standby,rm}; do
		hook "$event" 10-log "$1"
	done
}

create() {
	vmctl create "$@" --kernel "$guest" --memory 16M --disk size=1M >/dev/null
}

# How often pids of hooks that note themselves in a file live.
lives() {
	local pid
	read -r pid <"$1" && kill -0 "$pid" 2>/dev/null
}

is_gone() {
	! lives "$1"
}

no_vmm() {
	[ "$(live_vmms)" = 0 ]
}

@test "each event has its pre-hooks before and its post-hooks behind it, and they know of what" {
	every_event 'echo "$VMCTL_HOOK $VMCTL_VERB $VMCTL_INSTANCE_NAME<$VMCTL_SOURCE_NAME $VMCTL_STATE" >>"$LOG"'
	make_running web
	vmctl standby web
	vmctl fork web -n 2 --name 'job-{}' --target-state standby
	vmctl restore web
	vmctl rm --force job-1
	diff - "$LOG" <<-'END'
		pre-start start web< stopped
		post-start start web< running
		pre-standby standby web< running
		post-standby standby web< standby
		pre-fork fork <web standby
		post-fork fork job-1<web standby
		post-fork fork job-2<web standby
		pre-restore restore web< standby
		post-restore restore web< running
		pre-rm rm job-1< standby
		post-rm rm job-1< standby
	END
}

@test "a hook reads the instance, its source and the request as JSON" {
	every_event 'jq -c . >>"$LOG"'
	create web
	vmctl fork web twin --target-state stopped >/dev/null
	vmctl rm -f twin >/dev/null
	assert_equal "$(jq -r .hook "$LOG" | xargs)" 'pre-fork post-fork pre-rm post-rm'
	jq -s -e --arg root "$VMCTL_ROOT" '.[0] | .root == $root and .instance == null and .source.name == "web"
		and .request == {count: 1, name: "twin", target_state: "stopped", from_running: false,
			atomic: false, network: null}' "$LOG"
	jq -s -e --arg dir "$VMCTL_ROOT/guests/" '.[1] | .instance.name == "twin" and .source.name == "web"
		and .instance.parent.name == "web" and .instance.directory == $dir + .instance.id
		and .instance.spec.memory_bytes == 16777216' "$LOG"
	jq -s -e '.[2].request == {force: true}' "$LOG"
}

@test "a hook is told the labels of the instance and of its source, also of one that was removed" {
	every_event 'jq -r "[.hook, (.instance.labels | tojson), (.source.labels | tojson)] | join(\" \")" >>"$LOG"'
	create web --label tier=front
	vmctl fork web twin --target-state stopped --label tier=back --label no=1
	vmctl rm twin
	diff - "$LOG" <<-'END'
		pre-fork null {"tier":"front"}
		post-fork {"no":"1","tier":"back"} {"tier":"front"}
		pre-rm {"no":"1","tier":"back"} null
		post-rm {"no":"1","tier":"back"} null
	END
}

@test "a verb with nothing to do, and one that is refused, runs no hooks" {
	every_event 'echo "$VMCTL_HOOK" >>"$LOG"'
	make_running web
	: >"$LOG"
	vmctl start web
	vmctl restore web
	run -6 vmctl rm web
	run -6 vmctl fork web twin
	run -3 vmctl rm nobody
	run -2 vmctl fork web -n 2 --name twin
	vmctl stop --force web
	run -6 vmctl restore web
	run -6 vmctl standby web
	vmctl snapshot create web one
	vmctl snapshot rm web/one
	assert_equal "$(cat "$LOG")" ''
}

@test "the hooks of all directories run, the nearest last, in each in order of name" {
	hook pre-rm 20-b 'echo "root 20" >>"$LOG"'
	hook pre-rm 10-a 'echo "root 10" >>"$LOG"'
	hook pre-rm 90-z 'echo "user 90" >>"$LOG"' "$user"
	hook pre-rm net.sh 'echo "bad name" >>"$LOG"'
	hook pre-rm 30-c 'echo "not executable" >>"$LOG"'
	hook pre-rm '40-d~' 'echo "backup" >>"$LOG"'
	chmod -x "$own/pre-rm/30-c"
	mkdir "$own/prestart"
	create web
	vmctl rm web
	assert_equal "$(cat "$LOG")" $'user 90\nroot 10\nroot 20'
	run vmctl doctor
	assert_line --regexp "^WARN +hooks +$own/pre-rm/30-c is not executable"
	assert_line --regexp "^WARN +hooks +$own/pre-rm/net.sh does not run for its name"
	assert_line --regexp "^WARN +hooks +$own/prestart is of no event"
	assert_line --regexp '^OK +hooks +3 that run'
}

@test "a pre-hook that fails ends the verb: exit 15, nothing was changed, the next hooks do not run" {
	local before event verb
	create web
	every_event 'echo "no, not now" >&2; exit 3'
	hook pre-start 20-next 'echo next >>"$LOG"'
	before=$(snapshot_root)
	for verb in 'start web' 'rm web' 'fork web twin' 'fork web -n 3 --name twin-{}' 'rm --force web'; do
		# shellcheck disable=SC2086 # a verb and its arguments
		run -15 --separate-stderr vmctl $verb
		assert_equal "$output" ''
		event=pre-${verb%% *}
		[[ $stderr = *'no, not now'*"vmctl-${verb%% *}: web: $event hook $own/$event/10-log: exit status 3"* ]] ||
			fail "$stderr"
		assert_equal "$(snapshot_root)" "$before"
	done
	assert_equal "$(cat "$LOG")" ''
	run --separate-stderr vmctl start web -o json
	assert_equal "$(tail -n 1 <<<"$stderr" | jq -r .error.code)" hook
	# It is an event of the verb, about the instance.
	run -0 vmctl events web --verb start --outcome hook
	assert_output --partial "exit status 3"
}

@test "a running guest goes on when the hook before its standby says no" {
	make_running web
	hook pre-standby 10-no 'exit 1'
	run -15 vmctl standby web
	assert_equal "$(state_of web)" running
	assert_equal "$(guest_state web)" Running
	rm -r "$own"
	vmctl standby web
	hook pre-restore 10-no 'kill -KILL $$'
	run -15 --separate-stderr vmctl restore web
	[[ $stderr = *': killed by SIGKILL'* ]] || fail "$stderr"
	assert_equal "$(state_of web)" standby
	assert_clean
}

@test "a post-hook that fails is a warning and an event, and the verb has succeeded" {
	every_event 'case $VMCTL_HOOK in post-*) exit 4 ;; esac'
	hook post-fork 20-next 'echo "$VMCTL_INSTANCE_NAME" >>"$LOG"'
	create web
	run -0 --separate-stderr vmctl fork web twin --target-state stopped
	assert_equal "$output" twin
	[[ $stderr = *"vmctl-fork: warning: twin: post-fork hook $own/post-fork/10-log: exit status 4"* ]] || fail "$stderr"
	assert_equal "$(cat "$LOG")" twin
	assert_equal "$(vmctl events --outcome hook -o json | jq -r '"\(.verb) \(.name)"')" 'post-fork twin'
	assert_equal "$(vmctl events --verb post-fork,rm -o json | jq -r .name)" twin
	run -2 vmctl events --verb post-frok
	assert_equal "$(vmctl stats -o json | jq '.counters.operations["post-fork"].hook')" 1
}

@test "a hook that takes too long is ended, with all of its group, and has failed" {
	# Long enough for the hook to come to its wait, on a busy machine too.
	vmctl_yaml 'hooks: {timeout: 2s}'
	hook pre-rm 10-slow 'cd "$(dirname "$LOG")"; (trap "" TERM; echo $BASHPID >child; exec 3<>fifo; read -u 3) & echo $$ >pid; wait'
	mkfifo fifo
	create web
	run -15 --separate-stderr vmctl rm web
	[[ $stderr = *': took longer than 2s, and was ended'* ]] || fail "$stderr"
	wait_for is_gone pid
	wait_for is_gone child
	assert_equal "$(state_of web)" stopped
}

@test "an interrupted verb ends its hook, too, and has changed nothing" {
	hook pre-start 10-slow 'cd "$(dirname "$LOG")"; mkfifo fifo; echo $$ >pid.new; mv pid.new pid; read <fifo'
	create web
	env --default-signal=INT vmctl start web >out 2>err 3>&- &
	wait_for test -e pid
	kill -INT $!
	wait $! && return 1
	wait_for is_gone pid
	grep -q 'interrupted by SIGINT' err
	assert_equal "$(state_of web)" stopped
	assert_clean
}

@test "a verb that is interrupted in its post-hooks has done its work, and leaves out the rest of them" {
	hook post-fork 10-slow 'cd "$(dirname "$LOG")"; mkfifo fifo; echo $$ >pid.new; mv pid.new pid; read <fifo'
	hook post-fork 20-next 'echo next >>"$LOG"'
	create web
	env --default-signal=INT vmctl fork web -n 2 --name 'job-{}' --target-state stopped >out 2>err 3>&- &
	wait_for test -e pid
	kill -INT $!
	wait $! && return 1
	wait_for is_gone pid
	assert_equal "$(cat out)" $'job-1\njob-2'
	assert_equal "$(grep -c ': warning: job-[12]: post-fork hook .*interrupted by SIGINT' err)" 4
	assert_equal "$(vmctl events --verb post-fork -o json | jq -r '"\(.name) \(.outcome)"' | uniq -c | xargs)" \
		'2 job-1 system 2 job-2 system'
	assert_equal "$(cat "$LOG")" ''
	assert_clean
}

@test "kill -9 of a verb while its pre-hook runs leaves nothing, and ends the hook" {
	local before verb
	make_standby web
	every_event '[[ $VMCTL_HOOK = pre-* ]] || exit 0; cd "$(dirname "$LOG")"; mkfifo fifo; echo $$ >pid.new; mv pid.new pid; read <fifo'
	before=$(snapshot_root)
	for verb in 'restore web' 'fork web -n 3 --name job-{}' 'rm --force web'; do
		rm -f pid fifo
		# shellcheck disable=SC2086 # a verb and its arguments
		vmctl $verb >out 2>err 3>&- &
		wait_for test -e pid
		kill -KILL $!
		wait $! && return 1
		wait_for is_gone pid
		assert_equal "$(snapshot_root)" "$before"
		assert_clean
	done
	rm -r "$own"
	vmctl restore web
	assert_equal "$(guest_state web)" Running
}

@test "a hook has no descriptor but the standard ones, its output is no result, its input may stay unread" {
	# What is exec()ed has what the shell was given; ls has one more, the directory that it reads.
	hook pre-start 10-fds 'echo "to standard output"; exec ls /proc/self/fd >>"$LOG"'
	hook pre-start 20-signals 'exec grep -E "^Sig(Blk|Ign)" /proc/self/status >>"$LOG"'
	hook pre-start 30-rest 'echo "$(pwd) $(umask)" >>"$LOG"; [ "$(ps -o pgid= -p $$)" -eq $$ ] && echo leads >>"$LOG"'
	hook post-start 10-closed 'exec <&-'
	create web
	# Whatever we were given ourselves.
	(trap '' INT TERM HUP USR1 && vmctl start web >out 2>err 7<log 8<log)
	assert_equal "$(cat out)" web
	assert_equal "$(cat err)" 'to standard output'
	assert_equal "$(tr -d '\t' <"$LOG" | xargs)" \
		"0 1 2 3 SigBlk:0000000000000000 SigIgn:0000000000000000 / 0022 leads"
}

@test "a hook may run vmctl on the instance, which runs no hooks, and doctor --repair" {
	every_event 'echo "$VMCTL_HOOK" >>"$LOG"; vmctl inspect "${VMCTL_INSTANCE_ID:-$VMCTL_SOURCE_ID}" >/dev/null
		vmctl doctor --repair >/dev/null || exit'
	hook pre-start 20-inner 'vmctl fork "$VMCTL_INSTANCE_ID" inner --target-state stopped && vmctl rm inner'
	hook post-start 20-inner 'vmctl standby "$VMCTL_INSTANCE_ID"'
	create web
	vmctl start web
	assert_equal "$(cat "$LOG")" $'pre-start\npost-start'
	assert_equal "$(state_of web)" standby
	assert_clean
}

@test "what a pre-hook changes is seen under the lock" {
	hook pre-start 10-first 'vmctl start "$VMCTL_INSTANCE_ID"'
	hook post-start 10-log 'echo post >>"$LOG"'
	create web
	vmctl start web
	# There was nothing left to do, so nothing has been done.
	assert_equal "$(cat "$LOG")" ''
	hook pre-rm 10-first 'vmctl rm --force "$VMCTL_INSTANCE_ID" && vmctl create web --kernel "$KERNEL"'
	KERNEL=$guest run -3 --separate-stderr vmctl rm --force web
	[[ $stderr = *'removed while its pre-hooks ran'* ]] || fail "$stderr"
	# Another one that has its name now is not what the hook was asked about.
	assert_equal "$(state_of web)" stopped
}

@test "a verb that had nothing to do when it came, and has when its turn comes, runs its hooks first" {
	local lock
	make_running web
	lock=$VMCTL_ROOT/locks/$(field web .id)
	every_event 'echo "$VMCTL_HOOK $VMCTL_STATE" >>"$LOG"'
	hold "$lock"
	background vmctl start web --wait
	wait_for awaited "$lock"
	# By the time that it has the lock the VMM has died.
	kill -KILL "$(field web .pid)"
	wait_for no_vmm
	let_go "$holder"
	ended 0
	assert_equal "$(cat "$LOG")" $'pre-start failed\npost-start running'
	assert_equal "$(guest_state web)" Running
}

@test "a fork that was not possible when it came, and is when its turn comes, runs its hooks first" {
	local lock
	make_running web
	lock=$VMCTL_ROOT/locks/$(field web .id)
	every_event 'echo "$VMCTL_HOOK $VMCTL_STATE" >>"$LOG"'
	hold "$lock"
	background vmctl fork web twin --wait
	wait_for awaited "$lock"
	# What a verb would have committed that had the lock.
	kill -KILL "$(field web .pid)"
	wait_for no_vmm
	sqlite3 "$VMCTL_ROOT/vmctl.db" "UPDATE instance SET state = 'stopped', occupies = 0, pid = 0
		WHERE name = 'web'"
	let_go "$holder"
	ended 0
	assert_equal "$(cat "$LOG")" $'pre-fork stopped\npost-fork stopped'
}

@test "a hook that somebody else could have written does not run, and neither does the verb" {
	[ "$(id -u)" = 0 ] || skip 'files of others need root'
	create web
	hook post-start 10-log 'echo ran >>"$LOG"' "$user"
	chown 65534 "$user/post-start/10-log"
	run -2 --separate-stderr vmctl start web
	[[ $stderr = *"$user/post-start/10-log belongs to "*' (uid 65534)'* ]] || fail "$stderr"
	assert_equal "$(state_of web)" stopped
	run vmctl doctor
	assert_line --regexp "^ERROR +hooks +$user/post-start/10-log belongs to"
	chown 0 "$user/post-start/10-log"
	for dir in "$user/post-start" "$user" "${user%/*}"; do
		chmod 0777 "$dir"
		run -2 --separate-stderr vmctl start web
		[[ $stderr = *"$dir can be written by others (mode 0777)"* ]] || fail "$stderr"
		chmod 0755 "$dir"
	done
	mv "$user/post-start" elsewhere
	ln -s "$PWD/elsewhere" "$user/post-start"
	run -1 vmctl start web
	assert_equal "$(cat "$LOG")" ''
	assert_equal "$(state_of web)" stopped
}

@test "another user's link to what is root's decides neither what runs nor what will have run" {
	local theirs=$PWD/theirs
	[ "$(id -u)" = 0 ] || skip 'files of others need root'
	create web
	hook pre-start 20-log 'echo ours >>"$LOG"' "$PWD/ours/hooks.d"
	hook pre-start 20-log 'echo theirs >>"$LOG"' "$theirs/evil/hooks.d"
	ln -s "$PWD/ours" "$theirs/vmctl"
	chown -hR 65534 "$theirs"
	XDG_CONFIG_HOME=$theirs run -2 --separate-stderr vmctl start web
	[[ $stderr = *"$theirs/vmctl belongs to "*' (uid 65534)'* ]] || fail "$stderr"
	# The link is root's, but its place is not.
	chown -h 0 "$theirs/vmctl"
	XDG_CONFIG_HOME=$theirs run -2 --separate-stderr vmctl start web
	[[ $stderr = *"$theirs belongs to "*' (uid 65534)'* ]] || fail "$stderr"
	# What has become another's after it was found.
	chown 0 "$theirs"
	hook pre-start 10-move 'ln -sfn evil "$XDG_CONFIG_HOME/vmctl"' "$PWD/ours/hooks.d"
	XDG_CONFIG_HOME=$theirs run -2 --separate-stderr vmctl start web
	[[ $stderr = *"20-log belongs to "*' (uid 65534)'* ]] || fail "$stderr"
	# A hook that is a link, to where others can put something else.
	hook pre-start 20-log 'echo linked >>"$LOG"' "$PWD/there"
	hook pre-start 10-first : "$own"
	ln -s "$PWD/there/pre-start/20-log" "$own/pre-start/20-link"
	chmod 0777 "$PWD/there"
	run -2 --separate-stderr vmctl start web
	[[ $stderr = *"$PWD/there can be written by others (mode 0777)"* ]] || fail "$stderr"
	assert_equal "$(cat "$LOG")" ''
	assert_equal "$(state_of web)" stopped
	chmod 0755 "$PWD/there"
	vmctl start web
	assert_equal "$(cat "$LOG")" linked
}

@test "without a home there are no hooks of a user, and a file hooks.d is a mistake" {
	create web
	hook pre-start 10-log 'echo "$VMCTL_INSTANCE_NAME" >>"$LOG"'
	env -u XDG_CONFIG_HOME HOME=/dev/null vmctl start web
	assert_equal "$(cat "$LOG")" web
	mkdir -p "${user%/*}"
	touch "$user"
	run -1 --separate-stderr vmctl rm --force web
	[[ $stderr = *"$user: Not a directory"* ]] || fail "$stderr"
}

@test "a hook that cannot be executed is told with what its first line may lack" {
	create web
	hook pre-rm 10-bad ''
	printf '#!/no/such/interpreter\n' >"$own/pre-rm/10-bad"
	run -15 --separate-stderr vmctl rm web
	[[ $stderr = *"10-bad: cannot be executed: No such file or directory"*'hint: '*'#!'* ]] || fail "$stderr"
	assert_equal "$(state_of web)" stopped
}

@test "paths of the environment lead a hook to the same files" {
	mkdir given
	printf 'wait: 5s\n' >given/my.yaml
	hook pre-rm 10-look 'vmctl config show --value wait root >>"$LOG"' given/hooks.d
	create web
	VMCTL_CONFIG=given/my.yaml VMCTL_ROOT=${VMCTL_ROOT##*/} vmctl rm web
	assert_equal "$(cat "$LOG")" "$VMCTL_ROOT"$'\n5s'
}
