/* SPDX-License-Identifier: Apache-2.0 */
#include "statefile.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>

#include "driver/state.h"
#include "fs.h"
#include "util.h"

int vm_statefile_open(const char *path, struct vm_statefile *ret, struct vm_err *err)
{
	struct vm_statefile file = {.path = realpath(path, NULL)};

	if (!file.path) {
		if (errno == ENOENT)
			return vm_err_set(err, VM_ERR_NOT_FOUND, "%s: no such file", path);
		return vm_err_sys(err, "%s", path);
	}
	if (vm_fs_read(AT_FDCWD, file.path, VM_STATE_MAX_BYTES, &file.data, &file.len, err) < 0) {
		vm_statefile_close(&file);
		return -1;
	}
	if (vm_driver_recognise(file.data, file.len, &file.driver, &file.info, err) < 0) {
		vm_statefile_close(&file);
		return vm_err_wrap(err, "%s", path);
	}
	*ret = file;
	return 0;
}

void vm_statefile_close(struct vm_statefile *file)
{
	vm_state_info_free(&file->info);
	free(file->data);
	free(file->path);
	*file = (struct vm_statefile){0};
}

/* --- rules --------------------------------------------------------------------------------------
 */

/*
 * What a rule makes of a path; *ret is NULL when it is not about it. A '=' can be part of a path:
 * OLD ends at the first one where it is what is recorded.
 */
static int apply_rule(const struct vm_state_rule *rule, const char *text, char **ret,
                      struct vm_err *err)
{
	VM_AUTO_FREE char *from = vm_strdup(rule->text, err);

	*ret = NULL;
	if (!from)
		return -1;
	for (char *equals = strchr(from, '='); equals; equals = strchr(equals + 1, '=')) {
		const char *to = equals + 1;

		*equals = '\0';
		if (equals > from && rule->prefix &&
		    vm_state_move_path(text, from, to, ret, err) < 0)
			return -1;
		if (!rule->prefix && strcmp(from, text) == 0) {
			*ret = vm_strdup(to, err);
			if (!*ret)
				return -1;
		}
		if (*ret)
			return 0;
		*equals = '=';
	}
	return 0;
}

static int is_guests(const struct vm_state_rule *rule, const struct vm_state_path *path,
                     struct vm_err *err)
{
	vm_err_set(err, VM_ERR_USAGE,
	           "--path '%s': '%s' stands in the boot arguments only and is not changed",
	           rule->text, path->text);
	return vm_err_hint(err, "it means a file of the guest, which has its own files");
}

/* Whether any path was the rule's; one of the boot arguments is no use. */
static int check_used(const struct vm_state_rule *rule, bool used, const struct vm_state_info *info,
                      struct vm_err *err)
{
	const char *option = rule->prefix ? "--prefix" : "--path";

	if (used)
		return 0;
	if (!strchr(rule->text, '=') || rule->text[0] == '=')
		return vm_err_set(err, VM_ERR_USAGE, "%s '%s' is not of the form OLD=NEW", option,
		                  rule->text);
	for (size_t i = 0; i < info->count && !rule->prefix; i++) {
		size_t len = strlen(info->paths[i].text);

		if (info->paths[i].kind == VM_STATE_BOOT_ARGS &&
		    strncmp(rule->text, info->paths[i].text, len) == 0 && rule->text[len] == '=')
			return is_guests(rule, &info->paths[i], err);
	}
	vm_err_set(err, VM_ERR_NOT_FOUND, "%s '%s': the state records no such path", option,
	           rule->text);
	return vm_err_hint(err, "'vmctl state show' lists the recorded paths");
}

static int choose_text(const struct vm_state_rules *rules, const struct vm_state_path *path,
                       bool *used, char **ret, struct vm_err *err)
{
	for (size_t i = 0; i < rules->count; i++) {
		VM_AUTO_FREE char *text = NULL;

		if (apply_rule(&rules->rules[i], path->text, &text, err) < 0)
			return -1;
		used[i] = used[i] || text;
		if (text && !*ret)
			*ret = vm_take_ptr(&text);
	}
	if (*ret || !rules->relative)
		return 0;
	*ret = vm_state_own_name(path, err);
	return *ret ? 0 : -1;
}

int vm_state_rules_apply(const struct vm_state_rules *rules, const struct vm_state_info *info,
                         char ***ret_texts, struct vm_err *err)
{
	VM_AUTO_FREE bool *used = vm_calloc(rules->count + 1, sizeof(*used), err);
	char **texts = used ? vm_calloc(info->count + 1, sizeof(*texts), err) : NULL;
	int rc = 0;

	if (!texts)
		return -1;
	for (size_t i = 0; i < info->count && rc == 0; i++) {
		if (info->paths[i].kind != VM_STATE_BOOT_ARGS)
			rc = choose_text(rules, &info->paths[i], used, &texts[i], err);
	}
	for (size_t i = 0; i < rules->count && rc == 0; i++)
		rc = check_used(&rules->rules[i], used[i], info, err);
	if (rc < 0) {
		vm_state_texts_free(texts, info->count);
		return -1;
	}
	*ret_texts = texts;
	return 0;
}

void vm_state_texts_free(char **texts, size_t count)
{
	for (size_t i = 0; texts && i < count; i++)
		free(texts[i]);
	free(texts);
}

/* --- writing ------------------------------------------------------------------------------------
 */

static int write_file(const char *path, const void *data, size_t len, bool replace,
                      struct vm_err *err)
{
	VM_AUTO_FREE char *for_dir = vm_strdup(path, err);
	VM_AUTO_FREE char *for_name = for_dir ? vm_strdup(path, err) : NULL;
	VM_AUTO_CLOSE int dir_fd = -1;
	const char *name, *dir;

	if (!for_name)
		return -1;
	name = basename(for_name);
	dir = dirname(for_dir);
	if (path[0] == '\0' || path[strlen(path) - 1] == '/' || strcmp(name, ".") == 0 ||
	    strcmp(name, "..") == 0)
		return vm_err_set(err, VM_ERR_USAGE, "'%s' is no name for a file", path);
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return vm_err_sys(err, "opening directory %s", dir);
	return vm_fs_publish_foreign(dir_fd, name, data, len, replace, err);
}

int vm_statefile_rewrite(const struct vm_statefile *file, char *const *texts, uint64_t guest_cid,
                         const char *to, struct vm_state_info *ret_info, struct vm_err *err)
{
	VM_AUTO_FREE void *copy = NULL;
	struct vm_state_info info = {0};
	size_t len = 0;

	if (!file->driver->caps.state_rewrite)
		return vm_err_set(err, VM_ERR_UNSUPPORTED, "%s: states of %s cannot be rewritten",
		                  file->path, file->driver->name);
	if (file->driver->rewrite_state(file->data, file->len, &file->info,
	                                (const char *const *)texts, guest_cid, &copy, &len,
	                                err) < 0 ||
	    file->driver->describe_state(copy, len, &info, err) < 0)
		return vm_err_wrap(err, "%s", file->path);
	if (write_file(to ? to : file->path, copy, len, !to, err) < 0) {
		vm_state_info_free(&info);
		return -1;
	}
	*ret_info = info;
	return 0;
}
