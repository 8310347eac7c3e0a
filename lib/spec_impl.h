/* SPDX-License-Identifier: Apache-2.0 */
/* What spec.c shares with spec_parse.c and spec_json.c; nobody else includes it. */
#ifndef VM_SPEC_IMPL_H
#define VM_SPEC_IMPL_H

#include "spec.h"

enum { VM_SPEC_NO_DISK = -1 };

/* Which field breaks a rule, for the caller to say where that is: a line, a flag or a JSON key. */
struct vm_spec_fault {
	const char *field; /* as in the spec file: "memory", or within the disk: "id" */
	int disk;          /* index, or VM_SPEC_NO_DISK */
};

/*
 * The rules, for every source of a spec: ranges, names, unique ids, one root. All but a kernel
 * being there. The message (usage) does not name the field; *ret_fault does, when it fails.
 */
int vm_spec_validate(const struct vm_spec *spec, struct vm_spec_fault *ret_fault,
                     struct vm_err *err);
/* The rules of one disk, alone and against the disks before it. */
int vm_spec_validate_disk(const struct vm_spec *spec, size_t i, struct vm_spec_fault *ret_fault,
                          struct vm_err *err);
/* Puts "memory: " or "disks[1].id: " in front of the pending error's message. Returns -1. */
int vm_spec_wrap_fault(const struct vm_spec_fault *fault, struct vm_err *err);

int vm_spec_path_check(const char *path, struct vm_err *err);
/* Checks an id and copies it; usage, without a field name. */
int vm_spec_disk_set_id(struct vm_disk *disk, const char *id, struct vm_err *err);
/* "raw", "qcow2"; usage, without a field name. */
int vm_spec_disk_set_format(struct vm_disk *disk, const char *text, struct vm_err *err);
/* "root" for the first disk, then "disk1", "disk2"... */
void vm_spec_disk_default_id(struct vm_disk *disk, size_t index);
/* Gives the root flag to the first disk unless the user gave it to another or took it away. */
void vm_spec_default_root(struct vm_spec *spec);

#endif
