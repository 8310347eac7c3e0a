/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One HTTP/1.1 request to a hypervisor's unix socket, and its answer.
 *
 * Small on purpose: a connection a request, a deadline over everything (connect, send, receive), a
 * cap on the answer's size, bodies by content-length, chunked or until the peer closes. The parser
 * never trusts the peer: it is a target of test/fuzz. Formats: RFC 9110 and RFC 9112.
 */
#ifndef VM_HTTP_H
#define VM_HTTP_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"

enum {
	VM_HTTP_HEADER_MAX = 16 * 1024, /* status lines and headers, interim answers included */
	VM_HTTP_BODY_MAX =
	        4 * 1024 * 1024, /* decoded body; and, apart, the framing of its chunks */
};

struct vm_http_request {
	/*
	 * A connection to that socket that has carried no request yet: taken, and -1 afterwards.
	 * NULL or -1: the request makes its own.
	 */
	int *connection;
	int dir_fd;          /* directory of the socket, or AT_FDCWD */
	const char *socket;  /* e.g. "vmm.sock", opened below dir_fd; no length limit on either */
	const char *method;  /* "GET", "PUT", "PATCH" */
	const char *path;    /* "/vm" */
	const char *body;    /* JSON text or NULL */
	int64_t deadline_ms; /* vm_monotonic_ms() after which the request fails with timeout */
};

struct vm_http_response {
	int status;      /* 200..599 */
	char *body;      /* NUL-terminated, "" where there was none; owned by the response */
	size_t body_len; /* without that NUL; the body itself may hold others */
};

/* Frees what the response owns and zeroes it; NULL and a zeroed response are fine. */
void vm_http_response_free(struct vm_http_response *response);

/*
 * Sends the request and reads the answer. Any status is success: the caller decides. The socket
 * must not be a symbolic link, and /proc must be mounted. The answer is complete when its length
 * says so: a peer that keeps the connection open is not waited for. Needs no particular SIGPIPE
 * handling.
 *
 * Errors: timeout (deadline passed, says in which step), hypervisor (nobody listens, early close,
 * malformed or oversized answer), usage (the request cannot be sent as HTTP), system (also a signal
 * that asked to stop, see interrupt.h), insufficient_resources. The message begins with the method
 * and path. `ret` is untouched on failure. errno is ENOENT or ECONNREFUSED exactly when nobody
 * listened at the socket, so that whoever waits for a VMM to come up can tell.
 */
int vm_http_call(const struct vm_http_request *request, struct vm_http_response *ret,
                 struct vm_err *err);

/*
 * Parses an answer held in memory from its first byte; `eof` says that the peer has closed. Returns
 * 1 when `ret` was filled, 0 when more bytes are needed (never with eof), -1 when it can never
 * become a valid answer (hypervisor, or insufficient_resources). A verdict other than 0 does not
 * change with more bytes: what follows a complete answer is ignored. Interim (1xx) answers are
 * skipped. For the client itself and for the fuzzer.
 */
int vm_http_parse(const char *data, size_t len, int eof, struct vm_http_response *ret,
                  struct vm_err *err);

#endif
