/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "driver/driver.h"
#include "fs.h"
#include "qcow2.h"

#define LAYER_SUFFIX ".layer"

enum { FRESH_NAME_SIZE = VM_DISK_FILE_SIZE + 8 };

bool vm_overlay_is(const struct vm_disk *disk)
{
	return disk->format == VM_DISK_QCOW2 && !disk->read_only;
}

bool vm_overlay_any(const struct vm_spec *spec)
{
	for (size_t i = 0; i < spec->disk_count; i++) {
		if (vm_overlay_is(&spec->disks[i]))
			return true;
	}
	return false;
}

static int new_name(const struct vm_disk *disk, char ret_name[VM_LAYER_NAME_SIZE],
                    struct vm_err *err)
{
	char id[VM_ID_LEN + 1];

	if (vm_id_new(id, err) < 0)
		return -1;
	snprintf(ret_name, VM_LAYER_NAME_SIZE, "disk-%s.%s" LAYER_SUFFIX, disk->id, id);
	return 0;
}

/* The name of a new layer on its way to that of the disk. */
static const char *fresh_name(const struct vm_disk *disk, char buf[FRESH_NAME_SIZE])
{
	snprintf(buf, FRESH_NAME_SIZE, VM_DISK_FILE_FORMAT ".new", disk->id);
	return buf;
}

static bool is_layer_of(const struct vm_disk *disk, const char *name)
{
	char begin[VM_DISK_ID_MAX + 8];
	size_t len;

	snprintf(begin, sizeof(begin), "disk-%s.", disk->id);
	len = strlen(begin);
	return strncmp(name, begin, len) == 0 &&
	       strlen(name) == len + VM_ID_LEN + strlen(LAYER_SUFFIX) &&
	       strcmp(name + len + VM_ID_LEN, LAYER_SUFFIX) == 0;
}

static int read_disk(int dir_fd, const struct vm_disk *disk, struct vm_qcow2_info *ret,
                     struct vm_err *err)
{
	char file[VM_DISK_FILE_SIZE];
	VM_AUTO_CLOSE int fd = openat(dir_fd, vm_disk_file(disk, file),
	                              O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return vm_fs_fail(dir_fd, file, "opening", err);
	return vm_qcow2_read(fd, file, ret, err);
}

/* --- names --------------------------------------------------------------------------------------
 */

struct search {
	const struct vm_disk *disk;
	struct stat of;
	char *name;
};

static int compare(void *ctx, int dir_fd, const char *name, struct vm_err *err)
{
	struct search *search = ctx;
	struct stat st;

	(void)err;
	if (is_layer_of(search->disk, name) &&
	    fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    st.st_ino == search->of.st_ino && st.st_dev == search->of.st_dev)
		snprintf(search->name, VM_LAYER_NAME_SIZE, "%s", name);
	return 0;
}

int vm_overlay_name(int dir_fd, const struct vm_disk *disk, char ret_name[VM_LAYER_NAME_SIZE],
                    struct vm_err *err)
{
	struct search search = {.disk = disk, .name = ret_name};
	char file[VM_DISK_FILE_SIZE];

	ret_name[0] = '\0';
	if (fstatat(dir_fd, vm_disk_file(disk, file), &search.of, AT_SYMLINK_NOFOLLOW) < 0)
		return vm_fs_fail(dir_fd, file, "looking at", err);
	if (vm_fs_each(dir_fd, ".", compare, &search, err) < 0)
		return -1;
	if (ret_name[0])
		return 0;
	if (new_name(disk, ret_name, err) < 0)
		return -1;
	return vm_fs_link_as(dir_fd, file, dir_fd, ret_name, err);
}

int vm_overlay_put(int dir_fd, const struct vm_disk *disk, const char *below,
                   char ret_name[VM_LAYER_NAME_SIZE], struct vm_err *err)
{
	char file[VM_DISK_FILE_SIZE], fresh[FRESH_NAME_SIZE];

	vm_disk_file(disk, file);
	fresh_name(disk, fresh);
	/* A rename to a link of the same file would do nothing. */
	if (new_name(disk, ret_name, err) < 0 || vm_fs_unlink(dir_fd, fresh, err) < 0 ||
	    vm_qcow2_create(dir_fd, ret_name, disk->size_bytes, below, err) < 0)
		return -1;
	if (vm_fs_sync(dir_fd, ret_name, err) < 0 ||
	    vm_fs_link_as(dir_fd, ret_name, dir_fd, fresh, err) < 0 ||
	    vm_fs_sync(dir_fd, NULL, err) < 0 || vm_fs_rename(dir_fd, fresh, dir_fd, file, err) < 0)
		return -1;
	return vm_fs_sync(dir_fd, NULL, err);
}

/* --- freezing and sharing -----------------------------------------------------------------------
 */

static int count_layer(void *ctx, const char *name, struct vm_err *err)
{
	unsigned *count = ctx;

	(void)name;
	(void)err;
	(*count)++;
	return 0;
}

/* One more must still be readable when it is added. */
static int check_depth(int dir_fd, const struct vm_disk *disk, struct vm_err *err)
{
	char file[VM_DISK_FILE_SIZE];
	unsigned count = 0;

	if (vm_qcow2_chain(dir_fd, vm_disk_file(disk, file), count_layer, &count, err) < 0)
		return -1;
	if (count + 1 < VM_QCOW2_LAYERS_MAX)
		return 0;
	vm_err_set(err, VM_ERR_UNSUPPORTED, "%s lies on %u layers, and there can be no more", file,
	           count);
	return vm_err_hint(err, "make one of them: stop it, '" VM_IMAGE_TOOL
	                        " convert -O qcow2' its disk, "
	                        "and create an instance from that");
}

int vm_overlay_check_depth(int dir_fd, const struct vm_spec *spec, struct vm_err *err)
{
	for (size_t i = 0; i < spec->disk_count; i++) {
		if (vm_overlay_is(&spec->disks[i]) && check_depth(dir_fd, &spec->disks[i], err) < 0)
			return -1;
	}
	return 0;
}

static int pass(void *ctx, const char *name, struct vm_err *err)
{
	(void)ctx;
	(void)name;
	(void)err;
	return 0;
}

/* Of a disk whose header was read. */
static int check_read(int dir_fd, const struct vm_disk *disk, const struct vm_qcow2_info *info,
                      struct vm_err *err)
{
	char file[VM_DISK_FILE_SIZE];

	vm_disk_file(disk, file);
	if (disk->size_bytes != 0 && info->size_bytes != disk->size_bytes)
		return vm_err_set(err, VM_ERR_CORRUPT,
		                  "%s is a disk of %ju bytes, it had %ju when it was recorded",
		                  file, (uintmax_t)info->size_bytes, (uintmax_t)disk->size_bytes);
	return vm_qcow2_chain(dir_fd, file, pass, NULL, err);
}

int vm_overlay_check(int dir_fd, const struct vm_disk *disk, struct vm_err *err)
{
	struct vm_qcow2_info info = {0};

	return read_disk(dir_fd, disk, &info, err) < 0 ? -1 : check_read(dir_fd, disk, &info, err);
}

int vm_overlay_below_empty(int dir_fd, const struct vm_disk *disk,
                           char ret_layer[VM_LAYER_NAME_SIZE], struct vm_err *err)
{
	struct vm_qcow2_info info = {0};

	if (read_disk(dir_fd, disk, &info, err) < 0)
		return -1;
	/* Only layers of ours: what a user has put there may lie on anything. */
	snprintf(ret_layer, VM_LAYER_NAME_SIZE, "%.*s", VM_LAYER_NAME_SIZE - 1,
	         info.untouched && info.backed && is_layer_of(disk, info.backing) ? info.backing
	                                                                          : "");
	return ret_layer[0] ? check_read(dir_fd, disk, &info, err) : 0;
}

static int freeze_disk(int dir_fd, const struct vm_disk *disk, bool may_change,
                       char ret_layer[VM_LAYER_NAME_SIZE], struct vm_err *err)
{
	char ignored[VM_LAYER_NAME_SIZE];

	if (vm_overlay_below_empty(dir_fd, disk, ret_layer, err) < 0)
		return -1;
	if (ret_layer[0])
		return 0;
	if (!may_change)
		return vm_err_set(err, VM_ERR_CORRUPT,
		                  "disk '%s' of an image is not an empty layer on a frozen one",
		                  disk->id);
	/* Synced: what is published durably lies on it, and it may have been written long ago. */
	if (check_depth(dir_fd, disk, err) < 0 ||
	    vm_overlay_name(dir_fd, disk, ret_layer, err) < 0 ||
	    vm_fs_sync(dir_fd, ret_layer, err) < 0)
		return -1;
	return vm_overlay_put(dir_fd, disk, ret_layer, ignored, err);
}

int vm_overlay_freeze(int dir_fd, const struct vm_spec *spec, bool may_change,
                      struct vm_frozen *ret, struct vm_err *err)
{
	struct vm_frozen frozen = {0};

	for (size_t i = 0; i < spec->disk_count; i++) {
		if (vm_overlay_is(&spec->disks[i]) &&
		    freeze_disk(dir_fd, &spec->disks[i], may_change, frozen.layer[i], err) < 0)
			return -1;
	}
	*ret = frozen;
	return 0;
}

struct share {
	int from_fd, to_fd;
};

static int link_layer(void *ctx, const char *name, struct vm_err *err)
{
	const struct share *share = ctx;

	return vm_fs_link(share->from_fd, share->to_fd, name, err);
}

int vm_overlay_share(int from_fd, const char *layer, int to_fd, const struct vm_disk *disk,
                     struct vm_err *err)
{
	struct share share = {from_fd, to_fd};
	char ignored[VM_LAYER_NAME_SIZE];

	if (link_layer(&share, layer, err) < 0 ||
	    vm_qcow2_chain(from_fd, layer, link_layer, &share, err) < 0)
		return -1;
	return vm_overlay_put(to_fd, disk, layer, ignored, err);
}

/* --- tidying ------------------------------------------------------------------------------------
 */

struct tidy {
	const struct vm_disk *disk;
	char (*kept)[VM_LAYER_NAME_SIZE];
	size_t count;
};

static int keep_layer(void *ctx, const char *name, struct vm_err *err)
{
	struct tidy *tidy = ctx;

	(void)err;
	snprintf(tidy->kept[tidy->count], VM_LAYER_NAME_SIZE, "%s", name);
	tidy->count++;
	return 0;
}

static int drop_other(void *ctx, int dir_fd, const char *name, struct vm_err *err)
{
	const struct tidy *tidy = ctx;

	if (!is_layer_of(tidy->disk, name))
		return 0;
	for (size_t i = 0; i < tidy->count; i++) {
		if (strcmp(tidy->kept[i], name) == 0)
			return 0;
	}
	return vm_fs_unlink(dir_fd, name, err);
}

int vm_overlay_tidy(int dir_fd, const struct vm_disk *disk, struct vm_err *err)
{
	VM_AUTO_FREE char(*kept)[VM_LAYER_NAME_SIZE] =
	        vm_calloc(VM_QCOW2_LAYERS_MAX + 1, sizeof(*kept), err);
	struct tidy tidy = {.disk = disk, .kept = kept};
	char file[VM_DISK_FILE_SIZE], fresh[FRESH_NAME_SIZE];

	if (!kept || vm_fs_unlink(dir_fd, fresh_name(disk, fresh), err) < 0 ||
	    vm_qcow2_chain(dir_fd, vm_disk_file(disk, file), keep_layer, &tidy, err) < 0 ||
	    vm_overlay_name(dir_fd, disk, kept[tidy.count], err) < 0)
		return -1;
	tidy.count++;
	return vm_fs_each(dir_fd, ".", drop_other, &tidy, err);
}
