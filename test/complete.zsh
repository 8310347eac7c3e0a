#!/usr/bin/env -S zsh -f
# SPDX-License-Identifier: Apache-2.0
# complete.zsh DIRECTORY: reads command lines, and prints for each of them what a TAB at its end offers in an
# interactive zsh with the completions of DIRECTORY: the line, a tab, and the word. For complete.bats.
emulate -R zsh
zmodload zsh/zpty || exit 1
work=$(mktemp -d) || exit 1
trap 'zpty -d z 2>/dev/null; rm -rf $work' EXIT
mkfifo $work/answer || exit 1

cat >$work/init <<INIT
unset HISTFILE
PROMPT= RPROMPT=
fpath=(${(q)1} \$fpath)
# Shows no list, and so does not ask whether to show a long one.
unsetopt AUTO_LIST AUTO_MENU
autoload -Uz compinit && compinit -D -u
exec 8>$work/answer
answer() {
	zle complete-word
	BUFFER=
	print -u 8 -r -- END
}
zle -N answer
bindkey '^I' answer
# Those that match go there. What only asks, to put into an array, is no answer.
compadd() {
	local -a hits
	if [[ \${@[1,(i)(-|--)]} != *-(O|A|D)\ * ]]; then
		builtin compadd -A hits "\$@"
		(( \$#hits )) && print -u 8 -rl -- \$hits
	fi
	builtin compadd "\$@"
}
INIT

zpty z zsh -f -i
zpty -w z "source $work/init"
exec 7<$work/answer
while IFS= read -r line; do
	zpty -n -w z $line$'\t'
	while IFS= read -r -t 30 -u 7 word; do
		[[ $word != END ]] || break
		print -r -- $line$'\t'$word
	done
	[[ $word == END ]] || exit 1
	while zpty -r -t z ignored; do :; done
done
