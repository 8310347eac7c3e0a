/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader of archives, fed with anything. Whatever the bytes are: a refusal says why and leaves
 * nothing, an acceptance leaves what was announced and no more. Checksums would keep a mutated
 * archive from ever being accepted and hide what stands behind them, but the reading of all files
 * stands in front of them.
 *
 * An input is one archive. Most seeds are not compressed: zstd would not let mutations in. No
 * mutated header has a right sum, so each input is tried as it is and once more with sums that fit.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image_archive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

enum { MAX_DATA_BYTES = 8 << 20, TAR_BLOCK = 512 };

static char directory[] = "/dev/shm/vmctl-fuzz-XXXXXX";

static void require(int holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "violated: %s\n", what);
	abort();
}

static void remove_directory(void)
{
	(void)rmdir(directory);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	require(mkdtemp(directory) != NULL, "a directory");
	return atexit(remove_directory);
}

/* Removes what is in the directory; how many that was, and the disk they took. */
static size_t empty(int dir_fd, uint64_t *ret_bytes)
{
	DIR *dir = fdopendir(openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct dirent *entry;
	size_t count = 0;
	struct stat st;

	*ret_bytes = 0;
	require(dir != NULL, "the directory can be listed");
	while ((entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		require(fstatat(dir_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0, "a file");
		require(st.st_mode == (S_IFREG | 0600), "only regular files, mode 0600");
		*ret_bytes += (uint64_t)st.st_blocks * 512;
		count++;
		require(unlinkat(dir_fd, entry->d_name, 0) == 0, "a file that can be removed");
	}
	closedir(dir);
	return count;
}

static size_t announced;

static int look(void *ctx, const struct vm_archive_contents *contents, struct vm_err *err)
{
	(void)ctx;
	(void)err;
	require(json_is_object(contents->image), "an image");
	require(contents->data_bytes <= MAX_DATA_BYTES, "the limit");
	require(contents->data_bytes <= contents->size_bytes, "no more data than size");
	announced = contents->count;
	return 0;
}

static void try(const uint8_t *data, size_t size)
{
	/* Of any size, for holes are free; of little data, for that is memory here. */
	const struct vm_archive_read_options options = {.max_data_bytes = MAX_DATA_BYTES,
	                                                .check = look};
	int dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fd = memfd_create("archive", MFD_CLOEXEC);
	struct vm_err err = {0};
	json_t *image = NULL;
	uint64_t bytes;
	size_t count;
	int rc;

	require(dir_fd >= 0 && fd >= 0, "descriptors");
	require(write(fd, data, size) == (ssize_t)size && lseek(fd, 0, SEEK_SET) == 0, "a stream");
	rc = vm_archive_read(fd, dir_fd, &options, &image, &err);
	count = empty(dir_fd, &bytes);
	require((rc == 0) == (err.code == VM_OK), "result and error agree");
	require((rc == 0) == (image != NULL), "an image on success only");
	require(rc == 0 || count == 0, "a refused archive leaves nothing");
	require(rc == 0 || err.message[0] != '\0', "an error says why");
	require(!strpbrk(err.message, "\r\n\t\x1b"), "no control character in a message");
	require(rc < 0 || count == announced, "an accepted archive leaves what it announced");
	require(bytes <= MAX_DATA_BYTES + (uint64_t)VM_ARCHIVE_FILES_MAX * 4096, "little disk");
	json_decref(image);
	close(fd);
	close(dir_fd);
}

/* The sum of a header counts its own field as blanks. Whether there was anything to mend. */
static bool mend_sums(uint8_t *data, size_t size)
{
	bool mended = false;

	for (size_t at = 0; at + TAR_BLOCK <= size; at += TAR_BLOCK) {
		uint8_t *block = data + at;
		char text[16];
		unsigned sum = 0;

		if (memcmp(block + 257, "ustar", 5) != 0)
			continue;
		memset(block + 148, ' ', 8);
		for (int i = 0; i < TAR_BLOCK; i++)
			sum += block[i];
		snprintf(text, sizeof(text), "%06o", sum);
		memcpy(block + 148, text, 7);
		mended = true;
	}
	return mended;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size + 1);

	require(copy != NULL, "memory");
	try(data, size);
	memcpy(copy, data, size);
	if (mend_sums(copy, size))
		try(copy, size);
	free(copy);
	return 0;
}
