/* SPDX-License-Identifier: Apache-2.0 */
/* Good archives of which a bit or the end is missing; and what the caller may refuse. */
#include "archive_fixture.h"

#include "archive_impl.h"

static const char *const names[] = {"kernel", "empty", "memory", NULL};

static void make_files(int dir)
{
	int fd;

	write_text(dir, "kernel", "the kernel of this image");
	write_text(dir, "empty", "");
	fd = openat(dir, "memory", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 10L * VM_ARCHIVE_BLOCK_BYTES + 7), 0);
	assert_int_equal(pwrite(fd, "first", 5, 3L * VM_ARCHIVE_BLOCK_BYTES + 100), 5);
	assert_int_equal(pwrite(fd, "last", 4, 10L * VM_ARCHIVE_BLOCK_BYTES + 3), 4);
	close(fd);
}

static const struct vm_archive_write_options ways[] = {{.plain = true}, {0}};

/*
 * A flipped bit is found, or was none of the content's (padding between the files, a time): then
 * what is imported is what was exported.
 */
static void flip(struct fixture *f, char *data, size_t len, size_t at, unsigned *ret_refused)
{
	char was = data[at];
	json_t *image = NULL, *want = json_loads(IMAGE_JSON, 0, NULL);
	struct vm_err err = {0};
	int fd;

	data[at] = (char)(was ^ 1 << at % 8);
	fd = stream_of(data, len);
	data[at] = was;
	if (vm_archive_read(fd, f->to, NULL, &image, &err) < 0) {
		if (err.code != VM_ERR_CORRUPT && err.code != VM_ERR_INCOMPATIBLE)
			fail_msg("byte %zu: %s (%s)", at, err.message, vm_code_name(err.code));
		assert_true(err.message[0] != 0);
		assert_null(image);
		assert_int_equal(count_entries(f->to), 0);
		++*ret_refused;
	} else {
		for (size_t i = 0; names[i]; i++)
			assert_same_file(f->from, f->to, names[i]);
		assert_true(json_equal(image, want));
		empty_dir(f->to, names);
	}
	json_decref(want);
	json_decref(image);
	close(fd);
}

static void no_flipped_bit_gets_into_an_image(void **state)
{
	struct fixture *f = *state;

	make_files(f->from);
	for (size_t i = 0; i < VM_ARRAY_LEN(ways); i++) {
		int fd = export_files(f->from, names, &ways[i]);
		unsigned refused = 0, flips = 0;
		size_t len;
		char *data = bytes_of(fd, &len);
		/* A prime, so that each place in a header, and each bit, has its turn. */
		size_t step = ways[i].plain ? 37 : 1;

		for (size_t at = 0; at < len; at += step, flips++)
			flip(f, data, len, at, &refused);
		/* The rest are zeros between entries, and what nobody looks at of a header. */
		assert_true(refused > flips * 9 / 10);
		free(data);
		close(fd);
	}
}

static void no_beginning_of_an_archive_is_an_archive(void **state)
{
	struct fixture *f = *state;

	make_files(f->from);
	for (size_t i = 0; i < VM_ARRAY_LEN(ways); i++) {
		int fd = export_files(f->from, names, &ways[i]);
		size_t len, step = ways[i].plain ? 211 : 1;
		char *data = bytes_of(fd, &len);

		close(fd);
		for (size_t cut = 0; cut<len; cut += cut + 2000> len ? 1 : step) {
			fd = stream_of(data, cut);
			import_fails(fd, f->to, NULL, VM_ERR_CORRUPT, "");
			close(fd);
		}
		free(data);
	}
}

static void no_byte_may_follow_an_archive(void **state)
{
	struct fixture *f = *state;

	make_files(f->from);
	for (size_t i = 0; i < VM_ARRAY_LEN(ways); i++) {
		int fd = export_files(f->from, names, &ways[i]);
		size_t len;
		char *data = bytes_of(fd, &len);

		close(fd);
		data[len] = 'x';
		fd = stream_of(data, len + 1);
		import_fails(fd, f->to, NULL, VM_ERR_CORRUPT, "");
		close(fd);
		free(data);
	}
}

/* --- what the caller says ------------------------------------------------------------------------
 */

static void limits_are_kept(void **state)
{
	static const uint64_t size = 24 + 10L * VM_ARCHIVE_BLOCK_BYTES + 7;
	static const uint64_t most = 24 + VM_ARCHIVE_BLOCK_BYTES + 7;
	const struct vm_archive_read_options just = {
	        .max_files = 3, .max_size_bytes = size, .max_data_bytes = most};
	struct fixture *f = *state;
	struct vm_archive_read_options less;
	int fd;

	make_files(f->from);
	fd = export_files(f->from, names, NULL);
	less = just;
	less.max_files--;
	import_fails(fd, f->to, &less, VM_ERR_INSUFFICIENT_RESOURCES, "3 files");
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	less = just;
	less.max_size_bytes--;
	import_fails(fd, f->to, &less, VM_ERR_INSUFFICIENT_RESOURCES, "655391 bytes, and");
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	less = just;
	less.max_data_bytes--;
	import_fails(fd, f->to, &less, VM_ERR_INSUFFICIENT_RESOURCES, "bytes of data");
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	import_whole(fd, f->to, &just);
	close(fd);
}

struct seen {
	int dir, calls;
	enum vm_code code;
};

static int look(void *ctx, const struct vm_archive_contents *contents, struct vm_err *err)
{
	struct seen *seen = ctx;
	json_t *want = json_loads(IMAGE_JSON, 0, NULL);

	seen->calls++;
	assert_int_equal(count_entries(seen->dir), 0);
	assert_true(json_equal(contents->image, want));
	assert_string_equal(contents->made_by, "vmctl " VM_VERSION);
	assert_int_equal(contents->count, 3);
	assert_string_equal(contents->files[2].name, "memory");
	assert_int_equal(contents->files[2].size_bytes, 10L * VM_ARCHIVE_BLOCK_BYTES + 7);
	assert_int_equal(contents->files[2].data_bytes, VM_ARCHIVE_BLOCK_BYTES + 7);
	assert_int_equal(contents->size_bytes, contents->files[2].size_bytes + 24);
	assert_int_equal(contents->data_bytes, contents->files[2].data_bytes + 24);
	json_decref(want);
	return seen->code ? vm_err_set(err, seen->code, "not on this host") : 0;
}

static void the_caller_decides_before_anything_is_made(void **state)
{
	struct fixture *f = *state;
	struct seen seen = {.dir = f->to, .code = VM_ERR_INCOMPATIBLE};
	const struct vm_archive_read_options options = {.check = look, .ctx = &seen};
	int fd;

	make_files(f->from);
	fd = export_files(f->from, names, NULL);
	import_fails(fd, f->to, &options, VM_ERR_INCOMPATIBLE, "not on this host");
	seen.code = VM_OK;
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	import_whole(fd, f->to, &options);
	assert_int_equal(seen.calls, 2);
	close(fd);
}

static void a_directory_that_is_in_use_is_left_alone(void **state)
{
	struct fixture *f = *state;
	json_t *image = NULL;
	struct vm_err err = {0};
	int fd;

	make_files(f->from);
	fd = export_files(f->from, names, NULL);
	write_text(f->to, "memory", "mine");
	assert_int_equal(vm_archive_read(fd, f->to, NULL, &image, &err), -1);
	assert_int_equal(err.code, VM_ERR_ALREADY_EXISTS);
	assert_text(f->to, "memory", "mine");
	assert_int_equal(count_entries(f->to), 1);
	close(fd);
}

static void no_descriptor_is_left_open(void **state)
{
	struct fixture *f = *state;
	unsigned before;
	size_t len;
	char *data;
	int fd;

	make_files(f->from);
	before = count_fds();
	fd = export_files(f->from, names, NULL);
	data = bytes_of(fd, &len);
	import_whole(fd, f->to, NULL);
	empty_dir(f->to, names);
	close(fd);
	fd = stream_of(data, len / 2);
	import_fails(fd, f->to, NULL, VM_ERR_CORRUPT, "");
	close(fd);
	assert_int_equal(count_fds(), before);
	free(data);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	        TEST(no_flipped_bit_gets_into_an_image),
	        TEST(no_beginning_of_an_archive_is_an_archive),
	        TEST(no_byte_may_follow_an_archive),
	        TEST(limits_are_kept),
	        TEST(the_caller_decides_before_anything_is_made),
	        TEST(a_directory_that_is_in_use_is_left_alone),
	        TEST(no_descriptor_is_left_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
