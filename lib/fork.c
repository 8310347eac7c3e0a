/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fork: new instances from a source, or an image of it, top to bottom. docs/architecture.md has the
 * picture.
 *
 * What a kill leaves after each step, and who repairs it:
 *
 * - reserved: `creating` rows whose locks are free; swept by the next create or fork.
 * - prepared: the same with directories, and of a running source its intent: whoever locks the
 * source next resumes it.
 * - launched: the same with VMMs, known by their liveness locks; ended by the sweep.
 * - published: nothing.
 */
#include <stdlib.h>
#include <string.h>

#include "alias.h"
#include "fork_impl.h"
#include "interrupt.h"
#include "manifest.h"
#include "util.h"

bool vm_fork_with_memory(const struct vm_fork *fork)
{
	return fork->source.row.state != VM_STATE_STOPPED && fork->target != VM_STATE_STOPPED;
}

static enum vm_kind kind_of(const struct vm_fork *fork)
{
	return fork->request->image ? VM_KIND_IMAGE : VM_KIND_INSTANCE;
}

/* Step 1: what can be refused without looking at the source. */
static int check_request(const struct vm_fork_request *request, struct vm_err *err)
{
	const char *at = request->name ? strstr(request->name, "{}") : NULL;

	if (request->count < 1 || request->count > VM_FORKS_MAX)
		return vm_err_set(err, VM_ERR_USAGE, "count: %u is out of range (1 to %d)",
		                  request->count, VM_FORKS_MAX);
	if (request->has_target && request->target != VM_STATE_STOPPED &&
	    request->target != VM_STATE_STANDBY && request->target != VM_STATE_RUNNING)
		return vm_err_set(err, VM_ERR_USAGE,
		                  "a fork can be stopped, standby or running, not %s",
		                  vm_state_name(request->target));
	if (at && strstr(at + 2, "{}"))
		return vm_err_set(err, VM_ERR_USAGE, "name '%s' has more than one {}",
		                  request->name);
	if (request->name && !at && request->count > 1) {
		vm_err_set(err, VM_ERR_USAGE, "%u forks cannot all be named '%s'", request->count,
		           request->name);
		return vm_err_hint(err, "put {} where the number goes: --name '%s-{}'",
		                   request->name);
	}
	return 0;
}

/* INSTANCE/NAME. */
static int make_image_name(const struct vm_fork *fork, char *ret_name, struct vm_err *err)
{
	const char *name = fork->request->name;

	if (vm_name_check(name, err) < 0)
		return -1;
	snprintf(ret_name, VM_FULL_NAME_MAX + 1, "%.*s/%s", VM_NAME_MAX, fork->source.row.name,
	         name);
	return 0;
}

/*
 * The name of fork number `index`: from the pattern, or the name of the source, of an image the
 * part before the '/', and six random characters.
 */
static int make_name(const struct vm_fork *fork, size_t index, char *ret_name, struct vm_err *err)
{
	const char *pattern = fork->request->name;
	const char *at = pattern ? strstr(pattern, "{}") : NULL;
	char name[2 * VM_NAME_MAX + 32], id[VM_ID_LEN + 1];
	int stem = (int)strcspn(fork->source.row.name, "/");

	if (fork->request->image)
		return make_image_name(fork, ret_name, err);

	if (!pattern) {
		if (vm_id_new(id, err) < 0)
			return -1;
		snprintf(name, sizeof(name), "%.*s-%.6s",
		         stem < VM_NAME_MAX - 7 ? stem : VM_NAME_MAX - 7, fork->source.row.name,
		         id);
	} else if (at) {
		snprintf(name, sizeof(name), "%.*s%zu%s",
		         (int)(at - pattern < VM_NAME_MAX ? at - pattern : VM_NAME_MAX), pattern,
		         index + 1, at + 2);
	} else {
		snprintf(name, sizeof(name), "%s", pattern);
	}
	if (vm_name_check(name, err) < 0)
		return -1;
	memcpy(ret_name, name, strlen(name) + 1);
	return 0;
}

/* An image has all that there is. */
static enum vm_state image_state(enum vm_state source)
{
	return source == VM_STATE_STOPPED ? VM_STATE_STOPPED : VM_STATE_STANDBY;
}

int vm_fork_check_source(const struct vm_fork_request *request, const struct vm_driver *driver,
                         const struct vm_instance *row, enum vm_state *ret_target,
                         struct vm_err *err)
{
	enum vm_state target = request->image                   ? image_state(row->state)
	                       : request->has_target            ? request->target
	                       : row->state == VM_STATE_STOPPED ? VM_STATE_STOPPED
	                                                        : VM_STATE_RUNNING;

	if (row->state == VM_STATE_RUNNING && !request->from_running) {
		vm_err_set(err, VM_ERR_INVALID_STATE, "%s is running", row->name);
		return vm_err_hint(
		        err, "--from-running forks it, and pauses it while its memory is written");
	}
	if (row->state == VM_STATE_RUNNING && !driver->caps.snapshot_keeps_running) {
		vm_err_set(err, VM_ERR_UNSUPPORTED, "%s is running, and %s cannot save it in place",
		           row->name, driver->name);
		return vm_err_hint(err, "put it in standby first: 'vmctl standby %s'", row->name);
	}
	if (row->state != VM_STATE_STOPPED && row->state != VM_STATE_STANDBY &&
	    row->state != VM_STATE_RUNNING)
		return vm_err_set(err, VM_ERR_INVALID_STATE,
		                  "%s is %s; %s works from: stopped, standby, running%s", row->name,
		                  vm_state_name(row->state), request->image ? "snapshot" : "fork",
		                  request->image ? "" : " with --from-running");
	if (row->state == VM_STATE_STOPPED && target == VM_STATE_STANDBY) {
		vm_err_set(err, VM_ERR_INVALID_STATE,
		           "%s is stopped: it has no memory that a standby fork could take",
		           row->name);
		return vm_err_hint(err, "use --target-state=stopped or --target-state=running");
	}
	*ret_target = target;
	return 0;
}

/*
 * A running source is paused for us alone. One at rest can be read by many at once, but if its
 * disks are in layers it gets new ones (overlay.h).
 */
static enum vm_lock_mode lock_mode_for(const struct vm_driver *driver,
                                       const struct vm_instance *row, const struct vm_spec *spec)
{
	bool changes = row->kind == VM_KIND_INSTANCE && vm_overlay_any(spec);

	return driver->caps.concurrent_fork_prepare && row->state != VM_STATE_RUNNING && !changes
	               ? VM_LOCK_SHARED
	               : VM_LOCK_EXCLUSIVE;
}

/* By the row alone, before there is a lock; exclusive, which always fits, if its spec is damaged.
 */
static enum vm_lock_mode mode_by_row(const struct vm_driver *driver, const struct vm_instance *row)
{
	VM_AUTO(vm_spec_free) struct vm_spec spec;
	enum vm_lock_mode mode = VM_LOCK_EXCLUSIVE;
	struct vm_err ignored = {0};
	json_t *json;

	vm_spec_init(&spec);
	/* Where there are no disks in layers the spec says nothing that matters here. */
	if (!driver->caps.disk_qcow2)
		return lock_mode_for(driver, row, &spec);
	json = json_loads(row->spec, 0, NULL);
	if (json && vm_spec_from_json(json, &spec, &ignored) == 0)
		mode = lock_mode_for(driver, row, &spec);
	json_decref(json);
	return mode;
}

/* Which lock the source will need, by what the store says without one. */
static int advised_mode(const struct vm_fork *fork, enum vm_lock_mode *ret_mode, struct vm_err *err)
{
	const struct vm_driver *driver;
	struct vm_instance row;
	int rc;

	if (vm_store_find(fork->op->root->store, fork->selector, &row, err) < 0)
		return -1;
	rc = vm_driver_find(row.hypervisor, &driver, err);
	if (rc == 0)
		*ret_mode = mode_by_row(driver, &row);
	vm_instance_free(&row);
	return rc;
}

/*
 * Step 2: the source, locked. Each time the lock is had, vm_held_take() has read the row anew, with
 * the generation and the state that stay as long as the lock is held, and everything is decided
 * again on that row: whether it can be forked at all, to which state, and with which lock.
 *
 * - From the look without a lock to the lock, the source may have begun to run. An exclusive lock
 *   where a shared one would do only costs time; but a shared one over a running source would let
 *   two forks pause, save and resume it at once.
 * - From the shared lock to the exclusive one it is nobody's: it may have been stopped, put in
 *   standby, removed and made anew, at a higher generation or under another id. What was decided
 *   under the shared lock is forgotten; of a source that runs no more, nothing is paused.
 *
 * The exclusive lock fits every state, so the second round is the last.
 */
int vm_fork_hold_source(struct vm_fork *fork, struct vm_err *err)
{
	enum vm_lock_mode mode = VM_LOCK_EXCLUSIVE;

	if (advised_mode(fork, &mode, err) < 0)
		return -1;
	for (;;) {
		if (vm_held_take(fork->op, fork->selector, mode, &fork->source, err) < 0 ||
		    vm_fork_check_source(fork->request, fork->source.driver, &fork->source.row,
		                         &fork->target, err) < 0)
			return -1;
		if (mode == VM_LOCK_EXCLUSIVE ||
		    lock_mode_for(fork->source.driver, &fork->source.row, &fork->source.spec) ==
		            VM_LOCK_SHARED)
			return 0;
		vm_held_release(&fork->source);
		mode = VM_LOCK_EXCLUSIVE;
	}
}

/*
 * Where a saved state has its guest CID for ever, forks that go on from it have the source's, and
 * of those that have one CID only one can run. Whether somebody runs with it now is for the
 * admission to say; that several of these forks cannot is known before.
 */
static bool keeps_cid(const struct vm_fork *fork)
{
	/* An image never runs, and is to be what the source was. */
	return fork->request->image ||
	       (vm_fork_with_memory(fork) && !fork->source.driver->caps.cid_rewrite);
}

static int check_cids(const struct vm_fork *fork, struct vm_err *err)
{
	const struct vm_instance *source = &fork->source.row;

	if (!keeps_cid(fork) || source->guest_cid == 0 || fork->request->count == 1 ||
	    fork->target != VM_STATE_RUNNING)
		return 0;
	vm_err_set(err, VM_ERR_UNSUPPORTED,
	           "%s cannot change the guest CID in a saved state: %u forks of %s would run with "
	           "the same one",
	           fork->source.driver->name, fork->request->count, source->name);
	return vm_err_hint(err, "use --target-state=standby, and run one of them at a time");
}

/* A running source is not paused for what must fail. */
static int check_running(struct vm_fork *fork, struct vm_err *err)
{
	const struct vm_held *source = &fork->source;
	struct vm_machine machine = vm_held_machine(fork->op, source);

	if (vm_overlay_check_depth(source->dir_fd, &source->spec, err) < 0)
		return vm_err_wrap(err, "%s", source->row.name);
	if (!vm_fork_with_memory(fork))
		return 0;
	/* The forks' VMMs may be of another version than the one that runs and saves. */
	if (source->driver->check_version(source->row.hypervisor_version, fork->binary.version,
	                                  err) < 0)
		return vm_err_wrap(err, "%s", source->row.name);
	return vm_driver_check_save(&machine, err);
}

/* Everything that can be known to fail is refused before a name is taken or a guest paused. */
static int check_resources(struct vm_fork *fork, struct vm_err *err)
{
	const struct vm_held *source = &fork->source;
	bool saves = source->row.state == VM_STATE_RUNNING && vm_fork_with_memory(fork);

	if (check_cids(fork, err) < 0 || vm_fork_check_network(fork, err) < 0)
		return -1;
	if (fork->target == VM_STATE_RUNNING && vm_fork_with_memory(fork) &&
	    vm_alias_choose(fork->op, &source->row, &fork->alias, err) < 0)
		return -1;
	if ((fork->target == VM_STATE_RUNNING || vm_fork_with_memory(fork)) &&
	    source->driver->probe(fork->op->root, &source->spec,
	                          vm_fork_with_memory(fork) ? source->row.hypervisor_version : NULL,
	                          &fork->binary, err) < 0)
		return -1;
	if (source->row.state == VM_STATE_STANDBY && vm_fork_with_memory(fork) &&
	    vm_manifest_check(source->dir_fd, &source->row, &source->spec, source->driver,
	                      &fork->binary, err) < 0)
		return -1;
	/* A fork with memory boots later, if ever; one that was adopted may have no kernel. */
	if (vm_manifest_check_files(source->dir_fd, &source->spec,
	                            source->spec.kernel || !vm_fork_with_memory(fork), err) < 0)
		return vm_err_wrap(err, "%s", source->row.name);
	if (source->row.state == VM_STATE_RUNNING && check_running(fork, err) < 0)
		return -1;
	return vm_op_check_disk(fork->op, saves ? source->row.memory_bytes : 0, err);
}

/* What the row of a fork owns. */
static int give_texts(const struct vm_fork *fork, size_t index, struct vm_instance *row,
                      struct vm_err *err)
{
	const struct vm_instance *source = &fork->source.row;

	row->spec = fork->specs ? vm_spec_for_row(&fork->specs[index], err)
	                        : vm_strdup(source->spec, err);
	if (!row->spec)
		return -1;
	if (!source->alias_path || !vm_fork_with_memory(fork))
		return 0;
	row->alias_path = vm_strdup(source->alias_path, err);
	return row->alias_path ? 0 : -1;
}

/* Step 3: names, ids and guest CIDs of all forks, or of none. */
static int reserve(struct vm_fork *fork, struct vm_err *err)
{
	const struct vm_instance *source = &fork->source.row;

	fork->children = vm_calloc(fork->request->count, sizeof(*fork->children), err);
	if (!fork->children)
		return -1;
	fork->count = fork->request->count;
	for (size_t i = 0; i < fork->count; i++)
		vm_child_init(&fork->children[i]);
	for (size_t i = 0; i < fork->count; i++) {
		struct vm_instance *row = &fork->children[i].row;

		if (make_name(fork, i, row->name, err) < 0)
			return -1;
		row->kind = kind_of(fork);
		row->labels = fork->request->image ? &fork->request->image->labels
		                                   : fork->request->labels;
		memcpy(row->hypervisor, source->hypervisor, sizeof(row->hypervisor));
		memcpy(row->hypervisor_version, source->hypervisor_version,
		       sizeof(row->hypervisor_version));
		memcpy(row->parent_id, source->id, sizeof(row->parent_id));
		memcpy(row->parent_name, source->name, sizeof(row->parent_name));
		row->vcpus = source->vcpus;
		row->memory_bytes = source->memory_bytes;
		row->occupies = fork->target == VM_STATE_RUNNING;
		row->guest_cid = keeps_cid(fork) ? source->guest_cid : 0;
		if (give_texts(fork, i, row, err) < 0)
			return -1;
	}
	if (vm_child_reserve(fork->op, fork->children, fork->count, fork->source.spec.vsock, err) <
	    0)
		return -1;
	return fork->request->image
	               ? vm_store_put_image(fork->op->root->store, fork->children[0].row.id,
	                                    fork->request->image, err)
	               : 0;
}

static int prepare(struct vm_fork *fork, struct vm_err *err)
{
	for (size_t i = 0; i < fork->count; i++) {
		if (vm_child_make_dir(fork->op, &fork->children[i], err) < 0)
			return -1;
	}
	return fork->source.row.state == VM_STATE_RUNNING ? vm_fork_prepare_running(fork, err)
	                                                  : vm_fork_prepare_frozen(fork, err);
}

/* The first failure of a child, for the whole operation's error. */
static const struct vm_err *first_failure(const struct vm_fork *fork, size_t *ret_failed)
{
	const struct vm_err *first = NULL;

	*ret_failed = 0;
	for (size_t i = 0; i < fork->count; i++) {
		if (!fork->children[i].err)
			continue;
		first = first ? first : fork->children[i].err;
		(*ret_failed)++;
	}
	return first;
}

/* Step 7: all that came up, in one transaction. 0 all, 1 some, -1 none (or not all, if atomic). */
static int publish(struct vm_fork *fork, struct vm_err *err)
{
	const char *inherited = fork->source.row.relocation;
	const char *relocation = !vm_fork_with_memory(fork) ? NULL
	                         : inherited[0]             ? inherited
	                                                    : "relative";
	const char *version = fork->target == VM_STATE_RUNNING ? fork->binary.version : NULL;
	const struct vm_err *first;
	size_t failed;

	/* Last chance to undo what the user has cancelled. */
	if (vm_interrupt_check(err) < 0)
		return -1;
	first = first_failure(fork, &failed);
	if (first && (failed == fork->count || fork->request->atomic)) {
		*err = *first;
		return fork->count > 1 ? vm_err_wrap(err, "%zu of %zu forks failed, %s", failed,
		                                     fork->count, "none was kept")
		                       : -1;
	}
	if (vm_child_publish(fork->op, fork->children, fork->count, fork->target, version,
	                     relocation, err) < 0)
		return -1;
	return failed ? 1 : 0;
}

static int give_results(struct vm_fork *fork, struct vm_fork_result *results, struct vm_err *err)
{
	for (size_t i = 0; i < fork->count; i++) {
		struct vm_child *child = &fork->children[i];

		memcpy(results[i].name, child->row.name, sizeof(results[i].name));
		results[i].err = child->err;
		child->err = NULL;
		if (!results[i].err && vm_store_get(fork->op->root->store, child->row.id,
		                                    &results[i].instance, err) < 0)
			return -1;
	}
	return 0;
}

static int run_steps(struct vm_fork *fork, struct vm_err *err)
{
	if (check_request(fork->request, err) < 0 || vm_fork_find_hooks(fork, err) < 0 ||
	    vm_fork_hold_after_hooks(fork, err) < 0 || check_resources(fork, err) < 0 ||
	    reserve(fork, err) < 0 || prepare(fork, err) < 0)
		return -1;
	/* Nothing below touches the source: let others have it while we load. */
	vm_lock_release(&fork->source.lock);
	if (fork->target == VM_STATE_RUNNING)
		vm_fork_launch(fork);
	return publish(fork, err);
}

int vm_fork(struct vm_op *op, const struct vm_fork_request *request,
            struct vm_fork_result **ret_results, size_t *ret_count, struct vm_err *err)
{
	struct vm_fork fork = {
	        .op = op, .request = request, .selector = request->source, .source = VM_HELD_INIT};
	struct vm_fork_result *results = vm_calloc(request->count, sizeof(*results), err);
	struct vm_instance source;
	int rc;

	op->on = request->image        ? 1U << VM_KIND_INSTANCE
	         : request->only_image ? 1U << VM_KIND_IMAGE
	                               : 1U << VM_KIND_INSTANCE | 1U << VM_KIND_IMAGE;
	rc = results ? run_steps(&fork, err) : -1;

	/* Each fork that was begun has an event of its own; before there are any, the source has.
	 */
	if (rc < 0 && (fork.count == 0 || !fork.children[0].reserved))
		vm_op_record_failure(op, err);
	/* A failure undoes everything of the forks and nothing of the source. */
	for (size_t i = 0; i < fork.count; i++) {
		const struct vm_err *own = fork.children[i].err;

		if (rc < 0 || own)
			vm_child_drop(op, &fork.children[i], own ? own : err);
	}
	if (rc >= 0 && give_results(&fork, results, err) < 0)
		rc = -1; /* the forks exist; only telling about them failed */
	for (size_t i = 0; i < fork.count; i++)
		vm_child_release(&fork.children[i]);
	free(fork.children);
	vm_fork_free_specs(&fork);
	source = vm_instance_take(&fork.source.row);
	vm_held_release(&fork.source);
	if (rc >= 0)
		vm_fork_run_post_hooks(&fork, &source, results);
	vm_instance_free(&source);
	vm_fork_free_hooks(&fork);
	if (rc < 0) {
		vm_fork_results_free(results, request->count);
		return -1;
	}
	*ret_results = results;
	*ret_count = fork.count;
	return rc;
}

void vm_fork_results_free(struct vm_fork_result *results, size_t count)
{
	for (size_t i = 0; results && i < count; i++) {
		vm_instance_free(&results[i].instance);
		vm_err_drop(results[i].err);
	}
	free(results);
}
