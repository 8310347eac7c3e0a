# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What test/bench/run runs. Each section_NAME leaves its rows in files below $work; what it needs of sources,
# data roots and directories for the floors is made when it is first asked for.

# shellcheck disable=SC2154 # top, where, bench, runs, seconds and quick are test/bench/run's
work=$(mktemp -d "$where/bench-work.XXXXXX")
rounds_pid=
source_memory=64

# Ends every process whose working directory is below $1: VMMs that no store knows of, too.
end_below() {
	local process
	for process in /proc/[0-9]*; do
		case $(readlink "$process/cwd" 2>/dev/null) in
		"$1"/*) kill -9 "${process#/proc/}" 2>/dev/null || true ;;
		esac
	done
}

clean() {
	local db id mounted
	trap '' INT TERM HUP
	[ -z "$rounds_pid" ] || { kill "$rounds_pid" && wait "$rounds_pid"; } 2>/dev/null || true
	end_below "$work"
	for db in "$work"/root-*/vmctl.db "$work"/*/root-*/vmctl.db; do
		[ -e "$db" ] || continue
		id=$(sqlite3 -readonly "$db" "SELECT value FROM meta WHERE key = 'root_id'") || continue
		[ -z "$id" ] || rm -f "/dev/shm/sem.vmctl-$id"-* "/dev/shm/vmctl-$id.root"
	done
	for mounted in "$work/xfs" "$work/ext4"; do
		! mountpoint -q "$mounted" || umount "$mounted"
	done
	rm -rf "$work"
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# rows SECTION FILE: adds the rows in FILE, {"NAME":{"unit","values"}}, to those of the section.
rows() {
	local file
	file=$(mktemp "$work/XXXXXX.rows")
	jq --arg section "$1" '{section: $section, rows: .}' "$2" >"$file"
}

# measure SECTION: the commands in the array plan, in turn (rounds.c). In the background, so that a signal is
# heard at once.
measure() {
	"$bench/rounds" --rounds "$runs" --seconds "$seconds" --warmup 1 "${plan[@]}" >"$work/raw" &
	rounds_pid=$!
	wait "$rounds_pid" || {
		rounds_pid=
		echo "bench: section $1 ends: a command has failed" >&2
		exit 1
	}
	rounds_pid=
	jq 'map_values({unit: "ms", values: (.wall_us | map(. / 1000)), cpu_us, maxrss_kib, minor_faults})' \
		"$work/raw" >"$work/measured"
	rows "$1" "$work/measured"
}

# source_of ROOT NAME MEMORY [DISK]: a standby source whose guest has run.
source_of() {
	local root=$work/$1 name=$2 memory=$3
	vmctl-create --root "$root" "$name" --kernel "$top/build/guest/guest.elf" --memory "$memory" \
		--disk "${4:-size=8M}" --start >/dev/null
	until vmctl-logs --root "$root" "$name" | grep -q '^tick'; do sleep 0.05; done
	vmctl-standby --root "$root" "$name" >/dev/null
}

# floor_of DIR ROOT NAME [LINKED]: a directory in which floor can load what that source has saved.
floor_of() {
	local saved
	saved=$(vmctl-inspect --root "$work/$2" "$3" | jq -r .directory)
	mkdir -p "$work/$1"
	ln "$saved/memory" "$saved/vmstate" "$saved/kernel" "$work/$1/"
	"$bench/copy" "$saved/disk-root.img" "$work/$1/disk-root.img"
}

# on_loop NAME SIZE MKFS...: a new filesystem at $work/NAME. Fails where that cannot be done.
on_loop() {
	local name=$1 size=$2
	shift 2
	[ "$(id -u)" = 0 ] && command -v "$1" >/dev/null || return 1
	mkdir -p "$work/$name"
	truncate -s "$size" "$work/$name.img"
	"$@" "$work/$name.img" && mount -o loop "$work/$name.img" "$work/$name"
}

# store ROOT COUNT: a data root with COUNT instances, real ones with their directories: a source g64 in standby
# and forks of a stopped one, made by vmctl-fork -n.
store() {
	local root=$work/$1 left=$(($2 - 2)) batch=0 n
	[ ! -e "$root/vmctl.db" ] || return 0
	source_of "$1" g64 "${source_memory}M"
	vmctl-create --root "$root" tiny --kernel "$top/build/guest/guest.elf" --memory 16M >/dev/null
	while [ $left -gt 0 ]; do
		n=$((left > 1000 ? 1000 : left))
		vmctl-fork --root "$root" tiny -n $n --name "i$batch-{}" --target-state stopped >/dev/null
		left=$((left - n)) batch=$((batch + 1))
	done
	# As after a while of use: what was made is no longer in the log that readers must look through.
	sqlite3 "$root/vmctl.db" 'PRAGMA wal_checkpoint(PASSIVE)' >/dev/null
}

# fork_once NAME ROOT SOURCE STATE: a row of the plan.
fork_once() {
	plan+=("@$1" run vmctl-fork --root "$work/$2" --target-state "$4" "$3" bench-fork ';'
		after vmctl-rm --root "$work/$2" --force bench-fork ';')
}

section_start() {
	store root-10 10
	store root-10000 10000
	# The line that is completed has --root in it.
	plan=(@true run /bin/true ';'
		@help run vmctl-fork --help ';'
		@options run vmctl-fork __complete -- ';'
		@names run vmctl-start __complete --root "$work/root-10" '' ';'
		@names10000 run vmctl-start __complete --root "$work/root-10000" '' ';')
	measure start
}

section_ls() {
	local n
	plan=()
	for n in 10 10000; do
		store root-$n $n
		plan+=("@row$n" run "$bench/row" "$work/root-$n/vmctl.db" ';'
			"@ls$n" run vmctl-ls --root "$work/root-$n" ';')
	done
	measure ls
}

section_fork() {
	local memory
	plan=()
	for memory in 64 512; do
		source_of root-fork g$memory ${memory}M
		floor_of floor-$memory root-fork g$memory
		plan+=("@floor$memory" run "$bench/floor" "$VMCTL_FIRECRACKER" "$work/floor-$memory" ';')
		fork_once fork$memory root-fork g$memory running
	done
	measure fork
	mkdir "$work/commit"
	"$bench/commit" "$work/commit" | jq -R 'split(" ") | map({unit: "ms", values: [tonumber / 1000]}) |
		{commit: .[0], commitevent: .[1]}' >"$work/measured"
	rows fork "$work/measured"
}

# copies_and_fork SUFFIX ROOT SOURCE: the copies are made beside the data root.
copies_and_fork() {
	local disk copy=$work/${2%/*}/copy
	disk=$(vmctl-inspect --root "$work/$2" "$3" | jq -r .directory)/disk-root.img
	plan+=("@copy$1" run "$bench/copy" "$disk" "$copy" ';' after rm "$copy" ';'
		"@copy$1sync" run "$bench/copy" --sync "$disk" "$copy" ';' after rm "$copy" ';')
	fork_once "standby$1" "$2" "$3" standby
}

section_standby() {
	mkdir -p "$work/disks"
	truncate -s 64M "$work/disk.img"
	dd if=/dev/urandom of="$work/disk.img" bs=1M count=16 conv=notrunc status=none
	source_of disks/root-standby g64 64M
	source_of disks/root-standby data 64M "id=root,path=$work/disk.img,root"
	plan=()
	copies_and_fork '' disks/root-standby g64
	copies_and_fork data disks/root-standby data
	if on_loop xfs 2G mkfs.xfs -q -m reflink=1; then
		source_of xfs/root-standby data 64M "id=root,path=$work/disk.img,root"
		copies_and_fork xfs xfs/root-standby data
	fi
	measure standby
}

# Names of numbered forks, for their removal: PATTERN COUNT.
numbered() {
	local i
	for ((i = 1; i <= $2; i++)); do
		echo "${1/\{\}/$i}"
	done
}

# many_running SUFFIX DIR: -n 100 beside its floors, in a data root and directories below $work/DIR.
many_running() {
	local i directories=()
	local -a names
	mkdir -p "$work/$2"
	source_of "$2/root-many" g64 64M
	for ((i = 1; i <= 100; i++)); do
		floor_of "$2/floors/$i" "$2/root-many" g64
		directories+=("$work/$2/floors/$i")
	done
	mapfile -t names < <(numbered 'f-{}' 100)
	plan=()
	for i in 8 16 32; do
		plan+=("@floor100p$i$1" run "$bench/floor" --parallel "$i" "$VMCTL_FIRECRACKER" "${directories[@]}" ';')
	done
	plan+=("@n100$1" run vmctl-fork --root "$work/$2/root-many" g64 -n 100 --name 'f-{}' ';'
		after vmctl-rm --root "$work/$2/root-many" --force "${names[@]}" ';')
	measure many
}

section_many() {
	local many=$work/many/root-many saved copies
	local -a names64 names1000
	if on_loop ext4 4G mkfs.ext4 -q -F; then
		many_running journal ext4
	fi
	many_running '' many
	mapfile -t names64 < <(numbered 'f-{}' 64)
	mapfile -t names1000 < <(numbered 'f-{}' 1000)
	plan=(@n64 run vmctl-fork --root "$many" g64 -n 64 --name 'f-{}' ';'
		after vmctl-rm --root "$many" --force "${names64[@]}" ';'
		@storm64 run "$bench/at-once" 64 vmctl-fork --root "$many" --wait=5m g64 'f-{}' ';'
		after vmctl-rm --root "$many" --force "${names64[@]}" ';')
	measure many
	! $quick || return 0
	mkdir "$work/copies"
	mapfile -t copies < <(numbered "$work/copies/{}" 1000)
	saved=$(vmctl-inspect --root "$many" g64 | jq -r .directory)
	plan=(@copy1000 run "$bench/copy" "$saved/disk-root.img" "${copies[@]}" ';' after rm "${copies[@]}" ';'
		@n1000 run vmctl-fork --root "$many" g64 -n 1000 --name 'f-{}' --target-state standby ';'
		after vmctl-rm --root "$many" "${names1000[@]}" --force ';')
	measure many
}

section_flat() {
	local n
	plan=()
	for n in 10 1000 10000; do
		store root-$n $n
		fork_once run$n root-$n g64 running
		fork_once rest$n root-$n g64 standby
	done
	measure flat
	for n in 1 500; do
		source_of root-children-$n g64 64M
		vmctl-fork --root "$work/root-children-$n" g64 -n $n --name 'c-{}' --target-state standby >/dev/null
	done
	plan=()
	fork_once run1child root-children-1 g64 running
	fork_once run500children root-children-500 g64 running
	fork_once rest1child root-children-1 g64 standby
	fork_once rest500children root-children-500 g64 standby
	measure flat
	plan=()
	for n in 64 512 2048 8192; do
		! $quick || [ $n != 8192 ] || continue
		source_of root-memory m$n ${n}M
		fork_once run${n}m root-memory m$n running
		fork_once rest${n}m root-memory m$n standby
	done
	# What of the difference is the VMM's own.
	for n in 64 8192; do
		! $quick || [ $n != 8192 ] || continue
		floor_of floor-m$n root-memory m$n
		plan+=("@floor${n}m" run "$bench/floor" "$VMCTL_FIRECRACKER" "$work/floor-m$n" ';')
	done
	measure flat
}

# The pid of the VMM that floor has left in a directory.
vmm_in() {
	local process
	for process in /proc/[0-9]*; do
		if [ "$(readlink "$process/cwd" 2>/dev/null)" = "$1" ]; then
			echo "${process#/proc/}"
			return 0
		fi
	done
	echo "bench: no VMM runs in $1" >&2
	return 1
}

private_of() {
	awk '/^Private_/ { sum += $2 } END { print sum }' "/proc/$1/smaps_rollup"
}

# Both VMMs are there when they are looked at, so what they share is private to neither.
section_memory() {
	local root=$work/root-memory-use names n floor_pid fork_pid
	source_of root-memory-use g64 64M
	floor_of floor-use root-memory-use g64
	mapfile -t names < <(numbered 'f-{}' 100)
	for ((n = 0; n < (runs < 10 ? runs : 10); n++)); do
		"$bench/floor" "$VMCTL_FIRECRACKER" "$work/floor-use" >/dev/null
		"$bench/at-exit" vmctl-fork -q --root "$root" g64 f-1 | grep '^{' |
			jq -c '{verb_rss: .peak_rss_kib, verb_private: .private_kib}'
		sleep 0.5 # of idleness
		floor_pid=$(vmm_in "$work/floor-use")
		fork_pid=$(vmctl-inspect --root "$root" f-1 | jq .pid)
		echo "{\"vmm_floor\":$(private_of "$floor_pid"),\"vmm_fork\":$(private_of "$fork_pid")}"
		kill -9 "$floor_pid"
		vmctl-rm --root "$root" --force f-1 >/dev/null
		"$bench/at-exit" vmctl-fork -q --root "$root" g64 -n 100 --name 'f-{}' | grep '^{' |
			jq -c '{verb_rss100: .peak_rss_kib, verb_private100: .private_kib}'
		vmctl-rm --root "$root" --force "${names[@]}" >/dev/null
		"$bench/at-exit" /bin/true | jq -c '{true_rss: .peak_rss_kib}'
	done >"$work/raw"
	jq -s 'map(to_entries[]) | group_by(.key) | map({(.[0].key): {unit: "KiB", values: map(.value)}}) | add' \
		"$work/raw" >"$work/measured"
	rows memory "$work/measured"
}
