/* SPDX-License-Identifier: Apache-2.0 */
#include "template.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "trust.h"

#define TEMPLATES_DIR "templates"
#define ENDING ".yaml"

void vm_templates_free(struct vm_template *templates, size_t count)
{
	for (size_t i = 0; templates && i < count; i++) {
		free(templates[i].file);
		free(templates[i].description);
	}
	free(templates);
}

struct listing {
	struct vm_template *list;
	size_t count;
};

static void free_listing(struct listing *listing)
{
	vm_templates_free(listing->list, listing->count);
}

/* The first line that is a comment, of those before the first that is none. */
static char *describe(FILE *file, struct vm_err *err)
{
	char line[256];

	while (fgets(line, sizeof(line), file) && line[0] == '#') {
		char *text = line + strspn(line, "# \t");

		text[strcspn(text, "\r\n")] = '\0';
		if (*text && !strstr(text, "SPDX-"))
			return vm_strdup(text, err);
	}
	return NULL;
}

/* Takes over `file`. */
static int add(struct listing *listing, const char *name, char *file, struct vm_err *err)
{
	struct vm_template *more =
	        file ? reallocarray(listing->list, listing->count + 1, sizeof(*more)) : NULL;
	FILE *stream;

	if (!more) {
		free(file);
		return file ? vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES, "out of memory") : -1;
	}
	listing->list = more;
	more = &listing->list[listing->count++];
	*more = (struct vm_template){.file = file};
	snprintf(more->name, sizeof(more->name), "%s", name);
	stream = fopen(file, "re"); /* one that cannot be read says so when it is used */
	if (stream) {
		more->description = describe(stream, err);
		(void)fclose(stream);
	}
	return err->code == VM_OK ? 0 : -1;
}

static bool is_listed(const struct listing *listing, const char *name)
{
	for (size_t i = 0; i < listing->count; i++) {
		if (strcmp(listing->list[i].name, name) == 0)
			return true;
	}
	return false;
}

/* "web.yaml" to "web"; false for what is no template. */
static bool name_of(const char *entry, char ret_name[VM_NAME_MAX + 1])
{
	size_t len = strlen(entry), ending = strlen(ENDING);
	struct vm_err ignored = {0};

	if (len <= ending || len - ending > VM_NAME_MAX ||
	    strcmp(entry + len - ending, ENDING) != 0)
		return false;
	snprintf(ret_name, VM_NAME_MAX + 1, "%.*s", (int)(len - ending), entry);
	return vm_name_check(ret_name, &ignored) == 0;
}

static int list_dir(struct listing *listing, const char *dir, struct vm_err *err)
{
	DIR *entries = opendir(dir);
	const struct dirent *entry;
	char name[VM_NAME_MAX + 1];
	int rc = 0;

	if (!entries)
		return errno == ENOENT || errno == ENOTDIR ? 0 : vm_err_sys(err, "opening %s", dir);
	while (rc == 0 && (entry = readdir(entries))) {
		if (name_of(entry->d_name, name) && !is_listed(listing, name))
			rc = add(listing, name, vm_strf(err, "%s/%s", dir, entry->d_name), err);
	}
	closedir(entries);
	return rc;
}

static int by_name(const void *a, const void *b)
{
	const struct vm_template *left = a, *right = b;

	return strverscmp(left->name, right->name);
}

int vm_templates_list(const char *root_path, struct vm_template **ret, size_t *ret_count,
                      struct vm_err *err)
{
	VM_AUTO(vm_places_free) struct vm_places places = {.count = 0};
	VM_AUTO(free_listing) struct listing listing = {0};

	if (vm_places_find(root_path, &places, err) < 0)
		return -1;
	/* The nearest first: what comes later under the same name does not count. */
	for (size_t i = places.count; i-- > 0;) {
		VM_AUTO_FREE char *dir = vm_strf(err, "%s/" TEMPLATES_DIR, places.list[i].dir);

		if (!dir || list_dir(&listing, dir, err) < 0)
			return -1;
	}
	if (listing.count > 1)
		qsort(listing.list, listing.count, sizeof(*listing.list), by_name);
	*ret = listing.list;
	*ret_count = listing.count;
	listing.list = NULL;
	return 0;
}

static int no_template(const char *root_path, const struct vm_places *places, const char *name,
                       struct vm_err *err)
{
	VM_AUTO(free_listing) struct listing listing = {0};
	VM_AUTO_FREE const char **names = NULL;
	struct vm_err ignored = {0};
	const char *meant = NULL;
	size_t used;

	if (vm_templates_list(root_path, &listing.list, &listing.count, &ignored) == 0)
		names = calloc(listing.count + 1, sizeof(*names));
	for (size_t i = 0; names && i < listing.count; i++)
		names[i] = listing.list[i].name;
	if (names)
		meant = vm_suggest(name, names);
	vm_err_set(err, VM_ERR_NOT_FOUND, "there is no template '%s'", name);
	if (meant)
		vm_err_hint(err, "did you mean '%s'? Looked for in", meant);
	else
		vm_err_hint(err, "looked for in");
	for (size_t i = places->count; i-- > 0;) {
		used = strlen(err->hint);
		snprintf(err->hint + used, sizeof(err->hint) - used, " %s/" TEMPLATES_DIR "%s",
		         places->list[i].dir, i ? "," : "");
	}
	return -1;
}

static int load_from(const char *dir, const char *name, bool strict, struct vm_spec *ret_spec,
                     struct vm_err *err)
{
	VM_AUTO_FREE char *base = vm_strf(err, "%s/" TEMPLATES_DIR "/", dir);
	VM_AUTO_FREE char *file = base ? vm_strf(err, "%s%s" ENDING, base, name) : NULL;
	VM_AUTO_FREE char *text = NULL;
	size_t len;

	if (!file || vm_trust_read(file, strict, &text, &len, err) < 0)
		return -1;
	return vm_spec_parse(text, len, file, base, ret_spec, err);
}

int vm_template_load(const char *root_path, const char *name, struct vm_spec *ret_spec,
                     struct vm_err *err)
{
	VM_AUTO(vm_places_free) struct vm_places places = {.count = 0};

	if (vm_name_check(name, err) < 0)
		return vm_err_wrap(err, "template");
	if (vm_places_find(root_path, &places, err) < 0)
		return -1;
	for (size_t i = places.count; i-- > 0;) {
		bool strict = places.list[i].place == VM_PLACE_USER;

		if (load_from(places.list[i].dir, name, strict, ret_spec, err) == 0)
			return 0;
		if (err->code != VM_ERR_NOT_FOUND)
			return -1;
		vm_err_clear(err);
	}
	return no_template(root_path, &places, name, err);
}
