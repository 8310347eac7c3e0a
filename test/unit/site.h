/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A data root of its own for each test of generic code, with instances of the fake driver; verbs
 * that are killed on the way; and what must be true of every root when a test is over.
 */
#ifndef VM_TEST_SITE_H
#define VM_TEST_SITE_H

#include "procs.h"

#include <sqlite3.h>
#include <sys/stat.h>

#include "fake_driver.h"
#include "fs.h"
#include "held.h"
#include "interrupt.h"
#include "manifest.h"
#include "root.h"
#include "shm.h"

enum { SITE_MEMORY_BYTES = 1 << 20, SITE_DISK_BYTES = 256 * 1024 };

struct site {
	struct test_dir dir; /* what instances are made from, the configuration, and "root" */
	char root_path[96];
	struct vm_root root;
	struct vm_op op;
	struct vm_err err;  /* of the last verb */
	char warning[1024]; /* the last one */
};

static inline void site_note_warning(void *ctx, const char *text)
{
	struct site *site = ctx;

	snprintf(site->warning, sizeof(site->warning), "%s", text);
}

/* Opens the root, in whatever process; -1 says why on stderr. */
static inline int site_open(struct site *site)
{
	const int64_t wait = PATIENCE_MS;
	struct vm_err err = {0};

	if (vm_root_open(site->root_path, VM_ROOT_CREATE, &wait, &site->root, NULL, &err) < 0) {
		fprintf(stderr, "%s\n", err.message);
		return -1;
	}
	/* A call that hangs does so until it is killed or interrupted. */
	site->root.config.api_timeout_ms = INT32_MAX;
	site->root.config.min_free_disk_bytes = 0;
	return 0;
}

/* The op of one run of a verb; the error of the last one is forgotten. */
static inline struct vm_op *site_op(struct site *site, const char *verb)
{
	site->op = (struct vm_op){.root = &site->root,
	                          .verb = verb,
	                          .wait_ms = PATIENCE_MS,
	                          .began_us = vm_monotonic_us(),
	                          .warn = site_note_warning,
	                          .ctx = site};
	vm_err_clear(&site->err);
	return &site->op;
}

static inline void site_write(int dir_fd, const char *name, size_t size)
{
	int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	assert_true(pwrite(fd, name, strlen(name), 0) == (ssize_t)strlen(name));
	close(fd);
}

static inline struct site *site_new(void)
{
	struct site *site = calloc(1, sizeof(*site));
	char config[128];

	assert_non_null(site);
	fake_reset();
	test_dir_open(&site->dir);
	snprintf(site->root_path, sizeof(site->root_path), "%s/root", site->dir.path);
	/* The machine's own configuration is no business of a test. */
	snprintf(config, sizeof(config), "%s/vmctl.yaml", site->dir.path);
	site_write(site->dir.fd, "vmctl.yaml", 0);
	assert_int_equal(truncate(config, 0), 0);
	setenv("VMCTL_CONFIG", config, 1);
	site_write(site->dir.fd, "kernel", 4096);
	site_write(site->dir.fd, "disk", SITE_DISK_BYTES);
	site_write(site->dir.fd, "fixed", 4096);
	assert_int_equal(site_open(site), 0);
	return site;
}

/* By the liveness files: also VMMs that no row leads to, as a test that fails may leave. */
static inline void site_kill_all(struct site *site)
{
	DIR *list = fdopendir(openat(site->root.run_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	const struct dirent *entry;

	while (list && (entry = readdir(list))) {
		char id[VM_ID_LEN + 1] = "";
		struct vm_err err = {0};

		if (strlen(entry->d_name) <= VM_ID_LEN || entry->d_name[0] == '.')
			continue;
		memcpy(id, entry->d_name, VM_ID_LEN);
		if (vm_id_valid(id))
			vm_vmm_reap(&site->root, id, &err);
	}
	if (list)
		closedir(list);
}

static inline void site_free(struct site *site)
{
	struct vm_err err = {0};

	site_kill_all(site);
	vm_shm_remove(vm_store_root_id(site->root.store), &err);
	vm_root_close(&site->root);
	vm_fs_remove_tree(site->dir.fd, "root", &err);
	test_dir_close(&site->dir);
	free(site);
	assert_int_equal(err.code, VM_OK);
	assert_int_equal(vm_lock_held_mask(), 0);
	assert_int_equal(atomic_load(&fake_get()->violations), 0);
}

static inline int site_setup(void **state)
{
	*state = site_new();
	return 0;
}

static inline int site_teardown(void **state)
{
	site_free(*state);
	return 0;
}

/* --- instances -----------------------------------------------------------------------------------
 */

/* A spec with a disk, a disk nobody writes, and a vsock. */
static inline int site_create(struct site *site, const char *name)
{
	struct vm_spec spec;
	char kernel[128], disk[160], fixed[160];
	int rc;

	vm_spec_init(&spec);
	snprintf(kernel, sizeof(kernel), "%s/kernel", site->dir.path);
	snprintf(disk, sizeof(disk), "id=root,path=%s/disk,root", site->dir.path);
	snprintf(fixed, sizeof(fixed), "id=fixed,path=%s/fixed,readonly", site->dir.path);
	spec.name = strdup(name);
	spec.kernel = strdup(kernel);
	spec.memory_bytes = SITE_MEMORY_BYTES;
	site_op(site, "create");
	rc = vm_spec_add_disk(&spec, disk, &site->err);
	if (rc == 0)
		rc = vm_spec_add_disk(&spec, fixed, &site->err);
	if (rc == 0)
		rc = vm_create(&site->op, &spec, false, NULL, &site->err);
	vm_spec_free(&spec);
	return rc;
}

static inline int site_verb(struct site *site, const char *verb, const char *name)
{
	const struct vm_stop_options stop = {.grace_ms = 0}, discard = {.discard = true};
	struct vm_op *op = site_op(site, strcmp(verb, "discard") == 0 ? "stop" : verb);

	if (strcmp(verb, "start") == 0)
		return vm_start(op, name, NULL, &site->err);
	if (strcmp(verb, "stop") == 0)
		return vm_stop(op, name, &stop, NULL, &site->err);
	if (strcmp(verb, "discard") == 0)
		return vm_stop(op, name, &discard, NULL, &site->err);
	if (strcmp(verb, "pause") == 0)
		return vm_pause(op, name, NULL, &site->err);
	if (strcmp(verb, "resume") == 0)
		return vm_resume(op, name, NULL, &site->err);
	if (strcmp(verb, "standby") == 0)
		return vm_standby(op, name, NULL, &site->err);
	if (strcmp(verb, "restore") == 0)
		return vm_restore(op, name, NULL, &site->err);
	return vm_rm(op, name, true, NULL, &site->err); /* "rm" */
}

static inline void site_do(struct site *site, const char *verb, const char *name)
{
	if (site_verb(site, verb, name) < 0)
		fail_msg("%s %s: %s", verb, name, site->err.message);
}

/* An instance in a state that a verb has brought it to. */
static inline void site_make(struct site *site, const char *name, enum vm_state state)
{
	if (site_create(site, name) < 0)
		fail_msg("create %s: %s", name, site->err.message);
	if (state == VM_STATE_STOPPED)
		return;
	site_do(site, "start", name);
	if (state == VM_STATE_PAUSED)
		site_do(site, "pause", name);
	if (state == VM_STATE_STANDBY)
		site_do(site, "standby", name);
}

/* The row, `creating` ones included; to be freed. */
static inline struct vm_instance site_row(struct site *site, const char *name)
{
	struct vm_instance row = {0};
	struct vm_err err = {0};

	if (vm_store_get_named(site->root.store, name, &row, &err) < 0)
		fail_msg("%s", err.message);
	return row;
}

static inline bool site_has_row(struct site *site, const char *name)
{
	struct vm_instance row = {0};
	struct vm_err err = {0};
	bool found = vm_store_get_named(site->root.store, name, &row, &err) == 0;

	vm_instance_free(&row);
	return found;
}

static inline const char *site_id(struct site *site, const char *name, char id[VM_ID_LEN + 1])
{
	struct vm_instance row = site_row(site, name);

	memcpy(id, row.id, VM_ID_LEN + 1);
	vm_instance_free(&row);
	return id;
}

/* Its directory, open; -1 when there is none. */
static inline int site_dir(struct site *site, const char *name)
{
	char id[VM_ID_LEN + 1];
	struct vm_err err = {0};

	return vm_fs_open_dir(site->root.guests_fd, site_id(site, name, id), &err);
}

static inline bool site_has(struct site *site, const char *name, const char *file)
{
	VM_AUTO_CLOSE int dir = site_dir(site, name);

	return dir >= 0 && vm_fs_exists(dir, file);
}

static inline enum vm_guest_state site_guest(struct site *site, const char *name)
{
	VM_AUTO_CLOSE int dir = site_dir(site, name);

	return fake_guest(dir);
}

static inline bool site_alive(struct site *site, const char *name)
{
	char id[VM_ID_LEN + 1];
	struct vm_err err = {0};

	return vm_vmm_alive(&site->root, site_id(site, name, id), &err) == 1;
}

/* The VMM of an instance dies as by the OOM killer. */
static inline void site_kill_vmm(struct site *site, const char *name)
{
	char id[VM_ID_LEN + 1];
	struct vm_err err = {0};

	assert_int_equal(vm_vmm_reap(&site->root, site_id(site, name, id), &err), 0);
	assert_false(site_alive(site, name));
}

/* State, liveness and what the guest does agree with each other and with `state`; no intent. */
static inline void site_assert(struct site *site, const char *name, enum vm_state state)
{
	struct vm_instance row = site_row(site, name);
	bool runs = state == VM_STATE_RUNNING || state == VM_STATE_PAUSED;

	assert_string_equal(vm_state_name(row.state), vm_state_name(state));
	assert_string_equal(row.intent.verb, "");
	assert_int_equal(site_alive(site, name), runs);
	assert_int_equal(row.occupies, runs);
	assert_int_equal(row.pid != 0, runs);
	if (runs)
		assert_int_equal(site_guest(site, name),
		                 state == VM_STATE_RUNNING ? VM_GUEST_RUNNING : VM_GUEST_PAUSED);
	assert_int_equal(site_has(site, name, VM_FILE_MANIFEST), state == VM_STATE_STANDBY);
	assert_int_equal(site_has(site, name, FAKE_SOCKET), runs);
	vm_instance_free(&row);
}

/* --- the store, looked at by another connection
 * ---------------------------------------------------
 */

static inline int64_t site_sql(struct site *site, const char *sql)
{
	VM_AUTO_FREE char *path = vm_strf(&site->err, "%s/vmctl.db", site->root_path);
	sqlite3_stmt *stmt = NULL;
	sqlite3 *db = NULL;
	int64_t result = -1;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	sqlite3_busy_timeout(db, PATIENCE_MS);
	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
	switch (sqlite3_step(stmt)) {
	case SQLITE_ROW:
		result = sqlite3_column_int64(stmt, 0);
		break;
	case SQLITE_DONE:
		break;
	default:
		fail_msg("%s: %s", sql, sqlite3_errmsg(db));
	}
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	return result;
}

static inline int64_t site_repairs(struct site *site)
{
	return site_sql(site, "SELECT count(*) FROM event WHERE verb = 'repair'");
}

/* The same without those that took a dead maker's half-made instance away. */
static inline int64_t site_settled(struct site *site)
{
	return site_sql(site, "SELECT count(*) FROM event WHERE verb = 'repair'"
	                      " AND instance_id IN (SELECT id FROM instance)");
}

/* Entries of a directory of the root whose names end so. */
static inline size_t site_count(int dir_fd, const char *suffix)
{
	DIR *list = fdopendir(openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	const struct dirent *entry;
	size_t n = 0;

	assert_non_null(list);
	while ((entry = readdir(list))) {
		size_t len = strlen(entry->d_name), wanted = strlen(suffix);

		n += entry->d_name[0] != '.' && len >= wanted &&
		     strcmp(entry->d_name + len - wanted, suffix) == 0;
	}
	closedir(list);
	return n;
}

/*
 * A directory, a row, a lock with its gate and memory lock for so many instances, the store's lock,
 * gate and turn, and nothing of any other.
 */
static inline void site_assert_only(struct site *site, size_t instances)
{
	assert_int_equal(site_sql(site, "SELECT count(*) FROM instance"), instances);
	assert_int_equal(site_sql(site, "SELECT count(*) FROM intent"), 0);
	assert_int_equal(site_sql(site, "SELECT count(*) FROM lock_file"), 0);
	assert_int_equal(site_count(site->root.guests_fd, ""), instances);
	assert_int_equal(site_count(site->root.trash_fd, ""), 0);
	assert_in_range(site_count(site->root.run_fd, ".alive"), 0, instances);
	assert_in_range(site_count(site->root.locks_fd, ".gate"), 1, 1 + instances);
	assert_in_range(site_count(site->root.locks_fd, ""), 3 + instances, 3 + 3 * instances);
}

/* --- verbs in processes of their own
 * ---------------------------------------------------------------
 */

struct site_job {
	struct site *site;
	int (*run)(struct site *site, const void *arg); /* its result is the exit status */
	const void *arg;
};

static inline int site_run_job(void *arg)
{
	const struct site_job *job = arg;

	return site_open(job->site) < 0 ? 97 : job->run(job->site, job->arg);
}

/*
 * In a child. SQLite's connections and our lock mask must not cross fork(), so the root is closed
 * here meanwhile: site_open() it again once the child is there.
 */
static inline pid_t site_spawn(struct site *site, int (*run)(struct site *site, const void *arg),
                               const void *arg)
{
	struct site_job job = {site, run, arg};

	vm_root_close(&site->root);
	return spawn(site_run_job, &job);
}

static inline void site_reopen(struct site *site)
{
	assert_int_equal(site_open(site), 0);
}

static inline bool ended(pid_t pid)
{
	siginfo_t info = {0};

	return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       info.si_pid == pid;
}

/* Waits until a call of the driver hangs in the child. */
static inline void await_hanging(pid_t pid)
{
	assert_true(wait_for(atomic_load(&fake_get()->hanging) > 0 || ended(pid)));
	assert_true(atomic_load(&fake_get()->hanging) > 0);
}

/* A verb that is killed when it is in the given call of the driver. */
static inline void site_kill_in(struct site *site, enum fake_call call, enum fake_fault hang,
                                int (*run)(struct site *site, const void *arg), const void *arg)
{
	pid_t pid;

	fake_expect(call, hang, 1, NULL);
	pid = site_spawn(site, run, arg);
	await_hanging(pid);
	kill_and_reap(pid);
	fake_forgive();
	site_reopen(site);
}

/* For site_spawn: a verb and its instance. */
static inline int site_run_verb(struct site *site, const void *arg)
{
	const char *const *words = arg;

	return site_verb(site, words[0], words[1]) < 0 ? (int)site->err.code : 0;
}

/* Forks, and forgets the results: 0, 1 (some), -1. */
static inline int site_fork(struct site *site, const struct vm_fork_request *request)
{
	struct vm_fork_result *results = NULL;
	size_t count = 0;
	int rc = vm_fork(site_op(site, "fork"), request, &results, &count, &site->err);

	if (rc >= 0)
		vm_fork_results_free(results, count);
	return rc;
}

/* For site_spawn. */
static inline int site_run_fork(struct site *site, const void *arg)
{
	return site_fork(site, arg) < 0 ? (int)site->err.code : 0;
}

#endif
