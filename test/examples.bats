#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # the helpers set top, guest, command
# Every example in the manual pages and in README is run, with real microVMs. A new one is run as it
# stands, without a word here.

load helpers
load examples

# What cannot be run here, and why. One that is in no document any more fails the test.
declare -g -A not_run=(
	['sudo packaging/quickstart *']='the machine of the tests may be no one to install packages on; CI begins with it'
	['sudo test/run *']='it would run this test again, and that one once more'
)

setup() {
	vm_setup
	export LC_ALL=C.UTF-8 # trees as the documents show them
	world=$BATS_TEST_TMPDIR/world
	matched=()
	# What is taken in from elsewhere has to be looked into.
	can state_rewrite || not_run+=(
		['vmctl snapshot adopt *']="$VMCTL_HYPERVISOR: no state_rewrite"
		['*snapshot import *']="$VMCTL_HYPERVISOR: no state_rewrite"
	)
}

teardown() {
	[ ! -d "$world" ] || end_world "$world"
	vm_teardown
}

# Whether a command is among those that cannot be run.
left_out() {
	local pattern
	for pattern in "${!not_run[@]}"; do
		# shellcheck disable=SC2053 # a pattern
		if [[ "$1 " == $pattern ]]; then
			echo "not run: $1 (${not_run[$pattern]})"
			matched+=("$pattern")
			return 0
		fi
	done
	return 1
}

# run_page PAGE: its examples, in order, in a world of its own. Goes on after a failure, and tells all.
run_page() {
	local status=0 command
	new_world "$world"
	while next_command; do
		left_out "$command" && continue
		if ! { provide "$command" && run_example "$command"; } >"$world/out" 2>&1; then
			printf '%s: this example fails: %s\n' "${1##*/}" "$command"
			sed 's/^/    /' "$world/out"
			status=1
		fi
	done < <(man_examples "$1")
	end_world "$world"
	return $status
}

@test "every example in the manual pages runs" {
	local page failed=0 examples=0
	for page in "$top"/man/*.[1-8]; do
		examples=$((examples + $(man_examples "$page" | wc -l)))
		run_page "$page" || failed=1
	done
	[ "$failed" = 0 ]
	# Where this finds none it is this that is broken.
	((examples > 30))
}

@test "every verb's manual page has an example, and says what to read next" {
	local page failed=0
	for page in "$top"/man/*.[1-8]; do
		[[ $page == *.[57] || -n $(man_examples "$page") ]] ||
			{ echo "${page##*/}: no example" && failed=1; }
		sed -n '/^\.Sh SEE ALSO/,$p' "$page" | grep -q '^\.Xr' ||
			{ echo "${page##*/}: nothing under SEE ALSO" && failed=1; }
	done
	[ "$failed" = 0 ]
}

# --- README ----------------------------------------------------------------------------------------

# What a reader cannot see as written: ids, numbers, times, how long a table's columns are.
alike() {
	sed -E 's/[a-z0-9]{12}([a-z0-9]{12})?\b/ID/g; s/(just now|[0-9]+ [a-z]+ ago)/AGO/g
		s/\b(firecracker|qemu)\b/HYPERVISOR/g; s/[0-9]+(\.[0-9]+)?([KMG]?)\b/N\2/g
		s/ +- +(web|-) +AGO/ N \1 AGO/; s/ +/ /g; s/ $//'
}

# Only one that looks can be typed again until what it shows is there, as by who has read on for a second.
only_looks() {
	[[ $1 =~ ^vmctl\ (logs|ls|inspect)\  ]]
}

# shown_as COMMAND EXPECTED: runs it, and compares.
shown_as() {
	local status=0
	run_example "$1" >"$world/out" 2>&1 || status=$?
	[ -n "$2" ] || return $status
	# What a warning says of this machine's filesystem is not for README to foresee.
	sed -i '/^vmctl-[a-z]*: warning: /d' "$world/out"
	[ "$(alike <"$world/out")" = "$(alike <<<"$2")" ] || return 1
	# An example that shows how something is refused shows the refusal.
	[[ $2 == vmctl-*:* ]] || return $status
	[ $status != 0 ]
}

run_shown() {
	local command=$1 expected=$2
	[ -n "$command" ] || return 0
	provide "$command" >/dev/null
	if only_looks "$command" && [ -n "$expected" ] && ! endless "$command"; then
		wait_for shown_as "$command" "$expected" && return 0
	else
		shown_as "$command" "$expected" && return 0
	fi
	printf 'README.md: $ %s\nshows:\n%s\nbut it is:\n' "$command" "$expected"
	cat "$world/out"
	return 1
}

# A block that shows a session: commands behind '$ ', and under each what it prints.
run_session() {
	local line shown='' command=''
	while IFS= read -r line; do
		if [[ $line == '$ '* ]]; then
			run_shown "$command" "$shown" || return 1
			command=${line#'$ '} shown=''
			command=${command%%  *# *}
		else
			shown+=${shown:+$'\n'}$line
		fi
	done
	run_shown "$command" "$shown"
}

# The blocks of a document without a tag, each in a file of its own.
plain_blocks() {
	awk -v dir="$2" '
		/^```/ && inside { inside = 0; next }
		/^```$/ { inside = 1; n++; next }
		/^```/ { inside = 2; next }
		inside == 1 { print > (dir "/block." n) }' "$1"
}

@test "every session in README.md goes as it is shown there" {
	local block line
	mkdir blocks
	plain_blocks "$top/README.md" "$PWD/blocks"
	blocks=("$PWD"/blocks/*)
	[ "${#blocks[@]}" -ge 3 ]
	for block in "${blocks[@]}"; do
		if grep -q '^\$ ' "$block"; then
			new_world "$world"
			mkdir -p build
			ln -s "$top/build/guest" build/guest
			run_session <"$block"
			end_world "$world"
		elif ! grep -q -E '^(OK|WARN|ERROR) ' "$block"; then
			while IFS= read -r line; do
				left_out "$line" || { echo "README.md: neither run nor left out: $line" && false; }
			done <"$block"
		fi
	done
	for line in 'sudo packaging/quickstart *' 'sudo test/run *'; do
		[[ " ${matched[*]} " == *" $line "* ]] || { echo "left out, but in no document: $line" && false; }
	done
}
