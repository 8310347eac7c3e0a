/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "driver/driver.h"
#include "spec.h"
#include "util.h"
#include "vmm.h"
#include "when.h"

json_t *cli_file_json(const struct vm_root *root, const struct vm_instance *instance,
                      const char *file)
{
	const char *dir = instance->kind == VM_KIND_IMAGE ? VM_IMAGES_DIR : VM_GUESTS_DIR;
	struct vm_err err = {0};
	VM_AUTO_FREE char *path = vm_strf(&err, "%s/%s/%s%s%s", root->path, dir, instance->id,
	                                  file != NULL ? "/" : "", file != NULL ? file : "");

	return path != NULL ? cli_json_text(path) : NULL;
}

static json_t *disks_json(const struct vm_spec *spec)
{
	json_t *list = json_array();

	for (size_t i = 0; i < spec->disk_count; i++) {
		const struct vm_disk *disk = &spec->disks[i];
		char file[VM_DISK_FILE_SIZE];

		if (json_array_append_new(
		            list, json_pack("{s:s, s:s, s:I, s:s, s:b, s:b}", "id", disk->id,
		                            "file", vm_disk_file(disk, file), "size_bytes",
		                            (json_int_t)disk->size_bytes, "format",
		                            vm_disk_format_name(disk->format), "read_only",
		                            disk->read_only, "root", disk->root)) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

json_t *cli_disks_json(const json_t *spec_json)
{
	struct vm_err err = {0};
	struct vm_spec spec;
	json_t *list;

	if (json_is_null(spec_json) || vm_spec_from_json(spec_json, &spec, &err) < 0)
		return json_null();
	list = disks_json(&spec);
	vm_spec_free(&spec);
	return list;
}

static json_t *parent_json(const struct vm_instance *instance)
{
	if (instance->parent_id[0] == '\0')
		return json_null();
	return json_pack("{s:s, s:o}", "id", instance->parent_id, "name",
	                 cli_json_text(instance->parent_name));
}

static json_t *intent_json(const struct vm_intent *intent)
{
	if (intent->verb[0] == '\0')
		return json_null();
	return json_pack("{s:s, s:o}", "verb", intent->verb, "detail",
	                 cli_json_text(intent->detail));
}

/* The unit that fits, in words, to `buf`, which has room. Returns its end. */
static char *say_distance(int64_t seconds, char *buf)
{
	static const struct {
		int64_t seconds, least; /* the unit, and how many of it are told in it */
		const char *name;
	} units[] = {
	        {INT64_C(365) * 86400, 2, "year"},
	        {INT64_C(30) * 86400, 2, "month"},
	        {INT64_C(7) * 86400, 2, "week"},
	        {86400, 2, "day"},
	        {3600, 1, "hour"},
	        {60, 1, "minute"},
	        {1, 1, "second"},
	};
	size_t i = 0;
	int64_t n;

	while (seconds / units[i].seconds < units[i].least)
		i++;
	n = seconds / units[i].seconds;
	buf = stpcpy(buf, vm_decimal((uint64_t)n, (char[VM_DECIMAL_SIZE]){0}));
	buf = stpcpy(stpcpy(buf, " "), units[i].name);
	return stpcpy(buf, n == 1 ? "" : "s");
}

/* Without printf(): `ls` has one for each instance. */
char *cli_when(int64_t moment_us, struct vm_err *err)
{
	int64_t seconds = (vm_realtime_us() - moment_us) / 1000000;
	char text[64], *end = text;

	if (seconds == 0)
		return vm_strdup("just now", err);
	if (seconds < 0)
		end = stpcpy(end, "in ");
	end = say_distance(seconds < 0 ? -seconds : seconds, end);
	if (seconds > 0)
		(void)stpcpy(end, " ago");
	return vm_strdup(text, err);
}

static json_t *positive_json(uint64_t value)
{
	return value != 0 ? json_integer((json_int_t)value) : json_null();
}

static bool has_vsock_socket(const struct vm_instance *instance)
{
	const struct vm_driver *driver;
	struct vm_err ignored = {0};

	return instance->guest_cid != 0 &&
	       vm_driver_find(instance->hypervisor, &driver, &ignored) == 0 &&
	       driver->caps.vsock_by_socket;
}

json_t *cli_labels_json(const struct vm_root *root, const char *id)
{
	struct vm_labels labels = {0};
	struct vm_err ignored = {0};
	json_t *json;

	/* Of what has just been removed they are not known any more. */
	if (vm_store_get_labels(root->store, id, &labels, &ignored) < 0)
		return json_null();
	json = vm_labels_to_json(&labels);
	vm_labels_free(&labels);
	return json;
}

json_t *cli_instance_json(const struct vm_root *root, const struct vm_instance *instance)
{
	return cli_instance_json_with(root, instance, cli_labels_json(root, instance->id));
}

json_t *cli_instance_json_with(const struct vm_root *root, const struct vm_instance *instance,
                               json_t *labels)
{
	char created[VM_WHEN_SIZE], changed[VM_WHEN_SIZE];
	json_t *spec = instance->spec != NULL ? json_loads(instance->spec, 0, NULL) : NULL;
	json_t *disks;

	if (spec == NULL)
		spec = json_null();
	disks = cli_disks_json(spec);
	return json_pack(
	        "{s:s, s:s, s:s, s:s, s:I, s:s, s:o, s:o, s:o, s:o, s:i, s:I, s:o, s:o, s:o, s:o,"
	        " s:o, s:o,"
	        " s:o, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o}",
	        "id", instance->id, "name", instance->name, "kind", vm_kind_name(instance->kind),
	        "state", vm_state_name(instance->state), "generation",
	        (json_int_t)instance->generation, "hypervisor", instance->hypervisor,
	        "hypervisor_version", cli_json_text(instance->hypervisor_version), "accelerator",
	        cli_json_text(vm_version_accelerator(instance->hypervisor_version)), "guest_cid",
	        positive_json(instance->guest_cid), "parent", parent_json(instance), "vcpus",
	        (int)instance->vcpus, "memory_bytes", (json_int_t)instance->memory_bytes, "disks",
	        disks, "directory", cli_file_json(root, instance, NULL), "console_log",
	        cli_file_json(root, instance, VM_CONSOLE_LOG), "vmm_log",
	        cli_file_json(root, instance, VM_VMM_LOG), "api_socket",
	        cli_file_json(root, instance, VM_FILE_API_SOCKET), "vsock_socket",
	        has_vsock_socket(instance) ? cli_file_json(root, instance, VM_FILE_VSOCK)
	                                   : json_null(),
	        "pid", positive_json(instance->pid > 0 ? (uint64_t)instance->pid : 0), "created",
	        vm_when_format(instance->created_us, created), "changed",
	        vm_when_format(instance->changed_us, changed), "relocation",
	        cli_json_text(instance->relocation), "alias_path",
	        cli_json_text(instance->alias_path), "failure", cli_json_text(instance->failure),
	        "intent", intent_json(&instance->intent), "labels", labels, "spec", spec);
}

int cli_print_looks(struct cli *cli,
                    json_t *(*look)(struct cli *cli, const char *selector, const void *ctx,
                                    struct vm_err *err),
                    const void *ctx, struct vm_err *err)
{
	json_t *list, *one;

	if (cli->operand_count == 1) {
		one = look(cli, cli->operands[0], ctx, err);
		return one != NULL ? cli_print_json(cli, one, err) : -1;
	}
	list = json_array();
	for (int i = 0; i < cli->operand_count; i++) {
		struct vm_err failure = {0};

		one = look(cli, cli->operands[i], ctx, &failure);
		if (one == NULL)
			cli_fail(cli, &failure);
		else
			(void)json_array_append_new(list, one);
	}
	return cli_print_json(cli, list, err);
}

int cli_print_instance(struct cli *cli, const struct vm_instance *instance, struct vm_err *err)
{
	int rc = 0;

	cli_progress_hide(&cli->progress);
	if (cli->quiet || cli->output != CLI_JSON)
		cli_print_word(cli, cli->quiet ? instance->id : instance->name);
	else
		rc = cli_print_object(cli, cli_instance_json(&cli->root, instance), err);
	(void)cli_flush(cli);
	return rc;
}
