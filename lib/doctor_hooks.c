/* SPDX-License-Identifier: Apache-2.0 */
/* doctor: hooks, and what looks like one and is none. */
#include <dirent.h>
#include <string.h>

#include "doctor_impl.h"
#include "hooks.h"
#include "util.h"

struct seen {
	struct vm_findings *findings;
	size_t count;
	const char *names[VM_HOOK_EVENTS * VM_HOOK_WHENS + 1];
};

static int note(void *ctx, enum vm_hook_when when, const char *path, enum vm_hook_use use,
                struct vm_err *err)
{
	struct seen *seen = ctx;

	(void)when, (void)err;
	if (use == VM_HOOK_RUNS)
		seen->count++;
	if (use == VM_HOOK_NOT_EXECUTABLE)
		vm_findings_hint(vm_findings_add(seen->findings, VM_FINDING_WARNING, "hooks",
		                                 "%.450s is not executable: it does not run", path),
		                 "chmod +x it, or remove it");
	if (use == VM_HOOK_BAD_NAME)
		vm_findings_hint(vm_findings_add(seen->findings, VM_FINDING_WARNING, "hooks",
		                                 "%.450s does not run for its name", path),
		                 "a hook's name has only letters, digits, - and _: no .sh");
	return 0;
}

/* hooks.d/prestart/ and the like, which nobody would ever look into. */
static void check_events(struct seen *seen, const char *dir)
{
	struct vm_err ignored = {0};
	VM_AUTO_FREE char *path = vm_strf(&ignored, "%s/hooks.d", dir);
	DIR *list = path ? opendir(path) : NULL;
	const struct dirent *entry;

	while (list && (entry = readdir(list))) {
		const char *const *name = seen->names;
		const char *meant;
		struct vm_finding *finding;

		while (*name && strcmp(*name, entry->d_name) != 0)
			name++;
		if (*name || entry->d_name[0] == '.')
			continue;
		meant = vm_suggest(entry->d_name, seen->names);
		finding = vm_findings_add(seen->findings, VM_FINDING_WARNING, "hooks",
		                          "%.300s/%.100s is of no event: nothing in it runs", path,
		                          entry->d_name);
		if (finding && meant)
			snprintf(finding->hint, sizeof(finding->hint), "did you mean %s?", meant);
	}
	if (list)
		closedir(list);
}

void vm_doctor_hooks(struct vm_op *op, struct vm_findings *findings)
{
	VM_AUTO(vm_places_free) struct vm_places places = {.count = 0};
	char names[VM_HOOK_EVENTS * VM_HOOK_WHENS][VM_HOOK_NAME_SIZE];
	struct seen seen = {.findings = findings};
	struct vm_err err = {0};
	int rc = 0;

	for (unsigned i = 0; i < VM_ARRAY_LEN(names); i++)
		seen.names[i] = vm_hook_name((enum vm_hook_when)(i % VM_HOOK_WHENS),
		                             (enum vm_hook_event)(i / VM_HOOK_WHENS), names[i]);
	for (unsigned event = 0; rc == 0 && event < VM_HOOK_EVENTS; event++)
		rc = vm_hooks_each(op->root, (enum vm_hook_event)event, note, &seen, &err);
	if (rc == 0)
		rc = vm_places_find(op->root->path, &places, &err);
	for (size_t i = 0; rc == 0 && i < places.count; i++)
		check_events(&seen, places.list[i].dir);
	if (rc < 0)
		vm_findings_hint(
		        vm_findings_add(findings, VM_FINDING_ERROR, "hooks", "%.500s", err.message),
		        err.hint);
	else
		vm_findings_add(findings, VM_FINDING_OK, "hooks", "%zu that run", seen.count);
}
