#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154,SC2030,SC2031 # bats sets output, stderr and lines; each test is a subshell
# Images on their way to other data roots: export and import.

load helpers
load foreign

setup() {
	vm_setup
	other=$BATS_TEST_TMPDIR/other
}

teardown() {
	vm_teardown
	VMCTL_ROOT=$other vm_teardown
}

image_dir() {
	vmctl snapshot inspect "$1" | jq -r .directory
}

# What must arrive unchanged.
image_sums() {
	(cd "$(image_dir "$1")" && sha256sum -- disk-* kernel memory vmstate)
}

make_image() {
	make_running web --disk id=data,size=2M
	dd if=/dev/urandom of="$(dir_of web)/disk-data.img" bs=64K count=3 seek=7 conv=notrunc status=none
	vmctl snapshot create web base --comment 'to go' --label app=web
	tick=$(last_tick web)
	vmctl rm --force web
}

# Nothing of an import is left, and nothing is wrong.
assert_nothing_came() {
	assert_equal "$(VMCTL_ROOT=$other vmctl snapshot ls -q)" ''
	[ ! -d "$other/images" ] || assert_equal "$(find "$other/images" -mindepth 1)" ''
	if [ -e "$other/vmctl.db" ]; then
		VMCTL_ROOT=$other assert_clean
	fi
}

@test "a snapshot goes to another data root by a pipe, and is the same there" {
	needs state_rewrite
	local sums
	make_image
	sums=$(image_sums web/base)
	vmctl snapshot export web/base | VMCTL_ROOT=$other vmctl snapshot import
	VMCTL_ROOT=$other
	assert_equal "$(image_sums web/base)" "$sums"
	assert_equal "$(vmctl snapshot inspect web/base | jq -r '.comment, .labels.app, .instance.name, .state' | xargs)" \
		'to go web web standby'
	# Sparse as before.
	assert [ "$(du -B1 "$(image_dir web/base)/disk-data.img" | cut -f 1)" -lt 1048576 ]
	vmctl snapshot fork web/base -n 2 --name 'f-{}'
	wait_for ticked_past f-1 "$tick"
	wait_for ticked_past f-2 "$tick"
	assert_equal "$(boots_of f-1)" 0
	assert_clean
}

@test "by a file, under another name, and once more from there: a chain" {
	needs state_rewrite
	local sums
	make_image
	vmctl snapshot export web/base -o image.tar.zst
	assert_equal "$(echo image*)" image.tar.zst
	VMCTL_ROOT=$other
	vmctl snapshot import image.tar.zst --name far/away --comment arrived
	assert_equal "$(vmctl snapshot inspect far/away | jq -r '.comment, .labels.app' | xargs)" 'arrived web'
	vmctl snapshot fork far/away web
	wait_for ticked_past web "$tick"
	vmctl snapshot create web later
	sums=$(image_sums web/later)
	vmctl snapshot export web/later --no-compress -o later.tar
	vmctl snapshot export far/away --level 9 | VMCTL_ROOT=$BATS_TEST_TMPDIR/root vmctl snapshot import --name web/back
	VMCTL_ROOT=$BATS_TEST_TMPDIR/root
	vmctl snapshot import later.tar
	assert_equal "$(image_sums web/later)" "$sums"
	assert_equal "$(image_sums web/back | sha256sum)" "$(image_sums web/base | sha256sum)"
	vmctl snapshot fork web/later next
	wait_for ticked_past next "$tick"
	run -4 vmctl snapshot import later.tar
	assert_output --partial "a snapshot 'web/later' exists already"
	vmctl snapshot import later.tar --name web/twice
	assert_clean
}

@test "disks alone, compressed and adopted images travel, too" {
	needs state_rewrite
	make_standby web
	vmctl snapshot create web packed --compress
	vmctl stop --discard web
	vmctl snapshot create web disks
	make_foreign "$PWD/elsewhere"
	vmctl snapshot adopt old --state foreign.state --memory foreign.memory --disk d0=foreign.0
	for name in web/packed web/disks old/base; do
		vmctl snapshot export "$name" | VMCTL_ROOT=$other vmctl snapshot import
	done
	VMCTL_ROOT=$other
	vmctl snapshot fork web/packed a
	wait_for has_ticked a
	vmctl snapshot fork web/disks b
	vmctl start b
	wait_for has_ticked b
	assert_equal "$(vmctl snapshot inspect old/base | jq -r .relocation)" rewrite
	vmctl snapshot fork old/base c
	wait_for ticked_past c "$foreign_tick"
	assert_clean
}

@test "a saved state that cannot be looked into is not taken from elsewhere; disks are" {
	lacks state_rewrite
	make_image
	vmctl snapshot export web/base -o image
	run -8 env VMCTL_ROOT="$other" vmctl snapshot import image
	assert_output --partial "$VMCTL_HYPERVISOR cannot look into a saved state, so none is imported"
	assert_nothing_came
	make_running web
	ask web mA '^marked A'
	vmctl stop --force web
	vmctl snapshot create web disks
	vmctl snapshot export web/disks | VMCTL_ROOT=$other vmctl snapshot import
	VMCTL_ROOT=$other
	vmctl snapshot fork web/disks f
	vmctl start f
	assert_equal "$(ask f g '^marker mem=')" 'marker mem=- disk=A'
	assert_clean
}

@test "what is cut short, damaged or nothing like it is refused, and leaves nothing" {
	local size i
	make_image
	vmctl snapshot export web/base -o good
	size=$(stat -c %s good)
	for i in 0 1 100 $((size / 2)) $((size - 1)); do
		head -c "$i" good >bad
		run -10 env VMCTL_ROOT="$other" vmctl snapshot import bad
		assert_nothing_came
	done
	for i in 200 $((size / 3)) $((size * 2 / 3)) $((size - 40)); do
		cp good bad
		printf '\xa5' | dd of=bad bs=1 seek="$i" conv=notrunc status=none
		cmp -s good bad && printf '\x5a' | dd of=bad bs=1 seek="$i" conv=notrunc status=none
		run -10 env VMCTL_ROOT="$other" vmctl snapshot import bad
		assert_nothing_came
	done
	cat good good >bad
	run -10 env VMCTL_ROOT="$other" vmctl snapshot import bad
	assert_nothing_came
	run -10 env VMCTL_ROOT="$other" vmctl snapshot import "$guest"
	run -2 env VMCTL_ROOT="$other" vmctl snapshot import no-such-file
	run -2 env VMCTL_ROOT="$other" vmctl snapshot import good --name nothing
	assert_nothing_came
	! can state_rewrite || VMCTL_ROOT=$other vmctl snapshot import good
}

@test "an archive that is made to harm is refused: names, links, other files, another architecture" {
	make_image
	vmctl snapshot export web/base --no-compress -o good.tar
	mkdir content
	tar -xf good.tar -C content
	pack() {
		(cd content && tar --format=pax -cf ../bad.tar "$@" vmctl-image.json vmstate kernel disk-root.img \
			disk-data.img memory vmctl-checksums.json)
	}
	refused() {
		run ! env VMCTL_ROOT="$other" vmctl snapshot import bad.tar
		assert [ "$status" = 10 ] || assert [ "$status" = 11 ]
		assert_nothing_came
	}
	pack --transform 's,^memory$,../memory,'
	refused
	pack --transform 's,^memory$,/tmp/memory,'
	refused
	mv content/kernel content/was
	ln -s /etc/passwd content/kernel
	pack
	refused
	rm content/kernel
	mv content/was content/kernel
	sed -i 's/x86_64/mips64/' content/vmctl-image.json
	pack
	refused
	assert [ ! -e /tmp/memory ]
}

# Exports image $1 of this root after its state was changed by $2, a path to put for its disk.
@test "a saved state that names a file of the host is refused, however right the checksums" {
	needs state_rewrite
	local dir
	make_foreign "$PWD/elsewhere"
	vmctl snapshot adopt old --state foreign.state --memory foreign.memory --disk d0=foreign.0
	dir=$(image_dir old/base)
	# As it was recorded: absolute. All sums are right for it.
	cp foreign.state "$dir/vmstate"
	vmctl snapshot export old/base -o bad
	run -10 env VMCTL_ROOT="$other" vmctl snapshot import bad
	assert_output --partial "the saved state names a kernel that is none of the image"
	assert_nothing_came
}

@test "exporting: what is there stays whole, and who cannot read it is no reason to hang" {
	make_image
	echo before >image
	run -3 vmctl snapshot export web/nothing -o image
	assert_equal "$(cat image)" before
	run -1 vmctl snapshot export web/base -o /no/such/dir/image
	run ! bash -o pipefail -c 'vmctl snapshot export web/base | head -c 100 >/dev/null'
	run -7 bash -c 'vmctl snapshot export web/base >/dev/full'
	run -2 vmctl snapshot export web/base --level 99
	vmctl snapshot export web/base -o image
	! can state_rewrite || VMCTL_ROOT=$other vmctl snapshot import image
	run -6 vmctl snapshot export "$(vmctl snapshot fork web/base f)" -o image
	assert_clean
}

@test "four gigabytes of sparse memory cost what their data costs" {
	local dir
	vmctl create web --kernel "$guest" --memory 16M --disk size=1M --disk id=data,size=2M
	vmctl snapshot create web base
	dir=$(image_dir web/base)
	# A disk, for no test guest has such a memory; the code is the same.
	truncate -s 4G "$dir/disk-data.img"
	sqlite3 "$VMCTL_ROOT/vmctl.db" "UPDATE instance SET spec = replace(spec, '2097152', '4294967296')"
	vmctl snapshot export web/base --no-compress -o image
	assert [ "$(stat -c %s image)" -lt $((40 * 1048576)) ]
	VMCTL_ROOT=$other vmctl snapshot import image
	dir=$(VMCTL_ROOT=$other image_dir web/base)
	assert_equal "$(stat -c %s "$dir/disk-data.img")" 4294967296
	assert [ "$(du -B1 "$dir/disk-data.img" | cut -f 1)" -lt 4194304 ]
}
