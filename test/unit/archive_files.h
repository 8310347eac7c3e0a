/* SPDX-License-Identifier: Apache-2.0 */
/* Files with data here and there, for archives of them. */
#ifndef VM_TEST_ARCHIVE_FILES_H
#define VM_TEST_ARCHIVE_FILES_H

#include "archive_fixture.h"

enum { EXTENTS_MAX = 4 };

struct extent {
	off_t at;
	size_t len;
};

struct layout {
	const char *name;
	off_t size;
	struct extent data[EXTENTS_MAX];
};

static const struct layout layouts[] = {
        {"empty", 0, {{0, 0}}},
        {"one-byte", 1, {{0, 1}}},
        {"dense", 3L * BLOCK, {{0, 3UL * BLOCK}}},
        {"dense-and-odd", 200001, {{0, 200001}}},
        {"only-a-hole", 64L * MIB, {{0, 0}}},
        {"hole-of-odd-size", 64L * MIB + 123, {{0, 0}}},
        {"data-first", 64L * MIB, {{0, BLOCK}}},
        {"data-last", 64L * MIB, {{64L * MIB - BLOCK, BLOCK}}},
        {"data-between", 64L * MIB, {{20L * MIB, MIB}, {40L * MIB, BLOCK}}},
        {"partial-last-block", 8L * MIB + 777, {{0, BLOCK}, {8L * MIB, 777}}},
        {"odd_places.img", 8L * MIB, {{12345, 10}, {3L * MIB + 1, MIB}, {8L * MIB - 1, 1}}},
        {"longer-than-a-buffer", 40L * MIB, {{MIB, 20UL * MIB + 5}}},
};

static const char *all_names[VM_ARRAY_LEN(layouts) + 1];

/* Bytes that tell their place, none of them zero. */
static inline void fill(char *data, size_t len, off_t at)
{
	for (size_t i = 0; i < len; i++)
		data[i] = (char)((((size_t)at + i) * 2654435761U >> 13 & 0xff) | 1);
}

static inline void put(int fd, off_t at, size_t len)
{
	char *data = malloc(len + 1);

	assert_non_null(data);
	fill(data, len, at);
	assert_int_equal(pwrite(fd, data, len, at), len);
	free(data);
}

static inline void make_file(int dir, const struct layout *layout)
{
	int fd = openat(dir, layout->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, layout->size), 0);
	for (size_t i = 0; i < EXTENTS_MAX; i++)
		put(fd, layout->data[i].at, layout->data[i].len);
	close(fd);
}

static inline void make_all(int dir)
{
	for (size_t i = 0; i < VM_ARRAY_LEN(layouts); i++) {
		make_file(dir, &layouts[i]);
		all_names[i] = layouts[i].name;
	}
}

#endif
