/* SPDX-License-Identifier: Apache-2.0 */
/* The QEMU driver (7.2 and newer, x86-64). docs/qemu.md lists the measured facts it rests on. */
#ifndef VM_QEMU_H
#define VM_QEMU_H

#include "driver.h"
#include "qemu_qmp.h"

extern const struct vm_driver vm_driver_qemu;

/* --- private to lib/driver/qemu*.c --------------------------------------------------------------
 */

/*
 * Guest memory that a VMM maps shared, and so writes: in its own directory, for as long as it
 * lives. Its being there says that the VMM maps this file, and not VM_FILE_MEMORY privately.
 */
#define VM_QEMU_LIVE VM_FILE_MEMORY ".live"

/* The device of a disk in QEMU, by the id of the disk. */
#define VM_QEMU_DISK_FORMAT "vd-%s"

/* What a process is started for. */
enum vm_qemu_role {
	VM_QEMU_BOOT,    /* a guest, afresh */
	VM_QEMU_LOAD,    /* a guest, from a saved state */
	VM_QEMU_FLATTEN, /* a helper of ours that loads a state and saves it: no guest runs in it */
};

/* --- qemu_args.c */

enum { VM_QEMU_ARGS_MAX = 192, VM_QEMU_QMP_FD = 3 };
struct vm_qemu_args {
	char *list[VM_QEMU_ARGS_MAX + 1]; /* owned; NULL-terminated */
	size_t count;
};
/*
 * The command line of a machine; the same devices in every role. `memory` is the file of guest
 * memory, relative to the cwd; `share`: it is written. A helper has its QMP at VM_QEMU_QMP_FD and
 * opens no file of the instance but those.
 */
int vm_qemu_args_make(const struct vm_machine *machine, enum vm_qemu_role role, const char *memory,
                      bool share, struct vm_qemu_args *ret, struct vm_err *err);
void vm_qemu_args_free(struct vm_qemu_args *args);
/* "microvm" unless the spec says otherwise. */
const char *vm_qemu_machine_type(const struct vm_spec *spec);

/* --- qemu_spawn.c */

/*
 * Spawns the VMM with the memory that its role allows, and opens its QMP. The guest does not run
 * yet. On failure a VMM may be left in machine->vmm: the caller ends it.
 */
int vm_qemu_spawn(struct vm_machine *machine, enum vm_qemu_role role, struct vm_qmp *ret_qmp,
                  struct vm_err *err);
/* The QMP of a VMM that is alive. */
int vm_qemu_attach(const struct vm_machine *machine, struct vm_qmp *ret_qmp, struct vm_err *err);
/* Turns what QEMU says into an error "WHAT: MESSAGE", with the code it stands for. Returns -1. */
int vm_qemu_refuse(const struct vm_machine *machine, const char *what, const char *message,
                   struct vm_err *err);
/*
 * After a failed call: if the VMM has ended, or is about to, its log says more than a broken
 * connection. Returns -1.
 */
int vm_qemu_explain(struct vm_machine *machine, struct vm_err *err);

/* --- qemu_status.c */

int vm_qemu_ask_status(struct vm_qmp *qmp, enum vm_guest_state *ret, struct vm_err *err);
/*
 * A save whose vmctl was killed is wanted by nobody, but the VMM goes on with it, and only after
 * its end has it stopped writing and can the guest run: it is cancelled, and waited for. And a save
 * that is called completed is not quite over: until the guest's run state says so, "cont" is
 * refused.
 */
int vm_qemu_end_migration(struct vm_qmp *qmp, struct vm_err *err);

/* --- qemu_memory.c */

/*
 * Which file a VMM has as guest memory, and whether it may write into it; the file is there, with
 * all its blocks if it may. Errors: insufficient_resources, system.
 */
int vm_qemu_choose_memory(const struct vm_machine *machine, enum vm_qemu_role role,
                          const char **ret_file, bool *ret_share, struct vm_err *err);
/* Gives the blocks of a saved memory back that were only reserved. */
void vm_qemu_release_memory(int dir_fd, const char *name);

/* --- qemu_save.c */

/*
 * Saves the state of a stopped guest into a new file, and loads one; paths are relative to dir_fd,
 * which is the cwd of the process. `ram`: guest memory is in it, else only what is not in a shared
 * file. Returns when it is done.
 */
int vm_qemu_migrate_out(struct vm_qmp *qmp, const char *version, int dir_fd, const char *path,
                        bool ram, struct vm_err *err);
int vm_qemu_migrate_in(struct vm_qmp *qmp, const char *version, int dir_fd, const char *path,
                       bool ram, struct vm_err *err);
/* Whether there is what it takes to save a guest, before it is paused. */
int vm_qemu_check_save(struct vm_machine *machine, struct vm_err *err);
int vm_qemu_save(struct vm_machine *machine, enum vm_save_what what, const char *memory,
                 const char *state, struct vm_err *err);

/* --- qemu_disks.c */

int vm_qemu_freeze_disks(struct vm_machine *machine, struct vm_frozen *ret, struct vm_err *err);

/* --- qemu_flatten.c */

int vm_qemu_finish_save(struct vm_machine *machine, int to_fd, const char *memory,
                        const char *state, struct vm_err *err);

/* --- qemu_probe.c */

#define VM_QEMU_BINARY_VARIABLE "VMCTL_QEMU"
int vm_qemu_probe(const struct vm_root *root, const struct vm_spec *spec, const char *saved,
                  struct vm_driver_info *ret, struct vm_err *err);
/* How fast the host's TSC counts, in kHz; takes 10 ms. */
unsigned vm_qemu_tsc_khz(void);
bool vm_qemu_emulates(const char *version);
int vm_qemu_check_version(const char *version, const char *now, struct vm_err *err);

#endif
