#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # bats sets output, stderr and status; the helpers set guest
# Exit codes as scripts see them: each is provoked for real, and comes the same through every way that a
# shell has to ask for it. What input.bats and help.bats do to single verbs is not done again.

load helpers

setup() {
	vm_setup
	strict='set -euo pipefail'
}

teardown() {
	[ -z "${holder:-}" ] || kill "$holder" 2>/dev/null || true
	vm_teardown
}

wrong() {
	echo "$*"
	return 1
}

# script TEXT: in a shell of its own, as a file would be run.
script() {
	run --separate-stderr timeout 60 bash -c "$1" 3>&-
}

# seen_by_scripts CODE NAME COMMAND: a command that fails so each time it is tried.
seen_by_scripts() {
	local code=$1 name=$2 command=$3
	script "$strict; $command; echo 'went on'"
	[ "$status" = "$code" ] || wrong "set -e: $command: $status instead of $code: $stderr"
	[[ $output != *'went on'* ]] || wrong "set -e: $command: went on"
	script "$strict; if ! $command; then echo refused; fi"
	[ "$status:${output##*$'\n'}" = 0:refused ] || wrong "if !: $command: $status $output $stderr"
	script "$strict; status=0; $command || status=\$?; echo \"\$status\""
	[ "$status:${output##*$'\n'}" = "0:$code" ] || wrong "||: $command: $status $output"
	script "$command; case \$? in $code) echo right ;; *) echo wrong ;; esac"
	[ "${output##*$'\n'}" = right ] || wrong "case: $command: $output"
	script "$strict; trap 'echo \"trap \$?\"' ERR; $command"
	[ "$status" = "$code" ] || wrong "trap: $command: $status"
	[[ $output == *"trap $code"* ]] || wrong "trap: $command: $output"
	script "$strict; $command | cat"
	[ "$status" = "$code" ] || wrong "pipefail: $command: $status"
	script "$command -o json >/dev/null"
	[ "$(tail -n 1 <<<"$stderr" | jq -r .error.code)" = "$name" ] || wrong "json: $command: $stderr"
}

# Holds an instance's lock, as a verb that is at work does, until the test ends.
hold() {
	local file
	file=$VMCTL_ROOT/locks/$(field "$1" .id)
	(exec 9<"$file" 3>&- && flock 9 && exec sleep 600) &
	holder=$!
	is_held() { ! flock -n "$file" true; }
	wait_for is_held
}

# The rows "NUMBER NAME" of a table of codes.
codes_in_source() {
	sed -n 's/^\t*VM_\(ERR_\)\?\([A-Z_]*\) = \([0-9]*\),\( .*\)\?$/\2 \3/p' "$top/lib/err.h" |
		while read -r constant number; do
			echo "$number $(sed -n "s/.*\[VM_\(ERR_\)\?$constant\] = \"\(.*\)\",/\2/p" "$top/lib/err.c")"
		done
}

@test "the tables of exit codes agree: source, vmctl(1), README, troubleshooting" {
	codes_in_source >source
	sed -n 's/^\.It \([0-9]*\) Ta \([a-z_]*\) Ta .*/\1 \2/p' "$top/man/vmctl.1" >manual
	sed -n 's/^| \([0-9]*\) | \([a-z_]*\) | .*/\1 \2/p' "$top/README.md" >readme
	sed -n 's/^## \([0-9]*\) \([a-z_]*\)$/\1 \2/p' "$top/docs/troubleshooting.md" >troubleshooting
	[ "$(wc -l <source)" -ge 16 ]
	[ "$(cut -d ' ' -f 1 source)" = "$(seq 0 $(($(wc -l <source) - 1)))" ]
	diff source manual
	diff source readme
	# Of what went well there is nothing to shoot.
	diff <(grep -v '^0 ' source) troubleshooting
}

@test "every code in a verb's manual page is one of the table, told once" {
	local page codes
	codes_in_source >source
	for page in "$top"/man/vmctl-*.1; do
		codes=$(sed -n '/^\.Sh EXIT STATUS/,/^\.Sh EX[^I]/s/^\.It \([0-9]*\)$/\1/p' "$page")
		[ -n "$codes" ] || wrong "${page##*/}: none"
		[ "$codes" = "$(sort -n -u <<<"$codes")" ] || wrong "${page##*/}: not in order: $codes"
		for code in $codes; do
			grep -q "^$code " source || wrong "${page##*/}: $code"
		done
	done
}

@test "codes that need no guest: 0, 1, 2, 3, 4, 8, 10" {
	vmctl create web --kernel "$guest" --memory 16M >/dev/null
	: >file
	echo 'nothing of the kind' >text
	head -c 9000 "$top/test/fixtures/vmstate/1.12.1/basic.vmstate" >cut.state
	script "$strict; vmctl ls; vmctl stop web; vmctl inspect web | jq -e .id; echo 'went on'"
	[ "$status:${output##*$'\n'}" = '0:went on' ]
	seen_by_scripts 1 system 'vmctl ls --root file'
	seen_by_scripts 2 usage 'vmctl fork web -n 0'
	seen_by_scripts 3 not_found 'vmctl start nobody'
	seen_by_scripts 4 already_exists "vmctl create web --kernel '$guest'"
	seen_by_scripts 8 unsupported 'vmctl state show text'
	seen_by_scripts 10 corrupt 'vmctl state show cut.state'
}

@test "codes of the moment: 5, 6, 7, 9, 12" {
	vmctl create web --kernel "$guest" --memory 16M >/dev/null
	make_running first
	printf 'limits:\n  max_running: 1\n' >limits.yaml
	printf '#!/bin/sh\necho it is broken >&2\nexit 1\n' >broken
	chmod +x broken
	seen_by_scripts 6 invalid_state 'vmctl resume web'
	seen_by_scripts 7 insufficient_resources 'VMCTL_CONFIG=limits.yaml vmctl start web'
	seen_by_scripts 9 hypervisor "$(binary_variable)=$PWD/broken vmctl start web"
	seen_by_scripts 12 timeout 'vmctl wait --state standby --timeout 100ms first'
	hold web
	seen_by_scripts 5 busy 'vmctl start --no-wait web'
	assert_equal "$(state_of web)" stopped
}

@test "codes of what is kept: 10, 11, 13, 14" {
	local dir letter
	make_standby web
	dir=$(dir_of web)
	cp "$dir/manifest.json" manifest
	sed -i 's/"cpu": *"[^"]*"/"cpu": "another"/' "$dir/manifest.json"
	seen_by_scripts 11 incompatible 'vmctl restore web'
	cp manifest "$dir/manifest.json"
	mv "$dir/memory" away
	seen_by_scripts 10 corrupt 'vmctl restore web'
	mv away "$dir/memory"
	# With 37 instances and 36 letters two ids begin alike.
	vmctl create blank --kernel "$guest" --memory 16M >/dev/null
	vmctl fork blank -n 36 --name 'x-{}' >/dev/null
	letter=$(vmctl ls -q | cut -c 1 | sort | uniq -d | head -n 1)
	seen_by_scripts 14 ambiguous "vmctl start $letter"
	# What a killed command leaves: found, told, and settled.
	vmctl restore web >/dev/null
	kill -9 "$(field web .pid)"
	wait_for eval 'vmctl doctor >/dev/null; [ $? = 13 ]'
	for text in "$strict; vmctl doctor >/dev/null" "$strict; vmctl doctor | cat >/dev/null"; do
		script "$text"
		[ "$status" = 13 ] || wrong "$text: $status"
	done
	script "$strict; vmctl doctor >/dev/null || vmctl doctor --repair >/dev/null; vmctl doctor >/dev/null"
	[ "$status" = 0 ] || wrong "after a repair: $status $output $stderr"
}

# a_hook EVENT STATUS: one that ends so.
a_hook() {
	mkdir -p "$VMCTL_ROOT/hooks.d/$1"
	printf '#!/bin/sh\nexit %d\n' "$2" >"$VMCTL_ROOT/hooks.d/$1/10-answer"
	chmod +x "$VMCTL_ROOT/hooks.d/$1/10-answer"
}

@test "the code of a pre-hook that says no: 15; a strict script ends there, and nothing was changed" {
	vmctl create web --kernel "$guest" --memory 16M >/dev/null
	a_hook pre-fork 3
	seen_by_scripts 15 hook 'vmctl fork web copy'
	a_hook pre-rm 1
	script "$strict; vmctl label web begun=; vmctl rm web; vmctl label web done=; echo 'went on'"
	[ "$status:$output" = 15:web ] || wrong "$status $output $stderr"
	[[ $stderr == *'nothing was changed'* ]]
	assert_equal "$(vmctl label web)" begun=
	assert_equal "$(vmctl ls -q)" "$(field web .id)"
	# One that comes after can say no more: what was done is done.
	a_hook pre-rm 0
	a_hook pre-fork 0
	a_hook post-fork 3
	script "$strict; vmctl fork web copy; echo 'went on'"
	[ "$status:$output" = $'0:copy\nwent on' ] || wrong "$status $output $stderr"
	[[ $stderr == *'warning: copy: post-fork hook'* ]]
}

@test "of several operands the first failure is the exit code, and the others are done all the same" {
	vmctl create a --kernel "$guest" --memory 16M >/dev/null
	vmctl create b --kernel "$guest" --memory 16M >/dev/null
	script "$strict; vmctl rm a nobody b; echo 'went on'"
	[ "$status" = 3 ]
	assert_equal "$(vmctl ls -q)" ''
	[[ $output != *'went on'* ]]
}

@test "every verb: 0, 2, 3 and where it changes something 5, in one strict script" {
	local verb code words seen=''
	vmctl create web --kernel "$guest" --memory 16M >/dev/null
	hold web
	while read -r code words; do
		script "$strict; status=0; vmctl $words >/dev/null || status=\$?; echo \$status"
		[ "$status:$output" = "0:$code" ] || wrong "vmctl $words: $output instead of $code: $stderr"
		verb=${words%% *}
		seen+=" $verb "
		grep -q "^\.It $code\$" "$top/man/vmctl-$verb.1" || wrong "vmctl-$verb(1) does not tell $code"
	done <<-END
		2 create
		5 start --no-wait web
		5 stop --no-wait web
		5 pause --no-wait web
		5 resume --no-wait web
		5 standby --no-wait web
		5 restore --no-wait web
		5 fork --no-wait web copy
		5 rm --no-wait web
		5 snapshot create --no-wait web
		0 ls
		0 tree
		2 tree --dot --svg
		3 tree nobody
		0 top -b -n 1
		2 top
		0 config show
		0 config templates
		2 config show not.one
		0 label web
		2 label web =value
		3 label nobody
		5 label --no-wait web app=shop
		0 inspect web
		0 events
		0 stats
		0 wait --state stopped web
		12 wait --state running --timeout 10ms web
		2 wait web
		6 console web
		3 ls nobody
		3 events nobody
		3 snapshot inspect nobody/at-all
		3 state show nowhere
		3 logs nobody
		0 doctor
		2 stats web
		2 doctor web
		2 state show
		2 snapshot create
	END
	for verb in $(vmctl --help | sed -n '/^Verbs:/,/^$/s/^  \([a-z-]*\) .*/\1/p'); do
		[[ $seen == *" $verb "* ]] || wrong "nothing about $verb: give it a line above"
	done
}

@test "a verb that is interrupted dies of the signal: 128 + N, and a script with it" {
	local signal number
	vmctl create web --kernel "$guest" --memory 16M >/dev/null
	while read -r signal number; do
		bash -c "$strict; vmctl wait --state running web; echo 'went on'" >out 2>err 3>&- &
		holder=$!
		waits() { pgrep -P "$holder" -f vmctl-wait >waiter; }
		wait_for waits
		# Once it has its handlers: before, the shell's own default does the same.
		# shellcheck disable=SC2016 # for eval
		wait_for eval '[ "$(($(sed -n "s/^SigCgt:\s*/0x/p" "/proc/$(cat waiter)/status") & 0x4003))" != 0 ]'
		kill "-$signal" "$(cat waiter)"
		status=0
		wait "$holder" || status=$?
		holder=''
		[ "$status" = $((128 + number)) ] || wrong "$signal: $status $(cat out err)"
		[ ! -s out ] || wrong "$signal: went on"
	done <<-END
		TERM 15
		HUP 1
	END
	# SIGINT, which a shell in the background has ignored; and that it is a death by signal, not a number.
	run --separate-stderr python3 - <<-'END'
		import signal, subprocess, time
		verb = subprocess.Popen(["vmctl-wait", "--state", "running", "web"],
		    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
		mask = lambda: int(next(line for line in open(f"/proc/{verb.pid}/status")
		    if line.startswith("SigCgt")).split()[1], 16)
		while not mask() & 2 or b"vmctl-wait" not in open(f"/proc/{verb.pid}/cmdline", "rb").read():
		    time.sleep(0.02)
		verb.send_signal(signal.SIGINT)
		print(verb.wait())
	END
	assert_output -- -2
}

@test "output that cannot be written is status 1, and what was done stays done" {
	local words
	vmctl create web --kernel "$guest" --memory 16M >/dev/null
	for words in ls 'ls -q' 'ls -o json' 'ls -o yaml' 'ls --format {{.Name}}' tree 'top -b -n 1' \
		'inspect web' 'config show' stats events 'snapshot ls' doctor 'rm --dry-run web'; do
		script "$strict; vmctl $words >/dev/full; echo 'went on'"
		[ "$status:$output" = 1: ] || wrong "$words to a full disk: $status $output"
		[[ $stderr == *'standard output'* ]] || wrong "$words: $stderr"
		script "$strict; vmctl $words >&-; echo 'went on'"
		[ "$status:$output" = 1: ] || wrong "$words, closed: $status $output"
	done
	script "$strict; vmctl fork web full >/dev/full"
	[ "$status" = 1 ]
	script "$strict; vmctl fork web closed >&-"
	[ "$status" = 1 ]
	script "$strict; vmctl rm full closed >/dev/full"
	[ "$status" = 1 ]
	assert_equal "$(vmctl ls -q | wc -l)" 1
}

@test "a reader that has seen enough is no error that anybody is told of" {
	vmctl create web --kernel "$guest" --memory 16M >/dev/null
	vmctl fork web -n 60 --name 'x-{}' >/dev/null
	script "vmctl ls -o json | head -n 1"
	[ "$status:$output:$stderr" = '0:[:' ]
	script "$strict; vmctl ls -q | head -n 1 | wc -l"
	[ "$stderr" = '' ]
	[ "${output##* }" = 1 ]
}

# All strings of the sources, those that stand side by side joined.
strings_of_sources() {
	cat "$top"/lib/*.[ch] "$top"/lib/driver/*.[ch] "$top"/cmd/*.c "$top"/cmd/*/*.c |
		sed -z 's/"[[:space:]]*"//g' | sed 's/\\"/"/g'
}

@test "the messages in docs/troubleshooting.md are those of the sources" {
	local message piece failed=0
	# shellcheck disable=SC2016 # a backquote is no command
	sed -n 's/^| `\([^`]*\)`.*/\1/p' "$top/docs/troubleshooting.md" >messages
	strings_of_sources >texts
	while IFS= read -r message; do
		# What differs is in capitals there; the hypervisor's and the system's own words are theirs.
		[[ $message != 'Cannot load kernel'* ]] || continue
		while IFS= read -r piece; do
			((${#piece} >= 8)) || continue
			grep -q -F -- "$piece" texts || {
				echo "not in the sources: '$piece' of: $message"
				failed=1
			}
		done < <(sed -E 's/(Firecracker|vmctl)?[A-Z]{2,}|\bN\b|Firecracker|disk-root.img|stopped, failed|\<(rm|restore|standby|pid|memory|instance|snapshot)\>/\n/g' <<<"$message" |
			sed "s/^[^a-z]*//; s/[^a-z]*\$//")
	done <messages
	[ "$failed" = 0 ]
}
