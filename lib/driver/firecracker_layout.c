/* SPDX-License-Identifier: Apache-2.0 */
#include "firecracker_layout.h"

#include "util.h"

/* --- the description ----------------------------------------------------------------------------
 * Put together from Firecracker's published structures and from the fixtures; CPU and chip states
 * are opaque bytes whose lengths the state says itself.
 */

#define INT(bytes)                                                                                 \
	{                                                                                          \
		.kind = VM_FC_INT, .size = (bytes)                                                 \
	}
#define INT_AS(bytes, as)                                                                          \
	{                                                                                          \
		.kind = VM_FC_INT, .size = (bytes), .mark = (as)                                   \
	}
#define INT_IF(bytes, bits)                                                                        \
	{                                                                                          \
		.kind = VM_FC_INT, .size = (bytes), .with = (bits)                                 \
	}
#define BOOL                                                                                       \
	{                                                                                          \
		.kind = VM_FC_BOOL                                                                 \
	}
#define BOOL_AS(as)                                                                                \
	{                                                                                          \
		.kind = VM_FC_BOOL, .mark = (as)                                                   \
	}
#define TEXT                                                                                       \
	{                                                                                          \
		.kind = VM_FC_TEXT                                                                 \
	}
#define TEXT_AS(as)                                                                                \
	{                                                                                          \
		.kind = VM_FC_TEXT, .mark = (as)                                                   \
	}
#define BYTES                                                                                      \
	{                                                                                          \
		.kind = VM_FC_BYTES                                                                \
	}
#define STRUCT(fields)                                                                             \
	{                                                                                          \
		.kind = VM_FC_STRUCT, .of = (fields), .n = VM_ARRAY_LEN(fields)                    \
	}
#define STRUCT_IF(fields, bits)                                                                    \
	{                                                                                          \
		.kind = VM_FC_STRUCT, .of = (fields), .n = VM_ARRAY_LEN(fields), .with = (bits)    \
	}
#define STRUCT_BUT(fields, bits)                                                                   \
	{                                                                                          \
		.kind = VM_FC_STRUCT, .of = (fields), .n = VM_ARRAY_LEN(fields), .without = (bits) \
	}
#define LIST(type)                                                                                 \
	{                                                                                          \
		.kind = VM_FC_LIST, .of = &(type)                                                  \
	}
#define OPTION(type)                                                                               \
	{                                                                                          \
		.kind = VM_FC_OPTION, .of = &(type)                                                \
	}
#define CHOICE(count)                                                                              \
	{                                                                                          \
		.kind = VM_FC_CHOICE, .n = (count)                                                 \
	}

static const struct vm_fc_type u8 = INT(1), u16 = INT(2), u32 = INT(4), u64 = INT(8);
static const struct vm_fc_type boolean = BOOL, text = TEXT, bytes = BYTES;
static const struct vm_fc_type never = {.kind = VM_FC_NEVER};

/* --- configuration, memory, CPUs ----------------------------------------------------------------
 */

static const struct vm_fc_type initrd = TEXT_AS(VM_FC_INITRD);
static const struct vm_fc_type boot_args = TEXT_AS(VM_FC_BOOT_ARGS);
static const struct vm_fc_type boot_source[] = {TEXT_AS(VM_FC_KERNEL), OPTION(initrd),
                                                OPTION(boot_args)};
static const struct vm_fc_type vm_info[] = {
        INT_AS(8, VM_FC_MEMORY_MIB),
        BOOL,      /* hyperthreads */
        CHOICE(6), /* CPU template */
        STRUCT(boot_source),
        CHOICE(2), /* huge pages */
};

static const struct vm_fc_type capability_variants[] = {INT(4), INT(4)};
static const struct vm_fc_type capability = {
        .kind = VM_FC_CHOICE, .of = capability_variants, .n = VM_ARRAY_LEN(capability_variants)};
static const struct vm_fc_type kvm_state[] = {LIST(capability)};

static const struct vm_fc_type region_fields[] = {
        INT(8), /* address */
        INT(8), /* size */
        INT_IF(8, VM_FC_REGION_OFFSET),
        {.kind = VM_FC_CHOICE, .n = 2, .with = VM_FC_ALL_DEVICES},       /* DRAM or hotpluggable */
        {.kind = VM_FC_LIST, .of = &boolean, .with = VM_FC_ALL_DEVICES}, /* plugged slots */
};
static const struct vm_fc_type region = STRUCT(region_fields);
static const struct vm_fc_type memory[] = {LIST(region)};

static const struct vm_fc_type ids[] = {INT(4), OPTION(u32), INT(4), LIST(u32)};
static const struct vm_fc_type range[] = {INT(8), INT(8)};
/* A balanced tree of ranges that contains itself. */
static const struct vm_fc_type tree;
static const struct vm_fc_type tree_fields[] = {STRUCT(range), CHOICE(2), OPTION(tree),
                                                OPTION(tree), INT(8)};
static const struct vm_fc_type tree = STRUCT(tree_fields);
static const struct vm_fc_type addresses[] = {STRUCT(range), OPTION(tree)};
static const struct vm_fc_type resources[] = {STRUCT(ids),       STRUCT(ids),
                                              STRUCT(addresses), STRUCT(addresses),
                                              STRUCT(addresses), STRUCT(addresses)};

static const struct vm_fc_type vm_state[] = {
        STRUCT_BUT(memory, VM_FC_TOP_MEMORY),
        STRUCT_IF(resources, VM_FC_ALL_DEVICES),
        BYTES, /* timer */
        BYTES, /* clock */
        BYTES, /* interrupt controllers */
        BYTES,
        BYTES,
        {.kind = VM_FC_LIST, .of = &capability, .with = VM_FC_TOP_MEMORY},
};

static const struct vm_fc_type header_and_entries[] = {BYTES, LIST(bytes)};
static const struct vm_fc_type entries = STRUCT(header_and_entries);
static const struct vm_fc_type vcpu_fields[] = {
        STRUCT(header_and_entries), /* CPUID */
        LIST(entries),              /* MSRs */
        BYTES,
        BYTES,
        BYTES,
        BYTES,
        BYTES,
        BYTES,
        BYTES, /* registers and events of seven kinds */
        {.kind = VM_FC_BYTES, .without = VM_FC_WIDE_XSAVE},
        STRUCT_IF(header_and_entries, VM_FC_WIDE_XSAVE),
        OPTION(u32), /* TSC frequency */
};
static const struct vm_fc_type vcpu = STRUCT(vcpu_fields);

/* --- what virtio devices have in common ---------------------------------------------------------
 */

static const struct vm_fc_type queue_fields[] = {INT(2), INT(2), BOOL,   INT(8), INT(8),
                                                 INT(8), INT(2), INT(2), INT(2)};
static const struct vm_fc_type queue = STRUCT(queue_fields);

#define VIRTIO_FIELDS(features)                                                                    \
	{.kind = VM_FC_INT, .size = 4, .without = VM_FC_NAMED_TYPES},                              \
	        {.kind = VM_FC_CHOICE, .n = UINT8_MAX, .with = VM_FC_NAMED_TYPES}, features,       \
	        INT(8), LIST(queue), INT_IF(4, VM_FC_DEVICE_INTERRUPT), BOOL
#define FEATURES INT(8)
#define DISK_FEATURES INT_AS(8, VM_FC_DISK_FEATURES)

static const struct vm_fc_type virtio[] = {VIRTIO_FIELDS(FEATURES)};
static const struct vm_fc_type disk_virtio[] = {VIRTIO_FIELDS(DISK_FEATURES)};

static const struct vm_fc_type transport[] = {
        INT(4), INT(4), INT(4),
        INT(4), INT(4), {.kind = VM_FC_INT, .size = 4, .without = VM_FC_DEVICE_INTERRUPT},
};
static const struct vm_fc_type mmio_info[] = {
        INT(8),
        INT(8),
        {.kind = VM_FC_LIST, .of = &u32, .with = VM_FC_IRQ_LIST},
        {.kind = VM_FC_OPTION, .of = &u32, .without = VM_FC_IRQ_LIST},
};
static const struct vm_fc_type bucket_fields[] = {INT(8), INT(8), INT(8), INT(8), INT(8)};
static const struct vm_fc_type bucket = STRUCT(bucket_fields);
static const struct vm_fc_type rate_limiter[] = {OPTION(bucket), OPTION(bucket)};

/* Where a device of the MMIO bus stands; before it are its id and its own state. */
#define ON_BUS STRUCT(transport), STRUCT(mmio_info)

/* --- the devices --------------------------------------------------------------------------------
 */

static const struct vm_fc_type disk_fields[] = {
        TEXT_AS(VM_FC_DISK_ID),
        OPTION(text), /* partition UUID */
        CHOICE(2),    /* cache type */
        BOOL_AS(VM_FC_DISK_ROOT),
        TEXT_AS(VM_FC_DISK_PATH),
        STRUCT(disk_virtio),
        STRUCT(rate_limiter),
        CHOICE(2), /* I/O engine */
};
/* The second variant is vhost-user, which Firecracker does not save. */
static const struct vm_fc_type disk_variants[] = {STRUCT(disk_fields), {.kind = VM_FC_NEVER}};
static const struct vm_fc_type disk_device[] = {
        TEXT,
        {.kind = VM_FC_CHOICE, .of = disk_variants, .n = VM_ARRAY_LEN(disk_variants)},
        ON_BUS};
static const struct vm_fc_type disk = STRUCT(disk_device);

static const struct vm_fc_type mac[] = {INT(1), INT(1), INT(1), INT(1), INT(1), INT(1)};
static const struct vm_fc_type mmds_stack_fields[] = {STRUCT(mac), INT(4), INT(2)};
static const struct vm_fc_type mmds_stack = STRUCT(mmds_stack_fields);
static const struct vm_fc_type net_config[] = {
        OPTION(text), {.kind = VM_FC_OPTION, .of = &u16, .with = VM_FC_MTU}};
static const struct vm_fc_type rx_8[] = {INT(2), INT(2), INT(4)};
static const struct vm_fc_type rx_4[] = {INT(2), INT(2)};
static const struct vm_fc_type net_fields[] = {
        TEXT,
        TEXT_AS(VM_FC_TAP),
        STRUCT(rate_limiter),
        STRUCT(rate_limiter),
        OPTION(mmds_stack),
        STRUCT(net_config),
        STRUCT(virtio),
        STRUCT_IF(rx_8, VM_FC_RX_8),
        STRUCT_IF(rx_4, VM_FC_RX_4),
};
static const struct vm_fc_type net_device[] = {TEXT, STRUCT(net_fields), ON_BUS};
static const struct vm_fc_type net = STRUCT(net_device);

static const struct vm_fc_type uds[] = {TEXT_AS(VM_FC_UDS_PATH), INT_IF(4, VM_FC_LOCAL_PORT)};
static const struct vm_fc_type uds_variants[] = {STRUCT(uds)};
static const struct vm_fc_type vsock_frontend[] = {INT_AS(8, VM_FC_GUEST_CID), STRUCT(virtio)};
static const struct vm_fc_type vsock_fields[] = {
        {.kind = VM_FC_CHOICE, .of = uds_variants, .n = 1, .without = VM_FC_LOCAL_PORT},
        STRUCT_IF(uds, VM_FC_LOCAL_PORT),
        STRUCT(vsock_frontend),
};
static const struct vm_fc_type vsock_device[] = {TEXT, STRUCT(vsock_fields), ON_BUS};
static const struct vm_fc_type vsock = STRUCT(vsock_device);

#define SIX_OPTIONS OPTION(u64), OPTION(u64), OPTION(u64), OPTION(u64), OPTION(u64), OPTION(u64)
static const struct vm_fc_type more_statistics[] = {SIX_OPTIONS};
static const struct vm_fc_type statistics[] = {
        SIX_OPTIONS, OPTION(u64), OPTION(u64),
        OPTION(u64), OPTION(u64), STRUCT_IF(more_statistics, VM_FC_ALL_DEVICES),
};
static const struct vm_fc_type two_numbers[] = {INT(4), INT(4)};
static const struct vm_fc_type hinting[] = {INT(4), INT(4), OPTION(u32), BOOL};
static const struct vm_fc_type balloon_fields[] = {
        INT(2),
        OPTION(u16),
        STRUCT(statistics),
        STRUCT(two_numbers),
        STRUCT_IF(hinting, VM_FC_ALL_DEVICES),
        STRUCT(virtio),
};
static const struct vm_fc_type balloon_device[] = {TEXT, STRUCT(balloon_fields), ON_BUS};
static const struct vm_fc_type balloon = STRUCT(balloon_device);

static const struct vm_fc_type entropy_fields[] = {STRUCT(virtio), STRUCT(rate_limiter)};
static const struct vm_fc_type entropy_device[] = {TEXT, STRUCT(entropy_fields), ON_BUS};
static const struct vm_fc_type entropy = STRUCT(entropy_device);

static const struct vm_fc_type pmem_config[] = {TEXT_AS(VM_FC_PMEM_ID), TEXT_AS(VM_FC_PMEM_PATH),
                                                BOOL_AS(VM_FC_PMEM_ROOT),
                                                BOOL_AS(VM_FC_PMEM_READ_ONLY)};
static const struct vm_fc_type pmem_fields[] = {STRUCT(virtio), STRUCT(range), STRUCT(pmem_config)};
static const struct vm_fc_type pmem_device[] = {TEXT, STRUCT(pmem_fields), ON_BUS};
static const struct vm_fc_type pmem = STRUCT(pmem_device);

static const struct vm_fc_type hotplug_fields[] = {STRUCT(virtio), INT(8), INT(8), INT(8),
                                                   INT(8),         INT(8), INT(8), LIST(boolean)};
static const struct vm_fc_type hotplug_device[] = {TEXT, STRUCT(hotplug_fields), ON_BUS};
static const struct vm_fc_type hotplug = STRUCT(hotplug_device);

static const struct vm_fc_type mmds_version = CHOICE(2);
static const struct vm_fc_type mmds_fields[] = {CHOICE(2), BOOL};
static const struct vm_fc_type mmds = STRUCT(mmds_fields);

static const struct vm_fc_type mmio_devices[] = {
        LIST(disk),
        LIST(net),
        OPTION(vsock),
        OPTION(balloon),
        {.kind = VM_FC_OPTION, .of = &mmds_version, .without = VM_FC_ALL_DEVICES},
        {.kind = VM_FC_OPTION, .of = &mmds, .with = VM_FC_ALL_DEVICES},
        OPTION(entropy),
        {.kind = VM_FC_LIST, .of = &pmem, .with = VM_FC_ALL_DEVICES},
        {.kind = VM_FC_OPTION, .of = &hotplug, .with = VM_FC_ALL_DEVICES},
};

static const struct vm_fc_type generation_id_fields[] = {INT(4), INT(8)};
static const struct vm_fc_type generation_id = STRUCT(generation_id_fields);
static const struct vm_fc_type old_acpi[] = {OPTION(generation_id)};
static const struct vm_fc_type clock_page[] = {
        INT(4), INT(4), INT(2), INT(1), INT(1), INT(4), INT(8), INT(8),
        INT(1), INT(1), INT(1), INT(1), INT(2), INT(1), INT(1), INT(8),
        INT(8), INT(8), INT(8), INT(8), INT(8), INT(8), INT(8), INT_IF(8, VM_FC_CLOCK_IRQ),
};
static const struct vm_fc_type vm_clock[] = {INT(8), INT_IF(4, VM_FC_CLOCK_IRQ),
                                             STRUCT(clock_page)};
static const struct vm_fc_type acpi[] = {STRUCT(generation_id_fields), STRUCT(vm_clock)};

/* The same kinds of devices on the PCI bus; whether there is one, then the devices. */
static const struct vm_fc_type pci[] = {
        BOOL,          LIST(never),   LIST(never), OPTION(never), OPTION(never),
        OPTION(never), OPTION(never), LIST(never), OPTION(never),
};

static const struct vm_fc_type serial_fields[] = {INT(1), INT(1), INT(1), INT(1), INT(1),
                                                  INT(1), INT(1), INT(1), INT(1), LIST(u8)};
static const struct vm_fc_type serial = STRUCT(serial_fields);

static const struct vm_fc_type all_devices[] = {
        STRUCT(mmio_devices),
        STRUCT(acpi),
        STRUCT(pci),
        {.kind = VM_FC_OPTION, .of = &serial, .with = VM_FC_SERIAL},
};

static const struct vm_fc_type top_fields[] = {
        STRUCT(vm_info),
        STRUCT_IF(memory, VM_FC_TOP_MEMORY),
        STRUCT_BUT(kvm_state, VM_FC_TOP_MEMORY),
        STRUCT(vm_state),
        {.kind = VM_FC_LIST, .of = &vcpu, .mark = VM_FC_VCPUS},
        STRUCT_BUT(mmio_devices, VM_FC_ALL_DEVICES),
        STRUCT_BUT(old_acpi, VM_FC_ALL_DEVICES),
        STRUCT_IF(all_devices, VM_FC_ALL_DEVICES),
};
const struct vm_fc_type vm_fc_layout = STRUCT(top_fields);
