# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# A real terminal, by tmux: `load terminal` after helpers. One for each test; what is in it ends with it.

terminal() {
	tmux -u -S "$BATS_TEST_TMPDIR/tmux" -f /dev/null "$@" 3>&-
}

# in_terminal COLUMNS COMMAND: runs it (sh) in a terminal of that width and 24 lines, which stays when it ends, and
# then says how. ^C is for the command alone.
in_terminal() {
	LC_ALL=C.UTF-8 terminal new-session -d -x "$1" -y 24 "trap : INT; $2; echo \"status \$?\"; exec sleep 600"
	# The clients of the server that is there now.
	pane_tty=$(terminal display-message -p '#{pane_tty}')
}

# Returns when the server has gone: the next one could else not have its socket.
end_terminal() {
	local server
	[ -S "$BATS_TEST_TMPDIR/tmux" ] || return 0
	server=$(terminal display-message -p '#{pid}' 2>/dev/null) || return 0
	terminal kill-server || true
	wait_for has_gone "$server"
}

has_gone() {
	[ ! -e "/proc/$1" ]
}

# All of it, without what is blank at the end.
screen() {
	terminal capture-pane -p | sed -e :a -e '/^\n*$/{$d;N;ba' -e '}'
}

# on_screen PATTERN: for wait_for.
on_screen() {
	screen | grep -q -E -- "$1"
}

# A terminal that is stopped (^S) takes nothing any more; a carriage return does no harm on one that is not.
is_stopped() {
	! printf '\r' | dd of="$pane_tty" oflag=nonblock conv=notrunc status=none 2>/dev/null
}
