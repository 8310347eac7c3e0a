#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # bats sets output and stderr
# shellcheck disable=SC2030,SC2031,SC2317 # each test is a subshell; functions are called by name
# Every verb from every state: what is legal works, what is a no-op or illegal changes nothing.
#
# What a verb did to the guest is asked of the guest. Before, X is marked in its memory and on its
# disk: a guest that goes on has both, one that was booted afresh only the one on its disk.

load helpers

setup() {
	vm_setup
	made=0
}
teardown() { vm_teardown; }

wrong() {
	echo "$*" >&2
	return 1
}

marker() {
	ask "$1" g '^marker mem=.* disk='
}

kill_vmm() {
	local name=$1
	kill -KILL "$(vmctl inspect "$name" | jq -r .pid)"
	vmctl wait --state failed --timeout 60 "$name" >/dev/null
}

# make_in STATE NAME: an instance in that state with the mark X. `failed` is one whose VMM died and
# was found dead by a verb already, `died` one that nobody has looked at yet.
make_in() {
	make_running "$2"
	ask "$2" mX '^marked X' >/dev/null
	case $1 in
	stopped) vmctl stop --force "$2" ;;
	running) ;;
	paused) vmctl pause "$2" ;;
	standby) vmctl standby "$2" ;;
	died) kill_vmm "$2" ;;
	failed)
		kill_vmm "$2"
		run -6 vmctl resume "$2"
		;;
	*) wrong "make_in: $1" ;;
	esac >/dev/null
}

# The rows, the files, and of an instance at rest their content too.
fingerprint() {
	snapshot_root
	case $(state_of "$1") in
	running | paused) ;;
	*) (cd "$(dir_of "$1")" && find . -type f -exec sha256sum {} + | sort) ;;
	esac
}

# unchanged EXIT NAME VERB...: ends with that status and leaves everything as it was.
unchanged() {
	local before after expected=$1 name=$2
	shift 2
	before=$(fingerprint "$name")
	run --separate-stderr vmctl "$@"
	[ "$status" = "$expected" ] ||
		wrong "vmctl $*: exit status $status, not $expected: $stderr" || return
	after=$(fingerprint "$name")
	[ "$before" = "$after" ] ||
		wrong "vmctl $*: changed something: $(diff <(echo "$before") <(echo "$after"))"
}

# refuses NAME STATE VERB...: invalid_state, told with the state it is in.
refuses() {
	local name=$1 state=$2
	shift 2
	unchanged 6 "$name" "$@" || return
	[ -z "$output" ] || wrong "vmctl $*: printed $output" || return
	[[ $stderr == *"$name is $state"* ]] || wrong "vmctl $*: does not say the state: $stderr"
}

# each_refused STATE NAME, lines of `VERB [OPTIONS]` on stdin.
each_refused() {
	local verb
	while read -r -a verb; do
		refuses "$2" "$1" "${verb[@]}" "$2" || return
	done
	[ "$(state_of "$2")" = "$1" ]
}

each_noop() {
	local verb
	while read -r -a verb; do
		unchanged 0 "$1" "${verb[@]}" "$1" || return
		[ "$output" = "$1" ] || wrong "vmctl ${verb[*]}: printed '$output'" || return
	done
}

# The guest's side of it: went_on NAME BEFORE, with the counter as it was before the verb.
went_on() {
	counted_on() { (($(last_tick "$1") > $2)); }
	wait_for counted_on "$1" "$2" || return
	[ "$(console_of "$1" | grep -c ready)" = "${3:-1}" ] || wrong "$1 was booted again" || return
	[ "$(marker "$1")" = 'marker mem=X disk=X' ] || wrong "$1: $(marker "$1")"
}

booted_afresh() {
	wait_for has_ticked "$1" || return
	[ "$(marker "$1")" = 'marker mem=- disk=X' ] || wrong "$1: $(marker "$1")"
}

at_rest() {
	[ "$(live_vmms)" = 0 ] || wrong "a VMM is still there"
	[ ! -e "$(dir_of "$1")/vmm.sock" ] || wrong "a socket is still there"
}

# each_legal FROM, lines of `VERB [OPTIONS] -> STATE CHECK [ARGS]` on stdin, each on an instance of
# its own; NAME stands for its name, BEFORE for its last tick.
each_legal() {
	local line verb want check name generation before
	while IFS= read -r line; do
		read -r -a verb <<<"${line%% -> *}"
		read -r want check <<<"${line##* -> }"
		name=${verb[0]}-$((++made))
		make_in "$1" "$name"
		generation=$(vmctl inspect "$name" | jq .generation)
		before=$(last_tick "$name")
		run -0 --separate-stderr vmctl "${verb[@]}" "$name"
		[ "$output" = "$name" ] || wrong "$line: printed '$output'" || return
		if [ "$want" = gone ]; then
			run -3 vmctl inspect "$name"
			continue
		fi
		[ "$(state_of "$name")" = "$want" ] || wrong "$line: is $(state_of "$name")" || return
		(($(vmctl inspect "$name" | jq .generation) > generation)) ||
			wrong "$line: the generation is the same" || return
		"$check" "$name" "$before" || wrong "$line" || return
		vmctl rm --force "$name" >/dev/null
	done
	assert_clean
}

@test "from stopped: what is refused and what is done already" {
	make_in stopped web
	each_refused stopped web <<-END
		pause
		resume
		standby
		restore
		fork --target-state=standby
		fork --from-running --target-state=standby
	END
	each_noop web <<-END
		stop
		stop --discard
		stop --force
	END
	assert_clean
}

@test "from stopped: start boots afresh, rm removes" {
	each_legal stopped <<-END
		start -> running booted_afresh
		rm -> gone
		rm --force -> gone
	END
}

@test "from running: what is refused and what is done already" {
	make_in running web
	each_refused running web <<-END
		rm
		fork
		fork --target-state=stopped
		fork --target-state=standby
		fork --target-state=running
	END
	each_noop web <<-END
		start
		resume
		restore
	END
	went_on web "$(last_tick web)"
	assert_clean
}

@test "from running: stop, pause, standby and rm --force" {
	paused() { [ "$(live_vmms)" = 1 ]; }
	each_legal running <<-END
		stop -> stopped at_rest
		stop --force -> stopped at_rest
		stop --discard -> stopped at_rest
		pause -> paused paused
		standby -> standby at_rest
		rm --force -> gone
	END
}

@test "from paused: what is refused and what is done already" {
	make_in paused web
	each_refused paused web <<-END
		start
		restore
		rm
		fork
		fork --from-running
		fork --from-running --target-state=stopped
		fork --target-state=standby
	END
	each_noop web <<-END
		pause
	END
	assert_clean
}

@test "from paused: resume goes on, stop, standby and rm --force end the VMM" {
	each_legal paused <<-END
		resume -> running went_on
		stop -> stopped at_rest
		stop --discard -> stopped at_rest
		standby -> standby at_rest
		rm --force -> gone
	END
}

@test "a paused guest does not tick" {
	make_in paused web
	before=$(last_tick web)
	printf c >"$(dir_of web)/console.in"
	# Others live on meanwhile: long enough for a tick of this one, had it gone on.
	make_running other
	passed() { (($(last_tick other) > 3)); }
	wait_for passed
	assert_equal "$(last_tick web)" "$before"
	assert_equal "$(console_of web | grep -c count)" 0
	vmctl resume web
	went_on web "$before"
}

@test "from standby: what is refused and what is done already" {
	make_in standby web
	each_refused standby web <<-END
		start
		stop
		stop --force
		pause
		resume
		rm
	END
	each_noop web <<-END
		standby
	END
	assert_clean
}

@test "from standby: restore goes on, stop --discard loses the memory, rm --force all of it" {
	discarded() {
		local dir
		dir=$(dir_of "$1")
		[ ! -e "$dir/manifest.json" ] || wrong "the manifest is still there" || return
		[ ! -e "$dir/memory" ] || wrong "the memory is still there" || return
		vmctl start "$1" >/dev/null || return
		booted_afresh "$1"
	}
	each_legal standby <<-END
		restore -> running went_on
		stop --discard -> stopped discarded
		rm --force -> gone
	END
}

@test "from failed: what is refused" {
	make_in failed web
	each_refused failed web <<-END
		stop
		stop --discard
		stop --force
		pause
		resume
		standby
		restore
		fork
		fork --from-running
		fork --target-state=stopped
		fork --from-running --target-state=standby
	END
	assert_clean
}

@test "from failed: start boots afresh, rm removes" {
	each_legal failed <<-END
		start -> running booted_afresh
		rm -> gone
		rm --force -> gone
	END
}

@test "a VMM that died by itself: shown at once, recorded by the next verb" {
	make_in died web
	run -0 vmctl ls
	assert_line --regexp '^web .* failed '
	run -0 vmctl inspect web
	assert_equal "$(jq -r .state <<<"$output")" failed
	assert_equal "$(jq -r .pid <<<"$output")" null
	assert_equal "$(sqlite3 -readonly "$VMCTL_ROOT/vmctl.db" 'SELECT state FROM instance')" running
	run -6 --separate-stderr vmctl pause web
	assert_equal "$(sqlite3 -readonly "$VMCTL_ROOT/vmctl.db" 'SELECT state FROM instance')" failed
	run -0 vmctl inspect web
	[[ $(jq -r .failure <<<"$output") == *'died'* ]]
	assert [ ! -e "$(dir_of web)/vmm.sock" ]
	assert_clean
}

@test "a VMM that died by itself: each verb finds out first and then works" {
	each_legal died <<-END
		start -> running booted_afresh
		rm -> gone
		rm --force -> gone
	END
	make_in died web
	run -6 vmctl stop web
	assert_output --partial 'web is failed'
	make_in died other
	run -6 vmctl fork other copy --from-running
	assert_output --partial 'other is failed'
	run -3 vmctl inspect copy
}

@test "a VMM that died while paused is failed too" {
	make_in paused web
	kill_vmm web
	run -6 vmctl resume web
	assert_equal "$(state_of web)" failed
	vmctl start web
	booted_afresh web
}

@test "a guest that powers itself off is stopped, not failed" {
	make_in running web
	printf q >"$(dir_of web)/console.in"
	none() { [ "$(live_vmms)" = 0 ]; }
	wait_for none
	run -0 console_of web
	assert_output --partial 'power off'
	run -0 vmctl stop web
	assert_equal "$(state_of web)" stopped
	assert_equal "$(vmctl inspect web | jq -r .failure)" null
	vmctl start web
	booted_afresh web
}

@test "a guest that powered itself off is shown as stopped before any verb has recorded it" {
	make_in running web
	printf q >"$(dir_of web)/console.in"
	none() { [ "$(live_vmms)" = 0 ]; }
	wait_for none
	assert_equal "$(state_of web)" stopped
}

@test "after a restored VMM died, its old memory can never be loaded again" {
	make_in standby web
	vmctl restore web
	kill_vmm web
	assert [ ! -e "$(dir_of web)/manifest.json" ]
	run -6 vmctl restore web
	run -6 vmctl fork web copy
	assert_equal "$(state_of web)" failed
	vmctl start web
	booted_afresh web
	vmctl standby web
	before=$(last_tick web)
	vmctl restore web
	counted_on() { (($(last_tick web) > before)); }
	wait_for counted_on
}

@test "a restore that fails leaves a standby that can be restored" {
	local before
	make_in standby web
	before=$(last_tick web)
	cp "$(dir_of web)/vmstate" state.good
	# Of a state that vmctl does not read it sees only what its VMM sees.
	if can state_rewrite; then
		printf 'X' | dd of="$(dir_of web)/vmstate" bs=1 seek=1000 conv=notrunc status=none
	else
		truncate -s 1000 "$(dir_of web)/vmstate"
	fi
	run --separate-stderr vmctl restore web
	assert_not_equal "$status" 0
	assert_equal "$(state_of web)" standby
	assert_equal "$(live_vmms)" 0
	assert_clean
	cat state.good >"$(dir_of web)/vmstate"
	vmctl restore web
	went_on web "$before"
}

@test "restoring twice: the second is a no-op; standby and restore again and again" {
	local before round
	make_in standby web
	for round in 1 2 3; do
		before=$(last_tick web)
		vmctl restore web
		unchanged 0 web restore web
		went_on web "$before"
		vmctl standby web
		unchanged 0 web standby web
		[ "$(state_of web)" = standby ] || wrong "round $round"
	done
	assert_clean
}

@test "pause, then standby, then restore: it runs and goes on" {
	local before
	make_in paused web
	before=$(last_tick web)
	vmctl standby web
	vmctl restore web
	assert_equal "$(state_of web)" running
	went_on web "$before"
}

# fork_as SOURCE_STATE TARGET WANT CHECK [OPTIONS...]
fork_as() {
	local source=src copy=copy-$((++made)) state=$1 target=$2 want=$3 check=$4
	shift 4
	run -0 --separate-stderr vmctl fork "$source" "$copy" ${target:+--target-state=$target} "$@"
	[ "$output" = "$copy" ] || wrong "printed '$output'" || return
	[ "$(state_of "$copy")" = "$want" ] || wrong "$state to $target: $(state_of "$copy")" || return
	[ "$(state_of "$source")" = "$state" ] || wrong "the source is $(state_of "$source")" || return
	[ "$(vmctl inspect "$copy" | jq -r .parent.name)" = "$source" ] || wrong "parent" || return
	case $want in
	stopped) vmctl start "$copy" >/dev/null ;;
	standby) vmctl restore "$copy" >/dev/null ;;
	esac
	"$check" "$copy" "$(last_tick "$source")" 0 || wrong "$state to ${target:-default}" || return
	vmctl rm --force "$copy" >/dev/null
}

@test "fork of a stopped source: stopped by default, or booted" {
	make_in stopped src
	before=$(fingerprint src)
	fork_as stopped '' stopped booted_afresh
	fork_as stopped stopped stopped booted_afresh
	fork_as stopped running running booted_afresh
	fork_as stopped '' stopped booted_afresh --from-running
	assert_equal "$(fingerprint src)" "$before"
	assert_clean
}

@test "fork of a standby source: running by default, standby, or its disks only" {
	make_in standby src
	before=$(fingerprint src | sed 's/ [0-9]*$//') # less the number of links
	fork_as standby '' running went_on
	fork_as standby running running went_on
	fork_as standby standby standby went_on
	fork_as standby stopped stopped booted_afresh
	fork_as standby '' running went_on --from-running
	assert_equal "$(fingerprint src | sed 's/ [0-9]*$//')" "$before"
	assert_clean
}

@test "fork of a running source: each target, and the source goes on" {
	local before
	make_in running src
	before=$(last_tick src)
	for target in '' running standby; do
		fork_as running "$target" "${target:-running}" went_on --from-running
		went_on src "$before"
		before=$(last_tick src)
	done
	fork_as running stopped stopped booted_afresh --from-running
	went_on src "$before"
	assert_clean
}

@test "a fork of a fork of a fork has its ancestors' memory and a disk of its own" {
	make_in standby a
	vmctl fork a b --target-state=standby
	vmctl fork b c
	went_on c "$(last_tick a)" 0
	ask c mC '^marked C'
	vmctl fork c d --from-running
	assert_equal "$(marker d)" 'marker mem=C disk=C'
	vmctl rm --force a b
	vmctl standby c
	vmctl fork c e
	ask e mE '^marked E'
	assert_equal "$(marker d)" 'marker mem=C disk=C'
	assert_equal "$(vmctl inspect e | jq -r .parent.name)" c
	vmctl restore c
	assert_equal "$(marker c)" 'marker mem=C disk=C'
	assert_clean
}
