/* SPDX-License-Identifier: Apache-2.0 */
/* What the two encodings have in common, and bincode. bitcode is in firecracker_paths_bitcode.c. */
#include "firecracker_paths.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "../util.h"
#include "firecracker_paths_impl.h"

enum {
	VIRTIO_BLOCK = 2, /* device types of the virtio specification */
	VIRTIO_VSOCK = 19,
	FEATURE_READ_ONLY = 1U << 5, /* VIRTIO_BLK_F_RO */
	MEBIBYTE_SHIFT = 20,
};

/* --- a cursor that never leaves the body --------------------------------------------------------
 */

bool vm_fc_take(struct vm_fc_cursor *cursor, size_t size, const uint8_t **ret)
{
	if (cursor->at > cursor->st->end || size > cursor->st->end - cursor->at)
		return false;
	*ret = cursor->st->bytes + cursor->at;
	cursor->at += size;
	return true;
}

bool vm_fc_take_byte(struct vm_fc_cursor *cursor, unsigned max, uint8_t *ret)
{
	const uint8_t *p;

	if (!vm_fc_take(cursor, 1, &p) || *p > max)
		return false;
	*ret = *p;
	return true;
}

static bool take_u32(struct vm_fc_cursor *cursor, uint32_t *ret)
{
	const uint8_t *p;

	if (!vm_fc_take(cursor, sizeof(*ret), &p))
		return false;
	memcpy(ret, p, sizeof(*ret));
	*ret = le32toh(*ret);
	return true;
}

bool vm_fc_take_u64(struct vm_fc_cursor *cursor, uint64_t *ret)
{
	const uint8_t *p;

	if (!vm_fc_take(cursor, sizeof(*ret), &p))
		return false;
	memcpy(ret, p, sizeof(*ret));
	*ret = le64toh(*ret);
	return true;
}

/* A string behind its length of eight bytes. */
static bool take_string(struct vm_fc_cursor *cursor, struct vm_fc_text *ret)
{
	struct vm_fc_text text = {.length_at = cursor->at};
	uint64_t len;

	if (!vm_fc_take_u64(cursor, &len) || len > VM_FC_PATH_MAX)
		return false;
	text.at = cursor->at;
	text.len = (size_t)len;
	if (!vm_fc_take(cursor, text.len, &text.bytes))
		return false;
	*ret = text;
	return true;
}

/* --- what is found ------------------------------------------------------------------------------
 */

bool vm_fc_is_path(const struct vm_fc_text *text)
{
	return text->len > 0 && text->len <= VM_FC_PATH_MAX &&
	       memchr(text->bytes, '\0', text->len) == NULL;
}

/* The ids that Firecracker's API takes. */
bool vm_fc_is_id(const struct vm_fc_text *text)
{
	bool good = text->len > 0 && text->len < sizeof(((struct vm_state_path *)0)->id);

	for (size_t i = 0; good && i < text->len; i++) {
		uint8_t c = text->bytes[i];

		good = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
		       c == '_' || c == '-';
	}
	return good;
}

struct vm_state_path *vm_fc_add(struct vm_state_info *info, enum vm_state_path_kind kind,
                                const struct vm_fc_text *text, struct vm_err *err)
{
	struct vm_state_path *more = realloc(info->paths, (info->count + 1) * sizeof(*info->paths));
	struct vm_state_path *path;

	if (!more) {
		vm_err_sys(err, "listing the paths of a state");
		return NULL;
	}
	info->paths = more;
	path = &info->paths[info->count];
	*path = (struct vm_state_path){.kind = kind, .at = text->at, .length_at = text->length_at};
	path->text = strndup((const char *)text->bytes, text->len);
	if (!path->text) {
		vm_err_sys(err, "listing the paths of a state");
		return NULL;
	}
	info->count++;
	return path;
}

int vm_fc_add_disk(struct vm_state_info *info, const struct vm_fc_drive *drive, struct vm_err *err)
{
	struct vm_state_path *path = vm_fc_add(info, VM_STATE_DISK, &drive->path, err);

	if (!path)
		return -1;
	memcpy(path->id, drive->id.bytes, drive->id.len);
	path->root = drive->root;
	path->read_only = (drive->features & FEATURE_READ_ONLY) != 0;
	return 0;
}

static int misfit(const char *what, struct vm_err *err)
{
	vm_err_set(err, VM_ERR_INCOMPATIBLE, "the state holds no %s where one must be", what);
	return vm_err_hint(err, "only states of microVMs as Firecracker makes them are understood");
}

/* --- bincode: fields one after another ----------------------------------------------------------
 */

static bool take_optional(struct vm_fc_cursor *cursor, struct vm_fc_text *ret)
{
	uint8_t some;

	*ret = (struct vm_fc_text){0};
	return vm_fc_take_byte(cursor, 1, &some) && (!some || take_string(cursor, ret));
}

/* The body begins with it: memory in MiB, SMT, CPU template, then where the kernel came from. */
static int bincode_machine(const struct vm_fc_state *st, struct vm_state_info *info,
                           struct vm_err *err)
{
	struct vm_fc_cursor cursor = {.st = st, .at = st->body};
	struct vm_fc_text kernel, initrd, boot_args;
	uint32_t template;
	uint64_t mib;
	uint8_t smt;

	if (!vm_fc_take_u64(&cursor, &mib) || !vm_fc_take_byte(&cursor, 1, &smt) ||
	    !take_u32(&cursor, &template) || !take_string(&cursor, &kernel) ||
	    !vm_fc_is_path(&kernel) || !take_optional(&cursor, &initrd) ||
	    !take_optional(&cursor, &boot_args))
		return misfit("memory size and kernel", err);
	return vm_fc_set_machine(info, mib, &kernel, &initrd, err);
}

int vm_fc_set_machine(struct vm_state_info *info, uint64_t mib, const struct vm_fc_text *kernel,
                      const struct vm_fc_text *initrd, struct vm_err *err)
{
	if (mib == 0 || mib > VM_MEMORY_MAX_BYTES >> MEBIBYTE_SHIFT)
		return misfit("memory size", err);
	info->memory_bytes = mib << MEBIBYTE_SHIFT;
	if (!vm_fc_add(info, VM_STATE_KERNEL, kernel, err))
		return -1;
	if (initrd->len == 0)
		return 0;
	if (!vm_fc_is_path(initrd))
		return misfit("path of an initrd", err);
	return vm_fc_add(info, VM_STATE_INITRD, initrd, err) ? 0 : -1;
}

/*
 * A drive: its id as a device, which kind of block device, its id once more, partition UUID, cache
 * type, root flag, path, and the virtio device of type 2 with its features. That the id comes twice
 * and the type behind the path is what makes it sure.
 */
static bool bincode_drive(struct vm_fc_cursor *cursor, struct vm_fc_drive *ret)
{
	struct vm_fc_drive drive = {0};
	struct vm_fc_text again, uuid;
	uint32_t cache, type;
	uint8_t root;

	if (!take_string(cursor, &drive.id) || !vm_fc_is_id(&drive.id) ||
	    !take_u32(cursor, &drive.backend) || drive.backend > 1 ||
	    !take_string(cursor, &again) || again.len != drive.id.len ||
	    memcmp(again.bytes, drive.id.bytes, again.len) != 0 || !take_optional(cursor, &uuid) ||
	    !take_u32(cursor, &cache) || cache > 1 || !vm_fc_take_byte(cursor, 1, &root) ||
	    !take_string(cursor, &drive.path) || !vm_fc_is_path(&drive.path))
		return false;
	drive.root = root;
	if (drive.backend == 0 && (!take_u32(cursor, &type) || type != VIRTIO_BLOCK ||
	                           !vm_fc_take_u64(cursor, &drive.features)))
		return false;
	*ret = drive;
	return true;
}

int vm_fc_refuse_backend(const struct vm_fc_drive *drive, struct vm_err *err)
{
	return vm_err_set(err, VM_ERR_UNSUPPORTED,
	                  "drive '%.*s' is a vhost-user device, which is no file",
	                  (int)drive->id.len, (const char *)drive->id.bytes);
}

/* In front of the first drive stands how many there are. */
static int bincode_drives(const struct vm_fc_state *st, struct vm_state_info *info,
                          struct vm_err *err)
{
	uint64_t said = 0, found = 0;

	for (size_t at = st->body + sizeof(uint64_t); at < st->end;) {
		struct vm_fc_cursor cursor = {.st = st, .at = at};
		struct vm_fc_drive drive;

		if (!bincode_drive(&cursor, &drive)) {
			at++;
			continue;
		}
		if (drive.backend != 0)
			return vm_fc_refuse_backend(&drive, err);
		if (found++ == 0) {
			struct vm_fc_cursor before = {.st = st, .at = at - sizeof(uint64_t)};

			vm_fc_take_u64(&before, &said);
		}
		if (found > VM_FC_DRIVES_MAX || vm_fc_add_disk(info, &drive, err) < 0)
			return found > VM_FC_DRIVES_MAX ? misfit("number of drives", err) : -1;
		at = cursor.at;
	}
	if (found == said)
		return 0;
	return vm_err_set(err, VM_ERR_INCOMPATIBLE,
	                  "the state says that it has %ju drives, and %ju were found in it",
	                  (uintmax_t)said, (uintmax_t)found);
}

/* The device's id, which is always the same, its backend, the socket's path, the CID, the type. */
static bool bincode_vsock(struct vm_fc_cursor *cursor, struct vm_fc_vsock *ret)
{
	struct vm_fc_vsock vsock = {0};
	struct vm_fc_text id;
	uint32_t backend, type;

	if (!take_string(cursor, &id) || !vm_fc_is_vsock_id(&id) || !take_u32(cursor, &backend) ||
	    backend != 0 || !take_string(cursor, &vsock.path) || !vm_fc_is_path(&vsock.path) ||
	    vsock.path.len > VM_FC_UDS_MAX)
		return false;
	vsock.cid_at = cursor->at;
	if (!vm_fc_take_u64(cursor, &vsock.cid) || !take_u32(cursor, &type) || type != VIRTIO_VSOCK)
		return false;
	*ret = vsock;
	return true;
}

bool vm_fc_is_vsock_id(const struct vm_fc_text *text)
{
	static const char id[] = "vsock";

	return text->len == sizeof(id) - 1 && memcmp(text->bytes, id, text->len) == 0;
}

int vm_fc_find_vsock(const struct vm_fc_state *st, vm_fc_parse_vsock *parse,
                     struct vm_state_info *info, struct vm_err *err)
{
	struct vm_fc_vsock vsock = {0};
	unsigned found = 0;

	for (size_t at = st->body; at < st->end; at++) {
		struct vm_fc_cursor cursor = {.st = st, .at = at};
		struct vm_fc_vsock one;

		if (!parse(&cursor, &one) || one.cid < VM_FC_CID_MIN || one.cid > UINT32_MAX)
			continue;
		vsock = one;
		found++;
	}
	if (found > 1)
		return vm_err_set(err, VM_ERR_INCOMPATIBLE,
		                  "the state holds %u places that look like the vsock: which one "
		                  "is it cannot be told",
		                  found);
	if (found == 0)
		return 0;
	info->guest_cid = vsock.cid;
	info->cid_at = vsock.cid_at;
	return vm_fc_add(info, VM_STATE_VSOCK, &vsock.path, err) ? 0 : -1;
}

/* --- all ----------------------------------------------------------------------------------------
 */

/* Which Firecracker reads a format: docs/state-file.md. */
static const char *version_of(const char *format)
{
	static const struct {
		const char *major, *version;
	} known[] = {
	        {"4.", "1.10"}, {"6.", "1.12"}, {"8.", "1.14"}, {"9.", "1.15"}, {"10.", "1.16"}};

	for (size_t i = 0; i < VM_ARRAY_LEN(known); i++) {
		if (strncmp(format, known[i].major, strlen(known[i].major)) == 0)
			return known[i].version;
	}
	return "";
}

static int describe(const struct vm_fc_state *st, struct vm_state_info *info, struct vm_err *err)
{
	bool bincode = st->info.encoding == VM_FC_BINCODE;

	info->encoding = bincode ? "bincode" : "bitcode";
	memcpy(info->format, st->info.format, sizeof(info->format));
	snprintf(info->version, sizeof(info->version), "%s", version_of(info->format));
	if (!bincode)
		return vm_fc_describe_bitcode(st, info, err);
	if (bincode_machine(st, info, err) < 0 || bincode_drives(st, info, err) < 0)
		return -1;
	return vm_fc_find_vsock(st, bincode_vsock, info, err);
}

int vm_fc_describe(const void *data, size_t len, struct vm_state_info *ret, struct vm_err *err)
{
	struct vm_state_info info = {0};
	struct vm_fc_state st = {0};

	if (vm_fc_state_open(data, len, &st, err) < 0 || vm_fc_state_known(&st, err) < 0)
		return -1;
	if (describe(&st, &info, err) < 0) {
		vm_state_info_free(&info);
		return -1;
	}
	*ret = info;
	return 0;
}
