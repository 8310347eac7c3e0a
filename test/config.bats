#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154,SC2016 # bats sets output, stderr and lines; a message names a variable
# Settings: which file, variable or flag wins, and what `vmctl config` says of it. Templates. No VMM is
# started here.

load helpers

setup() {
	vm_setup
	unset VMCTL_HYPERVISOR VMCTL_FIRECRACKER VMCTL_QEMU
	user=$XDG_CONFIG_HOME/vmctl
	mkdir -p "$user/templates" "$VMCTL_ROOT/templates"
	chmod 0700 "$VMCTL_ROOT"
}

teardown() {
	vm_teardown
}

# origin KEY: as config show -o json has it, on one line.
origin() {
	vmctl config show "$@" -o json | jq -c '.[0].origin'
}

value() {
	vmctl config show --value "$@"
}

needs_root() {
	[ "$(id -u)" = 0 ] || skip 'files of others need root'
}

@test "config show tells of each setting its value and where that comes from" {
	vmctl_yaml 'limits:' '  max_running: 7'
	printf 'limits: {max_running: 3, min_free_disk: 1G}\n\nwait: 2m\n' >"$user/vmctl.yaml"
	assert_equal "$(value limits.max_running)" 7
	assert_equal "$(origin limits.max_running)" \
		"{\"kind\":\"file\",\"file\":\"$VMCTL_ROOT/vmctl.yaml\",\"line\":2}"
	assert_equal "$(value limits.min_free_disk wait)" $'1G\n120s'
	assert_equal "$(origin wait)" "{\"kind\":\"file\",\"file\":\"$user/vmctl.yaml\",\"line\":3}"
	assert_equal "$(origin alias)" '{"kind":"default"}'
	run -0 vmctl config show
	assert_line --regexp "^limits.max_running +7 +$VMCTL_ROOT/vmctl.yaml:2\$"
	assert_line --regexp '^alias +auto +default$'
	# All of a section; numbers are numbers in JSON.
	assert_equal "$(vmctl config show limits -o json | jq -c 'map(.value)')" '[7,0,"1G",0]'
}

@test "the environment wins over the files, and a flag over both" {
	vmctl_yaml 'wait: 3s' 'firecracker: /by/file' 'hypervisor: qemu'
	assert_equal "$(value firecracker)" /by/file
	export VMCTL_FIRECRACKER=/by/environment VMCTL_HYPERVISOR=firecracker
	assert_equal "$(value firecracker hypervisor)" $'firecracker\n/by/environment'
	assert_equal "$(origin firecracker)" '{"kind":"environment","variable":"VMCTL_FIRECRACKER"}'
	assert_equal "$(value wait)" 3s
	assert_equal "$(value wait --wait=5)" 5s
	assert_equal "$(origin wait --wait)" '{"kind":"flag","flag":"--wait"}'
	assert_equal "$(value wait --no-wait)" none
	# Not only for show: what is said is what is used.
	run -9 --separate-stderr vmctl create web --kernel "$guest" --start
	[[ $stderr = *'/by/environment (from $VMCTL_FIRECRACKER)'* ]] || fail "$stderr"
	unset VMCTL_FIRECRACKER
	run -9 --separate-stderr vmctl create web2 --kernel "$guest" --start
	[[ $stderr = *'/by/file (from the settings)'* ]] || fail "$stderr"
}

@test "the data root is shown with what chose it" {
	assert_equal "$(value root)" "$VMCTL_ROOT"
	assert_equal "$(origin root)" '{"kind":"environment","variable":"VMCTL_ROOT"}'
	assert_equal "$(origin root --root other)" '{"kind":"flag","flag":"--root"}'
	assert_equal "$(value root --root other)" "$PWD/other"
	assert [ ! -e other ]
	assert_equal "$(env -u VMCTL_ROOT vmctl config show root -o json | jq -r '.[0].origin.kind')" default
}

@test "an unknown key is a mistake, with the one that was meant" {
	run -2 --separate-stderr vmctl config show limits.max_runing
	assert_equal "${stderr_lines[0]}" \
		"vmctl-config: there is no setting 'limits.max_runing'; did you mean 'limits.max_running'?"
	assert_equal "$output" ''
	run -2 vmctl config show --value -o json
}

@test "a mistake in the user's settings ends every verb with file and line" {
	printf 'wiat: 3s\n' >"$user/vmctl.yaml"
	run -2 --separate-stderr vmctl ls
	[[ $stderr = *"$user/vmctl.yaml:1: wiat: unknown key (did you mean 'wait'?)"* ]] || fail "$stderr"
	run -2 vmctl config show
}

@test "VMCTL_CONFIG is instead of all files, and its directory instead of all directories" {
	vmctl_yaml 'wait: 3s'
	mkdir -p given/templates
	printf 'api_timeout: 5s\n' >given/my.yaml
	printf 'kernel: %s\n' "$guest" | tee given/templates/there.yaml >"$user/templates/user.yaml"
	export VMCTL_CONFIG=given/my.yaml
	assert_equal "$(value wait api_timeout)" $'30s\n5s'
	assert_equal "$(vmctl config templates --names)" there
}

@test "without HOME and with a relative XDG_CONFIG_HOME there are no settings of a user" {
	mkdir -p home/.config/vmctl relative/vmctl
	printf 'wait: 7s\n' | tee home/.config/vmctl/vmctl.yaml >relative/vmctl/vmctl.yaml
	assert_equal "$(env -u XDG_CONFIG_HOME HOME="$PWD/home" vmctl config show --value wait)" 7s
	assert_equal "$(XDG_CONFIG_HOME=relative HOME=$PWD/home value wait)" 7s
	rm home/.config/vmctl/vmctl.yaml
	assert_equal "$(XDG_CONFIG_HOME=relative HOME=$PWD/home value wait)" 30s
	assert_equal "$(env -u XDG_CONFIG_HOME -u HOME vmctl config show --value wait)" 30s
}

@test "root does not take settings that belong to another user, or that others can write" {
	needs_root
	printf 'wait: 7s\n' >"$user/vmctl.yaml"
	chown 65534 "$user/vmctl.yaml"
	run -2 --separate-stderr vmctl ls
	[[ $stderr = *"$user/vmctl.yaml belongs to "*"uid 65534"* ]] || fail "$stderr"
	[[ $stderr = *'hint: '*sudo* ]] || fail "$stderr"
	chown 0 "$user/vmctl.yaml"
	assert_equal "$(value wait)" 7s
	chmod 0666 "$user/vmctl.yaml"
	run -2 --separate-stderr vmctl ls
	[[ $stderr = *"can be written by others (mode 0666)"* ]] || fail "$stderr"
}

# --- templates ------------------------------------------------------------------------------------

@test "config templates lists the nearest of each name, with what its first comment says" {
	printf '# SPDX-License-Identifier: Apache-2.0\n# A web server\nkernel: k\n' >"$user/templates/web.yaml"
	printf '# Mine\nkernel: k\n' >"$VMCTL_ROOT/templates/web.yaml"
	printf 'kernel: k\n' >"$user/templates/db.yaml"
	touch "$user/templates/"{README,UPPER.yaml,.yaml,web.yaml~}
	assert_equal "$(vmctl config templates -o json | jq -c 'map([.name, .file, .description])')" \
		"[[\"db\",\"$user/templates/db.yaml\",null],[\"web\",\"$VMCTL_ROOT/templates/web.yaml\",\"Mine\"]]"
	rm "$VMCTL_ROOT/templates/web.yaml"
	run -0 vmctl config templates
	assert_line --regexp "^web +$user/templates/web.yaml +A web server\$"
	assert_equal "$(vmctl config templates --names)" $'db\nweb'
	assert_equal "$(vmctl config templates -q)" $'db\nweb'
	assert_equal "$(vmctl config templates -q -0 | tr '\0' ' ')" 'db web '
}

@test "create --template makes an instance of the nearest template, and flags win over it" {
	cp "$guest" "$user/templates/kernel.elf"
	printf 'kernel: kernel.elf\nmemory: 16M\nvcpus: 2\n' >"$user/templates/web.yaml"
	# A relative path begins where the template is.
	assert_equal "$(vmctl create a --template web)" a
	assert_equal "$(field a '"\(.vcpus) \(.memory_bytes)"')" "2 $((16 << 20))"
	assert_equal "$(field a .spec.kernel)" "$user/templates/kernel.elf"
	vmctl create b --template web --vcpus 1 --memory 32M >/dev/null
	assert_equal "$(field b '"\(.vcpus) \(.memory_bytes)"')" "1 $((32 << 20))"
	printf 'kernel: %s\nmemory: 64M\n' "$guest" >"$VMCTL_ROOT/templates/web.yaml"
	vmctl create c --template web >/dev/null
	assert_equal "$(field c .memory_bytes)" "$((64 << 20))"
}

@test "an unknown template is not found: the nearest name and all directories are told" {
	printf 'kernel: k\n' >"$user/templates/webserver.yaml"
	run -3 --separate-stderr vmctl create a --template webservr
	[[ $stderr = *"there is no template 'webservr'"* ]] || fail "$stderr"
	[[ $stderr = *"did you mean 'webserver'? Looked for in $VMCTL_ROOT/templates, $user/templates, /etc/vmctl/templates"* ]] ||
		fail "$stderr"
	run -2 vmctl create a --template ../web
	run -2 --separate-stderr vmctl create a --template webserver -f spec.yaml
	[[ $stderr = *'-f and --template do not go together'* ]] || fail "$stderr"
	run -3 vmctl inspect a
}

@test "a mistake in a template has its file and line, and nothing is made" {
	printf 'kernel: k\nmemry: 3\n' >"$user/templates/web.yaml"
	run -2 --separate-stderr vmctl create a --template web
	[[ $stderr = *"$user/templates/web.yaml:2: memry: unknown key"* ]] || fail "$stderr"
	assert [ ! -e "$VMCTL_ROOT/vmctl.db" ]
}

@test "root makes nothing of a template that belongs to another user" {
	needs_root
	printf 'kernel: %s\n' "$guest" >"$user/templates/web.yaml"
	chown 65534 "$user/templates/web.yaml"
	run -2 --separate-stderr vmctl create a --template web
	[[ $stderr = *"$user/templates/web.yaml belongs to "* ]] || fail "$stderr"
}
