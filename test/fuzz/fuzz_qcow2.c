/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader of qcow2 headers, fed with anything, and the walk of a chain that begins with it. An
 * input is the beginning of an image. It is tried as it is, and once more followed by zeroes, for
 * an L1 table to lie in: few mutations would make a file that is long enough.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs.h"
#include "qcow2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

enum { FILE_BYTES = 64 << 20 };

static char directory[] = "/dev/shm/vmctl-fuzz-XXXXXX";
static int dir_fd = -1;

static void require(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "violated: %s\n", what);
	abort();
}

static void remove_directory(void)
{
	struct vm_err err = {0};

	(void)vm_fs_remove_tree(AT_FDCWD, directory, &err);
}

/* What an input may lie on: an image, one on that, and one that lies on the input. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct vm_err err = {0};

	(void)argc;
	(void)argv;
	require(mkdtemp(directory) != NULL, "a directory");
	dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	require(dir_fd >= 0, "a directory that can be opened");
	require(vm_qcow2_create(dir_fd, "base", 1 << 20, NULL, &err) == 0, "base");
	require(vm_qcow2_create(dir_fd, "b", 1 << 20, "base", &err) == 0, "b");
	require(vm_qcow2_create(dir_fd, "loop", 1 << 20, "image", &err) == 0, "loop");
	return atexit(remove_directory);
}

/* A failure must say what and why; an accepted image must not leave an error behind. */
static void check_error(int rc, const struct vm_err *err)
{
	require((rc == 0) == (err->code == VM_OK), "result and error agree");
	require((rc == 0) == (err->message[0] == '\0'), "an error says why");
	require(rc == 0 || err->code == VM_ERR_CORRUPT || err->code == VM_ERR_UNSUPPORTED,
	        "it is the input's fault");
	for (const char *c = err->message; *c; c++)
		require((unsigned char)*c >= ' ' && *c != 0x7f, "a message of one line");
}

static void check_info(const struct vm_qcow2_info *info, bool begins_with_magic)
{
	require(begins_with_magic, "the magic");
	require(info->version == 2 || info->version == 3, "the version");
	require(info->cluster_bits >= 9 && info->cluster_bits <= 21, "the cluster size");
	require(info->version == 3 || info->incompatible == 0, "features of version 3");
	require((info->incompatible &
	         ~(VM_QCOW2_DIRTY | VM_QCOW2_COMPRESSION | VM_QCOW2_EXTENDED_L2)) == 0,
	        "known features");
	require(info->size_bytes <= UINT64_C(1) << 61, "a size that an L1 table can have");
	require(strnlen(info->backing, sizeof(info->backing)) < sizeof(info->backing), "a string");
	require(info->backed == (info->backing[0] != '\0'), "a name if it is backed");
	require(info->backed || !info->backing_format[0], "no format of nothing");
	require(!info->untouched || (info->snapshots == 0 && !info->bitmaps), "nothing of its own");
}

static int layer(void *ctx, const char *name, struct vm_err *err)
{
	unsigned *count = ctx;

	(void)err;
	require(strcmp(name, "base") == 0 || strcmp(name, "b") == 0 || strcmp(name, "loop") == 0,
	        "a file that is there");
	(*count)++;
	return 0;
}

static void try(int fd)
{
	struct vm_qcow2_info info, before;
	unsigned layers = 0;
	struct vm_err err = {0};
	int rc;

	memset(&before, 0x5a, sizeof(before));
	memcpy(&info, &before, sizeof(info));
	rc = vm_qcow2_read(fd, "image", &info, &err);
	check_error(rc, &err);
	if (rc == 0)
		check_info(&info, vm_qcow2_is(fd));
	else
		require(info.size_bytes == before.size_bytes && info.version == before.version &&
		                memcmp(info.backing, before.backing, sizeof(info.backing)) == 0,
		        "untouched on failure");
	err = (struct vm_err){0};
	require(vm_qcow2_chain(dir_fd, "image", layer, &layers, &err) < 0 || rc == 0,
	        "a chain of what can be read");
	check_error(err.code == VM_OK ? 0 : -1, &err);
	require(rc < 0 || err.code != VM_OK || info.backed == (layers > 0), "its layers");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = openat(dir_fd, "image", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	require(fd >= 0 && write(fd, data, size) == (ssize_t)size, "a file");
	try(fd);
	require(ftruncate(fd, FILE_BYTES) == 0, "a large file");
	try(fd);
	close(fd);
	return 0;
}
