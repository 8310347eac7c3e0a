/* SPDX-License-Identifier: Apache-2.0 */
/* Which structure a state has, and what it records. */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "firecracker_state_impl.h"
#include "util.h"

/*
 * The features of each format. Formats 4, 6, 8 and 10 are known by fixtures. The others lie between
 * two that are known: each of their unsure features is tried with and without, and only a structure
 * that fits the state from its first byte to its last counts.
 */
static const struct {
	unsigned major, sure, unsure;
} layouts[] = {
        {4,
         VM_FC_TOP_MEMORY | VM_FC_REGION_OFFSET | VM_FC_IRQ_LIST | VM_FC_DEVICE_INTERRUPT |
                 VM_FC_RX_8,
         0},
        {5, VM_FC_DEVICE_INTERRUPT | VM_FC_RX_8,
         VM_FC_TOP_MEMORY | VM_FC_REGION_OFFSET | VM_FC_IRQ_LIST | VM_FC_WIDE_XSAVE},
        {6, VM_FC_WIDE_XSAVE | VM_FC_DEVICE_INTERRUPT | VM_FC_RX_8, 0},
        {7, VM_FC_WIDE_XSAVE | VM_FC_DEVICE_INTERRUPT | VM_FC_RX_8, 0},
        {7, VM_FC_WIDE_XSAVE | VM_FC_ALL_DEVICES, VM_FC_RX_4 | VM_FC_RX_8},
        {8, VM_FC_WIDE_XSAVE | VM_FC_ALL_DEVICES | VM_FC_RX_4, 0},
        {9, VM_FC_WIDE_XSAVE | VM_FC_ALL_DEVICES | VM_FC_LOCAL_PORT,
         VM_FC_RX_4 | VM_FC_NAMED_TYPES | VM_FC_CLOCK_IRQ | VM_FC_MTU | VM_FC_SERIAL},
        {10,
         VM_FC_WIDE_XSAVE | VM_FC_ALL_DEVICES | VM_FC_LOCAL_PORT | VM_FC_NAMED_TYPES |
                 VM_FC_CLOCK_IRQ | VM_FC_MTU | VM_FC_SERIAL,
         0},
};

static int walk_with(const struct vm_fc_state *state, unsigned features, struct vm_fc_walk *ret,
                     struct vm_err *err)
{
	*ret = (struct vm_fc_walk){
	        .bytes = state->bytes,
	        .at = state->body,
	        .end = state->end,
	        .features = features,
	};
	return state->info.encoding == VM_FC_BINCODE ? vm_fc_walk_bincode(ret, err)
	                                             : vm_fc_walk_bitcode(ret, err);
}

/* Whether two structures say the same about everything that is noted. */
static bool agree(const struct vm_fc_walk *a, const struct vm_fc_walk *b)
{
	if (a->field_count != b->field_count || a->column_count != b->column_count)
		return false;
	for (size_t i = 0; i < a->field_count; i++) {
		const struct vm_fc_field *x = &a->fields[i], *y = &b->fields[i];

		if (x->mark != y->mark || x->value != y->value || x->offset != y->offset ||
		    x->size != y->size || x->column != y->column)
			return false;
	}
	for (size_t i = 0; i < a->column_count; i++) {
		const struct vm_fc_column *x = &a->columns[i], *y = &b->columns[i];

		if (x->offset != y->offset || x->size != y->size || x->count != y->count)
			return false;
	}
	return true;
}

/* What is known after some structures were tried. */
struct search {
	struct vm_fc_walk found;  /* one that fits */
	struct vm_fc_walk failed; /* of those that do not, the one that came furthest */
	bool fits, differ;
};

static void keep_furthest(struct search *search, struct vm_fc_walk *walk)
{
	if (!search->failed.why || walk->at > search->failed.at) {
		vm_fc_walk_free(&search->failed);
		search->failed = *walk;
	} else {
		vm_fc_walk_free(walk);
	}
}

static int try_features(const struct vm_fc_state *state, unsigned features, struct search *search,
                        struct vm_err *err)
{
	struct vm_fc_walk walk;
	int rc = walk_with(state, features, &walk, err);

	if (rc < 0) {
		vm_fc_walk_free(&walk);
		return -1;
	}
	if (rc > 0) {
		keep_furthest(search, &walk);
	} else if (!search->fits) {
		search->found = walk;
		search->fits = true;
	} else {
		search->differ = search->differ || !agree(&search->found, &walk);
		vm_fc_walk_free(&walk);
	}
	return 0;
}

static int try_layouts(const struct vm_fc_state *state, struct search *search, struct vm_err *err)
{
	unsigned long major = vm_fc_state_major(state);

	for (size_t i = 0; i < VM_ARRAY_LEN(layouts); i++) {
		unsigned unsure = layouts[i].unsure, some = unsure;

		if (layouts[i].major != major)
			continue;
		/* all subsets of the unsure features, down to none */
		for (;; some = (some - 1) & unsure) {
			if (try_features(state, layouts[i].sure | some, search, err) < 0)
				return -1;
			if (some == 0)
				break;
		}
	}
	return 0;
}

static int not_understood(const struct vm_fc_state *state, const struct search *search,
                          struct vm_err *err)
{
	const struct vm_fc_walk *walk = &search->failed;

	if (search->fits)
		return vm_err_set(err, VM_ERR_INCOMPATIBLE,
		                  "state file (format %s) can be read in more than one way",
		                  state->info.format);
	if (walk->never) {
		vm_err_set(err, VM_ERR_UNSUPPORTED,
		           "state file (format %s) has devices that cannot be looked into, at "
		           "offset %zu",
		           state->info.format, walk->at);
		return vm_err_hint(err, "make the snapshot of a microVM without PCI devices");
	}
	return vm_err_set(err, VM_ERR_INCOMPATIBLE,
	                  "state file is intact, but not of the structure that format %s is known "
	                  "to have: %s, at offset %zu",
	                  state->info.format, walk->why, walk->at);
}

int vm_fc_state_walk(const struct vm_fc_state *state, struct vm_fc_walk *ret, struct vm_err *err)
{
	struct search search = {0};
	int rc;

	if (vm_fc_state_require_known(state, err) < 0)
		return -1;
	rc = try_layouts(state, &search, err);
	if (rc == 0 && (!search.fits || search.differ))
		rc = not_understood(state, &search, err);
	vm_fc_walk_free(&search.failed);
	if (rc < 0)
		vm_fc_walk_free(&search.found);
	else
		*ret = search.found;
	return rc;
}

/* --- what is recorded --------------------------------------------------------------------------
 */

static const char *version_of(unsigned long major)
{
	static const char *const versions[] = {
	        [4] = "1.10", [5] = "1.11", [6] = "1.12",  [7] = "1.13",
	        [8] = "1.14", [9] = "1.15", [10] = "1.16",
	};

	return major < VM_ARRAY_LEN(versions) && versions[major] ? versions[major] : "";
}

/* JSON is what paths are shown in; jansson is the judge of what is UTF-8. */
static int check_text(const char *text, size_t len, const char *what, size_t offset,
                      struct vm_err *err)
{
	json_t *json;

	if (memchr(text, '\0', len))
		return vm_err_set(err, VM_ERR_INCOMPATIBLE,
		                  "%s at offset %zu of the state file has a NUL in it", what,
		                  offset);
	json = json_stringn(text, len);
	if (!json)
		return vm_err_set(err, VM_ERR_INCOMPATIBLE,
		                  "%s at offset %zu of the state file is not UTF-8 text", what,
		                  offset);
	json_decref(json);
	return 0;
}

static char *copy_text(const struct vm_fc_walk *walk, const struct vm_fc_field *field,
                       const char *what, struct vm_err *err)
{
	const char *text = (const char *)walk->bytes + field->offset;
	char *copy;

	if (check_text(text, field->size, what, field->offset, err) < 0)
		return NULL;
	copy = vm_calloc(field->size + 1, 1, err);
	if (copy)
		memcpy(copy, text, field->size);
	return copy;
}

/* A reading in progress: what belongs to a device whose path has not come yet. */
struct reader {
	const struct vm_fc_walk *walk;
	struct vm_state_info *info;
	char id[sizeof(((struct vm_state_path *)NULL)->id)];
	bool root;
};

static struct vm_state_path *add_path(struct reader *reader, enum vm_state_path_kind kind,
                                      size_t offset, struct vm_err *err)
{
	struct vm_state_info *info = reader->info;
	struct vm_state_path *paths =
	        reallocarray(info->paths, info->count + 1, sizeof(*info->paths));

	if (!paths) {
		vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES, "out of memory");
		return NULL;
	}
	info->paths = paths;
	paths[info->count] = (struct vm_state_path){.kind = kind, .at = offset};
	return &paths[info->count++];
}

static int add_text(struct reader *reader, const struct vm_fc_field *field,
                    enum vm_state_path_kind kind, struct vm_err *err)
{
	struct vm_state_path *path = add_path(reader, kind, field->offset, err);

	if (!path)
		return -1;
	memcpy(path->id, reader->id, sizeof(path->id));
	path->root = reader->root;
	reader->id[0] = '\0';
	reader->root = false;
	if (field->size == 0 || field->size > VM_FC_PATH_MAX)
		return vm_err_set(err, VM_ERR_INCOMPATIBLE,
		                  "the %s path at offset %zu of the state file has %zu bytes",
		                  vm_state_path_kind_name(kind), field->offset, field->size);
	path->text = copy_text(reader->walk, field, "a path", err);
	return path->text ? 0 : -1;
}

/* Paths in the boot arguments: what begins with '/' at the start of a word or behind '=' or ','. */
static int add_boot_args(struct reader *reader, const struct vm_fc_field *field, struct vm_err *err)
{
	static const char ends[] = " \t\n,=\"";
	VM_AUTO_FREE char *args = copy_text(reader->walk, field, "the boot arguments", err);

	if (!args)
		return -1;
	for (size_t at = 0, len; args[at]; at += strspn(args + at, ends)) {
		struct vm_state_path *path;

		len = strcspn(args + at, ends);
		if (args[at] == '/' && len > 1) {
			path = add_path(reader, VM_STATE_BOOT_ARGS, field->offset + at, err);
			if (!path)
				return -1;
			path->text = vm_strf(err, "%.*s", (int)len, args + at);
			if (!path->text)
				return -1;
		}
		at += len;
	}
	return 0;
}

static int take_id(struct reader *reader, const struct vm_fc_field *field, struct vm_err *err)
{
	VM_AUTO_FREE char *id = copy_text(reader->walk, field, "a device's id", err);

	if (!id)
		return -1;
	if (field->size >= sizeof(reader->id))
		return vm_err_set(err, VM_ERR_INCOMPATIBLE,
		                  "a device's id at offset %zu of the state file has %zu bytes",
		                  field->offset, field->size);
	memcpy(reader->id, id, field->size + 1);
	return 0;
}

static int take_memory(struct reader *reader, const struct vm_fc_field *field, struct vm_err *err)
{
	if (field->value == 0 || field->value >> 32 != 0)
		return vm_err_set(err, VM_ERR_INCOMPATIBLE,
		                  "state file has an impossible memory size at offset %zu",
		                  field->offset);
	reader->info->memory_bytes = field->value << 20;
	return 0;
}

static int take_cid(struct reader *reader, const struct vm_fc_field *field, struct vm_err *err)
{
	if (field->value < VM_FC_CID_MIN || field->value > VM_FC_CID_MAX)
		return vm_err_set(err, VM_ERR_INCOMPATIBLE,
		                  "state file has %" PRIu64 " at offset %zu, which is no guest CID",
		                  field->value, field->offset);
	reader->info->guest_cid = field->value;
	return 0;
}

enum { VIRTIO_BLK_READ_ONLY = 1 << 5 }; /* VIRTIO_BLK_F_RO of the virtio specification */

/* Flags of a device; those that come behind its path are the last path's. */
static void take_flag(struct reader *reader, const struct vm_fc_field *field)
{
	struct vm_state_info *info = reader->info;
	struct vm_state_path *last = info->count ? &info->paths[info->count - 1] : NULL;

	if (field->mark == VM_FC_DISK_ROOT)
		reader->root = field->value != 0;
	else if (field->mark == VM_FC_DISK_FEATURES && last)
		last->read_only = (field->value & VIRTIO_BLK_READ_ONLY) != 0;
	else if (field->mark == VM_FC_PMEM_READ_ONLY && last)
		last->read_only = field->value != 0;
	else if (field->mark == VM_FC_PMEM_ROOT && last)
		last->root = field->value != 0;
}

/* The host's interface of a network device. */
static void take_tap(struct reader *reader, const struct vm_fc_field *field)
{
	struct vm_state_info *info = reader->info;

	if (info->net_count++ == 0)
		snprintf(info->tap, sizeof(info->tap), "%.*s", (int)field->size,
		         (const char *)reader->walk->bytes + field->offset);
}

static int take_field(struct reader *reader, const struct vm_fc_field *field, struct vm_err *err)
{
	switch (field->mark) {
	case VM_FC_MEMORY_MIB:
		return take_memory(reader, field, err);
	case VM_FC_VCPUS:
		reader->info->vcpus = (unsigned)field->value;
		return 0;
	case VM_FC_GUEST_CID:
		return take_cid(reader, field, err);
	case VM_FC_KERNEL:
		return add_text(reader, field, VM_STATE_KERNEL, err);
	case VM_FC_INITRD:
		return add_text(reader, field, VM_STATE_INITRD, err);
	case VM_FC_BOOT_ARGS:
		return add_boot_args(reader, field, err);
	case VM_FC_DISK_ID:
	case VM_FC_PMEM_ID:
		return take_id(reader, field, err);
	case VM_FC_DISK_PATH:
		return add_text(reader, field, VM_STATE_DISK, err);
	case VM_FC_PMEM_PATH:
		return add_text(reader, field, VM_STATE_PMEM, err);
	case VM_FC_UDS_PATH:
		return add_text(reader, field, VM_STATE_VSOCK, err);
	case VM_FC_TAP:
		take_tap(reader, field);
		return 0;
	default:
		take_flag(reader, field);
		return 0;
	}
}

static int read_fields(const struct vm_fc_walk *walk, struct vm_state_info *info,
                       struct vm_err *err)
{
	struct reader reader = {.walk = walk, .info = info};
	int rc = 0;

	for (size_t i = 0; i < walk->field_count && rc == 0; i++)
		rc = take_field(&reader, &walk->fields[i], err);
	return rc;
}

int vm_fc_state_read(const struct vm_fc_state *state, const struct vm_fc_walk *walk,
                     struct vm_state_info *ret, struct vm_err *err)
{
	struct vm_state_info info = {
	        .encoding = state->info.encoding == VM_FC_BINCODE ? "bincode" : "bitcode",
	};

	snprintf(info.version, sizeof(info.version), "%s", version_of(vm_fc_state_major(state)));
	memcpy(info.format, state->info.format, sizeof(info.format));
	if (read_fields(walk, &info, err) < 0) {
		vm_state_info_free(&info);
		return -1;
	}
	*ret = info;
	return 0;
}

/* Whether it begins like a state of any architecture; bitcode has a zero byte in front. */
static bool begins_like_a_state(const uint8_t *bytes, size_t len)
{
	static const uint8_t magic[] = {0x84, 0x19, 0x10, 0x07};

	for (size_t at = 4; at < 6; at++) {
		if (len >= at + sizeof(magic) && memcmp(bytes + at, magic, sizeof(magic)) == 0)
			return true;
	}
	return false;
}

int vm_fc_state_describe(const void *data, size_t len, struct vm_state_info *ret,
                         struct vm_err *err)
{
	struct vm_fc_state state = {0};
	struct vm_fc_walk walk = {0};
	int rc;

	/* Before the checksum: what is another hypervisor's is not a damaged one of ours. */
	if (!begins_like_a_state(data, len))
		return vm_err_set(
		        err, VM_ERR_UNSUPPORTED,
		        "this is no state file of Firecracker: it does not begin like one");
	if (vm_fc_state_open(data, len, &state, err) < 0 ||
	    vm_fc_state_walk(&state, &walk, err) < 0)
		return -1;
	rc = vm_fc_state_read(&state, &walk, ret, err);
	vm_fc_walk_free(&walk);
	return rc;
}
