/* SPDX-License-Identifier: Apache-2.0 */
/* Archives through pipes, and what ends an export or an import before its time. */
#include "archive_files.h"

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
