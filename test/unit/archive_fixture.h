/* SPDX-License-Identifier: Apache-2.0 */
/* Archives in memory, made by the library or by hand, and what must hold once one was read. */
#ifndef VM_TEST_ARCHIVE_FIXTURE_H
#define VM_TEST_ARCHIVE_FIXTURE_H

#include "fs_fixture.h"

#include "image_archive.h"

#define IMAGE_JSON "{\"name\": \"web\", \"labels\": {\"a\": \"b\"}}"

/* A file in memory that holds those bytes; its offset is at the beginning. */
static inline int stream_of(const void *data, size_t len)
{
	int fd = memfd_create("archive", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

static inline char *bytes_of(int fd, size_t *ret_len)
{
	struct stat st;
	char *data;

	assert_int_equal(fstat(fd, &st), 0);
	data = malloc((size_t)st.st_size + 1);
	assert_non_null(data);
	assert_int_equal(pread(fd, data, (size_t)st.st_size, 0), st.st_size);
	*ret_len = (size_t)st.st_size;
	return data;
}

/* An archive of those files (names end with NULL), rewound. */
static inline int export_files(int dir, const char *const *names,
                               const struct vm_archive_write_options *options)
{
	int fd = memfd_create("archive", MFD_CLOEXEC);
	json_t *image = json_loads(IMAGE_JSON, 0, NULL);
	struct vm_err err = {0};
	size_t count = 0;

	while (names[count])
		count++;
	assert_true(fd >= 0);
	if (vm_archive_write(fd, image, dir, names, count, options, &err) < 0)
		fail_msg("%s", err.message);
	json_decref(image);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

static inline void import_whole(int fd, int dir, const struct vm_archive_read_options *options)
{
	json_t *image = NULL, *want = json_loads(IMAGE_JSON, 0, NULL);
	struct vm_err err = {0};

	if (vm_archive_read(fd, dir, options, &image, &err) < 0)
		fail_msg("%s", err.message);
	assert_true(json_equal(image, want));
	json_decref(image);
	json_decref(want);
}

/* Reading fails with that code and a message that has `words` in it, and leaves nothing. */
static inline void import_fails(int fd, int dir, const struct vm_archive_read_options *options,
                                enum vm_code code, const char *words)
{
	json_t *image = NULL;
	struct vm_err err = {0};

	assert_int_equal(vm_archive_read(fd, dir, options, &image, &err), -1);
	assert_null(image);
	if (err.code != code || !strstr(err.message, words))
		fail_msg("not '%s' (%s) but: %s (%s)", words, vm_code_name(code), err.message,
		         vm_code_name(err.code));
	assert_int_equal(count_entries(dir), 0);
}

static inline void assert_same_file(int a_dir, int b_dir, const char *name)
{
	int a = openat(a_dir, name, O_RDONLY | O_CLOEXEC);
	int b = openat(b_dir, name, O_RDONLY | O_CLOEXEC);
	static char one[MIB], two[MIB];
	struct stat st, other;

	assert_int_equal(fstat(a, &st), 0);
	assert_int_equal(fstat(b, &other), 0);
	assert_int_equal(st.st_size, other.st_size);
	for (off_t at = 0; at < st.st_size; at += MIB) {
		ssize_t n = pread(a, one, MIB, at);

		assert_true(n > 0);
		assert_int_equal(pread(b, two, MIB, at), n);
		assert_memory_equal(one, two, (size_t)n);
	}
	close(a);
	close(b);
}

static inline void empty_dir(int dir, const char *const *names)
{
	for (; *names; names++)
		assert_int_equal(unlinkat(dir, *names, 0), 0);
	assert_int_equal(count_entries(dir), 0);
}

#endif
