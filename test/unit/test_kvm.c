/* SPDX-License-Identifier: Apache-2.0 */
/* The verdict on KVM. How fast it is here, and whether it is there, no test depends on. */
#include "store_fixture.h"

#include <sys/stat.h>

#include "interrupt.h"
#include "kvm.h"

#define HERE "/dev/kvm"

static bool can_open(void)
{
	VM_AUTO_CLOSE int fd = open(HERE, O_RDWR | O_CLOEXEC);

	return fd >= 0;
}

static bool works(const struct vm_kvm_status *status)
{
	return status->verdict == VM_KVM_GOOD || status->verdict == VM_KVM_SLOW;
}

/* A regular file in the place of the device: it can be opened, and no machine comes of it. */
static const char *make_file(const struct fixture *f, char ret_path[128])
{
	int fd;

	snprintf(ret_path, 128, "%s/kvm", f->dir.path);
	fd = open(ret_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	return ret_path;
}

static void assert_consistent(const struct vm_kvm_status *status)
{
	assert_true(status->why[0] != '\0');
	assert_null(strchr(status->why, '\n'));
	assert_int_equal(works(status), status->instructions_per_second > 0);
	if (works(status))
		assert_non_null(strstr(status->why, "million instructions a second"));
	assert_int_equal(status->verdict == VM_KVM_SLOW, strstr(status->why, "emulated") != NULL);
}

/* Puts down a finding of this boot. */
static void put_rate(struct fixture *f, const char *rate)
{
	char value[128];
	char boot_id[64] = "";
	FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");

	assert_non_null(file);
	assert_int_equal(fscanf(file, "%63s", boot_id), 1);
	fclose(file);
	snprintf(value, sizeof(value), "%s %s", boot_id, rate);
	assert_works(f, vm_store_put_meta(f->store, "kvm", value, &f->err));
}

/* --- measuring -----------------------------------------------------------------------------------
 */

static void the_verdict_fits_what_is_there(void **state)
{
	struct fixture *f = *state;
	struct vm_kvm_status status;
	unsigned fds = count_fds();

	assert_works(f, vm_kvm_measure(&status, &f->err));
	assert_consistent(&status);
	assert_false(status.cached);
	assert_int_equal(can_open(), works(&status) || status.verdict == VM_KVM_BROKEN);
	if (access(HERE, F_OK) < 0)
		assert_int_equal(status.verdict, VM_KVM_ABSENT);
	assert_int_equal(count_fds(), fds);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
}

static void without_a_device_it_is_absent(void **state)
{
	struct fixture *f = *state;
	struct vm_kvm_status status;

	assert_works(f,
	             vm_kvm_measure_device("/nonexistent", VM_KVM_PATIENCE_MS, &status, &f->err));
	assert_int_equal(status.verdict, VM_KVM_ABSENT);
	assert_string_equal(status.why, "there is no /nonexistent");
	assert_consistent(&status);
}

static void a_file_that_is_no_device_is_broken(void **state)
{
	struct fixture *f = *state;
	struct vm_kvm_status status;
	char path[128];

	assert_works(f, vm_kvm_measure_device(make_file(f, path), PATIENCE_MS, &status, &f->err));
	assert_int_equal(status.verdict, VM_KVM_BROKEN);
	assert_non_null(strstr(status.why, "KVM_GET_API_VERSION"));
	assert_consistent(&status);
	assert_works(f, vm_kvm_measure_device(f->dir.path, PATIENCE_MS, &status, &f->err));
	assert_int_equal(status.verdict, VM_KVM_BROKEN);
}

static int is_denied(void *arg)
{
	struct vm_kvm_status status;
	struct vm_err err = {0};

	/* Root may open everything. */
	if (geteuid() == 0 && seteuid(65534) < 0)
		return 1;
	if (vm_kvm_measure_device(arg, PATIENCE_MS, &status, &err) < 0)
		return 2;
	return status.verdict == VM_KVM_DENIED && strstr(status.why, "no permission for ") ? 0 : 3;
}

static void a_device_without_permission_is_denied(void **state)
{
	struct fixture *f = *state;
	char path[128];

	assert_int_equal(chmod(make_file(f, path), 0), 0);
	assert_exits(spawn(is_denied, path), 0);
}

static bool hangs(struct fixture *f, const char *device)
{
	struct vm_kvm_status status;

	/* Without patience whatever has not ended yet hangs. */
	assert_works(f, vm_kvm_measure_device(device, 0, &status, &f->err));
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	return strstr(status.why, "hangs") != NULL;
}

static void one_that_hangs_is_killed_and_broken(void **state)
{
	struct fixture *f = *state;
	char path[128];

	make_file(f, path);
	assert_true(wait_for(hangs(f, can_open() ? HERE : path)));
}

static int is_interrupted(void *arg)
{
	struct vm_kvm_status status;
	struct vm_err err = {0};

	vm_interrupt_install();
	kill(getpid(), SIGTERM);
	if (vm_kvm_measure_device(arg, PATIENCE_MS, &status, &err) != -1)
		return 1;
	if (!strstr(err.message, "interrupted by SIGTERM"))
		return 2;
	return waitpid(-1, NULL, WNOHANG) == -1 ? 0 : 3;
}

static void a_signal_ends_the_wait(void **state)
{
	struct fixture *f = *state;
	char path[128];

	make_file(f, path);
	assert_exits(spawn(is_interrupted, path), 0);
}

/* --- remembering ---------------------------------------------------------------------------------
 */

static void what_was_measured_is_remembered(void **state)
{
	struct fixture *f = *state;
	struct vm_kvm_status first, second;
	char value[128];
	int known;

	assert_works(f, vm_kvm_status(f->store, &first, &f->err));
	assert_false(first.cached);
	known = vm_store_get_meta(f->store, "kvm", value, sizeof(value), &f->err);
	if (!works(&first)) {
		assert_true(known == 0 || strstr(first.why, "hangs"));
		return;
	}
	assert_int_equal(known, 1);
	assert_works(f, vm_kvm_status(f->store, &second, &f->err));
	assert_true(second.cached);
	assert_int_equal(second.verdict, first.verdict);
	assert_int_equal(second.instructions_per_second, first.instructions_per_second);
	assert_string_equal(second.why, first.why);
}

/* A file is never good when it is tried: so what says that it is was remembered. */
static void what_is_remembered_is_not_measured(void **state)
{
	static const struct {
		const char *rate, *why;
		enum vm_kvm_verdict verdict;
	} cases[] = {
	        {"3000000000", " runs 3000 million instructions a second", VM_KVM_GOOD},
	        {"100000000", " runs 100 million instructions a second", VM_KVM_GOOD},
	        {"99999999", " million instructions a second: it is emulated", VM_KVM_SLOW},
	        {"400000", " runs 0.4 million instructions a second: it is emu", VM_KVM_SLOW},
	        {"1500", " runs 0.0015 million instructions a second: it is emu", VM_KVM_SLOW},
	        {"0", " does not work: a virtual CPU hangs", VM_KVM_BROKEN},
	};
	struct fixture *f = *state;
	struct vm_kvm_status status;
	char path[128];

	make_file(f, path);
	for (size_t i = 0; i < VM_ARRAY_LEN(cases); i++) {
		put_rate(f, cases[i].rate);
		assert_works(f, vm_kvm_status_device(f->store, path, &status, &f->err));
		assert_true(status.cached);
		assert_int_equal(status.verdict, cases[i].verdict);
		if (!strstr(status.why, cases[i].why))
			fail_msg("%s", status.why);
		assert_consistent(&status);
	}
}

static void of_another_boot_or_unreadable_it_is_measured_anew(void **state)
{
	static const char *const values[] = {"", "3000000000",
	                                     "00000000-0000-0000-0000-000000000000 3000000000"};
	static const char *const rates[] = {"", "x", "-1", "3000000000 x"};
	struct fixture *f = *state;
	struct vm_kvm_status status;
	char path[128];

	make_file(f, path);
	for (size_t i = 0; i < VM_ARRAY_LEN(values) + VM_ARRAY_LEN(rates); i++) {
		if (i < VM_ARRAY_LEN(values))
			assert_works(f, vm_store_put_meta(f->store, "kvm", values[i], &f->err));
		else
			put_rate(f, rates[i - VM_ARRAY_LEN(values)]);
		assert_works(f, vm_kvm_status_device(f->store, path, &status, &f->err));
		assert_false(status.cached);
		assert_int_equal(status.verdict, VM_KVM_BROKEN);
	}
}

static void whether_it_can_be_opened_is_looked_at_each_time(void **state)
{
	struct fixture *f = *state;
	struct vm_kvm_status status;

	put_rate(f, "3000000000");
	assert_works(f, vm_kvm_status_device(f->store, "/nonexistent", &status, &f->err));
	assert_int_equal(status.verdict, VM_KVM_ABSENT);
	assert_false(status.cached);
}

static void what_is_remembered_can_be_forgotten(void **state)
{
	struct fixture *f = *state;
	struct vm_kvm_status status;

	put_rate(f, "0");
	assert_works(f, vm_kvm_try_again(f->store, &status, &f->err));
	assert_false(status.cached);
}

static void what_fails_at_once_is_not_remembered(void **state)
{
	struct fixture *f = *state;
	struct vm_kvm_status status;
	char path[128];

	make_file(f, path);
	assert_works(f, vm_kvm_status_device(f->store, path, &status, &f->err));
	assert_works(f, vm_kvm_status_device(f->store, "/nonexistent", &status, &f->err));
	assert_int_equal(sql(f, "SELECT count(*) FROM meta WHERE key = 'kvm'"), 0);
}

static void a_store_that_cannot_be_written_or_read_is_no_error(void **state)
{
	struct fixture *f = *state;
	struct vm_kvm_status status;
	struct vm_store *empty = NULL;

	assert_works(f, vm_store_open_empty(&empty, &f->err));
	assert_works(f, vm_kvm_status(empty, &status, &f->err));
	vm_store_close(empty);
	assert_consistent(&status);
	sql(f, "CREATE TRIGGER no BEFORE INSERT ON meta BEGIN SELECT RAISE(ABORT, 'no'); END");
	assert_fails(f, vm_store_put_meta(f->store, "x", "y", &f->err), VM_ERR_SYSTEM);
	assert_works(f, vm_kvm_status(f->store, &status, &f->err));
	assert_consistent(&status);
	sql(f, "DROP TABLE meta");
	assert_works(f, vm_kvm_status(f->store, &status, &f->err));
	assert_consistent(&status);
	assert_false(status.cached);
}

/* --- the store's values --------------------------------------------------------------------------
 */

static void a_value_is_kept_and_replaced(void **state)
{
	struct fixture *f = *state;
	char value[8] = "before";

	assert_int_equal(vm_store_get_meta(f->store, "key", value, sizeof(value), &f->err), 0);
	assert_string_equal(value, "before");
	assert_works(f, vm_store_put_meta(f->store, "key", "one", &f->err));
	assert_works(f, vm_store_put_meta(f->store, "key", "two", &f->err));
	assert_int_equal(vm_store_get_meta(f->store, "key", value, sizeof(value), &f->err), 1);
	assert_string_equal(value, "two");
	assert_works(f, vm_store_put_meta(f->store, "key", "longer than that", &f->err));
	assert_int_equal(vm_store_get_meta(f->store, "key", value, sizeof(value), &f->err), 1);
	assert_string_equal(value, "longer ");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(the_verdict_fits_what_is_there),
	        TEST(without_a_device_it_is_absent),
	        TEST(a_file_that_is_no_device_is_broken),
	        TEST(a_device_without_permission_is_denied),
	        TEST(one_that_hangs_is_killed_and_broken),
	        TEST(a_signal_ends_the_wait),
	        TEST(what_was_measured_is_remembered),
	        TEST(what_is_remembered_is_not_measured),
	        TEST(of_another_boot_or_unreadable_it_is_measured_anew),
	        TEST(whether_it_can_be_opened_is_looked_at_each_time),
	        TEST(what_is_remembered_can_be_forgotten),
	        TEST(what_fails_at_once_is_not_remembered),
	        TEST(a_store_that_cannot_be_written_or_read_is_no_error),
	        TEST(a_value_is_kept_and_replaced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
