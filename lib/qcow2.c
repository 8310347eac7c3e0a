/* SPDX-License-Identifier: Apache-2.0 */
#include "qcow2.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fault.h"
#include "fs.h"
#include "util.h"

#define MAGIC UINT32_C(0x514649fb) /* "QFI\xfb" */

/* As it stands in the file: big-endian, each field aligned by itself. */
struct header {
	uint32_t magic, version;
	uint64_t backing_at;
	uint32_t backing_bytes, cluster_bits;
	uint64_t size_bytes;
	uint32_t encryption, l1_entries;
	uint64_t l1_at, refcount_table_at;
	uint32_t refcount_table_clusters, snapshots;
	uint64_t snapshots_at;
	/* From here on only in version 3. */
	uint64_t incompatible, compatible, autoclear;
	uint32_t refcount_order, header_bytes;
};
enum { HEADER_BYTES_V2 = 72, HEADER_BYTES_V3 = 104 };
_Static_assert(sizeof(struct header) == HEADER_BYTES_V3 &&
                       offsetof(struct header, incompatible) == HEADER_BYTES_V2,
               "it has no padding");

/* Directly behind the header; followed by the data, padded to a multiple of 8 bytes. */
struct extension {
	uint32_t type, len;
};
#define EXTENSION_END UINT32_C(0)
#define EXTENSION_BITMAPS UINT32_C(0x23852875)
#define EXTENSION_BACKING_FORMAT UINT32_C(0xe2792aca)

enum {
	CLUSTER_BITS_MIN = 9,
	CLUSTER_BITS_MIN_EXTENDED = 14,
	CLUSTER_BITS_MAX = 21, /* the implementations' */
	BACKING_BYTES_MAX = 1023,
	REFCOUNT_ORDER_MAX = 6, /* 1 << 6 bits */
	L1_ENTRY_BYTES = 8,
	L1_BYTES_MAX = 32 << 20, /* the implementations' */
	CHUNK_BYTES = 64 << 10,
};
#define KNOWN_INCOMPATIBLE UINT64_C(0x1f) /* VM_QCOW2_DIRTY to VM_QCOW2_EXTENDED_L2 */

/* A header that is being read. */
struct image {
	int fd;
	const char *what;     /* its name, for messages */
	struct header header; /* still big-endian */
	size_t header_bytes;
	uint8_t *data; /* its first cluster, or what there is of it */
	size_t len;
	uint64_t file_bytes, l1_at, l1_bytes;
};

static int damaged(const struct image *image, const char *how, struct vm_err *err)
{
	vm_err_set(err, VM_ERR_CORRUPT, "%s is a damaged qcow2 image: %s", image->what, how);
	return -1;
}

static int unsupported(const struct image *image, const char *why, struct vm_err *err)
{
	vm_err_set(err, VM_ERR_UNSUPPORTED, "%s is a qcow2 image %s", image->what, why);
	return -1;
}

static int read_at(const struct image *image, void *data, size_t len, uint64_t at,
                   struct vm_err *err)
{
	for (size_t got = 0; got < len;) {
		ssize_t n = pread(image->fd, (char *)data + got, len - got, (off_t)(at + got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return vm_err_sys(err, "reading %s", image->what);
		if (n == 0)
			return damaged(image, "it is cut short", err);
		got += (size_t)n;
	}
	return 0;
}

/* Names of files and formats are printed, stored, and handed on as C strings. */
static bool is_text(const void *data, size_t len)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < len; i++) {
		if (bytes[i] < ' ' || bytes[i] == 0x7f)
			return false;
	}
	return true;
}

bool vm_qcow2_is(int fd)
{
	uint32_t magic;

	return pread(fd, &magic, sizeof(magic), 0) == (ssize_t)sizeof(magic) &&
	       be32toh(magic) == MAGIC;
}

/*
 * Reads the first cluster. Its size is in the header, which is therefore read once before; what
 * counts is what comes with the cluster, as another process may be writing.
 */
static int load(struct image *image, struct vm_qcow2_info *info, struct vm_err *err)
{
	struct header *header = &image->header;
	struct stat st;

	if (!vm_qcow2_is(image->fd))
		return damaged(image, "it does not begin like one", err);
	if (read_at(image, header, offsetof(struct header, size_bytes), 0, err) < 0)
		return -1;
	info->version = be32toh(header->version);
	if (info->version != 2 && info->version != 3)
		return unsupported(image, "of another version than 2 and 3", err);
	info->cluster_bits = be32toh(header->cluster_bits);
	if (info->cluster_bits < CLUSTER_BITS_MIN || info->cluster_bits > CLUSTER_BITS_MAX)
		return damaged(image, "its cluster size is out of range", err);
	if (fstat(image->fd, &st) < 0)
		return vm_err_sys(err, "reading %s", image->what);
	image->file_bytes = (uint64_t)st.st_size;
	image->header_bytes = info->version == 2 ? HEADER_BYTES_V2 : HEADER_BYTES_V3;
	if (image->file_bytes < image->header_bytes)
		return damaged(image, "it is cut short", err);
	image->len = (size_t)1 << info->cluster_bits;
	if (image->len > image->file_bytes)
		image->len = (size_t)image->file_bytes;
	image->data = vm_calloc(image->len, 1, err);
	if (!image->data || read_at(image, image->data, image->len, 0, err) < 0)
		return -1;
	memcpy(header, image->data, image->header_bytes);
	return 0;
}

static int check_features(struct image *image, struct vm_qcow2_info *info, struct vm_err *err)
{
	const struct header *header = &image->header;

	if (info->version > 2) {
		image->header_bytes = be32toh(header->header_bytes);
		if (image->header_bytes < HEADER_BYTES_V3 || image->header_bytes % 8 ||
		    image->header_bytes > image->len)
			return damaged(image, "the length of its header is wrong", err);
		if (be32toh(header->refcount_order) > REFCOUNT_ORDER_MAX)
			return damaged(image, "the width of its reference counts is wrong", err);
		info->incompatible = be64toh(header->incompatible);
	}
	if (info->incompatible & VM_QCOW2_CORRUPT)
		return damaged(image, "it is marked as corrupt", err);
	if (header->encryption != 0)
		return unsupported(image, "that is encrypted", err);
	if (info->incompatible & VM_QCOW2_DATA_FILE)
		return unsupported(image, "with its data in another file", err);
	if (info->incompatible & ~KNOWN_INCOMPATIBLE)
		return unsupported(image, "with features that are not known here", err);
	if ((info->incompatible & VM_QCOW2_EXTENDED_L2) &&
	    info->cluster_bits < CLUSTER_BITS_MIN_EXTENDED)
		return damaged(image, "its cluster size is out of range", err);
	info->snapshots = be32toh(header->snapshots);
	return 0;
}

static int check_l1(struct image *image, struct vm_qcow2_info *info, struct vm_err *err)
{
	/* An L2 table is one cluster, and each entry of it, of 8 or 16 bytes, stands for one. */
	unsigned entry_bits = (info->incompatible & VM_QCOW2_EXTENDED_L2) ? 4 : 3;
	unsigned shift = info->cluster_bits + info->cluster_bits - entry_bits;
	uint64_t cluster = UINT64_C(1) << info->cluster_bits;
	uint64_t entries = be32toh(image->header.l1_entries), needed;

	info->size_bytes = be64toh(image->header.size_bytes);
	needed = info->size_bytes >> shift;
	needed += (info->size_bytes & ((UINT64_C(1) << shift) - 1)) != 0;
	image->l1_at = be64toh(image->header.l1_at);
	image->l1_bytes = entries * L1_ENTRY_BYTES;
	if (image->l1_bytes > L1_BYTES_MAX)
		return damaged(image, "its L1 table is too large", err);
	if (needed > entries)
		return damaged(image, "its L1 table is too small for its size", err);
	if (entries > 0 && (image->l1_at < cluster || image->l1_at % cluster))
		return damaged(image, "its L1 table is out of place", err);
	if (entries > 0 && (image->l1_at > image->file_bytes ||
	                    image->l1_bytes > image->file_bytes - image->l1_at))
		return damaged(image, "its L1 table lies beyond the end of the file", err);
	return 0;
}

static int take_format(const struct image *image, size_t at, size_t len, struct vm_qcow2_info *info,
                       struct vm_err *err)
{
	if (info->backing_format[0])
		return damaged(image, "it records two formats of its backing file", err);
	if (len > VM_QCOW2_FORMAT_MAX || !is_text(image->data + at, len))
		return damaged(image, "the recorded format of its backing file is wrong", err);
	memcpy(info->backing_format, image->data + at, len);
	return 0;
}

/* They go from the header's end to the name of the backing file, or to the cluster's end. */
static int read_extensions(const struct image *image, size_t end, struct vm_qcow2_info *info,
                           struct vm_err *err)
{
	size_t at = image->header_bytes;

	while (at < end) {
		struct extension extension;
		size_t len;

		if (end - at < sizeof(extension))
			return damaged(image, "its header extensions do not end", err);
		memcpy(&extension, image->data + at, sizeof(extension));
		at += sizeof(extension);
		len = be32toh(extension.len);
		if (be32toh(extension.type) == EXTENSION_END)
			return 0;
		if (len > end - at)
			return damaged(image, "a header extension is too long", err);
		if (be32toh(extension.type) == EXTENSION_BACKING_FORMAT &&
		    take_format(image, at, len, info, err) < 0)
			return -1;
		if (be32toh(extension.type) == EXTENSION_BITMAPS)
			info->bitmaps = true;
		at += (len + 7) & ~(size_t)7;
	}
	return 0;
}

static int read_backing(const struct image *image, struct vm_qcow2_info *info, struct vm_err *err)
{
	uint64_t at = be64toh(image->header.backing_at);
	size_t len = be32toh(image->header.backing_bytes);

	if (at == 0)
		return read_extensions(image, image->len, info, err);
	if (at < image->header_bytes || at > image->len || len > image->len - at ||
	    len > BACKING_BYTES_MAX)
		return damaged(image, "the name of its backing file is out of place", err);
	if (!is_text(image->data + at, len))
		return damaged(image, "the name of its backing file has control characters", err);
	if (len > VM_QCOW2_NAME_MAX)
		return unsupported(image, "with too long a name of its backing file", err);
	memcpy(info->backing, image->data + at, len);
	info->backed = len > 0; /* an empty name is none */
	return read_extensions(image, (size_t)at, info, err);
}

static int l1_is_zero(const struct image *image, bool *ret_zero, struct vm_err *err)
{
	uint64_t at = image->l1_at, end = at + image->l1_bytes;
	uint8_t chunk[CHUNK_BYTES] = {0};

	*ret_zero = true;
	while (*ret_zero && at < end) {
		size_t len = end - at < sizeof(chunk) ? (size_t)(end - at) : sizeof(chunk);

		if (read_at(image, chunk, len, at, err) < 0)
			return -1;
		*ret_zero = chunk[0] == 0 && memcmp(chunk, chunk + 1, len - 1) == 0;
		at += len;
	}
	return 0;
}

int vm_qcow2_read(int fd, const char *what, struct vm_qcow2_info *ret, struct vm_err *err)
{
	struct image image = {.fd = fd, .what = what};
	struct vm_qcow2_info info = {0};
	bool zero = false;
	int rc = load(&image, &info, err);

	if (rc == 0 && (check_features(&image, &info, err) || check_l1(&image, &info, err) ||
	                read_backing(&image, &info, err) || l1_is_zero(&image, &zero, err)))
		rc = -1;
	free(image.data);
	if (rc < 0)
		return -1;
	if (!info.backed)
		info.backing_format[0] = '\0';
	info.untouched = zero && info.snapshots == 0 && !info.bitmaps;
	*ret = info;
	return 0;
}

/* A new image: clusters for the header, the refcount table, its only block, the L1 table. */
enum {
	NEW_CLUSTER_BITS = 16,
	NEW_CLUSTER_BYTES = 1 << NEW_CLUSTER_BITS,
	NEW_REFCOUNT_ORDER = 4, /* counts of 16 bits */
	NEW_TABLE_AT = 1 * NEW_CLUSTER_BYTES,
	NEW_BLOCK_AT = 2 * NEW_CLUSTER_BYTES,
	NEW_L1_CLUSTER = 3,
	NEW_L1_AT = NEW_L1_CLUSTER * NEW_CLUSTER_BYTES,
	NEW_L1_ENTRY_SHIFT = NEW_CLUSTER_BITS + NEW_CLUSTER_BITS - 3, /* see check_l1 */
	NEW_CLUSTERS_MAX = NEW_L1_CLUSTER + L1_BYTES_MAX / NEW_CLUSTER_BYTES,
	SECTOR_BYTES = 512,
};
_Static_assert(NEW_CLUSTERS_MAX * sizeof(uint16_t) <= NEW_CLUSTER_BYTES,
               "one refcount block counts all clusters of the largest new image");

/* The beginning of the first cluster. The rest is zeroes. */
struct beginning {
	struct header header;
	struct extension format;
	char format_name[8];
	struct extension end;
	char backing[VM_QCOW2_NAME_MAX + 1];
};

static bool is_plain_name(const char *name)
{
	size_t len = strlen(name);

	return len > 0 && len <= VM_QCOW2_NAME_MAX && !strpbrk(name, "/:") && is_text(name, len) &&
	       strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static struct beginning make_beginning(uint64_t size_bytes, uint32_t l1_entries,
                                       const char *backing)
{
	static const char format[] = "qcow2";
	struct beginning new = {.header = {.magic = htobe32(MAGIC),
	                                   .version = htobe32(3),
	                                   .cluster_bits = htobe32(NEW_CLUSTER_BITS),
	                                   .size_bytes = htobe64(size_bytes),
	                                   .l1_entries = htobe32(l1_entries),
	                                   .l1_at = htobe64(NEW_L1_AT),
	                                   .refcount_table_at = htobe64(NEW_TABLE_AT),
	                                   .refcount_table_clusters = htobe32(1),
	                                   .refcount_order = htobe32(NEW_REFCOUNT_ORDER),
	                                   .header_bytes = htobe32(HEADER_BYTES_V3)}};

	if (!backing)
		return new; /* zeroes are the end of the extensions */
	new.header.backing_at = htobe64(offsetof(struct beginning, backing));
	new.header.backing_bytes = htobe32((uint32_t)strlen(backing));
	/* Without it a reader would have to guess, by what a guest may have written. */
	new.format.type = htobe32(EXTENSION_BACKING_FORMAT);
	new.format.len = htobe32(sizeof(format) - 1);
	memcpy(new.format_name, format, sizeof(format) - 1);
	memcpy(new.backing, backing, strlen(backing));
	return new;
}

static int write_at(int fd, const void *data, size_t len, uint64_t at)
{
	for (size_t put = 0; put < len;) {
		ssize_t n = pwrite(fd, (const char *)data + put, len - put, (off_t)(at + put));

		if (n < 0 && errno != EINTR)
			return -1;
		put += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* All that is zero stays a hole: of a large disk the L1 table has megabytes. */
static int write_image(int fd, uint64_t size_bytes, const char *backing)
{
	uint32_t entries = (uint32_t)(((size_bytes - 1) >> NEW_L1_ENTRY_SHIFT) + 1);
	uint32_t clusters = NEW_L1_CLUSTER + (entries * L1_ENTRY_BYTES - 1) / NEW_CLUSTER_BYTES + 1;
	struct beginning beginning = make_beginning(size_bytes, entries, backing);
	uint64_t table = htobe64(NEW_BLOCK_AT);
	uint16_t block[NEW_CLUSTERS_MAX];

	if (vm_fault(VM_FAULT_FS_WRITE))
		return -1;
	for (uint32_t i = 0; i < clusters; i++)
		block[i] = htobe16(1);
	if (ftruncate(fd, (off_t)clusters * NEW_CLUSTER_BYTES) < 0 ||
	    write_at(fd, &table, sizeof(table), NEW_TABLE_AT) < 0 ||
	    write_at(fd, block, clusters * sizeof(block[0]), NEW_BLOCK_AT) < 0 ||
	    write_at(fd, &beginning, sizeof(beginning), 0) < 0)
		return -1;
	return vm_fault(VM_FAULT_FS_WRITE_DONE) ? -1 : 0;
}

int vm_qcow2_create(int dir_fd, const char *name, uint64_t size_bytes, const char *backing,
                    struct vm_err *err)
{
	const uint64_t max = (uint64_t)(L1_BYTES_MAX / L1_ENTRY_BYTES) << NEW_L1_ENTRY_SHIFT;
	VM_AUTO_CLOSE int fd = -1;

	if (size_bytes == 0 || size_bytes > max || size_bytes % SECTOR_BYTES)
		return vm_err_set(err, VM_ERR_UNSUPPORTED,
		                  "%s: a qcow2 image cannot be made with a size of %ju bytes", name,
		                  (uintmax_t)size_bytes);
	if (backing && !is_plain_name(backing))
		return vm_err_set(err, VM_ERR_UNSUPPORTED,
		                  "%s: its backing file's name is not a plain one", name);
	fd = vm_fs_create(dir_fd, name, 0600, err);
	if (fd < 0)
		return -1;
	if (write_image(fd, size_bytes, backing) == 0)
		return 0;
	vm_fs_fail(dir_fd, name, "writing", err);
	unlinkat(dir_fd, name, 0);
	return -1;
}

/* The files that were entered: a chain that comes back to one of them would never end. */
struct chain {
	int dir_fd;
	unsigned count;
	struct stat seen[VM_QCOW2_LAYERS_MAX + 1];
};

/* Opens a file of the chain; `above` is what lies on it, NULL for the first. */
static int enter(struct chain *chain, const char *name, const char *above, struct vm_err *err)
{
	VM_AUTO_CLOSE int fd =
	        openat(chain->dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;

	if (fd < 0 && errno == ENOENT && above)
		return vm_err_set(err, VM_ERR_CORRUPT, "%s, which %s lies on, is missing", name,
		                  above);
	if (fd < 0 && errno == ENOENT)
		return vm_err_set(err, VM_ERR_NOT_FOUND, "%s: no such file", name);
	if (fd < 0 && errno == ELOOP)
		return vm_err_set(err, VM_ERR_CORRUPT, "%s is a symbolic link", name);
	if (fd < 0 || fstat(fd, &st) < 0)
		return vm_fs_fail(chain->dir_fd, name, "opening", err);
	if (!S_ISREG(st.st_mode))
		return vm_err_set(err, VM_ERR_CORRUPT, "%s is not a regular file", name);
	for (unsigned i = 0; i < chain->count; i++) {
		if (chain->seen[i].st_dev == st.st_dev && chain->seen[i].st_ino == st.st_ino)
			return vm_err_set(err, VM_ERR_CORRUPT, "%s lies on itself", name);
	}
	if (chain->count == VM_ARRAY_LEN(chain->seen))
		return vm_err_set(err, VM_ERR_CORRUPT, "more than %d backing files lie below %s",
		                  VM_QCOW2_LAYERS_MAX, above);
	chain->seen[chain->count++] = st;
	return vm_take_fd(&fd);
}

/* Reads what `above`, of which `upper` tells, lies on. */
static int descend(struct chain *chain, const char *above, const struct vm_qcow2_info *upper,
                   struct vm_qcow2_info *ret, struct vm_err *err)
{
	const char *name = upper->backing, *format = upper->backing_format;
	VM_AUTO_CLOSE int fd = -1;

	if (!is_plain_name(name))
		return vm_err_set(err, VM_ERR_UNSUPPORTED,
		                  "%s lies on %s, which is not a plain name in its directory",
		                  above, name);
	fd = enter(chain, name, above, err);
	if (fd < 0)
		return -1;
	if (strcmp(format, "raw") == 0) {
		*ret = (struct vm_qcow2_info){0};
		return 0;
	}
	if (format[0] ? strcmp(format, "qcow2") != 0 : !vm_qcow2_is(fd))
		return vm_err_set(err, VM_ERR_UNSUPPORTED,
		                  "%s lies on %s, whose format is recorded as \"%s\"", above, name,
		                  format);
	return vm_qcow2_read(fd, name, ret, err);
}

int vm_qcow2_chain(int dir_fd, const char *name, vm_qcow2_layer *each, void *ctx,
                   struct vm_err *err)
{
	struct chain chain = {.dir_fd = dir_fd};
	VM_AUTO_CLOSE int fd = enter(&chain, name, NULL, err);
	struct vm_qcow2_info upper, lower;
	char above[VM_QCOW2_NAME_MAX + 1];

	if (fd < 0 || vm_qcow2_read(fd, name, &upper, err) < 0)
		return -1;
	snprintf(above, sizeof(above), "%s", name);
	while (upper.backed) {
		if (descend(&chain, above, &upper, &lower, err) < 0 ||
		    each(ctx, upper.backing, err) < 0)
			return -1;
		memcpy(above, upper.backing, sizeof(above));
		upper = lower;
	}
	return 0;
}
