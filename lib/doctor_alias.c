/* SPDX-License-Identifier: Apache-2.0 */
/* doctor: aliases, and what killed loads have left of them. */
#include <stdio.h>
#include <string.h>

#include "alias.h"
#include "doctor_impl.h"
#include "fs.h"
#include "util.h"

void vm_doctor_views(struct vm_findings *findings)
{
	const char *why;
	int number;

	if (vm_view_permitted(&why, &number)) {
		vm_findings_add(findings, VM_FINDING_OK, "alias",
		                "a VMM can have a mount namespace of its own");
		return;
	}
	vm_findings_hint(vm_findings_add(findings, VM_FINDING_WARNING, "alias",
	                                 "a VMM can have no mount namespace of its own (%s: %s)",
	                                 why, strerror(number)),
	                 "saved states that name another directory are loaded by a symbolic link "
	                 "in its place, one at a time");
}

struct journals {
	struct vm_op *op;
	struct vm_findings *findings;
};

static void tell(struct journals *journals, const char *name, int repaired, const char *path,
                 const struct vm_err *why)
{
	struct vm_finding *finding = vm_findings_add(
	        journals->findings, vm_findings_level(journals->findings, repaired), "leftovers",
	        "a killed verb's alias of %.400s (run/%s)", path, name);
	char hint[sizeof(finding->hint)];

	snprintf(hint, sizeof(hint), "not repaired: %.360s", why->message);
	if (repaired != 0)
		vm_findings_hint(finding, repaired < 0 ? hint
		                          : journals->findings->dry_run
		                                  ? "--repair would put the directory back"
		                                  : "'vmctl doctor --repair' settles this");
}

/* Whether a file of run/ is a journal, perhaps an unfinished one; its name goes to ret_name. */
static bool is_journal(const char *file, char ret_name[VM_ALIAS_NAME_SIZE])
{
	size_t stem = strcspn(file, "."), len = stem + strlen(VM_ALIAS_SUFFIX);

	if (len >= VM_ALIAS_NAME_SIZE || strncmp(file + stem, VM_ALIAS_SUFFIX, len - stem) != 0 ||
	    (file[len] != '\0' && strcmp(file + len, ".tmp") != 0))
		return false;
	snprintf(ret_name, VM_ALIAS_NAME_SIZE, "%.*s", (int)len, file);
	return true;
}

static int check_journal(void *ctx, int dir_fd, const char *file, struct vm_err *err)
{
	struct journals *journals = ctx;
	const struct vm_root *root = journals->op->root;
	struct vm_lock lock = VM_LOCK_INIT;
	VM_AUTO_FREE char *path = NULL;
	char name[VM_ALIAS_NAME_SIZE];
	struct vm_err why = {0};
	int rc;

	(void)dir_fd;
	if (!is_journal(file, name))
		return 0;
	/* Somebody is loading, or has just come to put it back. */
	rc = vm_lock_probe(root->locks_fd, name, err);
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	vm_alias_journal_path(root, name, &path, &why);
	vm_err_clear(&why);
	if (!vm_alias_is_left(root, name))
		return 0; /* done since it was listed */
	rc = 1;
	if (journals->findings->repair) {
		rc = vm_alias_try_lock(root, name, &lock, &why);
		/* Had by somebody by now: he puts it back. */
		rc = rc > 0 ? vm_alias_repair(root, name, &why) : rc;
		vm_alias_unlock(root, name, &lock);
	}
	tell(journals, file, rc, path ? path : "a directory", &why);
	return 0;
}

int vm_doctor_aliases(struct vm_op *op, struct vm_findings *findings, struct vm_err *err)
{
	struct journals journals = {op, findings};

	return vm_fs_each(op->root->run_fd, ".", check_journal, &journals, err);
}
