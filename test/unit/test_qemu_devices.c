/* SPDX-License-Identifier: Apache-2.0 */
/* The devices of QEMU: where they are, what is behind them, and that they are the same in every
 * role. */
#include "qemu_guest.h"

#include <sys/socket.h>

#include "connect.h"

static void disks_are_opened_as_what_they_are(void **state)
{
	struct fixture *f = *state;
	char active[VM_LAYER_NAME_SIZE], want[1024];
	struct vm_err err = {0};
	struct guest guest;

	guest_init(&guest, f);
	add_disk(&guest, "root", VM_DISK_QCOW2, false);
	add_disk(&guest, "data", VM_DISK_RAW, false);
	add_disk(&guest, "cd", VM_DISK_RAW, true);
	add_disk(&guest, "base", VM_DISK_QCOW2, true);
	assert_int_equal(vm_overlay_name(f->from, &guest.spec.disks[0], active, &err), 0);
	/* One in layers by the name that it will be frozen by. */
	snprintf(want, sizeof(want),
	         "driver=qcow2,node-name=disk-root,read-only=off,discard=unmap,"
	         "file.driver=file,file.filename=%s\n"
	         "driver=raw,node-name=disk-data,read-only=off,discard=unmap,"
	         "file.driver=file,file.filename=disk-data.img\n"
	         "driver=raw,node-name=disk-cd,read-only=on,discard=unmap,"
	         "file.driver=file,file.filename=disk-cd.img\n"
	         "driver=qcow2,node-name=disk-base,read-only=on,discard=unmap,"
	         "file.driver=file,file.filename=disk-base.img\n",
	         active);
	assert_values(&guest, VM_QEMU_BOOT, "-blockdev", want);
	assert_values(&guest, VM_QEMU_LOAD, "-blockdev", want);
	assert_int_equal(count_entries(f->from), 2);
}

static void a_helper_opens_no_disk_and_no_stream_of_the_instance(void **state)
{
	static const char *const files[] = {".img", ".layer", "filename", VM_FILE_API_SOCKET,
	                                    "stdio"};
	struct fixture *f = *state;
	struct guest guest;

	guest_init(&guest, f);
	add_disk(&guest, "root", VM_DISK_QCOW2, false);
	add_disk(&guest, "data", VM_DISK_RAW, true);
	for (size_t i = 0; i < VM_ARRAY_LEN(files); i++)
		assert_false(mentions(&guest, VM_QEMU_FLATTEN, files[i]));
	assert_values(&guest, VM_QEMU_FLATTEN, "-blockdev",
	              "driver=null-co,node-name=disk-root,size=1048576,read-zeroes=on,"
	              "read-only=off\n"
	              "driver=null-co,node-name=disk-data,size=1048576,read-zeroes=on,"
	              "read-only=on\n");
	assert_values(&guest, VM_QEMU_FLATTEN, "-chardev", "null,id=console\nsocket,id=qmp,fd=3\n");
	/* Nor does it make a name for one. */
	assert_int_equal(count_entries(f->from), 1);
	/* Also where there is none: of a snapshot that is being made. */
	assert_int_equal(unlinkat(f->from, "disk-root.img", 0), 0);
	assert_false(mentions(&guest, VM_QEMU_FLATTEN, ".img"));
}

/* "bus=virtio-mmio-bus.N" or "addr=0xN" of a device; -1 without. */
static long place_of(const char *device, const char *key, int base)
{
	const char *at = strstr(device, key);

	return at ? strtol(at + strlen(key), NULL, base) : -1;
}

static void every_device_has_a_place_of_its_own(void **state)
{
	static char microvm[] = "microvm", q35[] = "q35";
	struct guest guest;

	guest_init(&guest, *state);
	add_disks(&guest, VM_DISKS_MAX);
	guest.spec.network = VM_NETWORK_USER;
	guest.machine.guest_cid = 3;
	for (int pci = 0; pci < 2; pci++) {
		VM_AUTO(vm_qemu_args_free) struct vm_qemu_args args;
		bool taken[32] = {false};
		int devices = 0;

		guest.spec.machine = pci ? q35 : microvm;
		args = args_of(&guest, VM_QEMU_BOOT);
		for (size_t i = 0; i + 1 < args.count; i++) {
			const char *device = args.list[i + 1];
			long place;

			if (strcmp(args.list[i], "-device") != 0 || strstr(device, "vmgenid"))
				continue;
			place = pci ? place_of(device, "-pci,addr=0x", 16)
			            : place_of(device, "-device,bus=virtio-mmio-bus.", 10);
			/* 0 and 31 are the q35's own; a microvm has 24. */
			assert_in_range(place, pci, pci ? 30 : 23);
			assert_false(taken[place]);
			taken[place] = true;
			devices++;
		}
		assert_int_equal(devices, VM_DISKS_MAX + 2);
	}
}

static void the_same_spec_has_the_same_devices_in_every_role(void **state)
{
	static const enum vm_network networks[] = {VM_NETWORK_NONE, VM_NETWORK_USER,
	                                           VM_NETWORK_TAP};
	static char microvm[] = "microvm", q35[] = "q35";
	static const char *const options[] = {"-device", "-machine", "-cpu",
	                                      "-smp",    "-m",       "-global"};
	struct guest guest;

	guest_init(&guest, *state);
	add_disk(&guest, "root", VM_DISK_QCOW2, false);
	add_disk(&guest, "data", VM_DISK_RAW, true);
	snprintf(guest.spec.tap, sizeof(guest.spec.tap), "tap7");
	for (size_t i = 0; i < 2 * VM_ARRAY_LEN(networks) * VM_ARRAY_LEN(options); i++) {
		const char *option = options[i / 2 % VM_ARRAY_LEN(options)];
		VM_AUTO(vm_qemu_args_free) struct vm_qemu_args args;
		char first[4096];

		guest.spec.machine = i % 2 ? q35 : microvm;
		guest.spec.network = networks[i / 2 / VM_ARRAY_LEN(options)];
		guest.machine.guest_cid = i % 4 < 2 ? 77 : 0;
		args = args_of(&guest, VM_QEMU_BOOT);
		values(&args, option, first, sizeof(first));
		assert_values(&guest, VM_QEMU_LOAD, option, first);
		assert_values(&guest, VM_QEMU_FLATTEN, option, first);
	}
}

static void the_network_is_attached_to_what_the_spec_says(void **state)
{
	static char q35[] = "q35";
	struct guest guest, other;
	char text[256];

	guest_init(&guest, *state);
	assert_values(&guest, VM_QEMU_BOOT, "-netdev", "");
	assert_false(mentions(&guest, VM_QEMU_BOOT, "virtio-net"));
	guest.spec.network = VM_NETWORK_USER;
	for (size_t i = 0; i < VM_ARRAY_LEN(roles); i++)
		assert_values(&guest, roles[i], "-netdev", "user,id=net\n");
	guest.spec.network = VM_NETWORK_TAP;
	snprintf(guest.spec.tap, sizeof(guest.spec.tap), "a-tap_7.x");
	for (size_t i = 0; i < 2; i++)
		assert_values(&guest, roles[i], "-netdev",
		              "tap,id=net,ifname=a-tap_7.x,script=no,downscript=no,vnet_hdr=off\n");
	/* A helper must not take the tap of a guest that runs. */
	assert_values(&guest, VM_QEMU_FLATTEN, "-netdev", "hubport,id=net,hubid=0\n");
	guest_init(&other, *state);
	other.spec.network = VM_NETWORK_USER;
	for (int i = 0; i < 2; i++) {
		VM_AUTO(vm_qemu_args_free) struct vm_qemu_args args;

		args = args_of(&other, VM_QEMU_BOOT);
		values(&args, "-device", text, sizeof(text));
		assert_non_null(strstr(text, ",mac=52:54:"));
		assert_int_equal(!!strstr(text, "romfile="), i);
		other.spec.machine = q35;
	}
	/* Of its own for each instance, and always the same. */
	guest.spec.machine = q35;
	assert_values(&guest, VM_QEMU_BOOT, "-device", text);
	guest.machine.id = "bbcdefghijklmnopqrstuvwx";
	assert_false(mentions(&guest, VM_QEMU_BOOT, strstr(text, "mac=")));
}

static void a_vsock_has_the_guest_cid(void **state)
{
	struct guest guest;

	guest_init(&guest, *state);
	assert_false(mentions(&guest, VM_QEMU_BOOT, "vsock"));
	guest.machine.guest_cid = UINT32_MAX - 1;
	assert_values(&guest, VM_QEMU_LOAD, "-device",
	              "vhost-vsock-device,bus=virtio-mmio-bus.0,guest-cid=4294967294\n");
}

static void a_disk_that_is_missing_is_an_error(void **state)
{
	struct fixture *f = *state;
	struct guest guest;

	guest_init(&guest, f);
	add_disk(&guest, "root", VM_DISK_QCOW2, false);
	add_disks(&guest, 3);
	assert_int_equal(unlinkat(f->from, "disk-root.img", 0), 0);
	assert_no_args(&guest, VM_ERR_SYSTEM, "disk-root.img: No such file");
}

/* In a process of its own: it may abort. */
static int make_without_disks(void *arg)
{
	const struct guest *guest = arg;
	struct vm_qemu_args args;
	struct vm_err err = {0};

	expect_abort_here();
	return vm_qemu_args_make(&guest->machine, VM_QEMU_BOOT, "memory", true, &args, &err) != -1;
}

static void two_disks_that_are_missing_are_one_error(void **state)
{
	struct fixture *f = *state;
	struct guest guest;

	guest_init(&guest, f);
	add_disk(&guest, "root", VM_DISK_QCOW2, false);
	add_disk(&guest, "data", VM_DISK_QCOW2, false);
	assert_int_equal(unlinkat(f->from, "disk-root.img", 0), 0);
	assert_int_equal(unlinkat(f->from, "disk-data.img", 0), 0);
	assert_exits(spawn(make_without_disks, &guest), 0);
}

/* --- with QEMU itself ---------------------------------------------------------------------------
 */

struct run {
	const struct vm_qemu_args *args;
	int dir_fd, qmp_fd; /* -1: it listens */
};

static int become_qemu(void *arg)
{
	const struct run *run = arg;
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (fchdir(run->dir_fd) == 0 && dup2(null_fd, STDIN_FILENO) >= 0 &&
	    dup2(null_fd, STDOUT_FILENO) >= 0 && dup2(null_fd, STDERR_FILENO) >= 0 &&
	    (run->qmp_fd < 0 || dup2(run->qmp_fd, VM_QEMU_QMP_FD) >= 0))
		execvp("qemu-system-x86_64", run->args->list);
	return 127;
}

/* Its end of QMP; -1 when it has ended. */
static int reach(const struct fixture *f, pid_t pid)
{
	siginfo_t info = {0};
	struct vm_err err = {0};
	int fd = -1;

	assert_true(wait_for((err = (struct vm_err){0}, fd = vm_connect(f->from, VM_FILE_API_SOCKET,
	                                                                patience(), &err)) >= 0 ||
	                     (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	                      info.si_pid == pid)));
	return fd;
}

/* Starts it, and asks for its disks: what it takes for the file of the first, and how many. */
static size_t start_and_ask(struct fixture *f, const struct guest *guest, enum vm_qemu_role role,
                            char ret_file[VM_LAYER_NAME_SIZE])
{
	VM_AUTO(vm_qemu_args_free) struct vm_qemu_args args = args_of(guest, role);
	VM_AUTO(vm_qmp_close) struct vm_qmp qmp = VM_QMP_INIT;
	struct run run = {&args, f->from, -1};
	struct vm_err err = {0};
	json_t *disks = NULL;
	int ends[2] = {-1, -1}, status;
	const char *file;
	size_t count;
	pid_t pid;

	if (role == VM_QEMU_FLATTEN)
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	run.qmp_fd = ends[1];
	pid = spawn(become_qemu, &run);
	close(ends[1]);
	if (role != VM_QEMU_FLATTEN)
		ends[0] = reach(f, pid);
	if (ends[0] < 0 || vm_qmp_begin(ends[0], patience(), &qmp, &err) < 0) {
		status = reap(pid);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
			skip();
		fail_msg("%s (%d)", err.message, status);
	}
	assert_int_equal(vm_qmp_call(&qmp, "query-block", NULL, -1, &disks, &err), 0);
	count = json_array_size(disks);
	file = json_string_value(
	        json_object_get(json_object_get(json_array_get(disks, 0), "inserted"), "file"));
	snprintf(ret_file, VM_LAYER_NAME_SIZE, "%s", file ? file : "");
	json_decref(disks);
	assert_int_equal(vm_qmp_call(&qmp, "quit", NULL, -1, NULL, &err), 0);
	assert_exits(pid, 0);
	assert_int_equal(vm_fs_unlink(f->from, VM_FILE_API_SOCKET, &err), 0);
	return count;
}

static int truncate_at(int dir_fd, const char *name, off_t size)
{
	VM_AUTO_CLOSE int fd = openat(dir_fd, name, O_WRONLY | O_CLOEXEC);

	return ftruncate(fd, size);
}

static void as_many_devices_as_there_can_be_are_taken_in_every_role(void **state)
{
	static char q35[] = "q35";
	char file[VM_LAYER_NAME_SIZE], active[VM_LAYER_NAME_SIZE];
	struct fixture *f = *state;
	struct vm_err err = {0};
	struct guest guest;

	guest_init(&guest, f);
	guest.spec.memory_bytes = UINT64_C(32) << 20;
	guest.spec.network = VM_NETWORK_USER;
	add_disk(&guest, "root", VM_DISK_QCOW2, false);
	add_disks(&guest, VM_DISKS_MAX - 1);
	for (size_t i = 1; i < VM_DISKS_MAX; i++) {
		char name[VM_DISK_FILE_SIZE];

		write_text(f->from, vm_disk_file(&guest.spec.disks[i], name), "");
		assert_int_equal(truncate_at(f->from, name, DISK_BYTES), 0);
	}
	assert_int_equal(vm_overlay_name(f->from, &guest.spec.disks[0], active, &err), 0);
	for (size_t i = 0; i < 2 * VM_ARRAY_LEN(roles); i++) {
		enum vm_qemu_role role = roles[i / 2];

		guest.spec.machine = i % 2 ? q35 : NULL;
		assert_int_equal(start_and_ask(f, &guest, role, file), VM_DISKS_MAX);
		/* By that the driver knows which layer is active. */
		if (role != VM_QEMU_FLATTEN)
			assert_string_equal(file, active);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	        TEST(disks_are_opened_as_what_they_are),
	        TEST(a_helper_opens_no_disk_and_no_stream_of_the_instance),
	        TEST(every_device_has_a_place_of_its_own),
	        TEST(the_same_spec_has_the_same_devices_in_every_role),
	        TEST(the_network_is_attached_to_what_the_spec_says),
	        TEST(a_vsock_has_the_guest_cid),
	        TEST(a_disk_that_is_missing_is_an_error),
	        TEST(two_disks_that_are_missing_are_one_error),
	        TEST(as_many_devices_as_there_can_be_are_taken_in_every_role),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
