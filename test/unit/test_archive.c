/* SPDX-License-Identifier: Apache-2.0 */
#include "archive_fixture.h"

#include "archive_impl.h"

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
static void fill(char *data, size_t len, off_t at)
{
	for (size_t i = 0; i < len; i++)
		data[i] = (char)((((size_t)at + i) * 2654435761U >> 13 & 0xff) | 1);
}

static void put(int fd, off_t at, size_t len)
{
	char *data = malloc(len + 1);

	assert_non_null(data);
	fill(data, len, at);
	assert_int_equal(pwrite(fd, data, len, at), len);
	free(data);
}

static void make_file(int dir, const struct layout *layout)
{
	int fd = openat(dir, layout->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, layout->size), 0);
	for (size_t i = 0; i < EXTENTS_MAX; i++)
		put(fd, layout->data[i].at, layout->data[i].len);
	close(fd);
}

static void make_all(int dir)
{
	for (size_t i = 0; i < VM_ARRAY_LEN(layouts); i++) {
		make_file(dir, &layouts[i]);
		all_names[i] = layouts[i].name;
	}
}

static off_t disk_bytes(int dir, const char *name)
{
	struct stat st;

	assert_int_equal(fstatat(dir, name, &st, 0), 0);
	return st.st_blocks * 512;
}

/* --- round trips ---------------------------------------------------------------------------------
 */

static void what_is_exported_is_imported_the_same(void **state)
{
	static const struct vm_archive_write_options ways[] = {
	        {0}, {.plain = true}, {.level = 1}, {.level = VM_ARCHIVE_LEVEL_MAX}};
	const struct vm_archive_read_options durable = {.durable = true};
	struct fixture *f = *state;

	make_all(f->from);
	for (size_t i = 0; i < VM_ARRAY_LEN(ways); i++) {
		int fd = export_files(f->from, all_names, &ways[i]);
		struct stat st;

		import_whole(fd, f->to, i == 0 ? &durable : NULL);
		for (const char **name = all_names; *name; name++) {
			assert_same_file(f->from, f->to, *name);
			assert_in_range(disk_bytes(f->to, *name), 0, disk_bytes(f->from, *name));
			assert_int_equal(fstatat(f->to, *name, &st, 0), 0);
			assert_int_equal(st.st_mode, S_IFREG | 0600);
		}
		empty_dir(f->to, all_names);
		close(fd);
	}
	empty_dir(f->from, all_names);
}

static void the_same_image_makes_the_same_bytes(void **state)
{
	struct fixture *f = *state;
	size_t len, again_len;
	char *data, *again;
	int fd;

	make_all(f->from);
	fd = export_files(f->from, all_names, NULL);
	data = bytes_of(fd, &len);
	close(fd);
	empty_dir(f->from, all_names);
	make_all(f->from);
	fd = export_files(f->from, all_names, NULL);
	again = bytes_of(fd, &again_len);
	close(fd);
	assert_int_equal(len, again_len);
	assert_memory_equal(data, again, len);
	free(data);
	free(again);
}

static void an_image_without_files_is_an_image(void **state)
{
	static const char *const none[] = {NULL};
	struct fixture *f = *state;
	int fd = export_files(f->from, none, NULL);

	import_whole(fd, f->to, NULL);
	assert_int_equal(count_entries(f->to), 0);
	close(fd);
}

struct progress {
	uint64_t last, total, calls;
};

static void note_progress(void *ctx, uint64_t done, uint64_t total)
{
	struct progress *p = ctx;

	assert_true(done >= p->last && done <= total);
	assert_true(p->calls == 0 || total == p->total);
	*p = (struct progress){done, total, p->calls + 1};
}

/* What this process has read and written so far, as the kernel counts it. */
static uint64_t io_bytes(void)
{
	char text[512];
	uint64_t in = 0, out = 0;
	int fd = open("/proc/self/io", O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, text, sizeof(text) - 1);

	close(fd);
	assert_true(n > 0);
	text[n] = '\0';
	assert_int_equal(sscanf(text, "rchar: %ju wchar: %ju", &in, &out), 2);
	return in + out;
}

static void holes_cost_nothing_on_either_way(void **state)
{
	static const struct layout memory = {
	        "memory",
	        (off_t)4 << 30,
	        {{0, MIB}, {(off_t)3 << 30, 5}, {((off_t)4 << 30) - 9, 9}}};
	static const char *const names[] = {"memory", NULL};
	struct progress there = {0}, back = {0};
	const struct vm_archive_write_options out = {
	        .plain = true, .progress = note_progress, .ctx = &there};
	const struct vm_archive_read_options in = {.progress = note_progress, .ctx = &back};
	struct fixture *f = *state;
	uint64_t before;
	struct stat st;
	int fd;

	make_file(f->from, &memory);
	before = io_bytes();
	fd = export_files(f->from, names, &out);
	assert_int_equal(fstat(fd, &st), 0);
	assert_in_range(st.st_size, MIB, 2 * MIB);
	import_whole(fd, f->to, &in);
	assert_in_range(io_bytes() - before, 4 * MIB, 6 * MIB);
	assert_int_equal(there.total, MIB + 2 * VM_ARCHIVE_BLOCK_BYTES);
	assert_int_equal(back.total, there.total);
	assert_true(there.last == there.total && back.last == back.total);
	assert_int_equal(fstatat(f->to, "memory", &st, 0), 0);
	assert_int_equal(st.st_size, (off_t)4 << 30);
	assert_in_range(st.st_blocks * 512, MIB, 2 * MIB);
	close(fd);
}

/* Pages here and there, as a guest leaves them. */
static void make_scattered(int dir, const char *name, int pages, off_t apart)
{
	int fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	for (int i = 0; i < pages; i++)
		put(fd, i * apart, BLOCK);
	close(fd);
}

static void thousands_of_extents_stay_apart(void **state)
{
	static const char *const names[] = {"close", "far", NULL};
	struct fixture *f = *state;
	int fd;

	make_scattered(f->from, "close", 500, 3L * BLOCK);
	make_scattered(f->from, "far", 3000, 192L * 1024);
	for (int plain = 0; plain < 2; plain++) {
		const struct vm_archive_write_options options = {.plain = plain};

		fd = export_files(f->from, names, &options);
		import_whole(fd, f->to, NULL);
		close(fd);
		for (int i = 0; names[i]; i++) {
			assert_same_file(f->from, f->to, names[i]);
			/* A hole within a block that travelled is a hole again, too. */
			assert_in_range(disk_bytes(f->to, names[i]), BLOCK,
			                disk_bytes(f->from, names[i]) + MIB);
		}
		empty_dir(f->to, names);
	}
}

static void too_many_runs_are_joined(void **state)
{
	struct fixture *f = *state;
	struct vm_archive_runs runs = {0};
	struct vm_err err = {0};
	struct stat st;
	int fd;

	make_scattered(f->from, "memory", 100, 192L * 1024);
	fd = openat(f->from, "memory", O_RDONLY | O_CLOEXEC);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(vm_archive_runs_find(fd, st.st_size, 1000, &runs, &err), 0);
	assert_int_equal(runs.count, 100);
	assert_int_equal(runs.data_bytes, 99 * VM_ARCHIVE_BLOCK_BYTES + BLOCK);
	vm_archive_runs_free(&runs);
	assert_int_equal(vm_archive_runs_find(fd, st.st_size, 10, &runs, &err), 0);
	assert_in_range(runs.count, 1, 10);
	for (int i = 0; i < 100; i++) {
		bool covered = false;

		for (size_t j = 0; j < runs.count; j++)
			covered = covered ||
			          (runs.runs[j].at <= i * 192L * 1024 &&
			           runs.runs[j].at + runs.runs[j].len >= i * 192L * 1024 + BLOCK);
		assert_true(covered);
	}
	vm_archive_runs_free(&runs);
	close(fd);
}

static void the_checksum_is_of_the_content_not_of_the_holes(void **state)
{
	static char data[3 * VM_ARCHIVE_BLOCK_BYTES + 100];
	char a[VM_ARCHIVE_SUM_LEN + 1], b[VM_ARCHIVE_SUM_LEN + 1];
	struct vm_err err = {0};
	struct vm_archive_hash *hash = vm_archive_hash_new(&err);

	(void)state;
	fill(data + VM_ARCHIVE_BLOCK_BYTES, 10, 0);
	vm_archive_hash_all(hash, data, sizeof(data), a);
	vm_archive_hash_begin(hash);
	vm_archive_hash_block(hash, 1, data + VM_ARCHIVE_BLOCK_BYTES, VM_ARCHIVE_BLOCK_BYTES);
	vm_archive_hash_end(hash, sizeof(data), b);
	assert_string_equal(a, b);
	/* The same block elsewhere, another length, another byte: each is another content. */
	vm_archive_hash_begin(hash);
	vm_archive_hash_block(hash, 2, data + VM_ARCHIVE_BLOCK_BYTES, VM_ARCHIVE_BLOCK_BYTES);
	vm_archive_hash_end(hash, sizeof(data), b);
	assert_string_not_equal(a, b);
	vm_archive_hash_all(hash, data, sizeof(data) - 1, b);
	assert_string_not_equal(a, b);
	data[sizeof(data) - 1] = 1;
	vm_archive_hash_all(hash, data, sizeof(data), b);
	assert_string_not_equal(a, b);
	/* Of docs/archive-format.md: nothing but the size is hashed of an empty file. */
	vm_archive_hash_all(hash, "", 0, a);
	assert_string_equal(a, "2c0a8a99dc147d5445c3b49d035665b2");
	vm_archive_hash_free(&hash);
}

/* --- through pipes -------------------------------------------------------------------------------
 */

struct pipe_job {
	struct fixture *f;
	int fds[2];
};

static int export_to_pipe(void *arg)
{
	struct pipe_job *job = arg;
	json_t *image = json_loads(IMAGE_JSON, 0, NULL);
	struct vm_err err = {0};
	int rc;

	close(job->fds[0]);
	rc = vm_archive_write(job->fds[1], image, job->f->from, all_names, VM_ARRAY_LEN(layouts),
	                      NULL, &err);
	json_decref(image);
	return rc < 0;
}

static void an_archive_goes_through_a_pipe(void **state)
{
	struct pipe_job job = {.f = *state};
	pid_t child;

	make_all(job.f->from);
	assert_int_equal(pipe2(job.fds, O_CLOEXEC), 0);
	child = spawn(export_to_pipe, &job);
	close(job.fds[1]);
	import_whole(job.fds[0], job.f->to, NULL);
	assert_exits(child, 0);
	for (const char **name = all_names; *name; name++)
		assert_same_file(job.f->from, job.f->to, *name);
	close(job.fds[0]);
}

static void export_fails(int out, int dir, const char *const *names, size_t count,
                         enum vm_code code, const char *words)
{
	json_t *image = json_loads(IMAGE_JSON, 0, NULL);
	struct vm_err err = {0};

	assert_int_equal(vm_archive_write(out, image, dir, names, count, NULL, &err), -1);
	if (err.code != code || !strstr(err.message, words))
		fail_msg("not '%s' (%s) but: %s (%s)", words, vm_code_name(code), err.message,
		         vm_code_name(err.code));
	json_decref(image);
}

static void a_reader_that_went_away_is_told(void **state)
{
	struct fixture *f = *state;
	void (*old)(int) = signal(SIGPIPE, SIG_IGN); /* as cli_open() does */
	int fds[2];

	make_all(f->from);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	close(fds[0]);
	export_fails(fds[1], f->from, all_names, VM_ARRAY_LEN(layouts), VM_ERR_SYSTEM,
	             "nobody reads it any more");
	close(fds[1]);
	signal(SIGPIPE, old);
}

static void a_full_disk_is_told(void **state)
{
	struct fixture *f = *state;
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

	make_all(f->from);
	export_fails(full, f->from, all_names, VM_ARRAY_LEN(layouts), VM_ERR_INSUFFICIENT_RESOURCES,
	             "writing the archive");
	close(full);
}

static void what_cannot_be_in_an_archive_is_refused(void **state)
{
	static const char *const bad[] = {
	        "", "..", "a/b", "/etc/passwd", ".hidden", "a\nb", "vmctl-image.json"};
	static const char *const twice[] = {"file", "file"}, *const link[] = {"link"},
	                         *const directory[] = {"directory"}, *const gone[] = {"gone"};
	struct fixture *f = *state;
	int out = memfd_create("out", MFD_CLOEXEC);
	struct stat st;

	write_text(f->from, "file", "x");
	assert_int_equal(symlinkat("file", f->from, "link"), 0);
	assert_int_equal(mkdirat(f->from, "directory", 0700), 0);
	for (size_t i = 0; i < VM_ARRAY_LEN(bad); i++)
		export_fails(out, f->from, &bad[i], 1, VM_ERR_USAGE, "cannot be the name");
	export_fails(out, f->from, twice, 2, VM_ERR_USAGE, "twice");
	export_fails(out, f->from, link, 1, VM_ERR_SYSTEM, "link");
	export_fails(out, f->from, directory, 1, VM_ERR_UNSUPPORTED, "not a regular file");
	export_fails(out, f->from, gone, 1, VM_ERR_NOT_FOUND, "gone");
	assert_int_equal(fstat(out, &st), 0);
	assert_int_equal(st.st_size, 0);
	assert_int_equal(unlinkat(f->from, "directory", AT_REMOVEDIR), 0);
	close(out);
}

static void change_file(void *ctx, uint64_t done, uint64_t total)
{
	const int *fd = ctx;

	(void)total;
	if (done < 20UL * MIB)
		put(*fd, 100, 1);
}

static void shorten_file(void *ctx, uint64_t done, uint64_t total)
{
	const int *fd = ctx;

	(void)done;
	(void)total;
	assert_int_equal(ftruncate(*fd, 3L * MIB), 0);
}

/* What was written until then is no archive, even if its checksums could be right. */
static void a_file_that_changes_meanwhile_spoils_the_archive(void **state)
{
	static const struct layout layout = {"memory", 40L * MIB, {{MIB, 20UL * MIB}}};
	static const char *const names[] = {"memory"};
	struct fixture *f = *state;
	json_t *image = json_loads(IMAGE_JSON, 0, NULL);

	for (int i = 0; i < 2; i++) {
		int fd, out = memfd_create("out", MFD_CLOEXEC);
		const struct vm_archive_write_options options = {
		        .progress = i ? shorten_file : change_file, .ctx = &fd};
		struct vm_err err = {0};

		make_file(f->from, &layout);
		fd = openat(f->from, "memory", O_RDWR | O_CLOEXEC);
		assert_int_equal(vm_archive_write(out, image, f->from, names, 1, &options, &err),
		                 -1);
		assert_int_equal(err.code, VM_ERR_SYSTEM);
		assert_non_null(strstr(err.message, i ? "memory: the file became shorter"
		                                      : "memory: the file was changed"));
		assert_int_equal(lseek(out, 0, SEEK_SET), 0);
		import_fails(out, f->to, NULL, VM_ERR_CORRUPT, "");
		assert_int_equal(unlinkat(f->from, "memory", 0), 0);
		close(fd);
		close(out);
	}
	json_decref(image);
}

/* --- cut short -----------------------------------------------------------------------------------
 */

static int interrupted_read(void *arg)
{
	struct pipe_job *job = arg;
	json_t *image = NULL;
	struct vm_err err = {0};

	vm_interrupt_install();
	if (vm_archive_read(job->fds[0], job->f->to, NULL, &image, &err) != -1)
		return 2;
	return strstr(err.message, "interrupted by SIGINT") ? 0 : 3;
}

/* The import waits for the rest of a pipe that does not come. */
static void an_interrupted_import_leaves_nothing(void **state)
{
	struct pipe_job job = {.f = *state};
	const struct vm_archive_write_options plain = {.plain = true};
	size_t len;
	char *data;
	pid_t child;
	int fd;

	make_all(job.f->from);
	fd = export_files(job.f->from, all_names, &plain);
	data = bytes_of(fd, &len);
	assert_int_equal(pipe2(job.fds, O_CLOEXEC), 0);
	/* As much as a pipe takes at least: the first file is begun with that. */
	assert_int_equal(write(job.fds[1], data, 60000), 60000);
	child = spawn(interrupted_read, &job);
	assert_true(wait_for(vm_fs_exists(job.f->to, "one-byte")));
	kill(child, SIGINT);
	assert_exits(child, 0);
	assert_int_equal(count_entries(job.f->to), 0);
	free(data);
	close(fd);
	close(job.fds[0]);
	close(job.fds[1]);
}

static int interrupted_write(void *arg)
{
	struct pipe_job *job = arg;
	json_t *image = json_loads(IMAGE_JSON, 0, NULL);
	struct vm_err err = {0};
	int rc;

	vm_interrupt_install();
	rc = vm_archive_write(job->fds[1], image, job->f->from, all_names, VM_ARRAY_LEN(layouts),
	                      NULL, &err);
	json_decref(image);
	if (rc != -1)
		return 2;
	return strstr(err.message, "interrupted by SIGINT") ? 0 : 3;
}

static bool is_full(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};

	return poll(&p, 1, 0) == 0;
}

/* The export waits for a reader that does not read. */
static void an_interrupted_export_ends(void **state)
{
	struct pipe_job job = {.f = *state};
	pid_t child;

	make_all(job.f->from);
	assert_int_equal(pipe2(job.fds, O_CLOEXEC), 0);
	child = spawn(interrupted_write, &job);
	assert_true(wait_for(is_full(job.fds[1])));
	kill(child, SIGINT);
	assert_exits(child, 0);
	close(job.fds[0]);
	close(job.fds[1]);
}

static int import_without_room(void *arg)
{
	const struct rlimit limit = {.rlim_cur = MIB, .rlim_max = MIB};
	struct pipe_job *job = arg;
	json_t *image = NULL;
	struct vm_err err = {0};

	signal(SIGXFSZ, SIG_IGN);
	if (setrlimit(RLIMIT_FSIZE, &limit) < 0)
		return 2;
	if (vm_archive_read(job->fds[0], job->f->to, NULL, &image, &err) != -1)
		return 3;
	return strstr(err.message, "only-a-hole: writing: File too large") ? 0 : 4;
}

static void an_import_that_cannot_write_leaves_nothing(void **state)
{
	struct pipe_job job = {.f = *state};

	make_all(job.f->from);
	job.fds[0] = export_files(job.f->from, all_names, NULL);
	assert_exits(spawn(import_without_room, &job), 0);
	assert_int_equal(count_entries(job.f->to), 0);
	close(job.fds[0]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	        TEST(what_is_exported_is_imported_the_same),
	        TEST(the_same_image_makes_the_same_bytes),
	        TEST(an_image_without_files_is_an_image),
	        TEST(holes_cost_nothing_on_either_way),
	        TEST(thousands_of_extents_stay_apart),
	        TEST(too_many_runs_are_joined),
	        TEST(the_checksum_is_of_the_content_not_of_the_holes),
	        TEST(an_archive_goes_through_a_pipe),
	        TEST(a_reader_that_went_away_is_told),
	        TEST(a_full_disk_is_told),
	        TEST(what_cannot_be_in_an_archive_is_refused),
	        TEST(a_file_that_changes_meanwhile_spoils_the_archive),
	        TEST(an_interrupted_import_leaves_nothing),
	        TEST(an_interrupted_export_ends),
	        TEST(an_import_that_cannot_write_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
