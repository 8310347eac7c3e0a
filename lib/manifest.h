/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manifest.json: what makes a directory a standby. It is written last when a standby is made and
 * withdrawn before its guest runs again; a directory without it holds no usable saved state. It
 * carries the compatibility stamp: driver, VMM version, CPU, memory size, disks with their sizes.
 */
#ifndef VM_MANIFEST_H
#define VM_MANIFEST_H

#include <stdbool.h>

#include "driver/driver.h"

#define VM_FILE_MANIFEST "manifest.json"

/* Writes it from the files as they are. `version` is the VMM's that saved the state. */
int vm_manifest_write(int dir_fd, const struct vm_instance *row, const struct vm_spec *spec,
                      const char *version, bool durable, struct vm_err *err);
/* The same of a state that was saved on another host, with the CPU that it was saved on. */
int vm_manifest_write_of(int dir_fd, const struct vm_instance *row, const struct vm_spec *spec,
                         const char *version, const char *cpu, struct vm_err *err);
/* The CPU that a state was saved on, as its manifest says. Errors: corrupt. */
enum { VM_CPU_SIZE = 96 };
/* Of a state that was saved by an emulator: it goes on anywhere. */
#define VM_CPU_ANY "any"
int vm_manifest_cpu(int dir_fd, char ret_cpu[VM_CPU_SIZE], struct vm_err *err);

/*
 * Checks all that a VMM would accept in silence or fail on halfway, before anything is changed: the
 * stamp against this host and binary, the memory file's size, every disk's presence and size.
 * Errors: corrupt (missing or damaged files), incompatible (another driver, VMM version or CPU).
 */
int vm_manifest_check(int dir_fd, const struct vm_instance *row, const struct vm_spec *spec,
                      const struct vm_driver *driver, const struct vm_driver_info *binary,
                      struct vm_err *err);

/* Disks and kernel as the spec says: present, regular, of the recorded size. corrupt otherwise. */
int vm_manifest_check_files(int dir_fd, const struct vm_spec *spec, bool kernel,
                            struct vm_err *err);

/*
 * What saved CPU state depends on: vendor, family/model/stepping and feature words, as text. Memory
 * is not portable between different values.
 */
void vm_cpu_fingerprint(char *buf, size_t size);
/* Whether what a manifest says of the CPU fits the one that this host has. */
bool vm_cpu_is_here(const char *cpu);

#endif
