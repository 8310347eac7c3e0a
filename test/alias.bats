#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154,SC2030,SC2031 # bats sets output, stderr and lines
# Saved states that name another directory and cannot be rewritten: loaded through an alias of it.

load helpers
load alias

setup() {
	vm_setup
	recorded=$PWD/recorded
	loads=()
}

teardown() {
	vm_teardown
}

@test "first" {
	make_alias_image src base "$recorded"
	vmctl doctor
	vmctl snapshot fork src/base web
	assert_own_files web
	vmctl inspect web
	vmctl_yaml 'alias: symlink'
	vmctl snapshot fork src/base sym
	assert_own_files sym
	ls -la "$recorded"
	vmctl events
	find "$VMCTL_ROOT"/{run,locks}
	vmctl standby web
	vmctl restore web
	assert_own_files web
	mv recorded gone
	vmctl standby sym
	vmctl restore sym
	assert_own_files sym
	vmctl_yaml 'alias: namespace'
	vmctl standby sym
	vmctl restore sym
	assert_own_files sym
	assert [ ! -e recorded ]
	false
}
