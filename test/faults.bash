# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154,SC2317,SC2034 # bats sets output, stderr and lines; called by name
# What the tests of the fault points have in common: for each verb a scenario, which walks through
# the points that the verb passes. The file that loads this defines strike(), which lets something
# happen at one point. Load it after helpers and sound.
#
# Needs a build with FAULTS=1. FAULTS_ONLY=REGEX: only these points.

# The points that a verb passes, each with its number, in order; after a first run, in which the
# version of the hypervisor's binary becomes known. `prepare` brings about the state it begins from.
trace() {
	$prepare
	vmctl "$@" >/dev/null
	$prepare
	rm -f trace
	VMCTL_FAULT_TRACE=$PWD/trace vmctl "$@" >/dev/null
	grep -E "${FAULTS_ONLY:-.}" trace
}

# walk ARGUMENTS...: runs that verb once for each point, with strike(); then lets `next` come and looks.
walk() {
	local point trace points=0
	trace=$(trace "$@")
	# What bats does at every command, to show where a test has failed, takes longer than the commands. It
	# does so when only some points are walked.
	[ -n "${FAULTS_ONLY:-}" ] || set +T
	for point in $trace; do
		wanted "$point" || continue
		$prepare
		strike "$point" "$@"
		$next
		assert_sound
		points=$((points + 1))
	done
	echo "$points points of: vmctl $*"
	assert [ "$points" -ge 10 ] || [ -n "${FAULTS_ONLY:-}" ]
}

# is_racy POINT: threads of one verb meet it more or less often from run to run, so that its last time
# may not come: how many slots a thread tries depends on those that the others hold just then, and
# whether a save takes a file out of the pool (pool.take) or makes one (fs.create) on what the runs before
# have put there.
is_racy() {
	[[ $1 =~ ^(${racy:--}) ]]
}
threads_race='s[hl]' # slot.*, shm.*

no_semaphore() {
	# Made anew each time, so that its making is among what is killed.
	rm -f "/dev/shm/sem.vmctl-$(root_id)"-* "/dev/shm/vmctl-$(root_id).root"
}

# with_base NAME: a save that was killed has taken what makes the next one cheap, which passes other
# points then. So that each goes the same way:
with_base() {
	can diff_snapshot || return 0
	[ ! -e "$(dir_of "$1")/memory.base" ] || return 0
	vmctl snapshot create "$1" base >/dev/null
	vmctl snapshot rm "$1/base" >/dev/null
}

# --- one instance ---------------------------------------------------------------------------------

scenario_start() {
	prepare_stopped() {
		vmctl stop --force web >/dev/null
		no_semaphore
	}
	start_again() {
		vmctl start web >/dev/null
		assert_equal "$(state_of web)" running
		assert_equal "$(guest_state web)" Running
	}
	vmctl create web --kernel "$guest" --memory 16M --disk size=1M
	prepare=prepare_stopped next=start_again walk start web
}

scenario_stop() {
	prepare_running() {
		[ "$(state_of web)" = running ] || vmctl start web >/dev/null
	}
	stop_again() {
		vmctl stop --force web >/dev/null
		assert_equal "$(state_of web)" stopped
		assert_equal "$(live_vmms)" 0
	}
	vmctl create web --kernel "$guest" --memory 16M --disk size=1M
	prepare=prepare_running next=stop_again walk stop --force web
	prepare=prepare_running next=stop_again walk stop --time 60 web
}

scenario_discard() {
	prepare_standby() {
		vmctl rm --force web >/dev/null 2>&1 || true
		vmctl fork rest web --target-state standby >/dev/null
	}
	discard_again() {
		# Half discarded is never loaded.
		run vmctl restore web
		[ "$status" = 0 ] || assert_equal "$status $output" "6 $output"
		[ "$status" != 0 ] || vmctl standby web >/dev/null
		vmctl stop --discard web >/dev/null
		assert_equal "$(state_of web)" stopped
		assert [ ! -e "$(dir_of web)/memory" ]
	}
	prepare=prepare_standby next=discard_again walk stop --discard web
}

scenario_pause() {
	prepare_running() {
		vmctl resume web >/dev/null
	}
	go_on() {
		vmctl resume web >/dev/null
		assert_equal "$(state_of web)" running
		assert_equal "$(guest_state web)" Running
	}
	vmctl fork rest web
	prepare=prepare_running next=go_on walk pause web
}

scenario_resume() {
	prepare_paused() {
		vmctl pause web >/dev/null
	}
	stand_still() {
		vmctl pause web >/dev/null
		assert_equal "$(state_of web)" paused
		assert_equal "$(guest_state web)" Paused
	}
	vmctl fork rest web
	prepare=prepare_paused next=stand_still walk resume web
}

scenario_standby() {
	prepare_running() {
		vmctl restore web >/dev/null
		with_base web
		tick=$(last_tick web)
	}
	standby_or_restore() {
		points_even=$((points % 2))
		if [ "$points_even" = 0 ]; then
			vmctl standby web >/dev/null
			assert_equal "$(state_of web)" standby
			return
		fi
		# Without a retry: whatever it is, it goes on from where it was.
		vmctl restore web >/dev/null
		assert_equal "$(guest_state web)" Running
		wait_for ticked_past web "${tick:-0}"
	}
	local racy='pool|fs\.create'
	vmctl fork rest web
	prepare=prepare_running next=standby_or_restore walk standby web
	assert_equal "$(boots_of web)" 0
}

scenario_restore() {
	prepare_standby() {
		vmctl standby web >/dev/null
		no_semaphore
	}
	restore_or_standby() {
		# Past the point of no return the guest may have run: it is failed, and says why.
		if [[ ${error:-} && $point == driver.re* && $(state_of web) = failed ]]; then
			assert [ "$(field web .failure)" != null ]
			vmctl rm web >/dev/null
			vmctl fork rest web >/dev/null
			return
		fi
		if [ $((points % 2)) = 0 ]; then
			vmctl restore web >/dev/null
			assert_equal "$(guest_state web)" Running
		else
			vmctl standby web >/dev/null
			assert_equal "$(state_of web)" standby
		fi
	}
	vmctl fork rest web
	prepare=prepare_standby next=restore_or_standby walk restore web
	vmctl restore web
	wait_for has_ticked web
	assert_equal "$(boots_of web)" 0
}

# All changes or none.
scenario_label() {
	prepare_labels() {
		vmctl label web a=old b- c=3 >/dev/null
	}
	label_again() {
		run -0 vmctl label web
		case $output in
		$'a=old\nc=3' | $'a=new\nb=2') ;;
		*) assert_equal "$output" 'all or nothing' ;;
		esac
		vmctl label web a=new b=2 c- >/dev/null
		assert_equal "$(vmctl label web | xargs)" 'a=new b=2'
		assert_equal "$(state_of web)" standby
	}
	vmctl fork rest web --target-state standby
	prepare=prepare_labels next=label_again walk label web a=new b=2 c-
}

scenario_rm() {
	local target
	prepare_for_rm() {
		vmctl rm --force web >/dev/null 2>&1 || true
		vmctl fork rest web --target-state "$target" >/dev/null
	}
	rm_again() {
		retry 3 rm --force web
		run -3 vmctl inspect web
	}
	for target in stopped standby running; do
		prepare=prepare_for_rm next=rm_again walk rm --force web
	done
}

# --- new instances --------------------------------------------------------------------------------

scenario_create() {
	prepare_nothing() {
		vmctl rm --force web >/dev/null 2>&1 || true
	}
	create_again() {
		# Any verb takes away what the dead have left, not only one that wants its name.
		if [ $((points % 2)) = 0 ]; then
			vmctl standby rest >/dev/null
		else
			retry 4 create web --kernel "$guest" --memory 16M --disk disk.img
		fi
	}
	head -c 1M /dev/urandom >disk.img
	prepare=prepare_nothing next=create_again walk create web --kernel "$guest" --memory 16M \
		--disk disk.img
}

# The source, and no fork.
prepare_source() {
	local name
	for name in $(vmctl ls --parent src --names); do
		vmctl rm --force "$name" >/dev/null
	done
	no_semaphore
}

# The same fork again, or another verb on the source: both must do.
fork_again() {
	if [ $((points % 2)) = 0 ]; then
		vmctl "$touch" src >/dev/null
	else
		retry 4 fork src "${forks[@]}"
		assert_equal "$(vmctl ls --parent src -q | wc -l)" "${want:-1}"
		# With the row come its labels, those of the source too.
		[[ ${forks[*]} != *--label* ]] ||
			assert_equal "$(vmctl ls --parent src -l of=fork,from=src -q | wc -l)" "${want:-1}"
	fi
	source_is_whole
}

frozen_is_whole() {
	assert_equal "$(sums_in "$source_dir")" "$source_sums"
}

goes_on_running() {
	assert_equal "$(state_of src)" running
	assert_equal "$(guest_state src)" Running
	assert_equal "$(field src .pid)" "$source_pid"
}

source_is_whole() {
	$whole
}

scenario_fork() {
	local target touch=standby forks whole=frozen_is_whole
	vmctl fork rest src --target-state standby
	source_dir=$(dir_of src)
	source_sums=$(sums_in "$source_dir")
	for target in running standby stopped; do
		forks=(web --target-state "$target")
		prepare=prepare_source next=fork_again walk fork src "${forks[@]}"
	done
	# And the source itself is good for something still.
	vmctl restore src
	wait_for has_ticked src
	assert_equal "$(boots_of src)" 0
}

scenario_forks() {
	local touch=standby forks=(-n 3 --name 'web-{}' --atomic --label of=fork) want=3 whole=frozen_is_whole racy=$threads_race
	vmctl fork rest src --target-state standby --label from=src
	source_dir=$(dir_of src)
	source_sums=$(sums_in "$source_dir")
	prepare=prepare_source next=fork_again walk fork src "${forks[@]}"
}

# The same, and what makes a save of it cheap.
prepare_running_source() {
	prepare_source
	with_base src
}

scenario_fork_running() {
	local touch=resume racy="$threads_race|pool|fs\.create" forks=(-n 2 --name 'web-{}' --atomic --from-running) want=2 whole=goes_on_running
	vmctl fork rest src
	wait_for has_ticked src
	source_pid=$(field src .pid)
	prepare=prepare_running_source next=fork_again walk fork src "${forks[@]}"
	tick=$(last_tick src)
	wait_for ticked_past src "$tick"
	assert_equal "$(boots_of src)" 0
}

# --- repair itself ---------------------------------------------------------------------------------

# One of each kind of leftover.
plant_leftovers() {
	local id=aaaaaaaaaaaaaaaaaaaaaaaa
	[ "$(state_of web)" = running ] || vmctl restore web >/dev/null
	run env VMCTL_FAULT=driver.save:kill vmctl fork web half --from-running
	assert_equal "$status" 137
	run env VMCTL_FAULT=driver.load.done:kill vmctl fork rest made
	assert_equal "$status" 137
	mkdir "$VMCTL_ROOT/guests/$id" "$VMCTL_ROOT/trash/b${id#a}"
	: >"$VMCTL_ROOT/guests/$id/disk-root.img"
	: >"$VMCTL_ROOT/locks/c${id#a}.gate"
	: >"$rest_dir/vmm.sock"
	: >"$rest_dir/memory.new"
	rm -rf "$VMCTL_ROOT/lost"
}

scenario_repair() {
	repair_again() {
		vmctl doctor --repair >/dev/null
		assert [ -e "$VMCTL_ROOT/lost/aaaaaaaaaaaaaaaaaaaaaaaa/disk-root.img" ]
		assert_equal "$(guest_state web)" Running
	}
	# What other tests leave in /dev/shm is met too, or is not.
	local racy=shm.remove repairs='*' partly=13 brief=yes
	vmctl fork rest web
	prepare=plant_leftovers next=repair_again walk doctor --repair
}
