#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The Debian packages: built from the tree, checked by lintian, installed into a clean Debian 12 made by debootstrap,
# used there with a real hypervisor, and purged.
# shellcheck disable=SC2016 # commands for a shell in the chroot

load helpers

SUITE=bookworm

# Why none of this can be done here; nothing when it can.
obstacle() {
	local tool
	[ "$(id -u)" = 0 ] || echo 'a chroot needs root'
	for tool in debootstrap dpkg-buildpackage dh lintian unshare; do
		command -v "$tool" >/dev/null || echo "$tool is not installed (packaging/install-deps package)"
	done
	[ -n "$(mirror)" ] || echo 'apt has no archive of Debian'
}

# Where apt gets the release of this machine from: the other releases are there, too.
mirror() {
	local release
	release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
		awk -v release="$release" '$1 == release && $2 == "main" && !seen++ { print $3 }'
}

setup_file() {
	export top chroot=$BATS_FILE_TMPDIR/chroot debs=$BATS_FILE_TMPDIR/debs why
	top=$(cd "$BATS_TEST_DIRNAME/.." && pwd)
	why=$(obstacle | head -n 1)
	if [ -n "$why" ]; then
		echo "$why"
		[ "${CI:-}" != true ]
		return
	fi
	# The unit tests are run elsewhere.
	DEB_BUILD_OPTIONS="nocheck noautodbgsym parallel=$(nproc)" "$top/packaging/build-deb" --out "$debs" -Pnocheck ||
		return 1
	debootstrap_chroot >"$BATS_FILE_TMPDIR/debootstrap.log" 2>&1 || {
		tail -n 20 "$BATS_FILE_TMPDIR/debootstrap.log"
		[ "${CI:-}" != true ] || return 1
		why="debootstrap failed: $(tail -n 1 "$BATS_FILE_TMPDIR/debootstrap.log")"
	}
}

# With what the package depends on, so that what it brings itself can be told.
debootstrap_chroot() {
	local depends
	depends=$(dpkg-deb -f "$debs"/vmctl_*.deb Depends | sed 's/|[^,]*//g; s/([^)]*)//g; s/ //g')
	mkdir -p "$top/build/debootstrap"
	debootstrap --variant=minbase --cache-dir="$top/build/debootstrap" --include="$depends" \
		"$SUITE" "$chroot" "$(mirror)" || return 1
	if [ -n "${VMCTL_FIRECRACKER:-}" ]; then
		install -m 0755 "$VMCTL_FIRECRACKER" "$chroot/usr/local/bin/firecracker"
	fi
	cp "$debs"/vmctl_*.deb "$debs"/vmctl-doc_*.deb "$chroot/tmp/"
}

setup() {
	[ -z "$why" ] || skip "$why"
	cd "$BATS_TEST_TMPDIR" || return 1
}

teardown() {
	[ -z "$why" ] || return 0
	# Whatever is left of microVMs and of the package.
	in_chroot 'quickstart=/usr/libexec/vmctl/quickstart
		[ ! -x $quickstart ] || { $quickstart --clean; rm -rf /root/.local
			ids=$(vmctl-ls -q); [ -z "$ids" ] || vmctl-rm --force $ids; }
		dpkg --purge vmctl vmctl-doc victoria-metrics' >/dev/null 2>&1
}

# in_chroot COMMANDS: in a mount namespace of its own, so that no mount stays: bats removes the directory.
in_chroot() {
	unshare --mount --propagation private sh -c '
		for dir in dev proc sys; do mount --rbind "/$dir" "$1/$dir" || exit; done
		exec chroot "$1" /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
			HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive /bin/sh -ec "$2"' \
		- "$chroot" "$1" </dev/null 3>&-
}

contents() {
	dpkg-deb --fsys-tarfile "$debs/$1"_*.deb | tar -t | sed 's|^\.||; s|^/lib/|/usr/lib/|' | grep -v '/$' | sort
}

# The files that a package of this tree must have.
wanted_of_tree() {
	local file name
	for file in "$top"/cmd/*.c; do
		name=vmctl-$(basename "$file" .c)
		[ "$name" != vmctl-vmctl ] || name=vmctl.microvm
		printf '%s\n' "/usr/bin/$name" "/usr/share/man/man1/$name.1.gz"
	done
	for file in "$top"/man/*.[1-8]; do
		echo "/usr/share/man/man${file##*.}/${file##*/}.gz"
	done
	(cd "$top/packaging/systemd" && printf '/usr/lib/systemd/system/%s\n' *)
	printf '%s\n' /etc/vmctl/vmctl.yaml /usr/lib/{sysusers,tmpfiles}.d/vmctl.conf /usr/lib/vmctl/guest.elf \
		/usr/libexec/vmctl/{unit,restore-all,quickstart,get-firecracker}
	for file in "$top"/completions/*; do
		case $file in
		*.bash) echo "/usr/share/bash-completion/completions/$(basename "$file" .bash)" ;;
		*/_*) echo "/usr/share/zsh/vendor-completions/${file##*/}" ;;
		*.fish) echo "/usr/share/fish/vendor_completions.d/${file##*/}" ;;
		esac
	done
}

# What is in the file system, but for what dpkg, ldconfig and systemd keep about packages, and for backups.
files() {
	(cd "$chroot" && find . -xdev \( -path ./proc -o -path ./sys -o -path ./dev -o -path ./tmp -o -path ./run \
		-o -path ./var/lib/dpkg -o -path ./var/cache -o -path ./var/log -o -path './etc/*-' \) -prune \
		-o -type f -exec sha256sum {} + -o -printf '%y %m %u:%g %p -> %l\n' | sort -k 2)
}

# A package as another one that has a program of our name.
make_other_package() {
	mkdir -p other/DEBIAN other/usr/bin
	printf '%s\n' 'Package: victoria-metrics' 'Version: 1' 'Architecture: all' \
		'Maintainer: nobody <nobody@localhost>' 'Description: another vmctl' >other/DEBIAN/control
	printf '#!/bin/sh\necho another\n' >other/usr/bin/vmctl
	chmod +x other/usr/bin/vmctl
	dpkg-deb --root-owner-group -b other "$chroot/tmp/other.deb"
}

@test "lintian is content with the packages" {
	# As root it says that this is not recommended, and it may say so.
	run lintian --fail-on error,warning "$debs"/vmctl_*.changes
	assert_success
	refute_output --regexp '(^|'$'\n'')[EW]: '
}

@test "every program, manual page, completion, unit and page of the documentation is in the packages" {
	contents vmctl >have
	contents vmctl-doc >have-doc
	wanted_of_tree >want
	(cd "$top" && printf '/usr/share/doc/vmctl/%s\n' docs/*.md README.md) >want-doc
	run comm -23 <(sort -u want) have
	assert_output ''
	run comm -23 <(sort -u want-doc) have-doc
	assert_output ''
	# And nothing under the name that another package has.
	run ! grep -x /usr/bin/vmctl have
	[ "$(dpkg-deb --info "$debs"/vmctl_*.deb conffiles)" = /etc/vmctl/vmctl.yaml ]
}

@test "the programs are built with the distribution's hardening" {
	dpkg-deb -x "$debs"/vmctl_*.deb unpacked
	readelf -hWd unpacked/usr/bin/vmctl-fork >elf
	grep -q 'Type: *DYN' elf
	grep -q BIND_NOW elf
	readelf -sW --dyn-syms unpacked/usr/bin/vmctl-fork | grep -q __stack_chk_fail
	readelf -sW --dyn-syms unpacked/usr/bin/vmctl-fork | grep -q '_chk@'
}

@test "the programs of the packages load the libraries that the distribution mends" {
	local library
	dpkg-deb -x "$debs"/vmctl_*.deb unpacked
	readelf -dW unpacked/usr/bin/vmctl-fork >dynamic
	for library in sqlite3 yaml jansson zstd; do
		grep -q "NEEDED.*[[]lib${library}[-.]" dynamic || fail "lib$library is part of the program"
	done
}

@test "beside another package with a program called vmctl: either order, and each has its own" {
	make_other_package
	in_chroot 'dpkg -i /tmp/vmctl_*.deb
		[ "$(vmctl --version)" = "$(vmctl.microvm --version)" ]
		dpkg -i /tmp/other.deb
		[ "$(vmctl)" = another ]
		vmctl.microvm fork --version
		dpkg --purge vmctl
		[ "$(vmctl)" = another ]
		dpkg -i /tmp/vmctl_*.deb
		[ "$(vmctl)" = another ]
		vmctl.microvm --version
		dpkg --purge victoria-metrics
		update-alternatives --auto vmctl
		[ "$(vmctl --version)" = "$(vmctl.microvm --version)" ]'
}

@test "the units, the group and the data root are there once it is installed" {
	in_chroot 'dpkg -i /tmp/vmctl_*.deb /tmp/vmctl-doc_*.deb
		getent group vmctl
		[ "$(stat -c "%a %U" /var/lib/vmctl)" = "700 root" ]
		systemd-analyze verify --man=no vmctl@web.service vmctl-restore-all.service vmctl-gc.timer \
			vmctl-snapshot@web.timer
		[ "$(systemctl is-enabled vmctl-gc.timer vmctl-restore-all.service | xargs)" = "enabled enabled" ]
		[ "$(dpkg --verify vmctl vmctl-doc)" = "" ]' >out 2>&1 || { cat out && false; }
}

@test "the quickstart runs from the package; microVMs outlive an upgrade; a purge leaves data and nothing else" {
	[ "${VMCTL_TEST_HYPERVISOR:-firecracker}" = firecracker ] ||
		skip 'the clean system has no other hypervisor than the Firecracker that is copied into it'
	[ -z "${VMCTL_TEST_SKIP:-}" ] || skip "$VMCTL_TEST_SKIP"
	files >before
	run in_chroot 'dpkg -i /tmp/vmctl_*.deb /tmp/vmctl-doc_*.deb && /usr/libexec/vmctl/quickstart'
	assert_success
	assert_output --partial '10 microVMs in '
	in_chroot '/usr/libexec/vmctl/quickstart --clean && rm -rf /root/.local
		vmctl create web --hypervisor firecracker --kernel /usr/lib/vmctl/guest.elf --memory 16M --disk size=1M --start
		pid=$(vmctl inspect web | sed -n "s/.*\"pid\": \([0-9]*\).*/\1/p")
		dpkg -i /tmp/vmctl_*.deb
		[ "$(vmctl wait --state running --timeout 0 web)" = web ]
		kill -0 "$pid"
		dpkg --remove vmctl
		kill -0 "$pid"'
	run in_chroot 'dpkg --purge vmctl vmctl-doc'
	assert_success
	assert_output --partial '/var/lib/vmctl has instances or snapshots and stays'
	[ "$(find "$chroot/var/lib/vmctl/guests" -name vmm.sock | wc -l)" = 1 ]
	files | grep -v -F './var/lib/vmctl' | diff before -
	# Installed again, it finds its data; and when that is gone, a purge takes the rest.
	in_chroot 'dpkg -i /tmp/vmctl_*.deb
		vmctl standby web && vmctl restore web && vmctl rm --force web
		note="$(stat -c "%d %i" /var/lib/vmctl/run) /var/lib/vmctl/run"
		grep -qxF "$note" /dev/shm/vmctl-*.root
		dpkg --purge vmctl
		! grep -qxF "$note" /dev/shm/vmctl-*.root'
	files | diff before -
}
