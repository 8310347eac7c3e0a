/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The structure of Firecracker's state files: which fields there are, in which order, of which
 * type. One description serves all formats and both encodings; what changed from one format to
 * another is a feature that a format has or has not. docs/state-file.md says how it is known.
 *
 * A walk follows the description through a state from its first byte to its last and notes the few
 * fields that vmctl has a use for. A walk that does not end exactly at the trailer has followed a
 * description that is not the state's.
 */
#ifndef VM_FIRECRACKER_LAYOUT_H
#define VM_FIRECRACKER_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

enum vm_fc_kind {
	VM_FC_INT, /* `size` bytes */
	VM_FC_BOOL,
	VM_FC_TEXT,
	VM_FC_BYTES,
	VM_FC_STRUCT, /* `of`: its `n` fields */
	VM_FC_LIST,   /* of `of` */
	VM_FC_OPTION, /* of `of` */
	VM_FC_CHOICE, /* one of `n` variants; `of`: what each of them holds, NULL: nothing */
	VM_FC_NEVER,  /* what vmctl cannot look into: lists and options of it must be empty */
};

/* The fields that are noted. */
enum vm_fc_mark {
	VM_FC_UNMARKED,
	VM_FC_MEMORY_MIB,
	VM_FC_KERNEL,
	VM_FC_INITRD,
	VM_FC_BOOT_ARGS,
	VM_FC_VCPUS, /* the length of a list */
	VM_FC_DISK_ID,
	VM_FC_DISK_ROOT,
	VM_FC_DISK_PATH,
	VM_FC_DISK_FEATURES, /* of virtio */
	VM_FC_PMEM_ID,
	VM_FC_PMEM_PATH,
	VM_FC_PMEM_ROOT,
	VM_FC_PMEM_READ_ONLY,
	VM_FC_UDS_PATH,
	VM_FC_TAP,
	VM_FC_GUEST_CID,
};

struct vm_fc_type {
	enum vm_fc_kind kind;
	enum vm_fc_mark mark;
	uint8_t size;
	uint8_t n;
	uint16_t with, without; /* a field of a struct: only in layouts with and without these */
	const struct vm_fc_type *of;
};

/* What the formats differ in. */
enum vm_fc_feature {
	VM_FC_TOP_MEMORY = 1 << 0,       /* memory regions stand before the VM's state */
	VM_FC_REGION_OFFSET = 1 << 1,    /* ... and have an offset into the memory file */
	VM_FC_WIDE_XSAVE = 1 << 2,       /* xsave has a header and entries */
	VM_FC_IRQ_LIST = 1 << 3,         /* a device has a list of interrupts */
	VM_FC_DEVICE_INTERRUPT = 1 << 4, /* the interrupt status is the device's, not the bus's */
	VM_FC_RX_8 = 1 << 5,             /* a network device has 8 bytes of receive buffer state */
	VM_FC_RX_4 = 1 << 6,             /* ... 4 bytes */
	VM_FC_ALL_DEVICES = 1 << 7,      /* format 8: all devices in one struct, resources, ... */
	VM_FC_LOCAL_PORT = 1 << 8,       /* the vsock's last local port */
	VM_FC_NAMED_TYPES = 1 << 9,      /* a device's type is a choice, not a number */
	VM_FC_CLOCK_IRQ = 1 << 10,       /* the VM clock has an interrupt and a generation */
	VM_FC_MTU = 1 << 11,
	VM_FC_SERIAL = 1 << 12,
};

/* The whole state behind the header. */
extern const struct vm_fc_type vm_fc_layout;

/* One noted field. */
struct vm_fc_field {
	enum vm_fc_mark mark;
	uint64_t value;      /* of integers and bools */
	size_t offset, size; /* of the text or number, without lengths; bitcode's numbers with the
	                        byte that says how wide they are */
	size_t column;       /* of a text: which column's lengths hold its length */
};

/* Where the lengths of the texts of a column stand; in bincode each text is its own column. */
struct vm_fc_column {
	size_t offset, size;
	size_t count;
};

struct vm_fc_walk {
	const uint8_t *bytes;
	size_t at, end;
	unsigned features;
	unsigned depth;
	struct vm_fc_field *fields; /* in the order of the state's structure, device by device */
	size_t field_count, field_room;
	struct vm_fc_column *columns;
	size_t column_count, column_room;
	const char *why; /* why it ended early; a constant */
	bool never;      /* ... by a VM_FC_NEVER */
	void **owned;    /* memory that the walk works with */
	size_t owned_count, owned_room;
};

/*
 * 0: walked to the end. 1: the state does not have this structure; walk->why and walk->at say how
 * far it had. -1: out of memory. Whatever it was, vm_fc_walk_free().
 */
int vm_fc_walk_bincode(struct vm_fc_walk *walk, struct vm_err *err);
int vm_fc_walk_bitcode(struct vm_fc_walk *walk, struct vm_err *err);
void vm_fc_walk_free(struct vm_fc_walk *walk);

/* --- for the two walks --------------------------------------------------------------------------
 */

enum { VM_FC_DEPTH_MAX = 100, VM_FC_COLUMN_MAX = 1 << 20 };

/* Ends the walk. Returns 1. */
int vm_fc_walk_stop(struct vm_fc_walk *walk, const char *why);
/* Notes a field, when it has a mark. */
int vm_fc_walk_note(struct vm_fc_walk *walk, const struct vm_fc_field *field, struct vm_err *err);
int vm_fc_walk_column(struct vm_fc_walk *walk, const struct vm_fc_column *column, size_t *ret,
                      struct vm_err *err);
/* Zeroed memory that lives as long as the walk; NULL with err. */
void *vm_fc_walk_alloc(struct vm_fc_walk *walk, size_t count, size_t size, struct vm_err *err);
/* Whether the layout has this field of a struct. */
bool vm_fc_walk_has(const struct vm_fc_walk *walk, const struct vm_fc_type *field);

/*
 * How bitcode packs bytes: where they have few states, a byte takes several of them. The first is
 * no packing.
 */
enum { VM_FC_PACKINGS = 6 };
struct vm_fc_packing {
	uint8_t states, per_byte;
};
extern const struct vm_fc_packing vm_fc_packings[VM_FC_PACKINGS];

/*
 * bitcode's lengths of up to VM_FC_TEXTS_MAX texts, as its encoder writes them. `ret` has room for
 * VM_FC_LENGTHS_MAX bytes; returns how many were written.
 */
enum { VM_FC_TEXTS_MAX = 256, VM_FC_LENGTHS_MAX = 32 + 9 * VM_FC_TEXTS_MAX };
size_t vm_fc_pack_lengths(const uint64_t *lengths, size_t count, uint8_t *ret);

#endif
