#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # bats sets output, stderr and lines
# Labels: who has which, who inherits them, who is chosen by them.

load helpers

setup() {
	vm_setup
}

teardown() {
	vm_teardown
}

# make NAME [create options...]: a stopped one.
make() {
	local name=$1
	shift
	vmctl create "$name" --kernel "$guest" --memory 16M --disk size=1M "$@" >/dev/null
}

# labels_of NAME: on one line.
labels_of() {
	vmctl label "$1" | xargs
}

# chosen SELECTOR...: the names that ls chooses, on one line.
chosen() {
	local selector options=()
	for selector; do
		options+=(-l "$selector")
	done
	vmctl ls -o json "${options[@]}" | jq -r '[.[].name] | join(" ")'
}

events_of_label() {
	vmctl events --verb label -o json | jq -s 'length'
}

@test "create takes labels from the spec file and from flags, and a flag wins" {
	printf '%s\n' "kernel: $guest" 'memory: 16M' 'labels:' '  app: web' '  tier: 1' '  "no": "yes, or no"' >web.yaml
	vmctl create -f web.yaml web --label tier=2 --label zone=a=b --label zone=c
	run -0 vmctl label web
	assert_output "$(printf '%s\n' app=web 'no=yes, or no' tier=2 zone=c)"
	assert_equal "$(vmctl inspect web | jq -c .labels)" '{"app":"web","no":"yes, or no","tier":"2","zone":"c"}'
	assert_equal "$(vmctl inspect web | jq -c '.spec | has("labels")')" false
	assert_equal "$(vmctl label web -o json | jq -c .)" "$(vmctl ls -o json | jq -c '.[0].labels')"
	make plain
	assert_equal "$(labels_of plain)" ''
	assert_equal "$(vmctl create none --kernel "$guest" -o json | jq -c .labels)" '{}'
	printf '%s\n' "kernel: $guest" 'labels:' '  app: [web]' >bad.yaml
	run -2 vmctl create -f bad.yaml bad
	assert_output --partial 'bad.yaml:3: labels.app: must be a single value, not a list'
	run -2 vmctl create bad --kernel "$guest" --label app
	assert_output --partial "--label: 'app' is not KEY=VALUE"
	run -3 vmctl inspect bad
}

@test "label sets and removes labels, and what changes nothing leaves no event" {
	make web --label old=1 --label app=web
	run -0 vmctl label web app=shop old- 'note=two words, and = signs'
	assert_output web
	assert_equal "$(vmctl label web)" "$(printf '%s\n' app=shop 'note=two words, and = signs')"
	assert_equal "$(events_of_label)" 1
	run -0 --separate-stderr vmctl label web old- app=shop -v
	assert_output web
	assert_equal "$(grep -c "web has no label 'old'" <<<"$stderr")" 1
	assert_equal "$(events_of_label)" 1
	assert_equal "$(vmctl label web empty= -q)" "$(field web .id)"
	assert_equal "$(vmctl label web empty- -o json | jq -c .labels)" '{"app":"shop","note":"two words, and = signs"}'
	assert_equal "$(events_of_label)" 3
	vmctl label web -- -x=1
	assert_equal "$(vmctl label web -o json | jq -r '."-x"')" 1
	vmctl label web -- -x-
	assert_equal "$(vmctl label web | wc -l)" 2
}

@test "label: a mistake is refused with what is wrong, and nothing is changed" {
	local before label many=()
	make web --label app=web
	before=$(snapshot_root)
	while read -r label; do
		run -2 vmctl label web new=1 "$label"
		assert_output --partial "$label"
	done <<<'nothing
a b=c
=x
!app
ä=x'
	run -2 vmctl label web new=1 app=a app=b
	assert_output --partial "the label 'app' is given twice"
	run -2 vmctl label web new=1 app- app=b
	assert_output --partial "the label 'app' is given twice"
	run -2 vmctl label web new=$'a\nb'
	assert_output --partial 'control character (byte 0x0a)'
	run -2 vmctl label web "new=$(printf 'x%.0s' {1..256})"
	assert_output --partial 'more than 255 bytes'
	run -2 vmctl label web new=$'\xff'
	assert_output --partial 'not UTF-8'
	run -2 vmctl label web -q
	assert_output --partial '-q prints ids'
	run -3 vmctl label wob new=1
	assert_output --partial "did you mean 'web'?"
	for label in {1..64}; do
		many+=("n$label=")
	done
	run -2 vmctl label web "${many[@]}"
	assert_output --partial 'web: 65 labels are too many, the limit is 64'
	assert_equal "$(labels_of web)" app=web
	assert_equal "$(snapshot_root)" "$before"
	# One that goes makes room for another.
	vmctl label web "${many[@]}" app-
	assert_equal "$(vmctl label web | wc -l)" 64
	run -2 vmctl fork web more --label one=more
	assert_output --partial 'more: 65 labels are too many'
	assert_clean
}

@test "label works in any state, and leaves the guest alone" {
	local generation tick
	make_running web
	generation=$(field web .generation)
	vmctl label web state=running
	vmctl pause web
	vmctl label web state=paused paused=
	vmctl resume web
	tick=$(last_tick web)
	wait_for ticked_past web "$tick"
	vmctl standby web
	vmctl label web state=standby
	assert_equal "$(field web '.state, .labels.state' | xargs)" 'standby standby'
	vmctl restore web
	assert_equal "$(field web '.state, .labels.state' | xargs)" 'running standby'
	kill -9 "$(field web .pid)"
	vmctl wait --state failed --timeout 60 web
	vmctl label web state=failed
	assert_equal "$(field web '.state, .labels.state, .labels.paused' | xargs)" 'failed failed'
	assert [ "$generation" -lt "$(field web .generation)" ]
	assert_clean
}

@test "forks and snapshots inherit the labels that their source has then, and --label wins" {
	make web --label app=web --label tier=1
	vmctl fork web -n 2 --name 'web-{}' --label tier=2 --label zone=a
	assert_equal "$(labels_of web-1)" 'app=web tier=2 zone=a'
	assert_equal "$(labels_of web-2)" 'app=web tier=2 zone=a'
	vmctl snapshot create web first --label kind=image --label tier=3
	vmctl label web app- tier=4
	assert_equal "$(labels_of web/first)" 'app=web kind=image tier=3'
	vmctl snapshot create web second
	assert_equal "$(vmctl snapshot inspect web/second | jq -c .labels)" '{"tier":"4"}'
	vmctl label web/second kind=late tier-
	vmctl snapshot fork web/first from-first --label kind=fork
	vmctl fork web/second from-second
	assert_equal "$(labels_of from-first)" 'app=web kind=fork tier=3'
	assert_equal "$(labels_of from-second)" 'kind=late'
	vmctl snapshot restore web first
	assert_equal "$(labels_of web)" 'tier=4'
	# With what has them they go, and nobody else's.
	vmctl rm web web-1
	vmctl snapshot rm web/first
	assert_equal "$(labels_of web-2)" 'app=web tier=2 zone=a'
	assert_equal "$(sqlite3 -readonly "$VMCTL_ROOT/vmctl.db" 'SELECT count(*) FROM label')" 8
	run -0 vmctl rm web-2 -o json
	assert_equal "$(jq -c .labels <<<"$output")" null
}

@test "a running source is not paused for forks that would have too many labels" {
	needs snapshot_keeps_running
	local pauses many=() i
	for i in {1..64}; do
		many+=(--label "n$i=")
	done
	make_running web "${many[@]}"
	pauses=$(pauses_of web)
	run -2 vmctl fork web one --from-running --label one=more
	assert_output --partial 'one: 65 labels are too many'
	run -2 vmctl snapshot create web one --label one=more
	assert_equal "$(pauses_of web)" "$pauses"
	vmctl fork web one --from-running --label n1=new
	assert_equal "$(vmctl label one | wc -l)" 64
	assert_clean
}

@test "an exported snapshot has its labels where it is imported, unless others are given" {
	make web --label app=web
	vmctl snapshot create web base --label kind=image
	vmctl snapshot export web/base -o base.tar
	vmctl snapshot import base.tar --name far/same
	assert_equal "$(labels_of far/same)" 'app=web kind=image'
	vmctl snapshot import base.tar --name far/other --label kind=other
	assert_equal "$(labels_of far/other)" 'kind=other'
}

@test "ls lists those whose labels meet every requirement" {
	make db --label app=shop --label tier=db
	make front-1 --label app=shop --label tier=front --label canary=
	make front-2 --label app=shop --label tier=front --label 'hosts=a,b'
	make plain
	assert_equal "$(chosen app)" 'db front-1 front-2'
	assert_equal "$(chosen '!app')" plain
	assert_equal "$(chosen app=shop,tier=front)" 'front-1 front-2'
	assert_equal "$(chosen app=shop tier=front canary)" front-1
	assert_equal "$(chosen 'tier!=front')" 'db plain'
	assert_equal "$(chosen 'app,tier!=front')" db
	assert_equal "$(chosen 'canary=')" front-1
	assert_equal "$(chosen 'hosts=a\,b')" front-2
	assert_equal "$(chosen nothing)" ''
	assert_equal "$(vmctl ls --label tier=db -q)" "$(field db .id)"
	assert_equal "$(vmctl ls -l app --state running -o json)" '[]'
	assert_equal "$(vmctl ls db plain -l app --names)" db
	run -0 vmctl ls -l canary --tree
	assert_line --partial 'front-1 '
	refute_line --partial 'front-2 '
	run -2 vmctl ls -l 'app='$'\xff',
	run -2 vmctl ls -l 'a b'
	assert_output --partial "--label: 'a b' does not choose by a label"
	assert_output --partial 'KEY!=VALUE'
	run -2 vmctl ls -l app,
	vmctl snapshot create db one
	vmctl snapshot create db two --label tier=old
	vmctl snapshot create plain one
	assert_equal "$(vmctl snapshot ls -l app=shop -o json | jq -r '[.[].name] | join(" ")')" 'db/one db/two'
	assert_equal "$(vmctl snapshot ls db -l 'tier!=old' -q)" "$(vmctl snapshot inspect db/one | jq -r .id)"
	run -2 vmctl snapshot ls -l '='
}

@test "of twenty that label one instance at once none loses a label" {
	local i pids=()
	make web --label n0=stays --label goes=
	for i in {1..20}; do
		vmctl label web "n$i=$i" "all=$i" goes- >/dev/null 3>&- &
		pids+=($!)
	done
	wait_all "${pids[@]}"
	assert_equal "$(count_status 0)" 20
	assert_equal "$(vmctl label web | grep -c '^n')" 21
	assert_equal "$(vmctl label web | grep -c '^all=')" 1
	run -1 grep -q goes <(vmctl label web)
	assert_equal "$(events_of_label)" 20
	assert_clean
}

@test "label waits for whoever works on the instance, and says who that is" {
	local lock
	make web
	lock=$VMCTL_ROOT/locks/$(field web .id)
	exec 9<"$lock"
	flock -s 9
	run -5 vmctl label web a=b --no-wait
	assert_output --partial "instance 'web' is locked by pid"
	# Only to look takes no lock.
	assert_equal "$(labels_of web)" ''
	flock -u 9
	exec 9<&-
	vmctl label web a=b --no-wait
	assert_equal "$(labels_of web)" a=b
}
