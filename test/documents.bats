#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # the helpers set top, guest
# What the documents say of the program is what the program is: tables of the store, keys of specs and
# settings, links. No microVM runs here.

load helpers

setup() { vm_setup; }
teardown() { vm_teardown; }

# --- vmctl-store(5) --------------------------------------------------------------------------------

# "TABLE COLUMN" of each column that the manual page describes.
columns_told() {
	awk '
		/^\.Sh/ { inside = $0 == ".Sh THE TABLES" }
		inside && /^\.Ss / { table = $2 }
		inside && /^\.It Cm / {
			sub(/^\.It Cm /, "")
			n = split($0, names, / , /)
			for (i = 1; i <= n; i++) print table, names[i]
		}' "$top/man/vmctl-store.5" | sort
}

store() {
	sqlite3 -readonly "$VMCTL_ROOT/vmctl.db" "$1"
}

@test "vmctl-store(5) has every table and column of the store, and no other" {
	vmctl create web --kernel "$guest" --memory 16M >/dev/null
	columns_told >told
	store "SELECT t.name || ' ' || c.name FROM sqlite_schema t, pragma_table_info(t.name) c
		WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'" | sort >real
	[ "$(wc -l <real)" -ge 40 ]
	diff told real
}

@test "vmctl-store(5) has the version of the schema" {
	vmctl create web --kernel "$guest" --memory 16M >/dev/null
	grep -q "^is the version of the schema, which is $(store 'PRAGMA user_version')\.$" \
		"$top/man/vmctl-store.5"
}

@test "vmctl-store(5) has every directory that a data root begins with" {
	local dir
	vmctl create web --kernel "$guest" --memory 16M --disk size=1M >/dev/null
	for dir in "$VMCTL_ROOT"/*/; do
		dir=${dir%/}
		grep -q "Pa ${dir##*/}/" "$top/man/vmctl-store.5" || { echo "nothing about ${dir##*/}" && false; }
	done
}

# --- vmctl.yaml(5) ---------------------------------------------------------------------------------

# told SECTION: the keys that the manual page describes there, one on a line.
told() {
	awk -v wanted=".Sh $1" '
		/^\.Sh/ { inside = $0 == wanted }
		inside && /^\.It Cm / { print $3 }' "$top/man/vmctl.yaml.5" | sort
}

# A value for a key, such that the file is right.
value_of() {
	case $1 in
	*max_running | *max_concurrent_restores | events_kept | memory_overcommit | vcpus) echo 4 ;;
	limits.memory_overcommit) echo 1.5 ;;
	*min_free_disk | *pool_max | memory | disks.size) echo 16M ;;
	wait | api_timeout | *timeout) echo 5s ;;
	firecracker | qemu) echo /bin/false ;;
	vsock | disks.readonly | disks.root) echo false ;;
	network) echo none ;;
	disks.format) echo raw ;;
	machine) echo microvm ;;
	kernel | initrd) echo "$guest" ;;
	labels) echo '{app: web}' ;;
	name) echo some-name ;;
	disks.id) echo data ;;
	boot_args) echo quiet ;;
	*) echo auto ;;
	esac
}

# Keys that are announced, and come with another change: not looked at.
announced=''

@test "every key of the settings in vmctl.yaml(5) is taken, and each that is taken is there" {
	local key keys known
	for key in $(told SETTINGS); do
		[[ " $announced " != *" $key "* ]] || continue
		if [[ $key == *.* ]]; then
			printf '%s:\n  %s: %s\n' "${key%.*}" "${key#*.}" "$(value_of "$key")" >one.yaml
		else
			printf '%s: %s\n' "$key" "$(value_of "$key")" >one.yaml
		fi
		VMCTL_CONFIG=one.yaml vmctl ls || { cat one.yaml && false; }
	done
	# A mistake has the keys that there are in its hint.
	for keys in '' limits memory hooks; do
		printf '%snot_one: 1\n' "${keys:+$keys:$'\n'  }" >one.yaml
		run -2 env VMCTL_CONFIG=one.yaml vmctl ls
		known=$(sed -n 's/^hint: the keys here are //p' <<<"$output")
		[ -n "$known" ]
		for key in ${known//,/}; do
			told SETTINGS | grep -q -x -E "${keys:+$keys\.}$key(\..*)?" ||
				{ echo "vmctl.yaml(5): nothing about ${keys:+$keys.}$key" && false; }
		done
	done
}

@test "every key of a spec in vmctl.yaml(5) is taken, and each that is taken is there" {
	local key keys known n=0
	truncate -s 1M disk.img
	for key in $(told SPECS); do
		[[ " $announced disks disks.path " != *" $key "* ]] || continue
		n=$((n + 1))
		case $key in
		disks.size) printf 'disks:\n  - size: 1M\n' ;;
		disks.readonly) printf 'disks:\n  - path: disk.img\n    readonly: yes\n' ;;
		disks.*) printf 'disks:\n  - size: 1M\n    %s: %s\n' "${key#*.}" "$(value_of "$key")" ;;
		machine | accelerator) printf 'hypervisor: qemu\n%s: %s\n' "$key" "$(value_of "$key")" ;;
		*) printf '%s: %s\n' "$key" "$(value_of "$key")" ;;
		esac >one.yaml
		vmctl create -f one.yaml --kernel "$guest" "new-$n" >/dev/null || { cat one.yaml && false; }
	done
	for keys in '' disks; do
		printf '%snot_one: 1\n' "${keys:+$keys:$'\n'  - }" >one.yaml
		run -2 vmctl create -f one.yaml
		known=$(sed -n 's/^hint: the keys here are //p' <<<"$output")
		[ -n "$known" ]
		for key in ${known//,/}; do
			told SPECS | grep -q -x "${keys:+$keys.}$key" ||
				{ echo "vmctl.yaml(5): nothing about ${keys:+$keys.}$key" && false; }
		done
	done
}

# --- links -----------------------------------------------------------------------------------------

# The anchor that a heading has: lower case, no punctuation, hyphens for spaces.
anchors_of() {
	awk '/^```/ { code = !code } !code && /^#+ / { sub(/^#+ /, ""); print tolower($0) }' "$1" |
		sed 's/`//g; s/[^a-z0-9 _-]//g; s/ /-/g'
}

# The links to files here, `FILE#ANCHOR`; code left out.
links_of() {
	# shellcheck disable=SC2016 # a backquote is no command
	awk '/^```/ { code = !code; next } !code' "$1" | sed 's/`[^`]*`//g' |
		grep -o -E '\]\([^) ]+\)' | sed 's/^](//; s/)$//' | grep -v -E '^[a-z]+:' || true
}

@test "every link in the documents leads to a file and a heading that there are" {
	local page link target count=0 failed=0
	for page in "$top"/*.md "$top"/docs/*.md "$top"/test/*/README.md "$top"/examples/*/README.md; do
		while IFS= read -r link; do
			count=$((count + 1))
			target=${link%%#*}
			[ -n "$target" ] && target=${page%/*}/$target || target=$page
			if [ ! -e "$target" ]; then
				echo "${page#"$top"/}: there is no $link"
				failed=1
			elif [[ $link == *'#'* ]] && ! anchors_of "$target" | grep -q -x -- "${link#*#}"; then
				echo "${page#"$top"/}: there is no heading for $link"
				failed=1
			fi
		done < <(links_of "$page")
	done
	[ "$failed" = 0 ]
	((count > 50))
}

@test "docs/README.md lists every document and every manual page" {
	local file failed=0
	for file in "$top"/docs/*.md "$top"/man/*.[1-8]; do
		file=${file##*/}
		case $file in
		README.md) continue ;;
		*.md) grep -q -F "($file)" "$top/docs/README.md" && continue ;;
		*) grep -q -F "$(sed -E 's/\.([1-8])$/(\1)/' <<<"$file")" "$top/docs/README.md" && continue ;;
		esac
		echo "docs/README.md does not list $file"
		failed=1
	done
	[ "$failed" = 0 ]
}

@test "manual pages refer only to pages that there are" {
	local page name section failed=0
	for page in "$top"/man/*.[1-8]; do
		while read -r name section; do
			[[ $name != vmctl* ]] || [ -e "$top/man/$name.$section" ] || {
				echo "${page##*/}: there is no $name($section)"
				failed=1
			}
		done < <(sed -n 's/^\.\(It \)\?Xr \([^ ]*\) \([0-9]\).*/\2 \3/p' "$page")
	done
	[ "$failed" = 0 ]
}
