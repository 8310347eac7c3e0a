# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Talking to a VMM itself, past vmctl. For helpers.bash and storm-check.

# request_at DIRECTORY METHOD PATH [BODY]: prints what the VMM of that instance's directory answers;
# fails unless it agrees.
request_at() {
	local dir=$1 body=${4:-} length=0 line answer='' status='' asker patience=${WAIT_SECONDS:-60}
	# shellcheck disable=SC2034 # the coproc sets it
	coproc VMM { cd "$dir" && exec socat - UNIX-CONNECT:vmm.sock; }
	asker=$VMM_PID
	printf '%s %s HTTP/1.1\r\nHost: vmm\r\nContent-Length: %d\r\n\r\n%s' "$2" "$3" ${#body} \
		"$body" >&"${VMM[1]}"
	while IFS= read -r -t "$patience" line <&"${VMM[0]}" && [ "$line" != $'\r' ]; do
		[[ $line =~ ^HTTP/1.1\ ([0-9]+) ]] && status=${BASH_REMATCH[1]}
		[[ $line =~ ^Content-Length:\ ([0-9]+) ]] && length=${BASH_REMATCH[1]}
	done
	((length == 0)) || IFS= read -r -t "$patience" -N "$length" answer <&"${VMM[0]}"
	kill "$asker" 2>/dev/null
	wait "$asker" || true
	printf '%s\n' "$answer"
	[[ $status = 20? ]]
}

# Whether it takes connections: its socket is there an instant earlier. For wait_for.
accepts_at() {
	(cd "$1" && socat -u /dev/null UNIX-CONNECT:vmm.sock) 2>/dev/null
}

# api_at DIRECTORY PATH: the body that it answers to a GET.
api_at() {
	request_at "$1" GET "$2"
}
