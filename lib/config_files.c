/* SPDX-License-Identifier: Apache-2.0 */
/* Where settings, templates and hooks are, and the layers of settings. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config_impl.h"
#include "trust.h"
#include "util.h"
#include "yamldoc.h"

#define SYSTEM_DIR "/etc/vmctl"
#define SETTINGS_FILE "vmctl.yaml"

void vm_places_free(struct vm_places *places)
{
	for (size_t i = 0; i < places->count; i++) {
		free(places->list[i].dir);
		free(places->list[i].file);
	}
	places->count = 0;
}

/* Takes over `dir` and `file`. */
static int add(struct vm_places *places, enum vm_place place, char *dir, char *file,
               struct vm_err *err)
{
	bool again = false;

	if (!file && dir)
		file = vm_strf(err, "%s/" SETTINGS_FILE, dir);
	for (size_t i = 0; dir && i < places->count; i++)
		again |= strcmp(places->list[i].dir, dir) == 0;
	if (!dir || !file || again) {
		int rc = dir && file ? 0 : -1;

		free(dir);
		free(file);
		return rc;
	}
	places->list[places->count].place = place;
	places->list[places->count].dir = dir;
	places->list[places->count++].file = file;
	return 0;
}

/* The base directory specification: a relative path is invalid, and is ignored. */
static int add_user(struct vm_places *places, struct vm_err *err)
{
	const char *base = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	char *dir;

	if (base && base[0] == '/')
		dir = vm_strf(err, "%s/vmctl", base);
	else if (home && home[0] == '/')
		dir = vm_strf(err, "%s/.config/vmctl", home);
	else
		return 0;
	return add(places, VM_PLACE_USER, dir, NULL, err);
}

static int add_given(struct vm_places *places, const char *file, struct vm_err *err)
{
	VM_AUTO_FREE char *cwd = file[0] == '/' ? NULL : getcwd(NULL, 0);
	const char *slash = strrchr(file, '/');
	int len = slash ? (int)(slash - file) : 0;
	char *dir, *copy;

	if (file[0] != '/' && !cwd)
		return vm_err_sys(err, "'%s' is relative, and the current directory", file);
	dir = vm_strf(err, "%s%s%.*s", cwd ? cwd : "", cwd && len > 0 ? "/" : "", len, file);
	copy = dir ? vm_strdup(file, err) : NULL;
	if (dir && !copy)
		vm_cleanup_free(&dir);
	return add(places, VM_PLACE_GIVEN, dir, copy, err);
}

int vm_places_find_from(const char *system_dir, const char *root_path, struct vm_places *ret,
                        struct vm_err *err)
{
	const char *given = getenv("VMCTL_CONFIG");
	struct vm_places places = {.count = 0};
	int rc;

	if (given && *given) {
		rc = add_given(&places, given, err);
	} else {
		rc = add(&places, VM_PLACE_SYSTEM, vm_strdup(system_dir, err), NULL, err);
		if (rc == 0)
			rc = add_user(&places, err);
		if (rc == 0)
			rc = add(&places, VM_PLACE_ROOT, vm_strdup(root_path, err), NULL, err);
	}
	if (rc < 0)
		vm_places_free(&places);
	else
		*ret = places;
	return rc;
}

int vm_places_find(const char *root_path, struct vm_places *ret, struct vm_err *err)
{
	return vm_places_find_from(SYSTEM_DIR, root_path, ret, err);
}

static int load_file(const char *path, enum vm_place place, struct vm_config *config,
                     struct vm_err *err)
{
	VM_AUTO_FREE char *text = NULL;
	size_t len;

	if (vm_trust_read(path, place == VM_PLACE_USER, &text, &len, err)) {
		if (place == VM_PLACE_GIVEN && err->code == VM_ERR_NOT_FOUND)
			vm_err_hint(err, "$VMCTL_CONFIG names it; correct or unset that");
		if (place == VM_PLACE_GIVEN || err->code != VM_ERR_NOT_FOUND)
			return vm_err_wrap(err, "settings");
		vm_err_clear(err);
		return 0;
	}
	return vm_config_parse(text, len, path, place, config, err);
}

/* An empty variable is as good as none. */
static int take_environment(struct vm_config *config, struct vm_err *err)
{
	for (size_t i = 0; i < vm_settings_count(); i++) {
		struct vm_setting setting = vm_setting_at(i);
		const char *text = setting.variable ? getenv(setting.variable) : NULL;
		char what[VM_SETTING_KEY_SIZE];

		if (!text || !*text)
			continue;
		snprintf(what, sizeof(what), "$%s", setting.variable);
		if (vm_setting_parse(&setting, text, what, config, err))
			return -1;
		config->origins[i] = (struct vm_origin){.kind = VM_ORIGIN_ENVIRONMENT,
		                                        .variable = setting.variable};
	}
	return 0;
}

int vm_config_load_from(const char *system_dir, const char *root_path, struct vm_config *ret_config,
                        struct vm_err *err)
{
	VM_AUTO(vm_places_free) struct vm_places places = {.count = 0};
	struct vm_config config;

	vm_config_init(&config);
	if (vm_places_find_from(system_dir, root_path, &places, err) < 0)
		return -1;
	for (size_t i = 0; i < places.count; i++) {
		if (load_file(places.list[i].file, places.list[i].place, &config, err) < 0)
			return -1;
	}
	if (take_environment(&config, err) < 0)
		return -1;
	*ret_config = config;
	return 0;
}

int vm_config_load(const char *root_path, struct vm_config *ret_config, struct vm_err *err)
{
	return vm_config_load_from(SYSTEM_DIR, root_path, ret_config, err);
}
