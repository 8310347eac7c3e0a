#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What a terminal is shown while microVMs are waited for. Each wait ends when the test says so.

load helpers
load terminal

setup() {
	vm_setup
}

teardown() {
	end_terminal
	[ -z "${stopped:-}" ] || kill -CONT "$stopped" 2>/dev/null || true
	[ -z "${holder:-}" ] || kill "$holder" 2>/dev/null || true
	vm_teardown
}

# The terminal shows the result $1, and nothing else that anybody was shown before.
shows_only() {
	wait_for on_screen '^status 0$'
	assert_equal "$(screen)" "$1"$'\nstatus 0'
}

@test "stop shows how long the guest still has, and wait what is waited for" {
	make_running web --boot-args 'console=ttyS0 reboot=k panic=1 pci=off stubborn'
	in_terminal 80 'vmctl stop --time 600 web'
	wait_for on_screen '^waiting for web to shut down; [0-9]+ s so far, ([0-9]+ s|10 min) left$'
	wait_for on_screen '; 2 s so far, '
	terminal send-keys C-c
	wait_for on_screen '^status 130$'
	run ! on_screen 'so far'
	end_terminal
	in_terminal 80 'vmctl wait --state stopped,failed --timeout 600 web'
	wait_for on_screen '^waiting for web to be stopped or failed: it is running; [0-9]+ s so far, ([0-9]+ s|10 min) left$'
	vmctl stop --force web
	shows_only web
}

# The one restore slot, held by us: a holder is whoever has the file.
hold_slot() {
	vmctl_yaml 'limits: {max_concurrent_restores: 1}'
	flock "$VMCTL_ROOT/run/slot.$VMCTL_HYPERVISOR.0" sleep 600 3>&- &
	holder=$!
	wait_for held "$VMCTL_ROOT/run/slot.$VMCTL_HYPERVISOR.0"
}

held() {
	! flock -n "$1" true
}

give_slot() {
	kill "$(pgrep -P "$holder")" "$holder"
	wait "$holder" || true
	holder=
}

@test "a restore that waits for a slot shows who has them, and a fork of many how many are up" {
	needs cid_rewrite
	make_standby web
	hold_slot
	in_terminal 200 'vmctl restore --wait=500 web'
	wait_for on_screen '^waiting for a restore slot: all 1 are held, by pid [0-9]+ \((flock|sleep) .*\); [0-9]+ s so far, [0-9]+ (s|min) left$'
	give_slot
	shows_only web
	end_terminal
	vmctl standby web
	hold_slot
	in_terminal 200 "vmctl fork -n 3 --name 'f-{}' --wait=500 web"
	wait_for on_screen '^0 of 3 forks, waiting for a restore slot: all 1 are held, by .*; [0-9]+ s so far, [0-9]+ (s|min) left$'
	terminal resize-window -x 80
	wait_for on_screen '^0 of 3 forks, waiting for a restore slot: all 1 .*\.\.\.; [0-9]+ s so far, [0-9]+ (s|min) left$'
	give_slot
	shows_only $'f-1\nf-2\nf-3'
}

# A VMM that is stopped neither writes nor answers: so the save takes as long as we like.
@test "a save of memory shows how much it is, and a save that was waited for leaves nothing" {
	make_running web
	vmctl pause web
	stopped=$(field web .pid)
	kill -STOP "$stopped"
	in_terminal 80 'vmctl standby web'
	wait_for on_screen '^saving the memory of web  '
	on_screen ' 16\.0M'
	kill -CONT "$stopped"
	shows_only web
	assert_equal "$(state_of web)" standby
}
