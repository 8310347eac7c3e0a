/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an instance is made from: the YAML spec file of `vmctl create`, also built from its flags,
 * and kept as JSON in the store and in manifest.json. docs/spec.md describes the file for users.
 */
#ifndef VM_SPEC_H
#define VM_SPEC_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "labels.h"

enum {
	VM_DISK_ID_MAX = 31,
	VM_DISKS_MAX = 16,
	VM_VCPUS_MAX = 32,
	VM_BOOT_ARGS_MAX = 2048,
	VM_HYPERVISOR_MAX = 31,
	VM_MACHINE_MAX = 31,
	VM_TAP_MAX = 15, /* IFNAMSIZ - 1 of linux/if.h */
};

#define VM_MEMORY_MIN_BYTES (UINT64_C(1) << 20) /* 1 MiB */
#define VM_MEMORY_MAX_BYTES (UINT64_C(1) << 44) /* 16 TiB: what is larger is a slip of the hand */
#define VM_DISK_MAX_BYTES (UINT64_C(1) << 46)   /* 64 TiB */
#define VM_SECTOR_BYTES 512                     /* virtio-blk counts in these */

enum vm_disk_format { VM_DISK_RAW, VM_DISK_QCOW2 };
const char *vm_disk_format_name(enum vm_disk_format format);

struct vm_disk {
	/* [a-z0-9_]+, unique; the file in the instance is disk-<id>.img */
	char id[VM_DISK_ID_MAX + 1];
	enum vm_disk_format format;
	bool format_given; /* else what a copied disk is can be seen when it is created */
	char *path;        /* where create copies it from; NULL for a blank disk */
	/* Blank: its size; else 0 in a spec, the real size once created. As the guest sees it. */
	uint64_t size_bytes;
	bool read_only;
	bool root;       /* at most one: the VMM boots from it */
	bool root_given; /* root was said by the user, not the default; not stored */
};

enum vm_network {
	VM_NETWORK_NONE,
	VM_NETWORK_USER, /* the VMM's own network stack: outgoing connections only */
	VM_NETWORK_TAP,  /* a tap device of the host, which must be there */
};

struct vm_spec {
	char *name;            /* NULL when the file does not give one */
	char *hypervisor;      /* a driver's name, "auto"; NULL for the default of the settings */
	char *machine;         /* a machine type of that hypervisor's; NULL for its default */
	char *accelerator;     /* "auto", or one of that hypervisor's; NULL for auto */
	char *kernel;          /* path */
	char *initrd;          /* path or NULL */
	char *boot_args;       /* NULL for the driver's default */
	unsigned vcpus;        /* default 1 */
	uint64_t memory_bytes; /* default 128 MiB; whole MiB, at least 1 MiB */
	struct vm_disk disks[VM_DISKS_MAX];
	size_t disk_count;
	bool vsock;       /* default true */
	bool vsock_given; /* it was said, not the default; not stored */
	enum vm_network network;
	char tap[VM_TAP_MAX + 1]; /* with VM_NETWORK_TAP: the interface's name */
	struct vm_labels labels;  /* to begin with; not stored here but in the store's own table */
};

void vm_spec_init(struct vm_spec *spec); /* defaults; no allocation */
void vm_spec_free(struct vm_spec *spec); /* frees members, leaves an initialised struct */

/*
 * Parses a YAML spec. `origin` (a file name) stands in messages: "web.yaml:3: disks[0].size: ...".
 * Relative paths in the file are resolved against the directory `base_dir` ("." when NULL). Every
 * value that is given is checked; what is missing is not, for flags may still add it:
 * vm_spec_check(). The first disk is the root disk unless another has `root: true`, or it
 * is told `root: false` itself. Unknown keys are refused with a suggestion, duplicate keys, wrong
 * types, anchors/aliases, more than one document and files above 1 MiB are refused. Errors: usage
 * with file, line and field.
 */
int vm_spec_parse(const char *text, size_t len, const char *origin, const char *base_dir,
                  struct vm_spec *ret_spec, struct vm_err *err);
/*
 * Reads the file ("-" is standard input) and parses it; its relative paths are relative to its own
 * directory. not_found when it is missing.
 */
int vm_spec_load(const char *path, struct vm_spec *ret_spec, struct vm_err *err);
/*
 * Parses one --disk argument: "PATH", or "[id=ID,]path=PATH|size=SIZE[,readonly][,root]"; appends
 * it. readonly and root may have =true or =false. Defaults as in the file. A path with a comma
 * cannot be given here. On failure (usage) the spec is as before.
 */
int vm_spec_add_disk(struct vm_spec *spec, const char *argument, struct vm_err *err);
/* "none", "user", "tap=NAME". Errors: usage, which does not name the field. */
int vm_spec_set_network(struct vm_spec *spec, const char *text, struct vm_err *err);
/* As that takes it: malloc'ed, NULL with insufficient_resources. */
char *vm_spec_network_text(const struct vm_spec *spec, struct vm_err *err);
/*
 * Checks a complete spec: kernel given, ranges, unique disk ids, one root, names. Touches no file.
 * A disk may have path and size_bytes: then it was created from that path.
 * Errors: usage, naming the field.
 */
int vm_spec_check(const struct vm_spec *spec, struct vm_err *err);

/*
 * The form that is stored: every key, null for what is not set, sizes as integers of bytes. New
 * reference, or NULL when out of memory or for text that is not UTF-8 (vm_spec_check() refuses it).
 */
json_t *vm_spec_to_json(const struct vm_spec *spec);
/*
 * As it stands in a row, whose name is its own: a fork has another, but the same spec. malloc'ed;
 * NULL with insufficient_resources.
 */
char *vm_spec_for_row(const struct vm_spec *spec, struct vm_err *err);
/*
 * Checks everything but that there is a kernel (an adopted instance may have none). Errors:
 * corrupt, naming the key. Keys it does not know are left alone: a later version may add some.
 */
int vm_spec_from_json(const json_t *json, struct vm_spec *ret_spec, struct vm_err *err);
int vm_spec_copy(const struct vm_spec *from, struct vm_spec *ret_spec, struct vm_err *err);

#endif
