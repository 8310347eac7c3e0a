#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # bats sets output and stderr
# vmctl tree: the family tree of instances and snapshots, as a table, JSON, a graph and a picture.

load helpers

setup() {
	vm_setup
	export LC_ALL=C
}

teardown() {
	vm_teardown
}

make_web() {
	vmctl create "$1" --kernel "$guest" --memory 16M --disk size=1M >/dev/null
}

# Three generations, a snapshot with a fork, and a source that is no more.
make_family() {
	make_standby web
	vmctl fork web -n 2 --name 'job-{}' >/dev/null
	vmctl fork web gone --target-state stopped >/dev/null
	vmctl snapshot create job-1 s1 >/dev/null
	vmctl fork job-1/s1 late --target-state standby >/dev/null
	vmctl fork gone left >/dev/null
	vmctl fork gone right >/dev/null
	vmctl rm gone >/dev/null
	make_web lone
}

# The names with what is drawn before them.
drawn() {
	awk 'NR > 1' <<<"$output" | sed 's/  *\(instance\|image\)  .*//'
}

@test "tree: forks and snapshots below their source, a removed source as a ghost" {
	make_family
	run -0 vmctl tree
	assert_line --index 0 --regexp '^NAME +KIND +STATE +HYPERVISOR +EXCLUSIVE +SHARED$'
	assert_equal "$(drawn)" 'gone (removed)
|- left
`- right
lone
web
|- job-1
|  `- job-1/s1
|     `- late
`- job-2'
	assert_line --regexp "^gone \(removed\) +instance +- +- +- +-$"
	assert_line --regexp "^web +instance +standby +$VMCTL_HYPERVISOR +[0-9.]+[KM] +[0-9.]+[KM]$"
	assert_line --regexp "job-1/s1 +image +standby +$VMCTL_HYPERVISOR "
	assert_line --regexp "job-2 +instance +running +$VMCTL_HYPERVISOR "
	LC_ALL=C.UTF-8 run -0 vmctl tree web
	assert_line --partial '├─ job-1 '
	assert_line --partial '│     └─ late '
}

@test "tree: the state is what is true now, and the bytes are those of snapshot ls" {
	local pid
	make_running web
	vmctl snapshot create web s1 >/dev/null
	run -0 vmctl tree -o json web/s1
	assert_equal "$(jq -c '.[0] | [.exclusive_bytes, .shared_bytes]' <<<"$output")" \
		"$(vmctl snapshot inspect web/s1 | jq -c '[.exclusive_bytes, .shared_bytes]')"
	pid=$(field web .pid)
	kill -KILL "$pid"
	vmctl wait --state failed --timeout 60 web >/dev/null
	run -0 vmctl tree
	assert_line --regexp '^web +instance +failed '
}

@test "tree: only the subtrees of those that are given, also of one that was removed" {
	local id
	make_web web
	vmctl fork web a >/dev/null
	vmctl fork a b >/dev/null
	vmctl fork web c >/dev/null
	run -0 vmctl tree a
	assert_equal "$(drawn)" 'a
`- b'
	run -0 vmctl tree b c a
	assert_equal "$(drawn)" 'a
`- b
c'
	id=$(field a .id)
	vmctl rm a >/dev/null
	for selector in a "$id"; do
		run -0 vmctl tree "$selector"
		assert_equal "$(drawn)" 'a (removed)
`- b'
	done
	run -3 --separate-stderr vmctl tree nowhere c
	assert_equal "$(drawn)" c
	[[ $stderr == *"no instance 'nowhere'"* ]]
	run -3 --separate-stderr vmctl tree nowhere --dot -f graph
	assert_output ''
	assert [ ! -e graph ]
}

@test "tree -o json: nested objects, with null for what a ghost does not have; -q: ids" {
	local keys
	make_web web
	vmctl fork web a >/dev/null
	vmctl fork a b >/dev/null
	run -0 vmctl tree -o json
	keys=$(sed -n '/The keys are/,/^With/{s/^\.It Cm //p}' "$top/man/vmctl-tree.1" |
		tr -s ' ,' '\n' | sort)
	assert_equal "$(jq -r '.[0] | keys[]' <<<"$output" | sort)" "$keys"
	assert_equal "$(jq -c '[.. | objects | [.name, .kind, .state, (.children | length)]]' <<<"$output")" \
		'[["web","instance","stopped",1],["a","instance","stopped",1],["b","instance","stopped",0]]'
	assert_equal "$(jq -r '.. | objects | .id' <<<"$output")" "$(vmctl tree -q)"
	vmctl rm a >/dev/null
	run -0 vmctl tree -o json a
	assert_equal "$(jq -c '.[0] | [.name, .state, .hypervisor, .exclusive_bytes, .shared_bytes]' <<<"$output")" \
		'["a","removed",null,null,null]'
	assert_equal "$(vmctl tree -q a)" "$(field b .id)"
}

@test "tree: an empty data root has an empty tree in each format, and is not made" {
	run -0 vmctl tree
	assert_output --regexp '^NAME +KIND +STATE +HYPERVISOR +EXCLUSIVE +SHARED$'
	assert_equal "$(vmctl tree -o json)" '[]'
	assert_equal "$(vmctl tree -q)" ''
	vmctl tree --dot | dot -Tcanon >/dev/null
	assert [ ! -e "$VMCTL_ROOT" ]
}

@test "tree --dot: graphviz reads it, and finds every node and edge" {
	make_family
	run -0 vmctl tree --dot
	dot -Tcanon <<<"$output" >canon
	dot -Tplain <<<"$output" >plain
	assert_equal "$(grep -c '^node ' plain)" 9
	assert_equal "$(grep -c '^edge ' plain)" 6
	grep -q "^edge \"\?$(field web .id)\"\? \"\?$(field job-1 .id)" plain
	assert_output --partial 'fillcolor=palegreen'
	assert_output --partial 'shape=folder'
	assert_output --partial '[label="gone\nremoved" shape=box style="filled,dashed"'
	# But for the consoles of those that run, which grow.
	sizeless() { sed -E 's/[0-9.]+[KM]? own/N own/'; }
	vmctl tree --dot -f graph
	assert_equal "$(sizeless <graph)" "$(sizeless <<<"$output")"
	assert_equal "$(vmctl tree --dot -f - | sizeless)" "$(sizeless <<<"$output")"
}

@test "tree --svg: a picture with every name in it, whole or not at all" {
	make_family
	vmctl tree --svg >all.svg
	python3 - all.svg gone left right lone web job-1 job-1/s1 late job-2 <<-'PYTHON'
		import sys, xml.etree.ElementTree as tree
		texts = [e.text for e in tree.parse(sys.argv[1]).iter() if e.tag.endswith("}text")]
		missing = [name for name in sys.argv[2:] if name not in texts]
		assert not missing, missing
	PYTHON
	vmctl tree --svg -f web.svg web
	python3 -c 'import sys, xml.etree.ElementTree as t; t.parse("web.svg")'
	run -1 grep '>lone<' web.svg
	assert_equal "$(stat -c %a web.svg)" 600
	chmod 644 web.svg
	vmctl tree --svg -f web.svg web
	assert_equal "$(stat -c %a web.svg)" 644
	# What is no file is written to.
	vmctl tree --svg -f /dev/stdout web | cmp - web.svg
	run -1 vmctl tree --svg -f nowhere/web.svg
	assert_output --partial 'cannot write nowhere/web.svg'
}

@test "tree --svg: a graphviz that is missing or fails is told, and leaves the file as it was" {
	local programs
	make_web web
	programs=$(dirname "$(command -v vmctl)")
	echo before >web.svg
	run -1 --separate-stderr env PATH="$programs" "$programs/vmctl-tree" --svg -f web.svg
	[[ $stderr == *'cannot run dot: No such file'*'hint: install the package graphviz'* ]]
	mkdir fails
	printf '#!/bin/sh\necho "no font" >&2\necho "no luck" >&2\nexit 3\n' >fails/dot
	chmod +x fails/dot
	PATH=$PWD/fails:$PATH run -1 --separate-stderr vmctl tree --svg -f web.svg
	[[ $stderr == *'dot failed with status 3: no font no luck'* ]]
	printf '#!/bin/sh\nkill -KILL $$\n' >fails/dot
	PATH=$PWD/fails:$PATH run -1 --separate-stderr vmctl tree --svg
	[[ $stderr == *'dot was ended by signal 9'* ]]
	assert_output ''
	assert_equal "$(cat web.svg)" before
	assert_equal "$(echo ./web.svg*)" ./web.svg
}

@test "tree --svg: an interrupt ends graphviz as well" {
	local child
	make_web web
	mkdir slow
	# shellcheck disable=SC2016 # for the script
	printf '#!/bin/sh\necho $$ >%s/pid\nexec sleep 1000\n' "$PWD" >slow/dot
	chmod +x slow/dot
	# By its own name: in the background the shell has it ignore SIGINT.
	PATH=$PWD/slow:$PATH vmctl-tree --svg >svg 2>said 3>&- &
	child=$!
	wait_for [ -s pid ]
	kill -TERM "$child"
	wait "$child" && status=0 || status=$?
	assert_equal "$status" 143
	gone() { ! kill -0 "$(cat pid)" 2>/dev/null; }
	wait_for gone
	assert [ ! -s svg ]
}

@test "tree: options that do not go together are refused" {
	run -2 vmctl tree --dot --svg
	assert_output --partial 'exclude each other'
	run -2 vmctl tree -f file
	assert_output --partial '--file goes with --dot or --svg'
	run -2 vmctl tree --dot -o json
	run -2 vmctl tree --svg -q
	assert [ ! -e file ]
}

# Rows as forks would leave them, without their directories: below `web`, COUNT of them, each the fork of
# the one before (deep) or of web (wide).
many_rows() {
	sqlite3 "$VMCTL_ROOT/vmctl.db" "
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $2)
		INSERT INTO instance (id, name, state, hypervisor, parent_id, parent_name, vcpus, memory_bytes,
			created_us, changed_us, spec)
		SELECT printf('$1%020d', i), printf('$1-%d', i), 'stopped', hypervisor,
			CASE WHEN '$1' = 'wide' OR i = 1 THEN id ELSE printf('$1%020d', i - 1) END,
			CASE WHEN '$1' = 'wide' OR i = 1 THEN name ELSE printf('$1-%d', i - 1) END,
			1, 16777216, created_us, changed_us, spec
		FROM instance, n WHERE name = 'web';"
}

@test "tree: a thousand generations and ten thousand forks" {
	make_web web
	many_rows deep 1000
	many_rows wide 10000
	vmctl tree >table
	assert_equal "$(wc -l <table)" 11002
	grep -q '^|- wide-1 ' table || grep -q '^|- wide-1$' table
	vmctl tree -o json >nested
	python3 - <<-'PYTHON'
		import json, sys
		sys.setrecursionlimit(20000)
		node, = json.load(open("nested"))
		assert len(node["children"]) == 10001
		depth = 0
		while node["children"]:
		    node = node["children"][0]
		    depth += 1
		assert depth == 1000 and node["name"] == "deep-1000", (depth, node)
	PYTHON
	assert_equal "$(vmctl tree --dot | grep -c -- ' -> ')" 11000
	assert_equal "$(vmctl tree deep-500 -q | wc -l)" 501
	sqlite3 "$VMCTL_ROOT/vmctl.db" "DELETE FROM instance WHERE name <> 'web'"
}
