/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks in layers under a running VMM (overlay.h): it is asked which layer it writes, for a verb
 * that was killed may have left it on another than the directory says, and told to go over to a new
 * one (blockdev-snapshot-sync, docs/interop/live-block-operations).
 */
#include <stdlib.h>
#include <string.h>

#include "../overlay.h"
#include "../util.h"
#include "qemu.h"

/* What is in the device of a disk, of what query-block returns; borrowed. */
static const json_t *find_device(const json_t *devices, const struct vm_disk *disk)
{
	char id[VM_DISK_ID_MAX + 16];
	const json_t *device;
	size_t i;

	snprintf(id, sizeof(id), VM_QEMU_DISK_FORMAT, disk->id);
	json_array_foreach((json_t *)devices, i, device)
	{
		const char *qdev = json_string_value(json_object_get(device, "qdev"));

		if (qdev && strcmp(qdev, id) == 0)
			return json_object_get(device, "inserted");
	}
	return NULL;
}

/* The layer that it writes now, and the name of its node in QEMU. */
static int active_layer(const json_t *devices, const struct vm_disk *disk,
                        char ret_layer[VM_LAYER_NAME_SIZE], const char **ret_node,
                        struct vm_err *err)
{
	const json_t *inserted = find_device(devices, disk);
	const char *file = json_string_value(json_object_get(inserted, "file"));

	*ret_node = json_string_value(json_object_get(inserted, "node-name"));
	if (!file || !*ret_node || strchr(file, '/') || strlen(file) >= VM_LAYER_NAME_SIZE)
		return vm_err_set(err, VM_ERR_HYPERVISOR,
		                  "query-block: it does not say what disk '%s' is", disk->id);
	snprintf(ret_layer, VM_LAYER_NAME_SIZE, "%s", file);
	return 0;
}

static int freeze_disk(const struct vm_machine *machine, struct vm_qmp *qmp, const json_t *devices,
                       const struct vm_disk *disk, char ret_layer[VM_LAYER_NAME_SIZE],
                       struct vm_err *err)
{
	char active[VM_LAYER_NAME_SIZE] = "", fresh[VM_LAYER_NAME_SIZE], id[VM_ID_LEN + 1],
	     node[VM_ID_LEN + 8];
	const char *old;

	if (active_layer(devices, disk, active, &old, err) < 0)
		return -1;
	/* A stopped guest's are flushed. But only if the layer of that name is the one it writes.
	 */
	if (vm_overlay_name(machine->dir_fd, disk, fresh, err) < 0)
		return -1;
	if (strcmp(fresh, active) == 0) {
		if (vm_overlay_below_empty(machine->dir_fd, disk, ret_layer, err) < 0)
			return -1;
		if (ret_layer[0])
			return 0;
	}
	memcpy(ret_layer, active, VM_LAYER_NAME_SIZE);
	if (vm_id_new(id, err) < 0 ||
	    vm_overlay_put(machine->dir_fd, disk, ret_layer, fresh, err) < 0)
		return -1;
	snprintf(node, sizeof(node), "layer-%s", id);
	return vm_qmp_call(qmp, "blockdev-snapshot-sync",
	                   json_pack("{s:s, s:s, s:s, s:s, s:s}", "node-name", old, "snapshot-file",
	                             fresh, "snapshot-node-name", node, "format", "qcow2", "mode",
	                             "existing"),
	                   -1, NULL, err);
}

int vm_qemu_freeze_disks(struct vm_machine *machine, struct vm_frozen *ret, struct vm_err *err)
{
	VM_AUTO(vm_qmp_close) struct vm_qmp qmp = VM_QMP_INIT;
	const struct vm_spec *spec = machine->spec;
	struct vm_frozen frozen = {0};
	json_t *devices = NULL;
	int rc = vm_qemu_attach(machine, &qmp, err);

	if (rc == 0)
		rc = vm_qmp_call(&qmp, "query-block", NULL, -1, &devices, err);
	for (size_t i = 0; rc == 0 && i < spec->disk_count; i++) {
		if (vm_overlay_is(&spec->disks[i]))
			rc = freeze_disk(machine, &qmp, devices, &spec->disks[i], frozen.layer[i],
			                 err);
	}
	json_decref(devices);
	if (rc < 0)
		return vm_qemu_explain(machine, err);
	*ret = frozen;
	return 0;
}
