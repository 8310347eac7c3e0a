#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# --help, --version and mistaken options: the same for every verb, and as the manual pages say.
# shellcheck disable=SC2154 # run --separate-stderr sets stderr

bats_require_minimum_version 1.5.0

setup() {
	top=$(cd "$BATS_TEST_DIRNAME/.." && pwd)
	bin=$top/${VMCTL_BUILD:-build}/bin
	PATH=$bin:$PATH
	export VMCTL_ROOT="$BATS_TEST_TMPDIR/root"
	unset VMCTL_CONFIG
	export XDG_CONFIG_HOME=$BATS_TEST_TMPDIR/config
	verbs=$(vmctl --help | sed -n '/^Verbs:/,/^$/s/^  \([a-z-]*\) .*/\1/p')
}

# Checks one thing and says which failed: bats shows the output of a failed test.
fail() {
	echo "$*"
	return 1
}

# The synopsis of a manual page as one line.
man_synopsis() {
	mandoc -T ascii -O width=1000 "$top/man/$1.1" | col -bx |
		sed -n '/^SYNOPSIS/,/^DESCRIPTION/{/^ /p}' | xargs
}

# The commands of a verb that is a group of them.
commands_of() {
	"vmctl-$1" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z-]*\) .*/\1/p'
}

# Of a group: those of its commands, one behind the other.
verb_synopsis() {
	local command commands
	commands=$(commands_of "$1")
	[ -n "$commands" ] || help_synopsis "vmctl-$1"
	for command in $commands; do
		help_synopsis "vmctl-$1" "$command"
	done | xargs
}

help_synopsis() {
	"$@" --help | sed -n '1s/^Usage: //; 1,/^$/p' | xargs
}

@test "an option that a verb has instead of the common one is in its help once" {
	run -0 vmctl snapshot export --help
	[ "$(grep -e '-o, --output' <<<"$output" | awk '{ print $2, $3 }')" = '--output FILE' ] ||
		fail "$output"
}

@test "the list of verbs is the list of programs" {
	for verb in $verbs; do
		[ -x "$bin/vmctl-$verb" ] || fail "no program for $verb"
	done
	for program in "$bin"/vmctl-*; do
		verb=${program##*/vmctl-}
		# A group's commands may be in a program of their own.
		[[ $verb != *-* ]] || verb=${verb%%-*}
		grep -qx "$verb" <<<"$verbs" || fail "$verb is not in vmctl --help"
	done
}

@test "--help of every verb exits 0, prints to stdout only and touches nothing" {
	for verb in $verbs; do
		for flag in --help -h; do
			"vmctl-$verb" "$flag" >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" ||
				fail "$verb $flag"
			[ -s "$BATS_TEST_TMPDIR/out" ] || fail "$verb $flag prints nothing"
			[ ! -s "$BATS_TEST_TMPDIR/err" ] || fail "$verb $flag prints to stderr"
		done
		[ "$(vmctl "$verb" --help)" = "$("vmctl-$verb" --help)" ] || fail "vmctl $verb"
	done
	[ ! -e "$VMCTL_ROOT" ]
}

@test "--help wins over missing arguments and over options after it" {
	vmctl-fork --help --no-such-option
	vmctl-fork a b c --help
}

@test "--version of every verb exits 0 and touches nothing" {
	for verb in $verbs; do
		[[ $("vmctl-$verb" --version) == "vmctl-$verb "[0-9]* ]] || fail "$verb"
	done
	[[ $(vmctl --version) == "vmctl "[0-9]* ]]
	[ ! -e "$VMCTL_ROOT" ]
}

@test "an unknown option exits 2, says so on stderr and touches nothing" {
	for verb in $verbs; do
		run --separate-stderr "vmctl-$verb" --no-such-option
		[ "$status" -eq 2 ] || fail "$verb: $status"
		[ -z "$output" ] || fail "$verb: $output"
		[[ $stderr == "vmctl-$verb: unknown option '--no-such-option'"* ]] || fail "$verb: $stderr"
		[[ $stderr == *"vmctl-$verb --help"* ]] || fail "$verb: $stderr"
	done
	[ ! -e "$VMCTL_ROOT" ]
}

@test "a mistyped option or verb gets a suggestion" {
	run vmctl-fork --cuont 3 source
	[ "$status" -eq 2 ]
	[[ $output == *"did you mean '--count'?"* ]]
	run vmctl frok
	[ "$status" -eq 2 ]
	[[ $output == *"did you mean 'fork'?"* ]]
}

@test "commands of a group have --help, --version and usage errors like verbs" {
	for verb in snapshot state config; do
		for command in $(commands_of "$verb"); do
			[[ $(vmctl "$verb" "$command" --help) == "Usage: vmctl-$verb $command "* ]] || fail "$command"
			[[ $(vmctl "$verb" "$command" --version) == "vmctl-$verb "[0-9]* ]] || fail "$command"
			run vmctl "$verb" "$command" --no-such-option
			[ "$status" -eq 2 ] || fail "$command: $status"
			[[ $output == *"unknown option '--no-such-option'"*"vmctl-$verb $command --help"* ]] ||
				fail "$command: $output"
		done
	done
	[ ! -e "$VMCTL_ROOT" ]
}

@test "missing and surplus arguments exit 2" {
	for verb in start stop pause resume standby restore fork inspect rm logs console; do
		run "vmctl-$verb"
		[ "$status" -eq 2 ] || fail "$verb: $status $output"
		[[ $output == *"missing argument"* ]] || fail "$verb: $output"
	done
	run vmctl-fork a b c
	[ "$status" -eq 2 ]
	[[ $output == *"unexpected argument 'c'"* ]]
	run vmctl-stats a
	[ "$status" -eq 2 ]
	run vmctl-doctor a
	[ "$status" -eq 2 ]
	[ ! -e "$VMCTL_ROOT" ]
}

@test "with -o json a usage error is JSON wherever -o stands" {
	run --separate-stderr vmctl-fork --bogus source -o json
	[ "$status" -eq 2 ]
	[ "$(jq -r .error.code <<<"$stderr")" = usage ]
	jq -e '.error | has("message") and has("hint")' <<<"$stderr"
}

@test "the SYNOPSIS of every manual page equals --help" {
	command -v mandoc || skip "mandoc is not installed"
	for verb in $verbs; do
		from_man=$(man_synopsis "vmctl-$verb")
		from_help=$(verb_synopsis "$verb")
		[ -n "$from_man" ] || fail "$verb: empty"
		[ "$from_man" = "$from_help" ] || fail "$verb: man '$from_man', help '$from_help'"
	done
	[ "$(man_synopsis vmctl)" = "$(help_synopsis vmctl)" ]
}

@test "every manual page has the summary and all options of --help" {
	for verb in $verbs; do
		page=$top/man/vmctl-$verb.1
		summary=$("vmctl-$verb" --help | sed -n '/^$/{n;p;q}')
		described=$(sed -n 's/^\.Nd //p' "$page")
		[ "$summary" = "${described^}." ] || fail "$verb: '$summary', man '$described'"
		for command in $(commands_of "$verb") ''; do
			# shellcheck disable=SC2086 # none, or one word
			"vmctl-$verb" $command --help | sed -n '/^Options:/,/^$/p' |
				grep -oE -- '^ +(-., )?--[a-z-]+' | grep -oE -- '--[a-z-]+' | while read -r option; do
				grep -qE "^\.It Fl (. , )?-${option#--}( |\$)" "$page" ||
					fail "$verb $command: $option is not in the manual page"
			done
		done
	done
}

@test "vmctl alone lists the verbs, and vmctl help VERB explains one" {
	[ "$(vmctl)" = "$(vmctl --help)" ]
	[ "$(vmctl help)" = "$(vmctl --help)" ]
	vmctl help fork </dev/null | grep -qi source
	run vmctl help frok
	[ "$status" -eq 2 ]
}

@test "vmctl hands on common options before the verb, and knows list" {
	[ "$(vmctl --root "$BATS_TEST_TMPDIR/other" -o json ls)" = "[]" ]
	[ "$(vmctl -o json -- list)" = "[]" ]
	[ ! -e "$BATS_TEST_TMPDIR/other" ]
}

@test "a group of commands takes common options in front of its command" {
	[ "$(vmctl --root "$BATS_TEST_TMPDIR/other" -o json snapshot ls)" = "[]" ]
	[ "$(vmctl-snapshot -o json --root="$BATS_TEST_TMPDIR/other" ls)" = "[]" ]
	[[ $(vmctl -q snapshot --help) == "Usage: vmctl-snapshot COMMAND"* ]]
	run vmctl -o json snapshot
	[ "$status" -eq 2 ]
	[[ $output == *"missing argument: expected COMMAND"* ]]
	for option in --comment -n; do
		run vmctl snapshot $option x create
		[ "$status" -eq 2 ]
		[[ $output == *"unknown option '$option'"* ]] || fail "$output"
	done
	[ ! -e "$BATS_TEST_TMPDIR/other" ]
}

@test "vmctl finds its verbs beside itself, whatever PATH says" {
	PATH=/usr/bin:/bin run "$bin/vmctl" fork --version
	[ "$status" -eq 0 ]
}

@test "vmctl runs programs called vmctl-VERB from PATH, and no paths" {
	# shellcheck disable=SC2016
	printf '#!/bin/sh\necho "mine $0 $*"\n' >"$BATS_TEST_TMPDIR/vmctl-mine"
	chmod +x "$BATS_TEST_TMPDIR/vmctl-mine"
	PATH=$PATH:$BATS_TEST_TMPDIR run vmctl mine a
	[ "$status" -eq 0 ]
	[[ $output == mine*vmctl-mine\ a ]]
	run vmctl "../vmctl-mine"
	[ "$status" -eq 2 ]
}

@test "output that cannot be written is a failure" {
	run bash -c 'vmctl-fork --help >/dev/full'
	[ "$status" -eq 1 ]
	[[ $output == *"standard output"* ]]
	run bash -c 'vmctl-fork --help >&-'
	[ "$status" -eq 1 ]
}
