/* SPDX-License-Identifier: Apache-2.0 */
/* doctor: the host and the data root, looked at without changing them. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "doctor_impl.h"
#include "driver/driver.h"
#include "fs.h"
#include "held.h"
#include "slot.h"
#include "util.h"

enum { FILES_WANTED = 1024 };

struct vm_finding *vm_findings_add(struct vm_findings *findings, enum vm_finding_level level,
                                   const char *check, const char *fmt, ...)
{
	struct vm_finding *finding;
	va_list ap;

	if (findings->count == findings->room) {
		size_t room = findings->room ? findings->room * 2 : 32;
		struct vm_finding *more = realloc(findings->list, room * sizeof(*more));

		if (!more) {
			findings->lost = true;
			return NULL;
		}
		findings->list = more;
		findings->room = room;
	}
	finding = &findings->list[findings->count++];
	memset(finding, 0, sizeof(*finding));
	finding->level = level;
	snprintf(finding->check, sizeof(finding->check), "%s", check);
	va_start(ap, fmt);
	vsnprintf(finding->message, sizeof(finding->message), fmt, ap);
	va_end(ap);
	return finding;
}

void vm_findings_hint(struct vm_finding *finding, const char *hint)
{
	if (finding)
		snprintf(finding->hint, sizeof(finding->hint), "%s", hint);
}

enum vm_finding_level vm_findings_level(const struct vm_findings *findings, int repaired)
{
	return repaired == 0                       ? VM_FINDING_REPAIRED
	       : repaired > 0 && findings->dry_run ? VM_FINDING_REPAIRABLE
	                                           : VM_FINDING_LEFTOVER;
}

static void check_root(struct vm_op *op, struct vm_findings *findings)
{
	struct vm_err err = {0};
	struct stat st;
	bool reflink;

	if (op->root->missing) {
		vm_findings_add(findings, VM_FINDING_OK, "root",
		                "%s does not exist yet: nothing is in it", op->root->path);
		return;
	}
	if (fstat(op->root->fd, &st) == 0 && (st.st_mode & 077) != 0)
		vm_findings_hint(vm_findings_add(findings, VM_FINDING_WARNING, "root",
		                                 "%s has mode %04o: others can read guest memory",
		                                 op->root->path, st.st_mode & 07777),
		                 "chmod 0700 it");
	else
		vm_findings_add(findings, VM_FINDING_OK, "root", "%s", op->root->path);
	if (vm_fs_reflink_supported(op->root->guests_fd, &reflink, &err) < 0)
		vm_findings_add(findings, VM_FINDING_ERROR, "reflink", "%.500s", err.message);
	else if (reflink)
		vm_findings_add(findings, VM_FINDING_OK, "reflink", "disks are cloned in O(1)");
	else
		vm_findings_hint(
		        vm_findings_add(findings, VM_FINDING_WARNING, "reflink",
		                        "the filesystem shares no extents: a fork copies all data "
		                        "of its disks"),
		        "put the data root on xfs (reflink=1) or btrfs");
	vm_err_clear(&err);
	if (vm_op_check_disk(op, 0, &err) < 0)
		vm_findings_hint(
		        vm_findings_add(findings, VM_FINDING_ERROR, "disk", "%.500s", err.message),
		        err.hint);
}

static void check_shm(struct vm_findings *findings)
{
	struct statvfs st;

	if (access("/dev/shm", R_OK | W_OK | X_OK) == 0 && statvfs("/dev/shm", &st) == 0 &&
	    st.f_bavail > 0)
		vm_findings_add(findings, VM_FINDING_OK, "shm",
		                "/dev/shm holds the restore slots' semaphores");
	else
		vm_findings_hint(vm_findings_add(findings, VM_FINDING_ERROR, "shm",
		                                 "/dev/shm is missing, full or not writable"),
		                 "mount a tmpfs there");
}

static void check_slots(struct vm_op *op, struct vm_findings *findings)
{
	for (size_t i = 0; vm_drivers[i] && !op->root->missing; i++) {
		struct vm_slot_pool pool = vm_op_slots(op, vm_drivers[i]);
		struct vm_slot_status status;
		struct vm_err err = {0};

		if (vm_slot_status(&pool, &status, &err) == 0)
			vm_findings_add(findings, VM_FINDING_OK, "slots", "%s: %u of %u in use",
			                vm_drivers[i]->name, status.held, status.total);
		else
			vm_findings_add(findings, VM_FINDING_ERROR, "slots", "%.500s", err.message);
	}
}

static void check_limits(struct vm_op *op, struct vm_findings *findings)
{
	const struct vm_config *config = &op->root->config;
	struct rlimit files;
	char reserve[16];

	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < FILES_WANTED)
		vm_findings_hint(vm_findings_add(findings, VM_FINDING_WARNING, "limits",
		                                 "only %ju open files are allowed",
		                                 (uintmax_t)files.rlim_cur),
		                 "raise it: ulimit -n 4096");
	vm_findings_add(findings, VM_FINDING_OK, "limits",
	                "max_running %u, memory_overcommit %.2f (0: no limit), min_free_disk %s",
	                config->max_running, config->memory_overcommit,
	                vm_size_format(config->min_free_disk_bytes, reserve, sizeof(reserve)));
}

int vm_doctor(struct vm_op *op, enum vm_doctor_mode mode, struct vm_finding **ret,
              size_t *ret_count, struct vm_err *err)
{
	struct vm_findings findings = {.repair = mode == VM_DOCTOR_REPAIR,
	                               .dry_run = mode == VM_DOCTOR_DRY_RUN};
	int rc = 0;

	if (findings.repair)
		vm_store_makes_space(op->root->store);
	rc = vm_doctor_hypervisors(op, &findings, err);
	if (rc < 0)
		return -1;
	check_root(op, &findings);
	check_shm(&findings);
	check_slots(op, &findings);
	check_limits(op, &findings);
	vm_doctor_hooks(op, &findings);
	vm_doctor_views(&findings);
	rc = vm_doctor_leftovers(op, &findings, err);
	if (rc == 0 && findings.lost)
		rc = vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES,
		                "out of memory for the findings");
	if (rc < 0) {
		free(findings.list);
		return -1;
	}
	*ret = findings.list;
	*ret_count = findings.count;
	return 0;
}
