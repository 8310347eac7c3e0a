/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What killed verbs and dead VMMs have left behind. Nothing is locked for longer than an instant,
 * so each rule must hold against verbs that run meanwhile: directories are listed before rows (a
 * row is made before its directory and deleted after it), and what somebody holds the lock of is
 * not judged.
 */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "doctor_impl.h"
#include "fs.h"
#include "lock.h"
#include "util.h"
#include "vmm.h"

#define NEXT_VERB "the next changing verb on it repairs this"

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

static int list_ids(int dir_fd, const char *suffix, struct names *names, struct vm_err *err)
{
	int fd = vm_fs_open_dir(dir_fd, ".", err);
	struct dirent *entry;
	DIR *dir;
	int rc = 0;

	if (fd < 0)
		return -1;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return vm_err_sys(err, "listing a directory");
	}
	while (rc == 0 && (entry = readdir(dir))) {
		char id[VM_ID_LEN + 1];

		if (split_id(entry->d_name, suffix, id))
			rc = add_name(names, id, err);
	}
	closedir(dir);
	return rc;
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

static bool in_use(const struct vm_root *root, const char *id)
{
	struct vm_err ignored = {0};

	return vm_lock_probe(root->locks_fd, id, &ignored) != 0;
}

static void leftover(struct vm_findings *findings, const char *hint, const char *what,
                     const char *id)
{
	vm_findings_hint(
	        vm_findings_add(findings, VM_FINDING_LEFTOVER, "leftovers", "%s %s", what, id),
	        hint);
}

static int check_directory(struct vm_op *op, int dir_fd, const char *suffix, const char *what,
                           struct vm_findings *findings, struct vm_err *err)
{
	struct names names = {0};
	int rc = list_ids(dir_fd, suffix, &names, err);

	for (size_t i = 0; rc == 0 && i < names.count; i++) {
		const char *id = names.list[i];

		char file[VM_ID_LEN + 16];

		snprintf(file, sizeof(file), "%s%s", id, suffix);
		/* Last: what an rm has removed since it was listed is no leftover. */
		if (in_use(op->root, id) || has_row(op->root->store, id) ||
		    !vm_fs_exists(dir_fd, file))
			continue;
		leftover(findings, "it belongs to no instance and can be removed", what, id);
	}
	free(names.list);
	return rc;
}

static int check_row(struct vm_op *op, const struct vm_instance *row, struct vm_findings *findings,
                     struct vm_err *err)
{
	bool wants_vmm = row->state == VM_STATE_RUNNING || row->state == VM_STATE_PAUSED;
	int alive;

	if (row->state == VM_STATE_CREATING) {
		leftover(findings, "whoever asks for that name next removes it",
		         "a dead maker's half-made instance", row->name);
		return 0;
	}
	if (row->intent.verb[0]) {
		vm_findings_hint(vm_findings_add(findings, VM_FINDING_LEFTOVER, "leftovers",
		                                 "a killed %s of %s", row->intent.verb, row->name),
		                 NEXT_VERB);
		return 0;
	}
	alive = vm_vmm_alive(op->root, row->id, err);
	if (alive < 0)
		return -1;
	if (wants_vmm && !alive)
		leftover(findings, NEXT_VERB, "the VMM has ended of", row->name);
	if (!wants_vmm && alive)
		leftover(findings, NEXT_VERB, "a VMM that should not be there, of", row->name);
	return 0;
}

static int check_rows(struct vm_op *op, struct vm_findings *findings, struct vm_err *err)
{
	const struct vm_root *root = op->root;
	struct vm_instance *rows;
	size_t count;
	int rc = 0;

	if (vm_store_list(root->store, VM_LIST_ALL, &rows, &count, err) < 0)
		return -1;
	for (size_t i = 0; rc == 0 && i < count; i++) {
		struct vm_instance now;
		struct vm_err gone = {0};

		/* The list may be old by now: judge each row as it is after its lock was seen free.
		 */
		if (in_use(root, rows[i].id) ||
		    vm_store_get(root->store, rows[i].id, &now, &gone) < 0)
			continue;
		rc = check_row(op, &now, findings, err);
		vm_instance_free(&now);
	}
	vm_instances_free(rows, count);
	return rc;
}

int vm_doctor_leftovers(struct vm_op *op, struct vm_findings *findings, struct vm_err *err)
{
	const struct vm_root *root = op->root;
	size_t before = findings->count;

	if (check_directory(op, root->guests_fd, "", "directory guests/", findings, err) < 0 ||
	    check_directory(op, root->trash_fd, "", "directory trash/", findings, err) < 0 ||
	    check_directory(op, root->locks_fd, "", "lock file locks/", findings, err) < 0 ||
	    check_directory(op, root->locks_fd, ".gate", "gate locks/", findings, err) < 0 ||
	    check_directory(op, root->run_fd, ".alive", "liveness file run/", findings, err) < 0 ||
	    check_rows(op, findings, err) < 0)
		return -1;
	if (findings->count == before)
		vm_findings_add(findings, VM_FINDING_OK, "leftovers", "none");
	return 0;
}
