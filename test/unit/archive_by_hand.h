/* SPDX-License-Identifier: Apache-2.0 */
/* Archives made by hand, header by header: what no writer of archives would write. */
#ifndef VM_TEST_ARCHIVE_BY_HAND_H
#define VM_TEST_ARCHIVE_BY_HAND_H

#include "archive_fixture.h"

#include <zstd.h>

#include "archive_impl.h"

enum { TAR_BLOCK = 512 };

struct tar {
	char *data;
	size_t len, room;
};

static inline char *tar_more(struct tar *tar, size_t len)
{
	size_t at = tar->len;

	tar->len += len;
	if (tar->len > tar->room) {
		tar->room = tar->len * 2;
		tar->data = realloc(tar->data, tar->room);
		assert_non_null(tar->data);
	}
	memset(tar->data + at, 0, len);
	return tar->data + at;
}

static inline void put_octal(char *field, size_t len, uint64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%0*jo", (int)len - 1, (uintmax_t)value);
	memcpy(field, text, len - 1);
}

struct header {
	const char *name, *link;
	char type;
	unsigned mode;
	uint64_t size;
};

static inline void tar_header(struct tar *tar, const struct header *h)
{
	char *block = tar_more(tar, TAR_BLOCK);
	unsigned sum = 0;

	memcpy(block, h->name, strlen(h->name));
	put_octal(block + 100, 8, h->mode ? h->mode : 0600);
	put_octal(block + 108, 8, 0);
	put_octal(block + 116, 8, 0);
	put_octal(block + 124, 12, h->size);
	put_octal(block + 136, 12, 0);
	memset(block + 148, ' ', 8);
	block[156] = (char)(h->type ? h->type : '0');
	if (h->link)
		memcpy(block + 157, h->link, strlen(h->link));
	memcpy(block + 257, "ustar\00000", 8);
	for (int i = 0; i < TAR_BLOCK; i++)
		sum += (unsigned char)block[i];
	put_octal(block + 148, 7, sum);
}

static inline void tar_data(struct tar *tar, const void *data, size_t len)
{
	memcpy(tar_more(tar, (len + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK), data, len);
}

static inline void tar_file(struct tar *tar, const char *name, const void *data, size_t len)
{
	tar_header(tar, &(struct header){.name = name, .size = len});
	tar_data(tar, data, len);
}

static inline void tar_text(struct tar *tar, const char *name, const char *text)
{
	tar_file(tar, name, text, strlen(text));
}

/* What announces those files: the part behind "files": of vmctl-image.json. */
static inline void tar_begin(struct tar *tar, const char *files)
{
	char text[4096];

	snprintf(text, sizeof(text),
	         "{\"format\": 1, \"made_by\": \"hand\", \"image\": %s, \"files\": [%s]}",
	         IMAGE_JSON, files);
	*tar = (struct tar){0};
	tar_text(tar, VM_ARCHIVE_IMAGE_NAME, text);
}

static inline void tar_end(struct tar *tar)
{
	(void)tar_more(tar, 2 * (size_t)TAR_BLOCK);
}

/* Refused as corrupt with those words, as it is and compressed. Frees it. */
static inline void refused(struct fixture *f, struct tar *tar, enum vm_code code, const char *words)
{
	size_t room = ZSTD_compressBound(tar->len), len;
	char *small = malloc(room);
	int fd = stream_of(tar->data, tar->len);

	import_fails(fd, f->to, NULL, code, words);
	close(fd);
	assert_non_null(small);
	len = ZSTD_compress(small, room, tar->data, tar->len, 1);
	assert_false(ZSTD_isError(len));
	fd = stream_of(small, len);
	import_fails(fd, f->to, NULL, code, words);
	close(fd);
	free(small);
	free(tar->data);
}

#define FILE_AB                                                                                    \
	"{\"name\": \"a\", \"size\": 3, \"data\": 3}, {\"name\": \"b\", \"size\": 3, \"data\": 3}"

/* The sums of FILE_AB with "one" and "two", as tar_begin() announces them. */
static inline char *sums_ab(const struct tar *tar)
{
	struct vm_archive_list list;
	struct vm_err err = {0};
	struct vm_archive_hash *hash = vm_archive_hash_new(&err);
	char *text = NULL;
	size_t len;

	assert_int_equal(vm_archive_list_init(&list, 2, &err), 0);
	snprintf(list.files[0].name, sizeof(list.files[0].name), "a");
	snprintf(list.files[1].name, sizeof(list.files[1].name), "b");
	vm_archive_hash_all(hash, "one", 3, list.sums[0]);
	vm_archive_hash_all(hash, "two", 3, list.sums[1]);
	vm_archive_hash_all(hash, tar->data + TAR_BLOCK, strlen(tar->data + TAR_BLOCK),
	                    list.image_sum);
	assert_int_equal(vm_archive_sums_text(&list, &text, &len, &err), 0);
	vm_archive_list_free(&list);
	vm_archive_hash_free(&hash);
	return text;
}

/* All that a whole archive needs, but for its end. */
static inline void tar_whole(struct tar *tar)
{
	char *sums;

	tar_begin(tar, FILE_AB);
	sums = sums_ab(tar);
	tar_text(tar, "a", "one");
	tar_text(tar, "b", "two");
	tar_text(tar, VM_ARCHIVE_SUMS_NAME, sums);
	free(sums);
}

#endif
