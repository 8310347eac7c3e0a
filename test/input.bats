#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # bats sets output and stderr
# shellcheck disable=SC2030,SC2031,SC2317 # each test is a subshell; functions are called by name
# Mistaken requests: a message that says what and where, the right exit status, and nothing changed.

load helpers

setup() { vm_setup; }

teardown() {
	[ -z "${mounted:-}" ] || cd "$BATS_TEST_TMPDIR" || return 1
	vm_teardown
	local status=$?
	[ -z "${mounted:-}" ] || umount "$mounted" || status=1
	return $status
}

wrong() {
	echo "$*" >&2
	return 1
}

snapshot() {
	[ ! -e "$VMCTL_ROOT" ] || snapshot_root
}

# refused CODE TEXT VERB...: fails with CODE, says TEXT on stderr, nothing on stdout, changes nothing.
refused() {
	local code=$1 text=$2 before after
	shift 2
	before=$(snapshot)
	run --separate-stderr timeout 60 vmctl "$@"
	[ "$status" = "$code" ] || wrong "vmctl $*: exit status $status, not $code: $stderr" || return
	[[ $stderr == *"$text"* ]] || wrong "vmctl $*: not '$text' but: $stderr" || return
	[ -z "$output" ] || wrong "vmctl $*: on stdout: $output" || return
	[[ $stderr != *$'\e'* ]] || wrong "vmctl $*: escape codes: ${stderr@Q}" || return
	after=$(snapshot)
	[ "$before" = "$after" ] ||
		wrong "vmctl $*: left something: $(diff <(echo "$before") <(echo "$after"))"
}

make_web() {
	vmctl create web --kernel "$guest" --memory 16M --disk size=1M >/dev/null
}

settings() {
	[ -d "$VMCTL_ROOT" ] || mkdir -m 0700 "$VMCTL_ROOT"
	cat >"$VMCTL_ROOT/vmctl.yaml"
}

@test "no or too many operands, mistaken and unknown options: exit 2 with a way to help" {
	make_web
	for verb in start stop pause resume standby restore rm wait inspect logs console fork; do
		refused 2 "missing argument: expected" "$verb"
		[[ $stderr == *"try 'vmctl-$verb --help'"* ]]
	done
	for verb in create start stop pause resume standby restore fork ls inspect rm wait logs \
		console doctor; do
		refused 2 "unknown option '--nonsense'" "$verb" --nonsense web
		refused 2 "unknown option '-Z'" "$verb" -Z web
		refused 2 "'--output' needs a value" "$verb" web --output
		refused 2 "'table', 'json' or 'yaml', not 'xml'" "$verb" -o xml web
		refused 2 "option '--verbose' takes no value" "$verb" --verbose=1 web
	done
	refused 2 "did you mean '--target-state'?" fork web --traget-state=running
	for verb in logs console create; do
		refused 2 "unexpected argument 'b'" "$verb" a b
	done
	refused 2 "unexpected argument 'c'" fork a b c
	refused 2 "unexpected argument 'web'" doctor web
	refused 2 "there is no verb 'strat'; did you mean 'start'?" strat web
	refused 2 "there is no verb '../bin/sh'" ../bin/sh
}

@test "values that make no sense, verb by verb: exit 2" {
	make_web
	for text in '' soon 1x -1 1.5.5 99999999999999999999; do
		refused 2 "--wait" start --wait="$text" web
		refused 2 "--time" stop --time="$text" web
		refused 2 "--timeout" wait --state stopped --timeout="$text" web
	done
	refused 2 "'--count' needs a value" fork web -n
	for text in 0 -1 x 1.5 1001 99999999999999999999 ''; do
		refused 2 "--count" fork web -n "$text" --name 'x-{}'
	done
	for text in paused failed creating foo ''; do
		refused 2 "--target-state" fork web --target-state="$text"
	done
	for text in creating foo '' stopped,foo; do
		refused 2 "--state" ls --state="$text"
		refused 2 "--state" wait web --state="$text"
	done
	refused 2 "one of --state and --gone" wait web
	refused 2 "one of --state and --gone" wait --gone --state=stopped web
	refused 2 "--tail" logs web -n -1
	refused 2 "--tail" logs web -n some
	refused 2 "--escape" console web --escape=ab
	refused 2 "--tree" ls --tree -q
	refused 2 "--tree" ls --tree -o json
}

@test "names: as DNS labels, at most 63 characters; refused by create and fork alike" {
	local long
	long=$(printf '%064d' 0)
	make_web
	for name in A a_b -a a- 'a b' ../x a/b 'ä' '.' "$long" $'a\nb' $'\e[31m'; do
		refused 2 "name '" create --kernel "$guest" -- "$name"
		refused 2 "name '" fork --name="$name" web
	done
	refused 2 "the name is empty" create --kernel "$guest" ''
	refused 2 "the name is empty" fork web ''
	refused 2 "has 64 characters, the limit is 63" create --kernel "$guest" "$long"
	refused 2 "name 'Web-1'" fork web -n 2 --name 'Web-{}'
	refused 2 "more than one {}" fork web -n 2 --name '{}-{}'
	refused 2 "cannot all be named 'x'" fork web -n 2 --name x
	refused 2 "both NAME ('x') and --name ('y')" fork web x --name y
	refused 2 "has 64 characters" fork web -n 10 --name "${long:0:62}{}"
	run -0 vmctl create "${long:0:63}" --kernel "$guest"
}

@test "names that exist already: exit 4, also one of many" {
	make_web
	vmctl fork web x-3 >/dev/null
	refused 4 "an instance 'web' exists already" create web --kernel "$guest"
	refused 4 "an instance 'web' exists already" fork web web
	refused 4 "an instance 'x-3' exists already" fork web -n 5 --name 'x-{}'
	[[ $stderr == *"choose another name"* ]]
}

@test "unknown instances: exit 3 with a suggestion, for every verb" {
	make_web
	for verb in start stop pause resume standby restore fork rm inspect logs console \
		'wait --state=stopped' 'stop --discard' 'rm --force' 'ls'; do
		read -r -a words <<<"$verb"
		[ "$verb" = ls ] || refused 3 "no instance 'wbe'" "${words[@]}" wbe
		run --separate-stderr vmctl "${words[@]}" wbe
		[ "$status" = 3 ] || wrong "$verb: $status"
		[[ $stderr == *"did you mean 'web'?"* ]] || wrong "$verb: $stderr"
	done
	for selector in '' ../../etc / '%' "' OR 1=1 --" '*' web/ WEB; do
		refused 3 "no instance '" inspect "$selector"
		refused 3 "no instance '" rm --force "$selector"
	done
	refused 3 "vmctl ls" start nothing-like-it
}

@test "an id prefix: unique is found, ambiguous is exit 14 with the candidates" {
	local id ids letter
	make_web
	id=$(vmctl inspect web | jq -r .id)
	run -0 vmctl inspect "$id"
	run -0 vmctl inspect "${id:0:12}"
	assert_equal "$(jq -r .name <<<"$output")" web
	# With 37 instances and 36 letters two ids begin alike.
	run -0 vmctl fork web -n 36 --name 'x-{}'
	ids=$(vmctl ls -q)
	letter=$(cut -c 1 <<<"$ids" | sort | uniq -d | head -n 1)
	# The name has precedence over the prefix of an id.
	for verb in inspect start 'rm --force' fork 'stop' 'wait --state=stopped' logs; do
		read -r -a words <<<"$verb"
		refused 14 "'$letter' is the beginning of several ids" "${words[@]}" "$letter"
	done
	id=$(grep "^$letter" <<<"$ids" | sort | head -n 1)
	[[ $stderr == *"$id ("*", "* ]] || wrong "no candidates: $stderr"
	run -14 --separate-stderr vmctl inspect -o json "$letter"
	assert_equal "$(jq -r .error.code <<<"$stderr")" ambiguous
	vmctl create "$letter" --kernel "$guest"
	assert_equal "$(vmctl inspect "$letter" | jq -r .name)" "$letter"
}

@test "sizes and counts that are impossible: exit 2 with the field" {
	make_web
	create() { refused 2 "$1" create new --kernel "$guest" "${@:2}"; }
	for size in '' -1 1.5G 1X x 0x10 '1 G' 99999999999999999999 9999999T; do
		create "--memory: '$size' is" --memory "$size"
		create "size" --disk "size=$size"
	done
	create "--memory: must be more than 0" --memory 0
	create "a unit is probably missing" --memory 512
	create "not a whole number of MiB" --memory 1025K
	create "at most 16T" --memory 17T
	create "size: must not be 0" --disk size=0
	create "not a multiple of 512" --disk size=1000
	create "at most 64T" --disk size=65T
	for vcpus in 0 -1 33 two 1.5 ''; do
		create "--vcpus" --vcpus "$vcpus"
	done
	create "boot_args: has 2048 characters" --boot-args "$(printf '%02048d' 0)"
	create "not printable ASCII" --boot-args $'a\nb'
}

@test "disks: too many, twice the same, unknown keys: exit 2 naming the disk" {
	local many=()
	make_web
	create() { refused 2 "$1" create new --kernel "$guest" "${@:2}"; }
	for i in $(seq 17); do
		many+=(--disk "id=d$i,size=1M")
	done
	create "more than 16 disks" "${many[@]}"
	create "'d' is the id of disks[0] already" --disk id=d,size=1M --disk id=d,size=1M
	create "root disk already" --disk id=a,size=1M,root --disk id=b,size=1M,root
	create "did you mean 'size'?" --disk siez=1M
	create "has path= and size=" --disk path=x,size=1M
	create "needs path=, or size=" --disk id=x
	create "id: 'A'" --disk id=A,size=1M
	create "stay empty" --disk size=1M,readonly
	create "size is given twice" --disk size=1M,size=2M
	create "'' is none of" --disk ,
	create "is empty" --disk path=
}

@test "files that are missing or of a wrong kind: exit 2 with the field and the path" {
	make_web
	mkfifo fifo
	: >empty
	head -c 1000 /dev/zero >odd
	ln -s nowhere dangling
	create() { refused 2 "$1" create new "${@:2}"; }
	# As root, permission bits refuse nothing: what cannot be read is missing or of a wrong kind.
	for file in nowhere dangling empty fifo /dev/null "$BATS_TEST_TMPDIR" guest.elf/x; do
		create "kernel: " --kernel "$file"
		[[ $stderr == *"$file"* ]] || wrong "$stderr"
		create "initrd: " --kernel "$guest" --initrd "$file"
		[[ $stderr == *"$file"* ]] || wrong "$stderr"
		create "disk root: " --kernel "$guest" --disk "$file"
		[[ $stderr == *"$file"* ]] || wrong "$stderr"
	done
	create "odd has 1000 bytes" --kernel "$guest" --disk size=1M --disk id=data,path=odd
	# shellcheck disable=SC2088 # just so
	create "kernel: '~/vmlinux': ~ is not expanded here" --kernel '~/vmlinux'
	create "none of a spec file (-f), --template and --kernel is given" --memory 16M
	refused 8 "'qemu-of-old'" create new --kernel "$guest" --hypervisor qemu-of-old
	[[ $stderr == *"$VMCTL_HYPERVISOR"* ]]
}

@test "a mistake leaves no data root where there was none" {
	refused 2 "--memory" create new --kernel "$guest" --memory x
	refused 2 "kernel" create new --memory 16M
	refused 2 "not a multiple" create new --kernel "$guest" --disk size=1000
	refused 2 "name 'A'" create A --kernel "$guest"
	refused 3 "no instance 'x'" inspect x
	run -0 vmctl ls -q
	run vmctl doctor
	assert [ ! -e "$VMCTL_ROOT" ]
}

@test "a data root that cannot be one: exit 1 with its path" {
	: >file
	refused 1 "$PWD/file" ls --root file
	refused 1 "$PWD/file" create new --kernel "$guest" --root file/below
	refused 1 "/proc/" create new --kernel "$guest" --root /proc/vmctl
	refused 2 root ls --root ''
}

@test "-o json: errors are JSON on stderr, for usage and for everything else" {
	make_web
	local code
	while read -r code words; do
		read -r -a words <<<"$words"
		run --separate-stderr vmctl "${words[@]}"
		[ -z "$output" ] || wrong "${words[*]}: on stdout: $output"
		[ "$(jq -r .error.code <<<"$stderr")" = "$code" ] || wrong "${words[*]}: $stderr"
		jq -e '.error | has("hint") and (.message | length > 0)' <<<"$stderr" ||
			wrong "${words[*]}: $stderr"
	done <<-END
		usage start -o json
		usage fork -o json web -n 0
		usage create -o json --kernel nowhere
		not_found start -o json wbe
		already_exists create -o json web --kernel $guest
		invalid_state pause -o json web
		unsupported create -o json x --kernel $guest --hypervisor none
	END
}

@test "output that is no terminal has no escape codes and no progress" {
	make_running web
	for verb in 'ls' 'ls --tree' 'inspect web' 'doctor' 'standby web' 'restore -v web' \
		'fork web --from-running' 'stop web' 'rm web' 'ls --help'; do
		read -r -a words <<<"$verb"
		TERM=xterm-256color run -0 vmctl "${words[@]}"
		[[ $output != *[$'\e\r']* ]] || wrong "$verb: ${output@Q}"
	done
}

@test "max_running: start, fork, restore and create --start are refused, then allowed" {
	settings <<<'limits: {max_running: 2}'
	make_standby base
	make_running a
	vmctl fork base b >/dev/null
	vmctl create new --kernel "$guest" --memory 16M >/dev/null
	refused 7 max_running start new
	refused 7 max_running restore base
	refused 7 max_running fork base c
	refused 7 max_running fork a c --from-running
	refused 7 max_running fork base -n 3 --name 'c-{}'
	run -7 vmctl create late --kernel "$guest" --memory 16M --start
	assert_equal "$(state_of late)" stopped
	# A paused one still counts; at rest there may be as many as one likes.
	vmctl pause b >/dev/null
	refused 7 max_running start new
	run -0 vmctl fork base d --target-state=standby
	vmctl stop --force b >/dev/null
	refused 7 max_running fork base -n 2 --name 'c-{}'
	run -0 vmctl restore base
	assert_equal "$(state_of base)" running
	assert_clean
}

@test "memory_overcommit: what would not fit is refused, then allowed" {
	local total
	total=$(awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo)
	settings <<<'limits: {memory_overcommit: 1}'
	vmctl create huge --kernel "$guest" --memory 1T >/dev/null
	refused 7 memory_overcommit start huge
	[[ $stderr == *1.0T* ]] || wrong "$stderr"
	make_running small
	vmctl create rest --kernel "$guest" --memory "$((total - 8))M" >/dev/null
	refused 7 memory_overcommit start rest
	vmctl stop --force small >/dev/null
	run -0 vmctl start rest
	refused 7 memory_overcommit start small
}

@test "min_free_disk: create, standby and fork are refused and the source ticks on" {
	local before
	make_running web
	settings <<<'limits: {min_free_disk: 60T}'
	refused 7 "$VMCTL_ROOT has " create new --kernel "$guest"
	[[ $stderr == *min_free_disk* ]]
	refused 7 "must stay free" standby web
	refused 7 "must stay free" fork web copy --from-running
	before=$(last_tick web)
	counted_on() { (($(last_tick web) > before)); }
	wait_for counted_on
	settings <<<'limits: {min_free_disk: 0}'
	run -0 vmctl fork web copy --from-running
}

@test "settings that are mistaken: exit 2 with file and line, before anything is done" {
	make_web
	while IFS='|' read -r text message; do
		settings <<<"$text"
		refused 2 "vmctl.yaml:1: $message" start web
		refused 2 "vmctl.yaml:1: $message" ls
	done <<-'END'
		limits: {max_runing: 2}|limits.max_runing: unknown key (did you mean 'max_running'?)
		limits: {max_running: many}|limits.max_running: 'many' is not a whole number
		limits: {memory_overcommit: nan}|limits.memory_overcommit: 'nan'
		limits: {min_free_disk: 1X}|limits.min_free_disk: '1X' is not a size
		limit: {}|limit: unknown key (did you mean 'limits'?)
		wait: soon|wait: 'soon' is not a duration
		firecracker: firecracker|firecracker: 'firecracker' is not an absolute path
	END
	rm "$VMCTL_ROOT/vmctl.yaml"
	VMCTL_CONFIG=nowhere refused 3 nowhere start web
}

# A file system of 80 MiB as the data root.
small_root() {
	truncate -s 80M small.img
	mkfs.ext4 -q -F -m 0 small.img
	mkdir small
	mount -o loop small.img small || skip "no loop device can be mounted here"
	mounted=$PWD/small
	export VMCTL_ROOT=$mounted/root
	settings <<<'limits: {min_free_disk: 0}'
}

# leave_free KIB: fills the small file system but for so much.
leave_free() {
	local free
	rm -f small/ballast
	free=$(df --output=avail -k small | tail -n 1)
	fallocate -l "$((free - $1))K" small/ballast
}

@test "a full disk: create, standby and fork fail, leave nothing, and the source ticks on" {
	local before path="$VMCTL_ROOT"
	small_root
	path=$VMCTL_ROOT
	head -c 20M /dev/urandom >disk.img
	make_running web --disk id=data,path=disk.img
	head -c 8M /dev/urandom >big.img
	ticks_on() {
		before=$(last_tick web)
		counted_on() { (($(last_tick web) > before)); }
		wait_for counted_on
	}
	# Less than is known to be needed: refused before anything is done.
	leave_free 4000
	refused 7 "$path has" create new --kernel "$guest" --disk big.img
	refused 7 "$path has" standby web
	refused 7 "$path has" fork web copy --from-running
	ticks_on
	# Enough for the memory, which is what is known beforehand, but not for all.
	leave_free 17000
	refused 7 "disk-data.img: copying: No space left" fork web copy --from-running
	ticks_on
	# Where a save writes all of it.
	if can recycles_memory; then
		leave_free 16400
		run vmctl standby web
		[ "$status" = 7 ] || wrong "standby: $status: $output"
		assert_equal "$(state_of web)" running
		ticks_on
	fi
	assert_clean
	rm small/ballast
	run -0 vmctl standby web
	run -0 vmctl restore web
	ticks_on
}

@test "no hypervisor: exit 9 for what needs one, and nothing changes" {
	local variable
	variable=$(binary_variable)
	make_standby base
	vmctl create web --kernel "$guest" --memory 16M --disk size=1M >/dev/null
	cp /bin/true not-one
	printf 'x' >not-executable
	for file in nowhere/binary "$PWD/not-one" "$PWD/not-executable" "$PWD"; do
		export "$variable=$file"
		refused 9 "$file" start web
		refused 9 "$file" restore base
		refused 9 "$file" fork base copy
		# A warning where another one may do.
		run vmctl doctor
		assert_line --regexp "^(WARN|ERROR) +$VMCTL_HYPERVISOR .*$file"
		run -0 vmctl ls
	done
	export "$variable=$PWD/nowhere"
	run -0 vmctl create other --kernel "$guest"
	run -0 vmctl fork web copy
	run -0 vmctl rm --force base
}

@test "no hypervisor: the message is one line and a hint says what to do" {
	local variable
	variable=$(binary_variable)
	make_web
	cp /bin/true not-one
	for file in nowhere/binary "$PWD/not-one" "$PWD"; do
		export "$variable=$file"
		refused 9 "$file" start web
		[ "$(grep -c '' <<<"$stderr")" = 2 ] || wrong "$file: not two lines: $stderr"
		[[ $stderr == *$'\nhint: '* ]] || wrong "$file: no hint: $stderr"
	done
}
