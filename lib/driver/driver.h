/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hypervisor drivers. A driver is one const table of functions and one struct of capabilities;
 * generic code asks capabilities and never names a hypervisor. The vm_driver_* functions below are
 * the one place that calls the table: they set deadlines and put the driver's name into errors.
 *
 * A driver acts on one machine: an instance's directory and, once spawned, its VMM. Names of files
 * are relative to that directory, and the VMM is started with it as its cwd.
 */
#ifndef VM_DRIVER_H
#define VM_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../root.h"
#include "../spec.h"
#include "../store.h"
#include "../vmm.h"

/* Files of an instance's directory that generic code and drivers share. */
#define VM_FILE_KERNEL "kernel"
#define VM_FILE_INITRD "initrd"
#define VM_FILE_MEMORY "memory"         /* published memory: immutable, shared by hard links */
#define VM_FILE_COMPRESSED "memory.zst" /* the same compressed; either may be missing, not both */
/*
 * Of a VMM that is alive, beside VM_FILE_MEMORY. They go with it (vm_driver_clean).
 * What its memory was when its dirty pages were last reset: another link to a published memory
 * file. It is there only if every page that differs by now is marked dirty; see save.h.
 */
#define VM_FILE_BASE VM_FILE_MEMORY ".base"
/* What it has mapped, where VM_FILE_MEMORY is another file by now: see pool.h. */
#define VM_FILE_MAPPED VM_FILE_MEMORY ".mapped"
/* What a layer lies on while it is made whole: another link to what was the base; see save.h. */
#define VM_FILE_BELOW VM_FILE_MEMORY ".below"
#define VM_FILE_STATE "vmstate" /* published state file: immutable */
/* A running source's state, kept in its first fork until every fork has its own. */
#define VM_FILE_SOURCE_STATE "vmstate.source"
#define VM_FILE_API_SOCKET "vmm.sock"
#define VM_FILE_VSOCK "vsock.sock"
/* "disk-<id>.img" */
#define VM_DISK_FILE_FORMAT "disk-%s.img"
enum { VM_DISK_FILE_SIZE = VM_DISK_ID_MAX + 16 };
char *vm_disk_file(const struct vm_disk *disk, char *buf);
/* Whether the memory in a directory is there as VM_FILE_COMPRESSED alone. */
bool vm_memory_is_packed(int dir_fd);
/* fsync of every disk that can be written. */
int vm_disks_sync(int dir_fd, const struct vm_spec *spec, struct vm_err *err);

/* What people make other images of a disk with: for hints. */
#define VM_IMAGE_TOOL "qemu-img"

struct vm_driver_caps {
	bool concurrent_fork_prepare; /* many forks may be prepared from one standby source at once
	                               */
	bool snapshot_keeps_running;  /* a snapshot leaves the VMM able to resume in place */
	bool relative_paths;   /* saved states hold relative paths: usable in any directory */
	bool state_rewrite;    /* absolute paths in a saved state can be rewritten */
	bool cid_rewrite;      /* the guest CID in a saved state can be changed; if not, forks with
	                          memory keep their source's, and only one of them can run */
	bool network_override; /* taps can be given anew at load */
	bool memory_shared_base; /* many VMMs map one memory file privately */
	bool recycles_memory;    /* a save writes all of memory, zeroes too, into the file that it
	                            finds; else it makes the file, with holes */
	bool diff_snapshot;   /* a VMM that was asked to track dirty pages can write just those over
	                         an older memory file */
	bool vsock_by_socket; /* the host's end of a vsock is a unix socket, VM_FILE_VSOCK;
	                         else it is in the host's kernel */
	bool kernel_bzimage;  /* boots a bzImage (vmlinuz), not only an ELF vmlinux */
	bool disk_qcow2;      /* disks may be qcow2 images */
	bool network;         /* a guest can have a network device */
	bool tells_crash;     /* a guest that crashed is told from one that ended */
	bool graceful_shutdown;           /* the guest can be asked to shut down */
	unsigned max_concurrent_restores; /* default number of restore slots */
};

/*
 * The hypervisor's binary on this host. Where a driver has a choice of accelerators, the version
 * ends in "+ACCELERATOR", as it does in rows and manifests: a saved state goes on only with the one
 * it was saved with.
 */
struct vm_driver_info {
	char path[4096];
	char version[24];
};
/* What follows the '+', or "". */
const char *vm_version_accelerator(const char *version);

struct vm_alias;
struct vm_frozen;

struct vm_machine {
	const struct vm_root *root;
	const struct vm_driver *driver;
	const struct vm_driver_info *binary; /* needed by boot and load only */
	const char *id;
	const char *name;    /* for messages */
	const char *version; /* of the VMM that runs or ran it; "" if none did */
	const struct vm_spec *spec;
	uint64_t guest_cid; /* 0: no vsock */
	int dir_fd;
	const struct vm_tell *tell; /* of what the driver itself copies; NULL: nobody listens */
	struct vm_vmm vmm;
	int64_t log_begin; /* where the words of a VMM that was spawned here begin in its log */
	/* For a load, where the state names another directory (alias.h); else NULL. */
	const struct vm_alias *alias;
	const struct vm_view *view; /* to spawn the VMM in; NULL: as everybody */
	bool track;  /* boot and load: it is to track dirty pages; set by the wrapper */
	bool saving; /* it may still be writing its memory, and answer only after that */
	bool ends;   /* save: the guest will not run on after it, unless all is undone */
	const char *
	        saved_by; /* set by a save that has a way of its own: "link"; a constant, or NULL */
	int64_t deadline_ms; /* of the call in progress; set by the wrapper */
};

/* What a save writes into the memory file: all, or what is dirty since the last save or load. */
enum vm_save_what { VM_SAVE_ALL, VM_SAVE_DIRTY };

enum vm_guest_state { VM_GUEST_NOT_STARTED, VM_GUEST_RUNNING, VM_GUEST_PAUSED };

/* What a saved state says of the machine and its files. */
enum vm_state_path_kind {
	VM_STATE_KERNEL,
	VM_STATE_INITRD,
	VM_STATE_DISK,
	VM_STATE_PMEM, /* a disk that the guest sees as memory */
	VM_STATE_VSOCK,
	VM_STATE_BOOT_ARGS, /* a path in the boot arguments: the guest's, and never changed */
};
const char *vm_state_path_kind_name(enum vm_state_path_kind kind);

struct vm_state_path {
	enum vm_state_path_kind kind;
	bool root, read_only; /* of a disk */
	char *text;           /* as recorded: UTF-8 without NUL; owned */
	size_t at;            /* where the text stands in the state */
	char id[128];         /* of a disk: the id that the VMM knows it by; else "" */
};
struct vm_state_info {
	const char *encoding; /* "bincode" */
	char format[24];      /* version of the format, "6.0.0" */
	char version[24];     /* of the hypervisor that reads it, "1.12"; "" when not known */
	uint64_t memory_bytes;
	unsigned vcpus;
	uint64_t guest_cid; /* 0: no vsock */
	unsigned net_count; /* network devices */
	char tap[16];       /* interface of the first, IFNAMSIZ bytes at most; "" */
	struct vm_state_path *paths;
	size_t count;
};
void vm_state_info_free(struct vm_state_info *info);

/* A saved state to be made another instance's. */
struct vm_state_move {
	int from_fd; /* source directory with VM_FILE_STATE (or `from_name`) */
	const char *from_name;
	int to_fd; /* target directory; VM_FILE_STATE is published there */
	const struct vm_spec *spec;
	uint64_t from_cid, to_cid; /* 0: no vsock; the same unless caps.cid_rewrite */
	bool durable;
};

struct vm_driver {
	const char *name;
	const char
	        *binary_variable; /* of the environment: where its binary is, before all settings */
	struct vm_driver_caps caps;
	/* Whether this driver can run the spec; unsupported/usage with the field's name. */
	int (*check_spec)(const struct vm_spec *spec, struct vm_err *err);
	/*
	 * Of a spec that can be run and is about to be stored: what depends on the host is decided
	 * for good. *ret_note, a constant, says what the user might not expect. NULL: nothing does.
	 * unsupported where that is not to be had which was asked for.
	 */
	int (*complete_spec)(struct vm_spec *spec, const char **ret_note, struct vm_err *err);
	/*
	 * Finds the binary, and the version that is recorded of what it runs: to boot a guest of
	 * `spec` (NULL: any), or, with `saved` not NULL, to go on from a state of that version.
	 * hypervisor when there is none.
	 */
	int (*probe)(const struct vm_root *root, const struct vm_spec *spec, const char *saved,
	             struct vm_driver_info *ret, struct vm_err *err);
	/*
	 * Whether a guest (`spec` as given by a user, NULL: any) would run well here, with the
	 * binary there is: for the automatic choice. NULL: it would. -1 says why not.
	 */
	int (*suits)(const struct vm_root *root, const struct vm_spec *spec, struct vm_err *err);
	/* Spawns and boots. On failure no VMM is left. */
	int (*boot)(struct vm_machine *machine, struct vm_err *err);
	/* Spawns and loads VM_FILE_STATE with VM_FILE_MEMORY; paused unless `resume`. Same on
	 * failure. */
	int (*load)(struct vm_machine *machine, bool resume, struct vm_err *err);
	int (*pause)(struct vm_machine *machine, struct vm_err *err);
	int (*resume)(struct vm_machine *machine, struct vm_err *err);
	/* Whether a running guest could be saved now: before it is paused for that. NULL: it can.
	 */
	int (*check_save)(struct vm_machine *machine, struct vm_err *err);
	/*
	 * Saves a paused guest; paths are relative to the instance's directory. VM_SAVE_DIRTY: over
	 * a copy of the memory file that was saved or loaded last; unsupported if dirty pages are
	 * not tracked. Any save resets what is dirty.
	 */
	int (*save)(struct vm_machine *machine, enum vm_save_what what, const char *memory,
	            const char *state, struct vm_err *err);
	/*
	 * When the guest goes on, or has ended: makes of what was saved, in the directory to_fd,
	 * what can be loaded. NULL: a save has done all. On failure it is worth nothing.
	 */
	int (*finish_save)(struct vm_machine *machine, int to_fd, const char *memory,
	                   const char *state, struct vm_err *err);
	/*
	 * Of a paused guest whose disks are in layers (overlay.h): each gets a new active layer,
	 * and *ret names those that nobody writes any more. On failure the guest's disks are
	 * whole, and some may have got theirs. Not NULL with caps.disk_qcow2.
	 */
	int (*freeze_disks)(struct vm_machine *machine, struct vm_frozen *ret, struct vm_err *err);
	/* Whether the VMM tracks dirty pages. With caps.diff_snapshot only. */
	int (*tracks)(struct vm_machine *machine, bool *ret_tracks, struct vm_err *err);
	/* Whether a VMM of this version can: NULL, any. */
	bool (*can_track)(const char *version);
	int (*query)(struct vm_machine *machine, enum vm_guest_state *ret, struct vm_err *err);
	int (*ask_shutdown)(struct vm_machine *machine, struct vm_err *err);
	/* Whether what a VMM of this version saves is independent of the host's CPU. NULL: never.
	 */
	bool (*emulates)(const char *version);
	/* Whether a saved state of `version` can be loaded by the binary of `now`: 0 or
	 * incompatible. */
	int (*check_version)(const char *version, const char *now, struct vm_err *err);
	int (*move_state)(const struct vm_state_move *move, struct vm_err *err);
	/*
	 * What a saved state says. Not NULL where caps.state_rewrite. Errors: unsupported (not of
	 * this hypervisor, or not understood), corrupt, incompatible.
	 */
	int (*describe_state)(const void *data, size_t len, struct vm_state_info *ret,
	                      struct vm_err *err);
	/*
	 * A copy with other paths (texts[i] for info->paths[i] as described from these bytes, NULL:
	 * as it is; texts may be NULL) and, unless 0, another guest CID. A relative path that is
	 * shorter than the recorded one is padded to its length, so that nothing else moves. The
	 * copy was read back and compared. Not NULL where caps.state_rewrite. Errors: as above;
	 * usage (a text that cannot be recorded, a reserved CID), incompatible (no vsock).
	 */
	int (*rewrite_state)(const void *data, size_t len, const struct vm_state_info *info,
	                     const char *const *texts, uint64_t new_cid, void **ret_data,
	                     size_t *ret_len, struct vm_err *err);
	/*
	 * Whether VM_FILE_MEMORY can be linked and loaded as it is: 1, 0, -1. NULL: it always can.
	 */
	int (*memory_ready)(const struct vm_machine *machine, struct vm_err *err);
	/*
	 * Makes it so. The caller holds the memory lock exclusively; published by rename, so that a
	 * kill leaves it as it was or ready.
	 */
	int (*prepare_memory)(struct vm_machine *machine, struct vm_err *err);
	/*
	 * Whether the VMM, now dead, ended because the guest shut down (by its log). If not, and
	 * the log tells why, *ret_why says it (a constant); else it is left alone.
	 */
	bool (*ended_by_guest)(int dir_fd, const char **ret_why);
	bool state_is_checked; /* a VMM finds damage of a saved state itself, by a checksum in it */
	/* Files a dead VMM leaves behind that must go before the next one; NULL-terminated. */
	const char *const *leftovers;
};

/* NULL-terminated; unit tests link a table of their own. */
extern const struct vm_driver *const vm_drivers[];

/* By name, NULL for the default. Errors: unsupported, listing the drivers there are. */
int vm_driver_find(const char *name, const struct vm_driver **ret, struct vm_err *err);

/* The largest state that is read. */
enum { VM_STATE_MAX_BYTES = 16 * 1024 * 1024 };
/*
 * Asks each driver whose state it is. Errors: those of the driver that came closest; free *ret_info
 * with vm_state_info_free().
 */
int vm_driver_recognise(const void *data, size_t len, const struct vm_driver **ret_driver,
                        struct vm_state_info *ret_info, struct vm_err *err);

int vm_driver_boot(struct vm_machine *machine, struct vm_err *err);
int vm_driver_load(struct vm_machine *machine, bool resume, struct vm_err *err);
int vm_driver_pause(struct vm_machine *machine, struct vm_err *err);
int vm_driver_resume(struct vm_machine *machine, struct vm_err *err);
int vm_driver_save(struct vm_machine *machine, enum vm_save_what what, const char *memory,
                   const char *state, struct vm_err *err);
/*
 * Whether VMMs of this version should track dirty pages, and whether it is worth a base: the driver
 * can, the settings want it, and the filesystem shares extents or keeps holes (save.h).
 */
bool vm_driver_wants_tracking(const struct vm_machine *machine, const char *version);
int vm_driver_tracks(struct vm_machine *machine, bool *ret_tracks, struct vm_err *err);
int vm_driver_check_save(struct vm_machine *machine, struct vm_err *err);
int vm_driver_finish_save(struct vm_machine *machine, int to_fd, const char *memory,
                          const char *state, struct vm_err *err);
int vm_driver_freeze_disks(struct vm_machine *machine, struct vm_frozen *ret, struct vm_err *err);
int vm_driver_query(struct vm_machine *machine, enum vm_guest_state *ret, struct vm_err *err);
int vm_driver_ask_shutdown(struct vm_machine *machine, struct vm_err *err);
int vm_driver_prepare_memory(struct vm_machine *machine, struct vm_err *err);
/* What any VMM leaves behind, beside its driver's leftovers; NULL-terminated. */
extern const char *const vm_driver_leftovers[];
/*
 * Removes what a dead VMM left behind. A name that is a link stays, and what it leads to goes: of
 * an alias the VMM has made it under the recorded name.
 */
int vm_driver_clean(const struct vm_driver *driver, int dir_fd, struct vm_err *err);
/* Whether there is nothing to remove. */
bool vm_driver_is_clean(const struct vm_driver *driver, int dir_fd);

#endif
