#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # the helpers set top
# The recipes of docs/cookbook.md, and the tutorial, are run as they stand, with real microVMs: blocks that
# are fenced "sh run", those of a section as one script, behind what stands before the first section.

load helpers
load examples

setup() {
	vm_setup
	world=$BATS_TEST_TMPDIR/world
	new_world "$world"
	a_file vmlinux kernel
	a_file root.img disk
}

teardown() {
	end_world "$world"
	vm_teardown
}

# sections_of FILE: the headings of the second rank.
sections_of() {
	sed -n 's/^## //p' "$1"
}

# section FILE HEADING: what stands below it; before the first one, for ''.
section() {
	awk -v wanted="$2" '
		/^```/ { code = !code }
		!code && /^## / { now = substr($0, 4); if (wanted == "") exit; next }
		now == wanted' "$1"
}

# recipe FILE HEADING: its script.
recipe() {
	printf '%s\n' 'set -euo pipefail'
	section "$1" "$2" | markdown_blocks - 'sh run'
}

# What a section leaves is removed, so that each begins with the same.
clean_up() {
	local ids
	ids=$(vmctl ls -q | grep -v -F -x "$(field golden .id)" || true)
	# shellcheck disable=SC2086 # a list of ids
	[ -z "$ids" ] || vmctl rm --force $ids >/dev/null
	vmctl snapshot ls -q | xargs -r vmctl snapshot rm >/dev/null
}

# run_script FILE NAME: in an environment without bats, and it may take a while.
run_script() {
	run_example "bash $1" >out 2>&1 || {
		printf '%s fails with %d:\n' "$2" $?
		cat out
		return 1
	}
}

@test "every recipe of the cookbook runs as it stands there" {
	local file=$top/docs/cookbook.md heading failed=0 count=0
	recipe "$file" '' >script
	run_script script 'the beginning'
	while IFS= read -r heading; do
		recipe "$file" "$heading" >script
		[ "$(wc -l <script)" -gt 1 ] || continue
		if [ "$heading" = 'To another host' ] && ! can state_rewrite; then
			echo "not run: $heading ($VMCTL_HYPERVISOR: no state_rewrite, so nothing is imported)"
			continue
		fi
		run_script script "$heading" || failed=1
		clean_up
		count=$((count + 1))
	done < <(sections_of "$file")
	[ "$failed" = 0 ]
	((count >= 8))
}

@test "every block of the cookbook and the tutorial is run, or says that it is not" {
	local file fences
	for file in cookbook tutorial; do
		fences=$(grep -h "^\`\`\`[a-z]" "$top/docs/$file.md" | sort -u)
		diff <(printf '```%s\n' 'sh host' 'sh run' yaml | grep -F -x "$fences") <(echo "$fences")
	done
}

@test "of many who claim from the warm pool at once, each gets a member of its own" {
	local file=$top/docs/cookbook.md i claims
	recipe "$file" '' >script
	run_script script 'the beginning'
	section "$file" 'A warm pool for CI jobs' | markdown_blocks - 'sh run' |
		sed '/^pool_fill 2$/,$d' >pool.sh
	# shellcheck disable=SC1091 # what was written just now
	source ./pool.sh
	pool_fill 5 >/dev/null
	pool_fill 5 >/dev/null
	assert_equal "$(vmctl ls -q --state standby --parent golden | wc -l)" 5
	for i in $(seq 12); do
		pool_claim >"claim.$i" 3>&- &
		claims+=" $!"
	done
	# shellcheck disable=SC2086 # a list of processes
	wait_all $claims
	assert_equal "$(count_status 0)" 5
	assert_equal "$(count_status 1)" 7
	assert_equal "$(cat claim.* | sort -u | wc -l)" 5
	assert_equal "$(cat claim.* | sort)" "$(vmctl ls -q --state running --parent golden | sort)"
	pool_release "$(head -n 1 claim.* | grep -E -x '[a-z0-9]{24}' | head -n 1)" >/dev/null
	assert_equal "$(vmctl ls -q --parent golden | wc -l)" 4
	# Nobody who was started has the pool's lock.
	flock -n pool.lock true
}

@test "the tutorial runs from its beginning to its end" {
	local file=$top/docs/tutorial.md
	# So many as there are in CI take too long where they are emulated.
	export FORKS=${TUTORIAL_FORKS:-12}
	{
		echo 'set -euo pipefail'
		markdown_blocks "$file" 'sh run'
	} >script
	run_script script 'the tutorial'
	assert_equal "$(vmctl ls -q)" ''
}
