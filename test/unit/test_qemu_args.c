/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of QEMU: the machine, its memory and its kernel. */
#include "qemu_guest.h"

static void only_a_guest_that_goes_on_is_awaited(void **state)
{
	struct guest guest;

	guest_init(&guest, *state);
	assert_values(&guest, VM_QEMU_BOOT, "-incoming", "");
	assert_values(&guest, VM_QEMU_LOAD, "-incoming", "defer\n");
	assert_values(&guest, VM_QEMU_FLATTEN, "-incoming", "defer\n");
	for (size_t i = 0; i < VM_ARRAY_LEN(roles); i++) {
		assert_true(mentions(&guest, roles[i], "-S"));
		assert_true(mentions(&guest, roles[i], "-no-reboot"));
		assert_true(mentions(&guest, roles[i], "-nodefaults"));
		assert_values(&guest, roles[i], "-trace", "enable=runstate_set\n");
		assert_values(&guest, roles[i], "-name", "abcdefghijklmnopqrstuvwx\n");
	}
}

static void memory_is_written_only_where_it_is_shared(void **state)
{
	struct guest guest;

	guest_init(&guest, *state);
	guest.spec.memory_bytes = UINT64_C(5) << 30;
	for (int share = 0; share < 2; share++) {
		VM_AUTO(vm_qemu_args_free) struct vm_qemu_args args = {0};
		struct vm_err err = {0};
		char text[256], want[256];

		assert_int_equal(vm_qemu_args_make(&guest.machine, VM_QEMU_LOAD,
		                                   share ? VM_QEMU_LIVE : VM_FILE_MEMORY, share,
		                                   &args, &err),
		                 0);
		values(&args, "-object", text, sizeof(text));
		snprintf(want, sizeof(want),
		         "memory-backend-file,id=ram,mem-path=%s,size=5368709120,share=%s\n",
		         share ? "memory.live" : "memory", share ? "on" : "off");
		assert_string_equal(text, want);
		values(&args, "-m", text, sizeof(text));
		assert_string_equal(text, "5120M\n");
	}
}

static void assert_machine(const struct guest *guest, const char *want)
{
	for (size_t i = 0; i < VM_ARRAY_LEN(roles); i++)
		assert_values(guest, roles[i], "-machine", want);
}

static void more_than_eight_devices_need_a_second_ioapic(void **state)
{
	static char q35[] = "q35";
	struct guest guest;

	guest_init(&guest, *state);
	add_disks(&guest, 8);
	assert_machine(&guest, "microvm,accel=tcg,memory-backend=ram,ioapic2=off\n");
	guest.machine.guest_cid = 3;
	assert_machine(&guest, "microvm,accel=tcg,memory-backend=ram,ioapic2=on\n");
	guest.machine.guest_cid = 0;
	guest.spec.network = VM_NETWORK_USER;
	assert_machine(&guest, "microvm,accel=tcg,memory-backend=ram,ioapic2=on\n");
	guest.spec.network = VM_NETWORK_NONE;
	add_disk(&guest, "ninth", VM_DISK_RAW, false);
	assert_machine(&guest, "microvm,accel=tcg,memory-backend=ram,ioapic2=on\n");
	guest.spec.machine = q35;
	assert_machine(&guest, "q35,accel=tcg,memory-backend=ram\n");
}

static void the_accelerator_and_its_cpu_are_those_of_the_version(void **state)
{
	struct guest guest;

	guest_init(&guest, *state);
	assert_values(&guest, VM_QEMU_BOOT, "-cpu", "max\n");
	guest.machine.version = "10.0.2+kvm";
	assert_machine(&guest, "microvm,accel=kvm,memory-backend=ram,ioapic2=off\n");
	assert_values(&guest, VM_QEMU_BOOT, "-cpu", "host,arch-capabilities=off\n");
}

static void assert_acpi(struct guest *guest, const char *boot_args, bool off)
{
	char text[256];

	snprintf(text, sizeof(text), "%s", boot_args);
	guest->spec.boot_args = text;
	if (mentions(guest, VM_QEMU_BOOT, "ioapic2=off,acpi=off") != off)
		fail_msg("'%s' is taken for acpi=%s", boot_args, off ? "on" : "off");
	guest->spec.boot_args = NULL;
}

static void a_kernel_that_does_without_acpi_is_told_of_its_devices_otherwise(void **state)
{
	static char q35[] = "q35";
	struct guest guest;

	guest_init(&guest, *state);
	assert_acpi(&guest, "acpi=off", true);
	assert_acpi(&guest, "console=ttyS0 acpi=off", true);
	assert_acpi(&guest, "acpi=off panic=1", true);
	assert_acpi(&guest, "acpi=offline acpi=off panic=1", true);
	assert_acpi(&guest, "", false);
	assert_acpi(&guest, "acpi=on", false);
	assert_acpi(&guest, "acpi=offline", false);
	guest.spec.machine = q35;
	assert_acpi(&guest, "acpi=off", false);
}

/* Both are parameters of the kernel (admin-guide/kernel-parameters), or could be a module's. */
static void a_parameter_that_ends_like_acpi_off_is_another(void **state)
{
	struct guest guest;

	guest_init(&guest, *state);
	assert_acpi(&guest, "console=ttyS0 pnpacpi=off", false);
	assert_acpi(&guest, "foo.acpi=off", false);
}

static void the_kernel_gets_its_words_as_one_argument(void **state)
{
	static char kernel[] = "/where/it/was", args[] = "a=\"b c\" -S, -- x";
	struct guest guest;

	guest_init(&guest, *state);
	guest.machine.version = "7.2.22+kvm";
	assert_values(&guest, VM_QEMU_BOOT, "-kernel", "");
	assert_values(&guest, VM_QEMU_BOOT, "-append", "");
	guest.spec.kernel = kernel;
	assert_values(&guest, VM_QEMU_BOOT, "-kernel", "kernel\n");
	assert_values(&guest, VM_QEMU_BOOT, "-initrd", "");
	assert_values(&guest, VM_QEMU_BOOT, "-append", "console=ttyS0 reboot=t panic=1\n");
	guest.spec.initrd = kernel;
	guest.spec.boot_args = args;
	assert_values(&guest, VM_QEMU_BOOT, "-initrd", "initrd\n");
	assert_values(&guest, VM_QEMU_BOOT, "-append", "a=\"b c\" -S, -- x\n");
}

static void a_command_line_that_is_too_long_is_an_error(void **state)
{
	static char text[8192], kernel[] = "k";
	struct guest guest;

	guest_init(&guest, *state);
	add_disks(&guest, 3);
	guest.spec.kernel = kernel;
	guest.spec.boot_args = text;
	memset(text, 'x', VM_BOOT_ARGS_MAX);
	assert_true(mentions(&guest, VM_QEMU_BOOT, text));
	memset(text, 'x', sizeof(text) - 1);
	assert_no_args(&guest, VM_ERR_USAGE, "too long");
}

static void an_emulated_microvm_is_told_how_fast_its_clock_is_unless_it_was(void **state)
{
	static char kernel[] = "k", q35[] = "q35", args[] = "a tsc_early_khz=7";
	VM_AUTO(vm_qemu_args_free) struct vm_qemu_args made = {0};
	struct guest guest;
	unsigned khz = 0;
	char text[256];

	guest_init(&guest, *state);
	guest.spec.kernel = kernel;
	made = args_of(&guest, VM_QEMU_BOOT);
	values(&made, "-append", text, sizeof(text));
	assert_int_equal(sscanf(text, "tsc_early_khz=%u console=ttyS0 reboot=t panic=1\n", &khz),
	                 1);
	assert_in_range(khz, 100 * 1000, 100 * 1000 * 1000);
	/* One that goes on has been told. */
	for (size_t i = 1; i < VM_ARRAY_LEN(roles); i++)
		assert_false(mentions(&guest, roles[i], "tsc"));
	guest.spec.boot_args = args;
	assert_values(&guest, VM_QEMU_BOOT, "-append", "a tsc_early_khz=7\n");
	guest.spec.boot_args = NULL;
	guest.spec.machine = q35;
	assert_false(mentions(&guest, VM_QEMU_BOOT, "tsc"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	        TEST(only_a_guest_that_goes_on_is_awaited),
	        TEST(memory_is_written_only_where_it_is_shared),
	        TEST(more_than_eight_devices_need_a_second_ioapic),
	        TEST(the_accelerator_and_its_cpu_are_those_of_the_version),
	        TEST(a_kernel_that_does_without_acpi_is_told_of_its_devices_otherwise),
	        TEST(a_parameter_that_ends_like_acpi_off_is_another),
	        TEST(the_kernel_gets_its_words_as_one_argument),
	        TEST(a_command_line_that_is_too_long_is_an_error),
	        TEST(an_emulated_microvm_is_told_how_fast_its_clock_is_unless_it_was),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
