/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Templates: specs by name, templates/NAME.yaml beside the settings. Of several of one name the
 * nearest counts: the data root's, then the user's, then the system's.
 */
#ifndef VM_TEMPLATE_H
#define VM_TEMPLATE_H

#include "spec.h"
#include "util.h"

struct vm_template {
	char name[VM_NAME_MAX + 1];
	char *file;
	char *description; /* its first line of comment, but for the licence's; or NULL */
};

/*
 * All that count, in order of name. Those whose name is no instance's are none. Free with
 * vm_templates_free(). Errors: system, insufficient_resources.
 */
int vm_templates_list(const char *root_path, struct vm_template **ret, size_t *ret_count,
                      struct vm_err *err);
void vm_templates_free(struct vm_template *templates, size_t count);
/*
 * Parses one as vm_spec_load() does a file. Errors: usage (no name, a mistake in it, see also
 * trust.h), not_found, with the nearest name and where it was looked for.
 */
int vm_template_load(const char *root_path, const char *name, struct vm_spec *ret_spec,
                     struct vm_err *err);

#endif
