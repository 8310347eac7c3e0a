#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154,SC2317 # bats sets output, stderr and lines; called by name
# Every effect that can fail does, for every verb (docs/faults.md), with ENOSPC, EIO, EMFILE and
# EDQUOT in turn: the verb says insufficient_resources or system, names the path, and leaves what the
# next ordinary verb makes good, as after a kill. The tag `driver`: see faults_kill.bats.
#
# FAULTS_BRIEF=yes: at each point only one of the four, in turn.

load helpers
load sound
load faults
load alias
load faults_alias
load foreign
load faults_snapshot

setup() {
	sound_setup
}

teardown() {
	sound_teardown
}

wanted() {
	case $1 in
	*.done#*)
		case $1 in
		driver.boot* | driver.load*) false ;;
		driver.*) true ;;
		*) false ;;
		esac
		;;
	esac
}

# What a failure should leave as it was.
rows_and_vmms() {
	sqlite3 -readonly "$VMCTL_ROOT/vmctl.db" \
		'SELECT id, name, state, generation, pid FROM instance ORDER BY id; SELECT * FROM intent;
		SELECT id FROM lock_file'
	live_vmms
	# And how the next save will be done.
	bases
}

assert_told() {
	# shellcheck disable=SC2254 # a pattern
	case $point in
	${repairs:--}) assert_output --regexp "(not repaired|^vmctl-doctor): .*($2)" ;;
	# Not effects on a file.
	driver.* | vmm.fork* | vmm.kill*) assert_output --regexp "^vmctl-[a-z]+: .+" ;;
	*) assert_output --regexp "(^|[ :'])(/[^ :]+)+: .*($2)" ;;
	esac
	[ "$status" = "${partly:-}" ] || assert_equal "$status $output" "$1 $output"
}

# Whether the verb may have succeeded all the same: with a warning, or if it is done again later.
is_tolerated() {
	case $1 in
	# Who makes space goes on without more room for the store.
	store.room*) [[ $3 = rm || $3 = stop || $3 = doctor ]] ;;
	# A removal goes on where no name can be had in trash/, and has happened when its note stays.
	fs.rename*) [[ $3 = rm || $3 = doctor ]] ;;
	store.commit*) [[ $3 = rm || $3 = doctor ]] || grep -q "warning: .*$2" <<<"$output" ;;
	# A new file does where none can be recycled.
	pool.*) true ;;
	# Lock files that stay are swept by their note; to give back what one has cannot fail.
	lock.gate* | lock.memory* | lock.unlink* | slot.release*) true ;;
	# To unlink the lock of an alias, which others share, it is tried for: if not, it stays.
	lock.create* | lock.take*) [ -n "${aliases:-}" ] ;;
	# A VMM that was loaded without a base is saved wholly, which makes one.
	fs.link*) grep -q "warning: .*$2" <<<"$output" || [ "$(bases | wc -l)" -lt "$(live_vmms)" ] ;;
	*) grep -q "warning: .*$2" <<<"$output" ;;
	esac
}

# The memories that a save may be compared with.
bases() {
	local base
	for base in "$VMCTL_ROOT"/guests/*/memory.base; do
		[ ! -e "$base" ] || printf '%s\n' "$base"
	done
}

strike() {
	local point=$1 error before verb=$2 code text
	shift
	[ "$1 $2" != 'snapshot rm' ] || verb='rm'
	local errors=('ENOSPC 7 No space left on device' 'EIO 1 Input/output error'
		'EMFILE 7 Too many open files' 'EDQUOT 7 Disk quota exceeded')
	# A long walk, and a sanitized one, tries one of them at each point.
	[ -z "${brief:-}${FAULTS_BRIEF:-}" ] && [ "${VMCTL_BUILD#build/san}" = "$VMCTL_BUILD" ] || errors=("${errors[points % 4]}")
	for error in "${errors[@]}"; do
		before=$(rows_and_vmms)
		read -r error code text <<<"$error"
		echo "fail $error at $point: vmctl $*"
		VMCTL_FAULT="$point:fail:$error" run vmctl "$@"
		if [ "$status" != 0 ]; then
			assert_told "$code" "$text"
		else
			is_racy "$point" || is_tolerated "$point" "$text" "$verb" ||
				fail "$point failed, and the verb did not notice"
		fi
		# What no row tells may have changed as well: then `anew` is set.
		if [ -n "${anew:-}" ] || [ "$(rows_and_vmms)" != "$before" ]; then
			$next
			assert_sound
			$prepare
		fi
	done
}

@test "start" {
	scenario_start
}

@test "stop, and stop by force" {
	scenario_stop
}

@test "label" {
	scenario_label
}

@test "stop --discard of a standby" {
	scenario_discard
}

@test "pause" {
	scenario_pause
}

@test "resume" {
	scenario_resume
}

# bats test_tags=driver
@test "standby" {
	scenario_standby
}

@test "restore" {
	scenario_restore
}

@test "rm" {
	scenario_rm
}

@test "create" {
	scenario_create
}

@test "fork of a standby" {
	scenario_fork
}

@test "three forks of a standby" {
	scenario_forks
}

# bats test_tags=driver
@test "forks of a running source" {
	scenario_fork_running
}

@test "snapshot create of a standby and of a stopped one" {
	scenario_snapshot
}

@test "snapshot create of a running source" {
	scenario_snapshot_running
}

@test "snapshot rm" {
	scenario_snapshot_rm
}

@test "snapshot restore" {
	scenario_snapshot_restore
}

@test "snapshot fork" {
	scenario_snapshot_fork
}

@test "snapshot compress, and a fork of a compressed one" {
	scenario_snapshot_compress
}

@test "restore and fork by a symbolic link" {
	needs state_rewrite
	local brief=yes
	scenario_alias symlink
}

@test "restore and fork by a symbolic link where no directory was" {
	needs state_rewrite
	local brief=yes
	scenario_alias symlink gone
}

@test "restore and fork by a namespace" {
	needs state_rewrite
	local brief=yes
	scenario_alias namespace
}

@test "snapshot adopt" {
	needs state_rewrite
	scenario_snapshot_adopt
}

@test "snapshot import" {
	needs state_rewrite
	scenario_snapshot_import
}

@test "snapshot export" {
	scenario_snapshot_export
}

@test "doctor --repair" {
	scenario_repair
}
