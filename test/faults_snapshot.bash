# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154,SC2317,SC2034 # bats sets output, stderr and lines; called by name
# Scenarios of the fault points for snapshots. Load it after faults and foreign.

# No snapshot of src but the one that is to stay, if any.
prepare_snapshots() {
	local name
	for name in $(vmctl snapshot ls --format '{{.Name}}' src); do
		[ "$name" = "${stays:-}" ] || vmctl snapshot rm "$name" >/dev/null
	done
}

# The same snapshot again, or another verb on the instance.
snapshot_again() {
	if [ $((points % 2)) = 0 ]; then
		vmctl "$touch" src >/dev/null
	else
		retry 4 snapshot create src one
		assert_equal "$(vmctl snapshot ls -q src | wc -l)" 1
	fi
	source_is_whole
}

scenario_snapshot() {
	local touch=standby whole=frozen_is_whole
	vmctl fork rest src --target-state standby
	source_dir=$(dir_of src)
	source_sums=$(sums_in "$source_dir")
	prepare=prepare_snapshots next=snapshot_again walk snapshot create src one --label a=b
	vmctl stop --discard src
	source_sums=$(sums_in "$source_dir")
	prepare=prepare_snapshots next=snapshot_stopped_again walk snapshot create src one
}

snapshot_stopped_again() {
	retry 4 snapshot create src one
	source_is_whole
}

scenario_snapshot_running() {
	prepare_running_snapshots() {
		prepare_snapshots
		with_base src
	}
	local touch=resume whole=goes_on_running
	vmctl fork rest src
	wait_for has_ticked src
	source_pid=$(field src .pid)
	prepare=prepare_running_snapshots next=snapshot_again walk snapshot create src one
	tick=$(last_tick src)
	wait_for ticked_past src "$tick"
	assert_equal "$(boots_of src)" 0
}

scenario_snapshot_rm() {
	prepare_snapshot() {
		vmctl snapshot create rest one >/dev/null 2>&1 || true
	}
	rm_snapshot_again() {
		retry 3 snapshot rm rest/one
		run -3 vmctl snapshot inspect rest/one
	}
	prepare=prepare_snapshot next=rm_snapshot_again walk snapshot rm rest/one
}

# src, in standby with a disk that has moved on, goes back to one of its snapshots.
scenario_snapshot_restore() {
	local disk_sum sums
	prepare_to_revert() {
		vmctl stop --discard src >/dev/null
		printf 'changed since' | dd of="$(dir_of src)/disk-root.img" conv=notrunc status=none
	}
	# Whole, whichever of the two it is: never the disk of one with the memory of the other.
	revert_again() {
		local disk
		vmctl "${after[points % 2]}" src >/dev/null 2>&1 || true
		disk=$(head -c 13 "$(dir_of src)/disk-root.img")
		case $(state_of src) in
		stopped) assert_equal "$disk" 'changed since' ;;
		standby) assert_equal "$(cksum <"$(dir_of src)/disk-root.img")" "$disk_sum" ;;
		*) fail "src is $(state_of src)" ;;
		esac
		retry 0 snapshot restore src back
		assert_equal "$(cksum <"$(dir_of src)/disk-root.img")" "$disk_sum"
		assert_equal "$(state_of src)" standby
		assert_equal "$(image_sums_of src/back)" "$sums"
	}
	image_sums_of() {
		sums_in "$(vmctl snapshot inspect "$1" | json_value directory)"
	}
	local after=(standby 'pause')
	vmctl fork rest src --target-state standby
	vmctl snapshot create src back
	disk_sum=$(cksum <"$(dir_of src)/disk-root.img")
	sums=$(image_sums_of src/back)
	prepare=prepare_to_revert next=revert_again walk snapshot restore src back
	vmctl restore src
	wait_for has_ticked src
}

# Compressed by the one verb and unpacked by the other.
scenario_snapshot_compress() {
	local sums dir anew=yes
	prepare_raw() {
		[ -e "$dir/memory" ] || vmctl snapshot fork src/base web --target-state standby >/dev/null
		vmctl rm --force web >/dev/null 2>&1 || true
		rm -f "$dir/memory.zst"
	}
	prepare_packed() {
		vmctl rm --force web >/dev/null 2>&1 || true
		vmctl snapshot compress src/base >/dev/null
	}
	fork_it() {
		vmctl rm --force web >/dev/null 2>&1 || true
		vmctl snapshot fork src/base web --target-state standby >/dev/null
		assert_equal "$(cksum <"$(dir_of web)/memory")" "$sums"
	}
	vmctl fork rest src --target-state standby
	vmctl snapshot create src base
	dir=$(vmctl snapshot inspect src/base | jq -r .directory)
	sums=$(cksum <"$dir/memory")
	prepare=prepare_raw next=fork_it walk snapshot compress src/base
	prepare=prepare_packed next=fork_it walk snapshot fork src/base web --target-state standby
}

# From files of the user's, which stay as they are.
scenario_snapshot_adopt() {
	local adopt=(snapshot adopt old --state foreign.state --memory foreign.memory --disk d0=foreign.0)
	local files
	prepare_no_image() {
		vmctl snapshot rm old/base >/dev/null 2>&1 || true
	}
	adopt_again() {
		if [ $((points % 2)) = 0 ]; then
			vmctl standby rest >/dev/null # any verb takes away what the dead have left
		else
			retry 4 "${adopt[@]}"
		fi
		assert_equal "$(cksum foreign.*)" "$files"
	}
	make_foreign "$PWD/elsewhere"
	rm -f foreign.log
	files=$(cksum foreign.*)
	prepare=prepare_no_image next=adopt_again walk "${adopt[@]}"
	vmctl snapshot fork old/base web
	wait_for ticked_past web "$foreign_tick"
}

scenario_snapshot_import() {
	prepare_no_import() {
		vmctl snapshot rm rest/copy >/dev/null 2>&1 || true
	}
	import_again() {
		if [ $((points % 2)) = 0 ]; then
			vmctl standby rest >/dev/null
		else
			retry 4 snapshot import image --name rest/copy
		fi
	}
	vmctl snapshot create rest one
	vmctl snapshot export rest/one -o image
	vmctl snapshot rm rest/one
	prepare=prepare_no_import next=import_again walk snapshot import image --name rest/copy
	prepare_no_import
	vmctl snapshot import image --name rest/copy
	vmctl snapshot fork rest/copy web
	wait_for has_ticked web
}

scenario_snapshot_export() {
	local sums
	prepare_no_file() {
		echo before >image
	}
	export_again() {
		# Whole, or as it was; a killed one leaves its part, which is the user's to remove.
		[ "$(head -c 6 image)" = before ] || arrives image
		rm -rf there image.part-*
		vmctl snapshot export rest/one -o image
		assert_equal "$(sums_in "$source_dir")" "$sums"
	}
	# Or is whole at least, where none can be imported.
	arrives() {
		if can state_rewrite; then
			VMCTL_ROOT=$PWD/there vmctl snapshot import "$1" >/dev/null
		else
			zstd -t -q "$1"
		fi
	}
	vmctl snapshot create rest one
	source_dir=$(vmctl snapshot inspect rest/one | jq -r .directory)
	sums=$(sums_in "$source_dir")
	prepare=prepare_no_file next=export_again walk snapshot export rest/one -o image
}

scenario_snapshot_fork() {
	prepare_no_fork() {
		vmctl rm --force web >/dev/null 2>&1 || true
	}
	fork_image_again() {
		retry 4 snapshot fork src/base web
		assert_equal "$(guest_state web)" Running
		assert_equal "$(sums_in "$source_dir")" "$source_sums"
	}
	vmctl fork rest src --target-state standby
	vmctl snapshot create src base
	source_dir=$(vmctl snapshot inspect src/base | jq -r .directory)
	source_sums=$(sums_in "$source_dir")
	prepare=prepare_no_fork next=fork_image_again walk snapshot fork src/base web
}
