#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # bats sets output and stderr
# shellcheck disable=SC2030,SC2031 # each test is a subshell
# create from a YAML spec. What is refused is refused with file, line and field, and leaves nothing.

load helpers

setup() {
	vm_setup
	cp "$guest" vmlinux
}

teardown() { vm_teardown; }

wrong() {
	echo "$*" >&2
	return 1
}

spec_of() {
	vmctl inspect "$1" | jq -c ".spec$2"
}

# refused CODE TEXT: create -f spec.yaml with the spec on stdin; there is no data root afterwards.
refused() {
	cat >spec.yaml
	run --separate-stderr timeout 60 vmctl create -f spec.yaml
	[ "$status" = "$1" ] || wrong "$(cat spec.yaml): exit status $status, not $1: $stderr" || return
	[[ $stderr == *"$2"* ]] || wrong "$(cat spec.yaml): not '$2' but: $stderr" || return
	[ -z "$output" ] || wrong "on stdout: $output" || return
	[ ! -e "$VMCTL_ROOT" ] || wrong "$(cat spec.yaml): left a data root"
}

@test "a spec with everything makes an instance that boots from it" {
	head -c 2M /dev/zero >tools.img
	local vsock=false
	! has_vsock || vsock=true
	cat >web.yaml <<-END
		name: web
		hypervisor: $VMCTL_HYPERVISOR
		kernel: vmlinux
		boot_args: console=ttyS0 reboot=k panic=1 pci=off
		vcpus: 2
		memory: 16M
		vsock: $vsock
		disks:
		  - id: data
		    size: 1M
		  - id: tools
		    path: tools.img
		    readonly: yes
	END
	run -0 vmctl create -f web.yaml --start
	assert_output web
	wait_for has_ticked web
	run ask web i '^id mem='
	assert_output --partial 'id mem=16M disk=2048 '
	assert_output --partial 'console=ttyS0 reboot=k panic=1 pci=off'
	run -0 vmctl inspect web
	assert_equal "$(jq -c '[.vcpus, .memory_bytes, (.guest_cid > 2)]' <<<"$output")" \
		"[2,16777216,$vsock]"
	assert_equal "$(jq -c '[.disks[] | [.id, .size_bytes, .read_only, .root]]' <<<"$output")" \
		'[["data",1048576,false,true],["tools",2097152,true,false]]'
	assert_clean
}

@test "the examples are good specs" {
	: >"$BATS_TEST_TMPDIR/empty"
	mkdir specs
	cp "$top"/examples/*.yaml specs/
	cp vmlinux specs/vmlinux
	for file in initrd.img rootfs.ext4 tools.squashfs; do
		head -c 1M /dev/zero >"specs/$file"
	done
	for file in specs/*.yaml; do
		[ "${file##*/}" != vmctl.yaml ] || continue
		run -0 vmctl create -f "$file"
		[ "$(state_of "$output")" = stopped ] || wrong "$file"
	done
	run -0 vmctl ls -q
	assert [ "${#lines[@]}" -ge 3 ]
	cp specs/vmctl.yaml "$VMCTL_ROOT/"
	run -0 vmctl ls
	# Where they say how to use them, they say it right.
	run -0 grep -h -o 'vmctl create .*' specs/*.yaml
	for line in "${lines[@]}"; do
		read -r -a words <<<"$line"
		vmctl rm web
		(cd specs && vmctl "${words[@]:1}") || wrong "$line"
	done
}

@test "what the documentation says about spec files can be typed" {
	local word words
	words=$(grep -h -o 'vmctl create --[a-z-]*' "$top"/docs/*.md "$top"/examples/* |
		grep -o -e '--[a-z-]*' | sort -u)
	for word in $words; do
		vmctl create --help | grep -q -e "$word\>" || wrong "create has no $word"
	done
}

@test "unknown keys are refused with line, field and a suggestion" {
	refused 2 "spec.yaml:2: memry: unknown key (did you mean 'memory'?)" <<-'END'
		kernel: vmlinux
		memry: 16M
	END
	[[ $stderr == *"hint: the keys here are name, hypervisor, kernel"* ]] || wrong "$stderr"
	refused 2 "spec.yaml:4: disks[0].read_only: unknown key (did you mean 'readonly'?)" <<-'END'
		kernel: vmlinux
		disks:
		  - size: 1M
		    read_only: true
	END
	refused 2 "spec.yaml:1: wibble: unknown key" <<<'wibble: 1'
	[[ $stderr != *"did you mean"* ]] || wrong "$stderr"
}

@test "wrong types and values are refused with line and field" {
	while IFS='|' read -r text message; do
		refused 2 "spec.yaml:2: $message" < <(printf 'kernel: vmlinux\n%b\n' "$text")
	done <<-'END'
		vcpus: two|vcpus: 'two' is not a whole number
		vcpus: 0|vcpus: 0 is out of range (1 to 32)
		vcpus: [1]|vcpus: must be a single value, not a list
		memory: {size: 16M}|memory: must be a single value, not a map
		memory: 16|memory: 16 bytes are less than the least, 1 MiB
		memory: 1.5G|memory: '1.5G' is not a size
		memory: 17T|memory: 17.0T is too large
		memory:|memory: has no value
		vsock: maybe|vsock: 'maybe' is neither true nor false
		name: Web|name: name 'Web': only a-z
		name: [a]|name: must be a single value, not a list
		boot_args: "a\\tb"|boot_args: holds a control character
		initrd: ""|initrd: is empty
		disks: 1M|disks: must be a list
		disks: {size: 1M}|disks: must be a list
		disks: [1M]|disks[0]: must be 'key: value' lines
		disks: [{}]|disks[0]: needs a path, or the size of a blank disk
		disks: [{size: 1M, path: x}]|disks[0]: has path and size
		disks: [{size: 1000}]|disks[0].size: 1000 bytes are not a multiple of 512
		disks: [{size: 0}]|disks[0].size: must not be 0
		disks: [{size: 1M, readonly: true}]|disks[0].readonly: a blank disk
		disks: [{size: 1M, id: a b}]|disks[0].id: 'a b': only
		disks: [{size: 1M, id: a}, {size: 1M, id: a}]|disks[1].id: 'a' is the id of disks[0]
	END
}

@test "what has no use in a spec is refused: duplicates, anchors, tags, documents, depth" {
	refused 2 "spec.yaml:3: kernel: given twice (first on line 1)" <<<$'kernel: a\nvcpus: 1\nkernel: b'
	refused 2 "spec.yaml:2: a second document begins here" <<<$'kernel: a\n--- {kernel: b}'
	refused 2 "spec.yaml:1: kernel: anchors (&)" <<<'kernel: &a vmlinux'
	refused 2 "spec.yaml:2: initrd: anchors (&) and aliases (*)" <<<$'kernel: a\ninitrd: *a'
	refused 2 "spec.yaml:1: kernel: tags (!)" <<<'kernel: !!str vmlinux'
	refused 2 "nested too deeply" <<<"disks: $(printf '%020d' 0 | tr 0 '[')"
	refused 2 "spec.yaml:2:1: YAML syntax: found a tab" <<<$'kernel: a\n\tvcpus: 1'
	[[ $stderr == *"line 2 is indented with a tab"* ]] || wrong "$stderr"
	refused 2 "spec.yaml: is empty" </dev/null
	refused 2 "spec.yaml: is empty" <<<'# nothing'
	refused 2 "must be 'key: value' lines, not a list" <<<'- kernel: vmlinux'
	refused 2 "must be 'key: value' lines, not plain text" <<<'kernel:vmlinux'
	refused 2 "spec.yaml:2: is not UTF-8 text" <<<$'kernel: a\nname: \xff'
	refused 2 "is larger than 1 MiB" < <(head -c 1100000 /dev/zero | tr '\0' '#')
	refused 2 "kernel: missing" <<<'vcpus: 1'
}

@test "the spec file itself: missing, a directory, not to be read" {
	run -3 --separate-stderr vmctl create -f nowhere.yaml
	[[ $stderr == *"nowhere.yaml: no such file"* ]]
	run -2 --separate-stderr vmctl create -f .
	[[ $stderr == *"is a directory"* ]]
	mkdir d
	printf 'kernel: nowhere\n' >d/spec.yaml
	run -2 --separate-stderr vmctl create -f d/spec.yaml
	[[ $stderr == *"d/nowhere"* ]] || wrong "$stderr"
	run -2 --separate-stderr vmctl create -o json -f d/spec.yaml
	assert_equal "$(jq -r .error.code <<<"$stderr")" usage
}

@test "a flag wins over the file, --disk adds to it" {
	cat >spec.yaml <<-'END'
		name: from-file
		kernel: nowhere
		vcpus: 4
		memory: 64M
		boot_args: from the file
		disks:
		  - {id: one, size: 1M}
	END
	run -0 vmctl create -f spec.yaml from-flag --kernel vmlinux --vcpus 1 --memory 16M \
		--boot-args 'from the flag' --no-vsock --disk id=two,size=2M
	assert_output from-flag
	assert_equal "$(spec_of from-flag '| [.vcpus, .memory_bytes, .boot_args, .vsock]')" \
		'[1,16777216,"from the flag",false]'
	assert_equal "$(spec_of from-flag '| [.disks[] | [.id, .size_bytes, .root]]')" \
		'[["one",1048576,true],["two",2097152,false]]'
	assert_equal "$(vmctl inspect from-flag | jq -c '[.guest_cid, .vsock_socket]')" '[null,null]'
	run -2 vmctl create -f spec.yaml other --kernel vmlinux --disk id=one,size=2M
	assert_output --partial "'one' is the id of disks[0] already"
	sed -i 's/nowhere/vmlinux/' spec.yaml
	run -0 vmctl create -f spec.yaml
	assert_output from-file
	assert_equal "$(spec_of from-file .boot_args)" '"from the file"'
}

@test "the spec from standard input: paths start here, mistakes are of 'stdin'" {
	mkdir d
	mv vmlinux d/
	run -0 vmctl create -f - web <<<'kernel: d/vmlinux'
	assert_output web
	run -2 vmctl create -f - <<<$'kernel: d/vmlinux\nvcpu: 1'
	assert_output --partial "stdin:2: vcpu: unknown key (did you mean 'vcpus'?)"
	run -2 vmctl create -f - </dev/null
	assert_output --partial "stdin: is empty"
	# Of a file they start at its directory, wherever one is.
	printf 'kernel: vmlinux\n' >d/spec.yaml
	run -0 vmctl create -f d/spec.yaml other
	cd d
	run -0 vmctl create -f ../d/spec.yaml third
}

@test "values are taken as they are written: no, 010, 1e3 and null-like words are text" {
	cat >spec.yaml <<-'END'
		name: no
		kernel: vmlinux
		boot_args: '010 1e3 "x" # not a comment'
	END
	run -0 vmctl create -f spec.yaml
	assert_output no
	assert_equal "$(spec_of no .boot_args)" '"010 1e3 \"x\" # not a comment"'
}
