#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154,SC2030,SC2031 # bats sets output, stderr and lines; each test is a subshell
# --dry-run: it says what the real run would do, ends as that would, and changes nothing.

load helpers

setup() {
	vm_setup
}

teardown() {
	vm_teardown
}

# All that a dry run must leave as it is: rows, files, the store's own files, events, guests.
fingerprint() {
	snapshot_root
	stat -c '%n %Y %y %s' "$VMCTL_ROOT/vmctl.db" "$VMCTL_ROOT/vmctl.db-wal"
	vmctl events -o json | wc -l
	live_vmms
}

# dry CODE ARGUMENTS...: that run, which must end so and change nothing.
dry() {
	local code=$1 before
	shift
	before=$(fingerprint)
	run "-$code" --separate-stderr vmctl "$@"
	assert_equal "$(fingerprint)" "$before"
}

# fork_in STATE: twin-x (no id begins so), in that state, made of base. `failed`: its VMM was killed and nobody has looked.
fork_in() {
	case $1 in
	stopped | standby | running) vmctl fork base twin-x --target-state "$1" ;;
	paused) vmctl fork base twin-x && vmctl pause twin-x ;;
	failed)
		vmctl fork base twin-x
		kill -KILL "$(field twin-x .pid)"
		vmctl wait --state failed --timeout 60 twin-x
		;;
	esac >/dev/null
}

@test "rm and stop: a dry run ends as the real one does, in every state" {
	local state verb status_dry
	make_standby base
	for state in stopped standby running paused failed; do
		for verb in 'rm' 'rm -f' 'stop --force' 'stop --discard --time 60'; do
			fork_in "$state"
			echo "$verb in $state"
			before=$(fingerprint)
			# shellcheck disable=SC2086 # a verb and its options
			run vmctl $verb twin-x --dry-run
			status_dry=$status
			assert_equal "$(fingerprint)" "$before"
			assert_equal "$(state_of twin-x)" "$state"
			# shellcheck disable=SC2086
			run vmctl $verb twin-x
			assert_equal "$status_dry" "$status"
			vmctl rm -f twin-x >/dev/null 2>&1 || true
		done
	done
}

@test "rm --dry-run says what would go and what that would free" {
	make_standby base
	make_running web
	vmctl create off --kernel "$guest" --memory 16M --disk size=1M
	dry 0 rm -f --dry-run web base off
	assert_line --index 0 --regexp $'^web\twould be killed and removed\t[0-9.]+[KMG]?$'
	assert_line --index 1 --regexp $'^base\twould be removed, with its saved memory\t[0-9.]+[KMG]?$'
	assert_line --index 2 --regexp $'^off\twould be removed\t[0-9.]+[KMG]?$'
	assert_line --index 3 --regexp '^would free [0-9.]+[KMG]?$'
	dry 0 rm -f --dry-run base off -o json
	assert_equal "$(jq -c '.dry_run, [.instances[] | .name, .state, .action, .lost, .locked_by]' <<<"$output" | xargs)" \
		'true [base,standby,remove,[disk root,memory],null,off,stopped,remove,[disk root],null]'
	assert [ "$(jq '[.instances[].freed_bytes] | min' <<<"$output")" -gt 0 ]
	assert [ "$(jq '.freed_bytes - ([.instances[].freed_bytes] | add)' <<<"$output")" -ge 0 ]
	# As everywhere, -q is stronger than -o.
	for output in table json yaml; do
		dry 0 rm --dry-run off -q -o $output
		assert_output "$(field off .id)"
	done
	# The others are told, and the exit status is that of the first failure.
	dry 6 rm --dry-run web off nosuch
	assert_line --index 0 --partial $'off\twould be removed'
	assert_regex "$stderr" 'web is running; rm works from: stopped, failed'
	assert_regex "$stderr" "no instance 'nosuch'"
	dry 3 rm --dry-run off off
	assert_regex "$stderr" 'off is given twice'
	dry 3 rm --dry-run nosuch
	assert_output 'would free 0'
	assert_equal "$(state_of web)" running
	vmctl rm off
	run -3 vmctl rm --dry-run off
}

@test "stop --dry-run says how each would be stopped" {
	make_standby base
	vmctl create off --kernel "$guest" --memory 16M
	vmctl fork base web
	vmctl fork base still --target-state standby
	dry 0 stop --dry-run --force web off
	assert_output "$(printf '%s\t%s\n' web 'would be killed' off 'is stopped already')"
	dry 0 stop --dry-run --discard still
	assert_output "$(printf '%s\t%s' still 'would lose its saved memory')"
	dry 6 stop --dry-run still
	assert_regex "$stderr" 'add --discard'
	if can graceful_shutdown; then
		dry 0 stop --dry-run web
		assert_output "$(printf '%s\t%s' web 'would be asked to shut down, and killed after 10.0 s')"
		dry 0 stop --dry-run --time forever web
		assert_output "$(printf '%s\t%s' web 'would be asked to shut down, and waited for')"
		assert_equal "$(vmctl stop --dry-run web -o json | jq -c '.instances[0] | .action, .lost' | xargs)" 'shutdown []'
	fi
	vmctl pause web
	dry 0 stop --dry-run web -o json
	assert_equal "$(jq -c '.dry_run, (.instances[0] | .name, .state, .action, .lost)' <<<"$output" | xargs)" \
		'true web paused kill [memory]'
	assert_equal "$(jq -c 'has("freed_bytes")' <<<"$output")" false
}

@test "snapshot rm --dry-run frees what gc would, and restore --dry-run says what would be lost" {
	make_standby web --disk id=data,size=1M
	vmctl snapshot create web one
	vmctl snapshot create web two
	dry 0 snapshot rm --dry-run web/one web/two -o json
	assert_equal "$(jq -c '.dry_run, [.snapshots[] | .name, .action]' <<<"$output" | xargs)" \
		'true [web/one,remove,web/two,remove]'
	assert_equal "$(jq -c '[.snapshots[].freed_bytes]' <<<"$output")" \
		"$(vmctl snapshot ls -o json | jq -c '[.[].exclusive_bytes]')"
	assert_equal "$(jq .freed_bytes <<<"$output")" "$(vmctl snapshot gc --dry-run --keep-last 0 -o json | jq .freed_bytes)"
	dry 0 snapshot rm --dry-run web/one
	assert_line --index 0 --regexp $'^web/one\twould be removed, with its saved memory\t'
	dry 6 snapshot rm --dry-run web
	assert_regex "$stderr" 'web is an instance, not a snapshot'

	dry 0 snapshot restore --dry-run web one
	assert_output --regexp $'^web\twould be taken back to web/one, made .*, and lose: disk root, disk data, memory$'
	dry 0 snapshot restore --dry-run web web/two -o json
	assert_equal "$(jq -c '.dry_run, (.instances[0] | .action, .snapshot.name, .lost)' <<<"$output" | xargs)" \
		'true restore web/two [disk root,disk data,memory]'
	dry 3 snapshot restore --dry-run web three
	vmctl snapshot fork web/one other --target-state stopped
	dry 6 snapshot restore --dry-run other web/one
	assert_regex "$stderr" 'web/one is a snapshot of another instance than other'
	run -6 vmctl snapshot restore other web/one
	vmctl restore web
	dry 6 snapshot restore --dry-run web one
	assert_regex "$stderr" 'web is running; its files are in use'
	run -6 vmctl snapshot restore web one
}

@test "a dry run waits for nobody, and says who would be waited for" {
	local lock
	vmctl create web --kernel "$guest" --memory 16M
	vmctl snapshot create web one
	lock=$VMCTL_ROOT/locks/$(field web .id)
	exec 9<"$lock"
	flock -x 9
	dry 0 rm --dry-run web
	assert_line --index 0 --partial $'web\twould be removed'
	assert_regex "$stderr" 'warning: web is locked by pid [0-9]+ .*, who would be waited for'
	dry 0 stop --dry-run web --wait -o json
	assert_regex "$(jq -r '.instances[0].locked_by' <<<"$output")" '^pid [0-9]+ '
	dry 0 snapshot restore --dry-run web one
	dry 5 rm --dry-run --no-wait web
	assert_regex "$stderr" "instance 'web' is locked by pid"
	run -5 vmctl rm --no-wait web
	flock -u 9
	exec 9<&-
	# Of a snapshot others may read while it is restored from, and not while it is removed.
	exec 9<"$VMCTL_ROOT/locks/$(vmctl snapshot inspect web/one | jq -r .id)"
	flock -s 9
	dry 0 snapshot restore --dry-run --no-wait web one
	dry 5 snapshot rm --dry-run --no-wait web/one
	flock -x 9
	dry 5 snapshot restore --dry-run --no-wait web one
	flock -u 9
	exec 9<&-
}

@test "a dry run says that what a killed verb has left would be settled first" {
	vmctl create web --kernel "$guest" --memory 16M
	sqlite3 "$VMCTL_ROOT/vmctl.db" "INSERT INTO intent SELECT id, 'start', 'stopped', 1, 1 FROM instance"
	dry 0 rm --dry-run web
	assert_regex "$stderr" 'web: what a killed start has left would be settled first'
	sqlite3 "$VMCTL_ROOT/vmctl.db" "UPDATE intent SET verb = 'rm'"
	dry 3 rm --dry-run web
	assert_regex "$stderr" 'web is what a killed rm has left'
	run -3 vmctl rm web
}

@test "rm --force --dry-run also of an instance whose directory is gone" {
	vmctl create web --kernel "$guest" --memory 16M
	rm -r "$(dir_of web)"
	dry 10 rm --dry-run web
	run -10 vmctl rm web
	dry 0 rm --force --dry-run web
	assert_line --index 0 $'web\twould be removed\t0'
	vmctl rm --force web
}

# What is found of a kind, without the hints; /dev/shm is everybody's.
findings() {
	sed -n "s/^$1  *//p" <<<"$output" | grep -v /dev/shm | sort
}

@test "doctor --repair --dry-run says what a repair would do, and the repair does that" {
	local id=aaaaaaaaaaaaaaaaaaaaaaaa would
	run -2 vmctl doctor --dry-run
	assert_output --partial 'give both'
	make_running died
	kill -KILL "$(field died .pid)"
	vmctl wait --state failed --timeout 60 died
	vmctl create begun --kernel "$guest" --memory 16M
	vmctl create files --kernel "$guest" --memory 16M
	vmctl create lost --kernel "$guest" --memory 16M
	sqlite3 "$VMCTL_ROOT/vmctl.db" "INSERT INTO intent SELECT id, 'start', 'stopped', 1, 1 FROM instance WHERE name = 'begun'"
	: >"$(dir_of files)/memory.new"
	rm -r "$(dir_of lost)"
	mkdir "$VMCTL_ROOT/guests/$id" "$VMCTL_ROOT/trash/b${id#a}"
	: >"$VMCTL_ROOT/locks/c${id#a}.gate"
	mkdir "$VMCTL_ROOT/pool/no-memory"

	run -13 vmctl doctor
	dry 0 doctor --repair --dry-run
	assert_equal "$(findings LEFT)" ''
	assert_equal "$(findings WOULD | wc -l)" 8
	would=$(findings WOULD)
	assert_output --partial 'hint: --repair would record how it ended'
	assert_output --partial 'hint: --repair would finish or undo it'
	assert_output --partial 'hint: --repair would move it to lost/'
	assert_output --partial 'hint: --repair would call it failed'
	dry 0 doctor --repair --dry-run -o json
	assert_equal "$(jq -r '[.[].dry_run] | unique[]' <<<"$output")" true
	assert_equal "$(jq '[.[] | select(.level == "repairable" and (.message | contains("/dev/shm") | not))] | length' <<<"$output")" 8
	run -0 vmctl doctor --repair
	assert_equal "$(findings FIXED)" "$would"
	run -0 vmctl doctor --repair --dry-run
	assert_equal "$(findings WOULD)" ''
}
