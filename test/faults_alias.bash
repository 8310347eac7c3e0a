# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154,SC2317,SC2034 # bats sets output, stderr and lines; called by name
# The scenarios of loads through an alias, for the tests of the fault points. Load it after faults and
# alias.

# The directory that the state names is as it was, and nothing beside it.
recorded_is_whole() {
	assert_equal "$(find . -maxdepth 1 -name '.vmctl-*')" ''
	assert_equal "$(find "$VMCTL_ROOT/run" -name '*.alias*')" ''
	if [ "$recorded_was" = gone ]; then
		assert [ ! -e "$PWD/a" ]
	else
		assert_equal "$(contents_of "$recorded")" "$recorded_was"
	fi
}

restore_alias_again() {
	# Its guest may have run: it is failed, and says why.
	if [[ ${error:-} && $point == driver.re* && $(state_of web) = failed ]]; then
		vmctl rm web >/dev/null
		vmctl snapshot fork src/base web >/dev/null
		recorded_is_whole
		return
	fi
	if [ $((points % 2)) = 0 ]; then
		retry 0 restore web
		assert_equal "$(guest_state web)" Running
		assert_own_files web
	else
		vmctl standby web >/dev/null
		assert_equal "$(state_of web)" standby
	fi
	recorded_is_whole
}

fork_alias_again() {
	# Whoever comes, also if it has nothing to do with the fork.
	if [ $((points % 2)) = 0 ]; then
		vmctl standby rest >/dev/null
	else
		retry 4 snapshot fork src/base web
		assert_own_files web
	fi
	recorded_is_whole
}

# scenario_alias METHOD [gone]
scenario_alias() {
	prepare_alias_standby() {
		vmctl standby web >/dev/null
	}
	prepare_no_alias_fork() {
		vmctl rm --force web >/dev/null 2>&1 || true
	}
	local aliases=yes recorded=$PWD/a/recorded recorded_was
	make_alias_image src base "$recorded"
	[ -n "${2:-}" ] && recorded_was=gone && rm -r a || recorded_was=$(contents_of "$recorded")
	vmctl_yaml "alias: $1"
	vmctl snapshot fork src/base web
	prepare=prepare_alias_standby next=restore_alias_again walk restore web
	prepare=prepare_no_alias_fork next=fork_alias_again walk snapshot fork src/base web
	vmctl snapshot fork src/base last
	assert_own_files last
	wait_for has_ticked last
}

# The directory is the one of an instance: that one is whole again and can be started, by its own next
# verb or after doctor has been there.
scenario_alias_of_instance() {
	prepare_src_at_rest() {
		vmctl rm --force web >/dev/null 2>&1 || true
		vmctl stop --force src >/dev/null
	}
	start_src() {
		[ $((points % 2)) = 0 ] || vmctl doctor --repair >/dev/null || [ $? = 13 ]
		vmctl start src >/dev/null
		assert_equal "$(guest_state src)" Running
		vmctl stop --force src >/dev/null
		assert_equal "$(cksum <"$(dir_of src)/kernel")" "$(cksum <"$guest")"
		vmctl standby rest >/dev/null
		assert_equal "$(find "$VMCTL_ROOT/guests" -maxdepth 1 -name '.*')" ''
	}
	make_alias_of_instance
	vmctl_yaml 'alias: symlink'
	prepare=prepare_src_at_rest next=start_src walk snapshot fork src/base web
}
