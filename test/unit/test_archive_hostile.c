/* SPDX-License-Identifier: Apache-2.0 */
/* Archives that are not what they should be. */
#include "archive_by_hand.h"

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
	refused(f, &tar, VM_ERR_CORRUPT, "this does not begin as an archive of an image");
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
