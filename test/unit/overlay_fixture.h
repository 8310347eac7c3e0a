/* SPDX-License-Identifier: Apache-2.0 */
/* Disks in layers, made by hand, and looks at the directory that they are in. */
#ifndef VM_TEST_OVERLAY_FIXTURE_H
#define VM_TEST_OVERLAY_FIXTURE_H

#include "fs_fixture.h"

#include "overlay.h"
#include "qcow2.h"

/* Where what we make has its L1 table: see lib/qcow2.c. */
enum { L1_AT = 3 * 65536, DISK_BYTES = 64 * MIB };
#define ID "0123456789abcdefghijklm" /* all of an id but its last character */
#define FRESH "disk-root.img.new"

static inline struct vm_disk disk_of(const char *id)
{
	struct vm_disk disk = {.format = VM_DISK_QCOW2, .size_bytes = DISK_BYTES};

	snprintf(disk.id, sizeof(disk.id), "%s", id);
	return disk;
}

/* A spec of one disk, or two. Nothing in it is allocated. */
static inline struct vm_spec spec_of(const struct vm_disk *first, const struct vm_disk *second)
{
	struct vm_spec spec;

	vm_spec_init(&spec);
	spec.disks[spec.disk_count++] = *first;
	if (second)
		spec.disks[spec.disk_count++] = *second;
	return spec;
}

static inline void make(int dir_fd, const char *name, const char *backing)
{
	struct vm_err err = {0};

	if (vm_qcow2_create(dir_fd, name, DISK_BYTES, backing, &err) < 0)
		fail_msg("%s", err.message);
}

/* As if the guest had written: it has a cluster of its own. */
static inline void touch(int dir_fd, const char *name)
{
	VM_AUTO_CLOSE int fd = openat(dir_fd, name, O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, "\x80", 1, L1_AT), 1);
}

static inline struct vm_qcow2_info info_of(int dir_fd, const char *name)
{
	VM_AUTO_CLOSE int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct vm_qcow2_info info = {0};
	struct vm_err err = {0};

	if (fd < 0 || vm_qcow2_read(fd, name, &info, &err) < 0)
		fail_msg("%s: %s", name, err.message);
	return info;
}

static inline struct stat stat_of(int dir_fd, const char *name)
{
	struct stat st = {0};

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		fail_msg("%s: %s", name, strerror(errno));
	return st;
}

/* All that is seen of a directory: names, inodes, links, sizes, times. */
struct listing {
	char text[16 * 1024];
};

static inline struct listing listing(int dir_fd)
{
	struct listing listing = {""};
	struct dirent **list = NULL;
	int n = scandirat(dir_fd, ".", &list, NULL, alphasort);
	size_t used = 0;

	assert_true(n >= 2);
	for (int i = 0; i < n; i++) {
		struct stat st = stat_of(dir_fd, list[i]->d_name);
		size_t room = sizeof(listing.text) - used;

		if (list[i]->d_name[0] != '.')
			used += (size_t)snprintf(listing.text + used, room,
			                         "%s %ju %ju %jd %jd.%09ld\n", list[i]->d_name,
			                         (uintmax_t)st.st_ino, (uintmax_t)st.st_nlink,
			                         (intmax_t)st.st_size, (intmax_t)st.st_mtim.tv_sec,
			                         st.st_mtim.tv_nsec);
		assert_true(used < sizeof(listing.text));
		free(list[i]);
	}
	free(list);
	return listing;
}

static inline void assert_same(int dir_fd, const struct listing *before)
{
	struct listing now = listing(dir_fd);

	assert_string_equal(now.text, before->text);
}

static inline void freeze(int dir_fd, const struct vm_spec *spec, bool may_change,
                          struct vm_frozen *ret)
{
	struct vm_err err = {0};

	if (vm_overlay_freeze(dir_fd, spec, may_change, ret, &err) < 0)
		fail_msg("%s", err.message);
}

static inline void check(int dir_fd, const struct vm_disk *disk)
{
	struct vm_err err = {0};

	if (vm_overlay_check(dir_fd, disk, &err) < 0)
		fail_msg("%s", err.message);
}

static inline void tidy(int dir_fd, const struct vm_disk *disk)
{
	struct vm_err err = {0};

	if (vm_overlay_tidy(dir_fd, disk, &err) < 0)
		fail_msg("%s", err.message);
	check(dir_fd, disk);
}

/* A freeze that fails: *ret is as it was, and so is the directory. */
static inline void assert_no_freeze(int dir_fd, const struct vm_spec *spec, bool may_change,
                                    enum vm_code code, struct vm_err *ret_err)
{
	const struct listing before = listing(dir_fd);
	struct vm_frozen frozen, untouched;

	memset(&frozen, 0x5a, sizeof(frozen));
	memset(&untouched, 0x5a, sizeof(untouched));
	*ret_err = (struct vm_err){0};
	assert_int_equal(vm_overlay_freeze(dir_fd, spec, may_change, &frozen, ret_err), -1);
	if (ret_err->code != code)
		fail_msg("%s: %s", vm_code_name(ret_err->code), ret_err->message);
	assert_memory_equal(&frozen, &untouched, sizeof(frozen));
	assert_same(dir_fd, &before);
}

static inline void assert_check_fails(int dir_fd, const struct vm_disk *disk, enum vm_code code,
                                      const char *why)
{
	struct vm_err err = {0};

	assert_int_equal(vm_overlay_check(dir_fd, disk, &err), -1);
	if (err.code != code || !strstr(err.message, why))
		fail_msg("%s (%s), and not: %s", err.message, vm_code_name(err.code), why);
}

/* "disk-root.<23 characters of an id>X.layer" */
static inline char *layer_name(char last, char buf[VM_LAYER_NAME_SIZE])
{
	snprintf(buf, VM_LAYER_NAME_SIZE, "disk-root." ID "%c.layer", last);
	return buf;
}

/* Layers of ours below the disk, that many of them. */
static inline void make_chain(int dir_fd, unsigned layers)
{
	char name[VM_LAYER_NAME_SIZE], below[VM_LAYER_NAME_SIZE] = "";

	for (unsigned i = 0; i < layers; i++) {
		snprintf(name, sizeof(name), "disk-root.%024u.layer", i);
		make(dir_fd, name, i ? below : NULL);
		memcpy(below, name, sizeof(below));
	}
	make(dir_fd, "disk-root.img", layers ? below : NULL);
}

#endif
