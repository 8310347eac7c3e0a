/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The QMP client with a VMM that says anything and then hangs up. Besides "no crash": every failure
 * is set and is the VMM's fault, an answer has a value and a refusal has none, and what was there
 * for the answer is untouched on failure.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "driver/qemu_qmp.h"
#include "util.h"

/* Of the first byte. */
enum { GREETED = 1 /* a conversation has begun before the rest is said */ };
enum { CALLS_MAX = 64, SAID_MAX = 64 * 1024, DEADLINE_MS = 60 * 1000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) require((condition) != 0, #condition, __LINE__)

static void require(int holds, const char *what, int line)
{
	if (holds)
		return;
	fprintf(stderr, "%s:%d: violated: %s\n", __FILE__, line, what);
	abort();
}

static void require_said(int rc, const struct vm_err *err)
{
	REQUIRE(rc == 0 || rc == -1);
	REQUIRE((rc < 0) == (err->code != VM_OK));
	REQUIRE((rc < 0) == (err->message[0] != '\0'));
	/* Nothing is waited for: all is there. */
	REQUIRE(rc == 0 || err->code == VM_ERR_HYPERVISOR);
}

static void say(int fd, const char *text, size_t len)
{
	REQUIRE(send(fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)len);
}

/* The client's end of a connection on which all is said; the other end is for what it sends. */
static int connection(const uint8_t *data, size_t size, int greeted, int *ret_peer)
{
	static const char greeting[] = "{\"QMP\": {}}\r\n{\"return\": {}}\r\n";
	int ends[2], room = 4 * SAID_MAX;

	REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
	setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	if (greeted)
		say(ends[1], greeting, sizeof(greeting) - 1);
	if (size > 0)
		say(ends[1], (const char *)data, size);
	shutdown(ends[1], SHUT_WR);
	*ret_peer = ends[1];
	return ends[0];
}

static int call(struct vm_qmp *qmp)
{
	json_t *const untouched = json_true();
	json_t *value = untouched;
	struct vm_err err = {0};
	int rc = vm_qmp_call(qmp, "query-block", json_pack("{s:i}", "a", 1), -1, &value, &err);

	require_said(rc, &err);
	REQUIRE(rc == 0 ? value != NULL : value == untouched);
	REQUIRE(qmp->len <= qmp->size);
	REQUIRE(memchr(qmp->migration, '\0', sizeof(qmp->migration)));
	if (rc < 0)
		REQUIRE(strncmp(err.message, "query-block: ", 13) == 0);
	else
		json_decref(value);
	return rc;
}

static void await(struct vm_qmp *qmp)
{
	struct vm_err err = {0};
	int rc = vm_qmp_await_migration(qmp, &err);

	require_said(rc, &err);
	if (rc == 0)
		REQUIRE(strcmp(qmp->migration, "completed") == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int greeted = size > 0 && (data[0] & GREETED);
	struct vm_qmp qmp = {.fd = -7};
	struct vm_err err = {0};
	int peer, fd, rc;

	if (size < 1 || size > SAID_MAX)
		return 0;
	fd = connection(data + 1, size - 1, greeted, &peer);
	rc = vm_qmp_begin(fd, vm_monotonic_ms() + DEADLINE_MS, &qmp, &err);
	require_said(rc, &err);
	REQUIRE(rc == 0 ? qmp.fd == fd : qmp.fd == -7);
	REQUIRE(rc == 0 || !greeted);
	if (rc == 0) {
		for (int i = 0; i < CALLS_MAX && call(&qmp) == 0; i++)
			;
		await(&qmp);
		vm_qmp_close(&qmp);
	}
	close(peer);
	return 0;
}
