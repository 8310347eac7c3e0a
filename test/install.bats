#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# make install, and what it installs for systemd: the command lines of the units are taken out of the unit
# files and run as systemd runs them, without it.
# shellcheck disable=SC2154 # guest is set by vm_setup

load helpers

setup_file() {
	top=$(cd "$BATS_TEST_DIRNAME/.." && pwd)
	export prefix=$BATS_FILE_TMPDIR/prefix
	make_install install-files "$prefix"
}

setup() {
	vm_setup
}

teardown() {
	vm_teardown
}

# make_install TARGET PREFIX: with the programs of this pass, and nothing outside of PREFIX.
make_install() {
	make --no-print-directory -s -C "$top" BUILD="${VMCTL_BUILD:-build}" PREFIX="$2" SYSCONFDIR="$2/etc" "$1"
}

# lines_of UNIT KEY INSTANCE: what the unit runs.
lines_of() {
	sed -n "s|^$2=-\{0,1\}||p" "$prefix/lib/systemd/system/$1" | sed "s|%i|${3:-}|g"
}

# run_unit UNIT KEY [INSTANCE]: with the Environment= of the unit, as systemd splits and fills it in. One command
# after the other, until one fails.
run_unit() {
	local line assignments
	assignments=$(sed -n 's/^Environment=//p' "$prefix/lib/systemd/system/$1")
	lines_of "$@" | while IFS= read -r line; do
		# shellcheck disable=SC2086 # several assignments; the line is words
		env $assignments bash -c "$line" </dev/null || exit
	done
}

# The unit of an instance in the background, until it is as it would be active; $unit is its process. It says so
# through a socket, as to systemd.
start_unit() {
	rm -f notify notified
	socat -u UNIX-RECV:notify OPEN:notified,creat,append &
	listener=$!
	wait_for test -S notify
	NOTIFY_SOCKET=$PWD/notify run_unit vmctl@.service ExecStart "$1" >unit.log 2>&1 3>&- &
	unit=$!
	wait_for said_ready
	kill "$listener"
}

said_ready() {
	grep -q 'READY=1' notified 2>/dev/null && return 0
	kill -0 "$unit" || {
		cat unit.log
		exit 1
	}
	return 1
}

in_state() {
	[ "$(state_of "$1")" = "$2" ]
}

# after_gc N: a run of the timer's service leaves N snapshots.
after_gc() {
	run_unit vmctl-gc.service ExecStart >/dev/null
	[ "$(vmctl snapshot ls -q | wc -l)" = "$1" ]
}

@test "make uninstall leaves nothing of what make install has brought, but changed settings" {
	other=$BATS_TEST_TMPDIR/other
	make_install install-files "$other"
	[ -x "$other/bin/vmctl-fork" ]
	[ -e "$other/share/man/man1/vmctl-fork.1" ]
	[ -d "$other/etc/vmctl/hooks.d/pre-fork" ]
	make_install uninstall "$other"
	[ -z "$(find "$other" ! -type d)" ]
	[ ! -e "$other/etc/vmctl" ]
	make_install install-files "$other"
	echo 'wait: 5s' >>"$other/etc/vmctl/vmctl.yaml"
	make_install install-files "$other"
	grep -q '^wait: 5s' "$other/etc/vmctl/vmctl.yaml"
	make_install uninstall "$other"
	[ "$(find "$other" ! -type d)" = "$other/etc/vmctl/vmctl.yaml" ]
}

@test "nothing is installed with a place to fill in that was forgotten, and DESTDIR is in no file" {
	make -s --no-print-directory -C "$top" BUILD="${VMCTL_BUILD:-build}" PREFIX=/opt/vm \
		DESTDIR="$BATS_TEST_TMPDIR/dest" install-files
	run grep -r -I -E '@[a-z]+dir@' "$BATS_TEST_TMPDIR/dest"
	assert_failure 1
	run grep -r -I -l -F "$BATS_TEST_TMPDIR" "$BATS_TEST_TMPDIR/dest"
	assert_failure 1
	grep -q '^bin=/opt/vm/bin$' "$BATS_TEST_TMPDIR/dest/opt/vm/libexec/vmctl/unit"
	[ -e "$BATS_TEST_TMPDIR/dest/etc/vmctl/vmctl.yaml" ]
}

@test "the settings that are installed change nothing" {
	run ! grep -v -E '^(#|$)' "$prefix/etc/vmctl/vmctl.yaml"
	VMCTL_CONFIG=$prefix/etc/vmctl/vmctl.yaml vmctl ls
}

@test "systemd finds no fault with the units" {
	if ! command -v systemd-analyze; then
		[ "${CI:-}" != true ]
		skip 'systemd-analyze is not installed'
	fi
	run systemd-analyze verify --man=no "$prefix"/lib/systemd/system/*
	assert_success
	assert_output ''
}

@test "vmctl@: boots a stopped instance, lives as long as its VMM, saves it when stopped, and goes on from there" {
	vmctl create web --kernel "$guest" --memory 16M --disk size=1M
	start_unit web
	wait_for has_ticked web
	kill -0 "$unit"
	run_unit vmctl@.service ExecStop web
	wait "$unit"
	[ "$(state_of web)" = standby ]
	start_unit web
	[ "$(state_of web)" = running ]
	[ "$(boots_of web)" = 1 ]
	run_unit vmctl@.service ExecStop web
	wait "$unit"
}

@test "vmctl@: a VMM that dies makes the unit fail, and one that is ended by hand does not" {
	make_running web
	start_unit web
	kill -KILL "$(field web .pid)"
	status=0
	wait "$unit" || status=$?
	[ "$status" = 9 ]
	grep -q 'the VMM of web died' unit.log
	# ExecStop is run then, too, and finds nothing to do.
	run_unit vmctl@.service ExecStop web
	start_unit web
	vmctl stop --force web
	wait "$unit"
	start_unit web
	vmctl rm --force web
	wait "$unit"
}

@test "vmctl@: what cannot be saved is shut down, and VMCTL_UNIT_STOP=stop saves nothing" {
	make_running web
	start_unit web
	# A standby that always fails, as on a full disk.
	mkdir -p "$prefix.broken"
	sed "s|^bin=.*|bin=$prefix.broken|" "$prefix/libexec/vmctl/unit" >unit-broken
	ln -sf "$prefix"/bin/* "$prefix.broken/"
	ln -sf "$(command -v false)" "$prefix.broken/vmctl-standby"
	run sh unit-broken stop web
	assert_success
	assert_output --partial 'web could not be saved; it is shut down'
	wait "$unit"
	[ "$(state_of web)" = stopped ]
	start_unit web
	VMCTL_UNIT_STOP=stop "$prefix/libexec/vmctl/unit" stop web
	wait "$unit"
	[ "$(state_of web)" = stopped ]
}

@test "vmctl@: an instance that is not there is told, with the exit status that is not tried again" {
	make_standby web
	run -3 run_unit vmctl@.service ExecStart nothing
	assert_output --partial "no instance 'nothing'"
	grep -q '^RestartPreventExitStatus=.*\<3\>' "$prefix/lib/systemd/system/vmctl@.service"
}

@test "vmctl-restore-all: what ran is saved and goes on, what was paused is saved, and a standby stays one" {
	make_standby sleeper
	vmctl fork sleeper -n 3 --name 'run-{}' >/dev/null
	vmctl pause run-3
	run_unit vmctl-restore-all.service ExecStop
	[ "$(vmctl ls -q --state standby | wc -l)" = 4 ]
	[ "$(live_vmms)" = 0 ]
	# A second time, as when a shutdown is tried again: what is noted stays noted.
	run_unit vmctl-restore-all.service ExecStop
	run_unit vmctl-restore-all.service ExecStart
	[ "$(vmctl ls --state running | awk 'NR > 1 { print $1 }' | sort | xargs)" = 'run-1 run-2' ]
	[ "$(vmctl ls --state standby | awk 'NR > 1 { print $1 }' | sort | xargs)" = 'run-3 sleeper' ]
	# And the next boot brings nothing that was not running when the host went down.
	vmctl standby run-1 run-2
	run_unit vmctl-restore-all.service ExecStart
	[ -z "$(vmctl ls -q --state running)" ]
}

@test "vmctl-restore-all: one that cannot be restored keeps no other, and is tried again" {
	make_standby one
	vmctl fork one two >/dev/null
	vmctl restore one
	run_unit vmctl-restore-all.service ExecStop
	mv "$(dir_of one)/vmstate" kept
	run "$prefix/libexec/vmctl/restore-all" start
	assert_failure
	[ "$(state_of two)" = running ]
	mv kept "$(dir_of one)/vmstate"
	run_unit vmctl-restore-all.service ExecStart
	[ "$(state_of one)" = running ]
}

@test "vmctl-snapshot@ and vmctl-gc: a snapshot that expires, and one that was made by hand stays" {
	make_running web
	vmctl snapshot create web by-hand
	run_unit vmctl-snapshot@.service ExecStart web
	[ "$(vmctl snapshot ls -q | wc -l)" = 2 ]
	# The same with another time, as `systemctl edit` would make it.
	sed 's/^Environment=.*/Environment=VMCTL_EXPIRES=1ms VMCTL_GC=/' \
		"$prefix/lib/systemd/system/vmctl-snapshot@.service" >"$prefix/lib/systemd/system/short@.service"
	run_unit short@.service ExecStart web
	rm "$prefix/lib/systemd/system/short@.service"
	wait_for after_gc 2
	vmctl snapshot ls | grep -q web/by-hand
}

@test "Makefile, Debian's changelog and the rpm spec tell one version" {
	version=$(vmctl --version)
	grep -q "^vmctl (${version#vmctl }) " <(head -n 1 "$top/packaging/debian/changelog")
	grep -q -x "Version: *${version#vmctl }" "$top/packaging/vmctl.spec"
}
