# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # the helpers set top, guest
# Examples out of the documents, and a world for them to run in: `load examples` after `load helpers`.
# Nothing here knows any one example. What an example needs is told by its own words: a file that it
# boots from or copies, and an instance that its verb works on, are made when they are not there yet.

# --- taking them out -------------------------------------------------------------------------------

# man_examples PAGE: the section EXAMPLES as the shell is to get it, one line each.
man_examples() {
	awk '
		/^\.Sh/ { inside = $0 == ".Sh EXAMPLES" }
		!inside { next }
		/^\.Bd -literal/ { literal = 1; next }
		/^\.Ed/ { literal = 0; next }
		/^\.Dl / { print substr($0, 5); next }
		literal { print }' "$1" | sed 's/\\(dq/"/g; s/\\(aq/'"'"'/g; s/\\&//g; s/\\-/-/g; s/\\e/\\/g'
}

# markdown_blocks FILE TAG: what is fenced with exactly this tag (```sh run).
markdown_blocks() {
	awk -v fence="\`\`\`$2" '
		/^```/ && inside { inside = 0; next }
		$0 == fence { inside = 1; next }
		inside { print }' "$1"
}

# next_command: reads lines from standard input until they are a whole command, into `command`; false at
# the end. A line that ends in a backslash, a loop and a here-document so come in one piece.
next_command() {
	local line
	command=''
	while IFS= read -r line; do
		command+=${command:+$'\n'}$line
		[[ $command == *\\ ]] || [ -n "$(bash -n <<<"$command" 2>&1)" ] || return 0
	done
	[ -n "$command" ]
}

# --- the world -------------------------------------------------------------------------------------

# new_world DIRECTORY: an empty data root, and a working directory beside it. Another host is another data
# root here: `ssh HOST COMMAND` runs the command on that.
new_world() {
	mkdir -p "$1/bin" "$1/cwd"
	export VMCTL_ROOT=$1/root
	printf '#!/bin/sh\nshift\nVMCTL_ROOT=%q exec sh -c "$*"\n' "$1/other" >"$1/bin/ssh"
	chmod +x "$1/bin/ssh"
	world_path=${world_path:-$PATH}
	PATH=$1/bin:$world_path
	cd "$1/cwd" || return 1
}

# end_world DIRECTORY: what runs there is ended, what lies there is removed.
end_world() {
	local root ids status=0
	for root in "$1/root" "$1/other"; do
		[ -e "$root/vmctl.db" ] || continue
		ids=$(vmctl --root "$root" ls -q)
		# shellcheck disable=SC2086 # a list of ids
		[ -z "$ids" ] || vmctl --root "$root" rm --force $ids >/dev/null || status=1
		rm -f "/dev/shm/sem.vmctl-$(VMCTL_ROOT=$root root_id)"-* \
			"/dev/shm/vmctl-$(VMCTL_ROOT=$root root_id).root"
	done
	cd "$BATS_TEST_TMPDIR" && rm -rf "$1"
	return $status
}

# an_instance NAME STATE: makes one unless there is one of that name.
an_instance() {
	[[ $1 =~ ^[a-z0-9]([a-z0-9-]*[a-z0-9])?$ ]] || return 0
	! vmctl inspect "$1" >/dev/null 2>&1 || return 0
	make_running "$1"
	case $2 in
	standby) vmctl standby "$1" ;;
	paused) vmctl pause "$1" ;;
	stopped) vmctl stop --force "$1" ;;
	esac >/dev/null
}

# a_snapshot INSTANCE/NAME
a_snapshot() {
	[[ $1 == */* ]] || return 0
	! vmctl snapshot inspect "$1" >/dev/null 2>&1 || return 0
	an_instance "${1%/*}" standby
	vmctl snapshot create "${1%/*}" "${1#*/}" >/dev/null
}

# a_file PATH KIND: in the working directory, unless it is there.
a_file() {
	[[ $1 != */* && ! -e $1 ]] || return 0
	case $2 in
	kernel) cp "$guest" "$1" ;;
	disk) truncate -s 1M "$1" ;;
	spec) printf 'kernel: %s\nmemory: 16M\n' "$guest" >"$1" ;;
	esac
}

# a_template NAME: in the data root, unless it is there.
a_template() {
	[ -n "$1" ] && [ ! -e "$VMCTL_ROOT/templates/$1.yaml" ] || return 0
	mkdir -p "$VMCTL_ROOT/templates"
	(cd "$VMCTL_ROOT/templates" && a_file "$1.yaml" spec)
}

# a_state FILE [DIRECTORY]: a state file of a Firecracker, whose paths are in that directory.
a_state() {
	local fixture=$top/test/fixtures/vmstate/1.12.1/basic.vmstate recorded
	[ -n "$1" ] || return 0
	[ ! -e "$1" ] || { [ -n "${2:-}" ] && ! grep -q -F "$2" "$1"; } || return 0
	recorded=$(vmctl state show -o json "$fixture" | jq -r '.paths[0].path')
	rm -f "$1"
	vmctl state rewrite "$fixture" --prefix "${recorded%/*}=${2:-/srv/vm}" --to "$1" >/dev/null
}

# What the state of an adopted snapshot names, and its files: those of an instance whose paths are
# rewritten to the given ones. adopted_files STATE MEMORY RECORDED FILE
adopted_files() {
	local dir
	[ ! -e "$1" ] || return 0
	an_instance adopted standby
	dir=$(dir_of adopted)
	vmctl state rewrite "$dir/vmstate" --path "disk-root.img=$3" --to "$1" >/dev/null
	cp "$dir/memory" "$2"
	cp "$dir/disk-root.img" "$4"
}

# --- what a command needs --------------------------------------------------------------------------

# read_words WORD...: of one command of vmctl: its operands to `operands`, the values of its options to
# `value` by their long names ('' for an option without one). The verb's own help says which take one.
read_words() {
	local help word name
	operands=() value=()
	help=$(vmctl "${verb[@]}" --help)
	while [ $# -gt 0 ]; do
		word=$1
		shift
		case $word in
		--?*=*) value[${word%%=*}]=${word#*=} ;;
		-?*)
			name=$(sed -n -E "s/^ +(-., )?($word|--[a-z-]+)( .*|\$)/\1\2\3/p" <<<"$help" |
				grep -E -- "(^| )$word(,| |\$)" | head -n 1)
			word=$(grep -o -E -- '--[a-z-]+' <<<"$name" | head -n 1)
			value[${word:---unknown}]=''
			if [[ $name =~ --[a-z-]+\ [A-Z] ]]; then
				value[$word]=${1//\'/}
				shift || true
			fi
			;;
		*) operands+=("${word//[\"\']/}") ;;
		esac
	done
}

# Instances for a verb that takes instances, in the state that it works on.
for_operands() {
	local operand
	for operand in "${operands[@]}"; do
		an_instance "$operand" "$1"
	done
}

for_snapshot() {
	local operand
	case ${verb[1]} in
	create) an_instance "${operands[0]}" running ;;
	restore)
		an_instance "${operands[0]}" stopped
		[[ ${operands[1]} != */* ]] || a_snapshot "${operands[1]}"
		;;
	ls | gc) for_operands running ;;
	adopt)
		adopted_files "${value[--state]}" "${value[--memory]}" "${value[--disk]%%=*}" \
			"${value[--disk]#*=}"
		;;
	import) ;;
	*)
		for operand in "${operands[@]}"; do
			a_snapshot "$operand"
		done
		;;
	esac
}

for_ls() {
	local state
	for_operands running
	for state in ${value[--state]//,/ }; do
		an_instance "one-$state" "$state"
		# So that it is among those that are chosen: by labels that it has, not by those that it has not.
		[[ ! ${value[--label]:-} =~ ^[^!,]+=[^,]*$ ]] ||
			vmctl label "one-$state" "${value[--label]}" >/dev/null
	done
	if [ -n "${value[--parent]:-}" ]; then
		an_instance "${value[--parent]}" standby
		[ -n "$(vmctl ls -q --parent "${value[--parent]}")" ] ||
			vmctl fork "${value[--parent]}" -n 2 --name 'fork-{}' >/dev/null
	fi
}

for_create() {
	local disk=${value[--disk]:-}
	[ -z "${value[--kernel]:-}" ] || a_file "${value[--kernel]}" kernel
	[ -z "${value[--initrd]:-}" ] || a_file "${value[--initrd]}" disk
	[ -z "${value[--file]:-}" ] || a_file "${value[--file]}" spec
	a_template "${value[--template]:-}"
	case $disk in
	*path=*)
		disk=${disk#*path=}
		a_file "${disk%%,*}" disk
		;;
	*=* | '') ;;
	*) a_file "$disk" disk ;;
	esac
}

# needs_of VERB WORD...: one command of vmctl.
needs_of() {
	local -A value
	local operands state verb=("$1")
	shift
	case ${verb[0]} in
	snapshot | state)
		verb+=("$1")
		shift
		;;
	esac
	read_words "$@"
	case ${verb[0]} in
	create) for_create ;;
	start) for_operands stopped ;;
	resume) for_operands paused ;;
	restore) for_operands standby ;;
	wait) for_operands "$(cut -d , -f 1 <<<"${value[--state]:-stopped}")" ;;
	rm) for_operands stopped ;;
	fork)
		state=standby
		[ -z "${value[--from-running]+given}" ] || state=running
		an_instance "${operands[0]}" "$state"
		;;
	ls | tree) for_ls ;;
	snapshot) for_snapshot ;;
	state) a_state "${operands[0]:-}" "${value[--prefix]%%=*}" ;;
	help | config | doctor | stats | hooks) ;;
	*) for_operands running ;;
	esac
}

# provide COMMAND: what it needs. Of each command of vmctl in it, whatever stands before it (timeout 2, xargs -n 1).
provide() {
	local part words
	while IFS= read -r part; do
		read -r -a words <<<"$part"
		while [ "${#words[@]}" -gt 0 ] && [ "${words[0]}" != vmctl ]; do
			words=("${words[@]:1}")
		done
		# On another data root, and without a verb, there is nothing to be found here.
		[[ ${#words[@]} -lt 2 || ${words[1]} == -* ]] || needs_of "${words[@]:1}"
	done < <(sed 's/  *#.*//; s/\\$//; s/[|;&()]/\n/g' <<<"${1//$'\\\n'/ }")
}

# --- running one -----------------------------------------------------------------------------------

# Whether a command goes on until somebody ends it: one that follows, or sits at the terminal.
at_terminal() {
	[[ $1 == 'vmctl console '* || $1 == 'vmctl top'* ]]
}

endless() {
	at_terminal "$1" || [[ $1 =~ vmctl\ (logs|events)\ ([^|]*\ )?(-f|--follow)($|\ ) ]]
}

# Runs a command as somebody would type it. One that is endless must be at it still after a second, or have
# come to a good end.
run_example() {
	local status=0 limit=0 command=(bash -c "$1")
	if endless "$1"; then
		! at_terminal "$1" || command=(script -q -e -c "$1" /dev/null)
		timeout -k 10 1 "${command[@]}" </dev/null 3>&- || status=$?
		[ $status != 124 ] || status=0
		return $status
	fi
	# One that sets itself a limit ends by that.
	[[ $1 != *'timeout '* ]] || limit=124
	# In the environment of a script, not of this test: bats in an example is a bats of its own.
	(
		for name in ${!BATS_*}; do unset "$name"; done
		exec bash -c "$1" </dev/null 3>&-
	) || status=$?
	[ $status != "$limit" ] || status=0
	return $status
}
