#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Completion with the real keys: bash, zsh and fish in a terminal (tmux), and what is seen there.
# shellcheck disable=SC2154 # helpers sets top and guest

load helpers

setup() {
	vm_setup
	export TMUX_TMPDIR
	opened=0
	TMUX_TMPDIR=$(mktemp -d /tmp/vmctl-keys.XXXXXX)
}

teardown() {
	close_shell
	rm -rf "$TMUX_TMPDIR"
	vm_teardown 2>/dev/null
}

# Each shell has a server of its own: one that is ending would take the next one's request.
terminal() {
	tmux -L "shell-$opened" -f /dev/null "$@"
}

close_shell() {
	[ "$opened" = 0 ] || terminal kill-server 2>/dev/null || true
}

# open_shell SHELL COLUMNS: in a terminal of its own, waiting for input behind "> ".
open_shell() {
	local run
	close_shell
	opened=$((opened + 1))
	case $1 in
	bash)
		printf '%s\n' "PS1='> '" "source '$top/completions/vmctl.bash'" >rc
		run="bash --noprofile --rcfile '$PWD/rc' -i"
		;;
	zsh)
		mkdir -p zsh
		printf '%s\n' "PS1='> '" "fpath=('$top/completions' \$fpath)" 'LISTMAX=1000' \
			'autoload -Uz compinit && compinit -D -u' >zsh/.zshrc
		run="ZDOTDIR='$PWD/zsh' zsh -i"
		;;
	fish)
		run="HOME='$PWD' fish --no-config -C 'source $top/completions/vmctl.fish
			set -g fish_greeting
			function fish_prompt; printf \"> \"; end'"
		;;
	esac
	terminal new-session -d -x "$2" -y 50 -c "$PWD" "$run" 3>&-
	wait_for shows '^>$'
}

screen() {
	terminal capture-pane -p | sed 's/ *$//'
}

# Whether a line of the screen is so. What it is goes to the test's output, for when it fails.
shows() {
	screen | grep -q -E -e "$1"
}

shows_all() {
	local pattern
	for pattern; do
		shows "$pattern" || return 1
	done
}

# press TEXT: and then the key.
press() {
	terminal send-keys -l -- "$1"
	terminal send-keys Tab
}

clear_line() {
	terminal send-keys C-u
	wait_for shows '^>$'
}

@test "a TAB completes a verb, an option, a value, a name, a file and a directory in each shell" {
	local shell
	make_standby web
	vmctl create other --kernel "$guest" >/dev/null
	mkdir -p data/root
	: >data/disk.img
	for shell in bash zsh fish; do
		open_shell $shell 80
		press 'vmctl rest'
		wait_for shows '^> vmctl restore$'
		press ''
		wait_for shows '^> vmctl restore web$'
		clear_line
		press 'vmctl-fork --targ'
		wait_for shows '^> vmctl-fork --target-state$'
		press 'ru'
		wait_for shows '^> vmctl-fork --target-state running$'
		press 'ot'
		wait_for shows '^> vmctl-fork --target-state running other$'
		clear_line
		press 'vmctl ls --state=running,fa'
		wait_for shows '^> vmctl ls --state=running,failed$'
		clear_line
		press 'vmctl create --disk id=a,path=data/d'
		wait_for shows '^> vmctl create --disk id=a,path=data/disk.img$'
		clear_line
		press 'vmctl --root=dat'
		wait_for shows '^> vmctl --root=data/$'
		clear_line
		press 'vmctl create -f data/di'
		wait_for shows '^> vmctl create -f data/disk.img$'
	done
}

# Lines that the pattern of a list must match, one for each verb; $1 is printf's format for both columns,
# $2 how many characters of the summary are sure to be there.
verb_lines() {
	vmctl --help | sed -n '/^Verbs:/,/^$/s/^  \([a-z-]*\)  *\(.*\)/\1\t\2/p' |
		while IFS=$'\t' read -r verb summary; do
			# shellcheck disable=SC2059 # that is what it is for
			printf "$1\n" "$verb" "${summary:0:$2}"
		done
}

@test "zsh and fish list the verbs with their whole summaries at 80 and at 200 columns" {
	local columns patterns # none of the summaries is longer than 65
	for columns in 80 200; do
		mapfile -t patterns < <(verb_lines '^%s +-- %s' 60)
		open_shell zsh $columns
		press 'vmctl '
		wait_for shows_all "${patterns[@]}"
		screen | tee "zsh-$columns"
		mapfile -t patterns < <(verb_lines '(^|  )%s +\(%s' 60)
		open_shell fish $columns
		press 'vmctl '
		# The first key completes nothing that they have in common, and shows them.
		wait_for shows_all "${patterns[@]}"
		screen | tee "fish-$columns"
	done
}

@test "zsh and fish show a description as it is, backslashes and all" {
	local shell
	for shell in zsh fish; do
		open_shell $shell 120
		press 'vmctl ls --'
		wait_for shows "[{][{]\.Name[}][}]\\\\t[{][{]\.State[}][}]"
	done
}

@test "zsh, fish and bash list what can be started, with its state, and nothing else" {
	local shell
	for name in db cache web; do
		vmctl create "$name" --kernel "$guest" >/dev/null
	done
	sqlite3 "$VMCTL_ROOT/vmctl.db" "UPDATE instance SET state = 'failed' WHERE name = 'web';
		UPDATE instance SET state = 'standby' WHERE name = 'cache'"
	open_shell zsh 80
	press 'vmctl start '
	wait_for shows_all '^db +-- stopped$' '^web +-- failed$'
	fails shows cache
	open_shell fish 80
	press 'vmctl start '
	wait_for shows_all 'db +\(stopped\)' 'web +\(failed\)'
	fails shows cache
	open_shell bash 80
	press 'vmctl start '
	terminal send-keys Tab
	wait_for shows '^db +web$'
	fails shows cache
}

fails() {
	! "$@"
}
