/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What killed verbs and dead VMMs have left behind. Looking takes no lock for longer than an
 * instant, so each rule must hold against verbs that run meanwhile: directories are listed before
 * rows (a row is made before its directory and deleted after it), and what somebody holds the lock
 * of is not judged. Repairing (doctor_repair.c) looks again under the lock.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "alias.h"
#include "doctor_impl.h"
#include "fs.h"
#include "lock.h"
#include "pool.h"
#include "shm.h"
#include "sweep.h"
#include "util.h"
#include "vmm.h"

#define NEXT_VERB "the next changing verb on it repairs this"
#define REPAIR "'vmctl doctor --repair' settles this"

struct names {
	char (*list)[VM_ID_LEN + 1];
	size_t count, room;
};

/* Whether a file name is an id followed by `suffix`; the id goes to ret_id. */
static bool split_id(const char *file, const char *suffix, char ret_id[VM_ID_LEN + 1])
{
	if (strlen(file) != VM_ID_LEN + strlen(suffix) || strcmp(file + VM_ID_LEN, suffix) != 0)
		return false;
	memcpy(ret_id, file, VM_ID_LEN);
	ret_id[VM_ID_LEN] = '\0';
	return vm_id_valid(ret_id);
}

static int add_name(struct names *names, const char *id, struct vm_err *err)
{
	if (names->count == names->room) {
		size_t room = names->room ? names->room * 2 : 64;
		void *more = realloc(names->list, room * sizeof(*names->list));

		if (!more)
			return vm_err_sys(err, "listing files");
		names->list = more;
		names->room = room;
	}
	memcpy(names->list[names->count++], id, VM_ID_LEN + 1);
	return 0;
}

struct listing {
	const char *suffix;
	struct names *names;
};

static int list_one(void *ctx, int dir_fd, const char *file, struct vm_err *err)
{
	const struct listing *listing = ctx;
	char id[VM_ID_LEN + 1];

	(void)dir_fd;
	return split_id(file, listing->suffix, id) ? add_name(listing->names, id, err) : 0;
}

static int list_ids(int dir_fd, const char *suffix, struct names *names, struct vm_err *err)
{
	struct listing listing = {suffix, names};

	return vm_fs_each(dir_fd, ".", list_one, &listing, err);
}

static bool has_row(struct vm_store *store, const char *id)
{
	struct vm_err err = {0};
	struct vm_instance row;

	if (vm_store_get(store, id, &row, &err) < 0)
		return err.code != VM_ERR_NOT_FOUND; /* not known: say nothing rather than a lie */
	vm_instance_free(&row);
	return true;
}

static bool is_noted(struct vm_store *store, const char *id)
{
	struct vm_err ignored = {0};

	return vm_store_lock_noted(store, id, &ignored) != 0;
}

/*
 * Whether a row leads to the id's files, or a living process makes or unlinks them. A note becomes
 * a row, and a row a note, in one transaction each: so between two looks for a note neither can
 * slip by.
 */
static bool has_owner(struct vm_store *store, const char *id)
{
	return is_noted(store, id) || has_row(store, id) || is_noted(store, id);
}

static bool in_use(const struct vm_root *root, const char *id)
{
	struct vm_err ignored = {0};

	return vm_lock_probe(root->locks_fd, id, &ignored) != 0;
}

/* What is to be said of a leftover where nothing is repaired. */
struct advice {
	const char *hint;
	const char *would; /* for a dry run */
};

/* One leftover: `repaired` as a repair returned it, with its error; or 1 if none was tried. */
__attribute__((format(printf, 5, 6))) static void leftover(struct vm_findings *findings,
                                                           int repaired, const struct vm_err *why,
                                                           struct advice advice, const char *fmt,
                                                           ...)
{
	struct vm_finding *finding = vm_findings_add(
	        findings, vm_findings_level(findings, repaired), "leftovers", "%s", "");
	va_list ap;

	if (!finding)
		return;
	va_start(ap, fmt);
	vsnprintf(finding->message, sizeof(finding->message), fmt, ap);
	va_end(ap);
	if (repaired < 0)
		snprintf(finding->hint, sizeof(finding->hint), "not repaired: %.360s",
		         why->message);
	else if (repaired > 0)
		vm_findings_hint(finding, findings->dry_run ? advice.would : advice.hint);
}

static int check_directory(struct vm_op *op, int dir_fd, const char *suffix, const char *what,
                           struct vm_findings *findings, struct vm_err *err)
{
	bool keeps = dir_fd == op->root->guests_fd || dir_fd == op->root->images_fd;
	const struct advice advice = {
	        REPAIR, keeps ? "--repair would move it to lost/, for it may hold somebody's disks"
	                      : "--repair would remove it, and end the VMM that has it, if any"};
	struct names names = {0};
	int rc = list_ids(dir_fd, suffix, &names, err);

	for (size_t i = 0; rc == 0 && i < names.count; i++) {
		const char *id = names.list[i];
		struct vm_err why = {0};
		char file[VM_ID_LEN + 16];

		snprintf(file, sizeof(file), "%s%s", id, suffix);
		/* Last: what an rm has removed since it was listed is no leftover. */
		if (in_use(op->root, id) || has_owner(op->root->store, id) ||
		    vm_alias_has_journal(op->root, id) || !vm_fs_exists(dir_fd, file))
			continue;
		leftover(findings, findings->repair ? vm_repair_stray(op, id, &why) : 1, &why,
		         advice, "%s%s belongs to no instance", what, file);
	}
	free(names.list);
	return rc;
}

/* Notes of lock files that a dead process was about to make, or to unlink. */
static int check_notes(struct vm_op *op, struct vm_findings *findings, struct vm_err *err)
{
	struct names names = {0};
	char id[VM_ID_LEN + 1] = "";
	int found, rc = 0;

	while (rc == 0 && (found = vm_store_stray_lock(op->root->store, id, id, err)) != 0)
		rc = found < 0 ? -1 : add_name(&names, id, err);
	if (rc == 0 && names.count > 0 && findings->repair)
		vm_sweep_lock_files(op);
	for (size_t i = 0; rc == 0 && i < names.count; i++) {
		static const struct vm_err held = {.message = "somebody holds that lock"};
		static const struct advice advice = {REPAIR, "--repair would remove them"};
		bool left = findings->dry_run ? in_use(op->root, names.list[i])
		                              : vm_fs_exists(op->root->locks_fd, names.list[i]);

		leftover(findings,
		         left && (findings->repair || findings->dry_run) ? -1
		         : findings->repair                              ? 0
		                                                         : 1,
		         &held, advice, "a dead process's note of lock files locks/%s",
		         names.list[i]);
	}
	free(names.list);
	return rc;
}

static void tell_row(struct vm_op *op, const struct vm_instance *row, enum vm_ailment ailment,
                     struct vm_findings *findings)
{
	static const struct {
		const char *text;
		struct advice advice;
	} words[] = {
	        [VM_AILMENT_HALF_MADE] = {"a dead maker's half-made instance",
	                                  {"the next changing verb removes it",
	                                   "--repair would remove it"}},
	        [VM_AILMENT_NO_DIRECTORY] = {"the directory is gone of",
	                                     {REPAIR, "--repair would call it failed"}},
	        [VM_AILMENT_INTENT] = {"", {NEXT_VERB, "--repair would finish or undo it"}},
	        [VM_AILMENT_VMM_DIED] = {"the VMM has ended of",
	                                 {NEXT_VERB, "--repair would record how it ended"}},
	        [VM_AILMENT_VMM_UNWANTED] = {"a VMM that should not be there, of",
	                                     {NEXT_VERB, "--repair would end it"}},
	        [VM_AILMENT_PAUSED] = {"the guest is paused, though it should run, of",
	                               {REPAIR, "--repair would record that it is"}},
	        [VM_AILMENT_RUNS] = {"the guest runs, though it should be paused, of",
	                             {REPAIR, "--repair would record that it does"}},
	        [VM_AILMENT_FILES] = {"sockets or temporary files in the directory of",
	                              {REPAIR, "--repair would remove them"}},
	};
	struct vm_err why = {0};
	int rc = findings->repair ? vm_repair_row(op, row, ailment, &why) : 1;

	if (ailment == VM_AILMENT_INTENT)
		leftover(findings, rc, &why, words[ailment].advice, "a killed %s of %s",
		         row->intent.verb, row->name);
	else
		leftover(findings, rc, &why, words[ailment].advice, "%s %s", words[ailment].text,
		         row->name);
}

static int check_row(struct vm_op *op, const struct vm_instance *row, struct vm_findings *findings,
                     struct vm_err *err)
{
	int ailment = vm_doctor_examine(op, row, err);
	struct vm_finding *finding;

	switch (ailment) {
	case -1:
		return -1;
	case VM_AILMENT_NONE:
		return 0;
	case VM_AILMENT_SILENT:
		finding = vm_findings_add(findings, VM_FINDING_ERROR, "vmm",
		                          "the VMM of %s does not answer", row->name);
		vm_findings_hint(finding, "'vmctl stop --force' ends it");
		return 0;
	case VM_AILMENT_NO_STATE:
		finding = vm_findings_add(findings, VM_FINDING_ERROR, "instance",
		                          "%s is in standby, but its saved state is not complete",
		                          row->name);
		vm_findings_hint(finding, row->kind == VM_KIND_IMAGE
		                                  ? "'vmctl snapshot rm' removes it"
		                                  : "'vmctl stop --discard' leaves it stopped");
		return 0;
	case VM_AILMENT_LOST:
		finding = vm_findings_add(findings, VM_FINDING_WARNING, "instance",
		                          "%s has lost its directory", row->name);
		vm_findings_hint(finding,
		                 row->kind == VM_KIND_IMAGE
		                         ? "'vmctl snapshot rm' removes what is left of it"
		                         : "'vmctl rm --force' removes what is left of it");
		return 0;
	default:
		tell_row(op, row, (enum vm_ailment)ailment, findings);
		return 0;
	}
}

static int check_listed(struct vm_op *op, const struct vm_instance *rows, size_t count,
                        struct vm_findings *findings, struct vm_err *err)
{
	for (size_t i = 0; i < count; i++) {
		struct vm_instance now;
		struct vm_err gone = {0};
		int rc;

		/* The list may be old by now: judge each row as it is after its lock was seen free.
		 */
		if (in_use(op->root, rows[i].id) ||
		    vm_store_get(op->root->store, rows[i].id, &now, &gone) < 0)
			continue;
		rc = check_row(op, &now, findings, err);
		vm_instance_free(&now);
		if (rc < 0)
			return -1;
	}
	return 0;
}

/*
 * Instances and not one directory: rather than that all were deleted, a filesystem is not mounted.
 * Settling each by itself would call them all failed.
 */
static bool guests_are_missing(struct vm_op *op, const struct vm_instance *rows, size_t count)
{
	size_t expected = 0;

	for (size_t i = 0; i < count; i++) {
		if (vm_fs_exists(vm_root_kind_fd(op->root, rows[i].kind), rows[i].id))
			return false;
		expected += rows[i].state != VM_STATE_CREATING && rows[i].intent.verb[0] == '\0' &&
		            rows[i].state != VM_STATE_FAILED;
	}
	return expected > 0;
}

static int check_rows(struct vm_op *op, struct vm_findings *findings, struct vm_err *err)
{
	struct vm_instance *rows;
	size_t count;
	int rc = 0;

	if (vm_store_list(op->root->store, VM_LIST_ALL, &rows, &count, err) < 0)
		return -1;
	if (guests_are_missing(op, rows, count))
		vm_findings_hint(
		        vm_findings_add(findings, VM_FINDING_ERROR, "guests",
		                        "not one of %zu instances has its directory in %s/guests",
		                        count, op->root->path),
		        "is a filesystem not mounted? If they are gone for good: vmctl rm --force");
	else
		rc = check_listed(op, rows, count, findings, err);
	vm_instances_free(rows, count);
	return rc;
}

static int check_shm(struct vm_op *op, struct vm_findings *findings, struct vm_err *err)
{
	const char *own = op->root->missing ? NULL : vm_store_root_id(op->root->store);
	char(*ids)[VM_ID_LEN + 1] = NULL;
	size_t count = 0;

	if (vm_shm_dead_roots(own, &ids, &count, err) < 0)
		return -1;
	for (size_t i = 0; i < count; i++) {
		static const char text[] = "what a deleted data root has left in /dev/shm, %s";
		static const struct advice advice = {REPAIR, "--repair would remove it"};
		struct vm_err why = {0};

		/* They are in nobody's way, and not this data root's: no reason for needs_repair.
		 */
		if (!findings->repair && !findings->dry_run)
			vm_findings_hint(
			        vm_findings_add(findings, VM_FINDING_WARNING, "shm", text, ids[i]),
			        REPAIR);
		else
			leftover(findings, findings->repair ? vm_shm_remove(ids[i], &why) : 1, &why,
			         advice, text, ids[i]);
	}
	free(ids);
	return 0;
}

static int tell_pool_stray(void *ctx, int pool_fd, const char *name, struct vm_err *err)
{
	static const struct advice advice = {REPAIR, "--repair would remove it"};
	struct vm_findings *findings = ctx;
	struct vm_err why = {0};

	(void)err;
	leftover(findings, findings->repair ? vm_fs_remove_tree(pool_fd, name, &why) : 1, &why,
	         advice, "pool/%s is no memory file", name);
	return 0;
}

static int check_root_files(struct vm_op *op, struct vm_findings *findings, struct vm_err *err)
{
	const struct vm_root *root = op->root;

	/* First: until it is put back, a directory that was renamed away seems to be lost. */
	if (vm_doctor_aliases(op, findings, err) < 0)
		return -1;
	if (check_directory(op, root->guests_fd, "", "directory guests/", findings, err) < 0 ||
	    (root->images_fd >= 0 &&
	     check_directory(op, root->images_fd, "", "directory images/", findings, err) < 0) ||
	    check_directory(op, root->trash_fd, "", "directory trash/", findings, err) < 0 ||
	    check_directory(op, root->locks_fd, "", "lock file locks/", findings, err) < 0 ||
	    check_directory(op, root->locks_fd, ".gate", "gate locks/", findings, err) < 0 ||
	    check_directory(op, root->locks_fd, ".memory", "memory lock locks/", findings, err) <
	            0 ||
	    check_directory(op, root->run_fd, ".alive", "liveness file run/", findings, err) < 0)
		return -1;
	if (vm_pool_each_stray(root, tell_pool_stray, findings, err) < 0)
		return -1;
	return check_notes(op, findings, err);
}

int vm_doctor_leftovers(struct vm_op *op, struct vm_findings *findings, struct vm_err *err)
{
	size_t before = findings->count, found = 0;

	if (!op->root->missing &&
	    (check_root_files(op, findings, err) < 0 || check_rows(op, findings, err) < 0))
		return -1;
	if (check_shm(op, findings, err) < 0)
		return -1;
	for (size_t i = before; i < findings->count; i++)
		found += strcmp(findings->list[i].check, "leftovers") == 0;
	if (found == 0)
		vm_findings_add(findings, VM_FINDING_OK, "leftovers", "none");
	return 0;
}
