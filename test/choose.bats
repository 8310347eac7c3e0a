#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # bats sets output, stderr, lines and status
# Which hypervisor, and which accelerator, a new instance gets, and that one can see why.

load helpers

setup() {
	vm_setup
	unset VMCTL_HYPERVISOR
	# What a bzImage has where a loader looks for it (Documentation/arch/x86/boot.rst).
	head -c 514 /dev/zero >vmlinuz
	printf HdrS >>vmlinuz
	head -c 1000 /dev/zero >>vmlinuz
}

teardown() {
	vm_teardown
}

# What `auto` comes to for any guest, by doctor.
chosen() {
	vmctl doctor | sed -n 's/^OK *hypervisor *auto chooses \([a-z]*\).*/\1/p'
}

make() {
	vmctl create "$@" --memory 16M >/dev/null
	field "$1" .hypervisor
}

@test "auto is the default, and comes to what doctor says" {
	local auto
	auto=$(chosen)
	[ -n "$auto" ]
	assert_equal "$(make a --kernel "$guest")" "$auto"
	assert_equal "$(make b --kernel "$guest" --hypervisor auto)" "$auto"
	# What is stored is the one that was chosen.
	assert_equal "$(field a .spec.hypervisor)" "$auto"
}

@test "a flag wins over the environment, that over the settings" {
	vmctl_yaml 'hypervisor: qemu'
	assert_equal "$(make a --kernel "$guest")" qemu
	assert_equal "$(VMCTL_HYPERVISOR=firecracker make b --kernel "$guest")" firecracker
	assert_equal "$(VMCTL_HYPERVISOR=firecracker make c --kernel "$guest" --hypervisor qemu)" qemu
	printf 'kernel: %s\nhypervisor: firecracker\n' "$guest" >spec.yaml
	vmctl create -f spec.yaml d >/dev/null
	assert_equal "$(field d .hypervisor)" firecracker
	vmctl_yaml 'hypervisor: xen'
	run -8 --separate-stderr vmctl create e --kernel "$guest"
	[[ $stderr = *"no driver for hypervisor 'xen'; there are: firecracker qemu"* ]] || fail "$stderr"
}

@test "auto leaves out what cannot run the guest: by its kernel, disks, network, machine" {
	assert_equal "$(make a --kernel vmlinuz)" qemu
	assert_equal "$(make b --kernel "$guest" --disk size=1M,format=qcow2)" qemu
	assert_equal "$(make c --kernel "$guest" --network user)" qemu
	assert_equal "$(make d --kernel "$guest" --machine q35)" qemu
	assert_equal "$(make e --kernel "$guest" --accelerator tcg)" qemu
	run -8 --separate-stderr vmctl create no-vm --kernel "$guest" --hypervisor firecracker --network user
	[[ $stderr = *network* ]] || fail "$stderr"
	run -8 vmctl create no-vm --kernel "$guest" --hypervisor firecracker --disk size=1M,format=qcow2
	run -8 vmctl create no-vm --kernel "$guest" --hypervisor qemu --machine pc
	run -8 vmctl create no-vm --kernel "$guest" --hypervisor qemu --accelerator hvf
	run -3 vmctl inspect no-vm
}

@test "when nothing suits, the reason of each is told, and nothing is made" {
	export VMCTL_QEMU=/nonexistent/qemu
	run -9 --separate-stderr vmctl create a --kernel vmlinuz
	[[ $stderr = *'no hypervisor here runs this guest'* ]] || fail "$stderr"
	[[ $stderr = *'firecracker: '*'qemu: '*'/nonexistent/qemu'* ]] || fail "$stderr"
	run -3 vmctl inspect a
	# A hypervisor that is not there is a warning while there is another.
	run vmctl doctor
	assert_line --regexp '^WARN +qemu +.*/nonexistent/qemu'
}

@test "inspect tells the accelerator and why; a saved guest stays with it" {
	local reason
	vmctl create a --hypervisor qemu --kernel "$guest" --memory 16M --disk size=1M --start
	wait_for has_ticked a
	[[ $(field a .accelerator) =~ ^(kvm|tcg)$ ]]
	reason=$(field a .accelerator_reason)
	# The same words as doctor has for KVM.
	vmctl doctor | grep -q -F "$reason"
	vmctl create b --hypervisor qemu --accelerator tcg --kernel "$guest" --memory 16M --start
	assert_equal "$(field b .accelerator)" tcg
	assert_equal "$(field b .accelerator_reason)" 'the spec asks for tcg'
	vmctl standby b
	vmctl fork b c
	assert_equal "$(field c .accelerator)" tcg
	assert_equal "$(field c .hypervisor_version)" "$(field b .hypervisor_version)"
	assert_equal "$(jq -r .cpu "$(dir_of b)/manifest.json")" any
	# A state of an accelerator that is not to be had is refused, and stays.
	sqlite3 "$VMCTL_ROOT/vmctl.db" \
		"UPDATE instance SET hypervisor_version = replace(hypervisor_version, 'tcg', 'hvf') WHERE name = 'b'"
	sed -i 's/+tcg/+hvf/' "$(dir_of b)/manifest.json"
	run -11 --separate-stderr vmctl restore b
	[[ $stderr = *'saved with the accelerator hvf'* ]] || fail "$stderr"
	assert_equal "$(state_of b)" standby
}

@test "doctor -o json tells what each driver can do, the same as its guests show" {
	local name
	for name in firecracker qemu; do
		vmctl doctor -o json | jq -e --arg name "$name" '.[] | select(.check == $name) | .capabilities |
			(.memory_shared_base and .snapshot_keeps_running and .relative_paths)' >/dev/null
	done
	export VMCTL_HYPERVISOR=qemu
	can disk_qcow2
	can kernel_bzimage
	run -1 can state_rewrite
	export VMCTL_HYPERVISOR=firecracker
	rm -f "$BATS_FILE_TMPDIR/capabilities"
	can state_rewrite
	run -1 can disk_qcow2
	rm -f "$BATS_FILE_TMPDIR/capabilities"
}
