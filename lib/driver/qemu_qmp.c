/* SPDX-License-Identifier: Apache-2.0 */
#include "qemu_qmp.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../connect.h"
#include "../fault.h"
#include "../util.h"

enum {
	RECEIVE_SIZE = 16 * 1024,
	LINE_MAX_BYTES = 4 * 1024 * 1024, /* no answer to what we ask is near that */
};

void vm_qmp_close(struct vm_qmp *qmp)
{
	vm_cleanup_close(&qmp->fd);
	vm_cleanup_free(&qmp->in);
	qmp->len = qmp->size = 0;
}

static int make_room(struct vm_qmp *qmp, struct vm_err *err)
{
	size_t size = qmp->size ? qmp->size * 2 : RECEIVE_SIZE;
	char *grown;

	if (qmp->size - qmp->len >= RECEIVE_SIZE / 2)
		return 0;
	if (size > LINE_MAX_BYTES)
		return vm_err_set(err, VM_ERR_HYPERVISOR, "an answer of QMP has no end");
	grown = realloc(qmp->in, size);
	if (!grown)
		return vm_err_sys(err, "allocating %zu bytes for QMP", size);
	qmp->in = grown;
	qmp->size = size;
	return 0;
}

static int receive(struct vm_qmp *qmp, struct vm_err *err)
{
	ssize_t n;

	if (make_room(qmp, err) < 0 ||
	    vm_connect_wait(qmp->fd, POLLIN, qmp->deadline_ms, "waiting for QMP's answer", err) < 0)
		return -1;
	n = recv(qmp->fd, qmp->in + qmp->len, qmp->size - qmp->len, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n == 0 || (n < 0 && errno == ECONNRESET))
		return vm_err_set(err, VM_ERR_HYPERVISOR, "the VMM has closed its QMP connection");
	if (n < 0)
		return vm_err_sys(err, "reading from QMP");
	qmp->len += (size_t)n;
	return 0;
}

/* The next line as JSON, a new reference. NULL with err. */
static json_t *next_message(struct vm_qmp *qmp, struct vm_err *err)
{
	char *end;
	json_t *json;
	size_t used;

	while (!(end = qmp->in ? memchr(qmp->in, '\n', qmp->len) : NULL)) {
		if (receive(qmp, err) < 0)
			return NULL;
	}
	used = (size_t)(end - qmp->in) + 1;
	json = json_loadb(qmp->in, used, 0, NULL);
	if (!json_is_object(json)) {
		vm_err_set(err, VM_ERR_HYPERVISOR, "what comes from QMP is no JSON object: '%.*s'",
		           (int)(used < 100 ? used - 1 : 100), qmp->in);
		json_decref(json);
		return NULL;
	}
	memmove(qmp->in, end + 1, qmp->len - used);
	qmp->len -= used;
	return json;
}

/* Events are looked at as they come; of those of a migration the last status counts. */
static void take_event(struct vm_qmp *qmp, const json_t *message, const char *event)
{
	const char *status =
	        json_string_value(json_object_get(json_object_get(message, "data"), "status"));

	if (strcmp(event, "MIGRATION") == 0 && status)
		snprintf(qmp->migration, sizeof(qmp->migration), "%s", status);
}

/* The next message that is no event. */
static json_t *next_answer(struct vm_qmp *qmp, struct vm_err *err)
{
	for (;;) {
		json_t *message = next_message(qmp, err);
		const char *event = json_string_value(json_object_get(message, "event"));

		if (!message || !event)
			return message;
		take_event(qmp, message, event);
		json_decref(message);
	}
}

static int send_text(struct vm_qmp *qmp, char *text, int pass_fd, struct vm_err *err)
{
	size_t left = strlen(text);

	while (left > 0) {
		union {
			struct cmsghdr header;
			char room[CMSG_SPACE(sizeof(int))];
		} control = {0};
		struct iovec part = {.iov_base = text, .iov_len = left};
		struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
		ssize_t n;

		if (pass_fd >= 0) {
			message.msg_control = control.room;
			message.msg_controllen = sizeof(control.room);
			control.header.cmsg_level = SOL_SOCKET;
			control.header.cmsg_type = SCM_RIGHTS;
			control.header.cmsg_len = CMSG_LEN(sizeof(int));
			memcpy(CMSG_DATA(&control.header), &pass_fd, sizeof(pass_fd));
		}
		if (vm_connect_wait(qmp->fd, POLLOUT, qmp->deadline_ms, "sending to QMP", err) < 0)
			return -1;
		n = sendmsg(qmp->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
			return vm_err_set(err, VM_ERR_HYPERVISOR,
			                  "the VMM has closed its QMP connection");
		if (n < 0)
			return vm_err_sys(err, "sending to QMP");
		pass_fd = -1; /* it went with the first byte */
		text += n;
		left -= (size_t)n;
	}
	return 0;
}

static int take_answer(json_t *answer, const char *command, json_t **ret_value, struct vm_err *err)
{
	json_t *value = json_object_get(answer, "return");
	const char *why =
	        json_string_value(json_object_get(json_object_get(answer, "error"), "desc"));

	if (value && ret_value)
		*ret_value = json_incref(value);
	if (!value)
		vm_err_set(err, VM_ERR_HYPERVISOR, "%s: %s", command, why ? why : "no answer");
	json_decref(answer);
	return value ? 0 : -1;
}

int vm_qmp_call(struct vm_qmp *qmp, const char *command, json_t *arguments, int pass_fd,
                json_t **ret_value, struct vm_err *err)
{
	json_t *json = json_pack("{s:s, s:o*}", "execute", command, "arguments", arguments);
	VM_AUTO_FREE char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	json_t *answer;
	int rc;

	json_decref(json);
	if (!text)
		return vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES, "%s: out of memory", command);
	if (vm_fault(VM_FAULT_DRIVER_REQUEST))
		return vm_err_sys(err, "%s: fault before the request", command);
	qmp->migration[0] = '\0';
	if (send_text(qmp, text, pass_fd, err) < 0)
		return vm_err_wrap(err, "%s", command);
	answer = next_answer(qmp, err);
	if (!answer)
		return vm_err_wrap(err, "%s", command);
	rc = take_answer(answer, command, ret_value, err);
	if (rc == 0 && vm_fault(VM_FAULT_DRIVER_REQUEST_DONE))
		rc = vm_err_sys(err, "%s: fault after the request", command);
	return rc;
}

/* What query-migrate says of a failure goes into the message. */
static int migration_failed(struct vm_qmp *qmp, const char *status, struct vm_err *err)
{
	struct vm_err ignored = {0};
	json_t *value = NULL;
	const char *why;

	if (vm_qmp_call(qmp, "query-migrate", NULL, -1, &value, &ignored) < 0)
		return vm_err_set(err, VM_ERR_HYPERVISOR, "the migration is %s", status);
	why = json_string_value(json_object_get(value, "error-desc"));
	vm_err_set(err, VM_ERR_HYPERVISOR, "the migration is %s%s%s", status, why ? ": " : "",
	           why ? why : "");
	json_decref(value);
	return -1;
}

int vm_qmp_await_migration(struct vm_qmp *qmp, struct vm_err *err)
{
	for (;;) {
		char status[sizeof(qmp->migration)];
		json_t *message;
		const char *event;

		memcpy(status, qmp->migration, sizeof(status));
		if (strcmp(status, "completed") == 0)
			return 0;
		if (strcmp(status, "failed") == 0 || strcmp(status, "cancelled") == 0)
			return migration_failed(qmp, status, err);
		message = next_message(qmp, err);
		if (!message)
			return vm_err_wrap(err, "migration");
		event = json_string_value(json_object_get(message, "event"));
		if (event)
			take_event(qmp, message, event);
		json_decref(message);
	}
}

int vm_qmp_begin(int fd, int64_t deadline_ms, struct vm_qmp *ret, struct vm_err *err)
{
	struct vm_qmp qmp = {.fd = fd, .deadline_ms = deadline_ms};
	json_t *greeting = next_answer(&qmp, err);
	int rc = -1;

	if (greeting && !json_object_get(greeting, "QMP"))
		vm_err_set(err, VM_ERR_HYPERVISOR, "the VMM does not greet as QMP does");
	else if (greeting)
		rc = vm_qmp_call(&qmp, "qmp_capabilities", NULL, -1, NULL, err);
	else if (err->code == VM_ERR_TIMEOUT)
		vm_err_hint(err, "it may be stuck, or another program is connected to its QMP");
	json_decref(greeting);
	if (rc < 0) {
		vm_qmp_close(&qmp);
		return -1;
	}
	*ret = qmp;
	return 0;
}
