#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # bats sets output, what is loaded the rest
# What a terminal is shown of what takes long. No microVM runs here: exports and imports are as slow as the test
# reads and writes, and locks are held by it.

load helpers
load terminal

setup() {
	vm_setup
	export LC_ALL=C.UTF-8
	other=$BATS_TEST_TMPDIR/other
	mkfifo slow
}

teardown() {
	end_terminal
	[ -z "${holder:-}" ] || kill "$holder" 2>/dev/null || true
	vm_teardown
	VMCTL_ROOT=$other vm_teardown
}

make_image() {
	vmctl create web --kernel "$guest" --memory 16M --disk size=1M --disk id=data,size=32M
	dd if=/dev/urandom of="$(dir_of web)/disk-data.img" bs=1M count=24 conv=notrunc status=none
	vmctl snapshot create web base
}

# megabytes N: so many from what is slow, by descriptor 7.
megabytes() {
	dd bs=1M count="$1" iflag=fullblock status=none <&7
}

# The process that has been started in the terminal has been at it for a second: longer than patience takes.
has_taken_long() {
	local pid age
	pid=$(pgrep -t "${pane_tty#/dev/}" "$1") || return 1
	age=$(ps -o etimes= -p "$pid") || return 1
	((age >= 2))
}

widest() {
	screen | LC_ALL=C.UTF-8 wc -L
}

# A bar that stands still while nothing is read, which goes on, and of which nothing is left.
@test "an export shows a bar that fits the terminal, and leaves nothing of it" {
	make_image
	local columns
	for columns in 80 200; do
		in_terminal $columns 'vmctl snapshot export web/base --no-compress >slow'
		exec 7<slow
		megabytes 6 >part
		wait_for on_screen '^exporting web/base  \[[█░]{10,30}\]  [0-9.]+M / 24\.[0-9]M'
		# Once there is something to go by.
		wait_for on_screen ' [0-9.]+[KM]/s  [0-9]+ (s|min) left$'
		on_screen '\[█+░+\]'
		assert [ "$(widest)" -lt $columns ]
		assert_equal "$(screen | wc -l)" 1
		megabytes 12 >>part
		wait_for on_screen '  1[89]\.[0-9]M / '
		cat <&7 >>part
		exec 7<&-
		wait_for on_screen '^status 0$'
		assert_equal "$(screen)" 'status 0'
		end_terminal
		VMCTL_ROOT=$other vmctl snapshot import part --name "web/at-$columns"
	done
}

@test "a narrow terminal shows no bar, and one that gets wider does; without UTF-8 it is of ASCII" {
	make_image
	in_terminal 40 'LC_ALL=C vmctl snapshot export web/base --no-compress >slow'
	exec 7<slow
	megabytes 6 >/dev/null
	wait_for on_screen '^exporting web/base  [0-9.]+M / 24'
	assert [ "$(widest)" -lt 40 ]
	run ! on_screen '\['
	terminal resize-window -x 80
	wait_for on_screen '\[#+-+\]'
	cat <&7 >/dev/null
	exec 7<&-
	wait_for on_screen '^status 0$'
	assert_equal "$(screen | tail -n 1)" 'status 0'
	run ! on_screen exporting
}

@test "an import from a slow pipe shows a bar, then its result and nothing else" {
	make_image
	vmctl snapshot export web/base -o image
	in_terminal 80 "VMCTL_ROOT=$other vmctl snapshot import <slow"
	exec 7>slow
	head -c 16000000 image >&7
	wait_for on_screen '^importing web/base  \[█+░+\]  [0-9.]+M / 24'
	tail -c +16000001 image >&7
	exec 7>&-
	wait_for on_screen '^status 0$'
	assert_equal "$(screen)" $'web/base\nstatus 0'
}

@test "what fails or is interrupted says so on a line of its own" {
	make_image
	vmctl snapshot export web/base -o image
	in_terminal 80 "VMCTL_ROOT=$other vmctl snapshot import <slow"
	exec 7>slow
	head -c 16000000 image >&7
	wait_for on_screen '^importing web/base  \['
	exec 7>&- # cut short
	wait_for on_screen '^status 10$'
	run ! on_screen importing
	assert_equal "$(screen | grep -c '^vmctl-snapshot: ')" 1
	end_terminal
	in_terminal 80 'vmctl snapshot export web/base --no-compress >slow'
	exec 7<slow
	megabytes 6 >/dev/null
	wait_for on_screen '^exporting web/base  \['
	terminal send-keys C-c
	wait_for on_screen '^status 130$'
	run ! on_screen '\['
	on_screen 'vmctl-snapshot: .*interrupted by SIGINT'
	exec 7<&-
}

@test "where stderr is no terminal, or a dumb one, nothing is shown however long it takes" {
	make_image
	vmctl snapshot export web/base -o image
	local before
	for before in 'exec 2>err;' 'export TERM=dumb;'; do
		in_terminal 80 "$before VMCTL_ROOT=$other vmctl snapshot import --name web/${#before} <slow"
		exec 7>slow
		head -c 16000000 image >&7
		wait_for has_taken_long vmctl-snapshot
		assert_equal "$(screen)" ''
		tail -c +16000001 image >&7
		exec 7>&-
		wait_for on_screen '^status 0$'
		assert_equal "$(screen)" "web/${#before}"$'\nstatus 0'
		end_terminal
	done
	assert_equal "$(cat err)" ''
}

held() {
	! flock -n "$1" true
}

@test "a wait for a lock shows who has it, how long it has taken, and how long it will at most" {
	make_image
	flock "$VMCTL_ROOT/locks/$(field web .id)" sleep 600 3>&- &
	holder=$!
	wait_for held "$VMCTL_ROOT/locks/$(field web .id)"
	in_terminal 200 'vmctl snapshot create web later --wait=500'
	wait_for on_screen "^waiting for instance 'web': held by pid [0-9]+ \\((flock|sleep) .*\\); [0-9]+ s so far, [0-9]+ (s|min) left$"
	on_screen "pid ($holder|$(pgrep -P "$holder")) "
	# The times go on by themselves.
	wait_for on_screen '; 3 s so far, '
	terminal resize-window -x 80
	wait_for on_screen "^waiting for instance 'web': held by pid .*\\.\\.\\.; [0-9]+ s so far, [0-9]+ (s|min) left$"
	# The lock goes with its last descriptor.
	kill "$(pgrep -P "$holder")" "$holder"
	wait "$holder" || true
	holder=
	wait_for on_screen '^status 0$'
	assert_equal "$(screen)" $'web/later\nstatus 0'
}

@test "with -v a wait is a plain line, and nothing is drawn" {
	make_image
	flock "$VMCTL_ROOT/locks/$(field web .id)" sleep 600 3>&- &
	holder=$!
	wait_for held "$VMCTL_ROOT/locks/$(field web .id)"
	in_terminal 200 'vmctl snapshot create -v web later --wait=500'
	wait_for on_screen "^vmctl-snapshot: waiting for instance 'web': held by pid [0-9]+ \\("
	kill "$(pgrep -P "$holder")" "$holder"
	wait "$holder" || true
	holder=
	wait_for on_screen '^status 0$'
	assert_equal "$(screen | grep -c 'waiting for')" 1
	run ! on_screen 'so far'
}

has_come() {
	[ "$(vmctl snapshot ls -q | wc -l)" = 1 ]
}

@test "a terminal that is stopped does not stop an import, nor what it has locked" {
	make_image
	vmctl snapshot export web/base -o image
	in_terminal 80 "VMCTL_ROOT=$other vmctl snapshot import <slow"
	exec 7>slow
	head -c 16000000 image >&7
	wait_for on_screen '^importing web/base  \['
	terminal send-keys C-s
	wait_for is_stopped
	tail -c +16000001 image >&7
	exec 7>&-
	export VMCTL_ROOT=$other
	wait_for has_come
	# While the terminal still takes nothing, others have the image.
	is_stopped
	run ! on_screen '^status'
	vmctl snapshot fork web/base f --no-wait
	vmctl snapshot rm web/base --no-wait
	assert_clean
	terminal send-keys C-q
	wait_for on_screen '^status 0$'
	run ! on_screen importing
	assert_equal "$(screen | tail -n 2)" $'web/base\nstatus 0'
}
