/* SPDX-License-Identifier: Apache-2.0 */
/* qcow2 headers, as we make them, as others do, and as somebody made them who means harm. */
#include "procs.h"

#include <endian.h>
#include <sys/stat.h>

#include "fs.h"
#include "qcow2.h"

/* Where the fields are, by the specification, and what we put behind them. */
enum { VERSION = 4, BACKING_AT = 8, BACKING_BYTES = 16, CLUSTER_BITS = 20, SIZE = 24 };
enum { ENCRYPTION = 32, L1_ENTRIES = 36, L1_AT = 40, SNAPSHOTS = 60, INCOMPATIBLE = 72 };
enum { REFCOUNT_ORDER = 96, HEADER_BYTES = 100, EXTENSION = 104, BACKING = 128, CLUSTER = 65536 };
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define TIB (UINT64_C(1) << 40)

static struct test_dir dir = {.fd = -1};

static int setup(void **state)
{
	(void)state;
	test_dir_open(&dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	test_dir_close(&dir);
	return 0;
}

static void create(const char *name, uint64_t size, const char *backing)
{
	struct vm_err err = {0};

	if (vm_qcow2_create(dir.fd, name, size, backing, &err) < 0)
		fail_msg("%s", err.message);
}

static int open_image(const char *name)
{
	int fd = openat(dir.fd, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	return fd;
}

/* An image of 1 GiB on "base", in place of the last one. */
static int fresh(void)
{
	unlinkat(dir.fd, "disk.img", 0);
	create("disk.img", GIB, "base");
	return open_image("disk.img");
}

static struct vm_qcow2_info info_of(const char *name)
{
	VM_AUTO_CLOSE int fd = open_image(name);
	struct vm_qcow2_info info = {0};
	struct vm_err err = {0};

	assert_true(vm_qcow2_is(fd));
	if (vm_qcow2_read(fd, name, &info, &err) < 0)
		fail_msg("%s", err.message);
	return info;
}

static void assert_error(const struct vm_err *err, enum vm_code code, const char *why)
{
	if (err->code != code || !strstr(err->message, why))
		fail_msg("%s (%s), and not: %s", err->message, vm_code_name(err->code), why);
}

/* It is refused, the reason names the file, and what was there for the answer is as before. */
static void assert_refused(int fd, enum vm_code code, const char *why)
{
	struct vm_qcow2_info info, before;
	struct vm_err err = {0};

	memset(&before, 0x5a, sizeof(before));
	memset(&info, 0x5a, sizeof(info));
	assert_int_equal(vm_qcow2_read(fd, "disk.img", &info, &err), -1);
	assert_error(&err, code, "disk.img is a ");
	assert_error(&err, code, why);
	assert_memory_equal(&info, &before, sizeof(info));
}

static void put(int fd, uint64_t at, const void *data, size_t len)
{
	assert_int_equal(pwrite(fd, data, len, (off_t)at), len);
}

static void put_number(int fd, uint64_t at, uint64_t value, size_t bytes)
{
	value = htobe64(value << (64 - 8 * bytes));
	put(fd, at, &value, bytes);
}

static const uint64_t sizes[] = {512,     MIB,     512 * MIB, 512 * MIB + 512, 10 * GIB,
                                 4 * TIB, 5 * TIB, 64 * TIB,  2048 * TIB};

static void a_new_image_is_small_and_reads_as_it_was_made(void **state)
{
	struct vm_qcow2_info info;
	struct stat st;

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(sizes); i++) {
		create("new", sizes[i], NULL);
		info = info_of("new");
		assert_true(info.size_bytes == sizes[i] && info.version == 3);
		assert_true(info.cluster_bits == 16 && info.incompatible == 0);
		assert_true(info.untouched && !info.backed && !info.backing[0]);
		assert_int_equal(fstatat(dir.fd, "new", &st, 0), 0);
		assert_int_equal(st.st_mode, S_IFREG | 0600);
		assert_true(st.st_size % CLUSTER == 0 && st.st_blocks <= 4 * CLUSTER / 512);
		assert_int_equal(unlinkat(dir.fd, "new", 0), 0);
	}
	create("overlay", GIB, "disk-root.abc.base");
	info = info_of("overlay");
	assert_true(info.backed && info.untouched);
	assert_string_equal(info.backing, "disk-root.abc.base");
	assert_string_equal(info.backing_format, "qcow2");
}

/* A limit on the size of files stands for a full disk. */
static int create_without_room(void *arg)
{
	const struct rlimit limit = {CLUSTER, CLUSTER};
	struct vm_err err = {0};

	(void)arg;
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &limit);
	return vm_qcow2_create(dir.fd, "full", GIB, NULL, &err) == 0 ||
	       !strstr(err.message, "writing /tmp/") || vm_fs_exists(dir.fd, "full");
}

static void what_cannot_be_made_is_refused_and_leaves_nothing(void **state)
{
	static char long_name[VM_QCOW2_NAME_MAX + 2];
	static const char *const names[] = {"", "../x", "json:{}", ".", "..", "a\nb", long_name};
	static const uint64_t wrong[] = {0, 513, 2048 * TIB + 512, UINT64_MAX, UINT64_MAX - 511};

	(void)state;
	memset(long_name, 'x', sizeof(long_name) - 1);
	for (size_t i = 0; i < VM_ARRAY_LEN(wrong) + VM_ARRAY_LEN(names); i++) {
		size_t n = i - VM_ARRAY_LEN(wrong);
		struct vm_err err = {0};

		vm_qcow2_create(dir.fd, "new", i < VM_ARRAY_LEN(wrong) ? wrong[i] : GIB,
		                i < VM_ARRAY_LEN(wrong) ? NULL : names[n], &err);
		assert_error(&err, VM_ERR_UNSUPPORTED, "new: ");
		assert_false(vm_fs_exists(dir.fd, "new"));
	}
	assert_exits(spawn(create_without_room, NULL), 0);
	long_name[VM_QCOW2_NAME_MAX] = '\0';
	create("new", GIB, long_name);
	assert_string_equal(info_of("new").backing, long_name);
	assert_int_equal(symlinkat("nowhere", dir.fd, "link"), 0);
	for (int i = 0; i < 2; i++) {
		struct vm_err err = {0};

		assert_int_equal(vm_qcow2_create(dir.fd, i ? "link" : "new", MIB, NULL, &err), -1);
		assert_error(&err, VM_ERR_ALREADY_EXISTS, "exists already");
	}
	assert_false(vm_fs_exists(dir.fd, "nowhere") || info_of("new").size_bytes != GIB);
}

static void what_is_cut_short_is_damaged_at_any_length(void **state)
{
	unsigned fds = count_fds();

	(void)state;
	for (off_t len = 0; len < 3 * CLUSTER + 16; len += len == 120 ? 3 * CLUSTER - 120 : 1) {
		VM_AUTO_CLOSE int fd = fresh();

		assert_int_equal(ftruncate(fd, len), 0);
		assert_int_equal(vm_qcow2_is(fd), len >= 4);
		assert_refused(fd, VM_ERR_CORRUPT, len < 104 ? "damaged" : "beyond the end");
	}
	assert_int_equal(count_fds(), fds);
}

static void a_wrong_field_is_refused_with_the_reason(void **state)
{
	static const enum vm_code corrupt = VM_ERR_CORRUPT, unsupported = VM_ERR_UNSUPPORTED;
	const struct {
		unsigned at, bytes;
		uint64_t value;
		enum vm_code code;
		const char *why;
	} cases[] = {
	        {0, 4, 0x514649fa, corrupt, "does not begin"},
	        {VERSION, 4, 1, unsupported, "version"},
	        {VERSION, 4, 4, unsupported, "version"},
	        {CLUSTER_BITS, 4, 8, corrupt, "cluster size"},
	        {CLUSTER_BITS, 4, 22, corrupt, "cluster size"},
	        {CLUSTER_BITS, 4, UINT32_MAX, corrupt, "cluster size"},
	        {CLUSTER_BITS, 4, 9, corrupt, "too small for its size"},
	        {SIZE, 8, UINT64_MAX, corrupt, "too small for its size"},
	        {ENCRYPTION, 4, 1, unsupported, "encrypted"},
	        {L1_ENTRIES, 4, 1, corrupt, "too small for its size"},
	        {L1_ENTRIES, 4, (4 << 20) + 1, corrupt, "L1 table is too large"},
	        {L1_ENTRIES, 4, UINT32_MAX, corrupt, "L1 table is too large"},
	        {L1_ENTRIES, 4, CLUSTER / 8 + 1, corrupt, "beyond the end"},
	        {L1_AT, 8, UINT64_C(4) * CLUSTER, corrupt, "beyond the end"},
	        {L1_AT, 8, UINT64_MAX - CLUSTER + 1, corrupt, "beyond the end"},
	        {L1_AT, 8, UINT64_C(3) * CLUSTER + 512, corrupt, "out of place"},
	        {L1_AT, 8, 0, corrupt, "out of place"},
	        {INCOMPATIBLE, 8, 3, corrupt, "marked as corrupt"},
	        {INCOMPATIBLE, 8, 4, unsupported, "another file"},
	        {INCOMPATIBLE, 8, UINT64_C(1) << 63, unsupported, "not known"},
	        {REFCOUNT_ORDER, 4, 7, corrupt, "reference counts"},
	        {HEADER_BYTES, 4, 96, corrupt, "length of its header"},
	        {HEADER_BYTES, 4, CLUSTER + 8, corrupt, "length of its header"},
	        {HEADER_BYTES, 4, BACKING + 8, corrupt, "out of place"},
	        {BACKING_AT, 8, 96, corrupt, "out of place"},
	        {BACKING_AT, 8, CLUSTER - 3, corrupt, "out of place"},
	        {BACKING_AT, 8, UINT64_MAX - 3, corrupt, "out of place"},
	        {BACKING_BYTES, 4, 1024, corrupt, "out of place"},
	        {BACKING_BYTES, 4, UINT32_MAX, corrupt, "out of place"},
	        {BACKING_BYTES, 4, 1023, corrupt, "control characters"}, /* NUL */
	        {BACKING, 1, '\n', corrupt, "control characters"},
	        {EXTENSION + 4, 4, 17, corrupt, "too long"},
	        {EXTENSION + 4, 4, UINT32_MAX - 7, corrupt, "too long"},
	        {EXTENSION + 4, 4, 6, corrupt, "format of its backing file is wrong"},
	        {EXTENSION + 4, 4, 16, corrupt, "format of its backing file is wrong"},
	        {EXTENSION + 16, 4, 0xe2792aca, corrupt, "two formats"},
	};

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(cases); i++) {
		VM_AUTO_CLOSE int fd = fresh();

		put_number(fd, cases[i].at, cases[i].value, cases[i].bytes);
		assert_refused(fd, cases[i].code, cases[i].why);
	}
}

static void names_are_taken_up_to_our_limit(void **state)
{
	VM_AUTO_CLOSE int fd = fresh();
	char name[1023];

	(void)state;
	memset(name, 'n', sizeof(name));
	put(fd, BACKING, name, sizeof(name));
	put_number(fd, BACKING_BYTES, 256, 4);
	assert_refused(fd, VM_ERR_UNSUPPORTED, "too long a name");
	put_number(fd, BACKING_BYTES, 255, 4);
	assert_int_equal(strlen(info_of("disk.img").backing), 255);
	put(fd, CLUSTER - 4, "last", 4);
	put_number(fd, BACKING_AT, CLUSTER - 4, 8);
	put_number(fd, BACKING_BYTES, 4, 4);
	assert_string_equal(info_of("disk.img").backing, "last");
	put_number(fd, EXTENSION + 16, (UINT64_C(1) << 32) | (CLUSTER - 8 - BACKING), 8);
	assert_refused(fd, VM_ERR_CORRUPT, "do not end");
	put_number(fd, EXTENSION + 16, 0, 4);
	put_number(fd, BACKING_BYTES, 0, 4);
	assert_false(info_of("disk.img").backed);
	assert_string_equal(info_of("disk.img").backing_format, "");
}

static void headers_of_version_2_and_of_other_writers_are_read(void **state)
{
	static const uint8_t zeroes[EXTENSION];
	VM_AUTO_CLOSE int fd = fresh();

	(void)state;
	put_number(fd, INCOMPATIBLE, VM_QCOW2_DIRTY | VM_QCOW2_COMPRESSION, 8);
	assert_int_equal(info_of("disk.img").incompatible, 9);
	/* An extension that nobody knows is passed over, a longer header, too. */
	put_number(fd, EXTENSION, 0x12345678, 4);
	assert_string_equal(info_of("disk.img").backing_format, "");
	put_number(fd, HEADER_BYTES, EXTENSION + 16, 4);
	assert_string_equal(info_of("disk.img").backing, "base");
	/* Of entries twice as large a table holds half as many. */
	put_number(fd, INCOMPATIBLE, VM_QCOW2_EXTENDED_L2, 8);
	assert_refused(fd, VM_ERR_CORRUPT, "too small for its size");
	put_number(fd, L1_ENTRIES, 4, 4);
	assert_true(info_of("disk.img").untouched);
	put_number(fd, CLUSTER_BITS, 13, 4);
	assert_refused(fd, VM_ERR_CORRUPT, "cluster size");
	put_number(fd, CLUSTER_BITS, 16, 4);
	/* With version 2 what would be features is an extension. */
	put(fd, INCOMPATIBLE, zeroes, EXTENSION - INCOMPATIBLE);
	put_number(fd, INCOMPATIBLE, UINT64_C(0x1234567800000000), 8);
	put_number(fd, VERSION, 2, 4);
	assert_true(info_of("disk.img").incompatible == 0 && info_of("disk.img").untouched);
	assert_string_equal(info_of("disk.img").backing, "base");
}

static void an_image_is_touched_by_a_cluster_a_snapshot_or_a_bitmap(void **state)
{
	static const unsigned at[] = {3 * CLUSTER, 3 * CLUSTER + 131072 * 8 - 1, SNAPSHOTS};
	VM_AUTO_CLOSE int fd = fresh(), large = -1;

	(void)state;
	put_number(fd, EXTENSION, 0x23852875, 4);
	assert_true(info_of("disk.img").bitmaps && !info_of("disk.img").untouched);
	create("large", 64 * TIB, NULL);
	large = open_image("large");
	for (size_t i = 0; i < VM_ARRAY_LEN(at); i++) {
		put_number(large, at[i], 1, 1);
		assert_false(info_of("large").untouched);
		assert_int_equal(info_of("large").snapshots, at[i] == SNAPSHOTS ? 1 << 24 : 0);
		put_number(large, at[i], 0, 1);
		assert_true(info_of("large").untouched);
	}
}

/* The names, with a blank before each. "stop" is an error. */
static int note(void *ctx, const char *name, struct vm_err *err)
{
	size_t len = strlen(ctx);

	snprintf((char *)ctx + len, 1024 - len, " %s", name);
	return strcmp(name, "stop") == 0 ? vm_err_set(err, VM_ERR_BUSY, "stopped") : 0;
}

static void assert_chain(const char *name, enum vm_code code, const char *want)
{
	unsigned fds = count_fds();
	struct vm_err err = {0};
	char names[1024] = "";

	assert_int_equal(vm_qcow2_chain(dir.fd, name, note, names, &err), code == VM_OK ? 0 : -1);
	assert_error(&err, code, code == VM_OK ? "" : want);
	assert_string_equal(code == VM_OK ? names : "", code == VM_OK ? want : "");
	assert_int_equal(count_fds(), fds);
}

static void put_format(int fd, const char *format)
{
	put_number(fd, EXTENSION + 4, strlen(format), 4);
	put_number(fd, EXTENSION + 8, 0, 8);
	put(fd, EXTENSION + 8, format, strlen(format));
}

static void a_chain_is_walked_from_the_nearest_to_the_last(void **state)
{
	VM_AUTO_CLOSE int b = -1, c = -1;

	(void)state;
	create("c", MIB, NULL);
	create("b", MIB, "c");
	create("a", MIB, "b");
	create("top", GIB, "a");
	create("stopped", GIB, "stop");
	assert_int_equal(linkat(dir.fd, "a", dir.fd, "stop", 0), 0);
	b = open_image("b");
	c = open_image("c");
	assert_chain("c", VM_OK, "");
	assert_chain("top", VM_OK, " a b c");
	assert_chain("stopped", VM_ERR_BUSY, "stopped");
	/* If nothing is recorded, it is what it looks like. */
	put_format(b, "");
	assert_chain("top", VM_OK, " a b c");
	assert_int_equal(ftruncate(c, 0), 0);
	assert_chain("top", VM_ERR_UNSUPPORTED, "b lies on c, whose format is recorded as \"\"");
	put_format(b, "raw");
	assert_chain("top", VM_OK, " a b c");
	put_format(b, "vdi");
	assert_chain("top", VM_ERR_UNSUPPORTED, "recorded as \"vdi\"");
	put_format(b, "qcow2");
	assert_chain("top", VM_ERR_CORRUPT, "c is a damaged qcow2 image");
	assert_chain("c", VM_ERR_CORRUPT, "c is a damaged qcow2 image");
}

static void what_is_no_file_beside_it_is_no_layer(void **state)
{
	static const char *const names[] = {"/x/y", "./xx", "..", "fd:7"};

	(void)state;
	assert_chain("top", VM_ERR_NOT_FOUND, "top: no such file");
	create("real", MIB, NULL);
	create("top", MIB, "base");
	assert_chain("top", VM_ERR_CORRUPT, "base, which top lies on, is missing");
	assert_int_equal(symlinkat("real", dir.fd, "base"), 0);
	assert_chain("top", VM_ERR_CORRUPT, "base is a symbolic link");
	assert_chain("base", VM_ERR_CORRUPT, "base is a symbolic link");
	for (int i = 0; i < 2; i++) {
		assert_int_equal(unlinkat(dir.fd, "base", 0), 0);
		assert_int_equal((i ? mkdirat : mkfifoat)(dir.fd, "base", 0700), 0);
		assert_chain("top", VM_ERR_CORRUPT, "base is not a regular file");
	}
	assert_int_equal(unlinkat(dir.fd, "base", AT_REMOVEDIR), 0);
	for (size_t i = 0; i < VM_ARRAY_LEN(names); i++) {
		VM_AUTO_CLOSE int fd = fresh();

		put(fd, BACKING, names[i], strlen(names[i]));
		put_number(fd, BACKING_BYTES, strlen(names[i]), 4);
		assert_chain("disk.img", VM_ERR_UNSUPPORTED, "not a plain name");
	}
}

static void a_chain_without_end_is_refused(void **state)
{
	char name[16], below[16], names[1024] = "";

	(void)state;
	create("self", MIB, "self");
	assert_chain("self", VM_ERR_CORRUPT, "self lies on itself");
	create("a", MIB, "b");
	create("b", MIB, "a");
	create("top", MIB, "a");
	assert_chain("a", VM_ERR_CORRUPT, "a lies on itself");
	assert_chain("top", VM_ERR_CORRUPT, "a lies on itself");
	create("one", MIB, "two");
	assert_int_equal(linkat(dir.fd, "one", dir.fd, "two", 0), 0);
	assert_chain("one", VM_ERR_CORRUPT, "two lies on itself");
	for (int i = 0; i <= VM_QCOW2_LAYERS_MAX + 1; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		snprintf(below, sizeof(below), "n%d", i - 1);
		create(name, MIB, i ? below : NULL);
	}
	assert_chain("n65", VM_ERR_CORRUPT, "more than 64 backing files");
	assert_int_equal(vm_qcow2_chain(dir.fd, "n64", note, names, NULL), 0);
}

static int run_shell(void *command)
{
	return fchdir(dir.fd) < 0 ? 126 : execl("/bin/sh", "sh", "-c", command, (char *)NULL);
}

/* What other programs do in the directory. They succeed and say `want`, or are not there. */
static void others(const char *programs, const char *want)
{
	VM_AUTO_FREE char *command = vm_strf(NULL, "exec >out 2>&1; %s", programs);
	VM_AUTO_FREE char *text = NULL;
	int status = reap(spawn(run_shell, command));
	size_t len;

	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		skip();
	assert_int_equal(vm_fs_read(dir.fd, "out", MIB, &text, &len, &(struct vm_err){0}), 0);
	if (status != 0 || !strstr(text, want))
		fail_msg("%s: %s", programs, text);
}

static void others_find_no_fault_with_a_new_image_of_any_size(void **state)
{
	char want[64];

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(sizes); i++) {
		create("new", sizes[i], NULL);
		others("qemu-img check new", "No errors were found"); /* leaks are errors, too */
		snprintf(want, sizeof(want), "\"virtual-size\": %ju,", (uintmax_t)sizes[i]);
		others("qemu-img info --output=json new", want);
		assert_int_equal(unlinkat(dir.fd, "new", 0), 0);
	}
}

static void data_is_seen_through_a_chain_and_stays_in_its_layer(void **state)
{
	(void)state;
	others("qemu-img create -f qcow2 -o compat=0.10,cluster_size=4k c 1G && "
	       "qemu-io -c 'write -P 1 0 1M' c",
	       "wrote");
	create("b", GIB, "c");
	assert_true(info_of("b").untouched && !info_of("c").untouched);
	others("qemu-io -c 'write -P 2 64k 64k' -c 'write -z 700M 64k' b", "wrote");
	create("a", GIB, "b");
	others("qemu-io -r -c 'read -P 1 0 64k' -c 'read -P 2 64k 64k' -c 'read -P 1 128k 64k' a",
	       "read 65536/65536");
	assert_true(info_of("a").untouched && !info_of("b").untouched);
	assert_chain("a", VM_OK, " b c");
	others("qemu-img info --output=json a", "\"backing-filename-format\": \"qcow2\"");
	others("qemu-io -c 'write -P 3 600M 1M' a && qemu-io -r -c 'read -P 0 600M 1M' b && "
	       "qemu-io -r -c 'read -P 1 0 1M' c && qemu-img check a && qemu-img check b",
	       "No errors were found");
	others("qemu-img convert -O qcow2 a flat && qemu-img compare a flat", "identical");
	assert_false(info_of("flat").backed);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	        TEST(a_new_image_is_small_and_reads_as_it_was_made),
	        TEST(what_cannot_be_made_is_refused_and_leaves_nothing),
	        TEST(what_is_cut_short_is_damaged_at_any_length),
	        TEST(a_wrong_field_is_refused_with_the_reason),
	        TEST(names_are_taken_up_to_our_limit),
	        TEST(headers_of_version_2_and_of_other_writers_are_read),
	        TEST(an_image_is_touched_by_a_cluster_a_snapshot_or_a_bitmap),
	        TEST(a_chain_is_walked_from_the_nearest_to_the_last),
	        TEST(what_is_no_file_beside_it_is_no_layer),
	        TEST(a_chain_without_end_is_refused),
	        TEST(others_find_no_fault_with_a_new_image_of_any_size),
	        TEST(data_is_seen_through_a_chain_and_stays_in_its_layer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
