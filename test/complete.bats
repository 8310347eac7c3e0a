#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Completion: what the programs answer, and what bash, zsh and fish make of it. keys.bats presses real keys.
# shellcheck disable=SC2154 # helpers sets top, bats output

load helpers

setup() {
	top=$(cd "$BATS_TEST_DIRNAME/.." && pwd)
	PATH=$top/${VMCTL_BUILD:-build}/bin:$PATH
	export VMCTL_ROOT="$BATS_TEST_TMPDIR/root"
	unset VMCTL_CONFIG
	cd "$BATS_TEST_TMPDIR" || return 1
	holders=()
}

teardown() {
	[ ${#holders[@]} = 0 ] || kill "${holders[@]}" 2>/dev/null
	vm_teardown 2>/dev/null
}

# What is offered for the rest of the last word, sorted, on one line.
offered() {
	vmctl __complete "$@" | tail -n +2 | cut -f 1 | sort | xargs
}

# What stands first in the answer: the kind, and what stays.
head_of() {
	vmctl __complete "$@" | head -n 1 | tr '\t' ' '
}

verbs() {
	vmctl --help | sed -n '/^Verbs:/,/^$/s/^  \([a-z-]*\) .*/\1/p'
}

commands_of() {
	"vmctl-$1" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z-]*\) .*/\1/p'
}

# Every verb that is no group, and every command of a group: the words that come before the options.
all_commands() {
	local verb commands
	for verb in $(verbs); do
		commands=$(commands_of "$verb")
		# shellcheck disable=SC2086 # words
		[ -n "$commands" ] && printf "$verb %s\n" $commands || echo "$verb"
	done
}

# options_of VERB [COMMAND]: what --help shows, as it is typed.
options_of() {
	vmctl "$@" --help | sed -n -e '/^[A-Z].*ptions:$/,/^$/s/^ *\(-.\), \(--[a-z-]*\).*/\1\n\2/p' \
		-e '/^[A-Z].*ptions:$/,/^$/s/^ *\(--[a-z-]*\).*/\1/p' | sort -u
}

# in_bash, in_zsh, in_fish: for each line on stdin, what the shell offers at its end: line, tab, word.
in_bash() {
	bash --norc --noprofile -c '
		source "$1"
		while IFS= read -r line; do
			read -ra COMP_WORDS <<<"$line"
			[[ $line != *" " ]] || COMP_WORDS+=("")
			COMP_LINE=$line COMP_POINT=${#line} COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
			_vmctl
			[[ ${#COMPREPLY[@]} == 0 ]] || printf "$line\t%s\n" "${COMPREPLY[@]}"
		done' - "$top/completions/vmctl.bash"
}

in_zsh() {
	zsh -f "$top/test/complete.zsh" "$top/completions"
}

# With the descriptions.
described_in_fish() {
	# shellcheck disable=SC2016 # fish's variables
	fish --no-config -c '
		source $argv[1]
		while read -l line
			for word in (complete -C $line)
				printf "%s\t%s\n" $line $word
			end
		end' "$top/completions/vmctl.fish"
}

in_fish() {
	described_in_fish | cut -f 1,2
}

# some_states: an instance of each state (by name), as the store has it, and two snapshots.
some_states() {
	local state
	vm_setup
	for state in stopped standby running paused failed; do
		vmctl create "$state" --kernel "$guest" --memory 16M >/dev/null
	done
	vmctl snapshot create stopped one --label app=web --label tier=front >/dev/null
	vmctl snapshot create failed two --label app=db >/dev/null
	# Completion shows what was last committed, so no VMM has to run for these.
	sqlite3 "$VMCTL_ROOT/vmctl.db" "UPDATE instance SET state = name WHERE kind = 'instance'"
}

@test "vmctl offers every verb, with its summary, and help" {
	vmctl --help | sed -n '/^Verbs:/,/^$/s/^  \([a-z-]*\)  *\(.*\)/\1\t\2/p' >expected
	run -0 vmctl __complete ''
	assert_line --index 0 $'words\t'
	assert_equal "$(tail -n +2 <<<"$output" | grep -v '^help')" "$(cat expected)"
	run -0 vmctl __complete help ''
	assert_line --partial $'fork\t'
}

@test "the hidden word is in no help and in no suggestion" {
	run -0 vmctl --help
	refute_output --partial __complete
	run -2 vmctl __complet
	refute_output --partial __complete
}

@test "bash, zsh and fish offer every verb, and every option of every verb and command" {
	local shell words word
	: >expected
	while read -r word; do
		printf 'vmctl \t%s\n' "$word" >>expected
	done < <(verbs; echo help)
	options_of | sed $'s/^/vmctl -\t/' >>expected
	for word in $(verbs); do
		commands_of "$word" | sed "s/^/vmctl $word \t/" >>expected
	done
	while read -r words; do
		# shellcheck disable=SC2086 # words
		options_of $words >options
		[ "$(wc -l <options)" -gt 5 ]
		sed "s/^/vmctl $words -\t/" options >>expected
		sed "s/^/vmctl-$words -\t/" options >>expected
	done < <(all_commands)
	sort -o expected expected
	[ "$(wc -l <expected)" -gt 700 ]
	cut -f 1 expected | sort -u >lines
	for shell in bash zsh fish; do
		"in_$shell" <lines | sort >"$shell"
		diff expected "$shell" || fail "$shell"
	done
	[ ! -e "$VMCTL_ROOT" ]
}

@test "fish shows a description of every verb, command and option" {
	local line
	{
		echo 'vmctl '
		echo 'vmctl snapshot '
		all_commands | sed 's/.*/vmctl & -/'
	} >lines
	run -0 described_in_fish <lines
	[ "${#lines[@]}" -gt 350 ]
	for line in "${lines[@]}"; do
		[[ $line == *$'\t'*$'\t'?* ]] || fail "no description: $line"
	done
}

@test "fish forgets what it has for another vmctl, also where the completions are read by hand" {
	mkdir -p fish/completions
	echo "complete -c vmctl -a of-another-system" >fish/completions/vmctl.fish
	XDG_CONFIG_HOME=$PWD HOME=$PWD run -0 fish -c "source '$top/completions/vmctl.fish'; complete -C 'vmctl '"
	assert_line --partial 'ls'
	refute_output --partial of-another-system
	# And it is loaded as fish does it by itself.
	cp "$top/completions/vmctl.fish" fish/completions/
	XDG_CONFIG_HOME=$PWD HOME=$PWD run -0 fish -c "complete -C 'vmctl tree --fo'"
	assert_output --partial -- '--format'
}

@test "values are offered as the option's argument is called" {
	assert_equal "$(offered ls --state '')" 'failed paused running standby stopped'
	assert_equal "$(offered ls --state=running,paused,)" 'failed standby stopped'
	assert_equal "$(head_of ls --state=running,paused,)" 'words --state=running,paused,'
	assert_equal "$(offered fork --target-state '')" 'running standby stopped'
	assert_equal "$(offered fork --targ=)" 'running standby stopped'
	assert_equal "$(offered events --outcome '' | tr ' ' '\n' | grep -c -E '^(ok|busy|needs_repair)$')" 3
	assert_equal "$(offered events --verb '' | tr ' ' '\n' | grep -c -E '^(fork|repair|snapshot)$')" 3
	assert_equal "$(offered events --verb fork,post- | tr ' ' '\n' | grep -c -E '^post-(fork|start|restore|standby|rm)$')" 5
	assert_equal "$(offered create --network '')" 'none tap= user'
	assert_equal "$(offered create --machine '')" 'microvm q35'
	assert_equal "$(offered create --accelerator '')" 'auto kvm tcg'
	assert_equal "$(offered snapshot adopt --relocate '')" 'alias auto rewrite'
	assert_equal "$(offered create --vcpus '')" ''
	assert_equal "$(offered ls --format '')" ''
	assert_equal "$(offered top --sort '')" 'cpu name pss time'
	assert_equal "$(offered config show '')" "$(vmctl config show --format '{{.Key}}' | sort | xargs)"
	assert_equal "$(offered config show root '')" "$(offered config show '')"
	assert_equal "$(offered create --hypervisor '' | wc -w)" \
		"$(($(vmctl doctor -o json | jq '[.[] | select(.capabilities)] | length') + 1))"
	for word in $(offered ls -o ''); do
		vmctl ls -o "$word"
	done
	assert_equal "$(offered ls -oj)" "$(offered ls -o '')"
	assert_equal "$(offered stats -o '')" "$(echo "$(offered ls -o '') prometheus" | xargs -n 1 | sort | xargs)"
}

@test "settings, and templates of the data root on the line, are offered by name, whatever the files say" {
	mkdir -p other/templates
	touch other/templates/{web,db}.yaml
	echo 'wiat: 3' >other/vmctl.yaml
	assert_equal "$(offered create --root other --template '')" 'db web'
	assert_equal "$(offered config show '')" "$(vmctl config show --names | sort | xargs)"
	assert_equal "$(offered config show '' | tr ' ' '\n' | grep -c -E '^(root|wait|limits\.max_running|hooks\.timeout)$')" 4
	assert_equal "$(offered config --root other show wait '' | tr ' ' '\n' | grep -c '^memory\.')" 2
	# All of them are keys.
	vmctl config show --names | xargs vmctl config show >/dev/null
	# bash breaks words at no dot.
	assert_equal "$(in_bash <<<'vmctl config show limits.max_r' | cut -f 2)" limits.max_running
}

@test "files are offered where the value is a file, and directories where it is a directory" {
	assert_equal "$(head_of create -f '')" 'files '
	assert_equal "$(head_of create --kernel=x)" 'files --kernel='
	assert_equal "$(head_of create -fx)" 'files -f'
	assert_equal "$(head_of create --disk '')" 'files '
	assert_equal "$(head_of create --disk=id=a,path=x)" 'files --disk=id=a,path='
	assert_equal "$(head_of create --disk id=a,)" 'words id=a,'
	assert_equal "$(offered create --disk id=a,)" 'format= id= path= readonly root size='
	assert_equal "$(offered create --disk id=a,format=)" 'qcow2 raw'
	assert_equal "$(head_of snapshot export -o '')" 'files '
	assert_equal "$(head_of snapshot import '')" 'files '
	assert_equal "$(head_of state show '')" 'files '
	assert_equal "$(head_of state check a '')" 'files '
	assert_equal "$(head_of state rewrite --path /a=/b)" 'files /a='
	assert_equal "$(head_of snapshot adopt --disk rootfs=r)" 'files rootfs='
	assert_equal "$(head_of --root '')" 'dirs '
	assert_equal "$(head_of ls --root=/t)" 'dirs --root='
	# A program of somebody else's is not run to find out.
	printf '#!/bin/sh\ntouch ran\n' >vmctl-mine
	chmod +x vmctl-mine
	PATH=$PATH:$PWD assert_equal "$(head_of mine '')" 'files '
	assert [ ! -e ran ]
}

@test "options end where the program ends them, and values of unknown ones offer nothing" {
	some_states
	assert_equal "$(offered start -- '')" 'failed stopped'
	assert_equal "$(offered start -- -)" 'failed stopped'
	assert_equal "$(offered start -o json --no-wait '')" 'failed stopped'
	assert_equal "$(offered start --wait '')" 'failed stopped'
	assert_equal "$(offered start --bogus=x '')" 'failed stopped'
	assert_equal "$(offered start --bogus=)" ''
	assert_equal "$(offered -o json --no-wait -- start '')" 'failed stopped'
	assert_equal "$(offered -o json snapshot --no-wait rm '')" 'failed/two stopped/one'
	assert_equal "$(offered list '')" "$(offered ls '')"
	assert_equal "$(vmctl __complete start $'a\tb')" ''
	assert_equal "$(vmctl __complete start $'--root=a\nb')" ''
	vmctl __complete
}

@test "instances are offered in the states that a verb can do something about" {
	some_states
	assert_equal "$(offered start '')" 'failed stopped'
	assert_equal "$(offered stop '')" 'paused running'
	assert_equal "$(offered stop --discard '')" 'paused running standby'
	assert_equal "$(offered pause '')" 'running'
	assert_equal "$(offered resume '')" 'paused'
	assert_equal "$(offered standby '')" 'paused running'
	assert_equal "$(offered restore '')" 'standby'
	assert_equal "$(offered fork '')" 'failed/two running standby stopped stopped/one'
	assert_equal "$(offered fork stopped '')" ''
	assert_equal "$(offered rm '')" 'failed stopped'
	assert_equal "$(offered rm -f '')" 'failed paused running standby stopped'
	assert_equal "$(offered console '')" 'paused running'
	for verb in ls inspect wait logs events; do
		assert_equal "$(offered "$verb" '')" 'failed paused running standby stopped'
	done
	assert_equal "$(offered ls --parent '')" 'failed failed/two paused running standby stopped stopped/one'
	assert_equal "$(offered doctor '')$(offered stats '')$(offered create '')" ''
	assert_equal "$(vmctl __complete restore '')" $'words\t\nstandby\tstandby'
}

@test "snapshots are offered to the commands of snapshot, and labels that exist" {
	some_states
	assert_equal "$(offered snapshot create '')" 'running standby stopped'
	assert_equal "$(offered snapshot create stopped '')" ''
	for command in inspect rm fork export compress; do
		assert_equal "$(offered snapshot "$command" '')" 'failed/two stopped/one'
	done
	assert_equal "$(offered snapshot rm stopped/one '')" 'failed/two'
	assert_equal "$(offered snapshot export stopped/one '')" ''
	assert_equal "$(offered snapshot restore '')" 'failed standby stopped'
	assert_equal "$(offered snapshot restore stopped '')" 'stopped/one'
	assert_equal "$(offered snapshot restore running '')" ''
	assert_equal "$(offered snapshot create --label '')" 'app= tier='
	assert_equal "$(offered snapshot create --label app=)" 'db web'
	assert_equal "$(head_of snapshot create --label=app=w)" 'words --label=app='
	assert_equal "$(offered label '')" 'failed failed/two paused running standby stopped stopped/one'
	assert_equal "$(offered label stopped '')" 'app= tier='
	assert_equal "$(offered label stopped new- app=)" 'db web'
	assert_equal "$(offered ls -l '')" 'app= tier='
}

@test "names of a standby that was really made, and of the data root that is named on the line" {
	vm_setup
	make_standby web
	vmctl create other --kernel "$guest" --root elsewhere >/dev/null
	assert_equal "$(offered restore '')" web
	assert_equal "$(offered start '')" ''
	assert_equal "$(offered --root elsewhere start '')" other
	assert_equal "$(offered start --root=elsewhere '')" other
	assert_equal "$(offered snapshot --root elsewhere create '')" other
	assert_equal "$(VMCTL_ROOT=elsewhere offered start '')" other
	vmctl rm other --root elsewhere
	rm -f "/dev/shm/vmctl-$(sqlite3 -readonly elsewhere/vmctl.db "SELECT value FROM meta WHERE key = 'root_id'").root"
}

@test "the three shells offer names alike, not twice, and behind --root, = and commas" {
	local shell
	some_states
	mv "$VMCTL_ROOT" 'a root'
	sed 's/|/\t/' >expected <<-'END'
		vmctl start |failed
		vmctl start |stopped
		vmctl start failed |stopped
		vmctl-resume |paused
		vmctl --root nowhere resume ~|
		vmctl snapshot rm stopped/one |failed/two
		vmctl fork --target-state ru|running
		vmctl --no-wait stop --discard st|standby
	END
	sed -i '/nowhere/d' expected
	cut -f 1 expected | sort -u >lines
	echo 'vmctl --root nowhere resume ' >>lines
	for shell in bash zsh fish; do
		VMCTL_ROOT="$PWD/a root" "in_$shell" <lines | sort >"$shell"
		diff <(sort expected) "$shell" || fail "$shell"
	done
	# Quotes, ~ and variables: what the program would get.
	echo "vmctl --root 'a root' resume " >line
	assert_equal "$(in_zsh <line | cut -f 2)" paused
	assert_equal "$(in_fish <line | cut -f 2)" paused
	# shellcheck disable=SC2016,SC2088 # not expanded here
	printf '%s\n' 'vmctl --root ~/r resume ' 'vmctl --root $R resume ' >line
	ln -s "$PWD/a root" r
	for shell in bash zsh fish; do
		assert_equal "$(HOME=$PWD R=$PWD/r "in_$shell" <line | cut -f 2 | xargs)" 'paused paused'
	done
	# Whole words, for who takes the line apart at blanks alone; bash takes out what it broke off itself.
	echo 'vmctl ls --state=running,st' >line
	assert_equal "$(in_fish <line | cut -f 2 | xargs)" '--state=running,standby --state=running,stopped'
	assert_equal "$(in_zsh <line | cut -f 2 | sort | xargs)" 'standby stopped'
	mv 'a root' "$VMCTL_ROOT"
}

@test "names are offered without waiting while everything is locked and a change is being written" {
	some_states
	(
		for file in "$VMCTL_ROOT"/locks/*; do
			exec {fd}<"$file"
			flock -x "$fd"
		done
		: >locked
		exec sleep infinity 3>&-
	) &
	holders+=($!)
	mkfifo hold
	sqlite3 "$VMCTL_ROOT/vmctl.db" <hold >/dev/null 3>&- &
	holders+=($!)
	exec 9>hold
	echo "BEGIN IMMEDIATE; UPDATE instance SET state = 'failed';" >&9
	wait_for test -e locked
	wait_for fails sqlite3 "$VMCTL_ROOT/vmctl.db" 'BEGIN IMMEDIATE; ROLLBACK' 2>/dev/null
	[ -e "$VMCTL_ROOT/locks/store" ]
	run -5 vmctl rm --no-wait stopped
	run -0 timeout "$WAIT_SECONDS" vmctl __complete resume ''
	assert_output $'words\t\npaused\tpaused'
	# It opens no lock file at all.
	mv "$VMCTL_ROOT/locks" "$VMCTL_ROOT/run" .
	run -0 timeout "$WAIT_SECONDS" vmctl __complete resume ''
	assert_output $'words\t\npaused\tpaused'
	mv locks run "$VMCTL_ROOT/"
	exec 9>&-
}

fails() {
	! "$@"
}

# Checks that nothing is offered, without a word, and that the answer is a success.
offers_nothing() {
	run -0 --separate-stderr "$@" vmctl __complete start ''
	assert_output $'words\t'
	assert_equal "$stderr" ''
}

@test "a store of another version, a damaged one, a missing or a forbidden root: nothing, and no error" {
	local version as=()
	VMCTL_ROOT=$PWD/none offers_nothing env
	[ ! -e none ]
	VMCTL_ROOT=/dev/null offers_nothing env
	HOME='' VMCTL_ROOT='' XDG_STATE_HOME='' offers_nothing env
	some_states
	version=$(sqlite3 "$VMCTL_ROOT/vmctl.db" 'PRAGMA user_version')
	for wrong in $((version - 1)) $((version + 1)) 0; do
		sqlite3 "$VMCTL_ROOT/vmctl.db" "PRAGMA user_version = $wrong"
		offers_nothing env
		assert_equal "$(sqlite3 "$VMCTL_ROOT/vmctl.db" 'PRAGMA user_version')" "$wrong"
	done
	sqlite3 "$VMCTL_ROOT/vmctl.db" "PRAGMA user_version = $version"
	assert_equal "$(offered resume '')" paused

	cp -r "$VMCTL_ROOT" damaged
	rm -f damaged/vmctl.db-*
	head -c 20000 /dev/urandom >damaged/vmctl.db
	VMCTL_ROOT=damaged offers_nothing env
	: >damaged/vmctl.db
	VMCTL_ROOT=damaged offers_nothing env
	rm damaged/vmctl.db
	mkfifo damaged/vmctl.db
	VMCTL_ROOT=damaged offers_nothing timeout "$WAIT_SECONDS"
	rm damaged/vmctl.db

	if [ "$(id -u)" = 0 ]; then
		chown 12345 damaged
		as=(setpriv --inh-caps=-all --bounding-set=-all)
	fi
	chmod 0700 damaged
	[ "$(id -u)" = 0 ] || chmod 0 damaged
	VMCTL_ROOT=damaged offers_nothing "${as[@]}" env
	chmod 0700 damaged
	# Settings that are wrong are no matter of completion.
	vmctl_yaml 'bogus: 1'
	assert_equal "$(offered resume '')" paused
	rm "$VMCTL_ROOT/vmctl.yaml"
}

@test "each completion is loaded under the name of the program that it is for" {
	local loader=/usr/share/bash-completion/bash_completion dir=$PWD/share
	mkdir -p "$dir/bash-completion/completions" "$dir/fish/vendor_completions.d"
	cp "$top/completions/vmctl.bash" "$dir/bash-completion/completions/vmctl"
	ln -s vmctl "$dir/bash-completion/completions/vmctl-fork"
	cp "$top/completions/vmctl.fish" "$dir/fish/vendor_completions.d/"
	ln -s vmctl.fish "$dir/fish/vendor_completions.d/vmctl-fork.fish"
	export XDG_DATA_DIRS=$dir:/usr/share HOME=$PWD BASH_COMPLETION_USER_DIR=$dir/bash-completion
	# Without the programs in PATH: by the file's name.
	# shellcheck disable=SC2016 # bash's variable
	PATH=/usr/bin:/bin run -0 bash --norc --noprofile -c 'source "$1"
		_completion_loader vmctl-fork || true
		complete -p vmctl-fork' - "$loader"
	assert_output 'complete -F _vmctl vmctl-fork'
	run -0 fish -c "complete -C 'vmctl-fork --targ'"
	assert_output --partial $'--target-state\t'
}
