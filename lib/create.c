/* SPDX-License-Identifier: Apache-2.0 */
/* create: a new instance from a spec. Its kernel, initrd and disks become private copies. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "choose.h"
#include "fs.h"
#include "sources.h"
#include "sweep.h"
#include "util.h"

static int fill_row(const struct vm_spec *spec, const struct vm_driver *driver,
                    struct vm_instance *row, struct vm_err *err)
{
	char id[VM_ID_LEN + 1];

	row->spec = vm_spec_for_row(spec, err);
	if (!row->spec)
		return -1;
	if (!spec->name && vm_id_new(id, err) < 0)
		return -1;
	if (spec->name)
		snprintf(row->name, sizeof(row->name), "%s", spec->name);
	else
		snprintf(row->name, sizeof(row->name), "vm-%.6s", id);
	snprintf(row->hypervisor, sizeof(row->hypervisor), "%s", driver->name);
	row->vcpus = spec->vcpus;
	row->memory_bytes = spec->memory_bytes;
	row->labels = &spec->labels;
	return 0;
}

/*
 * Reserve, fill, publish. A kill in between leaves a `creating` row whose lock is free: whoever
 * wants the name next, or doctor, removes it.
 */
static int make(struct vm_op *op, const struct vm_spec *spec, const struct vm_driver *driver,
                const struct vm_sources *sources, struct vm_child *child, struct vm_err *err)
{
	vm_sweep_makers(op); /* before something new comes, what the dead have left goes */
	if (fill_row(spec, driver, &child->row, err) < 0 ||
	    vm_op_check_disk(op, sources->bytes, err) < 0 ||
	    vm_child_reserve(op, child, 1, spec->vsock, err) < 0 ||
	    vm_child_make_dir(op, child, err) < 0 ||
	    vm_sources_copy(child, spec, sources, op->tell, err) < 0 ||
	    vm_fs_sync(op->root->guests_fd, NULL, err) < 0)
		return -1;
	return vm_child_publish(op, child, 1, VM_STATE_STOPPED, NULL, NULL, err);
}

/* What is stored says what it runs by, whatever the settings say tomorrow. */
static int complete_spec(struct vm_op *op, const struct vm_driver *driver, struct vm_spec *spec,
                         struct vm_err *err)
{
	const char *note = NULL;
	char *name = vm_strdup(driver->name, err);

	if (!name)
		return -1;
	free(spec->hypervisor);
	spec->hypervisor = name;
	if (driver->complete_spec && driver->complete_spec(spec, &note, err) < 0)
		return -1;
	if (note)
		vm_op_progress(op, "%s", note);
	return 0;
}

static int create(struct vm_op *op, struct vm_spec *spec, char ret_id[VM_ID_LEN + 1],
                  struct vm_err *err)
{
	struct vm_sources sources;
	const struct vm_driver *driver;
	struct vm_child child;
	int rc;

	vm_sources_init(&sources);
	vm_child_init(&child);
	vm_op_about(op, "", spec->name ? spec->name : "");
	/* What the files are says what can run them. */
	rc = vm_sources_open(spec, &sources, err);
	if (rc == 0)
		rc = vm_choose_driver(op->root, spec, &driver, err);
	if (rc == 0)
		rc = complete_spec(op, driver, spec, err);
	if (rc == 0)
		rc = make(op, spec, driver, &sources, &child, err);
	if (rc == 0)
		memcpy(ret_id, child.row.id, VM_ID_LEN + 1);
	else if (!child.reserved)
		vm_op_record_failure(op, err);
	if (rc < 0)
		vm_child_drop(op, &child, err);
	vm_child_release(&child);
	vm_sources_close(&sources);
	return rc;
}

/* An operation of its own, as if it had been asked for by itself; its waits are ours too. */
static int start_created(struct vm_op *op, const char *id, struct vm_instance *ret,
                         struct vm_err *err)
{
	struct vm_op starting = *op;
	int rc;

	vm_op_begin(&starting);
	starting.verb = "start";
	rc = vm_start(&starting, id, ret, err);
	op->lock_waited_us += starting.lock_waited_us;
	op->slot_waited_us += starting.slot_waited_us;
	return rc;
}

int vm_create(struct vm_op *op, const struct vm_spec *spec, bool start, struct vm_instance *ret,
              struct vm_err *err)
{
	struct vm_spec copy;
	char id[VM_ID_LEN + 1];
	int rc;

	if (vm_spec_check(spec, err) < 0 || vm_spec_copy(spec, &copy, err) < 0)
		return -1;
	rc = create(op, &copy, id, err);
	vm_spec_free(&copy);
	if (rc < 0)
		return -1;
	if (!start)
		return ret ? vm_store_get(op->root->store, id, ret, err) : 0;
	rc = start_created(op, id, ret, err);
	return rc < 0 ? vm_err_wrap(err, "created, but not started") : 0;
}
