/* SPDX-License-Identifier: Apache-2.0 */
/* Archives made to harm by what they make of few bytes. */
#include "archive_by_hand.h"

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
	        TEST(maps_that_lie_are_refused),
	        TEST(bombs_do_not_go_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
