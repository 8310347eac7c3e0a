# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # what test/run sets
# The bats passes of test/run: each runs the bats files over one build with one hypervisor.

declare -A obstacle_of=() # by hypervisor: why it has none, where it has none
jobs=()                   # BUILD HYPERVISOR FILE, in the order in which they are taken
taken=                    # a directory with one in it for each that somebody has taken
beside=()                 # who takes some beside us: their processes
beside_work=()            # and their directories

# Processes whose working directory is in the directory of this run: VMMs that a test left behind.
# They were started below us, so they are ours to end.
leftovers() {
	local dir cwd
	for dir in /proc/[0-9]*; do
		cwd=$(readlink "$dir/cwd" 2>/dev/null) || continue
		case $cwd in "$work"/*) printf '%s\n' "${dir#/proc/}" ;; esac
	done
}

end_leftovers() {
	local pid found=0
	for pid in $(leftovers); do
		found=1
		printf 'left running: %s %s\n' "$pid" "$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null)"
		kill -KILL "$pid" 2>/dev/null
	done
	[ $found = 0 ] || fail "$1: left processes running (above; they have been killed)"
}

# Waits for bats, process $1, to end. It does not while something that a test left behind has its output open:
# when all results are there and it is still here a minute later, what is left is ended.
end_when_all_ran() {
	local idle=0
	while kill -0 "$1" 2>/dev/null; do
		sleep 0.1
		awk '/^1\.\.[0-9]/ { planned = substr($1, 4) + 0 } /^(not )?ok [0-9]/ { seen++ }
			END { exit seen < planned || !NR }' "$work/bats.log" || continue
		idle=$((idle + 1))
		[ $idle != 600 ] || end_leftovers "$2"
	done
}

bats_file() {
	local file=$1 build=$2 hypervisor=$3 status child shown arguments=(--tap --timing) brief='' tagged=''
	[ -z "$filter" ] || arguments+=(--filter "$filter")
	if [ "$hypervisor" != "${hypervisors[0]}" ]; then
		# The walks through the fault points take longest: where the driver is met, and one error a point.
		brief=yes
		case $file in
		*/faults_kill.bats | */faults_fail.bats)
			arguments+=(--filter-tags driver)
			tagged='; only what is tagged driver'
			;;
		esac
	fi
	section "$file ($build, $hypervisor$tagged)"
	: >"$work/bats.log"
	# TMPDIR: where bats makes its directories, and with them the data roots of the tests.
	VMCTL_BUILD=$build VMCTL_TEST_HYPERVISOR=$hypervisor VMCTL_TEST_SKIP=${obstacle_of[$hypervisor]:-} \
		FAULTS_BRIEF=$brief TMPDIR=$work/tmp "${steady[@]}" timeout -k 30 "${BATS_SECONDS:-2700}" \
		bats "${arguments[@]}" "$file" >"$work/bats.log" 2>&1 &
	child=$!
	children=("$child")
	tail -n +1 -s 0.1 -f --pid=$child "$work/bats.log" 2>/dev/null &
	shown=$!
	end_when_all_ran "$child" "$file"
	wait $child
	status=$?
	children=()
	wait $shown
	end_leftovers "$file"
	count_tap "$file ($build, $hypervisor)" "$work/bats.log" $status
	sanitizer_reports "$file"
}

# add_jobs BUILD HYPERVISOR: one pass, a job for each bats file that it wants.
add_jobs() {
	local file
	for file in "${files[@]}"; do
		wants_file "$file" "$1" "$2" || continue
		case ${file##*/} in
		faults_fail.bats | faults_kill.bats | faults_memory.bats | full_disk.bats | kill.bats | storm.bats)
			long_jobs+=("$1 $2 $file")
			;;
		*) jobs+=("$1 $2 $file") ;;
		esac
	done
}

# Runs the jobs, one after the other, that nobody else has taken.
take_jobs() {
	local i build hypervisor file
	mkdir -p "$work/tmp"
	for i in "${!jobs[@]}"; do
		mkdir "$taken/$i" 2>/dev/null || continue
		read -r build hypervisor file <<<"${jobs[i]}"
		bats_file "$file" "$(build_for "$file" "$build")" "$hypervisor"
	done
}

# Another one takes jobs beside us: each mostly waits for its one guest. No more than one, for then the
# machine is what is waited for. What it prints and counts goes to files of its own, and is shown and added
# when we have come to our end.
start_beside() {
	local dir
	dir=$(mktemp -d "$top/build/run.XXXXXX") || return
	jobs_beside "$dir" >"$dir/log" 2>&1 &
	beside+=($!)
	beside_work+=("$dir")
	printf 'beside what follows runs every other file of the passes; that output comes at the end\n'
}

# In a subshell.
jobs_beside() {
	work=$1 passed=0 failed=0 skipped=0 failures=() skips=()
	trap '[ ${#children[@]} = 0 ] || kill -TERM "${children[@]}" 2>/dev/null; exit 130' TERM
	sanitizer_env
	take_jobs
	printf '%s\n' "${failures[@]}" >"$work/failures"
	printf '%s\n' "${skips[@]}" >"$work/skips"
	printf '%d %d %d\n' "$passed" "$failed" "$skipped" >"$work/counted"
}

join_beside() {
	local i
	for i in "${!beside[@]}"; do
		wait "${beside[i]}"
		unset "beside[i]"
		add_up "${beside_work[i]}"
	done
}

# add_up DIRECTORY: what somebody beside us has left there.
add_up() {
	local counted line
	cat "$1/log"
	if ! read -ra counted <"$1/counted"; then
		fail 'who ran bats files beside us did not come to the end'
		return
	fi
	passed=$((passed + counted[0])) failed=$((failed + counted[1])) skipped=$((skipped + counted[2]))
	while IFS= read -r line; do
		[ -z "$line" ] || failures+=("$line")
	done <"$1/failures"
	while IFS= read -r line; do
		[ -z "$line" ] || skips+=("$line")
	done <"$1/skips"
}

# The build that a bats file is to test in a pass over the given one: those of the fault points need
# a build that has them. Killed processes have nothing for a sanitizer to see; failures do.
build_for() {
	case $1 in
	*/faults_*) echo "$2/faults" ;;
	*) echo "$2" ;;
	esac
}

# wants_file FILE BUILD HYPERVISOR
wants_file() {
	local name=${1##*/} first=no
	[ "$3" != "${hypervisors[0]}" ] || first=yes
	case ${name%.bats} in
	# What is installed and what documents say is the same in each build, and the examples take long.
	package | documents | examples | cookbook | complete_keys) [ $first = yes ] && [ "$2" = build ] ;;
	# Those that start no VMM, or do not care which.
	help | generic | sound | complete | config | output | tree | top | progress | labels | exit_codes | install) [ $first = yes ] ;;
	# Killed processes have nothing for a sanitizer to see.
	faults_kill) [ "$2" != build/san ] ;;
	esac
}

# obstacle HYPERVISOR: why none of its microVMs can run here; nothing when they can. On a user's machine
# such tests are skipped.
obstacle() {
	case $1 in
	firecracker)
		if [ ! -e /dev/kvm ]; then
			echo 'there is no /dev/kvm'
		elif ! (exec 3<>/dev/kvm) 2>/dev/null; then
			echo 'no permission for /dev/kvm (run as root, or join the group kvm)'
		elif [ -z "${VMCTL_FIRECRACKER:-}" ]; then
			echo 'there is no Firecracker (what get-firecracker said is above)'
		fi
		;;
	qemu)
		command -v "${VMCTL_QEMU:-qemu-system-x86_64}" >/dev/null ||
			echo "there is no QEMU (Debian's package is qemu-system-x86)"
		;;
	esac
}

version_of() {
	local binary=${VMCTL_FIRECRACKER:-}
	[ "$1" = firecracker ] || binary=$(command -v "${VMCTL_QEMU:-qemu-system-x86_64}")
	printf '%s: %s\n' "$binary" "$("$binary" --version 2>/dev/null | head -n 1)"
}

# Fills obstacle_of.
prepare_microvms() {
	local hypervisor why
	section "hypervisors and /dev/kvm"
	case " ${hypervisors[*]} " in
	*' firecracker '*)
		VMCTL_FIRECRACKER=$(packaging/get-firecracker) && export VMCTL_FIRECRACKER
		[ -n "$VMCTL_FIRECRACKER" ] || unset VMCTL_FIRECRACKER
		;;
	esac
	for hypervisor in "${hypervisors[@]}"; do
		why=$(obstacle "$hypervisor")
		if [ -z "$why" ]; then
			version_of "$hypervisor"
		elif [ "$ci" = yes ]; then
			fail "microVMs of $hypervisor cannot run here: $why"
			obstacle_of[$hypervisor]=$why
		else
			obstacle_of[$hypervisor]=$why
			printf 'tests with microVMs of %s are skipped: %s\n' "$hypervisor" "$why"
		fi
	done
}

# All passes. One that would run nothing is told in one line; the first is run in any case, for what needs no
# microVM. With more than one, two take of their files what is next, first those that take long, so that they
# end at about the same time.
bats_passes() {
	local hypervisor first=${hypervisors[0]} passes=1 long_jobs=()
	if ! command -v bats >/dev/null; then
		skip "bats files: bats is not installed"
		return
	fi
	add_jobs build "$first"
	if [ "$do_san" = yes ]; then
		add_jobs build/san "$first"
		passes=2
	fi
	for hypervisor in "${hypervisors[@]:1}"; do
		if [ -n "${obstacle_of[$hypervisor]:-}" ]; then
			[ "$ci" = yes ] || skip "bats files with $hypervisor: ${obstacle_of[$hypervisor]}"
		else
			add_jobs build "$hypervisor"
			passes=$((passes + 1))
		fi
	done
	jobs=("${long_jobs[@]}" "${jobs[@]}")
	taken=$(mktemp -d "$work/taken.XXXXXX") || return
	[ $passes = 1 ] || start_beside
	take_jobs
}
