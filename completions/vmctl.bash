# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Completion of vmctl and vmctl-VERB for bash (4 or later; bash-completion is not needed). What may
# follow is asked of the program that is on the line, `PROGRAM __complete WORD ...`, so that nothing
# here grows old: cmd/cli/complete.h says what it answers.

# A word as the program would get it, in `plain`: without quotes, with ~ and plain variables. Nothing
# on the line is run for that.
_vmctl_plain() {
	local text=$1 char quote='' name
	plain=''
	[[ $text != \~ && $text != \~/* ]] || text=$HOME${text:1}
	while [[ -n $text ]]; do
		char=${text:0:1} text=${text:1}
		case $quote$char in
		\\ | \"\\) plain+=${text:0:1} text=${text:1} ;;
		\' | \") quote=$char ;;
		\'\' | \"\") quote='' ;;
		\$ | \"\$)
			if [[ $text =~ ^([A-Za-z_][A-Za-z_0-9]*|\{[A-Za-z_][A-Za-z_0-9]*\}) ]]; then
				name=${BASH_REMATCH[0]//[\{\}]/}
				plain+=${!name-} text=${text:${#BASH_REMATCH[0]}}
			else
				plain+=$char
			fi
			;;
		*) plain+=$char ;;
		esac
	done
}

# The words up to the cursor in `words`, and in `broken` so much of the last one as bash has cut off as
# words of their own: it breaks "--root=x" in three.
_vmctl_words() {
	local line=${COMP_LINE:0:COMP_POINT} word i glued raw=()
	for ((i = 0; i <= COMP_CWORD; i++)); do
		glued=no word=${COMP_WORDS[i]}
		[[ $i == 0 || $line == [[:space:]]* ]] || glued=yes
		line=${line#"${line%%[![:space:]]*}"}
		[[ $line == "$word"* ]] || word=$line # the cursor stands in it
		line=${line#"$word"}
		broken=''
		if [[ $glued == yes ]]; then
			broken=${raw[-1]}
			raw[-1]+=$word
		else
			raw+=("$word")
		fi
		[[ $i == 0 || ! $word =~ ^[=:]+$ ]] || broken=${raw[-1]}
	done
	for word in "${raw[@]}"; do
		_vmctl_plain "$word"
		words+=("$plain")
	done
	_vmctl_plain "$broken"
	broken=$plain
}

# _vmctl_reply WORD: offers it, if it goes on from what is typed.
_vmctl_reply() {
	[[ -n $1 && $1 == "$typed"* ]] || return
	word=$kept$1
	COMPREPLY+=("${word:${#broken}}")
}

# Names of files beside other words, or behind a part of the word that readline takes for the name's.
_vmctl_files() {
	local name
	while IFS= read -r name; do
		[[ ! -d $name ]] || name+=/
		_vmctl_reply "$name"
	done < <(compgen "$@" -- "$typed")
}

_vmctl() {
	local words=() plain broken='' kind='' kept='' typed='' word files=()
	COMPREPLY=()
	_vmctl_words
	type -P "${words[0]}" >/dev/null || words[0]=vmctl
	{
		IFS=$'\t' read -r kind kept
		typed=${words[-1]#"$kept"}
		while IFS=$'\t' read -r word _; do
			_vmctl_reply "$word"
		done
	} < <(command "${words[0]}" __complete "${words[@]:1}" 2>/dev/null)
	case $kind in
	files) files=(-f default) ;;
	dirs) files=(-d dirnames) ;;
	esac
	if [[ -n $kind && $kind != words ]]; then
		# Where it can, readline does it: it knows best about ~ and quotes.
		if [[ ${#COMPREPLY[@]} == 0 && $kept == "$broken" ]]; then
			compopt -o "${files[1]}" 2>/dev/null
		else
			_vmctl_files "${files[0]}"
		fi
	fi
	if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=/] ]]; then
		compopt -o nospace 2>/dev/null
	fi
	return 0
}

# All that are in PATH; and bash-completion loads this file under the name of the program it is for.
complete -F _vmctl vmctl
while IFS= read -r _vmctl_word; do
	[[ $_vmctl_word != vmctl-* ]] || complete -F _vmctl "$_vmctl_word"
done < <(compgen -c vmctl-; printf '%s\n' "${BASH_SOURCE[0]##*/}")
unset _vmctl_word
