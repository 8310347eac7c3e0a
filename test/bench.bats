# SPDX-License-Identifier: Apache-2.0
# The benchmarks' own tools: that what they tell can be believed. How fast anything is, no test asks.

load helpers

# The same programs whatever build is tested: they are not vmctl's.
setup() {
	vm_setup
	# shellcheck disable=SC2154 # top is of vm_setup
	bench=$top/build/bench
	[ -x "$bench/rounds" ] || fail "build/bench/rounds is missing: make bench-bins"
}

teardown() {
	vm_teardown
}

# report WANT JSON: what the report says of these results, by the rows and limits in the file aims.
report() {
	jq -r --rawfile aims aims --arg want "$1" -f "$top/test/bench/report.jq" <<<"$2"
}

note() {
	cat >note <<-'SH'
		#!/bin/sh
		echo "$1" >>order
	SH
	chmod +x note
}

@test "rounds takes the commands in turn, each round beginning with another one" {
	note
	run -0 --separate-stderr "$bench/rounds" --rounds 3 --warmup 0 --jitter 0 \
		@a before ./note before-a ';' run ./note a ';' after ./note after-a ';' \
		@b run ./note b ';'
	assert_equal "$(tr '\n' ' ' <order)" \
		'before-a a after-a b b before-a a after-a before-a a after-a b '
	assert_equal "$(jq -c 'map_values(map_values(length))' <<<"$output")" \
		'{"a":{"wall_us":3,"cpu_us":3,"maxrss_kib":3,"minor_faults":3},"b":{"wall_us":3,"cpu_us":3,"maxrss_kib":3,"minor_faults":3}}'
}

@test "rounds times the command and not what prepares and follows it" {
	run -0 --separate-stderr "$bench/rounds" --rounds 3 --warmup 0 \
		@short before sleep 0.2 ';' run true ';' after sleep 0.2 ';' @long run sleep 0.3 ';'
	# The least of three: a busy machine may take long for a program that does nothing.
	jq -e '(.short.wall_us | min) < 200000 and (.long.wall_us | min) >= 300000' <<<"$output"
}

@test "rounds tells which command has failed, how, and what it said" {
	run -1 "$bench/rounds" --rounds 3 @fine run true ';' @broken run sh -c 'echo no such luck >&2; exit 7' ';'
	assert_output --partial 'rounds: broken: sh -c echo no such luck >&2; exit 7: exit status 7'
	assert_output --partial 'no such luck'
	run -1 "$bench/rounds" @broken run true ';' after false ';'
	assert_output 'rounds: broken: false: exit status 1'
}

@test "rounds ends what a command has left running, before the next and when it is interrupted" {
	run -0 "$bench/rounds" --rounds 2 @a run sh -c 'sleep 1000 & echo $! >>left' ';'
	run -0 wc -l <left
	while read -r pid; do
		[ ! -e "/proc/$pid" ] || fail "process $pid still runs"
	done <left

	rm left
	"$bench/rounds" @a run sh -c 'sleep 1000 & echo $! >left; sleep 1000' ';' 3>&- &
	local rounds=$!
	wait_for test -s left
	kill -INT $rounds
	local status=0
	wait $rounds || status=$?
	assert_equal $status 130
	[ ! -e "/proc/$(cat left)" ] || fail "process $(cat left) still runs"
}

@test "at-once starts as many as are asked for, each with its number, and fails if one does" {
	note
	run -0 "$bench/at-once" 5 ./note 'n-{}'
	assert_equal "$(sort order | tr '\n' ' ')" 'n-1 n-2 n-3 n-4 n-5 '
	# shellcheck disable=SC2016 # for the shell that is started
	run -1 "$bench/at-once" 3 sh -c 'exit "$1"' sh '{}'
	assert_output 'at-once: 3 of 3 failed'
}

@test "the copy of a disk has the same bytes and the same holes" {
	truncate -s 64M disk
	dd if=/dev/urandom of=disk bs=64K count=3 seek=100 conv=notrunc status=none
	"$bench/copy" disk plain
	"$bench/copy" --sync disk synced other
	cmp disk plain
	cmp disk synced
	cmp disk other
	[ "$(stat -c %b plain)" -le "$(stat -c %b disk)" ]
	run -1 "$bench/copy" disk plain
	assert_output 'copy: plain: File exists'
}

@test "the memory of a program is told as it was at its end, and its exit status" {
	run -0 --separate-stderr "$bench/at-exit" /bin/true
	jq -e '.peak_rss_kib > .private_kib and .private_kib > 0' <<<"$output"
	run -3 "$bench/at-exit" sh -c 'exit 3'
	# What is filled is private, and the rest of the program besides.
	run -0 --separate-stderr bash -c "'$bench/at-exit' dd if=/dev/zero of=/dev/null bs=20M count=1"
	jq -e '.peak_rss_kib > 20000' <<<"$output"
}

@test "the report: ratios of medians and in pairs, what is met, and what a gate says" {
	cat >aims <<-'AIMS'
		# a comment
		fork floor      -        -   -   - - the floor
		fork near       floor    1.1 1.5 - - near
		fork slow       floor    1.1 1.5 - - slow
		fork later      floor    -   -   2 5 later
		fork best       slow|floor 1.1 1.5 - - best
		memory big      0        -   -   10 20 big
		fork missing    floor    1.1 1.5 - - was not measured
	AIMS
	results='{"machine": {"Machine": "one"}, "sections": {
		"fork": {"floor": {"values": [10, 20, 10]}, "near": {"values": [10.5, 21, 10.5]},
			"slow": {"values": [20, 40, 20]}, "later": {"values": [13, 23, 13]}, "best": {"values": [10, 20, 10]}},
		"memory": {"big": {"values": [30]}}}}'
	run -0 report table "$results"
	assert_line '- Machine: one'
	assert_line '| near | 3 | 10.50 | 21.00 | 10.50 | 1.05 | 1.05 | 1.05 | 0.50 | 1.1 times | yes |'
	assert_line '| slow | 3 | 20.00 | 40.00 | 20.00 | 2.00 | 2.00 | 2.00 | 10.00 | 1.1 times | no |'
	assert_line '| best | 3 | 10.00 | 20.00 | 10.00 | 1.00 | 1.00 | 1.00 | 0.00 | 1.1 times | yes |'
	assert_line '| big | 1 | 30 | 30 | 30 |  |  |  |  | 10 KiB | no |'
	refute_output --partial 'was not measured'
	run -0 report missed "$results"
	assert_output "$(printf '%s\n' 'slow: 2.00 times its floor, the aim is 1.1' \
		'later: 3.00 ms beyond its floor, the aim is 2' 'big: 30.00 KiB, the aim is 10')"
	run -0 report check "$results"
	assert_output "$(printf '%s\n' 'slow: 2.00 times its floor, the gate is 1.5' 'big: 30.00 KiB, the gate is 20')"
}

@test "a load that takes either long or short by chance is compared with its like" {
	printf '%s\n' 'fork floor - - - - - the floor' 'fork fork floor 1.1 1.5 - - the fork' >aims
	# By medians 24.5 / 9; in pairs (24.5 - 9, 0.5, 0.5, 9.5 - 24, 0.5) 0.5 ms more.
	run -0 report table '{"machine": {}, "sections": {"fork": {"floor": {"values": [9, 9, 24, 24, 9]},
		"fork": {"values": [24.5, 9.5, 24.5, 9.5, 24.5]}}}}'
	assert_line '| the fork | 5 | 24.50 | 24.50 | 9.50 | 2.72 | 1.06 | 1.06 | 0.50 | 1.1 times | partly |'
	run -0 report check '{"machine": {}, "sections": {"fork": {"floor": {"values": [9, 9, 24, 24, 9]},
		"fork": {"values": [24.5, 9.5, 24.5, 9.5, 24.5]}}}}'
	assert_output ''
}

@test "every row of the aims has a section, limits that are numbers, a text, and a floor beside it" {
	local section row floor ratio ratio_gate extra extra_gate what one rows
	rows=$(cat "$top/test/bench/aims")
	while read -r section row floor ratio ratio_gate extra extra_gate what; do
		[[ $section = [a-z]* ]] || continue
		grep -q "^section_$section()" "$top/test/bench/sections.bash" || fail "$row: no section $section"
		for one in "$ratio" "$ratio_gate" "$extra" "$extra_gate"; do
			[[ $one =~ ^(-|[0-9.]+)$ ]] || fail "$row: '$one' is no limit"
		done
		[ -n "$what" ] || fail "$row has no text"
		for one in ${floor//|/ }; do
			case $one in - | 0) continue ;; esac
			grep -q "^$section  *$one " <<<"$rows" || fail "$row: no row is its floor $one"
		done
	done <<<"$rows"
}

@test "the floor starts a VMM in each directory, and a run shows rows beside it and leaves nothing" {
	[ "$VMCTL_HYPERVISOR" = firecracker ] || skip "what is measured is another hypervisor"
	ls -d "$top"/build/bench-work.* /dev/shm/*vmctl* >before 2>/dev/null || true
	run -0 --separate-stderr "$top/test/bench/run" --only fork --runs 3 --to results.json
	assert_output --partial '| vmctl-fork to running, 64 MiB | 3 | '
	jq -e '.sections.fork | [.fork64, .floor64, .fork512, .floor512] | map(.values | length == 3 and min > 0) | all' results.json
	# Of this run: others on this machine come and go meanwhile.
	run ls -d "$top"/build/bench-work.*
	[ "$status" -ne 0 ] || [ "$(comm -13 <(sort before) <(sort <<<"$output") | wc -l)" -eq 0 ]

	make_standby src
	local i source
	source=$(vmctl inspect src | jq -r .directory)
	for i in 1 2 3; do
		mkdir $i
		ln "$source/memory" "$source/vmstate" "$source/kernel" $i/
		for file in "$source"/disk-*; do
			[ ! -e "$file" ] || "$bench/copy" "$file" "$i/${file##*/}"
		done
	done
	run -0 --separate-stderr "$bench/floor" --kill --parallel 2 "$VMCTL_FIRECRACKER" 1 2 3
	((output > 0))
	run -1 "$bench/floor" --kill "$VMCTL_FIRECRACKER" 1 missing
	assert_output --partial 'floor: missing: chdir: No such file or directory'
	# The one that came up is not left behind.
	# shellcheck disable=SC2016 # for the shell that is started
	run -0 bash -c 'for p in /proc/[0-9]*; do readlink "$p/cwd" || true; done 2>/dev/null'
	refute_line "$PWD/1"
}
