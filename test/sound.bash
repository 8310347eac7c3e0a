# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # bats sets output, stderr and lines
# For the tests that kill verbs: `load sound` after `load helpers`, `sound_setup` in setup() and
# `sound_teardown` in teardown().

# A data root with a bystander in standby, which nothing below may touch.
sound_setup() {
	vm_setup
	make_standby rest
	rest_dir=$(dir_of rest)
	rest_sums=$(sums_in "$rest_dir")
}

sound_teardown() {
	local status=0 file pid
	vm_teardown || status=1
	# A failed test may have left a VMM that no row in `vmctl ls` knows.
	for file in "$VMCTL_ROOT"/run/*.alive; do
		[ -e "$file" ] || continue
		flock -n -s "$file" true && continue
		read -r pid _ <"$file"
		kill -9 "$pid" || status=1
	done
	return $status
}

# Every VMM has a row, every row its VMM, nothing is left over, and the bystander is as it was.
assert_sound() {
	local line leftovers=() known
	VMCTL_QEMU=$(quick_qemu) run vmctl doctor
	for line in "${lines[@]}"; do
		[[ $line != *leftovers* ]] || leftovers+=("$line")
	done
	assert_equal "${leftovers[*]}" 'OK     leftovers     none'
	assert_equal "$status" 0
	# First how many are to have a VMM, and then a directory for each.
	known=$(sqlite3 -readonly "$VMCTL_ROOT/vmctl.db" "
		SELECT count(*) FROM instance WHERE state IN ('running', 'paused');
		SELECT iif(kind = 'image', 'images/', 'guests/') || id FROM instance ORDER BY 1")
	assert_equal "$(live_vmms && directories)" "$known"
	assert_equal "$(sums_in "$rest_dir")" "$rest_sums"
}

# Those of the data root that are an instance's or an image's, or have been.
directories() {
	(
		shopt -s nullglob dotglob
		LC_ALL=C # the order of the store
		cd "$VMCTL_ROOT" && found=(guests/* images/* trash/*)
		[ ${#found[@]} = 0 ] || printf '%s\n' "${found[@]}"
	)
}

# What takes the most time of `vmctl doctor`, and is none of what is looked at here: the version of the
# hypervisor that is not under test. Prints the name of a program that says it at once.
quick_qemu() {
	local real=${VMCTL_QEMU:-qemu-system-x86_64} quick=$BATS_FILE_TMPDIR/quick-qemu
	if [ "$VMCTL_HYPERVISOR" = qemu ] || ! real=$(command -v "$real"); then
		printf '%s\n' "${VMCTL_QEMU:-}"
		return
	fi
	if [ ! -e "$quick" ]; then
		printf "#!/bin/sh\necho '%s'\n" "$("$real" --version | head -n 1)" >"$quick"
		chmod +x "$quick"
	fi
	printf '%s\n' "$quick"
}

# retry CODE ARGUMENTS...: the verb again; CODE is how it ends if the killed one had come to its end.
retry() {
	local code=$1
	shift
	run vmctl "$@"
	echo "$status $output"
	[ "$status" = 0 ] || assert_equal "$status ($output)" "$code ($output)"
}
