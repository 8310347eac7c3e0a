#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # bats sets output, stderr and lines
# Forks of a source that is stopped or in standby.

load helpers

setup() { vm_setup; }
teardown() { vm_teardown; }

# How many different lines there are.
different() {
	sort -u | wc -l
}

marker_of() {
	ask "$1" g '^marker mem='
}

# Each fork goes on from the source's number, on a disk, sockets, a console and a guest CID of its own.
assert_independent() {
	local source=$1 number name dir own
	local files=() cids=() states=()
	# What each fork has of its own.
	own=(disk-root.img vmm.sock console.log console.in)
	! can vsock_by_socket || own+=(vsock.sock)
	! can state_rewrite || own+=(vmstate)
	shift
	number=$(last_tick "$source")
	files+=("$(stat -c %i "$(dir_of "$source")/disk-root.img")")
	cids+=("$(field "$source" .guest_cid)")
	states+=("$(sha256sum <"$(dir_of "$source")/vmstate")")
	for name; do
		dir=$(dir_of "$name")
		assert_equal "$(state_of "$name")" running
		wait_for ticked_past "$name" "$number"
		assert [ "$(first_tick "$name")" -gt "$number" ]
		assert_equal "$(boots_of "$name")" 0
		# The VMM itself has the guest CID and relative paths in the fork's own directory.
		assert_equal "$(vmm_cid "$name")" "$(field "$name" .guest_cid)"
		assert_equal "$(disks_at "$dir")" '["root","disk-root.img",false]'
		! can vsock_by_socket || assert_equal "$(vsock_path_at "$dir")" vsock.sock
		# Memory is not copied.
		assert_equal "$(stat -c %i "$dir/memory")" "$(stat -c %i "$(dir_of "$source")/memory")"
		mapfile -t -O "${#files[@]}" files < <(cd "$dir" && stat -c %i "${own[@]}")
		cids+=("$(field "$name" .guest_cid)")
		states+=("$(sha256sum <"$dir/vmstate")")
	done
	assert_equal "${#files[@]}" $((1 + ${#own[@]} * $#))
	assert_equal "$(printf '%s\n' "${files[@]}" | different)" "${#files[@]}"
	if has_vsock; then
		assert_equal "$(printf '%s\n' "${cids[@]}" | different)" $((1 + $#))
	else
		assert_equal "$(printf '%s\n' "${cids[@]}" | sort -u)" null
	fi
	# Where the guest CID is in the state, that is another one for each; else all have the source's.
	! can state_rewrite || assert_equal "$(printf '%s\n' "${states[@]}" | different)" $((1 + $#))
	can state_rewrite || assert_equal "$(printf '%s\n' "${states[@]}" | different)" 1
	# Each guest's counter reaches its own disk.
	for name; do
		assert [ "$(disk_counter "$name")" -gt "$number" ]
	done
}

# A hypervisor that fails in the way $1 (shell text) instead of running, the first time it is to run.
flawed_hypervisor() {
	wrap_hypervisor flawed "mkdir '$BATS_TEST_TMPDIR/first' 2>/dev/null && $1"
}

# refuses CODE MESSAGE ARGUMENTS...: the fork fails so and leaves nothing.
refuses() {
	local code=$1 message=$2 before vmms
	shift 2
	before=$(snapshot_root)
	vmms=$(live_vmms)
	run "-$code" --separate-stderr vmctl fork "$@"
	assert_output ''
	assert_equal "$(printf '%s\n' "$stderr" | grep -c -e "$message")" 1
	assert_equal "$(snapshot_root)" "$before"
	assert_equal "$(live_vmms)" "$vmms"
}

@test "ten forks at once by -n 10 are independent of each other and of the source" {
	make_standby src
	local before
	before=$(sums_of src)
	run -0 vmctl fork src -n 10 --name 'web-{}'
	assert_output "$(printf 'web-%d\n' {1..10})"
	assert_independent src web-{1..10}
	assert_equal "$(state_of src)" standby
	assert_equal "$(sums_of src)" "$before"
	assert_equal "$(live_vmms)" 10
	assert_clean
}

@test "ten forks at once by ten processes are independent of each other and of the source" {
	make_standby src
	local before i pids=()
	before=$(sums_of src)
	for i in {1..10}; do
		vmctl fork src "web-$i" >"out-$i" 2>&1 3>&- &
		pids+=($!)
	done
	wait_all "${pids[@]}"
	assert_equal "$(count_status 0)" 10
	assert_equal "$(cat out-{1..10})" "$(printf 'web-%d\n' {1..10})"
	assert_independent src web-{1..10}
	assert_equal "$(sums_of src)" "$before"
	assert_equal "$(live_vmms)" 10
	assert_clean
}

@test "a marker written in one fork is seen in no other and not in the source" {
	make_running src
	ask src mA '^marked A'
	vmctl standby src
	local before
	before=$(sums_of src)
	vmctl fork src -n 3 --name 'web-{}'
	assert_equal "$(marker_of web-1)" 'marker mem=A disk=A'
	ask web-1 mB '^marked B'
	ask web-2 mC '^marked C'
	assert_equal "$(marker_of web-1)" 'marker mem=B disk=B'
	assert_equal "$(marker_of web-2)" 'marker mem=C disk=C'
	assert_equal "$(marker_of web-3)" 'marker mem=A disk=A'
	assert_equal "$(sums_of src)" "$before"
	# Nor in what a fork of now gets, nor in the source when it goes on.
	vmctl fork src late
	assert_equal "$(marker_of late)" 'marker mem=A disk=A'
	vmctl restore src
	assert_equal "$(marker_of src)" 'marker mem=A disk=A'
	# And what the source writes now is its own, though a fork has the same memory file.
	ask src mS '^marked S'
	assert_equal "$(marker_of web-3)" 'marker mem=A disk=A'
	vmctl standby web-3
	vmctl restore web-3
	assert_equal "$(marker_of web-3)" 'marker mem=A disk=A'
}

@test "forks survive the removal of their source, can rest, go on and be forked again" {
	make_standby src
	vmctl fork src -n 2 --name 'web-{}'
	vmctl fork src rested --target-state standby
	vmctl rm --force src
	local name before
	for name in web-1 web-2; do
		wait_for has_ticked "$name"
		before=$(last_tick "$name")
		wait_for ticked_past "$name" "$before"
	done
	vmctl standby web-1
	before=$(last_tick web-1)
	vmctl fork web-1 child
	wait_for ticked_past child "$before"
	vmctl restore web-1
	wait_for ticked_past web-1 "$before"
	vmctl restore rested
	wait_for has_ticked rested
	for name in web-1 web-2 child rested; do
		assert_equal "$(boots_of "$name")" 0
	done
	assert_equal "$(field rested .parent.name)" src
	assert_clean
}

@test "a fork of a fork of a fork goes on, and knows its parent" {
	make_standby a
	local parent=a child before
	for child in b c d; do
		before=$(last_tick "$parent")
		vmctl fork "$parent" "$child"
		wait_for ticked_past "$child" "$before"
		assert [ "$(first_tick "$child")" -gt "$before" ]
		assert_equal "$(boots_of "$child")" 0
		assert_equal "$(field "$child" .parent.name)" "$parent"
		assert_equal "$(field "$child" .parent.id)" "$(field "$parent" .id)"
		ask "$child" "m$child" "^marked $child"
		vmctl standby "$child"
		parent=$child
	done
	vmctl rm --force b c
	vmctl restore a d
	assert_equal "$(marker_of a)" 'marker mem=- disk=-'
	assert_equal "$(marker_of d)" 'marker mem=d disk=d'
	assert_clean
}

@test "a standby source forks to stopped, to standby and to running" {
	make_standby src
	local number dir
	number=$(last_tick src)
	vmctl fork src cold --target-state stopped
	vmctl fork src rest --target-state standby
	vmctl fork src warm --target-state running
	vmctl fork src plain
	assert_equal "$(state_of cold) $(state_of rest) $(state_of warm) $(state_of plain)" \
		'stopped standby running running'
	assert_equal "$(live_vmms)" 2
	# A stopped fork has the disk, and no memory that could be loaded over it.
	dir=$(dir_of cold)
	assert [ "$(disk_counter cold)" -ge "$number" ]
	assert [ ! -e "$dir/memory" ]
	assert [ ! -e "$dir/vmstate" ]
	assert [ ! -e "$dir/manifest.json" ]
	vmctl start cold
	wait_for has_ticked cold
	assert_equal "$(boots_of cold)" 1
	vmctl restore rest
	for name in rest warm plain; do
		wait_for ticked_past "$name" "$number"
		assert_equal "$(boots_of "$name")" 0
	done
	assert_equal "$(state_of src)" standby
	assert_clean
}

@test "a stopped source forks to stopped and to running, which boots; to standby it cannot" {
	make_running src
	ask src mA '^marked A'
	vmctl stop --force src
	local before
	before=$(sums_of src)
	vmctl fork src plain
	vmctl fork src warm --target-state running
	vmctl fork src cold --target-state stopped
	assert_equal "$(state_of plain) $(state_of warm) $(state_of cold)" 'stopped running stopped'
	wait_for has_ticked warm
	assert_equal "$(boots_of warm)" 1
	assert_equal "$(marker_of warm)" 'marker mem=- disk=A'
	assert_equal "$(vmm_cid warm)" "$(field warm .guest_cid)"
	refuses 6 'is stopped: it has no memory' src none --target-state standby
	vmctl start plain
	assert_equal "$(marker_of plain)" 'marker mem=- disk=A'
	assert_equal "$(sums_of src)" "$before"
	assert_equal "$(state_of src)" stopped
	assert_clean
}

@test "a source that is paused or has failed cannot be forked" {
	make_running src
	vmctl pause src
	refuses 6 'src is paused' src web
	refuses 6 'src is paused' src web --from-running
	vmctl resume src
	kill -9 "$(field src .pid)"
	no_vmm() { [ "$(live_vmms)" = 0 ]; }
	wait_for no_vmm
	run -6 --separate-stderr vmctl fork src web --from-running
	assert_equal "$(state_of src)" failed
	refuses 6 'src is failed' src web
}

@test "read-only disks are one file, all writable disks are private" {
	head -c 65536 /dev/urandom >tools.img
	make_standby src --disk size=1M,id=data --disk "path=tools.img,id=tools,readonly"
	local file name dir
	dir=$(dir_of src)
	dd if=/dev/urandom of="$dir/disk-data.img" bs=4096 count=8 conv=notrunc status=none
	vmctl fork src -n 2 --name 'web-{}'
	vmctl fork src rest --target-state standby
	for name in web-1 web-2 rest; do
		assert_equal "$(stat -c %i "$(dir_of "$name")/disk-tools.img")" \
			"$(stat -c %i "$dir/disk-tools.img")"
		for file in disk-root.img disk-data.img; do
			assert_equal "$(stat -c %h "$(dir_of "$name")/$file")" 1
		done
		cmp "$(dir_of "$name")/disk-data.img" "$dir/disk-data.img"
		cmp "$(dir_of "$name")/disk-tools.img" tools.img
	done
	assert_equal "$(disks_at "$(dir_of web-1)")" '["data","disk-data.img",false]
["root","disk-root.img",false]
["tools","disk-tools.img",true]'
	wait_for has_ticked web-1
	vmctl rm --force src web-2
	cmp "$(dir_of web-1)/disk-tools.img" tools.img
	assert_clean
}

@test "a source without a vsock device has forks without one" {
	make_standby src --no-vsock
	local number
	number=$(last_tick src)
	vmctl fork src -n 2 --name 'web-{}'
	for name in web-1 web-2; do
		wait_for ticked_past "$name" "$number"
		assert_equal "$(field "$name" '.guest_cid, .vsock_socket' | tr '\n' ' ')" 'null null '
		assert_equal "$(vmm_cid "$name")" null
		assert [ ! -e "$(dir_of "$name")/vsock.sock" ]
	done
	assert_clean
}

@test "a fork without a name is named after its source" {
	vmctl create src --kernel "$guest" --memory 16M
	run -0 vmctl fork src
	assert_output --regexp '^src-[a-z0-9]{6}$'
	run -0 vmctl fork src -n 3
	assert_equal "${#lines[@]}" 3
	assert_equal "$(printf '%s\n' "${lines[@]}" | grep -c -E '^src-[a-z0-9]{6}$')" 3
	# Also of a name that leaves no room for the addition.
	local long
	long=$(printf 'x%.0s' {1..63})
	vmctl create "$long" --kernel "$guest" --memory 16M
	run -0 vmctl fork "$long"
	assert_output --regexp '^x{56}-[a-z0-9]{6}$'
}

@test "{} in a name is the number, wherever it stands" {
	vmctl create src --kernel "$guest" --memory 16M
	run -0 vmctl fork src -n 2 --name 'a{}z'
	assert_output $'a1z\na2z'
	run -0 vmctl fork src -n 2 'b-{}'
	assert_output $'b-1\nb-2'
	run -0 vmctl fork src --name '{}c'
	assert_output 1c
	run -0 vmctl fork -q src 'd'
	assert_output "$(field d .id)"
}

@test "a request that cannot be met is refused and leaves nothing" {
	make_standby src
	vmctl create web-2 --kernel "$guest" --memory 16M
	refuses 4 "'web-2' exists already" src web-2
	refuses 4 "'web-2' exists already" src -n 3 --name 'web-{}'
	refuses 4 "'web-2' exists already" src -n 3 --name 'web-{}' --atomic
	refuses 4 "'src' exists already" src src
	refuses 2 'cannot all be named' src -n 2 web
	refuses 2 'more than one {}' src -n 2 'web-{}-{}'
	refuses 2 Web src Web
	refuses 2 name src ''
	refuses 2 name src "$(printf 'x%.0s' {1..64})"
	refuses 2 count src -n 0
	refuses 2 count src -n many
	refuses 2 'NAME' src web --name web
	refuses 2 'target-state' src web --target-state paused
	refuses 2 'target-state' src web --target-state nonsense
	refuses 3 "no instance 'srv'" srv web
	vmctl_yaml 'limits:' '  max_running: 2'
	refuses 7 '3 more instances cannot run' src -n 3 --name 'new-{}'
	vmctl create big --kernel "$guest" --memory 1T
	vmctl_yaml 'limits:' '  memory_overcommit: 0.01'
	refuses 7 'of guest memory cannot run' big web --target-state running
	vmctl_yaml 'limits:' '  min_free_disk: 60T'
	refuses 7 'must stay free' src web
	rm "$VMCTL_ROOT/vmctl.yaml"
	assert_clean
}

@test "a source whose files are damaged is not forked, and nothing is left" {
	make_standby src
	local dir
	dir=$(dir_of src)

	cp -p "$dir/vmstate" good
	# Of a state that vmctl does not read it sees only what its VMM sees.
	if can state_rewrite; then
		printf X | dd of="$dir/vmstate" bs=1 seek=5000 conv=notrunc status=none
		refuses 10 vmstate src web
		refuses 10 vmstate src -n 4 --name 'web-{}' --target-state standby
	fi
	truncate -s 8 "$dir/vmstate"
	refuses 10 state src web
	: >"$dir/vmstate"
	refuses 10 vmstate src web
	refuses 10 vmstate src -n 4 --name 'web-{}' --target-state standby
	cp -p good "$dir/vmstate"

	mv "$dir/memory" "$dir/memory.away"
	refuses 10 memory src web
	mv "$dir/memory.away" "$dir/memory"
	truncate -s 8M "$dir/memory"
	refuses 10 memory src web
	truncate -s 16M "$dir/memory"

	truncate -s 512K "$dir/disk-root.img"
	refuses 10 disk src web
	truncate -s 1M "$dir/disk-root.img"

	mv "$dir/manifest.json" manifest
	refuses 10 manifest src web
	echo '{' >"$dir/manifest.json"
	refuses 10 manifest src web
	mv manifest "$dir/manifest.json"

	mv "$dir/kernel" kernel
	refuses 10 kernel src web
	mv kernel "$dir/kernel"

	# It was the damage and nothing else.
	vmctl fork src web
	wait_for has_ticked web
	assert_clean
}

@test "one fork of several that does not come up costs only itself" {
	make_standby src
	flawed_hypervisor 'exit 1'
	run -9 --separate-stderr vmctl fork src -n 5 --name 'web-{}'
	assert_equal "${#lines[@]}" 4
	assert_equal "$(printf '%s\n' "$stderr" | grep -c 'the VMM ended at once')" 1
	assert_equal "$(vmctl ls | grep -c ' running ')" 4
	assert_equal "$(live_vmms)" 4
	for name in "${lines[@]}"; do
		wait_for has_ticked "$name"
	done
	assert_clean
	run find "$VMCTL_ROOT/guests" "$VMCTL_ROOT/trash" -mindepth 1 -maxdepth 1
	assert_equal "${#lines[@]}" 5
}

@test "with --atomic one fork that does not come up undoes all of them" {
	make_standby src
	flawed_hypervisor 'exit 1'
	refuses 9 'none was kept' src -n 5 --name 'web-{}' --atomic
	assert_equal "$(live_vmms)" 0
	assert_equal "$(state_of src)" standby
	assert_clean
	# The flaw shows once only.
	run -0 vmctl fork src -n 5 --name 'web-{}' --atomic
	assert_equal "${#lines[@]}" 5
	assert_equal "$(live_vmms)" 5
}

@test "a VMM that answers nothing is given up in time, and nothing is left" {
	make_standby src
	vmctl_yaml 'api_timeout: 500ms'
	flawed_hypervisor 'exec sleep 1000'
	refuses 12 'API did not come up' src web
	# A busy machine may need longer than that for one that does answer.
	rm "$VMCTL_ROOT/vmctl.yaml"
	assert_clean
	vmctl fork src web
}

@test "a fork that is ended by a signal while it loads leaves nothing" {
	make_standby src
	local before pid
	before=$(snapshot_root)
	flawed_hypervisor 'exec sleep 1000'
	env --default-signal=INT vmctl fork src web >out 2>err 3>&- &
	pid=$!
	one_vmm() { [ "$(live_vmms)" = 1 ]; }
	wait_for one_vmm
	kill -INT "$pid"
	wait_all "$pid"
	assert_equal "${statuses[0]}" 130
	assert_equal "$(cat out)" ''
	assert_equal "$(grep -c 'interrupted by SIGINT' err)" 1
	assert_equal "$(snapshot_root)" "$before"
	assert_equal "$(live_vmms)" 0
	assert_clean
}

@test "a fork's VMM holds no descriptor of vmctl but its own streams and liveness file" {
	make_standby src
	vmctl fork src -n 6 --name 'web-{}'
	local name id own seen fd target
	for name in web-{1..6}; do
		id=$(field "$name" .id)
		own="$VMCTL_ROOT/guests/$id"
		seen=0
		for fd in "/proc/$(field "$name" .pid)/fd"/*; do
			target=$(readlink "$fd") || continue
			case $target in
			"$VMCTL_ROOT/run/$id.alive") seen=$((seen + 1)) ;;
			"$own/console.in" | "$own/console.log" | "$own/vmm.log") ;;
			"$own/disk-root.img" | "$own/memory" | /dev/kvm) ;;
			anon_inode:* | socket:*) ;;
			*) fail "$name: descriptor ${fd##*/} is $target" ;;
			esac
		done
		assert_equal "$seen" 1
		assert_equal "$(readlink "/proc/$(field "$name" .pid)/fd/"{0,1,2} | xargs -n 1 basename | xargs)" \
			'console.in console.log vmm.log'
		assert_equal "$(readlink "/proc/$(field "$name" .pid)/cwd")" "$own"
	done
}
