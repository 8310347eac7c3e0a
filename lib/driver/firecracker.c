/* SPDX-License-Identifier: Apache-2.0 */
#include "firecracker.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "../fs.h"
#include "../kvm.h"
#include "../util.h"
#include "binary.h"
#include "firecracker_state.h"
#include "refuse.h"

#define BINARY_VARIABLE "VMCTL_FIRECRACKER"
#define DEFAULT_BOOT_ARGS "console=ttyS0 reboot=k panic=1 pci=off"

enum {
	MIB = 1024 * 1024,
};

/* "Firecracker v1.12.1" */
static int probe(const struct vm_root *root, const struct vm_spec *spec, const char *saved,
                 struct vm_driver_info *ret, struct vm_err *err)
{
	static const char *const names[] = {"firecracker", NULL};
	static const struct vm_binary_search search = {
	        .driver = "firecracker",
	        .product = "Firecracker",
	        .variable = BINARY_VARIABLE,
	        .names = names,
	        .version_format = "Firecracker v%23[0-9A-Za-z.-]",
	};

	(void)spec;
	(void)saved;
	return vm_binary_find(root, &search, ret, err);
}

static int check_spec(const struct vm_spec *spec, struct vm_err *err)
{
	if (spec->memory_bytes < MIB || spec->memory_bytes % MIB != 0)
		return vm_err_set(err, VM_ERR_USAGE,
		                  "memory: Firecracker wants whole MiB, at least 1");
	if (spec->machine)
		return vm_err_set(err, VM_ERR_UNSUPPORTED,
		                  "machine: Firecracker has only one, and no name for it");
	if (spec->accelerator && strcmp(spec->accelerator, "auto") != 0 &&
	    strcmp(spec->accelerator, "kvm") != 0)
		return vm_err_set(err, VM_ERR_UNSUPPORTED,
		                  "accelerator: Firecracker has only kvm, not '%s'",
		                  spec->accelerator);
	if (spec->network != VM_NETWORK_NONE)
		return vm_err_set(err, VM_ERR_UNSUPPORTED,
		                  "network: the Firecracker driver has none yet");
	for (size_t i = 0; i < spec->disk_count; i++) {
		if (spec->disks[i].format == VM_DISK_RAW)
			continue;
		vm_err_set(err, VM_ERR_UNSUPPORTED, "disk %s: Firecracker has no %s, only raw",
		           spec->disks[i].id, vm_disk_format_name(spec->disks[i].format));
		return vm_err_hint(err, "qemu-img convert -O raw makes a raw image of it");
	}
	return 0;
}

/* A bzImage: "HdrS" at 0x202 (Linux, Documentation/arch/x86/boot.rst). It boots only ELF kernels.
 */
static bool is_compressed_kernel(const char *path)
{
	VM_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char magic[4];

	return fd >= 0 && pread(fd, magic, sizeof(magic), 0x202) == (ssize_t)sizeof(magic) &&
	       memcmp(magic, "HdrS", sizeof(magic)) == 0;
}

static int suits(const struct vm_root *root, const struct vm_spec *spec, struct vm_err *err)
{
	struct vm_kvm_status kvm;

	if (spec && spec->kernel && is_compressed_kernel(spec->kernel))
		return vm_err_set(err, VM_ERR_UNSUPPORTED,
		                  "kernel: it boots no bzImage, only an ELF vmlinux");
	if (vm_kvm_status(root->store, &kvm, err) < 0)
		return -1;
	return kvm.verdict == VM_KVM_GOOD ? 0 : vm_err_set(err, VM_ERR_HYPERVISOR, "%s", kvm.why);
}

static int put_on(struct vm_machine *machine, int *connection, const char *path, json_t *body,
                  struct vm_err *err)
{
	if (!body)
		return vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES, "PUT %s: out of memory",
		                  path);
	return vm_fc_call_on(machine, connection, "PUT", path, body, NULL, err);
}

static int put(struct vm_machine *machine, const char *path, json_t *body, struct vm_err *err)
{
	return put_on(machine, NULL, path, body, err);
}

static int put_disks(struct vm_machine *machine, struct vm_err *err)
{
	for (size_t i = 0; i < machine->spec->disk_count; i++) {
		const struct vm_disk *disk = &machine->spec->disks[i];
		char path[64], file[VM_DISK_FILE_SIZE];

		snprintf(path, sizeof(path), "/drives/%s", disk->id);
		if (put(machine, path,
		        json_pack("{s:s,s:s,s:b,s:b}", "drive_id", disk->id, "path_on_host",
		                  vm_disk_file(disk, file), "is_root_device", (int)disk->root,
		                  "is_read_only", (int)disk->read_only),
		        err) < 0)
			return -1;
	}
	return 0;
}

static json_t *boot_source(const struct vm_spec *spec)
{
	return json_pack("{s:s,s:s,s:s*}", "kernel_image_path", VM_FILE_KERNEL, "boot_args",
	                 spec->boot_args ? spec->boot_args : DEFAULT_BOOT_ARGS, "initrd_path",
	                 spec->initrd ? VM_FILE_INITRD : NULL);
}

static int configure(struct vm_machine *machine, int *connection, struct vm_err *err)
{
	const struct vm_spec *spec = machine->spec;

	if (put_on(machine, connection, "/machine-config",
	           json_pack("{s:i,s:I,s:b}", "vcpu_count", (int)spec->vcpus, "mem_size_mib",
	                     (json_int_t)(spec->memory_bytes >> 20), "track_dirty_pages",
	                     (int)machine->track),
	           err) < 0 ||
	    put(machine, "/boot-source", boot_source(spec), err) < 0 || put_disks(machine, err) < 0)
		return -1;
	if (machine->guest_cid == 0)
		return 0;
	return put(machine, "/vsock",
	           json_pack("{s:I,s:s}", "guest_cid", (json_int_t)machine->guest_cid, "uds_path",
	                     VM_FILE_VSOCK),
	           err);
}

static int boot(struct vm_machine *machine, struct vm_err *err)
{
	VM_AUTO_CLOSE int fd = -1;

	if (vm_fc_spawn(machine, &fd, err) < 0 || configure(machine, &fd, err) < 0 ||
	    put(machine, "/actions", json_pack("{s:s}", "action_type", "InstanceStart"), err) < 0)
		return vm_abandon(machine);
	return 0;
}

/* A Diff goes into the file that it finds, and leaves its other pages alone: since then. */
static bool can_track(const char *version)
{
	return vm_version_is_since(version, 1, 10);
}

/* How dirty pages are asked for at load. */
static const char *tracking_field(const char *version)
{
	return vm_version_is_since(version, 1, 14) ? "track_dirty_pages" : "enable_diff_snapshots";
}

static int load(struct vm_machine *machine, bool resume, struct vm_err *err)
{
	VM_AUTO_CLOSE int fd = -1;

	/* Any load failure ends the process, so there is nothing to retry in the same VMM. */
	if (vm_fc_spawn(machine, &fd, err) < 0 ||
	    put_on(machine, &fd, "/snapshot/load",
	           json_pack("{s:s,s:{s:s,s:s},s:b,s:b}", "snapshot_path", VM_FILE_STATE,
	                     "mem_backend", "backend_type", "File", "backend_path", VM_FILE_MEMORY,
	                     tracking_field(machine->binary->version), (int)machine->track,
	                     "resume_vm", (int)resume),
	           err) < 0)
		return vm_abandon(machine);
	return 0;
}

static int query(struct vm_machine *machine, enum vm_guest_state *ret, struct vm_err *err)
{
	json_t *answer = NULL;
	const char *state;
	int rc = 0;

	if (vm_fc_call(machine, "GET", "/", NULL, &answer, err) < 0)
		return -1;
	state = json_string_value(json_object_get(answer, "state"));
	if (state && strcmp(state, "Running") == 0)
		*ret = VM_GUEST_RUNNING;
	else if (state && strcmp(state, "Paused") == 0)
		*ret = VM_GUEST_PAUSED;
	else if (state && strcmp(state, "Not started") == 0)
		*ret = VM_GUEST_NOT_STARTED;
	else
		rc = vm_err_set(err, VM_ERR_HYPERVISOR, "GET /: unknown state '%s'",
		                state ? state : "");
	json_decref(answer);
	return rc;
}

static int set_state(struct vm_machine *machine, const char *state, enum vm_guest_state want,
                     struct vm_err *err)
{
	if (vm_fc_call(machine, "PATCH", "/vm", json_pack("{s:s}", "state", state), NULL, err) == 0)
		return 0;
	if (err->code != VM_ERR_TIMEOUT)
		return -1;
	return vm_confirm_state(machine, want, err);
}

static int pause_guest(struct vm_machine *machine, struct vm_err *err)
{
	return set_state(machine, "Paused", VM_GUEST_PAUSED, err);
}

static int resume_guest(struct vm_machine *machine, struct vm_err *err)
{
	return set_state(machine, "Resumed", VM_GUEST_RUNNING, err);
}

static int save(struct vm_machine *machine, enum vm_save_what what, const char *memory,
                const char *state, struct vm_err *err)
{
	return put(machine, "/snapshot/create",
	           json_pack("{s:s,s:s,s:s}", "snapshot_type",
	                     what == VM_SAVE_DIRTY ? "Diff" : "Full", "snapshot_path", state,
	                     "mem_file_path", memory),
	           err);
}

static int tracks(struct vm_machine *machine, bool *ret_tracks, struct vm_err *err)
{
	json_t *answer = NULL;

	if (vm_fc_call(machine, "GET", "/machine-config", NULL, &answer, err) < 0)
		return -1;
	*ret_tracks = json_is_true(json_object_get(answer, "track_dirty_pages"));
	json_decref(answer);
	return 0;
}

static int ask_shutdown(struct vm_machine *machine, struct vm_err *err)
{
	return put(machine, "/actions", json_pack("{s:s}", "action_type", "SendCtrlAltDel"), err);
}

/* A binary reads only states of its own major.minor; the patch number does not matter. */
static int check_version(const char *version, const char *now, struct vm_err *err)
{
	int major = 0, minor = 0;

	if (vm_version_is_alike(version, now))
		return 0;
	(void)sscanf(version, "%d.%d", &major, &minor);
	vm_err_set(err, VM_ERR_INCOMPATIBLE,
	           "the state was saved by Firecracker %s, the binary here is %s", version, now);
	return vm_err_hint(err, "name a Firecracker %d.%d by $VMCTL_FIRECRACKER", major, minor);
}

/*
 * By the structure, because the socket's path may be padded ("./././vsock.sock"). Where that is not
 * known (a microVM with PCI devices), a path that is just ours still says where the CID is.
 */
static int set_cid(const void *data, size_t len, const struct vm_state_move *move, void **ret,
                   size_t *ret_len, struct vm_err *err)
{
	struct vm_err second = {0};

	if (vm_fc_state_set_cid(data, len, NULL, move->from_cid, move->to_cid, ret, ret_len, err) ==
	    0)
		return 0;
	if ((err->code != VM_ERR_UNSUPPORTED && err->code != VM_ERR_INCOMPATIBLE) ||
	    vm_fc_state_set_cid(data, len, VM_FILE_VSOCK, move->from_cid, move->to_cid, ret,
	                        ret_len, &second) < 0)
		return -1;
	vm_err_clear(err);
	return 0;
}

static int move_state(const struct vm_state_move *move, struct vm_err *err)
{
	VM_AUTO_FREE char *data = NULL;
	VM_AUTO_FREE void *rewritten = NULL;
	size_t len, new_len;

	if (vm_fs_read(move->from_fd, move->from_name, VM_STATE_MAX_BYTES, &data, &len, err) < 0)
		return -1;
	if (move->from_cid == move->to_cid) {
		struct vm_fc_state_info info;

		if (vm_fc_state_check(data, len, &info, err) < 0)
			return vm_err_wrap(err, "%s", move->from_name);
		return vm_fs_publish(move->to_fd, VM_FILE_STATE, data, len, move->durable, err);
	}
	if (set_cid(data, len, move, &rewritten, &new_len, err) < 0)
		return vm_err_wrap(err, "%s", move->from_name);
	return vm_fs_publish(move->to_fd, VM_FILE_STATE, rewritten, new_len, move->durable, err);
}

static bool ended_by_guest(int dir_fd, const char **ret_why)
{
	static const char orderly[] = "Firecracker exiting successfully. exit_code=0";
	char tail[1024];
	size_t len;

	vm_vmm_log_tail(dir_fd, VM_VMM_LOG, tail, sizeof(tail));
	len = strlen(tail);
	if (len < sizeof(orderly) - 1 || strcmp(tail + len - (sizeof(orderly) - 1), orderly) != 0)
		return false;
	/* It exits so after a triple fault as well, but says that it has seen one. */
	if (!strstr(tail, "KVM_EXIT_SHUTDOWN"))
		return true;
	*ret_why = "the guest crashed (triple fault)";
	return false;
}

static const char *const leftovers[] = {VM_FILE_API_SOCKET, VM_FILE_VSOCK, NULL};

const struct vm_driver vm_driver_firecracker = {
        .name = "firecracker",
        .binary_variable = BINARY_VARIABLE,
        .caps =
                {
                        .concurrent_fork_prepare = true,
                        .snapshot_keeps_running = true,
                        .relative_paths = true,
                        .state_rewrite = true,
                        .cid_rewrite = true,
                        .network_override = false,
                        .memory_shared_base = true,
                        .recycles_memory = true,
                        .diff_snapshot = true,
                        .vsock_by_socket = true,
                        .tells_crash = true,
                        .graceful_shutdown = true,
                        .max_concurrent_restores = 32,
                },
        .check_spec = check_spec,
        .probe = probe,
        .suits = suits,
        .boot = boot,
        .load = load,
        .pause = pause_guest,
        .resume = resume_guest,
        .save = save,
        .tracks = tracks,
        .can_track = can_track,
        .query = query,
        .ask_shutdown = ask_shutdown,
        .check_version = check_version,
        .move_state = move_state,
        .describe_state = vm_fc_state_describe,
        .rewrite_state = vm_fc_state_rewrite,
        .ended_by_guest = ended_by_guest,
        .state_is_checked = true,
        .leftovers = leftovers,
};
