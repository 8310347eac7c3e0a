/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_driver.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "fs.h"
#include "interrupt.h"
#include "manifest.h"
#include "util.h"

#define STATE_FORMAT "fake state of cid %" PRIu64 "\n"

/* Longer than any test may take: no test waits for its end, and none of them stays for ever. */
static const char *const vmm_argv[] = {"/bin/sleep", "3600", NULL};
static const char *const call_names[FAKE_CALLS] = {
        [FAKE_BOOT] = "boot",     [FAKE_LOAD] = "load",       [FAKE_PAUSE] = "pause",
        [FAKE_RESUME] = "resume", [FAKE_SAVE] = "save",       [FAKE_QUERY] = "query",
        [FAKE_MOVE] = "move",     [FAKE_PREPARE] = "prepare",
};

struct fake *fake_get(void)
{
	static struct fake *shared;

	if (!shared)
		shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert(shared != MAP_FAILED);
	return shared;
}

void fake_expect(enum fake_call call, enum fake_fault fault, int nth, const char *name)
{
	struct fake *fake = fake_get();
	struct fake_plan *plan = &fake->plans[call];

	*plan = (struct fake_plan){.fault = fault, .nth = nth};
	if (name)
		snprintf(plan->name, sizeof(plan->name), "%s", name);
	atomic_store(&fake->calls[call], 0);
	atomic_store(&fake->hanging, 0);
}

void fake_forgive(void)
{
	memset(fake_get()->plans, 0, sizeof(fake_get()->plans));
	fake_get()->on_call = NULL;
}

int fake_calls(enum fake_call call)
{
	return atomic_load(&fake_get()->calls[call]);
}

enum vm_guest_state fake_guest(int dir_fd)
{
	VM_AUTO_FREE char *text = NULL;
	struct vm_err err = {0};
	size_t len;

	if (vm_fs_read(dir_fd, FAKE_GUEST, 64, &text, &len, &err) < 0)
		return VM_GUEST_NOT_STARTED;
	return strcmp(text, "running") == 0 ? VM_GUEST_RUNNING : VM_GUEST_PAUSED;
}

static int set_guest(struct vm_machine *machine, bool running, struct vm_err *err)
{
	const char *text = running ? "running" : "paused";

	/* A guest that runs changes its disks: a saved state of it must not be there any more. */
	if (running && vm_fs_exists(machine->dir_fd, VM_FILE_MANIFEST))
		atomic_fetch_add(&fake_get()->violations, 1);
	return vm_fs_publish(machine->dir_fd, FAKE_GUEST, text, strlen(text), false, err);
}

/* --- faults --------------------------------------------------------------------------------------
 */

static int hang(enum fake_call call, int64_t deadline_ms, struct vm_err *err)
{
	const struct timespec nap = {.tv_nsec = 1000000};

	atomic_fetch_add(&fake_get()->hanging, 1);
	while (vm_monotonic_ms() < deadline_ms) {
		if (vm_interrupt_check(err) < 0)
			return -1;
		nanosleep(&nap, NULL);
	}
	return vm_err_set(err, VM_ERR_TIMEOUT, "%s: no answer", call_names[call]);
}

/* Counts the call, and says what is to go wrong with it. */
static enum fake_fault begin(enum fake_call call, const struct vm_machine *machine)
{
	struct fake *fake = fake_get();
	const struct fake_plan *plan = &fake->plans[call];
	int number;

	if (fake->on_call)
		fake->on_call(call, machine);
	if (plan->name[0] && (!machine || strcmp(machine->name, plan->name) != 0))
		return FAKE_NONE;
	number = atomic_fetch_add(&fake->calls[call], 1) + 1;
	return plan->nth == 0 || plan->nth == number ? plan->fault : FAKE_NONE;
}

static int refuse_or_hang(enum fake_call call, enum fake_fault fault, int64_t deadline_ms,
                          struct vm_err *err)
{
	if (fault == FAKE_HANG)
		return hang(call, deadline_ms, err);
	if (fault == FAKE_FAIL)
		return vm_err_set(err, VM_ERR_HYPERVISOR, "%s: told to fail", call_names[call]);
	return 0;
}

static int finish(enum fake_call call, enum fake_fault fault, int64_t deadline_ms,
                  struct vm_err *err)
{
	if (fault == FAKE_HANG_AFTER)
		return hang(call, deadline_ms, err);
	if (fault == FAKE_LIE)
		return vm_err_set(err, VM_ERR_HYPERVISOR, "%s: told to lie", call_names[call]);
	if (fault == FAKE_SIGTERM)
		raise(SIGTERM);
	return 0;
}

/* Runs `act` with what is planned for the call. */
static int with_faults(enum fake_call call, struct vm_machine *machine,
                       int (*act)(struct vm_machine *machine, struct vm_err *err),
                       struct vm_err *err)
{
	enum fake_fault fault = begin(call, machine);

	if (refuse_or_hang(call, fault, machine->deadline_ms, err) < 0 || act(machine, err) < 0)
		return -1;
	return finish(call, fault, machine->deadline_ms, err);
}

/* --- the driver ----------------------------------------------------------------------------------
 */

static int check_spec(const struct vm_spec *spec, struct vm_err *err)
{
	(void)spec;
	(void)err;
	return 0;
}

static int probe(const struct vm_root *root, const struct vm_spec *spec, const char *saved,
                 struct vm_driver_info *ret, struct vm_err *err)
{
	(void)spec;
	(void)saved;
	(void)root;
	(void)err;
	snprintf(ret->path, sizeof(ret->path), "%s", vmm_argv[0]);
	snprintf(ret->version, sizeof(ret->version), FAKE_VERSION);
	return 0;
}

static int touch(int dir_fd, const char *name, struct vm_err *err)
{
	return vm_fs_publish(dir_fd, name, "", 0, false, err);
}

uint64_t fake_cid(int dir_fd)
{
	VM_AUTO_FREE char *text = NULL;
	struct vm_err err = {0};
	size_t len;

	return vm_fs_read(dir_fd, FAKE_CID, 64, &text, &len, &err) < 0 ? 0
	                                                               : strtoull(text, NULL, 10);
}

static int note_cid(const struct vm_machine *machine, struct vm_err *err)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRIu64, machine->guest_cid);
	return vm_fs_publish(machine->dir_fd, FAKE_CID, text, strlen(text), false, err);
}

static bool runs_with(const struct vm_root *root, const char *id, uint64_t cid)
{
	struct vm_err ignored = {0};
	VM_AUTO_CLOSE int dir_fd = vm_fs_open_dir(root->guests_fd, id, &ignored);

	return dir_fd >= 0 && fake_cid(dir_fd) == cid && vm_vmm_alive(root, id, &ignored) == 1;
}

/*
 * As the kernel would refuse it: another VMM with this guest CID. The CID is noted before the VMM
 * is spawned and looked for after that, so of two at once one sees the other.
 */
static void check_cid_alone(const struct vm_machine *machine)
{
	DIR *list = fdopendir(
	        openat(machine->root->guests_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	const struct dirent *entry;

	while (machine->guest_cid && list && (entry = readdir(list))) {
		if (entry->d_name[0] != '.' && strcmp(entry->d_name, machine->id) != 0 &&
		    runs_with(machine->root, entry->d_name, machine->guest_cid))
			atomic_fetch_add(&fake_get()->violations, 1);
	}
	if (list)
		closedir(list);
}

/* A VMM whose guest does not run yet. */
static int spawn_vmm(struct vm_machine *machine, struct vm_err *err)
{
	if (vm_driver_clean(machine->driver, machine->dir_fd, err) < 0 ||
	    vm_fs_unlink(machine->dir_fd, FAKE_ENDED, err) < 0 || note_cid(machine, err) < 0 ||
	    vm_vmm_spawn(machine->root, machine->id, machine->dir_fd, vmm_argv, &machine->vmm,
	                 err) < 0)
		return -1;
	check_cid_alone(machine);
	return touch(machine->dir_fd, FAKE_SOCKET, err);
}

static int abandon(struct vm_machine *machine)
{
	struct vm_err ignored = {0};

	if (machine->vmm.pid_fd >= 0)
		vm_vmm_kill(&machine->vmm, &ignored);
	vm_vmm_close(&machine->vmm);
	vm_err_clear(&ignored);
	vm_driver_clean(machine->driver, machine->dir_fd, &ignored);
	return -1;
}

static int do_boot(struct vm_machine *machine, struct vm_err *err)
{
	return spawn_vmm(machine, err) < 0 ? -1 : set_guest(machine, true, err);
}

static int boot(struct vm_machine *machine, struct vm_err *err)
{
	return with_faults(FAKE_BOOT, machine, do_boot, err) < 0 ? abandon(machine) : 0;
}

/* What a real VMM would have to find as well: memory of the right size, the state of this guest. */
static int check_saved(const struct vm_machine *machine, struct vm_err *err)
{
	VM_AUTO_FREE char *text = NULL;
	struct stat st;
	uint64_t cid;
	size_t len;

	if (fstatat(machine->dir_fd, VM_FILE_MEMORY, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return vm_err_sys(err, "load: " VM_FILE_MEMORY);
	if ((uint64_t)st.st_size != machine->spec->memory_bytes)
		return vm_err_set(err, VM_ERR_HYPERVISOR, "load: the memory has another size");
	if (vm_fs_read(machine->dir_fd, VM_FILE_STATE, 256, &text, &len, err) < 0)
		return -1;
	if (sscanf(text, STATE_FORMAT, &cid) != 1 || cid != machine->guest_cid)
		return vm_err_set(err, VM_ERR_HYPERVISOR, "load: the state is of another guest: %s",
		                  text);
	return 0;
}

static int do_load(struct vm_machine *machine, struct vm_err *err)
{
	if (check_saved(machine, err) < 0 || spawn_vmm(machine, err) < 0)
		return -1;
	return set_guest(machine, false, err);
}

static int do_load_and_resume(struct vm_machine *machine, struct vm_err *err)
{
	return do_load(machine, err) < 0 ? -1 : set_guest(machine, true, err);
}

static int load(struct vm_machine *machine, bool resume, struct vm_err *err)
{
	return with_faults(FAKE_LOAD, machine, resume ? do_load_and_resume : do_load, err) < 0
	               ? abandon(machine)
	               : 0;
}

static int do_pause(struct vm_machine *machine, struct vm_err *err)
{
	return set_guest(machine, false, err);
}

static int do_resume(struct vm_machine *machine, struct vm_err *err)
{
	return set_guest(machine, true, err);
}

static int pause_guest(struct vm_machine *machine, struct vm_err *err)
{
	return with_faults(FAKE_PAUSE, machine, do_pause, err);
}

static int resume_guest(struct vm_machine *machine, struct vm_err *err)
{
	return with_faults(FAKE_RESUME, machine, do_resume, err);
}

/* The memory: its size, nearly all of it a hole, and who it is of. */
static int write_memory(const struct vm_machine *machine, const char *path, struct vm_err *err)
{
	VM_AUTO_CLOSE int fd = openat(machine->dir_fd, path,
	                              O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)machine->spec->memory_bytes) < 0 ||
	    dprintf(fd, "memory of %s, save %d\n", machine->name, fake_calls(FAKE_SAVE)) < 0)
		return vm_err_sys(err, "save: %s", path);
	return 0;
}

static int save(struct vm_machine *machine, enum vm_save_what what, const char *memory,
                const char *state, struct vm_err *err)
{
	enum fake_fault fault = begin(FAKE_SAVE, machine);
	VM_AUTO_CLOSE int fd = -1;

	(void)what;

	if (fake_guest(machine->dir_fd) != VM_GUEST_PAUSED)
		atomic_fetch_add(&fake_get()->violations, 1);
	if (write_memory(machine, memory, err) < 0)
		return -1;
	/* A save that fails has written something already. */
	if (refuse_or_hang(FAKE_SAVE, fault, machine->deadline_ms, err) < 0)
		return -1;
	fd = openat(machine->dir_fd, state, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
	            0600);
	if (fd < 0 || dprintf(fd, STATE_FORMAT, machine->guest_cid) < 0)
		return vm_err_sys(err, "save: %s", state);
	return finish(FAKE_SAVE, fault, machine->deadline_ms, err);
}

static int query(struct vm_machine *machine, enum vm_guest_state *ret, struct vm_err *err)
{
	enum fake_fault fault = begin(FAKE_QUERY, machine);

	if (refuse_or_hang(FAKE_QUERY, fault, machine->deadline_ms, err) < 0)
		return -1;
	*ret = fake_guest(machine->dir_fd);
	return 0;
}

int fake_shut_down(const struct vm_root *root, const char *id, int dir_fd)
{
	struct vm_err err = {0};

	if (touch(dir_fd, FAKE_ENDED, &err) < 0)
		return -1;
	return vm_vmm_reap(root, id, &err);
}

static int ask_shutdown(struct vm_machine *machine, struct vm_err *err)
{
	if (touch(machine->dir_fd, FAKE_ENDED, err) < 0)
		return -1;
	return vm_vmm_kill(&machine->vmm, err);
}

static int check_version(const char *version, const char *now, struct vm_err *err)
{
	if (strcmp(version, now) == 0)
		return 0;
	return vm_err_set(err, VM_ERR_INCOMPATIBLE, "the state was saved by fake '%s', here is %s",
	                  version, now);
}

static int move_state(const struct vm_state_move *move, struct vm_err *err)
{
	enum fake_fault fault = begin(FAKE_MOVE, NULL);
	int64_t deadline = vm_monotonic_ms() + INT32_MAX;
	VM_AUTO_FREE char *text = NULL;
	char moved[128];
	uint64_t cid;
	size_t len;

	if (refuse_or_hang(FAKE_MOVE, fault, deadline, err) < 0 ||
	    vm_fs_read(move->from_fd, move->from_name, 256, &text, &len, err) < 0)
		return -1;
	if (sscanf(text, STATE_FORMAT, &cid) != 1 || cid != move->from_cid)
		return vm_err_set(err, VM_ERR_CORRUPT, "%s is of another guest", move->from_name);
	if (move->from_cid != move->to_cid && !fake_caps()->cid_rewrite)
		atomic_fetch_add(&fake_get()->violations, 1);
	snprintf(moved, sizeof(moved), STATE_FORMAT, move->to_cid);
	if (vm_fs_publish(move->to_fd, VM_FILE_STATE, moved, strlen(moved), move->durable, err) < 0)
		return -1;
	return finish(FAKE_MOVE, fault, deadline, err);
}

static int memory_ready(const struct vm_machine *machine, struct vm_err *err)
{
	(void)err;
	return !vm_fs_exists(machine->dir_fd, FAKE_PACKED);
}

static int do_prepare(struct vm_machine *machine, struct vm_err *err)
{
	/* It replaces the file: nobody may link it at that time, nor do the same. */
	if (memory_ready(machine, err))
		atomic_fetch_add(&fake_get()->violations, 1);
	return vm_fs_unlink(machine->dir_fd, FAKE_PACKED, err);
}

static int prepare_memory(struct vm_machine *machine, struct vm_err *err)
{
	return with_faults(FAKE_PREPARE, machine, do_prepare, err);
}

static bool ended_by_guest(int dir_fd, const char **ret_why)
{
	(void)ret_why;
	return vm_fs_exists(dir_fd, FAKE_ENDED);
}

static const char *const leftovers[] = {FAKE_SOCKET, FAKE_GUEST, FAKE_CID, NULL};

static const struct vm_driver_caps usual_caps = {
        .concurrent_fork_prepare = true,
        .snapshot_keeps_running = true,
        .relative_paths = true,
        .cid_rewrite = true,
        .memory_shared_base = true,
        .recycles_memory = true,
        .graceful_shutdown = true,
        .max_concurrent_restores = 4,
};

static struct vm_driver fake_driver = {
        .name = "fake",
        .binary_variable = "VMCTL_FAKE",
        .check_spec = check_spec,
        .state_is_checked = true,
        .probe = probe,
        .boot = boot,
        .load = load,
        .pause = pause_guest,
        .resume = resume_guest,
        .save = save,
        .query = query,
        .ask_shutdown = ask_shutdown,
        .check_version = check_version,
        .move_state = move_state,
        .memory_ready = memory_ready,
        .prepare_memory = prepare_memory,
        .ended_by_guest = ended_by_guest,
        .leftovers = leftovers,
};

const struct vm_driver *const vm_drivers[] = {&fake_driver, NULL};

struct vm_driver_caps *fake_caps(void)
{
	return &fake_driver.caps;
}

void fake_reset(void)
{
	memset(fake_get(), 0, sizeof(struct fake));
	fake_driver.caps = usual_caps;
}
