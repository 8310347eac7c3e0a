#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # bats sets output, lines and stderr
# How results look: as YAML, by templates, with NULs, and in a terminal's width and colours.

load helpers

setup() {
	vm_setup
	export LC_ALL=C.UTF-8
	unset COLUMNS NO_COLOR
}

teardown() {
	local socket
	for socket in "$BATS_TEST_TMPDIR"/tmux.*; do
		[ ! -S "$socket" ] || tmux -S "$socket" kill-server 2>/dev/null || true
	done
	vm_teardown
}

# make_stopped NAME...: instances without a VMM.
make_stopped() {
	local name
	for name; do
		vmctl create "$name" --kernel "$guest" --memory 16M --disk size=1M >/dev/null
	done
}

# What Python makes of the YAML on stdin, as JSON with sorted keys: a list of its documents.
yaml_documents() {
	python3 -c 'import json, sys, yaml
print(json.dumps(list(yaml.safe_load_all(sys.stdin.buffer.read().decode())), sort_keys=True))' | jq -S -c .
}

# same_as_json COMMAND...: -o yaml of it reads back as what -o json says.
same_as_json() {
	local json yaml
	json=$("$@" -o json | jq -S -c -s .)
	yaml=$("$@" -o yaml | yaml_documents)
	[ "$json" != '[]' ]
	assert_equal "$yaml" "$json"
}

# on_terminal COLUMNS COMMAND: what the shell command prints on a terminal of that width.
on_terminal() {
	TERM=xterm script -q -e -c "stty cols $1; $2" /dev/null </dev/null | tr -d '\r'
}

# The columns of the widest line on stdin, colours aside.
widest() {
	sed 's/\x1b\[[0-9;]*m//g' | wc -L
}

# A comment and labels with all that YAML could take for something else, or a terminal for a command.
nasty=(yes No null '~' '' 1 1e5 0x1f 1_000 .5 -7 2026-11-23 12:30:00 ' a' 'a ' 'a: b' 'a:' 'a #b' '#' '- a' '?'
	'[a]' '{a: b}' '&a' '*a' '!a' '|' '>' '%a' '@a' '`a' "it's" "'" '"' '\n' \\ '<<' '=' --- ...
	$'\xc2\x85' $'\xc2\x9bm' $'\xe2\x80\xa8' $'\xef\xbb\xbfbom' été 漢字 😀 true
	"$(printf 'long %.0s' {1..40})")

# And what only a comment can have.
controls=($'a\nb' $'a\n' $'\n' $'\t' $'\x1b[31mred' $'\x7f')

make_nasty() {
	local i arguments=()
	make_stopped web
	for i in "${!nasty[@]}"; do
		arguments+=(--label "k$i=${nasty[i]}")
	done
	vmctl snapshot create web one "${arguments[@]}" --label yes=1 --label 1=a --label null=b --label 1.5=c \
		--comment $'first\nsecond: \x1b[31m漢字 and é' >/dev/null
	for i in "${!controls[@]}"; do
		vmctl snapshot create web "c$i" --comment "${controls[i]}" >/dev/null
	done
}

# --- YAML -----------------------------------------------------------------------------------------

@test "output: -o yaml says what -o json says, everywhere" {
	make_stopped web db
	vmctl snapshot create web one >/dev/null
	for command in 'vmctl ls' 'vmctl inspect web' 'vmctl inspect web db' 'vmctl snapshot ls' \
		'vmctl snapshot inspect web/one' 'vmctl events' 'vmctl events -n 1' \
		'vmctl snapshot gc --dry-run --keep-last 0' 'vmctl wait --state stopped web db' \
		'vmctl doctor --fault-points'; do
		# shellcheck disable=SC2086 # words
		same_as_json $command
	done
	assert_equal "$(vmctl ls nothing -o yaml 2>/dev/null)" '[]'
	# These tell the time: their shape.
	for command in stats doctor; do
		vmctl "$command" -o json | jq -S -c '[paths | map(if type == "number" then 0 else . end)] | unique' >by_json
		vmctl "$command" -o yaml | yaml_documents | jq -S -c '.[0] | [paths | map(if type == "number" then 0 else . end)] | unique' >by_yaml
		assert_equal "$(cat by_yaml)" "$(cat by_json)"
	done
}

# one_document COUNT COMMAND...: its list is laid out as one that was printed at once, and has so many.
one_document() {
	local count=$1
	shift
	"$@" -o json >"$BATS_TEST_TMPDIR/list"
	jq --indent 2 . "$BATS_TEST_TMPDIR/list" | diff - "$BATS_TEST_TMPDIR/list"
	assert_equal "$(jq length "$BATS_TEST_TMPDIR/list")" "$count"
}

@test "output: a list of JSON that is printed one by one is one document" {
	make_stopped a b c
	vmctl snapshot create a one >/dev/null
	vmctl snapshot create b two >/dev/null
	one_document 0 vmctl ls --state paused
	one_document 1 vmctl ls a
	one_document 3 vmctl ls
	one_document 2 vmctl snapshot ls
}

@test "output: -o yaml quotes what would read back as something else" {
	make_nasty
	same_as_json vmctl snapshot inspect web/one
	same_as_json vmctl snapshot ls
	vmctl snapshot inspect web/one -o yaml >by_yaml
	for line in "    k0: 'yes'" "    k2: 'null'" "    k4: ''" "    k5: '1'" "    '1': a" "    'yes': '1'"; do
		grep -qxF -- "${line#  }" by_yaml
	done
	run -1 grep -q $'\x1b' by_yaml
}

@test "output: -o yaml of several results is a document for each" {
	vmctl create a --kernel "$guest" -o yaml >made
	vmctl create b --kernel "$guest" -o yaml >>made
	run -0 cat made
	assert_equal "$(yaml_documents <<<"$output" | jq -c 'map(.name)')" '["a","b"]'
	run -0 vmctl rm a b -o yaml
	assert_equal "$(yaml_documents <<<"$output" | jq -c 'map(.name)')" '["a","b"]'
}

@test "output: with -o yaml errors and warnings are YAML on stderr" {
	make_stopped web
	run -3 --separate-stderr vmctl inspect web nope 'no: pe' -o yaml
	assert_equal "$(yaml_documents <<<"$output" | jq -c '.[] | map(.name)')" '["web"]'
	assert_equal "$(yaml_documents <<<"$stderr" | jq -c '.[0].error.code, (.[1].error | keys)')" \
		$'"not_found"\n["code","hint","message"]'
	[[ $(yaml_documents <<<"$stderr" | jq -r '.[1].error.message') == *"'no: pe'"* ]]
	# Wherever -o stands, also where it is the second of two mistakes.
	run -2 --separate-stderr vmctl fork --bogus web -o yaml
	assert_equal "$(yaml_documents <<<"$stderr" | jq -r '.[0].error.code')" usage
	run -0 --separate-stderr vmctl doctor --fault-points -o yaml
	[ -z "$stderr" ] || [ "$(yaml_documents <<<"$stderr" | jq '.[0].warning | has("message")')" = true ]
}

# --- templates ------------------------------------------------------------------------------------

@test "output: --format prints each object by a template" {
	make_stopped web-10 web-2
	vmctl fork web-2 copy >/dev/null
	assert_equal "$(vmctl ls --format '{{.Name}} {{.MemoryBytes}} [{{.Parent.Name}}]')" \
		$'copy 16777216 [web-2]\nweb-2 16777216 []\nweb-10 16777216 []'
	assert_equal "$(vmctl inspect --format '{{index .Disks 0 "SizeBytes"}}\t{{.ID}}' web-2)" \
		"1048576	$(field web-2 .id)"
	assert_equal "$(vmctl inspect --format '{{json .}}' copy | jq -S .)" "$(vmctl inspect copy | jq -S .)"
	assert_equal "$(vmctl ls --format json copy | jq -r .name)" copy
	assert_equal "$(vmctl create new --kernel "$guest" --format 'made {{.Name}}: {{.State}}')" 'made new: stopped'
	assert_equal "$(vmctl snapshot create web-2 one --label app=web --label App=x --format '{{.Kind}} {{.Name}}')" \
		'image web-2/one'
	assert_equal "$(vmctl snapshot ls --format '{{.Labels.app}} {{index .Labels "App"}} [{{.Labels.APP}}] {{.Instance.Name}}')" \
		'web x [] web-2'
	assert_equal "$(vmctl events -n 2 --format '{{.Verb}} {{.Outcome}}')" $'create ok\nsnapshot ok'
	assert_equal "$(vmctl snapshot gc --keep-last 0 --format '{{.Name}} {{.Removed}}')" 'web-2/one true'
	assert_equal "$(vmctl --format '{{.Name}}' rm new copy)" $'new\ncopy'
}

@test "output: a template that begins with table makes one, with a header" {
	make_stopped web database
	assert_equal "$(vmctl ls --format 'table {{.Name}}\t{{.MemoryBytes}}\t{{.State}}')" \
		$'NAME      MEMORY BYTES  STATE\ndatabase  16777216      stopped\nweb       16777216      stopped'
	assert_equal "$(vmctl ls --state running --format 'table {{.Name}}\t{{.Parent.Name}}')" 'NAME  PARENT NAME'
	run -0 vmctl events --format 'table {{.Name}}\t{{.Verb}}'
	assert_output $'NAME      VERB\nweb       create\ndatabase  create'
	run -0 vmctl rm web database --format 'table {{.Name}}\t{{.State}}'
	assert_line --index 0 --regexp '^NAME +STATE$'
	assert_equal "${#lines[@]}" 3
}

# A template, a line for each of the keys on stdin.
json_of() {
	sed 's/.*/{{json .&}}/'
}

@test "output: every key of an object can be used in a template, in each of its forms" {
	local command keys
	make_stopped web
	vmctl fork web copy >/dev/null
	vmctl snapshot create web one --comment x --expires 7d >/dev/null
	for command in 'vmctl inspect copy' 'vmctl snapshot inspect web/one' 'vmctl events -n 1'; do
		$command -o json >object
		# memory_bytes, parent.id, ...
		keys=$(jq -r 'paths | select(all(.[]; type == "string")) | join(".")' object)
		jq -c 'paths as $p | select($p | all(.[]; type == "string")) | getpath($p)' object >values
		assert_equal "$($command --format "$(json_of <<<"$keys")")" "$(cat values)"
		# MemoryBytes, Parent.Id, ...
		keys=$(sed -E 's/(^|[._])([a-z])/\1\u\2/g; s/_//g' <<<"$keys")
		assert_equal "$($command --format "$(json_of <<<"$keys")")" "$(cat values)"
	done
}

@test "output: a mistake in a template is found before anything is changed" {
	make_stopped web
	snapshot_root >before
	for command in 'rm' 'start' 'fork' 'snapshot create' 'ls' 'inspect' 'snapshot ls' 'events'; do
		# shellcheck disable=SC2086 # words
		run -2 --separate-stderr vmctl $command web --format 'x {{.Nmae}}'
		[ -z "$output" ]
		[[ $stderr == *"--format, column 6: there is no key '.Nmae'"*"did you mean '.name'?"* ]]
		# shellcheck disable=SC2086 # words
		run -2 --separate-stderr vmctl $command web --format '{{.Name'
		[[ $stderr == *"--format, column 1: {{ has no closing }}"* ]]
		# shellcheck disable=SC2086 # words
		run -2 --separate-stderr vmctl $command web --format '{{upper .Name}}'
		[[ $stderr == *"column 3: there is no function 'upper'"* ]]
	done
	run -2 vmctl ls --format '{{.Zzzz}}'
	assert_output --partial 'the keys are .id .name .kind .state'
	for other in '-o json' '-o yaml' -q; do
		# shellcheck disable=SC2086 # words
		run -2 vmctl rm web --format '{{.Name}}' $other
		assert_output --partial "--format does not go with $other"
	done
	run -2 vmctl ls --tree --format '{{.Name}}'
	run -2 vmctl ls --format ''
	run -2 vmctl logs web --format '{{.Name}}'
	assert_output --partial "unknown option '--format'"
	assert_equal "$(snapshot_root)" "$(cat before)"
}

# --- NUL ------------------------------------------------------------------------------------------

@test "output: -0 ends what is one result with NUL, for xargs -0" {
	make_stopped a b c
	vmctl snapshot create a one --comment $'two\nlines' >/dev/null
	assert_equal "$(vmctl ls -q -0 | xargs -0 -n 1 echo | sort)" "$(vmctl ls -q | sort)"
	assert_equal "$(vmctl ls --null --format '{{.Name}}\n' | tr '\n\0' '+;')" 'a+;b+;c+;'
	assert_equal "$(vmctl snapshot ls -0 --format '{{.Comment}}' | xargs -0 -n 1 printf '<%s>')" $'<two\nlines>'
	assert_equal "$(vmctl snapshot ls -q -0 | xargs -0 vmctl snapshot inspect --format '{{.Name}}')" a/one
	assert_equal "$(vmctl inspect a b -0 --format '{{.Name}}' | tr '\0' ';')" 'a;b;'
	assert_equal "$(vmctl fork a copy -0 | tr '\0' ';')" 'copy;'
	# shellcheck disable=SC2016 # sh's own
	assert_equal "$(vmctl ls -q -0 | xargs -0 sh -c 'vmctl rm -0 "$@"' sh | tr '\0' ';')" 'a;b;c;copy;'
	assert_equal "$(vmctl ls -q)" ''
}

@test "output: -0 is refused where nothing ends with it" {
	make_stopped web
	for command in 'ls' 'ls -o json' 'tree' 'snapshot ls' 'snapshot gc' 'inspect web' 'events' 'rm web -o yaml' \
		'rm web -o json'; do
		# shellcheck disable=SC2086 # words
		run -2 vmctl $command -0
		assert_output --partial '--null ends ids, names and what --format prints'
	done
	run -2 vmctl ls -0 --format 'table {{.Name}}'
	assert_output --partial '--null does not go with a table'
	run -2 vmctl doctor -0
	assert_output --partial "unknown option '-0'"
	assert_equal "$(vmctl ls --format '{{.Name}}')" web
}

# --- terminals ------------------------------------------------------------------------------------

@test "output: a table is never wider than the terminal, and elsewhere nothing is cut" {
	local long=a-rather-long-name-of-an-instance columns
	make_stopped web $long
	vmctl fork $long job >/dev/null
	vmctl fork $long "$long-and-its-fork" >/dev/null
	vmctl snapshot create web one --comment "$(printf '漢字 and é %.0s' {1..20})" --expires 7d >/dev/null
	run -6 vmctl pause web
	for columns in 200 120 80 60 40 20 5; do
		for command in 'ls' 'ls --tree' 'snapshot ls' 'events' 'stats' 'ls --format "table {{.ID}}\\t{{.Directory}}"'; do
			on_terminal "$columns" "vmctl $command" >shown
			# A line for each row: none has wrapped, none is missing.
			assert_equal "$(wc -l <shown)" "$(eval "vmctl $command" | wc -l)"
			(($(widest <shown) <= columns))
		done
	done
	on_terminal 80 'NO_COLOR=1 vmctl ls' >shown
	assert_equal "$(head -n 1 shown | xargs)" 'NAME ID STATE CREATED'
	grep -q "^$long-and-its-fork  " shown
	on_terminal 76 'NO_COLOR=1 vmctl ls web job' >shown
	assert_equal "$(head -n 1 shown | xargs)" 'NAME ID STATE HYPERVISOR VCPUS MEMORY PARENT CREATED'
	grep -q 'a-rat.*…' shown
	on_terminal 76 'NO_COLOR=1 LC_ALL=C vmctl ls web job' >shown
	grep -q 'a-rat.*~' shown
	run -1 grep -q '…' shown
	assert_equal "$(on_terminal 250 'NO_COLOR=1 vmctl ls' | sed 's/[a-z0-9]* \(second\|minute\)s* ago\|just now//')" \
		"$(vmctl ls | sed 's/[a-z0-9]* \(second\|minute\)s* ago\|just now//')"
	# $COLUMNS wins, as ls(1) has it; elsewhere it means nothing.
	assert_equal "$(on_terminal 200 'COLUMNS=20 vmctl ls web' | widest)" 13
	assert_equal "$(COLUMNS=20 vmctl ls | wc -L)" "$(vmctl ls | wc -L)"
	[[ $(vmctl snapshot ls) == *"$(printf '漢字 and é %.0s' {1..20})"* ]]
}

@test "output: doctor goes on below on a terminal, and is a line each elsewhere" {
	vmctl doctor >plain || true
	on_terminal 60 'NO_COLOR=1 vmctl doctor' >shown || true
	# Wider is only a word that is too long by itself.
	# shellcheck disable=SC2016 # awk's own
	run -0 awk 'length($0) > 60 && substr($0, 22) ~ / /' shown
	assert_output ''
	(($(wc -l <shown) > $(wc -l <plain)))
	# The same words in the same order; how fast /dev/kvm is was measured twice.
	for file in plain shown; do
		xargs -d '\n' <$file | tr -s ' ' | sed 's/[0-9.]* million/N million/g' >$file.words
	done
	assert_equal "$(cat shown.words)" "$(cat plain.words)"
	run -1 grep -q ' $' shown
}

@test "output: nothing in a table commands the terminal" {
	make_nasty
	vmctl snapshot ls >plain
	on_terminal 200 'vmctl snapshot ls; vmctl snapshot ls --format "{{.Comment}}"' >shown
	for file in plain shown; do
		grep -q 'first second: ?\[31m漢字 and é' $file
		run -1 grep -q $'\x1b\\[31m' $file
	done
	# A script gets what there is.
	[[ $(vmctl snapshot ls --format '{{.Comment}}') == *$'first\nsecond: \x1b[31m漢字 and é'* ]]
	LC_ALL=C on_terminal 200 'vmctl snapshot ls' >shown
	grep -q 'first second: ?\[31m?? and ?' shown
}

@test "output: colours are for terminals, unless NO_COLOR or TERM says otherwise" {
	make_running web
	make_stopped off
	vmctl ls >plain
	run -1 grep -q $'\x1b' plain
	on_terminal 200 'vmctl ls' >shown
	grep -q $'\x1b\\[1mNAME' shown
	grep -q $'web .*\x1b\\[32mrunning\x1b\\[0m' shown
	grep -q '^off .* stopped ' shown
	vmctl pause web >/dev/null
	on_terminal 200 'vmctl ls' | grep -q $'\x1b\\[33mpaused\x1b\\[0m'
	vmctl standby web >/dev/null
	on_terminal 200 'vmctl ls --tree' | grep -q $'\x1b\\[36mstandby\x1b\\[0m'
	run -6 vmctl resume web
	on_terminal 200 'vmctl events -n 2' >shown
	grep -q $'standby .*\x1b\\[32mok\x1b\\[0m' shown
	grep -q $'resume .*\x1b\\[31minvalid_state\x1b\\[0m' shown
	on_terminal 200 'vmctl doctor' | grep -q $'^\x1b\\[32mOK   \x1b\\[0m  root'
	for command in 'NO_COLOR=1 vmctl ls' 'TERM=dumb vmctl ls' 'TERM= vmctl ls' 'vmctl ls -o json' \
		'vmctl ls -o yaml' 'vmctl ls -q' 'vmctl ls --format "{{.State}}"' 'vmctl ls | cat'; do
		on_terminal 200 "$command" >shown
		grep -q . shown
		run -1 grep -q $'\x1b' shown
	done
	on_terminal 200 'NO_COLOR= vmctl ls' | grep -q $'\x1b\\['
}

# screen COLUMNS COMMAND: what tmux shows when the command has ended. Each has a socket of its own: the server before
# may still be about to go.
screen() {
	local socket
	socket=$(mktemp -u "$BATS_TEST_TMPDIR/tmux.XXXXXX")
	tmux -u -S "$socket" -f /dev/null new-session -d -x "$1" -y 30 "$2; printf 'th%s\n' 'e end'; exec sleep 600"
	wait_for on_screen "$socket" '^the end$'
	tmux -S "$socket" capture-pane -p -t :
	tmux -S "$socket" kill-server
}

on_screen() {
	tmux -S "$1" capture-pane -p -t : | grep -q "$2"
}

@test "output: a real terminal shows a line for each instance at 80 and at 200 columns" {
	make_stopped web
	vmctl fork web -n 3 --name 'a-fork-of-it-with-a-long-name-{}' >/dev/null
	vmctl fork a-fork-of-it-with-a-long-name-2 again >/dev/null
	screen 80 'vmctl ls --tree' >narrow
	assert_equal "$(head -n 6 narrow | awk '{ print $1 }' | xargs)" 'NAME web ├─ ├─ │ └─'
	assert_equal "$(head -n 1 narrow | xargs)" 'NAME ID STATE PARENT CREATED'
	assert_equal "$(sed -n 7p narrow)" 'the end'
	grep -q '^│  └─ again .* a-fork.*… ' narrow
	screen 200 'vmctl ls --tree' >wide
	assert_equal "$(head -n 1 wide | xargs)" 'NAME ID STATE HYPERVISOR VCPUS MEMORY CID PARENT CREATED'
	grep -q '^│  └─ again .* a-fork-of-it-with-a-long-name-2 ' wide
	assert_equal "$(sed -n 7p wide)" 'the end'
}
