# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Talking to a VMM itself, past vmctl, in the language of its hypervisor. For helpers.bash and
# storm-check. $VMCTL_HYPERVISOR says which one it is.

# open_vmm DIRECTORY: connects the descriptors ${VMM[0]} and ${VMM[1]} with the VMM of that instance's
# directory; close_vmm ends it.
open_vmm() {
	local dir=$1
	# shellcheck disable=SC2034 # the coproc sets it
	coproc VMM { cd "$dir" && exec socat - UNIX-CONNECT:vmm.sock; }
	asker=$VMM_PID
}

close_vmm() {
	kill "$asker" 2>/dev/null
	wait "$asker" || true
}

# request_at DIRECTORY METHOD PATH [BODY]: prints what a Firecracker answers; fails unless it agrees.
request_at() {
	local body=${4:-} length=0 line answer='' status='' asker patience=${WAIT_SECONDS:-60}
	open_vmm "$1"
	printf '%s %s HTTP/1.1\r\nHost: vmm\r\nContent-Length: %d\r\n\r\n%s' "$2" "$3" ${#body} \
		"$body" >&"${VMM[1]}"
	while IFS= read -r -t "$patience" line <&"${VMM[0]}" && [ "$line" != $'\r' ]; do
		[[ $line =~ ^HTTP/1.1\ ([0-9]+) ]] && status=${BASH_REMATCH[1]}
		[[ $line =~ ^Content-Length:\ ([0-9]+) ]] && length=${BASH_REMATCH[1]}
	done
	((length == 0)) || IFS= read -r -t "$patience" -N "$length" answer <&"${VMM[0]}"
	close_vmm
	printf '%s\n' "$answer"
	[[ $status = 20? ]]
}

# qmp_at DIRECTORY COMMAND [ARGUMENTS]: prints what a QEMU returns; fails unless it agrees.
qmp_at() {
	qmp_line_at "$@" | jq -e -c .return
}

# The same, with what is around it.
qmp_line_at() {
	local line answer='{}' asker patience=${WAIT_SECONDS:-60}
	open_vmm "$1"
	printf '{"execute": "qmp_capabilities"}\n{"execute": "%s", "arguments": %s, "id": "asked"}\n' "$2" \
		"${3:-{\}}" >&"${VMM[1]}"
	# Events come in between.
	while IFS= read -r -t "$patience" line <&"${VMM[0]}"; do
		[[ $line = *'"id": "asked"'* ]] && answer=$line && break
	done
	close_vmm
	printf '%s\n' "$answer"
}

# Whether it takes connections: its socket is there an instant earlier. For wait_for.
accepts_at() {
	(cd "$1" && socat -u /dev/null UNIX-CONNECT:vmm.sock) 2>/dev/null
}

# guest_state_at DIRECTORY: Running or Paused, or what else the VMM says. Asked so often that it is worth to
# do without jq.
guest_state_at() {
	local answer state=
	case $VMCTL_HYPERVISOR in
	firecracker)
		answer=$(request_at "$1" GET /)
		[[ ! $answer =~ \"state\":\"([^\"]*)\" ]] || state=${BASH_REMATCH[1]}
		;;
	qemu)
		answer=$(qmp_line_at "$1" query-status)
		[[ ! $answer =~ \"status\":\ \"([^\"]*)\" ]] || state=${BASH_REMATCH[1]}
		;;
	esac
	case $state in
	# RunState of qapi/run-state.json: after a save, until it goes on, it is "postmigrate".
	running) state=Running ;;
	paused | postmigrate) state=Paused ;;
	prelaunch | inmigrate) state='Not started' ;;
	esac
	printf '%s\n' "$state"
}

# set_guest_at DIRECTORY Paused|Resumed
set_guest_at() {
	case $VMCTL_HYPERVISOR-$2 in
	firecracker-*) request_at "$1" PATCH /vm "{\"state\": \"$2\"}" ;;
	qemu-Paused) qmp_at "$1" stop ;;
	qemu-Resumed) qmp_at "$1" cont ;;
	esac >/dev/null
}

# memory_at DIRECTORY FILE: has the VMM of a paused guest write all its memory to FILE. A Firecracker
# forgets by that what is dirty, as in any save.
memory_at() {
	case $VMCTL_HYPERVISOR in
	firecracker)
		request_at "$1" PUT /snapshot/create "$(jq -nc --arg memory "$2" '{snapshot_type: "Full",
			snapshot_path: ($memory + ".state"), mem_file_path: $memory}')"
		;;
	qemu)
		qmp_at "$1" pmemsave "$(jq -nc --arg file "$2" --argjson size "$(stat -L -c %s "$1/memory.live" 2>/dev/null ||
			stat -L -c %s "$1/memory")" '{val: 0, size: $size, filename: $file}')"
		;;
	esac >/dev/null
}

# The part of guest memory that memory_at does not tell, as first and last KiB: QEMU's shows what the guest
# sees at its addresses, and between 640 KiB and 1 MiB that is firmware.
hole_of_memory() {
	case $VMCTL_HYPERVISOR in
	firecracker) echo 0 0 ;;
	qemu) echo 640 1024 ;;
	esac
}

# What the command line of a VMM has of its instance's id.
id_option() {
	case $VMCTL_HYPERVISOR in
	firecracker) echo --id ;;
	qemu) echo -name ;;
	esac
}

# cid_at DIRECTORY PID: the guest CID that the VMM has, or null.
cid_at() {
	case $VMCTL_HYPERVISOR in
	firecracker) request_at "$1" GET /vm/config | jq .vsock.guest_cid ;;
	qemu) tr '\0' '\n' <"/proc/$2/cmdline" | sed -n 's/.*guest-cid=\([0-9]*\).*/\1/p' | grep . || echo null ;;
	esac
}

# vsock_path_at DIRECTORY: by what name the VMM has made the socket of the vsock (vsock_by_socket).
vsock_path_at() {
	request_at "$1" GET /vm/config | jq -r .vsock.uds_path
}

# disks_at DIRECTORY: a line of JSON [id, file, read-only] for each disk that the VMM has, in their order.
disks_at() {
	case $VMCTL_HYPERVISOR in
	firecracker)
		request_at "$1" GET /vm/config |
			jq -c '.drives | map([.drive_id, .path_on_host, .is_read_only]) | sort[]'
		;;
	qemu)
		qmp_at "$1" query-block |
			jq -c 'map(.inserted | [(."node-name" | ltrimstr("disk-")), .file, .ro]) | sort[]'
		;;
	esac
}

# pauses_in LOG, saves_in LOG: how often the VMM that has written this log was paused, and saved its guest.
pauses_in() {
	case $VMCTL_HYPERVISOR in
	firecracker) grep 'The API server received' "$1" | grep -c -F -e '"state\":\"Paused\"' ;;
	qemu) grep -c '(running) new_state [0-9]* (paused)' "$1" ;;
	esac || true
}

saves_in() {
	case $VMCTL_HYPERVISOR in
	firecracker) grep 'The API server received' "$1" | grep -c -F -e '"/snapshot/create"' ;;
	qemu) grep -c 'new_state [0-9]* (finish-migrate)' "$1" ;;
	esac || true
}

# Whether forks have one state file together: nothing in it is of one instance.
shares_states() {
	[ "$VMCTL_HYPERVISOR" = qemu ]
}

# What a VMM has in its directory, beside vmm.sock, for as long as it lives.
files_of_vmm() {
	case $VMCTL_HYPERVISOR in
	firecracker) echo vsock.sock ;;
	qemu) echo memory.live ;;
	esac
}

# What an error says of a request that a VMM has not answered.
request_word() {
	case $VMCTL_HYPERVISOR in
	firecracker) echo 'PATCH /vm' ;;
	qemu) echo "QMP's answer" ;;
	esac
}

# What the log of any VMM has in it.
log_word() {
	case $VMCTL_HYPERVISOR in
	firecracker) echo Firecracker ;;
	qemu) echo runstate_set ;;
	esac
}

# load_times_in LOG BEGUN: when a VMM began to load its saved state, and when it had done, as lines "TIME 1" and
# "TIME -1", by its log or by the file BEGUN, which has the first line. timed_log: the options that make it log
# the time.
timed_log() {
	case $VMCTL_HYPERVISOR in
	firecracker) ;; # it does
	qemu) echo -msg timestamp=on ;;
	esac
}

load_times_in() {
	case $VMCTL_HYPERVISOR in
	firecracker)
		awk '/"\/snapshot\/load"/ { print $1, 1 }
			/.load snapshot. API request took/ { print $1, -1 }' "$1"
		;;
	# "PID@SECONDS.MICROSECONDS:runstate_set ..."
	qemu)
		cat "$2"
		sed -n 's/^[0-9]*@\([0-9.]*\):.*(inmigrate) new_state [0-9]* (paused)$/\1 -1/p' "$1"
		;;
	esac
}
