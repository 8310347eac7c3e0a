/* SPDX-License-Identifier: Apache-2.0 */
/* Archives that are damaged, cut short, or made to harm. They are made by hand, header by header.
 */
#include "archive_fixture.h"

#include <zstd.h>

#include "archive_impl.h"

enum { TAR_BLOCK = 512 };

/* --- tars by hand --------------------------------------------------------------------------------
 */

struct tar {
	char *data;
	size_t len, room;
};

static char *tar_more(struct tar *tar, size_t len)
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

static void put_octal(char *field, size_t len, uint64_t value)
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

static void tar_header(struct tar *tar, const struct header *h)
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
	block[156] = h->type ? h->type : '0';
	if (h->link)
		memcpy(block + 157, h->link, strlen(h->link));
	memcpy(block + 257, "ustar\00000", 8);
	for (int i = 0; i < TAR_BLOCK; i++)
		sum += (unsigned char)block[i];
	put_octal(block + 148, 7, sum);
}

static void tar_data(struct tar *tar, const void *data, size_t len)
{
	memcpy(tar_more(tar, (len + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK), data, len);
}

static void tar_file(struct tar *tar, const char *name, const void *data, size_t len)
{
	tar_header(tar, &(struct header){.name = name, .size = len});
	tar_data(tar, data, len);
}

static void tar_text(struct tar *tar, const char *name, const char *text)
{
	tar_file(tar, name, text, strlen(text));
}

/* What announces those files: the part behind "files": of vmctl-image.json. */
static void tar_begin(struct tar *tar, const char *files)
{
	char text[4096];

	snprintf(text, sizeof(text),
	         "{\"format\": 1, \"made_by\": \"hand\", \"image\": %s, \"files\": [%s]}",
	         IMAGE_JSON, files);
	*tar = (struct tar){0};
	tar_text(tar, VM_ARCHIVE_IMAGE_NAME, text);
}

static void tar_end(struct tar *tar)
{
	(void)tar_more(tar, 2 * (size_t)TAR_BLOCK);
}

/* Refused as corrupt with those words, as it is and compressed. Frees it. */
static void refused(struct fixture *f, struct tar *tar, enum vm_code code, const char *words)
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
static char *sums_ab(const struct tar *tar)
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
static void tar_whole(struct tar *tar)
{
	char *sums;

	tar_begin(tar, FILE_AB);
	sums = sums_ab(tar);
	tar_text(tar, "a", "one");
	tar_text(tar, "b", "two");
	tar_text(tar, VM_ARCHIVE_SUMS_NAME, sums);
	free(sums);
}

static void the_archives_made_here_are_right_but_for_what_is_wrong(void **state)
{
	struct fixture *f = *state;
	struct tar tar;
	int fd;

	tar_whole(&tar);
	tar_end(&tar);
	(void)tar_more(&tar, 10240); /* as other tars fill up */
	fd = stream_of(tar.data, tar.len);
	import_whole(fd, f->to, NULL);
	assert_text(f->to, "a", "one");
	assert_text(f->to, "b", "two");
	close(fd);
	free(tar.data);
}

/* --- names and kinds -----------------------------------------------------------------------------
 */

static void names_that_are_not_plain_are_refused(void **state)
{
	static const char *const names[] = {"../a",
	                                    "/a",
	                                    "a/b",
	                                    ".",
	                                    "..",
	                                    "./a",
	                                    ".a",
	                                    "a\\n\\u001b[2J",
	                                    "vmctl-checksums.json"};
	struct fixture *f = *state;
	char files[200];
	struct tar tar;

	for (size_t i = 0; i < VM_ARRAY_LEN(names); i++) {
		snprintf(files, sizeof(files), "{\"name\": \"%s\", \"size\": 3, \"data\": 3}",
		         names[i]);
		tar_begin(&tar, files);
		tar_text(&tar, names[i], "one");
		tar_end(&tar);
		refused(f, &tar, VM_ERR_CORRUPT, "not a plain one");
		tar_begin(&tar, FILE_AB);
		tar_text(&tar, names[i], "one");
		tar_end(&tar);
		refused(f, &tar, VM_ERR_CORRUPT, "in the archive");
	}
	assert_int_equal(count_entries(f->dir.fd), 2); /* nothing beside the directory */
}

static void what_is_no_file_is_refused(void **state)
{
	static const struct {
		char type;
		const char *link, *words;
	} kinds[] = {{'1', "vmctl-image.json", "not a file"},
	             {'1', "/etc/passwd", "not a file"},
	             {'2', "/etc/passwd", "not a file"},
	             {'3', NULL, "not a file"},
	             {'4', NULL, "not a file"},
	             {'5', NULL, "in the archive"}, /* libarchive adds a slash to its name */
	             {'6', NULL, "not a file"}};
	struct fixture *f = *state;
	struct tar tar;

	for (size_t i = 0; i < VM_ARRAY_LEN(kinds); i++) {
		tar_begin(&tar, FILE_AB);
		tar_header(&tar, &(struct header){.name = "a",
		                                  .type = kinds[i].type,
		                                  .link = kinds[i].link});
		tar_end(&tar);
		refused(f, &tar, VM_ERR_CORRUPT, kinds[i].words);
	}
	tar_begin(&tar, FILE_AB);
	tar_header(&tar, &(struct header){.name = "a", .mode = 04755, .size = 3});
	tar_data(&tar, "one", 3);
	tar_end(&tar);
	refused(f, &tar, VM_ERR_CORRUPT, "set-id");
}

/* --- order, number, size -------------------------------------------------------------------------
 */

static void files_come_as_they_were_announced(void **state)
{
	static const struct {
		const char *names[4], *words;
	} orders[] = {{{"b", "a"}, "b stands in the archive where a should be"},
	              {{"a", "a"}, "a stands in the archive where b should be"},
	              {{"a", "c"}, "c in the archive was not announced"},
	              {{"a"}, "ends before b"},
	              {{"a", VM_ARCHIVE_SUMS_NAME}, "where b should be"},
	              {{"a", "b"}, "ends before vmctl-checksums.json"},
	              {{"a", "b", "c"}, "c in the archive was not announced"},
	              {{VM_ARCHIVE_IMAGE_NAME}, "where a should be"}};
	struct fixture *f = *state;
	struct tar tar;

	for (size_t i = 0; i < VM_ARRAY_LEN(orders); i++) {
		tar_begin(&tar, FILE_AB);
		for (int j = 0; orders[i].names[j]; j++)
			tar_text(&tar, orders[i].names[j], "one");
		tar_end(&tar);
		refused(f, &tar, VM_ERR_CORRUPT, orders[i].words);
	}
}

static void what_is_no_archive_of_ours_is_told(void **state)
{
	struct fixture *f = *state;
	struct tar tar = {0};
	int fd = stream_of("", 0);

	import_fails(fd, f->to, NULL, VM_ERR_CORRUPT, "empty");
	close(fd);
	tar_text(&tar, "holiday.jpg", "x");
	tar_end(&tar);
	refused(f, &tar, VM_ERR_CORRUPT,
	        "not an archive of an image: it begins with 'holiday.jpg'");
	tar = (struct tar){0};
	memset(tar_more(&tar, 5000), 'x', 5000);
	refused(f, &tar, VM_ERR_CORRUPT, "damaged or cut short");
	tar = (struct tar){0};
	tar_end(&tar);
	refused(f, &tar, VM_ERR_CORRUPT, "ends before vmctl-image.json");
}

static void what_is_announced_must_make_sense(void **state)
{
	static const struct {
		const char *text, *words;
		enum vm_code code;
	} texts[] = {
	        {"", "not JSON", VM_ERR_CORRUPT},
	        {"{\"format\": 1, \"format\": 1}", "not JSON", VM_ERR_CORRUPT},
	        {"[]", "no format number", VM_ERR_CORRUPT},
	        {"{\"format\": 0}", "no format number", VM_ERR_CORRUPT},
	        {"{\"format\": \"1\"}", "no format number", VM_ERR_CORRUPT},
	        {"{\"format\": 2, \"contents\": []}", "format 2", VM_ERR_INCOMPATIBLE},
	        {"{\"format\": 1, \"made_by\": \"x\", \"files\": []}", "no image", VM_ERR_CORRUPT},
	        {"{\"format\": 1, \"made_by\": \"x\", \"image\": {}, \"files\": {}}", "no files",
	         VM_ERR_CORRUPT},
	};
	static const char *const files[][2] = {
	        {"7", "without a name"},
	        {"{\"name\": \"a\"}", "without a name"},
	        {"{\"name\": \"a\", \"size\": \"3\", \"data\": 3}", "without a name"},
	        {"{\"name\": \"a\", \"size\": -1, \"data\": -1}", "impossible size"},
	        {"{\"name\": \"a\", \"size\": 3, \"data\": 4}", "impossible size"},
	        {"{\"name\": \"a\", \"size\": 9223372036854775807, \"data\": 4}",
	         "impossible size"},
	        {FILE_AB ", {\"name\": \"a\", \"size\": 3, \"data\": 3}", "announces a twice"},
	};
	struct fixture *f = *state;
	struct tar tar;

	for (size_t i = 0; i < VM_ARRAY_LEN(texts); i++) {
		tar = (struct tar){0};
		tar_text(&tar, VM_ARCHIVE_IMAGE_NAME, texts[i].text);
		tar_end(&tar);
		refused(f, &tar, texts[i].code, texts[i].words);
	}
	for (size_t i = 0; i < VM_ARRAY_LEN(files); i++) {
		tar_begin(&tar, files[i][0]);
		tar_end(&tar);
		refused(f, &tar, VM_ERR_CORRUPT, files[i][1]);
	}
}

static void a_file_of_another_size_is_refused(void **state)
{
	struct fixture *f = *state;
	struct tar tar;

	tar_begin(&tar, FILE_AB);
	tar_text(&tar, "a", "ones");
	tar_end(&tar);
	refused(f, &tar, VM_ERR_CORRUPT, "a has 4 bytes, and 3 were announced");
	tar_begin(&tar, FILE_AB);
	tar_text(&tar, "a", "");
	tar_end(&tar);
	refused(f, &tar, VM_ERR_CORRUPT, "a has 0 bytes, and 3 were announced");
	tar_begin(&tar, "{\"name\": \"a\", \"size\": 3, \"data\": 2}");
	tar_text(&tar, "a", "one");
	tar_end(&tar);
	refused(f, &tar, VM_ERR_CORRUPT, "more data than was announced");
}

static void wrong_checksums_are_found(void **state)
{
	static const char *const texts[][2] = {
	        {"x", "not JSON"},
	        {"{}", "no checksums"},
	        {"{\"algorithm\": \"md5\", \"files\": {}}", "no checksums"},
	        {"{\"algorithm\": \"xxh3-128-blocks\", \"files\": {}}", "other files"},
	};
	struct fixture *f = *state;
	struct tar tar;
	char *sums;

	for (size_t i = 0; i < VM_ARRAY_LEN(texts); i++) {
		tar_begin(&tar, FILE_AB);
		tar_text(&tar, "a", "one");
		tar_text(&tar, "b", "two");
		tar_text(&tar, VM_ARCHIVE_SUMS_NAME, texts[i][0]);
		tar_end(&tar);
		refused(f, &tar, VM_ERR_CORRUPT, texts[i][1]);
	}
	tar_begin(&tar, FILE_AB);
	sums = sums_ab(&tar);
	tar_text(&tar, "a", "one");
	tar_text(&tar, "b", "twO");
	tar_text(&tar, VM_ARCHIVE_SUMS_NAME, sums);
	tar_end(&tar);
	refused(f, &tar, VM_ERR_CORRUPT, "b is damaged");
	/* Another description of the same files. */
	tar_begin(&tar, FILE_AB " ");
	tar_text(&tar, "a", "one");
	tar_text(&tar, "b", "two");
	tar_text(&tar, VM_ARCHIVE_SUMS_NAME, sums);
	tar_end(&tar);
	refused(f, &tar, VM_ERR_CORRUPT, "vmctl-image.json is damaged");
	free(sums);
}

static void nothing_may_follow(void **state)
{
	struct fixture *f = *state;
	struct tar tar;

	tar_whole(&tar);
	tar_text(&tar, "c", "more");
	tar_end(&tar);
	refused(f, &tar, VM_ERR_CORRUPT, "'c' stands behind the archive's end");
	tar_whole(&tar);
	tar_end(&tar);
	tar_text(&tar, "c", "more");
	refused(f, &tar, VM_ERR_CORRUPT, "behind the archive's end");
	tar_whole(&tar);
	tar_end(&tar);
	*tar_more(&tar, 300000) = 'x';
	refused(f, &tar, VM_ERR_CORRUPT, "behind the archive's end");
	tar_whole(&tar);
	tar_end(&tar);
	(void)tar_more(&tar, 100);
	refused(f, &tar, VM_ERR_CORRUPT, "cut short at its very end");
	tar_whole(&tar);
	refused(f, &tar, VM_ERR_CORRUPT, "cut short at its very end");
}

/* --- maps of sparse files ------------------------------------------------------------------------
 */

/* An entry whose data begins with that map, as GNU tar and libarchive write version 1.0. */
static void tar_sparse(struct tar *tar, const char *map, size_t map_len, const void *data,
                       size_t len, uint64_t size)
{
	char pax[256], records[4][64];
	size_t padded;
	int n = 0;

	snprintf(records[0], sizeof(records[0]), "22 GNU.sparse.major=1\n");
	snprintf(records[1], sizeof(records[1]), "22 GNU.sparse.minor=0\n");
	snprintf(records[2], sizeof(records[2]), "21 GNU.sparse.name=a\n");
	snprintf(records[3], sizeof(records[3]), "%d GNU.sparse.realsize=%010ju\n", 34,
	         (uintmax_t)size);
	for (size_t i = 0; i < VM_ARRAY_LEN(records); i++)
		n += snprintf(pax + n, sizeof(pax) - (size_t)n, "%s", records[i]);
	tar_header(tar, &(struct header){.name = "PaxHeader/a", .type = 'x', .size = (size_t)n});
	tar_data(tar, pax, (size_t)n);
	padded = (map_len + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
	tar_header(tar, &(struct header){.name = "a", .size = padded + len});
	tar_data(tar, map, map_len);
	tar_data(tar, data, len);
}

static void maps_that_lie_are_refused(void **state)
{
	static const struct {
		const char *map, *words;
	} maps[] = {
	        {"2\n0\n100\n50\n100\n", "overlaps"},
	        {"2\n1000\n100\n0\n100\n", "out of order"},
	        {"1\n99950\n100\n", "beyond its size"},
	        {"1\n4294967296\n100\n", "beyond its size"},
	        {"1\n9223372036854775807\n100\n", ""},
	        {"1\n18446744073709551615\n100\n", ""},
	        {"1\n-100\n100\n", ""},
	        {"x", ""},
	        {"", ""},
	        {"3\n0\n10\n", ""},
	        {"99999999999\n0\n10\n", ""},
	        {"1\n0\n512\n", "more data than was announced"},
	};
	struct fixture *f = *state;
	char data[TAR_BLOCK], map[TAR_BLOCK];
	struct tar tar;

	memset(data, 'x', sizeof(data));
	for (size_t i = 0; i < VM_ARRAY_LEN(maps); i++) {
		tar_begin(&tar, "{\"name\": \"a\", \"size\": 100000, \"data\": 200}");
		memset(map, 0, sizeof(map));
		memcpy(map, maps[i].map, strlen(maps[i].map));
		tar_sparse(&tar, map, sizeof(map), data, sizeof(data), 100000);
		tar_end(&tar);
		refused(f, &tar, VM_ERR_CORRUPT, maps[i].words);
	}
}

/* --- bombs ---------------------------------------------------------------------------------------
 */

/* Few bytes of zstd: a tar so far, then `times` times a megabyte of `filler`. */
static int bomb(struct tar *tar, const char *filler, int times)
{
	ZSTD_CCtx *zstd = ZSTD_createCCtx();
	size_t room = ZSTD_compressBound(MIB + tar->len), unit = strlen(filler);
	char *big = calloc(1, MIB), *small = malloc(room);
	int fd = memfd_create("bomb", MFD_CLOEXEC);

	for (size_t i = 0; unit && i + unit <= MIB; i += unit)
		memcpy(big + i, filler, unit);
	for (int i = -1; i < times; i++) {
		ZSTD_inBuffer in = {.src = i < 0 ? tar->data : big, .size = i < 0 ? tar->len : MIB};
		ZSTD_outBuffer out = {.dst = small, .size = room};
		size_t left = ZSTD_compressStream2(zstd, &out, &in,
		                                   i + 1 == times ? ZSTD_e_end : ZSTD_e_continue);

		assert_false(ZSTD_isError(left));
		assert_int_equal(in.pos, in.size);
		assert_int_equal(write(fd, small, out.pos), out.pos);
	}
	ZSTD_freeCCtx(zstd);
	free(big);
	free(small);
	free(tar->data);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

struct bomb_job {
	struct fixture *f;
	int fd;
	const char *words;
};

/* In a process of its own, which has little memory to take. */
static int import_bomb(void *arg)
{
	struct bomb_job *job = arg;
	json_t *image = NULL;
	struct vm_err err = {0};
	struct rusage before, after;

	getrusage(RUSAGE_SELF, &before);
	if (vm_archive_read(job->fd, job->f->to, NULL, &image, &err) != -1)
		return 2;
	if (err.code != VM_ERR_CORRUPT || !strstr(err.message, job->words)) {
		fprintf(stderr, "not '%s' but: %s\n", job->words, err.message);
		return 3;
	}
	getrusage(RUSAGE_SELF, &after);
	return after.ru_maxrss - before.ru_maxrss < 256L * 1024 ? 0 : 4;
}

static void defused(struct fixture *f, struct tar *tar, const char *filler, int times,
                    const char *words)
{
	struct bomb_job job = {.f = f, .fd = bomb(tar, filler, times), .words = words};
	struct stat st;

	assert_int_equal(fstat(job.fd, &st), 0);
	assert_in_range(st.st_size, 1, MIB);
	assert_exits(spawn(import_bomb, &job), 0);
	assert_int_equal(count_entries(f->to), 0);
	close(job.fd);
}

static void bombs_do_not_go_off(void **state)
{
	const size_t huge = (size_t)1 << 30;
	struct fixture *f = *state;
	struct tar tar = {0};

	/* A description, a header, a map, a file and an end of a gigabyte each. */
	tar_header(&tar, &(struct header){.name = VM_ARCHIVE_IMAGE_NAME, .size = huge});
	defused(f, &tar, " ", 1024, "more than 1048576 bytes");
	tar = (struct tar){0};
	tar_header(&tar, &(struct header){.name = "x", .type = 'x', .size = huge});
	defused(f, &tar, "10 a=aaaa\n", 1024, "");
	tar_begin(&tar, "{\"name\": \"a\", \"size\": 100000, \"data\": 200}");
	tar_sparse(&tar, "999999\n", 7, "", 0, 100000);
	tar.len -= 2 * (size_t)TAR_BLOCK; /* another header, and the map is what follows */
	tar_header(&tar, &(struct header){.name = "a", .size = huge});
	defused(f, &tar, "9999999\n0000000\n", 1024, "more in it than it announces");
	tar_begin(&tar, FILE_AB);
	tar_header(&tar, &(struct header){.name = "a", .size = huge});
	defused(f, &tar, "", 1024, "1073741824 bytes, and 3 were announced");
	tar_whole(&tar);
	tar_end(&tar);
	defused(f, &tar, "", 1024, "more in it than it announces");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	        TEST(the_archives_made_here_are_right_but_for_what_is_wrong),
	        TEST(names_that_are_not_plain_are_refused),
	        TEST(what_is_no_file_is_refused),
	        TEST(files_come_as_they_were_announced),
	        TEST(what_is_no_archive_of_ours_is_told),
	        TEST(what_is_announced_must_make_sense),
	        TEST(a_file_of_another_size_is_refused),
	        TEST(wrong_checksums_are_found),
	        TEST(nothing_may_follow),
	        TEST(maps_that_lie_are_refused),
	        TEST(bombs_do_not_go_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
