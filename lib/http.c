/* SPDX-License-Identifier: Apache-2.0 */
#include "http.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "connect.h"
#include "util.h"

enum {
	RECEIVE_SIZE = 64 * 1024, /* room that each receive finds at least half of */
};

/* A request on its way: what is still to be sent, and what has come back. */
struct exchange {
	int fd;
	int64_t deadline_ms;
	const char *out;
	size_t out_len; /* 0 when all is sent, or when the peer takes no more */
	char *in;
	size_t in_len;
	size_t in_size;
};

static void exchange_free(struct exchange *x)
{
	vm_cleanup_free(&x->in);
	vm_cleanup_close(&x->fd);
}

/* Sends what the peer takes now. */
static int flush(struct exchange *x, struct vm_err *err)
{
	while (x->out_len > 0) {
		ssize_t n = send(x->fd, x->out, x->out_len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EPIPE || errno == ECONNRESET)) {
			/* It may have refused the request early: its answer says more than this. */
			x->out_len = 0;
			return 0;
		}
		if (n < 0)
			return vm_err_sys(err, "sending the request");
		x->out += n;
		x->out_len -= (size_t)n;
	}
	return 0;
}

static int wait_ready(const struct exchange *x, struct vm_err *err)
{
	const char *step = x->out_len > 0  ? "sending the request"
	                   : x->in_len > 0 ? "receiving the rest of the answer"
	                                   : "waiting for the answer";
	/* POLLIN also while sending: a peer may answer before it has taken the whole request. */
	short events = x->out_len > 0 ? POLLIN | POLLOUT : POLLIN;

	return vm_connect_wait(x->fd, events, x->deadline_ms, step, err);
}

static int make_room(struct exchange *x, struct vm_err *err)
{
	size_t size = x->in_size ? x->in_size * 2 : RECEIVE_SIZE;
	char *grown;

	if (x->in_size - x->in_len >= RECEIVE_SIZE / 2)
		return 0;
	/* The parser's caps bound this: it refuses long before the size could overflow. */
	grown = realloc(x->in, size);
	if (!grown)
		return vm_err_sys(err, "allocating %zu bytes for the answer", size);
	x->in = grown;
	x->in_size = size;
	return 0;
}

/* Receives what is there now. Returns 1 for new bytes or an end, 0 for nothing yet. */
static int receive(struct exchange *x, bool *ret_eof, struct vm_err *err)
{
	ssize_t n;

	if (make_room(x, err) < 0)
		return -1;
	n = recv(x->fd, x->in + x->in_len, x->in_size - x->in_len, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	/* Closed with input unread. What it wrote before is not lost by that on a unix socket. */
	if (n < 0 && errno == ECONNRESET)
		n = 0;
	if (n < 0)
		return vm_err_sys(err, "receiving the answer");
	x->in_len += (size_t)n;
	*ret_eof = n == 0;
	return 1;
}

static int converse(struct exchange *x, struct vm_http_response *ret, struct vm_err *err)
{
	bool eof = false;
	int r;

	do {
		if (flush(x, err) < 0 || wait_ready(x, err) < 0)
			return -1;
		r = receive(x, &eof, err);
		if (r > 0)
			r = vm_http_parse(x->in, x->in_len, eof, ret, err);
	} while (r == 0);
	return r < 0 ? -1 : 0;
}

/* A blank or control character would end the request line early and smuggle in another. */
static int check_word(const char *what, const char *word, struct vm_err *err)
{
	const char *p = word;

	while (isgraph((unsigned char)*p))
		p++;
	if (*p || p == word)
		return vm_err_set(err, VM_ERR_USAGE,
		                  "the %s of a request must be printable ASCII without blanks",
		                  what);
	return 0;
}

static char *format_request(const struct vm_http_request *request, struct vm_err *err)
{
	if (check_word("method", request->method, err) < 0 ||
	    check_word("path", request->path, err) < 0)
		return NULL;
	if (!request->body)
		return vm_strf(
		        err,
		        "%s %s HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n",
		        request->method, request->path);
	return vm_strf(err,
	               "%s %s HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n"
	               "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
	               request->method, request->path, strlen(request->body), request->body);
}

static int call(const struct vm_http_request *request, struct vm_http_response *ret,
                struct vm_err *err)
{
	VM_AUTO_FREE char *text = format_request(request, err);
	VM_AUTO(exchange_free) struct exchange x = {.fd = -1, .deadline_ms = request->deadline_ms};

	if (!text)
		return -1;
	x.out = text;
	x.out_len = strlen(text);
	if (request->connection)
		x.fd = vm_take_fd(request->connection);
	if (x.fd < 0)
		x.fd = vm_connect(request->dir_fd, request->socket, request->deadline_ms, err);
	if (x.fd < 0)
		return -1;
	return converse(&x, ret, err);
}

int vm_http_call(const struct vm_http_request *request, struct vm_http_response *ret,
                 struct vm_err *err)
{
	int saved;

	errno = 0;
	if (call(request, ret, err) == 0)
		return 0;
	saved = errno;
	vm_err_wrap(err, "%s %s", request->method, request->path);
	errno = saved;
	return -1;
}
