/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "../fault.h"
#include "../http.h"
#include "../util.h"
#include "await.h"
#include "firecracker.h"
#include "refuse.h"

/*
 * What Firecracker's refusals mean, by the part of the message that is the same from 1.10 to 1.16.
 * The first row whose texts (both, where there are two) occur in the message decides.
 */
static const struct vm_refusal refusals[] = {
        {"os error 28", NULL, VM_ERR_INSUFFICIENT_RESOURCES, "the disk is full: free some space"},
        {"os error 122", NULL, VM_ERR_INSUFFICIENT_RESOURCES, "the disk quota is used up"},
        /* The state file is written by a library that says it so. */
        {"Os { code: 28,", NULL, VM_ERR_INSUFFICIENT_RESOURCES,
         "the disk is full: free some space"},
        {"Os { code: 122,", NULL, VM_ERR_INSUFFICIENT_RESOURCES, "the disk quota is used up"},
        {"os error 12)", NULL, VM_ERR_INSUFFICIENT_RESOURCES, "the host is out of memory"},
        {"os error 24", NULL, VM_ERR_INSUFFICIENT_RESOURCES, "raise the limit of open files"},
        {"cannot create a memfd", NULL, VM_ERR_INSUFFICIENT_RESOURCES,
         "raise the limit of open files"},
        {"Error binding to the host-side Unix socket", NULL, VM_ERR_BUSY,
         "another process uses the instance's vsock socket"},
        {"Open tap device failed", "os error 16", VM_ERR_BUSY, "another VMM uses that tap device"},
        {"Error manipulating the backing file", NULL, VM_ERR_CORRUPT,
         "a disk of the instance is missing or cannot be opened"},
        {"Failed to load guest memory", NULL, VM_ERR_CORRUPT,
         "the saved memory is missing or damaged"},
        {"offset and length is greater then file length", NULL, VM_ERR_CORRUPT,
         "the saved memory is too short"},
        {"Total sum of memory regions exceeds", NULL, VM_ERR_CORRUPT,
         "the saved memory is too short"},
        {"Failed to open snapshot file", NULL, VM_ERR_CORRUPT, "the saved state is missing"},
        {"smaller than CRC length", NULL, VM_ERR_CORRUPT, "the saved state is empty"},
        {"too short to contain CRC", NULL, VM_ERR_CORRUPT, "the saved state is empty"},
        {"CRC64 validation failed", NULL, VM_ERR_CORRUPT, "the saved state is damaged"},
        {"Magic value does not match", NULL, VM_ERR_CORRUPT, "the saved state is damaged"},
        {"Invalid data version", NULL, VM_ERR_INCOMPATIBLE,
         "the state was saved by another version of Firecracker"},
        {"bincode decoding", NULL, VM_ERR_CORRUPT,
         "the saved state is damaged, or of another version of Firecracker"},
        {"bitcode error", NULL, VM_ERR_CORRUPT,
         "the saved state is damaged, or of another version of Firecracker"},
        {"not allowed after configuring boot-specific resources", NULL, VM_ERR_INVALID_STATE, ""},
        {"save/restore unavailable while running", NULL, VM_ERR_INVALID_STATE, ""},
        {"Diff snapshots are not allowed", NULL, VM_ERR_UNSUPPORTED, ""},
        {"/dev/kvm", NULL, VM_ERR_HYPERVISOR, "'vmctl doctor' checks /dev/kvm"},
};

int vm_fc_refuse(const struct vm_machine *machine, const char *what, const char *message,
                 struct vm_err *err)
{
	return vm_refuse(machine, refusals, VM_ARRAY_LEN(refusals), what, message, err);
}

/* The "fault_message" of a refusal, or its raw body. */
static int refused(const struct vm_machine *machine, const char *method, const char *path,
                   const struct vm_http_response *response, struct vm_err *err)
{
	json_t *json = json_loads(response->body, 0, NULL);
	const char *fault = json_string_value(json_object_get(json, "fault_message"));
	char what[128];

	snprintf(what, sizeof(what), "%s %s was refused (%d)", method, path, response->status);
	vm_fc_refuse(machine, what, fault ? fault : response->body, err);
	json_decref(json);
	return -1;
}

enum { DEATH_WAIT_MS = 1000 }; /* from the end of a connection to that of the process */

/* A call that failed because the VMM is gone: its log says more than a broken connection. */
static int explain_death(struct vm_machine *machine, struct vm_err *err)
{
	char tail[400];

	if (err->code != VM_ERR_HYPERVISOR || machine->vmm.pid_fd < 0)
		return -1;
	struct vm_err ignored = {0};

	if (vm_vmm_wait(&machine->vmm, vm_monotonic_ms() + DEATH_WAIT_MS, &ignored) != 0)
		return -1;
	vm_vmm_log_tail(machine->dir_fd, VM_VMM_LOG, tail, sizeof(tail));
	if (tail[0])
		vm_err_hint(err, "the VMM has ended; its log ends with: %.330s", tail);
	return -1;
}

int vm_fc_call_on(struct vm_machine *machine, int *connection, const char *method, const char *path,
                  json_t *body, json_t **ret_answer, struct vm_err *err)
{
	VM_AUTO_FREE char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	struct vm_http_response response = {0};
	const struct vm_http_request request = {
	        .connection = connection,
	        .dir_fd = machine->dir_fd,
	        .socket = VM_FILE_API_SOCKET,
	        .method = method,
	        .path = path,
	        .body = text,
	        .deadline_ms = machine->deadline_ms,
	};
	int rc = 0;

	if (body && !text) {
		json_decref(body);
		return vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES, "%s %s: out of memory",
		                  method, path);
	}
	json_decref(body);
	if (vm_fault(VM_FAULT_DRIVER_REQUEST))
		return vm_err_sys(err, "%s %s: fault before the request", method, path);
	if (vm_http_call(&request, &response, err) < 0)
		return explain_death(machine, err);
	if (response.status < 200 || response.status > 299)
		rc = refused(machine, method, path, &response, err);
	else if (vm_fault(VM_FAULT_DRIVER_REQUEST_DONE))
		rc = vm_err_sys(err, "%s %s: fault after the request", method, path);
	if (rc == 0 && ret_answer) {
		*ret_answer = json_loads(response.body, 0, NULL);
		if (!*ret_answer)
			rc = vm_err_set(err, VM_ERR_HYPERVISOR, "%s %s: the answer is not JSON",
			                method, path);
	}
	vm_http_response_free(&response);
	return rc;
}

int vm_fc_call(struct vm_machine *machine, const char *method, const char *path, json_t *body,
               json_t **ret_answer, struct vm_err *err)
{
	return vm_fc_call_on(machine, NULL, method, path, body, ret_answer, err);
}

/* The VMM ended before its API answered. */
static int died_early(struct vm_machine *machine, struct vm_err *err)
{
	char tail[400];

	vm_vmm_log_tail(machine->dir_fd, VM_VMM_LOG, tail, sizeof(tail));
	return vm_fc_refuse(machine, "the VMM ended at once", tail[0] ? tail : "(its log is empty)",
	                    err);
}

int vm_fc_spawn(struct vm_machine *machine, int *ret_fd, struct vm_err *err)
{
	const char *argv[] = {
	        machine->binary->path, "--id",     machine->id, "--api-sock", VM_FILE_API_SOCKET,
	        "--log-path",          VM_VMM_LOG, "--level",   "Info",       NULL};
	int rc;

	/* Sockets of a dead VMM stay behind and would be refused ("stale API socket", EADDRINUSE).
	 */
	if (vm_driver_clean(machine->driver, machine->dir_fd, err) < 0 ||
	    vm_vmm_spawn_in(machine->root, machine->id, machine->dir_fd, machine->view, argv,
	                    &machine->vmm, err) < 0)
		return -1;
	rc = vm_await_socket(machine, ret_fd, err);
	return rc > 0 ? died_early(machine, err) : rc;
}
