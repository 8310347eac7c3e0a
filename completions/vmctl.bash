# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Completion of vmctl and vmctl-VERB for bash: verbs, options, states and names of instances.
# Options come from each verb's --help and names from the store, so nothing here grows old.

# Prints the arguments of --root that stand on the line, for commands that are asked for candidates.
_vmctl_root() {
	local i
	for ((i = 1; i < COMP_CWORD; i++)); do
		[[ ${COMP_WORDS[i]} == --root ]] || continue
		[[ ${COMP_WORDS[i + 1]} == '=' ]] && i=$((i + 1))
		printf '%s\n' "--root=${COMP_WORDS[i + 1]/#\~/$HOME}"
		return
	done
}

# Words of --help: the long options of a verb.
_vmctl_options() {
	"$@" --help 2>/dev/null | grep -oE '(^| )--[a-z][a-z-]*' | tr -d ' ' | sort -u
}

_vmctl_names() {
	local states=$1 root
	root=$(_vmctl_root)
	vmctl ls --names ${root:+"$root"} ${states:+"--state=$states"} 2>/dev/null
}

_vmctl_templates() {
	local root
	root=$(_vmctl_root)
	vmctl config templates --names ${root:+"$root"} 2>/dev/null
}

# The keys of the settings, and "root".
_vmctl_settings() {
	vmctl config show -o json 2>/dev/null | sed -n 's/^    "key": "\(.*\)",$/\1/p'
}

# The outcomes that events have: ok, and the codes of errors.
_vmctl_outcomes() {
	printf '%s\n' ok system already_exists busy invalid_state insufficient_resources unsupported \
		hypervisor corrupt incompatible timeout needs_repair hook
}

# Fills COMPREPLY with those of the given words (one a line) that begin with the current one.
_vmctl_reply() {
	local word
	COMPREPLY=()
	while IFS= read -r word; do
		[[ -n $word && $word == "$cur"* ]] && COMPREPLY+=("$word")
	done
	return 0 # not what the last word was
}

_vmctl_files() {
	local word
	compopt -o filenames 2>/dev/null
	COMPREPLY=()
	while IFS= read -r word; do
		COMPREPLY+=("$word")
	done < <(compgen "$@" -- "$cur")
}

# The value of the option before the cursor; fails when that is no option with a value.
_vmctl_value() {
	local verb=$1
	case $prev in
	--root) _vmctl_files -d ;;
	--state | --memory)
		case $verb$prev in
		snapshot*) _vmctl_files -f ;;
		*--state) _vmctl_reply < <(printf '%s\n' stopped standby running paused failed) ;;
		*) COMPREPLY=() ;;
		esac
		;;
	-o | --output)
		local formats=(table json)
		[[ $verb != stats ]] || formats+=(prometheus)
		_vmctl_reply < <(printf '%s\n' "${formats[@]}")
		;;
	--verb) _vmctl_reply < <(_vmctl_verbs | sed 's/^help$/repair/') ;;
	--outcome) _vmctl_reply < <(_vmctl_outcomes) ;;
	--hypervisor) _vmctl_reply < <(printf '%s\n' auto firecracker qemu) ;;
	--machine) _vmctl_reply < <(printf '%s\n' microvm q35) ;;
	--accelerator) _vmctl_reply < <(printf '%s\n' auto kvm tcg) ;;
	--network) _vmctl_reply < <(printf '%s\n' none user tap=) ;;
	--sort) _vmctl_reply < <(printf '%s\n' cpu pss name time) ;;
	--target-state) _vmctl_reply < <(printf '%s\n' stopped standby running) ;;
	--parent) _vmctl_reply < <(_vmctl_names '') ;;
	--template) _vmctl_reply < <(_vmctl_templates) ;;
	--kernel | --initrd | --disk | --file | --to) _vmctl_files -f ;;
	-f) [[ $verb == create || $verb == tree ]] && _vmctl_files -f ;;
	--wait) [[ $glued == yes ]] && COMPREPLY=() ;;
	-n | -t | -l | --count | --tail | --name | --time | --timeout | --escape | --vcpus | \
		--boot-args | --since | --until | --comment | --label | --expires | \
		--keep-last | --keep-within | --max-size | --level | --cid | --path | --prefix | --relocate) COMPREPLY=() ;;
	*) return 1 ;;
	esac
}

# Instances in the states that a verb can do something about.
_vmctl_instances() {
	local states=''
	case $1 in
	create | doctor | stats | top) return ;;
	start) states=stopped,failed ;;
	stop) states=running,paused,standby ;;
	pause) states=running ;;
	resume) states=paused ;;
	standby | console) states=running,paused ;;
	restore) states=standby ;;
	fork) states=stopped,standby,running ;;
	esac
	_vmctl_names "$states"
}

# What a command of a group is about: snapshots, or instances, or first the one and then the other.
_vmctl_snapshot_operands() {
	local root
	root=$(_vmctl_root)
	case $1 in
	create | ls | gc) _vmctl_names '' ;;
	import) _vmctl_files -f ;;
	inspect | fork | rm | restore | export)
		[[ $1 != restore ]] || _vmctl_names ''
		vmctl snapshot ls -o json ${root:+"$root"} 2>/dev/null | sed -n 's/^    "name": "\(.*\/.*\)",$/\1/p'
		;;
	esac
}

# Words after `vmctl snapshot`: "$@" is the program, and its words so far.
_vmctl_group() {
	local group=$1 command='' i
	shift
	for ((i = 1; i < COMP_CWORD; i++)); do
		[[ ${COMP_WORDS[i]} == "$group" || ${COMP_WORDS[i]} == -* ]] && continue
		command=${COMP_WORDS[i]}
		break
	done
	if [[ -z $command ]]; then
		_vmctl_reply < <("$@" --help 2>/dev/null | sed -n '/^Commands:/,/^$/s/^  \([a-z-]*\) .*/\1/p')
	elif _vmctl_value "$group"; then
		return
	elif [[ $cur == -* ]]; then
		_vmctl_reply < <(_vmctl_options "$@" "$command")
	elif [[ $group == state ]]; then
		_vmctl_files -f
	elif [[ $group == config ]]; then
		[[ $command != show ]] || _vmctl_reply < <(_vmctl_settings)
	else
		_vmctl_reply < <(_vmctl_snapshot_operands "$command")
	fi
}

_vmctl_verb() {
	local verb=$1
	shift
	if [[ $verb == snapshot || $verb == state || $verb == config ]]; then
		_vmctl_group "$verb" "$@"
		return
	fi
	if _vmctl_value "$verb"; then
		return
	elif [[ $cur == -* ]]; then
		_vmctl_reply < <(_vmctl_options "$@")
	else
		_vmctl_reply < <(_vmctl_instances "$verb")
	fi
}

_vmctl() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} glued=no
	local verb='' program=${COMP_WORDS[0]##*/} i

	# bash takes "--root=x" apart into three words.
	if [[ $cur == '=' ]]; then
		cur='' glued=yes
	elif [[ $prev == '=' && $COMP_CWORD -ge 2 ]]; then
		prev=${COMP_WORDS[COMP_CWORD - 2]} glued=yes
	fi
	if [[ $program == vmctl-* ]]; then
		_vmctl_verb "${program#vmctl-}" "${COMP_WORDS[0]}"
		return
	fi
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--root | -o | --output)
			[[ ${COMP_WORDS[i + 1]} == '=' ]] && i=$((i + 1))
			i=$((i + 1))
			;;
		-* | =) ;;
		*)
			verb=${COMP_WORDS[i]}
			break
			;;
		esac
	done
	case $verb in
	'')
		if _vmctl_value ''; then
			return
		elif [[ $cur == -* ]]; then
			_vmctl_reply < <(_vmctl_options vmctl)
		else
			_vmctl_reply < <(_vmctl_verbs)
		fi
		;;
	help) _vmctl_reply < <(_vmctl_verbs) ;;
	list) _vmctl_verb ls vmctl ls ;;
	*) _vmctl_verb "$verb" vmctl "$verb" ;;
	esac
}

# The list between "Verbs:" and the empty line after it.
_vmctl_verbs() {
	vmctl --help 2>/dev/null | sed -n '/^Verbs:/,/^$/s/^  \([a-z-]*\) .*/\1/p'
	printf '%s\n' help
}

complete -F _vmctl vmctl
for _vmctl_word in create start stop pause resume standby restore fork ls inspect rm wait logs \
	console events stats doctor snapshot state config; do
	complete -F _vmctl "vmctl-$_vmctl_word"
done
unset _vmctl_word
